"""Scales: what the integers of a tensor stand for.

    real = scale * integer

with one scale per tensor and no zero point. A product's scale is the product of both, a sum's terms have one scale, and
a constant or an input becomes ``round(real / scale)``. The scale of a tensor of few bits is chosen such that its
largest integer covers what the tensor reaches:

    scale = covered / largest,   want = margin * peak
    covered = max(bound, want)        if bound <= 2^headroom * want: nothing can saturate
              max(bound / 3, want)    if bound / 3 <= 2^headroom * want
              want                    otherwise

where ``peak`` is the largest real on the samples and ``bound`` what the proven interval (L1 norms of the weights)
admits. Beyond what is covered ``rescale`` saturates (defined, and proven); what is cut off beyond a third of the bound
fits one lookup each way.

A *fine* program is for models whose errors add up beyond the tolerance. Weights have all their bits, per channel;
factors of products have 20 bits on the samples (``compiler.narrowing``); tables still take 16 bits and give 20. Where
that misses the tolerance, functions are *sloped*: a second table of slopes takes the rest (``compiler.tables``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syurmy.compiler.emit import Emitter, Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.isa.arrays import Array
from syurmy.isa.program import Attr
from syurmy.isa.types import smallest_dtype

SHIFT = 16  # bits that one lookup of a remainder takes
SLACK = 1 + 2**-6  # so that a peak that moves by rounding does not ask for a longer shift
SATURATED = 3  # top * 3 is less than 2^16 beyond top, for 16 bits
FINE_BITS = 20  # magnitude bits of fine factors on the samples
ROOM_BITS = 2  # what a saturating fine factor keeps above the samples
COARSE = 8  # bits of weights up to which channels have units of their own
FINE_WEIGHT, MOST = 2**19, 2**23  # the largest weight of a fine program is between these many units
SMALL_PARAM = 2**10  # entries
TOO_LARGE = 2**60  # for a constant's integer
BLOCK = 2**18  # entries that are rounded at a time
FEW = 2**12  # entries of a tensor on which exact functions cost nothing


@dataclass(frozen=True)
class Precision:
    """Bits of weights and activations (8 or 16), the factor between a sample's peak and the largest integer, and
    whether factors of products have more bits than that (16 bits only); and where they do, whether functions take them
    too, by a second table of slopes."""

    weights: int = 16
    activations: int = 16
    margin: float = 1.25
    fine: bool = False
    sloped: bool = False
    channels: bool = False

    @property
    def headroom(self) -> int:
        """How many bits of an activation may be given up to prove that nothing saturates."""
        return 1 if self.fine else 2


class Scales:
    """Instructions, constants and units. All methods emit into ``self.out``."""

    def __init__(self, out: Emitter, precision: Precision) -> None:
        self.out = out
        self.precision = precision

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
        if abs(m) >= 2**61:
            reason = f"operands that are {m:.0e} times apart in size"
            raise Unsupported(reason, "parts of one size: -1e4, say, where -1e38 stands for nothing")
        return x if m == 1 else self.emit("muli", x, value=m)

    # ---- constants -----------------------------------------------------------------------------------------------

    def constant(self, x: Array, scale: float, label: str = "c") -> Tensor:
        """The param ``round(x / scale)``; infinities become the largest magnitude that an activation can hold."""
        q = _rounded(x, scale)
        made = self.out.param(q, scale, label)
        if q.size <= SMALL_PARAM:
            self.out.rounds(made.name, np.divide(x, scale, dtype=np.float64).reshape(-1) - q.reshape(-1))
        return made

    def quantised(self, x: Array, bits: int | None = None, label: str = "c") -> Tensor:
        """A constant in ``bits`` bits (the weights' width), symmetric over the whole tensor."""
        top = self.largest if bits is None and self.precision.fine else self._top(bits or self.precision.weights)
        peak = max(-float(x.min(initial=0)), float(x.max(initial=0)))
        if not math.isfinite(peak):
            peak = float(np.abs(x[np.isfinite(x)].astype(np.float64)).max(initial=0.0))
            x = np.clip(x, -peak, peak)
        return self.constant(x, exact_scale(x, peak / top if peak else 1.0), label)

    def finest(self, x: Array, label: str = "c") -> Tensor:
        """A matrix in the unit of its finest use: one product's channels may be its rows, another's its columns."""
        largest, top = float(max(x.max(initial=0), -x.min(initial=0))), self._top(self.precision.weights)
        if not self.precision.fine or not 0 < largest < math.inf:
            return self.quantised(x, label=label)
        small = min(float(np.quantile(np.maximum(x.max(axis=a), -x.min(axis=a)), 0.1)) for a in range(x.ndim))
        return self.constant(x, fine_unit(largest, small, top), label)

    # ---- units ---------------------------------------------------------------------------------------------------

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


def _rounded(x: Array, scale: float) -> Array:
    """``round(x / scale)``, of whole numbers in float64, or in the least dtype of integers where x is large: block by
    block, as every array of its size is fresh memory."""
    ends = np.rint(np.array([x.min(initial=0), x.max(initial=0)], np.float64) / scale)  # rounding keeps the order
    dtype = smallest_dtype(int(ends[0]), int(ends[1])) if np.abs(ends).max() <= TOO_LARGE else None
    if dtype is not None and x.size > BLOCK and x.ndim > 1:
        q = np.empty(x.shape, f"<i{dtype.bits // 8}")
        rows = max(BLOCK * len(x) // x.size, 1)
        for k in range(0, len(x), rows):
            part = np.divide(x[k : k + rows], scale, dtype=np.float64)
            q[k : k + rows] = np.rint(part, out=part)
        return q
    q = np.asarray(np.divide(x, scale, dtype=np.float64))
    np.rint(q, out=q)
    if dtype is None:  # infinite, say; NaN compares as false
        finite = np.abs(q[np.isfinite(q)])
        top = max(float(finite.max()) if finite.size else 0.0, 2.0**20)
        q = np.clip(np.nan_to_num(q, nan=0.0, posinf=top, neginf=-top), -TOO_LARGE, TOO_LARGE)
    return q


def fine_unit(largest: float, small: float, top: int) -> float:
    """The unit of weights in a fine program: ``top`` units for nine tenths of the channels, ``small`` the largest of
    the tenth."""
    return min(max(small / top, largest / MOST), largest / FINE_WEIGHT)


def power_of_two(scale: float) -> float:
    """The least power of two from ``scale`` on."""
    return 2.0 ** math.ceil(math.log2(scale))


def exact_scale(x: Array, scale: float) -> float:
    """The least power of two from ``scale`` on if all entries are whole multiples of it, else ``scale``."""
    for part in (x.reshape(-1)[:FEW], x):  # most are told by a few
        q = part.astype(np.float64) / power_of_two(scale)
        if not (np.rint(q) == q).all():
            return scale
    return power_of_two(scale)
