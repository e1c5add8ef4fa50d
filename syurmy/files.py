"""Files: tensors from disk, and writes that happen whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError
from syurmy.isa.source import content
from syurmy.isa.source import read_bytes as read_to_end
from syurmy.isa.source import unreadable as unreadable

UNPACKED = 2**28  # bytes that an archive may unpack to, or
RATIO = 100  # times its own, so that a small file cannot fill the memory


def damage() -> tuple[type[Exception], ...]:
    """What damaged or hostile files make NumPy, zipfile and csv raise."""
    import csv
    import lzma
    import tokenize
    import zipfile
    import zlib

    usual = ValueError, TypeError, KeyError, EOFError, RuntimeError, MemoryError, ArithmeticError
    return *usual, zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error, tokenize.TokenError


def read_bytes(path: Path) -> bytes:
    """The file's content; ``InputError`` F100 if there is none to be had."""
    return content(path, "a file")


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a file; ``InputError`` F100 if there is none to be had."""
    try:
        with path.open("rb") as f:
            return f.read(size)
    except OSError as e:
        raise unreadable(path, e) from e


@contextmanager
def written_whole(*paths: Path, mode: int = 0o644) -> Iterator[tuple[Path, ...]]:
    """Temporary files beside ``paths``, to be written in place; renamed to them when the block ends well, removed when
    it does not. ``mode``: who may read them. Those of processes that were killed before are removed first: while a
    process lives, it holds a lock on its own.

    An ``OSError`` on the way (full disk, no permission) becomes ``InputError`` F120.
    """
    begun: list[tuple[int, Path]] = []
    targets = [Path(os.path.realpath(path)) for path in paths]  # a link stays, what it points to is replaced
    for path in targets:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: not a regular file", code="F120")
    try:
        for path in targets:
            _sweep(path)
            begun.append(_begun(path, mode))
        temporary = tuple(t for _, t in begun)
        yield temporary
        for t in temporary:  # a full disk may only show here
            with t.open("rb+") as f:
                os.fsync(f.fileno())
        for t, path in zip(temporary, targets, strict=True):
            t.replace(path)
    except OSError as e:
        raise InputError(f"cannot write {paths[0]}: {e.strerror or e}", code="F120") from e
    finally:
        for fd, t in begun:
            t.unlink(missing_ok=True)
            os.close(fd)  # gives the lock back


def _begun(path: Path, mode: int) -> tuple[int, Path]:
    """A new temporary file beside ``path``, open and locked. Without locks, as on some network file systems, nobody
    gets one, and nothing is removed."""
    import fcntl  # not on Windows, where nothing but verifying is
    import tempfile

    while True:
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)  # waits for who takes it for a left one
        if os.path.exists(name):
            os.fchmod(fd, mode)
            return fd, Path(name)
        os.close(fd)


def _sweep(path: Path) -> None:
    """Removes temporary files beside ``path`` that no process holds."""
    import fcntl

    ours = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}\.tmp")  # as tempfile names them
    for name in filter(ours.fullmatch, os.listdir(path.parent)):
        with suppress(OSError):  # it is gone, or somebody else's
            fd = os.open(path.parent / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path.parent / name)
            finally:
                os.close(fd)


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    with written_whole(path, mode=mode) as (temporary,):
        temporary.write_bytes(data)


def literal(text: str) -> Array | None:
    """What a number or a list of numbers stands for (``500``, ``[1, 2]``); None for anything else, such as a path.
    Raises ``InputError`` I103 for a list that is no array."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, int | float | list):
        return None
    try:
        return _array(value)
    except (ValueError, RecursionError) as e:
        raise InputError(f"{text[:60]} is not a rectangular array", code="I103") from e


