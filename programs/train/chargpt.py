"""Train the character transformer of ``generate_text.tasm`` on English prose, and quantise it to 16 bits.

    python -m programs.train.chargpt        (NumPy alone; about ten minutes)

It is ``programs.train.transformer`` with 2 layers, 4 heads, width 64, inner width 128 and 64 positions.

The text is English prose that ships with the interpreter (Python Software Foundation License): the sentences of at most
80 characters in the Language Reference (``pydoc_data.topics``) and in the docstrings of the standard library, each
once, digits as 0. Training windows begin with a sentence, as prompts do.
The weights in the repository come from Python 3.11.7.

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

from programs.train.common import PROGRAMS, quantise, save
from programs.train.transformer import Transformer, loss
from syurmy.isa.arrays import F32, I64, Integers

LAYERS, CONTEXT, WIDTH, HEADS, INNER = 2, 64, 64, 4, 128
ACT, RESIDUAL, WEIGHT = 12, 10, 14  # scales of activations, of the residual sum, and of weights
CHARACTERS = ". ,'\"()-:;_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0"
BATCH = 32
NET = Transformer(LAYERS, CONTEXT, WIDTH, HEADS, INNER, len(CHARACTERS))
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


def quantised(w: dict[str, F32]) -> dict[str, Integers]:
    """Integer weights; 1 / sqrt(head width) is folded into the queries."""
    w = dict(w)
    for layer in range(LAYERS):
        for name in (f"wq{layer}", f"bq{layer}"):
            w[name] = w[name] / np.float32(math.sqrt(NET.head))
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
    rng, own = np.random.default_rng(options.seed), starts[starts < cut - CONTEXT]
    w = NET.initial(rng, embed=0.5, position=0.2, out=0.5, down=4, bias=True)
    NET.train(w, all_tokens, lambda: rng.choice(own, BATCH), options.steps)
    held_out = starts[starts >= cut]
    window = held_out[:: len(held_out) // 256, None] + np.arange(CONTEXT + 1)
    a = NET.forward(w, all_tokens[window[:, :-1]])
    print(f"loss on the last twentieth of the text {loss(a['logits'], all_tokens[window[:, 1:]]):.3f}")
    scores = max(float(np.abs(a["q" + str(i)] @ a["k" + str(i)].transpose(0, 1, 3, 2)).max()) for i in range(LAYERS))
    sizes = {k: float(np.abs(v).max()) for k, v in a.items() if k[0] in "euqkvorzgf" or k == "logits"}
    print(f"largest scores {scores / math.sqrt(NET.head):.2f}, " + ", ".join(f"{k} {v:.2f}" for k, v in sizes.items()))
    print(f"weights {max(float(np.abs(v).max()) for v in w.values()):.2f}")
    q = quantised(w)
    q["characters"] = np.array([ord(c) for c in CHARACTERS], np.int8)
    save("generate_text", q)
    for name in ("generate_text", "generate_text_ram"):
        np.savez_compressed(PROGRAMS / f"{name}.inputs.npz", **prompt(PROMPT))


if __name__ == "__main__":
    main()
