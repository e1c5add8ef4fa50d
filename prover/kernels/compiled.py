"""The arithmetic of vectors on the prover's kernels, in threads: the functions that protocol/plain.py defines. Results
are where the arrays are.

Importing ``prover.kernels`` selects it for the process (protocol/arithmetic.py).
"""

from collections.abc import Iterable, Sequence

import numpy as np

from syurmy import gpu
from syurmy.isa.arrays import I64, U8
from syurmy.prover.field import U64, Ext
from syurmy.prover.kernels import blake3, mle
from syurmy.prover.kernels.matrix import bind_columns
from syurmy.prover.kernels.ntt import encode_ext
from syurmy.prover.kernels.pool import MIN_CHUNK, for_ranges

__all__ = [
    "add",
    "bind_columns",
    "combination",
    "dot",
    "dot_base",
    "dot_int",
    "encode_ext",
    "eq_vector",
    "hash_messages",
    "multiply",
    "name",
    "outer",
    "scatter_add",
    "sum_middle",
]
name = "compiled"
_SERIAL = 12  # levels of an eq vector that one thread expands


def eq_vector(point: U64, size: int) -> U64:
    """Level by level, about half a product per entry."""
    k = point.shape[1]
    levels = min(k, _SERIAL)
    n = ((size - 1) >> (k - levels)) + 1
    out = np.empty((2, n), dtype=np.uint64)
    mle.eq_prefix(np.ascontiguousarray(point[:, :levels]), levels, n, out)
    for level in range(levels, k):
        n = ((size - 1) >> (k - 1 - level)) + 1
        src, out = out, np.empty((2, n), dtype=np.uint64)
        args = src, point[0, level], point[1, level], out
        for_ranges(mle.eq_level, src.shape[1], *args, min_chunk=MIN_CHUNK // 2)
    return out


def _total(parts: Iterable[tuple[int, int]]) -> Ext:
    a = b = 0
    for x, y in parts:
        a, b = a + int(x), b + int(y)
    return Ext(a, b)


def dot(a: U64, b: U64) -> Ext:
    return _total(for_ranges(mle.dot, a.shape[1], a, b))


def dot_base(w: U64, v: U64) -> Ext:
    return _total(for_ranges(mle.dot_base, len(v), w, v, False))


def dot_int(w: U64, v: I64) -> Ext:
    return _total(for_ranges(mle.dot_base, len(v), w, v.view(np.uint64), True))


def multiply(a: U64, b: U64) -> U64:
    out: U64 = gpu.beside(a, b).empty(a.shape)
    for_ranges(mle.multiply, a.shape[1], a, b, 0 if b.shape[1] == 1 else 1, out)
    return out


def outer(a: U64, b: U64) -> U64:
    n, m = a.shape[1], b.shape[1]
    out: U64 = gpu.beside(a, b).empty((2, n, m))
    for_ranges(mle.outer, n, a, b, out, min_chunk=1 + MIN_CHUNK // max(1, m))
    return out


def add(a: U64, b: U64) -> U64:
    out: U64 = gpu.beside(a, b).empty(a.shape)
    for_ranges(mle.add_flat, a.size, a.reshape(-1), b.reshape(-1), out.reshape(-1), min_chunk=8 * MIN_CHUNK)
    return out


def combination(arrays: Sequence[U64], factors: U64) -> U64:
    out: U64 = gpu.beside(*arrays).empty(arrays[0].shape)
    for i, (a, c0, c1) in enumerate(zip(arrays, *factors, strict=True)):
        for_ranges(mle.multiple, a.shape[1], a, c0, c1, i > 0, out)
    return out


def sum_middle(a: U64) -> U64:
    n, k, m = a.shape
    out = np.empty((n, m), dtype=np.uint64)
    for_ranges(mle.sum_middle, n, a, out, min_chunk=1 + MIN_CHUNK // max(1, k * m))
    return out


def scatter_add(a: U64, index: I64, size: int) -> U64:
    out = np.zeros((2, size), dtype=np.uint64)
    mle.scatter_add(a, index, out)
    return out


def hash_messages(messages: U8, key: bytes) -> U8:
    return blake3.hash_messages(messages.view(np.uint32), key).view(np.uint8)
