"""Integers of 4 bits, two in a byte: ``uint8[R, C/2]`` for ``int8[R, C]`` with entries in -8..7, C a multiple of 16.

A row's first half is in the low bits, its second half in the high ones, so that a run of entries is one of bytes.
"""

from collections.abc import Iterator

import numpy as np

from syurmy.isa.arrays import U8, Integers
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.jit import kernel, part

STRIP, ROWS = 1 << 23, 32  # entries that are unpacked at one time; and rows, where these are long
WORTH = 1 << 18  # entries from which on packing them is worth it
LEAST = 16  # columns, of which rows have a multiple
LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
SIGNS = np.uint64(0x0808080808080808)


@part
def _widened(x):
    """Eight nibbles, one in each byte, as signed bytes."""
    sign = x & SIGNS
    return x | sign << np.uint64(1) | sign << np.uint64(2) | sign << np.uint64(3) | sign << np.uint64(4)


@kernel
def unpack_kernel(packed, out, lo, hi):
    """out uint64[R, C/8], bytes side by side, of packed uint64[R, C/16], for the rows [lo, hi)."""
    half = packed.shape[1]
    for r in range(lo, hi):
        for k in range(half):
            b = packed[r, k]
            out[r, k] = _widened(b & LOW)
            out[r, half + k] = _widened(b >> np.uint64(4) & LOW)


def fits(values: Integers) -> bool:
    """Whether all entries have 4 bits."""
    return int(values.min(initial=0)) >= -8 and int(values.max(initial=0)) <= 7


def worth(rows: Integers) -> bool:
    """Whether rows of 4-bit integers are packed: they can be, and it saves more than a page or two."""
    return rows.size >= WORTH and rows.shape[1] % LEAST == 0


def pack(values: Integers) -> U8:
    """Of ``int8[R, C]``."""
    half = values.shape[1] // 2
    low, high = values[:, :half].view(np.uint8), values[:, half:].view(np.uint8)
    return np.asarray(low & np.uint8(15) | high << np.uint8(4))


def unpack(packed: Integers) -> Integers:
    """The same entries as ``int8[R, C]``."""
    return next(strips(packed, 0, len(packed), max(1, len(packed))))[0]


def strips(packed: Integers, lo: int, hi: int, step: int | None = None) -> Iterator[tuple[Integers, int, int]]:
    """The rows [lo, hi) as ``int8[*, C]``, ``step`` at a time (default: as many as stay in the caches), each with its
    first and last row; always in the same memory."""
    cols = 2 * packed.shape[1]
    step = max(ROWS, STRIP // cols) if step is None else step
    memory = np.empty((min(step, hi - lo), cols), np.int8)
    for first in range(lo, hi, step):
        last = min(hi, first + step)
        out = memory[: last - first]
        words = packed[first:last].view(np.uint64), out.view(np.uint64)
        pool.for_ranges(unpack_kernel, len(out), *words, min_chunk=max(1, pool.MIN_CHUNK // cols))
        yield out, first, last
