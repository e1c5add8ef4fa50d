"""The functions of ``limbs.py`` from 64 x 64 -> 128-bit products: for processors whose vectors do not pay.

A sum of products is kept in three words (l, h, c) = l + 2^64*h + 2^128*c, with 2^128 = -2^32 (mod p).
"""

import numpy as np
from numba import njit

from syurmy.prover.kernels.field import (
    ONE,
    S32,
    SEVEN,
    ZERO,
    add,
    from_int,
    kmul,
    mul,
    mul_wide,
    reduce128,
    sub,
)

__all__ = [
    "NO_SUMS", "ZERO_FEW", "ZERO_SUM", "add", "few_mac", "few_reduce", "fold", "from_limbs", "gate", "kmac", "kmul",
    "kmul_by", "kreduce", "mac", "mul", "reduce", "sub", "total", "turn",
]  # fmt: skip
FOURTH_ROOT = np.uint64(1 << 48)
ZERO_SUM = (ZERO, ZERO, ZERO)
NO_SUMS = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
ZERO_FEW = ZERO_SUM


@njit(forceinline=True)
def mac(s, x, y):
    h, low = mul_wide(x, y)
    low += s[0]
    h += ONE if low < s[0] else ZERO  # a product's high word is at most 2^64 - 2
    high = s[1] + h
    return low, high, s[2] + (ONE if high < h else ZERO)


@njit(forceinline=True)
def from_limbs(lo, hi):
    return add(from_int(np.int64(lo)), mul(from_int(np.int64(hi)), ONE << S32))


@njit(forceinline=True)
def turn(x):
    return mul(x, FOURTH_ROOT)


@njit(forceinline=True)
def total(s, x):
    low = s[0] + x
    return low, s[1] + (ONE if low < x else ZERO), s[2]


@njit(forceinline=True)
def reduce(s):
    return sub(reduce128(s[1], s[0]), s[2] << S32)


few_mac, few_reduce = mac, reduce


@njit(forceinline=True)
def kmul_by(a0, a1, r0, r1, r7):
    return reduce(mac(mac(ZERO_SUM, a0, r0), a1, r7)), reduce(mac(mac(ZERO_SUM, a0, r1), a1, r0))


@njit(forceinline=True)
def fold(x0, x1, y0, y1, r0, r1, r7):
    d0, d1 = kmul_by(sub(y0, x0), sub(y1, x1), r0, r1, r7)
    return add(x0, d0), add(x1, d1)


@njit(forceinline=True)
def gate(a0, a1, b0, b1, c0, c1, d0, d1):
    t = mac(mac(ZERO_SUM, a1, b1), c1, d1)
    s = mac(mac(mac(ZERO_SUM, a0, b0), c0, d0), reduce(t), SEVEN)
    x = mac(mac(mac(mac(ZERO_SUM, a0, b1), a1, b0), c0, d1), c1, d0)
    return reduce(s), reduce(x)


@njit(forceinline=True)
def kmac(s, a0, a1, b0, b1):
    return mac(s[0], a0, b0), mac(s[1], a1, b1), mac(mac(s[2], a0, b1), a1, b0)


@njit(forceinline=True)
def kreduce(s):
    return add(reduce(s[0]), mul(SEVEN, reduce(s[1]))), reduce(s[2])
