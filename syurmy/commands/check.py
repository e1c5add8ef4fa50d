"""``syurmy-vm check``: every constraint, evaluated without a proof."""

from __future__ import annotations

import sys

import syurmy
from syurmy.commands.common import Batch, Debug, Inputs, Json, MaxSteps, ProgramPath, Raw, print_json, terminal
from syurmy.outcome import DONE, TRAPPED


def check(
    program: ProgramPath,
    input: Inputs = None,
    batch: Batch = False,
    raw: Raw = False,
    max_steps: MaxSteps = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Run a program and evaluate every constraint directly, without a proof. Exit code 4 if one is violated."""
    from syurmy import display
    from syurmy.commands import models

    at = models.opened(program, input, raw, max_steps)
    inputs, cut, _ = models.inputs(at, input, batch)
    models.saturated(cut)
    trace = syurmy.run(at.program, inputs, batch=batch, max_steps=max_steps)
    with display.Working("check"):
        violations = syurmy.check(at.program, trace, max_steps=max_steps)
    found = [
        {
            "instruction": v.instruction,
            "source": str(v.span) if v.span else None,
            "constraint": v.constraint,
            "tensor": v.tensor,
            "execution": v.element[0],
            "element": v.element[1:],
            "message": v.message,
            "node": models.node_of(at.model, v.instruction),
            "step": v.step,
            "expected": v.expected,
            "found": v.found,
            "equation": list(v.equation),
            "places": list(v.places),
        }
        for v in violations
    ]
    if json:
        print_json({
            "ok": not found,
            "program": at.program.name,
            "outputs": models.outputs(at, trace.outputs),
            "steps": len(trace.path),
            "violations": found,
        })  # fmt: skip
    elif not found:
        terminal().print(f"every constraint holds ({len(trace.path):,} steps)")
    for v in violations if not json else ():
        print(f"error[K100]: {models.violation_text(at.model, v)}", file=sys.stderr)
    return TRAPPED if found else DONE
