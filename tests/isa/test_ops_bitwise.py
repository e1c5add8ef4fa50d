import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import TypeRuleError
from syurmy.isa.system import build
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.forgery import pin_op
from tests.isa.graph_eval import KINDS, Operand, check_op, instruction, program_of, random_array

TRUTH = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
NARROW = [DType.I8, DType.I16, DType.I32]


@examples(20)
@given(
    st.sampled_from(sorted(TRUTH)),
    st.sampled_from(NARROW),
    SEEDS,
    st.booleans(),
    st.booleans(),
    st.sampled_from(KINDS),
)
def test_equals_python(op, dtype, seed, extreme, positive, kind):
    rng = np.random.default_rng(seed)
    a, b = random_array(rng, (3, 1), dtype, extreme), random_array(rng, (4,), dtype, extreme)
    bounds = (0, dtype.hi) if positive else None
    if positive:
        a, b = np.maximum(a, 0), np.maximum(b, 0)
    got = check_op(op, Operand(a, dtype, bounds=bounds), Operand(b, dtype, kind, bounds=bounds))
    assert got.tolist() == [[TRUTH[op](x, y) for y in b.tolist()] for (x,) in a.tolist()]


@pytest.mark.parametrize("dtype", list(DType))
def test_not(dtype):
    x = [dtype.lo, -1, 0, 1, dtype.hi]
    assert check_op("not", Operand(x, dtype)).tolist() == [~v for v in x]


@pytest.mark.parametrize("op", sorted(TRUTH))
def test_truth_values_need_no_table(op):
    bits = {"a": Operand([0, 0, 1, 1], bounds=(0, 1)), "b": Operand([0, 1, 0, 1], bounds=(0, 1))}
    program, _ = program_of(bits, [instruction(op, "y", "a", "b")])
    assert all(lk.table.is_range for lk in build(program).lookups)
    assert check_op(op, *bits.values()).tolist() == [TRUTH[op](x, y) for x in (0, 1) for y in (0, 1)]


def test_tables_are_shared():
    code = [instruction(op, f"y{i}", *(("a", "b") if i % 2 else ("c", "d"))) for i, op in enumerate([*TRUTH, *TRUTH])]
    operands = {n: Operand([3, -300], d) for n, d in zip("abcd", [DType.I16] * 2 + [DType.I32] * 2, strict=True)}
    program, _ = program_of(operands, code)
    assert sum(not t.is_range for t in build(program).tables) == 2


@pytest.mark.parametrize(("a", "b"), [(DType.I8, DType.I16), (DType.I64, DType.I64)])
def test_operand_types(a, b):
    with pytest.raises(TypeRuleError, match="both i8"):
        check_op("and", Operand([1], a), Operand([1], b))


@pytest.mark.parametrize(
    ("op", "dtype", "k"),
    [
        ("and", DType.I8, 1),
        pytest.param("or", DType.I16, 251, marks=pytest.mark.slow),
        pytest.param("xor", DType.I8, 1, marks=pytest.mark.slow),
    ],
)
def test_pinned(op, dtype, k):
    assert pin_op(op, Operand(np.array([-77]) * k, dtype), Operand(np.array([11]) * k, dtype)) == {}
