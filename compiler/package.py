"""A compiled model: the files of a folder, float in and float out, and the report on accuracy and cost.

``model.tasm``, ``model.safetensors`` and ``tables/`` are the program; ``model.json`` records what its inputs and
outputs stand for; ``example-input.npz`` is one sample, in reals.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import syurmy.compiler.ops  # noqa: F401  (fills the registry)
from syurmy.assembler import assemble_file
from syurmy.compiler import graph, load
from syurmy.compiler.control import flattened
from syurmy.compiler.emit import Emitter, Tensor
from syurmy.compiler.errors import ModelError, UnsupportedModel
from syurmy.compiler.fuse import fuse
from syurmy.compiler.lower import Context, Step, is_lowered, lower, quantise_input
from syurmy.compiler.ops.embedding import fuse_embeddings
from syurmy.compiler.ops.masked import fuse_masks
from syurmy.compiler.ops.spectrum import fuse_spectra
from syurmy.compiler.qdq import fuse_quantised
from syurmy.compiler.quant import Precision
from syurmy.isa.builder import build
from syurmy.isa.errors import InputError
from syurmy.isa.program import I64, Program

Array = npt.NDArray[Any]
FORMAT = 2
WEIGHTS, TABLES = "model.safetensors", "tables"
DEFAULT_SAMPLES = 4
CALIBRATED_MARGIN, FINE_MARGIN, DEFAULT_MARGIN = 1.25, 1.4, 2.0
MAX_SAMPLES = 64
TOLERANCE = 1e-3
LOOKUP_SECONDS, COMMITTED_SECONDS = 1e-7, 4e-7  # proving, on two cores


@dataclass(frozen=True)
class Port:
    """An input or output: its name in the program and in the model, ``real = scale * integer``, the model's dtype."""

    name: str
    model_name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float


