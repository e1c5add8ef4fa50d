"""What the user says of a model's inputs and outputs: labels and units, for the record and for the key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from syurmy.compiler.options import Options
from syurmy.compiler.recorded import Port
from syurmy.descriptions import labels_in
from syurmy.isa.errors import InputError
from syurmy.prover.protocol.description import checked_text


def described(
    options: Options, inputs: Sequence[Port], outputs: Sequence[Port]
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """The ports with the labels and units of the options. Raises ``InputError`` I116 for labels that do not fit."""
    units = {_known(name, (*inputs, *outputs)): unit for name, unit in (options.units or {}).items()}
    if options.labels is None:
        labels = {}
    elif isinstance(options.labels, Mapping):
        labels = {_known(name, outputs): _labels(given) for name, given in options.labels.items()}
        for p in outputs:
            if p.model_name in labels and not _fits(p, labels[p.model_name]):
                many, shape = len(labels[p.model_name]), list(p.shape)
                raise InputError(f"{many} labels do not fit output '{p.model_name}' of shape {shape}", code="I116")
    else:
        given = _labels(options.labels)
        labels = {p.model_name: given for p in outputs if _fits(p, given)}
        if not labels:
            shapes = ", ".join(f"'{p.model_name}' {list(p.shape)}" for p in outputs)
            raise InputError(f"{len(given)} labels fit no output: {shapes}", code="I116")

    def told(p: Port) -> Port:
        return replace(p, labels=labels.get(p.model_name, p.labels), unit=units.get(p.model_name, p.unit))

    return tuple(replace(p, unit=units.get(p.model_name, p.unit)) for p in inputs), tuple(map(told, outputs))


def _labels(given: Any) -> tuple[str, ...]:
    found = labels_in(Path(given)) if isinstance(given, str | Path) else given
    return tuple(map(checked_text, found))


def _fits(p: Port, labels: Sequence[str]) -> bool:
    """Names the integers of an integer output, the columns of a real one."""
    return np.dtype(p.dtype).kind != "f" or (bool(p.shape) and p.shape[-1] == len(labels))


def _known(name: str, ports: Sequence[Port]) -> str:
    names = {p.model_name: p.model_name for p in ports} | {p.name: p.model_name for p in ports}
    if name not in names:
        near = difflib.get_close_matches(name, list(names), 1)
        help = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(p.model_name for p in ports)}"
        raise InputError(f"the model has no '{name}' to describe", code="I101", help=help)
    return names[name]
