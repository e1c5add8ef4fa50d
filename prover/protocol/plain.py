"""The arithmetic of vectors in plain NumPy: all that a verifier computes with, and nothing that we compile.

Elements of F are canonical ``uint64`` (below p = 2^64 - 2^32 + 1), on entry and on return. NumPy's ``uint64`` wraps
silently, so a carry is found by comparison. A product of two elements has 128 bits, hi*2^64 + lo, is put together from
32-bit halves, and is reduced by 2^64 = 2^32 - 1 and 2^96 = -1 (mod p):

    hi*2^64 + lo = lo - (hi >> 32) + (hi mod 2^32) * (2^32 - 1).

Vectors over K = F[u]/(u^2 - 7) are ``uint64[2, ...]``, plane 0 the coefficients of 1 and plane 1 those of u:
(a0 + a1 u)(b0 + b1 u) = (a0 b0 + 7 a1 b1) + (a0 b1 + a1 b0) u. Sums of many elements keep two exact sums, of the low
and of the high halves, which holds for fewer than 2^32 terms.

``prover/kernels/compiled.py`` is their compiled twin: same functions, same results (protocol/arithmetic.py chooses).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I64, U8
from syurmy.prover.field import U64, Ext, eq_list, ext_array, ext_list, root_of_unity, to_field
from syurmy.prover.field import P as P_INT

name = "plain"

P = np.uint64(P_INT)
LOW = np.uint64(2**32 - 1)  # mask of the low half, and 2^64 mod p
HALF = np.uint64(32)  # bits of a half
TWO_32, SEVEN = (np.array([x], np.uint64) for x in (1 << 32, 7))
BLOCK = 1 << 13  # products whose intermediate results stay in the second-level cache, in memory that is not given back
_SMALL = 3  # coordinates of an eq vector that are multiplied one by one


# ---- F ---------------------------------------------------------------------------------------------------------------


def add_f(a: U64, b: U64) -> U64:
    """a + b. Either may be any word if the other is at most (2^32 - 1)^2."""
    c = a + b
    return np.where((c < a) | (c >= P), c - P, c)


def sub_f(a: U64, b: U64) -> U64:
    """a - b."""
    return np.where(a < b, a - b + P, a - b)


def mul_f(a: U64, b: U64) -> U64:
    """a * b; shapes are broadcast."""
    a0, a1, b0, b1 = a & LOW, a >> HALF, b & LOW, b >> HALF
    low = a0 * b0
    middle = a1 * b0 + (low >> HALF)  # at most (2^32 - 1)^2 + 2^32 - 1
    cross = a0 * b1 + (middle & LOW)
    hi = a1 * b1 + (middle >> HALF) + (cross >> HALF)
    lo = (cross << HALF) | (low & LOW)
    return add_f(sub_f(lo, hi >> HALF), (hi & LOW) * LOW)


def _from_halves(low: U64, high: U64) -> U64:
    """low + 2^32 * high of two words."""
    low, high = (np.where(x >= P, x - P, x) for x in (low, high))
    return add_f(low, mul_f(high, TWO_32))


def _sum_f(a: U64, axis: int) -> U64:
    return _from_halves((a & LOW).sum(axis, dtype=np.uint64), (a >> HALF).sum(axis, dtype=np.uint64))


# ---- K ---------------------------------------------------------------------------------------------------------------


def mul_k(a: U64, b: U64) -> U64:
    """a * b entrywise for ``uint64[2, ...]``; shapes are broadcast."""
    seven = mul_f(b[1], SEVEN)
    p = mul_f(np.stack([a[0], a[1], a[0], a[1]]), np.stack([b[0], seven, b[1], b[0]]))
    return add_f(p[::2], p[1::2])


def _blocks(n: int, products: int = 1) -> Iterator[slice]:
    """Slices that cover range(n), of items that take this many products over F each."""
    step = max(1, BLOCK // max(1, products))
    for lo in range(0, n, step):
        yield slice(lo, lo + step)


def multiply(a: U64, b: U64) -> U64:
    """a * b entrywise for ``uint64[2, n]``; b may be one element, ``uint64[2, 1]``."""
    out = np.empty_like(a)
    for s in _blocks(a.shape[1], 4):
        out[:, s] = mul_k(a[:, s], b if b.shape[1] == 1 else b[:, s])
    return out


def outer(a: U64, b: U64) -> U64:
    """``uint64[2, n, m]`` of the products a[i] * b[j]."""
    out = np.empty((2, a.shape[1], b.shape[1]), np.uint64)
    for s in _blocks(a.shape[1], 4 * b.shape[1]):
        out[:, s] = mul_k(a[:, s, None], b[:, None, :])
    return out


def dot(a: U64, b: U64) -> Ext:
    """Sum of a[i] * b[i] for two ``uint64[2, n]``."""
    parts = [_sum_f(mul_k(a[:, s], b[:, s]), 1) for s in _blocks(a.shape[1], 4)]
    return Ext(sum(int(p[0]) for p in parts), sum(int(p[1]) for p in parts))


def dot_base(w: U64, v: U64) -> Ext:
    """Sum of w[i] * v[i] for ``uint64[2, n]`` and ``uint64[n]`` over F."""
    parts = [_sum_f(mul_f(w[:, s], v[None, s]), 1) for s in _blocks(len(v), 2)]
    return Ext(sum(int(p[0]) for p in parts), sum(int(p[1]) for p in parts))


def dot_int(w: U64, v: I64) -> Ext:
    """Sum of w[i] * v[i] for ``uint64[2, n]`` and signed integers, |v| < 2^63."""
    return dot_base(w, to_field(v))


def add(a: U64, b: U64) -> U64:
    """a + b entrywise, over F or K."""
    return add_f(a, b)


def sum_middle(a: U64) -> U64:
    """``uint64[n, m]`` of ``uint64[n, k, m]``: the sum over the middle axis, over F."""
    return _sum_f(a, 1)


def scatter_add(a: U64, index: I64, size: int) -> U64:
    """``uint64[2, size]``: the sums of the a[i] with one index, over K; index -1 drops the entry."""
    kept = index >= 0
    where, values = index[kept], a[:, kept]
    out = np.zeros((2, size), np.uint64)
    if (where[1:] >= where[:-1]).all():  # as where a loop reads the round before: few meet, and only those are added
        again = np.concatenate([[False], where[1:] == where[:-1]])[: len(where)]
        out[:, where[~again]] = values[:, ~again]
        where, values = where[again], values[:, again]
    if len(where):
        places, at = np.unique(where, return_inverse=True)
        halves = np.zeros((2, 2, len(places)), np.uint64)
        for plane in range(2):
            np.add.at(halves[0, plane], at, values[plane] & LOW)
            np.add.at(halves[1, plane], at, values[plane] >> HALF)
        out[:, places] = add_f(out[:, places], _from_halves(halves[0], halves[1]))
    return out


def eq_vector(point: U64, size: int) -> U64:
    """The first ``size`` entries of eq(point, .), ``uint64[2, size]``: the vector of the leading coordinates times that
    of the others. ``point`` is ``uint64[2, k]``, point[:, 0] belongs to the most significant index bit."""
    k = point.shape[1]
    if k <= _SMALL:
        return ext_array(eq_list(ext_list(point))[:size])
    below = k // 2
    rows = -(-size >> below)
    front, back = eq_vector(point[:, : k - below], rows), eq_vector(point[:, k - below :], min(size, 1 << below))
    return np.ascontiguousarray(outer(front, back).reshape(2, -1)[:, :size])


# ---- commitments -----------------------------------------------------------------------------------------------------


def hash_messages(messages: U8, key: bytes) -> U8:
    """``uint8[n, 32]``: keyed BLAKE3 of the rows of ``uint8[n, size]``."""
    digests = b"".join(blake3(m.tobytes(), key=key).digest() for m in messages)
    return np.frombuffer(digests, np.uint8).reshape(len(messages), 32)


def bind_columns(matrix: U64, weights: U64) -> U64:
    """``uint64[2, C]``: column c is the sum over r of weights[:, r] * matrix[c, r], of ``uint64[C, R]`` and
    ``uint64[2, R]``."""
    cols, rows = matrix.shape
    out = np.empty((2, cols), np.uint64)
    for s in _blocks(cols, 2 * rows):
        out[:, s] = _sum_f(mul_f(matrix[None, s], weights[:, None, :]), 2)
    return out


def _powers(log_n: int) -> U64:
    """omega_n^i for i < n."""
    root = root_of_unity(log_n)
    out = np.ones(1 << log_n, np.uint64)
    for k in range(log_n):
        known, more = out[: 1 << k], out[1 << k : 2 << k]
        step = np.array([pow(root, 1 << k, P_INT)], np.uint64)
        for s in _blocks(1 << k):
            more[s] = mul_f(known[s], step)
    return out


def encode_ext(row: U64, log_blowup: int) -> U64:
    """``uint64[2, n]``: the polynomial with coefficients ``uint64[2, C]`` at omega_n^bitrev(q), n = C << log_blowup.

    Position q = j*C + i lies in the coset omega_n^bitrev(j) * <omega_C>: coefficient c is scaled by
    omega_n^(bitrev(j)*c), then decimation in frequency halves the polynomial: its values at the even powers of omega_C
    are those of a + b, at the odd ones those of (a - b)(x) * omega_C^x, a and b the halves of its coefficients.
    ``ValueError`` for a C that is not a power of two, or where F has no domain of that size.
    """
    cols = row.shape[1]
    log_cols = cols.bit_length() - 1
    if cols < 1 or cols != 1 << log_cols:
        raise ValueError(f"cannot encode {cols} columns")
    powers = _powers(log_cols + log_blowup)
    out = np.empty((2, 1 << log_blowup, cols), np.uint64)
    for j in range(1 << log_blowup):
        reversed_j = sum((j >> i & 1) << (log_blowup - 1 - i) for i in range(log_blowup))
        for s in _blocks(cols, 2):
            out[:, j, s] = mul_f(row[:, s], powers[reversed_j * np.arange(cols)[s]])
    for stage in range(log_cols):
        half = cols >> (stage + 1)
        parts = out.reshape(-1, 2, half)
        twiddles = powers[:: 1 << (stage + log_blowup)][:half]
        for s in _blocks(half):
            for g in _blocks(len(parts), min(half, BLOCK)):
                a, b = parts[g, 0, s], parts[g, 1, s]
                parts[g, 0, s], parts[g, 1, s] = add_f(a, b), mul_f(sub_f(a, b), twiddles[s])
    return out.reshape(2, -1)
