"""``syurmy-vm info``: what a file is; what a program declares and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.commands.common import Debug, Json, print_json, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from syurmy.isa.program import Program
    from syurmy.prover.protocol.description import Description

COUNTED = ("steps", "tensor_entries", "columns", "lookups", "tables", "equations")


def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A program, a compiled model's folder, a key or a proof.")
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """What a file is and says of itself; of a program declarations, size and constraints. Verifies nothing."""
    from syurmy import contents, verification

    content = contents.read(file)
    result = {"kind": content.kind, "description": contents.description_data(content.description)} | content.data
    costs = {} if content.program is None else _costs(content.program)
    if json:
        print_json(result | costs)
        return
    console = terminal()
    console.print(f"{file}: {content.kind}", markup=False, soft_wrap=True)
    for line in verification.about_lines(content.description):
        console.print(line, markup=False, soft_wrap=True)
    if content.rows:
        for name, text in content.rows.items():
            console.print(f"{name}: {text}", markup=False, soft_wrap=True)
    if content.program is not None:
        _show(console, costs, content.description)


def _costs(code: Program) -> dict[str, Any]:
    """Declarations, and what can be counted of the constraints without a path."""
    from syurmy import display
    from syurmy.isa.encoding import digest
    from syurmy.isa.instruction import REGISTRY
    from syurmy.isa.system import build

    result = _declarations(code) | {"digest": digest(code).hex()}
    result |= dict.fromkeys(COUNTED)
    result["branches"] = sum(REGISTRY[ins.op].branch for ins in code.code)
    if not result["branches"]:
        with display.Working("constraints"):
            system = build(code)
        values = [system.flow.steps, system.trace_cells(), len(system.columns), len(system.lookups)]
        values += [len(system.tables), len(system.equations)]
        result |= dict(zip(COUNTED, values, strict=True))
    return result


def _show(console: Console, result: dict[str, Any], description: Description) -> None:
    from syurmy import described, display

    said = {"inputs": description.input, "outputs": description.output}
    for kind in ("inputs", "params", "tables_declared", "buffers", "outputs"):
        for d in result[kind]:
            text = " ".join(str(v) for v in d.values())
            if kind in said and (about := ", ".join(described.about(said[kind](d["name"])))):
                text += f" ({about})"
            console.print(f"{kind.partition('_')[0].rstrip('s'):7} {text}", markup=False, soft_wrap=True)
    console.print(f"program {result['program']}, digest {result['digest']}", markup=False, soft_wrap=True)
    names = [n for n in ("instructions", "branches", *COUNTED) if result[n] is not None]
    display.summary(console, {n.replace("_", " "): f"{result[n]:,}" for n in names})
    if result["branches"]:
        console.print("the rest depends on the path: run shows it")


def _declarations(code: Program) -> dict[str, Any]:
    from syurmy.isa.types import TensorType

    return {
        "program": code.name,
        "inputs": [
            {"name": i.name, "type": str(i.type), "visibility": "public" if i.public else "private"}
            for i in code.inputs
        ],
        "params": [
            {"name": p.name, "type": str(p.type), "visibility": "committed" if p.committed else "public"}
            for p in code.params
        ],
        "tables_declared": [{"name": t.name, "type": f"{t.source} -> {t.target}"} for t in code.luts],
        "buffers": [
            {"name": r.name, "type": str(TensorType.full(r.dtype, r.shape)), "contents": r.init or "zeros"}
            for r in code.rams
        ],
        "outputs": [{"name": o.name, "visibility": "public" if o.public else "private"} for o in code.outputs],
        "instructions": len(code.code),
    }
