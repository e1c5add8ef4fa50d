"""``syurmy-vm test``: run a program and compare registers with its ``.expect`` lines."""

from __future__ import annotations

import sys
from typing import Any

import syurmy
from syurmy.commands.common import Debug, Inputs, Json, MaxSteps, ProgramPath, print_json, terminal
from syurmy.outcome import DONE, TRAPPED


def run_tests(
    program: ProgramPath,
    input: Inputs = None,
    max_steps: MaxSteps = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Run a program and compare registers with its .expect lines; .print lines are shown. Exit code 4 if one
    differs."""
    from syurmy import display
    from syurmy.commands import models
    from syurmy.isa.errors import InputError
    from syurmy.vm.inputs import validated
    from syurmy.vm.notes import Notes

    at = models.opened(program, input, raw=True, max_steps=max_steps)
    code = at.program
    if not any(n.expected is not None for n in code.notes):
        raise InputError(f"{program} expects nothing", code="X160", help="add lines such as .expect y = {1, 2, 3}")
    inputs, _, _ = models.inputs(at, input)
    notes = Notes(code, validated(code, inputs))
    syurmy.run(code, inputs, max_steps=max_steps, listeners=[notes])
    reached = {id(s.note) for s in notes.seen}
    missed = [n for n in code.notes if n.expected is not None and id(n) not in reached]
    failed = [s for s in notes.seen if not s.holds]
    held = sum(s.note.expected is not None for s in notes.seen) - len(failed)
    if json:
        print_json({
            "ok": not failed and not missed,
            "program": code.name,
            "held": held,
            "failed": [_described(s) for s in failed],
            "never_reached": [str(n.span) for n in missed],
        })  # fmt: skip
    else:
        for s in notes.seen:
            if s.note.expected is None:
                terminal().print(display.note_text(s), markup=False, highlight=False, soft_wrap=True)
        for s in failed:
            print(f"error[X161]: {_sentence(s)}", file=sys.stderr)
        for n in missed:
            print(f"error[X161]: {n.span}: the run never came here", file=sys.stderr)
        terminal().print(f"{held} held, {len(failed)} failed, {len(missed)} never reached")
    return TRAPPED if failed or missed else DONE


def _sentence(s: Any) -> str:
    where = "".join(f", {name} = {value}" for name, value in s.counters.items())
    at = s.difference
    if s.value is None:
        return f"{s.note.span}: '{s.note.name}' holds nothing at step {s.step}{where}"
    if at is None:
        shape = list(s.value.shape)
        return f"{s.note.span}: '{s.note.name}' has shape {shape}, {s.note.expected.size} values are expected"
    wanted = s.note.expected.reshape(s.value.shape)[at] if s.note.expected.ndim else s.note.expected
    element = f"[{', '.join(map(str, at))}]" if at else ""
    return f"{s.note.span}: {s.note.name}{element} is {s.value[at]}, {wanted} is expected (step {s.step}{where})"


def _described(s: Any) -> dict[str, Any]:
    return {
        "source": str(s.note.span),
        "name": s.note.name,
        "step": s.step,
        "counters": dict(s.counters),
        "element": s.difference,
        "value": s.value,
        "expected": s.note.expected,
    }