@dataclass(frozen=True)
class Row:
    """One node of the report. ``error`` is the largest difference from the float model on the samples, ``relative``
    the same over the float output's peak; lookups and committed count entries."""

    node: str
    op: str
    peak: float
    scale: float
    error: float
    relative: float
    lookups: int
    committed: int

    @property
    def seconds(self) -> float:
        """Estimated proving time on two cores."""
        return self.lookups * LOOKUP_SECONDS + self.committed * COMMITTED_SECONDS


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A program with the meaning of its inputs and outputs. ``error``: the largest difference of a real output from the
    float model on the calibration samples, over that output's range; ``fine``: see ``compiler.quant``."""

    program: Program
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    folder: Path
    rows: tuple[Row, ...] = field(default=(), repr=False)
    error: float = 0.0
    fine: bool = False

    @staticmethod
    def read(folder: Path, program: Program | None = None) -> CompiledModel:
        """What ``compile_onnx`` wrote; ``program`` if it is assembled already. Raises ``InputError`` if there is no
        readable record, or if it is not the program's."""
        try:
            record = json.loads((folder / "model.json").read_text())
            ports = [tuple(Port(**{**p, "shape": tuple(p["shape"])}) for p in record[k]) for k in ("inputs", "outputs")]
            rows = tuple(Row(**r) for r in record["nodes"])
            error, fine = float(record["error"]), bool(record["precision"]["fine"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(f"{folder / 'model.json'} is not the record of a compiled model", code="F110") from e
        program = program or assemble_file(folder / "model.tasm")
        found = [[(x.name, x.type.shape) for x in program.inputs], [x.name for x in program.outputs]]
        if found != [[(p.name, p.shape) for p in ports[0]], [p.name for p in ports[1]]]:
            raise InputError(f"{folder / 'model.json'} is the record of another program", code="F110")
        return CompiledModel(program, ports[0], ports[1], folder, rows, error, fine)

    def quantise(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, I64]:
        """Integers for the program from the model's inputs, by either name; saturates beyond the input's range."""
        out = {}
        for p in self.inputs:
            key = p.model_name if p.model_name in inputs else p.name
            if key not in inputs:
                raise InputError(f"no value for input '{p.model_name}'", code="I102")
            x = np.asarray(inputs[key])
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                raise InputError(f"input '{p.model_name}' holds NaN or infinity", code="I104")
            x = x.astype(np.float64) if np.dtype(p.dtype).kind == "f" else x
            out[p.name] = quantise_input(x, self.program.input(p.name).type, p.scale)
        unknown = set(inputs) - {n for p in self.inputs for n in (p.name, p.model_name)}
        if unknown:
            raise InputError(f"the model has no input '{min(unknown)}'", code="I101")
        return out

    def dequantise(self, outputs: Mapping[str, npt.NDArray[np.integer[Any]]]) -> dict[str, Array]:
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


def compile_onnx(
    path: str | Path,
    out_dir: str | Path,
    *,
    shapes: load.Shapes | None = None,
    calibrate: Mapping[str, npt.ArrayLike] | None = None,
    weights: int = 16,
    activations: int = 16,
    public_inputs: bool = False,
    committed_params: bool = True,
    margin: float | None = None,
    tolerance: float = TOLERANCE,
) -> CompiledModel:
    """Compiles the model in ``path`` into the folder ``out_dir`` (made if need be; written whole or not at all).

    ``shapes``: input dimensions by name; a free first dimension is 1. ``calibrate``: arrays by input name, one sample
    of the input's shape or several stacked along a leading axis; without it random samples are used, with a warning.
    ``weights``, ``activations``: bits, 8 or 16. ``margin``: largest integer over the samples' peak (1.25, 1.4 if the
    program is made finer, 2 for random samples). ``tolerance``: what a real output may be off, over its range. If it
    is off by more than half of that on the samples, the program is made finer, which costs up to a third more to prove
    (16 bits only). Raises ``ModelError``, ``UnsupportedModel`` with everything that cannot be compiled.
    """
    model = load.load(Path(path), shapes)
    source = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return compile_model(
        model,
        out_dir,
        calibrate=calibrate,
        weights=weights,
        activations=activations,
        public_inputs=public_inputs,
        committed_params=committed_params,
        margin=margin,
        tolerance=tolerance,
        source=source,
    )


def compile_model(
    model: onnx.ModelProto,
    out_dir: str | Path,
    *,
    calibrate: Mapping[str, npt.ArrayLike] | None = None,
    weights: int = 16,
    activations: int = 16,
    public_inputs: bool = False,
    committed_params: bool = True,
    margin: float | None = None,
    tolerance: float = TOLERANCE,
    source: str | None = None,
) -> CompiledModel:
    """``compile_onnx`` for a model that ``load.load`` or ``load.prepare`` made; ``source`` is recorded."""
    if weights not in (8, 16) or activations not in (8, 16):
        raise InputError("weights and activations have 8 or 16 bits", code="I110")
    model = load.inline_functions(model, is_lowered)
    if calibrate is None:
        warnings.warn("no calibration data: scales come from random samples", stacklevel=2)
        samples = random_samples(model)
    else:
        samples = _samples(model, calibrate)
    model = flattened(model, samples[0], is_lowered)
    precision = Precision(weights, activations, margin or (DEFAULT_MARGIN if calibrate is None else CALIBRATED_MARGIN))
    observed = fuse_quantised(graph.build(model, samples))
    for fusion in (fuse_masks, fuse_embeddings, fuse_spectra):
        observed = fusion(observed)
    made = _lowered(observed, precision, committed_params, public_inputs)
    if made.error > tolerance / 2 and (weights, activations) == (16, 16):
        with contextlib.suppress(UnsupportedModel):  # more bits can be more than the machine's 61
            roomy = precision.margin if margin else max(precision.margin, FINE_MARGIN)  # bits to spare
            fine = _lowered(observed, replace(precision, fine=True, margin=roomy), committed_params, public_inputs)
            made = min(made, fine, key=lambda m: m.error)
    return _write(Path(out_dir), made, source)


@dataclass(frozen=True)
class Made:
    """A lowered graph. ``error``: the largest difference of a real output from the float model on the samples, over
    the range of that output."""

    graph: graph.Graph
    context: Context
    steps: Sequence[Step]
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    error: float


def _lowered(observed: graph.Graph, precision: Precision, committed_params: bool, public_inputs: bool) -> Made:
    g = fuse(observed, precision.fine)
    out = Emitter(g.name, len(next(iter(g.samples.values()), [0])), committed_params)
    c, steps = lower(g, out, precision, public_inputs)
    inputs = [_port(c.tensors[i], i, g) for i in g.inputs]
    outputs, error = [], 0.0
    for name in g.outputs:
        x = out.output(name, c.tensor(name))
        outputs.append(_port(x, name, g))
        if c.is_float(name):
            v = g.values[name]
            floats = g.samples[name] if name in g.samples else [g.constants[name]] * out.samples
            span = (v.hi - v.lo) or v.absmax or 1.0
            error = max(error, _difference(floats, x) / span)
    return Made(g, c, steps, inputs, outputs, error)


def random_samples(model: onnx.ModelProto, count: int = DEFAULT_SAMPLES) -> list[dict[str, Array]]:
    """Normal reals and integers 0 or 1, always the same ones."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        one: dict[str, Array] = {}
        for name, dtype, shape in _inputs(model):
            x = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
            one[name] = np.asarray(x).astype(dtype)
        samples.append(one)
    return samples


def _inputs(model: onnx.ModelProto) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    initialised = {t.name for t in model.graph.initializer}
    out = []
    for i in model.graph.input:
        if i.name not in initialised:
            t = i.type.tensor_type
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(t.elem_type))
            out.append((i.name, dtype, tuple(d.dim_value for d in t.shape.dim)))
    return out


def _samples(model: onnx.ModelProto, given: Mapping[str, npt.ArrayLike]) -> list[dict[str, Array]]:
    stacks: dict[str, Array] = {}
    for name, dtype, shape in _inputs(model):
        if name not in given:
            raise ModelError(f"no calibration data for input '{name}'", code="M109")
        x = np.asarray(given[name])
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise ModelError(f"calibration data of '{name}' holds NaN or infinity", code="M109")
        if not math.prod(x.shape[1:]):
            raise ModelError(f"calibration data of '{name}' has no entries: shape {list(x.shape)}", code="M109")
        if x.shape == shape:
            x = x[None]
        elif shape[:1] == (1,) and x.shape[1:] == shape[1:]:
            x = x[:, None]
        if x.shape[1:] != shape or not len(x):
            raise ModelError(
                f"calibration data of '{name}' has shape {list(x.shape)}, expected {list(shape)} or a stack of them",
                code="M109",
            )
        stacks[name] = x.astype(dtype)
    unknown = sorted(set(given) - set(stacks))
    if unknown:
        raise ModelError(f"calibration data for '{unknown[0]}', which is no input", code="M109")
    count = min((len(x) for x in stacks.values()), default=1)
    return [{name: np.asarray(x[k]) for name, x in stacks.items()} for k in range(min(count, MAX_SAMPLES))]


# ---- writing ---------------------------------------------------------------------------------------------------------


def _port(x: Tensor, model_name: str, g: graph.Graph) -> Port:
    return Port(x.name, model_name, g.values[model_name].dtype.name, x.shape, x.scale)


def _real(q: npt.NDArray[np.integer[Any]], p: Port) -> Array:
    dtype = np.dtype(p.dtype)
    if dtype.kind == "f":
        return np.asarray(q.astype(np.float64) * p.scale).astype(dtype)
    return np.asarray(q).astype(dtype)


def _difference(floats: Sequence[Array], x: Tensor) -> float:
    """The largest difference on the samples, where the float model is finite."""
    largest = 0.0
    for f, q in zip(floats, x.values, strict=True):
        real = f.astype(np.float64)
        d = np.abs(np.nan_to_num(real, posinf=0, neginf=0) - q * x.scale)
        largest = max(largest, float(d[np.isfinite(real)].max(initial=0.0)))
    return largest


def _write(folder: Path, made: Made, source: str | None) -> CompiledModel:
    g, out, steps = made.graph, made.context.out, made.steps
    folder.mkdir(parents=True, exist_ok=True)
    rows = _rows(g, steps)
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        temporary = Path(inside)
        out.write(temporary, WEIGHTS, TABLES)
        program = assemble_file(temporary / "model.tasm")
        rows = _with_costs(program, steps, rows)
        record = {
            "format": FORMAT,
            "source": source,
            "precision": asdict(made.context.precision),
            "error": made.error,
            "inputs": [asdict(p) for p in made.inputs],
            "outputs": [asdict(p) for p in made.outputs],
            "nodes": [asdict(r) for r in rows],
        }
        (temporary / "model.json").write_text(json.dumps(record, indent=1) + "\n")
        example = {name: np.asarray(g.samples[name][0]) for name in g.inputs}
        np.savez_compressed(temporary / "example-input.npz", **example)  # type: ignore[arg-type]
        shutil.rmtree(folder / TABLES, ignore_errors=True)
        for item in sorted(temporary.iterdir(), key=lambda p: p.name == "model.tasm"):  # the program last
            os.replace(item, folder / item.name)
    return CompiledModel(
        program, tuple(made.inputs), tuple(made.outputs), folder, tuple(rows), made.error, made.context.precision.fine
    )


def _rows(g: graph.Graph, steps: Sequence[Step]) -> list[Row]:
    rows = []
    for s in steps:
        peak = scale = error = 0.0
        for name, t in s.results:
            v = g.values[name]
            if v.dtype.kind not in "fiub":
                continue
            peak, scale = max(peak, v.absmax), t.scale
            error = max(error, _difference(g.samples[name], t))
        rows.append(Row(s.node.name, s.node.op, peak, scale, error, error / peak if peak else error, 0, 0))
    return rows


def _with_costs(program: Program, steps: Sequence[Step], rows: Sequence[Row]) -> list[Row]:
    """Lookups and committed entries per node, from the constraint system."""
    system = build(program)
    lookups = np.zeros(len(program.code) + 1, np.int64)
    committed = np.zeros(len(program.code) + 1, np.int64)
    for k in system.lookups:
        lookups[k.origin] += k.members[0].size
    for t in system.tuples:
        lookups[t.origin] += math.prod(t.shape)
    for col in system.columns:
        committed[col.origin] += col.size
    return [
        replace(r, lookups=int(lookups[s.first : s.last].sum()), committed=int(committed[s.first : s.last].sum()))
        for s, r in zip(steps, rows, strict=True)
    ]
