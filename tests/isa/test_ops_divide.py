import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import Trap, TypeRuleError
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.forgery import pin_op
from tests.isa.graph_eval import KINDS, Operand, check_op, random_array

DTYPES = st.sampled_from([DType.I8, DType.I16, DType.I32])
I8, I16, I32, I64 = DType


@examples(50)
@given(st.sampled_from(["div", "mod"]), DTYPES, DTYPES, SEEDS, st.booleans(), st.sampled_from(KINDS))
def test_division_equals_python(op, da, db, seed, extreme, kind):
    rng = np.random.default_rng(seed)
    a = random_array(rng, (4, 1), da, extreme)
    b = np.maximum(random_array(rng, (3,), db, extreme), 1)
    got = check_op(op, Operand(a, da), Operand(b, db, kind))
    f = (lambda x, y: x // y) if op == "div" else (lambda x, y: x % y)
    assert got.tolist() == [[f(x, y) for y in b.tolist()] for (x,) in a.tolist()]


@pytest.mark.parametrize("op", ["div", "mod"])
@pytest.mark.parametrize("divisor", [1, 2, 7, 2**30])
def test_constant_divisors_take_any_dividend(op, divisor):
    a = [I64.lo, -1, 0, divisor - 1, divisor, I64.hi]
    got = check_op(op, Operand(a, I64), Operand([divisor], I32, "public param"))
    assert got.tolist() == [x // divisor if op == "div" else x % divisor for x in a]


@pytest.mark.parametrize("op", ["div", "mod"])
def test_wide_operands(op):
    a = [I64.lo, I64.hi, -1, 0, 2**45 + 3, I64.lo, I64.hi, -(2**31)]
    b = [1, 1, I64.hi, I64.hi, 2**31, 2**31 - 1, 2**30 + 1, 2**60]
    got = check_op(op, Operand(a, I64), Operand(b, I64))
    assert got.tolist() == [x // y if op == "div" else x % y for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("op", ["div", "mod"])
@pytest.mark.parametrize("divisor", [0, -3])
def test_divisors_below_1_trap(op, divisor):
    with pytest.raises(Trap, match="below 1") as caught:
        check_op(op, Operand([5, 6], I8), Operand([1, divisor], I8))
    assert caught.value.element == (1,)
    with pytest.raises(TypeRuleError, match="below 1"):
        check_op(op, Operand([5], I8), Operand([divisor], I8, "param"))


@examples(30)
@given(st.sampled_from(list(DType)), st.integers(0, 2**61 - 1))
def test_isqrt(dtype, x):
    x = min(x, dtype.hi)
    s = math.isqrt(x)
    values = [v for v in (0, x, s * s - 1, s * s, s * s + 2 * s, dtype.hi) if 0 <= v <= dtype.hi]
    assert check_op("isqrt", Operand(values, dtype)).tolist() == [math.isqrt(v) for v in values]


def test_isqrt_traps_below_zero():
    with pytest.raises(Trap, match="square root of -4"):
        check_op("isqrt", Operand([4, -4], I8))


@examples(30)
@given(st.sampled_from(list(DType)), st.sampled_from([0, 1, 7, 16, 17, 31, 32]), SEEDS)
def test_shifts(dtype, amount, seed):
    x = random_array(np.random.default_rng(seed), (2, 4), dtype, extreme=bool(seed % 2))
    got = check_op("shr", Operand(x, dtype), amount=amount)
    assert got.tolist() == [[v >> amount for v in row] for row in x.tolist()]
    if dtype.bits + amount <= 61:
        got = check_op("shl", Operand(x, dtype), amount=amount)
        assert got.tolist() == [[v << amount for v in row] for row in x.tolist()]


@pytest.mark.parametrize("op", ["shl", "shr"])
@pytest.mark.parametrize("amount", [-1, 33])
def test_shift_amounts(op, amount):
    with pytest.raises(TypeRuleError, match="outside 0 to 32"):
        check_op(op, [1], amount=amount)


@pytest.mark.parametrize("op", ["div", "mod"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Operand([100, -77], I8), Operand([7, 11], I8)),
        pytest.param(Operand([20100, -15477], I16), Operand([1407, 2211], I16), marks=pytest.mark.slow),
        pytest.param(Operand([100000, -77], I32), Operand([65000, 3], I32, bounds=(1, 2**17)), marks=pytest.mark.slow),
        (Operand([100, -77], I8), Operand([7], I8, "public param")),
    ],
)
def test_division_is_pinned(op, a, b):
    assert pin_op(op, a, b) == {}


def test_shift_is_pinned():
    assert pin_op("shr", Operand([100, -77], I8), amount=3) == {}
    assert pin_op("shr", Operand([100000, -77777], I32), amount=20) == {}


@pytest.mark.slow
def test_isqrt_is_pinned():
    assert pin_op("isqrt", Operand(np.array([3, 100, 0]) * 2**50, I64)) == {}
    # For sources below 2^58 the two remainder ranges imply the root's own: 2s is their sum mod p, and an odd sum would
    # need 4*(src - remainder) to be an odd square.
    assert pin_op("isqrt", Operand([3, 100, 0], I8)) == {"deletion": ["Lookup 'result'"]}


@pytest.mark.slow
@pytest.mark.parametrize(("op", "x", "y"), [("div", 2**50 + 3, 2**33), ("mod", -(2**50) - 3, 2**34 + 1)])
def test_wide_division_is_pinned(op, x, y):
    assert pin_op(op, Operand([x], I64), Operand([y], I64)) == {}
