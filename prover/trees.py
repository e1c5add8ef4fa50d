"""Merkle trees (protocol/merkle.py), every digest hashed into its place: on the host; on a device, where leaves and
digests stay: only what is sent comes back; and in keys, without what takes no time to hash again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy import gpu, host
from syurmy.isa.arrays import U8
from syurmy.prover.field import U64
from syurmy.prover.kernels import blake3
from syurmy.prover.kernels.chunks import parents_kernel
from syurmy.prover.kernels.moves import take_rows_kernel
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol.merkle import DIGEST, LEAF_KEY, NODE_KEY, ROOT, MerkleTree, hash_nodes, shortened, siblings

WORDS = 8  # of a digest
FEW = 1 << 12  # digests of a level that, with all above it, is one call
LOW = 6  # levels of a short tree that are not kept: of each position, 63 nodes are hashed again


class DeviceTree:
    """As ``MerkleTree``; ``digests`` on the device, ``uint32[2n - 1, 8]``."""

    def __init__(self, n: int, memory: gpu.Memory, leaves: Callable[[gpu.Array], None]) -> None:
        """``leaves`` writes the digests of n columns, ``uint32[n, 8]``."""
        self.log_n = n.bit_length() - 1
        self.digests = _digests(n, memory, leaves)
        self.root = gpu.download(self.digests[2 * n - 2 : 2 * n - 1]).tobytes()

    def multiproof(self, positions: Sequence[int]) -> U8:
        return _path(*taken((self.digests, siblings(self.log_n, positions))))

    def opened(self, columns: gpu.Array, positions: Sequence[int]) -> tuple[U64, U8]:
        """Rows of ``uint64[n, R]`` on the same device, and their path, in one copy."""
        rows, path = taken((columns, positions), (self.digests, siblings(self.log_n, positions)))
        return rows, _path(path)


class ShortTree:
    """As ``MerkleTree`` over 2^log_n leaves in 26 bytes each instead of 64: the ``leaves`` without their zeros,
    ``uint8[2^log_n, 25]``, and the levels ``above`` from the one ``low`` over the leaves, ``uint8[2^(log_n + 1 - low) -
    1, 32]``."""

    def __init__(self, leaves: U8, above: U8) -> None:
        n = len(leaves)
        if n & (n - 1) or above.shape != self.shape_above(n) or leaves.shape[1:] != (DIGEST,):
            raise ValueError("not the digests of a tree over a power of two of leaves")
        self.leaves, self.above = leaves, above
        self.log_n = n.bit_length() - 1
        self.low = min(LOW, self.log_n)

    @staticmethod
    def shape_above(n: int) -> tuple[int, int]:
        """Of ``above``, for n leaves."""
        return (max(1, n >> LOW) << 1) - 1, ROOT

    @staticmethod
    def of_leaves(leaves: U8) -> ShortTree:
        """Tree over the digests ``uint8[n, 32]``."""
        level, above = leaves, []
        for height in range(len(leaves).bit_length()):
            if height:
                level = hash_nodes(level, root=len(level) == 2)
            if height >= min(LOW, len(leaves).bit_length() - 1):
                above.append(level)
        return ShortTree(np.ascontiguousarray(leaves[:, :DIGEST]), np.concatenate(above))

    @property
    def root(self) -> bytes:
        return bytes(self.above[-1])

    def multiproof(self, positions: Sequence[int]) -> U8:
        rows = np.asarray(siblings(self.log_n, positions), np.int64)
        trees = np.unique(np.asarray(positions, np.int64) >> self.low)  # a sibling below ``low`` lies in a position's
        level = np.zeros((len(trees) << self.low, ROOT), np.uint8)
        known = self.leaves.reshape(len(self.leaves) >> self.low, -1)
        level[:, :DIGEST] = host.rows_of(known, trees).reshape(-1, DIGEST)
        parts, start = [], 0
        for height in range(self.low, 0, -1):
            size = len(self.leaves) >> (self.low - height)
            of_level = rows[(rows >= start) & (rows < start + size)] - start
            where = np.searchsorted(trees, of_level >> height) << height | of_level & ((1 << height) - 1)
            parts.append(level[where, :DIGEST])
            level, start = hash_nodes(level), start + size
        parts.append(host.rows_of(self.above, rows[rows >= start] - start)[:, :DIGEST])
        return np.concatenate(parts)


Tree = MerkleTree | DeviceTree | ShortTree


def _digests(n: int, memory: gpu.Memory, leaves: Callable[[gpu.Array], None]) -> gpu.Array:
    """``uint32[2n - 1, 8]`` in ``memory``, of n > 1 leaves."""
    digests = memory.empty((2 * n - 1, WORDS), np.uint32)
    level = digests[0:n]
    leaves(level)
    at = n
    while len(level) > 1:
        if gpu.on_host(level) and len(level) <= FEW:
            for_ranges(blake3.nodes_kernel, 1, digests, at - len(level), len(level), blake3.words_of(NODE_KEY))
            break
        parents = digests[at : at + len(level) // 2]
        if gpu.on_host(level):
            shortened(level.view(np.uint8))
            blake3.hash_into(level.reshape(-1, 2 * WORDS), NODE_KEY, parents)
        else:
            for_ranges(parents_kernel, len(parents), level, memory.kept(blake3.words_of(NODE_KEY)), parents)
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


def _path(digests: npt.NDArray[np.uint32]) -> U8:
    """As it is sent."""
    return digests.view(np.uint8).reshape(-1, 4 * WORDS)[:, :DIGEST]


def taken(*wanted: tuple[gpu.Array, Sequence[int]]) -> list[npt.NDArray[Any]]:
    """Rows of matrices of one device, on the host, in one copy; those of 8 bytes before those of 4."""
    chosen = [(a, np.asarray(rows, np.int64)) for a, rows in wanted]
    sizes = [len(rows) * a.shape[1] * a.dtype.itemsize for a, rows in chosen]
    ends = list(accumulate(sizes))
    memory = wanted[0][0].memory
    whole = memory.empty(ends[-1], np.uint8)
    for (a, rows), size, end in zip(chosen, sizes, ends, strict=True):
        if size:
            out = whole[end - size : end].view(a.dtype).reshape(len(rows), a.shape[1])
            for_ranges(take_rows_kernel, out.size, a, rows, out)
    parts = np.split(gpu.download(whole), ends[:-1])
    return [p.view(a.dtype).reshape(len(rows), a.shape[1]) for p, (a, rows) in zip(parts, chosen, strict=True)]
