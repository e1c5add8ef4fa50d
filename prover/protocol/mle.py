"""Multilinear extensions and vectors over K, for the prover and the verifier.

A table over K is ``uint64[2, n]`` (plane 0 and plane 1 of a + b*u), over F ``uint64[n]``, canonical. Index bits are
big-endian: point[0] belongs to the most significant bit. eq(r, i) = product of r_j (bit set) or 1 - r_j (bit clear),
and the extension of T at r is the sum of eq(r, i)*T[i]; a table shorter than 2^k is its own zero extension.

All functions raise ``ValueError`` where shapes do not fit and return new arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from syurmy.prover.field import U64, ZERO, Ext, P, ext_array
from syurmy.prover.kernels import mle as kernels
from syurmy.prover.kernels.pool import MIN_CHUNK, for_ranges

I64 = npt.NDArray[np.int64]
_SERIAL = 12  # levels of an eq vector that one thread expands


def eq_vector(point: Sequence[Ext], size: int | None = None) -> U64:
    """eq(point, i) for i < size (default 2^k): ``uint64[2, size]``. About half a product per entry."""
    k = len(point)
    size = 1 << k if size is None else size
    if not 1 <= size <= 1 << k:
        raise ValueError(f"{size} entries of an eq vector in {k} variables")
    levels = min(k, _SERIAL)
    n = ((size - 1) >> (k - levels)) + 1
    out = np.empty((2, n), dtype=np.uint64)
    kernels.eq_prefix(ext_array(point[:levels]), levels, n, out)
    for level in range(levels, k):
        n = ((size - 1) >> (k - 1 - level)) + 1
        src, out = out, np.empty((2, n), dtype=np.uint64)
        r = point[level]
        for_ranges(kernels.eq_level, src.shape[1], src, np.uint64(r.a), np.uint64(r.b), out)
    return out


def _total(parts: Iterable[tuple[int, int]]) -> Ext:
    a = b = 0
    for x, y in parts:
        a, b = a + int(x), b + int(y)
    return Ext(a, b)


def dot(a: U64, b: U64) -> Ext:
    """Inner product of two ``uint64[2, n]``."""
    if a.shape != b.shape:
        raise ValueError(f"inner product of shapes {a.shape} and {b.shape}")
    return _total(for_ranges(kernels.dot, a.shape[1], np.ascontiguousarray(a), np.ascontiguousarray(b)))


def _dot_flat(w: U64, v: U64, signed: bool) -> Ext:
    if v.ndim != 1 or w.shape != (2, len(v)):
        raise ValueError(f"inner product of shapes {w.shape} and {v.shape}")
    return _total(for_ranges(kernels.dot_base, len(v), np.ascontiguousarray(w), v, signed))


def dot_base(w: U64, v: U64) -> Ext:
    """Inner product of ``uint64[2, n]`` over K and ``uint64[n]`` over F."""
    return _dot_flat(w, np.ascontiguousarray(v), False)


def dot_int(w: U64, v: I64) -> Ext:
    """Inner product of ``uint64[2, n]`` over K and signed integers, |v| < 2^63."""
    return _dot_flat(w, np.ascontiguousarray(v, dtype=np.int64).view(np.uint64), True)


def evaluate(table: U64, point: Sequence[Ext]) -> Ext:
    """The extension of ``uint64[2, n]``, n <= 2^k, at ``point``."""
    return dot(eq_vector(point, table.shape[1]), table)


def evaluate_base(table: U64, point: Sequence[Ext]) -> Ext:
    """The extension of ``uint64[n]``, n <= 2^k, at ``point``."""
    return dot_base(eq_vector(point, len(table)), table)


def _flat(a: U64) -> U64:
    return np.ascontiguousarray(a).reshape(2, -1)


def scale(a: U64, s: Ext) -> U64:
    """s*a for ``uint64[2, ...]``."""
    src = _flat(a)
    out = np.empty_like(src)
    for_ranges(kernels.multiply, src.shape[1], src, ext_array([s]), 0, out)
    return out.reshape(a.shape)


def mul(a: U64, b: U64) -> U64:
    """Entrywise product of two ``uint64[2, ...]``."""
    if a.shape != b.shape:
        raise ValueError(f"product of shapes {a.shape} and {b.shape}")
    src = _flat(a)
    out = np.empty_like(src)
    for_ranges(kernels.multiply, src.shape[1], src, _flat(b), 1, out)
    return out.reshape(a.shape)


def add(a: U64, b: U64) -> U64:
    """Entrywise sum of two arrays of one shape, over K or over F."""
    if a.shape != b.shape:
        raise ValueError(f"sum of shapes {a.shape} and {b.shape}")
    x, y = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    out = np.empty_like(x)
    for_ranges(kernels.add_flat, len(x), x, y, out)
    return out.reshape(a.shape)


def sum_axis(a: U64, axis: int) -> U64:
    """Sum of ``uint64[2, d0, d1, ...]`` over d_axis (axis 0 is d0)."""
    dims = a.shape[1:]
    if not 0 <= axis < len(dims):
        raise ValueError(f"axis {axis} of shape {dims}")
    before, after = 2 * int(np.prod(dims[:axis], dtype=np.int64)), int(np.prod(dims[axis + 1 :], dtype=np.int64))
    out = np.empty((before, after), dtype=np.uint64)
    src = np.ascontiguousarray(a).reshape(before, dims[axis], after)
    for_ranges(kernels.sum_middle, before, src, out, min_chunk=1 + MIN_CHUNK // max(1, dims[axis] * after))
    return out.reshape(2, *dims[:axis], *dims[axis + 1 :])


def scatter_add(a: U64, index: I64, size: int) -> U64:
    """``uint64[2, size]`` with out[index[i]] the sum of the a[i] of that index; index -1 drops the entry."""
    if index.shape != a.shape[1:] or (index.size and not -1 <= int(index.min()) <= int(index.max()) < size):
        raise ValueError("scatter index does not fit")
    out = np.zeros((2, size), dtype=np.uint64)
    kernels.scatter_add(np.ascontiguousarray(a), np.ascontiguousarray(index, dtype=np.int64), out)
    return out


def outer(a: U64, b: U64) -> U64:
    """``uint64[2, n, m]`` of the products a[i]*b[j]."""
    n, m = a.shape[1], b.shape[1]
    out = np.empty((2, n, m), dtype=np.uint64)
    chunk = 1 + MIN_CHUNK // max(1, m)
    for_ranges(kernels.outer, n, np.ascontiguousarray(a), np.ascontiguousarray(b), out, min_chunk=chunk)
    return out


@cache
def _lagrange(degree: int) -> list[int]:
    """1 / product over j != i of (i - j) in F, for i in 0..degree."""
    out = []
    for i in range(degree + 1):
        d = 1
        for j in range(degree + 1):
            d = d * (i - j) % P if j != i else d
        out.append(pow(d, P - 2, P))
    return out


def interpolate(values: Sequence[Ext], x: Ext) -> Ext:
    """The polynomial of degree len(values) - 1 with p(i) = values[i], at x."""
    out = ZERO
    for i, (v, c) in enumerate(zip(values, _lagrange(len(values) - 1), strict=True)):
        term = v * c
        for j in range(len(values)):
            if j != i:
                term = term * (x - j)
        out = out + term
    return out
