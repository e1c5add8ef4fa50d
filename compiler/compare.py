"""Where a compiled model parts from its float original: node by node, the float value beside the integer's real value.

Of a tensor over the inputs given

    error = max |float - scale * integer|,  mean = mean |float - scale * integer|,  relative = error / (hi - lo)

where lo and hi are the float model's extremes (the peak for a constant tensor); of integers and booleans, how many
differ. An error *begins* at a node whose tensor is off by more than the tolerance while none of those it reads is.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import syurmy.compiler.ops  # noqa: F401  (fills the registry)
from syurmy.compiler import causal, graph, load
from syurmy.compiler.calibration import given_samples
from syurmy.compiler.contract import CANCELLED, SUMS, integers_of
from syurmy.compiler.generation import LENGTH, PROMPT
from syurmy.compiler.lower import is_lowered, lowerings
from syurmy.compiler.model import CompiledModel
from syurmy.compiler.passes.unroll import flattened
from syurmy.compiler.recorded import Result
from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.isa.trace import Trace
from syurmy.vm.machine import run

Array = npt.NDArray[Any]
SHOWN = 6  # tensors that the worst element is traced to
ENTRYWISE = (".elementwise", ".activation", ".logic")  # the files of their lowerings


@dataclass(frozen=True)
class Worst:
    """Where a tensor is furthest off: the input (from 0), the entry, both values, and what its node reads there (the
    same entry by broadcasting; a tensor of another shape by its error alone)."""

    sample: int
    element: tuple[int, ...]
    expected: float
    found: float
    inputs: tuple[tuple[str, float | None, float | None, float], ...] = ()


@dataclass
class NodeDifference:
    """One tensor that a node makes. ``saturated``: values of the node that were cut off beyond their calibrated range.
    ``begins``: the error begins here, by ``cause`` (saturation, decision, cancelled sum, table, resolution)."""

    node: str
    op: str
    tensor: str
    row: int
    entries: int = 0
    lo: float = np.inf
    hi: float = -np.inf
    error: float = 0.0
    total: float = 0.0
    wrong: int = 0
    saturated: int = 0
    worst: Worst | None = None
    begins: bool = False
    cause: str = ""
    inputs: tuple[str, ...] = field(default=(), repr=False)

    @property
    def mean(self) -> float:
        return self.total / self.entries if self.entries else 0.0

    @property
    def relative(self) -> float:
        span = (self.hi - self.lo) or max(-self.lo, self.hi)
        return self.error / span if self.error and np.isfinite(span) and span > 0 else self.error

    def off(self, tolerance: float) -> bool:
        return self.wrong > 0 or self.relative > tolerance

    def add(self, sample: int, floats: Array, real: Array) -> None:
        self.entries += floats.size
        if floats.dtype.kind == "f":
            x = floats.astype(np.float64)
            finite = np.isfinite(x)
            self.lo = min(self.lo, float(x[finite].min(initial=np.inf)))
            self.hi = max(self.hi, float(x[finite].max(initial=-np.inf)))
            off = np.where(finite, np.abs(np.where(finite, x, 0.0) - real), 0.0)
        else:
            off = np.abs(floats.astype(np.float64) - real)
            self.wrong += int(np.count_nonzero(off))
            self.lo, self.hi = min(self.lo, float(floats.min())), max(self.hi, float(floats.max()))
        self.total += float(off.sum())
        at = int(off.argmax())
        if self.worst is None or off.flat[at] > self.error:
            self.error = float(off.flat[at])
            element = tuple(int(i) for i in np.unravel_index(at, off.shape))
            self.worst = Worst(sample, element, float(floats[element]), float(real[element]))


@dataclass(frozen=True)
class Comparison:
    """Tensors in the order in which the model computes them; ``same_source``: the float model is the file that was
    compiled (None: the record does not say)."""

    tensors: tuple[NodeDifference, ...]
    tolerance: float
    samples: int
    same_source: bool | None

    @property
    def first(self) -> NodeDifference | None:
        """Where an error first begins."""
        return next((d for d in self.tensors if d.begins), None)

    @property
    def largest(self) -> NodeDifference | None:
        return max(self.tensors, key=lambda d: (d.wrong > 0, d.relative), default=None)


def compare(
    model: CompiledModel,
    original: Path,
    inputs: Mapping[str, npt.ArrayLike],
    tolerance: float = 1e-3,
) -> Comparison:
    """Runs both on ``inputs`` (by the model's names; one sample each, or several stacked) and compares every tensor
    that both have. Raises ``InputError`` and ``ModelError``, as compiling and running do, and ``Trap``."""
    own, ends, change = model.inputs, {}, None
    if model.chained is not None:
        raise InputError(
            "the program is one step of writing a text: its caches are integers of many units in one input",
            code="I147",
            help="compile the model without --cache to compare it with the float model",
        )
    if model.generation is not None:  # the lengths of a text are no inputs of the float model
        own = tuple(p for p in own if p.model_name not in (PROMPT, LENGTH))
        ends = {name: model.generation.total for name in (PROMPT, LENGTH)}
        inputs = {name: x for name, x in inputs.items() if name not in ends}
        change = functools.partial(causal.wrapped, show=model.generation.show, least=model.generation.least)
    float_model = load.load(original, {p.model_name: p.shape for p in own}, change)
    float_model = load.inline_functions(float_model, is_lowered)
    samples = given_samples(float_model, inputs)
    float_model = flattened(float_model, samples[0], is_lowered)
    floats = graph.Runner(float_model)
    made = [
        NodeDifference(model.rows[h.row].node, model.rows[h.row].op, r.name, h.row, inputs=h.inputs)
        for h in model.held
        for r in h.results
    ]
    results = [r for h in model.held for r in h.results]
    scales = {r.name: r for r in results}
    ports = {p.model_name: Result(p.model_name, p.name, list(p.scales) or p.scale) for p in own}
    entered = [NodeDifference(name, "input", name, -1) for name in ports]
    watch = model.watch()
    for k, sample in enumerate(samples):
        known = {name: np.asarray(x) for name, x in floats(sample).items() if x is not None}
        known |= {name: np.asarray(x) for name, x in sample.items()}
        integers, cut, _ = model.entered({**sample, **ends})
        trace = run(model.program, integers, listeners=(watch,))
        reals = _Reals(trace, integers, {**ports, **scales})
        for d in entered:
            if own[list(ports).index(d.tensor)].code is None:
                d.add(k, known[d.tensor], reals(d.tensor))
            d.saturated += sum(s.entries for s in cut if s.node == d.tensor)
        for d in made:
            if d.tensor in known and known[d.tensor].shape == reals(d.tensor).shape and known[d.tensor].size:
                before = d.error if d.worst else -1.0
                d.add(k, known[d.tensor], reals(d.tensor))
                if d.worst is not None and d.error > before:
                    d.worst = _with_inputs(d.worst, d.op, d.inputs, known, reals)
    found = watch.cut
    for d in made:
        r = model.rows[d.row]
        d.saturated = sum(found[i] for i in found if r.first <= i < r.last)
    seen = tuple(d for d in (*entered, *made) if d.entries)
    _mark(model, seen, tolerance)
    return Comparison(seen, tolerance, len(samples), _same(model, original))


class _Reals:
    """What the registers of one run stand for, by the float model's names."""

    def __init__(self, trace: Trace, inputs: Mapping[str, I64], results: Mapping[str, Result]) -> None:
        self.written = {ins.dst: k for k, ins in enumerate(trace.program.code) if ins.dst is not None}
        self.trace, self.inputs, self.results = trace, inputs, results
        self.known: dict[str, Array] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.results

    def __call__(self, name: str) -> Array:
        if name not in self.known:
            r = self.results[name]
            integers = integers_of(self.trace, r.register, self.inputs, self.written)
            try:
                scale = np.broadcast_to(np.array(r.scale, np.float64), integers.shape)
            except ValueError as e:
                message = f"the scale of {name!r} in the record of the model does not fit the tensor"
                raise InputError(message, code="F110", help="compile the model again") from e
            self.known[name] = integers * scale
        return self.known[name]


def _entrywise(op: str) -> bool:
    """Whether an entry of the result is a function of the operands' entries there."""
    return any(f.__module__.endswith(ENTRYWISE) for f in lowerings(op))


def _with_inputs(worst: Worst, op: str, names: Sequence[str], known: Mapping[str, Array], reals: _Reals) -> Worst:
    """With what the node's operands hold at that entry."""
    found: list[tuple[str, float | None, float | None, float]] = []
    for name in dict.fromkeys(names):
        if name not in known or name not in reals or known[name].shape != reals(name).shape or not known[name].size:
            continue
        x, y = known[name].astype(np.float64), reals(name)
        off = np.abs(np.where(np.isfinite(x), x, 0.0) - y)
        off[~np.isfinite(x)] = 0.0
        at = _broadcast(worst.element, x.shape) if _entrywise(op) else None
        here = (None, None) if at is None else (float(x[at]), float(y[at]))
        found.append((name, *here, float(off.max())))
    return Worst(worst.sample, worst.element, worst.expected, worst.found, tuple(found[:SHOWN]))


def _broadcast(element: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The entry of a tensor of ``shape`` that broadcasting puts at ``element``; None where shapes do not fit."""
    if len(shape) > len(element):
        return None
    at = tuple(0 if d == 1 else i for i, d in zip(element[len(element) - len(shape) :], shape, strict=True))
    return at if all(i < d for i, d in zip(at, shape, strict=True)) else None


def _mark(model: CompiledModel, tensors: Sequence[NodeDifference], tolerance: float) -> None:
    """Says where errors begin, and why."""
    by_name = {d.tensor: d for d in tensors}
    for d in tensors:
        read = [by_name[i] for i in d.inputs if i in by_name]
        if d.off(tolerance) and not any(r.off(tolerance) for r in read):
            d.begins, d.cause = True, _cause(model, d, read)


def _cause(model: CompiledModel, d: NodeDifference, read: Sequence[NodeDifference]) -> str:
    if d.saturated:
        return "saturation"
    if d.wrong:
        return "decision"
    terms = max((max(-r.lo, r.hi) for r in read), default=0.0)
    if d.op in SUMS and terms > CANCELLED * max(-d.lo, d.hi) > 0:
        return "cancelled sum"
    row = model.rows[d.row] if d.row >= 0 else None
    if row is not None and any(ins.op == "lut" for ins in model.program.code[row.first : row.last]):
        return "table"
    return "resolution"


CAUSES = {
    "saturation": "values beyond the calibrated range were cut off: calibrate on inputs like this, or raise --margin",
    "decision": "reals that are nearly equal, or nearly whole, are told apart by less than the program's resolution",
    "cancelled sum": "large terms leave a small sum: their rounding errors stay",
    "table": "a function is tabulated too coarsely where this value lies: more --activations bits, or a tolerance that "
    "asks for a finer program",
    "resolution": "one unit of the integers is too large for this tensor: more bits, or calibrate on inputs like this",
}


def _same(model: CompiledModel, original: Path) -> bool | None:
    import hashlib

    if model.source is None:
        return None
    return hashlib.sha256(original.read_bytes()).hexdigest() == model.source
