"""CUDA forms of the kernels whose threads share a tile: transform, hashes, weights, sums of powers, transposition,
the last rounds of sumchecks.

Each computes what its kernel for the CPU does, bit by bit; ``FORMS`` says how it is launched for the arguments of that
kernel. They run on a device, or on this machine by ``gpu/emulator.py``. Of CUDA they use ``grid``, ``threadIdx``,
``blockIdx``, ``blockDim``, ``shared.array``, ``local.array``, ``syncthreads`` and ``atomic.add`` and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, int64, njit, uint32, uint64

from syurmy.gpu.grid import THREADS, Form, Grid, calling, narrowed, wrapped
from syurmy.prover.kernels import challenges, logup, sumcheck
from syurmy.prover.kernels.blake3 import (
    CHUNK_END,
    CHUNK_START,
    CHUNK_WORDS,
    DEPTH,
    KEYED_HASH,
    PARENT,
    ROOT,
)
from syurmy.prover.kernels.chunks import compress, word
from syurmy.prover.kernels.field import EPS, ONE, S32, ZERO, add, kscale, mul, power, reduce128, sub
from syurmy.prover.kernels.moves import set_kernel
from syurmy.prover.kernels.tile import add_up
from syurmy.prover.kernels.transform import reverse, scaled
from syurmy.prover.kernels.wide import from_limbs, mac, reduce

TILE = 1 << 12  # elements that a block of the transform shares: 32 KiB
RUN = 8  # rows of a tile
SLICE = 1 << 11  # rows of weights that a block binds
LIMBS = 64  # rows whose limbs a block shares
SIDE = 32  # of a transposed tile
PADDED = SIDE + 1  # so that a column lies in different banks of shared memory
STACK = 8 * DEPTH  # words of finished subtrees
POINTS = 128  # of power sums, that a block shares
HASHED = 128  # threads of a block of hashes, which need many registers
NOT_OUTER = np.array([[1], [0]], np.uint64)  # the outer eq table of rounds whose inner one has all variables


# ---- the transform ---------------------------------------------------------------------------------------------------


def ntt_pass(source, tail, out, powers, log_cols, log_blowup, done, stages):
    """``transform.transform_kernel``, a block for each tile of 2^stages positions and at most RUN rows."""
    tile = cuda.shared.array(TILE, uint64)
    tid = cuda.threadIdx.x
    rows = out.shape[1]
    strips = (rows + RUN - 1) // RUN
    start = (cuda.blockIdx.x % strips) * RUN
    width = min(RUN, rows - start)
    log_distance = log_cols - done - stages
    residue = (cuda.blockIdx.x // strips) & ((1 << log_distance) - 1)
    block = (cuda.blockIdx.x // strips) >> log_distance
    base = (block << (log_cols - done)) + residue
    size = 1 << stages
    for e in range(tid, size * width, cuda.blockDim.x):
        m = e // width
        k = start + e % width
        if done == 0:
            c = residue + (m << log_distance)
            exponent = reverse(block, log_blowup)
            tile[e] = scaled(source, tail, powers, log_cols, exponent, c, k)
        else:
            tile[e] = out[base + (m << log_distance), k]
    cuda.syncthreads()
    for s in range(stages):
        half = size >> (s + 1)
        for e in range(tid, half * width << s, cuda.blockDim.x):
            pair = e // width
            i = pair & (half - 1)
            first = ((pair - i) * 2 + i) * width + e % width
            second = first + half * width
            w = powers[(residue + (i << log_distance)) << (done + s + log_blowup)]
            a = tile[first]
            b = tile[second]
            tile[first] = add(a, b)
            tile[second] = mul(sub(a, b), w)
        cuda.syncthreads()
    for e in range(tid, size * width, cuda.blockDim.x):
        out[base + ((e // width) << log_distance), start + e % width] = tile[e]


def _transform(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    """A pass as several where a tile of the CPU's does not fit."""
    source, tail, out, powers, log_cols, log_blowup, done, stages = args
    rows = out.shape[1]
    most = (TILE // min(rows, RUN)).bit_length() - 1
    passes = max(1, -(-stages // most))
    for i in range(passes):
        part = stages // (passes - i)
        blocks = (len(out) >> part) * -(-rows // RUN)
        grid.launch(ntt_pass, blocks, THREADS, source, tail, out, powers, log_cols, log_blowup, done, part)
        done, stages = done + part, stages - part


# ---- hashes ----------------------------------------------------------------------------------------------------------


def hash_messages(messages, key, out):
    """``blake3.hash_kernel`` of whole messages, a thread for each."""
    i = cuda.grid(1)
    if i < messages.shape[0]:
        stack = cuda.local.array(STACK, uint32)
        words = messages.shape[1]
        chunks = (words + CHUNK_WORDS - 1) // CHUNK_WORDS
        k = (key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7])
        h = k
        height = 0
        for chunk in range(chunks):
            begin = chunk * CHUNK_WORDS
            end = min(words, begin + CHUNK_WORDS)
            at = begin
            last = chunk == chunks - 1
            finished = chunk + 1
            h = k
            while at < end or (height > 0 and (last or finished & 1 == 0)):
                if at < end:  # a block of the chunk
                    m = (
                        word(messages, i, at, end), word(messages, i, at + 1, end), word(messages, i, at + 2, end),
                        word(messages, i, at + 3, end), word(messages, i, at + 4, end), word(messages, i, at + 5, end),
                        word(messages, i, at + 6, end), word(messages, i, at + 7, end), word(messages, i, at + 8, end),
                        word(messages, i, at + 9, end), word(messages, i, at + 10, end),
                        word(messages, i, at + 11, end), word(messages, i, at + 12, end),
                        word(messages, i, at + 13, end), word(messages, i, at + 14, end),
                        word(messages, i, at + 15, end),
                    )  # fmt: skip
                    flags = KEYED_HASH
                    if at == begin:
                        flags |= CHUNK_START
                    counter = chunk
                    width = min(16, end - at)
                    at += width
                    if at == end:
                        flags |= CHUNK_END
                        if chunks == 1:
                            flags |= ROOT
                else:  # two subtrees become one
                    height -= 1
                    b = height * 8
                    m = (
                        stack[b], stack[b + 1], stack[b + 2], stack[b + 3],
                        stack[b + 4], stack[b + 5], stack[b + 6], stack[b + 7],
                        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
                    )  # fmt: skip
                    h = k
                    flags = KEYED_HASH | PARENT
                    if last and height == 0:
                        flags |= ROOT
                    counter = 0
                    width = 16
                    finished >>= 1
                h = compress(h, m, uint32(counter), uint32(4 * width), uint32(flags))
            b = height * 8
            stack[b] = h[0]
            stack[b + 1] = h[1]
            stack[b + 2] = h[2]
            stack[b + 3] = h[3]
            stack[b + 4] = h[4]
            stack[b + 5] = h[5]
            stack[b + 6] = h[6]
            stack[b + 7] = h[7]
            height += 1
        for w in range(8):
            out[i, w] = h[w]


def _hash(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    """Whole messages: parts are hashed on the host (``blake3.Hashing``)."""
    messages, _, _, _, key, out = args
    grid.launch(hash_messages, -(-n // HASHED), HASHED, messages, key, out)


# ---- weights bound to rows -------------------------------------------------------------------------------------------


def bind_limbs(values, first, limbs, sums):
    """``matrix.bind_limbs_kernel``, a thread for each column and slice of the rows; adds the result's 32-bit halves to
    sums ``uint64[4, C]`` (low and high of plane 0, of plane 1)."""
    tile = cuda.shared.array((LIMBS, 4), int64)
    tid = cuda.threadIdx.x
    cols = values.shape[1]
    tiles = (cols + cuda.blockDim.x - 1) // cuda.blockDim.x
    c: int64 = (cuda.blockIdx.x % tiles) * cuda.blockDim.x + tid
    begin = (cuda.blockIdx.x // tiles) * SLICE
    end = min(limbs.shape[0], begin + SLICE)
    a0: int64 = int64(0)
    a1: int64 = int64(0)
    b0: int64 = int64(0)
    b1: int64 = int64(0)
    for i0 in range(begin, end, LIMBS):
        count = min(LIMBS, end - i0)
        for k in range(tid, 4 * count, cuda.blockDim.x):
            tile[k // 4, k % 4] = int64(limbs[i0 + k // 4, k % 4])
        cuda.syncthreads()
        if c < cols:
            for i in range(count):
                v = int64(values[first + i0 + i, c])
                a0 += tile[i, 0] * v
                a1 += tile[i, 1] * v
                b0 += tile[i, 2] * v
                b1 += tile[i, 3] * v
        cuda.syncthreads()
    if c < cols:
        x = from_limbs(a0, a1)
        y = from_limbs(b0, b1)
        cuda.atomic.add(sums, (0, c), x & EPS)
        cuda.atomic.add(sums, (1, c), x >> S32)
        cuda.atomic.add(sums, (2, c), y & EPS)
        cuda.atomic.add(sums, (3, c), y >> S32)


@njit
def join_halves(sums, out, lo, hi):
    """out[p, c] = sums[2p, c] + 2^32 * sums[2p + 1, c] over F for c in [lo, hi)."""
    for c in range(lo, hi):
        for p in range(2):
            high = mul(reduce128(ZERO, sums[2 * p + 1, c]), ONE << S32)
            out[p, c] = add(reduce128(ZERO, sums[2 * p, c]), high)


_joined = wrapped(join_halves, (0, 0), 0)


def _bind(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    values, first, limbs, out = args
    cols = values.shape[1]
    sums = grid.empty((4, cols))
    grid.on_device(set_kernel, 4 * cols, (sums.reshape(-1), ZERO))
    tiles = -(-cols // THREADS)
    grid.launch(bind_limbs, tiles * max(1, -(-len(limbs) // SLICE)), THREADS, values, first, limbs, sums)
    grid.launch(_joined, tiles, THREADS, sums, out, cols)


# ---- sums of powers --------------------------------------------------------------------------------------------------


def power_sum(table, start, steps, out):
    """``opening.power_sum_kernel``, a block for each a and a thread for each b."""
    tile = cuda.shared.array((2, POINTS), uint64)
    tid = cuda.threadIdx.x
    a = cuda.blockIdx.x
    t, block = table.shape
    l0: uint64 = ZERO
    h0: uint64 = ZERO
    o0: uint64 = ZERO
    l1: uint64 = ZERO
    h1: uint64 = ZERO
    o1: uint64 = ZERO
    for i0 in range(0, t, POINTS):
        count = min(POINTS, t - i0)
        for k in range(tid, count, cuda.blockDim.x):
            tile[0, k], tile[1, k] = kscale(start[0, i0 + k], start[1, i0 + k], power(steps[i0 + k], a))
        cuda.syncthreads()
        if tid < block:
            for k in range(count):
                v = table[i0 + k, tid]
                l0, h0, o0 = mac((l0, h0, o0), v, tile[0, k])
                l1, h1, o1 = mac((l1, h1, o1), v, tile[1, k])
        cuda.syncthreads()
    if tid < block:
        out[0, a * block + tid] = reduce((l0, h0, o0))
        out[1, a * block + tid] = reduce((l1, h1, o1))


def _powers(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    grid.launch(power_sum, n, THREADS, *args)


# ---- transposition ---------------------------------------------------------------------------------------------------


def transpose(rows, out, first):
    """``matrix.transpose_kernel``, a block for each tile; neighbours read and write neighbours."""
    tile = cuda.shared.array((SIDE, PADDED), uint64)
    tid = cuda.threadIdx.x
    height, cols = rows.shape
    across = (cols + SIDE - 1) // SIDE
    r0 = (cuda.blockIdx.x // across) * SIDE
    c0 = (cuda.blockIdx.x % across) * SIDE
    for e in range(tid, SIDE * SIDE, cuda.blockDim.x):
        r = r0 + e // SIDE
        c = c0 + e % SIDE
        if r < height and c < cols:
            tile[e // SIDE, e % SIDE] = rows[r, c]
    cuda.syncthreads()
    for e in range(tid, SIDE * SIDE, cuda.blockDim.x):
        c = c0 + e // SIDE
        r = r0 + e % SIDE
        if r < height and c < cols:
            out[c, first + r] = tile[e % SIDE, e // SIDE]


def _transposed(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    rows, out, first = args
    height, cols = rows.shape
    grid.launch(transpose, -(-height // SIDE) * -(-cols // SIDE), THREADS, rows, out, first)


# ---- counts ----------------------------------------------------------------------------------------------------------


def count(values, counts, n):
    """``moves.count_kernel``, a thread for each value."""
    i = cuda.grid(1)
    if i < n:
        v = int64(values[i])
        size = counts.shape[0] - 1
        at = size
        if v >= 0 and v < size:
            at = v
        cuda.atomic.add(counts, at, uint64(1))


def _count(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    grid.launch(count, -(-n // THREADS), THREADS, *args, n)


# ---- the last rounds of a sumcheck -----------------------------------------------------------------------------------


first_round, second_round, next_round = map(narrowed, (logup.first_round, logup.second_round, logup.next_round))
round_all, round_kernel, product_kernel = map(
    narrowed, (sumcheck.round_all, challenges.round_kernel, challenges.product_kernel)
)


def lookup_tail(
    layer, v, w, apart, k0, k1, eq, one, sums, constants, pads, text, behind, state, claim, out, first
):  # fmt: skip
    """``rounds.lookup_rounds``, one block; a challenge goes from the thread that draws it to the others in ``x``."""
    tile = cuda.shared.array((4, THREADS), uint64)
    x = cuda.shared.array(2, uint64)
    tid = cuda.threadIdx.x
    if tid == 0:
        x[0] = out[first, 4]
        x[1] = out[first, 5]
    cuda.syncthreads()
    rounds = pads.shape[0]
    begin = max(first, 2)
    for j in range(first, rounds):
        half = 1 << (rounds - 1 - j)
        inner = eq[:, :half]
        near = v if (j - begin) & 1 else w
        far = w if (j - begin) & 1 else v
        s0 = ZERO
        s1 = ZERO
        s2 = ZERO
        s3 = ZERO
        for i in range(tid, half, cuda.blockDim.x):
            if j == 0:
                a, b, c, d = first_round(layer, apart[j, 0], apart[j, 2], k0, k1, one, inner, i, i + 1)
            elif j == 1:
                a, b, c, d = second_round(
                    layer, apart[j, 0], apart[j, 1], apart[j, 2], k0, k1, x[0], x[1], one, inner, w, i, i + 1
                )  # fmt: skip
            else:
                a, b, c, d = next_round(near, apart[j, 1], apart[j, 2], x[0], x[1], one, inner, far, i, i + 1)
            s0 = add(s0, a)
            s1 = add(s1, b)
            s2 = add(s2, c)
            s3 = add(s3, d)
        tile[0, tid] = s0
        tile[1, tid] = s1
        tile[2, tid] = s2
        tile[3, tid] = s3
        add_up(tile, tid, 4)
        for i in range(tid, half // 2, cuda.blockDim.x):
            eq[0, i] = add(eq[0, i], eq[0, i + half // 2])
            eq[1, i] = add(eq[1, i], eq[1, i + half // 2])
        if tid == 0:
            for k in range(4):
                sums[j, 0, 0, k] = tile[k, 0]
            round_kernel(
                sums[j, 0], sums[j, 1], constants[j], pads[j], text, behind, state, claim, out[j + 1], 0, 1
            )  # fmt: skip
            x[0] = out[j + 1, 4]
            x[1] = out[j + 1, 5]
        cuda.syncthreads()


def product_tail(
    w, at, tables, coefficient, degree, entered, sums, constants, pads, text, behind, state, out, first, left
):  # fmt: skip
    """``rounds.product_rounds``, one block."""
    tile = cuda.shared.array((6, THREADS), uint64)
    x = cuda.shared.array(2, uint64)
    tid = cuda.threadIdx.x
    words = pads.shape[1]
    if tid == 0:
        x[0] = out[first, words]
        x[1] = out[first, words + 1]
    cuda.syncthreads()
    for j in range(first, pads.shape[0]):
        m = entered[j]
        half = 1 << (left - 1 - j + first)
        s0 = ZERO
        s1 = ZERO
        s2 = ZERO
        s3 = ZERO
        s4 = ZERO
        s5 = ZERO
        for i in range(tid, m * half, cuda.blockDim.x):
            a, b, c, d, e, f = round_all(w, at, tables, half, m, coefficient, degree, x[0], x[1], i, i + 1)
            s0 = add(s0, a)
            s1 = add(s1, b)
            s2 = add(s2, c)
            s3 = add(s3, d)
            s4 = add(s4, e)
            s5 = add(s5, f)
        tile[0, tid] = s0
        tile[1, tid] = s1
        tile[2, tid] = s2
        tile[3, tid] = s3
        tile[4, tid] = s4
        tile[5, tid] = s5
        add_up(tile, tid, 6)
        if tid == 0:
            for k in range(6):
                sums[j, 0, k] = tile[k, 0]
            product_kernel(sums[j], constants[j], pads[j], text, behind, state, out[j + 1], 0, 1)
            x[0] = out[j + 1, words]
            x[1] = out[j + 1, words + 1]
        cuda.syncthreads()


calling(lookup_tail, "first_round", "second_round", "next_round", "round_kernel")
calling(product_tail, "round_all", "product_kernel")


def _lookup_rounds(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    grid.launch(lookup_tail, 1, THREADS, *args[:7], grid.kept(NOT_OUTER), *args[7:])


def _product_rounds(grid: Grid, n: int, args: tuple[Any, ...]) -> None:
    grid.launch(product_tail, 1, THREADS, *args)


FORMS: dict[str, Form] = {
    "lookup_rounds": _lookup_rounds,
    "product_rounds": _product_rounds,
    "transform_kernel": _transform,
    "count_kernel": _count,
    "hash_kernel": _hash,
    "bind_limbs_kernel": _bind,
    "power_sum_kernel": _powers,
    "transpose_kernel": _transposed,
}
