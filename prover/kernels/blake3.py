"""Keyed BLAKE3 of many messages of one length: the leaves and nodes of a Merkle tree.

The ``blake3`` package costs more than a microsecond per call from Python; here 16 messages go through the compression
function side by side. A chunk (1024 bytes) is a chain of compressions over 64-byte blocks that starts from the key,
with the chunk's number as counter and flags CHUNK_START and CHUNK_END on its first and last block. Chunks are joined by
a binary tree whose left parts are full: a stack of finished subtrees, merged while the number of finished chunks is
even. The last compression of all has the flag ROOT. Between two parts of a message the chaining value and
the stack are kept.
"""

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from syurmy import gpu
from syurmy.isa.arrays import U32
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.jit import kernel, part

LANES = 16
CHUNK_WORDS = 256
DEPTH = 32  # of the stack: messages of up to 2^32 chunks
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16
IV0, IV1, IV2, IV3 = np.uint32(0x6A09E667), np.uint32(0xBB67AE85), np.uint32(0x3C6EF372), np.uint32(0xA54FF53A)


@part(forceinline=True)
def _rotate(x, n):
    return np.uint32((x >> np.uint32(n)) | (x << np.uint32(32 - n)))


@part(forceinline=True)
def _g(a, b, c, d, x, y):
    a = np.uint32(a + b + x)
    d = _rotate(np.uint32(d ^ a), 16)
    c = np.uint32(c + d)
    b = _rotate(np.uint32(b ^ c), 12)
    a = np.uint32(a + b + y)
    d = _rotate(np.uint32(d ^ a), 8)
    c = np.uint32(c + d)
    b = _rotate(np.uint32(b ^ c), 7)
    return a, b, c, d


@part(forceinline=True)
def _round(v, m):
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf = v
    v0, v4, v8, vc = _g(v0, v4, v8, vc, m[0], m[1])
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m[2], m[3])
    v2, v6, va, ve = _g(v2, v6, va, ve, m[4], m[5])
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m[6], m[7])
    v0, v5, va, vf = _g(v0, v5, va, vf, m[8], m[9])
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m[10], m[11])
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m[12], m[13])
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m[14], m[15])
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, va, vb, vc, vd, ve, vf


@part(forceinline=True)
def _permute(m):
    return (
        m[2], m[6], m[3], m[10], m[7], m[0], m[4], m[13],
        m[1], m[11], m[12], m[5], m[9], m[14], m[15], m[8],
    )  # fmt: skip


@part(forceinline=True)
def mixed(h, m, counter, length, flags):
    """The 16 words of a compression before they are joined: of a chaining value of 8 words and a block of 16."""
    v = (h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], IV0, IV1, IV2, IV3, counter, np.uint32(0), length, flags)
    v = _round(v, m)
    m = _permute(m)
    v = _round(v, m)
    m = _permute(m)
    v = _round(v, m)
    m = _permute(m)
    v = _round(v, m)
    m = _permute(m)
    v = _round(v, m)
    m = _permute(m)
    v = _round(v, m)
    m = _permute(m)
    return _round(v, m)


@part(forceinline=True)
def joined_halves(v):
    return (
        v[0] ^ v[8], v[1] ^ v[9], v[2] ^ v[10], v[3] ^ v[11],
        v[4] ^ v[12], v[5] ^ v[13], v[6] ^ v[14], v[7] ^ v[15],
    )  # fmt: skip


@part
def _compress(x, counter, length, flags):
    """One compression per lane. x is flat ``uint32[24 * LANES]``: 8 words of chaining value, replaced, and 16 of block,
    each for all lanes. One array at constant offsets: LLVM sees that nothing overlaps and vectorises the loop."""
    for k in range(LANES):
        h = x[k], x[16 + k], x[32 + k], x[48 + k], x[64 + k], x[80 + k], x[96 + k], x[112 + k]
        m = (
            x[128 + k], x[144 + k], x[160 + k], x[176 + k], x[192 + k], x[208 + k], x[224 + k], x[240 + k],
            x[256 + k], x[272 + k], x[288 + k], x[304 + k], x[320 + k], x[336 + k], x[352 + k], x[368 + k],
        )  # fmt: skip
        h = joined_halves(mixed(h, m, counter, length, flags))
        x[k], x[16 + k], x[32 + k], x[48 + k], x[64 + k], x[80 + k], x[96 + k], x[112 + k] = h


