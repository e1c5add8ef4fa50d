"""Kernels on vectors over K: ``uint64[2, n]``, canonical, contiguous, over an index range [lo, hi)."""

import numpy as np

from syurmy.prover.kernels.field import EPS, ONE, ZERO
from syurmy.prover.kernels.field import kmul as kmul_one
from syurmy.prover.kernels.field import ksub as ksub_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import (
    STRIP,
    ZERO_SUM,
    add,
    dot_base_strip,
    dot_strip,
    kmul,
    mac,
    multiply_strip,
    reduce,
    scale_strip,
    sub,
)

S63 = np.uint64(63)
LONG = 8 * STRIP  # of inner products: their sums may be long
SHORT = 16  # rows below it do not repay a loop over vectors


@kernel
def eq_prefix(r, levels, size, out):
    """First ``size`` entries of eq(r[:levels], .) into ``out``, r[0] the most significant index bit. In place, level
    by level.
    """
    _eq_prefix(r, 0, levels, size, out[0], out[1])


@part
def _eq_prefix(r, first, levels, size, out0, out1):
    out0[0] = ONE
    out1[0] = ZERO
    for level in range(levels):
        below = levels - 1 - level
        n = ((size - 1) >> below) + 1
        for i in range((n + 1) // 2 - 1, -1, -1):
            x0 = out0[i]
            x1 = out1[i]
            y0, y1 = kmul_one(x0, x1, r[0, first + level], r[1, first + level])
            x0, x1 = ksub_one(x0, x1, y0, y1)
            if 2 * i + 1 < n:
                out0[2 * i + 1] = y0
                out1[2 * i + 1] = y1
            out0[2 * i] = x0
            out1[2 * i] = x1


@kernel
def eq_vectors(r, which, out, lo, hi):
    """``eq_prefix`` for each row (first, levels, size, at) of ``which`` ``int64[n, 4]`` in [lo, hi): of the coordinates
    from ``first`` on, into out[at:], plane 0 before plane 1."""
    for k in range(lo, hi):
        size, at = which[k, 2], which[k, 3]
        _eq_prefix(r, which[k, 0], which[k, 1], size, out[at : at + size], out[at + size : at + 2 * size])


@part
def _halves(x0, x1, r0, r1, even0, even1, odd0, odd1):
    for k in range(x0.shape[0]):
        y0, y1 = kmul(x0[k], x1[k], r0, r1)
        odd0[k] = y0
        odd1[k] = y1
        even0[k] = sub(x0[k], y0)
        even1[k] = sub(x1[k], y1)


@part
def _interleave(even, odd, out):
    for k in range(even.shape[0]):
        out[2 * k] = even[k]
        out[2 * k + 1] = odd[k]


@kernel
def eq_level(src, r0, r1, out, lo, hi):
    """out[2i], out[2i + 1] = src[i]*(1 - r), src[i]*r for i in [lo, hi); ``out`` may end after an even index."""
    pairs = min(hi, out.shape[1] // 2)
    even, odd = np.empty((2, STRIP), np.uint64), np.empty((2, STRIP), np.uint64)
    for i in range(lo, pairs, STRIP):
        m = min(STRIP, pairs - i)
        _halves(src[0, i : i + m], src[1, i : i + m], r0, r1, even[0, :m], even[1, :m], odd[0, :m], odd[1, :m])
        for plane in range(2):
            _interleave(even[plane, :m], odd[plane, :m], out[plane, 2 * i : 2 * (i + m)])
    for i in range(pairs, hi):
        y0, y1 = kmul(src[0, i], src[1, i], r0, r1)
        out[0, 2 * i] = sub(src[0, i], y0)
        out[1, 2 * i] = sub(src[1, i], y1)


@kernel
def dot(a, b, lo, hi):
    """Inner product over K."""
    c0, c1 = ZERO, ZERO
    for i in range(lo, hi, LONG):
        j = min(hi, i + LONG)
        d0, d1 = dot_strip(a[0, i:j], a[1, i:j], b[0, i:j], b[1, i:j])
        c0, c1 = add(c0, d0), add(c1, d1)
    return c0, c1


@part
def _dot_signed(a0, a1, v):
    """Inner product of a over K and the bits of int64 values."""
    s = ZERO_SUM
    t = ZERO_SUM
    for k in range(v.shape[0]):
        y = v[k] - (v[k] >> S63) * EPS  # 2^64 - |v|  ->  p - |v|
        s = mac(s, a0[k], y)
        t = mac(t, a1[k], y)
    return reduce(s), reduce(t)


@kernel
def dot_base(w, v, signed, lo, hi):
    """Inner product of w over K and v over F, or with the bits of int64 values where ``signed``."""
    c0, c1 = ZERO, ZERO
    for i in range(lo, hi, LONG):
        j = min(hi, i + LONG)
        if signed:
            d0, d1 = _dot_signed(w[0, i:j], w[1, i:j], v[i:j])
        else:
            d0, d1 = dot_base_strip(w[0, i:j], w[1, i:j], v[i:j])
        c0, c1 = add(c0, d0), add(c1, d1)
    return c0, c1


@kernel
def eq_suffixes(r, count, out):
    """eq(r[k - m:], .) for m = 0, ..., count of r ``uint64[2, k]`` into out[2^(m+1) : 2^(m+2)], plane 0 before plane 1;
    out ``uint64[2^(count + 2)]``."""
    out[2] = ONE
    out[3] = ZERO
    n = 1
    for m in range(count):
        z = r.shape[1] - 1 - m  # in front of the variables of the table before
        _halves(
            out[2 * n : 3 * n], out[3 * n : 4 * n], r[0, z], r[1, z],
            out[4 * n : 5 * n], out[6 * n : 7 * n], out[5 * n : 6 * n], out[7 * n : 8 * n],
        )  # fmt: skip
        n *= 2


@kernel
def multiply(a, b, step, out, lo, hi):
    """out[i] = a[i] * b[step*i] over K; step 0 scales by one element."""
    if step == 0:
        scale_strip(a[0, lo:hi], a[1, lo:hi], b[0, 0], b[1, 0], out[0, lo:hi], out[1, lo:hi])
    else:
        multiply_strip(a[0, lo:hi], a[1, lo:hi], b[0, lo:hi], b[1, lo:hi], out[0, lo:hi], out[1, lo:hi])


@kernel
def multiple(a, c0, c1, adding, out, lo, hi):
    """out[i] = c * a[i] over K, added to what is there where ``adding``."""
    x0, x1, y0, y1 = a[0, lo:hi], a[1, lo:hi], out[0, lo:hi], out[1, lo:hi]
    if adding:
        for k in range(x0.shape[0]):
            z0, z1 = kmul(x0[k], x1[k], c0, c1)
            y0[k], y1[k] = add(y0[k], z0), add(y1[k], z1)
    else:
        scale_strip(x0, x1, c0, c1, y0, y1)


@kernel
def add_flat(a, b, out, lo, hi):
    """out = a + b over F, one-dimensional."""
    x, y, z = a[lo:hi], b[lo:hi], out[lo:hi]
    for k in range(x.shape[0]):
        z[k] = add(x[k], y[k])


@kernel
def sum_middle(a, out, lo, hi):
    """out[i, k] = sum over j of a[i, j, k] over F, for i in [lo, hi)."""
    for i in range(lo, hi):
        for k in range(a.shape[2]):
            out[i, k] = ZERO
        for j in range(a.shape[1]):
            for k in range(a.shape[2]):
                out[i, k] = add(out[i, k], a[i, j, k])


@kernel
def scatter_add(a, index, out):
    """out[index[i]] += a[i] over K; a negative index drops the entry."""
    for i in range(index.shape[0]):
        j = index[i]
        if j >= 0:
            out[0, j] = add(out[0, j], a[0, i])
            out[1, j] = add(out[1, j], a[1, i])


@kernel
def outer(a, b, out, lo, hi):
    """out[:, i, j] = a[i] * b[j] over K for i in [lo, hi)."""
    if b.shape[1] < SHORT:
        for i in range(lo, hi):
            for j in range(b.shape[1]):
                out[0, i, j], out[1, i, j] = kmul_one(a[0, i], a[1, i], b[0, j], b[1, j])
    else:
        for i in range(lo, hi):
            scale_strip(b[0], b[1], a[0, i], a[1, i], out[0, i], out[1, i])
