"""Dtypes that NumPy lacks, held in those it has: bfloat16 in float32, integers of 2 and 4 bits in 8.

The numbers are the same. What rounds to such a dtype is written out: a Cast to b bits keeps the lowest b of its
integer, QuantizeLinear ends at what b bits hold. A cast to bfloat16 does not round, so that the result has more bits
than the model's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from syurmy.isa.arrays import Array

BITS: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.INT2: 2, TensorProto.UINT2: 2}
SIGNED = {TensorProto.INT4, TensorProto.INT2}
HELD: dict[int, int] = {
    **{t: TensorProto.INT8 if t in SIGNED else TensorProto.UINT8 for t in BITS},
    TensorProto.BFLOAT16: TensorProto.FLOAT,
}
NAMES = {helper.tensor_dtype_to_np_dtype(t).name: helper.tensor_dtype_to_np_dtype(k) for t, k in HELD.items()}
TYPED = ("to", "dtype", "output_dtype")  # attributes that hold a dtype


def held(x: Array) -> Array:
    """An array in the dtype that holds it."""
    return x.astype(NAMES[x.dtype.name]) if x.dtype.name in NAMES else x


def without_held(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with inferred types, with such dtypes replaced; the model itself if it has none."""
    if not any(t in HELD for t in _types(model.graph).values()):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Pass().graph(copy.graph, {})
    return copy


def _types(graph: GraphProto) -> dict[str, int]:
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    found.update({t.name: t.data_type for t in graph.initializer})
    for n in graph.node:
        for a in n.attribute:
            if n.op_type == "Constant" and a.type == AttributeProto.TENSOR:
                found[n.output[0]] = a.t.data_type
            for inner in [a.g] if a.type == AttributeProto.GRAPH else a.graphs:
                found.update({f"{n.output[0]}/{k}": v for k, v in _types(inner).items()})
    return found


class _Pass:
    def __init__(self) -> None:
        self.count = 0

    def graph(self, graph: GraphProto, outer: Mapping[str, int]) -> None:
        types = {**outer, **_types(graph)}
        for v in (*graph.input, *graph.value_info, *graph.output):
            if v.type.tensor_type.elem_type in HELD:
                v.type.tensor_type.elem_type = HELD[v.type.tensor_type.elem_type]
        for t in graph.initializer:
            _replace(t)
        nodes: list[NodeProto] = []
        for n in graph.node:
            for a in n.attribute:
                for inner in [a.g] if a.type == AttributeProto.GRAPH else a.graphs:
                    self.graph(inner, types)
            nodes += self.node(n, types)
        kept = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del graph.node[:]
        graph.node.extend(kept)

    def node(self, n: NodeProto, types: Mapping[str, int]) -> list[NodeProto]:
        made = types.get(n.output[0], 0) if n.output else 0
        for a in n.attribute:
            if a.type == AttributeProto.TENSOR:
                _replace(a.t)
            elif a.name in TYPED and a.i in HELD:
                a.i = HELD[a.i]
        if made not in BITS or n.op_type not in ("Cast", "CastLike", "QuantizeLinear"):
            return [n]
        bits, lo = BITS[made], -(2 ** (BITS[made] - 1)) if made in SIGNED else 0
        if n.op_type == "QuantizeLinear":
            first = self.name(n, "wide")
            ends = [self.constant(n, v, HELD[made]) for v in (lo, lo + 2**bits - 1)]
            clip = helper.make_node(
                "Clip", [first, *(e.output[0] for e in ends)], list(n.output), name=f"{n.name}/clip"
            )
            n.output[0] = first
            return [n, *ends, clip]
        low, size = (self.constant(n, v, TensorProto.INT32) for v in (lo, 2**bits))
        names = [self.name(n, k) for k in ("whole", "up", "mod", "down")]
        return [
            low, size,
            helper.make_node("Cast", [n.input[0]], names[:1], name=n.name, to=TensorProto.INT32),
            helper.make_node("Sub", [names[0], low.output[0]], names[1:2]),
            helper.make_node("Mod", [names[1], size.output[0]], names[2:3]),
            helper.make_node("Add", [names[2], low.output[0]], names[3:4]),
            helper.make_node("Cast", names[3:4], list(n.output), to=HELD[made]),
        ]  # fmt: skip

    def name(self, n: NodeProto, label: str) -> str:
        self.count += 1
        return f"{n.output[0]}/{label}_{self.count}"

    def constant(self, n: NodeProto, value: int, dtype: int) -> NodeProto:
        x = numpy_helper.from_array(np.array(value, helper.tensor_dtype_to_np_dtype(dtype)))
        return helper.make_node("Constant", [], [self.name(n, "constant")], value=x)


def _replace(t: TensorProto) -> None:
    if t.data_type in HELD:
        t.CopyFrom(numpy_helper.from_array(held(numpy_helper.to_array(t)), t.name))
