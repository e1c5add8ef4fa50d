"""Exact division and shifts: div, mod, isqrt, shl, shr."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap
from syurmy.isa.exact import outside
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, broadcast_shapes, refuse, register, result
from syurmy.isa.ops.gadgets import hull, result_interval, zero_product
from syurmy.isa.types import DType, Interval, TensorType, added, multiplied, scaled, unsigned_bits

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node, Values


def _quotients(a: Interval, b: Interval) -> Interval:
    """A range of floor(a / b) that limbs enforce."""
    small, large = max(b[0], 1), b[1]
    return hull((a[0] // (small if a[0] < 0 else large), a[1] // (small if a[1] >= 0 else large)))


def _check_divisor(call: Call, values: Sequence[I64]) -> None:
    element = outside(values[1], 1, 2**63 - 1)
    if element is not None:
        raise Trap(f"divisor {values[1][element]} is below 1", element=element, code="T140")


HALF = 31  # bits of the lower half of quotient and divisor where both can be wide


class Division(Op):
    """Integer division of ``a`` by ``b``, entry by entry, broadcasting; a run with a divisor below 1 traps."""

    family = "division"
    proof = Argument.LOOKUP | Argument.CONTRACTION
    sources = ("a", "b")

    def _divisor(self, types: Sequence[TensorType]) -> Interval:
        if types[1].hi < 1:
            raise refuse(f"every divisor in [{types[1].lo}, {types[1].hi}] is below 1", code="A251")
        return types[1].interval

    def _fits(self, a: Node, divisor: Node, q: Interval) -> bool:
        """Whether ``a - q*b``, the limbs taken off it and ``b`` together stay below 2^63 for every q in its range."""
        most = 2 ** unsigned_bits(max(divisor.hi, -divisor.lo))
        lo, hi = added(a.interval, scaled(multiplied(q, divisor.interval), -1), (-2 * most, 2 * most))
        return lo >= -g.LIMIT and hi <= g.LIMIT

    def _split(self, b: Builder, nodes: Sequence[Node], q: Node) -> Node:
        """The remainder ``a - q*b``, bound to ``[0, b)``. q lies in an enforced range, so the expression cannot wrap.

        r >= 0 and b - 1 - r >= 0 add to b >= 1: a divisor below 1 needs no constraint of its own.
        """
        a, divisor = nodes
        lo, hi = divisor.interval
        if lo == hi:
            r = a - q * lo
            b.interval(r, 0, lo - 1, "remainder")
            return r
        r = a - b.mul(q, divisor)
        bits = unsigned_bits(hi - 1)
        b.range(r, bits, "remainder")
        b.range(divisor - 1 - r, bits, "remainder below divisor")
        return r

    def _by_halves(self, b: Builder, nodes: Sequence[Node]) -> tuple[Node, Node]:
        """Quotient and remainder where ``q*b`` could wrap for some q in its range.

        With s = [a < 0] let m = a or -1 - a, which is never negative, and m = q*b + r; then floor(a / b) is q or
        -1 - q, and the remainder r or b - 1 - r. Halves q = q1*2^31 + q0 and b = b1*2^31 + b0 give
        ``q*b = q1*b1*2^62 + (q1*b0 + q0*b1)*2^31 + q0*b0``. Since it is at most m < 2^61, the first product is zero and
        the sum in brackets below 2^30; where both are enforced, nothing wraps.
        """
        shape = broadcast_shapes(*(n.shape[1:] for n in nodes))
        e = max(n.executions for n in nodes)
        a, divisor = (b.broadcast(b.operand(n), shape, e) for n in nodes)
        m, s = a, None
        if a.lo < 0:
            s = b.boolean("negative", a, lambda v: (v(a) < 0).astype(np.int64))
            flipped = a - b.mul(s, a * 2 + 1)
            b.range(flipped, 2 * HALF - 1, "magnitude")
            m = b.cut(flipped, 0, max(a.hi, -1 - a.lo))  # a or -1 - a, and not negative

        def quotient(v: Values) -> I64:
            x = v(a)
            return np.asarray(np.where(x < 0, -1 - x, x) // v(divisor))

        q0 = b.ranged("quotient low", a, lambda v: quotient(v) & (2**HALF - 1), 0, HALF)
        q1 = b.ranged("quotient high", a, lambda v: quotient(v) >> HALF, 0, HALF - 1)
        b1 = b.ranged("divisor high", divisor, lambda v: v(divisor) >> HALF, 0, HALF - 1)
        b0 = divisor - b1 * 2**HALF
        b.range(b0, HALF, "divisor low")
        b0 = b.cut(b0, 0, 2**HALF - 1)
        zero_product(b, q1, b1, "high halves")
        middle = b.mul(q1, b0) + b.mul(q0, b1)
        b.range(middle, HALF - 1, "middle product")
        r = m - b.cut(middle, 0, 2 ** (HALF - 1) - 1) * 2**HALF - b.mul(q0, b0)
        bits = unsigned_bits(divisor.hi - 1)
        b.range(r, bits, "remainder")
        r = b.cut(r, 0, 2**bits - 1)
        b.range(divisor - 1 - r, bits, "remainder below divisor")
        q = q1 * 2**HALF + q0
        if s is None:
            return q, r
        return q - b.mul(s, q * 2 + 1), r + b.mul(s, divisor - 1 - r * 2)


@register
class Div(Division):
    """`dst = floor(a / b)`, broadcasting; a's dtype. Traps where b is below 1.

    Proof: q in its range, `r = a - q*b` with `r >= 0` and `b - 1 - r >= 0` by limbs; r is not committed. Where `q*b`
    could leave 63 bits, q and b are taken in halves.
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
        a, divisor = nodes
        if not self._fits(a, divisor, result_interval(b)):
            return self._by_halves(b, nodes)[0]
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
        lo, hi = _quotients(a.interval, divisor.interval)
        if not self._fits(a, divisor, (lo, hi)):
            return self._by_halves(b, nodes)[1]
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
        element = outside(x, 0, 2**63 - 1)
        if element is not None:
            raise Trap(f"square root of {x[element]}", element=element, code="T141")
        s = np.sqrt(x.astype(np.float64)).astype(np.int64)  # off by one at most: x < 2^61
        s = s - (s * s > x)
        return np.asarray(s + ((s + 1) * (s + 1) <= x))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x = nodes[0]
        s = b.result(result_interval(b))
        b.interval(s, *s.interval, "result")
        rest = x - b.mul(s, s)
        bits = unsigned_bits(2 * math.isqrt(x.hi))
        b.range(rest, bits, "square below")
        b.range(s * 2 - rest, bits, "next square above")
        return s


class Shift(Op):
    """A shift by a constant number of bits."""

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
            return nodes[0]
        q = b.result(result_interval(b))
        b.interval(q, *q.interval, "result")
        b.range(nodes[0] - q * (1 << amount), amount, "remainder")
        return q
