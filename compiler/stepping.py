"""Where a model rounds reals to integers of its own, as ``compiler.rounding`` has to know it.

    quantised    y = clip(rint((fl(unit a) + bias) / scale) + zero)      QuantizeLinear
    scaled       y = clip(rint(fl(unit a) ratio) + zero)                 QLinearConv, where the program is not the same
    integers, scale, zero                                                DynamicQuantizeLinear, of all reals

``a`` is a real beside the integers of a register, and fl rounds to the model's floating point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from syurmy.isa.arrays import F64, I64, Array

MOST = 2**12  # numbers of a step that a record holds
LEVELS = 255  # of DynamicQuantizeLinear
TIE = 2.0**-23  # of a float32 sum whose order is open: about what it is off by
WIDER = 2  # of the largest of all entries, where they are computed in more steps than one sum
PARTS = ("integers", "scale", "zero")  # of DynamicQuantizeLinear


@dataclass(frozen=True)
class Stepped:
    """Instruction ``index`` makes integers of the model from what register ``source`` holds.
    ``kind``: quantised, scaled, or of a DynamicQuantizeLinear the integers, the scale (in units of ``factors[0]``) or
    the zero point. ``units``, ``factors`` (scales, or ratios), ``zeros`` and, if there are, ``biases`` are as many;
    ``rows``, nested lists that broadcast against the source, says which of them an entry has. ``loose``: the reals are
    computed in an order that is open."""

    index: int
    source: str
    kind: str
    units: tuple[float, ...]
    factors: tuple[float, ...] = (1.0,)
    zeros: tuple[int, ...] = (0,)
    biases: tuple[float, ...] = ()
    rows: Any = 0
    lo: int = 0
    hi: int = LEVELS
    dtype: str = "float32"
    loose: bool = False

    def __call__(self, a: F64, ours: I64) -> F64:
        """What the model makes of ``a``; where it may be one of two integers, the one that is not ``ours``."""
        if self.kind in PARTS:
            return self._dynamic((a * self.units[0]).astype(self.dtype), ours)
        rows = np.array(self.rows)
        x = (a * np.array(self.units)[rows]).astype(self.dtype)
        factors = np.array(self.factors, x.dtype)[rows]
        size = WIDER * np.abs(x).max(initial=0.0) / factors
        if self.biases:
            biases = np.array(self.biases, x.dtype)[rows]
            x = x + biases
            size = np.maximum(np.abs(x), np.abs(biases)) / factors
        v = x * factors if self.kind == "scaled" else x / factors
        return self._rounded(v, TIE * size, np.array(self.zeros)[rows], ours.reshape(v.shape))

    def _rounded(self, v: Array, near: Any, zero: Any, ours: I64) -> F64:
        def made(v: Array) -> F64:
            return np.asarray(np.clip(np.rint(v).astype(np.float64) + zero, self.lo, self.hi))

        if not self.loose:
            return made(v)
        above, below = made(v + near), made(v - near)
        return np.where(above != ours, above, below)

    def _dynamic(self, x: Array, ours: I64) -> F64:
        top, bottom = x.max(initial=0.0), x.min(initial=0.0)
        scale = (top - bottom) / np.float32(LEVELS)
        if not scale:
            return np.full(x.shape if self.kind == "integers" else (), np.nan)
        zero = np.rint(np.clip(-bottom / scale, 0, LEVELS))
        if self.kind == "integers":
            v = x / scale
            return self._rounded(v, TIE * WIDER * np.abs(v).max(initial=0.0), zero, ours.reshape(v.shape))
        return np.asarray(zero if self.kind == "zero" else scale / self.factors[0], np.float64)

    @property
    def always(self) -> bool:
        """Whether it may round otherwise where the source's integers are the model's."""
        return self.loose or self.kind == "scaled"

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return len(self.factors) + int(np.size(self.rows))

    @staticmethod
    def read(d: Mapping[str, Any]) -> Stepped:
        """From its record. Raises ``ValueError``, ``TypeError`` or ``KeyError``."""
        reals = {k: tuple(map(float, d[k])) for k in ("units", "factors", "biases")}
        s = Stepped(**{**d, **reals, "zeros": tuple(map(int, d["zeros"]))})
        rows, count = np.array(s.rows), len(s.factors)
        whole = all(isinstance(k, int) for k in (s.index, s.lo, s.hi)) and rows.dtype.kind == "i"
        as_many = {len(s.units), len(s.zeros), len(s.biases) or count} == {count}
        within = whole and as_many and 0 <= rows.min() <= rows.max() < count
        known = s.kind in ("quantised", "scaled", *PARTS) and s.dtype in ("float32", "float64")
        positive = np.array([*s.factors, *s.units])
        finite = np.isfinite(positive).all() and np.isfinite(s.biases).all()
        if not (within and known and isinstance(s.source, str) and finite and (positive > 0).all()):
            raise ValueError
        return s
