"""Merkle tree over the columns of a codeword: BLAKE3, keyed by purpose.

A leaf is H_leaf(column), a node H_node(left || right); H_leaf and H_node are BLAKE3 under two different keys, so that
no node can pass for a leaf. A leaf's bytes are its R field elements, little-endian, 8 bytes each; R is fixed by the
statement, which is why no length is hashed.

Digests below the root are the first 25 bytes of the hash, hashed (and kept in memory) with seven zero bytes after them;
the root is the whole 32 bytes. With Q calls of the hash two digests collide with probability Q^2/2^201, which stays
below the Q*2^-100 of the proof itself for every Q up to 2^101.

Multi-proof of a sorted set of positions: level by level from the leaves, left to right, the siblings that do not follow
from the set. Its length depends on (log_n, positions) only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I64, U8
from syurmy.prover.field import U64
from syurmy.prover.protocol import arithmetic

DIGEST = 25  # bytes of a digest in a proof
ROOT = 32  # of a root, and of a digest in memory
LEAF_KEY = blake3(b"syurmy-vm merkle leaf v2").digest()
NODE_KEY = blake3(b"syurmy-vm merkle node v2").digest()


def hash_columns(columns: U64) -> U8:
    """Leaf digests ``uint8[n, 32]`` of ``uint64[n, R]``, one per column."""
    data = np.ascontiguousarray(columns).astype("<u8", copy=False).view(np.uint8)
    return shortened(arithmetic.current().hash_messages(data, LEAF_KEY))


def hash_nodes(pairs: U8, root: bool = False) -> U8:
    """Node digests ``uint8[n, 32]`` of ``uint8[2n, 32]`` children; ``root``: all bytes of the one that is the root."""
    digests = arithmetic.current().hash_messages(np.ascontiguousarray(pairs).reshape(-1, 2 * ROOT), NODE_KEY)
    return digests if root else shortened(digests)


def shortened(digests: U8) -> U8:
    """The hashes ``uint8[n, 32]`` as digests below a root."""
    out = digests if digests.flags.writeable else digests.copy()
    out.view("<u8")[:, DIGEST // 8] &= np.uint64(0xFF)  # one word of four, with the last of 25 bytes
    return out


class MerkleTree:
    """All digests of a tree over 2^log_n leaves in one ``uint8[2^(log_n+1) - 1, 32]``: leaves, their parents, ..., the
    root."""

    def __init__(self, digests: U8) -> None:
        count = digests.shape[0] + 1
        if (
            digests.ndim != 2
            or digests.shape[1] != ROOT
            or digests.dtype != np.uint8
            or count < 2
            or count & (count - 1)
        ):
            raise ValueError("not the digests of a tree over a power of two of leaves")
        self.digests = digests
        self.log_n = count.bit_length() - 2

    @staticmethod
    def of_columns(columns: U64) -> MerkleTree:
        """Tree over ``uint64[n, R]``; n a power of two, else ``ValueError``."""
        return MerkleTree.of_leaves(hash_columns(columns))

    @staticmethod
    def of_leaves(leaves: U8) -> MerkleTree:
        """Tree over the digests ``uint8[n, 32]``."""
        levels = [leaves]
        while len(levels[-1]) > 1:
            levels.append(hash_nodes(levels[-1], root=len(levels[-1]) == 2))
        return MerkleTree(np.concatenate(levels))

    @property
    def root(self) -> bytes:
        return bytes(self.digests[-1])

    def multiproof(self, positions: Sequence[int]) -> U8:
        """``uint8[proof_length, 25]`` for sorted distinct ``positions``, in canonical order."""
        return self.digests[siblings(self.log_n, positions), :DIGEST]


def siblings(log_n: int, positions: Sequence[int]) -> list[int]:
    """Rows of ``MerkleTree.digests`` that a multi-proof holds."""
    _check_positions(log_n, positions)
    at = np.asarray(positions, np.int64)
    levels = at >> np.arange(log_n, dtype=np.int64)[:, None]  # the nodes over them, one level after the other
    first = np.ones(levels.shape, np.bool_)  # of those with one parent
    np.not_equal(levels[:, 1:] >> 1, levels[:, :-1] >> 1, out=first[:, 1:])
    begin = np.flatnonzero(first)
    end = np.append(begin, first.size)[1:] - 1
    nodes = levels.reshape(-1)[begin]
    alone = nodes == levels.reshape(-1)[end]
    start = (2 << log_n) - (2 << log_n >> begin // len(at))  # of the level
    out: list[int] = (start + (nodes ^ 1))[alone].tolist()
    return out


def _levels(log_n: int, positions: Sequence[int]) -> list[tuple[I64, I64]]:
    """Of every level, from the leaves to the children of the root, the nodes that are known, and where each is among
    the children of their parents, two of each parent."""
    _check_positions(log_n, positions)
    return _climbed(log_n, tuple(positions))


@lru_cache(maxsize=8)  # asked for the length, and to verify
def _climbed(log_n: int, positions: tuple[int, ...]) -> list[tuple[I64, I64]]:
    out = []
    level = np.asarray(positions, np.int64)
    for _ in range(log_n):
        parents = level >> 1
        first = np.ones(len(level), np.bool_)
        np.not_equal(parents[1:], parents[:-1], out=first[1:])
        out.append((level, 2 * (first.cumsum() - 1) + (level & 1)))
        level = parents[first]
    return out


def _check_positions(log_n: int, positions: Sequence[int]) -> None:
    increasing = all(a < b for a, b in pairwise(positions))
    if not positions or positions[0] < 0 or positions[-1] >= 1 << log_n or not increasing:
        raise ValueError("positions are distinct, sorted and below the number of leaves")


def proof_length(log_n: int, positions: Sequence[int]) -> int:
    """Number of digests in the multi-proof of ``positions``."""
    return sum(2 * (int(known[-1]) // 2 + 1) - len(known) for _, known in _levels(log_n, positions))


def verify_multiproof(root: bytes, log_n: int, positions: Sequence[int], leaves: U8, proof: U8) -> bool:
    """Do ``leaves`` (``uint8[t, 32]``) sit at ``positions`` under ``root``? ``proof``: ``uint8[proof_length, 25]``."""
    if leaves.shape != (len(positions), ROOT) or proof.shape != (proof_length(log_n, positions), DIGEST):
        raise ValueError("one leaf per position and proof_length digests")
    digests = leaves
    used = 0
    for depth, (_, known) in enumerate(_levels(log_n, positions)):
        children = np.zeros((2 * (int(known[-1]) // 2 + 1), ROOT), np.uint8)
        missing = np.ones(len(children), np.bool_)
        missing[known] = False
        children[known] = digests
        count = len(children) - len(known)
        children[missing, :DIGEST] = proof[used : used + count]
        used += count
        digests = hash_nodes(children, root=depth == log_n - 1)
    return bytes(digests[0]) == root
