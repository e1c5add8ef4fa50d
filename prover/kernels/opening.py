"""Kernels of the opening: sums of power sequences (the weights of queried positions, written out) and of rows."""

import numpy as np
from numba import njit

from syurmy.prover.field import U64, Ext
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.field import ONE, ZERO, kadd, kmul, kscale, mul, mul_wide
from syurmy.prover.kernels.matrix import _reduce_sum

BLOCK = 256  # entries whose powers are kept


@njit(nogil=True, cache=True)
def power_table_kernel(x, out, lo, hi):
    """out[b, i] = x[i]^b for i in [lo, hi); uint64[t], uint64[B + 1, t]."""
    for i in range(lo, hi):
        p = ONE
        for b in range(out.shape[0]):
            out[b, i] = p
            p = mul(p, x[i])


@njit(nogil=True, cache=True)
def power_sum_kernel(table, start, steps, out, lo, hi):
    """out[:, a*B + b] = sum over i of start[:, i] * steps[i]^a * table[b, i] for the blocks a in [lo, hi).

    table uint64[B, t]; start uint64[2, t]; steps uint64[t] = x^B; out uint64[2, size].
    """
    block, t = table.shape
    c = np.empty((2, t), np.uint64)
    for i in range(t):
        power, base, e = ONE, steps[i], lo
        while e > 0:
            if e & 1:
                power = mul(power, base)
            base = mul(base, base)
            e >>= 1
        c[0, i], c[1, i] = kscale(start[0, i], start[1, i], power)
    for a in range(lo, hi):
        for b in range(block):
            l0, h0, o0, l1, h1, o1 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
            for i in range(t):
                v = table[b, i]
                h, low = mul_wide(v, c[0, i])
                l0 += low
                h += ONE if l0 < low else ZERO  # h <= 2^64 - 2^33: cannot wrap
                h0 += h
                o0 += ONE if h0 < h else ZERO
                h, low = mul_wide(v, c[1, i])
                l1 += low
                h += ONE if l1 < low else ZERO
                h1 += h
                o1 += ONE if h1 < h else ZERO
            out[0, a * block + b] = _reduce_sum(l0, h0, o0)
            out[1, a * block + b] = _reduce_sum(l1, h1, o1)
        for i in range(t):
            c[0, i], c[1, i] = kscale(c[0, i], c[1, i], steps[i])


def power_sum(x: U64, coefficients: U64, size: int) -> U64:
    """Entry j < ``size``, a power of two: sum over i of coefficients[:, i] * x_i^j, of ``uint64[t]`` and ``uint64[2,
    t]``."""
    block = min(size, BLOCK)
    table = np.empty((block + 1, len(x)), np.uint64)
    pool.for_ranges(power_table_kernel, len(x), np.ascontiguousarray(x), table, min_chunk=64)
    out = np.empty((2, size), np.uint64)
    args = np.ascontiguousarray(table[:block]), np.ascontiguousarray(coefficients), table[block].copy(), out
    pool.for_ranges(power_sum_kernel, size // block, *args, min_chunk=1)
    return out


@njit(nogil=True, cache=True)
def add_scaled_kernel(total, row, c0, c1, lo, hi):
    """total += c * row over K for [lo, hi)."""
    for i in range(lo, hi):
        x0, x1 = kmul(row[0, i], row[1, i], c0, c1)
        total[0, i], total[1, i] = kadd(total[0, i], total[1, i], x0, x1)


def add_scaled(total: U64, row: U64, c: Ext) -> None:
    """Adds c * row to ``total``, both ``uint64[2, n]``."""
    pool.for_ranges(add_scaled_kernel, row.shape[1], total, np.ascontiguousarray(row), np.uint64(c.a), np.uint64(c.b))
