"""Arrays that users give for a model's inputs: numbers of the input's kind, nothing lost or wrapped on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError


def _held(x: Array) -> Array:
    """Numbers of a dtype that NumPy itself lacks (bfloat16, integers of 2 and 4 bits) in one that it has."""
    if x.dtype.kind == "V" and x.dtype.fields is None:
        for wide in (np.int8, np.uint8, np.float32):
            if np.can_cast(x.dtype, wide):
                return x.astype(wide)
    return x


def accepted(name: str, value: npt.ArrayLike, dtype: np.dtype[Any]) -> Array:
    """``value`` for an input of ``dtype``: floats as they are or from integers, integers whole and within the dtype.

    Raises ``InputError``: I103 for what holds no real numbers or is for text, I104 for fractions where integers are
    expected, I106 for integers outside the dtype.
    """
    if dtype.kind == "O":
        help = "encode it before the model (categories as numbers), and export what comes behind"
        raise InputError(f"input '{name}' of the model is text, numbers are needed", code="I103", help=help)
    if np.ma.is_masked(value):
        raise InputError(f"input '{name}' has masked entries", code="I104", help="fill them in (x.filled(...))")
    try:
        x = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as e:
        raise InputError(f"input '{name}' is not a rectangular array", code="I103") from e
    x = _held(x)
    huge = x.dtype.kind == "O" and x.size > 0 and all(isinstance(v, int) for v in x.flat)  # beyond 64 bits
    if x.dtype.kind not in "fiub" and not huge:
        what = "objects or lists of unlike length" if x.dtype.kind == "O" else f"dtype {x.dtype}"
        raise InputError(f"input '{name}' has {what}, expected {dtype}", code="I103")
    if dtype.kind == "f":
        if huge:
            raise InputError(f"input '{name}' holds integers beyond 64 bits", code="I106", help="give them as floats")
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    if x.dtype.kind == "f" and not (np.isfinite(x) & (np.rint(x) == x)).all():
        raise InputError(f"input '{name}' has fractions, NaN or infinity, expected {dtype}", code="I104")
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    bad = x[(x < low) | (x > high)] if x.dtype.kind != "b" else np.zeros(0)
    if bad.size or (x.dtype.kind == "f" and (np.abs(x) > 2**53).any()):
        worst = bad.reshape(-1)[0] if bad.size else np.abs(x).max()
        raise InputError(f"input '{name}' holds {worst}, which is no {dtype} here", code="I106")
    return x.astype(dtype)
