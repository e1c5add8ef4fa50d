"""What commands share: options, coded errors and exit codes, JSON, clocks."""

from __future__ import annotations

import functools
import json as json_format
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from syurmy.isa.errors import SyurmyError

NOT_PRIVATE = "not zero-knowledge: private values are not sent, not hidden"
TRUSTED = "params: trusted from set-up"

ProgramPath = Annotated[Path, typer.Argument(metavar="PROG.tasm", help="Tensor assembly.", show_default=False)]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=FILE",
        help=".npy, .npz (NAME=FILE:KEY), .json or a text list; FILE alone for a single input. "
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
Target = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")]


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Turns what a command may raise into one coded error and an exit code."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        from syurmy.isa.errors import InputError, SyurmyError

        json, debug = options.get("json", False), options.get("debug", False)
        try:
            command(*args, **options)
            sys.stdout.flush()
        except SyurmyError as e:
            fail(e, json, debug, e.exit_code)
        except BrokenPipeError:
            sys.stderr.close()  # the reader left: nothing to say, nobody to say it to
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            fail(InputError("interrupted; nothing was written", code="X130"), json, debug, 130)
        except MemoryError:
            fail(InputError("not enough memory", code="X140"), json, debug, 2)
        except OSError as e:
            fail(InputError(f"{e.filename or 'file'}: {e.strerror or e}", code="F100"), json, debug, 2)

    return wrapper


def fail(error: SyurmyError, json: bool, debug: bool, exit_code: int) -> None:
    from syurmy import display

    if debug:
        traceback.print_exc()
    print(display.error_text(error), file=sys.stderr)
    if json:
        print_json({"error": display.error_json(error)})
    raise typer.Exit(exit_code)


def print_json(value: dict[str, Any]) -> None:
    from syurmy.display import plain

    print(json_format.dumps(plain(value)))


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
