"""Shapes: what they promise, and that they are the best of all candidates."""

from fractions import Fraction

import pytest

from syurmy.prover.protocol import reed_solomon


def full(log_entries):
    return lambda log_cols: 1 << (log_entries - log_cols)


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


@pytest.mark.parametrize("log_entries", range(reed_solomon.MIN_WITNESS_LOG_ENTRIES, 29))
def test_witness_shape(log_entries):
    shape = reed_solomon.choose_witness_shape(log_entries, full(log_entries))
    assert shape.rows * shape.cols == 1 << log_entries
    assert shape.log_blowup == 2
    assert reed_solomon.queries(2, reed_solomon.MAX_BITS) <= shape.n
    assert shape.rows >= 16 or shape.log_cols == reed_solomon.MIN_WITNESS_LOG_ENTRIES
    best = reed_solomon.opening_bytes(shape, reed_solomon.queries(2, reed_solomon.NOMINAL_BITS))
    for log_cols in range(reed_solomon.MIN_WITNESS_LOG_ENTRIES, log_entries - 3):
        other = reed_solomon.MatrixShape(1 << (log_entries - log_cols), log_cols, 2)
        assert best <= reed_solomon.opening_bytes(other, reed_solomon.queries(2, reed_solomon.NOMINAL_BITS))


def test_empty_rows_count_for_nothing():
    dense = reed_solomon.choose_witness_shape(20, full(20))
    sparse = reed_solomon.choose_witness_shape(20, lambda log_cols: 1 + (1 << (20 - log_cols)) // 9)
    assert sparse.log_cols < dense.log_cols
    assert sparse.rows == 1 + (1 << (20 - sparse.log_cols)) // 9
    with pytest.raises(ValueError, match="rows stored"):
        reed_solomon.choose_witness_shape(10, lambda log_cols: 1 << 10)


@pytest.mark.parametrize("log_entries", range(reed_solomon.MIN_PARAMS_LOG_ENTRIES, 29))
def test_params_shape(log_entries):
    shape = reed_solomon.choose_params_shape(log_entries, full(log_entries))
    assert shape.rows * shape.cols == 1 << log_entries
    assert reed_solomon.queries(shape.log_blowup, reed_solomon.MAX_BITS) <= shape.n
    assert shape.rows * shape.n <= reed_solomon.MAX_ENCODED or shape.log_blowup == 1


@pytest.mark.parametrize("choose", [reed_solomon.choose_witness_shape, reed_solomon.choose_params_shape])
def test_too_few_entries(choose):
    with pytest.raises(ValueError, match="no room"):
        choose(3, full(3))


@pytest.mark.parametrize(("rows", "log_cols", "log_blowup"), [(0, 4, 2), (1, -1, 2), (1, 4, 0), (1, 31, 2)])
def test_no_such_code(rows, log_cols, log_blowup):
    with pytest.raises(ValueError, match="no code"):
        reed_solomon.MatrixShape(rows, log_cols, log_blowup)
