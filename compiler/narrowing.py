"""Narrowing: from an exact accumulator to a tensor of few bits, and tensors of several scales at one.

    rescale(x) = clip(round(x * mult / 2^shift), lo, hi),   scale of the result = scale of x * 2^shift / mult

A tensor is *wide* while it is an exact accumulator (a product or sum, i64) and *narrow* when its interval fits into
the activation width. Linear operators keep tensors wide, because that is exact and free; an operator that multiplies,
looks up or compares asks for ``narrow``, which emits one ``rescale`` per tensor, however many readers it has.

Scales follow the shift, not the other way round. ``rescale`` with shift 16 costs two lookups and one committed entry
per element where its result provably fits, so weights and common scales are chosen such that 2^16 units of an
accumulator are about one unit of the narrowed tensor. A fixed-point multiplier takes up the rest, and where that takes
a longer shift, one up to the widest range table, in which the remainder is still one lookup. No scale is ever
approximated: the result's scale is *defined* by shift and multiplier.

In a fine program (``compiler.scales``) factors of products have 20 bits on the samples, and what the interval adds
above, in two range lookups instead of one (so they hardly ever saturate).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from syurmy.compiler.emit import Emitter, Tensor
from syurmy.compiler.scales import FEW, FINE_BITS, ROOM_BITS, SHIFT, SLACK, Precision, Scales
from syurmy.isa.arrays import F64, Array
from syurmy.isa.ranges import WIDEST
from syurmy.isa.types import DType

MAX_SHIFT = 48
FINEST = 54  # of a sum's largest, the bits that the finest of its terms may have
COARSE = 2**8  # an accumulator up to this much coarser than asked for is not refined
LIMIT = 2**61
SAME = 2**-22  # scales that differ by float32 rounding are the same
LEAST_BITS = 17  # a factor with this many does not have to saturate to get more
SLOPED_BITS = 26  # of factors of a product, where nothing less keeps the tolerance
HALF = 27  # bits of half a factor of a long product
FAR_BELOW = 2**14
RATIO_BITS = 16  # of ratios between scales, where the machine has room: small entries keep theirs
SUM_BITS = 48  # what sums take for that; readers have some for factors of their own
DIRECT = 2**24  # a factor up to this bound is taken as it is


class Narrowing(Scales):
    """Narrow tensors and factors, each made once for all its readers, and common scales."""

    def __init__(self, out: Emitter, precision: Precision) -> None:
        super().__init__(out, precision)
        self.narrowed: dict[tuple[str, int], tuple[Tensor, float]] = {}  # with the ratio of scales

    def narrow(self, x: Tensor, bits: int | None = None) -> Tensor:
        """``x`` in ``bits`` bits (the activations' width): itself where its interval fits, else rescaled."""
        bits = bits or self.precision.activations
        top = self._top(bits)
        if x.type.lo >= -top - 1 and x.type.hi <= top:
            return x
        if (x.name, bits) not in self.narrowed:
            want = max(x.peak * self.precision.margin, 1)
            covered = self._covered(want, x.bound)
            if covered > top << SHIFT >= want:
                covered = want  # a shift of 16 bits is worth more than a saturation saved
            y = self.rescale(x, min(1.0, top / covered), DType(f"i{bits}"))
            self.narrowed[x.name, bits] = y, y.scale / x.scale
        y, ratio = self.narrowed[x.name, bits]
        return y.scaled(ratio * x.scale)

    def factor(self, x: Tensor, limit: int = 2**31, bits: int = FINE_BITS) -> Tensor:
        """``x`` as a factor of an exact product: narrow, or where the program is fine up to ``limit``, with
        ``bits`` bits on the samples (``LEAST_BITS``, where that saves saturation)."""
        if x.name in self.out.params:
            return x
        if not self.precision.fine or 2 * limit <= self._top(self.precision.activations):
            return self.narrow(x)
        if x.bound <= min(DIRECT, limit):
            return x
        if x.bound <= 2 * x.peak and x.type.size > FEW:
            return self.narrow(x)  # the bound is reached: 16 bits cover it, and one lookup is enough
        return self._fine(x, limit, relu=False, most=bits)

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        """The exact product of both, as factors; where functions are sloped they have ``SLOPED_BITS``, which takes no
        more lookups."""
        if self.precision.sloped and self._spread(a, b):
            return self._long(a, b)
        a, b = (self.factor(x, 2**29, SLOPED_BITS if self.precision.sloped else FINE_BITS) for x in (a, b))
        return self.emit("mul", a, b, scale=a.scale * b.scale)

    @staticmethod
    def _spread(a: Tensor, b: Tensor) -> bool:
        """Whether few products on the samples are all far below that of both peaks: large ones meet small ones, and
        factors of one unit each would lose these."""
        if a.type.size > FEW or b.type.size > FEW:
            return False
        reached = (
            float(np.abs(x.astype(np.float64) * y).max(initial=0.0)) for x, y in zip(a.values, b.values, strict=True)
        )
        return float(a.peak) * b.peak > FAR_BELOW * max(max(reached), 1.0)

    def _long(self, a: Tensor, b: Tensor) -> Tensor:
        """The product of factors of ``2 * HALF`` bits, by halves: one in that many of what the bounds of both allow."""
        halves = []
        for x in (a, b):
            up = 2 * HALF - x.bound.bit_length()
            if up < 0:
                x = self.emit("shr", x, amount=-up, scale=x.scale * 2.0**-up)
            elif up:
                x = self.emit("muli", x, value=2**up).scaled(x.scale / 2**up)
            low = self.emit("mod", x, self.out.param(np.array(2**HALF)), scale=x.scale)
            halves.append((self.emit("shr", x, amount=HALF, scale=x.scale * 2**HALF), low))
        (a, low_a), (b, low_b) = halves
        scale = a.scale * b.scale
        crossed = [self.emit("mul", x, y, scale=scale / 2**HALF) for x, y in ((a, low_b), (b, low_a))]
        middle = self.emit("shr", self.emit("add", *crossed), amount=HALF, scale=scale)
        return self.emit("add", self.emit("mul", a, b, scale=scale), middle)

    def addend(self, x: Tensor, count: int) -> Tensor:
        """Reals ``x``, such that sums of ``count`` of them stay integers: as they are where that is so."""
        return x if x.bound * count < LIMIT // 2 else self.factor(x, LIMIT // (2 * count))

    def relu(self, x: Tensor, alone: bool = False) -> Tensor:
        """``max(x, 0)``, as a factor or narrow; with the narrowing in one instruction where the program is fine or x is
        ``alone``: read by nothing else."""
        if self.precision.fine and x.bound >= 2**SHIFT:
            return self._fine(x, 2**31, relu=True)
        cut = self.between(x, 0.0, math.inf) if alone else None
        return cut or self.emit("relu", self.narrow(x))

    def between(self, x: Tensor, lo: float, hi: float, exact: bool = False) -> Tensor | None:
        """``x`` narrow and cut to these reals (up to half a unit) by one instruction, where that is one less: not where
        x is narrow already. How far is cut off takes fewer lookups than a comparison, and none where the narrowing
        alone would saturate. ``exact``: the bound that is not 0 is a whole number of units."""
        dtype = DType(f"i{self.precision.activations}")
        if (x.type.lo >= dtype.lo and x.type.hi <= dtype.hi) or (x.name, dtype.bits) in self.narrowed:
            return None
        least, most = (end / x.scale for end in (lo, hi))
        kept = [abs(float(v)) for s in x.values if s.size for v in np.clip([s.min(), s.max()], least, most)]
        bound = max(abs(float(end)) for end in np.clip([x.type.lo, x.type.hi], least, most))
        want = min(max(max(kept, default=0) * self.precision.margin, 1), max(bound, 1))
        mult, shift = self._fraction(x, min(1.0, dtype.hi / self._covered(want, bound)))
        scale = x.scale * 2.0**shift / mult
        end = abs(hi) if 0 < abs(hi) < math.inf else abs(lo)
        units = int(end / scale) if exact and end < math.inf else 0
        if 1 <= units <= dtype.hi:
            # a multiplier that is long enough, where there is room, for the bound to be that many
            room = (LIMIT // max(x.bound, 1)).bit_length() - 2
            longer = min(shift + max(min(SHIFT, room) - mult.bit_length(), 0), MAX_SHIFT)
            wanted = units * x.scale / end * 2**longer
            if wanted >= 1 and abs(round(wanted) / wanted - 1) * units <= 1 / 2:
                mult, shift, scale = round(wanted), longer, end / units
        ends = [round(end / scale) if dtype.lo <= end / scale <= dtype.hi else None for end in (lo, hi)]
        flat = [end is not None for end in ends]
        if not any(flat) or (all(flat) and ends[0] == ends[1]):
            return None
        y = self.rescale_by(x, mult, shift, dtype, ends[0], ends[1], (flat[0], flat[1]))
        return y.scaled(scale)

    def _fine(self, x: Tensor, limit: int, relu: bool, most: int = FINE_BITS) -> Tensor:
        top = 2 ** min(limit.bit_length() - 1, 31) - 1  # intervals are rounded to powers of two
        key = x.name, -top if relu else top << (most - FINE_BITS)
        if key not in self.narrowed:
            bound = max(x.type.hi, 1) if relu else x.bound
            peak = max((int(v.max()) for v in x.values if v.size), default=0) if relu else x.peak
            want = max(peak, 1)
            f = min(1.0, 2**most / want)
            lo, hi = 0 if relu else None, None
            if bound * f * SLACK > top:
                f = top / (bound * SLACK)
                if relu and (2**SHIFT - 1) / bound * want >= 2 ** (SHIFT - 2):
                    f = (2**SHIFT - 1) / (bound * SLACK)
                elif f * want < 2 ** (LEAST_BITS + most - FINE_BITS):
                    bits = min(most, top.bit_length() - ROOM_BITS)
                    f = min(1.0, 2**bits / want)
                    hi = 2 ** (bits + ROOM_BITS) - 1
                    lo = 0 if relu else -hi - 1
            if hi is None and f < 2.0**-SHIFT <= 2**4 * f and bound <= top << SHIFT:
                f = 2.0**-SHIFT  # more bits cost less than a longer remainder
            # powers of two: tensors of one scale keep scales whose ratio is an integer
            y = self.rescale_by(x, 1, min(-math.floor(math.log2(f)), MAX_SHIFT), DType.I32, lo, hi)
            self.narrowed[key] = y, y.scale / x.scale
        y, ratio = self.narrowed[key]
        return y.scaled(ratio * x.scale)

    def rescale(
        self,
        x: Tensor,
        factor: float,
        dtype: DType,
        lo: int | None = None,
        hi: int | None = None,
        flat: tuple[bool, bool] = (False, False),
    ) -> Tensor:
        """``round(x * f)``, saturated to ``dtype`` (or lo and hi), f the largest multiplier / 2^shift up to ``factor``
        that costs little: shift 16, longer only where the multiplier would be 0, and longer than one range table only
        where it would be less than 2. The scale follows. ``flat``: at which ends the reader does not mind that it
        saturates."""
        return self.rescale_by(x, *self._fraction(x, factor), dtype, lo, hi, flat)

    @staticmethod
    def _fraction(x: Tensor, factor: float) -> tuple[int, int]:
        """Multiplier and shift of ``rescale``."""
        shift, room = SHIFT, max(LIMIT // max(x.bound, 1) - 1, 1)
        if factor * 2**SHIFT < 1:
            least = SHIFT + math.ceil(-math.log2(factor * 2**SHIFT))  # for a multiplier of 1
            shift = WIDEST if least < WIDEST else min(least + 6, MAX_SHIFT)
        while shift > 0 and factor * 2 ** (shift - 1) >= 1 and factor * 2**shift > room:
            shift -= 1
        return max(1, math.floor(factor * 2**shift)), shift

    def rescale_by(
        self,
        x: Tensor,
        mult: int,
        shift: int,
        dtype: DType,
        lo: int | None = None,
        hi: int | None = None,
        flat: tuple[bool, bool] = (False, False),
    ) -> Tensor:
        scale = x.scale * 2.0**shift / mult
        y = self.emit("rescale", x, scale=scale, shift=shift, dtype=dtype, mult=mult, lo=lo, hi=hi)
        half = (1 << shift) >> 1
        below = (x.type.lo * mult + half) >> shift < y.type.lo and not flat[0] and lo != 0  # 0: a relu
        above = (x.type.hi * mult + half) >> shift > y.type.hi and not flat[1]
        self.out.cuts_off(y, x, y.type.lo if below else None, y.type.hi if above else None)
        return y

    def rescale_to(
        self,
        x: Tensor,
        scale: float,
        dtype: DType = DType.I16,
        lo: int | None = None,
        hi: int | None = None,
        flat: tuple[bool, bool] = (False, False),
    ) -> Tensor:
        """``x`` at a given scale, saturated (to lo and hi). The ratio is kept to 2^-16 or better, within the
        machine's 61 bits."""
        factor, shift = x.scale / scale, SHIFT
        while factor * 2**shift < 2**SHIFT and shift < MAX_SHIFT and x.bound * factor * 2 ** (shift + 1) < LIMIT / 2:
            shift += 1
        while factor * 2**shift >= 2**31 and shift > 0:
            shift -= 1
        return self.rescale_by(x, max(1, round(factor * 2**shift)), shift, dtype, lo, hi, flat).scaled(scale)

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
        largest = max([peak, *(float(np.abs(x[np.isfinite(x)]).max(initial=0.0)) for x in constants)])
        s = max(s, largest / 2**FINEST)  # a term far below a unit of the result leaves the others their room
        if s > target * COARSE:
            s /= 2 ** min(math.floor(math.log2(s / target)), 24)
        if self.precision.fine and any(self._misfit(t, s) > target * 2 ** (SHIFT - 2) for t in tensors):
            reach = max(math.log2(max(t.bound, 1) * t.scale / s) for t in tensors)
            s /= 2 ** max(0, min(RATIO_BITS, SUM_BITS - math.ceil(reach) - len(tensors).bit_length()))
        reach = 2 * len(operands) * max(t.bound * t.scale for t in tensors) / LIMIT
        if s < reach:  # more would leave the machine's integers
            s *= 2.0 ** math.ceil(math.log2(reach / s))
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


def _integral(x: F64) -> bool:
    return bool(np.isfinite(x).all() and (np.abs(x) < 2**40).all() and (np.abs(x - np.rint(x)) <= 1e-9).all())
