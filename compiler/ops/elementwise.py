"""Add, Sub, Mul, Div, Neg and their relatives. Sums are wide and free; a product narrows both sources."""

from __future__ import annotations

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.integer import product, quotient
from syurmy.compiler.ops.root import exact_quotient, is_positive, is_spread, reciprocal


def total(c: Context, n: Node, signs: tuple[int, ...]) -> Tensor:
    """``sum sign * input``, broadcasting: real inputs at one scale, integers exactly."""
    out = n.outputs[0]
    if c.is_float(out):
        operands = [c.operand(i) for i in n.inputs]
        bound = sum(x.bound * x.scale if isinstance(x, Tensor) else float(np.abs(x).max(initial=0)) for x in operands)
        parts = c.align(operands, c.peak(out) or bound / 4, bound)
    else:
        parts = [c.tensor(i) for i in n.inputs]
    acc = parts[0] if signs[0] > 0 else c.emit("neg", parts[0])
    for x, sign in zip(parts[1:], signs[1:], strict=True):
        acc = c.emit("add" if sign > 0 else "sub", acc, x)
    return c.broadcast(acc, c.shape(out))


@lowering("Add", since=7)
def add(c: Context, n: Node) -> Result:
    return total(c, n, (1, 1))


@lowering("Sub", since=7)
def sub(c: Context, n: Node) -> Result:
    return total(c, n, (1, -1))


@lowering("Sum", since=6)
def sum_(c: Context, n: Node) -> Result:
    return total(c, n, (1,) * len(n.inputs))


@lowering("Mean", since=6)
def mean(c: Context, n: Node) -> Result:
    """The sum at another scale."""
    x = total(c, n, (1,) * len(n.inputs))
    return x.scaled(x.scale / len(n.inputs))


@lowering("Neg", since=6)
def neg(c: Context, n: Node) -> Result:
    return c.emit("neg", c.tensor(n.inputs[0]))


def times_constant(c: Context, x: Tensor, w: np.ndarray[tuple[int, ...], np.dtype[np.float64]], label: str) -> Tensor:
    """``x * w``. One number changes the scale only, which is free and keeps x wide; an array is a product."""
    if w.size and (w == w.reshape(-1)[0]).all() and np.isfinite(w).all():
        f = float(w.reshape(-1)[0])
        y = c.muli(x, 0) if f == 0 else c.emit("neg", x) if f < 0 else x
        shape = np.broadcast_shapes(x.shape, w.shape)
        return c.broadcast(y.scaled(x.scale * (abs(f) or 1.0)), shape)
    return c.multiply(x, c.quantised(w, label=label))


@lowering("Mul", since=7)
def mul(c: Context, n: Node) -> Result:
    if not c.is_float(n.outputs[0]):
        return product(c, "mul", c.tensor(n.inputs[0]), c.tensor(n.inputs[1]), c.value(n.outputs[0]).dtype)
    a, b = c.operand(n.inputs[0]), c.operand(n.inputs[1])
    if not isinstance(b, Tensor):
        a, b = b, a
    assert isinstance(b, Tensor)
    if not isinstance(a, Tensor):
        return times_constant(c, b, a, n.outputs[0])
    return c.multiply(a, b)


@lowering("Div", since=7)
def div(c: Context, n: Node) -> Result:
    """By a constant: a product with its reciprocals. By data: with the table of reciprocals, or by division where few
    divisors of unlike size would make that poor. Integers: toward 0."""
    if not c.is_float(n.outputs[0]):
        return quotient(c, c.tensor(n.inputs[0]), c.tensor(n.inputs[1]))
    a, b = c.operand(n.inputs[0]), c.operand(n.inputs[1])
    if not isinstance(b, Tensor):
        assert isinstance(a, Tensor)
        if not b.all():
            raise Unsupported("division by a constant that is zero")
        return times_constant(c, a, 1.0 / b, n.outputs[0])
    if is_spread(c, b) and (c.precision.sloped or not is_positive(c, b)):
        return exact_quotient(c, a, b, c.peak(n.outputs[0]) or 1.0)
    r = reciprocal(c, b) if is_positive(c, b) else c.table(b, lambda v: 1.0 / v, "reciprocal")
    if not isinstance(a, Tensor):
        return times_constant(c, r, a, n.outputs[0])
    return c.multiply(a, r)
