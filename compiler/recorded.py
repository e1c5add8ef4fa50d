"""What the record of a compiled model holds: inputs and outputs, the report, where tensors are, what was missed.

    real = scale * integer

``record`` is what ``model.json`` says; ``CompiledModel.read`` reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from syurmy import costs
from syurmy.compiler.coding import Code
from syurmy.compiler.generation import Generation
from syurmy.compiler.rounding import Whole
from syurmy.compiler.saturation import End
from syurmy.compiler.stepping import Stepped
from syurmy.compiler.undecided import Decision
from syurmy.isa import reals
from syurmy.isa.arrays import F64, I64, Array
from syurmy.isa.types import TensorType
from syurmy.prover.protocol.description import (
    CODE,
    INTEGER,
    MAX_BYTES,
    RANK,
    REAL,
    Quantity,
    printable,
    scale_of,
)

if TYPE_CHECKING:
    from syurmy.compiler.scales import Precision

T = TypeVar("T")
FORMAT = 8
KINDS: dict[object, Any] = {"str": str, "int": int, "int | None": int | None, "float": int | float}  # as declared
PROGRAM, RECORD, EXAMPLE = "model.tasm", "model.json", "example-input.npz"
WEIGHTS, TABLES, SEGMENTS, TOKENIZER = "model.safetensors", "tables", "segments", "tokenizer.json"


def default_folder(model: Path) -> Path:
    """Where a model is compiled to unless told: ``MODEL`` for ``MODEL.onnx``."""
    return model.with_suffix("") if model.suffix else model.with_name(f"{model.name}.compiled")


def typed(x: T) -> T:
    """``x``, whose fields were taken from JSON, which may hold anything under their names. Raises ``ValueError`` where
    one is not of the type that it declares, or is an integer beyond 64 bits."""
    for f in fields(x):  # type: ignore[arg-type]
        value, kind = getattr(x, f.name), KINDS.get(f.type)
        if kind is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise ValueError(f"{f.name} is a {type(value).__name__}")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(f"{f.name} is too large")
    return x


@dataclass(frozen=True)
class Port:
    """An input or output: its name in the program and in the model, ``real = scale * integer``, the model's dtype.
    ``scales``: one for each position of the last axis, instead of ``scale`` (which is the largest of them).
    ``code``: how an input enters that is only compared, instead of by a scale. ``labels``: what the integers 0, 1, ...
    of an output stand for (of a real one its columns), if they stand for names."""

    name: str
    model_name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float
    code: Code | None = None
    labels: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    unit: str = ""

    @property
    def quantity(self) -> Quantity:
        """What the key says of it. Names and labels that cannot be printed are spelt out."""
        shown = printable(self.model_name)
        scales = tuple(map(scale_of, self.scales or (self.scale,)))
        form, labels = INTEGER, tuple(map(printable, self.labels))
        if np.dtype(self.dtype).kind == "f":
            form = REAL if self.code is None else CODE if self.code.cuts is None else RANK
        fits = form != REAL or self.shape[-1:] == (len(labels),)
        fits &= sum(map(len, labels)) <= MAX_BYTES // 8
        return Quantity(
            self.name,
            "" if shown == self.name else shown,
            form,
            self.dtype,
            scales if form == REAL else (),
            self.unit,
            bool(labels) and fits and form == REAL,
            labels if fits else (),
        )

    def usable(self) -> bool:
        """Whether a record that was read means anything; raises as NumPy does for what is no dtype."""
        kind = np.dtype(self.dtype).kind
        scales = np.array([self.scale, *self.scales], np.float64)
        cuts = None if self.code is None else self.code.cuts
        return bool(
            kind in "fiub"
            and all(isinstance(text, str) for text in (self.name, self.model_name, self.unit, *self.labels))
            and (np.isfinite(scales) & (scales > 0)).all()
            and (not self.scales or len(self.scales) == self.shape[-1])
            and (self.code is None or np.dtype(self.code.dtype).kind == "f")
            and (cuts is None or len(cuts) == math.prod(self.shape))
        )

    @staticmethod
    def read(p: Mapping[str, Any]) -> Port:
        """From its record."""
        code = p.get("code")
        if code is not None:
            cuts = code["cuts"]
            code = Code(code["dtype"], None if cuts is None else tuple(tuple(map(int, at)) for at in cuts))
        lists = {k: tuple(p.get(k, ())) for k in ("labels", "scales")}
        return typed(Port(**{**p, "shape": tuple(p["shape"]), "code": code, **lists}))


@dataclass(frozen=True)
class Row:
    """One node of the report: instructions ``first .. last - 1``. ``error`` is the largest difference from the float
    model on the samples, ``relative`` the same over the float output's peak, ``wrong`` how many integers differ from
    those of the float model; lookups and committed count entries."""

    node: str
    op: str
    peak: float
    scale: float
    error: float
    relative: float
    lookups: int
    committed: int
    wrong: int = 0
    first: int = 0
    last: int = 0

    @property
    def seconds(self) -> float:
        """About how long this part of a proof takes on two cores."""
        return costs.work_seconds(self.lookups, self.committed)


@dataclass(frozen=True)
class Result:
    """A tensor of the float model and the register that stands for it: ``real = scale * integer``, the scale a number
    or nested lists that broadcast to the tensor."""

    name: str
    register: str
    scale: Any


@dataclass(frozen=True)
class Held:
    """What the report's row ``row`` reads and makes, by the model's names."""

    row: int
    inputs: tuple[str, ...]
    results: tuple[Result, ...]

    @staticmethod
    def read(h: Mapping[str, Any]) -> Held:
        """From its record. Raises ``ValueError`` for scales that are none."""
        results = tuple(typed(Result(**r)) for r in h["results"])
        if not all(np.isfinite(np.array(r.scale, np.float64)).all() for r in results):
            raise ValueError
        return Held(int(h["row"]), tuple(map(str, h["inputs"])), results)


@dataclass(frozen=True)
class Limit:
    """What of an output rounding may take off (``least``) before that is told, and its ``span`` on the samples, in
    reals; where columns are unlike, as shares of their ranges, so that ``span`` is 1. ``spans``: these, nested lists
    that broadcast to the output."""

    least: float
    span: float
    spans: Any = ()

    @staticmethod
    def read(x: Mapping[str, Any]) -> Limit:
        """From its record. Raises ``ValueError`` or ``KeyError``."""
        limit = Limit(float(x["least"]), float(x["span"]), x.get("spans") or ())
        spans = np.append(np.array(limit.spans, np.float64), limit.span)
        if not (0 <= limit.least < math.inf and (np.isfinite(spans) & (spans > 0)).all()):
            raise ValueError
        return limit


@dataclass(frozen=True)
class Missed:
    """The worst of the outputs that are further from the float model than the tolerance: a real one by ``error``, over
    its range, or that of its ``column`` where those are unlike (a place of ``axis``, if not of the last); of an integer
    one ``wrong`` entries. ``op``, ``node``: where it began, by ``cause`` (saturation, cancelled sum, resolution,
    decision); ``help``: what to do."""

    output: str
    error: float
    wrong: int
    node: str
    op: str
    cause: str
    what: str
    help: str
    column: int | None = None
    axis: int | None = None

    def __str__(self) -> str:
        of = "its range" if self.column is None else f"the range of its column {self.column}"
        of = of if self.axis is None else f"the range of place {self.column} of its axis {self.axis}"
        by = f"{self.wrong} of its integers" if self.wrong else f"{self.error:.2g} of {of}"
        return (
            f"output '{self.output}' is off by {by} on the samples, more than the tolerance; "
            f"worst at {self.op} '{self.node}' ({self.cause}: {self.what}); {self.help}"
        )


def told_missed(missed: Missed) -> str:
    """One sentence beside a run."""
    return f"this run may be off as the samples were when the model was compiled (compiling it anew helps): {missed}"


def record(
    source: str | None,
    title: str,
    precision: Precision,
    error: float,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    rows: Sequence[Row],
    missed: Missed | None,
    ends: Sequence[End],
    decisions: Sequence[Decision],
    held: Sequence[Held],
    limits: Mapping[str, Limit],
    files: Sequence[str],
    generation: Generation | None,
    cuts: Sequence[int] = (),
    steps: Sequence[Stepped] = (),
    rests: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """What ``CompiledModel.read`` reads. ``source``: digest of the model's file; ``files``: all that belong to it;
    ``cuts``: where it is cut into segments."""
    return {
        "format": FORMAT,
        "source": source,
        "title": title,
        "precision": asdict(precision),
        "error": error,
        "inputs": [asdict(p) for p in inputs],
        "outputs": [asdict(p) for p in outputs],
        "missed": None if missed is None else asdict(missed),
        "nodes": [asdict(r) for r in rows],
        "ends": [[e.index, e.lo, e.hi, e.below, e.above, e.cause] for e in ends],
        "decisions": [asdict(d) for d in decisions],
        "held": [asdict(h) for h in held],
        "limits": {name: asdict(x) for name, x in limits.items()},
        "files": list(files),
        "generation": None if generation is None else asdict(generation),
        "cuts": list(cuts),
        "steps": [asdict(s) for s in steps],
        "rests": dict(rests or {}),
    }


def quantise_input(x: Array, t: TensorType, scale: float | Array) -> I64:
    """Reals to the integers of an input: round half to even, saturate. By a float32 scale in float32, as the model's
    own quantisation does."""
    if x.dtype.kind != "f":
        return np.asarray(x, np.int64)
    return np.asarray(np.clip(reals.integers(x, scale), t.lo, t.hi), np.int64)


def entered(x: Array, t: TensorType, p: Port) -> tuple[I64, int]:
    """The integers of an input, and how many of its reals are more than half a unit beyond its interval."""
    if p.code is not None:  # of a batch one by one
        return p.code.encode(x) if x.shape == p.shape else np.stack([p.code.encode(one) for one in x]), 0
    scale = np.array(p.scales) if p.scales else np.array(p.scale)
    beyond = (x < (t.lo - 0.5) * scale) | (x > (t.hi + 0.5) * scale) if x.dtype.kind == "f" else np.zeros(0, bool)
    return quantise_input(x, t, scale), int(np.count_nonzero(beyond))


def rounded_off(x: Array, q: I64, p: Port) -> F64:
    """By how many units the integers of an input are off; not where they were cut off."""
    off = np.asarray(x, np.float64) / (np.array(p.scales) if p.scales else p.scale) - q
    return np.where(np.abs(off) <= 1, off, 0.0)


def whole(
    held: Sequence[Held],
    spans: Sequence[tuple[int, int]],
    steps: Sequence[Stepped],
    rests: Mapping[str, Sequence[float]],
) -> Whole:
    """What of a program is integers of the model. ``spans``: first and last instruction of every row."""
    own = [h for h in held if all(np.all(np.asarray(r.scale) == 1) for r in h.results)]
    code = frozenset(k for h in own for k in range(*spans[h.row]))
    return Whole(
        frozenset(r.register for h in held for r in h.results if np.all(np.asarray(r.scale) == 1)),
        code,
        {s.index: s for s in steps},
        {name: np.array(r, np.float64) for name, r in rests.items() if len(r)},
    )
