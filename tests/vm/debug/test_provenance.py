"""Where values come from: by perturbation of everything that is not named, and along chains of shipped programs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy import inputs as given
from syurmy.isa.instruction import REGISTRY
from syurmy.vm import Executed, run
from syurmy.vm.debug import DebugError, Debugger, Link, provenance
from tests.vm.test_intervals import Generator

PROGRAMS = 60
ROOT = Path(__file__).parents[3]
CHOOSING = ("reduce_max", "reduce_min", "argmax", "argmin", "sort", "argsort", "topk")


def executions(seed: int) -> list[tuple[Any, Executed]]:
    generator = Generator(seed)
    program = generator.program()
    inputs = {i.name: generator.value(i.type) for i in program.inputs}
    found: list[Executed] = []
    with suppress(syurmy.Trap):
        run(program, inputs, listeners=[lambda e: found.append(e) if isinstance(e, Executed) else None])
    d = Debugger(program, inputs)
    return [(d.call(e.index), e) for e in found if program.code[e.index].op not in ("load", "store")]


def test_nothing_else_has_a_part_in_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "TERMS", 10**6)
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(PROGRAMS):
        for call, e in executions(seed):
            if not e.result.size or call.instruction.dst is None or "counter" in str(call.attrs):
                continue
            call.counters = {}
            operands = [np.asarray(x, np.int64) for x in e.operands]
            try:
                assert np.array_equal(call.op.execute(call, operands), e.result)
            except KeyError:
                continue  # depends on counters
            at = tuple(int(rng.integers(d)) for d in e.result.shape)
            found = provenance.origins(call, operands, at)
            if found.moved:
                ((k, place),) = found.sources
                assert place is not None
                assert operands[k][place] == e.result[at]
            seen.add(call.op.name)
            if call.op.name in CHOOSING:
                continue
            changed = [x.copy() for x in operands]
            for k, x in enumerate(changed):
                named = {p for j, p in (*found.sources, *found.by) if j == k and p is not None}
                if any(j == k and p is None for j, p in found.sources):
                    continue
                other = next((int(x[p]) for p in named), 0 if call.op.family == "view" else int(x.min()))
                for p in np.ndindex(x.shape):
                    if p not in named:
                        x[p] = other if call.op.family != "view" else other + 1
            again = np.asarray(call.op.execute(call, changed))
            assert again[at] == e.result[at], (call.instruction, at, found)
    missing = (
        {name for name, op in REGISTRY.items() if op.has_dst} - seen - {"load", "gather"}
    )  # whose rows do not exist
    assert not missing, f"no random program has {missing}"


def links(link: Link) -> list[Link]:
    return [link, *(x for s in link.sources for x in links(s))]


@pytest.mark.parametrize("name", ["insertion_sort", "life", "lenet", "kmeans", "hash_map"])
def test_chains_of_shipped_programs_hold(name: str) -> None:
    """Every link's value is what a plain run wrote; what moved has its source's value."""
    path = ROOT / f"programs/{name}.tasm"
    program = syurmy.load(path)
    inputs = given.read(given.beside(path), given.of_program(program))
    written: dict[int, Executed] = {}
    run(program, inputs, listeners=[lambda e: written.update({e.step: e}) if isinstance(e, Executed) else None])
    d = Debugger(program, inputs)
    d.resume()
    steps = len(d.history.path)
    for out in program.outputs:
        value = d.value(out.name)
        target = f"{out.name}[{', '.join(str(n - 1) for n in value.shape)}]" if value.ndim else out.name
        chain = links(d.why(target, limit=60))
        assert chain[0].value == int(value.reshape(-1)[-1])
        for link in chain:
            if link.step is not None and program.code[written[link.step].index].op != "store":
                assert link.element is not None
                assert link.value == int(written[link.step].result[link.element])
            if link.kind == "moved" and link.sources:
                assert link.value == link.sources[0].value
            if link.kind == "input":
                assert link.value == int(d.inputs[link.name][link.element])
        assert any(link.kind in ("input", "param", "initial", "more") for link in chain)
        assert (d.step, d.index) == (steps, None)


def test_through_ram_views_put_and_mov() -> None:
    program = syurmy.assemble(
        """
.input x : i16[4] private
.ram m : i16[3]
.output y public
    reshape r, x, (2, 2)
    slice part, r, axis=1, start=1, len=1
    reshape part, part, (2)
    store m[1], part[1]
    load back, m[1]
    reshape back, back, (1)
    broadcast buf, x, (4)
    put buf, back, axis=0, at=2
    reshape at, 2, (1)
    gather y, buf[at]
    halt
"""
    )
    d = Debugger(program, {"x": [10, 20, 30, 40]})
    d.resume()
    chain = links(d.why("y[0]"))
    assert {link.value for link in chain} == {40}
    assert [(x.name.split(".")[0], x.element, x.kind) for x in chain] == [
        ("y", (0,), "moved"),
        ("buf", (2,), "moved"),
        ("back", (0,), "moved"),
        ("back", (), "moved"),
        ("m", (1,), "moved"),
        ("part", (), "moved"),
        ("part", (1,), "moved"),
        ("part", (1, 0), "moved"),
        ("r", (1, 1), "moved"),
        ("x", (3,), "input"),
    ]
    assert [(s.name, s.value) for s in chain[3].by] == [("number.1", 1)]
    initial = links(d.why("m[2]"))
    assert [(x.name, x.element, x.value, x.kind) for x in initial] == [("m", (2,), 0, "initial")]


def test_the_heaviest_terms_are_the_first_of_equals_whatever_their_size() -> None:
    rng = np.random.default_rng(0)
    for width in (8, 2**40):  # products of the latter do not fit i64: values that were injected
        for n in (1, 2, 3, 5, 40):
            a, b = rng.integers(-width, width, (2, n))
            sizes = [-abs(int(x) * int(y)) for x, y in zip(a, b, strict=True)]
            assert provenance._largest([a, b]) == sorted(sorted(range(n), key=sizes.__getitem__)[:3])


def test_a_sum_of_many_is_not_taken_term_by_term(monkeypatch: pytest.MonkeyPatch) -> None:
    program = syurmy.assemble(".input x : i16[60, 50] private\n.output y public\nsum y, x, axes=(0, 1)\nhalt")
    x = np.zeros((60, 50), np.int64)
    x[7, 9], x[59, 49], x[8, 0] = -5, 9, 3
    d = Debugger(program, {"x": x})
    d.resume()
    asked: list[int] = []
    elements = provenance.Terms.elements
    monkeypatch.setattr(provenance.Terms, "elements", lambda self, i: asked.append(i) or elements(self, i))
    link = d.why("y")
    assert [(s.element, s.value) for s in link.sources] == [((7, 9), -5), ((8, 0), 3), ((59, 49), 9)]
    assert (link.terms, asked) == (3000, [359, 400, 2999])


def test_elements_that_do_not_exist_are_refused() -> None:
    program = syurmy.assemble(".input x : i16[4] private\n.output y public\nmov y, x\nhalt")
    d = Debugger(program, {"x": [1, 2, 3, 4]})
    for text, code in (("x[4]", "D103"), ("x", "D103"), ("x[0, 0]", "D103"), ("q[0]", "D102"), ("x[", "D101")):
        with pytest.raises(DebugError) as e:
            d.why(text)
        assert e.value.code == code
    with pytest.raises(DebugError) as e:
        d.why("y[0]")
    assert e.value.code == "D102"
