"""Exact integers for floats that are only compared.

``code`` is the order-preserving integer of a float: the bits of its magnitude, with its sign. ``x <= y`` exactly if
``code(x) <= code(y)``; -0.0 and 0.0 have one code; infinities lie beyond all others and NaN one further, above
everything. A float32's code fits 32 bits. A float64's does not fit the machine: its *rank* among the places where the
model decides anything (``cuts``, codes) stands for it, and NaN for one more than the number of places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syurmy.isa.arrays import I64, Reals

INTEGER = {np.dtype(np.float16): np.int16, np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}


def code(x: Reals) -> I64:
    """The order-preserving integers of floats, in the width of their dtype."""
    kind: Any = INTEGER[x.dtype]
    bits = np.ascontiguousarray(x).view(kind).astype(np.int64)
    magnitude = bits & np.int64(np.iinfo(kind).max)
    codes = np.where(bits < 0, -magnitude, magnitude)
    return np.where(np.isnan(x), nan_code(x.dtype), codes)


def decode(q: I64, dtype: np.dtype[np.floating]) -> Reals:
    """The float of a code; ``code`` without -0.0 backwards."""
    kind = INTEGER[np.dtype(dtype)]
    x: Reals = np.abs(q).astype(kind).view(dtype)
    return np.where(q < 0, -x, x).astype(dtype)


def largest_code(dtype: np.dtype[np.floating]) -> int:
    """The code of infinity."""
    return int(np.array(np.inf, dtype).view(INTEGER[np.dtype(dtype)]))


def nan_code(dtype: np.dtype[np.floating]) -> int:
    return largest_code(dtype) + 1


@dataclass(frozen=True)
class Code:
    """How an input of dtype ``dtype`` enters: by its codes, or by ranks where there are ``cuts`` (per entry, in
    row-major order)."""

    dtype: str
    cuts: tuple[tuple[int, ...], ...] | None = None

    def encode(self, x: Reals) -> I64:
        codes = code(x.astype(self.dtype))
        if self.cuts is None:
            return codes
        nan = nan_code(np.dtype(self.dtype))
        ranks = [
            len(at) + 1 if q == nan else int(np.searchsorted(np.array(at, np.int64), q, side="left"))
            for q, at in zip(codes.reshape(-1), self.cuts, strict=True)
        ]
        return np.array(ranks, np.int64).reshape(x.shape)

    def placed(self, index: int, cuts: Sequence[int]) -> tuple[int, ...]:
        """Cuts of entry ``index``, from codes to integers that enter."""
        if self.cuts is None:
            return tuple(cuts)
        at = self.cuts[index]
        return tuple(int(np.searchsorted(np.array(at, np.int64), k)) for k in cuts)

    def ends(self, shape: Sequence[int]) -> tuple[I64, I64]:
        """The least integer of every entry, and that of NaN, which is the largest."""
        if self.cuts is None:
            top = nan_code(np.dtype(self.dtype))
            return np.full(shape, 1 - top, np.int64), np.full(shape, top, np.int64)
        tops = np.array([len(at) + 1 for at in self.cuts], np.int64)
        return np.zeros(shape, np.int64), tops.reshape(shape)
