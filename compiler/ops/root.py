"""Square roots and logarithms of wide tensors, and squares that stay wide.

A table on a narrowed source knows x to 2^-16 of its peak, which is little of a root or a logarithm near 0: a magnitude
``sqrt(re^2 + im^2)`` of 2^-8 of the peak would be lost. Squares are exact products, sums of them are exact, and of an
accumulator v at scale s the machine takes ``g = floor(sqrt(4^k v))`` exactly: ``sqrt(v s) = g 2^-k sqrt(s)``, error one
unit of that scale. k makes the largest g on the samples 2^20.

A logarithm takes 23 bits of g, more than a table's source has: one table of ``min(g, T)``, T = 2^16 - 1, and one of
``g / 2^8`` that adds what is beyond T and is 0 below. Its relative error is 1/g for small g and 2^-9 above T, over 46
binary orders of magnitude of v instead of 16.
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.lower import Context
from syurmy.compiler.scales import FEW, ROOM_BITS
from syurmy.isa.arrays import F64, I64
from syurmy.isa.types import DType

WIDE = 2**17  # a source beyond this has more bits than a table's
ROOT_BITS = 20
LOG_BITS, COARSE_BITS = 23, 8
FINE_TOP = 2**16 - 1
RECIPROCAL_BITS, SHORT_BITS = 20, 13  # of reciprocals; with fewer, divisors are narrowed to the bits below first
DIVISOR_BITS = 26
SPREAD_BITS = 8  # between divisors: a table of their reciprocals has as few for the small ones' quotients
QUOTIENT_BITS = 40  # of operands; and a quotient's resolution
DIVIDED_BITS = 56  # of divisors where nothing less keeps the tolerance
KEEPING = {"add", "sum", "mov", "reshape", "transpose", "slice", "concat", "broadcast", "flip", "rescale"}  # of x >= 0


def square(c: Context, x: Tensor) -> Tensor:
    """``x * x``, wide and exact for the factor."""
    return c.multiply(x, x)


def is_wide(c: Context, x: Tensor) -> bool:
    """Whether a root of x keeps more than a table would: x is wide and cannot be negative."""
    if x.bound < WIDE:
        return False
    if x.type.lo >= 0:
        return True
    made = {ins.dst: ins for ins in c.out.code}
    waiting = [x.name]
    while waiting:  # intervals do not know that x * x is not negative
        ins = made.get(waiting.pop())
        keeping = ins is not None and (ins.op in KEEPING or (ins.op == "muli" and int(str(ins.get("value"))) >= 0))
        if ins is None or not (keeping or (ins.op == "mul" and ins.src[0] == ins.src[1])):
            return False
        waiting += ins.src if keeping else ()
    return True


def root(c: Context, x: Tensor, bits: int = ROOT_BITS) -> Tensor:
    """The square root, at ``bits`` bits on the samples. x is not negative."""
    k = max(0, bits - (x.peak.bit_length() + 1) // 2)
    while k and x.bound * 4**k >= 2**60:
        k -= 1
    return c.emit("isqrt", c.muli(x, 4**k), scale=math.sqrt(x.scale) / 2.0**k)


def is_positive(c: Context, x: Tensor) -> bool:
    """Whether a fine program divides by x exactly: never below 0, above 0 on the samples, and few (a
    division costs some ten lookups)."""
    few = c.precision.fine and x.type.size <= FEW and all((v > 0).all() for v in x.values)
    return few and (x.type.lo >= 0 or is_wide(c, x))


def at_least(c: Context, x: Tensor, least: int) -> Tensor:
    """``max(x, least)`` for what is divided by: smaller ones are told of, since their quotients come out smaller."""
    y = c.emit("max", x, c.out.param(np.array(least)))
    c.out.cuts_off(y, x, least if least > 1 else None, None)
    return y


def reciprocal(c: Context, x: Tensor) -> Tensor:
    """``floor(2^p / max(x, least))``, ``RECIPROCAL_BITS`` bits or more on the samples; ``least`` is 2^-6 of the least
    x on the samples, and what is below it counts as that."""
    least, p = _reach(x)
    if p < x.peak.bit_length() + SHORT_BITS and x.peak >= 2**DIVISOR_BITS:  # an interval far above what x is
        x = c.rescale_by(x, 1, x.peak.bit_length() - DIVISOR_BITS, DType.I32)
        least, p = _reach(x)
    floor = at_least(c, x, least)
    return c.emit("div", c.out.param(np.array(2**p)), floor, scale=2.0**-p / x.scale)


def _reach(x: Tensor) -> tuple[int, int]:
    """The least divisor, and the power of two that is divided."""
    least = max(1, min(int(v.min()) for v in x.values) >> 6)
    p = RECIPROCAL_BITS + x.peak.bit_length()
    while p > 8 and x.bound * (2**p // least + 1) >= 2**60:
        p -= 1
    return least, p


def is_spread(c: Context, x: Tensor) -> bool:
    """Whether a fine program divides by x exactly, of either sign: few, some of them small on the samples."""
    few = c.precision.fine and x.type.size <= FEW
    return (
        few and min((int(np.abs(v[v != 0]).min(initial=x.peak)) for v in x.values), default=1) < x.peak >> SPREAD_BITS
    )


def exact_quotient(c: Context, a: Tensor | F64, b: Tensor, peak: float) -> Tensor:
    """``floor(2^k a / b)`` for quotients that reach ``peak`` on the samples, cut off at four times that; b of 0 counts
    as 1 unit."""
    b = b if b.bound < 2 ** (DIVIDED_BITS if c.precision.sloped else QUOTIENT_BITS) else c.factor(b)
    if not isinstance(a, Tensor):
        a = c.quantised(a)
    elif a.bound >= 2**QUOTIENT_BITS:
        a = c.factor(a)
    if b.type.lo < 0:
        a, b = c.emit("mul", a, c.emit("sign", b, scale=1.0), scale=a.scale), c.emit("abs", b)
    ratio = a.scale / b.scale
    k = max(0, math.ceil(math.log2(ratio / peak)) + QUOTIENT_BITS)
    while k and a.bound << k >= 2**59:
        k -= 1
    b = c.emit("max", b, c.out.param(np.array(1)))
    q = c.emit("div", c.muli(a, 2**k), b, scale=ratio / 2**k)
    most = 1 << max(math.ceil(math.log2(peak / q.scale)) + ROOM_BITS, 1)
    if q.bound <= most:
        return q
    y = c.emit("clamp", q, lo=-most, hi=most)
    c.out.cuts_off(y, q, -most, most)
    return y


def logarithm(c: Context, x: Tensor, floor: float = 0.0, offset: float = 0.0) -> Tensor:
    """``log(max(x, floor) + offset)``; without a floor or an offset, 0 counts as half a unit of the root."""
    g = root(c, x, LOG_BITS)
    excess = g.peak.bit_length() - LOG_BITS
    if excess > 0:
        g = c.rescale_by(g, 1, excess, DType.I32)

    def function(units: I64) -> F64:
        v = np.maximum(np.square(units * g.scale), floor) + offset
        return np.asarray(np.log(np.maximum(v, (g.scale / 2) ** 2) if not floor + offset else v))

    low = function(np.arange(min(g.type.hi, FINE_TOP) + 1))
    if g.type.hi <= FINE_TOP:
        return _entries(c, g, low, float(np.abs(low).max()))
    fine = c.emit("clamp", g, hi=FINE_TOP)
    coarse = c.rescale_by(g, 1, COARSE_BITS, DType.I32)
    coarse = c.emit("clamp", coarse, hi=FINE_TOP) if coarse.type.hi > FINE_TOP else coarse
    whole = function(np.arange(coarse.type.hi + 1) << COARSE_BITS)
    high = np.maximum(whole - low[-1], 0)
    peak = float(max(np.abs(low).max(), np.abs(whole[1:]).max()))
    return c.emit("add", _entries(c, fine, low, peak), _entries(c, coarse, high, peak))


def _entries(c: Context, x: Tensor, values: F64, peak: float) -> Tensor:
    """The values at 0, 1, ... as a table, in units that keep ``peak`` in an activation."""
    scale = (peak or 1.0) / c.largest
    return c.lookup(x, np.rint(values / scale).astype(np.int64), "log", scale)