def split_key(file: str) -> tuple[Path, str | None]:
    """``FILE:KEY`` taken apart, unless there is a file of that name."""
    path = Path(file)
    if not os.path.exists(file) and ":" in path.name:
        front, _, key = file.rpartition(":")
        return Path(front), key
    return path, None


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Whatever reading ``path`` raises becomes ``InputError``: F100 unreadable, F110 it does not hold ``what``."""
    try:
        yield
    except OSError as e:
        raise unreadable(path, e) from e
    except damage() as e:
        raise InputError(f"{path} does not hold {what}", code="F110", help=str(e).partition("\n")[0]) from e


def read_content(path: Path) -> Array | dict[str, Array]:
    """The array in a ``.npy``, a ``.json`` or a list of numbers; the arrays by name in a ``.npz`` or a JSON object."""
    what = {".npz": "a NumPy archive", ".npy": "a NumPy array", ".json": "JSON numbers"}
    with readable(path, what.get(path.suffix, "a list of numbers")):
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                check_archive(path, archive)
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            return array
        if path.suffix == ".json":
            value = json.loads(read_to_end(path).decode("utf-8-sig"), object_pairs_hook=named_once)
            if isinstance(value, dict) and isinstance(value.get("input_data"), list):
                return Listed(value)
            return {str(k): _array(v) for k, v in value.items()} if isinstance(value, dict) else _array(value)
        return _array([number(word) for word in read_to_end(path).decode("utf-8-sig").replace(",", " ").split()])


def named_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose last entry of a name would silently be the one that counts. Raises ``InputError`` I107."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InputError(f"'{name[:60]}' is given twice in one JSON object", code="I107", help="leave one of them")
        found[name] = value
    return found


def check_archive(path: Path, archive: np.lib.npyio.NpzFile) -> None:
    """Raises ``ValueError`` for entries that are no arrays, and for more bytes than such a file should unpack to."""
    assert archive.zip is not None  # it is open
    members = archive.zip.infolist()
    if other := [m.filename for m in members if not m.filename.endswith(".npy")]:
        raise ValueError(f"'{other[0]}' in it is no array")
    unpacked = sum(m.file_size for m in members)
    if unpacked > max(UNPACKED, RATIO * path.stat().st_size):
        raise ValueError(f"it unpacks to {unpacked:,} bytes: save what is so large with np.savez, uncompressed")


def entry(path: Path, key: str | None, content: Array | Mapping[str, Array]) -> Array:
    """The entry ``key`` of a file's content; without a key the only one. Raises ``InputError`` F111."""
    if isinstance(content, Mapping):
        if key is None and len(content) == 1:
            key = next(iter(content))
        if key is None or key not in content:
            problem = f"has no entry '{key}'" if key is not None else "has several entries"
            listed = ", ".join(content) or "none"
            raise InputError(f"{path} {problem}", code="F111", help=f"name one as {path}:KEY; entries: {listed}")
        return content[key]
    if key is not None:
        raise InputError(f"{path} has no named entries", code="F111", help=f"use {path} without :{key}")
    return content


class Listed(dict[str, Array]):
    """A JSON object with ``input_data``, as ezkl writes inputs: a list for each input of the model, in their order,
    flat or of any rank. Its other entries say nothing of inputs."""

    def __init__(self, value: Mapping[str, list[object]]) -> None:
        self.inputs = [_array(x) for x in value["input_data"]]
        alike = len({x.shape for x in self.inputs}) == 1
        super().__init__({"input_data": np.stack(self.inputs)} if alike else {})

    def by_name(self, names: Sequence[str], file: str) -> dict[str, Array]:
        """The inputs, for a model whose own are called ``names``. Raises ``InputError`` I108."""
        if len(names) != len(self.inputs):
            message = f"{file} lists {len(self.inputs)} inputs, the model has {len(names)}: {', '.join(names)}"
            raise InputError(message, code="I108", help="one list for each input, in this order")
        return dict(zip(names, self.inputs, strict=True))


def _array(value: object) -> Array:
    return np.asarray(value)


def number(word: str) -> int | float:
    """An integer as such, exactly; otherwise a float. Raises ``ValueError``."""
    if "_" in word:  # which Python takes between digits, and no table
        raise ValueError(f"{word[:40]!r} is no number")
    try:
        return int(word)
    except ValueError:
        return float(word)


def read_file(file: str) -> Array | dict[str, Array]:
    """What a file holds: a tensor, or tensors by name; ``FILE:KEY`` is one of them."""
    path, key = split_key(file)
    content = read_content(path)
    return content if key is None else entry(path, key, content)
