"""Functions of one number, through tables; relu, clip and prelu by comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.root import is_positive, is_wide, logarithm, reciprocal, root
from syurmy.compiler.scales import FEW, SLACK
from syurmy.isa.arrays import F64
from syurmy.isa.types import DType

Family = Callable[[Node], Callable[[F64], F64]]
BY_TABLE = 2**15  # entries from which on a table of 2^16 rows is cheaper than two comparisons

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(n: Node) -> Callable[[F64], F64]:
    if n.attr("approximate", "none") == "tanh":
        return lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _elu(a: float, g: float = 1.0) -> Callable[[F64], F64]:
    return lambda x: g * np.where(x > 0, x, a * np.expm1(np.minimum(x, 0)))


def _celu(n: Node) -> Callable[[F64], F64]:
    a = n.attr("alpha", 1.0)
    return lambda x: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0) / a))


def _shrink(n: Node) -> Callable[[F64], F64]:
    bias, lambd = n.attr("bias", 0.0), n.attr("lambd", 0.5)
    return lambda x: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))


def sigmoid(x: F64) -> F64:
    return 1 / (1 + np.exp(-x))


def softplus(x: F64) -> F64:
    return np.logaddexp(x, 0)


def _plain(f: Callable[..., Any]) -> Family:
    return lambda n: f


FUNCTIONS: dict[str, Family] = {
    "Abs": _plain(np.abs),
    "Acos": _plain(np.arccos),
    "Acosh": _plain(np.arccosh),
    "Asin": _plain(np.arcsin),
    "Asinh": _plain(np.arcsinh),
    "Atan": _plain(np.arctan),
    "Atanh": _plain(np.arctanh),
    "Ceil": _plain(np.ceil),
    "Celu": _celu,
    "Cos": _plain(np.cos),
    "Cosh": _plain(np.cosh),
    "Elu": lambda n: _elu(n.attr("alpha", 1.0)),
    "Erf": _plain(_erf),
    "Exp": _plain(np.exp),
    "Floor": _plain(np.floor),
    "Gelu": _gelu,
    "HardSigmoid": lambda n: lambda x: np.clip(n.attr("alpha", 0.2) * x + n.attr("beta", 0.5), 0, 1),
    "HardSwish": _plain(lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "LeakyRelu": lambda n: lambda x: np.where(x < 0, n.attr("alpha", 0.01) * x, x),
    "Log": _plain(np.log),
    "Mish": _plain(lambda x: x * np.tanh(softplus(x))),
    "Reciprocal": _plain(lambda x: 1 / x),
    "Round": _plain(np.rint),
    "Selu": lambda n: _elu(n.attr("alpha", 1.67326319217681884765625), n.attr("gamma", 1.05070102214813232421875)),
    "Shrink": _shrink,
    "Sigmoid": _plain(sigmoid),
    "Sign": _plain(np.sign),
    "Sin": _plain(np.sin),
    "Sinh": _plain(np.sinh),
    "Softplus": _plain(softplus),
    "Softsign": _plain(lambda x: x / (1 + np.abs(x))),
    "Sqrt": _plain(np.sqrt),
    "Swish": lambda n: lambda x: x * sigmoid(n.attr("alpha", 1.0) * x),
    "Tan": _plain(np.tan),
    "Tanh": _plain(np.tanh),
    "ThresholdedRelu": lambda n: lambda x: np.where(x > n.attr("alpha", 1.0), x, 0),
}


KEPT = 8  # a clip that keeps less than one part of so many cuts off before it narrows
WIDE_FUNCTIONS: dict[str, Callable[[Context, Tensor], Tensor]] = {"Sqrt": root, "Log": logarithm}
POLES = {"Tan", "Atanh"}  # where a 16-bit argument is not enough, and tables of the end near 0 do not help


@lowering(*FUNCTIONS)
def by_table(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    if not c.is_float(n.inputs[0]):
        return _integer(c, n, x)
    if n.op in WIDE_FUNCTIONS and is_wide(c, x):
        return WIDE_FUNCTIONS[n.op](c, x)
    if n.op == "Sign" and x.type.size <= FEW:  # exact: a table takes what is small for 0
        return c.emit("sign", x, scale=1.0)
    if n.op == "Reciprocal" and is_positive(c, x):
        return reciprocal(c, x)
    if n.op in POLES and c.precision.fine:
        return c.sloped(x, FUNCTIONS[n.op](n), n.op.lower())
    return c.table(x, FUNCTIONS[n.op](n), n.op.lower())


def _integer(c: Context, n: Node, x: Tensor) -> Tensor:
    if n.op in ("Abs", "Sign"):
        return c.emit(n.op.lower(), x)
    x = c.narrow(x)
    f = FUNCTIONS[n.op](n)
    entries = np.rint(f(np.arange(x.type.lo, x.type.hi + 1, dtype=np.float64))).astype(np.int64)
    return c.lookup(x, entries, n.op.lower())


@lowering("Relu")
def relu(c: Context, n: Node) -> Result:
    """On the narrowed source. A quantisation of the model's own must see the exact value: before it, on the source."""
    x = c.tensor(n.inputs[0])
    exact = not c.is_float(n.inputs[0]) or set(c.graph.readers(n.outputs[0])) == {"QuantizeLinear"}
    return c.emit("relu", x) if exact else c.relu(x, c.graph.uses(n.inputs[0]) == 1)


