"""RNN, GRU and LSTM as loops: one copy of the step, run once per step of time.

The inputs' part of all gates is one product for all steps, before the loop. Inside, with s and tanh the gates'
functions (ONNX's equations, gates in its order):

    RNN   h' = f(x W + h R + b)
    GRU   z, r = s(..), s(..);  g = tanh(x W + (r h) R + b)  or  tanh(x W + b + r (h R + b'));  h' = g + z (h - g)
    LSTM  i, o, f = s(..);  g = tanh(..);  c' = f c + i g;  h' = o tanh(c')

Every equation is written once, for an arithmetic that is either reals (which gives the float states, and with them the
units) or instructions. Units of states and of bounded functions are powers of two, so a step is rounded but no step
scales a state by a little less than 1. Weights and biases are constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.loops import Loop
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.narrowing import SAME
from syurmy.compiler.ops.activation import FUNCTIONS
from syurmy.compiler.ops.linear import matrix_product
from syurmy.compiler.scales import FINE_BITS
from syurmy.isa.arrays import F64, I64
from syurmy.isa.types import DType, TensorType

Operand = Tensor | F64
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
FIRST = {"LeakyRelu": "alpha", "ThresholdedRelu": "alpha", "Elu": "alpha", "HardSigmoid": "alpha"}
BOUNDED = {"Sigmoid", "Tanh", "HardSigmoid", "Softsign"}  # by 1
STATE_BITS = 15  # of a state's magnitude on the samples, and of bounded functions; fine programs have FINE_BITS
LEAST_WEIGHT = 2**12  # units of the largest weight of states: its error meets every step
MAX_RATIO = 2**24  # of units that meet in an exact sum
ROOM = 2  # bits that an unbounded state keeps above the samples where the program is fine

T = TypeVar("T")


@dataclass(frozen=True)
class Weights:
    """Of one direction: ``r`` [gates * hidden, hidden]; the biases of inputs and of states, ``peep`` of an LSTM."""

    r: Operand
    bias: F64
    peep: F64 | None
    hidden: int

    def gate(self, k: int, count: int = 1) -> slice:
        return slice(k * self.hidden, (k + count) * self.hidden)


class Arithmetic(Protocol, Generic[T]):
    """What the equations are written in. Values are [batch, width]."""

    def part(self, x: T, columns: slice) -> T: ...
    def sum(self, *xs: T | F64) -> T: ...
    def times(self, a: T | F64, b: T) -> T: ...
    def less(self, a: T, b: T) -> T: ...
    def matrix(self, h: T, r: Operand, rows: slice) -> T: ...
    def narrow(self, x: T) -> T: ...
    def function(self, k: int, x: T) -> T: ...
    def state(self, k: int, x: T) -> T: ...


Step = Callable[[Node, Arithmetic[T], Weights, T, T, T], tuple[T, T]]


def _rnn(n: Node, a: Arithmetic[T], w: Weights, x: T, h: T, cell: T) -> tuple[T, T]:
    all_ = w.gate(0)
    new = a.state(0, a.function(0, a.sum(x, a.matrix(h, w.r, all_), w.bias[0] + w.bias[1])))
    return new, new


def _gru(n: Node, a: Arithmetic[T], w: Weights, x: T, h: T, cell: T) -> tuple[T, T]:
    gates, last, both = w.gate(0, 2), w.gate(2), w.bias[0] + w.bias[1]
    zr = a.function(0, a.sum(a.part(x, gates), a.matrix(h, w.r, gates), both[gates]))
    z, reset = a.part(zr, w.gate(0)), a.part(zr, w.gate(1))
    if n.attr("linear_before_reset", 0):
        inner = a.times(reset, a.sum(a.matrix(h, w.r, last), w.bias[1][last]))
        s = a.sum(a.part(x, last), inner, w.bias[0][last])
    else:
        s = a.sum(a.part(x, last), a.matrix(a.times(reset, h), w.r, last), both[last])
    g = a.function(1, s)
    new = a.state(0, a.sum(g, a.times(z, a.less(h, g))))
    return new, new


def _lstm(n: Node, a: Arithmetic[T], w: Weights, x: T, h: T, cell: T) -> tuple[T, T]:
    zs = a.sum(x, a.matrix(h, w.r, w.gate(0, 4)), w.bias[0] + w.bias[1])
    if w.peep is None:
        zs = a.narrow(zs)
        gates = a.function(0, a.part(zs, w.gate(0, 3)))  # one table for three gates
        i, o, f = (a.part(gates, w.gate(k)) for k in range(3))
    else:
        i, o, f = (a.part(zs, w.gate(k)) for k in range(3))
        i = a.function(0, a.sum(i, a.times(w.peep[w.gate(0)], cell)))
        f = a.function(0, a.sum(f, a.times(w.peep[w.gate(2)], cell)))
    keep = a.less(cell, a.times(i, cell)) if n.attr("input_forget", 0) else a.times(f, cell)
    new_cell = a.state(1, a.sum(keep, a.times(i, a.function(1, a.part(zs, w.gate(3))))))
    if w.peep is not None:
        o = a.function(0, a.sum(o, a.times(w.peep[w.gate(1)], new_cell)))
    return a.state(0, a.times(o, a.function(2, new_cell))), new_cell


STEPS: dict[str, Step[Any]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}


# ---- the two arithmetics ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A gate's function; ``bounded`` by 1."""

    name: str
    f: Callable[[F64], F64]
    bounded: bool


