"""Kernels of the opening: sums of power sequences (the weights of queried positions, written out)."""

import numpy as np

from syurmy.prover.field import U64
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.field import ONE
from syurmy.prover.kernels.jit import kernel
from syurmy.prover.kernels.lanes import dot_base_strip, mul

BLOCK = 256  # entries whose powers are kept


@kernel
def power_table_kernel(x, out, lo, hi):
    """out[b, i] = x[i]^b for i in [lo, hi); uint64[t], uint64[B + 1, t]."""
    out[0, lo:hi] = ONE
    y = x[lo:hi]
    for b in range(1, out.shape[0]):
        before, after = out[b - 1, lo:hi], out[b, lo:hi]
        for k in range(y.shape[0]):
            after[k] = mul(before[k], y[k])


@kernel
def power_sum_kernel(table, start, steps, out, lo, hi):
    """out[:, a*B + b] = sum over i of start[:, i] * steps[i]^a * table[b, i] for the blocks a in [lo, hi).

    table uint64[B, t]; start uint64[2, t]; steps uint64[t] = x^B; out uint64[2, size].
    """
    block, t = table.shape
    c0, c1 = np.empty(t, np.uint64), np.empty(t, np.uint64)
    for i in range(t):
        power, base, e = ONE, steps[i], lo
        while e > 0:
            if e & 1:
                power = mul(power, base)
            base = mul(base, base)
            e >>= 1
        c0[i], c1[i] = mul(start[0, i], power), mul(start[1, i], power)
    for a in range(lo, hi):
        for b in range(block):
            out[0, a * block + b], out[1, a * block + b] = dot_base_strip(c0, c1, table[b])
        for k in range(t):
            c0[k] = mul(c0[k], steps[k])
            c1[k] = mul(c1[k], steps[k])


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
