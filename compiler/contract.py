"""What a program is worth: every output and every node beside the float model, on all samples.

Of a real tensor ``error = max |float - scale * integer|`` counts where the float model is finite, over its range for an
output and over its peak for a node; for an output of one row whose columns are of unlike range (several targets, each
in its unit) over each column's. Of an integer or boolean one it counts how many entries differ. The samples that scales
came from were executed while the program was emitted; held-out ones are run here, on the machine itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from syurmy.compiler.channels import Channels, column_spans
from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Graph
from syurmy.compiler.lower import Context, Step
from syurmy.compiler.recorded import Missed, Port, entered
from syurmy.compiler.saturation import Watch
from syurmy.compiler.scales import Precision
from syurmy.isa.arrays import F64, Array
from syurmy.isa.program import Program
from syurmy.isa.trace import Trace
from syurmy.vm.machine import run

SUMS = {"Add", "Sub", "Sum", "ReduceSum", "ReduceMean", "MatMul", "Gemm", "Conv", "Mean", "Einsum"}
LIKE_YOURS = "calibrate on inputs like yours (--calibrate)"
CANCELLED = 2.0**8  # terms so much larger than their sum


@dataclass
class Difference:
    """Of one tensor over samples: the largest difference of reals, the sum of every sample's largest, the float model's
    range, integers that differ. ``spans``: ranges of unlike columns; ``columns``: the largest difference of each, over
    them, and ``sum`` those of all columns of every sample."""

    spans: F64 | None = None
    columns: F64 | None = None
    sum: float = 0.0
    error: float = 0.0
    total: float = 0.0
    lo: float = np.inf
    hi: float = -np.inf
    wrong: int = 0

    def add(self, floats: Array, integers: Array, scale: float | Array) -> None:
        if floats.dtype.kind == "f" and floats.size:
            off = np.multiply(integers, scale, dtype=np.float64)
            with np.errstate(invalid="ignore"):
                off -= floats
            lo, hi = float(floats.min()), float(floats.max())
            if self.spans is not None:
                over = tuple(a for a in range(off.ndim) if self.spans.shape[a] == 1)
                shares = np.max(np.abs(off) / self.spans, axis=over)
                self.columns = shares if self.columns is None else np.maximum(self.columns, shares)
                self.sum += float(shares.sum())
            if not (np.isfinite(lo) and np.isfinite(hi)):
                finite = np.isfinite(floats)
                off, real = off[finite], floats[finite]
                lo, hi = float(real.min(initial=np.inf)), float(real.max(initial=-np.inf))
            most = max(-float(off.min(initial=0.0)), float(off.max(initial=0.0)))
            self.error, self.total = max(self.error, most), self.total + most
            self.lo, self.hi = min(self.lo, lo), max(self.hi, hi)
        elif floats.dtype.kind in "iub":
            same = floats.astype(np.int64) == integers if np.all(scale == 1) else np.zeros(floats.shape, bool)
            self.wrong += int(np.count_nonzero(~same))

    @property
    def peak(self) -> float:
        return max(-self.lo, self.hi, 0.0)

    @property
    def span(self) -> float:
        """The range (the peak of a constant tensor, as a number is on one sample)."""
        return (self.hi - self.lo) or self.peak

    @property
    def share(self) -> float:
        """The error over the range, of the worst column where those are unlike."""
        if self.columns is not None:
            return float(self.columns.max())
        return self.error / (self.span or 1.0) if self.error else 0.0

    @property
    def column(self) -> int | None:
        """Of unlike columns that which is furthest off."""
        return None if self.columns is None else int(np.argmax(self.columns))

    @property
    def axis(self) -> int | None:
        """Along which these are, if not the last."""
        if self.spans is None or self.spans.shape[-1] > 1:
            return None
        return int(np.argmax(self.spans.shape))


@dataclass
class Measured:
    """Differences by tensor of the float model, how many values of held-out samples each instruction cut off, and each
    input; how many decisions there were by less than the program is off (``near``); and the largest share of an
    output's range that rounding takes off between samples (``steep``)."""

    tensors: dict[str, Difference] = field(default_factory=dict)
    steep: float = 0.0
    cut: Counter[int] = field(default_factory=Counter)
    entered: Counter[str] = field(default_factory=Counter)
    near: int = 0

    def add(self, name: str, floats: Array, integers: Array, scale: float | Array) -> None:
        self.tensors.setdefault(name, Difference()).add(floats, integers, scale)

    def error(self, names: Sequence[str]) -> float:
        return max((self.tensors[n].share for n in names if n in self.tensors), default=0.0)

    def total(self, names: Sequence[str]) -> float:
        """Of every sample's largest difference, over its tensor's range, and those of all columns that are unlike."""
        kept = (self.tensors[n] for n in names if n in self.tensors and self.tensors[n].error)
        return sum(d.total / d.error * d.share if d.columns is None else d.sum for d in kept)

    def wrong(self, names: Sequence[str]) -> int:
        return sum(self.tensors[n].wrong for n in names if n in self.tensors)


