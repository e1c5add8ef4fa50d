"""Quantised models as they are: QuantizeLinear and DequantizeLinear, bit for bit.

A dequantised tensor is its integers less the zero point, at the model's own scale, so products and sums of dequantised
tensors are exact accumulators. ``requantised`` then computes, as float32 does, ``saturate(rint(x * s / t) + zero)``,
rounding half to even:

- up to 2^16 values of x: a table of the float32 results themselves;
- s / t within float32 rounding of p / q with q even and at most 2 |x|, so that halves occur: h = floor(2 x p / q) and
  whether anything was cut off decide, through a table of twice the entries of the result;
- otherwise one ``rescale`` by a 31-bit multiplier. It can differ from float32 only within 2^-22 of a half, where the
  order of the reference's float32 sums decides.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.emit import Tensor
from compiler.errors import Unsupported
from compiler.graph import Node
from compiler.lower import Context, Result, lowering
from isa.types import DType

MULTIPLIER = 31  # bits


def requantised(c: Context, x: Tensor, scale: float, zero: int, dtype: np.dtype[Any]) -> Tensor:
    """``saturate(rint(real x / scale) + zero)`` in the range of ``dtype`` (8 or 16 bits), as integers."""
    info = np.iinfo(dtype)
    if info.bits not in (8, 16):
        raise Unsupported(f"quantisation to {dtype}", "8 or 16 bits")
    lo, hi = int(info.min), int(info.max)
    if x.type.hi - x.type.lo < 2**16:
        reals = np.arange(x.type.lo, x.type.hi + 1).astype(np.float32) * np.float32(x.scale)
        entries = np.clip(np.rint(reals / np.float32(scale)).astype(np.int64) + zero, lo, hi)
        return c.lookup(x, entries, "quantise")
    f = Fraction(x.scale) / Fraction(scale)
    simple = f.limit_denominator(2 * x.bound)
    if simple.denominator % 2 == 0 and abs(simple / f - 1) < Fraction(1, 2**22):
        return _half_even(c, x, simple, zero, lo, hi)
    shift = min(48, max(0, MULTIPLIER - 1 - math.floor(math.log2(f))))
    middle = (lo + hi + 1) // 2  # the dtype's range becomes that of a signed one
    offset = (zero - middle) << shift
    mult = round(f * 2**shift)
    while shift and (abs(offset) + x.bound * mult >= 2**60 or mult >= 2**MULTIPLIER):
        shift, offset, mult = shift - 1, offset // 2, round(f * 2 ** (shift - 1))
    y = c.emit("addi", c.muli(x, mult), value=offset) if offset else c.muli(x, mult)
    y = c.emit("rescale", y, scale=1.0, shift=shift, dtype=DType.I8 if info.bits == 8 else DType.I16)
    return c.emit("addi", y, value=middle) if middle else y


def _half_even(c: Context, x: Tensor, f: Fraction, zero: int, lo: int, hi: int) -> Tensor:
    doubled = c.muli(x, 2 * f.numerator)
    h = c.emit("div", doubled, c.out.param(np.array(f.denominator)), scale=1.0)
    cut = c.emit("sub", doubled, c.muli(h, f.denominator))
    inexact = c.emit("gt", cut, c.out.param(np.array(0)), scale=1.0)
    first, last = 2 * (lo - zero) - 2, 2 * (hi - zero) + 2
    if 2 * (last - first + 1) > 2**16:
        raise Unsupported("rounding half to even in 16 bits", "scales whose quotient makes no halves, or 8 bits")
    at = c.emit("add", c.muli(c.emit("clamp", h, lo=first, hi=last), 2), inexact)
    rows = np.arange(2 * first, 2 * last + 2)
    halves, above = rows >> 1, rows & 1
    whole = halves >> 1
    up = (halves & 1) & (above | (whole & 1))
    entries = np.clip(whole + up + zero, lo, hi)
    return c.emit("lut", at, scale=1.0, table=c.out.lut(2 * first, entries.astype(np.int64), "half_even"))


def parameters(c: Context, n: Node, i: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Scale (float32 values, exact) and zero point from inputs i and i + 1, which must be constant."""
    scale = c.const(n.inputs[i])
    zero = c.const(n.inputs[i + 1]) if c.has(n, i + 1) else np.zeros((), np.int64)
    if scale is None or zero is None:
        raise Unsupported("scale and zero point are computed from the input", "constants")
    return scale.astype(np.float64), np.asarray(zero).astype(np.int64)


def one(values: npt.NDArray[Any], what: str) -> Any:
    if values.size != 1:
        raise Unsupported(f"a {what} per channel", "one per tensor")
    return values.reshape(-1)[0]


@lowering("QuantizeLinear", since=10)
def quantize_linear(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    scale, zero = parameters(c, n, 1)
    return requantised(c, x, float(one(scale, "scale")), int(one(zero, "zero point")), c.value(n.outputs[0]).dtype)


@lowering("DequantizeLinear", since=10)
def dequantize_linear(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    scale, zero = parameters(c, n, 1)
    z = int(one(zero, "zero point"))
    y = c.emit("addi", x, value=-z) if z else x
    return y.scaled(float(one(scale, "scale")))
