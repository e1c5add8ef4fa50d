"""Functions of one quantised tensor, or of two of 8 bits, on all the integers that they can have.

``y(a, b) = Q(f(s_a (a - z_a), s_b (b - z_b)))`` has at most 2^16 pairs of arguments, so f is whatever it is in floating
point, entry by entry: one table. Where a rescaled sum ``floor((m a + n b + o) / 2^k)`` or product gives the same on
*every* pair, that is emitted instead: a table of 2^16 rows costs as much as rescaling tens of thousands of entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.lower import Context
from syurmy.compiler.ops.quantised import Requantisation, stepped
from syurmy.compiler.steps import Step
from syurmy.isa.arrays import I64, Array
from syurmy.isa.types import DType


@dataclass(frozen=True, eq=False)
class Quantiser:
    """QuantizeLinear per tensor, with bounds on its source."""

    scale: Array
    zero: int
    limits: tuple[int, int]
    dtype: np.dtype[Any]
    precision: np.dtype[Any] | None
    bounds: tuple[tuple[float, float], ...] = ()

    def function(self, unit: Array, bias: Array | None = None) -> Requantisation:
        """Of integers of ``unit`` (a column), plus ``bias``."""
        scale, zero = (np.broadcast_to(v, unit.shape) for v in (self.scale, np.int64(self.zero)))
        return Requantisation(unit, scale, zero, self.limits, self.dtype, bias, self.bounds, self.precision)

    def of(self, reals: Array) -> I64:
        """The integers of reals."""
        return self.function(np.ones((1, 1))).of(reals.reshape(1, -1), slice(0, 1)).reshape(reals.shape)


@dataclass(frozen=True, eq=False)
class Dequantised:
    """A real tensor that is ``scale * (q - zero)`` with q in ``limits``, one scale per tensor."""

    scale: Array
    zero: int
    limits: tuple[int, int]

    @property
    def width(self) -> int:
        return self.limits[1] - self.limits[0] + 1

    def reals(self, centred: I64) -> Array:
        """As DequantizeLinear computes them from ``q - zero``."""
        return centred.astype(np.float32).astype(self.scale.dtype) * self.scale


def requantised(c: Context, x: Tensor, to: Quantiser, loose: bool = False) -> Tensor:
    """QuantizeLinear of a tensor that stands for reals (``loose``: sums whose order is open)."""
    return stepped(c, x, to.function(np.array([[x.scale]])), np.zeros((), np.int64), loose)


def tabulated(
    c: Context,
    xs: Sequence[Tensor],
    of: Sequence[Dequantised],
    function: Callable[..., I64],
    ratios: Sequence[float] = (),
    zero: int = 0,
    product: Step | None = None,
) -> Tensor:
    """``function(a, ...)`` of one or two tensors of centred integers, which broadcast. It may be near
    ``rint(ratios[0] a + ratios[1] b) + zero``, or near ``product(a b)``."""
    xs = [within(c, x, d).scaled(1.0) for x, d in zip(xs, of, strict=True)]
    grids = [np.arange(x.type.lo, x.type.hi + 1, dtype=np.int64) for x in xs]
    if len(xs) == 1:
        return _table(c, xs[0], function(grids[0]))
    grids = [grids[0][:, None], grids[1][None, :]]
    pairs = np.broadcast_shapes(*(g.shape for g in grids))
    entries = np.broadcast_to(function(*grids), pairs)
    y = _sum(c, xs, grids, entries, ratios, zero) if ratios else None
    if product is not None and (product(grids[0] * grids[1], slice(0, 1)) == entries).all():
        y = stepped(c, c.emit("mul", *xs), product, np.zeros((), np.int64))
    if y is not None:
        return y
    at = c.emit("add", c.muli(xs[0], pairs[1]), xs[1])
    first = int(grids[0][0, 0]) * pairs[1] + int(grids[1][0, 0])
    return c.emit("lut", at, table=c.out.lut(first, entries.reshape(-1), "function"))


def within(c: Context, x: Tensor, d: Dequantised) -> Tensor:
    """A static interval can be wider than the quantised range."""
    lo, hi = (e - d.zero for e in d.limits)
    return x if lo <= x.type.lo and x.type.hi <= hi else c.emit("clamp", x, lo=lo, hi=hi)


def _table(c: Context, x: Tensor, entries: I64) -> Tensor:
    shift = entries - np.arange(x.type.lo, x.type.hi + 1)
    if (shift == shift[0]).all():
        return c.emit("addi", x, value=int(shift[0])) if shift[0] else x
    return c.lookup(x, entries, "function")


def _sum(
    c: Context, xs: Sequence[Tensor], grids: Sequence[I64], entries: I64, ratios: Sequence[float], zero: int
) -> Tensor | None:
    """``floor((m a + n b + o) / 2^k)``, clipped, where that is the function."""
    first, last = int(entries.min()), int(entries.max())
    dtype = DType.I8 if last - first < 2**8 else DType.I16
    base = first - dtype.lo
    for shift in (16, 32):
        mults = [round(r * 2**shift) for r in ratios]
        if max(abs(m) * int(np.abs(g).max()) for m, g in zip(mults, grids, strict=True)) >= 2**58:
            return None
        total = mults[0] * grids[0] + mults[1] * grids[1] + (zero << shift)
        if (np.clip((total + (1 << (shift - 1))) >> shift, first, last) != entries).any():
            continue
        y = c.emit("add", *(c.muli(x, m) for x, m in zip(xs, mults, strict=True)))
        y = c.emit("addi", y, value=(zero - base) << shift)
        y = c.emit("rescale", y, shift=shift, dtype=dtype)
        if y.type.hi > last - base:
            y = c.emit("clamp", y, hi=last - base)
        return c.emit("addi", y, value=base)
    return None
