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
    NoZk,
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
    no_zk: NoZk = False,
    proofs: Annotated[
        int | None,
        typer.Option(
            "--proofs",
            metavar="N",
            help="Proofs, by this key and all of its copies together, in which committed params stay hidden.",
            show_default="16",
        ),
    ] = None,
    renew: Annotated[
        bool,
        typer.Option("--renew", help="Make new keys even where the old ones could be used, and replace these."),
    ] = False,
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
        ask = working.around(agreed(rekey or renew))
        kept = clock("setup", lambda: keys.obtain(at.program, at.path, out, max_steps, ask, no_zk, proofs, renew))
    digest, mode = kept.key.verifying_key.digest(), kept.key.mode
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
            "zero_knowledge": mode.hiding,
            "proofs": mode.proofs or None,
            "reused": kept.reused,
        })  # fmt: skip
        return
    console = terminal()
    for path in (pk, vk):
        size = display.bytes_text(path.stat().st_size)
        console.print(f"{path}: {size}{', reused' if kept.reused else ''}", markup=False, soft_wrap=True)
    console.print(f"key {digest.hex()}", markup=False, soft_wrap=True)
    if mode.proofs:
        console.print(f"params stay hidden in {mode.proofs:,} proofs, those of copies of the key counted", markup=False)
    console.print(f"set-up {display.seconds_text(clock.seconds['setup'])}")
