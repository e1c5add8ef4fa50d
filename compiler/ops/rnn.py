"""RNN, GRU and LSTM, unrolled: every time step has instructions of its own.

The inputs' part of all gates is one product for all steps. States are narrowed once per step, gates once per step
before their tables; sums in between are exact. Weights, initial states that are constant and sequence lengths are
constants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.activation import FUNCTIONS
from syurmy.compiler.ops.linear import matrix_product

Floats = npt.NDArray[np.float64]
Operand = Tensor | Floats
Activation = Callable[[Tensor], Tensor]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
FIRST = {"LeakyRelu": "alpha", "ThresholdedRelu": "alpha", "Elu": "alpha", "HardSigmoid": "alpha"}


def reals(x: Operand, k: int) -> Floats:
    return x.values[k] * x.scale if isinstance(x, Tensor) else x


def add(c: Context, *operands: Operand) -> Tensor:
    """The sum, at a scale that suits what it reaches on the samples."""
    sums = [np.abs(sum(reals(x, k) for x in operands)) for k in range(c.out.samples)]
    peak = max((float(s.max()) for s in sums), default=0.0) or 1.0
    parts = c.align(operands, peak)
    acc = parts[0]
    for x in parts[1:]:
        acc = c.emit("add", acc, x)
    return acc


def product(c: Context, x: Tensor, w: Operand, label: str) -> Tensor:
    """``x @ w``, wide."""
    peak = max(float(np.abs(reals(x, k) @ reals(w, k)).max()) for k in range(c.out.samples))
    return matrix_product(c, x, w, peak or 1.0, None, label)


def times(c: Context, a: Operand, b: Tensor) -> Tensor:
    return c.multiply(a if isinstance(a, Tensor) else c.quantised(a), b)


def part(c: Context, x: Operand, axis: int, k: int, width: int) -> Operand:
    """The k-th piece of ``width`` positions along an axis."""
    if not isinstance(x, Tensor):
        return np.take(x, range(k * width, (k + 1) * width), axis=axis)
    return c.emit("slice", x, axis=axis % len(x.shape), start=k * width, len=width) if x.shape[axis] != width else x


def _activations(c: Context, n: Node, direction: int) -> list[Activation]:
    names = list(n.attr("activations") or DEFAULTS[n.op] * 2)
    count = len(DEFAULTS[n.op])
    alphas, betas = list(n.attr("activation_alpha") or ()), list(n.attr("activation_beta") or ())
    made = []
    for name in names:
        op = next((f for f in (*FUNCTIONS, "Relu", "Affine", "ScaledTanh") if f.lower() == str(name).lower()), None)
        attrs: dict[str, float] = {}
        if op in FIRST and alphas:
            attrs["alpha"] = alphas.pop(0)
        if op == "HardSigmoid" and betas:
            attrs["beta"] = betas.pop(0)
        if op not in FUNCTIONS:
            if op != "Relu":
                raise Unsupported(f"the activation {name}", "one that is an operator of one number")
            made.append(c.relu)
            continue
        f = FUNCTIONS[op](Node(n.name, op, "", n.version, (), (), attrs))
        made.append(lambda x, f=f, op=op: c.table(x, f, op.lower()))
    return made[direction * count : (direction + 1) * count]


def _transposed(c: Context, x: Operand) -> Operand:
    return c.emit("transpose", x, perm=(1, 0)) if isinstance(x, Tensor) else x.T


def _at(c: Context, n: Node, i: int, direction: int) -> Operand | None:
    """Input i without its axis of directions."""
    if not c.has(n, i):
        return None
    x = c.operand(n.inputs[i])
    if isinstance(x, Tensor):
        y = c.emit("slice", x, axis=0, start=direction, len=1) if x.shape[0] > 1 else x
        return c.reshape(y, x.shape[1:])
    return x[direction]


@lowering("RNN", "GRU", "LSTM", since=7)
def recurrent(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    if n.attr("layout", 0):
        x = c.emit("transpose", x, perm=(1, 0, 2))
    if n.attr("clip") is not None:
        raise Unsupported("clipped gates", "a layer without clip")
    steps, batch = x.shape[:2]
    lengths = np.full(batch, steps)
    if c.has(n, 4):
        lengths = np.array(c.ints(n, 4, "the sequence lengths"))
    directions = c.shape(n.inputs[1])[0]
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[n.attr("direction", "forward")]
    runs = [_run(c, n, x, d, backwards[d], lengths) for d in range(directions)]
    hidden = c.shape(n.inputs[2])[2]
    rows = [h for d in range(directions) for h in runs[d][0]]
    y = _stack(c, rows)  # [directions * steps, batch, hidden]
    y = c.emit("transpose", c.reshape(y, (directions, steps, batch, hidden)), perm=(1, 0, 2, 3))
    last = [_stack(c, [r[k] for r in runs]) for k in (1, 2)] if n.op == "LSTM" else [_stack(c, [r[1] for r in runs])]
    if n.attr("layout", 0):
        y = c.emit("transpose", y, perm=(2, 0, 1, 3))
        last = [c.emit("transpose", s, perm=(1, 0, 2)) for s in last]
    return [y, *last][: len(n.outputs)]


def _stack(c: Context, xs: Sequence[Tensor]) -> Tensor:
    """Tensors [batch, hidden] joined along a new first axis, at one scale."""
    narrow = [c.factor(x) for x in xs]
    parts = c.align(narrow, max(x.peak * x.scale for x in narrow) or 1.0)
    parts = [c.reshape(p, (1, *p.shape)) for p in parts]
    return parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=0)


def _run(
    c: Context, n: Node, x: Tensor, d: int, backwards: bool, lengths: npt.NDArray[np.int64]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The states of one direction in the order of time, the last one, and the last cell (LSTM; else the state)."""
    w, r, b = (_at(c, n, i, d) for i in (1, 2, 3))
    assert w is not None
    assert r is not None
    steps, batch = x.shape[:2]
    gates = GATES[n.op]
    hidden = r.shape[1]
    bias = np.zeros(2 * gates * hidden) if b is None else b
    from_input = product(c, x, _transposed(c, w), f"{n.name}.W")
    h = _at(c, n, 5, d)
    h = c.constant(np.zeros((batch, hidden)), 2.0**-15) if h is None else h
    cell = _at(c, n, 6, d) if n.op == "LSTM" else h
    cell = c.constant(np.zeros((batch, hidden)), 2.0**-15) if cell is None else cell
    if n.attr("layout", 0) and (c.has(n, 5) or c.has(n, 6)):
        raise Unsupported("initial states with layout 1", "layout 0")
    state, memory = (s if isinstance(s, Tensor) else c.quantised(s) for s in (h, cell))
    acts = _activations(c, n, d)
    peep = _at(c, n, 7, d) if n.op == "LSTM" else None
    cells = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}[n.op]
    out: dict[int, Tensor] = {}
    for k in range(steps):
        at = steps - 1 - k if backwards else k
        xt = c.reshape(c.emit("slice", from_input, axis=0, start=at, len=1) if steps > 1 else from_input,
                       (batch, gates * hidden))  # fmt: skip
        new, cell_new = cells(c, n, xt, state, memory, r, bias, peep, acts, hidden)
        new = c.factor(new)
        running = lengths > at
        if not running.all():
            mask = c.out.param(running.astype(np.int64).reshape(-1, 1))
            kept = [c.factor(s) for s in (state, memory)]
            state = _select(c, mask, new, kept[0])
            memory = _select(c, mask, cell_new, kept[1])
            out[at] = c.emit("mul", new, mask)
        else:
            state, memory = new, cell_new
            out[at] = new
    return [out[k] for k in range(steps)], state, memory


