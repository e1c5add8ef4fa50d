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


def info(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A program, a model or its folder, a key, a proof, a commitment."),
    ],
    types: Annotated[
        bool, typer.Option("--types", help="Instead: dtype, shape, interval of every line, and why.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """What a file is and says of itself; of a program declarations, size and constraints. Verifies nothing."""
    if file.suffix == ".onnx" or (types and file.is_dir()):
        from syurmy.commands import models

        program = models.located(file, None)
        file = program if types else program.parent
    if types:
        from syurmy.commands.types import show_types

        show_types(file, json)
        return
    from syurmy import contents, costs, display, verification
    from syurmy.isa.encoding import digest
    from syurmy.isa.instruction import REGISTRY

    content = contents.read(file)
    result = {"kind": content.kind, "description": contents.description_data(content.description)} | content.data
    cost = None
    if (code := content.program) is not None:
        result |= _declarations(code) | {"digest": digest(code).hex()}
        result["branches"] = sum(REGISTRY[ins.op].branch for ins in code.code)
        with display.Working("constraints"):
            cost = costs.of_program(code, batch=not content.data.get("chained"))
        result = dict.fromkeys(costs.NAMES) | result | ({} if cost is None else cost[0].to_json())
        result["cost_in_batch"] = None if cost is None or cost[1] is None else cost[1].to_json()
    if json:
        print_json(result)
        return
    console = terminal()
    lines = [f"{file}: {content.kind}", *verification.about_lines(content.description)]
    lines += [f"{name}: {text}" for name, text in content.rows.items()]
    console.print(*lines, sep="\n", markup=False, soft_wrap=True)
    if content.program is None:
        return
    _declared(console, result, content.description)
    console.print(f"{result['instructions']:,} instructions, {result['branches']:,} branches")
    if cost is None:
        console.print("what a proof costs depends on the path: run shows it")
    else:
        console.print(f"{cost[0].steps:,} steps", *costs.lines(cost), sep="\n", markup=False, soft_wrap=True)


def _declared(console: Console, result: dict[str, Any], description: Description) -> None:
    from syurmy import described

    said = {"inputs": description.input, "outputs": description.output}
    for kind in ("inputs", "params", "tables_declared", "buffers", "outputs"):
        for d in result[kind]:
            text = " ".join(str(v) for v in d.values())
            if kind in said and (about := ", ".join(described.about(said[kind](d["name"])))):
                text += f" ({about})"
            console.print(f"{kind.partition('_')[0].rstrip('s'):7} {text}", markup=False, soft_wrap=True)
    console.print(f"program {result['program']}, digest {result['digest']}", markup=False, soft_wrap=True)


def _declarations(code: Program) -> dict[str, Any]:
    from syurmy.isa.types import TensorType

    return {
        "program": code.name,
        "inputs": [{"name": i.name, "type": str(i.type), "visibility": i.visibility} for i in code.inputs],
        "params": [
            {"name": p.name, "type": str(p.type), "visibility": "committed" if p.committed else "public"}
            for p in code.params
        ],
        "tables_declared": [{"name": t.name, "type": f"{t.source} -> {t.target}"} for t in code.luts],
        "buffers": [
            {"name": r.name, "type": str(TensorType.full(r.dtype, r.shape)), "contents": r.init or "zeros"}
            for r in code.rams
        ],
        "outputs": [{"name": o.name, "visibility": o.visibility} for o in code.outputs],
        "instructions": len(code.code),
    }
