"""Averages of dequantised entries, rounded as float32 rounds them.

Between equal scales the average of an even number of entries is half way between two integers every so often, and what
the model's float32 arithmetic makes of it depends on the rounding of each partial sum. With ``scale = S 2^e``, S an
integer, every partial sum is ``(K S + E) 2^e``: K is the sum of the integers, E the small integer that rounding left.

    E_1 = fl(q_1 S) - q_1 S
    E_i = fl((K_{i-1} S + E_{i-1}) + fl(q_i S)) - K_i S

To 24 bits, ``fl`` rounds K S + E to a multiple of 2^k, where K decides k: what it adds depends on E and on K S modulo
2^(k+1), which are small. So a step is two tables, one on K and one on their sum, and the result is
``G(K) + [E >= threshold(K)]``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context
from syurmy.isa.arrays import I64, Array

BITS = 24  # of a float32's mantissa
ROWS = 2**16
NORMAL = 100  # binary orders of magnitude around 1 that are far from subnormal numbers and infinity


def windows(n: Node, image: Sequence[int], out: Sequence[int]) -> list[tuple[int, ...]] | None:
    """The places of a window's entries, if all windows lie inside the image; row by row."""
    kernel = n.attr("kernel_shape")
    strides, dilations = n.attr("strides") or (1,) * len(kernel), n.attr("dilations") or (1,) * len(kernel)
    if n.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or any(d != 1 for d in dilations):
        return None
    if any((o - 1) * s + k > i for i, o, k, s in zip(image, out, kernel, strides, strict=True)):
        return None
    return list(itertools.product(*map(range, kernel)))


def averaged(
    c: Context, x: Tensor, n: Node, scale: Array, out: Sequence[int], quantise: Callable[[Array], I64]
) -> Tensor | None:
    """``quantise`` of the float32 averages over the windows of n; None where tables would be too large."""
    places = windows(n, x.shape[2:], out)
    mantissa, exponent = math.frexp(float(scale))
    s, exponent = int(mantissa * 2**BITS), exponent - BITS
    if places is None or abs(exponent) > NORMAL:
        return None
    strides = n.attr("strides") or (1,) * len(out)
    x = x.scaled(1.0)
    q = np.arange(x.type.lo, x.type.hi + 1, dtype=np.int64)
    errors = c.lookup(x, rounded(q * s) - q * s, "rounding")
    total: Tensor | None = None
    error: Tensor | None = None
    for place in places:
        entry, lost = (_taken(c, t, place, out, strides) for t in (x, errors))
        if total is None or error is None:
            total, error = entry, lost
            continue
        total, error = c.emit("add", total, entry), c.emit("add", error, lost)
        error = _after(c, total, error, s)
        if error is None:
            return None
    assert total is not None
    assert error is not None
    return _result(c, total, error, s, exponent, len(places), quantise)


def rounded(v: I64) -> I64:
    """Integers of up to 53 bits as float32 holds them."""
    return v.astype(np.float64).astype(np.float32).astype(np.float64).astype(np.int64)


def _taken(c: Context, x: Tensor, place: Sequence[int], out: Sequence[int], strides: Sequence[int]) -> Tensor:
    for k, (start, length, step) in enumerate(zip(place, out, strides, strict=True)):
        x = c.emit("slice", x, axis=k + 2, start=start, len=length, step=step)
    return x


def _after(c: Context, total: Tensor, error: Tensor, s: int) -> Tensor | None:
    """The error of the rounded sum. ``error``: before it is rounded."""
    k = np.arange(total.type.lo, total.type.hi + 1, dtype=np.int64)
    lo, hi = error.type.lo, error.type.hi
    ends = np.abs(np.stack([k * s + lo, k * s + hi]))
    cut = np.maximum(np.frexp(ends.astype(np.float64))[1] - BITS, 0)  # exact: below 2^53
    if (cut[0] != cut[1]).any():
        return None  # rounding depends on more than K
    cut = cut[0]
    if not cut.any():
        return error
    first, entries, at = {}, [], 0
    for bits in map(int, np.unique(cut)):
        w = np.arange(lo, hi + (2 << bits), dtype=np.int64)
        half, rest, whole = (1 << bits) >> 1, w & ((1 << bits) - 1), w >> bits
        up = (rest > half) | ((rest == half) & (whole & 1 == 1)) if bits else np.zeros(len(w), bool)
        first[bits] = at - lo
        entries.append(((whole + up) << bits) - w)
        at += len(w)
    if at > ROWS:
        return None
    base = np.array([first[int(b)] for b in cut]) + ((k * s) & ((2 << cut) - 1))
    place = c.emit("add", c.lookup(total, base, "place"), error)
    added = c.emit("lut", place, scale=1.0, table=c.out.lut(0, np.concatenate(entries), "rounding"))
    return c.emit("add", error, added)


def _result(
    c: Context,
    total: Tensor,
    error: Tensor,
    s: int,
    exponent: int,
    count: int,
    quantise: Callable[[Array], I64],
) -> Tensor | None:
    k = np.arange(total.type.lo, total.type.hi + 1, dtype=np.int64)
    lo, hi = error.type.lo, error.type.hi

    def value(e: I64) -> I64:
        reals = np.ldexp((k * s + e).astype(np.float64), exponent).astype(np.float32)
        return quantise(reals / np.float32(count))

    low = value(np.full(len(k), lo))
    top = value(np.full(len(k), hi))
    if (top > low + 1).any():
        return None
    y = c.lookup(total, low, "average")
    if (top == low).all():
        return y
    left, right = np.full(len(k), lo), np.full(len(k), hi + 1)  # the least e with a larger value
    while (left < right).any():
        middle = (left + right) >> 1
        up = (value(np.minimum(middle, hi)) > low) | (middle > hi)
        right, left = np.where(up, middle, right), np.where(up, left, np.minimum(middle + 1, right))
    y = c.emit("add", y, c.emit("ge", error, c.lookup(total, right, "threshold"), scale=1.0))
    return c.emit("clamp", y, hi=int(top.max())) if y.type.hi > top.max() else y
