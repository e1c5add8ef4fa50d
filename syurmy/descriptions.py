"""Where a description comes from: the record of a compiled model, or a file ``PROG.description.json`` beside a program.

    {"title": "...", "source": "SHA-256 of the model's file",
     "inputs": {"limit": {"name": "credit limit", "scale": "1/100", "unit": "EUR"}},
     "outputs": {"class": {"labels": ["refused", "granted"]}, "scores": {"scale": 0.5, "columns": ["a", "b", "c"]}}}

Every entry may be left out. ``scale``: a number, a fraction in quotes, or a list of one for each position of the last
axis, all taken exactly; ``labels``: what the integers 0, 1, ... stand for; ``columns``: what the positions of the last
axis are.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from syurmy.files import named_once, unreadable
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.isa.source import read_bytes
from syurmy.prover.protocol.description import INTEGER, REAL, Description, Quantity, wrong

LONGEST = 400  # characters of a scale


def beside(program_path: Path, program: Program) -> Description:
    """What is said of the program in this file. Raises ``InputError`` for what cannot be used."""
    file = program_path.with_suffix(".description.json")
    if file.exists():
        return read(file, program)
    from syurmy.compiler.model import CompiledModel
    from syurmy.compiler.recorded import PROGRAM, RECORD

    if program_path.name == PROGRAM and (program_path.parent / RECORD).exists():
        return CompiledModel.read(program_path.parent, program).description
    return Description()


def read(file: Path, program: Program) -> Description:
    """The description in a JSON file. Raises ``InputError`` I130 for a file that is not one, K124 for what it says."""
    try:
        text = read_bytes(file).decode()
        data = json.loads(text, parse_float=_exact, parse_constant=_exact, object_pairs_hook=named_once)
    except OSError as e:
        raise unreadable(file, e) from e
    except (ValueError, RecursionError) as e:
        raise InputError(f"{file} is not JSON", code="I130", help=str(e)) from e
    entries = _entries(data, f"{file}", ("title", "source", "inputs", "outputs"))
    try:
        source = bytes.fromhex(_text(entries, "source"))
    except ValueError:
        raise wrong("the source is no SHA-256 in hexadecimal digits") from None
    sides = []
    for key, declared in (("inputs", program.inputs), ("outputs", program.outputs)):
        names = [d.name for d in declared]
        given = _entries(entries.get(key, {}), f"{key} in {file}", names)
        sides.append(tuple(_quantity(name, given[name]) for name in names if name in given))
    out = Description(_text(entries, "title"), source, *sides)
    out.check(program)
    return out


def labels_in(path: Path) -> tuple[str, ...]:
    """The labels in a file: a list in JSON, or one a line. Raises ``InputError``."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as e:
        raise InputError(f"{path} is not UTF-8 text", code="F110") from e
    except (OSError, ValueError) as e:
        raise unreadable(path, e) from e
    if path.suffix != ".json":
        return tuple(line.strip() for line in text.splitlines())
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path} is not JSON", code="F110", help=str(e)) from e
    return _texts(found, str(path))


def _quantity(name: str, given: Any) -> Quantity:
    entries = _entries(given, f"'{name}'", ("name", "scale", "unit", "labels", "columns"))
    if "labels" in entries and "columns" in entries:
        raise wrong(f"'{name}' has labels and columns: integers stand for the one, positions for the other")
    scale = entries.get("scale")
    scales = () if scale is None else tuple(map(_scale, scale if isinstance(scale, list) else [scale]))
    shown = _text(entries, "name")
    return Quantity(
        name,
        "" if shown == name else shown,
        REAL if scales else INTEGER,
        "float64" if scales else "int64",
        scales,
        _text(entries, "unit"),
        "columns" in entries,
        _texts(entries.get("columns", entries.get("labels", [])), f"'{name}'"),
    )


def _entries(given: Any, where: str, known: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise InputError(f"{where} holds no object of named entries", code="I130")
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, list(known), 1)
            help = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known) or 'none'}"
            raise InputError(f"{where}: nothing is called '{key}'", code="I131", help=help)
    return given


def _text(entries: Mapping[str, Any], key: str) -> str:
    value = entries.get(key, "")
    if not isinstance(value, str):
        raise wrong(f"'{key}' is no text")
    return value


def _texts(given: Any, where: str) -> tuple[str, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(x, str) for x in given):
        raise wrong(f"{where} holds no list of labels")
    return tuple(given)


def _exact(text: str) -> Fraction:
    """A number as it is written. Raises ``ValueError``."""
    if len(text) > LONGEST or not -400 < int("0" + text.lower().partition("e")[2].lstrip("+-")) < 400:
        raise ValueError(f"{text[:40]} is no number of usable size")
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ValueError(f"{text} divides by zero") from None


def _scale(value: Any) -> Fraction:
    if isinstance(value, str):
        try:
            return _exact(value)
        except ValueError:
            raise wrong(f"a scale is {value[:40]!r}, no number and no fraction such as 1/100") from None
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise wrong("a scale is no number")
    return Fraction(value)
