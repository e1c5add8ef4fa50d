"""Reed-Solomon encoding by a number-theoretic transform over runs of R entries.

A message is ``uint64[C, R]``: R polynomials side by side, entry ``[c, r]`` the coefficient of x^c of polynomial r. Its
encoding is ``uint64[n, R]`` with n = C << log_blowup, and position q holds the evaluations at omega_n^bitrev(q), where
omega_n = 7^((p-1)/n) and bitrev reverses log2(n) bits (decimation in frequency leaves this order, no reordering is
done). Linear over F, so an array over K is encoded plane by plane.

A message may have T more coefficients, of x^C, x^(C+1), ... (the random ones of a hiding commitment). On a coset x^C is
a constant, so they are folded into the first C coefficients as they are read, and the transform has size C still.

Positions [j*C, (j+1)*C) are the coset omega_n^bitrev(j) * <omega_C>: coefficient c is scaled by omega_n^(bitrev(j)*c)
and a transform of size C follows, which replaces butterflies with zeros. A pass does ``stages`` stages of it on tiles
of 2^stages positions at a common distance, copied to a buffer that stays in the second-level cache: that is worth less
than a pass over the codeword less. Two stages at a time, as a fourth root of unity, 2^48, costs no product. The
buffer's rows are whole vectors: its loops have no tails.
"""

from functools import lru_cache

import numpy as np

from syurmy import gpu
from syurmy.prover.field import TWO_ADICITY, U64, root_of_unity
from syurmy.prover.field import P as P_INT
from syurmy.prover.kernels import pool, transform
from syurmy.prover.kernels.field import ZERO
from syurmy.prover.kernels.field import mul as mul_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import add, mul, sub, turn
from syurmy.prover.kernels.transform import reverse

RUN = 64
TILE = 1 << 15  # elements of the buffer, 256 KiB: a pass does as many stages as fit
VECTOR = 8  # elements
LOG_BESIDE = 3  # log2 of the most tiles that are read together: 21 rows of 8 positions are 21 cache lines


@kernel
def powers_kernel(root, first, out, lo, hi):
    """out[i] = first * root^(i - lo) for i in [lo, hi)."""
    x = first
    for i in range(lo, hi):
        out[i] = x
        x = mul_one(x, root)


@part
def butterflies(tile, stages, residue, log_distance, shift, powers):
    """``stages`` stages of a transform on the positions residue + (m << log_distance), rows m of ``tile``, one vector
    after the other; the first one's twiddle factors are the powers of powers[1 << shift]."""
    size, length = tile.shape
    last_power = powers.shape[0] - 1
    if stages & 1:
        half = size >> 1
        for i in range(half):
            w = powers[(residue + (i << log_distance)) << shift]
            for k in range(length):
                a, b = tile[i, k], tile[i + half, k]
                tile[i, k] = add(a, b)
                tile[i + half, k] = mul(sub(a, b), w)
    for s in range(stages & 1, stages, 2):
        quarter = size >> (s + 2)
        for i in range(quarter):
            e = (residue + (i << log_distance)) << (s + shift)
            w = powers[e]
            w2 = powers[2 * e]
            w3 = powers[3 * e & last_power]
            for i0 in range(i, size, 4 * quarter):
                i1, i2, i3 = i0 + quarter, i0 + 2 * quarter, i0 + 3 * quarter
                if e == 0:  # all factors are 1: the last step of a transform has no others
                    for k in range(length):
                        a, b, c, d = tile[i0, k], tile[i1, k], tile[i2, k], tile[i3, k]
                        p, q = add(a, c), add(b, d)
                        r, t = sub(a, c), turn(sub(b, d))
                        tile[i0, k] = add(p, q)
                        tile[i1, k] = sub(p, q)
                        tile[i2, k] = add(r, t)
                        tile[i3, k] = sub(r, t)
                    continue
                for k in range(length):
                    a, b, c, d = tile[i0, k], tile[i1, k], tile[i2, k], tile[i3, k]
                    p, q = add(a, c), add(b, d)
                    r, t = sub(a, c), turn(sub(b, d))
                    tile[i0, k] = add(p, q)
                    tile[i1, k] = mul(sub(p, q), w2)
                    tile[i2, k] = mul(add(r, t), w)
                    tile[i3, k] = mul(sub(r, t), w3)


