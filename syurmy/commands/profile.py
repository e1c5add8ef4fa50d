"""``syurmy-vm profile``: where the cost of a proof comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import syurmy
from syurmy.commands.common import Batch, Debug, Device, Inputs, Json, MaxSteps, ProgramPath, Raw, print_json
from syurmy.report import By

if TYPE_CHECKING:
    from syurmy.prover.profile import Profile
    from syurmy.report.costs import Cost
    from syurmy.vm import Listener

HEAD = ("", "place", "runs", "leaves", "committed", "work", "bytes", "execute", "commit", "lookup", "contract", "open")


def profile(
    program: ProgramPath,
    input: Inputs = None,
    by: Annotated[
        By | None, typer.Option("--by", help="What to add up by.", show_default="node for a model, else line")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many rows to print, the most costly first.")] = 20,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report, one page that needs no network.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Write the timeline for Perfetto (Chrome's format).")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="MODEL.onnx", help="Float model to compare with, in the report."),
    ] = None,
    device: Device = None,
    batch: Batch = False,
    raw: Raw = False,
    max_steps: MaxSteps = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run and prove, and say which instruction, line or node of the model costs what. Nothing is written but what
    --html and --trace name."""
    from syurmy import committing, display, files
    from syurmy.commands import models
    from syurmy.prover.profile import Stopwatch
    from syurmy.prover.profile import profile as measure
    from syurmy.report.costs import chrome_trace, grouped

    at = models.opened(program, input, raw, max_steps)
    path, code, compiled = at.path, at.program, at.model
    inputs, cut, _ = models.inputs(at, input, batch)
    if html is not None:
        from syurmy.report.page import needed

        needed()  # before any work
    watch, counter = Stopwatch(), None if compiled is None else compiled.watch()
    with display.Working("profile"):
        listeners: list[Listener] = [watch] if counter is None else [counter, watch]
        run = syurmy.run(code, inputs, batch=batch, max_steps=max_steps, listeners=listeners)
        key, _ = syurmy.setup(code)
        made = committing.in_memory(run, key.mode.hiding, 2)
        syurmy.prove(key, run, commitments=made)  # kernels are loaded and memory is there: what follows is measured
        found = measure(key, run, watch, made)
    if compiled is not None and counter is not None:
        models.saturated([*cut, *counter.found(compiled.rows)])
    by = by or (By.node if compiled is not None else By.line)
    costs = grouped(found, by, compiled)
    if trace is not None:
        files.write_whole(trace, chrome_trace(found.pieces).encode())
    if html is not None:
        from syurmy.report.page import page

        original = model or (program if program.suffix == ".onnx" else None)
        given = None if compiled is None or original is None else models.given(compiled, input or [])
        text = page(path, run, found, compiled, counter, original, given)
        files.write_whole(html, text.encode(), mode=0o600)  # it tells of private values
    if json:
        print_json(described(found, costs, by))
        return
    _print(found, costs, top)
    for target in (trace, html):
        if target is not None:
            print(f"written: {target}")


def described(found: Profile, costs: list[Cost], by: By) -> dict[str, Any]:
    """As JSON data."""
    from syurmy.prover.profile import PHASES

    names = ("executions", "leaves", "used", "entries", "true", "work", "bytes")
    return {
        "program": found.program,
        "by": by.value,
        "rows": [
            {
                "name": c.name,
                "place": c.place,
                "instructions": [r.instruction for r in c.rows if r.instruction is not None],
            }
            | {name: c.sum(name) for name in names}
            | {"seconds": {phase: c.phase(phase) for phase in PHASES}}
            for c in costs
        ],
        "totals": {name: sum(c.sum(name) for c in costs) for name in names},
        "seconds": found.seconds,
        "proof_bytes": found.report.proof_bytes,
        "soundness": [[name, bits] for name, bits in found.report.soundness],
    }


def _print(found: Profile, costs: list[Cost], top: int) -> None:
    from syurmy import display

    shown = sorted(costs, key=lambda c: -c.seconds)[:top]
    rows = [_cells(c.name, c.place, [c]) for c in shown]
    if len(costs) > len(shown):
        rest = sorted(costs, key=lambda c: -c.seconds)[top:]
        rows.append(_cells(f"{len(rest)} more (--top)", "", rest))
    rows.append(_cells("total", "", costs))
    print(display.columns([HEAD, *rows], right=range(2, len(HEAD))))
    print(f"proof: {display.bytes_text(found.report.proof_bytes)}, {found.report.soundness_bits:.1f} bits of soundness")


def _cells(name: str, place: str, costs: list[Cost]) -> tuple[str, ...]:
    from syurmy.prover.profile import PHASES

    counts = (f"{sum(c.sum(what) for c in costs):,}" for what in ("executions", "leaves", "entries", "work", "bytes"))
    times = (f"{1000 * sum(c.phase(phase) for c in costs):.2f}" for phase in PHASES)
    return name, place, *counts, *times
