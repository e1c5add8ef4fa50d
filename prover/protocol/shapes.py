"""Which shape a matrix gets: the smallest proof, in integer arithmetic, so that both sides choose alike.

An opening costs the columns that are queried, their paths, and what its row adds to the ladder (protocol/ladder.py):
rows are not sent but committed together as one vector, level by level, until what is left is cheaper to send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from syurmy.prover.field import log2_ceil
from syurmy.prover.protocol.merkle import DIGEST
from syurmy.prover.protocol.reed_solomon import MAX_BITS, MAX_LOG_N, MatrixShape, queries

NOMINAL_BITS = 100  # query security assumed where shapes are compared
WITNESS_LOG_BLOWUP = 2
MIN_WITNESS_LOG_ENTRIES = 6
MIN_PARAMS_LOG_ENTRIES = 4
MIN_ROWS = 16  # preferred: shorter columns cost more hashing than they save
MAX_ENCODED = 1 << 27  # elements of an encoded params matrix above which the rate stays 1/2
LOG_BLOWUPS = (1, 2, 3, 4)
MIN_LEVEL_LOG_COLS = 5
MAX_LEVEL_ENCODED = 1 << 19  # elements of an encoded level above which its rate is at least 1/4


@dataclass(frozen=True)
class Level:
    """A vector over K of 2^log_size entries, committed as rows of 2^shape.log_cols; stored rows are the first."""

    log_size: int
    shape: MatrixShape

    @property
    def log_rows(self) -> int:
        return self.log_size - self.shape.log_cols


def room(log_cols: int, log_blowup: int) -> bool:
    """Can it be encoded, with positions enough for any query phase?"""
    return log_cols + log_blowup <= MAX_LOG_N and queries(log_blowup, MAX_BITS) <= 1 << (log_cols + log_blowup)


@cache
def path_digests(log_n: int, count: int) -> int:
    """Digests that a multi-proof of ``count`` random positions of 2^log_n holds, expected, rounded down: at depth d,
    2^d * ((1 - 2^-d)^count - (1 - 2^(1-d))^count), as many as have no queried leaf while their sibling has one."""
    total = 0
    for d in range(1, log_n + 1):
        size = 1 << d
        total += (size * ((size - 1) ** count - (size - 2) ** count) << 8) >> d * count
    return total >> 8


def matrix_bytes(shape: MatrixShape) -> int:
    """Columns and paths of the nominal queries."""
    count = queries(shape.log_blowup, NOMINAL_BITS)
    return 8 * count * shape.height + DIGEST * path_digests(shape.log_n, count)


@cache
def ladder(used: int) -> tuple[int, tuple[Level, ...]]:
    """Bytes and levels for a vector over K of which ``used`` entries are stored: the fewest bytes, ties for fewer
    levels. Every level sends its root, its rounds, and the columns and paths of its own queries; the end, the vector.
    """
    log_size = log2_ceil(used)
    best: tuple[int, tuple[Level, ...]] = (16 * used, ())
    for log_cols in range(MIN_LEVEL_LOG_COLS, log_size):
        rows = -(-used >> log_cols)
        for log_blowup in LOG_BLOWUPS:
            if not room(log_cols, log_blowup):
                continue
            shape = MatrixShape(rows, log_cols, log_blowup, 2)
            if shape.encoded > MAX_LEVEL_ENCODED and log_blowup > 2:
                continue
            size = 32 + 32 * (log_size - log_cols) + matrix_bytes(shape)
            if size >= best[0]:
                continue
            rest, levels = ladder(1 << log_cols)
            if size + rest < best[0]:
                best = (size + rest, (Level(log_size, shape), *levels))
    return best


def opening_bytes(shape: MatrixShape, beside: Sequence[int] = ()) -> int:
    """A matrix with the ladder that its row and the rows of 2^k entries ``beside`` it need."""
    return matrix_bytes(shape) + ladder(shape.cols + sum(1 << k for k in beside))[0]


def _candidates(log_entries: int, log_blowup: int, stored_rows: Callable[[int], int]) -> list[MatrixShape]:
    """Every split that has room for its queries, most rows first."""
    out = []
    for log_cols in range(log_entries + 1):
        if room(log_cols, log_blowup):
            shape = MatrixShape(stored_rows(log_cols), log_cols, log_blowup)
            if shape.rows > 1 << (log_entries - log_cols):
                raise ValueError(f"{shape.rows} rows stored of 2^{log_entries - log_cols}")
            out.append(shape)
    return out


def _smallest(candidates: list[MatrixShape], beside: Sequence[int] = ()) -> MatrixShape:
    tall = [c for c in candidates if c.rows >= MIN_ROWS]
    return min(tall or candidates[:1], key=lambda c: opening_bytes(c, beside))  # the first (most rows) of equals


def choose_witness_shape(
    log_entries: int, stored_rows: Callable[[int], int], params: MatrixShape | None = None
) -> MatrixShape:
    """Shape for W of 2^log_entries entries, ``stored_rows(log_cols)`` of its 2^(log_entries - log_cols) rows not empty,
    opened together with ``params``.

    The fewest proof bytes at rate 1/4. ``ValueError`` below 2^MIN_WITNESS_LOG_ENTRIES entries (pad to it).
    """
    candidates = _candidates(log_entries, WITNESS_LOG_BLOWUP, stored_rows)
    if not candidates:
        raise ValueError(f"a witness of 2^{log_entries} entries has no room for its queries")
    return _smallest(candidates, () if params is None else (params.log_cols,))


def choose_params_shape(log_entries: int, stored_rows: Callable[[int], int]) -> MatrixShape:
    """Shape for a params matrix, as above: the fewest proof bytes among the rates 1/2 to 1/16 whose encoding has at
    most MAX_ENCODED elements, else at rate 1/2. ``ValueError`` below 2^MIN_PARAMS_LOG_ENTRIES entries."""
    every = [c for log_blowup in LOG_BLOWUPS for c in _candidates(log_entries, log_blowup, stored_rows)]
    if not every:
        raise ValueError(f"params of 2^{log_entries} entries have no room for their queries")
    affordable = [c for c in every if c.encoded <= MAX_ENCODED]
    return _smallest(affordable or [c for c in every if c.log_blowup == 1])