def _select(c: Context, mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    a, b = c.align([c.factor(a), b], max(a.peak * a.scale, b.peak * b.scale) or 1.0)
    return c.emit("select", mask, a, b, scale=a.scale)


def _slot(x: Operand, k: int, hidden: int) -> Operand:
    if isinstance(x, Tensor):
        raise Unsupported("biases computed from the input", "constants")
    return x[k * hidden : (k + 1) * hidden]


def _both(bias: Operand, hidden: int, gates: int) -> Floats:
    """The biases of inputs and of states, added."""
    if isinstance(bias, Tensor):
        raise Unsupported("biases computed from the input", "constants")
    return bias[: gates * hidden] + bias[gates * hidden :]


def _rnn(
    c: Context, n: Node, xt: Tensor, h: Tensor, memory: Tensor, r: Operand, bias: Operand, peep: Operand | None,
    acts: list[Activation], hidden: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    s = acts[0](add(c, xt, product(c, h, _transposed(c, r), f"{n.name}.R"), _both(bias, hidden, 1)))
    return s, s


def _lstm(
    c: Context, n: Node, xt: Tensor, h: Tensor, memory: Tensor, r: Operand, bias: Operand, peep: Operand | None,
    acts: list[Activation], hidden: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gates in ONNX's order: input, output, forget, cell."""
    z = add(c, xt, product(c, h, _transposed(c, r), f"{n.name}.R"), _both(bias, hidden, 4))
    parts = [part(c, z, 1, k, hidden) for k in range(4)]
    i, o, f, g = (p for p in parts if isinstance(p, Tensor))
    if peep is not None:
        i = add(c, i, times(c, part(c, peep, 0, 0, hidden), memory))
        f = add(c, f, times(c, part(c, peep, 0, 2, hidden), memory))
    i = acts[0](i)
    f = negated(c, i) if n.attr("input_forget", 0) else acts[0](f)
    memory = c.factor(add(c, times(c, f, memory), times(c, i, acts[1](g))))
    if peep is not None:
        o = add(c, o, times(c, part(c, peep, 0, 1, hidden), memory))
    return times(c, acts[0](o), acts[2](memory)), memory


def negated(c: Context, x: Tensor) -> Tensor:
    """``1 - x``."""
    return add(c, np.ones(()), c.emit("neg", x))


def _gru(
    c: Context, n: Node, xt: Tensor, h: Tensor, memory: Tensor, r: Operand, bias: Operand, peep: Operand | None,
    acts: list[Activation], hidden: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gates in ONNX's order: update, reset, hidden."""
    two = _both(bias, hidden, 3)[: 2 * hidden]
    zr = add(c, part_(c, xt, 0, 2 * hidden), product(c, h, _transposed(c, part(c, r, 0, 0, 2 * hidden)), f"{n.name}.R"),
             two)  # fmt: skip
    zr = acts[0](zr)
    z, reset = part_(c, zr, 0, hidden), part_(c, zr, hidden, hidden)
    rh = _transposed(c, part(c, r, 0, 2, hidden))
    xh, wb, rb = part_(c, xt, 2 * hidden, hidden), _slot(bias, 2, hidden), _slot(bias, 5, hidden)
    if n.attr("linear_before_reset", 0):
        s = add(c, xh, times(c, reset, add(c, product(c, h, rh, f"{n.name}.Rh"), rb)), wb)
    else:
        assert isinstance(wb, np.ndarray)
        assert isinstance(rb, np.ndarray)
        s = add(c, xh, product(c, times(c, reset, h), rh, f"{n.name}.Rh"), wb + rb)
    g = acts[1](s)
    new = add(c, g, times(c, z, add(c, h, c.emit("neg", g))))
    return new, new


def part_(c: Context, x: Tensor, start: int, width: int) -> Tensor:
    return c.emit("slice", x, axis=1, start=start, len=width) if x.shape[1] != width else x
