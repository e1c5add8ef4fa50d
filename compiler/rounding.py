"""What rounding did to one run: the program beside itself without rounding, instruction by instruction.

    d(y) = f(x + d(x)) - y

where ``y`` is the integer that instruction f gave for the integers ``x``, and ``f(x + d(x))`` what it gives for the
reals that they stand for, without rounding: a ``rescale`` is a product, a table is linear between its entries (where it
jumps, the end that is further away counts; where it is flat, the mean of those around), a root and a quotient are
real. d of an input is what entering it rounded.
So d of an output estimates how far *this* run is from the float model, whatever the samples were: a score that rounds
by 0.1 is nothing beside another of 20, and much beside one of 0.3.

Integers of the model are rounded beside it, too: where a model quantises (``compiler.stepping``), what it makes of the
reals ``x + d(x)``; behind that, what the instructions themselves make of other integers. So d of them is a whole step
where rounding in the program leads to another, and nothing elsewhere.

What is not seen is what rounding does to weights and to entries of tables: ``contract`` measures that on the samples,
as what the estimate leaves. Decisions are none of it (``compiler.undecided``), nor is what is cut off
(``compiler.saturation``). What a decision makes of reals starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from syurmy.compiler.stepping import Stepped
from syurmy.isa.arrays import F64, I64
from syurmy.isa.errors import Trap
from syurmy.isa.instruction import REGISTRY, Call
from syurmy.isa.program import Instruction, Lut, Program
from syurmy.vm.events import Event, Executed, Fetched, Halted

MOST = 2**24  # entries of results: of a run that has more, nothing is estimated
FIXED = 2.0**56  # of a product's sum: d enters it as an integer of as many bits as fit
AROUND, REAL, FEW = 32, 2**12, 2**12  # rows, entries of tables that round reals, and of results that are averaged
JUMP = 8  # a table jumps where a step is so many times the steps beside it
LINEAR = {"mov", "reshape", "transpose", "slice", "put", "concat", "broadcast", "flip", "im2col", "neg", "cast", "sum",
          "pad"}  # fmt: skip
PRODUCTS = {"matmul", "dot", "einsum", "conv2d"}

Off = F64 | None  # of a register; None: nothing
Function = Callable[[Call, Sequence[Any], Sequence[F64], I64], Any]


def _saturated(real: F64, y: I64, lo: float | None, hi: float | None) -> Any:
    return np.clip(real, lo, hi) - y if lo is not None or hi is not None else real - y


def _rescaled(call: Call, q: Sequence[Any], x: Sequence[F64], y: I64) -> Any:
    dtype, lo, hi = call["dtype"], call["lo"], call["hi"]
    lo, hi = dtype.lo if lo is None else lo, dtype.hi if hi is None else hi
    return _saturated(x[0] * (call["mult"] * 2.0 ** -call["shift"]), y, lo, hi)


def _looked_up(call: Call, q: Sequence[Any], x: Sequence[F64], y: I64) -> Any:
    table: Lut = call.lut("table")
    entries = np.asarray(table.array, np.float64)
    if len(entries) < 2:
        return np.zeros(y.shape)
    at = np.clip(x[0] - table.lo, 0, len(entries) - 1)
    k = np.minimum(at.astype(np.int64), len(entries) - 2)
    steps = np.diff(entries)
    step = steps[k]
    beside = np.maximum(np.abs(steps[np.maximum(k - 1, 0)]), np.abs(steps[np.minimum(k + 1, len(steps) - 1)]))
    ends = entries[k] - y, entries[k + 1] - y
    jumps = np.abs(step) > JUMP * (beside + 1)
    further = np.where(np.abs(ends[0]) > np.abs(ends[1]), *ends)
    off = np.where(x[0] == q[0], 0.0, np.where(jumps, further, ends[0] + (at - k) * step))
    flat = _averaged(entries, at, y) if y.size <= FEW and np.abs(entries).max() >= REAL else None
    return off if flat is None else np.where(np.isnan(flat), off, flat)


def _averaged(entries: F64, at: F64, y: I64) -> Any:
    """d where a table is nearly flat, and what rounding did to its entries is more than what it did to their place: the
    mean of those around shows it. NaN elsewhere."""
    k = np.rint(at).astype(np.int64)
    inside = (k >= AROUND) & (k < len(entries) - AROUND)
    k = np.where(inside, k, min(AROUND, len(entries) - 1))
    if len(entries) <= 2 * AROUND:
        return np.full(y.shape, np.nan)
    low, mid, high = entries[k - AROUND], entries[k], entries[k + AROUND]
    flat = inside & (np.abs(high - low) <= AROUND) & (np.abs(high - 2 * mid + low) <= 2)
    around = entries[k[..., None] + np.arange(-AROUND, AROUND + 1)]
    flat &= np.ptp(np.diff(around, axis=-1), axis=-1) <= 2
    return np.where(flat, around.mean(axis=-1) + (at - k) * (high - low) / (2 * AROUND) - y, np.nan)


def _sorted(call: Call, q: Sequence[Any], x: Sequence[F64], y: I64) -> Any:
    down = call.op.name == "topk" or call["descending"]
    real = np.sort(-x[0] if down else x[0], axis=-1)[..., : y.shape[-1]]
    return (-real if down else real) - y


def _shifted(call: Call, q: Sequence[Any], x: Sequence[F64], y: I64) -> Any:
    return x[0] * 2.0 ** (call["amount"] * (1 if call.op.name == "shl" else -1)) - y


FUNCTIONS: dict[str, Function] = {
    "add": lambda call, q, x, y: (x[0] - q[0]) + (x[1] - q[1]),
    "sub": lambda call, q, x, y: (x[0] - q[0]) - (x[1] - q[1]),
    "addi": lambda call, q, x, y: x[0] - q[0],
    "muli": lambda call, q, x, y: (x[0] - q[0]) * float(call["value"]),
    "mul": lambda call, q, x, y: (x[0] - q[0]) * x[1] + q[0] * (x[1] - q[1]),
    "rescale": _rescaled,
    "clamp": lambda call, q, x, y: _saturated(x[0], y, call["lo"], call["hi"]),
    "lut": _looked_up,
    "relu": lambda call, q, x, y: np.maximum(x[0], 0) - y,
    "abs": lambda call, q, x, y: np.abs(x[0]) - y,
    "max": lambda call, q, x, y: np.maximum(x[0], x[1]) - y,
    "min": lambda call, q, x, y: np.minimum(x[0], x[1]) - y,
    "select": lambda call, q, x, y: np.where(q[0] == 1, x[1] - q[1], x[2] - q[2]),
    "reduce_max": lambda call, q, x, y: x[0].max(axis=call["axis"], keepdims=call["keepdims"]) - y,
    "reduce_min": lambda call, q, x, y: x[0].min(axis=call["axis"], keepdims=call["keepdims"]) - y,
    "sort": _sorted,
    "topk": _sorted,
    "gather": lambda call, q, x, y: (x[0] - q[0])[q[1]],
    "div": lambda call, q, x, y: x[0] / np.maximum(x[1], 0.5) - y,
    "mod": lambda call, q, x, y: x[0] - q[0],
    "isqrt": lambda call, q, x, y: np.sqrt(np.maximum(x[0], 0)) - y,
    "shl": _shifted,
    "shr": _shifted,
}
ALWAYS = {"rescale", "isqrt"}  # round whatever they read; a quotient of exact integers is one


@dataclass(frozen=True)
class Whole:
    """What of a program is integers of the model: ``registers``, the instructions that make them (``code``), and where
    it rounds reals to some (``steps``, by instruction). ``rests``: what rounding took from small params and tables."""

    registers: frozenset[str] = frozenset()
    code: frozenset[int] = frozenset()
    steps: Mapping[int, Stepped] = field(default_factory=dict)
    rests: Mapping[str, F64] = field(default_factory=dict)


@dataclass(frozen=True)
class Rounded:
    """Output ``output`` may be ``share`` of its range off on this input, for rounding."""

    output: str
    share: float

    def __str__(self) -> str:
        return f"output '{self.output}' by about {self.share:.1g} of its range"


def told_rounded(found: Sequence[Rounded]) -> str:
    """One sentence for all of them."""
    return f"on this input rounding takes outputs further off than the tolerance: {', '.join(map(str, found[:3]))}"


def largest_off(found: Off, unit: float | F64) -> float:
    """The largest, of units that may differ by column; NaN where one was not estimated."""
    return 0.0 if found is None else float((np.abs(found) * unit).max(initial=0.0))


class Rounding:
    """A listener to a run, or to those of a batch (then d of inputs has a leading axis). ``entered``: d of inputs;
    ``whole``: what of the program is integers of the model; ``read``: registers of which ``found`` holds d at the end
    of every run, NaN where that was too long."""

    def __init__(
        self,
        program: Program,
        entered: Mapping[str, F64],
        whole: Whole,
        read: Collection[str],
        batch: int | None = None,
    ) -> None:
        self.program, self.whole, self.read = program, whole, read
        self.found: list[dict[str, Off]] = []
        entered = {n: d for n, d in entered.items() if n not in whole.registers}
        shapes = {p.name: p.type.shape for p in program.params}
        fixed = {n: r.reshape(shapes[n]) for n, r in whole.rests.items() if n in shapes}
        runs = [entered] if batch is None else [{n: d[k] for n, d in entered.items()} for k in range(batch)]
        self._entered: list[Mapping[str, Off]] = [fixed | run for run in runs]
        self._sources = {s.source for s in whole.steps.values()}
        self._held: dict[str, Any] = {}  # what those hold
        self._off: dict[str, Off] = dict(self._entered[0])
        self._seen = 0
        self._counters: Mapping[str, int] = {}
        luts = {t.name: t for t in program.luts}
        self._calls = [None if REGISTRY[ins.op].control else Call(ins, luts) for ins in program.code]

    def __call__(self, event: Event) -> None:
        if isinstance(event, Fetched):
            self._counters = event.counters
        elif isinstance(event, Executed) and self._seen <= MOST:
            self._seen += event.result.size
            ins = self.program.code[event.index]
            self._held |= {n: q for n, q in zip(ins.src, event.operands, strict=True) if n in self._sources}
            if ins.dst is not None:
                self._off[ins.dst] = self._of(event)
        elif isinstance(event, Halted):
            over = np.full((), np.nan) if self._seen > MOST else None
            self.found.append({name: self._off.get(name) if over is None else over for name in self.read})
            self._off, self._seen = dict(self._entered[min(len(self.found), len(self._entered) - 1)]), 0

    def before(self, ins: Instruction) -> list[Off] | None:
        """d of what an instruction reads, before it is executed; None where that is not known."""
        return None if self._seen > MOST else [self._off.get(name) for name in ins.src]

    def _of(self, event: Executed) -> Off:
        call, y = self._calls[event.index], event.result
        assert call is not None
        call.counters = self._counters
        op, q = call.op.name, event.operands
        off = [self._off.get(name) for name in call.instruction.src]
        step = self.whole.steps.get(event.index)
        if step is not None and (step.always or not _whole([self._off.get(step.source)])):
            return self._stepped(step, y)
        if event.index in self.whole.code and _whole(off):
            return _executed(call, q, off, y)
        if call.instruction.dst in self.whole.registers:
            return None
        rest = self.whole.rests.get(str(call["table"])) if op == "lut" else None
        if all(d is None for d in off) and op not in ALWAYS and rest is None:
            return None
        if op in LINEAR:
            return _linear(call, [np.zeros(v.shape) if d is None else d for v, d in zip(q, off, strict=True)])
        if op in PRODUCTS:
            return _product(call, q, off, y)
        if op not in FUNCTIONS:
            return None
        with np.errstate(all="ignore"):
            x = [np.asarray(v, np.float64) + (0.0 if d is None else d) for v, d in zip(q, off, strict=True)]
            made = np.asarray(FUNCTIONS[op](call, q, x, y), np.float64)
            if rest is not None:
                at = np.clip(np.rint(x[0]).astype(np.int64) - call.lut("table").lo, 0, len(rest) - 1)
                made = made + rest[at]
            return np.broadcast_to(made, y.shape)

    def _stepped(self, step: Stepped, y: I64) -> Off:
        q, d = np.asarray(self._held[step.source], np.float64), self._off.get(step.source)
        made = np.nan_to_num(step(q if d is None else q + d, y).reshape(y.shape) - y)
        return made if made.any() else None


def _whole(off: Sequence[Off]) -> bool:
    return all(d is None or bool((np.rint(d) == d).all()) for d in off)


def _executed(call: Call, q: Sequence[Any], off: Sequence[Off], y: I64) -> Off:
    """What the instruction itself makes of other integers."""
    if all(d is None for d in off):
        return None
    moved = [np.asarray(v, np.int64) + (0 if d is None else d.astype(np.int64)) for v, d in zip(q, off, strict=True)]
    if call.op.name == "lut":
        table = call.lut("table")
        moved[0] = np.clip(moved[0], table.lo, table.hi)
    try:
        return np.asarray(call.op.execute(call, moved) - y, np.float64)
    except Trap:  # where the model's own integers do not lead
        return None


def _linear(call: Call, off: Sequence[F64]) -> F64:
    most = max(float(np.abs(d).max(initial=0.0)) for d in off)
    unit = 2.0 ** np.ceil(np.log2(most / 2.0**40)) if most else 1.0
    fixed = [np.rint(d / unit).astype(np.int64) for d in off]
    made = call.op.execute(call, fixed)
    if call.op.name == "pad":  # with a number
        made = made - call.op.execute(call, [np.zeros_like(fixed[0])])
    return np.asarray(made * unit, np.float64)


def _product(call: Call, q: Sequence[Any], off: Sequence[Off], y: I64) -> F64:
    """``d(a) b + a d(b)``: both by the instruction itself, d as integers in a unit that leaves the sums room."""
    total: Any = np.zeros(y.shape)
    for k, d in enumerate(off):
        if d is None or not d.any():
            continue
        others = [np.asarray(v) for j, v in enumerate(q) if j != k]
        largest = max([max(-int(v.min(initial=0)), int(v.max(initial=0))) for v in others] or [0])
        terms = float(largest or 1) * d.size
        unit = float(np.abs(d).max()) * terms / FIXED
        fixed = np.rint(d / unit).astype(np.int64)
        total = total + call.op.execute(call, [fixed if j == k else v for j, v in enumerate(q)]) * unit
    return np.asarray(total, np.float64)
