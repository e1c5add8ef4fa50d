"""Softmax between integers: of a dequantised tensor, quantised again.

With d = x - max x along the axis, x the source's integers and s their scale:

    e = round(2^B exp(s d))        t = sum e        y = floor((2 e C + t) / 2t) + zero

where C is how many steps of the result are 1. It is exact but for the rounding of e, so y is that of onnxruntime and of
the reference unless their float32 is within about 2^-B of a half. B is such that a remainder has 32 bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.quantised_contrib import DOMAIN, source, target
from syurmy.compiler.ops.softmax import back, rows
from syurmy.compiler.ops.tabulated import Quantiser, within
from syurmy.isa.arrays import F64, I64

BITS = 31  # of the sum of a row


def quantised_shares(c: Context, x: Tensor, one: float, to: Quantiser) -> Tensor:
    """The integers of ``to``, of shares along the last axis; ``one``: how many steps 1 has."""
    largest = 1 << max(BITS - (x.shape[-1] - 1).bit_length(), 1)
    d = c.emit("sub", x, c.emit("reduce_max", x, axis=-1, keepdims=True))
    exact = np.exp(np.arange(d.type.lo, 1) * x.scale)  # d is never above 0
    e = c.lookup(d, _whole(largest * exact), "exp", 1.0)
    total = c.emit("sum", e, axes=(-1,), keepdims=True, scale=1.0)
    total = c.emit("max", total, c.out.param(np.array(largest)))
    parts = c.muli(e, 2 * int(one)) if one == int(one) else c.lookup(d, _whole(2 * one * largest * exact), "exp", 1.0)
    y = c.emit("div", c.emit("add", parts, total, scale=1.0), c.muli(total, 2), scale=1.0)
    y = c.emit("addi", y, value=to.zero) if to.zero else y
    return c.emit("clamp", y, lo=to.limits[0], hi=to.limits[1])


def _whole(x: F64) -> I64:
    return np.asarray(np.rint(x), np.int64)


@lowering("QLinearSoftmax", domain=DOMAIN)
def qlinear_softmax(c: Context, n: Node) -> Result:
    """As onnxruntime has it, 1 is a whole number of steps, rounded down."""
    x, of = source(c, n, 0)
    to = target(c, n, 3)
    return _softmax(c, replace(n, version=int(n.attr("opset", 13))), within(c, x, of), to, True)


@lowering("Shares", domain=FUSED)
def dequantised_softmax(c: Context, n: Node) -> Result:
    core = n.attr("node")
    return _softmax(c, core, within(c, c.tensor(n.inputs[0]), n.attr("of")), n.attr("to"), False)


def _softmax(c: Context, n: Node, x: Tensor, to: Quantiser, whole: bool) -> Tensor:
    c.tensors[f"{n.name}/within"] = x
    x, perm = rows(c, replace(n, inputs=(f"{n.name}/within",)), 1 if n.version < 13 else -1)
    one = float(np.floor(np.float32(1) / np.float32(to.scale))) if whole else 1 / float(to.scale)
    y = quantised_shares(c, x, one, to)
    return back(c, y, perm, c.shape(n.outputs[0]))