class OnScaleSamples:
    """By the values that emission computes on ``count`` samples, while they are there; ``outputs`` as they leave."""

    def __init__(self, g: Graph, outputs: Sequence[str], count: int) -> None:
        self.graph, self.outputs, self.count = g, frozenset(outputs), count
        self.measured = Measured()

    def step(self, s: Step) -> None:
        """What a node made."""
        self._add((name, t) for name, t in s.results if name not in self.outputs)

    def left(self, outputs: Mapping[str, Tensor | Channels]) -> Measured:
        """All of it, with the outputs."""
        self.measured.tensors.update({o: Difference(column_spans(self.graph, o)) for o in outputs})
        self._add(outputs.items())
        return self.measured

    def _add(self, made: Iterable[tuple[str, Tensor | Channels]]) -> None:
        g = self.graph
        for name, t in made:
            floats = g.samples[name] if name in g.samples else [g.constants[name]] * self.count
            x, scale = (t.q, t.scales) if isinstance(t, Channels) else (t, t.scale)
            for f, q in zip(floats, x.values, strict=True):
                self.measured.add(name, np.asarray(f), q, scale)


def on_held_out(
    m: Measured,
    program: Program,
    watch: Watch,
    inputs: Sequence[Port],
    steps: Sequence[Step],
    outputs: Mapping[str, Tensor | Channels],
    known: Mapping[str, Any],
) -> None:
    """Adds what the machine gives for a sample that no scale came from. ``known``: the float model's tensors on it."""
    written = {ins.dst: k for k, ins in enumerate(program.code) if ins.dst is not None}
    given = {}
    for p in inputs:
        x, within = np.asarray(known[p.model_name]), program.input(p.name).type
        given[p.name], beyond = entered(x, within, p)
        m.entered[p.model_name] += beyond
    trace = run(program, given, listeners=(watch,))
    for name, t in _tensors(steps, outputs):
        held, scale = (t.q, t.scales) if isinstance(t, Channels) else (t, t.scale)
        if name in known:
            m.add(name, np.asarray(known[name]), integers_of(trace, held.name, given, written), scale)


def _tensors(
    steps: Sequence[Step], outputs: Mapping[str, Tensor | Channels]
) -> Iterator[tuple[str, Tensor | Channels]]:
    made: dict[str, Tensor | Channels] = {}
    for s in steps:
        made.update(s.results)
    return iter({**made, **outputs}.items())  # outputs as they leave


def integers_of(trace: Trace, register: str, inputs: Mapping[str, Array], written: Mapping[str, int]) -> Array:
    """What a register, input or param of a run holds at its end; ``written``: the last instruction that writes each."""
    if register in written:
        return trace.writes[written[register]][-1]
    return inputs[register] if register in inputs else np.asarray(trace.program.data[register], np.int64)


def missed(m: Measured, g: Graph, c: Context, steps: Sequence[Step], tolerance: float, random: bool) -> Missed | None:
    """The worst output beyond the tolerance (any integer that differs is), and where that began."""
    out = max(g.outputs, key=lambda o: (m.wrong([o]) > 0, m.error([o])))
    if not m.wrong([out]) and m.error([out]) <= tolerance:
        return None
    step = _origin(m, g, steps, out, tolerance)
    node, op = (out, "input") if step is None else (step.node.name, step.node.op)
    cause, what, help = "resolution", "its scale", _finer(c, random)
    cut = max(m.entered, key=lambda name: m.entered[name], default="")
    if m.entered[cut]:
        node, op, cause, what, help = cut, "input", *_saturated(m.entered[cut], random)
    elif step is not None:
        cause, what, help = _cause(m, g, c, step, random)
    return Missed(out, m.error([out]), m.wrong([out]), node, op, cause, what, help, m.tensors[out].column,
                  m.tensors[out].axis)  # fmt: skip


def _origin(m: Measured, g: Graph, steps: Sequence[Step], out: str, tolerance: float) -> Step | None:
    """The first node before the output that is off by more than the tolerance itself; else the worst."""
    needed, before = {out}, []
    for s in reversed(steps):
        if needed.intersection(s.node.outputs):
            needed.update(s.node.inputs)
            before.append(s)
    names = [(s, [n for n, _ in s.results]) for s in reversed(before)]
    return next(
        (s for s, made in names if m.error(made) > tolerance or m.wrong(made)),
        max(names, key=lambda p: m.error(p[1]), default=(None, []))[0],
    )


def _cause(m: Measured, g: Graph, c: Context, s: Step, random: bool) -> tuple[str, str, str]:
    here = range(s.first, s.last)
    cut = sum(m.cut[i] for i in here)
    if cut or any(i in c.out.cut for i in here):
        return _saturated(cut, random)
    results = [n for n, _ in s.results]
    if m.wrong(results):
        return "decision", "reals that are nearly equal, or nearly whole, are told apart", _finer(c, random)
    terms = max((g.values[i].absmax for i in s.node.inputs if i in g.values), default=0.0)
    left = max((m.tensors[n].peak for n in results if n in m.tensors), default=0.0)
    if s.node.op in SUMS and terms > CANCELLED * left > 0:
        return "cancelled sum", f"terms up to {terms:.3g} leave {left:.3g}", _finer(c, random)
    off = max((m.tensors[n].error for n in results if n in m.tensors), default=0.0)
    return "resolution", f"off by {off:.2g} where values reach {left:.2g}", _finer(c, random)


def _saturated(cut: int, random: bool) -> tuple[str, str, str]:
    what = f"{cut:,} values of held-out samples are" if cut else "values of the samples are"
    help = LIKE_YOURS if random else "give more samples, or a larger --margin"
    return "saturation", f"{what} beyond its range", help


def _finer(c: Context, random: bool) -> str:
    p: Precision = c.precision
    if min(p.weights, p.activations) < 16:
        return "give weights and activations 16 bits (--weights 16 --activations 16)"
    if random:
        return LIKE_YOURS
    return "bring the parts of the tensors before it to one size, or allow more (--tolerance)"
