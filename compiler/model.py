"""A compiled model: the files of a folder, reals in and reals out, and the report on accuracy and cost.

``model.tasm``, ``model.safetensors`` and ``tables/`` are the program; ``model.json`` records what its inputs and
outputs stand for; ``example-input.npz`` is one sample, in reals. Reading and running one needs none of the packages
that compiling does.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from syurmy.compiler.coding import Code
from syurmy.compiler.saturation import End, Saturation, Watch, told
from syurmy.compiler.values import accepted
from syurmy.isa.arrays import I64, Array, Integers
from syurmy.isa.errors import InputError
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.isa.program import Program
from syurmy.isa.types import TensorType

if TYPE_CHECKING:
    from syurmy.compiler.scales import Precision
    from syurmy.isa.trace import Trace
    from syurmy.vm.events import Listener

FORMAT = 5
PROGRAM, RECORD, EXAMPLE = "model.tasm", "model.json", "example-input.npz"
WEIGHTS, TABLES = "model.safetensors", "tables"
LOOKUP_SECONDS, COMMITTED_SECONDS = 1e-7, 4e-7  # proving, on two cores


def default_folder(model: Path) -> Path:
    """Where a model is compiled to unless told: ``MODEL`` for ``MODEL.onnx``."""
    return model.with_suffix("") if model.suffix else model.with_name(f"{model.name}.compiled")


@dataclass(frozen=True)
class Port:
    """An input or output: its name in the program and in the model, ``real = scale * integer``, the model's dtype.
    ``scales``: one for each position of the last axis, instead of ``scale`` (which is the largest of them).
    ``code``: how an input enters that is only compared, instead of by a scale. ``labels``: what the integers 0, 1, ...
    of an output stand for (or its columns, where the model has a map), if they stand for names."""

    name: str
    model_name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float
    code: Code | None = None
    labels: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()

    def usable(self) -> bool:
        """Whether a record that was read means anything; raises as NumPy does for what is no dtype."""
        kind = np.dtype(self.dtype).kind
        scales = np.array([self.scale, *self.scales], np.float64)
        cuts = None if self.code is None else self.code.cuts
        return bool(
            kind in "fiub"
            and all(isinstance(text, str) for text in (self.name, self.model_name, *self.labels))
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
        return Port(
            **{
                **p,
                "shape": tuple(p["shape"]),
                "code": code,
                "labels": tuple(p.get("labels", ())),
                "scales": tuple(p.get("scales", ())),
            }
        )


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
        """Estimated proving time on two cores."""
        return self.lookups * LOOKUP_SECONDS + self.committed * COMMITTED_SECONDS


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
        results = tuple(Result(**r) for r in h["results"])
        if not all(np.isfinite(np.array(r.scale, np.float64)).all() for r in results):
            raise ValueError
        return Held(int(h["row"]), tuple(map(str, h["inputs"])), results)


@dataclass(frozen=True)
class Missed:
    """The worst of the outputs that are further from the float model than the tolerance: a real one by ``error``, over
    its range; of an integer one ``wrong`` entries. ``op``, ``node``: where it began, by ``cause`` (saturation,
    cancelled sum, resolution, decision); ``help``: what to do."""

    output: str
    error: float
    wrong: int
    node: str
    op: str
    cause: str
    what: str
    help: str

    def __str__(self) -> str:
        by = f"{self.wrong} of its integers" if self.wrong else f"{self.error:.2g} of its range"
        return (
            f"output '{self.output}' is off by {by} on the samples, more than the tolerance; "
            f"worst at {self.op} '{self.node}' ({self.cause}: {self.what}); {self.help}"
        )


@dataclass(frozen=True, eq=False)
class ModelRun:
    """One run: real outputs by the model's names, the trace to prove, and where values were cut off."""

    outputs: dict[str, Array]
    trace: Trace
    saturated: tuple[Saturation, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        return (told(self.saturated),) if self.saturated else ()


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A program with the meaning of its inputs and outputs. ``error``: the largest difference of a real output from the
    float model on all samples, over that output's range; ``missed``: what is wrong where that, or an integer output,
    is not as asked; ``fine``: see ``compiler.scales``; ``ends``: where values beyond the samples are cut off;
    ``source``: digest of the model's file; ``held``: where the model's tensors are."""

    program: Program
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    folder: Path
    rows: tuple[Row, ...] = field(default=(), repr=False)
    error: float = 0.0
    fine: bool = False
    missed: Missed | None = None
    ends: tuple[End, ...] = field(default=(), repr=False)
    source: str | None = None
    held: tuple[Held, ...] = field(default=(), repr=False)

    @staticmethod
    def read(folder: Path, program: Program | None = None) -> CompiledModel:
        """What ``compile_onnx`` wrote into a folder; ``program`` if it is assembled already. Raises ``InputError`` if
        there is no readable record, or if it is not the program's."""
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise ValueError
            ports = [tuple(map(Port.read, record[k])) for k in ("inputs", "outputs")]
            rows = tuple(Row(**r) for r in record["nodes"])
            error, fine = float(record["error"]), bool(record["precision"]["fine"])
            missed = None if record["missed"] is None else Missed(**record["missed"])
            ends = tuple(End(*e) for e in record["ends"])
            held, source = tuple(map(Held.read, record["held"])), record["source"]
            if not all(0 <= h.row < len(rows) for h in held):
                raise ValueError
            if not all(map(Port.usable, (*ports[0], *ports[1]))):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
            message = f"{folder / RECORD} is not the record of a compiled model of this version"
            raise InputError(message, code="F110", help="compile the model again") from e
        if program is None:
            from syurmy.assembler import assemble_file

            program = assemble_file(folder / PROGRAM)
        found = [[(x.name, x.type.shape) for x in program.inputs], [x.name for x in program.outputs]]
        if found != [[(p.name, p.shape) for p in ports[0]], [p.name for p in ports[1]]]:
            raise InputError(f"{folder / RECORD} is the record of another program", code="F110")
        if not all(0 <= e.index < len(program.code) for e in ends):
            raise InputError(f"{folder / RECORD} tells of instructions that are not the program's", code="F110")
        return CompiledModel(program, ports[0], ports[1], folder, rows, error, fine, missed, ends, source, held)

    def run(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        max_steps: int = DEFAULT_MAX_STEPS,
        listeners: Sequence[Listener] = (),
    ) -> ModelRun:
        """Real outputs for real inputs, with the trace to prove. Values beyond the calibrated range are warned of, and
        in the result's ``saturated``. Raises as ``quantise`` and ``syurmy.run``."""
        from syurmy.vm.machine import run

        integers, entered = self.entered(inputs)
        watch = self.watch()
        trace = run(self.program, integers, max_steps=max_steps, listeners=(watch, *listeners))
        done = ModelRun(self.dequantise(trace.outputs), trace, entered + watch.found(self.rows))
        for text in done.warnings:
            warnings.warn(text, stacklevel=2)
        return done

    @property
    def names(self) -> dict[str, str]:
        """The model's names of inputs, by what they may be called: those, and the program's where they are not another
        input's."""
        return {p.name: p.model_name for p in self.inputs} | {p.model_name: p.model_name for p in self.inputs}

    def watch(self) -> Watch:
        """A listener that counts values beyond the calibrated range."""
        return Watch(self.program.code, self.ends)

    def quantise(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, I64]:
        """Integers for the program from the model's inputs, by either name. What is beyond the input's range is cut
        off, with a warning."""
        out, cut = self.entered(inputs)
        if cut:
            warnings.warn(told(cut), stacklevel=2)
        return out

    def entered(self, inputs: Mapping[str, npt.ArrayLike]) -> tuple[dict[str, I64], tuple[Saturation, ...]]:
        """``quantise``, and what it cut off."""
        out, cut = {}, []
        given: dict[str, npt.ArrayLike] = {}
        for name, value in inputs.items():
            if name not in self.names:
                raise InputError(
                    f"the model has no input '{name}'", code="I101", help=f"it has {', '.join(self.names)}"
                )
            if self.names[name] in given:
                raise InputError(f"input '{self.names[name]}' is given twice", code="I107")
            given[self.names[name]] = value
        for p in self.inputs:
            if p.model_name not in given:
                raise InputError(f"no value for input '{p.model_name}'", code="I102")
            x = accepted(p.model_name, given[p.model_name], np.dtype(p.dtype))
            if x.shape[max(x.ndim - len(p.shape), 0) :] != p.shape or x.ndim > len(p.shape) + 1:
                message = f"input '{p.model_name}' has shape {list(x.shape)}, expected {list(p.shape)}"
                raise InputError(message, code="I105")
            if p.code is None and x.dtype.kind == "f" and not np.isfinite(x).all():
                raise InputError(f"input '{p.model_name}' holds NaN or infinity", code="I104")
            x = x.astype(np.float64) if p.code is None and x.dtype.kind == "f" else x
            t = self.program.input(p.name).type
            out[p.name], beyond = entered(x, t, p)
            if beyond:
                cut.append(Saturation(p.model_name, "input", beyond, beyond / x.size))
        return out, tuple(cut)

    def dequantise(self, outputs: Mapping[str, Integers]) -> dict[str, Array]:
        """The model's outputs, by its names and in its dtypes, from the program's."""
        return {p.model_name: _real(outputs[p.name], p) for p in self.outputs}

    def report(self) -> str:
        """A table, one line per node, and what costs most accuracy and most lookups."""
        names = ("peak", "scale", "error", "relative", "lookups", "committed", "est. ms")
        lines = [f"{'node':32} {'operator':20}" + "".join(f" {name:>10}" for name in names)]
        for r in self.rows:
            lines.append(
                f"{r.node[:32]:32} {r.op[:20]:20} {r.peak:10.4g} {r.scale:10.3g} {r.error:10.3g} {r.relative:10.2g} "
                f"{r.lookups:10} {r.committed:10} {1000 * r.seconds:10.3g}"
            )
        if self.rows:
            worst = max(self.rows, key=lambda r: r.relative)
            dearest = max(self.rows, key=lambda r: r.seconds)
            total = sum(r.seconds for r in self.rows)
            lines += [
                f"{'total':97}{sum(r.lookups for r in self.rows):11}{sum(r.committed for r in self.rows):11}"
                f" {1000 * total:10.3g}",
                f"least accurate: {worst.op} '{worst.node}', {worst.relative:.2g} of its range",
                f"most costly: {dearest.op} '{dearest.node}', {dearest.lookups} lookups, {dearest.committed} committed",
            ]
        return "\n".join(lines)


def record(
    source: str | None,
    precision: Precision,
    error: float,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    rows: Sequence[Row],
    missed: Missed | None,
    ends: Sequence[End],
    held: Sequence[Held],
    files: Sequence[str],
) -> dict[str, Any]:
    """What ``CompiledModel.read`` reads. ``source``: digest of the model's file; ``files``: all that belong to it."""
    return {
        "format": FORMAT,
        "source": source,
        "precision": asdict(precision),
        "error": error,
        "inputs": [asdict(p) for p in inputs],
        "outputs": [asdict(p) for p in outputs],
        "missed": None if missed is None else asdict(missed),
        "nodes": [asdict(r) for r in rows],
        "ends": [[e.index, e.lo, e.hi] for e in ends],
        "held": [asdict(h) for h in held],
        "files": list(files),
    }


def quantise_input(x: Array, t: TensorType, scale: float | Array) -> I64:
    """Reals to the integers of an input: round half to even, saturate. By a float32 scale in float32, as the model's
    own quantisation does."""
    if x.dtype.kind != "f":
        return np.asarray(x, np.int64)
    unit = np.asarray(scale)
    kind: Any = np.float32 if (unit.astype(np.float32) == unit).all() else np.float64
    with np.errstate(over="ignore"):
        integers = np.rint(x.astype(kind) / unit.astype(kind)).astype(np.float64)
    return np.asarray(np.clip(integers, t.lo, t.hi), np.int64)


def entered(x: Array, t: TensorType, p: Port) -> tuple[I64, int]:
    """The integers of an input, and how many of its reals are more than half a unit beyond its interval."""
    if p.code is not None:  # of a batch one by one
        return p.code.encode(x) if x.shape == p.shape else np.stack([p.code.encode(one) for one in x]), 0
    scale = np.array(p.scales) if p.scales else np.array(p.scale)
    beyond = (x < (t.lo - 0.5) * scale) | (x > (t.hi + 0.5) * scale) if x.dtype.kind == "f" else np.zeros(0, bool)
    return quantise_input(x, t, scale), int(np.count_nonzero(beyond))


def _real(q: Integers, p: Port) -> Array:
    dtype = np.dtype(p.dtype)
    if dtype.kind == "f":
        return np.asarray(q.astype(np.float64) * p.scale).astype(dtype)
    return np.asarray(q).astype(dtype)
