"""Rounds of a loop that are derived from the ones before are those that following the path would find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import syurmy
from syurmy.assembler import assemble
from syurmy.isa.cost import Account
from syurmy.isa.dataflow import Dataflow, resolve
from syurmy.isa.inference import infer_types
from syurmy.isa.path import Path as Executed
from syurmy.isa.path import StepLimit
from syurmy.isa.program import Program
from syurmy.prover.protocol.plan import Plan
from tests.drawing import examples

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
HEAD = ".input x : i16[7, 3] private\n.param one : i16[] public = {1}\n.ram m : i16[8]\n.ram far : i16[4]\n"
HEAD += ".output a public\n"
START = (
    " cast a, one, i64\n cast b, one, i64\n cast c, one, i64\n broadcast y, one, (7)\n reshape one1, one, (1)\n"
    " broadcast v, one, (4)\n put v, one1, axis=0, at=2\n"
)


def both(program: Program, path: Executed) -> tuple[Dataflow, Dataflow, int]:
    types = infer_types(program)
    quick, slow = Account(), Account()
    return (
        resolve(program, types, path, account=quick),
        resolve(program, types, path, account=slow, derive=False),
        quick._worked - slow._worked,
    )


def same(program: Program, path: Executed = Executed()) -> Dataflow:
    a, b, worked = both(program, path)
    assert worked == 0
    for name in ("executions", "runs", "loop_carried", "clocks", "steps"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("kept", "batches"):
        assert all(np.array_equal(x, y) for x, y in zip(getattr(a, name), getattr(b, name), strict=True)), name
    assert a.ticks.keys() == b.ticks.keys()
    assert all(np.array_equal(a.ticks[k], b.ticks[k]) for k in a.ticks)
    for x, y in zip(a.counters, b.counters, strict=True):
        assert x.keys() == y.keys()
        assert all(np.array_equal(x[k], y[k]) for k in x)
    pairs = [(x, y) for xs, ys in zip(a.reads, b.reads, strict=True) for x, y in zip(xs, ys, strict=True)]
    pairs += [(a.final[k], b.final[k]) for k in b.final]
    for x, y in pairs:
        assert np.array_equal(x.producers, y.producers)
        assert np.array_equal(x.executions, y.executions)
        views = np.asarray(x.views), np.asarray(y.views)
        assert np.array_equal(views[0] >= 0, views[1] >= 0)
        held = sorted({(i, j) for i, j in zip(*(v.tolist() for v in views), strict=True) if i >= 0})
        assert all(a.views[i].same(b.views[j]) for i, j in held)
    return a


BODIES = [
    "add a, a, one",
    "mov c, b\n mov b, a\n mov a, c\n add a, a, one",  # a delay line
    "mov c, b\n mov b, a\n mov a, c",  # three registers that change places
    "slice r, x, axis=0, start=t\n sum s, r, axes=(0)\n add a, s, one",
    "mov q, t\n add a, q, one\n cast a, a, i32",
    "load v, m[one]\n add a, v, one\n cast w, a, i16\n store m[one], w",
    "repeat 5, k\n add a, a, one\n mov b, k\n end\n add b, b, a",
    "repeat 5, k\n mov c, b\n mov b, a\n add a, c, one\n end",
    "jmp over\n over: add a, b, one\n mov b, a",
    "put y, one1, axis=0, at=t\n sum a, y, axes=(0)",
    "sum s, v, axes=(0)\n add a, s, one",  # a view that no round changes
    "jmp over\n load w, m[one]\n over: add a, b, one\n mov b, a",  # a buffer that is named and not accessed
    "load w, m[one]\n jmp over\n load u, far[one]\n over: add a, w, one",  # one that is, and one that is not
    "repeat 5, k\n jmp over\n load w, m[one]\n over: load u, far[one]\n end\n add a, u, one",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("rounds", [1, 3, 4, 7])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_loops(body: str, rounds: int, batch: int) -> None:
    text = HEAD + START + f" repeat {rounds}, t\n {body}\n cast a, a, i64\n end\n cast a, a, i64\n halt\n"
    same(assemble(text), Executed(batch))


@pytest.mark.parametrize("body", [b for b in BODIES if "over" in b])
def test_a_buffer_that_the_path_passes_over_has_no_clock(body: str) -> None:
    """Neither form trips over it, and what is accessed behind the loop goes on from the clock that the loop leaves."""
    text = HEAD + START + f" repeat 9, t\n {body}\n cast a, a, i64\n end\n load w, far[one]\n"
    program = assemble(text + " add a, a, w\n cast a, a, i64\n halt\n")
    flow = same(program)
    accesses = [pc for pc, ins in enumerate(program.code) if ins.get("buffer") == "far"]
    assert flow.clocks["far"] == sum(flow.runs[pc] for pc in accesses) == np.asarray(flow.ticks[accesses[-1]])[-1] + 1
    Plan.of(program)


@examples(40)
@given(st.data())
def test_random_nests(data: st.DataObject) -> None:
    """Registers copied, written and read at random in up to three nested loops."""
    names = ["a", "b", "c", "d"]

    def block(depth: int) -> str:
        lines = []
        for _ in range(data.draw(st.integers(1, 4))):
            kind = data.draw(st.sampled_from(["mov", "mov", "add", "loop"] if depth < 3 else ["mov", "add"]))
            x, y, z = (data.draw(st.sampled_from(names)) for _ in range(3))
            if kind == "mov":
                lines.append(f"mov {x}, {y}")
            elif kind == "add":
                lines.append(f"add {x}, {y}, {z}\n clamp {x}, {x}, lo=0, hi=9\n cast {x}, {x}, i32")
            else:
                lines.append(f"repeat {data.draw(st.integers(1, 9))}, k{depth}\n {block(depth + 1)}\n end")
        return "\n ".join(lines)

    start = "".join(f" cast {n}, one, i32\n" for n in names)
    same(assemble(HEAD + start + " " + block(0) + "\n halt\n"), Executed(data.draw(st.integers(1, 4))))


@pytest.mark.parametrize("name", ["life", "rnn", "interpreter", "insertion_sort", "attention", "hash_map"])
def test_shipped_programs(name: str) -> None:
    program = syurmy.load(PROGRAMS / f"{name}.tasm")
    inputs = dict(np.load(PROGRAMS / f"{name}.inputs.npz"))
    trace = syurmy.run(program, inputs)
    same(program, Executed(1, trace.bits))


def test_long_loops_cost_a_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    body = " repeat 100000\n add c, a, b\n clamp c, c, lo=0, hi=99\n cast c, c, i32\n mov a, b\n mov b, c\n end\n"
    program = assemble(HEAD + " cast a, one, i32\n cast b, one, i32\n" + body + " halt\n")
    from syurmy.isa import dataflow

    recorded = []
    record = dataflow._Resolving._record
    monkeypatch.setattr(dataflow._Resolving, "_record", lambda self, *a: recorded.append(1) or record(self, *a))
    flow = resolve(program, infer_types(program))
    assert flow.steps > 500_000
    assert len(recorded) < 50


def test_the_step_limit_holds_for_rounds_that_are_derived() -> None:
    program = assemble(HEAD + " cast a, one, i64\n repeat 1000\n mov b, a\n end\n halt\n")
    with pytest.raises(StepLimit):
        resolve(program, infer_types(program), max_steps=500)
    with pytest.raises(StepLimit):
        resolve(program, infer_types(program), Executed(10), max_steps=5000)
    assert resolve(program, infer_types(program), max_steps=2003).steps == 2003
