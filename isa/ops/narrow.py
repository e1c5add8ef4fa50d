"""Narrowing: rescale, clamp, cast."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap
from syurmy.isa.exact import outside
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, refuse, register, result
from syurmy.isa.ops.gadgets import extremum, hull, result_interval, typed, zero_product
from syurmy.isa.types import DType, Interval, TensorType, scaled, unsigned_bits

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node, Values


def _rounded(interval: Interval, mult: int, shift: int) -> Interval:
    half = (1 << shift) >> 1
    lo, hi = scaled(interval, mult)
    return (lo + half) >> shift, (hi + half) >> shift


def _round(x: I64, mult: int, shift: int) -> I64:
    out = x * mult if mult != 1 else x.copy()
    out += (1 << shift) >> 1
    out >>= shift
    return out


@register
class Rescale(Op):
    """`dst = saturate(floor((src * mult + 2^(shift-1)) / 2^shift))`: round half up, then clamp to the dtype.

    With lo or hi, clamp to these instead: `lo=0` is a relu of the rounded value. The interval is the smallest
    `[0, 2^k)` or `[-2^(k-1), 2^(k-1))` around the rounded one, inside the bounds.

    Proof: `src*mult + 2^(shift-1) - z*2^shift` lies in `[0, 2^shift)` by limbs, and y in its range. Where z's
    interval leaves the bounds at one end, `z = y + excess` (or `y - excess`) with `excess >= 0` and
    `excess*(bound - y) = 0`. Where it leaves them at both, a bit says at which: `bit*bit = bit`,
    `z = y + (2*bit - 1)*excess`, `excess*(min + bit*(max - min) - y) = 0`, and `excess - bit >= 0`, so that the bit is
    0 where nothing is cut off. (Near 61 bits, where this reaches too far, each end has an excess of its own: since
    min < max, at most one of them is not 0.)
    """

    name = "rescale"
    family = "narrowing"
    proof = Argument.LINEAR | Argument.LOOKUP
    attributes = (
        AttrSpec("shift", "int", "0 to 48", positional=True),
        AttrSpec("dtype", "dtype", "i8, i16 or i32", positional=True),
        AttrSpec("mult", "int", "fixed-point multiplier, 1 to 2^31 - 1", default=1),
        AttrSpec("lo", "int", "lower bound inside the dtype", optional=True),
        AttrSpec("hi", "int", "upper bound inside the dtype, above lo", optional=True),
    )
    example = "rescale h, acc, 9, i16"

    @staticmethod
    def _bounds(call: Call) -> Interval:
        lo, hi, dtype = call["lo"], call["hi"], call["dtype"]
        return dtype.lo if lo is None else lo, dtype.hi if hi is None else hi

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        shift, mult, dtype = call["shift"], call["mult"], call["dtype"]
        if not 0 <= shift <= 48:
            raise refuse(f"shift {shift} is outside 0 to 48", code="A250")
        if not 1 <= mult < 2**31:
            raise refuse(f"multiplier {mult} is outside 1 to 2^31 - 1", code="A250")
        if dtype is DType.I64:
            raise refuse("rescale narrows to i8, i16 or i32", code="A250")
        least, most = self._bounds(call)
        if not dtype.lo <= least < most <= dtype.hi:
            raise refuse(f"bounds {least} and {most} are not in order inside {dtype}", code="A250")
        result(DType.I64, types[0].shape, scaled(types[0].interval, mult))
        lo, hi = (min(max(end, least), most) for end in hull(_rounded(types[0].interval, mult, shift)))
        return TensorType(dtype, types[0].shape, lo, hi)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        out: I64 = np.clip(_round(values[0], call["mult"], call["shift"]), *self._bounds(call))
        return out

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        src, shift, mult = nodes[0], call["shift"], call["mult"]
        least, most = self._bounds(call)
        y = b.result(result_interval(b))
        b.interval(y, *y.interval, "result")
        lo, hi = _rounded(src.interval, mult, shift)
        ends = [(1, most, hi - most)] * (hi > most) + [(-1, least, least - lo)] * (lo < least)

        def beyond(sign: int, v: Values) -> I64:
            rounded = _round(v(src), mult, shift)
            out: I64 = np.maximum(rounded - most if sign > 0 else least - rounded, 0)
            return out

        def beyond_either(v: Values) -> I64:
            rounded = _round(v(src), mult, shift)
            rounded -= np.minimum(np.maximum(rounded, least), most)
            return np.abs(rounded, out=rounded)

        bits = unsigned_bits(max(hi - most - 1, least - lo, 1))
        z: Node = y
        if len(ends) == 2 and max(most, -least) + 2**bits << shift < 2**62:
            top = b.bit("above", src, lambda v: (_round(v(src), mult, shift) > most).astype(np.int64))
            excess = b.column("excess", src.shape[1:], beyond_either, (0, 2**bits), src.executions)
            b.range(excess - top, bits, "excess")
            b.pin(excess, excess.interval)
            z = y + b.cut(b.mul(top, excess) * 2 - excess, -(2**bits), 2**bits)
            zero_product(b, excess, top * (most - least) + least - y, "excess only at a bound")
        else:
            for sign, bound, most_excess in ends:
                at_end = b.ranged("excess", src, partial(beyond, sign), 0, unsigned_bits(most_excess))
                zero_product(b, at_end, bound - y, "excess only at the bound")
                z = z + at_end * sign
        b.range(src * mult + ((1 << shift) >> 1) - z * (1 << shift), shift, "remainder")
        return y


@register
class Clamp(Op):
    """`dst = min(max(src, lo), hi)`; either bound may be left out. The dtype stays.

    Proof: one maximum and one minimum with a constant (see `max`), each only where the source's interval needs it.
    """

    name = "clamp"
    family = "narrowing"
    proof = Argument.LOOKUP | Argument.CONTRACTION
    attributes = (
        AttrSpec("lo", "int", "lower bound", optional=True, positional=True),
        AttrSpec("hi", "int", "upper bound", optional=True, positional=True),
    )
    example = "clamp h, h, lo=0, hi=255"

    @staticmethod
    def _clamped(call: Call, x: int) -> int:
        lo, hi = call["lo"], call["hi"]
        x = x if lo is None else max(x, lo)
        return x if hi is None else min(x, hi)

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t, lo, hi = types[0], call["lo"], call["hi"]
        if lo is None and hi is None:
            raise refuse("clamp needs lo, hi or both", code="A250")
        if lo is not None and hi is not None and lo > hi:
            raise refuse(f"lower bound {lo} is above upper bound {hi}", code="A250")
        return result(t.dtype, t.shape, (self._clamped(call, t.lo), self._clamped(call, t.hi)))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        out = values[0]
        out = out if call["lo"] is None else np.maximum(out, np.int64(call["lo"]))
        return out if call["hi"] is None else np.minimum(out, np.int64(call["hi"]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x, lo, hi = nodes[0], call["lo"], call["hi"]
        upper = hi is not None and x.hi > hi
        if lo is not None:
            x = extremum(b, x, lo, 1, "at least lo", result=not upper)
        return extremum(b, x, hi, -1, "at most hi", result=True) if upper else typed(b, x)


@register
class Cast(Op):
    """The same values in another dtype; traps where a value does not fit.

    Widening is free. Narrowing is a range lookup of the source; a source that holds a product becomes a column, as
    its readers would make it one anyway.
    """

    name = "cast"
    family = "narrowing"
    proof = Argument.LINEAR | Argument.LOOKUP
    attributes = (AttrSpec("dtype", "dtype", "i8, i16, i32 or i64", positional=True),)
    example = "cast tok, tok, i16"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t, dtype = types[0], call["dtype"]
        if t.lo > dtype.hi or t.hi < dtype.lo:
            raise refuse(f"no value of [{t.lo}, {t.hi}] fits {dtype}", code="A210")
        if dtype.lo <= t.lo and t.hi <= dtype.hi:
            return TensorType(dtype, t.shape, t.lo, t.hi)
        return TensorType(dtype, t.shape, 0 if t.lo >= 0 else dtype.lo, dtype.hi)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        dtype, x = call["dtype"], values[0]
        element = outside(x, dtype.lo, dtype.hi)
        if element is not None:
            raise Trap(f"{x[element]} does not fit {dtype}", element=element, code="T120")
        return x

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        src, dtype = nodes[0], call["dtype"]
        if dtype.lo <= src.lo and src.hi <= dtype.hi:
            return src
        y: Node = src
        if src.has_product:
            y = b.result(result_interval(b))
            b.zero(y - src, "result")
        b.interval(y, *result_interval(b), "result")
        return typed(b, y)
