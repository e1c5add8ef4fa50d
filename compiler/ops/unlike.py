"""What operators do with sources whose entries have scales of their own (``compiler.channels``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from syurmy.compiler.channels import (
    INPUT_BITS,
    RATIO_BITS,
    ROOM,
    UNLIKE,
    Channels,
    channels_of,
    factor,
    joined,
    product,
    scaled,
    shifted,
    squared,
    uniform,
)
from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, absorbing, lowering
from syurmy.compiler.ops.activation import FUNCTIONS
from syurmy.compiler.ops.linear import label, plus
from syurmy.compiler.ops.logic import COMPARISONS
from syurmy.compiler.ops.root import QUOTIENT_BITS
from syurmy.compiler.ops.shape import pick
from syurmy.compiler.passes.powers import MOST_COLUMNS
from syurmy.compiler.scales import FEW, ROOM_BITS
from syurmy.compiler.views import VIEWS, viewed
from syurmy.isa.arrays import F64


def _pair(c: Context, n: Node) -> tuple[Channels, F64, int] | None:
    """The source with scales and the constant of a binary node, and which of both the source is."""
    for k in (0, 1):
        other = c.const(n.inputs[1 - k])
        if n.inputs[k] in c.channels and other is not None:
            return c.channels[n.inputs[k]], other.astype(np.float64), k
    return None


@absorbing("Add", "Sub")
def sum_with_constant(c: Context, n: Node) -> Result | None:
    found = _pair(c, n)
    if found is None:
        a, b = (c.channels.get(i) for i in n.inputs)
        return None if a is None or b is None else _added(c, a, b, 1 if n.op == "Add" else -1)
    x, k, place = found
    if n.op == "Add":
        return shifted(c, x, k)
    return shifted(c, x, -k) if place == 0 else shifted(c, scaled(c, x, np.array(-1.0)), k)


@absorbing("Mul", "Div")
def product_with_constant(c: Context, n: Node) -> Result | None:
    if n.op == "Mul" and n.inputs[0] == n.inputs[1]:
        return squared(c, c.channels[n.inputs[0]])
    found = _pair(c, n)
    if found is None:
        return _masked(c, n) if n.op == "Mul" else _quotient(c, n)
    if n.op == "Div" and (found[2] == 1 or not found[1].all()):
        return None
    x, k, _ = found
    return scaled(c, x, k if n.op == "Mul" else 1 / k)


def _quotient(c: Context, n: Node) -> Channels | None:
    """``floor(2^k a / b)``, with a k for each column that gives the largest on the samples ``QUOTIENT_BITS``, where
    there is room; cut off at four times that. A b of 0 counts as 1 unit. None of constants, of many, or where one is
    broadcast."""
    if any(c.const(i) is not None for i in n.inputs):
        return None
    a, b = (channels_of(c.channels.get(i) or c.tensors[i]) for i in n.inputs)
    if a.shape != b.shape or a.q.type.size > FEW or (a.scales <= 0).any() or (b.scales <= 0).any():
        return None
    a, b = (factor(c, x, INPUT_BITS - 2, INPUT_BITS) for x in (a, b))
    width, ratios = a.shape[-1], a.scales / b.scales
    seen = np.max([np.abs(np.asarray(f, np.float64)) for f in c.given(n.outputs[0])], axis=0)
    peaks = (np.where(np.isfinite(seen), seen, 0) / ratios).reshape(-1, width).max(axis=0)
    k = QUOTIENT_BITS - np.ceil(np.log2(np.where(peaks > 0, peaks, 1.0)))
    up = np.clip(k, 0, ROOM - a.q.bound.bit_length()).astype(np.int64)
    top, divisor = a.q, b.q
    if divisor.type.lo < 0:
        top = c.emit("mul", top, c.emit("sign", divisor, scale=1.0), scale=1.0)
        divisor = c.emit("abs", divisor)
    divisor = c.emit("max", divisor, c.out.param(np.array(1)))
    q = c.emit("div", c.emit("mul", top, c.out.param(2**up), scale=1.0), divisor, scale=1.0)
    most = 2 ** (QUOTIENT_BITS + ROOM_BITS)
    y = c.emit("clamp", q, lo=-most, hi=most)
    c.out.cuts_off(y, q, -most, most)
    return Channels(y, ratios / np.exp2(up))


def _masked(c: Context, n: Node) -> Result | None:
    """A product with a tensor of zeros and ones."""
    for name, other in (n.inputs, n.inputs[::-1]):
        mask = c.tensors[other] if name in c.channels and other not in c.channels and c.const(other) is None else None
        if mask is None or mask.scale != 1.0 or mask.type.lo < 0 or mask.type.hi > 1 or mask.shape != c.shape(name):
            continue
        x = c.channels[name]
        return Channels(c.emit("mul", x.q, mask, scale=1.0), x.scales)
    return None


def _added(c: Context, a: Channels, b: Channels, sign: int) -> Channels | None:
    """``a + sign b``, every entry in the finer unit of both; None where that takes too many bits."""
    if a.shape != b.shape or (a.scales <= 0).any() or (b.scales <= 0).any():
        return None
    unit = np.minimum(a.scales, b.scales)
    parts = []
    for x in (a, b):
        up = x.scales / unit
        bits = 0 if (np.rint(up) == up).all() else RATIO_BITS
        if float(up.max()) * 2.0**bits * x.q.bound >= 2.0**52:
            return None
        parts.append((x, up, bits))
    bits = max(bits for _, _, bits in parts)
    if any(float(up.max()) * 2.0**bits * x.q.bound >= 2.0**52 for x, up, _ in parts):
        return None
    qa, qb = (c.emit("mul", x.q, c.out.param(np.rint(up * 2**bits).astype(np.int64)), scale=1.0) for x, up, _ in parts)
    return Channels(c.emit("add" if sign > 0 else "sub", qa, qb, scale=1.0), unit / 2**bits)


def by_column(c: Context, x: Channels, functions: Sequence[Callable[[F64], F64]], label: str) -> Channels | None:
    """Place k of the last axis through function k, by a table of its own; None for one that is too wide for that, or of
    which rows differ in scale."""
    width = x.shape[-1]
    scales = x.scales.reshape(-1, width)
    if width > MOST_COLUMNS or (scales != scales[0]).any() or (scales == 0).any():
        return None
    parts = []
    for k, f in enumerate(functions):
        part = c.emit("slice", x.q, axis=len(x.shape) - 1, start=k, len=1, scale=1.0)
        part = (c.emit("neg", part) if scales[0, k] < 0 else part).scaled(abs(float(scales[0, k])))
        parts.append(channels_of(c.table(part, f, label, least=_beyond(part, f))))
    return joined(c, parts, len(x.shape) - 1)


def _beyond(x: Tensor, f: Callable[[F64], F64]) -> float:
    """What f reaches on the samples and half of their range beyond, or four times what it reaches there."""
    seen = np.concatenate([v.reshape(-1) for v in x.values]) * x.scale
    lo, hi = float(seen.min()), float(seen.max())
    with np.errstate(all="ignore"):
        inner, wider = (np.abs(f(v)) for v in (seen, np.linspace(lo - (hi - lo) / 2, hi + (hi - lo) / 2, 257)))
    most = float(inner[np.isfinite(inner)].max(initial=0.0))
    return min(max(float(wider[np.isfinite(wider)].max(initial=0.0)), most), 4 * most)


@absorbing("Pointwise", domain=FUSED)
@absorbing(*FUNCTIONS)
def function_of_columns(c: Context, n: Node) -> Result | None:
    x = c.channels[n.inputs[0]]
    reached = (x.peaks * np.abs(x.scales)).reshape(-1, x.shape[-1]).max(axis=0)
    if reached.min() * UNLIKE > reached.max():
        return None
    function = n.attr("function") if n.domain == FUSED else FUNCTIONS[n.op](n)
    return by_column(c, x, [function] * x.shape[-1], n.op.lower())


@absorbing(*COMPARISONS)
def comparison_with_constant(c: Context, n: Node) -> Result | None:
    """Every entry with the constant in its own unit: what is equal to it is after rounding, too."""
    found = _pair(c, n)
    if found is None or not np.isfinite(found[1]).all() or (found[0].scales <= 0).any():
        return None
    x, k, place = found
    cut = c.out.param(np.clip(np.rint(k / x.scales), -(2.0**40), 2.0**40).astype(np.int64), 1.0, "cut")
    y = c.emit(COMPARISONS[n.op], *((x.q, cut) if place == 0 else (cut, x.q)), scale=1.0)
    reals = [np.asarray(f, np.float64) / x.scales for f in c.given(n.inputs[place])]
    cuts = [np.broadcast_to(k / x.scales, cut.shape)] * c.out.samples
    c.out.decides("pair", [x.q.scaled(1.0), cut], [reals, cuts])
    return y


@absorbing("Pow")
def power(c: Context, n: Node) -> Result | None:
    """A square, or a constant power of every column."""
    exponent, x = c.const(n.inputs[1]), c.channels.get(n.inputs[0])
    if exponent is None or x is None:
        return None
    if exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2.0:
        return squared(c, x)
    if np.broadcast_shapes(exponent.shape, x.shape) != x.shape or exponent.size not in (1, x.shape[-1]):
        return None
    powers = np.broadcast_to(exponent.reshape(-1), (x.shape[-1],)).astype(np.float64)
    return by_column(c, x, [partial(_power, e=float(e)) for e in powers], "pow")


def _power(v: F64, e: float) -> F64:
    return np.asarray(np.power(v, e))


@absorbing("Columns", domain=FUSED)
@lowering("Columns", domain=FUSED)
def columns(c: Context, n: Node) -> Result:
    """A function for every column (``compiler.passes.powers``)."""
    name, function = n.inputs[0], n.attr("function")
    functions = [partial(function, k=k) for k in range(c.shape(name)[-1])]
    x = c.channels[name] if name in c.channels else channels_of(c.tensors[name])
    y = by_column(c, x, functions, "column")
    if y is None:
        raise Unsupported(f"{x.shape[-1]} columns with functions of their own", f"{MOST_COLUMNS} at most")
    return y if name in c.channels else uniform(c, y)


@absorbing("Spread", domain=FUSED)
@lowering("Spread", domain=FUSED)
def spread(c: Context, n: Node) -> Result:
    """A unit for every column (``compiler.passes.targets``)."""
    name = n.inputs[0]
    return scaled(c, channels_of(c.channels.get(name) or c.tensors[name]), n.attr("scales"))


@absorbing("BatchNormalization")
def normalised_columns(c: Context, n: Node) -> Result | None:
    """A product and a sum for each column."""
    found = [c.const(name) for name in n.inputs[1:5]]
    if len(c.shape(n.inputs[0])) != 2 or n.attr("training_mode", 0) or any(f is None for f in found):
        return None
    gamma, beta, mean, var = (np.asarray(f, np.float64) for f in found)
    moved = shifted(c, c.channels[n.inputs[0]], -mean)
    if moved is None:
        return None
    y = scaled(c, moved, gamma / np.sqrt(var + n.attr("epsilon", 1e-5)))
    return shifted(c, y, beta)


@absorbing("Neg")
def negated(c: Context, n: Node) -> Result:
    return scaled(c, c.channels[n.inputs[0]], np.array(-1.0))


@absorbing("MatMul", "Gemm")
def matrix_product(c: Context, n: Node) -> Result | None:
    w = c.const(n.inputs[1])
    if w is None or n.inputs[0] not in c.channels or w.ndim > 2 or n.attr("transA", 0):
        return None
    alpha, beta = float(n.attr("alpha", 1.0)), float(n.attr("beta", 1.0))
    bias = c.operand(n.inputs[2]) if n.op == "Gemm" and c.has(n, 2) and beta != 0 else None
    if isinstance(bias, Tensor) and beta != 1.0:
        return None
    w = (w.T if n.attr("transB", 0) else w).astype(np.float64) * alpha
    y = times(c, n.inputs[0], w, c.peak(n.outputs[0]), label(c, n, 1))
    return plus(c, y, bias if isinstance(bias, Tensor) or bias is None else bias * beta, c.peak(n.outputs[0]))


def times(c: Context, name: str, w: F64, peak: float, label: str) -> Tensor:
    """``x @ w`` for x with scales of its own."""
    return product(c, c.channels[name], w, peak, label)


@absorbing(*VIEWS)
def view(c: Context, n: Node) -> Result | None:
    """The view of the integers, and of the scales."""
    constants = [c.const(i) if i else None for i in n.inputs]
    if any(i and k is None for i, k in zip(n.inputs[1:], constants[1:], strict=True)):
        return None
    x = c.channels[n.inputs[0]]
    out: list[Tensor | Channels | None] = []
    places = viewed(n, np.arange(x.q.type.size).reshape(x.shape), constants, [c.shape(o) for o in n.outputs if o])
    q = c.reshape(x.q, (x.q.type.size,))
    for at in places:
        y = (
            q
            if at.size == x.q.type.size and (at.reshape(-1) == np.arange(at.size)).all()
            else pick(c, q, 0, at.reshape(-1))
        )
        out.append(Channels(c.reshape(y, at.shape), x.scales.reshape(-1)[at]))
    return out


@absorbing("Cast")
def cast(c: Context, n: Node) -> Result | None:
    return c.channels[n.inputs[0]] if c.is_float(n.outputs[0]) else None


@absorbing("Concat")
def concat(c: Context, n: Node) -> Result | None:
    if any(c.const(i) is not None for i in n.inputs):
        return None
    parts = [channels_of(c.channels.get(i) or c.tensors[i]) for i in n.inputs]
    return joined(c, parts, n.attr("axis", 1) % len(parts[0].shape))
