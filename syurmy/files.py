"""Files: tensors from disk, and writes that happen whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program


def read_bytes(path: Path) -> bytes:
    """The file's content; ``InputError`` F100 if there is none to be had."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise unreadable(path, e) from e


def unreadable(path: Path, e: OSError) -> InputError:
    return InputError(f"cannot read {path}: {e.strerror or e}", code="F100")


@contextmanager
def written_whole(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Temporary names beside ``paths``; renamed to them when the block ends well, removed when it does not.

    An ``OSError`` on the way (full disk, no permission) becomes ``InputError`` F120.
    """
    temporary: list[Path] = []
    targets = [path.resolve() for path in paths]  # a link stays, what it points to is replaced
    for path in targets:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: not a regular file", code="F120")
    try:
        for path in targets:
            fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
            temporary.append(Path(name))
            os.fchmod(fd, 0o644)
            os.close(fd)
        yield tuple(temporary)
        for t in temporary:  # a full disk may only show here
            with t.open("rb+") as f:
                os.fsync(f.fileno())
        for t, path in zip(temporary, targets, strict=True):
            t.replace(path)
    except OSError as e:
        raise InputError(f"cannot write {paths[0]}: {e.strerror or e}", code="F120") from e
    finally:
        for t in temporary:
            t.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    with written_whole(path) as (temporary,):
        temporary.write_bytes(data)


def read_inputs(program: Program, options: Sequence[str], beside: Path, batch: bool = False) -> dict[str, Array]:
    """The input tensors that ``--input`` names; for a ``batch`` with one more leading axis.

    ``NAME=VALUE`` gives one input as a number or a list (``limit=500``, ``x=[1,2]``); ``NAME=FILE`` from a file;
    ``NAME=FILE:KEY`` takes entry KEY of a ``.npz`` or of an object in a ``.json`` file;
    ``FILE`` alone gives the only input, or all inputs if its keys are their names. Without any option the files
    ``PROG.inputs.npz`` and ``PROG.inputs.json`` beside the program are tried.
    """
    names = [i.name for i in program.inputs]
    if not options and names:
        for suffix in (".inputs.npz", ".inputs.json"):
            default = beside.with_suffix(suffix)
            if default.exists():
                options = [str(default)]
                break
    out: dict[str, Array] = {}
    for option in options:
        name, eq, file = option.partition("=")
        given = (
            {name: _tensor(program, name, file, batch)}
            if eq and name.isidentifier()
            else _unnamed(program, option, batch)
        )
        for key, value in given.items():
            if key in out:
                raise InputError(f"input '{key}' is given twice", code="I107")
            out[key] = value
    return out


def _unnamed(program: Program, file: str, batch: bool) -> dict[str, Array]:
    names = [i.name for i in program.inputs]
    if not names:
        raise InputError("the program has no inputs", code="I101")
    path, key = _split_key(file)
    if key is None:
        content = _read(path)
        if isinstance(content, Mapping) and set(content) & set(names):
            return dict(content)
    if len(names) > 1:
        raise InputError(
            f"the program has {len(names)} inputs: {', '.join(names)}", code="I108", help="use --input NAME=FILE"
        )
    return {names[0]: _tensor(program, names[0], file, batch)}


def _tensor(program: Program, name: str, file: str, batch: bool) -> Array:
    if not os.path.exists(file) and (value := literal(file)) is not None:
        return value
    path, key = _split_key(file)
    content = _read(path)
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
    shape = next((i.type.shape for i in program.inputs if i.name == name), None)
    if path.suffix not in (".npy", ".json") and shape is not None:  # a text file has no shape of its own
        size = int(np.prod(shape, dtype=np.int64))
        if content.size == size and not batch:
            return content.reshape(shape)
        if content.size % size == 0 and batch:
            return content.reshape(-1, *shape)
    return content


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


def _split_key(file: str) -> tuple[Path, str | None]:
    path = Path(file)
    if not os.path.exists(file) and ":" in path.name:
        front, _, key = file.rpartition(":")
        return Path(front), key
    return path, None


def _read(path: Path) -> Array | dict[str, Array]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            return array
        if path.suffix == ".json":
            value = json.loads(path.read_text())
            return {str(k): _array(v) for k, v in value.items()} if isinstance(value, dict) else _array(value)
        return _array([_number(word) for word in path.read_text().replace(",", " ").split()])
    except OSError as e:
        raise unreadable(path, e) from e
    except (ValueError, TypeError, KeyError, EOFError, RecursionError, MemoryError, zipfile.BadZipFile) as e:
        what = {".npz": "a NumPy archive", ".npy": "a NumPy array", ".json": "JSON numbers"}
        expected = what.get(path.suffix, "a list of numbers")
        raise InputError(f"{path} does not hold {expected}", code="F110", help=str(e).partition("\n")[0]) from e


def _array(value: object) -> Array:
    return np.asarray(value)


def _number(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        return float(word)


def read_file(file: str) -> Array | dict[str, Array]:
    """What a file holds: a tensor, or tensors by name; ``FILE:KEY`` is one of them."""
    path, key = _split_key(file)
    content = _read(path)
    if key is None:
        return content
    if not isinstance(content, Mapping) or key not in content:
        raise InputError(f"{path} has no entry '{key}'", code="F111")
    return content[key]


def read_named(options: Sequence[str], names: Mapping[str, str]) -> dict[str, Array]:
    """Tensors from ``NAME=FILE``, a ``FILE`` with entries of such names, or of the only input. ``names`` maps each name
    that may be used to the model's, under which the tensor is returned."""
    out: dict[str, Array] = {}
    for option in options:
        name, eq, file = option.rpartition("=")
        if eq and name not in names:
            raise InputError(f"the model has no input '{name}'", code="I101", help=f"it has {', '.join(names)}")
        content = read_file(file)
        if isinstance(content, Mapping) and not eq and set(content) & set(names):
            found = {names.get(k, k): v for k, v in content.items()}
        elif not eq and len(set(names.values())) != 1:
            listed = ", ".join(dict.fromkeys(names.values())) or "none"
            raise InputError(f"which input is {file}? The model has {listed}", code="I108", help="use NAME=FILE")
        elif isinstance(content, Mapping) and len(content) != 1:
            raise InputError(f"{file} has several entries", code="F111", help=f"name one as {file}:KEY")
        else:
            value = next(iter(content.values())) if isinstance(content, Mapping) else content
            found = {names[name] if eq else next(iter(names.values())): value}
        twice = set(found) & set(out)
        if twice:
            raise InputError(f"input '{min(twice)}' is given twice", code="I107")
        out |= found
    return out
