"""The past in bounded memory, and how long going back takes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy import inputs as given
from syurmy.vm.debug import Debugger, history, run

ROOT = Path(__file__).parents[3]
LOOP = """
.input x : i32[{width}] private in 0..100
.ram m : i32[100]
.output y public
    mov y, x
    repeat {outer}, a
        repeat 99, b
            addi y, x, 1
            cast y, y, i32
            load r, m[b]
            store m[b], y[3]
        end
    end
    halt
"""


def held(d: Debugger) -> int:
    """The bytes that checkpoints keep alive, each array once, and nothing that is alive anyway."""
    free = {id(history._root(a)) for a in d.history._alive}
    roots = {}
    for c in d.history.checkpoints:
        for value in c.registers.values():
            root = history._root(value)
            if id(root) not in free:
                roots[id(root)] = root.nbytes
    return sum(roots.values()) + sum(c.own for c in d.history.checkpoints)


@pytest.mark.parametrize("budget", [20_000, 10**6, 2**28])
def test_checkpoints_stay_within_their_budget(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SPACING", 0.0)
    monkeypatch.setattr(run, "SHARE", 0)
    d = Debugger(syurmy.assemble(LOOP.format(width=64, outer=5)), {"x": np.arange(64)}, budget=budget)
    rng = np.random.default_rng(0)
    for step in (10**6, *rng.integers(0, 2000, 20).tolist(), 10**6):
        d.goto(int(step))
        assert len(d.history.checkpoints) <= history.MOST
        assert held(d) <= d.history.bytes
        assert d.history.bytes <= budget
        assert d.history.checkpoints[0].step == 0
        steps = [c.step for c in d.history.checkpoints]
        assert steps == sorted(set(steps))


def test_recent_checkpoints_are_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long run with few checkpoints the gap before a step grows with its distance from the end."""
    made = history.History(10**9, {})
    monkeypatch.setattr(history, "MOST", 40)
    for k in range(4000):
        made.add(history.Checkpoint(k, k * history.SPACING, run.Position(), {}, {}, {}))
    gaps = np.diff([c.step for c in made.checkpoints] + [4000])
    ages = 4000 - np.array([c.step for c in made.checkpoints])
    assert len(made.checkpoints) == 40
    assert made.checkpoints[0].step == 0
    assert (gaps[-5:] <= 4).all()
    assert (gaps <= 0.7 * ages + 2).all()


@pytest.mark.slow
def test_a_million_steps() -> None:
    """10^6 steps: the path takes four bytes a step, checkpoints stay few, and any place is near one."""
    d = Debugger(syurmy.assemble(LOOP.format(width=64, outer=1600)), {"x": np.arange(64)})
    assert d.resume().reason == "end"
    assert d.step > 950_000
    assert d.history.path.itemsize * len(d.history.path) <= 4 * 10**6
    assert len(d.history.checkpoints) <= history.MOST
    assert held(d) <= d.history.bytes < history.BUDGET
    for step in (d.step - 1, 700_000, 123_456, 3):
        d.goto(step)
        assert d.step == step


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generate_text", "generate_text_ram", "lenet"])
def test_a_step_back_takes_less_than_100_ms(name: str) -> None:
    """Of CPU time: other work may share the machine."""
    path = ROOT / f"programs/{name}.tasm"
    program = syurmy.load(path)
    d = Debugger(program, given.read(given.beside(path), given.of_program(program)))
    d.resume()
    times = []
    for step in [len(d.history.path), *np.random.default_rng(0).integers(20, len(d.history.path), 8).tolist()]:
        d.goto(step)
        for _ in range(5):
            start = time.process_time()
            d.step_back()
            times.append(time.process_time() - start)
    assert sorted(times)[-2] < 0.1  # one may have met a collection of garbage


def _also_pausing(d: Debugger, checkpoint: Callable[[], None], calls: Iterator[int], often: int) -> None:
    checkpoint()
    if next(calls) % often == 0:
        d.pause()


def test_going_back_that_is_interrupted_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is interrupted, it stops where it would have, and counts every hit once."""
    monkeypatch.setattr(run, "SPACING", 0.0)
    monkeypatch.setattr(run, "SHARE", 0)
    made = []
    for often in (0, 40):
        d = Debugger(syurmy.assemble(LOOP.format(width=4, outer=5)), {"x": np.arange(4)})
        d.goto(10**6)
        point = d.break_at("@7", "a == 1 and b == 3")
        point.ignore = 0
        watched = d.watch("m[50]", "write")
        watched.ignore = 3
        if often:
            monkeypatch.setattr(d, "_checkpoint", partial(_also_pausing, d, d._checkpoint, itertools.count(1), often))
        pauses, stop = 0, d.reverse()
        last = d.step
        while stop.reason == "pause":
            pauses += 1
            stop = d.reverse()
            assert d.step <= last
            last = d.step
        assert (pauses > 0) == bool(often)
        made.append((stop.reason, d.step, point.hits, watched.hits))
    assert made[0] == made[1]
    assert made[0][0] in ("breakpoint", "watch")


def test_going_to_a_step_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SPACING", 0.0)
    monkeypatch.setattr(run, "SHARE", 0)
    d = Debugger(syurmy.assemble(LOOP.format(width=4, outer=5)), {"x": np.arange(4)})
    original = d._checkpoint
    monkeypatch.setattr(d, "_checkpoint", lambda: (original(), d.step > 200 and d.pause()))
    assert d.goto(10**6).reason == "pause"
    assert 200 < d.step < 1000
