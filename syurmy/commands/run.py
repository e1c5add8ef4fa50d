"""``syurmy-vm run``: run a program, and prove the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import syurmy
from syurmy.commands.common import (
    TRUSTED,
    Batch,
    Clock,
    Debug,
    Inputs,
    Json,
    MaxSteps,
    NoZk,
    ProgramPath,
    Raw,
    print_json,
    privacy,
    sibling,
    terminal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syurmy.isa.program import Program
    from syurmy.prover.protocol.key import VerifyingKey
    from syurmy.prover.verifier.verify import Statement
    from syurmy.vm.notes import Notes

PHASES = ("setup", "execute", "commit", "lookup", "contraction", "opening", "prove", "verify")


def run(
    program: ProgramPath,
    input: Inputs = None,
    prove: Annotated[bool, typer.Option("--prove", help="Prove the run and verify the proof.")] = False,
    proof: Annotated[Path | None, typer.Option("--proof", metavar="FILE", help="Where to write the proof.")] = None,
    no_zk: NoZk = False,
    batch: Batch = False,
    raw: Raw = False,
    max_steps: MaxSteps = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a program or an ONNX model; with --prove also set up (once), prove, write PROG.proof and verify."""
    from syurmy import display, files, host, keys
    from syurmy.commands import models

    program = models.located(program, input)
    clock = Clock()
    code = syurmy.load(program, max_steps=max_steps)
    model = models.recorded(program, code, raw)
    inputs, cut = models.inputs(model, code, input or [], program, batch)
    watch = None if model is None else model.watch()
    with display.Working("execute"):
        notes = _notes(code, inputs, batch)
        listeners = [tell for tell in (notes, watch) if tell is not None]
        trace = clock(
            "execute", lambda: syurmy.run(code, inputs, batch=batch, max_steps=max_steps, listeners=listeners)
        )
    if model is not None and watch is not None:
        cut += watch.found(model.rows)
        models.tell(cut)
    result: dict[str, Any] = {"outputs": models.outputs(model, trace.outputs), "steps": len(trace.path)}
    result |= {"saturated": [vars(s) for s in cut]}
    result |= {"batch": trace.batch, "branches": sum(map(len, trace.bits.values()))}
    result |= dict.fromkeys(("leaves", "columns", "committed_entries"))
    result |= {"seconds": {}, "proof_bytes": None, "soundness_bits": None, "peak_mb": None, "verified": None}
    result["zero_knowledge"] = None
    target = proof or sibling(program, ".proof")
    if prove or proof is not None:
        with display.Working("set-up") as working:
            key, _ = clock("setup", lambda: keys.obtain(code, program, no_zk))
            working("prove", 0.0)
            made = clock("prove", lambda: syurmy.prove(key, trace, working))
            data = made.to_bytes()
            working("verify", 1.0)
            statement = clock("verify", lambda: _verified(key.verifying_key, data, program))
        files.write_whole(target, data)
        report = made.report
        result |= {name: getattr(report, name) for name in ("leaves", "columns", "committed_entries")}
        result |= {"proof_bytes": len(data), "soundness_bits": statement.soundness_bits, "verified": True}
        result["zero_knowledge"] = statement.hiding
        clock.seconds = report.seconds | clock.seconds
    result["seconds"] = {name: clock.seconds.get(name) for name in PHASES}
    result["peak_mb"] = host.peak_mb()
    if json:
        print_json(result)
        return
    console = terminal()
    for seen in notes.seen if notes is not None else ():
        if seen.note.expected is None:
            console.print(display.note_text(seen), markup=False, highlight=False, soft_wrap=True)
    display.tensors(console, "output", result["outputs"])
    if result["verified"]:
        display.summary(console, _summary(result))
        console.print(f"verified: {target}", markup=False, soft_wrap=True)
        console.print(privacy(result["zero_knowledge"]), TRUSTED, sep="\n", markup=False)


def _notes(code: Program, inputs: Mapping[str, Any], batch: bool) -> Notes | None:
    """What follows the ``.print`` lines of a program that has any (of one input, not of a batch)."""
    from syurmy.vm.inputs import validated
    from syurmy.vm.notes import Notes

    if batch or not any(n.expected is None for n in code.notes):
        return None
    return Notes(code, validated(code, inputs))


def _verified(key: VerifyingKey, proof: bytes, program: Path) -> Statement:
    """The statement of a proof just made. A rejection means a damaged proving key or a defect: nothing is written."""
    from syurmy import keys
    from syurmy.isa.errors import SyurmyError
    from syurmy.prover.protocol.transcript import Rejected

    try:
        return syurmy.verify(key, proof)
    except Rejected as e:
        help = f"delete {keys.key_paths(program)[0]} and try again; if it stays, please report it"
        message = f"the proof just made is rejected at step '{e.step}': {e.reason}"
        raise SyurmyError(message, code="V110", help=help) from e


def _summary(result: dict[str, Any]) -> dict[str, str]:
    from syurmy import display

    seconds = {k: display.seconds_text(v) for k, v in result["seconds"].items() if v is not None}
    return {
        **_path_rows(result["steps"], result["branches"], result["batch"]),
        "lookup leaves": f"{result['leaves']:,}",
        "columns": f"{result['columns']:,} ({result['committed_entries']:,} entries)",
        **{f"{'  ' if name in PHASES[2:6] else ''}{name}": text for name, text in seconds.items()},
        "proof": display.bytes_text(result["proof_bytes"]),
        "soundness": f"{result['soundness_bits']:.1f} bits",
        "peak memory": f"{result['peak_mb']:.0f} MB",
    }


def _path_rows(steps: int, branches: int, batch: int) -> dict[str, str]:
    """What is said of the executed path; branches and batch only where there are some."""
    rows = {"instructions": f"{steps:,}"}
    if branches:
        rows["branches"] = f"{branches:,} (their bits are public)"
    if batch > 1:
        rows["batch"] = f"{batch:,} inputs"
    return rows
