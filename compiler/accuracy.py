"""How a compiled model does on data: every sample is run, and compared with what is expected."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.compiler.model import Accuracy, CompiledModel
from syurmy.compiler.recorded import Port
from syurmy.files import read_file
from syurmy.isa.errors import InputError
from syurmy.vm.machine import run

Array = npt.NDArray[Any]


def measured(model: CompiledModel, data: Any, expected: Any) -> Accuracy:
    """See ``CompiledModel.accuracy``."""
    entries = read_file(str(data)) if isinstance(data, str | Path) else model.given(data)
    if not isinstance(entries, Mapping):
        entries = model.given(entries)
    inputs = {p.model_name: stacked(entries, (p.model_name, p.name), "input") for p in model.inputs}
    wanted = _wanted(model, entries, expected)
    lengths = {len(x) for x in (*inputs.values(), *wanted.values())}
    if len(lengths) != 1 or 0 in lengths:
        counts = ", ".join(f"'{name}' {len(x)}" for name, x in (inputs | wanted).items())
        raise InputError(f"samples are stacked along the first axis, equally many: {counts}", code="I109")
    (samples,) = lengths
    found: dict[str, list[Array]] = {name: [] for name in wanted}
    saturated = 0
    for k in range(samples):
        integers, cut, _ = model.entered({p.model_name: _sample(inputs[p.model_name][k], p) for p in model.inputs})
        watch = model.watch()
        outputs = model.dequantise(run(model.program, integers, listeners=(watch,)).outputs)
        saturated += bool(cut or watch.found(model.rows))
        for name in wanted:
            found[name].append(outputs[name])
    error, agreement = {}, {}
    for name, them in wanted.items():
        ours = np.stack(found[name])
        same, difference = _compared(name, ours, them)
        if same is not None:
            agreement[name] = float(np.mean(same))
        if difference is not None:
            error[name] = difference
    return Accuracy(samples, error, agreement, saturated)


def stacked(entries: Mapping[str, Any], names: Sequence[str], what: str) -> Array:
    """The entry under one of the names. Raises ``InputError`` I102."""
    for name in names:
        if name in entries:
            return np.asarray(entries[name])
    near = difflib.get_close_matches(names[0], list(entries), 1)
    help = f"did you mean '{near[0]}'?" if near else f"the data hold {', '.join(entries) or 'nothing'}"
    raise InputError(f"the data hold no {what} '{names[0]}'", code="I102", help=help)


def _wanted(model: CompiledModel, entries: Mapping[str, Any], expected: Any) -> dict[str, Array]:
    if expected is not None and not isinstance(expected, Mapping):
        if len(model.outputs) != 1:
            raise InputError(f"which is it of {', '.join(p.model_name for p in model.outputs)}?", code="I108")
        expected = {model.outputs[0].model_name: expected}
    given = entries if expected is None else expected
    wanted = {p.model_name: np.asarray(given[p.model_name]) for p in model.outputs if p.model_name in given}
    if not wanted:
        stacked(given, [model.outputs[0].model_name], "expected output")
    return wanted


def _sample(x: Array, p: Port) -> Array:
    """One of the stacked samples; a leading axis of length 1 in the model's shape may be missing."""
    return x.reshape(p.shape) if x.shape == p.shape[1:] and p.shape[:1] == (1,) else x


def _compared(name: str, ours: Array, them: Array) -> tuple[Array | None, float | None]:
    """Whether the decision of each sample is the same, where there is one; of reals the largest difference over the
    range of ``them``."""
    samples = len(ours)
    integers = ours.dtype.kind != "f"
    if integers or (them.dtype.kind in "iu" and them.size < ours.size):  # of reals: places of the largest
        decided = ours if integers else ours.argmax(axis=-1)
        if decided.size != them.size:
            raise _unlike(name, ours, them)
        return (decided.reshape(samples, -1) == them.reshape(samples, -1)).all(axis=1), None
    if ours.size != them.size:
        raise _unlike(name, ours, them)
    theirs = them.reshape(ours.shape).astype(np.float64)
    range_of = float(theirs.max() - theirs.min()) or 1.0
    difference = float(np.abs(ours - theirs).max()) / range_of
    if ours.ndim < 2 or ours.shape[-1] == 1:  # numbers, no decision
        return None, difference
    same = ours.argmax(axis=-1) == theirs.argmax(axis=-1)
    return same.reshape(samples, -1).all(axis=1), difference


def _unlike(name: str, ours: Array, them: Array) -> InputError:
    shapes = f"{list(them.shape)}, the model's have shape {list(ours.shape)}"
    return InputError(f"what is expected of '{name}' has shape {shapes}", code="I105")
