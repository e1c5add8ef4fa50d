"""The machine: values, loops, events, traps with their place, step limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from syurmy.isa.errors import InputError, Span, Trap
from syurmy.isa.program import Input, Instruction, Output, Param, Program
from syurmy.isa.types import DType, TensorType
from syurmy.vm import Event, Executed, Fetched, Halted, Trapped, run


def ins(op: str, dst: str | None = None, *src: str, line: int = 1, **attrs: Any) -> Instruction:
    return Instruction(op, dst, src, tuple(sorted(attrs.items())), Span("t.tasm", line, 5, len(op)))


def program(code: list[Instruction], inputs: list[Input], outputs: list[str], params: Any = ()) -> Program:
    decls = tuple(Param(n, TensorType(DType.I16, v.shape, int(v.min()), int(v.max())), True) for n, v in params)
    return Program("t", tuple(inputs), decls, (), tuple(Output(o, True) for o in outputs), tuple(code), dict(params))


def private(name: str, dtype: DType, *shape: int) -> Input:
    return Input(name, TensorType.full(dtype, shape), False)


HALVE = program(
    [ins("rescale", "y", "x", shift=1, dtype=DType.I8), ins("halt", line=2)], [private("x", DType.I16, 3)], ["y"]
)


def test_rescale_rounds_half_up_and_saturates() -> None:
    trace = run(HALVE, {"x": np.array([3, -3, 9999])})
    assert trace.outputs["y"].tolist() == [2, -1, 127]
    assert trace.path == [0, 1]
    assert trace.stacked(0).tolist() == [[2, -1, 127]]


def test_events_come_in_order() -> None:
    events: list[Event] = []
    run(HALVE, {"x": np.array([2, 4, 6])}, listeners=[events.append])
    assert [type(e) for e in events] == [Fetched, Executed, Fetched, Halted]
    executed = events[1]
    assert isinstance(executed, Executed)
    assert executed.operands[0].tolist() == [2, 4, 6]
    assert executed.result.tolist() == [1, 2, 3]
    assert events[-1] == Halted(2)


def test_loop_rewrites_a_register_and_keeps_every_write() -> None:
    code = [
        ins("rescale", "y", "x", shift=0, dtype=DType.I16),
        ins("repeat", count=3, counter="t"),
        ins("rescale", "y", "y", shift=1, dtype=DType.I16),
        ins("end"),
        ins("halt"),
    ]
    trace = run(program(code, [private("x", DType.I16)], ["y"]), {"x": np.int16(80)})
    assert [int(v) for v in trace.writes[2]] == [40, 20, 10]
    assert int(trace.outputs["y"]) == 10
    assert trace.path == [0, 1, 2, 3, 2, 3, 2, 3, 4]


def test_counter_is_an_operand() -> None:
    code = [
        ins("repeat", count=3, counter="t"),
        ins("rescale", "y", "t", shift=0, dtype=DType.I8),
        ins("end"),
        ins("halt"),
    ]
    trace = run(program(code, [], ["y"]), {})
    assert [v.tolist() for v in trace.writes[1]] == [0, 1, 2]
    assert trace.writes[1][0].dtype == np.int64


def test_trap_names_instruction_span_and_element() -> None:
    ok = Input("ok", TensorType(DType.I8, (2, 2), 0, 1), False)
    events: list[Event] = []
    p = program([ins("assert", None, "ok", line=7), ins("halt")], [ok], [])
    with pytest.raises(Trap) as e:
        run(p, {"ok": np.array([[1, 1], [0, 1]])}, listeners=[events.append])
    trap = e.value
    assert (trap.code, trap.instruction, trap.element, str(trap.span)) == ("T110", 0, (1, 0), "t.tasm:7:5")
    assert isinstance(events[-1], Trapped)
    assert events[-1].trap is trap


def test_step_limit_is_a_trap() -> None:
    code = [
        ins("repeat", count=1000),
        ins("rescale", "y", "x", line=2, shift=0, dtype=DType.I16),
        ins("end"),
        ins("halt"),
    ]
    p = program(code, [private("x", DType.I16)], ["y"])
    x = {"x": np.int64(1)}
    assert len(run(p, x, max_steps=2002).path) == 2002
    with pytest.raises(Trap, match="more than 2001 steps") as e:
        run(p, x, max_steps=2001)
    assert (e.value.code, e.value.instruction) == ("T101", 3)


def test_trace_aliases_no_input_and_is_read_only() -> None:
    x = np.array([2, 4, 6], dtype=np.int64)
    trace = run(HALVE, {"x": x})
    x[:] = 0
    assert trace.inputs["x"].tolist() == [2, 4, 6]
    for value in (trace.inputs["x"], trace.outputs["y"], trace.writes[0][0]):
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 1


def test_params_are_widened_outside_products() -> None:
    w = np.array([32767, -32768, 5], dtype=np.int16)
    p = program([ins("rescale", "y", "w", shift=1, mult=3, dtype=DType.I32), ins("halt")], [], ["y", "w"], [("w", w)])
    trace = run(p, {}, check_intervals=True)
    assert trace.outputs["y"].tolist() == [(v * 3 + 1) >> 1 for v in (32767, -32768, 5)]
    assert trace.outputs["w"].dtype == np.int64


X = private("x", DType.I8, 2)
TAKES_X = program([ins("halt")], [X], [])


@pytest.mark.parametrize(
    ("inputs", "code", "says"),
    [
        ({}, "I102", "no value for input 'x' (i8[2])"),
        ({"x": [1, 2], "xx": 1}, "I101", "no input 'xx'"),
        ({"x": [[1], [2, 3]]}, "I103", "not a rectangular array"),
        ({"x": ["a", "b"]}, "I103", "expected integers"),
        ({"x": [1, None]}, "I103", "does not hold integers"),
        ({"x": [1.0, 2.0]}, "I104", "dtype float64"),
        ({"x": [1.0, float("nan")]}, "I104", "'x'[1] is nan"),
        ({"x": [1, 2, 3]}, "I105", "shape [3], expected [2]"),
        ({"x": [1, 128]}, "I106", "'x'[1] is 128, outside [-128, 127]"),
        ({"x": [-129, 0]}, "I106", "'x'[0] is -129"),
        ({"x": np.array([2**64 - 1, 0], dtype=np.uint64)}, "I106", "is 18446744073709551615"),
        ({"x": [10**30, 0]}, "I106", f"is {10**30}"),
    ],
)
def test_bad_inputs_are_named(inputs: dict[str, Any], code: str, says: str) -> None:
    with pytest.raises(InputError) as e:
        run(TAKES_X, inputs)
    assert e.value.code == code
    assert says in e.value.message


@pytest.mark.parametrize("value", [[True, False], np.array([1, 0], dtype=np.uint8), np.array([1, 0], dtype=object)])
def test_every_integer_dtype_is_accepted(value: Any) -> None:
    assert run(TAKES_X, {"x": value}).inputs["x"].tolist() == [1, 0]


def test_scalar_input_out_of_range_names_no_element() -> None:
    with pytest.raises(InputError, match=r"^input 's' is 200, outside"):
        run(program([ins("halt")], [private("s", DType.I8)], []), {"s": 200})
