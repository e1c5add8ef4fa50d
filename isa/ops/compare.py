"""Comparison and choice: lt le gt ge eq ne, select, max, min."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, Call, Op, broadcast_shapes, refuse, register, result
from syurmy.isa.ops.gadgets import extremum, negative
from syurmy.isa.types import DType, TensorType, join

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node


def wider(a: DType, b: DType) -> DType:
    """The dtype with more bits."""
    return a if a.bits >= b.bits else b


class Comparison(Op):
    """Entry by entry, broadcasting; i8, 0 or 1. One sign bit and L limb lookups per order tested."""

    family = "compare"
    proof = Argument.LOOKUP
    sources = ("a", "b")
    compare: ClassVar[Callable[..., object]]

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return result(DType.I8, broadcast_shapes(types[0].shape, types[1].shape), (0, 1))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.asarray(type(self).compare(values[0], values[1])).astype(np.int64)


@register
class Lt(Comparison):
    """`dst = 1 if a < b else 0`, broadcasting; i8."""

    name = "lt"
    compare = np.less
    example = "lt m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return negative(b, nodes[0] - nodes[1], "less")


@register
class Le(Comparison):
    """`dst = 1 if a <= b else 0`, broadcasting; i8."""

    name = "le"
    compare = np.less_equal
    example = "le m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return 1 - negative(b, nodes[1] - nodes[0], "less")


@register
class Gt(Comparison):
    """`dst = 1 if a > b else 0`, broadcasting; i8."""

    name = "gt"
    compare = np.greater
    example = "gt m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return negative(b, nodes[1] - nodes[0], "less")


@register
class Ge(Comparison):
    """`dst = 1 if a >= b else 0`, broadcasting; i8."""

    name = "ge"
    compare = np.greater_equal
    example = "ge m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return 1 - negative(b, nodes[0] - nodes[1], "less")


@register
class Eq(Comparison):
    """`dst = 1 if a = b else 0`, broadcasting; i8."""

    name = "eq"
    compare = np.equal
    example = "eq m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return 1 - negative(b, nodes[0] - nodes[1], "less") - negative(b, nodes[1] - nodes[0], "greater")


@register
class Ne(Comparison):
    """`dst = 0 if a = b else 1`, broadcasting; i8."""

    name = "ne"
    compare = np.not_equal
    example = "ne m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return negative(b, nodes[0] - nodes[1], "less") + negative(b, nodes[1] - nodes[0], "greater")


@register
class Select(Op):
    """`dst = a where cond is 1, b where it is 0`, broadcasting; the wider dtype. cond's interval must lie in [0, 1].

    Proof: `b + cond*(a - b)`, a virtual product.
    """

    name = "select"
    family = "compare"
    proof = Argument.CONTRACTION
    sources = ("cond", "a", "b")
    example = "select y, m, a, b"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        cond, x, y = types
        if cond.lo < 0 or cond.hi > 1:
            raise refuse(
                f"select needs a 0/1 condition, this one lies in [{cond.lo}, {cond.hi}]",
                "make it with eq, lt or another comparison",
                "A240",
            )
        shape = broadcast_shapes(cond.shape, x.shape, y.shape)
        return result(wider(x.dtype, y.dtype), shape, join(x.interval, y.interval))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.where(values[0] == 1, values[1], values[2])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        cond, x, y = nodes
        return y + b.mul(cond, x - y)


class Extremum(Op):
    """The larger (``sign`` 1) or smaller (-1) of two operands, entry by entry, broadcasting."""

    family = "compare"
    proof = Argument.LOOKUP | Argument.CONTRACTION
    sources = ("a", "b")
    sign: ClassVar[int]

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        x, y = types
        best = max if self.sign > 0 else min
        interval = best(x.lo, y.lo), best(x.hi, y.hi)
        return result(wider(x.dtype, y.dtype), broadcast_shapes(x.shape, y.shape), interval)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return (np.maximum if self.sign > 0 else np.minimum)(values[0], values[1])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return extremum(b, nodes[0], nodes[1], self.sign, "result", result=True)


@register
class Max(Extremum):
    """`dst = max(a, b)`, broadcasting; the wider dtype.

    Proof: `m >= a`, `m >= b` and `(m - a)*(m - b) = 0` for differences of at most 16 bits, `a + [a < b]*(b - a)` above.
    """

    name = "max"
    sign = 1
    example = "max m, a, b"


@register
class Min(Extremum):
    """`dst = min(a, b)`, broadcasting; the wider dtype. Proof as for `max`."""

    name = "min"
    sign = -1
    example = "min m, a, b"
