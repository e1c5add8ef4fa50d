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
from collections.abc import Sequence
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
from syurmy.compiler.emit import Emitter, Tensor
from syurmy.compiler.errors import UnsupportedModel
from syurmy.compiler.lower import Context, Step, is_lowered, lower
from syurmy.compiler.model import (
    EXAMPLE,
    PROGRAM,
    RECORD,
    TABLES,
    WEIGHTS,
    CompiledModel,
    Port,
    Row,
    default_folder,
    record,
)
from syurmy.compiler.options import Options
from syurmy.compiler.passes import rewritten
from syurmy.compiler.passes.unroll import flattened
from syurmy.compiler.scales import Precision
from syurmy.files import read_named
from syurmy.isa.builder import build
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program

Array = npt.NDArray[Any]
CALIBRATED_MARGIN, FINE_MARGIN, DEFAULT_MARGIN = 1.25, 1.4, 2.0


def compile_onnx(path: Path, out_dir: Path | None, options: Options) -> CompiledModel:
    """See ``syurmy.compiler.compile_onnx``."""
    if isinstance(options.calibrate, str | Path):
        names = {name: name for name in load.input_names(path)}
        options = replace(options, calibrate=read_named([str(options.calibrate)], names))
    model = load.load(path, options.shapes)
    source = hashlib.sha256(path.read_bytes()).hexdigest()
    return compile_model(model, out_dir or default_folder(path), options, source)


def compile_model(model: onnx.ModelProto, out_dir: Path, options: Options, source: str | None = None) -> CompiledModel:
    """See ``syurmy.compiler.compile_model``; ``source`` is recorded."""
    o = options
    if isinstance(o.calibrate, str | Path):
        raise InputError("a model in memory is calibrated on arrays by input name", code="I110")
    model = load.inline_functions(model, is_lowered)
    load.refuse_unknown(model, is_lowered)
    if o.calibrate is None:
        warnings.warn("no calibration data: scales come from random samples", stacklevel=2)
        samples = random_samples(model)
    else:
        samples = given_samples(model, o.calibrate)
    model = flattened(model, samples[0], is_lowered)
    usual = DEFAULT_MARGIN if o.calibrate is None else CALIBRATED_MARGIN
    precision = Precision(o.weights, o.activations, o.margin or usual)
    observed = graph.build(model, samples)
    made = _lowered(observed, precision, o)
    if made.error > o.tolerance / 2 and (o.weights, o.activations) == (16, 16):
        with contextlib.suppress(UnsupportedModel):  # more bits can be more than the machine's 61
            roomy = precision.margin if o.margin else max(precision.margin, FINE_MARGIN)  # bits to spare
            fine = _lowered(observed, replace(precision, fine=True, margin=roomy), o)
            made = min(made, fine, key=lambda m: m.error)
    return _write(out_dir, made, source)


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


def _lowered(observed: graph.Graph, precision: Precision, options: Options) -> Made:
    g = rewritten(observed, precision)
    out = Emitter(g.name, len(next(iter(g.samples.values()), [0])), options.committed_params)
    c, steps = lower(g, out, precision, options.public_inputs)
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


# ---- writing ---------------------------------------------------------------------------------------------------------


def _port(x: Tensor, model_name: str, g: graph.Graph) -> Port:
    return Port(x.name, model_name, g.values[model_name].dtype.name, x.shape, x.scale)


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