def _real(x: Operand, k: int) -> F64:
    return np.asarray(x.values[k] * x.scale if isinstance(x, Tensor) else x, np.float64)


def _relu(x: F64) -> F64:
    return np.maximum(x, 0)


@dataclass(frozen=True)
class Reals:
    """The float model, on one sample."""

    functions: Sequence[Function]
    sample: int

    def part(self, x: F64, columns: slice) -> F64:
        return x[:, columns]

    def sum(self, *xs: F64) -> F64:
        return np.asarray(sum(xs), np.float64)

    def times(self, a: F64, b: F64) -> F64:
        return a * b

    def less(self, a: F64, b: F64) -> F64:
        return a - b

    def matrix(self, h: F64, r: Operand, rows: slice) -> F64:
        return np.asarray(h @ _real(r, self.sample)[rows].T, np.float64)

    def narrow(self, x: F64) -> F64:
        return x

    def function(self, k: int, x: F64) -> F64:
        with np.errstate(over="ignore"):
            return np.asarray(self.functions[k].f(x), np.float64)

    def state(self, k: int, x: F64) -> F64:
        return x


@dataclass(frozen=True)
class Units:
    """A state's unit, and the interval in which it is held."""

    scale: float
    lo: int
    hi: int

    @property
    def dtype(self) -> DType:
        return next(d for d in DType if d.lo <= self.lo and self.hi <= d.hi)

    def type(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(self.dtype, shape, self.lo, self.hi)


class Instructions:
    """The program, in the body of a loop."""

    def __init__(
        self, c: Context, loop: Loop, functions: Sequence[Function], units: Sequence[Units], scale: float, label: str
    ) -> None:
        self.c, self.loop, self.functions, self.units, self.label = c, loop, functions, units, label
        self.scale = scale  # of the inputs' part
        self.bits = _bits(c)

    def part(self, x: Tensor, columns: slice) -> Tensor:
        width = columns.stop - columns.start
        if width == x.shape[1]:
            return x
        return self.c.emit("slice", x, axis=1, start=columns.start, len=width)

    def sum(self, *xs: Operand) -> Tensor:
        """Exactly where all units are multiples of the smallest, else as ``align`` does."""
        c, tensors = self.c, [x for x in xs if isinstance(x, Tensor)]
        s = min(x.scale for x in tensors)
        ratios = [x.scale / s for x in tensors]
        if all(abs(q - round(q)) < SAME * q and q < MAX_RATIO for q in ratios):
            parts = [c.muli(x, round(x.scale / s)).scaled(s) if isinstance(x, Tensor) else c.constant(x, s) for x in xs]
        else:
            reals = (sum(_real(x, k) for x in xs) for k in range(c.out.samples))
            parts = c.align(xs, max(float(np.abs(s).max()) for s in reals) or 1.0)
        total = parts[0]
        for x in parts[1:]:
            total = c.emit("add", total, x)
        return total

    def times(self, a: Operand, b: Tensor) -> Tensor:
        a = a if isinstance(a, Tensor) else self.c.quantised(a)
        a, b = (x if x.bound <= 2**self.bits else self.c.factor(x, 2**29) for x in (a, b))
        return self.c.emit("mul", a, b, scale=a.scale * b.scale)

    def less(self, a: Tensor, b: Tensor) -> Tensor:
        return self.sum(a, self.c.emit("neg", b))

    def matrix(self, h: Tensor, r: Operand, rows: slice) -> Tensor:
        c = self.c
        w: Operand
        if isinstance(r, Tensor):
            part = c.emit("slice", self.loop.inside(r), axis=0, start=rows.start, len=rows.stop - rows.start)
            w = c.emit("transpose", part, perm=(1, 0))
        else:
            w = r[rows].T
            if not c.precision.fine and w.any():
                h = c.narrow(h)
                q = c.constant(w, self._unit(w, h), f"{self.label}.R")
                return c.emit("matmul", h, q, scale=h.scale * q.scale)
        peak = max(float(np.abs(_real(h, k) @ _real(w, k)).max()) for k in range(c.out.samples))
        return matrix_product(c, h, w, peak or 1.0, None, f"{self.label}.R")

    def _unit(self, w: F64, h: Tensor) -> float:
        """Of weights of states: so that the product has the unit of the inputs' part, up to a power of two."""
        largest, unit = float(np.abs(w).max()), self.scale / h.scale
        while largest / unit < LEAST_WEIGHT:
            unit /= 2
        while largest / unit > 2 ** (self.c.precision.weights - 1) - 1:
            unit *= 2
        return unit

    def narrow(self, x: Tensor) -> Tensor:
        """For several tables at one scale; a fine program cuts to each function's window instead."""
        return x if self.c.precision.fine else self.c.narrow(x)

    def function(self, k: int, x: Tensor) -> Tensor:
        """Bounded functions in units of 2^-bits. The first one's values multiply states, so its 1 is one."""
        f = self.functions[k]
        if f.name == "relu":
            return self.c.relu(x)
        if not f.bounded:
            return self.c.table(x, f.f, f.name)
        return self.c.table(x, f.f, f.name, 2.0**-self.bits, 2**self.bits - (k > 0 or len(self.functions) == 1))

    def state(self, k: int, x: Tensor) -> Tensor:
        c, unit = self.c, self.units[k]
        ratio = unit.scale / x.scale
        if ratio == 1 and x.type.lo >= unit.lo and x.type.hi <= unit.hi:
            y = x
        elif math.frexp(ratio)[0] == 0.5 and ratio >= 1:
            y = c.rescale_by(x, 1, round(math.log2(ratio)), unit.dtype, unit.lo, unit.hi)
        else:
            y = c.rescale_to(x, unit.scale, unit.dtype, unit.lo, unit.hi)
        return y if y.type.dtype is unit.dtype else c.emit("cast", y, dtype=unit.dtype)


def _bits(c: Context) -> int:
    return FINE_BITS if c.precision.fine else STATE_BITS


# ---- the lowering ----------------------------------------------------------------------------------------------------


@lowering("RNN", "GRU", "LSTM", since=7)
def recurrent(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    if n.attr("layout", 0):
        x = c.emit("transpose", x, perm=(1, 0, 2))
    steps, batch = x.shape[:2]
    lengths: Tensor | I64 = np.full(batch, steps)
    if c.has(n, 4):
        given = c.const(n.inputs[4])
        lengths = c.tensor(n.inputs[4]) if given is None else given.astype(np.int64)
    directions, hidden = c.shape(n.inputs[1])[0], c.shape(n.inputs[2])[2]
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[n.attr("direction", "forward")]
    runs = [_direction(c, n, x, d, backwards[d], lengths) for d in range(directions)]
    y = c.reshape(_stack(c, [r[0] for r in runs]), (directions, steps, batch, hidden))
    y = c.emit("transpose", y, perm=(1, 0, 2, 3))
    last = [_stack(c, [r[k] for r in runs]) for k in ((1, 2) if n.op == "LSTM" else (1,))]
    if n.attr("layout", 0):
        y = c.emit("transpose", y, perm=(2, 0, 1, 3))
        last = [c.emit("transpose", s, perm=(1, 0, 2)) for s in last]
    return [y, *last][: len(n.outputs)]


def _stack(c: Context, xs: Sequence[Tensor]) -> Tensor:
    """Tensors joined along a new first axis, at one scale."""
    parts = c.align(xs, max(x.peak * x.scale for x in xs) or 1.0)
    parts = [c.reshape(p, (1, *p.shape)) for p in parts]
    return parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=0)


def _direction(
    c: Context, n: Node, x: Tensor, d: int, backwards: bool, lengths: Tensor | I64
) -> tuple[Tensor, Tensor, Tensor]:
    """The states of one direction in the order of time [steps, batch, hidden], the last one, and the last cell (LSTM;
    else the state)."""
    w, r, b = (_at(c, n, i, d) for i in (1, 2, 3))
    assert w is not None
    assert r is not None
    if isinstance(b, Tensor):
        raise Unsupported("biases computed from the input", "constants")
    if n.attr("layout", 0) and (c.has(n, 5) or c.has(n, 6)):
        raise Unsupported("initial states with layout 1", "layout 0")
    peep = _at(c, n, 7, d) if n.op == "LSTM" else None
    if isinstance(peep, Tensor):
        raise Unsupported("peepholes computed from the input", "constants")
    steps, batch = x.shape[:2]
    hidden = r.shape[1]
    biases = np.zeros((2, GATES[n.op] * hidden)) if b is None else b.reshape(2, -1)
    weights = Weights(r, biases, peep, hidden)
    from_input = _product(c, x, w, n.name)
    starts = [_at(c, n, i, d) for i in ((5, 6) if n.op == "LSTM" else (5,))]
    given = [np.zeros((batch, hidden)) if s is None else s for s in starts]
    functions = _functions(n, d)
    places = np.arange(steps)[:, None]
    running = [
        (lengths.values[k] if isinstance(lengths, Tensor) else lengths) > places for k in range(c.out.samples)
    ]  # [steps, batch]
    floats = [_float_states(n, k, weights, from_input, given, functions, m, backwards) for k, m in enumerate(running)]
    peaks = [[float(np.abs(np.stack([s[k] for s in states])).max()) for states in floats] for k in range(len(given))]
    units = [_units(c, k, functions, p) for k, p in enumerate(peaks)]

    loop = Loop(c, steps)
    names = []
    for k, (s, unit) in enumerate(zip(given, units, strict=True)):
        label = f"{n.name}.{'hc'[k]}"
        seen = [[s[k] for s in states[:-1]] for states in floats]
        names.append(loop.state(label, _initial(c, s, unit), unit.type((batch, hidden)), unit.scale, seen))
    rows = loop.rows(f"{n.name}.states", (batch, hidden), units[0].dtype)
    mask: Tensor | None = None
    if isinstance(lengths, Tensor):
        apart = c.emit("gt", c.reshape(lengths, (1, batch)), c.out.param(places), scale=1.0)
        mask = c.reshape(apart, (steps, batch, 1))
    elif not running[0].all():
        mask = c.out.param(running[0].astype(np.int64)[:, :, None], label=f"{n.name}.running")
    with loop:
        a = Instructions(c, loop, functions, units, from_input.scale, n.name)
        h = loop.get(names[0])
        new, cell = STEPS[n.op](n, a, weights, loop.row(from_input, backwards), h, loop.get(names[-1]))
        made = [new, cell][: len(names)]
        if mask is not None:
            m = loop.row(mask, backwards)
            kept = [c.emit("select", m, s, loop.get(name), scale=s.scale) for s, name in zip(made, names, strict=True)]
            loop.keep(rows, c.emit("select", m, new, c.broadcast(_zero(c, new), new.shape), scale=new.scale), backwards)
            made = kept
        else:
            loop.keep(rows, new, backwards)
        for name, s in zip(names, made, strict=True):
            loop.set(name, s)
    return loop.result(rows), loop.result(names[0]), loop.result(names[-1])


def _zero(c: Context, like: Tensor) -> Tensor:
    return c.emit("cast", c.out.param(np.array(0)), dtype=like.type.dtype)


def _initial(c: Context, s: Operand, unit: Units) -> Tensor:
    if isinstance(s, Tensor):
        y = c.rescale_to(s, unit.scale, unit.dtype, unit.lo, unit.hi)
    else:
        q = np.clip(np.rint(s / unit.scale), unit.lo, unit.hi)
        y = c.out.param(q.astype(np.int64), unit.scale, "initial")
    return y if y.type.dtype is unit.dtype else c.emit("cast", y, dtype=unit.dtype)


def _units(c: Context, k: int, functions: Sequence[Function], peaks: Sequence[float]) -> Units:
    """Of state k: held exactly where its function bounds it, else with room above the samples."""
    bits = _bits(c)
    if k == 0 and functions[-1].bounded and max(peaks) <= 1:  # and with it a GRU's mean of such values
        return Units(2.0**-bits, -(2**bits), 2**bits - 1)
    reach = max(peaks) * c.precision.margin or 1.0
    room = ROOM if c.precision.fine else 0
    return Units(2.0 ** (math.ceil(math.log2(reach)) - bits), -(2 ** (bits + room)), 2 ** (bits + room) - 1)


def _float_states(
    n: Node, sample: int, w: Weights, from_input: Tensor, given: Sequence[Operand],
    functions: Sequence[Function], running: npt.NDArray[np.bool_], backwards: bool,
) -> list[list[F64]]:  # fmt: skip
    """The float model's states on one sample: before every round, and behind the last."""
    xs = _real(from_input, sample)
    states = [_real(s, sample) for s in given]
    a = Reals(functions, sample)
    out = [states]
    for t in reversed(range(len(xs))) if backwards else range(len(xs)):
        made = STEPS[n.op](n, a, w, xs[t], states[0], states[-1])[: len(states)]
        states = [np.where(running[t][:, None], m, s) for m, s in zip(made, states, strict=True)]
        out.append(states)
    return out


def _product(c: Context, x: Tensor, w: Operand, name: str) -> Tensor:
    """``x @ w.T``, wide."""
    wt: Operand = c.emit("transpose", w, perm=(1, 0)) if isinstance(w, Tensor) else w.T
    peak = max(float(np.abs(_real(x, k) @ _real(wt, k)).max()) for k in range(c.out.samples))
    return matrix_product(c, x, wt, peak or 1.0, None, f"{name}.W")


def _functions(n: Node, direction: int) -> list[Function]:
    count = len(DEFAULTS[n.op])
    names = list(n.attr("activations") or DEFAULTS[n.op] * 2)
    alphas, betas = list(n.attr("activation_alpha") or ()), list(n.attr("activation_beta") or ())
    made = []
    for name in names:
        op = next((f for f in (*FUNCTIONS, "Relu") if f.lower() == str(name).lower()), None)
        if op is None:
            raise Unsupported(f"the activation {name}", "one that is an operator of one number")
        attrs: dict[str, float] = {}
        if op in FIRST and alphas:
            attrs["alpha"] = alphas.pop(0)
        if op == "HardSigmoid" and betas:
            attrs["beta"] = betas.pop(0)
        f = (
            (lambda x: np.maximum(x, 0))
            if op == "Relu"
            else FUNCTIONS[op](Node(n.name, op, "", n.version, (), (), attrs))
        )
        made.append(Function(op.lower(), f, op in BOUNDED))
    own = made[direction * count : (direction + 1) * count]
    clip = float(n.attr("clip") or 0.0)
    if not clip:
        return own
    gates = [Function(f"clipped_{f.name}", partial(_clipped, f=f.f, clip=clip), f.bounded) for f in own]
    return [*gates[:2], *own[2:]]  # what a cell puts out is not clipped


def _clipped(x: F64, f: Callable[[F64], F64], clip: float) -> F64:
    return np.asarray(f(np.clip(x, -clip, clip)))


def _at(c: Context, n: Node, i: int, direction: int) -> Operand | None:
    """Input i without its axis of directions."""
    if not c.has(n, i):
        return None
    x: Operand = c.operand(n.inputs[i])
    if isinstance(x, Tensor):
        y = c.emit("slice", x, axis=0, start=direction, len=1) if x.shape[0] > 1 else x
        return c.reshape(y, x.shape[1:])
    return np.asarray(x[direction])
