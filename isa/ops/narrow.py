"""Narrowing: rescale, clamp, cast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isa.instruction import AttrSpec, Call, Op, refuse, register, result
from isa.program import I64
from isa.types import DType, Interval, TensorType, scaled, unsigned_bits

if TYPE_CHECKING:
    from isa.builder import Builder
    from isa.graph import Node


def _rounded(interval: Interval, mult: int, shift: int) -> Interval:
    half = (1 << shift) >> 1
    lo, hi = scaled(interval, mult)
    return (lo + half) >> shift, (hi + half) >> shift


def _round(x: I64, mult: int, shift: int) -> I64:
    return (x * mult + ((1 << shift) >> 1)) >> shift


@register
class Rescale(Op):
    """`dst = saturate(floor((src * mult + 2^(shift-1)) / 2^shift))`: round half up, then clamp to the dtype.

    Proof: `src*mult + 2^(shift-1) - z*2^shift` lies in `[0, 2^shift)` by limbs, and z in its range. Where z's
    interval leaves the dtype, `z = y + over - under` with `over*(max - y) = 0` and `under*(y - min) = 0`.
    """

    name = "rescale"
    family = "narrowing"
    by = "L+T"
    attributes = (
        AttrSpec("shift", "int", "0 to 48", positional=True),
        AttrSpec("dtype", "dtype", "i8, i16 or i32", positional=True),
        AttrSpec("mult", "int", "fixed-point multiplier, 1 to 2^31 - 1", default=1),
    )
    commits = True
    example = "rescale h, acc, 9, i16"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        shift, mult, dtype = call["shift"], call["mult"], call["dtype"]
        if not 0 <= shift <= 48:
            raise refuse(f"shift {shift} is outside 0 to 48", code="A250")
        if not 1 <= mult < 2**31:
            raise refuse(f"multiplier {mult} is outside 1 to 2^31 - 1", code="A250")
        if dtype is DType.I64:
            raise refuse("rescale narrows to i8, i16 or i32", code="A250")
        result(DType.I64, types[0].shape, scaled(types[0].interval, mult))
        return TensorType.full(dtype, types[0].shape)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        shift, dtype = call["shift"], call["dtype"]
        out: I64 = np.clip(_round(values[0], call["mult"], shift), dtype.lo, dtype.hi)
        return out

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        src, shift, mult, dtype = nodes[0], call["shift"], call["mult"], call["dtype"]
        y = b.ranged_result(dtype.lo, dtype.bits)
        lo, hi = _rounded(src.interval, mult, shift)
        z: Node = y
        if hi > dtype.hi:
            over = b.ranged(
                "over",
                y,
                lambda v: np.maximum(_round(v(src), mult, shift) - dtype.hi, 0),
                0,
                unsigned_bits(hi - dtype.hi),
            )
            b.zero(b.mul(over, dtype.hi - y), "over only at the maximum")
            z = z + over
        if lo < dtype.lo:
            under = b.ranged(
                "under",
                y,
                lambda v: np.maximum(dtype.lo - _round(v(src), mult, shift), 0),
                0,
                unsigned_bits(dtype.lo - lo),
            )
            b.zero(b.mul(under, y - dtype.lo), "under only at the minimum")
            z = z - under
        b.range(src * mult + ((1 << shift) >> 1) - z * (1 << shift), shift, "remainder")
        return y
