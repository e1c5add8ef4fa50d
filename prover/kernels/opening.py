"""Kernels of the opening: sums of power sequences (the weights of queried positions, written out).

    out[j*M + i] = sum over t of c_t * x_t^i * y_t^j,   y_t = x_t^M, j < PARTS = 8.

Where the x_t are points of one domain of n = L*8*M elements, the y_t are powers of w, a root of unity of order 8*L, and
points with one y are added before: S_e, with y = w^e. With e = a + 8*b the sum over b, a transform of L points, is
w^(8bj), which depends on j mod L only; what is left is a sum of 8 products instead of one per point.
"""

import numpy as np

from syurmy import gpu
from syurmy.isa.arrays import I64
from syurmy.prover.field import U64
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.field import ONE, ZERO, power
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import ZERO_FEW, add, few_mac, few_reduce, mul
from syurmy.prover.kernels.matrix import transpose
from syurmy.prover.kernels.ntt import butterflies, domain
from syurmy.prover.kernels.transform import reverse

BLOCK = 256  # entries whose powers are kept
POINTS = 8  # that one pass over a block adds
PARTS = 8
BESIDE = 128  # entries of a part that are summed together: of 64 classes they are 64 KiB


@kernel
def power_table_kernel(x, out, lo, hi):
    """out[b, i] = x[i]^b for i in [lo, hi); uint64[t], uint64[B + 1, t]."""
    out[0, lo:hi] = ONE
    y = x[lo:hi]
    for b in range(1, out.shape[0]):
        before, after = out[b - 1, lo:hi], out[b, lo:hi]
        for k in range(y.shape[0]):
            after[k] = mul(before[k], y[k])


@part
def _add_points(c0, c1, p, q, r, s, t, u, v, w, out0, out1):
    """out += c times the powers of eight points."""
    a, b, c, d, e, f, g, h = c0[0], c0[1], c0[2], c0[3], c0[4], c0[5], c0[6], c0[7]
    i, j, m, n, x, y, z, o = c1[0], c1[1], c1[2], c1[3], c1[4], c1[5], c1[6], c1[7]
    for k in range(out0.shape[0]):
        s0 = few_mac(few_mac(few_mac(few_mac(ZERO_FEW, a, p[k]), b, q[k]), c, r[k]), d, s[k])
        s0 = few_mac(few_mac(few_mac(few_mac(s0, e, t[k]), f, u[k]), g, v[k]), h, w[k])
        s1 = few_mac(few_mac(few_mac(few_mac(ZERO_FEW, i, p[k]), j, q[k]), m, r[k]), n, s[k])
        s1 = few_mac(few_mac(few_mac(few_mac(s1, x, t[k]), y, u[k]), z, v[k]), o, w[k])
        out0[k] = add(out0[k], few_reduce(s0))
        out1[k] = add(out1[k], few_reduce(s1))


@kernel
def power_sum_kernel(table, start, steps, out, lo, hi):
    """out[:, a*B + b] = sum over i of start[:, i] * steps[i]^a * table[i, b] for the blocks a in [lo, hi).

    table uint64[t, B], t a multiple of POINTS; start uint64[2, t]; steps uint64[t] = x^B; out uint64[2, size].
    """
    t, block = table.shape
    c0, c1 = np.empty(t, np.uint64), np.empty(t, np.uint64)
    for i in range(t):
        x = power(steps[i], lo)
        c0[i], c1[i] = mul(start[0, i], x), mul(start[1, i], x)
    for a in range(lo, hi):
        out0, out1 = out[0, a * block : (a + 1) * block], out[1, a * block : (a + 1) * block]
        out0[:] = ZERO
        out1[:] = ZERO
        for i in range(0, t, POINTS):
            _add_points(
                c0[i : i + POINTS], c1[i : i + POINTS], table[i], table[i + 1], table[i + 2], table[i + 3],
                table[i + 4], table[i + 5], table[i + 6], table[i + 7], out0, out1,
            )  # fmt: skip
        for k in range(t):
            c0[k] = mul(c0[k], steps[k])
            c1[k] = mul(c1[k], steps[k])


@part
def _add_multiple(p, c, out):
    for k in range(out.shape[0]):
        out[k] = add(out[k], mul(p[k], c))


