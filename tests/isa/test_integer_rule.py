"""Field equations are integer equations, or the program is refused.

Three refusals: a typed value beyond 2^61, an expression that could reach 2^63 (two sides that differ by p would pass
for equal), and a column that nothing pins to its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.assembler import AssemblyErrors
from syurmy.isa import graph as g
from syurmy.isa import instruction as registry
from syurmy.isa.arrays import I64
from syurmy.isa.builder import Builder
from syurmy.isa.errors import ConstraintError, TypeRuleError
from syurmy.isa.instruction import Argument, Call, Op
from syurmy.isa.system import build
from syurmy.isa.types import DType, TensorType
from syurmy.prover.field import P
from tests.isa.graph_eval import Operand, check_op, op_program

I64_MIN, I64_MAX = -(2**61), 2**61 - 1


# ---- expressions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Builder, Any], g.Node]], Any]:
    """Builds a program of one instruction ``y = fake(a)`` with these constraints, typed i8 [-128, 127]."""

    def make(constrain: Callable[[Builder, Any], g.Node], interval: tuple[int, int] = (-128, 127)) -> Any:
        class Fake(Op):
            """`dst = src`, under constraints that a test chooses."""

            name = "fake"
            family = "test"
            proof = Argument.LOOKUP

            def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
                return TensorType(DType.I8, types[0].shape, *interval)

            def execute(self, call: Call, values: Sequence[I64]) -> I64:
                return values[0]

            def constrain(self, b: Builder, call: Call, nodes: Sequence[g.Node]) -> g.Node:
                return constrain(b, nodes[0])

        monkeypatch.setitem(registry.REGISTRY, "fake", Fake())
        return build(op_program("fake", [Operand([1, 2, 3], DType.I8)])[0])

    return make


def test_two_sides_of_an_equation_cannot_differ_by_p() -> None:
    """Every expression lies strictly inside +-2^63 and p is larger than 2^63 + 2^62: no value of one is p or -p, nor
    is the difference to a table's entry."""
    assert g.LIMIT == 2**63 - 1
    assert g.LIMIT + 2**62 < P


def ranged_result(b: Builder) -> g.Committed:
    """The result column with values in [-128, 128)."""
    c = b.result((-128, 127))
    b.range(c + 128, 8, "result")
    return c


@pytest.mark.parametrize("factor", [2**56, -(2**56), 2**55 + 2**54])
def test_wide_combinations_are_refused(fake: Any, factor: int) -> None:
    def constrain(b: Builder, a: g.Node) -> g.Node:
        y = ranged_result(b)
        b.zero(y * factor - a * factor, "both sides times a number")
        return y

    with pytest.raises(ConstraintError, match="field equations stop being integer equations"):
        fake(constrain)


def test_combinations_below_the_limit_are_built(fake: Any) -> None:
    def constrain(b: Builder, a: g.Node) -> g.Node:
        y = ranged_result(b)
        b.zero(y * 2**54 - a * 2**54, "both sides times a number")
        return y

    (equation,) = fake(constrain).equations
    assert equation.expression.lo == -(2**62) + 2**54
    assert equation.expression.hi == 2**62 - 2**54


@pytest.mark.parametrize(
    "wide",
    [
        lambda b, a: b.mul(a * 2**28, a * 2**28),
        lambda b, a: b.sum(a * 2**55, [0]),
        lambda b, a: b.product(a * 2**27, a * 2**27, (0,), (0,), ()),
        lambda b, a: a * 2**55 + a * 2**55 + 2**62,
        lambda b, a: b.constant(np.array([2**62])) * 2,
    ],
    ids=["product", "sum", "contraction", "combination", "constant"],
)
def test_every_wide_expression_is_refused(fake: Any, wide: Any) -> None:
    with pytest.raises(ConstraintError):
        fake(lambda b, a: wide(b, a) and a)


def test_limbs_count_with_their_whole_width(fake: Any) -> None:
    """What the range checks enforce is judged, not the honest value: 40 bits by 2^24 are too many."""

    def constrain(b: Builder, a: g.Node) -> g.Node:
        wide = b.ranged("wide", a, lambda v: v(a) * 0, 0, 40)
        b.zero(wide * 2**24, "nothing")
        return b.narrowed(a, TensorType(DType.I8, (3,), -128, 127))

    with pytest.raises(ConstraintError):
        fake(constrain)


# ---- columns ---------------------------------------------------------------------------------------------------------


def free(b: Builder, a: g.Node) -> g.Node:
    return b.result((-128, 127))


