"""Operators on quantised integers of onnxruntime's own (domain com.microsoft), which its QOperator format is made of.

They are functions of integers that onnxruntime computes in float32. Here, with a = x - x_zero, and fl for float32:

    QLinearAdd, QLinearMul        rint(r_a a + r_b b + zero), rint(r a b + zero); ratios are float32, the rest is exact
    QGemm                         rint(fl(fl(acc) r)) + zero, r a float32 ratio per tensor or column
    QLinearGlobalAveragePool      rint(fl(fl(sum a) r)) + zero
    QLinearAveragePool            rint(fl(fl(mean) / scale + zero)), the mean summed in float32 (``averages``)
    QLinearSigmoid, -LeakyRelu    rint(fl(f(fl(scale a)) / scale)) + zero, by table
    QLinearConcat, QLinearWhere   rint(fl(fl(scale a) / scale)) + zero, then as their namesakes

The first two and Sigmoid differ from onnxruntime by one only where it is within float32 rounding of a half.
QLinearSoftmax is in ``compiler.ops.quantised_softmax``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.averages import averaged
from syurmy.compiler.ops.pool import average_pool
from syurmy.compiler.ops.quantised import Ratio, limits, stepped
from syurmy.compiler.ops.quantised_linear import along, centred, fixed, requantised
from syurmy.compiler.ops.tabulated import Dequantised, Quantiser, tabulated
from syurmy.compiler.ops.tabulated import requantised as as_quantised
from syurmy.isa.arrays import I64, Array

DOMAIN = "com.microsoft"
ONE = np.zeros((), np.int64)  # the one function of a tensor's entries


def single(c: Context, n: Node, i: int, what: str, absent: int = 0) -> Array:
    values = fixed(c, n, i, what) if c.has(n, i) else np.array(absent)
    if values.size != 1:
        raise Unsupported(f"a {what} per channel", "one per tensor")
    return values.reshape(())


def source(c: Context, n: Node, i: int) -> tuple[Tensor, Dequantised]:
    """Input i less its zero point, with scale and zero point from the two inputs behind it."""
    scale, zero = single(c, n, i + 1, "scale"), int(single(c, n, i + 2, "zero point"))
    of = Dequantised(scale, zero, limits(c.value(n.inputs[i]).dtype))
    return centred(c, n, i, i + 2).scaled(float(scale)), of


def target(c: Context, n: Node, i: int) -> Quantiser:
    scale, zero = single(c, n, i, "scale"), int(single(c, n, i + 1, "zero point"))
    return Quantiser(scale, zero, limits(c.value(n.outputs[0]).dtype), np.dtype(np.float32), None)


def _rounded(y: Array, to: Quantiser) -> I64:
    return np.asarray(np.clip(np.rint(y), *to.limits)).astype(np.int64)


@lowering("QLinearAdd", domain=DOMAIN)
def qlinear_add(c: Context, n: Node) -> Result:
    (a, of_a), (b, of_b), to = source(c, n, 0), source(c, n, 3), target(c, n, 6)
    ratios = [float(of_a.scale / to.scale), float(of_b.scale / to.scale)]

    def function(x: I64, y: I64) -> I64:
        return _rounded(ratios[0] * x + ratios[1] * y + to.zero, to)

    return c.broadcast(tabulated(c, [a, b], [of_a, of_b], function, ratios, to.zero), c.shape(n.outputs[0]))


@lowering("QLinearMul", domain=DOMAIN)
def qlinear_mul(c: Context, n: Node) -> Result:
    (a, of_a), (b, of_b), to = source(c, n, 0), source(c, n, 3), target(c, n, 6)
    f = Ratio(np.array([[of_a.scale * of_b.scale / to.scale]]), np.array([[to.zero]]), to.limits, single=False)
    return c.broadcast(stepped(c, c.emit("mul", a, b, scale=1.0), f, ONE), c.shape(n.outputs[0]))


def _by_table(c: Context, n: Node, f: Callable[[Array], Array]) -> Tensor:
    (x, of), to = source(c, n, 0), target(c, n, 3)
    return tabulated(c, [x], [of], lambda a: to.of(f(of.reals(a))))


@lowering("QLinearSigmoid", domain=DOMAIN)
def qlinear_sigmoid(c: Context, n: Node) -> Result:
    return _by_table(c, n, lambda r: (1 / (1 + np.exp(-r.astype(np.float64)))).astype(np.float32))


@lowering("QLinearLeakyRelu", domain=DOMAIN)
def qlinear_leaky_relu(c: Context, n: Node) -> Result:
    slope = np.float32(n.attr("alpha", 0.01))
    return _by_table(c, n, lambda r: np.where(r >= 0, r, slope * r))


@lowering("QLinearConcat", domain=DOMAIN)
def qlinear_concat(c: Context, n: Node) -> Result:
    to = target(c, n, 0)
    parts = [as_quantised(c, source(c, n, i)[0], to) for i in range(2, len(n.inputs), 3)]
    return c.emit("concat", *parts, axis=n.attr("axis") % len(parts[0].shape))


@lowering("QLinearWhere", domain=DOMAIN)
def qlinear_where(c: Context, n: Node) -> Result:
    to = target(c, n, 7)
    x, y = (as_quantised(c, source(c, n, i)[0], to) for i in (1, 4))
    return c.broadcast(c.emit("select", c.tensor(n.inputs[0]), x, y), c.shape(n.outputs[0]))


@lowering("QLinearGlobalAveragePool", domain=DOMAIN)
def qlinear_global_average_pool(c: Context, n: Node) -> Result:
    (x, of), to = source(c, n, 0), target(c, n, 3)
    axes = tuple(range(1, len(x.shape) - 1) if n.attr("channels_last", 0) else range(2, len(x.shape)))
    count = math.prod(x.shape[a] for a in axes)
    total = c.emit("sum", x, axes=axes, keepdims=True, scale=1.0)
    ratio = of.scale / (to.scale * np.float32(count))
    return stepped(c, total, Ratio(np.array([[ratio]]), np.array([[to.zero]]), to.limits), ONE)


@lowering("QLinearAveragePool", domain=DOMAIN)
def qlinear_average_pool(c: Context, n: Node) -> Result:
    if n.attr("channels_last", 0):
        raise Unsupported("channels on the last axis", "channels_last = 0")
    (x, of), to = source(c, n, 0), target(c, n, 3)

    def quantise(reals: Array) -> I64:
        return _rounded(reals / to.scale + np.float32(to.zero), to)

    y = averaged(c, x, n, of.scale, c.shape(n.outputs[0])[2:], quantise)
    if y is not None:
        return y
    c.tensors[f"{n.name}/reals"] = x
    mean = average_pool(c, replace(n, inputs=(f"{n.name}/reals",)))
    assert isinstance(mean, Tensor)
    return stepped(c, mean, lambda a, rows: quantise((a * mean.scale).astype(np.float32)), ONE)


@lowering("QGemm", domain=DOMAIN)
def qgemm(c: Context, n: Node) -> Result:
    """Without a scale of the result its dtype is float32, and its scale that of the accumulator."""
    a, b = centred(c, n, 0, 2), centred(c, n, 3, 5, 0 if n.attr("transB", 0) else 1)
    a, b = (c.emit("transpose", x, perm=(1, 0)) if n.attr(t, 0) else x for x, t in ((a, "transA"), (b, "transB")))
    acc = c.emit("matmul", a, b, scale=1.0)
    if c.has(n, 6):
        acc = c.emit("add", acc, c.tensor(n.inputs[6]), scale=1.0)
    unit = np.float32(n.attr("alpha", 1.0)) * single(c, n, 1, "scale") * along(fixed(c, n, 4, "a scale"), 2, 1)
    if c.has(n, 7):
        return requantised(c, n, acc, unit / single(c, n, 7, "scale"), 8)
    if unit.size == 1:
        return acc.scaled(float(unit))
    return c.multiply(acc, c.quantised(unit))
