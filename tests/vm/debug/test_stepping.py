"""Forwards and backwards: wherever the debugger stands, it holds what a plain run holds there, and going back stops
where going on did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

import syurmy
from syurmy.isa.errors import Trap
from syurmy.isa.memory import Memory
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.isa.program import Program
from syurmy.isa.trace import Trace
from syurmy.vm import Executed, Fetched, Machine
from syurmy.vm.debug import Debugger, run
from syurmy.vm.inputs import validated
from tests.assembler.random_programs import jumping, programs
from tests.drawing import examples
from tests.vm import algorithms as a

SORT = a.program(a.INSERTION_SORT, 5)
SEARCH = a.program(a.BINARY_SEARCH, 6)
ROUTINES = a.program(a.ROUTINES, 4)
NESTED = a.program(a.NESTED, 3)
EXAMPLES: list[tuple[Program, dict[str, Any]]] = [
    (SORT, {"x": [5, -3, 9, 0, 4]}),
    (SEARCH, {"x": [1, 3, 5, 7, 9, 11], "key": 8}),
]


SHORT = 2000  # steps of a random program


@dataclass
class Place:
    """What a plain run holds before a step."""

    index: int | None
    counters: Mapping[str, int]
    registers: dict[str, np.ndarray]
    memories: dict[str, np.ndarray]


def places(
    program: Program, inputs: Mapping[str, Any], max_steps: int = DEFAULT_MAX_STEPS
) -> tuple[list[Place], Trap | None]:
    """The slow truth: every place of a run, the end included unless a trap comes first."""
    given = validated(program, inputs)
    machine = Machine(Trace(program, given), given)
    out: list[Place] = []
    trap = None

    def place(index: int | None, counters: Mapping[str, int]) -> Place:
        memories = {name: m.values.copy() for name, m in machine.memories.items()}
        return Place(index, dict(counters), dict(machine.registers), memories)

    try:
        for event in machine.events(max_steps):
            if isinstance(event, Fetched):
                out.append(place(event.index, event.counters))
    except Trap as e:
        trap = e
    else:
        out.append(place(None, {}))
    return out, trap


def assert_at(d: Debugger, truth: list[Place], step: int) -> None:
    expected = truth[step]
    assert (d.step, d.index, d.counters) == (step, expected.index, expected.counters)
    assert d.registers.keys() == expected.registers.keys()
    for name, value in expected.registers.items():
        assert np.array_equal(d.registers[name], value), name
    for name, value in expected.memories.items():
        assert np.array_equal(d.memories[name], value), name


def inputs_of(program: Program, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {i.name: rng.integers(i.type.lo, i.type.hi, i.type.shape, endpoint=True) for i in program.inputs}


MOVES = st.lists(
    st.tuples(st.sampled_from(["goto", "in", "one", "back", "one back"]), st.integers(0, 400)), max_size=12
)


def moved(d: Debugger, truth: list[Place], move: str, to: int) -> int:
    """Carries out a move; where a plain run says that it leads."""
    last, here = len(truth) - 1, d.step
    match move:
        case "goto":
            d.goto(to)
            return min(to, last)
        case "one":
            d.step_in(statement=False)
            return min(here + 1, last)
        case "one back":
            d.step_back(statement=False)
            return max(here - 1, 0)
        case "in":
            d.step_in()
            assert d.step > here or here == last
        case "back":
            d.step_back()
            assert d.step < here or here == 0
    return d.step


@examples(15, suppress_health_check=list(HealthCheck))
@given(st.data(), programs(), st.integers(0, 2**32), MOVES, st.sampled_from([0.0, 1.0]))
def test_any_moves_on_random_programs(data: Any, program: Program, seed: int, moves: Any, spacing: float) -> None:
    program = data.draw(jumping(program))
    given = inputs_of(program, seed)
    truth, trap = places(program, given, SHORT)
    assume(trap is None or trap.code != "T101")  # one that jumps in circles: every place is kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SPACING", spacing)
        patch.setattr(run, "SHARE", 0)
        d = Debugger(program, given)
        for move, to in moves:
            step = moved(d, truth, move, to)
            assert_at(d, truth, step)
        stop = d.resume()
        assert stop.reason == ("end" if trap is None else "trap")
        assert_at(d, truth, len(truth) - 1)
        assert d.history.path.tolist() == [p.index for p in truth if p.index is not None]


@pytest.mark.parametrize(("program", "given"), EXAMPLES)
@pytest.mark.parametrize("spacing", [0.0, 1.0])
def test_every_place_forwards_and_backwards(
    program: Program, given: Any, spacing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SPACING", spacing)
    monkeypatch.setattr(run, "SHARE", 0)
    truth, _ = places(program, given)
    d = Debugger(program, given)
    for step in range(len(truth)):
        assert_at(d, truth, step)
        d.step_in(statement=False)
    for step in reversed(range(len(truth) - 1)):
        d.step_back(statement=False)
        assert_at(d, truth, step)


CONDITIONS = ["", "c == 1", "j > 1 and step % 3 == 0", "v < u", "missing_yet.max() > 0"]


@examples(40, suppress_health_check=list(HealthCheck))
@given(
    st.sets(st.integers(0, len(SORT.code) - 1), max_size=4),
    st.sampled_from(["", "m", "m[2]", "m[1:3]", "j", "c"]),
    st.sampled_from(["change", "write", "read"]),
    st.sampled_from(["", "step % 2 == 0"]),
    st.lists(st.integers(-30, 30), min_size=5, max_size=5),
    st.sampled_from([0.0, 1.0]),
)
def test_going_back_stops_where_going_on_did(
    indices: set[int], watched: str, access: str, condition: str, x: list[int], spacing: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "SPACING", spacing)
        patch.setattr(run, "SHARE", 0)
        d = Debugger(SORT, {"x": x})
        for index in indices:
            d.break_at(f"@{index}", condition)
        if watched:
            d.watch(watched, access, condition)
        forwards = []
        while (stop := d.resume()).reason != "end":
            forwards.append((d.step, d.index, [str(p) for p in stop.points], [c.step for c in stop.changes]))
        if stop.points:
            raise AssertionError("the end stops without a point")
        backwards = []
        while (stop := d.reverse()).reason != "start":
            if d.step:
                backwards.append((d.step, d.index, [str(p) for p in stop.points], [c.step for c in stop.changes]))
        assert d.step == 0
        assert backwards[::-1] == [f for f in forwards if f[0] < len(d.history.path)]
        for p in d.points.values():
            assert p.hits >= 0


def test_watches_see_every_change() -> None:
    x = [5, -3, 9, 0, 4]
    truth, _ = places(SORT, {"x": x})
    d = Debugger(SORT, {"x": x})
    w = d.watch("m[1:3]")
    seen = []
    while (stop := d.resume()).reason == "watch":
        (change,) = stop.changes
        assert change.watch is w
        assert d.step == change.step + 1
        assert change.before is not None
        seen.append((change.step, change.before.tolist(), change.after.tolist()))
    expected = [
        (k, p.memories["m"][1:3].tolist(), q.memories["m"][1:3].tolist())
        for k, (p, q) in enumerate(pairwise(truth))
        if (p.memories["m"][1:3] != q.memories["m"][1:3]).any()
    ]
    assert seen == expected
    assert expected


def test_a_trap_can_be_gone_back_from() -> None:
    program = syurmy.assemble(".input x : i8[3] private\n.output y public\nmov y, x\ngt c, x, 0\nassert c\nhalt")
    d = Debugger(program, {"x": [1, 0, 2]})
    b = d.break_at("trap T110")
    stop = d.resume()
    assert (stop.reason, list(stop.points), d.step, d.index) == ("trap", [b], 2, 2)
    assert stop.trap is not None
    assert stop.trap.element == (1,)
    assert d.step_in().reason == "trap"
    assert d.step_back().reason == "step"
    assert (d.step, d.trap) == (1, None)
    assert d.resume().reason == "trap"
    assert d.reverse().reason == "start"


def test_the_step_limit_is_a_trap_that_can_be_gone_back_from() -> None:
    program = syurmy.assemble(".input x : i8[] private\n.output y public\ngt y, x, 0\nagain: bnz y, again\nhalt")
    d = Debugger(program, {"x": 1}, max_steps=50)
    stop = d.resume()
    assert (stop.reason, d.step) == ("trap", 50)
    assert stop.trap is not None
    assert stop.trap.code == "T101"
    d.step_back()
    assert (d.step, d.index) == (49, 1)
    assert d.goto(50).reason == "trap"


def test_executions_of_the_past() -> None:
    given = {"x": [5, -3, 9, 0, 4]}
    checked = validated(SORT, given)
    executed = [e for e in Machine(Trace(SORT, checked), checked).events() if isinstance(e, Executed)]
    d = Debugger(SORT, given)
    d.resume()
    for e in executed:
        found = d.execution(e.step)
        assert found.index == e.index
        assert np.array_equal(found.result, e.result)
        for x, y in zip(found.operands, e.operands, strict=True):
            assert np.array_equal(x, y)
    assert d.ended


def test_what_goes_wrong_inside_an_instruction_can_be_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory, say: the place stays, and nothing that is half done remains."""
    given = {"x": [5, -3, 9, 0, 4]}
    truth, _ = places(SORT, given)
    d = Debugger(SORT, given)
    honest, calls = Memory.access, []

    def failing(self: Memory, rows: Any, new: Any = None) -> Any:
        calls.append(rows)
        if len(calls) == 6:
            self.values[:] = 77
            raise MemoryError
        return honest(self, rows, new)

    monkeypatch.setattr(Memory, "access", failing)
    with pytest.raises(MemoryError):
        d.resume()
    step = d.step
    assert d.index == truth[step].index
    assert d.step_in(statement=False).reason == "step"
    assert_at(d, truth, step + 1)
    assert d.resume().reason == "end"
    assert_at(d, truth, len(truth) - 1)
