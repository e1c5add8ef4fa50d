"""Checks the tensors a user gives to a program: names, shapes, integer dtype, declared interval."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from syurmy.isa.arrays import I64, Array
from syurmy.isa.errors import InputError
from syurmy.isa.program import Input, Program


def validated(program: Program, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, I64]:
    """The declared inputs as fresh read-only int64 arrays, in order of declaration.

    Raises ``InputError``: I101 unknown name, I102 missing, I103 not numbers, I104 floats or NaN, I105 shape,
    I106 a value outside the declared interval (the message names the element).
    """
    _names(program, inputs)
    return {i.name: _checked(i, inputs[i.name]) for i in program.inputs}


def validated_batch(program: Program, inputs: Mapping[str, npt.ArrayLike]) -> list[dict[str, I64]]:
    """The same for inputs that all have one more leading axis: one mapping per input of the batch.

    Raises ``InputError`` as ``validated``, and I109 for leading axes that differ, are missing or empty.
    """
    _names(program, inputs)
    if not program.inputs:
        raise InputError("a program without inputs cannot run as a batch", code="I109")
    lengths: dict[str, int] = {}
    for i in program.inputs:
        shape = _array(i.name, inputs[i.name]).shape
        if shape[1:] != i.type.shape or not shape:
            expected = ", ".join(map(str, ("batch", *i.type.shape)))
            message = f"input '{i.name}' has shape {list(shape)}, expected [{expected}]"
            raise InputError(message, code="I105", help="each input of a batch has one more leading axis")
        lengths[i.name] = shape[0]
    size = next(iter(lengths.values()))
    if set(lengths.values()) != {size} or size == 0:
        listed = ", ".join(f"'{name}' {n}" for name, n in lengths.items())
        raise InputError(f"the leading axes of a batch are equal and not empty, here: {listed}", code="I109")
    whole = {
        i.name: _checked(replace(i, type=i.type.with_shape((size, *i.type.shape))), inputs[i.name])
        for i in program.inputs
    }
    return [{name: values[k] for name, values in whole.items()} for k in range(size)]


def _names(program: Program, inputs: Mapping[str, npt.ArrayLike]) -> None:
    declared = [i.name for i in program.inputs]
    for name in inputs:
        if name not in declared:
            near = difflib.get_close_matches(name, declared, 1)
            listed = ", ".join(declared) or "none"
            help = f"did you mean '{near[0]}'?" if near else f"declared inputs: {listed}"
            raise InputError(f"the program has no input '{name}'", code="I101", help=help)
    missing = [i for i in program.inputs if i.name not in inputs]
    if missing:
        listed = ", ".join(f"'{i.name}' ({i.type})" for i in missing)
        plural = "s" if len(missing) > 1 else ""
        raise InputError(
            f"no value for input{plural} {listed}", code="I102", help="give it with --input NAME=VALUE or NAME=FILE"
        )


def _checked(declared: Input, value: npt.ArrayLike) -> I64:
    t = declared.type
    array = _array(declared.name, value)
    if array.shape != t.shape:
        several = "is it several inputs? then run a batch (--batch)" if array.shape[1:] == t.shape else ""
        raise InputError(
            f"input '{declared.name}' has shape {list(array.shape)}, expected {list(t.shape)}",
            code="I105",
            help="reshape it before it is passed" if array.size == t.size else several,
        )
    if array.dtype.kind == "f":
        raise _not_integer(declared, array)
    if array.dtype.kind == "O":
        if not all(isinstance(x, int) for x in array.flat):
            raise InputError(f"input '{declared.name}' does not hold integers", code="I103")
    elif array.dtype.kind not in "biu":
        raise InputError(f"input '{declared.name}' has dtype {array.dtype}, expected integers", code="I103")
    if array.dtype.kind == "b":
        array = array.astype(np.int8)
    bad = np.argwhere((array < t.lo) | (array > t.hi))  # before conversion, which could wrap around
    if len(bad):
        at = tuple(bad[0].tolist())
        raise InputError(
            f"input '{declared.name}'{list(at) if at else ''} is {int(array[at])}, outside [{t.lo}, {t.hi}]",
            code="I106",
            help=f"{len(bad)} of {array.size} entries are outside" if len(bad) > 1 else "",
        )
    out = np.array(array, dtype=np.int64, order="C")
    out.flags.writeable = False
    return out


def _array(name: str, value: npt.ArrayLike) -> Array:
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as e:
        raise InputError(f"input '{name}' is not a rectangular array", code="I103") from e


def _not_integer(declared: Input, array: Array) -> InputError:
    t = declared.type
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        at = tuple(bad[0].tolist())
        return InputError(
            f"input '{declared.name}'{list(at) if at else ''} is {array[at]}, expected integers in [{t.lo}, {t.hi}]",
            code="I104",
            help="remove NaN and infinite values, then scale and round",
        )
    return InputError(
        f"input '{declared.name}' has dtype {array.dtype}, expected integers in [{t.lo}, {t.hi}]",
        code="I104",
        help="scale and round it to integers first: np.rint(x * scale).astype(np.int64)",
    )
