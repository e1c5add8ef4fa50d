"""Train a character transformer of nanoGPT's smallest size on English prose and export it to ONNX.

    python -m programs.onnx.chargpt       (needs the extra `onnx`; ten minutes on two cores)

4 layers, 4 heads, width 64, context 64, inner width 256, layer norm before each half, GELU: 0.21 M parameters
(``programs.train.transformer``). The text is the Language Reference that ships with Python (``pydoc_data.topics``), its
last twentieth is held out.

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
from programs.train.transformer import Transformer, loss
from syurmy.isa.arrays import F32, I64

LAYERS, CONTEXT, WIDTH, HEADS, INNER, BATCH = 4, 64, 64, 4, 256, 16
CALIBRATION = 32
ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.,:;()'\"-_`*=/[]<>{}#@%+0123456789?"
NET = Transformer(LAYERS, CONTEXT, WIDTH, HEADS, INNER, len(ALPHABET))


def corpus() -> I64:
    """The text as tokens: lower case, runs of blanks as one, other characters dropped."""
    text = re.sub(r"[ \t]+", " ", "\n".join(topics.topics.values()).lower())
    text = re.sub(r"\n\s*\n+", "\n", text)
    index = {c: k for k, c in enumerate(ALPHABET)}
    return np.array([index[c] for c in text if c in index], np.int64)


def exported(w: dict[str, F32]) -> onnx.ModelProto:
    """The network in ONNX."""
    constants: dict[str, np.ndarray] = {k: np.asarray(v, np.float32) for k, v in w.items()}
    constants |= {
        "mask": NET.mask,
        "heads": np.array([0, 0, HEADS, NET.head], np.int64),
        "flat": np.array([0, 0, WIDTH], np.int64),
        "root": np.array(math.sqrt(NET.head), np.float32),
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
    w = NET.initial(rng, embed=0.3, position=0.1, out=0.4, down=8, bias=False)
    NET.train(w, text[:cut], lambda: rng.integers(0, cut - CONTEXT, BATCH), options.steps)
    starts = np.linspace(cut, len(text) - CONTEXT - 1, 64).astype(np.int64)
    window = text[starts[:, None] + np.arange(CONTEXT + 1)]
    print(f"loss on the last twentieth of the text {loss(NET.forward(w, window[:, :-1])['logits'], window[:, 1:]):.3f}")
    save_model(exported(w), "chargpt")
    some = text[rng.integers(0, cut - CONTEXT, CALIBRATION)[:, None] + np.arange(CONTEXT)]
    np.savez_compressed(FOLDER / "chargpt_test.npz", ids=window.astype(np.int8), calibration=some.astype(np.int8))


if __name__ == "__main__":
    main()
