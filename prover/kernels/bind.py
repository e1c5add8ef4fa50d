"""Integer matrices bound to weights along their rows: out[k] = sum over j of A[k, j]*w[j], w over K.

The counterpart of ``matrix.IntegerMatrix.bind`` for the other axis: no field product per entry. An extension weight is
four signed 32-bit limbs (prover/kernels/matrix.py); int64 accumulators take 2^15 products of a limb and an entry below
2^16.
"""

import numpy as np
import numpy.typing as npt

from syurmy import gpu
from syurmy.isa.arrays import Integers
from syurmy.prover.field import U64
from syurmy.prover.kernels import pool, vectors
from syurmy.prover.kernels.field import ZERO, add, from_int, mul
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import from_limbs
from syurmy.prover.kernels.matrix import SMALL, IntegerMatrix, signed_limbs

SPAN = 1 << 11  # weights whose limbs stay in the first-level cache: 32 KiB


@part
def _dots(v, x0, x1, x2, x3):
    """Inner products of a row with four rows of limbs."""
    a, b, c, d = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for k in range(v.shape[0]):
        y = np.int64(v[k])
        a += y * np.int64(x0[k])
        b += y * np.int64(x1[k])
        c += y * np.int64(x2[k])
        d += y * np.int64(x3[k])
    return a, b, c, d


@kernel
def dot_rows_limbs(values, limbs, out, lo, hi):
    """out uint64[2, n*R] for rows [lo, hi) of int[R, C], |entry| < 2^16, and each of n weights; limbs int32[4*n, C]."""
    rows, cols = values.shape
    for m in range(limbs.shape[0] // 4):
        for k in range(m * rows + lo, m * rows + hi):
            out[0, k] = ZERO
            out[1, k] = ZERO
    for i in range(0, cols, SPAN):
        j = min(cols, i + SPAN)
        for m in range(limbs.shape[0] // 4):
            x0, x1, x2, x3 = limbs[4 * m, i:j], limbs[4 * m + 1, i:j], limbs[4 * m + 2, i:j], limbs[4 * m + 3, i:j]
            for k in range(lo, hi):
                a, b, c, d = _dots(values[k, i:j], x0, x1, x2, x3)
                to = m * rows + k
                out[0, to] = add(out[0, to], from_limbs(a, b))
                out[1, to] = add(out[1, to], from_limbs(c, d))


@kernel
def dot_rows_modular(values, weights, out, lo, hi):
    """out uint64[2, R] for rows [lo, hi) of int64[R, C], any entry; weights uint64[2, C]."""
    for k in range(lo, hi):
        a, b = ZERO, ZERO
        for j in range(values.shape[1]):
            v = from_int(values[k, j])
            a = add(a, mul(v, weights[0, j]))
            b = add(b, mul(v, weights[1, j]))
        out[0, k] = a
        out[1, k] = b


def dot_matrix(integers: IntegerMatrix, weights: U64) -> U64:
    """M w, ``uint64[2, R]``, for ``uint64[2, C]``; where these are on a device, of rows that are kept there."""
    parts, memory, limbs = [], gpu.beside(weights), None
    for values, start, lo, hi in integers.pieces(0, integers.shape[0], memory):
        if memory is not gpu.HOST:
            parts.append(gpu.download(vectors.dot_rows(values, weights)))
        elif ((integers.large >= lo) & (integers.large < hi)).any():
            parts.append(_dot_large(values[lo - start : hi - start], weights))
        else:
            limbs = _limbs(weights) if limbs is None else limbs
            parts.append(_dot_small(values[lo - start : hi - start], limbs))
    return np.concatenate(parts, axis=1)


def dot_rows(values: Integers, weights: U64, bound: int) -> U64:
    """``uint64[2, R]`` of an integer matrix ``[R, C]`` with |entry| <= bound and weights ``uint64[2, C]``."""
    return _dot_small(values, _limbs(weights)) if bound < SMALL else _dot_large(values, weights)


def dot_rows_each(values: Integers, weights: U64, bound: int) -> U64:
    """``dot_rows`` for several vectors of weights, ``uint64[2, n, C]``: ``uint64[2, n, R]``."""
    _, n, cols = weights.shape
    if bound < SMALL:
        limbs = signed_limbs(weights.reshape(2, -1)).reshape(n, cols, 4)
        return _dot_small(values, np.ascontiguousarray(limbs.transpose(0, 2, 1)).reshape(4 * n, cols)).reshape(2, n, -1)
    return np.stack([_dot_large(values, weights[:, i]) for i in range(n)], axis=1)


def _limbs(weights: U64) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(signed_limbs(weights).T)


def _dot_small(values: Integers, limbs: npt.NDArray[np.int32]) -> U64:
    (rows, cols), n = values.shape, len(limbs) // 4
    out = np.empty((2, n * rows), np.uint64)
    small = values if values.dtype.itemsize <= 2 or values.dtype == np.int32 else values.astype(np.int32)
    chunk = max(1, pool.MIN_CHUNK // max(1, n * cols))
    pool.for_ranges(dot_rows_limbs, rows, np.ascontiguousarray(small), limbs, out, min_chunk=chunk)
    return out


def _dot_large(values: Integers, weights: U64) -> U64:
    rows, cols = values.shape
    out = np.empty((2, rows), np.uint64)
    wide = np.ascontiguousarray(values, dtype=np.int64)
    chunk = max(1, pool.MIN_CHUNK // max(1, cols))
    pool.for_ranges(dot_rows_modular, rows, wide, np.ascontiguousarray(weights), out, min_chunk=chunk)
    return out
