"""Small causal language models as exporters write them: one layer of attention, dynamic lengths, masks from shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, WIDTH, CONTEXT = 11, 8, 16


def weights(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    sizes = {"embed": (VOCABULARY, WIDTH), "position": (CONTEXT, WIDTH), "head": (WIDTH, VOCABULARY)}
    sizes |= {f"w{k}": (WIDTH, WIDTH) for k in "qkvo"}
    return {k: rng.standard_normal(shape).astype(np.float32) for k, shape in sizes.items()}


def language_model(
    causal: bool = True,
    extra: bool = False,
    cache: bool = False,
    leak: float = -1e9,
    ties: bool = False,
    hides: float = 1e9,
    turned: bool = False,
    fixed: int = 0,
) -> onnx.ModelProto:
    """ids [1, n] -> logits [1, n, VOCABULARY]. ``extra``: attention_mask and position_ids as inputs, another output;
    ``cache``: past and present keys and values; ``leak``: what masked scores get; ``hides``: what the attention
    mask takes from them; ``ties``: token 4 scores like 7; ``turned``: past keys are [1, WIDTH, past]; ``fixed``: how
    many places the cache has, if not any number."""
    w = weights()
    if ties:
        w["head"][:, 4] = w["head"][:, 7]
    constants = {
        **w,
        "one": np.array(1, np.int64),
        "zero": np.array(0, np.int64),
        "last": np.array([-1], np.int64),
        "root": np.array(WIDTH**0.5, np.float32),
        "leak": np.array(leak, np.float32),
        "hides": np.array(hides, np.float32),
        "flat": np.array([1], np.int64),
        "last_two": np.array([-2], np.int64),
        "end": np.array([9], np.int64),
    }
    nodes: list[onnx.NodeProto] = []

    def node(op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        name = out or f"{op.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    length = node("Gather", node("Shape", "ids"), "one", axis=0)
    places = "position_ids" if extra else node("Range", "zero", length, "one")
    x = node("Add", node("Gather", "embed", "ids"), node("Gather", "position", places))
    q, k, v = (node("MatMul", x, f"w{p}") for p in "qkv")
    if cache and not turned:
        k = node("Concat", "past_key", k, axis=1, out="present_key")
    across = node("Transpose", k, perm=[0, 2, 1])
    if cache and turned:
        across = node("Concat", "past_key", across, axis=2, out="present_key")
    if cache:
        v = node("Concat", "past_value", v, axis=1, out="present_value")
    scores = node("Div", node("MatMul", q, across), "root")
    if causal:
        shape = node("Slice", node("Shape", scores), "last_two", "end")  # tokens, and all places
        square = node("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([1.0], np.float32)))
        first = "one"  # of the places that the first token does not read
        if cache:
            before = node("Sub", node("Gather", shape, "one", axis=0), node("Gather", shape, "zero", axis=0))
            first = node("Add", before, "one")
        scores = node("Add", scores, node("Mul", node("Trilu", square, first, upper=1), "leak"))
    if extra:
        hidden = node(
            "Sub", node("Cast", "attention_mask", to=TensorProto.FLOAT), node("Cast", "one", to=TensorProto.FLOAT)
        )
        scores = node("Add", scores, node("Unsqueeze", node("Mul", hidden, "hides"), "flat"))
    x = node("Add", x, node("MatMul", node("MatMul", node("Softmax", scores, axis=-1), v), "wo"))
    node("MatMul", x, "head", out="logits")
    row = [1, "n"]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, row)]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "n", VOCABULARY])]
    if extra:
        inputs += [helper.make_tensor_value_info(i, TensorProto.INT64, row) for i in ("attention_mask", "position_ids")]
    if cache:
        for kind in ("key", "value"):
            for side, name, many in (
                (inputs, "past", fixed or "past"),
                (outputs, "present", fixed + 1 if fixed else "all"),
            ):
                shape = [1, WIDTH, many] if turned and kind == "key" else [1, many, WIDTH]
                side.append(helper.make_tensor_value_info(f"{name}_{kind}", TensorProto.FLOAT, shape))
    held = [numpy_helper.from_array(x, name) for name, x in constants.items()]
    graph = helper.make_graph(nodes, "tiny_lm", inputs, outputs, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(folder: Path, **how: Any) -> Path:
    path = folder / "lm.onnx"
    onnx.save(language_model(**how), path)
    return path


def float_logits(ids: np.ndarray[Any, Any], ties: bool = False) -> np.ndarray[Any, Any]:
    """By NumPy in float64 [n, VOCABULARY]."""
    w = {k: x.astype(np.float64) for k, x in weights().items()}
    if ties:
        w["head"][:, 4] = w["head"][:, 7]
    x = w["embed"][ids] + w["position"][: len(ids)]
    s = (x @ w["wq"]) @ (x @ w["wk"]).T / WIDTH**0.5
    s[np.triu_indices(len(ids), 1)] = -np.inf
    p = np.exp(s - s.max(axis=1, keepdims=True))
    return (x + (p / p.sum(axis=1, keepdims=True)) @ (x @ w["wv"]) @ w["wo"]) @ w["head"]
