"""Shapes of committed matrices, shared by prover and verifier: everything here is a function of sizes.

A matrix of R stored rows and C = 2^log_cols columns is encoded row by row to n = C << log_blowup positions
(Reed-Solomon, rate rho = 2^-log_blowup); a query opens one position, R elements.

Soundness of t queries, unique decoding, no conjecture: let e = floor((n - C)/2). If the rows are not within e of
codewords, a random combination is not either (error log2(R)*n/|K|, protocol/soundness.py) and differs from any codeword
in more than e positions. If they are, the row w that is sent, when wrong, encodes to a word that differs from the
decoded combination in n - C + 1 positions, e of them at most corrupted. Either way a query misses with probability at
most (1 + rho)/2, and sampling without replacement does not raise the product: ((1 + rho)/2)^t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

NOMINAL_BITS = 103  # query security assumed where shapes are compared
MAX_BITS = 128  # a shape is chosen only if it has room for this many bits of queries
WITNESS_LOG_BLOWUP = 2
MIN_WITNESS_LOG_ENTRIES = 6
MIN_PARAMS_LOG_ENTRIES = 4
MIN_LOG_ROWS = 4  # preferred: shorter columns cost more hashing than they save
MAX_ENCODED = 1 << 25  # field elements of an encoded params matrix above which the rate stays 1/2
MAX_LOG_N = 32  # two-adicity of F*


@dataclass(frozen=True)
class MatrixShape:
    """R stored rows of 2^log_cols columns at rate 2^-log_blowup; ``ValueError`` for a shape that cannot be encoded."""

    rows: int
    log_cols: int
    log_blowup: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.log_cols < 0 or self.log_blowup < 1 or self.log_n > MAX_LOG_N:
            raise ValueError(f"no code for {self.rows} rows of 2^{self.log_cols} columns at 2^-{self.log_blowup}")

    @property
    def cols(self) -> int:
        return 1 << self.log_cols

    @property
    def log_n(self) -> int:
        return self.log_cols + self.log_blowup

    @property
    def n(self) -> int:
        return 1 << self.log_n


def query_error(log_blowup: int, count: int) -> Fraction:
    """Probability that ``count`` queries miss: ((1 + rho)/2)^count, exact."""
    return Fraction(((1 << log_blowup) + 1) ** count, 1 << ((log_blowup + 1) * count))


def queries_within(log_blowup: int, error: Fraction) -> int:
    """Smallest number of queries that misses with probability at most ``error`` > 0."""
    if error <= 0:
        raise ValueError("no number of queries has no error")
    high = 1
    while query_error(log_blowup, high) > error:
        high *= 2
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if query_error(log_blowup, middle) > error else (low, middle)
    return high


@cache
def queries(log_blowup: int, bits: int) -> int:
    """Smallest t with an error of at most 2^-bits."""
    return queries_within(log_blowup, Fraction(1, 1 << bits))


def opening_bytes(shape: MatrixShape, count: int) -> int:
    """Estimate of an opening: the row over K, ``count`` columns, the paths below the level where they part."""
    shared = count.bit_length() - 1
    return 16 * shape.cols + 8 * count * shape.rows + 32 * count * max(0, shape.log_n - shared)


def _candidates(
    log_entries: int, log_blowup: int, stored_rows: Callable[[int], int]
) -> list[tuple[MatrixShape, int, int]]:
    """(shape, log_rows, bytes) of every split that has room for its queries."""
    out = []
    for log_cols in range(log_entries + 1):
        if log_cols + log_blowup <= MAX_LOG_N and queries(log_blowup, MAX_BITS) <= 1 << (log_cols + log_blowup):
            shape = MatrixShape(stored_rows(log_cols), log_cols, log_blowup)
            if shape.rows > 1 << (log_entries - log_cols):
                raise ValueError(f"{shape.rows} rows stored of 2^{log_entries - log_cols}")
            out.append((shape, log_entries - log_cols, opening_bytes(shape, queries(log_blowup, NOMINAL_BITS))))
    return out


def _smallest(candidates: list[tuple[MatrixShape, int, int]]) -> MatrixShape:
    tall = [c for c in candidates if c[1] >= MIN_LOG_ROWS]
    return min(tall or candidates[:1], key=lambda c: c[2])[0]  # the first (most rows) of equals


def choose_witness_shape(log_entries: int, stored_rows: Callable[[int], int]) -> MatrixShape:
    """Shape for W of 2^log_entries entries, ``stored_rows(log_cols)`` of its 2^(log_entries - log_cols) rows not empty.

    The fewest proof bytes at rate 1/4. ``ValueError`` below 2^MIN_WITNESS_LOG_ENTRIES entries (pad to it).
    """
    candidates = _candidates(log_entries, WITNESS_LOG_BLOWUP, stored_rows)
    if not candidates:
        raise ValueError(f"a witness of 2^{log_entries} entries has no room for its queries")
    return _smallest(candidates)


def choose_params_shape(log_entries: int, stored_rows: Callable[[int], int]) -> MatrixShape:
    """Shape for a params matrix, as above: the fewest proof bytes among the rates 1/2 to 1/16 whose encoding has at
    most MAX_ENCODED elements, else at rate 1/2. ``ValueError`` below 2^MIN_PARAMS_LOG_ENTRIES entries."""
    every = [c for log_blowup in range(1, 5) for c in _candidates(log_entries, log_blowup, stored_rows)]
    if not every:
        raise ValueError(f"params of 2^{log_entries} entries have no room for their queries")
    affordable = [c for c in every if c[0].rows * c[0].n <= MAX_ENCODED]
    return _smallest(affordable or [c for c in every if c[0].log_blowup == 1])