def only_in_an_equation(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.zero(y - a, "an equation alone says nothing about the interval")
    return y


def too_wide(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.range(y + 128, 9, "result")
    return y


def too_wide_by_limbs(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.range(y + 128, 17, "result")
    return y


def shifted(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.range(y + 127, 8, "result")
    return y


def upper_half_only(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.range(127 - y, 8, "result")
    return y


def in_a_sum(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.range(y + a + 256, 8, "result")
    return y


def doubled(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.range(y * 2 + 128, 8, "result")
    return y


def of_a_wider_table(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.lookup(b.table("wide", (np.arange(-128, 129),)), (y,), "result")
    return y


def helper(b: Builder, a: g.Node) -> g.Node:
    b.column("helper", (3,), lambda v: v(a), (-128, 127), 1)
    return a


@pytest.mark.parametrize(
    "constrain",
    [free, only_in_an_equation, too_wide, too_wide_by_limbs, shifted, upper_half_only, in_a_sum, doubled,
     of_a_wider_table, helper],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_columns_that_nothing_pins_are_refused(fake: Any, constrain: Any) -> None:
    with pytest.raises(ConstraintError, match="is not pinned to"):
        fake(constrain)


def by_range(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.range(y + 128, 8, "result")
    return y


def by_interval(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-100, 100))
    b.interval(y, -100, 100, "result")
    return y


def by_limbs(b: Builder, a: g.Node) -> g.Node:
    b.ranged("wide", a, lambda v: v(a) + 128, 0, 30)
    return by_range(b, a)


def by_table(b: Builder, a: g.Node) -> g.Node:
    y = b.result((-128, 127))
    b.lookup(b.table("bytes", (np.arange(-128, 128),)), (y,), "result")
    return y


def by_definition(b: Builder, a: g.Node) -> g.Node:
    return b.define("copy", a)


@pytest.mark.parametrize(
    "constrain", [by_range, by_interval, by_limbs, by_table, by_definition], ids=lambda f: f.__name__
)
def test_columns_that_are_pinned_are_built(fake: Any, constrain: Any) -> None:
    assert len(fake(constrain).columns) >= 2


def test_a_result_is_pinned_to_what_is_typed(fake: Any) -> None:
    with pytest.raises(ConstraintError, match=r"is enforced, .* is typed"):
        fake(by_range, (-5, 5))


def test_a_range_that_a_table_implies_is_dropped(fake: Any) -> None:
    def both(b: Builder, a: g.Node) -> g.Node:
        b.range(a + 128, 8, "again")
        return by_table(b, by_range(b, a))

    assert all(not lk.table.is_range for lk in fake(both).lookups if lk.members[0].label == "result")


# ---- types -----------------------------------------------------------------------------------------------------------


def i64_ends(lo: int, hi: int) -> Operand:
    return Operand([lo, hi], DType.I64, bounds=(lo, hi))


@pytest.mark.parametrize(
    ("op", "operands", "attrs"),
    [
        ("add", [i64_ends(0, I64_MAX), i64_ends(0, 1)], {}),
        ("add", [i64_ends(I64_MIN, 0), i64_ends(-1, 0)], {}),
        ("sub", [i64_ends(I64_MIN, 0), i64_ends(0, 1)], {}),
        ("neg", [i64_ends(I64_MIN, 0)], {}),
        ("addi", [i64_ends(0, I64_MAX)], {"value": 1}),
        ("muli", [i64_ends(0, 2**60)], {"value": 2}),
        ("sum", [i64_ends(0, 2**60)], {"axes": (0,)}),
        ("mul", [i64_ends(0, 2**31), i64_ends(0, 2**30)], {}),
        ("dot", [i64_ends(0, 2**30), i64_ends(0, 2**30)], {}),
        ("shl", [i64_ends(0, 2**60)], {"amount": 1}),
        ("rescale", [i64_ends(0, 2**60)], {"shift": 1, "dtype": DType.I8, "mult": 2}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_i64_overflow_is_refused(op: str, operands: list[Operand], attrs: dict[str, Any]) -> None:
    program, _ = op_program(op, operands, **attrs)
    with pytest.raises(TypeRuleError) as e:
        build(program)
    assert e.value.code == "A210"


@pytest.mark.parametrize(
    ("op", "operands", "attrs", "expected"),
    [
        ("add", [i64_ends(0, I64_MAX - 1), i64_ends(0, 1)], {}, [0, I64_MAX]),
        ("sub", [i64_ends(I64_MIN + 1, 0), i64_ends(0, 1)], {}, [I64_MIN + 1, -1]),
        ("neg", [i64_ends(-I64_MAX, 0)], {}, [I64_MAX, 0]),
        ("muli", [i64_ends(-(2**60), 0)], {"value": 2}, [I64_MIN, 0]),
        ("mul", [i64_ends(-(2**31), 0), i64_ends(0, 2**30)], {}, [0, 0]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_the_whole_of_i64_is_exact(op: str, operands: list[Operand], attrs: Any, expected: list[int]) -> None:
    assert check_op(op, *operands, **attrs).tolist() == expected


def test_loops_that_grow_are_refused_where_they_leave_i64() -> None:
    text = ".input x : i8[] private\n.output y public\n muli y, x, 1\n repeat {}\n muli y, y, 2\n end\n halt"
    build(syurmy.assemble(text.format(54)))  # -128 * 2^54 is the lowest i64
    for rounds in (55, 10**5):
        with pytest.raises(AssemblyErrors, match="beyond 2\\^61"):
            syurmy.assemble(text.format(rounds))
