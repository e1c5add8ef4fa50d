"""The budget: exact sums, the numbers of the protocol document, and the smallest number of queries."""

from fractions import Fraction

import pytest

from syurmy.prover.protocol import soundness
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.soundness import Budget


def test_terms():
    assert round(soundness.bits(soundness.logup(2**24, 3)), 1) == 101.7
    assert soundness.logup(2**24, 3, grinding_bits=16) * 2**16 == soundness.logup(2**24, 3)
    assert soundness.gkr(3) * soundness.K_SIZE == 2 + 5 + 8
    assert soundness.sumcheck(2, 20) * soundness.K_SIZE == 40
    assert soundness.batching(7) * soundness.K_SIZE == 7
    shape = MatrixShape(100, 10, 2)
    assert soundness.proximity(shape, 7, claims=3) * soundness.K_SIZE == (3 + 7) * 4096
    assert soundness.proximity(shape, 9) * soundness.K_SIZE == (1 + 9) * 4096  # coordinates, stored rows or not
    assert soundness.query(shape, 2) == Fraction(25, 64)


@pytest.mark.parametrize("count", [0, 4097])
def test_queries_have_positions(count):
    with pytest.raises(ValueError, match="positions"):
        soundness.query(MatrixShape(100, 10, 2), count)


def test_errors_add_up():
    budget = Budget()
    assert budget.holds()
    budget.add("a", Fraction(1, 2**101))
    budget.add("b", Fraction(1, 2**101))
    assert budget.holds()
    assert budget.rows() == [("a", 101.0), ("b", 101.0), ("total", 100.0)]
    assert "total" in str(budget)
    budget.add("c", Fraction(1, 2**300))
    assert not budget.holds()  # exact: rounded, the sum is still 100 bits
    with pytest.raises(ValueError, match="negative"):
        budget.add("d", Fraction(-1, 2))


def total_with(budget, shapes, counts):
    return budget.total() + sum(soundness.query(s, t) for s, t in zip(shapes, counts, strict=True))


def test_smallest_number_of_queries():
    budget = Budget()
    budget.add("lookups", soundness.logup(2**24, 3))
    shapes = [MatrixShape(256, 12, 2), MatrixShape(64, 10, 1)]
    counts = soundness.queries_for(budget, shapes)
    left = Fraction(1, 2**100) - budget.total()
    assert total_with(budget, shapes, counts) <= Fraction(1, 2**100)
    for shape, count in zip(shapes, counts, strict=True):
        assert soundness.query(shape, count) <= left / 2 < soundness.query(shape, count - 1)
    assert soundness.queries_for(budget, shapes[:1])[0] <= counts[0]


def test_nothing_left():
    budget = Budget()
    budget.add("lookups", soundness.logup(2**27, 3))
    with pytest.raises(soundness.InsufficientSoundness, match="before any query"):
        soundness.queries_for(budget, [MatrixShape(256, 12, 2)])


def test_too_few_positions():
    with pytest.raises(soundness.InsufficientSoundness, match="128 positions"):
        soundness.queries_for(Budget(), [MatrixShape(1, 5, 2)])
