"""Shapes of committed matrices and what querying them misses; shared by prover and verifier, functions of sizes only.

A matrix of R stored rows and C = 2^log_cols columns is encoded row by row to n = C << log_blowup positions
(Reed-Solomon, rate rho = 2^-log_blowup); a query opens one position: R elements of F, or R of K as ``planes`` = 2 of F
each.

A *hiding* matrix has T more coefficients per row, uniform and independent of everything (``tail``): any T columns are
then uniform whatever the rows are, and where T - 1 are opened, each other column is uniform still, so that its leaf
says nothing. Its code has dimension k = C + T and rho = k/n. It may have rows (``aux``) that are no part of the rows'
combinations, such as the pads'; over F it has at least four rows in all, so that a leaf has at least 256 bits.

Soundness of t queries, unique decoding, no conjecture: let e = floor((n - k)/2). If the rows are not within e of
codewords, a random combination is not either (protocol/soundness.py: ``proximity``) and differs from any codeword in
more than e positions. If they are, the combination that is claimed, when wrong, encodes to a word that differs from the
decoded combination in n - k + 1 positions, e of them at most corrupted. Either way a query misses with probability at
most (1 + rho)/2, and sampling without replacement does not raise the product: ((1 + rho)/2)^t.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

from syurmy.isa.records import dataclass

MAX_BITS = 128  # a shape is chosen only if it has room for this many bits of queries
MAX_LOG_N = 32  # two-adicity of F*
HIDING_BITS = 94  # of the queries to a hiding matrix: 106, less the 12 bits of grinding that every plan has


@dataclass(frozen=True)
class MatrixShape:
    """R stored rows of 2^log_cols columns at rate 2^-log_blowup; ``ValueError`` for a shape that cannot be encoded.

    ``planes``: 1 for a matrix over F, 2 for one over K (all its rows of plane 0, then all of plane 1). ``aux``: rows
    after the R that are no part of their combination; ``tail``: random coefficients of each row.
    """

    rows: int
    log_cols: int
    log_blowup: int
    planes: int = 1
    aux: int = 0
    tail: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1 or self.log_cols < 0 or self.log_blowup < 1 or self.log_n > MAX_LOG_N:
            raise ValueError(f"no code for {self.rows} rows of 2^{self.log_cols} columns at 2^-{self.log_blowup}")
        if self.aux < 0 or not 0 <= self.tail < self.n - self.cols:
            raise ValueError(f"no code of dimension {self.cols + self.tail} and length {self.n}")

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
    def every(self) -> int:
        """Rows, all of them."""
        return self.rows + self.aux

    @property
    def height(self) -> int:
        """Elements of F in a column."""
        return self.every * self.planes

    @property
    def rate(self) -> Fraction:
        """Of the code: its dimension by its length."""
        return Fraction(self.cols + self.tail, self.n)

    @property
    def encoded(self) -> int:
        """Elements of F in the encoded matrix."""
        return self.height << self.log_n


def missed(rate: Fraction) -> Fraction:
    """What a query misses at most, within the unique radius: (1 + rho)/2."""
    return (1 + rate) / 2


@cache
def queries_within(miss: Fraction, error: Fraction) -> int:
    """Smallest number of queries, each of which misses with probability ``miss``, that miss together with at most
    ``error`` > 0."""
    if error <= 0:
        raise ValueError("no number of queries has no error")
    missing, of = miss.numerator, miss.denominator

    def enough(t: int) -> bool:
        return bool(missing**t * error.denominator <= error.numerator * of**t)

    count = max(1, round(_log(error) / _log(miss)))  # about: floats decide nothing
    while not enough(count):
        count += 1
    while count > 1 and enough(count - 1):
        count -= 1
    return count


def _log(x: Fraction) -> float:
    return math.log(x.numerator) - math.log(x.denominator)


@cache
def queries(rate: Fraction, bits: int) -> int:
    """Smallest t with an error of at most 2^-bits."""
    return queries_within(missed(rate), Fraction(1, 1 << bits))


@cache
def hiding_tail(log_cols: int, log_blowup: int, bits: int, proofs: int = 1, tight: bool = False) -> int | None:
    """Random coefficients per row with which ``proofs`` proofs, each with the queries that err by at most 2^-bits, open
    fewer columns than there are such coefficients: ``rounded``, or ``tight``. None where the code has no room for
    them."""
    cols, n = 1 << log_cols, 1 << (log_cols + log_blowup)
    count = 1
    while True:
        tail = (few_bits if tight else rounded)(proofs * count + 1)
        if 4 * (cols + tail) > 3 * n:
            return None
        more = queries(Fraction(cols + tail, n), bits)
        if more <= count:
            return tail
        count = more


def rounded(count: int) -> int:
    """``count`` or more, with at most three bits set: so many blocks it takes in a vector (protocol/ladder.py)."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step


def few_bits(count: int) -> int:
    """The smallest number that is at least ``count`` and has at most three bits set."""
    out, left = 0, count
    for _ in range(2):
        if left:
            out += 1 << (left.bit_length() - 1)
            left = count - out
    return out + (1 << (left - 1).bit_length() if left else 0)
