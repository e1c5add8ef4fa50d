"""What the debugger costs a run: ``python -m benchmarks.debugger``. CPU time, the best of several runs taken in turn,
so that other work on the machine meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import syurmy
from benchmarks.report import digits, duration, table
from syurmy import files
from syurmy.vm.debug import Debugger

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
NAMES = ("interpreter", "generate_text", "generate_text_ram", "bfs")
TURNS = 7


@dataclass(frozen=True)
class Run:
    """Seconds of one program: the machine without listeners, with one that does nothing, under the debugger, and under
    the debugger with a breakpoint that stops nothing."""

    name: str
    steps: int
    alone: float
    listened: float
    debugged: float
    armed: float


def measure(name: str, turns: int = TURNS) -> Run:
    """Measure a program of ``programs/``."""
    path = PROGRAMS / f"{name}.tasm"
    program = syurmy.load(path)
    inputs = files.read_inputs(program, [], path)
    last = len(program.code) - 1
    steps = len(syurmy.run(program, inputs).path)

    def armed() -> Debugger:
        d = Debugger(program, inputs)
        d.break_at(f"@{last}", "step < 0")
        return d

    ways: tuple[Callable[[], Callable[[], Any]], ...] = (
        lambda: lambda: syurmy.run(program, inputs),
        lambda: lambda: syurmy.run(program, inputs, listeners=[lambda event: None]),
        lambda: Debugger(program, inputs).resume,
        lambda: armed().resume,
    )
    best = [float("inf")] * len(ways)
    for _ in range(turns):
        for k, way in enumerate(ways):
            work = way()
            start = time.process_time()
            work()
            best[k] = min(best[k], time.process_time() - start)
    return Run(name, steps, *best)


def main() -> None:
    rows = []
    for name in NAMES:
        r = measure(name)
        ratios = (digits(x / r.alone) + "×" for x in (r.listened, r.debugged, r.armed))
        rows.append((name, f"{r.steps:,}", duration(r.alone), *ratios))
    print(table(("program", "steps", "run", "a listener", "debugger", "with a breakpoint"), rows))


if __name__ == "__main__":
    main()
