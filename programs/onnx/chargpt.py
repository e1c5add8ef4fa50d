"""Train a character transformer of nanoGPT's smallest size on English prose and export it to ONNX.

    python -m programs.onnx.chargpt       (needs the extra `onnx`; ten minutes on two cores)

4 layers, 4 heads, width 64, context 64, inner width 256, layer norm before each half, GELU: 0.21 M parameters. The text
is the Language Reference that ships with Python (``pydoc_data.topics``), its last twentieth is held out. NumPy with the
backward pass written out.

Writes ``chargpt.onnx`` in the form PyTorch exports (opset 17: Gather, LayerNormalization, GELU through Erf, a causal
mask added before Softmax; input ``ids`` [1, 64] int64, output ``logits`` [1, 64, 63]) and ``chargpt_test.npz``:
``ids``, held-out windows [64, 65] whose last column is the next character of the last, and ``calibration``, 32 windows
of the text it was trained on.
"""

from __future__ import annotations

import argparse
import math
import re
from pydoc_data import topics

import numpy as np

import onnx
from onnx import TensorProto, helper, numpy_helper
from programs.onnx import FOLDER, save_model
from programs.train.attention import erf, normalise, normalise_gradient
from programs.train.common import Adam, cross_entropy_gradient, glorot, softmax
from syurmy.isa.arrays import F32, I64

LAYERS, CONTEXT, WIDTH, HEADS, INNER, BATCH = 4, 64, 64, 4, 256, 16
HEAD = WIDTH // HEADS
CALIBRATION = 32
ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.,:;()'\"-_`*=/[]<>{}#@%+0123456789?"
MASK = np.triu(np.full((CONTEXT, CONTEXT), -np.inf, np.float32), 1)


def corpus() -> I64:
    """The text as tokens: lower case, runs of blanks as one, other characters dropped."""
    text = re.sub(r"[ \t]+", " ", "\n".join(topics.topics.values()).lower())
    text = re.sub(r"\n\s*\n+", "\n", text)
    index = {c: k for k, c in enumerate(ALPHABET)}
    return np.array([index[c] for c in text if c in index], np.int64)


def split(x: F32) -> F32:
    return x.reshape(-1, CONTEXT, HEADS, HEAD).transpose(0, 2, 1, 3)


def joined(x: F32) -> F32:
    return x.transpose(0, 2, 1, 3).reshape(-1, CONTEXT, WIDTH)


def forward(w: dict[str, F32], x: I64) -> dict[str, F32]:
    """All activations for token windows ``x`` [batch, CONTEXT]; those of layer l have the suffix l."""
    e = w["embed"][x] + w["position"]
    a: dict[str, F32] = {}
    for layer in map(str, range(LAYERS)):
        a["n" + layer], a["i" + layer] = normalise(e)
        u = a["u" + layer] = a["n" + layer] * w["gamma" + layer] + w["beta" + layer]
        q, k, v = (split(u @ w[f"w{p}{layer}"] + w[f"b{p}{layer}"]) for p in "qkv")
        s = softmax(q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(HEAD)) + MASK)
        a |= {"q" + layer: q, "k" + layer: k, "v" + layer: v, "s" + layer: s}
        a["o" + layer] = joined(s @ v)
        e = e + a["o" + layer] @ w["wo" + layer] + w["bo" + layer]
        a["m" + layer], a["j" + layer] = normalise(e)
        u = a["r" + layer] = a["m" + layer] * w["delta" + layer] + w["eta" + layer]
        z = a["z" + layer] = u @ w["up" + layer] + w["bup" + layer]
        a["phi" + layer] = (1 + erf(z * np.float32(math.sqrt(0.5)))) / 2
        a["g" + layer] = z * a["phi" + layer]
        e = e + a["g" + layer] @ w["down" + layer] + w["bdown" + layer]
    a["n"], a["i"] = normalise(e)
    a["u"] = a["n"] * w["gamma"] + w["beta"]
    a["logits"] = a["u"] @ w["head"]
    return a


def backward(w: dict[str, F32], a: dict[str, F32], x: I64, labels: I64) -> dict[str, F32]:
    d: dict[str, F32] = {}

    def linear(source: F32, g: F32, weight: str, bias: str = "") -> F32:
        flat = g.reshape(-1, g.shape[-1])
        d[weight] = source.reshape(-1, source.shape[-1]).T @ flat
        if bias:
            d[bias] = flat.sum(0)
        return g @ w[weight].T

    def norm(g: F32, n: F32, inverse: F32, gamma: str, beta: str) -> F32:
        d[gamma], d[beta] = (g * n).sum((0, 1)), g.sum((0, 1))
        return normalise_gradient(g * w[gamma], n, inverse)

    logits = a["logits"].reshape(-1, len(ALPHABET))
    g = cross_entropy_gradient(logits, labels.reshape(-1)).reshape(a["logits"].shape)
    g = norm(linear(a["u"], g, "head"), a["n"], a["i"], "gamma", "beta")
    for layer in map(str, reversed(range(LAYERS))):
        z, phi = a["z" + layer], a["phi" + layer]
        gz = linear(a["g" + layer], g, "down" + layer, "bdown" + layer)
        gz = gz * (phi + z * np.exp(-z * z / 2) / np.float32(math.sqrt(2 * math.pi)))
        gm = linear(a["r" + layer], gz, "up" + layer, "bup" + layer)
        g = g + norm(gm, a["m" + layer], a["j" + layer], "delta" + layer, "eta" + layer)
        go = split(linear(a["o" + layer], g, "wo" + layer, "bo" + layer))
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
        "embed": rng.normal(0, 0.3, (len(ALPHABET), WIDTH)).astype(np.float32),
        "position": rng.normal(0, 0.1, (CONTEXT, WIDTH)).astype(np.float32),
        "head": glorot(rng, 2 * WIDTH, WIDTH, len(ALPHABET)),
    }
    for layer in range(LAYERS):
        for p in "qkvo":
            w[f"w{p}{layer}"] = glorot(rng, 2 * WIDTH, WIDTH, WIDTH) * np.float32(0.4 if p == "o" else 1)
            w[f"b{p}{layer}"] = np.zeros(WIDTH, np.float32)
        w[f"up{layer}"] = glorot(rng, WIDTH, WIDTH, INNER)
        w[f"down{layer}"] = glorot(rng, 8 * INNER, INNER, WIDTH)
        w |= {f"bup{layer}": np.zeros(INNER, np.float32), f"bdown{layer}": np.zeros(WIDTH, np.float32)}
    for name in ("", *map(str, range(LAYERS))):
        w |= {f"gamma{name}": np.ones(WIDTH, np.float32), f"beta{name}": np.zeros(WIDTH, np.float32)}
        if name:
            w |= {f"delta{name}": np.ones(WIDTH, np.float32), f"eta{name}": np.zeros(WIDTH, np.float32)}
    return w


