"""``syurmy-vm debug``: run a program step by step, forwards and backwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.commands.common import Debug, Inputs, MaxSteps, Raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syurmy.debugging.session import Session


def debug(
    program: Annotated[
        Path, typer.Argument(metavar="PROG.tasm|MODEL.onnx|DIR", help="What to debug.", show_default=False)
    ],
    input: Inputs = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=0, metavar="K", help="Inputs have one more leading axis: debug input K."),
    ] = None,
    script: Annotated[
        Path | None, typer.Option("--commands", "-x", metavar="FILE", help="Take commands from a file, then stop.")
    ] = None,
    inject: Annotated[
        str | None,
        typer.Option(
            "--inject",
            metavar="NAME[I]=V@STEP",
            help="Let step STEP write V instead, run on, and list the constraints that catch it.",
        ),
    ] = None,
    raw: Raw = False,
    max_steps: MaxSteps = None,
    debug: Debug = False,
) -> int | None:
    """Debug a program or a model: breakpoints, steps in both directions, where values come from. `help` lists the
    commands; a pipe works like a terminal."""
    from syurmy.debugging import prompt

    made = opened(program, input or [], batch, raw, max_steps)
    if inject is not None:
        from syurmy.debugging import proving

        return proving.told(made, inject)
    made.stand()
    if script is not None:
        from syurmy import files

        prompt.follow(made, files.read_bytes(script).decode("utf-8", "replace").splitlines(), echo=True)
    else:
        prompt.converse(made)
    return None


def opened(path: Path, options: list[str], batch: int | None, raw: bool, max_steps: int | None) -> Session:
    """A session on a program, a folder with a compiled model, or a model that is compiled first."""
    from syurmy.commands import models
    from syurmy.debugging.reals import Reals
    from syurmy.debugging.session import Session, load
    from syurmy.vm.debug import Debugger

    load()
    at = models.opened(path, options, raw, max_steps)
    inputs, cut, _ = models.inputs(at, options, batch is not None)
    models.saturated(cut)
    reals = None
    if at.model is not None:
        given = models.given(at.model, options, batch is not None)
        original = path if path.suffix == ".onnx" else None
        reals = Reals(at.model, original, given if batch is None else _one(given, batch))
    limit: dict[str, Any] = {} if max_steps is None else {"max_steps": max_steps}
    chosen = inputs if batch is None else _one(inputs, batch)
    run = Debugger(at.program, chosen, nodes=() if reals is None else reals.nodes, **limit)
    return Session(run, print, reals)


def _one(inputs: Mapping[str, Any], k: int) -> dict[str, Any]:
    """Input ``k`` of a batch."""
    from syurmy.isa.errors import InputError

    size = min((len(x) if getattr(x, "ndim", 0) else 0 for x in inputs.values()), default=0)
    if k >= size:
        help = f"they are numbered 0 to {size - 1}" if size else "its inputs need one more leading axis"
        raise InputError(f"the batch has no input {k}", code="I109", help=help)
    return {name: x[k] for name, x in inputs.items()}
