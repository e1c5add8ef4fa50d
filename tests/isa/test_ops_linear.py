"""Linear arithmetic: executed values and constraint graph against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import TypeRuleError
from syurmy.isa.system import build
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.graph_eval import (
    Operand,
    check,
    check_op,
    instruction,
    op_program,
    program_of,
    random_array,
    random_shape,
)


@examples(25)
@given(SEEDS, st.integers(0, 3), st.sampled_from([DType.I8, DType.I32]), st.booleans())
def test_against_numpy(seed: int, rank: int, dtype: DType, extreme: bool) -> None:
    rng = np.random.default_rng(seed)
    a = random_array(rng, random_shape(rng, rank), dtype, extreme)
    keep = int(rng.integers(rank + 1))
    b = random_array(rng, [1 if rng.random() < 0.3 else d for d in a.shape[keep:]], dtype, extreme)
    assert np.array_equal(check_op("add", a, b), a + b)
    assert np.array_equal(check_op("sub", b, a), b - a)
    assert np.array_equal(check_op("neg", a), -a)
    value = int(rng.integers(-(2**20), 2**20))
    assert np.array_equal(check_op("addi", a, value=value), a + value)
    assert np.array_equal(check_op("muli", a, value=value), a * value)
    assert np.array_equal(check_op("muli", a, value=0), a * 0)


@examples(25)
@given(SEEDS, st.integers(0, 4), st.booleans())
def test_sum(seed: int, rank: int, keepdims: bool) -> None:
    rng = np.random.default_rng(seed)
    x = random_array(rng, random_shape(rng, rank), DType.I32, extreme=bool(rng.integers(2)))
    axes = tuple(int(a) for a in rng.permutation(rank)[: rng.integers(rank + 1)])
    signed = tuple(a - rank if rng.integers(2) else a for a in axes)
    true = x.sum(axis=axes, keepdims=keepdims)
    assert np.array_equal(check_op("sum", x, axes=signed, keepdims=keepdims), true)
    assert np.array_equal(check_op("sum", x, keepdims=keepdims), x.sum(keepdims=keepdims))


def test_same_operand_twice() -> None:
    x = Operand([[1, -2], [3, 127]])
    code = [instruction("sub", "z", "x", "x"), instruction("add", "y", "x", "x")]
    program, inputs = program_of({"x": x}, code, ["z", "y"])
    outputs = check(program, inputs).trace.outputs
    assert not outputs["z"].any()
    assert np.array_equal(outputs["y"], 2 * np.asarray(x.values))


def test_broadcast_across_executions() -> None:
    """In a loop, a value of every execution meets one from outside."""
    code = [
        instruction("mov", "s", "x"),
        instruction("repeat", None, count=3, counter="t"),
        instruction("add", "u", "s", "b"),
        instruction("add", "u", "u", "t"),
        instruction("rescale", "s", "u", shift=1, dtype=DType.I16),
        instruction("end", None),
    ]
    x, b = np.array([[5], [-100]]), np.array([7, 8, 9])
    operands = {"x": Operand(np.broadcast_to(x, (2, 3)), DType.I16), "b": Operand(b, kind="param")}
    program, inputs = program_of(operands, code, ["s"])
    s = np.broadcast_to(x, (2, 3))
    for t in range(3):
        s = (s + b + t + 1) >> 1
    assert np.array_equal(check(program, inputs).trace.outputs["s"], s)


@pytest.mark.parametrize(
    ("op", "operands", "attrs"),
    [
        ("add", [(2,), (3,)], {}),
        ("sum", [(2, 2)], {"axes": (0, -2)}),
        ("sum", [(2, 2)], {"axes": (2,)}),
        ("muli", [(2,)], {"value": 2**61}),
        ("muli", [(2,)], {"value": 2**58}),
        ("addi", [(2,)], {"value": 2**61}),
    ],
)
def test_refusals(op: str, operands: list[tuple[int, ...]], attrs: dict[str, object]) -> None:
    program, _ = op_program(op, [Operand(np.zeros(s, np.int64), DType.I8) for s in operands], **attrs)
    with pytest.raises(TypeRuleError):
        build(program)
