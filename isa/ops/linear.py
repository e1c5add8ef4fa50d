"""Linear arithmetic: free in the proof, every result is a linear image of its sources.

Results are i64, the exact accumulator; the interval is that of exact interval arithmetic and the assembler refuses
one beyond 2^61, so that equality in the field is equality of integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, broadcast_shapes, normal_axis, refuse, register, result
from syurmy.isa.ops.view import ints
from syurmy.isa.types import DType, TensorType, added, scaled

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node


@register
class Add(Op):
    """`dst = a + b`, broadcasting; i64."""

    name = "add"
    family = "linear"
    proof = Argument.LINEAR
    sources = ("a", "b")
    example = "add h, h, bias"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        a, b = types
        return result(DType.I64, broadcast_shapes(a.shape, b.shape), added(a.interval, b.interval))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.add(values[0], values[1])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return nodes[0] + nodes[1]


@register
class Sub(Op):
    """`dst = a - b`, broadcasting; i64."""

    name = "sub"
    family = "linear"
    proof = Argument.LINEAR
    sources = ("a", "b")
    example = "sub d, x, mean"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        a, b = types
        return result(DType.I64, broadcast_shapes(a.shape, b.shape), added(a.interval, scaled(b.interval, -1)))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.subtract(values[0], values[1])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return nodes[0] - nodes[1]


@register
class Neg(Op):
    """`dst = -src`; i64."""

    name = "neg"
    family = "linear"
    proof = Argument.LINEAR
    example = "neg x, x"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return result(DType.I64, types[0].shape, scaled(types[0].interval, -1))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.negative(values[0])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return -nodes[0]


@register
class Addi(Op):
    """`dst = src + value` with a constant integer; i64."""

    name = "addi"
    family = "linear"
    proof = Argument.LINEAR
    attributes = (AttrSpec("value", "int", "the constant", positional=True),)
    example = "addi x, x, 128"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return result(DType.I64, types[0].shape, added(types[0].interval, (call["value"],) * 2))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.add(values[0], np.int64(call["value"]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        value: int = call["value"]
        return nodes[0] + value


@register
class Muli(Op):
    """`dst = src * value` with a constant integer; i64."""

    name = "muli"
    family = "linear"
    proof = Argument.LINEAR
    attributes = (AttrSpec("value", "int", "the constant", positional=True),)
    example = "muli x, x, -3"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        if not DType.I64.lo <= call["value"] <= DType.I64.hi:
            raise refuse(f"the constant {call['value']} is beyond 2^61", code="A223")
        return result(DType.I64, types[0].shape, scaled(types[0].interval, call["value"]))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.multiply(values[0], np.int64(call["value"]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        value: int = call["value"]
        return nodes[0] * value


@register
class Sum(Op):
    """Sum over `axes` (all of them if left out), which disappear or, with `keepdims`, keep length 1; i64."""

    name = "sum"
    family = "linear"
    proof = Argument.LINEAR
    attributes = (
        AttrSpec("axes", "ints", "axes that are summed; all if left out", optional=True),
        AttrSpec("keepdims", "bool", "keep summed axes with length 1", default=False),
    )
    example = "sum s, x, axes=(1), keepdims=true"

    def _axes(self, call: Call, rank: int) -> tuple[int, ...]:
        if call["axes"] is None:
            return tuple(range(rank))
        axes = tuple(normal_axis(a, rank) for a in ints(call["axes"]))
        if len(set(axes)) != len(axes):
            raise refuse("an axis is named twice", code="A221")
        return axes

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t = types[0]
        axes = self._axes(call, len(t.shape))
        kept = [1 if i in axes else d for i, d in enumerate(t.shape)]
        shape = kept if call["keepdims"] else [d for i, d in enumerate(t.shape) if i not in axes]
        return result(DType.I64, shape, scaled(t.interval, math.prod(t.shape[a] for a in axes)))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        axes = self._axes(call, values[0].ndim)
        return np.asarray(values[0].sum(axis=axes, keepdims=call["keepdims"], dtype=np.int64))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        dims = nodes[0].shape[1:]
        axes = self._axes(call, len(dims))
        out = b.sum(nodes[0], axes)
        return out if call["keepdims"] else b.reshape(out, [d for i, d in enumerate(dims) if i not in axes])
