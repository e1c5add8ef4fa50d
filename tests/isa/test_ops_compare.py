import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import TypeRuleError
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.forgery import pin_op
from tests.isa.graph_eval import KINDS, Operand, check_op, random_array

COMPARE = {name: getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")}
TRUTH = {**{k: (lambda a, b, f=f: int(f(a, b))) for k, f in COMPARE.items()}, "max": max, "min": min}
DTYPES = st.sampled_from(list(DType))


@examples(60)
@given(st.sampled_from(sorted(TRUTH)), DTYPES, DTYPES, SEEDS, st.booleans(), st.sampled_from(KINDS))
def test_equals_python(op, da, db, seed, extreme, kind):
    rng = np.random.default_rng(seed)
    a, b = random_array(rng, (3, 1), da, extreme), random_array(rng, (4,), db, extreme)
    b[0] = np.clip(a[0, 0], db.lo, db.hi)  # equal values are rare otherwise
    got = check_op(op, Operand(a, da), Operand(b, db, kind))
    assert got.tolist() == [[TRUTH[op](x, y) for y in b.tolist()] for (x,) in a.tolist()]


@examples(30)
@given(DTYPES, DTYPES, SEEDS)
def test_select(da, db, seed):
    rng = np.random.default_rng(seed)
    c = rng.integers(0, 2, (2, 1))
    a, b = random_array(rng, (2, 3), da, True), random_array(rng, (3,), db, True)
    got = check_op("select", Operand(c, DType.I8, bounds=(0, 1)), Operand(a, da), Operand(b, db))
    assert got.tolist() == [
        [(x if k else y) for x, y in zip(r, b.tolist(), strict=True)]
        for (k,), r in zip(c.tolist(), a.tolist(), strict=True)
    ]


def test_select_refuses_a_condition_that_is_not_0_or_1():
    with pytest.raises(TypeRuleError, match="0/1"):
        check_op("select", Operand([1], DType.I8), [1], [2])


@pytest.mark.parametrize(
    ("op", "a", "b"), [("max", (5, 9), (-3, 5)), ("max", (-3, 5), (5, 9)), ("min", (5, 9), (-3, 5))]
)
def test_ordered_intervals_need_no_constraint(op, a, b):
    x, y = Operand([a[0], a[1]], DType.I8, bounds=a), Operand([b[0], b[1]], DType.I8, bounds=b)
    best = max if op == "max" else min
    assert check_op(op, x, y).tolist() == [best(a[0], b[0]), best(a[1], b[1])]


@pytest.mark.parametrize("op", sorted(TRUTH))
@pytest.mark.parametrize(("dtype", "k"), [(DType.I8, 1), pytest.param(DType.I32, 30001, marks=pytest.mark.slow)])
def test_pinned(op, dtype, k):
    assert pin_op(op, Operand(np.array([3, 3, -4]) * k, dtype), Operand(np.array([2, 3, 5]) * k, dtype)) == {}


def test_select_is_pinned():
    c = Operand([0, 1], DType.I8, bounds=(0, 1))
    assert pin_op("select", c, Operand([5, 6], DType.I8), Operand([7, 9], DType.I8)) == {}
