"""Convolutions and matrix products between DequantizeLinear and QuantizeLinear, with weight scales per channel, become
QLinearConv and QLinearMatMul: integers throughout, so that results are those of the quantised model bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper


def to_integers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with such nodes replaced; itself if there are none."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made = {o: n for n in model.graph.node for o in n.output}
    read = [i for n in model.graph.node for i in n.input] + [o.name for o in model.graph.output]
    replaced: dict[str, onnx.NodeProto] = {}
    for q in model.graph.node:
        inner = made.get(q.input[0]) if q.op_type == "QuantizeLinear" else None
        if inner is None or read.count(q.input[0]) != 1:
            continue
        found = _integer_node(q, inner, made, constants)
        if found is not None:
            replaced[q.output[0]] = found
    if not replaced:
        return model
    out = onnx.ModelProto()
    out.CopyFrom(model)
    nodes = [replaced.get(n.output[0], n) for n in model.graph.node]
    needed = {o.name for o in model.graph.output}
    kept = []
    for n in reversed(nodes):
        if needed.intersection(n.output):
            kept.append(n)
            needed.update(n.input)
    del out.graph.node[:]
    out.graph.node.extend(kept[::-1])
    return out


def _integer_node(
    q: onnx.NodeProto, n: onnx.NodeProto, made: Mapping[str, onnx.NodeProto], constants: Mapping[str, np.ndarray]
) -> onnx.NodeProto | None:
    if n.op_type not in ("Conv", "MatMul") or len(q.input) < 3 or not all(i in constants for i in q.input[1:]):
        return None
    parts = [made.get(i) for i in n.input]
    if any(p is None or p.op_type != "DequantizeLinear" or len(p.input) < 3 for p in parts[:2]):
        return None
    x, w = parts[0], parts[1]
    assert x is not None
    assert w is not None
    params = [*x.input[1:], *w.input]
    if not all(i in constants for i in params) or constants[x.input[1]].size != 1:
        return None
    scales, weights = constants[w.input[1]], constants[w.input[0]]
    axis = next((a.i for a in w.attribute if a.name == "axis"), 1) % max(weights.ndim, 1)
    channel = 0 if n.op_type == "Conv" else weights.ndim - 1
    if scales.ndim != 1 or scales.size == 1 or axis != channel:
        return None
    target = [q.input[1], q.input[2]]
    attributes = {a.name: helper.get_attribute_value(a) for a in n.attribute}
    if n.op_type == "MatMul":
        return helper.make_node("QLinearMatMul", [*x.input, *w.input, *target], q.output[:1], n.name)
    bias: list[str] = []
    if len(n.input) > 2 and n.input[2]:
        b = parts[2]
        if b is None or b.op_type != "DequantizeLinear" or not all(i in constants for i in b.input):
            return None
        unit = constants[x.input[1]].reshape(()) * scales
        zero = constants[b.input[2]].any() if len(b.input) > 2 else False
        if zero or constants[b.input[0]].dtype != np.int32 or not np.allclose(constants[b.input[1]], unit, rtol=1e-5):
            return None
        bias = [b.input[0]]
    return helper.make_node("QLinearConv", [*x.input, *w.input, *target, *bias], q.output[:1], n.name, **attributes)
