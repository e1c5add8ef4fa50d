"""Keyed BLAKE3 of messages that are never there as a whole: chaining values of their chunks, and the tree over them.

BLAKE3's tree has full left parts, which is what joining neighbours level by level gives, where the last one of an odd
number goes up as it is.
"""

from numba import njit, uint32

from syurmy.prover.kernels.blake3 import CHUNK_END, CHUNK_START, KEYED_HASH, PARENT, ROOT, joined_halves, mixed
from syurmy.prover.kernels.jit import kernel


@njit(forceinline=True)
def compress(h, m, counter, length, flags):
    """One compression of BLAKE3: chaining value of 8 words, block of 16."""
    return joined_halves(mixed(h, m, counter, length, flags))


@njit(forceinline=True)
def word(messages, i, at, end):
    """Word ``at`` of message i, 0 from ``end`` on."""
    return messages[i, at] if at < end else uint32(0)


@kernel
def chunk_kernel(messages, key, number, out, lo, hi):
    """out[i] = the chaining value of messages[i] as chunk ``number`` of several; uint32[n, words], at most 256 words,
    uint32[8], uint32[n, 8]."""
    words = messages.shape[1]
    for i in range(lo, hi):
        h = (key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7])
        for at in range(0, words, 16):
            m = (
                word(messages, i, at, words), word(messages, i, at + 1, words), word(messages, i, at + 2, words),
                word(messages, i, at + 3, words), word(messages, i, at + 4, words), word(messages, i, at + 5, words),
                word(messages, i, at + 6, words), word(messages, i, at + 7, words), word(messages, i, at + 8, words),
                word(messages, i, at + 9, words), word(messages, i, at + 10, words), word(messages, i, at + 11, words),
                word(messages, i, at + 12, words), word(messages, i, at + 13, words),
                word(messages, i, at + 14, words), word(messages, i, at + 15, words),
            )  # fmt: skip
            flags = KEYED_HASH
            if at == 0:
                flags |= CHUNK_START
            if at + 16 >= words:
                flags |= CHUNK_END
            h = compress(h, m, uint32(number), uint32(4 * min(16, words - at)), uint32(flags))
        for w in range(8):
            out[i, w] = h[w]


@kernel
def parents_kernel(level, key, out, lo, hi):
    """A level of a Merkle tree of which only a root is whole: out[i] = keyed BLAKE3 of the digests 2i and 2i + 1 of
    ``level``, which become short (protocol/merkle.py); uint32[2n, 8], uint32[8], uint32[n, 8]."""
    for i in range(lo, hi):
        x, y = level[2 * i], level[2 * i + 1]
        x[6] &= uint32(0xFF)
        y[6] &= uint32(0xFF)
        x[7] = y[7] = 0
        m = (
            x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], y[0], y[1], y[2], y[3], y[4], y[5], y[6], y[7],
        )  # fmt: skip
        k = (key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7])
        flags = KEYED_HASH | CHUNK_START | CHUNK_END | ROOT
        h = compress(k, m, uint32(0), uint32(64), uint32(flags))
        for w in range(8):
            out[i, w] = h[w]


@kernel
def join_kernel(values, key, out, lo, hi):
    """A level of the trees of n messages: out[j, c] joins values[2j, c] and values[2j + 1, c], for i = (j, c) in C
    order; uint32[k, n, 8], uint32[8], uint32[(k + 1) // 2, n, 8]."""
    count, n = values.shape[0], values.shape[1]
    flags = KEYED_HASH | PARENT
    if count == 2:
        flags |= ROOT
    for i in range(lo, hi):
        j, c = i // n, i % n
        if 2 * j + 1 == count:
            for w in range(8):
                out[j, c, w] = values[2 * j, c, w]
            continue
        x, y = values[2 * j], values[2 * j + 1]
        m = (
            x[c, 0], x[c, 1], x[c, 2], x[c, 3], x[c, 4], x[c, 5], x[c, 6], x[c, 7],
            y[c, 0], y[c, 1], y[c, 2], y[c, 3], y[c, 4], y[c, 5], y[c, 6], y[c, 7],
        )  # fmt: skip
        k = (key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7])
        h = compress(k, m, uint32(0), uint32(64), uint32(flags))
        for w in range(8):
            out[j, c, w] = h[w]
