"""Powers with constant exponents, products, and norms over axes."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.integer import product
from syurmy.compiler.ops.reduce import last, reduced_axes
from syurmy.compiler.ops.root import square
from syurmy.compiler.ops.softmax import exponentials, scores, total

MAX_EXPONENTS = 16
MULTIPLIED = 3  # up to this power onnxruntime multiplies int32, which wraps; above it saturates


@lowering("Pow", since=7)
def pow_(c: Context, n: Node) -> Result:
    """Reals: one table per exponent, or logarithms if there are many. Integers: repeated products, exact."""
    p = c.const(n.inputs[1])
    x, out = c.tensor(n.inputs[0]), n.outputs[0]
    exponents = np.unique(p.astype(np.float64)) if p is not None else np.zeros(0)
    if p is None or len(exponents) > MAX_EXPONENTS:
        return _by_logarithm(c, n, x)
    powers = [_power(c, x, float(e), n) for e in exponents]
    if len(powers) == 1:
        return c.broadcast(powers[0], c.shape(out))
    if c.is_float(out):
        powers = c.align(powers, c.peak(out))
    acc: Tensor | None = None
    for e, y in zip(exponents, powers, strict=True):
        part = c.emit("mul", y, c.out.param((p == e).astype(np.int64)), scale=y.scale)
        acc = part if acc is None else c.emit("add", acc, part)
    assert acc is not None
    return c.broadcast(acc, c.shape(out))


def _by_logarithm(c: Context, n: Node, x: Tensor) -> Tensor:
    """``exp(p log x)`` where x is above 0, and 0 elsewhere."""
    if not c.is_float(n.inputs[0]):
        raise Unsupported(
            "integers to many different or computed powers", f"{MAX_EXPONENTS} constant exponents or less"
        )
    if c.value(n.inputs[0]).lo < 0:
        raise Unsupported("negative reals to many different or computed powers", "a base of 0 or more")
    p, out = c.operand(n.inputs[1]), n.outputs[0]
    positive = c.emit("gt", c.narrow(x), c.out.param(np.array(0)), scale=1.0)
    log = c.table(x, lambda v: np.log(np.maximum(v, x.scale)), "log")
    exponent = p if isinstance(p, Tensor) else c.quantised(p)
    y = c.table(c.multiply(log, exponent), np.exp, "exp")
    return c.broadcast(c.emit("mul", y, positive), c.shape(out))


def _power(c: Context, x: Tensor, e: float, n: Node) -> Tensor:
    real = c.is_float(n.inputs[0])
    if real and e == 1.0:
        return x
    if real and e == 2.0:
        return square(c, x)
    if real:
        return c.table(x, lambda v: np.power(v, e), "pow")
    if e != int(e) or e < 0:
        raise Unsupported(f"an integer to the power {e}", "an integer exponent, 0 or more")
    if e == 0:
        return c.out.param(np.ones(x.shape, np.int64))
    acc = x
    for _ in range(int(e) - 1):
        acc = _times(c, acc, x, n, told=e > MULTIPLIED)
    return acc


@lowering("ReduceProd")
def reduce_prod(c: Context, n: Node) -> Result:
    """Halves along the axis, multiplied and narrowed; integers stay exact."""
    x, axes = c.tensor(n.inputs[0]), reduced_axes(c, n)
    if not axes:
        return x
    x = last(c, x, axes)
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        low, high = (c.emit("slice", x, axis=-1, start=k * half, len=half) for k in range(2))
        odd = c.emit("slice", x, axis=-1, start=2 * half, len=1) if x.shape[-1] % 2 else None
        x = _times(c, low, high, n)
        if odd is not None:
            first = _times(c, c.emit("slice", x, axis=-1, start=0, len=1), odd, n)
            if half == 1:
                x = first
            else:
                rest = c.emit("slice", x, axis=-1, start=1, len=half - 1)
                pair = [first, rest]
                if c.is_float(n.inputs[0]):
                    pair = c.align(pair, max(first.peak * first.scale, rest.peak * rest.scale))
                x = c.emit("concat", *pair, axis=-1)
    return c.reshape(x, c.shape(n.outputs[0]))


def _times(c: Context, a: Tensor, b: Tensor, n: Node, told: bool = True) -> Tensor:
    dtype = c.value(n.outputs[0]).dtype
    if dtype.kind == "f":
        return c.multiply(a, b)
    y = product(c, "mul", a, b, dtype, told)
    return c.wrapped(y, dtype) if dtype.itemsize <= 4 else y


@lowering("ReduceLogSumExp")
def reduce_log_sum_exp(c: Context, n: Node) -> Result:
    """``max + log(sum exp(x - max))``."""
    x, axes = c.tensor(n.inputs[0]), reduced_axes(c, n)
    if not axes:
        return x
    if not c.is_float(n.inputs[0]):
        raise Unsupported("integers", "real operands")
    x = scores(c, last(c, x, axes))
    _, e = exponentials(c, x)
    log = c.table(total(c, e), lambda v: np.log(np.maximum(v, 1)), "log")
    top = c.emit("reduce_max", x, axis=-1, keepdims=True)
    return c.reshape(c.emit("add", *c.align([top, log], c.peak(n.outputs[0]) or 1.0)), c.shape(n.outputs[0]))


@lowering("ReduceL2")
def reduce_l2(c: Context, n: Node) -> Result:
    """The root of a sum of squares: exact integers up to the root, with as many bits as fit."""
    x, axes = c.tensor(n.inputs[0]), reduced_axes(c, n)
    if not axes:
        return c.table(x, np.abs, "abs")
    if c.is_float(n.inputs[0]):
        x = c.factor(x, 2**26) if c.precision.sloped else c.narrow(x)
    v = _squares(c, x, axes)
    k = max(0, min(16, (60 - v.type.hi.bit_length()) // 2))
    g = c.emit("isqrt", c.muli(v, 4**k)).scaled(x.scale / 2**k)
    return c.reshape(g, c.shape(n.outputs[0]))


def _squares(c: Context, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    if x.bound**2 * math.prod(x.shape[a] for a in axes) >= 2**60:
        raise Unsupported("a sum of squares that can overflow", "16-bit values")
    s = c.emit("sum", c.emit("mul", x, x), axes=axes)
    return s if s.type.lo >= 0 else c.emit("max", s, c.out.param(np.array(0)))