@lowering("Clip")
def clip(c: Context, n: Node) -> Result:
    """Constant bounds, from attributes (opset 6) or inputs. In units of the narrowed source: error 1/2 unit."""
    x = c.tensor(n.inputs[0])
    lo, hi = (_bound(c, n, i, name) for i, name in ((1, "min"), (2, "max")))
    if isinstance(lo, Tensor) or isinstance(hi, Tensor):
        for bound, op in ((lo, "max"), (hi, "min")):
            if isinstance(bound, Tensor):
                pair = c.align([x, bound], max(c.peak(n.inputs[0]), 1e-9)) if c.is_float(n.inputs[0]) else [x, bound]
                x = c.emit(op, *pair)
            elif bound is not None and math.isfinite(bound):
                x = c.emit("clamp", x, **{"lo" if op == "max" else "hi": round(bound / x.scale)})
        return x
    lo = None if lo is None or math.isinf(lo) else lo
    hi = None if hi is None or math.isinf(hi) else hi
    if lo is not None and hi is not None:
        lo = min(lo, hi)  # ONNX: where they cross, max wins
    exact = c.precision.sloped and x.type.size <= FEW  # where nothing less keeps the tolerance: rows of unlike size
    if c.is_float(n.inputs[0]) and not exact:
        low, high = -math.inf if lo is None else lo, math.inf if hi is None else hi
        if c.graph.uses(n.inputs[0]) == 1 and (cut := c.between(x, low, high, _told_apart(c, n, lo, hi))):
            return cut
        x = c.narrow(_cut(c, x, lo, hi))
        if x.type.size >= BY_TABLE:
            return c.table(x, lambda v: np.clip(v, low, high), "clip")
    q_lo, q_hi = (None if b is None else max(-(2**60), min(2**60, round(b / x.scale))) for b in (lo, hi))
    if q_lo == 0 and q_hi is None:
        return c.emit("relu", x)
    if q_lo is None and q_hi is None:
        return x
    if any(q is not None and not x.type.dtype.lo <= q <= x.type.dtype.hi for q in (q_lo, q_hi)):
        x = c.emit("cast", x, dtype=DType.I64)  # a bound beyond every sample
    return c.emit("clamp", x, lo=q_lo, hi=q_hi)


def _told_apart(c: Context, n: Node, lo: float | None, hi: float | None) -> bool:
    """Whether a bound is taken from the result, or added to it: then where it is reached must be 0."""
    ends = {abs(b) for b in (lo, hi) if b}
    for m in c.graph.nodes:
        if n.outputs[0] in m.inputs and m.op in ("Add", "Sub") and not m.domain:
            fixed = [k for i in m.inputs if (k := c.const(i)) is not None]
            if fixed and ends.intersection(np.abs(fixed[0]).reshape(-1)[:1].tolist()):
                return True
    return False


def _cut(c: Context, x: Tensor, lo: float | None, hi: float | None) -> Tensor:
    """``x`` in units of what is kept, where that is far less than what x reaches: what is beyond is cut off first."""
    bits = min(c.precision.activations, 16)
    top = 2 ** (bits - 1) - 1
    reach = 0.0 if lo is None or hi is None else max(abs(lo), abs(hi))
    if not reach or reach * KEPT > x.peak * x.scale or reach / top <= x.scale:
        return x
    return c.rescale(x, top * x.scale / (reach * SLACK), DType(f"i{bits}"), flat=(True, True))


def _bound(c: Context, n: Node, i: int, name: str) -> float | Tensor | None:
    if n.attr(name) is not None:
        return float(n.attr(name))
    if not c.has(n, i):
        return None
    value = c.operand(n.inputs[i])
    return value if isinstance(value, Tensor) else float(value.reshape(-1)[0])


@lowering("PRelu")
def prelu(c: Context, n: Node) -> Result:
    """One slope: a table. Several: ``slope * x + (1 - slope) * relu(x)``."""
    x, slope = c.tensor(n.inputs[0]), c.operand(n.inputs[1])
    if not isinstance(slope, Tensor) and slope.size == 1:
        a = float(slope.reshape(-1)[0])
        return c.table(x, lambda v: np.where(v < 0, a * v, v), "prelu")
    x = c.narrow(x)
    r = c.emit("relu", x)
    if isinstance(slope, Tensor):
        s = c.narrow(slope)
        negative = c.emit("sub", x, r)  # its interval says a bit more than it has, and a product needs no narrowing
        negative = c.emit("mul", negative, s, scale=negative.scale * s.scale)
        return c.emit("add", *c.align([r, negative], c.peak(n.outputs[0])))
    top = 2 ** (c.precision.weights - 1) - 1
    unit = max(float(np.abs(slope).max()), float(np.abs(1 - slope).max())) / top
    return c.emit("add", c.multiply(x, c.constant(slope, unit)), c.multiply(r, c.constant(1 - slope, unit)))


@lowering("Pointwise", domain=FUSED)
def pointwise(c: Context, n: Node) -> Result:
    return c.table(c.tensor(n.inputs[0]), n.attr("function"), "_".join(n.attr("of")).lower()[:40])
