"""Shapes: what they promise, that they are the best of all candidates, and that no float decides."""

from fractions import Fraction
from itertools import product

import pytest

from syurmy.prover.protocol import shapes
from syurmy.prover.protocol.key import CLEAR, Mode
from syurmy.prover.protocol.reed_solomon import MAX_BITS, MatrixShape, queries


def full(log_entries):
    return lambda log_cols: 1 << (log_entries - log_cols)


@pytest.mark.parametrize(("log_n", "count"), [(1, 1), (6, 3), (10, 100), (14, 113), (21, 130), (32, 250)])
def test_digests_of_a_path(log_n, count):
    """The expected number, whose definition is a sum of fractions; never off by one."""
    exact = sum(
        (1 << d) * ((1 - Fraction(1, 1 << d)) ** count - (1 - Fraction(2, 1 << d)) ** count)
        for d in range(1, log_n + 1)
    )
    assert exact - 1 < shapes.path_digests(log_n, count) <= exact


@pytest.mark.parametrize("log_entries", range(shapes.MIN_WITNESS_LOG_ENTRIES, 29))
def test_witness_shape(log_entries):
    shape = shapes.choose_witness_shape(log_entries, full(log_entries))
    assert shape.rows * shape.cols == 1 << log_entries
    assert shape.log_blowup == (2 if log_entries <= 25 else 1)
    assert queries(shape.rate, MAX_BITS) <= shape.n
    assert shape.rows >= shapes.MIN_ROWS or shape.log_cols == shapes.MIN_WITNESS_LOG_ENTRIES
    for log_cols in range(shapes.MIN_WITNESS_LOG_ENTRIES, log_entries - 3):
        other = MatrixShape(1 << (log_entries - log_cols), log_cols, shape.log_blowup)
        assert shapes.opening_bytes(shape) <= shapes.opening_bytes(other)


def test_the_params_beside_a_witness_count():
    """What the params' row costs in the ladder is paid anyway, so the witness may grow up to it."""
    params = MatrixShape(63, 18, 3)
    alone = shapes.choose_witness_shape(22, full(22))
    beside = shapes.choose_witness_shape(22, full(22), params)
    assert shapes.opening_bytes(beside, [params]) <= shapes.opening_bytes(alone, [params])


def test_empty_rows_count_for_nothing():
    dense = shapes.choose_witness_shape(20, full(20))
    sparse = shapes.choose_witness_shape(20, lambda log_cols: 1 + (1 << (20 - log_cols)) // 9)
    assert sparse.log_cols < dense.log_cols
    assert sparse.rows == 1 + (1 << (20 - sparse.log_cols)) // 9
    with pytest.raises(ValueError, match="rows stored"):
        shapes.choose_witness_shape(10, lambda log_cols: 1 << 10)


@pytest.mark.parametrize("log_entries", range(shapes.MIN_PARAMS_LOG_ENTRIES, 31))
def test_params_shape(log_entries):
    shape = shapes.choose_params_shape(log_entries, full(log_entries))
    assert shape.rows * shape.cols == 1 << log_entries
    assert queries(shape.rate, MAX_BITS) <= shape.n
    if log_entries > 24:  # 2^27 elements at most, or 2^30 at a rate of 1/4 or 1/2, or whatever it is at 1/2
        assert shape.log_blowup == (2 if log_entries <= 28 else 1)
        assert shape.log_cols <= shapes.MAX_LOG_COLS
    else:
        assert shape.encoded <= 1 << 27


@pytest.mark.parametrize(("mode", "tail"), [(CLEAR, 0), (Mode(True, 16), 2560)])
def test_params_of_gpt2(mode, tail):
    """124 M weights: at a rate of 1/4 their columns are 170 KB of a proof, at 1/2 they would be 277."""
    rows = {18: 646, 19: 325, 20: 169, 21: 103}
    shape = shapes.choose_params_shape(28, lambda c: rows.get(c, 1 << (28 - c)), mode)
    assert shape == MatrixShape(169, 20, 2, tail=tail)


@pytest.mark.parametrize("choose", [shapes.choose_witness_shape, shapes.choose_params_shape])
def test_too_few_entries(choose):
    with pytest.raises(ValueError, match="no room"):
        choose(3, full(3))


def brute_force(used, depth=3):
    """The fewest bytes of all ladders of up to ``depth`` levels."""
    best = 16 * used
    if depth == 0:
        return best
    log_size = (used - 1).bit_length()
    for log_cols, log_blowup in product(range(shapes.MIN_LEVEL_LOG_COLS, log_size), shapes.LOG_BLOWUPS):
        shape = MatrixShape(-(-used >> log_cols), log_cols, log_blowup, 2)
        if shapes.room(log_cols, log_blowup) and (shape.encoded <= shapes.MAX_LEVEL_ENCODED or log_blowup <= 2):
            sent = 32 + 32 * (log_size - log_cols) + shapes.matrix_bytes(shape)
            best = min(best, sent + brute_force(1 << log_cols, depth - 1))
    return best


@pytest.mark.parametrize("used", [64, 65, 1 << 10, 3 << 10, 5 << 11, (1 << 15) + (1 << 12), (1 << 18) + (1 << 16)])
def test_ladder(used):
    size, levels = shapes.ladder(used)
    assert size == brute_force(used)
    left = used
    for level in levels:
        assert level.log_size == (left - 1).bit_length()
        assert level.log_rows >= 1
        assert level.shape.planes == 2
        assert (level.shape.rows - 1) * level.shape.cols < left <= level.shape.rows * level.shape.cols
        left = level.shape.cols


def test_short_vectors_are_sent():
    assert shapes.ladder(128) == (2048, ())
    assert len(shapes.ladder(1 << 20)[1]) >= 2
