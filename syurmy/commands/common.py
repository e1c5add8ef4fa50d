"""What commands share: options, the wrapper that reports errors, clocks."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syurmy.device import used
from syurmy.outcome import DONE, exit_code
from syurmy.outcome import params as params
from syurmy.outcome import print_json as print_json
from syurmy.outcome import privacy as privacy
from syurmy.outcome import tell as tell
from syurmy.outcome import warn as warn

if TYPE_CHECKING:
    from rich.console import Console

    from syurmy.cluster import Cluster
    from syurmy.parts import Parts

ProgramPath = Annotated[
    Path,
    typer.Argument(
        metavar="PROG",
        help="Tensor assembly (PROG.tasm), a compiled model's folder, or MODEL.onnx.",
        show_default=False,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="A number or list (limit=500, x=[1,2]), or NAME=FILE: .npy, .npz and .json (NAME=FILE:KEY for an entry), "
        ".csv, a text list, an image, a sound; FILE alone for a single input. "
        "Without it PROG.inputs.npz or PROG.inputs.json beside the program is read, or a model's example.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]
MaxSteps = Annotated[
    int | None,
    typer.Option(
        "--max-steps", min=1, help="The most instructions of a run; part of the key.", show_default="1,000,000"
    ),
]
Batch = Annotated[bool, typer.Option("--batch", help="Every input has one more leading axis: many runs, one proof.")]
Raw = Annotated[bool, typer.Option("--raw", help="Of a compiled model: inputs and outputs as integers, not reals.")]
Keys = Annotated[
    Path | None,
    typer.Option("--keys", metavar="DIR", help="Where PROG.pk and PROG.vk are kept.", show_default="beside PROG"),
]
Rekey = Annotated[bool, typer.Option("--rekey", help="Replace the keys of a program that has changed without asking.")]
NoZk = Annotated[
    bool, typer.Option("--no-zk", help="A key whose proofs hide nothing: smaller, where nothing has to stay private.")
]
CertificatePath = Annotated[
    Path | None,
    typer.Option("--certificate", metavar="PROG.cert", help="The key's certificate; the proof rests on it."),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="8G", help="What may be taken at most: slower where it would be more, or refused before."
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="tcp://HOST:PORT|local:N",
        help="Prove on a Dask cluster, or in N processes of this machine: segments, parts of a batch, or one proof.",
    ),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where workers of --scheduler fetch keys: a shared folder, or s3://BUCKET/… and others of fsspec.",
        show_default="the keys' own folder, shared under one path",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="cpu|cuda[:N]|auto",
        help="What to prove on; auto: a graphics card if there is one.",
        show_default="SYURMY_DEVICE, else cpu",
    ),
]
Target = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write.")]


def reported(command: Callable[..., int | None]) -> Callable[..., None]:
    """Turns what a command returns or raises into an exit code, and an error into one coded line."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        def work() -> int:
            try:
                with used(options.get("device")):
                    return command(*args, **options) or DONE
            except typer.Exit as e:
                return e.exit_code

        name = command.__name__.replace("run_tests", "test").replace("_", "-")
        if code := exit_code(work, name, options.get("json", False), options.get("debug", False)):
            raise typer.Exit(code)

    return wrapper


@contextmanager
def elsewhere(scheduler: str | None, store: str | None) -> Iterator[Cluster | None]:
    """Where proofs are made: None for here."""
    if scheduler is None:
        yield None
        return
    from syurmy.cluster import connected

    with connected(scheduler, store) as cluster:
        yield cluster


@contextmanager
def going_on(parts: Parts, count: int, are_made: str) -> Iterator[None]:
    """What ends the block early, be it Ctrl-C or a full disk, says how many of ``count`` parts are kept and how the
    others are made; ``are_made``: what is said of them."""
    from syurmy.isa.errors import InputError, SyurmyError

    again = "the same command goes on from there"
    try:
        yield
    except KeyboardInterrupt:
        message = f"interrupted; {parts.kept(count)} of {count} {are_made}, in {parts.folder}"
        raise InputError(message, code="X130", help=again) from None
    except (SyurmyError, OSError, MemoryError) as e:
        if not (kept := parts.kept(count)):
            raise
        said = f"{kept} of {count} {are_made}, in {parts.folder}"
        if isinstance(e, InputError) and e.code == "F120":
            raise InputError(f"{e.message}; {said}", code="F120", help=f"make room: {again}") from e
        tell(f"{said}: kept for the next time that this command is given")
        raise


def terminal() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def agreed(rekey: bool) -> Callable[[str], bool]:
    """Whether a changed key may replace one that others have: by the option, or asked where somebody can answer."""

    def ask(change: str) -> bool:
        if rekey:
            return True
        asked = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
        return asked and typer.confirm(f"{change}. Replace it?", err=True)

    return ask


def rekeyed(replaced: bytes | None, key: bytes) -> None:
    """Tells that a key was replaced."""
    if replaced is not None:
        tell(f"key {replaced.hex()[:16]}… is replaced by {key.hex()[:16]}…: who verifies needs the new .vk")


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
