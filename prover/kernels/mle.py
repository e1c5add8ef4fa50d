"""Kernels on vectors over K: ``uint64[2, n]``, canonical, contiguous, over an index range [lo, hi).

Inner products delay the reduction: 128-bit products are summed in three words (l, h, c) = l + 2^64*h + 2^128*c and
reduced once, with 2^128 = -2^32 (mod p). An inner product over K needs three such sums: a0*b0, a1*b1 and
a0*b1 + a1*b0.
"""

import numpy as np
from numba import njit

from syurmy.prover.kernels.field import EPS, ONE, S32, SEVEN, ZERO, add, kmul, ksub, mul, mul_wide, reduce128, sub

ZERO_SUM = (ZERO, ZERO, ZERO)
S63 = np.uint64(63)


@njit(forceinline=True)
def mac(s, x, y):
    """Wide sum s + x*y."""
    h, low = mul_wide(x, y)
    low += s[0]
    h += ONE if low < s[0] else ZERO  # a product's high word is at most 2^64 - 2
    high = s[1] + h
    return low, high, s[2] + (ONE if high < h else ZERO)


@njit(forceinline=True)
def reduce_sum(s):
    """The wide sum as a canonical element; fewer than 2^32 terms."""
    return sub(reduce128(s[1], s[0]), mul(s[2], ONE << S32))


@njit(forceinline=True)
def reduce_small(s):
    """``reduce_sum`` for fewer than 2^31 products: one product less."""
    return sub(reduce128(s[1], s[0]), s[2] << S32)


@njit(forceinline=True)
def kmul_by(a0, a1, r0, r1, r7):
    """a*r over K with r7 = 7*r1 prepared: two reductions instead of three."""
    return (
        reduce_small(mac(mac(ZERO_SUM, a0, r0), a1, r7)),
        reduce_small(mac(mac(ZERO_SUM, a0, r1), a1, r0)),
    )


@njit(forceinline=True)
def kreduce(s, t, x):
    """Element of K from the wide sums of a0*b0, a1*b1 and the cross terms."""
    return add(reduce_sum(s), mul(SEVEN, reduce_sum(t))), reduce_sum(x)


@njit(nogil=True, cache=True)
def eq_prefix(r, levels, size, out):
    """First ``size`` entries of eq(r[:levels], .) into ``out``, r[0] the most significant index bit. In place, level
    by level.
    """
    out[0, 0] = ONE
    out[1, 0] = ZERO
    for level in range(levels):
        below = levels - 1 - level
        n = ((size - 1) >> below) + 1
        for i in range((n + 1) // 2 - 1, -1, -1):
            x0 = out[0, i]
            x1 = out[1, i]
            y0, y1 = kmul(x0, x1, r[0, level], r[1, level])
            x0, x1 = ksub(x0, x1, y0, y1)
            if 2 * i + 1 < n:
                out[0, 2 * i + 1] = y0
                out[1, 2 * i + 1] = y1
            out[0, 2 * i] = x0
            out[1, 2 * i] = x1


@njit(nogil=True, cache=True)
def eq_level(src, r0, r1, out, lo, hi):
    """out[2i], out[2i + 1] = src[i]*(1 - r), src[i]*r for i in [lo, hi); ``out`` may end after an even index."""
    n = out.shape[1]
    for i in range(lo, hi):
        x0 = src[0, i]
        x1 = src[1, i]
        y0, y1 = kmul(x0, x1, r0, r1)
        x0, x1 = ksub(x0, x1, y0, y1)
        out[0, 2 * i] = x0
        out[1, 2 * i] = x1
        if 2 * i + 1 < n:
            out[0, 2 * i + 1] = y0
            out[1, 2 * i + 1] = y1


@njit(nogil=True, cache=True)
def dot(a, b, lo, hi):
    """Inner product over K."""
    s = ZERO_SUM
    t = ZERO_SUM
    x = ZERO_SUM
    for i in range(lo, hi):
        s = mac(s, a[0, i], b[0, i])
        t = mac(t, a[1, i], b[1, i])
        x = mac(x, a[0, i], b[1, i])
        x = mac(x, a[1, i], b[0, i])
    return kreduce(s, t, x)


@njit(nogil=True, cache=True)
def dot_base(w, v, signed, lo, hi):
    """Inner product of w over K and v over F, or with the bits of int64 values where ``signed``."""
    s = ZERO_SUM
    t = ZERO_SUM
    for i in range(lo, hi):
        y = v[i]
        if signed and y >> S63:
            y -= EPS  # 2^64 - |v|  ->  p - |v|
        s = mac(s, w[0, i], y)
        t = mac(t, w[1, i], y)
    return reduce_sum(s), reduce_sum(t)


@njit(nogil=True, cache=True)
def multiply(a, b, step, out, lo, hi):
    """out[i] = a[i] * b[step*i] over K; step 0 scales by one element."""
    for i in range(lo, hi):
        j = step * i
        x0, x1 = kmul(a[0, i], a[1, i], b[0, j], b[1, j])
        out[0, i] = x0
        out[1, i] = x1


@njit(nogil=True, cache=True)
def add_flat(a, b, out, lo, hi):
    """out = a + b over F, one-dimensional."""
    for i in range(lo, hi):
        out[i] = add(a[i], b[i])


@njit(nogil=True, cache=True)
def sum_middle(a, out, lo, hi):
    """out[i, k] = sum over j of a[i, j, k] over F, for i in [lo, hi)."""
    for i in range(lo, hi):
        for k in range(a.shape[2]):
            out[i, k] = ZERO
        for j in range(a.shape[1]):
            for k in range(a.shape[2]):
                out[i, k] = add(out[i, k], a[i, j, k])


@njit(nogil=True, cache=True)
def scatter_add(a, index, out):
    """out[index[i]] += a[i] over K; a negative index drops the entry."""
    for i in range(index.shape[0]):
        j = index[i]
        if j >= 0:
            out[0, j] = add(out[0, j], a[0, i])
            out[1, j] = add(out[1, j], a[1, i])


@njit(nogil=True, cache=True)
def outer(a, b, out, lo, hi):
    """out[:, i, j] = a[i] * b[j] over K for i in [lo, hi)."""
    for i in range(lo, hi):
        for j in range(b.shape[1]):
            x0, x1 = kmul(a[0, i], a[1, i], b[0, j], b[1, j])
            out[0, i, j] = x0
            out[1, i, j] = x1
