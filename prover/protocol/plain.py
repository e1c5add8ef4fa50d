"""The arithmetic of vectors in plain NumPy: all that a verifier computes with, and nothing that we compile.

Elements of F are canonical ``uint64`` (below p = 2^64 - 2^32 + 1), on entry and on return. NumPy's ``uint64`` wraps
silently, so a carry is found by comparison. A product of two elements has 128 bits, hi*2^64 + lo, is put together from
32-bit halves, and is reduced by 2^64 = 2^32 - 1 and 2^96 = -1 (mod p):

    hi*2^64 + lo = lo - (hi >> 32) + (hi mod 2^32) * (2^32 - 1).

Vectors over K = F[u]/(u^2 - 7) are ``uint64[2, ...]``, plane 0 the coefficients of 1 and plane 1 those of u:
(a0 + a1 u)(b0 + b1 u) = (a0 b0 + 7 a1 b1) + (a0 b1 + a1 b0) u. Sums of many elements keep two exact sums, of the low
and of the high halves, which holds for fewer than 2^32 terms.

Sums of products are products of matrices of doubles, of the elements' four digits of 16 bits: digits are below 2^16, a
sum of at most 2^21 products of two is an integer below 2^53, and so is every partial sum, in whatever order and with
whatever fused operations a library adds them: all are exact.

``prover/kernels/compiled.py`` is their compiled twin: same functions, same results (protocol/arithmetic.py chooses).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import F64, I64, U8
from syurmy.prover.field import U64, Ext, eq_list, ext_array, ext_list, root_of_unity, to_field
from syurmy.prover.field import P as P_INT

name = "plain"

P = np.uint64(P_INT)
LOW = np.uint64(2**32 - 1)  # mask of the low half, and 2^64 mod p
HALF = np.uint64(32)  # bits of a half
BLOCK = 1 << 13  # products whose intermediate results stay in the second-level cache, in memory that is not given back
FACTORS = 1 << 15  # doubles of a matrix that do, and are too few for a library to use threads
WHOLE = 1 << 24  # integers below it may be summed as they are: BLOCK of them times 2^16 are below 2^53
MANY = 1 << 23  # and so many of them, times 2^16, below 2^63
FEW = 256  # entries times one element that are no product of matrices
_SMALL = 3  # coordinates of an eq vector that are multiplied one by one


# ---- F ---------------------------------------------------------------------------------------------------------------


def add_f(a: U64, b: U64) -> U64:
    """a + b. Either may be any word if the other is at most (2^32 - 1)^2."""
    c: U64 = a + b
    c += (c < a) * LOW  # a carry counts 2^64
    out: U64 = np.minimum(c, c - P)
    return out


def sub_f(a: U64, b: U64) -> U64:
    """a - b."""
    d: U64 = a - b
    d -= (a < b) * LOW
    return d


def mul_f(a: U64, b: U64) -> U64:
    """a * b; shapes are broadcast."""
    a0, a1, b0, b1 = a & LOW, a >> HALF, b & LOW, b >> HALF
    middle = a1 * b0 + (a0 * b0 >> HALF)  # at most (2^32 - 1)^2 + 2^32 - 1
    cross = a0 * b1 + (middle & LOW)
    hi = a1 * b1 + (middle >> HALF) + (cross >> HALF)
    lo, top = a * b, hi >> HALF
    difference = lo - top - (lo < top) * LOW  # a borrow counts 2^64, as a carry below
    hi = (hi & LOW) * LOW
    total = difference + hi
    total += (total < hi) * LOW
    out: U64 = np.minimum(total, total - P)
    return out


def _shifted(a: U64, bits: int) -> U64:
    """2^bits * a of words, for bits up to 32: what is shifted out counts 2^64 = 2^32 - 1."""
    return add_f(a << np.uint64(bits), (a >> np.uint64(64 - bits)) * LOW)


def _sum_f(a: U64, axis: int) -> U64:
    return _from_halves((a & LOW).sum(axis, dtype=np.uint64), (a >> HALF).sum(axis, dtype=np.uint64))


def seven_f(a: U64) -> U64:
    """7 * a."""
    return sub_f(_shifted(a, 3), a)


def _from_halves(low: U64, high: U64) -> U64:
    """low + 2^32 * high of two words."""
    low, high = (np.minimum(x, x - P) for x in (low, high))
    return add_f(_shifted(high, 32), low)


def _digits(a: U64) -> F64:
    """``float64[..., 4]``: the digits of 16 bits of ``uint64[...]``, the lowest first."""
    return a.astype("<u8", copy=False)[..., None].view("<u2").astype(np.float64)


def _from_digits(sums: U64) -> U64:
    """The sum of 2^(16 i) * sums[i] of ``uint64[4, ...]``, each below 2^47."""
    s0, s1, s2, s3 = sums
    d = np.uint64(16)
    low = s0 + (s1 << d) + (s2 << 2 * d) + (s3 << 3 * d)
    high = s3 + (s2 + (s1 + (s0 >> d) >> d) >> d) >> d  # of the same sum before it wraps: below 2^32
    return add_f(low, high * LOW)


def _powers_of_digits(sums: U64 | I64) -> int:
    """The sum over i, j of 2^(16 (i + j)) * sums[i, j] of exact integers."""
    return sum(int(x) << 16 * (i + j) for i, row in enumerate(sums.tolist()) for j, x in enumerate(row))


# ---- K ---------------------------------------------------------------------------------------------------------------


def mul_k(a: U64, b: U64) -> U64:
    """a * b entrywise for ``uint64[2, ...]``; shapes are broadcast."""
    p = mul_f(np.stack([a[0], a[1], a[0], a[1]]), np.stack([b[0], seven_f(b[1]), b[1], b[0]]))
    return add_f(p[::2], p[1::2])


def times_u(a: U64) -> U64:
    """u * a for ``uint64[2, ...]``."""
    return np.stack([seven_f(a[1]), a[0]])


def _blocks(n: int, products: int = 1) -> Iterator[slice]:
    """Slices that cover range(n), of items that take this many products over F each."""
    step = max(1, BLOCK // max(1, products))
    for lo in range(0, n, step):
        yield slice(lo, lo + step)


def multiply(a: U64, b: U64) -> U64:
    """a * b entrywise for ``uint64[2, n]``; b may be one element, ``uint64[2, 1]``."""
    if b.shape[1] == 1 and a.shape[1] > FEW:
        return _bound(a.T, _times(b))
    out = np.empty_like(a)
    for s in _blocks(a.shape[1], 4):
        out[:, s] = mul_k(a[:, s], b if b.shape[1] == 1 else b[:, s])
    return out


def outer(a: U64, b: U64) -> U64:
    """``uint64[2, n, m]`` of the products a[i] * b[j]."""
    n, m = a.shape[1], b.shape[1]
    if n > m:
        return np.ascontiguousarray(outer(b, a).swapaxes(1, 2))
    if n * m <= FEW:
        return mul_k(a[:, :, None], b[:, None, :])
    out = np.empty((2, n, m), np.uint64)
    step = max(1, FACTORS // (8 * m))
    for lo in range(0, n, step):
        out[:, lo : lo + step] = _bound(b.T, _times(a[:, lo : lo + step])).reshape(2, -1, m)
    return out


def _times(b: U64) -> U64:
    """``uint64[2 k, 2]``: what multiplies the coefficients of any a in those of a * b[0], a * b[1], ..., plane 0
    first."""
    return np.stack([b, times_u(b)], 2).reshape(-1, 2)


def _bound(matrix: U64, weights: U64) -> U64:
    """``uint64[k, C]``: the inner products of the rows of ``uint64[C, R]`` with those of ``uint64[k, R]``."""
    cols, rows = matrix.shape
    out = np.zeros((len(weights), cols), np.uint64)
    for r in _blocks(rows):
        two = np.stack([weights[:, r], _shifted(weights[:, r], 16)], 2)
        digits = _digits(np.concatenate([two, _shifted(two, 32)], 2))  # what a digit of the matrix counts
        factors = np.ascontiguousarray(digits.transpose(3, 0, 1, 2)).reshape(4 * len(weights), -1)
        step = max(1, FACTORS // max(factors.shape))
        for lo in range(0, cols, step):
            part = _digits(matrix[lo : lo + step, r]).reshape(-1, factors.shape[1])
            sums = (factors @ part.T).astype(np.uint64).reshape(4, len(weights), -1)
            out[:, lo : lo + step] = add_f(out[:, lo : lo + step], _from_digits(sums))
    return out


def _dots(a: U64, b: U64) -> list[list[int]]:
    """For ``uint64[r, n]`` and ``uint64[q, n]`` the inner product, as an integer, of each row with each row."""
    total = np.zeros((len(a), len(b), 4, 4), np.uint64)
    for s in _blocks(a.shape[1]):
        total += np.matmul(_digits(a[:, s]).transpose(0, 2, 1)[:, None], _digits(b[:, s])[None]).astype(np.uint64)
    return [[_powers_of_digits(sums) for sums in row] for row in total]


def dot(a: U64, b: U64) -> Ext:
    """Sum of a[i] * b[i] for two ``uint64[2, n]``."""
    (s00, s01), (s10, s11) = _dots(a, b)
    return Ext(s00 + 7 * s11, s01 + s10)


def dot_base(w: U64, v: U64) -> Ext:
    """Sum of w[i] * v[i] for ``uint64[2, n]`` and ``uint64[n]`` over F."""
    ((a, b),) = _dots(v[None], w)
    return Ext(a, b)


def dot_int(w: U64, v: I64) -> Ext:
    """Sum of w[i] * v[i] for ``uint64[2, n]`` and signed integers, |v| < 2^63."""
    if not 0 < len(v) <= MANY or max(-int(v.min()), int(v.max())) >= WHOLE:
        return dot_base(w, to_field(v))
    total = np.zeros((2, 4), np.int64)
    for s in _blocks(len(v)):
        total += (v[s].astype(np.float64) @ _digits(w[:, s])).astype(np.int64)
    return Ext(*(_powers_of_digits(sums[None]) for sums in total))


def combined_int(rows: I64 | Sequence[I64], weights: U64, peak: int | None = None) -> U64:
    """``uint64[2, C]``: the inner products of C rows of signed integers, ``int64[R]``, |v| < 2^63 (or at most
    ``peak``, where that is known), with ``uint64[2, R]``."""
    matrix = rows if isinstance(rows, np.ndarray) else None
    each = rows if matrix is None else [matrix]
    if not 0 < weights.shape[1] <= MANY:
        return bind_columns(to_field(np.asarray(rows)), weights)
    peak = max(max(-int(v.min()), int(v.max())) for v in each) if peak is None else peak
    if peak >= WHOLE:
        if peak >> 23 >= WHOLE:
            return bind_columns(to_field(np.asarray(rows)), weights)
        whole = np.zeros((2, len(rows)), np.uint64)
        for s in _blocks(weights.shape[1]):  # halves of a few entries stay in memory that is near
            part = np.array([v[s] for v in rows])
            high = combined_int(part >> 23, weights[:, s], (peak >> 23) + 1)
            low = combined_int(part & (1 << 23) - 1, weights[:, s], (1 << 23) - 1)
            whole = add_f(whole, add_f(_shifted(high, 23), low))
        return whole
    total = np.zeros((len(rows), 8), np.int64)
    for s in _blocks(weights.shape[1], BLOCK * max(8, len(rows)) // FACTORS):
        digits = np.ascontiguousarray(_digits(weights[:, s]).transpose(1, 0, 2)).reshape(-1, 8)
        part = np.array([v[s] for v in each], np.float64) if matrix is None else matrix[:, s].astype(np.float64)
        total += (part @ digits).astype(np.int64)
    sums = to_field(total).reshape(-1, 2, 4).T  # digits, planes, rows
    out: U64 = sums[3]
    for k in (2, 1, 0):
        out = add_f(_shifted(out, 16), sums[k])
    return out


def add(a: U64, b: U64) -> U64:
    """a + b entrywise, over F or K."""
    return add_f(a, b)


def combination(arrays: Sequence[U64], factors: U64) -> U64:
    """``uint64[2, n]``: the sum of factors[:, i] * arrays[i], each ``uint64[2, n]``, of at least one."""
    matrix = np.stack([plane for a in arrays for plane in a], axis=1)
    return _bound(matrix, np.stack([factors, times_u(factors)], 2).reshape(2, -1))


def sum_middle(a: U64) -> U64:
    """``uint64[n, m]`` of ``uint64[n, k, m]``: the sum over the middle axis, over F."""
    return _sum_f(a, 1)


def scatter_add(a: U64, index: I64, size: int) -> U64:
    """``uint64[2, size]``: the sums of the a[i] with one index, over K; index -1 drops the entry."""
    kept = index >= 0
    where, values = (index, a) if kept.all() else (index[kept], a[:, kept])
    out = np.zeros((2, size), np.uint64)
    number = np.arange(len(where), dtype=np.int32)
    one = np.empty(size, np.int32)  # of the entries of an index
    one[where] = number
    again = one[where] != number
    if not again.any():  # as where axes change places, or a part is cut out
        out[:, where] = values
        return out
    out[:, where[~again]] = values[:, ~again]
    where, values = where[again], values[:, again]
    places: I64 | slice = slice(None)
    if len(where) < size >> 2:  # as where a loop reads the round before: few meet, and only those are added
        places, where = np.unique(where, return_inverse=True)
    halves = np.zeros((2, *out[:, places].shape), np.uint64)
    for plane in range(2):
        np.add.at(halves[0, plane], where, values[plane] & LOW)
        np.add.at(halves[1, plane], where, values[plane] >> HALF)
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
    if len(matrix) < _SMALL:
        return ext_array([dot_base(weights, row) for row in matrix])
    return _bound(matrix, weights)


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
