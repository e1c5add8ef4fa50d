"""What statements say, as people read it: reals by the key's scales, with units and labels.

A real is printed with as many digits as tell it from its neighbours, in units of its scale or in its own dtype, so what
is printed is what ``--expect`` takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy import display
from syurmy.isa import reals
from syurmy.isa.arrays import I64
from syurmy.isa.records import dataclass
from syurmy.prover.protocol.description import CODE, RANK, REAL, Quantity
from syurmy.prover.verifier.verify import Statement

PLAIN = re.compile(r"[\w./:-]+")
SHOWN = 16  # labels of one tensor


@dataclass(frozen=True)
class Shown:
    """A tensor that a statement shows. ``kind``: input or output."""

    kind: str
    quantity: Quantity
    integers: I64


def shown(statement: Statement) -> list[Shown]:
    """Public inputs, then outputs."""
    d = statement.description
    return [
        *(Shown("input", d.input(name), q) for name, q in statement.inputs.items()),
        *(Shown("output", d.output(name), q) for name, q in statement.outputs.items()),
    ]


def lines(statement: Statement, raw: bool = False) -> list[str]:
    """One line or more for every tensor; ``raw``: the program's integers under its names."""
    return [f"{name} = {text}" for name, text in rows(statement, raw)]


def rows(statement: Statement, raw: bool = False) -> list[tuple[str, str]]:
    """The name and the text of every tensor."""
    out = []
    for s in shown(statement):
        kind = "public input" if s.kind == "input" else "output"
        quantity = Quantity(s.quantity.name) if raw else s.quantity
        out.append((f"{kind} {name_text(quantity.title)}", value_text(quantity, s.integers)))
    return out


def name_text(name: str) -> str:
    """A name, in quotes where it could be taken for something else."""
    return name if PLAIN.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def value_text(x: Quantity, q: I64) -> str:
    """The values of a tensor, its unit, and the labels of its integers or of the largest of its columns."""
    unit = f" {x.unit}" if x.unit else ""
    rank = " (places among thresholds that the key does not tell)" if x.form == RANK else ""
    labels = [quoted(label) if label else "?" for label in labels_of(x, q)]
    more = ", ..." if len(labels) > SHOWN else ""
    told = f" ({'largest: ' if x.columns else ''}{', '.join(labels[:SHOWN])}{more})" if any(labels) else ""
    return f"{display.tensor_text(x.reals(q), digits(x))}{unit}{rank}{told}"


def digits(x: Quantity) -> Callable[[float], str] | None:
    """How a value of this tensor is written; None for integers."""
    if x.form not in (REAL, CODE):
        return None
    places = reals.decimals(min(x.scales)) if x.form == REAL else 400
    dtype: Any = np.dtype(x.dtype).type

    def text(value: float) -> str:
        with np.errstate(over="ignore"):
            own = dtype(value)
        options = [_shortest(own)]
        if places < 20 and abs(value) < 1e15:
            options.append(np.format_float_positional(value, places, fractional=True, unique=False, trim="-"))
        best = min(options, key=len)
        return "0" if best == "-0" else best

    return text


def _shortest(value: np.floating[Any]) -> str:
    if value == 0 or not np.isfinite(value) or 1e-5 <= abs(value) < 1e16:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-")


def labels_of(x: Quantity, q: I64) -> list[str]:
    """What the integers stand for, or with columns the largest of each row; '' where nothing is said."""
    if not x.labels or not q.size:
        return []
    if x.columns:
        return [x.labels[k] for k in x.reals(q).reshape(-1, len(x.labels)).argmax(axis=1)]
    return [x.label(int(v)) or "" for v in q.flat]


def label_data(statement: Statement) -> dict[str, Any]:
    """The labels of labelled tensors, as JSON data: of integers in their shape, of columns those of the largest."""
    out: dict[str, Any] = {}
    for s in shown(statement):
        found: npt.NDArray[Any] = np.array([label or None for label in labels_of(s.quantity, s.integers)], object)
        if found.size:
            shape = s.integers.shape[:-1] if s.quantity.columns else s.integers.shape
            out[s.quantity.title] = found.reshape(shape).tolist()
    return out


def about(x: Quantity) -> Iterator[str]:
    """What a key says of an input or output, in pieces for one line."""
    if x.shown:
        yield f"is {name_text(x.shown)}"
    if x.form == REAL:
        units = f"{float(min(x.scales)):.4g}"
        units += f" to {float(max(x.scales)):.4g}, by column" if len(x.scales) > 1 else ""
        yield f"{x.dtype}, one unit is {units}{x.unit and ' '}{x.unit}"
    elif x.form != "integer":
        yield f"{x.dtype} by its {'order' if x.form == CODE else 'place among thresholds'}"
    elif x.unit:
        yield f"in {x.unit}"
    if x.labels:
        some = ", ".join(map(quoted, x.labels[:3])) + (", ..." if len(x.labels) > 3 else "")
        yield f"{'columns' if x.columns else 'labels'} {some}"


def data_of(x: Quantity) -> Mapping[str, Any]:
    """What a key says of an input or output, as JSON data."""
    return {
        "name": x.name,
        "shown": x.title,
        "form": x.form,
        "dtype": x.dtype,
        "scales": [str(s) for s in x.scales],
        "unit": x.unit,
        "columns": x.columns,
        "labels": list(x.labels),
    }
