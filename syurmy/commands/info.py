"""``syurmy-vm info``: what a program declares and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.commands.common import Debug, Json, print_json, terminal

if TYPE_CHECKING:
    from syurmy.isa.program import Program


def info(
    program: Annotated[Path, typer.Argument(metavar="FILE", help="PROG.tasm, PROG.vk or a binary encoding.")],
    types: Annotated[
        bool, typer.Option("--types", help="Instead: dtype, shape, interval of every line, and why.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Declarations, size and constraints of a program."""
    if types:
        from syurmy.commands.types import show_types

        show_types(program, json)
        return
    from syurmy import costs, display, keys
    from syurmy.isa.encoding import digest
    from syurmy.isa.instruction import REGISTRY

    code = keys.read_program(program)
    result = _declarations(code) | {"digest": digest(code).hex()}
    result["branches"] = sum(REGISTRY[ins.op].branch for ins in code.code)
    with display.Working("constraints"):
        cost = costs.of_program(code)
    result = dict.fromkeys(costs.NAMES) | result | ({} if cost is None else cost[0].to_json())
    result["cost_in_batch"] = None if cost is None or cost[1] is None else cost[1].to_json()
    if json:
        print_json(result)
        return
    console = terminal()
    for kind in ("inputs", "params", "tables_declared", "buffers", "outputs"):
        for d in result[kind]:
            text = " ".join(str(v) for v in d.values())
            console.print(f"{kind.partition('_')[0].rstrip('s'):7} {text}", markup=False, soft_wrap=True)
    console.print(f"program {code.name}, digest {result['digest']}", markup=False, soft_wrap=True)
    console.print(f"{result['instructions']:,} instructions, {result['branches']:,} branches")
    if cost is None:
        console.print("what a proof costs depends on the path: run shows it")
    else:
        console.print(f"{cost[0].steps:,} steps", *costs.lines(cost), sep="\n", markup=False, soft_wrap=True)


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
