"""Exact division and shifts: div, mod, isqrt, shl, shr."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.errors import Trap
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, broadcast_shapes, refuse, register, result
from syurmy.isa.ops.gadgets import hull, operand_types, result_interval, typed
from syurmy.isa.program import I64
from syurmy.isa.types import DType, Interval, TensorType, scaled, unsigned_bits

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node


def _quotients(a: Interval, b: Interval) -> Interval:
    """A range of floor(a / b) that limbs enforce."""
    small, large = max(b[0], 1), b[1]
    return hull((a[0] // (small if a[0] < 0 else large), a[1] // (small if a[1] >= 0 else large)))


def _check_divisor(call: Call, values: Sequence[I64]) -> None:
    bad = np.argwhere(values[1] < 1)
    if len(bad):
        element = tuple(bad[0].tolist())
        raise Trap(f"divisor {values[1][element]} is below 1", element=element, code="T140")


class Division(Op):
    family = "division"
    proof = Argument.LOOKUP | Argument.CONTRACTION
    sources = ("a", "b")

    def _divisor(self, types: Sequence[TensorType]) -> Interval:
        if types[1].hi < 1:
            raise refuse(f"every divisor in [{types[1].lo}, {types[1].hi}] is below 1", code="A251")
        return types[1].interval

    def _split(self, b: Builder, nodes: Sequence[Node], q: Node) -> Node:
        """The remainder ``a - q*b``, bound to ``[0, b)``. q lies in an enforced range, so the expression cannot wrap.

        r >= 0 and b - 1 - r >= 0 add to b >= 1: a divisor below 1 needs no constraint of its own.
        """
        a, divisor = nodes
        lo, hi = operand_types(b)[1].interval
        if lo == hi:
            r = a - q * lo
            b.interval(r, 0, lo - 1, "remainder")
        else:
            r = a - b.mul(q, divisor)
            bits = unsigned_bits(hi - 1)
            b.range(r, bits, "remainder")
            b.range(divisor - 1 - r, bits, "remainder below divisor")
        return r


@register
class Div(Division):
    """`dst = floor(a / b)`, broadcasting; a's dtype. Traps where b is below 1.

    Proof: q in its range, `r = a - q*b` with `r >= 0` and `b - 1 - r >= 0` by limbs; r is not committed.
    """

    name = "div"
    example = "div q, total, count"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        interval = _quotients(types[0].interval, self._divisor(types))
        return result(types[0].dtype, broadcast_shapes(types[0].shape, types[1].shape), interval)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        _check_divisor(call, values)
        return np.floor_divide(values[0], values[1])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        q = b.result(result_interval(b))
        b.interval(q, *q.interval, "result")
        self._split(b, nodes, q)
        return q


@register
class Mod(Division):
    """`dst = a - b*floor(a / b)`, in [0, b), broadcasting; b's dtype. Traps where b is below 1.

    Proof: as for `div`; the quotient is the committed column and the result virtual.
    """

    name = "mod"
    example = "mod r, t, period"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        hi = self._divisor(types)[1] - 1
        hi = min(hi, types[0].hi) if types[0].lo >= 0 else hi
        return result(types[1].dtype, broadcast_shapes(types[0].shape, types[1].shape), (0, hi))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        _check_divisor(call, values)
        return np.mod(values[0], values[1])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        a, divisor = nodes
        types = operand_types(b)
        lo, hi = _quotients(types[0].interval, types[1].interval)
        like = a - divisor
        wide_a, wide_divisor = (b.broadcast(n, like.shape[1:]) for n in nodes)
        q = b.ranged("quotient", like, lambda v: v(wide_a) // v(wide_divisor), lo, (hi - lo).bit_length())
        return self._split(b, nodes, q)


@register
class Isqrt(Op):
    """`dst = floor(sqrt(src))`. The dtype stays. Traps where src is negative.

    Proof: s in its range, `src - s*s >= 0` and `2*s - (src - s*s) >= 0` by limbs.
    """

    name = "isqrt"
    family = "division"
    proof = Argument.LOOKUP | Argument.CONTRACTION
    example = "isqrt s, variance"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t = types[0]
        if t.hi < 0:
            raise refuse(f"every value in [{t.lo}, {t.hi}] is negative", code="A251")
        return result(t.dtype, t.shape, hull((0, math.isqrt(t.hi))))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        x = values[0]
        bad = np.argwhere(x < 0)
        if len(bad):
            element = tuple(bad[0].tolist())
            raise Trap(f"square root of {x[element]}", element=element, code="T141")
        s = np.sqrt(x.astype(np.float64)).astype(np.int64)  # off by one at most: x < 2^61
        s = s - (s * s > x)
        return np.asarray(s + ((s + 1) * (s + 1) <= x))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x = nodes[0]
        s = b.result(result_interval(b))
        b.interval(s, *s.interval, "result")
        rest = x - b.mul(s, s)
        bits = unsigned_bits(2 * math.isqrt(operand_types(b)[0].hi))
        b.range(rest, bits, "square below")
        b.range(s * 2 - rest, bits, "next square above")
        return s


class Shift(Op):
    family = "division"
    attributes = (AttrSpec("amount", "int", "number of bits, 0 to 32", positional=True),)

    def _amount(self, call: Call) -> int:
        amount = int(call["amount"])
        if not 0 <= amount <= 32:
            raise refuse(f"shift {amount} is outside 0 to 32", code="A250")
        return amount


@register
class Shl(Shift):
    """`dst = src * 2^amount`, exact; i64."""

    name = "shl"
    proof = Argument.LINEAR
    example = "shl x, x, 4"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return result(DType.I64, types[0].shape, scaled(types[0].interval, 1 << self._amount(call)))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.asarray(values[0] << np.int64(call["amount"]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return nodes[0] * (1 << self._amount(call))


@register
class Shr(Shift):
    """`dst = floor(src / 2^amount)`, the arithmetic shift. The dtype stays.

    Proof: q in its range, `src - q*2^amount` in `[0, 2^amount)` by limbs.
    """

    name = "shr"
    proof = Argument.LINEAR | Argument.LOOKUP
    example = "shr x, x, 4"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t, amount = types[0], self._amount(call)
        if amount == 0:
            return t
        return result(t.dtype, t.shape, hull((t.lo >> amount, t.hi >> amount)))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.asarray(values[0] >> np.int64(call["amount"]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        amount = self._amount(call)
        if amount == 0:
            return typed(b, nodes[0])
        q = b.result(result_interval(b))
        b.interval(q, *q.interval, "result")
        b.range(nodes[0] - q * (1 << amount), amount, "remainder")
        return q
