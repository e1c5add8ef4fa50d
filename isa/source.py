"""Bytes that somebody names: by a path, or the bytes themselves."""

from __future__ import annotations

import os
import stat
from os import PathLike
from pathlib import Path

from syurmy.isa.errors import InputError

Source = bytes | bytearray | memoryview | str | PathLike[str]
PIPED = 2**28  # bytes that are read of what is no regular file: a pipe, a terminal, a device, which may have no end


def content(source: Source, what: str) -> bytes:
    """The bytes of ``what``. Raises ``InputError``: F100 for a file that cannot be read, I118 for what is neither."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if not isinstance(source, str | PathLike):
        raise other_kind(source, what)
    try:
        return read_bytes(Path(source))
    except (OSError, ValueError) as e:
        raise unreadable(Path(source), e) from e


def read_bytes(path: Path) -> bytes:
    """All bytes of a file, of a pipe at most ``PIPED``. Raises ``OSError``, and ``ValueError`` for more."""
    with path.open("rb") as f:
        if stat.S_ISREG(os.fstat(f.fileno()).st_mode):
            return f.read()
        data = f.read(PIPED + 1)
    if len(data) > PIPED:
        raise ValueError(f"it is no regular file and gives more than {PIPED:,} bytes")
    return data


def unreadable(path: Path, e: OSError | ValueError) -> InputError:
    reason = e.strerror if isinstance(e, OSError) else None
    return InputError(f"cannot read {path}: {reason or e}", code="F100")


def other_kind(found: object, what: str) -> InputError:
    """The sentence for an object of a kind that cannot be used as ``what``."""
    kind = type(found).__name__
    help = {
        "tuple": "setup gives two keys: proving_key, verifying_key = syurmy.setup(program)",
        "ProvingKey": "of a proving key take key.verifying_key",
        "Trace": "syurmy.prove(key, trace) makes the proof of a run",
        "ModelRun": "syurmy.prove(key, run.trace) makes the proof of a run",
        "Statement": "a statement is what verifying gave already",
    }.get(kind, "")
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    return InputError(f"{what} is expected, this is {article} {kind}", code="I118", help=help)