@kernel
def ntt_pass_kernel(source, tail, out, powers, log_cols, log_blowup, done, stages, log_beside, lo, hi):
    """Stages [done, done + stages) of the transforms of size C. The first pass (done = 0) reads and scales ``source``.

    source uint64[C, R], tail uint64[T, R], out uint64[n, R], powers[i] = omega_n^i for i < n. Work items [lo, hi) are
    2^log_beside tiles of neighbouring residues, which are read and written together: of one alone, a position's run is
    less than its cache lines. They are numbered (position block, residues, strip of the run) with the strip fastest; in
    the first pass (residues, block, strip), so that all cosets read a part of the source one after the other.
    """
    rows = out.shape[1]
    strips = (rows + RUN - 1) // RUN
    log_distance = log_cols - done - stages
    log_groups = log_distance - log_beside
    size, beside = 1 << stages, 1 << log_beside
    length = (min(rows, RUN) + VECTOR - 1) // VECTOR * VECTOR
    tiles = np.zeros((beside, size, length), np.uint64)
    for item in range(lo, hi):
        start = (item % strips) * RUN
        width = min(RUN, rows - start)
        if done == 0:
            residue = (item // strips) >> log_blowup << log_beside
            block = (item // strips) & ((1 << log_blowup) - 1)
        else:
            residue = ((item // strips) & ((1 << log_groups) - 1)) << log_beside
            block = (item // strips) >> log_groups
        base = (block << (log_cols - done)) + residue
        if done == 0:
            exponent = reverse(block, log_blowup)
            more = tail.shape[0]
            constant = powers[exponent << log_cols]  # x^C on this coset
            step, across = powers[exponent << log_distance], powers[exponent]
            first = powers[exponent * residue]
            for m in range(size):
                w = first
                for j in range(beside):
                    tile = tiles[j]
                    c = residue + j + (m << log_distance)
                    if c < more:
                        last = c + (((more - 1 - c) >> log_cols) << log_cols)
                        for k in range(length):
                            tile[m, k] = ZERO
                        for i in range(last, -1, -(1 << log_cols)):
                            for k in range(width):
                                tile[m, k] = add(tile[m, k], tail[i, start + k])
                            for k in range(length):
                                tile[m, k] = mul(tile[m, k], constant)
                        for k in range(width):
                            tile[m, k] = add(tile[m, k], source[c, start + k])
                    else:
                        x, y = source[c, start : start + width], tile[m]
                        for k in range(width):
                            y[k] = x[k]
                    if block > 0:  # not the coset of 1
                        for k in range(length):
                            tile[m, k] = mul(tile[m, k], w)
                    w = mul_one(w, across)
                first = mul_one(first, step)
        else:
            for m in range(size):
                for j in range(beside):
                    tile = tiles[j]
                    x, y = out[base + j + (m << log_distance), start : start + width], tile[m]
                    for k in range(width):
                        y[k] = x[k]
        for j in range(beside):
            butterflies(tiles[j], stages, residue + j, log_distance, done + log_blowup, powers)
        for m in range(size):
            for j in range(beside):
                tile = tiles[j]
                x, y = tile[m], out[base + j + (m << log_distance), start : start + width]
                for k in range(width):
                    y[k] = x[k]


@lru_cache(maxsize=8)  # the levels of a proof have their own, each a fraction of the one before
def domain(log_n: int) -> U64:
    """The powers of omega_n, ``uint64[n]``."""
    root = root_of_unity(log_n)
    out = np.empty(1 << log_n, np.uint64)

    def part(lo: int, hi: int) -> None:
        powers_kernel(np.uint64(root), np.uint64(pow(root, lo, P_INT)), out, lo, hi)

    pool.for_ranges(part, 1 << log_n)
    out.flags.writeable = False
    return out


def encode(matrix: U64, log_blowup: int, tail: U64 | None = None, out: U64 | None = None) -> U64:
    """Encoding ``uint64[C << log_blowup, R]`` of ``uint64[C, R]``, C a power of two, all entries canonical, with
    further coefficients ``tail``, ``uint64[T, R]``; on the host in ``out``, if given, contiguous.

    ``ValueError`` for another C or where F has no domain of that size.
    """
    cols, rows = matrix.shape
    tail = np.zeros((0, rows), np.uint64) if tail is None else np.ascontiguousarray(tail)
    if tail.shape[1] != rows:
        raise ValueError(f"{tail.shape[1]} random coefficients for {rows} rows")
    log_cols = cols.bit_length() - 1
    if cols < 1 or cols != 1 << log_cols or log_cols + log_blowup > TWO_ADICITY:
        raise ValueError(f"cannot encode {cols} columns at blow-up 2^{log_blowup}")
    if not gpu.on_host(matrix):
        there: U64 = transform.encode(matrix, log_blowup, tail)
        return there
    out = np.empty((cols << log_blowup, rows), np.uint64) if out is None else out
    powers = domain(log_cols + log_blowup)
    source = np.ascontiguousarray(matrix)
    length = -(-min(rows, RUN) // VECTOR) * VECTOR
    passes = max(1, -(-log_cols // ((TILE // length).bit_length() - 1)))
    strips = -(-rows // RUN)
    done = 0
    for i in range(passes):
        stages = (log_cols - done) // (passes - i)
        log_beside = min(log_cols - done - stages, LOG_BESIDE, max(0, (TILE // length).bit_length() - 1 - stages))
        tiles = (cols << log_blowup >> stages >> log_beside) * strips
        pool.for_ranges(
            ntt_pass_kernel,
            tiles,
            source,
            tail,
            out,
            powers,
            log_cols,
            log_blowup,
            done,
            stages,
            log_beside,
            min_chunk=max(1, (pool.MIN_CHUNK // length) >> stages >> log_beside >> 1),
        )
        done += stages
    return out


def encode_ext(vector: U64, log_blowup: int) -> U64:
    """Encoding ``uint64[2, n]`` of a row over K given as ``uint64[2, C]``."""
    return np.ascontiguousarray(encode(np.ascontiguousarray(vector.T), log_blowup).T)
