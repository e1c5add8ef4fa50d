"""What commands share: options, the wrapper that reports errors, clocks."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.outcome import DONE, exit_code
from syurmy.outcome import TRUSTED as TRUSTED
from syurmy.outcome import print_json as print_json
from syurmy.outcome import privacy as privacy

if TYPE_CHECKING:
    from rich.console import Console

ProgramPath = Annotated[Path, typer.Argument(metavar="PROG.tasm", help="Tensor assembly.", show_default=False)]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="A number or list (limit=500, x=[1,2]), or NAME=FILE: "
        ".npy, .npz (NAME=FILE:KEY), .json or a text list; FILE alone for a single input. "
        "Without it PROG.inputs.npz or PROG.inputs.json beside the program is read.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]
MaxSteps = Annotated[
    int | None,
    typer.Option("--max-steps", min=1, help="Trap after this many instructions.", show_default="1,000,000"),
]
Batch = Annotated[bool, typer.Option("--batch", help="Every input has one more leading axis: many runs, one proof.")]
Raw = Annotated[bool, typer.Option("--raw", help="Of a compiled model: inputs and outputs as integers, not reals.")]
NoZk = Annotated[
    bool, typer.Option("--no-zk", help="A key whose proofs hide nothing: smaller, where nothing has to stay private.")
]
Target = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")]


def reported(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turns what a command returns or raises into an exit code, and an error into one coded line."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        def work() -> int:
            try:
                return command(*args, **options) or DONE
            except typer.Exit as e:
                return e.exit_code

        if code := exit_code(work, options.get("json", False), options.get("debug", False)):
            raise typer.Exit(code)

    return wrapper


def terminal() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def sibling(program_path: Path, suffix: str) -> Path:
    return program_path.with_suffix(suffix)


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        out = work()
        self.seconds[name] = time.perf_counter() - start
        return out
