"""Activations, and products and convolutions with one behind them, as onnxruntime's optimiser fuses them."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.bodies.engine import body
from syurmy.compiler.bodies.norms import RUNTIME
from syurmy.compiler.bodies.writer import Writer
from syurmy.compiler.errors import Unsupported

PARAMETERS = {"LeakyRelu": ("alpha",), "Elu": ("alpha",), "ThresholdedRelu": ("alpha",), "Celu": ("alpha",),
              "HardSigmoid": ("alpha", "beta"), "Selu": ("alpha", "gamma")}  # fmt: skip
PLAIN = {"Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Identity"}


def erf_gelu(w: Writer, x: str) -> str:
    if w.opset >= 20:
        return w("Gelu", x)
    one, root = (w.number(v) for v in (1.0, math.sqrt(2)))
    return w("Mul", w.times(x, 0.5), w("Add", w("Erf", w("Div", x, root)), one))


def tanh_gelu(w: Writer, x: str) -> str:
    if w.opset >= 20:
        return w("Gelu", x, approximate="tanh")
    cube = w.times(w("Mul", w("Mul", x, x), x), 0.044715)
    t = w("Tanh", w.times(w("Add", x, cube), math.sqrt(2 / math.pi)))
    return w("Mul", w.times(x, 0.5), w("Add", t, w.number(1.0)))


@body("Gelu", "BiasGelu", domain=RUNTIME)
def gelu(w: Writer) -> str:
    return erf_gelu(w, w.total(w.input(0), w.input(1)))


@body("FastGelu", domain=RUNTIME)
def fast_gelu(w: Writer) -> str:
    return tanh_gelu(w, w.total(w.input(0), w.input(1)))


@body("QuickGelu", domain=RUNTIME)
def quick_gelu(w: Writer) -> str:
    x = w.input(0)
    return w("Mul", x, w("Sigmoid", w.times(x, w.attr("alpha", 1.702))))


def activated(w: Writer, x: str, name: str | None, given: dict[str, float], ends: list[float]) -> str:
    """``x`` behind the activation ``name``; ``given``: its parameters by name; ``ends``: those of Clip."""
    if not name:
        return x
    if name == "Clip":
        return w.clip(x, *(ends or [-math.inf, math.inf]))
    if name not in PLAIN and name not in PARAMETERS:
        raise Unsupported(f"the activation {name}", "another, or none")
    return w(name, x, **given)


@body("FusedConv", domain=RUNTIME)
def fused_conv(w: Writer) -> str:
    attributes = {k: w.attr(k) for k in ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")}
    y = w.total(w("Conv", w.input(0), w.input(1), w.input(2), **attributes), w.input(3))
    name, values = w.attr("activation"), [float(v) for v in w.attr("activation_params", [])]
    return activated(w, y, name, dict(zip(PARAMETERS.get(name, ()), values, strict=False)), values)


@body("FusedGemm", domain=RUNTIME)
def fused_gemm(w: Writer) -> str:
    a, b, c = map(w.input, range(3))
    if not c and w.opset < 11:
        c = w.number(np.zeros(1))
    y = w("Gemm", a, b, c, **{k: w.attr(k) for k in ("alpha", "beta", "transA", "transB")})
    name = w.attr("activation")
    given = {k: w.attr(f"activation_{k}") for k in PARAMETERS.get(name, ())}
    ends = [w.attr(f"activation_{k}", v) for k, v in (("alpha", -math.inf), ("beta", math.inf))]
    return activated(w, y, name, {k: v for k, v in given.items() if v is not None}, ends)


@body("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation", domain=RUNTIME)
def fused_matmul(w: Writer) -> str:
    a, b = (
        _turned(w, w.input(i), bool(w.attr(f"trans{s}", 0)), bool(w.attr(f"transBatch{s}", 0)))
        for i, s in enumerate("AB")
    )
    y = w.times(w("MatMul", a, b), w.attr("alpha", 1.0))
    name = w.attr("activation")
    given = {k: w.attr(f"activation_{k}") for k in PARAMETERS.get(name, ())}
    return activated(w, y, name, {k: v for k, v in given.items() if v is not None}, [])


def _turned(w: Writer, x: str, last: bool, batch: bool) -> str:
    """``batch``: the first axis becomes the last but one, of the axes in between each moves up."""
    if not last and not batch:
        return x
    rank = w.rank(x)
    if rank < 2:
        return x
    axes = [*range(1, rank - 1), 0, rank - 1] if batch else list(range(rank))
    return w.transposed(x, *axes[:-2], *(axes[:-3:-1] if last else axes[-2:]))


@body("NhwcMaxPool", domain=RUNTIME)
def channels_last_pool(w: Writer) -> str:
    """Channels on the last axis: the operator between two transpositions."""
    names = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
    rank = len(w.attr("kernel_shape")) + 2
    y = w("MaxPool", channels_first(w, w.input(0), rank), **{k: w.attr(k) for k in names})
    return w.transposed(y, 0, *range(2, rank), 1)


@body("QLinearConv", domain=RUNTIME)
def quantised_conv(w: Writer) -> str:
    names = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    last, rank = bool(w.attr("channels_last", 0)), w.rank(w.input(3))
    x = channels_first(w, w.input(0), rank) if last else w.input(0)
    y = w("QLinearConv", x, *map(w.input, range(1, 9)), **{k: w.attr(k) for k in names})
    return w.transposed(y, 0, *range(2, rank), 1) if last else y


def channels_first(w: Writer, x: str, rank: int) -> str:
    return w.transposed(x, 0, rank - 1, *range(1, rank - 1))
