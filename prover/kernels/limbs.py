"""Goldilocks and its extension in 32-bit limbs, without branches: arithmetic for loops that LLVM vectorises.

No processor multiplies vectors of 64-bit words into 128 bits; all multiply the low halves of the words, which gives 64.
With x = x0 + 2^32*x1 and y = y0 + 2^32*y1,

    x*y = x0*y0 + 2^32*(x0*y1 + x1*y0) + 2^64*x1*y1,

and a *sum of products* is kept as the sums s0..s3 of the products' 32-bit digits at 1, 2^32, 2^64, 2^96. As 2^64 =
2^32 - 1 and 2^96 = -1 (mod p), the sum is

    s0 - s2 - s3 + 2^32*(s1 + s2),

so that a reduction costs no product, and one of them serves up to 2^20 products. Elements are canonical at every
function border (< p). ``wide.py`` has the same functions for processors without such vectors.
"""

from __future__ import annotations

import numpy as np

from syurmy.prover.kernels.words import where, word_function

P = 2**64 - 2**32 + 1
EPS = 2**32 - 1
_ZERO = np.uint64(0)
ZERO_SUM = (_ZERO, _ZERO, _ZERO, _ZERO)
NO_SUMS = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
ZERO_FEW = (_ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO)
FEW = 2**9  # products
THIRD = 2**22 - 1


def _canonical(c):
    """c mod p of any word: c - p wraps to more than c where c < p."""
    d = c - P
    return where(d < c, d, c)


def _add(a, b):
    return _sub(a, P - b)


def _sub(a, b):
    return a - b + where(a < b, P, 0)


def _mac(s, x, y):
    x0, x1, y0, y1 = x & EPS, x >> 32, y & EPS, y >> 32
    a, b, c, d = x0 * y0, x0 * y1, x1 * y0, x1 * y1
    return (
        s[0] + (a & EPS),
        s[1] + (a >> 32) + (b & EPS) + (c & EPS),
        s[2] + (b >> 32) + (c >> 32) + (d & EPS),
        s[3] + (d >> 32),
    )


def _product(x, y):
    x0, x1, y0, y1 = x & EPS, x >> 32, y & EPS, y >> 32
    a, b, c, d = x0 * y0, x0 * y1, x1 * y0, x1 * y1
    return (
        a & EPS,
        (a >> 32) + (b & EPS) + (c & EPS),
        (b >> 32) + (c >> 32) + (d & EPS),
        d >> 32,
    )


def _reduce(s):
    """Canonical value of a sum of fewer than 2^26 products (s0..s3 < 2^60)."""
    t = s[1] + s[2]
    low, high = t << 32, t >> 32  # 2^32*t = low + 2^64*high = low + 2^32*high - high
    plus, minus = s[0] + (high << 32), s[2] + s[3] + high
    c = low + plus
    c = c + where(c < low, EPS, 0)  # low <= 2^64 - 2^32 and plus < 2^61: a sum that wraps is small
    d = c - minus
    return _canonical(d - where(c < minus, EPS, 0))


def _mul(x, y):
    """One product by itself: the digits are carried as they come, and reduced as 128 bits are."""
    x0, x1, y0, y1 = x & EPS, x >> 32, y & EPS, y >> 32
    low = x0 * y0
    mid = x1 * y0 + (low >> 32)
    cross = x0 * y1 + (mid & EPS)
    high = x1 * y1 + (mid >> 32) + (cross >> 32)
    lo, hh, hl = (cross << 32) + (low & EPS), high >> 32, high & EPS
    t = lo - hh
    t = t - where(lo < hh, EPS, 0)
    c = t + ((hl << 32) - hl)
    return _canonical(c + where(c < t, EPS, 0))


def _turn(x):
    """With x = x0 + 2^16*x1 + 2^48*x2, 2^48*x = 2^48*x0 + 2^64*x1 + 2^96*x2 and 2^64*x1 = 2^32*x1 - x1, 2^96 = -1."""
    low, middle = x << 48, (x >> 16) & EPS
    c = low + (middle << 32)
    c = c + where(c < low, EPS, 0)  # what wraps is below 2^64 - 2^32
    minus = middle + (x >> 48)
    d = c - minus
    return _canonical(d - where(c < minus, EPS, 0))


def _from_limbs(lo, hi):
    """Both are made positive by adding 2^62, which is taken off again."""
    x, y = lo + 2**62, hi + 2**62
    return _sub(_reduce((x & EPS, (x >> 32) + (y & EPS), y >> 32, 0)), (2**62 + 2**94) % P)


