"""Queries and what they miss, exactly."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.prover.protocol import reed_solomon


@pytest.mark.parametrize("log_blowup", [1, 2, 3, 4])
def test_queries_are_the_fewest(log_blowup):
    rate = Fraction(1, 1 << log_blowup)
    miss = (1 + rate) / 2
    for bits in (1, 40, 100, 128):
        t = reed_solomon.queries(rate, bits)
        assert miss**t <= Fraction(1, 2**bits) < miss ** (t - 1)
        assert reed_solomon.missed(rate) == miss
    with pytest.raises(ValueError, match="no error"):
        reed_solomon.queries_within(rate, Fraction(0))


@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(1, 400), st.integers(0, 1))
def test_queries_for_any_error_are_the_fewest(a, b, exponent, nudge):
    """Also where the error is exactly that of some number of queries, or just below it."""
    miss = Fraction(a, a + b + a // 2)
    error = miss ** (exponent % 40 + 1) - nudge * Fraction(1, 2**3000)
    t = reed_solomon.queries_within(miss, error)
    assert miss**t <= error
    assert t == 1 or error < miss ** (t - 1)
    assert t == exponent % 40 + 1 + nudge


def test_queries_at_rate_one_quarter():
    assert reed_solomon.queries(Fraction(1, 4), 103) == 152


@pytest.mark.parametrize(("rows", "log_cols", "log_blowup"), [(0, 4, 2), (1, -1, 2), (1, 4, 0), (1, 31, 2)])
def test_no_such_code(rows, log_cols, log_blowup):
    with pytest.raises(ValueError, match="no code"):
        reed_solomon.MatrixShape(rows, log_cols, log_blowup)


@pytest.mark.parametrize(("log_cols", "log_blowup", "proofs"), [(8, 2, 1), (10, 4, 16), (13, 1, 1), (17, 3, 256)])
def test_random_coefficients_cover_the_queries(log_cols, log_blowup, proofs):
    """More than the queries of all proofs, at the rate that follows from them; as few as that with three bits set."""
    tail = reed_solomon.hiding_tail(log_cols, log_blowup, 94, proofs)
    shape = reed_solomon.MatrixShape(5, log_cols, log_blowup, tail=tail)
    count = reed_solomon.queries(shape.rate, 94)
    assert proofs * count + 1 <= tail == reed_solomon.rounded(tail)
    assert bin(tail).count("1") <= 3
    fewer = tail - (1 << (tail.bit_length() - 3))
    assert proofs * reed_solomon.queries(Fraction((1 << log_cols) + fewer, shape.n), 94) + 1 > fewer


def test_no_room_for_random_coefficients():
    assert reed_solomon.hiding_tail(6, 2, 94) is None
    with pytest.raises(ValueError, match="no code of dimension"):
        reed_solomon.MatrixShape(1, 4, 1, tail=16)


def test_sizes():
    shape = reed_solomon.MatrixShape(5, 6, 3, 2)
    assert (shape.cols, shape.n, shape.height, shape.encoded) == (64, 512, 10, 5120)
