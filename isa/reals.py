"""What integers stand for where they are not counted: ``real = integer * scale``, or the order of floats.

A ``scale`` is an exact rational; the real of an integer is the float64 nearest to the product. The *code* of a float is
the integer that has its place in the order of all floats of its dtype: the bits of its magnitude, with its sign.
``x <= y`` exactly if ``code(x) <= code(y)``; -0.0 and 0.0 have one code; infinities lie beyond all others and NaN one
further, above everything. A float32's code fits 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Reals = npt.NDArray[np.float64]
INTEGER = {np.dtype(np.float16): np.int16, np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}
EXACT = 2**53  # integers up to here are float64


def reals(q: Ints, scales: Sequence[Fraction]) -> Reals:
    """``q * scale`` to the nearest float64; of several scales one for each position of the last axis."""
    if len(scales) > 1:
        columns = [reals(q[..., k], [s]) for k, s in enumerate(scales)]
        return np.stack(columns, axis=-1) if columns else np.zeros(q.shape)
    (scale,) = scales
    unit, (n, d) = float(scale), scale.as_integer_ratio()
    largest = max(abs(int(q.max(initial=0))), abs(int(q.min(initial=0))))
    if largest <= EXACT and Fraction(unit) == scale:
        return np.asarray(q * unit, np.float64)  # rounded once
    if largest * n <= EXACT and d <= EXACT:
        return np.asarray(q * n / d, np.float64)
    return np.array([float(int(v) * scale) for v in q.flat], np.float64).reshape(q.shape)


def integers(x: Floats, scale: float | Floats) -> Reals:
    """Reals to the nearest whole multiples of a scale, half to even, as floats. By a float32 scale in float32, as a
    model's own quantisation does."""
    unit = np.asarray(scale)
    kind: Any = np.float32 if (unit.astype(np.float32) == unit).all() else np.float64
    with np.errstate(over="ignore"):
        return np.asarray(np.rint(x.astype(kind) / unit.astype(kind)), np.float64)


def decimals(scale: Fraction) -> int:
    """Digits after the point with which a real is within half a unit: the least d with 10^-d <= scale."""
    d = 0
    while Fraction(1, 10**d) > scale:
        d += 1
    return d


def code(x: Floats) -> Ints:
    """The order-preserving integers of floats, in the width of their dtype."""
    kind: Any = INTEGER[x.dtype]
    bits = np.asarray(x, order="C").view(kind).astype(np.int64)
    magnitude = bits & np.int64(np.iinfo(kind).max)
    codes = np.where(bits < 0, -magnitude, magnitude)
    return np.where(np.isnan(x), nan_code(x.dtype), codes)


def decode(q: Ints, dtype: np.dtype[np.floating]) -> Floats:
    """The float of a code; ``code`` without -0.0 backwards. What is beyond the code of NaN is NaN."""
    kind = INTEGER[np.dtype(dtype)]
    x: Floats = np.minimum(np.abs(q), nan_code(dtype)).astype(kind).view(dtype)
    return np.where(q < 0, -x, x).astype(dtype)


def largest_code(dtype: np.dtype[np.floating]) -> int:
    """The code of infinity."""
    return int(np.array(np.inf, dtype).view(INTEGER[np.dtype(dtype)]))


def nan_code(dtype: np.dtype[np.floating]) -> int:
    return largest_code(dtype) + 1
