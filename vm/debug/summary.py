"""A tensor described for people: type, range, how many entries stand at the ends of their interval, a histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from syurmy.isa.arrays import Array
from syurmy.isa.types import TensorType

BINS = 24
RAMP = " .:-=+*#%@"  # of a histogram in text, from none to most


@dataclass(frozen=True)
class Summary:
    """``type``: the static one, None if there is none. ``lo``, ``hi``, ``mean``: of the entries (None: no entries).
    ``at_lo``, ``at_hi``: how many entries are the ends of the static interval; 0 where that is a single value.
    ``bins``: how many entries lie in each of equal parts of ``lo .. hi``."""

    type: TensorType | None
    shape: tuple[int, ...]
    size: int
    lo: int | None
    hi: int | None
    mean: float | None
    at_lo: int
    at_hi: int
    bins: tuple[int, ...]

    @property
    def saturated(self) -> float:
        """The share of entries at either end of the static interval."""
        return (self.at_lo + self.at_hi) / self.size if self.size else 0.0

    @property
    def histogram(self) -> str:
        """One line: the more entries of a part, the darker its character."""
        most = max(self.bins, default=0)
        return "".join(RAMP[-(-n * (len(RAMP) - 1) // most)] if n else " " for n in self.bins)


def summarised(value: Array, type: TensorType | None = None) -> Summary:
    """The summary of a tensor of integers."""
    x = np.asarray(value)
    if not x.size:
        return Summary(type, x.shape, 0, None, None, None, 0, 0, ())
    lo, hi = int(x.min()), int(x.max())
    at_lo = at_hi = 0
    if type is not None and type.lo < type.hi:
        at_lo, at_hi = int(np.count_nonzero(x == type.lo)), int(np.count_nonzero(x == type.hi))
    count = min(BINS, hi - lo + 1)
    width = -(-(hi - lo + 1) // count)
    part = ((x.astype(object) if hi - lo >= 2**62 else x.astype(np.int64)) - lo) // width
    bins = np.bincount(np.asarray(part, np.int64).reshape(-1), minlength=-(-(hi - lo + 1) // width))
    mean = float(sum(x.reshape(-1).tolist()) / x.size) if x.size < 1000 else float(x.mean(dtype=np.float64))
    return Summary(type, x.shape, x.size, lo, hi, mean, at_lo, at_hi, tuple(int(n) for n in bins))