def loss(logits: F32, labels: I64) -> float:
    p = np.take_along_axis(softmax(logits), labels[..., None], -1)
    return float(-np.log(p + 1e-9).mean())


def train(text: I64, steps: int, rng: np.random.Generator) -> dict[str, F32]:
    w = initial(rng)
    adam = Adam(w, 3e-3, 5e-3)
    mean = 0.0
    for step in range(steps):
        window = rng.integers(0, len(text) - CONTEXT, BATCH)[:, None] + np.arange(CONTEXT + 1)
        x, y = text[window[:, :-1]], text[window[:, 1:]]
        a = forward(w, x)
        mean += (loss(a["logits"], y) - mean) / min(step + 1, 100)
        gradients = backward(w, a, x, y)
        size = math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
        gradients = {k: g * np.float32(min(1.0, 1 / size)) for k, g in gradients.items()}
        adam.update(gradients, min(1.0, (step + 1) / 100) * (1 - step / steps))
        if step % 250 == 249:
            print(f"step {step + 1}: loss {mean:.3f}", flush=True)
    return w


def exported(w: dict[str, F32]) -> onnx.ModelProto:
    """The network in ONNX."""
    constants: dict[str, np.ndarray] = {k: np.asarray(v, np.float32) for k, v in w.items()}
    constants |= {
        "mask": MASK,
        "heads": np.array([0, 0, HEADS, HEAD], np.int64),
        "flat": np.array([0, 0, WIDTH], np.int64),
        "root": np.array(math.sqrt(HEAD), np.float32),
        "root2": np.array(math.sqrt(2), np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes: list[onnx.NodeProto] = []

    def node(op: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"{op.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def dense(x: str, weight: str, bias: str) -> str:
        return node("Add", bias, node("MatMul", x, weight))

    e = node("Add", node("Gather", "embed", "ids"), "position")
    for i in range(LAYERS):
        u = node("LayerNormalization", e, f"gamma{i}", f"beta{i}", epsilon=1e-5)
        q, k, v = (node("Reshape", dense(u, f"w{p}{i}", f"b{p}{i}"), "heads") for p in "qkv")
        q, v = (node("Transpose", x, perm=[0, 2, 1, 3]) for x in (q, v))
        scores = node("Div", node("MatMul", q, node("Transpose", k, perm=[0, 2, 3, 1])), "root")
        s = node("Softmax", node("Add", scores, "mask"), axis=-1)
        o = node("Reshape", node("Transpose", node("MatMul", s, v), perm=[0, 2, 1, 3]), "flat")
        e = node("Add", e, dense(o, f"wo{i}", f"bo{i}"))
        z = dense(node("LayerNormalization", e, f"delta{i}", f"eta{i}", epsilon=1e-5), f"up{i}", f"bup{i}")
        phi = node("Add", node("Erf", node("Div", z, "root2")), "one")
        e = node("Add", e, dense(node("Mul", node("Mul", z, phi), "half"), f"down{i}", f"bdown{i}"))
    node("MatMul", node("LayerNormalization", e, "gamma", "beta", epsilon=1e-5), "head", out="logits")
    graph = helper.make_graph(
        nodes,
        "chargpt",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, CONTEXT])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CONTEXT, len(ALPHABET)])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train chargpt.onnx")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    text = corpus()
    cut = len(text) * 19 // 20
    print(f"{len(text)} characters")
    rng = np.random.default_rng(options.seed)
    w = train(text[:cut], options.steps, rng)
    starts = np.linspace(cut, len(text) - CONTEXT - 1, 64).astype(np.int64)
    window = text[starts[:, None] + np.arange(CONTEXT + 1)]
    print(f"loss on the last twentieth of the text {loss(forward(w, window[:, :-1])['logits'], window[:, 1:]):.3f}")
    save_model(exported(w), "chargpt")
    some = text[rng.integers(0, cut - CONTEXT, CALIBRATION)[:, None] + np.arange(CONTEXT)]
    np.savez_compressed(FOLDER / "chargpt_test.npz", ids=window.astype(np.int8), calibration=some.astype(np.int8))


if __name__ == "__main__":
    main()
