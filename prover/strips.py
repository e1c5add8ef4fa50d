"""Codewords that are never whole: encoded and hashed 128 rows at a time, and once more where columns are opened.

128 elements of F are a chunk of BLAKE3 (1024 bytes), so that what a strip leaves behind is a chaining value for every
column; these are joined at the end as BLAKE3 joins them, and the tree is that of the whole codeword.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syurmy import gpu
from syurmy.prover.field import U64
from syurmy.prover.kernels.chunks import chunk_kernel, join_kernel
from syurmy.prover.kernels.moves import cut_kernel, take_rows_kernel
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol.merkle import LEAF_KEY

ROWS = 128


class Strips:
    """The encoding of ``uint64[C, R]`` on a device, R > 128, with further coefficients ``uint64[T, R]`` of the host."""

    def __init__(self, matrix: gpu.Array, log_blowup: int, tail: U64 | None) -> None:
        self.matrix, self.log_blowup, self.tail = matrix, log_blowup, tail
        self.firsts = range(0, matrix.shape[1], ROWS)

    def __len__(self) -> int:
        return int(self.matrix.shape[0]) << self.log_blowup

    def strip(self, first: int) -> gpu.Array:
        """``uint64[n, 128]``, of the rows from ``first`` on, or as many as there are."""
        cols, rows = self.matrix.shape
        width = min(ROWS, rows - first)
        part = self.matrix.memory.empty((cols, width))
        for_ranges(cut_kernel, part.size, self.matrix, first, part)
        return encode(part, self.log_blowup, None if self.tail is None else self.tail[:, first : first + width])

    def hash_into(self, out: gpu.Array) -> None:
        """The digests of all columns, ``uint32[n, 8]``."""
        memory, n = self.matrix.memory, len(self)
        key = np.frombuffer(LEAF_KEY, "<u4").astype(np.uint32)
        values = memory.empty((len(self.firsts), n, 8), np.uint32)
        for number, first in enumerate(self.firsts):
            for_ranges(chunk_kernel, n, self.strip(first).view(np.uint32), key, number, values[number])
        while len(values) > 2:
            above = memory.empty(((len(values) + 1) // 2, n, 8), np.uint32)
            for_ranges(join_kernel, len(above) * n, values, key, above)
            values = above
        for_ranges(join_kernel, n, values, key, out.reshape(1, n, 8))

    def taken(self, positions: Sequence[int]) -> U64:
        """These columns, on the host."""
        rows, parts = np.asarray(positions, np.int64), []
        for first in self.firsts:
            strip = self.strip(first)
            out = strip.memory.empty((len(rows), strip.shape[1]))
            for_ranges(take_rows_kernel, out.size, strip, rows, out)
            parts.append(gpu.download(out))
        return np.concatenate(parts, axis=1)
