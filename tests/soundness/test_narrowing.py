"""Loops that narrow a value: what a reader behind the loop relies on, and a prover who wants it otherwise.

A read takes the interval of what it sees, that of the last round, not of all that the register ever held
(``isa.system.Assembly._read``): fewer bits are looked up, tables need fewer rows. That rests on the constraints of the
instruction that narrows, in each round, and on the wiring. A prover who breaks the interval must break one of these;
where the narrowing constraint is taken out of the plan on both sides, he succeeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.graph import IndexMap, Node
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.trace import Trace
from syurmy.prover.check import check_system
from syurmy.prover.keys import setup
from syurmy.prover.protocol import plan as planning
from syurmy.prover.prove import Prover
from syurmy.prover.verifier.verify import verify
from syurmy.prover.witness import Witness
from tests.soundness import common as c
from tests.soundness.forgeries import Host, with_wide_limbs, wrong

LOOP = """
.input x : i64[2] private in -40..40
.input w : i16[] private in 5..900
.lut square : i64 -> i16 in 1..7 = {{1, 4, 9, 16, 25, 36, 49}}
.output y public
    mov v, x
    repeat 3
        addi  s, v, 1
        clamp v, s, lo=0, hi=6
        cast  v, v, i64
    end
    {reader}
    halt
"""
INPUTS = {"x": [-2, 40], "w": 700}
READERS = {
    "rescale": "rescale y, s, 2, i8",
    "lut": "lut y, s, square",
    "div": "div y, w, s",
    "topk": "topk y, s, 1",
    "sort": "sort y, s",
    "argsort": "argsort y, s",
    "reduce_max": "reduce_max y, s, axis=0, keepdims=true",
    "muli": "muli y, s, 1000",
    "sum": "sum t, s\n    muli y, t, 1000",
    "mul": "mul y, s, s",
    "max": "max y, s, w",
}
SOURCES = {name: LOOP.format(reader=reader) for name, reader in READERS.items()}
CLAMP = 3  # the instruction that narrows
READ = 6  # the instruction that reads
FALSE = [
    ("rescale", (0, 1, -1)),
    ("rescale", (1, 1, 3)),
    ("argsort", (1, 1, -7)),
]  # which readers do not see themselves
BELOW = (CLAMP, "at least lo against second")  # the clamp's lower bound
TRAPS = ("lut", "div")  # readers with which the machine itself stops at some values
LIES = [(0, 1, 1), (0, 1, -1), (1, 1, 1), (1, 1, 2), (0, 1, 100), (1, 1, -100), (1, 0, 2**20)]  # entry, round, by


def lying(source: str, monkeypatch: pytest.MonkeyPatch, entry: int, round_: int, by: int) -> Trace:
    """A run in which the clamp gives another value once, and everything after it follows."""
    program = c.keys(source).program
    clamp = program.code[CLAMP]
    assert clamp.op == "clamp"
    with monkeypatch.context() as m:
        m.setattr(REGISTRY["clamp"], "execute", wrong(REGISTRY["clamp"].execute, clamp, round_, entry, by))
        return syurmy.run(program, {k: np.array(v) for k, v in INPUTS.items()})


def proof_of(source: str, trace: Trace, replaced: Any = lambda plan: {}) -> bytes:
    """The proof that a prover with this trace makes; lookups without a row are left out."""
    prover = Prover(c.keys(source), trace)
    prover.witness = c.Forged(prover, trace, replaced(prover.plan))
    return prover.run().data


@pytest.fixture(autouse=True)
def _inputs(monkeypatch):
    for source in SOURCES.values():
        monkeypatch.setitem(c.INPUTS, source, INPUTS)


@pytest.mark.parametrize("reader", READERS)
def test_reads_are_narrow(reader):
    """What the reader relies on is less than what the register ever holds; the honest run is accepted."""
    program = syurmy.assemble(SOURCES[reader])
    types = planning.Plan.of(program).system.types
    sees = next(t for n, t in zip(program.code[READ].src, types.operands[READ], strict=True) if n == "s")
    wrote = types.results[2]
    assert (sees.lo, sees.hi) == (2, 7)
    assert (wrote.lo, wrote.hi) == (-39, 41)
    trace = c.trace_of(SOURCES[reader])
    assert np.array_equal(
        c.accepted(SOURCES[reader], proof_of(SOURCES[reader], trace)).outputs["y"], trace.outputs["y"]
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_value_outside_the_interval(reader, lie, monkeypatch):
    """Whatever the reader makes of it, the constraints of the clamp do not hold."""
    source = SOURCES[reader]
    try:
        trace = lying(source, monkeypatch, *lie)
    except syurmy.SyurmyError:  # the machine itself has no row for it
        assert reader in TRAPS
        return
    plan = c.keys(source).plan
    broken = check_system(plan.system, Witness(plan.system, trace))
    assert CLAMP in {v.instruction for v in broken if v.constraint != "value"}
    with pytest.raises(c.Rejected) as e:
        c.verifier_of(source).verify(proof_of(source, trace))
    assert e.value.step in ("lookup", "opening", "statement")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("round_", [0, 1])
def test_the_value_of_an_earlier_round(reader, round_, monkeypatch):
    """The register did hold it, when its interval was wide: the wiring says which round is read."""
    source = SOURCES[reader]
    old = c.trace_of(source).writes[2][round_]
    program = c.keys(source).program
    ins, execute = program.code[READ], REGISTRY[program.code[READ].op].execute
    monkeypatch.setattr(
        REGISTRY[ins.op],
        "execute",
        lambda call, values: execute(
            call,
            [
                old if n == "s" and call.instruction is ins else v
                for n, v in zip(call.instruction.src, values, strict=True)
            ],
        ),
    )
    try:
        trace = c.trace_of(source)
    except syurmy.SyurmyError:
        assert reader in TRAPS
        return
    system = c.keys(source).plan.system
    last = [n for n in nodes(system) if isinstance(n, IndexMap) and n.origin == READ and n.in_axes == (0,)]
    assert last
    assert all(n.index.tolist() == [2] for n in last)
    with pytest.raises(c.Rejected) as e:
        c.verifier_of(source).verify(proof_of(source, trace, lambda plan: dict.fromkeys(last, old)))
    assert e.value.step in ("lookup", "opening", "statement")


def nodes(system: ConstraintSystem) -> list[Node]:
    """All tensors of a system, each once."""
    found: dict[int, Node] = {}
    left: list[Node] = [e.expression for e in system.equations] + [m for lk in system.lookups for m in lk.members]
    left += [m for t in system.tuples for m in t.members if m is not None] + list(system.results.values())
    while left:
        n = left.pop()
        if n.id not in found:
            found[n.id] = n
            left += n.inputs
    return list(found.values())


@pytest.mark.parametrize("reader", ["rescale", "lut", "div", "muli"])
def test_every_constraint_is_needed(reader, monkeypatch):
    """No forgery of any column is accepted, and each constraint is the only one that stops one."""
    program = c.keys(SOURCES[reader]).program
    inputs = {k: np.array(v) for k, v in INPUTS.items()}
    if Host(program, inputs).refuse_all(monkeypatch, 16):
        with_wide_limbs(monkeypatch)
        assert Host(program, inputs).refuse_all(monkeypatch, 16) == []


def without(monkeypatch: pytest.MonkeyPatch, dropped: set[tuple[int, str]]) -> None:
    """Plans, of either side, lack the constraints of these instructions and labels."""
    assemble = planning.assemble

    def less(*args: Any) -> Any:
        builder = assemble(*args)
        s = builder.system
        s.equations = [e for e in s.equations if (e.origin, e.label) not in dropped]
        s.lookups = [lk for lk in s.lookups if (lk.origin, lk.label) not in dropped]
        return builder

    monkeypatch.setattr(planning, "assemble", less)


def broken(source: str, trace: Trace, columns: dict[str, I64]) -> set[tuple[int, str]]:
    """The constraints that do not hold, by instruction and label."""
    system = c.keys(source).plan.system
    witness = Witness(system, trace)
    for label, values in columns.items():
        witness.override(c.column(c.keys(source), label), values)
    found = check_system(system, witness)
    return {(v.instruction, v.constraint) for v in found if v.constraint != "value"}  # not one of the proof


def falsely_accepted(source: str, trace: Trace, columns: dict[str, I64], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejected; and accepted where neither side knows the constraints that do not hold, all of them the clamp's."""
    liar = proof_of(source, trace, lambda plan: {c.column(c.keys(source), k): v for k, v in columns.items()})
    with pytest.raises(c.Rejected) as e:
        c.verifier_of(source).verify(liar)
    assert e.value.step in ("lookup", "opening")
    dropped = broken(source, trace, columns)
    assert {pc for pc, _ in dropped} == {CLAMP}
    without(monkeypatch, dropped)
    pk = setup(syurmy.assemble(source))
    prover = Prover(pk, trace)
    prover.witness = c.Forged(prover, trace, {c.column(pk, k): v for k, v in columns.items()})
    statement = verify(pk.verifying_key, prover.run().data)
    assert np.array_equal(statement.outputs["y"], trace.outputs["y"])
    assert not np.array_equal(trace.outputs["y"], c.trace_of(source).outputs["y"])


@pytest.mark.parametrize(("reader", "lie"), FALSE)
def test_without_the_narrowing_a_lie_is_accepted(reader, lie, monkeypatch):
    """The deletion test: the constraints of the clamp that a lie breaks are all that keeps it out."""
    source = SOURCES[reader]
    falsely_accepted(source, lying(source, monkeypatch, *lie), {}, monkeypatch)


@pytest.mark.parametrize("reader", ["rescale", "argsort"])
def test_a_bound_that_is_left_out(reader, monkeypatch):
    """Round 1 takes its sum, -1, for the larger of sum and bound: later rounds are then one below what typing allows.
    One lookup forbids it."""
    source = SOURCES[reader]
    trace = lying(source, monkeypatch, 0, 0, -1)
    at_least = np.maximum(np.stack(trace.writes[2]), 0)
    at_least[0, 0] = trace.writes[CLAMP][0][0]
    assert broken(source, trace, {"at least lo": at_least}) == {BELOW}
    with pytest.raises(c.Rejected) as e:
        c.verifier_of(source).verify(
            proof_of(source, trace, lambda plan: {c.column(c.keys(source), "at least lo"): at_least})
        )
    assert e.value.step == "lookup"
