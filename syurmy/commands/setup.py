"""``syurmy-vm setup``: the keys of a program."""

from __future__ import annotations

import syurmy
from syurmy.commands.common import Clock, Debug, Json, ProgramPath, print_json, terminal


def setup(program: ProgramPath, json: Json = False, debug: Debug = False) -> None:
    """Make PROG.pk and PROG.vk beside the program, unless they are there and nothing changed."""
    from syurmy import display, keys

    code = syurmy.load(program)
    clock = Clock()
    with display.Working("set-up"):
        _, reused = clock("setup", lambda: keys.obtain(code, program))
    pk, vk = keys.key_paths(program)
    result = {
        "proving_key": str(pk),
        "verifying_key": str(vk),
        "proving_key_bytes": pk.stat().st_size,
        "verifying_key_bytes": vk.stat().st_size,
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
    console.print(f"set-up {display.seconds_text(clock.seconds['setup'])}")
