"""Tables: any real function of one argument, as a lookup of integers.

    entry[q] = clip(round(f(scale_in * q) / scale_out))   for every integer q of the narrowed source's interval

The error is half a unit of the result, plus what rounding the source to 16 bits does to f. In a fine program that is
reduced where the source is wide: its range is cut to the window outside of which f is flat (``_bent``), and a function
that is steep near 0 is the sum of two tables of different units (``_split``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.narrowing import MAX_SHIFT, Narrowing
from syurmy.compiler.scales import FEW, FINE_BITS
from syurmy.isa.arrays import F64, I64, Array
from syurmy.isa.types import DType

SMALL = 2**10  # rows: of what a quantised tensor can be
GRID = 2**12 + 1  # points at which a function is tried
STEEP = 2.0**-12  # of the largest value: what one table may be off


class Tables(Narrowing):
    """Functions by table."""

    def table(
        self,
        x: Tensor,
        f: Callable[[F64], F64],
        label: str,
        scale: float | None = None,
        top: int | None = None,
        least: float = 0.0,
    ) -> Tensor:
        """``f`` entry by entry through a table on the narrowed source; error 1/2 unit of the result plus what rounding
        the source does. Where f leaves the result's width, or is not finite, the table saturates (NaN gives 0).
        ``scale``, ``top``: the result's unit and largest integer, if not those that suit it; ``least``: what a result
        holds at least, whatever the samples reach."""
        bits, zero = min(self.precision.activations, 16), 0.0
        if self.precision.sloped and scale is None and x.bound > self._top(bits):
            return self.sloped(x, f, label)
        if self.precision.fine and x.bound > self._top(bits):
            seen = np.concatenate([v.reshape(-1) for v in x.values]) * x.scale
            want = _values(f, seen)
            window = self._window(x, f, want)
            if scale is None and (both := self._split(x, f, label, seen, want, window, least)) is not None:
                return both
            x, zero = self._bent(x, window)
        return self._plain(self.narrow(x, bits), f, label, zero, scale, top, least)

    def _plain(
        self,
        x: Tensor,
        f: Callable[[F64], F64],
        label: str,
        zero: float = 0.0,
        scale: float | None = None,
        top: int | None = None,
        least: float = 0.0,
    ) -> Tensor:
        """One table on a narrow source, 0 of which stands for ``zero``."""
        rows = np.arange(x.type.lo, x.type.hi + 1, dtype=np.int64)
        y = _values(f, rows * x.scale + zero)
        if scale is None:
            seen = np.zeros(len(rows), bool)
            for v in x.values:
                seen[v.reshape(-1) - x.type.lo] = True
            finite = np.abs(np.where(np.isfinite(y), y, 0))
            bound = float(finite.max()) if np.isfinite(y).all() else math.inf
            scale = self.unit(max(float(finite[seen].max()) if seen.any() else 0.0, least), bound)
        entries = self._entries(y, scale, top)
        found = self.lookup(x, entries, label, scale)
        if len(entries) <= SMALL:
            self.out.rounds(str(dict(self.out.code[-1].attrs)["table"]), y / scale - entries)
        self._cuts_off(found, x, y, scale, top)
        return found

    def _cuts_off(self, found: Tensor, x: Tensor, y: F64, scale: float, top: int | None = None) -> None:
        """Notes where a table of ``y`` saturates."""
        most = top or self.largest
        lo, hi = bool((y < -(most + 1) * scale).any()), bool((y > (most + 1) * scale).any())
        known = np.flatnonzero(~np.isnan(y))
        below = x.type.lo + int(known[0]) - 1 if known.size and known[0] else None
        above = x.type.lo + int(known[-1]) + 1 if known.size and known[-1] < len(y) - 1 else None
        self.out.cuts_off(found, x, -most if lo else None, most if hi else None, below, above)

    def sloped(self, x: Tensor, f: Callable[[F64], F64], label: str) -> Tensor:
        """``f(x_0) + f'(x_0) (x - x_0)``, x_0 the 16-bit argument of two tables: the rest of a fine x is not lost.
        Error f'' / 2 times the square of half a unit of x_0. Where f is flat, x is cut off: what is left has more
        bits."""
        x = self.factor(self._cut_off(x, f))
        shift = self._far(x.peak)
        if shift <= 0:
            return self._plain(self.narrow(x), f, label)
        near = self.rescale_by(x, 1, shift, DType.I16)
        step = near.scale / 2
        y = self._plain(near, f, label)
        slope = self._plain(near, lambda v: (f(v + step) - f(v - step)) / near.scale, f"{label}.slope")
        rest = self.emit("sub", x, self.muli(near, 2**shift), scale=x.scale)
        product = self.multiply(slope, rest)
        return self.emit("add", *self.align([y, product], y.peak * y.scale))

    def _cut_off(self, x: Tensor, f: Callable[[F64], F64]) -> Tensor:
        """``x`` with ``FINE_BITS`` bits of the interval outside of which f is flat, or which the samples do not reach:
        of ``exp -x`` for large x. ``x`` itself where that gains no bit."""
        seen = np.concatenate([v.reshape(-1) for v in x.values]) * x.scale
        reach = max(x.peak * self.precision.margin, 1) * x.scale
        window, ends = (
            self._window(x, f, _values(f, seen)),
            (-float(seen.min(initial=0.0)), float(seen.max(initial=0.0))),
        )
        flat = [w < reach for w in (-window[0], window[1])]
        least = reach / 2**4
        low, high = (min(abs(w), max(e * self.precision.margin, least)) for w, e in zip(window, ends, strict=True))
        most = max(low, high)
        shift = math.floor(math.log2(most / x.scale)) - FINE_BITS if most else 0
        if most > reach / 2 or not 0 <= shift <= MAX_SHIFT:
            return x
        unit = x.scale * 2**shift
        lo, hi = -math.ceil(low / unit), math.ceil(high / unit)
        return self.rescale_by(x, 1, shift, DType.I32, lo, hi, (flat[0], flat[1]))

    def _entries(self, y: F64, scale: float, top: int | None = None) -> I64:
        top = top or self.largest
        return np.rint(np.clip(np.nan_to_num(y / scale, nan=0.0, posinf=top, neginf=-top), -top, top)).astype(np.int64)

    def _split(
        self,
        x: Tensor,
        f: Callable[[F64], F64],
        label: str,
        seen: F64,
        want: F64,
        window: tuple[float, float],
        least: float,
    ) -> Tensor | None:
        """``f(inner(x)) + (f(x) - f(inner(x)))`` where one table is too coarse for a function that is steep near 0 (a
        root, a logarithm, a reciprocal): the first term by a table of small units on x cut off at ``2^15`` of them, the
        second by one of large units, which is 0 where nothing is cut off. None where one table does.
        ``seen``, ``want``: x and f of it on the samples."""
        if min(x.peak, 2**FINE_BITS) < 2**17 or not np.isfinite(want).all():
            return None  # no unit is small enough for a second table, or no result
        coarse = max(window[1] - window[0], x.scale) / 2**16
        off = np.abs(_values(f, np.clip(np.rint(seen / coarse) * coarse, *window)) - want)
        steep = STEEP / (4 if x.type.size <= FEW else 1)
        if not (~(off <= steep * np.abs(want).max(initial=0.0))).any():
            return None
        if not self._helps(x, f, seen, want, float(np.nan_to_num(off, nan=np.inf).max(initial=0.0))):
            return None
        x = self.factor(x)
        shift = self._far(x.peak)
        inner = self.emit("clamp", x, lo=None if x.type.lo >= -(2**15) else -(2**15), hi=2**15 - 1)
        outer = self.rescale_by(x, 1, shift, DType.I16)
        near = np.arange(inner.type.lo, inner.type.hi + 1, dtype=np.int64)
        far = np.arange(outer.type.lo, outer.type.hi + 1, dtype=np.int64) << shift
        low = _values(f, near * x.scale)
        with np.errstate(invalid="ignore"):
            high = _values(f, far * x.scale) - _values(f, np.clip(far, near[0], near[-1]) * x.scale)
        high = np.where((far >= near[0]) & (far <= near[-1]), 0.0, high)
        reached = [v[np.unique(q) - t.type.lo] for t, v in ((inner, low), (outer, high)) for q in t.values]
        scale = self.unit(max(least, *(float(np.abs(v[np.isfinite(v)]).max(initial=0.0)) for v in (want, *reached))))
        parts = []
        for t, v, end in (inner, low, "near"), (outer, high, "far"):
            parts.append(self.lookup(t, self._entries(v, scale), f"{label}.{end}", scale))
            self._cuts_off(parts[-1], t, v, scale)
        return self.emit("add", *parts)

    def _far(self, peak: float) -> int:
        """By how many bits the units of the second table are larger."""
        return math.ceil(peak * self.precision.margin).bit_length() - 15

    def _helps(self, x: Tensor, f: Callable[[F64], F64], seen: F64, want: F64, off: float) -> bool:
        """Whether two tables are off by less than half of what one is, ``off``: not where f oscillates."""
        unit = max(x.scale, x.peak * x.scale / 2**FINE_BITS)
        step = unit * 2.0 ** self._far(x.peak * x.scale / unit)
        edge = unit * 2**15
        near, far = np.clip(np.rint(seen / unit) * unit, -edge, edge), np.rint(seen / step) * step
        with np.errstate(invalid="ignore"):
            rest = _values(f, far) - _values(f, np.clip(far, -edge, edge))
        both = _values(f, near) + np.where(np.abs(far) <= edge, 0.0, rest)
        return bool(np.nan_to_num(np.abs(both - want), nan=np.inf).max(initial=0.0) < off / 2)

    def _bent(self, x: Tensor, window: tuple[float, float]) -> tuple[Tensor, float]:
        """``x`` narrowed to the window outside of which a function is flat (a sigmoid beyond 15, a swish below -15),
        and the real number that 0 stands for: the source saturates there, and the result is the same. ``x`` itself
        where that gives its table few bits."""
        low, high = window
        width, reach = high - low, 2 * max(x.peak * self.precision.margin, 1) * x.scale
        if not 0 < width < 0.8 * reach:
            return x, 0.0
        middle = 0.0 if abs(high + low) < 0.1 * width else (high + low) / 2
        shift = -round(middle / x.scale)
        moved = self.emit("addi", x, value=shift) if shift else x
        top = self._top(min(self.precision.activations, 16))
        flat = -low > -reach / 2, high < reach / 2
        return self.rescale(moved, min(2 * top * x.scale / width, 1.0), DType.I16, flat=flat), -shift * x.scale

    def _window(self, x: Tensor, f: Callable[[F64], F64], want: F64) -> tuple[float, float]:
        """The interval of what x reaches on the samples, with its margin, outside of which f is flat.
        ``want``: f of x there, which says what flat is."""
        reach = max(x.peak * self.precision.margin, 1) * x.scale
        grid = np.linspace(0, reach, GRID)
        sides = [_values(f, sign * grid) for sign in (-1.0, 1.0)]
        unit = float(np.abs(want[np.isfinite(want)]).max(initial=0.0)) / self.largest
        bent = [np.flatnonzero(~(np.abs(y - y[-1]) <= unit / 2)) for y in sides]
        low, high = (float(grid[min((int(b[-1]) if len(b) else 0) + 1, GRID - 1)]) for b in bent)
        return -low, high

    def lookup(self, x: Tensor, entries: I64, label: str, scale: float = 1.0) -> Tensor:
        """``entries[x - x.type.lo]``: a table of integers on the whole interval of x (at most 2^16 wide)."""
        return self.emit("lut", x, scale=scale, table=self.out.lut(x.type.lo, entries, label))


def _values(f: Callable[[F64], F64], x: Array) -> F64:
    with np.errstate(all="ignore"):
        return np.asarray(f(x.astype(np.float64)), np.float64)
