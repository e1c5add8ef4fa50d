"""``syurmy-vm setup``: the keys of a program."""

from __future__ import annotations

from typing import Annotated

import typer

import syurmy
from syurmy.commands.common import Clock, Debug, Json, NoZk, ProgramPath, print_json, terminal


def setup(
    program: ProgramPath,
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
        bool, typer.Option("--renew", help="Make new keys even where the old ones could be used.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make PROG.pk and PROG.vk beside the program, unless they are there and nothing changed."""
    from syurmy import display, keys

    code = syurmy.load(program)
    clock = Clock()
    with display.Working("set-up"):
        key, reused = clock("setup", lambda: keys.obtain(code, program, no_zk, proofs, renew))
    pk, vk = keys.key_paths(program)
    result = {
        "proving_key": str(pk),
        "verifying_key": str(vk),
        "proving_key_bytes": pk.stat().st_size,
        "verifying_key_bytes": vk.stat().st_size,
        "zero_knowledge": key.mode.hiding,
        "proofs": key.mode.proofs or None,
        "reused": reused,
        "seconds": clock.seconds["setup"],
    }
    if json:
        print_json(result)
        return
    console = terminal()
    for path in (pk, vk):
        size = display.bytes_text(path.stat().st_size)
        console.print(f"{path}: {size}{', reused' if reused else ''}", markup=False, soft_wrap=True)
    if key.mode.proofs:
        console.print(
            f"params stay hidden in {key.mode.proofs:,} proofs, those of copies of the key counted", markup=False
        )
    console.print(f"set-up {display.seconds_text(clock.seconds['setup'])}")
