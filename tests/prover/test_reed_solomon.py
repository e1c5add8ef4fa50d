"""Queries and what they miss, exactly."""

from fractions import Fraction

import pytest

from syurmy.prover.protocol import reed_solomon


@pytest.mark.parametrize("log_blowup", [1, 2, 3, 4])
def test_queries_are_the_fewest(log_blowup):
    miss = (1 + Fraction(1, 1 << log_blowup)) / 2
    for bits in (1, 40, 100, 128):
        t = reed_solomon.queries(log_blowup, bits)
        assert miss**t <= Fraction(1, 2**bits) < miss ** (t - 1)
        assert reed_solomon.query_error(log_blowup, t) == miss**t
    with pytest.raises(ValueError, match="no error"):
        reed_solomon.queries_within(log_blowup, Fraction(0))


def test_queries_at_rate_one_quarter():
    assert reed_solomon.queries(2, 103) == 152


@pytest.mark.parametrize(("rows", "log_cols", "log_blowup"), [(0, 4, 2), (1, -1, 2), (1, 4, 0), (1, 31, 2)])
def test_no_such_code(rows, log_cols, log_blowup):
    with pytest.raises(ValueError, match="no code"):
        reed_solomon.MatrixShape(rows, log_cols, log_blowup)


def test_sizes():
    shape = reed_solomon.MatrixShape(5, 6, 3, 2)
    assert (shape.cols, shape.n, shape.height, shape.encoded) == (64, 512, 10, 5120)
