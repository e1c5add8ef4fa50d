"""Shapes: what they promise, and that they are the best of all candidates."""

from fractions import Fraction

import pytest

from prover import code


def full(log_entries):
    return lambda log_cols: 1 << (log_entries - log_cols)


@pytest.mark.parametrize("log_blowup", [1, 2, 3, 4])
def test_queries_are_the_fewest(log_blowup):
    miss = (1 + Fraction(1, 1 << log_blowup)) / 2
    for bits in (1, 40, 100, 128):
        t = code.queries(log_blowup, bits)
        assert miss**t <= Fraction(1, 2**bits) < miss ** (t - 1)
        assert code.query_error(log_blowup, t) == miss**t
    with pytest.raises(ValueError, match="no error"):
        code.queries_within(log_blowup, Fraction(0))


def test_queries_at_rate_one_quarter():
    assert code.queries(2, 103) == 152


@pytest.mark.parametrize("log_entries", range(code.MIN_WITNESS_LOG_ENTRIES, 29))
def test_witness_shape(log_entries):
    shape = code.choose_witness_shape(log_entries, full(log_entries))
    assert shape.rows * shape.cols == 1 << log_entries
    assert shape.log_blowup == 2
    assert code.queries(2, code.MAX_BITS) <= shape.n
    assert shape.rows >= 16 or shape.log_cols == code.MIN_WITNESS_LOG_ENTRIES
    best = code.opening_bytes(shape, code.queries(2, code.NOMINAL_BITS))
    for log_cols in range(code.MIN_WITNESS_LOG_ENTRIES, log_entries - 3):
        other = code.MatrixShape(1 << (log_entries - log_cols), log_cols, 2)
        assert best <= code.opening_bytes(other, code.queries(2, code.NOMINAL_BITS))


def test_empty_rows_count_for_nothing():
    dense = code.choose_witness_shape(20, full(20))
    sparse = code.choose_witness_shape(20, lambda log_cols: 1 + (1 << (20 - log_cols)) // 9)
    assert sparse.log_cols < dense.log_cols
    assert sparse.rows == 1 + (1 << (20 - sparse.log_cols)) // 9
    with pytest.raises(ValueError, match="rows stored"):
        code.choose_witness_shape(10, lambda log_cols: 1 << 10)


@pytest.mark.parametrize("log_entries", range(code.MIN_PARAMS_LOG_ENTRIES, 29))
def test_params_shape(log_entries):
    shape = code.choose_params_shape(log_entries, full(log_entries))
    assert shape.rows * shape.cols == 1 << log_entries
    assert code.queries(shape.log_blowup, code.MAX_BITS) <= shape.n
    assert shape.rows * shape.n <= code.MAX_ENCODED or shape.log_blowup == 1


@pytest.mark.parametrize("choose", [code.choose_witness_shape, code.choose_params_shape])
def test_too_few_entries(choose):
    with pytest.raises(ValueError, match="no room"):
        choose(3, full(3))


@pytest.mark.parametrize(("rows", "log_cols", "log_blowup"), [(0, 4, 2), (1, -1, 2), (1, 4, 0), (1, 31, 2)])
def test_no_such_code(rows, log_cols, log_blowup):
    with pytest.raises(ValueError, match="no code"):
        code.MatrixShape(rows, log_cols, log_blowup)
