"""Comparisons, logic, selection, extrema. Booleans are integers with interval [0, 1]; connectives are products.

Reals are compared after both are brought to one scale, within half a unit of a 16-bit tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.scales import FEW
from syurmy.isa.arrays import Array

COMPARISONS = {"Equal": "eq", "Less": "lt", "LessOrEqual": "le", "Greater": "gt", "GreaterOrEqual": "ge"}
MASKED = 16.0  # exp(-16) is nothing in 16 bits


def together(c: Context, names: Sequence[str], out: str = "") -> list[Tensor]:
    """Operands at one scale, narrow as far as they are computed; integers as they are. The scale suits their largest
    values, or those of the tensor ``out``."""
    if not c.is_float(names[0]):
        return [c.tensor(name) for name in names]
    operands = [c.operand(name) for name in names]
    few = c.precision.fine and math.prod(c.shape(names[0])) <= FEW
    narrow = [x if few or not isinstance(x, Tensor) else c.narrow(x) for x in operands]
    peak = max((c.peak(name) for name in names), default=0.0)
    return c.align(
        [x if isinstance(x, Tensor) else finite(x, peak) for x in narrow], (c.peak(out) if out else peak) or 1.0
    )


def finite(x: Array, peak: float) -> Array:
    """Infinities stand for what is beyond all other values."""
    top = 2 * peak + MASKED
    return np.asarray(np.clip(np.nan_to_num(x, nan=0.0, posinf=top, neginf=-top), -top, top))


@lowering(*COMPARISONS, since=7)
def comparison(c: Context, n: Node) -> Result:
    parts = together(c, n.inputs)
    y = c.emit(COMPARISONS[n.op], *parts, scale=1.0)
    if c.is_float(n.inputs[0]):
        c.out.decides("pair", parts, [c.given(i) for i in n.inputs])
    return y


def negated(c: Context, x: Tensor) -> Tensor:
    return c.emit("addi", c.emit("neg", x), value=1)


def both(c: Context, a: Tensor, b: Tensor) -> Tensor:
    return c.emit("mul", a, b, scale=1.0)


@lowering("And", since=7)
def and_(c: Context, n: Node) -> Result:
    return both(c, *(c.tensor(i) for i in n.inputs))


@lowering("Or", since=7)
def or_(c: Context, n: Node) -> Result:
    """``1 - (1 - a)(1 - b)``."""
    return negated(c, both(c, *(negated(c, c.tensor(i)) for i in n.inputs)))


@lowering("Xor", since=7)
def xor(c: Context, n: Node) -> Result:
    a, b = (c.tensor(i) for i in n.inputs)
    return c.emit("select", a, negated(c, b), b)


@lowering("Not")
def not_(c: Context, n: Node) -> Result:
    return negated(c, c.tensor(n.inputs[0]))


@lowering("IsNaN")
def is_nan(c: Context, n: Node) -> Result:
    """A program's numbers are integers times a scale: never NaN."""
    return c.out.param(np.zeros(c.shape(n.outputs[0]), np.int64))


@lowering("IsInf")
def is_inf(c: Context, n: Node) -> Result:
    raise Unsupported("a program's numbers are finite: infinite ones saturate before they can be recognised")


@lowering("Where", since=9)
def where(c: Context, n: Node) -> Result:
    """Infinite constants (masks before a softmax) are ``2 * peak + 16``."""
    a, b = together(c, n.inputs[1:], n.outputs[0])
    return c.broadcast(c.emit("select", c.tensor(n.inputs[0]), a, b, scale=a.scale), c.shape(n.outputs[0]))


@lowering("Max", "Min", since=6)
def extremum(c: Context, n: Node) -> Result:
    parts = together(c, n.inputs, n.outputs[0])
    acc = parts[0]
    for x in parts[1:]:
        acc = c.emit(n.op.lower(), acc, x)
    return c.broadcast(acc, c.shape(n.outputs[0]))
