"""Distances from every row to every point, as nearest-neighbour models have them.

Converters write a Scan over the points: its state is the rows and stays, its body a distance along the last axis. It
says the same, once for all points, when the points get an axis of their own. And where only the *order* of distances
is read, the root of a sum of powers changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from syurmy.isa.arrays import Array

POINTWISE = {"Identity", "Sub", "Abs", "Pow", "Mul", "Sqrt"}
REDUCTIONS = {"ReduceSum", "ReduceSumSquare"}


def without_scans(graph: onnx.GraphProto, opset: int) -> None:
    """Rewrites such Scans of ``graph`` in place."""
    out: list[onnx.NodeProto] = []
    for n in graph.node:
        made = _written(n, opset) if n.op_type == "Scan" and n.domain in ("", "ai.onnx") and opset >= 9 else None
        out += [n] if made is None else made
    kept = [onnx.NodeProto.FromString(n.SerializeToString()) for n in out]
    del graph.node[:]
    graph.node.extend(kept)
    _without_roots(graph)


def _written(n: onnx.NodeProto, opset: int) -> list[onnx.NodeProto] | None:
    attrs = {a.name: helper.get_attribute_value(a) for a in n.attribute}
    body: onnx.GraphProto = attrs.pop("body")
    if attrs != {"num_scan_inputs": 1} or [len(n.input), len(n.output), len(body.input), len(body.output)] != [2] * 4:
        return None
    fixed = {t.name: numpy_helper.to_array(t) for t in body.initializer}
    state, point = (i.name for i in body.input)
    names = {state: n.input[0], point: f"{n.output[1]}/points"}
    made = [_axis(opset, "Unsqueeze", n.input[1], names[point], [1], f"{n.output[1]}/axis")]
    same: set[str] = {state}
    reduced: set[str] = set()
    for b in body.node:
        if b.op_type == "Identity" and b.input[0] in same:
            same.add(b.output[0])
        result = f"{n.output[1]}/{b.output[0]}"
        inputs = [names.get(i, i if i not in fixed else f"{n.output[1]}/{i}") for i in b.input]
        if b.op_type in POINTWISE and len(b.output) == 1:
            made.append(helper.make_node(b.op_type, inputs, [result]))
            if reduced.intersection(b.input):
                reduced.add(b.output[0])
        elif b.op_type in REDUCTIONS and not reduced and _over_features(b, fixed):
            source = inputs[0]
            if b.op_type == "ReduceSumSquare":
                source = f"{result}/square"
                made.append(helper.make_node("Mul", [inputs[0], inputs[0]], [source]))
            made += [_axis(opset, "ReduceSum", source, result, [2], f"{result}/axis", keepdims=0)]
            reduced.add(b.output[0])
        else:
            return None
        names[b.output[0]] = result
    if body.output[0].name not in same or body.output[1].name not in reduced:
        return None
    constants = [
        helper.make_node("Constant", [], [f"{n.output[1]}/{k}"], value=numpy_helper.from_array(v))
        for k, v in fixed.items()
    ]
    ends = [(n.input[0], n.output[0]), (names[body.output[1].name], n.output[1])]
    axes = [helper.make_node("Constant", [], [m.input[1]], value=numpy_helper.from_array(np.array([_AXES[m.op_type]])))
            for m in made if m.op_type in _AXES and len(m.input) > 1]  # fmt: skip
    return [*constants, *axes, *made, *(helper.make_node("Identity", [a], [b]) for a, b in ends if b)]


_AXES = {"Unsqueeze": 1, "ReduceSum": 2}


def _axis(opset: int, op: str, x: str, y: str, axes: list[int], name: str, **attrs: Any) -> onnx.NodeProto:
    """A node whose axes are an attribute before opset 13, and an input from then on."""
    if opset < 13:
        return helper.make_node(op, [x], [y], axes=axes, **attrs)
    return helper.make_node(op, [x, name], [y], **attrs)


def _over_features(b: onnx.NodeProto, fixed: Mapping[str, Array]) -> bool:
    attrs = {a.name: helper.get_attribute_value(a) for a in b.attribute}
    axes = fixed.get(b.input[1]) if len(b.input) > 1 else attrs.get("axes")
    return attrs.get("keepdims", 1) == 0 and axes is not None and np.asarray(axes).reshape(-1).tolist() in ([1], [-1])


def _without_roots(graph: onnx.GraphProto) -> None:
    """TopK reads what is under a square root where nobody reads the values that it finds."""
    read = [i for n in graph.node for i in n.input] + [o.name for o in graph.output]
    makers = {o: n for n in graph.node for o in n.output}
    for n in graph.node:
        root = makers.get(n.input[0]) if n.op_type == "TopK" and n.output[0] not in read else None
        if root is not None and root.op_type == "Sqrt":
            n.input[0] = root.input[0]
