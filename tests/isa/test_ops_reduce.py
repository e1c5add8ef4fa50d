import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import TypeRuleError
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.forgery import pin_op
from tests.isa.graph_eval import KINDS, Operand, check_op, random_array

OPS = ("reduce_max", "reduce_min", "argmax", "argmin")


def truth(op: str, row: list[int]) -> int:
    best = max(row) if op.endswith("max") else min(row)
    return best if op.startswith("reduce") else row.index(best)


@examples(60)
@given(
    st.sampled_from(OPS),
    st.sampled_from(list(DType)),
    st.integers(1, 9),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    SEEDS,
    st.sampled_from(KINDS),
)
def test_equals_python(op, dtype, n, axis, keepdims, extreme, seed, kind):
    shape = [2, 3]
    shape.insert(axis, n)
    x = random_array(np.random.default_rng(seed), shape, dtype, extreme)
    got = check_op(op, Operand(x, dtype, kind), axis=axis - 3 if seed % 2 else axis, keepdims=keepdims)
    rows = np.moveaxis(x, axis, -1)
    want = np.array([truth(op, r.tolist()) for r in rows.reshape(-1, n)]).reshape(rows.shape[:-1])
    assert np.array_equal(got, np.expand_dims(want, axis) if keepdims else want)


@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_ties_go_to_the_lowest_index(op):
    assert check_op(op, Operand([[4, 4, 4], [0, 4, 4], [4, 0, 0]], DType.I8), axis=1).tolist() == (
        [0, 1, 0] if op == "argmax" else [0, 0, 1]
    )


def test_an_axis_outside_the_rank_is_refused():
    with pytest.raises(TypeRuleError, match="axis 2"):
        check_op("argmax", [[1, 2]], axis=2)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("dtype", "k"), [(DType.I8, 1), pytest.param(DType.I32, 30001, marks=pytest.mark.slow)])
@pytest.mark.parametrize("row", [[3, -3, 5], [-5, 2, -7, 7, 7, -7]])
def test_pinned(op, dtype, k, row):
    assert pin_op(op, Operand(np.array([row]) * k, dtype), axis=1) == {}
