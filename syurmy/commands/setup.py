"""``syurmy-vm setup``: the keys of a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from syurmy import keys, segmented


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
    with display.Working("set-up") as working:
        how = out, max_steps, working.around(agreed(rekey or renew)), no_zk, proofs, renew
        if (whole := at.segmented) is not None:
            from syurmy import segmented

            made = _of_segments(clock("setup", lambda: segmented.obtain(whole, *how, working)))
        else:
            kept = clock("setup", lambda: keys.obtain(at.program, at.path, *how))
            made = _of_program(kept, *keys.key_paths(at.path, out))
    rekeyed(made.replaced, made.digest)
    if json:
        print_json({"program": at.program.name} | made.data())
        return
    console = terminal()
    for path in (*made.proving, made.verifying):
        size = display.bytes_text(path.stat().st_size)
        console.print(f"{path}: {size}{', reused' if made.reused else ''}", markup=False, soft_wrap=True)
    whose = f", of {len(made.segments)} segments" if len(made.segments) > 1 else ""
    whose += f", of up to {made.steps} steps" if made.steps else ""
    console.print(f"key {made.digest.hex()}{whose}", markup=False, soft_wrap=True)
    if made.proofs:
        copied = "keys" if len(made.segments) > 1 else "key"
        console.print(
            f"params stay hidden in {made.proofs:,} proofs, those of copies of the {copied} counted", markup=False
        )
    console.print(f"set-up {display.seconds_text(clock.seconds['setup'])}")


@dataclass(frozen=True)
class _Made:
    """What is told of keys: of one program, or of all ``segments`` (their digests) and the whole, which may
    run in up to so many ``steps``."""

    digest: bytes
    replaced: bytes | None
    proving: tuple[Path, ...]
    verifying: Path
    max_steps: int
    hiding: bool
    proofs: int
    reused: bool
    segments: tuple[bytes, ...] = ()
    steps: int = 0

    def data(self) -> dict[str, Any]:
        """For ``--json``."""
        sizes = [path.stat().st_size for path in self.proving]
        return {
            "key": self.digest.hex(),
            "replaced_key": None if self.replaced is None else self.replaced.hex(),
            "proving_key": None if self.segments else str(self.proving[0]),
            "verifying_key": str(self.verifying),
            "proving_key_bytes": sum(sizes),
            "verifying_key_bytes": self.verifying.stat().st_size,
            "max_steps": self.max_steps,
            "zero_knowledge": self.hiding,
            "proofs": self.proofs or None,
            "reused": self.reused,
            "segments": [
                {"key": digest.hex(), "proving_key": str(path), "proving_key_bytes": size}
                for digest, path, size in zip(self.segments, self.proving, sizes, strict=False)
            ],
        }


def _of_program(kept: keys.Kept, pk: Path, vk: Path) -> _Made:
    key, mode = kept.key.verifying_key, kept.key.mode
    return _Made(key.digest(), kept.replaced, (pk,), vk, key.max_steps, mode.hiding, mode.proofs, kept.reused)


def _of_segments(kept: segmented.Kept) -> _Made:
    key, (vk, *pks) = kept.key, kept.paths
    proofs, digests = max(k.mode.proofs for k in key.segments), tuple(k.digest() for k in key.segments)
    limit = key.segments[0].max_steps
    steps = 0 if key.steps is None else key.steps.most
    return _Made(key.digest(), kept.replaced, tuple(pks), vk, limit, key.hiding, proofs, kept.reused, digests, steps)
