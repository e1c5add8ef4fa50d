"""A round of a sumcheck between two of its kernels: message, hash, challenge (protocol/transcript.py).

One thread does this on a device, so that rounds need no host between them; the host hashes them again and compares.
"""

import numpy as np
from numba import njit, uint32

from syurmy.prover.kernels.blake3 import CHUNK_END, CHUNK_START, IV0, IV1, IV2, IV3, ROOT, joined_halves, mixed
from syurmy.prover.kernels.field import ONE, S32, ZERO, P, add, kadd, kmul, ksub, mul, reduce128, sub
from syurmy.prover.kernels.jit import kernel, part

IV4, IV5, IV6, IV7 = np.uint32(0x510E527F), np.uint32(0x9B05688C), np.uint32(0x1F83D9AB), np.uint32(0x5BE0CD19)
BLOCK = 64  # bytes
LONGEST = 4 * BLOCK  # bytes of state, labels and data


@njit(forceinline=True)
def word(data, at):
    return (
        uint32(data[at])
        | (uint32(data[at + 1]) << uint32(8))
        | (uint32(data[at + 2]) << uint32(16))
        | (uint32(data[at + 3]) << uint32(24))
    )


@part
def put_word(data, at, x, size):
    """The low ``size`` bytes of a word, little-endian."""
    for k in range(size):
        data[at + k] = np.uint8((x >> np.uint64(8 * k)) & np.uint64(0xFF))


@part
def joined(sums, w):
    """Of 32-bit halves that were added up."""
    return add(reduce128(ZERO, sums[0, w]), mul(reduce128(ZERO, sums[1, w]), ONE << S32))


@part
def squeeze(data, length, out):
    """out uint32[32] = the first 128 bytes of BLAKE3 of ``data``, of at most 1024 bytes, zero behind ``length``."""
    h = (IV0, IV1, IV2, IV3, IV4, IV5, IV6, IV7)
    at, start = 0, CHUNK_START
    while at + BLOCK < length:
        h = joined_halves(mixed(h, block(data, at), uint32(0), uint32(BLOCK), uint32(start)))
        at, start = at + BLOCK, 0
    m = block(data, at)
    for counter in range(2):
        v = mixed(h, m, uint32(counter), uint32(length - at), uint32(start | CHUNK_END | ROOT))
        for k in range(8):
            out[16 * counter + k] = v[k] ^ v[k + 8]
            out[16 * counter + 8 + k] = v[k + 8] ^ h[k]


@njit(forceinline=True)
def block(data, at):
    return (
        word(data, at), word(data, at + 4), word(data, at + 8), word(data, at + 12),
        word(data, at + 16), word(data, at + 20), word(data, at + 24), word(data, at + 28),
        word(data, at + 32), word(data, at + 36), word(data, at + 40), word(data, at + 44),
        word(data, at + 48), word(data, at + 52), word(data, at + 56), word(data, at + 60),
    )  # fmt: skip


@part
def answer(message, pads, text, behind, state, data, hashed):
    """Hashes what was sent and draws the challenge: message ``uint64[w + 2]``, w words and, when this is done, the
    challenge; pads ``uint64[w]``, which are added; text ``uint8[n]``: what is hashed before the words and, from
    ``behind`` on, after them; state ``uint32[8]`` is replaced. For data ``uint8[LONGEST]`` there are zeros, for
    hashed ``uint32[32]`` anything."""
    for k in range(8):
        put_word(data, 4 * k, np.uint64(state[k]), 4)
    at = 32
    for k in range(behind):
        data[at + k] = text[k]
    at += behind
    for k in range(pads.shape[0]):
        put_word(data, at, add(message[k], pads[k]), 8)
        at += 8
    for k in range(behind, text.shape[0]):
        data[at + k - behind] = text[k]
    at += text.shape[0] - behind
    squeeze(data, at, hashed)
    for k in range(8):
        state[k] = hashed[k]
    found = pads.shape[0]
    for k in range(8):
        w = np.uint64(hashed[8 + 2 * k]) | (np.uint64(hashed[9 + 2 * k]) << S32)
        if w < P and found < pads.shape[0] + 2:
            message[found] = w
            found += 1


@kernel
def round_kernel(sums, more, constants, pads, text, behind, state, claim, out, lo, hi):
    """A round of lookups, where [lo, hi) is [0, 1): with h(0) = scale*low - shift + what ``more`` adds, top likewise,

        slope = (claim - h(0)) * inverse,  x = challenge,  claim = h(0) + x*(slope + (x - 1)*top).

    sums, more ``uint64[2, 4]``: halves of low and top; constants ``uint64[6]``: scale, shift, inverse; pads
    ``uint64[4]``, text, behind, state: as of ``answer``; claim ``uint64[2]`` is replaced; out ``uint64[6]``: slope,
    top, x.
    """
    for _ in range(lo, hi):
        scale0, scale1 = constants[0], constants[1]
        low0, low1 = kmul(joined(sums, 0), joined(sums, 1), scale0, scale1)
        low0, low1 = ksub(low0, low1, constants[2], constants[3])
        low0, low1 = kadd(low0, low1, joined(more, 0), joined(more, 1))
        top0, top1 = kmul(joined(sums, 2), joined(sums, 3), scale0, scale1)
        top0, top1 = kadd(top0, top1, joined(more, 2), joined(more, 3))
        slope0, slope1 = ksub(claim[0], claim[1], low0, low1)
        slope0, slope1 = kmul(slope0, slope1, constants[4], constants[5])
        out[0], out[1], out[2], out[3] = slope0, slope1, top0, top1
        data = np.zeros(LONGEST, np.uint8)
        hashed = np.empty(32, np.uint32)
        answer(out, pads, text, behind, state, data, hashed)
        x0, x1 = out[4], out[5]
        y0, y1 = kmul(sub(x0, ONE), x1, top0, top1)
        y0, y1 = kadd(slope0, slope1, y0, y1)
        y0, y1 = kmul(x0, x1, y0, y1)
        claim[0], claim[1] = kadd(low0, low1, y0, y1)


@kernel
def product_kernel(sums, constants, pads, text, behind, state, out, lo, hi):
    """A round of products, where [lo, hi) is [0, 1): sums ``uint64[2, 6]``, halves of three elements, of which those
    that ``pads`` ``uint64[w]`` has room for are sent; constants ``uint64[6]``, which are added; out ``uint64[w + 2]``:
    what is sent, and the challenge. The others as of ``answer``."""
    for _ in range(lo, hi):
        for k in range(pads.shape[0]):
            out[k] = add(joined(sums, k), constants[k])
        data = np.zeros(LONGEST, np.uint8)
        hashed = np.empty(32, np.uint32)
        answer(out, pads, text, behind, state, data, hashed)
