"""The compiler's steps in order: load, sample, rewrite, lower, write.

The finer of two programs is made where the first one's error on the samples is more than half the tolerance.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import syurmy.compiler.ops  # noqa: F401  (fills the registry)
from syurmy.assembler import assemble_file
from syurmy.compiler import graph, load
from syurmy.compiler.calibration import given_samples, random_samples
from syurmy.compiler.channels import Channels, input_scales
from syurmy.compiler.coding import Code
from syurmy.compiler.emit import Emitter, Tensor
from syurmy.compiler.errors import ModelError, UnsupportedModel
from syurmy.compiler.lower import Context, Step, is_lowered, lower
from syurmy.compiler.model import EXAMPLE, PROGRAM, RECORD, TABLES, WEIGHTS, CompiledModel, Port, Row, record
from syurmy.compiler.passes import rewritten
from syurmy.compiler.passes.unroll import flattened
from syurmy.compiler.scales import Precision
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.isa.refusal import refusing
from syurmy.isa.system import build

Array = npt.NDArray[Any]
CALIBRATED_MARGIN, FINE_MARGIN, DEFAULT_MARGIN = 1.25, 1.4, 2.0
TOLERANCE = 1e-3


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
    with refusing(lambda reason: ModelError(f"{path} cannot be compiled: {reason}")):
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
    load.refuse_unknown(model, is_lowered)
    if calibrate is None:
        warnings.warn("no calibration data: scales come from random samples", stacklevel=2)
        samples = random_samples(model)
    else:
        samples = given_samples(model, calibrate)
    model = flattened(model, samples[0], is_lowered)
    precision = Precision(weights, activations, margin or (DEFAULT_MARGIN if calibrate is None else CALIBRATED_MARGIN))
    observed = graph.build(model, samples)
    made = _lowered(observed, precision, committed_params, public_inputs)
    if made.error > tolerance / 2 and any(input_scales(observed, i, 1.0) for i in observed.inputs):
        precision = replace(precision, channels=True)  # features of unlike size, each in a unit of its own
        with contextlib.suppress(UnsupportedModel):
            made = min(made, _lowered(observed, precision, committed_params, public_inputs), key=lambda m: m.error)
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
    g = rewritten(observed, precision)
    out = Emitter(g.name, len(next(iter(g.samples.values()), [0])), committed_params)
    c, steps = lower(g, out, precision, public_inputs)
    inputs = [_input_port(c, i) for i in g.inputs]
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


# ---- writing ---------------------------------------------------------------------------------------------------------


def _port(x: Tensor, model_name: str, g: graph.Graph, code: Code | None = None) -> Port:
    labels = tuple(g.labels.get(model_name, ()))
    return Port(x.name, model_name, g.values[model_name].dtype.name, x.shape, x.scale, code, labels)


def _input_port(c: Context, name: str) -> Port:
    if name not in c.channels:
        return _port(c.tensors[name], name, c.graph, c.coded.get(name))
    x = c.channels[name]
    scales = x.scales.reshape(-1, x.shape[-1])[0]
    p = _port(x.q.scaled(float(scales.max())), name, c.graph)
    return replace(p, scales=tuple(scales.tolist()))


def _difference(floats: Sequence[Array], x: Tensor | Channels) -> float:
    """The largest difference on the samples, where the float model is finite."""
    largest = 0.0
    values, scale = (x.q.values, x.scales) if isinstance(x, Channels) else (x.values, np.asarray(x.scale))
    for f, q in zip(floats, values, strict=True):
        real = f.astype(np.float64)
        d = np.abs(np.nan_to_num(real, posinf=0, neginf=0) - q * scale)
        largest = max(largest, float(d[np.isfinite(real)].max(initial=0.0)))
    return largest


def _write(folder: Path, made: Made, source: str | None) -> CompiledModel:
    g, out, steps = made.graph, made.context.out, made.steps
    folder.mkdir(parents=True, exist_ok=True)
    rows = _rows(g, steps)
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        temporary = Path(inside)
        out.write(temporary, WEIGHTS, TABLES)
        program = assemble_file(temporary / PROGRAM)
        rows = _with_costs(program, steps, rows)
        written = record(source, made.context.precision, made.error, made.inputs, made.outputs, rows)
        (temporary / RECORD).write_text(json.dumps(written, indent=1) + "\n")
        example = {name: np.asarray(g.samples[name][0]) for name in g.inputs}
        np.savez_compressed(temporary / EXAMPLE, **example)  # type: ignore[arg-type]
        shutil.rmtree(folder / TABLES, ignore_errors=True)
        for item in sorted(temporary.iterdir(), key=lambda p: p.name == PROGRAM):  # the program last
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
            peak, scale = max(peak, v.absmax), float(t.scales.max()) if isinstance(t, Channels) else t.scale
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
