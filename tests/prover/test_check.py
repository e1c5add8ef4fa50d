"""What the checker says of a wrong trace: the equation in numbers is the constraint, and names what is wrong; a value
that is injected is caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError, SyurmyError, Trap
from syurmy.isa.path import Path
from syurmy.isa.system import build
from syurmy.prover.check import Unsatisfied, Violation, check
from syurmy.prover.equations import Equations
from syurmy.prover.witness import Witness
from syurmy.vm import run
from syurmy.vm.debug.inject import injected
from tests.vm.test_intervals import Generator

PROGRAMS = 40
MIXED = """
.input x : i8[3] private
.input z : i8[] private in -4..3
.param w : i16[3, 2] committed = {{3, -1}, {0, 2}, {-5, 4}}
.lut square : i8 -> i16 in -4..3 = {16, 9, 4, 1, 0, 1, 4, 9}
.ram m : i32[4] = first
.param first : i32[4] public = {7, 8, 9, 10}
.output y public
    matmul  h, x, w
    rescale y, h, 2, i8
    sum     s, h
    max     top, s, 3
    lut     l, z, square
    load    r, m[2]
    store   m[2], z
    load    r, m[2]
    flip    f, x, 0
    halt
"""
INPUTS = {"x": [1, 2, 3], "z": 2}


def caught(step: int, at: tuple[int, ...], value: int) -> list[Violation]:
    program = syurmy.assemble(MIXED)
    return check(program, injected(program, INPUTS, step, at, value))


def test_written_equations_are_the_constraints() -> None:
    """Whatever is written out, its numbers add up to what the witness has there."""
    rng = np.random.default_rng(0)
    written = 0
    for seed in range(PROGRAMS):
        generator = Generator(seed)
        program = generator.program()
        try:
            trace = run(program, {i.name: generator.value(i.type) for i in program.inputs})
            system = build(program, Path(1, trace.bits))
        except SyurmyError:
            continue
        witness = Witness(system, trace)
        equations = Equations(system, witness)
        nodes = [(m, None) for lk in system.lookups for m in lk.members]
        nodes += [(eq.expression, None) for eq in system.equations]
        nodes += [(n, pc) for pc, n in system.results.items() if n.origin == pc and n.inputs]
        for node, inside in nodes:
            at = tuple(int(rng.integers(d)) for d in node.shape)
            names, numbers, value = equations.written(node, at, inside)
            assert value == int(witness(node)[at]), (names, numbers)
            if "more" not in numbers and "'" not in numbers:
                assert eval(numbers.replace("--", "- -")) == value, numbers
            written += 1
    assert written > 500


@pytest.mark.parametrize(
    ("step", "at", "value", "expected", "lines"),
    [
        (0, (1,), 3, 15, ["h[1] = x[0]*w[0, 1] + x[1]*w[1, 1] + x[2]*w[2, 1] = 1*-1 + 2*2 + 3*4 = 15"]),
        (1, (0,), 3, None, ["must be in 0..3"]),
        (2, (), 9, 3, ["s = h[0] + h[1] = -12 + 15 = 3", "but 9 stands there"]),
        (3, (), 0, None, ["(0 - 3)*(0 - 3) = 9", "must be 0"]),
        (4, (), 1, 4, ["l = 1", "must be in lut square; there lut square has 4"]),
        (8, (0,), 5, 3, ["f[0] = x[2] = 3", "but 5 stands there"]),
    ],
)
def test_what_is_wrong_is_written_out(
    step: int, at: tuple[int, ...], value: int, expected: int | None, lines: list[str]
) -> None:
    found = caught(step, at, value)
    assert found
    assert {v.step for v in found} == {step}
    text = "\n".join(line for v in found for line in v.lines)
    for line in lines:
        assert line in text, text
    if expected is not None:
        assert any(v.found == value for v in found)
        assert any(v.expected == expected for v in found)


def test_a_tuple_that_does_not_cancel_names_every_place() -> None:
    found = caught(7, (), 99)
    (load,) = [v for v in found if v.instruction == 7 and "'read'" in v.message]
    assert load.places[0].startswith("-1 read by instruction 7 (load)")
    stored = [p for p in load.places if p.startswith("+1 write by instruction 6 (store)")]
    assert stored[0].endswith("contents 2 instead of 99")
    assert load.equation == ("(row 2, contents 99, time 2) must occur as often with + as with -:",)


def test_injected_values_are_caught() -> None:
    """On random programs: unless the value is that of a name that the proof sees through, or nothing changed."""
    rng = np.random.default_rng(1)
    tried = 0
    for seed in range(PROGRAMS):
        generator = Generator(seed)
        program = generator.program()
        inputs = {i.name: generator.value(i.type) for i in program.inputs}
        try:
            honest = run(program, inputs)
            build(program, Path(1, honest.bits))
        except SyurmyError:
            continue
        writes = [
            (step, pc)
            for step, pc in enumerate(honest.path)
            if program.code[pc].dst is not None and program.code[pc].op not in ("mov", "put")
        ]
        for step, pc in rng.permutation(writes)[:4].tolist() if writes else ():
            value = honest.writes[pc][honest.path[:step].count(pc)]
            if not value.size:
                continue
            at = tuple(int(rng.integers(d)) for d in value.shape)
            try:
                trace = injected(program, inputs, step, at, int(value[at]) + int(rng.choice([-1, 1, 5])))
                assert check(program, trace), (program.code[pc], at)
            except (Trap, InputError):
                continue
            tried += 1
    assert tried > 40


def test_proving_a_wrong_trace_names_the_constraint() -> None:
    program = syurmy.assemble(MIXED)
    key, _ = syurmy.setup(program)
    with pytest.raises(Unsatisfied) as e:
        syurmy.prove(key, injected(program, INPUTS, 1, (0,), 3))
    assert (e.value.code, e.value.span and e.value.span.line) == ("I190", 10)
    assert "instruction 1 (rescale), remainder" in e.value.message
    assert e.value.violations[0].element == (0, 0)


@pytest.mark.parametrize(
    ("step", "at", "value"), [(9, (), 1), (6, (), 1), (99, (), 1), (0, (slice(2, 2),), 1), (0, (0,), 2**61)]
)
def test_what_cannot_be_injected_is_refused(step: int, at: Any, value: int) -> None:
    with pytest.raises(InputError) as e:
        caught(step, at, value)
    assert e.value.code == "I150"
