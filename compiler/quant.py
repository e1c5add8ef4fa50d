"""Fixed-point numerics: how real arithmetic becomes integer instructions.

A tensor is *wide* while it is an exact accumulator (a product or sum, i64) and *narrow* when its interval fits into
the activation width. Linear operators keep tensors wide, because that is exact and free; an operator that multiplies,
looks up or compares asks for ``narrow``, which emits one ``rescale`` per tensor, however many readers it has.

Scales follow the shift, not the other way round. ``rescale`` with shift 16 costs two lookups and one committed entry
per element where its result provably fits, so weights and common scales are chosen such that 2^16 units of an
accumulator are about one unit of the narrowed tensor. A fixed-point multiplier takes up the rest. No scale is ever
approximated: the result's scale is *defined* by shift and multiplier.

Where the static bound (L1 norms of the weights) exceeds what the samples reach by at most ``headroom`` bits, the scale
covers the bound and nothing can saturate. Where a third of the bound does, the scale covers that third: ``rescale``
saturates beyond (defined, and proven), and what is cut off fits one lookup each way. Otherwise the scale covers
``margin`` times the samples' peak.

A *fine* program is for models whose errors add up beyond the tolerance. Weights have all their bits, per channel;
factors of products have 20 bits on the samples, and what the interval adds above, in two range lookups instead of one
(so they hardly ever saturate); tables still take 16 bits and give 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.compiler.emit import Emitter, Tensor
from syurmy.isa.program import Attr
from syurmy.isa.types import DType

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
SHIFT = 16  # bits that one lookup of a remainder takes
SLACK = 1 + 2**-6  # so that a peak that moves by rounding does not ask for a longer shift
MAX_SHIFT = 48
COARSE = 2**8  # an accumulator up to this much coarser than asked for is not refined
LIMIT = 2**61
SATURATED = 3  # top * 3 is less than 2^16 beyond top, for 16 bits
SAME = 2**-22  # scales that differ by float32 rounding are the same
FINE_BITS = 20  # magnitude bits of fine factors on the samples
LEAST_BITS = 17  # a factor with this many does not have to saturate to get more
ROOM_BITS = 2  # what a saturating fine factor keeps above the samples
FEW = 2**12  # entries of a tensor on which exact functions cost nothing
RATIO_BITS = 16  # of ratios between scales, where the machine has room: small entries keep theirs
SUM_BITS = 48  # what sums take for that; readers have some for factors of their own
GRID = 2**12 + 1  # points at which a function is tried
STEEP = 2.0**-12  # of the largest value: what one table may be off
DIRECT = 2**24  # a factor up to this bound is taken as it is


@dataclass(frozen=True)
class Precision:
    """Bits of weights and activations (8 or 16), the factor between a sample's peak and the largest integer, and
    whether factors of products have more bits than that (16 bits only)."""

    weights: int = 16
    activations: int = 16
    margin: float = 1.25
    fine: bool = False

    @property
    def headroom(self) -> int:
        """How many bits of an activation may be given up to prove that nothing saturates."""
        return 1 if self.fine else 2


class Numerics:
    """Arithmetic on ``Tensor``. All methods emit into ``self.out``."""

    def __init__(self, out: Emitter, precision: Precision) -> None:
        self.out = out
        self.precision = precision
        self._narrowed: dict[tuple[str, int], tuple[Tensor, float]] = {}  # with the ratio of scales

    # ---- instructions --------------------------------------------------------------------------------------------

    def emit(self, op: str, *sources: Tensor, scale: float | None = None, **attrs: Attr | None) -> Tensor:
        """One instruction of the set. ``scale`` of the result: the first source's unless given."""
        kept = {k: v for k, v in attrs.items() if v is not None}
        return self.out.op(op, sources, sources[0].scale if scale is None else scale, attrs=kept)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x if tuple(shape) == x.shape else self.emit("reshape", x, shape=tuple(shape))

    def broadcast(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x if tuple(shape) == x.shape else self.emit("broadcast", x, shape=tuple(shape))

    def muli(self, x: Tensor, m: int) -> Tensor:
        """``m * x`` as reals too. To multiply the scale only, use ``x.scaled``."""
        return x if m == 1 else self.emit("muli", x, value=m)

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """The exact product of both, as factors."""
        a, b = (self.factor(x, 2**29) for x in (a, b))
        return self.emit("mul", a, b, scale=a.scale * b.scale)

    # ---- constants -----------------------------------------------------------------------------------------------

    def constant(self, x: Array, scale: float, label: str = "c") -> Tensor:
        """The param ``round(x / scale)``; infinities become the largest magnitude that an activation can hold."""
        q = np.asarray(x, np.float64) / scale
        finite = np.abs(q[np.isfinite(q)])
        top = max(float(finite.max()) if finite.size else 0.0, 2.0**20)
        q = np.rint(np.nan_to_num(q, nan=0.0, posinf=top, neginf=-top))
        return self.out.param(np.clip(q, -(2**60), 2**60).astype(np.int64), scale, label)

    def quantised(self, x: Array, bits: int | None = None, label: str = "c") -> Tensor:
        """A constant in ``bits`` bits (the weights' width), symmetric over the whole tensor."""
        top = self.largest if bits is None and self.precision.fine else self._top(bits or self.precision.weights)
        finite = np.abs(x[np.isfinite(x)].astype(np.float64))
        peak = float(finite.max()) if finite.size else 0.0
        return self.constant(np.clip(x, -peak, peak), exact_scale(x, peak / top if peak else 1.0), label)

    # ---- narrowing -----------------------------------------------------------------------------------------------

    @staticmethod
    def _top(bits: int) -> int:
        return (1 << (bits - 1)) - 1

    def unit(self, peak: float, bound: float = math.inf) -> float:
        """The scale that a narrow tensor gets: for reals up to ``peak`` on the samples, and ``bound`` at all."""
        want = peak * self.precision.margin
        return (self._covered(want, bound) or 1.0) / self.largest

    @property
    def largest(self) -> int:
        """The largest integer of an activation: of a table's result, and what sums are aligned for."""
        return 2**FINE_BITS - 1 if self.precision.fine else self._top(self.precision.activations)

    def _covered(self, want: float, bound: float) -> float:
        """What the largest integer stands for: the bound, a third of it, or ``want``, the first within headroom."""
        for part in (1, SATURATED):
            if bound / part <= want * 2**self.precision.headroom:
                return max(bound / part, want)
        return want

    def narrow(self, x: Tensor, bits: int | None = None) -> Tensor:
        """``x`` in ``bits`` bits (the activations' width): itself where its interval fits, else rescaled."""
        bits = bits or self.precision.activations
        top = self._top(bits)
        if x.type.lo >= -top - 1 and x.type.hi <= top:
            return x
        if (x.name, bits) not in self._narrowed:
            want = max(x.peak * self.precision.margin, 1)
            covered = self._covered(want, x.bound)
            if covered > top << SHIFT >= want:
                covered = want  # a shift of 16 bits is worth more than a saturation saved
            y = self.rescale(x, min(1.0, top / covered), DType(f"i{bits}"))
            self._narrowed[x.name, bits] = y, y.scale / x.scale
        y, ratio = self._narrowed[x.name, bits]
        return y.scaled(ratio * x.scale)

    def factor(self, x: Tensor, limit: int = 2**31) -> Tensor:
        """``x`` as a factor of an exact product: narrow, or where the program is fine up to ``limit``, with
        ``FINE_BITS`` bits on the samples (``LEAST_BITS``, where that saves saturation)."""
        if x.name in self.out.params:
            return x
        if not self.precision.fine or 2 * limit <= self._top(self.precision.activations):
            return self.narrow(x)
        if x.bound <= min(DIRECT, limit):
            return x
        if x.bound <= 2 * x.peak and x.type.size > FEW:
            return self.narrow(x)  # the bound is reached: 16 bits cover it, and one lookup is enough
        return self._fine(x, limit, relu=False)

    def relu(self, x: Tensor) -> Tensor:
        """``max(x, 0)``, as a factor or narrow; where the program is fine, with the narrowing in one instruction."""
        if not self.precision.fine or x.bound < 2**SHIFT:
            return self.emit("relu", self.narrow(x))
        return self._fine(x, 2**31, relu=True)

    def _fine(self, x: Tensor, limit: int, relu: bool) -> Tensor:
        top = 2 ** min(limit.bit_length() - 1, 31) - 1  # intervals are rounded to powers of two
        key = x.name, -top if relu else top
        if key not in self._narrowed:
            bound = max(x.type.hi, 1) if relu else x.bound
            peak = max((int(v.max()) for v in x.values if v.size), default=0) if relu else x.peak
            want = max(peak, 1)
            f = min(1.0, 2**FINE_BITS / want)
            lo, hi = 0 if relu else None, None
            if bound * f * SLACK > top:
                f = top / (bound * SLACK)
                if relu and (2**SHIFT - 1) / bound * want >= 2 ** (SHIFT - 2):
                    f = (2**SHIFT - 1) / (bound * SLACK)
                elif f * want < 2**LEAST_BITS:
                    bits = min(FINE_BITS, top.bit_length() - ROOM_BITS)
                    f = min(1.0, 2**bits / want)
                    hi = 2 ** (bits + ROOM_BITS) - 1
                    lo = 0 if relu else -hi - 1
            if hi is None and f < 2.0**-SHIFT <= 2**4 * f and bound <= top << SHIFT:
                f = 2.0**-SHIFT  # more bits cost less than a longer remainder
            # powers of two: tensors of one scale keep scales whose ratio is an integer
            y = self.rescale_by(x, 1, min(-math.floor(math.log2(f)), MAX_SHIFT), DType.I32, lo, hi)
            self._narrowed[key] = y, y.scale / x.scale
        y, ratio = self._narrowed[key]
        return y.scaled(ratio * x.scale)

    def rescale(self, x: Tensor, factor: float, dtype: DType, lo: int | None = None, hi: int | None = None) -> Tensor:
        """``round(x * f)``, saturated to ``dtype`` (or lo and hi), f the largest multiplier / 2^shift up to ``factor``
        that costs little: shift 16, and longer only where the multiplier would be 0. The scale follows."""
        shift, room = SHIFT, max(LIMIT // max(x.bound, 1) - 1, 1)
        if factor * 2**SHIFT < 1:
            shift = min(SHIFT + math.ceil(-math.log2(factor * 2**SHIFT)) + 6, MAX_SHIFT)
        while shift > 0 and factor * 2 ** (shift - 1) >= 1 and factor * 2**shift > room:
            shift -= 1
        return self.rescale_by(x, max(1, math.floor(factor * 2**shift)), shift, dtype, lo, hi)

    def rescale_by(
        self, x: Tensor, mult: int, shift: int, dtype: DType, lo: int | None = None, hi: int | None = None
    ) -> Tensor:
        scale = x.scale * 2.0**shift / mult
        return self.emit("rescale", x, scale=scale, shift=shift, dtype=dtype, mult=mult, lo=lo, hi=hi)

    def rescale_to(self, x: Tensor, scale: float, dtype: DType = DType.I16) -> Tensor:
        """``x`` at a given scale, saturated. The ratio is kept to 2^-16 or better, within the machine's 61 bits."""
        factor, shift = x.scale / scale, SHIFT
        while factor * 2**shift < 2**SHIFT and shift < MAX_SHIFT and x.bound * factor * 2 ** (shift + 1) < LIMIT / 2:
            shift += 1
        while factor * 2**shift >= 2**31 and shift > 0:
            shift -= 1
        return self.rescale_by(x, max(1, round(factor * 2**shift)), shift, dtype).scaled(scale)

    # ---- sums of differently scaled tensors ------------------------------------------------------------------------

    def align(self, operands: Sequence[Tensor | Array], peak: float, bound: float = math.inf) -> list[Tensor]:
        """The operands (tensors, or constants as real arrays) at one scale, wide and exact up to 2^-2 units of a
        result that reaches ``peak`` on the samples and ``bound`` at all. Tensors of equal scale stay as they are if the
        constants allow it."""
        tensors = [x for x in operands if isinstance(x, Tensor)]
        constants = [np.asarray(x, np.float64) for x in operands if not isinstance(x, Tensor)]
        if not tensors:
            s = self.unit(peak) / 2**SHIFT
            return [self.constant(x, s) for x in constants]
        s = tensors[0].scale
        if all(abs(t.scale - s) <= SAME * s for t in tensors) and all(_integral(x / s) for x in constants):
            return [x if isinstance(x, Tensor) else self.constant(x, s) for x in operands]
        target = self.unit(peak, bound) * SLACK / 2**SHIFT
        wide = [t for t in tensors if t.bound >= 2**SHIFT]
        base = max(wide, key=lambda t: t.bound) if wide else max(tensors, key=lambda t: t.scale)
        s = base.scale
        if s > target * COARSE:
            s /= 2 ** min(math.floor(math.log2(s / target)), 24)
        if self.precision.fine and any(self._misfit(t, s) > target * 2 ** (SHIFT - 2) for t in tensors):
            reach = max(math.log2(max(t.bound, 1) * t.scale / s) for t in tensors)
            s /= 2 ** max(0, min(RATIO_BITS, SUM_BITS - math.ceil(reach) - len(tensors).bit_length()))
        return [self._at(x, s, target) if isinstance(x, Tensor) else self.constant(x, s) for x in operands]

    def _at(self, x: Tensor, scale: float, target: float) -> Tensor:
        """``x`` times the nearest integer ratio, narrowed first where that would lose more than 1/4 of a unit."""
        if self._misfit(x, scale) > target * 2 ** (SHIFT - 2):
            x = self.factor(x)
        return self.muli(x, round(x.scale / scale)).scaled(scale)

    @staticmethod
    def _misfit(x: Tensor, scale: float) -> float:
        """What ``x`` loses on the samples where the ratio of scales becomes an integer."""
        ratio = x.scale / scale
        return abs(ratio - round(ratio)) * x.peak * scale

    # ---- tables --------------------------------------------------------------------------------------------------

    def table(self, x: Tensor, f: Callable[[Floats], Floats], label: str, scale: float | None = None) -> Tensor:
        """``f`` entry by entry through a table on the narrowed source; error 1/2 unit of the result plus what rounding
        the source does. Where f leaves the result's width, or is not finite, the table saturates (NaN gives 0)."""
        bits, zero = min(self.precision.activations, 16), 0.0
        if self.precision.fine and x.bound > self._top(bits):
            seen = np.concatenate([v.reshape(-1) for v in x.values]) * x.scale
            want = _values(f, seen)
            window = self._window(x, f, want)
            if scale is None and (y := self._split(x, f, label, seen, want, window)) is not None:
                return y
            x, zero = self._bent(x, window)
        x = self.narrow(x, bits)
        rows = np.arange(x.type.lo, x.type.hi + 1, dtype=np.int64)
        y = _values(f, rows * x.scale + zero)
        if scale is None:
            seen = np.zeros(len(rows), bool)
            for v in x.values:
                seen[v.reshape(-1) - x.type.lo] = True
            finite = np.abs(np.where(np.isfinite(y), y, 0))
            bound = float(finite.max()) if np.isfinite(y).all() else math.inf
            scale = self.unit(float(finite[seen].max()) if seen.any() else 0.0, bound)
        return self.lookup(x, self._entries(y, scale), label, scale)

    def _entries(self, y: Floats, scale: float) -> npt.NDArray[np.int64]:
        top = self.largest
        return np.rint(np.clip(np.nan_to_num(y / scale, nan=0.0, posinf=top, neginf=-top), -top, top)).astype(np.int64)

    def _split(
        self,
        x: Tensor,
        f: Callable[[Floats], Floats],
        label: str,
        seen: Floats,
        want: Floats,
        window: tuple[float, float],
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
        x = self.factor(x)
        shift = math.ceil(x.peak * self.precision.margin).bit_length() - 15
        inner = self.emit("clamp", x, lo=None if x.type.lo >= -(2**15) else -(2**15), hi=2**15 - 1)
        outer = self.rescale_by(x, 1, shift, DType.I16)
        near = np.arange(inner.type.lo, inner.type.hi + 1, dtype=np.int64)
        far = np.arange(outer.type.lo, outer.type.hi + 1, dtype=np.int64) << shift
        low = _values(f, near * x.scale)
        with np.errstate(invalid="ignore"):
            high = _values(f, far * x.scale) - _values(f, np.clip(far, near[0], near[-1]) * x.scale)
        high = np.where((far >= near[0]) & (far <= near[-1]), 0.0, high)
        scale = self.unit(
            max(float(np.abs(want).max(initial=0.0)), float(np.abs(low[np.isfinite(low)]).max(initial=0.0)))
        )
        parts = (inner, low, "near"), (outer, high, "far")
        return self.emit(
            "add", *(self.lookup(t, self._entries(v, scale), f"{label}.{end}", scale) for t, v, end in parts)
        )

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
        return self.rescale(moved, 2 * top * x.scale / width, DType.I16), -shift * x.scale

    def _window(self, x: Tensor, f: Callable[[Floats], Floats], want: Floats) -> tuple[float, float]:
        """The interval of what x reaches on the samples, with its margin, outside of which f is flat.
        ``want``: f of x there, which says what flat is."""
        reach = max(x.peak * self.precision.margin, 1) * x.scale
        grid = np.linspace(0, reach, GRID)
        sides = [_values(f, sign * grid) for sign in (-1.0, 1.0)]
        unit = float(np.abs(want[np.isfinite(want)]).max(initial=0.0)) / self.largest
        bent = [np.flatnonzero(~(np.abs(y - y[-1]) <= unit / 2)) for y in sides]
        low, high = (float(grid[min((int(b[-1]) if len(b) else 0) + 1, GRID - 1)]) for b in bent)
        return -low, high

    def lookup(self, x: Tensor, entries: npt.NDArray[np.int64], label: str, scale: float = 1.0) -> Tensor:
        """``entries[x - x.type.lo]``: a table of integers on the whole interval of x (at most 2^16 wide)."""
        return self.emit("lut", x, scale=scale, table=self.out.lut(x.type.lo, entries, label))


def power_of_two(scale: float) -> float:
    """The least power of two from ``scale`` on."""
    return 2.0 ** math.ceil(math.log2(scale))


def exact_scale(x: Array, scale: float) -> float:
    """The least power of two from ``scale`` on if all entries are whole multiples of it, else ``scale``."""
    q = x.astype(np.float64) / power_of_two(scale)
    return power_of_two(scale) if (np.rint(q) == q).all() else scale


def _values(f: Callable[[Floats], Floats], x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(f(x.astype(np.float64)), np.float64)


def _integral(x: Floats) -> bool:
    return bool(np.isfinite(x).all() and (np.abs(x) < 2**40).all() and (np.abs(x - np.rint(x)) <= 1e-9).all())