@part
def _sum_parts(c, p, q, r, s, t, u, v, w, out):
    """out = the sum of eight rows by c."""
    a, b, d, e, f, g, h, i = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    for k in range(out.shape[0]):
        x = few_mac(few_mac(few_mac(few_mac(ZERO_FEW, p[k], a), q[k], b), r[k], d), s[k], e)
        out[k] = few_reduce(few_mac(few_mac(few_mac(few_mac(x, t[k], f), u[k], g), v[k], h), w[k], i))


@kernel
def split_sum_kernel(table, start, steps, which, powers, shorter, out, lo, hi):
    """out[:, j*M + a*B + b] = sum over i of start[:, i] * steps[i]^a * table[i, b] * w^(j*which[i]), for the blocks a
    in [lo, hi) and j < PARTS; M = size / PARTS.

    table uint64[t, B]; start uint64[2, t]; steps uint64[t] = x^B; which int64[t]; powers[e] = w^e for e < PARTS*L,
    shorter[e] = w^(PARTS*e) for e < L, a power of two; out uint64[2, size].
    """
    t, block = table.shape
    last = powers.shape[0] - 1
    classes, log_classes = shorter.shape[0], 0
    while 1 << log_classes < classes:
        log_classes += 1
    far = out.shape[1] // PARTS
    tile = np.empty((PARTS, classes, block), np.uint64)
    twiddles = np.empty((PARTS, PARTS), np.uint64)
    for j in range(PARTS):
        for a in range(PARTS):
            twiddles[j, a] = powers[a * j & last]
    at = np.empty(t, np.uint64)
    for plane in range(2):
        for i in range(t):
            at[i] = mul(start[plane, i], power(steps[i], lo))
        for a in range(lo, hi):
            tile[:] = ZERO
            for i in range(t):
                _add_multiple(table[i], at[i], tile[which[i] % PARTS, which[i] // PARTS])
                at[i] = mul(at[i], steps[i])
            for part_of in range(PARTS):
                butterflies(tile[part_of], log_classes, 0, 0, 0, shorter)
            for j in range(PARTS):
                r = reverse(j & (classes - 1), log_classes)
                _sum_parts(
                    twiddles[j], tile[0, r], tile[1, r], tile[2, r], tile[3, r], tile[4, r], tile[5, r], tile[6, r],
                    tile[7, r], out[plane, j * far + a * block : j * far + (a + 1) * block],
                )  # fmt: skip


def split_power_sum(x: U64, coefficients: U64, size: int, log_n: int, exponents: I64) -> U64:
    """``power_sum`` on the host, of x_i = omega_n^exponents[i] and a power of two of at least PARTS * BESIDE entries:
    less than half the work where n is at most eight times as much."""
    table = np.empty((BESIDE + 1, len(x)), np.uint64)
    pool.for_ranges(power_table_kernel, len(x), np.ascontiguousarray(x), table, min_chunk=64)
    classes = (1 << log_n) // size
    which = exponents & (PARTS * classes - 1)
    powers, shorter = domain((PARTS * classes).bit_length() - 1), domain(classes.bit_length() - 1)
    out = np.empty((2, size), np.uint64)
    args = np.ascontiguousarray(table[:BESIDE].T), np.ascontiguousarray(coefficients), table[BESIDE], which
    pool.for_ranges(split_sum_kernel, size // PARTS // BESIDE, *args, powers, shorter, out, min_chunk=1)
    return out


def power_sum(x: U64, coefficients: U64, size: int, memory: gpu.Memory = gpu.HOST) -> U64:
    """Entry j < ``size``, a power of two: sum over i of coefficients[:, i] * x_i^j, of ``uint64[t]`` and ``uint64[2,
    t]``; in ``memory``."""
    missing = -len(x) % POINTS
    x, coefficients = np.pad(x, (0, missing)), np.pad(coefficients, ((0, 0), (0, missing)))
    block = min(size, BLOCK)
    table: U64 = memory.empty((block + 1, len(x)))
    pool.for_ranges(power_table_kernel, len(x), np.ascontiguousarray(x), table, min_chunk=64)
    out: U64 = memory.empty((2, size))
    by_point = np.ascontiguousarray(table[:block].T) if memory is gpu.HOST else transpose(table[:block])
    args = by_point, np.ascontiguousarray(coefficients), table[block], out
    pool.for_ranges(power_sum_kernel, size // block, *args, min_chunk=1)
    return out
