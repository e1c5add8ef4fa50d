"""``syurmy-vm setup``: the keys of a program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from syurmy.segmented import Segmented


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
    if (whole := at.segmented) is not None:
        _segments(whole, out, max_steps, agreed(rekey or renew), no_zk, proofs, renew, json)
        return
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
            "segments": [],
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


def _segments(
    at: Segmented,
    out: Path | None,
    max_steps: int | None,
    ask: Callable[[str], bool],
    no_zk: bool,
    proofs: int | None,
    renew: bool,
    json: bool,
) -> None:
    """The keys of a model that is cut into segments, and that of the whole."""
    from syurmy import display, segmented

    clock = Clock()
    with display.Working("set-up") as working:
        asked = working.around(ask)
        kept = clock("setup", lambda: segmented.obtain(at, out, max_steps, asked, no_zk, proofs, renew, working))
    digest, (vk, *pks) = kept.key.digest(), kept.paths
    rekeyed(kept.replaced, digest)
    modes = [key.mode for key in kept.key.segments]
    if json:
        print_json({
            "program": at.program.name,
            "key": digest.hex(),
            "replaced_key": None if kept.replaced is None else kept.replaced.hex(),
            "proving_key": None,
            "verifying_key": str(vk),
            "proving_key_bytes": sum(pk.stat().st_size for pk in pks),
            "verifying_key_bytes": vk.stat().st_size,
            "max_steps": kept.key.segments[0].max_steps,
            "zero_knowledge": kept.key.hiding,
            "proofs": max(mode.proofs for mode in modes) or None,
            "reused": kept.reused,
            "segments": [
                {"key": key.digest().hex(), "proving_key": str(pk), "proving_key_bytes": pk.stat().st_size}
                for key, pk in zip(kept.key.segments, pks, strict=True)
            ],
        })  # fmt: skip
        return
    console = terminal()
    for path in (*pks, vk):
        size = display.bytes_text(path.stat().st_size)
        console.print(f"{path}: {size}{', reused' if kept.reused else ''}", markup=False, soft_wrap=True)
    console.print(f"key {digest.hex()}, of {len(pks)} segments", markup=False, soft_wrap=True)
    if proofs := max(mode.proofs for mode in modes):
        console.print(f"params stay hidden in {proofs:,} proofs, those of copies of the keys counted", markup=False)
    console.print(f"set-up {display.seconds_text(clock.seconds['setup'])}")
