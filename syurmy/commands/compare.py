"""``syurmy-vm compare``: a compiled model beside its float original, node by node."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.commands.common import Debug, Inputs, Json, print_json
from syurmy.outcome import warn

if TYPE_CHECKING:
    from syurmy.compiler.compare import Comparison, NodeDifference

COLUMNS = ("node", "operator", "tensor", "from", "to", "error", "mean", "of range", "cut off", "")


def compare(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR|MODEL.onnx", help="A compiled model, or the model it came from.")
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="MODEL.onnx", help="The float model.", show_default="DIR.onnx beside DIR"),
    ] = None,
    input: Inputs = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="An error over a tensor's range beyond this is told.")
    ] = 1e-3,
    all: Annotated[bool, typer.Option("--all", help="Every tensor, not only those that matter.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Where a compiled model parts from its float original: every tensor, on the inputs given or on its example."""
    from syurmy import display
    from syurmy.commands import models
    from syurmy.compiler import CompiledModel, needed

    place, original = paths(folder, model)
    compiled = CompiledModel.read(place)
    given = models.given(compiled, input or [])
    with display.Working("compare"):
        found = needed("compare").compare(compiled, original, given, tolerance)
    if found.same_source is False:
        warn(f"{original} is not the file that was compiled")
    if json:
        print_json({"program": compiled.program.name} | described(found))
        return
    print("\n".join(lines(found, all)))


def described(found: Comparison) -> dict[str, Any]:
    """As JSON data."""

    def one(d: NodeDifference) -> dict[str, Any]:
        out = {k: v for k, v in asdict(d).items() if k not in ("row", "total", "inputs", "worst")}
        worst = None if d.worst is None else asdict(d.worst)
        if worst is not None:
            names = ("tensor", "expected", "found", "error")
            worst["inputs"] = [dict(zip(names, i, strict=True)) for i in worst["inputs"]]
        return out | {"mean": d.mean, "relative": d.relative, "worst": worst}

    first = found.first
    return {
        "samples": found.samples,
        "tolerance": found.tolerance,
        "same_source": found.same_source,
        "first": None if first is None else {"node": first.node, "tensor": first.tensor, "cause": first.cause},
        "tensors": [one(d) for d in found.tensors],
    }


def paths(folder: Path, model: Path | None, help: str = "name it with --model MODEL.onnx") -> tuple[Path, Path]:
    """The compiled folder and the float model. Raises ``InputError`` with ``help`` if there is none."""
    from syurmy.compiler.recorded import PROGRAM, default_folder
    from syurmy.isa.errors import InputError

    if folder.suffix == ".onnx":
        return default_folder(folder), model or folder
    place = folder.parent if folder.name == PROGRAM else folder
    original = model or place.with_name(f"{place.name}.onnx")
    if not original.is_file():
        raise InputError(f"no float model {original}", code="F100", help=help)
    return place, original


def lines(found: Comparison, all: bool, more: str = "--all") -> list[str]:
    """The table for people; ``all``: of every tensor, not only of those that matter. ``more``: how to ask for all."""
    from syurmy import display
    from syurmy.compiler.compare import CAUSES

    first, largest = found.first, found.largest
    shown = [d for d in found.tensors if all or d.off(found.tolerance) or d.saturated or d is largest]
    out = display.columns([COLUMNS, *map(_row, shown)], right=range(3, 9)).splitlines() if shown else []
    left = len(found.tensors) - len(shown)
    inputs = "1 input" if found.samples == 1 else f"{found.samples:,} inputs"
    if left:
        out.append(f"{left} more tensors are within {found.tolerance:g} of their range ({more} shows them)")
    if first is None:
        return [*out, f"{len(found.tensors)} tensors agree within {found.tolerance:g} of their range on {inputs}"]
    out += [f"the error begins at {first.op} '{first.node}': {first.cause}", f"  {CAUSES[first.cause]}"]
    if (w := first.worst) is not None:
        at = f"{first.tensor}{list(w.element)}" + (f" of input {w.sample}" if found.samples > 1 else "")
        out.append(f"  {at} = {w.found:.6g}, float {w.expected:.6g}")
        for name, expected, got, most in w.inputs:
            here = "" if got is None else f" = {got:.6g}, float {expected:.6g};"
            out.append(f"    reads {name}{here} off by up to {most:.3g}")
    return out


def _row(d: NodeDifference) -> tuple[str, ...]:
    error = f"{d.wrong:,} differ" if d.wrong else f"{d.error:.3g}"
    numbers = (f"{d.lo:.4g}", f"{d.hi:.4g}", error, f"{d.mean:.2g}", f"{100 * d.relative:.2g} %")
    cut = f"{d.saturated:,}" if d.saturated else ""
    return d.node, d.op, d.tensor, *numbers, cut, f"begins: {d.cause}" if d.begins else ""
