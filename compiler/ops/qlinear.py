"""Operators on quantised integers: exact accumulators, requantised as ``quantized`` does.

With a scale per channel the ratios ``x_scale * w_scale / y_scale`` are integers over one power of two, of 31 bits for
the largest; results differ from float32 arithmetic at most where it is within 2^-22 of a half.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.emit import Tensor
from compiler.errors import Unsupported
from compiler.graph import Node
from compiler.lower import Context, Result, lowering
from compiler.ops.linear import convolution
from compiler.ops.quantized import MULTIPLIER, dequantize_linear, parameters, quantize_linear, requantised
from isa.types import DType

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def fixed(c: Context, n: Node, i: int, what: str) -> npt.NDArray[Any]:
    found = c.const(n.inputs[i])
    if found is None:
        raise Unsupported(f"{what} is computed from the input", "a constant")
    return found


def centred(c: Context, n: Node, i: int, zero: int, shape: tuple[int, ...] | None = None) -> Tensor:
    """Input i less its zero point (input ``zero``, absent: 0), which has ``shape`` if there are several."""
    z = np.asarray(fixed(c, n, zero, "a zero point")).astype(np.int64) if c.has(n, zero) else np.zeros((), np.int64)
    z = z.reshape(()) if z.size == 1 else z.reshape(shape if shape is not None else z.shape)
    x = c.const(n.inputs[i])
    if x is not None:
        return c.out.param(x.astype(np.int64) - z, 1.0, n.inputs[i])
    y = c.tensor(n.inputs[i])
    if not z.any():
        return y
    return c.emit("addi", y, value=-int(z)) if z.ndim == 0 else c.emit("sub", y, c.out.param(z))


def requantised_by(c: Context, x: Tensor, ratios: Floats, zero: Ints, dtype: np.dtype[Any]) -> Tensor:
    """``saturate(round(x * ratios) + zero)``, ratios and zero points broadcast against x."""
    info = np.iinfo(dtype)
    lo, hi = int(info.min), int(info.max)
    middle = (lo + hi + 1) // 2
    shift = 48
    top = float(ratios.max())
    while shift and (top * 2.0**shift >= 2**MULTIPLIER or x.bound * top * 2.0**shift + (256 << shift) >= 2**60):
        shift -= 1
    y = c.emit("mul", x, c.out.param(np.rint(ratios * 2.0**shift).astype(np.int64)), scale=1.0)
    offset = (zero - middle) << shift
    y = c.emit("add", y, c.out.param(offset), scale=1.0) if offset.any() else y
    y = c.emit("rescale", y, scale=1.0, shift=shift, dtype=DType.I8 if info.bits == 8 else DType.I16)
    return c.emit("addi", y, value=middle) if middle else y


def finished(c: Context, acc: Tensor, product: Floats, scale: float, zero: int, dtype: np.dtype[Any]) -> Tensor:
    """An accumulator whose unit is ``product`` (one, or an array that broadcasts) as integers at ``scale``."""
    if product.size == 1:
        return requantised(c, acc.scaled(float(product.reshape(-1)[0])), scale, zero, dtype)
    return requantised_by(c, acc.scaled(1.0), product / scale, np.array(zero), dtype)


def _scale(c: Context, n: Node, i: int) -> Floats:
    return np.asarray(fixed(c, n, i, "a scale")).astype(np.float64)


def _target(c: Context, n: Node, i: int) -> tuple[float, int, np.dtype[Any]]:
    scale = _scale(c, n, i)
    zero = np.asarray(fixed(c, n, i + 1, "a zero point")).astype(np.int64) if c.has(n, i + 1) else np.zeros(1, np.int64)
    if scale.size != 1 or zero.size != 1:
        raise Unsupported("a scale per channel of the result", "one per tensor")
    return float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]), c.value(n.outputs[0]).dtype


def _along(values: npt.NDArray[Any], rank: int, axis: int) -> npt.NDArray[Any]:
    """A vector along one axis of a matrix operand; matrices of quantisation parameters stay."""
    if values.size == 1:
        return values.reshape(())
    return values.reshape([-1 if a == axis % rank else 1 for a in range(rank)]) if values.ndim == 1 else values


@lowering("QLinearMatMul", since=10)
def qlinear_matmul(c: Context, n: Node) -> Result:
    """Parameters of a per tensor or per row, of b per tensor or per column."""
    ra, rb = (len(c.shape(n.inputs[i])) for i in (0, 3))
    za = _along(np.asarray(fixed(c, n, 2, "a zero point")), ra, -2).shape
    zb = _along(np.asarray(fixed(c, n, 5, "a zero point")), rb, -1).shape
    a, b = centred(c, n, 0, 2, za), centred(c, n, 3, 5, zb)
    acc = c.emit("matmul", a, b, scale=1.0)
    product = _along(_scale(c, n, 1), ra, -2) * _along(_scale(c, n, 4), rb, -1)
    return finished(c, acc, product, *_target(c, n, 6))


@lowering("MatMulInteger", since=10)
def matmul_integer(c: Context, n: Node) -> Result:
    shapes = []
    for i, axis, operand in ((2, -2, 0), (3, -1, 1)):
        rank = len(c.shape(n.inputs[operand]))
        shapes.append(_along(np.asarray(fixed(c, n, i, "a zero point")), rank, axis).shape if c.has(n, i) else None)
    return c.emit("matmul", centred(c, n, 0, 2, shapes[0]), centred(c, n, 1, 3, shapes[1]), scale=1.0)


@lowering("ConvInteger", since=10)
def conv_integer(c: Context, n: Node) -> Result:
    x = centred(c, n, 0, 2)
    w = centred(c, n, 1, 3, (-1,) + (1,) * (len(x.shape) - 1))
    return convolution(c, x, w, n)


@lowering("QLinearConv", since=10)
def qlinear_conv(c: Context, n: Node) -> Result:
    """Weights per tensor or per channel; the bias is an integer at ``x_scale * w_scale``."""
    x = centred(c, n, 0, 2)
    rank = len(x.shape)
    w = centred(c, n, 3, 5, (-1,) + (1,) * (rank - 1))
    acc = convolution(c, x, w, replace(n, inputs=(n.inputs[0], n.inputs[3])))
    column = (-1,) + (1,) * (rank - 2)
    if c.has(n, 8):
        bias = c.tensor(n.inputs[8])
        acc = c.emit("add", acc, c.reshape(bias, (bias.shape[0], *column[1:])), scale=1.0)
    scales = _scale(c, n, 4)
    product = _scale(c, n, 1).reshape(()) * (scales.reshape(()) if scales.size == 1 else scales.reshape(column))
    return finished(c, acc, product, *_target(c, n, 6))


@lowering("QuantizeLinear", since=13)
def quantize_linear_axis(c: Context, n: Node) -> Result:
    """Per tensor, or with a scale per position of ``axis``."""
    scale, zero = parameters(c, n, 1)
    x, dtype = c.tensor(n.inputs[0]), c.value(n.outputs[0]).dtype
    if dtype.kind not in "iu":
        raise Unsupported(f"quantisation to {dtype}", "8 or 16 bits")
    if scale.size == 1:
        return quantize_linear(c, n)
    if scale.ndim != 1:
        raise Unsupported("scales per block", "one per channel")
    rank, axis = len(x.shape), n.attr("axis", 1)
    ratios, zeros = x.scale / _along(scale, rank, axis), _along(zero, rank, axis)
    return requantised_by(c, x.scaled(1.0), ratios, zeros.astype(np.int64), dtype)


@lowering("DequantizeLinear", since=13)
def dequantize_linear_axis(c: Context, n: Node) -> Result:
    """Per tensor, or per position of ``axis``: an exact product with scales in 16 bits."""
    scale, zero = parameters(c, n, 1)
    if scale.size == 1 and zero.size == 1:
        return dequantize_linear(c, n)
    if scale.ndim != 1:
        raise Unsupported("scales per block", "one per channel")
    rank, axis = len(c.shape(n.inputs[0])), n.attr("axis", 1)
    x = c.emit("sub", c.tensor(n.inputs[0]), c.out.param(_along(zero, rank, axis).astype(np.int64)))
    return c.multiply(x, c.quantised(_along(scale, rank, axis)))
