"""Goldilocks arithmetic as inlinable Numba functions.

Base field F = GF(p), p = 2^64 - 2^32 + 1. Elements are canonical ``uint64`` (< p) at every function border.
Extension K = F[u]/(u^2 - 7); an element is a pair ``(a, b)`` meaning ``a + b*u``. Arrays over K are
``uint64[2, n]``: plane 0 holds the a's, plane 1 the b's.

Reduction: 2^64 = 2^32 - 1 and 2^96 = -1 (mod p), so hi*2^64 + lo = lo - (hi >> 32) + (hi & 0xffffffff) * (2^32 - 1).
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from syurmy.prover.kernels.jit import part

P = np.uint64(0xFFFFFFFF00000001)
EPS = np.uint64(0xFFFFFFFF)  # 2^64 mod p
SEVEN = np.uint64(7)
ZERO = np.uint64(0)
ONE = np.uint64(1)
S32 = np.uint64(32)


@intrinsic
def mul_wide(typingctx, a, b):
    """``(hi, lo)`` of the 128-bit product of two uint64."""
    sig = types.UniTuple(types.uint64, 2)(types.uint64, types.uint64)

    def codegen(context, builder, signature, args):
        i128 = ir.IntType(128)
        i64 = ir.IntType(64)
        x = builder.zext(args[0], i128)
        y = builder.zext(args[1], i128)
        z = builder.mul(x, y)
        lo = builder.trunc(z, i64)
        hi = builder.trunc(builder.lshr(z, ir.Constant(i128, 64)), i64)
        return cgutils.pack_array(builder, [hi, lo])

    return sig, codegen


@part(forceinline=True)
def add(a, b):
    c = a + b
    if c < a:  # wrapped: a + b - 2^64, and 2^64 = EPS (mod p); a, b < p so the sum stays below p
        c += EPS
    elif c >= P:
        c -= P
    return c


@part(forceinline=True)
def sub(a, b):
    c = a - b
    if a < b:
        c += P
    return c


@part(forceinline=True)
def neg(a):
    return P - a if a != ZERO else a


@part(forceinline=True)
def reduce128(hi, lo):
    hh = hi >> S32
    t = lo - hh
    if lo < hh:
        t -= EPS
    m = (hi & EPS) * EPS
    c = t + m
    if c < t:
        c += EPS
    if c >= P:
        c -= P
    return c


@part(forceinline=True)
def mul(a, b):
    hi, lo = mul_wide(a, b)
    return reduce128(hi, lo)


@part
def power(x, e):
    """x^e over F, of an integer e >= 0."""
    out = ONE
    while e > 0:
        if e & 1:
            out = mul(out, x)
        x = mul(x, x)
        e >>= 1
    return out


@part(forceinline=True)
def kadd(a0, a1, b0, b1):
    return add(a0, b0), add(a1, b1)


@part(forceinline=True)
def ksub(a0, a1, b0, b1):
    return sub(a0, b0), sub(a1, b1)


@part(forceinline=True)
def kmul(a0, a1, b0, b1):
    """Extension product with two reductions: sums of two 128-bit products, the carry 2^128 = -2^32 (mod p)."""
    h0, l0 = mul_wide(a0, b0)
    h1, l1 = mul_wide(a1, b1)
    h2, l2 = mul_wide(a0, b1)
    h3, l3 = mul_wide(a1, b0)
    c1 = reduce128(h1, l1)
    h7, l7 = mul_wide(c1, SEVEN)
    low = l0 + l7
    h = h0 + h7 + (ONE if low < l0 else ZERO)  # a0*b0 < (2^64-2^32)^2, 7*c1 < 2^67: no overflow
    r0 = reduce128(h, low)
    m = l2 + l3
    carry = ONE if m < l2 else ZERO
    g = h2 + h3
    over = g < h2
    g2 = g + carry
    if g2 < g:
        over = True
    r1 = reduce128(g2, m)
    if over:
        r1 = sub(r1, ONE << S32)
    return r0, r1


@part(forceinline=True)
def kscale(a0, a1, s):
    """Product of an extension element and a base field element."""
    return mul(a0, s), mul(a1, s)


@part(forceinline=True)
def from_int(v):
    """Canonical image of a signed int64 with |v| < 2^63."""
    return np.uint64(v) if v >= 0 else P - np.uint64(-v)
