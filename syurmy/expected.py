"""What a verifier wants a proof to say: values of public inputs and outputs, and the digest of the key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from syurmy import files
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError
from syurmy.prover.verifier.verify import Statement

SHORTEST = 16  # hexadecimal digits of a digest, 64 bits


def values(options: Sequence[str]) -> dict[str, Array]:
    """Tensors by name, from ``NAME=VALUE`` (a number or a list in JSON), ``NAME=FILE``, or a ``FILE`` of named
    entries (.json, .npz). Raises ``InputError``."""
    out: dict[str, Array] = {}
    for option in options:
        name, eq, text = option.partition("=")
        if eq and name.isidentifier():
            given: Mapping[str, Any] = {name: _value(name, text)}
        else:
            content = files.read_file(option)
            if not isinstance(content, Mapping):
                raise InputError(f"what is {option} the value of?", code="I108", help="use --expect NAME=FILE")
            given = content
        for key, value in given.items():
            if key in out:
                raise InputError(f"'{key}' is expected twice", code="I107")
            out[key] = _numbers(key, value)
    return out


def _value(name: str, text: str) -> Any:
    if (value := files.literal(text)) is not None:
        return value
    if not os.path.exists(text.rpartition(":")[0] or text) and not os.path.exists(text):
        message = f"--expect {name}={text} is neither a value nor a file"
        raise InputError(message, code="I113", help="for example --expect y=7, --expect y=[1,2] or --expect y=y.npy")
    content = files.read_file(text)
    if isinstance(content, Mapping):
        if name not in content:
            raise InputError(f"{text} has no entry '{name}'", code="F111")
        return content[name]
    return content


def _numbers(name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
        exact = np.array(array.tolist(), object) if array.dtype.kind in "biuf" else np.array(value, object)
    except ValueError:
        exact = np.array(None, object)
    if not all(isinstance(x, int | float) for x in exact.flat):
        raise InputError(f"what is expected of '{name}' is no rectangular array of numbers", code="I113")
    return exact


def difference(statement: Statement, wanted: Mapping[str, Array]) -> str:
    """The first difference between the statement's public values and those wanted, as a sentence; empty if there is
    none. Compares exactly, shape included. Raises ``InputError`` for a name that the statement does not show."""
    shown = statement.inputs | statement.outputs
    for name, value in wanted.items():
        if name not in shown:
            listed = ", ".join(shown) or "nothing"
            raise InputError(f"the proof shows no '{name}'", code="I101", help=f"it shows {listed}")
        found = np.asarray(shown[name])
        if found.shape != value.shape:
            return f"'{name}' has shape {list(found.shape)}, {list(value.shape)} is expected"
        for at in np.ndindex(found.shape):
            if int(found[at]) != value[at]:  # Python's comparison, exact also between integers and reals
                return f"{name}{list(at) if at else ''} is {found[at]}, {value[at]} is expected"
    return ""


def other_key(digest: bytes, wanted: str) -> str:
    """A sentence if the digest does not begin with the hexadecimal digits wanted. Raises ``InputError`` for fewer than
    ``SHORTEST`` digits, or others."""
    text = wanted.lower().rstrip("…")
    if not SHORTEST <= len(text) <= 2 * len(digest) or set(text) - set("0123456789abcdef"):
        message = f"--expect-key takes {SHORTEST} to {2 * len(digest)} hexadecimal digits"
        raise InputError(message, code="I114", help="the digest that set-up and verify print")
    return "" if digest.hex().startswith(text) else f"the key is {digest.hex()}, {text} is expected"
