"""What ``compiler.rounding`` finds on samples and between them, and how far that may be believed.

On a sample the float model is known, so an output's error E has an estimated part S and a rest:

    told at run time:  S > tolerance - min(max |E - S|, tolerance / 2)

Where S is more than there is on more than one sample in ``1 / OVER``, nothing is told.
Between samples S alone says how far off the program is: a softmax or a sigmoid can be flat wherever the samples lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from syurmy.compiler.channels import Channels
from syurmy.compiler.contract import Difference, Measured
from syurmy.compiler.emit import Tensor
from syurmy.compiler.recorded import Limit, Port, entered, rounded_off
from syurmy.compiler.rounding import Rounding, Whole, largest_off
from syurmy.compiler.undecided import Decision
from syurmy.isa.arrays import F64, I64, Array
from syurmy.isa.program import Program
from syurmy.vm.events import Event, Executed
from syurmy.vm.machine import run

MIXED = 16  # rows between samples
OVER = 1 / 8  # of the samples may be estimated to be off further than they are: a step that is taken, after all
EXPLAINED, LEFT = 1 / 4, 1 / 8  # of what is decided by: the error that an estimate shows, and what it may leave then


class Estimates:
    """Estimates for a program whose ``outputs`` stand for the float model's; ``m``: what is known of their errors."""

    def __init__(
        self,
        m: Measured,
        program: Program,
        inputs: Sequence[Port],
        outputs: Mapping[str, Tensor | Channels],
        whole: Whole,
    ) -> None:
        self.m, self.program, self.inputs, self.whole = m, program, inputs, whole
        known = {o: t for o, t in outputs.items() if o in m.tensors and 0 < m.tensors[o].span < np.inf}
        self.outputs = {o: _Measure.of(t, m.tensors[o]) for o, t in known.items()}

    def _run(
        self, floats: Mapping[str, Any], whole: Whole, decisions: Sequence[Decision] = ()
    ) -> tuple[Mapping[str, I64], _Seen]:
        given, off = {}, {}
        for p in self.inputs:
            x = np.asarray(floats[p.model_name])
            given[p.name], _ = entered(x, self.program.input(p.name).type, p)
            if x.dtype.kind == "f" and p.code is None:
                off[p.name] = rounded_off(x, given[p.name], p)
        rounding = Rounding(self.program, off, whole, [t.register for t in self.outputs.values()])
        seen = _Seen(self.program, rounding, decisions)
        return run(self.program, given, listeners=(seen, rounding)).outputs, seen

    def between(self, samples: Sequence[Mapping[str, Any]]) -> float:
        """The largest S over an output's range, on mixtures of two samples."""
        rng, steep = np.random.default_rng(0), 0.0
        own = Whole(self.whole.registers)  # steps apart, which no finer program has less of
        for _ in range(MIXED if self.outputs else 0):
            a, b = (samples[k] for k in rng.integers(0, len(samples), 2))
            share, mixed = rng.uniform(0.2, 0.8), {}
            for p in self.inputs:
                x = np.asarray(a[p.model_name])
                if x.dtype.kind == "f" and p.code is None:
                    x = (share * x + (1 - share) * np.asarray(b[p.model_name])).astype(x.dtype)
                mixed[p.model_name] = x
            _, seen = self._run(mixed, own)
            for o, t in self.outputs.items():
                if self.m.tensors[o].hi > self.m.tensors[o].lo:
                    steep = max(steep, largest_off(seen.off(t.register), t.unit) / t.span)
        return steep

    def judged(
        self, samples: Iterable[Mapping[str, Any]], decisions: Sequence[Decision], tolerance: float
    ) -> tuple[dict[str, Limit], list[Decision]]:
        """What S of an output may be on a run before that is told, and the decisions, of which those whose error is
        explained on ``samples`` (the float model's tensors) are near by what S is on a run."""
        rest = dict.fromkeys(self.outputs, 0.0)
        explained = np.zeros(len(decisions))
        known, over = 0, dict.fromkeys(self.outputs, 0)
        for floats in samples:
            known += 1
            made, seen = self._run(floats, self.whole, decisions)
            explained = np.maximum(explained, seen.decided)
            for o, t in self.outputs.items():
                found, real = seen.off(t.register), np.asarray(floats[o], np.float64)
                off = np.zeros(real.shape) if found is None else found
                with np.errstate(invalid="ignore"):
                    left = (real - (made[t.register] + off) * t.scale) * (t.unit / t.scale)
                rest[o] = max(rest[o], float(np.abs(left[np.isfinite(left) | np.isnan(off)]).max(initial=0.0)))
                most, allowed = largest_off(off, t.unit), tolerance * t.span
                over[o] += not most <= max(self.m.tensors[o].share * t.span, allowed) + allowed / 2  # NaN is not
        limits = {}
        for o, t in self.outputs.items() if known else ():
            if over[o] <= OVER * known and (allowed := tolerance * t.span) > 0:
                limits[o] = Limit(allowed - min(rest[o], allowed / 2), t.span, t.spans)
        if len(limits) < len(self.outputs) or not known:
            return limits, list(decisions)
        return limits, [
            replace(d, rest=int(d.units * LEFT)) if off >= EXPLAINED * d.units / 2 else d
            for d, off in zip(decisions, explained, strict=True)
        ]


class _Measure(NamedTuple):
    """Of an output: its register, what its integers stand for, ``unit`` what they count as beside ``span``: reals, or
    shares of the ranges of unlike columns (``spans``)."""

    register: str
    scale: float | F64
    unit: float | F64
    span: float
    spans: Any = ()

    @staticmethod
    def of(t: Tensor | Channels, d: Difference) -> _Measure:
        register, scale = (t.q.name, t.scales) if isinstance(t, Channels) else (t.name, t.scale)
        if d.spans is None:
            return _Measure(register, scale, scale, d.span)
        return _Measure(register, scale, scale / d.spans, 1.0, d.spans.tolist())


class _Seen:
    """Listens before ``rounding`` does: how far off what is decided by is."""

    def __init__(self, program: Program, rounding: Rounding, decisions: Sequence[Decision]) -> None:
        self.program, self.rounding = program, rounding
        self.decided: F64 = np.zeros(len(decisions))
        self._at: dict[int, list[tuple[int, Decision]]] = {}
        for k, d in enumerate(decisions):
            self._at.setdefault(d.index, []).append((k, d))

    def __call__(self, event: Event) -> None:
        if isinstance(event, Executed):
            for k, d in self._at.get(event.index, ()):
                off = self.rounding.before(self.program.code[event.index])
                found = np.nan if off is None else float(np.max(d.off(off)))
                self.decided[k] = max(self.decided[k], found)

    def off(self, register: str) -> Array | None:
        return self.rounding.found[0][register]
