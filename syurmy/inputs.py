"""The tensors that ``--input`` names: numbers and lists as they are written, and files of every kind."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy import files, media
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program

Array = npt.NDArray[Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Port:
    """An input that is read: its name, its shape where that is known, whether it takes reals, and its largest value
    (0 if that is not known)."""

    name: str
    shape: tuple[int, ...] | None
    real: bool
    peak: float = 0.0


def of_program(program: Program) -> dict[str, Port]:
    """The inputs of a program by name."""
    return {i.name: Port(i.name, i.type.shape, False) for i in program.inputs}


def beside(program: Path) -> list[str]:
    """What is read where no input is given: ``PROG.inputs.npz`` or ``PROG.inputs.json``, if there is one."""
    found = [program.with_suffix(suffix) for suffix in (".inputs.npz", ".inputs.json")]
    return [str(path) for path in found if path.exists()][:1]


def read(
    options: Sequence[str], ports: Mapping[str, Port], batch: bool = False, tell: Tell = lambda note: None
) -> dict[str, Array]:
    """Tensors by the names of the ports. ``ports`` may list one under several names.

    ``NAME=VALUE`` is a number or a list (``limit=500``, ``x=[1,2]``); ``NAME=FILE`` a file, ``NAME=FILE:KEY`` an entry
    of a ``.npz`` or of an object in a ``.json``; ``FILE`` alone the only input, or all that its keys or columns name.
    A batch axis of 1 that is missing is added, and ``tell`` is told; so are the units of images and sound, and an array
    that is taken though it has another name than the input. With
    ``batch`` every input has one more leading axis. Raises ``InputError``.
    """
    out: dict[str, Array] = {}
    for option in options:
        name, text = _split(option, ports)
        if name is None:
            given = _all(text, ports, batch, tell)
        else:
            given = {ports[name].name: _one(text, ports[name], batch, tell)}
        for key, value in given.items():
            if key in out:
                raise InputError(f"input '{key}' is given twice", code="I107")
            out[key] = value
    return out


def _split(option: str, ports: Mapping[str, Port]) -> tuple[str | None, str]:
    """Name and value. A model's names may hold anything, '=' too."""
    for name in sorted(ports, key=len, reverse=True):
        if option.startswith(f"{name}="):
            return name, option[len(name) + 1 :]
    name, eq, _ = option.partition("=")
    if eq and not os.path.exists(option) and os.sep not in name:
        near = difflib.get_close_matches(name, ports, 1)
        listed = ", ".join(ports) or "none"
        help = f"did you mean '{near[0]}'?" if near else f"inputs: {listed}"
        raise InputError(f"there is no input '{name}'", code="I101", help=help)
    return None, option


def _all(text: str, ports: Mapping[str, Port], batch: bool, tell: Tell) -> dict[str, Array]:
    """Every input whose name a file holds, or the only one."""
    distinct = list(dict.fromkeys(p.name for p in ports.values()))
    if not distinct:
        raise InputError("the program has no inputs", code="I101")
    path, key = files.split_key(text)
    if key is None and path.suffix.lower() not in (*media.IMAGES, *media.SOUNDS):
        content = _content(path)
        if isinstance(content, files.Listed) and "input_data" not in ports:
            by_name = {p.name: p for p in ports.values()}
            return {k: _fitted(v, by_name[k], batch, tell, True) for k, v in content.by_name(distinct, text).items()}
        if isinstance(content, Mapping) and set(content) & set(ports):
            table = path.suffix == ".csv"  # it may have more columns; other entries the machine refuses by their names
            return {
                ports[k].name if k in ports else k: _fitted(v, ports[k], batch, tell, table) if k in ports else v
                for k, v in content.items()
                if k in ports or not table
            }
        if isinstance(content, Mapping) and path.suffix.lower() != ".csv" and len(content) == len(distinct) == 1:
            entry = next(iter(content))
            tell(f"input '{distinct[0]}': {path} has no entry of that name; '{entry}', its only one, is taken")
    if len(distinct) > 1:
        message = f"which input is {text}? There are {len(distinct)} inputs: {', '.join(distinct)}"
        raise InputError(message, code="I108", help="say which: NAME=FILE, or NAME=FILE:KEY for one of several in it")
    return {distinct[0]: _one(text, ports[distinct[0]], batch, tell)}


def _one(text: str, port: Port, batch: bool, tell: Tell) -> Array:
    """The value of one input."""
    if not os.path.exists(text) and (value := files.literal(text)) is not None:
        return _fitted(value, port, batch, tell, listed=value.ndim < 2)
    path, key = files.split_key(text)
    suffix = path.suffix.lower()
    if suffix in (*media.IMAGES, *media.SOUNDS):
        if batch or port.shape is None:
            raise InputError(f"{path} is a single image or sound", code="I115", help="give many as a .npy of all")
        with files.readable(path, "an image or a sound"):
            convert = media.image if suffix in media.IMAGES else media.sound
            value, said = convert(path, port.name, port.shape, port.real)
        tell(said)
        if port.real and port.peak > 10:  # far more than 0 to 1, whatever the margin
            tell(f"input '{port.name}' was calibrated up to {port.peak:.3g}: is {path} what the model expects?")
        return value
    content = _content(path)
    if suffix == ".csv" and isinstance(content, Mapping) and key is None:
        value = content[port.name] if port.name in content else np.stack(list(content.values()), 1)
        return _fitted(value, port, batch, tell, listed=True)
    value = files.entry(path, key, content)
    return _fitted(value, port, batch, tell, listed=suffix not in (".npy", ".npz") and value.ndim < 2)


def _content(path: Path) -> Array | Mapping[str, Array]:
    if path.suffix.lower() == ".csv":
        with files.readable(path, "a table of numbers"):
            return media.table(path)
    return files.read_content(path)


def _fitted(value: Array, port: Port, batch: bool, tell: Tell, listed: bool) -> Array:
    """``value`` in the port's shape where they differ in axes of length 1 only, or where it is one list (of which
    nothing is said if it was ``listed`` in a text, which has no shape)."""
    shape = port.shape
    if shape is None or value.dtype.kind not in "biuf" or value.shape == shape:
        return value
    size = int(np.prod(shape, dtype=np.int64))
    if batch:
        return value.reshape(-1, *shape) if listed and value.ndim < 3 and value.size % size == 0 else value
    if value.size != size or (value.ndim > 1 and _long(value.shape) != _long(shape)):
        return value
    if not listed:
        one = ", a batch of one" if value.shape == shape[1:] else ""
        tell(f"input '{port.name}': {list(value.shape)} becomes {list(shape)}{one}")
    return value.reshape(shape)


def _long(shape: tuple[int, ...]) -> list[int]:
    return [d for d in shape if d != 1]
