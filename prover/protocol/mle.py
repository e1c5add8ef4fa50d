"""Multilinear extensions and vectors over K, for the prover and the verifier.

A table over K is ``uint64[2, n]`` (plane 0 and plane 1 of a + b*u), over F ``uint64[n]``, canonical. Index bits are
big-endian: point[0] belongs to the most significant bit. eq(r, i) = product of r_j (bit set) or 1 - r_j (bit clear),
and the extension of T at r is the sum of eq(r, i)*T[i]; a table shorter than 2^k is its own zero extension.

All functions raise ``ValueError`` where shapes do not fit and return new arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.prover.field import ONE, U64, Ext, P, ext_array
from syurmy.prover.protocol import arithmetic, plain
from syurmy.prover.protocol.plain import times_u


def eq_vector(point: Sequence[Ext], size: int | None = None) -> U64:
    """eq(point, i) for i < size (default 2^k): ``uint64[2, size]``."""
    k = len(point)
    size = 1 << k if size is None else size
    if not 1 <= size <= 1 << k:
        raise ValueError(f"{size} entries of an eq vector in {k} variables")
    return arithmetic.current().eq_vector(ext_array(point), size)


def dot(a: U64, b: U64) -> Ext:
    """Inner product of two ``uint64[2, n]``."""
    if a.shape != b.shape:
        raise ValueError(f"inner product of shapes {a.shape} and {b.shape}")
    return arithmetic.current().dot(np.ascontiguousarray(a), np.ascontiguousarray(b))


def dot_base(w: U64, v: U64) -> Ext:
    """Inner product of ``uint64[2, n]`` over K and ``uint64[n]`` over F."""
    _check_flat(w, v)
    return arithmetic.current().dot_base(np.ascontiguousarray(w), np.ascontiguousarray(v))


def dot_int(w: U64, v: I64) -> Ext:
    """Inner product of ``uint64[2, n]`` over K and signed integers, |v| < 2^63."""
    _check_flat(w, v)
    return arithmetic.current().dot_int(np.ascontiguousarray(w), np.ascontiguousarray(v, dtype=np.int64))


def _check_flat(w: U64, v: U64 | I64) -> None:
    if v.ndim != 1 or w.shape != (2, len(v)):
        raise ValueError(f"inner product of shapes {w.shape} and {v.shape}")


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
    return arithmetic.current().multiply(_flat(a), ext_array([s])).reshape(a.shape)


def mul(a: U64, b: U64) -> U64:
    """Entrywise product of two ``uint64[2, ...]``."""
    if a.shape != b.shape:
        raise ValueError(f"product of shapes {a.shape} and {b.shape}")
    return arithmetic.current().multiply(_flat(a), _flat(b)).reshape(a.shape)


def add(a: U64, b: U64) -> U64:
    """Entrywise sum of two arrays of one shape, over K or over F."""
    if a.shape != b.shape:
        raise ValueError(f"sum of shapes {a.shape} and {b.shape}")
    return arithmetic.current().add(np.ascontiguousarray(a), np.ascontiguousarray(b))


def sum_axis(a: U64, axis: int) -> U64:
    """Sum of ``uint64[2, d0, d1, ...]`` over d_axis (axis 0 is d0)."""
    dims = a.shape[1:]
    if not 0 <= axis < len(dims):
        raise ValueError(f"axis {axis} of shape {dims}")
    before, after = 2 * int(np.prod(dims[:axis], dtype=np.int64)), int(np.prod(dims[axis + 1 :], dtype=np.int64))
    middle = np.ascontiguousarray(a).reshape(before, dims[axis], after)
    return arithmetic.current().sum_middle(middle).reshape(2, *dims[:axis], *dims[axis + 1 :])


def scatter_add(a: U64, index: I64, size: int) -> U64:
    """``uint64[2, size]`` with out[index[i]] the sum of the a[i] of that index; index -1 drops the entry."""
    if index.shape != a.shape[1:] or (index.size and not -1 <= int(index.min()) <= int(index.max()) < size):
        raise ValueError("scatter index does not fit")
    where = np.ascontiguousarray(index, dtype=np.int64)
    return arithmetic.current().scatter_add(np.ascontiguousarray(a), where, size)


def combined(matrix: U64, weights: U64) -> U64:
    """``uint64[2, C]``: the inner products of the rows of ``uint64[C, R]`` over F with ``uint64[2, R]``."""
    if weights.shape != (2, matrix.shape[1]):
        raise ValueError(f"weights of shape {weights.shape} for rows of {matrix.shape[1]}")
    return arithmetic.current().bind_columns(np.ascontiguousarray(matrix), np.ascontiguousarray(weights))


def combined_int(rows: I64 | Sequence[I64], weights: U64, peak: int | None = None) -> U64:
    """``combined`` of rows of signed integers, ``int64[C, R]`` or C of ``int64[R]``, |v| < 2^63 and at most ``peak``
    where that is known."""
    if any(weights.shape != (2, *row.shape) for row in (rows[:1] if isinstance(rows, np.ndarray) else rows)):
        raise ValueError(f"weights of shape {weights.shape} do not fit the rows")
    return plain.combined_int(rows, np.ascontiguousarray(weights), peak)


def combination(arrays: Sequence[U64], factors: Sequence[Ext]) -> U64:
    """The sum of factors[i] * arrays[i], at least one, ``uint64[2, ...]`` of one shape."""
    if any(a.shape != arrays[0].shape for a in arrays):
        raise ValueError(f"sum of shapes {[a.shape for a in arrays]}")
    total = arithmetic.current().combination([_flat(a) for a in arrays], ext_array(factors))
    return total.reshape(arrays[0].shape)


def weighted(rows: U64, weights: U64) -> U64:
    """``uint64[2, n]``: the inner products of the rows of ``uint64[2, n, d]`` over K with ``uint64[2, d]``."""
    both = np.concatenate([weights, times_u(weights)], axis=1)  # plane 1 counts u
    return combined(np.concatenate([rows[0], rows[1]], axis=1), both)


def outer(a: U64, b: U64) -> U64:
    """``uint64[2, n, m]`` of the products a[i]*b[j]."""
    return arithmetic.current().outer(np.ascontiguousarray(a), np.ascontiguousarray(b))


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


def lagrange(degree: int, x: Ext) -> list[Ext]:
    """The weights of p(0), ..., p(degree) in p(x), for polynomials of this degree."""
    below, above = [ONE], [ONE]  # products of the first of x - 0, x - 1, ..., and of the last ones
    for i in range(degree):
        below.append(below[-1] * (x - i))
        above.append(above[-1] * (x - (degree - i)))
    return [b * a * c for b, a, c in zip(below, reversed(above), _lagrange(degree), strict=True)]
