"""The Reed-Solomon encoding of ``ntt.py`` on a device: the same positions, in one pass of any number of stages.

A device has a form of the kernel that works on tiles (``grid.ntt_pass``); this one is its definition.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from syurmy import gpu
from syurmy.prover.field import U64, P, root_of_unity
from syurmy.prover.kernels.field import ZERO, add, mul, sub
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.moves import power_kernel
from syurmy.prover.kernels.pool import contiguous, for_ranges


@part
def reverse(x, bits):
    out = 0
    for _ in range(bits):
        out = (out << 1) | (x & 1)
        x >>= 1
    return out


@part
def scaled(source, tail, powers, log_cols, exponent, c, k):
    """Coefficient c of polynomial k on a coset: with the further coefficients that are folded into it, scaled."""
    x = ZERO
    if c < tail.shape[0]:
        constant = powers[exponent << log_cols]
        last = c + (((tail.shape[0] - 1 - c) >> log_cols) << log_cols)
        for i in range(last, -1, -(1 << log_cols)):
            x = mul(add(x, tail[i, k]), constant)
    return mul(add(x, source[c, k]), powers[exponent * c])


@kernel
def transform_kernel(source, tail, out, powers, log_cols, log_blowup, done, stages, lo, hi):
    """Stages [done, done + stages) of the transforms of size C, for the tiles [lo, hi) of 2^stages positions at a
    common distance. Where done is 0, ``source`` is read and scaled.

    source uint64[C, R], tail uint64[T, R], out uint64[n, R], powers[i] = omega_n^i for i < n.
    """
    rows = out.shape[1]
    log_distance = log_cols - done - stages
    size = 1 << stages
    for item in range(lo, hi):
        residue = item & ((1 << log_distance) - 1)
        block = item >> log_distance
        base = (block << (log_cols - done)) + residue
        if done == 0:
            exponent = reverse(block, log_blowup)
            for m in range(size):
                c = residue + (m << log_distance)
                for k in range(rows):
                    out[base + (m << log_distance), k] = scaled(source, tail, powers, log_cols, exponent, c, k)
        for s in range(stages):
            half = size >> (s + 1)
            for pair in range(half << s):
                i = pair & (half - 1)
                first = base + (((pair - i) * 2 + i) << log_distance)
                second = first + (half << log_distance)
                w = powers[(residue + (i << log_distance)) << (done + s + log_blowup)]
                for k in range(rows):
                    a, b = out[first, k], out[second, k]
                    out[first, k] = add(a, b)
                    out[second, k] = mul(sub(a, b), w)


@lru_cache(maxsize=4)
def powers_of_root(log_n: int, memory: Any) -> gpu.Array:
    """omega_n^i for i < n, on a device."""
    root = root_of_unity(log_n)
    out = memory.empty(1 << log_n)
    squares = np.array([pow(root, 1 << b, P) for b in range(max(1, log_n))], np.uint64)
    for_ranges(power_kernel, 1 << log_n, squares, out)
    return out


def encode(matrix: gpu.Array, log_blowup: int, tail: U64) -> gpu.Array:
    """``ntt.encode`` of a matrix on a device; ``tail`` may be on the host."""
    cols, rows = matrix.shape
    memory: Any = gpu.beside(matrix)
    log_cols = cols.bit_length() - 1
    out = memory.empty((cols << log_blowup, rows))
    more = memory.upload(tail) if gpu.on_host(tail) else tail
    powers = powers_of_root(log_cols + log_blowup, memory)
    args = contiguous(matrix), more, out, powers, log_cols, log_blowup, 0, log_cols
    for_ranges(transform_kernel, 1 << log_blowup, *args)
    return out
