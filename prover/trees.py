"""Merkle trees (protocol/merkle.py), every digest hashed into its place: on the host, or on a device, where leaves and
digests stay: only what is sent comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from syurmy import gpu
from syurmy.isa.arrays import U8
from syurmy.prover.field import U64
from syurmy.prover.kernels import blake3
from syurmy.prover.kernels.moves import shorten_kernel, take_rows_kernel
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol.merkle import DIGEST, LEAF_KEY, NODE_KEY, MerkleTree, shortened, siblings

WORDS = 8  # of a digest


class DeviceTree:
    """As ``MerkleTree``; ``digests`` on the device, ``uint32[2n - 1, 8]``."""

    def __init__(self, n: int, memory: gpu.Memory, leaves: Callable[[gpu.Array], None]) -> None:
        """``leaves`` writes the digests of n columns, ``uint32[n, 8]``."""
        self.log_n = n.bit_length() - 1
        self.digests = _digests(n, memory, leaves)
        self.root = gpu.download(self.digests[2 * n - 2 : 2 * n - 1]).tobytes()

    def multiproof(self, positions: Sequence[int]) -> U8:
        rows = taken(self.digests, siblings(self.log_n, positions))
        return rows.view(np.uint8).reshape(-1, 4 * WORDS)[:, :DIGEST]


Tree = MerkleTree | DeviceTree


def _digests(n: int, memory: gpu.Memory, leaves: Callable[[gpu.Array], None]) -> gpu.Array:
    """``uint32[2n - 1, 8]`` in ``memory``, of n > 1 leaves."""
    digests = memory.empty((2 * n - 1, WORDS), np.uint32)
    level = digests[0:n]
    leaves(level)
    at = n
    while len(level) > 1:
        if gpu.on_host(level):
            shortened(level.view(np.uint8))
        else:
            for_ranges(shorten_kernel, len(level), level)
        parents = digests[at : at + len(level) // 2]
        blake3.hash_into(level.reshape(-1, 2 * WORDS), NODE_KEY, parents)
        at += len(parents)
        level = parents
    return digests


def of_columns(columns: gpu.Array) -> Tree:
    """The tree over ``uint64[n, R]``, contiguous, where they are; n a power of two."""
    words, n = columns.view(np.uint32), len(columns)

    def leaves(out: gpu.Array) -> None:
        blake3.hash_into(words, LEAF_KEY, out)

    if gpu.on_host(columns):
        return MerkleTree(_digests(n, gpu.HOST, leaves).view(np.uint8))
    return DeviceTree(n, gpu.beside(columns), leaves)


def taken(a: gpu.Array, rows: Sequence[int]) -> U64:
    """Rows of a matrix, on the host."""
    if isinstance(a, np.ndarray):
        chosen: U64 = a[rows]
        return chosen
    out = a.memory.empty((len(rows), a.shape[1]), a.dtype)
    for_ranges(take_rows_kernel, out.size, a, np.asarray(rows, np.int64), out)
    return gpu.download(out)
