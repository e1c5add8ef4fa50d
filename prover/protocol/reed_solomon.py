"""Shapes of committed matrices and what querying them misses; shared by prover and verifier, functions of sizes only.

A matrix of R stored rows and C = 2^log_cols columns is encoded row by row to n = C << log_blowup positions
(Reed-Solomon, rate rho = 2^-log_blowup); a query opens one position: R elements of F, or R of K as ``planes`` = 2 of F
each.

Soundness of t queries, unique decoding, no conjecture: let e = floor((n - C)/2). If the rows are not within e of
codewords, a random combination is not either (protocol/soundness.py: ``proximity``) and differs from any codeword in
more than e positions. If they are, the combination that is claimed, when wrong, encodes to a word that differs from the
decoded combination in n - C + 1 positions, e of them at most corrupted. Either way a query misses with probability at
most (1 + rho)/2, and sampling without replacement does not raise the product: ((1 + rho)/2)^t.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

MAX_BITS = 128  # a shape is chosen only if it has room for this many bits of queries
MAX_LOG_N = 32  # two-adicity of F*


@dataclass(frozen=True)
class MatrixShape:
    """R stored rows of 2^log_cols columns at rate 2^-log_blowup; ``ValueError`` for a shape that cannot be encoded.

    ``planes``: 1 for a matrix over F, 2 for one over K (its rows are R of plane 0, then R of plane 1).
    """

    rows: int
    log_cols: int
    log_blowup: int
    planes: int = 1

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

    @property
    def height(self) -> int:
        """Elements of F in a column."""
        return self.rows * self.planes

    @property
    def encoded(self) -> int:
        """Elements of F in the encoded matrix."""
        return self.height << self.log_n


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
