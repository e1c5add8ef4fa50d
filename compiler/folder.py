"""The folder of a compiled model: new, empty, or a compiled model already; nobody else's files are touched.

The record lists the files that belong to it. A compilation replaces those, and removes what is left of them last. Keys
are not among them: those of segments that a model has no longer stay, and are told of.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from syurmy.compiler.recorded import EXAMPLE, FORMAT, PROGRAM, RECORD, SEGMENTS, TABLES, TOKENIZER, WEIGHTS
from syurmy.isa.errors import InputError

OWN = {PROGRAM, RECORD, EXAMPLE, WEIGHTS, TOKENIZER}
PART = re.compile(rf"{TABLES}/[A-Za-z0-9_.]+\.npy|{SEGMENTS}/[0-9]+/{re.escape(PROGRAM)}")  # no way out of the folder


def own_files(folder: Path) -> set[str]:
    """The files of the compiled model in ``folder``, none if it is new or empty. Raises ``InputError`` F121 if it is
    anything else."""
    try:
        if not os.path.lexists(folder):
            return set()
        if not folder.is_dir():
            raise InputError(f"{folder} is a file, not a folder to compile into", code="F121", help="choose another")
        if not any(folder.iterdir()):
            return set()
    except OSError as e:
        raise InputError(f"cannot read {folder}: {e.strerror or e}", code="F100") from e
    try:
        described = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if described["format"] == FORMAT and {"source", "precision", "nodes"} <= set(described):
            return {f for f in described["files"] if f in OWN or PART.fullmatch(f)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise InputError(
        f"{folder} holds files that are no compiled model of this version; nothing was written",
        code="F121",
        help="give a new or empty folder with -o, or remove this one",
    )


def files_of(folder: Path) -> list[str]:
    """Every file below a folder, relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def move(made: Path, folder: Path, own: set[str]) -> None:
    """The files in ``made`` into ``folder``, the program last; then what is left of ``own``, the files before, goes."""
    new = files_of(made)
    for name in (*new, TABLES):
        mine = name in own if name != TABLES else (folder / TABLES).is_dir() and not (folder / TABLES).is_symlink()
        if not mine and os.path.lexists(folder / name):
            message = f"{folder / name} is not of the compiled model there; nothing was written"
            raise InputError(message, code="F121", help="give a new or empty folder with -o")
    for inner in sorted({p for name in new for p in Path(name).parents if p != Path()}):
        if (folder / inner).is_symlink() or (os.path.lexists(folder / inner) and not (folder / inner).is_dir()):
            message = f"{folder / inner} is no folder of the compiled model there; nothing was written"
            raise InputError(message, code="F121", help="give a new or empty folder with -o")
    (folder / TABLES).mkdir(parents=True, exist_ok=True)
    for name in sorted(new, key=lambda name: name == PROGRAM):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(made / name, folder / name)
    for name in own - set(new):
        (folder / name).unlink(missing_ok=True)
    for where in sorted({Path(name).parent for name in own} - {Path(name).parent for name in new}, reverse=True):
        with suppress(OSError):  # not empty: keys stay
            (folder / where).rmdir()
    with suppress(OSError):
        (folder / SEGMENTS).rmdir()


def left_over(folder: Path) -> list[str]:
    """What to tell of segments that the compiled model in ``folder`` has no longer: their keys, which stay."""
    below = folder / SEGMENTS
    found = sorted(p.name for p in below.iterdir() if not (p / PROGRAM).exists()) if below.is_dir() else []
    if not found:
        return []
    names = ", ".join(str(below / name) for name in found[:4]) + (" and others" if len(found) > 4 else "")
    return [f"keys of segments that this model no longer has stay in {names}; remove them if nobody proves with them"]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the system refuses becomes ``InputError`` F120."""
    try:
        yield
    except OSError as e:
        raise InputError(f"cannot write {folder}: {e.strerror or e}", code="F120") from e
