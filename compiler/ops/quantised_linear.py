"""Operators on quantised integers: exact accumulators, requantised as ``compiler.ops.quantised`` does.

``acc = sum (x - x_zero) (w - w_zero) + bias`` and ``y = clip(rint(fl(fl(acc) ratio)) + y_zero)``, where the ratio
``x_scale w_scale / y_scale`` is a float32 number per tensor, row, column or channel, and fl rounds to float32, as
onnxruntime does. The ONNX reference multiplies in float64 and adds the zero point before it rounds: it differs by one
next to a half.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import convolution
from syurmy.compiler.ops.quantised import Ratio, classes, less, limits, stepped
from syurmy.isa.arrays import Array


def fixed(c: Context, n: Node, i: int, what: str) -> Array:
    found = c.const(n.inputs[i])
    if found is None:
        raise Unsupported(f"{what} is computed from the input", "a constant")
    return found


def centred(c: Context, n: Node, i: int, zero: int, axis: int | None = None) -> Tensor:
    """Input i less its zero point (input ``zero``, absent: 0). A constant vector of zero points is along ``axis``."""
    x = c.const(n.inputs[i])
    if c.has(n, zero) and c.const(n.inputs[zero]) is None:
        moving = c.tensor(n.inputs[zero])
        y = c.tensor(n.inputs[i])
        if int(np.prod(moving.shape)) != 1:
            raise Unsupported("several zero points that are computed from the input", "one, or constants")
        return c.emit("sub", y, c.reshape(moving, (1,) * len(y.shape)))
    rank = len(c.shape(n.inputs[i]))
    z = along(fixed(c, n, zero, "a zero point").astype(np.int64), rank, axis) if c.has(n, zero) else np.zeros((), int)
    if x is not None:
        return c.out.param(less(x, z), 1.0, n.inputs[i])
    y = c.tensor(n.inputs[i])
    if not z.any():
        return y
    return c.emit("addi", y, value=-int(z)) if z.ndim == 0 else c.emit("sub", y, c.out.param(z))


def along(values: Array, rank: int, axis: int | None) -> Array:
    """A vector along one axis of an operand of ``rank``; matrices of quantisation parameters stay."""
    if values.size == 1:
        return values.reshape(())
    if axis is None or values.ndim != 1:
        return values
    return values.reshape([-1 if a == axis % rank else 1 for a in range(rank)])


def requantised(c: Context, n: Node, acc: Tensor, ratio: Array, zero: int | None) -> Tensor:
    """By ``ratio`` (which broadcasts against acc), to the dtype of n's result; input ``zero`` is its zero point."""
    z = fixed(c, n, zero, "a zero point") if zero is not None and c.has(n, zero) else np.zeros((), np.int64)
    if z.size != 1:
        raise Unsupported("a zero point per channel of the result", "one per tensor")
    (ratios, zeros), index = classes(ratio, z.astype(np.int64).reshape(()))
    to = limits(c.value(n.outputs[0]).dtype)
    return stepped(c, acc, Ratio(ratios, zeros, to), index)


def _scale(c: Context, n: Node, i: int, rank: int, axis: int | None) -> Array:
    return along(fixed(c, n, i, "a scale"), rank, axis)


@lowering("QLinearMatMul", since=10)
def qlinear_matmul(c: Context, n: Node) -> Result:
    """Parameters of a per tensor or per row, of b per tensor or per column."""
    ra, rb = (len(c.shape(n.inputs[i])) for i in (0, 3))
    acc = c.emit("matmul", centred(c, n, 0, 2, -2), centred(c, n, 3, 5, -1), scale=1.0)
    ratio = _scale(c, n, 1, ra, -2) * _scale(c, n, 4, rb, -1) / _scale(c, n, 6, ra, -2)
    return requantised(c, n, acc, ratio, 7)


@lowering("MatMulInteger", since=10)
def matmul_integer(c: Context, n: Node) -> Result:
    return c.emit("matmul", centred(c, n, 0, 2, -2), centred(c, n, 1, 3, -1), scale=1.0)


@lowering("ConvInteger", since=10)
def conv_integer(c: Context, n: Node) -> Result:
    return convolution(c, centred(c, n, 0, 2), centred(c, n, 1, 3, 0), n)


@lowering("QLinearConv", since=10)
def qlinear_conv(c: Context, n: Node) -> Result:
    """Weights per tensor or per channel; the bias is an integer at ``x_scale * w_scale``."""
    x, w = centred(c, n, 0, 2), centred(c, n, 3, 5, 0)
    acc = convolution(c, x, w, replace(n, inputs=(n.inputs[0], n.inputs[3])))
    rank = len(x.shape) - 1  # without the batch: channels come first
    if c.has(n, 8):
        bias = c.tensor(n.inputs[8])
        acc = c.emit("add", acc, c.reshape(bias, (bias.shape[0], *(1,) * (rank - 1))), scale=1.0)
    x_scale, y_scale = (fixed(c, n, i, "a scale").reshape(()) for i in (1, 6))
    return requantised(c, n, acc.scaled(1.0), x_scale * _scale(c, n, 4, rank, 0) / y_scale, 7)
