"""``syurmy-vm setup``: the keys of a program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from syurmy.commands.common import (
    Clock,
    Debug,
    Json,
    MaxSteps,
    ProgramPath,
    Rekey,
    agreed,
    print_json,
    rekeyed,
    terminal,
)


def setup(
    program: ProgramPath,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where to write the keys.", show_default="beside PROG"),
    ] = None,
    rekey: Rekey = False,
    max_steps: MaxSteps = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make PROG.pk and PROG.vk, unless they are there and nothing changed. The .vk is what others verify with."""
    from syurmy import display, keys
    from syurmy.commands import models

    at = models.opened(program, None, max_steps=max_steps)
    clock = Clock()
    pk, vk = keys.key_paths(at.path, out)
    with display.Working("set-up") as working:
        kept = clock("setup", lambda: keys.obtain(at.program, at.path, out, max_steps, working.around(agreed(rekey))))
    digest = kept.key.verifying_key.digest()
    rekeyed(kept.replaced, digest)
    if json:
        print_json({
            "program": at.program.name,
            "key": digest.hex(),
            "replaced_key": None if kept.replaced is None else kept.replaced.hex(),
            "proving_key": str(pk),
            "verifying_key": str(vk),
            "proving_key_bytes": pk.stat().st_size,
            "verifying_key_bytes": vk.stat().st_size,
            "max_steps": kept.key.verifying_key.max_steps,
            "reused": kept.reused,
        })  # fmt: skip
        return
    console = terminal()
    for path in (pk, vk):
        size = display.bytes_text(path.stat().st_size)
        console.print(f"{path}: {size}{', reused' if kept.reused else ''}", markup=False, soft_wrap=True)
    console.print(f"key {digest.hex()}", markup=False, soft_wrap=True)
    console.print(f"set-up {display.seconds_text(clock.seconds['setup'])}")
