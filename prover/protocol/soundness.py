"""Errors of the protocol's terms as exact fractions, and their sum (union bound), printed as bits.

|K| = p^2. Every function is the error of one protocol term; sizes are those the statement implies. The total must be at
most 2^-TARGET_BITS, otherwise the verifier refuses.
"""

from __future__ import annotations

import math
from fractions import Fraction

from syurmy.prover.field import P
from syurmy.prover.protocol.reed_solomon import MatrixShape, missed

K_SIZE = P * P
TARGET_BITS = 100


class InsufficientSoundness(ValueError):
    """The statement is too large for the target: other terms leave nothing, or a matrix has too few positions."""


def bits(error: Fraction) -> float:
    """-log2 of an error; infinite for zero."""
    return math.inf if error == 0 else math.log2(error.denominator) - math.log2(error.numerator)


def logup(leaves: int, width: int, grinding_bits: int = 0) -> Fraction:
    """alpha and beta of the lookup identity: N leaves, tuples of up to ``width`` members and a tag: N*(W + 2)/|K|."""
    return Fraction(leaves * (width + 2), K_SIZE << grinding_bits)


def gkr(log_leaves: int) -> Fraction:
    """Fractional-sum tree: a layer over j > 0 variables has j cubic rounds, its batching challenge and its line,
    (3j + 2)/|K|; the layer of two nodes its line alone."""
    return Fraction(sum(3 * j + 2 if j else 1 for j in range(log_leaves)), K_SIZE)


def sumcheck(degree: int, rounds: int) -> Fraction:
    return Fraction(degree * rounds, K_SIZE)


def batching(claims: int) -> Fraction:
    """Claims combined by powers of one challenge, or by eq of ``claims`` challenges."""
    return Fraction(claims, K_SIZE)


def proximity(shape: MatrixShape, variables: int) -> Fraction:
    """Words combined by eq weights in so many variables, one line n/|K| for each: variables*n/|K|."""
    return Fraction(variables * shape.n, K_SIZE)


def query(shape: MatrixShape, count: int, grinding_bits: int = 0, miss: Fraction | None = None) -> Fraction:
    """``count`` distinct positions, each of which misses with ``miss`` (default: what it does within the unique
    radius); ``ValueError`` when there are not that many."""
    if not 0 < count <= shape.n:
        raise ValueError(f"{count} queries to {shape.n} positions")
    return (missed(shape.rate) if miss is None else miss) ** count / (1 << grinding_bits)


class Budget:
    """Named errors and their sum."""

    def __init__(self) -> None:
        self.terms: list[tuple[str, Fraction]] = []

    def add(self, name: str, error: Fraction) -> None:
        if error < 0:
            raise ValueError(f"error of {name} is negative")
        self.terms.append((name, error))

    def total(self) -> Fraction:
        return sum((error for _, error in self.terms), Fraction(0))

    def total_bits(self) -> float:
        return bits(self.total())

    def holds(self, target: int = TARGET_BITS) -> bool:
        """Exact: is the sum of the errors at most 2^-target?"""
        return self.total() * (1 << target) <= 1

    def rows(self) -> list[tuple[str, float]]:
        """(term, bits), the total last."""
        return [(name, bits(error)) for name, error in self.terms] + [("total", self.total_bits())]

    def __str__(self) -> str:
        return "\n".join(f"{name:<32} {value:7.2f}" for name, value in self.rows())
