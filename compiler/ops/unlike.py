"""What operators do with sources whose entries have scales of their own (``compiler.channels``)."""

from __future__ import annotations

import numpy as np

from syurmy.compiler.channels import Channels, channels_of, joined, product, scaled, shifted, squared
from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, absorbing
from syurmy.compiler.ops.linear import label, plus
from syurmy.compiler.ops.shape import pick
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
        return None
    x, k, place = found
    if n.op == "Add":
        return shifted(c, x, k)
    return shifted(c, x, -k) if place == 0 else shifted(c, scaled(c, x, np.array(-1.0)), k)


@absorbing("Mul", "Div")
def product_with_constant(c: Context, n: Node) -> Result | None:
    if n.op == "Mul" and n.inputs[0] == n.inputs[1]:
        return squared(c, c.channels[n.inputs[0]])
    found = _pair(c, n)
    if found is None or (n.op == "Div" and (found[2] == 1 or not found[1].all())):
        return None
    x, k, _ = found
    return scaled(c, x, k if n.op == "Mul" else 1 / k)


@absorbing("Pow")
def square(c: Context, n: Node) -> Result | None:
    exponent = c.const(n.inputs[1])
    if exponent is None or exponent.size != 1 or float(exponent.reshape(-1)[0]) != 2.0:
        return None
    return squared(c, c.channels[n.inputs[0]])


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
