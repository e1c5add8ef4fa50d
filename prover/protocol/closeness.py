"""How close the rows of the params matrix are known to be to codewords, and what a query to it misses.

Rows are *within delta* if there are codewords, one for each row, and at most delta*n positions outside of which all
rows agree with them; delta is at most the unique radius (1 - rho)/2. Then a false combination of rows agrees with the
committed one in at most k - 1 + delta*n positions, and a query misses it with less than

    rho + delta.

Who does not know that rows are within delta has each proof test it: a combination by eq weights of rows that are not is
not within delta of a codeword either, but for the error ``soundness.proximity``, so a query misses it with less than

    1 - delta.

A proof without a certificate tests for the unique radius, where both are (1 + rho)/2. A *certificate* tests all rows
together for a smaller radius, once, with more queries; proofs that rest on it need fewer and have no proximity term.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction

from syurmy.prover.protocol.reed_solomon import HIDING_BITS, MatrixShape, missed, queries_within

RADII = (Fraction(1, 16), Fraction(1, 8), Fraction(1, 4))


class Closeness(Enum):
    """What a proof does about the params' rows."""

    TESTED = "each proof tests those that it opens"
    CERTIFYING = "a certificate tests all of them"
    CERTIFIED = "a certificate has tested them"


def radius(shape: MatrixShape, proofs: int) -> Fraction:
    """What a certificate tests for: the smallest of ``RADII`` with which it opens no more positions than there are, and
    where params are hidden leaves as many as ``proofs`` - 1 proofs that rest on it need; else the unique radius."""
    nominal = Fraction(1, 1 << HIDING_BITS)
    for delta in RADII:
        if delta > (1 - shape.rate) / 2:
            break
        once, each = queries_within(1 - delta, nominal), queries_within(shape.rate + delta, nominal)
        if once <= shape.n and (not shape.tail or once + (proofs - 1) * each < shape.tail):
            return delta
    return (1 - shape.rate) / 2


def params_miss(shape: MatrixShape, proofs: int, closeness: Closeness) -> Fraction:
    """What a query to the params matrix misses."""
    if closeness is Closeness.TESTED:
        return missed(shape.rate)
    delta = radius(shape, proofs)
    return 1 - delta if closeness is Closeness.CERTIFYING else shape.rate + delta
