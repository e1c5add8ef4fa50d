"""Train the character transformer of ``generate_text.tasm`` on English prose, and quantise it to 16 bits.

    python -m programs.train.chargpt        (NumPy alone; about ten minutes)

    e = E[character] + P[position]              64 positions, width 64
    e = e + attention(norm(e))                  2 layers, 4 heads, causal
    e = e + gelu(norm(e) A + a) B + b
    scores = norm(e) V + c                      of the next character

The text is English prose that ships with the interpreter (Python Software Foundation License): the sentences of at most
80 characters in the Language Reference (``pydoc_data.topics``) and in the docstrings of the standard library, each
once, digits as 0. Training windows begin with a sentence, as prompts do.
The weights in the repository come from Python 3.11.7. NumPy with the backward pass written out.

Writes ``generate_text.safetensors`` (weights, and ``characters``, the code point of every token) and the inputs of the
two programs. Token 0 is the stop character, the full stop; a prompt is padded with it.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import math
import re
import sysconfig
from pathlib import Path
from pydoc_data import topics

import numpy as np

from programs.train.attention import erf, normalise, normalise_gradient
from programs.train.common import PROGRAMS, Adam, cross_entropy_gradient, glorot, quantise, save, softmax
from syurmy.isa.arrays import F32, I64, Integers

LAYERS, CONTEXT, WIDTH, HEADS, INNER = 2, 64, 64, 4, 128
HEAD = WIDTH // HEADS
ACT, RESIDUAL, WEIGHT = 12, 10, 14  # scales of activations, of the residual sum, and of weights
CHARACTERS = ". ,'\"()-:;_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0"
BATCH = 32
PROMPT = "Get the "


def corpus() -> str:
    """Short sentences of prose, one space between them, in no other characters than ``CHARACTERS``."""
    documents = list(topics.topics.values())
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if not {"test", "tests", "idlelib", "site-packages"} & set(path.parts):
            try:
                nodes = ast.walk(ast.parse(path.read_bytes()))
            except (SyntaxError, ValueError):
                continue
            kinds = ast.Module | ast.ClassDef | ast.FunctionDef
            documents += [ast.get_docstring(n) or "" for n in nodes if isinstance(n, kinds)]
    kept: dict[str, None] = {}
    for text in documents:
        for block in text.split("\n\n"):
            if re.search(r"\S {2,}\S.*\n.*\S {2,}\S|>>>|::=", block):
                continue  # columns, code
            paragraph = re.sub(r"\s+", " ", re.sub(r"\[\d+\]|[*`]", "", block)).strip()
            for sentence in re.findall(r"[A-Z][^.]*[^.\s]\.(?=\s|$)", re.sub(r"\d", "0", paragraph)):
                words = sum(c.isalpha() or c == " " for c in sentence) > 0.93 * len(sentence)
                if words and 25 < len(sentence) <= 80 and not set(sentence) - set(CHARACTERS):
                    kept[sentence] = None
    return " ".join(kept) + " "


def tokens(text: str) -> I64:
    return np.array([CHARACTERS.index(c) for c in text], dtype=np.int64)


def attend(x: F32) -> F32:
    return x.reshape(-1, CONTEXT, HEADS, HEAD).transpose(0, 2, 1, 3)


def joined(x: F32) -> F32:
    return x.transpose(0, 2, 1, 3).reshape(-1, CONTEXT, WIDTH)


MASK = np.triu(np.full((CONTEXT, CONTEXT), -1e9, np.float32), 1)


def forward(w: dict[str, F32], x: I64) -> dict[str, F32]:
    """All activations for token windows ``x`` [batch, CONTEXT]; those of layer l have the suffix l."""
    e = w["embed"][x] + w["position"]
    a: dict[str, F32] = {}
    for layer in map(str, range(LAYERS)):
        a["n" + layer], a["i" + layer] = normalise(e)
        u = a["u" + layer] = a["n" + layer] * w["gamma" + layer] + w["beta" + layer]
        q, k, v = (attend(u @ w[f"w{p}{layer}"] + w[f"b{p}{layer}"]) for p in "qkv")
        s = softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(HEAD)) + MASK)
        a |= {"q" + layer: q, "k" + layer: k, "v" + layer: v, "s" + layer: s}
        a["o" + layer] = joined(s @ v)
        e = a["e" + layer] = e + a["o" + layer] @ w["wo" + layer] + w["bo" + layer]
        a["m" + layer], a["j" + layer] = normalise(e)
        u = a["r" + layer] = a["m" + layer] * w["delta" + layer] + w["eta" + layer]
        z = a["z" + layer] = u @ w["up" + layer] + w["bup" + layer]
        a["phi" + layer] = (1 + erf(z * np.float32(math.sqrt(0.5)))) / 2
        a["g" + layer] = z * a["phi" + layer]
        e = a["f" + layer] = e + a["g" + layer] @ w["down" + layer] + w["bdown" + layer]
    a["n"], a["i"] = normalise(e)
    a["u"] = a["n"] * w["gamma"] + w["beta"]
    a["logits"] = a["u"] @ w["head"] + w["bhead"]
    return a


def backward(w: dict[str, F32], a: dict[str, F32], x: I64, labels: I64) -> dict[str, F32]:
    d: dict[str, F32] = {}

    def linear(source: F32, g: F32, weight: str, bias: str) -> F32:
        d[weight] = source.reshape(-1, source.shape[-1]).T @ g.reshape(-1, g.shape[-1])
        d[bias] = g.reshape(-1, g.shape[-1]).sum(0)
        return g @ w[weight].T

    def norm(g: F32, n: F32, inverse: F32, gamma: str, beta: str) -> F32:
        d[gamma], d[beta] = (g * n).sum((0, 1)), g.sum((0, 1))
        return normalise_gradient(g * w[gamma], n, inverse)

    logits = a["logits"].reshape(-1, len(CHARACTERS))
    g = cross_entropy_gradient(logits, labels.reshape(-1)).reshape(a["logits"].shape)
    g = norm(linear(a["u"], g, "head", "bhead"), a["n"], a["i"], "gamma", "beta")
    for layer in map(str, reversed(range(LAYERS))):
        z, phi = a["z" + layer], a["phi" + layer]
        gz = linear(a["g" + layer], g, "down" + layer, "bdown" + layer)
        gz = gz * (phi + z * np.exp(-z * z / 2) / np.float32(math.sqrt(2 * math.pi)))
        gm = linear(a["r" + layer], gz, "up" + layer, "bup" + layer)
        g = g + norm(gm, a["m" + layer], a["j" + layer], "delta" + layer, "eta" + layer)
        go = attend(linear(a["o" + layer], g, "wo" + layer, "bo" + layer))
        q, k, v, s = (a[name + layer] for name in "qkvs")
        gs = go @ v.transpose(0, 1, 3, 2)
        gs = s * (gs - (gs * s).sum(axis=-1, keepdims=True)) / np.float32(math.sqrt(HEAD))
        parts = {"q": gs @ k, "k": gs.transpose(0, 1, 3, 2) @ q, "v": s.transpose(0, 1, 3, 2) @ go}
        gu = sum(linear(a["u" + layer], joined(gp), f"w{p}{layer}", f"b{p}{layer}") for p, gp in parts.items())
        g = g + norm(np.asarray(gu), a["n" + layer], a["i" + layer], "gamma" + layer, "beta" + layer)
    d["position"] = g.sum(0)
    d["embed"] = np.zeros_like(w["embed"])
    np.add.at(d["embed"], x, g)
    return d


def initial(rng: np.random.Generator) -> dict[str, F32]:
    w = {
        "embed": rng.normal(0, 0.5, (len(CHARACTERS), WIDTH)).astype(np.float32),
        "position": rng.normal(0, 0.2, (CONTEXT, WIDTH)).astype(np.float32),
        "gamma": np.ones(WIDTH, np.float32),
        "beta": np.zeros(WIDTH, np.float32),
        "head": glorot(rng, 2 * WIDTH, WIDTH, len(CHARACTERS)),
        "bhead": np.zeros(len(CHARACTERS), np.float32),
    }
    for layer in map(str, range(LAYERS)):
        for p in "qkvo":
            w[f"w{p}{layer}"] = glorot(rng, 2 * WIDTH, WIDTH, WIDTH) * np.float32(0.5 if p == "o" else 1)
            w[f"b{p}{layer}"] = np.zeros(WIDTH, np.float32)
        w["up" + layer] = glorot(rng, WIDTH, WIDTH, INNER)
        w["down" + layer] = glorot(rng, 4 * INNER, INNER, WIDTH)
        w |= {"bup" + layer: np.zeros(INNER, np.float32), "bdown" + layer: np.zeros(WIDTH, np.float32)}
        w |= {name + layer: np.ones(WIDTH, np.float32) for name in ("gamma", "delta")}
        w |= {name + layer: np.zeros(WIDTH, np.float32) for name in ("beta", "eta")}
    return w


def train(text: I64, starts: I64, steps: int, rng: np.random.Generator) -> dict[str, F32]:
    w = initial(rng)
    adam = Adam(w, 3e-3, 5e-3)
    mean = 0.0
    for step in range(steps):
        window = rng.choice(starts, BATCH)[:, None] + np.arange(CONTEXT + 1)
        x, y = text[window[:, :-1]], text[window[:, 1:]]
        a = forward(w, x)
        mean += (loss(a["logits"], y) - mean) / min(step + 1, 100)
        warm = min(1.0, (step + 1) / 100)
        gradients = backward(w, a, x, y)
        size = math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
        gradients = {k: g * np.float32(min(1.0, 1 / size)) for k, g in gradients.items()}
        adam.update(gradients, warm * (1 - step / steps))
        if step % 250 == 249:
            print(f"step {step + 1}: loss {mean:.3f}", flush=True)
    return w


def loss(logits: F32, labels: I64) -> float:
    p = np.take_along_axis(softmax(logits), labels[..., None], -1)
    return float(-np.log(p + 1e-9).mean())


def quantised(w: dict[str, F32]) -> dict[str, Integers]:
    """Integer weights; 1 / sqrt(head width) is folded into the queries."""
    w = dict(w)
    for layer in range(LAYERS):
        for name in (f"wq{layer}", f"bq{layer}"):
            w[name] = w[name] / np.float32(math.sqrt(HEAD))
    q: dict[str, Integers] = {}
    for name, value in w.items():
        if name in ("embed", "position"):
            q[name] = quantise(value, RESIDUAL, np.int16)
        elif name.rstrip("01") in ("gamma", "delta"):
            q[name] = quantise(value, ACT, np.int16)
        elif name.rstrip("01") in ("beta", "eta"):
            q[name] = quantise(value, 2 * ACT, np.int32)
        else:
            q[name] = quantise(
                value, WEIGHT if value.ndim == 2 else ACT + WEIGHT, np.int16 if value.ndim == 2 else np.int32
            )
    return q


def prompt(text: str) -> dict[str, Integers]:
    """The inputs of the programs: the tokens of ``text``, padded to the context, and their number."""
    padded = np.zeros(CONTEXT, np.int8)
    padded[: len(text)] = tokens(text)
    return {"prompt": padded, "length": np.array(len(text), np.int8)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train generate_text.tasm's network")
    parser.add_argument("--steps", type=int, default=6500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    text = corpus()
    print(f"{len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}")
    all_tokens = tokens(text)
    cut = len(text) * 19 // 20
    starts = np.array([m.end() for m in re.finditer(r"\. |^", text) if m.end() < len(text) - CONTEXT - 1])
    w = train(all_tokens, starts[starts < cut - CONTEXT], options.steps, np.random.default_rng(options.seed))
    held_out = starts[starts >= cut]
    window = held_out[:: len(held_out) // 256, None] + np.arange(CONTEXT + 1)
    a = forward(w, all_tokens[window[:, :-1]])
    print(f"loss on the last twentieth of the text {loss(a['logits'], all_tokens[window[:, 1:]]):.3f}")
    scores = max(float(np.abs(a["q" + str(i)] @ a["k" + str(i)].transpose(0, 1, 3, 2)).max()) for i in range(LAYERS))
    sizes = {k: float(np.abs(v).max()) for k, v in a.items() if k[0] in "euqkvorzgf" or k == "logits"}
    print(f"largest scores {scores / math.sqrt(HEAD):.2f}, " + ", ".join(f"{k} {v:.2f}" for k, v in sizes.items()))
    print(f"weights {max(float(np.abs(v).max()) for v in w.values()):.2f}")
    q = quantised(w)
    q["characters"] = np.array([ord(c) for c in CHARACTERS], np.int8)
    save("generate_text", q)
    for name in ("generate_text", "generate_text_ram"):
        np.savez_compressed(PROGRAMS / f"{name}.inputs.npz", **prompt(PROMPT))


if __name__ == "__main__":
    main()
