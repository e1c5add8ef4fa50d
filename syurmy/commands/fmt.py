"""``syurmy-vm fmt``: programs in the standard layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from syurmy.commands.common import Debug, Json, print_json
from syurmy.outcome import DONE, UNUSABLE


def fmt(
    programs: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Tensor assembly, or folders of it.")],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 2 if a file would change.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write programs in the standard layout. Comments stay, and so does what the program computes."""
    from syurmy import display, files
    from syurmy.assembler.formatter import format_text
    from syurmy.assembler.source import read_text
    from syurmy.isa.errors import InputError, SyurmyError

    changed: list[str] = []
    failed: list[SyurmyError] = []
    for path in _files(programs):
        try:
            if path.suffix != ".tasm":
                raise InputError(f"{path} is no .tasm file", code="I101")
            formatted = format_text(read_text(path), str(path))
            if formatted.encode() != path.read_bytes():
                if not check:
                    files.write_whole(path, formatted.encode())
                changed.append(str(path))
        except SyurmyError as e:  # the other files are none the worse for it
            failed.append(e)
            print(display.error_text(e), file=sys.stderr)
    if json:
        print_json(
            {
                "ok": not failed and not (check and changed),
                "changed": changed,
                "errors": [display.error_json(e) for e in failed],
                "check": check,
            }
        )
    for name in changed if not json else ():
        print(f"{'would change' if check else 'changed'} {name}")
    return UNUSABLE if failed or (check and changed) else DONE


def _files(given: list[Path]) -> list[Path]:
    return [p for g in given for p in (sorted(g.rglob("*.tasm")) if g.is_dir() else [g])]