@intrinsic
def turned(typingctx, source, first, stride, out, to):
    """out[to + 16*w + k] = source[first + k*stride + w] for all w, k < 16: a block of each of 16 messages as words of
    all lanes, by exchanging blocks of 8, 4, 2 and 1 in registers; flat ``uint32`` arrays. Word by word it costs twice
    what the compression does."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.IntType(32), LANES)

        def pointer(array, index):
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        def row(begin, step, i):
            return builder.add(begin, builder.mul(step, ir.Constant(step.type, i)))

        rows = [builder.load(pointer(0, row(args[1], args[2], k)), align=4) for k in range(LANES)]
        for s in (8, 4, 2, 1):
            low = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [LANES + j - s if j & s else j for j in range(16)])
            high = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [LANES + j if j & s else j + s for j in range(16)])
            for i in range(LANES):
                if not i & s:
                    a, b = rows[i], rows[i + s]
                    rows[i], rows[i + s] = builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)
        for w in range(LANES):
            builder.store(rows[w], pointer(3, row(args[4], ir.Constant(args[4].type, LANES), w)), align=4)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, out, types.int64), codegen


@kernel
def hash_kernel(messages, begin, words, state, key, out, lo, hi):
    """out[i] = keyed hash of message i for i in [lo, hi), of ``words`` words, at least one. messages[i] are those from
    ``begin`` on, after which ``state`` is read; where they are not the last ones, it is written in place of ``out``.

    uint32[n, part], uint32[levels, 8, n], uint32[8], uint32[n, 8]; all parts but the last end with a block. Of the
    state, the first level is the chaining value of the chunk, the others are the stack.
    """
    end = begin + messages.shape[1]
    x = np.zeros(24 * LANES, np.uint32)
    flat, keys = messages.reshape(-1), np.empty(8 * LANES, np.uint32)
    for i in range(8 * LANES):
        keys[i] = key[i // LANES]
    stack = np.empty(DEPTH * 8 * LANES, np.uint32)
    for first in range(lo, hi, LANES):
        count = min(LANES, hi - first)
        height = 0
        if begin > 0:
            finished = begin // CHUNK_WORDS
            while finished > 0:  # a subtree for each bit
                height += finished & 1
                finished >>= 1
            _load(state, 0, first, count, x, 0)
            for level in range(height):
                _load(state, 1 + level, first, count, stack, level * 8 * LANES)
        at = begin
        while at < end:
            chunk = at // CHUNK_WORDS
            stop = min(words, (chunk + 1) * CHUNK_WORDS)
            flags = KEYED_HASH
            if at == chunk * CHUNK_WORDS:
                for i in range(8 * LANES):
                    x[i] = keys[i]
                flags |= CHUNK_START
            width = min(16, stop - at)
            stored = at - begin + width  # words of these messages, this block included
            if count == LANES and stored >= 16:
                turned(flat, first * messages.shape[1] + stored - 16, messages.shape[1], x, 8 * LANES)
                if width < 16:  # the words before it stand first
                    for i in range(width * LANES):
                        x[8 * LANES + i] = x[(24 - width) * LANES + i]
            else:
                for k in range(count):
                    for w in range(width):
                        x[(8 + w) * LANES + k] = messages[first + k, at - begin + w]
            for i in range((8 + width) * LANES, 24 * LANES):
                x[i] = 0
            at += width
            if at == stop:
                flags |= CHUNK_END
                if words <= CHUNK_WORDS:
                    flags |= ROOT
            _compress(x, np.uint32(chunk), np.uint32(4 * width), np.uint32(flags))
            if at < stop:
                continue
            last = at == words
            finished = chunk + 1
            while height > 0 and (last or finished & 1 == 0):
                height -= 1
                for i in range(8 * LANES):
                    x[16 * LANES + i] = x[i]
                    x[8 * LANES + i] = stack[height * 8 * LANES + i]
                    x[i] = keys[i]
                flags = KEYED_HASH | PARENT
                if last and height == 0:
                    flags |= ROOT
                _compress(x, np.uint32(0), np.uint32(64), np.uint32(flags))
                finished >>= 1
            for i in range(8 * LANES):
                stack[height * 8 * LANES + i] = x[i]
            height += 1
        if end == words:
            turned(x, 0, LANES, x, 8 * LANES)
            for k in range(count):
                for w in range(8):
                    out[first + k, w] = x[(8 + k) * LANES + w]
            continue
        for w in range(8):
            for k in range(count):
                state[0, w, first + k] = x[w * LANES + k]
        for level in range(height):
            for w in range(8):
                for k in range(count):
                    state[1 + level, w, first + k] = stack[(level * 8 + w) * LANES + k]


@kernel
def nonce_kernel(seed, key, mask, start, lo, hi):
    """The first i in [lo, hi) for which the keyed hash of the 24 bytes seed, start + i begins with a word without bits
    of ``mask``; -1 where there is none. seed ``uint32[4]``, key ``uint32[8]``, the others ``uint64``."""
    x = np.zeros(24 * LANES, np.uint32)
    for i in range(4 * LANES):
        x[8 * LANES + i] = seed[i // LANES]
    flags = np.uint32(KEYED_HASH | CHUNK_START | CHUNK_END | ROOT)
    for first in range(lo, hi, LANES):
        for i in range(8 * LANES):
            x[i] = key[i // LANES]
        for k in range(LANES):
            nonce = start + np.uint64(first + k)
            x[12 * LANES + k] = np.uint32(nonce & np.uint64(0xFFFFFFFF))
            x[13 * LANES + k] = np.uint32(nonce >> np.uint64(32))
        _compress(x, np.uint32(0), np.uint32(24), flags)
        for k in range(min(LANES, hi - first)):
            if np.uint64(x[k]) & mask == 0:
                return first + k
    return -1


@kernel
def nodes_kernel(digests, begin, n, key, lo, hi):
    """The levels of a Merkle tree above one of n digests, rows of ``digests`` ``uint32[*, 8]`` from ``begin`` on; each
    behind the one before, and but for the root all as ``merkle.shortened``, that one too; where [lo, hi) is [0, 1)."""
    x = np.zeros(24 * LANES, np.uint32)
    flat = digests.reshape(-1)
    while n > lo + 1:
        above, parents = begin + n, n // 2
        for i in range(begin, above):
            digests[i, 6] &= np.uint32(0xFF)
            digests[i, 7] = 0
        for first in range(0, parents, LANES):
            count = min(LANES, parents - first)
            for i in range(8 * LANES):
                x[i] = key[i // LANES]
            if count == LANES:
                turned(flat, 8 * (begin + 2 * first), 16, x, 8 * LANES)
            else:
                for k in range(count):
                    for w in range(16):
                        x[(8 + w) * LANES + k] = flat[8 * (begin + 2 * (first + k)) + w]
            _compress(x, np.uint32(0), np.uint32(64), np.uint32(KEYED_HASH | CHUNK_START | CHUNK_END | ROOT))
            for k in range(count):
                for w in range(8):
                    digests[above + first + k, w] = x[w * LANES + k]
        begin, n = above, parents


@part
def _load(state, level, first, count, x, at):
    """x[at + w*LANES + k] = state[level, w, first + k]."""
    for w in range(8):
        for k in range(count):
            x[at + w * LANES + k] = state[level, w, first + k]


def hash_messages(messages: U32, key: bytes) -> U32:
    """``uint32[n, 8]`` digests of ``uint32[n, words]`` little-endian messages of at least one word."""
    n, words = messages.shape
    if words < 1:
        raise ValueError("empty messages")
    out: U32 = np.empty((n, 8), np.uint32)
    hash_into(np.ascontiguousarray(messages), key, out)
    return out


def hash_into(messages: gpu.Array, key: bytes, out: gpu.Array) -> None:
    """``hash_messages`` of contiguous messages into a contiguous array, on the host or on a device."""
    n, words = messages.shape
    _hash(messages, 0, words, out.reshape(1, n, 8), key, out)  # whole messages: no state is read or written


def _hash(messages: gpu.Array, begin: int, words: int, state: U32, key: bytes, out: gpu.Array) -> None:
    n, width = messages.shape
    args = messages, begin, words, state, gpu.beside(messages, out).kept(words_of(key)), out
    pool.for_ranges(hash_kernel, n, *args, min_chunk=max(LANES, (1 << 16) // max(16, width)))


@lru_cache(maxsize=16)
def words_of(key: bytes) -> U32:
    """A key, as kernels take it."""
    return np.frombuffer(key, "<u4").astype(np.uint32)


class Hashing:
    """``hash_messages`` of n messages of ``words`` words that come a part at a time."""

    def __init__(self, n: int, words: int, key: bytes) -> None:
        chunks = -(-words // CHUNK_WORDS)
        self.words, self.key, self.begin = words, key, 0
        self.state = np.empty((1 + (chunks - 1).bit_length(), 8, n), np.uint32)
        self.digests = np.empty((0, 8), np.uint32)

    def take(self, piece: U32) -> None:
        """The next words of each, contiguous ``uint32[n, k]``, whole blocks of 16 in all parts but the last, with which
        ``digests`` are there."""
        end = self.begin + piece.shape[1]
        if end > self.words or (end < self.words and end % 16):
            raise ValueError(f"words [{self.begin}, {end}) of {self.words}")
        if end == self.words:
            self.digests = np.empty((len(piece), 8), np.uint32)
        _hash(piece, self.begin, self.words, self.state, self.key, self.digests)
        self.begin = end