def _few_mac(s, x, y):
    """With y in three limbs of 22 bits a product has 54 bits: sums of few need no digits."""
    x0, x1, y0, y1, y2 = x & EPS, x >> 32, y & THIRD, (y >> 22) & THIRD, y >> 44
    return s[0] + x0 * y0, s[1] + x0 * y1, s[2] + x0 * y2, s[3] + x1 * y0, s[4] + x1 * y1, s[5] + x1 * y2


def _few_reduce(s):
    """The sums stand at bits 0, 22, 44 and 32, 54, 76; 2^128 = -2^32 (mod p)."""
    a, b, c, d, e, f = s
    digits = (
        (a & EPS) + ((b << 22) & EPS),
        (a >> 32) + ((b >> 10) & EPS) + ((c << 12) & EPS) + (d & EPS) + ((e << 22) & EPS),
        (b >> 42) + ((c >> 20) & EPS) + (d >> 32) + ((e >> 10) & EPS) + ((f << 12) & EPS),
        (c >> 52) + (e >> 42) + ((f >> 20) & EPS),
    )
    return _sub(_reduce(digits), (f >> 52) << 32)


def _seven(s):
    return tuple(x * 7 for x in s)


def _plus(s, t):
    return tuple(x + y for x, y in zip(s, t, strict=True))


def _kmul(a0, a1, b0, b1):
    s = _plus(_product(a0, b0), _seven(_product(a1, b1)))
    return _reduce(s), _reduce(_mac(_product(a0, b1), a1, b0))


def _kmul_by(a0, a1, r0, r1, r7):
    return _reduce(_mac(_product(a0, r0), a1, r7)), _reduce(_mac(_product(a0, r1), a1, r0))


def _kmac(s, a0, a1, b0, b1):
    return _mac(s[0], a0, b0), _mac(s[1], a1, b1), _mac(_mac(s[2], a0, b1), a1, b0)


def _kreduce(s):
    return _reduce(_plus(s[0], _seven(s[1]))), _reduce(s[2])


@word_function
def add(a, b):
    """a + b over F."""
    return _add(a, b)


@word_function
def sub(a, b):
    """a - b over F."""
    return _sub(a, b)


@word_function
def mul(a, b):
    """a * b over F."""
    return _mul(a, b)


@word_function
def turn(x):
    """2^48 * x, by a fourth root of unity."""
    return _turn(x)


@word_function
def few_mac(s, x, y):
    """The sum s and x*y; at most FEW products to a sum."""
    return _few_mac(s, x, y)


@word_function
def few_reduce(s):
    """A sum of ``few_mac`` as an element of F."""
    return _few_reduce(s)


@word_function
def from_limbs(lo, hi):
    """lo + 2^32*hi for signed words, both in [-2^62, 2^62]."""
    return _from_limbs(lo, hi)


@word_function
def mac(s, x, y):
    """The sum s and x*y; at most 2^20 products to a sum."""
    return _mac(s, x, y)


@word_function
def total(s, x):
    """The sum s and the element x."""
    return s[0] + (x & EPS), s[1] + (x >> 32), s[2], s[3]


@word_function
def reduce(s):
    """A sum of products as an element of F."""
    return _reduce(s)


@word_function
def kmul(a0, a1, b0, b1):
    """a * b over K."""
    return _kmul(a0, a1, b0, b1)


@word_function
def kmul_by(a0, a1, r0, r1, r7):
    """a * r over K with r7 = 7*r1 prepared."""
    return _kmul_by(a0, a1, r0, r1, r7)


@word_function
def fold(x0, x1, y0, y1, r0, r1, r7):
    """x + r*(y - x) over K; r7 = 7*r1."""
    d0, d1 = _kmul_by(_sub(y0, x0), _sub(y1, x1), r0, r1, r7)
    return _add(x0, d0), _add(x1, d1)


@word_function
def gate(a0, a1, b0, b1, c0, c1, d0, d1):
    """a*b + c*d over K."""
    t = _seven(_mac(_product(a1, b1), c1, d1))
    s = _mac(_mac(t, a0, b0), c0, d0)
    x = _mac(_mac(_mac(_product(a0, b1), a1, b0), c0, d1), c1, d0)
    return _reduce(s), _reduce(x)


@word_function
def kmac(s, a0, a1, b0, b1):
    """Sums (of a0*b0, of a1*b1, of a0*b1 + a1*b0) and those of one more product over K."""
    return _kmac(s, a0, a1, b0, b1)


@word_function
def kreduce(s):
    """The three sums of ``kmac`` as an element of K."""
    return _kreduce(s)
