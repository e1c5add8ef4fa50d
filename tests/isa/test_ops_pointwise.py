import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import Trap, TypeRuleError
from syurmy.isa.program import Lut
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.forgery import pin_op
from tests.isa.graph_eval import Operand, check, check_op, op_program, random_array

TRUTH = {"relu": lambda x: max(x, 0), "abs": abs, "sign": lambda x: int(x > 0) - int(x < 0)}
HALF = Lut("half", DType.I8, DType.I16, -128, tuple(x // 2 + 300 for x in range(-128, 128)))
SMALL = Lut("small", DType.I8, DType.I16, -3, (5, -7, 6, 100, 9))  # -3 .. 1


@examples(30)
@given(st.sampled_from(sorted(TRUTH)), st.sampled_from(list(DType)), SEEDS, st.booleans())
def test_equals_python(op, dtype, seed, extreme):
    x = random_array(np.random.default_rng(seed), (3, 5), dtype, extreme)
    bounds = (dtype.lo + 1, dtype.hi) if (op, dtype) == ("abs", DType.I64) else None
    x = np.maximum(x, bounds[0]) if bounds else x
    got = check_op(op, Operand(x, dtype, bounds=bounds))
    assert got.tolist() == [[TRUTH[op](v) for v in row] for row in x.tolist()]


@pytest.mark.parametrize("op", sorted(TRUTH))
@pytest.mark.parametrize("kind", ["private", "public", "param"])
def test_many_entries_go_through_a_table(op, kind):
    x = random_array(np.random.default_rng(0), (40, 40), DType.I8)
    program, inputs = op_program(op, [Operand(x, DType.I8, kind)])
    honest = check(program, inputs)
    assert any(not lk.table.is_range for lk in honest.system.lookups)
    if kind == "private":  # the table bounds the input
        assert len(honest.system.lookups) == 1
    assert honest.trace.writes[0][0].tolist() == np.vectorize(TRUTH[op])(x).tolist()
    assert honest.mutations(np.random.default_rng(1)) == []


@pytest.mark.parametrize(("lo", "hi"), [(0, 9), (-9, 0), (3, 9), (-9, -3), (-3, 9), (-9, 3)])
@pytest.mark.parametrize("op", sorted(TRUTH))
def test_intervals(op, lo, hi):
    x = np.arange(lo, hi + 1)
    assert check_op(op, Operand(x, DType.I8, bounds=(lo, hi))).tolist() == [TRUTH[op](v) for v in x.tolist()]


def test_abs_of_the_least_value_widens():
    assert check_op("abs", Operand([-128], DType.I8)).tolist() == [128]
    with pytest.raises(TypeRuleError, match="2\\^61"):
        check_op("abs", Operand([0], DType.I64))


@examples(20)
@given(st.lists(st.integers(-128, 127), min_size=1, max_size=9), st.sampled_from([DType.I8, DType.I32]))
def test_lut(values, dtype):
    got = check_op("lut", Operand(values, dtype), luts=[HALF], table="half")
    assert got.tolist() == [v // 2 + 300 for v in values]


@pytest.mark.parametrize("x", [-4, 2])
def test_lut_traps_outside_its_domain(x):
    with pytest.raises(Trap, match="outside table") as caught:
        check_op("lut", Operand([0, x], DType.I8), luts=[SMALL], table="small")
    assert caught.value.element == (1,)
    assert check_op("lut", Operand([-3, 1], DType.I8), luts=[SMALL], table="small").tolist() == [5, 9]


@pytest.mark.parametrize("op", sorted(TRUTH))
@pytest.mark.parametrize(
    ("dtype", "values"), [(DType.I8, [-5, 0, 7]), pytest.param(DType.I32, [-5000000, 0, 70000], marks=pytest.mark.slow)]
)
def test_pinned(op, dtype, values):
    assert pin_op(op, Operand(values, dtype)) == {}


def test_table_results_are_pinned():
    assert pin_op("lut", Operand([-3, 1], DType.I8), luts=[SMALL], table="small") == {}
    x = random_array(np.random.default_rng(0), (600,), DType.I8)
    assert pin_op("relu", Operand(x, DType.I8)) == {}
