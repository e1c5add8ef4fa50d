"""Quantised models as they are: QuantizeLinear and DequantizeLinear, bit for bit.

A dequantised tensor is its integers less the zero point, at the model's own scale, so products and sums of dequantised
tensors are exact accumulators. Requantisation of an accumulator a with unit u is, in the floating point of the model,

    y(a) = clip(rint((fl(u a) + bias) / scale) + zero)    QuantizeLinear, of the correctly rounded real u a
    y(a) = clip(rint(fl(ratio a)) + zero)                 QLinearConv, QLinearMatMul and most of onnxruntime's own
    y(a) = clip(rint(ratio a + zero))                     QLinearMul

rounding half to even: a monotone step function per channel. ``stepped`` emits exactly that function on the whole
interval of a, and checks it at compile time (``compiler.steps``): nothing, where y(a) - a is constant; a table, where
that has few rows; one ``rescale`` by a multiplier and an offset per channel that equal it; and where there are none,
such a map that is at most one above, less a comparison with the threshold of the level that it gave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from syurmy.compiler import steps
from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.narrowing import MAX_SHIFT
from syurmy.compiler.stepping import MOST, Stepped
from syurmy.compiler.steps import Step
from syurmy.isa.arrays import I64, Array
from syurmy.isa.types import DType

ROWS = 2**16  # of a table
FEW_ROWS = 2**10  # a table of so many rows is never dearer than a rescale
PART = 14  # binary digits of a step that are kept of what is too wide
PER_ENTRY = 4  # rows of a table that cost about as much as one rescale


# ---- the functions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Requantisation:
    """QuantizeLinear of ``fl(unit * a) + bias``, clipped to ``bounds`` on the way; columns, one row per channel.
    ``dtype``: of the reals; ``precision``: what is divided in, where the operator says so."""

    unit: Array
    scale: Array
    zero: Array
    limits: tuple[int, int]
    dtype: np.dtype[Any]
    bias: Array | None = None
    bounds: tuple[tuple[float, float], ...] = ()
    precision: np.dtype[Any] | None = None

    def __call__(self, a: I64, rows: slice) -> I64:
        with np.errstate(all="ignore"):
            r = (a * self.unit[rows]).astype(self.dtype)
            if self.bias is not None:
                r = r + self.bias[rows]
        return self.of(r, rows)

    def of(self, r: Array, rows: slice) -> I64:
        """The integers of reals."""
        with np.errstate(all="ignore"):
            for low, high in self.bounds:
                r = np.minimum(np.maximum(r, self.dtype.type(low)), self.dtype.type(high))
            kind = self.precision or np.result_type(r, self.scale)
            q = np.rint(r.astype(kind) / self.scale[rows].astype(kind)).astype(np.float64)
        return _integers(q + self.zero[rows], self.limits)


@dataclass(frozen=True, eq=False)
class Ratio:
    """``rint(fl(fl(a) ratio)) + zero`` in float32; not ``single``: ``rint(ratio a + zero)`` in float64."""

    ratio: Array
    zero: Array
    limits: tuple[int, int]
    single: bool = True

    def __call__(self, a: I64, rows: slice) -> I64:
        if self.single:
            product = a.astype(np.float32) * self.ratio[rows].astype(np.float32)
            return _integers(np.rint(product).astype(np.float64) + self.zero[rows], self.limits)
        return _integers(np.rint(a * self.ratio[rows].astype(np.float64) + self.zero[rows]), self.limits)


def _integers(y: Array, limits: tuple[int, int]) -> I64:
    return np.asarray(np.clip(np.nan_to_num(y, nan=limits[0]), *limits), np.int64)


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The range of an integer dtype of 2 to 16 bits (those below 8 are the onnx package's own)."""
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    for bits in (2, 4):
        if dtype.name in (f"int{bits}", f"uint{bits}"):
            return (0, 2**bits - 1) if dtype.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    raise Unsupported(f"quantisation to {dtype}", "an integer of 16 bits or less")


def classes(*values: Array) -> tuple[list[Array], I64]:
    """Different rows of arrays that broadcast together, as columns, and which row each entry has."""
    wide = np.broadcast_arrays(*values)
    rows = np.stack([v.reshape(-1).astype(np.float64) for v in wide], axis=1)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return [v.reshape(-1)[first][:, None] for v in wide], inverse.reshape(wide[0].shape).astype(np.int64)


# ---- instructions ----------------------------------------------------------------------------------------------------


def stepped(c: Context, x: Tensor, f: Step, index: I64, loose: bool = False) -> Tensor:
    """``f`` of the integers of x; ``index``, which broadcasts against x, holds the number of each entry's function.
    ``loose``: x stands for sums whose order is open."""
    index = index if index.any() else np.zeros((), np.int64)
    first = len(c.out.code)
    y, made = _made(c, x, f, index)
    if len(c.out.code) > first and (step := _told(c, x, f, index, made is not f, loose)) is not None:
        c.out.steps.append(step)
    return y


def _told(c: Context, x: Tensor, f: Step, index: I64, other: bool, loose: bool) -> Stepped | None:
    """For a run's estimate of rounding: None where the instructions themselves say it, or too much would be recorded.
    ``other``: what was emitted is another function."""
    at = len(c.out.code) - 1, x.name
    if isinstance(f, Ratio) and f.single and other:
        units, ratios = (1.0,) * len(f.ratio), _column(f.ratio)
        step = Stepped(*at, "scaled", units, ratios, _zeros(f), (), index.tolist(), *f.limits)
    elif isinstance(f, Requantisation):
        kind, between = f.precision or np.result_type(f.dtype, f.scale), f.limits
        if kind != f.dtype or kind not in (np.float32, np.float64) or (f.bounds and len(f.zero) > 1):
            return None
        if f.bounds:
            ends = [f.of(np.array([[e]], f.dtype), slice(0, 1)).item() for b in f.bounds for e in b]
            between = max(ends[::2]), min(ends[1::2])
        biases = () if f.bias is None else _column(f.bias)
        rows = index.tolist()
        step = Stepped(
            *(*at, "quantised", _column(f.unit), _column(f.scale), _zeros(f), biases, rows, *between, kind.name, loose)
        )
    else:
        return None
    return step if step.size <= MOST else None


def _column(x: Array) -> tuple[float, ...]:
    return tuple(map(float, x[:, 0]))


def _zeros(f: Ratio | Requantisation) -> tuple[int, ...]:
    return tuple(map(int, f.zero[:, 0]))


def _made(c: Context, x: Tensor, f: Step, index: I64) -> tuple[Tensor, Step]:
    """The result, and the function that it is: ``f``, or one that is the same but for float32 rounding."""
    count, width = int(index.max()) + 1, x.type.hi - x.type.lo + 1
    few = count * width <= ROWS
    if few:
        grid = np.broadcast_to(np.arange(x.type.lo, x.type.hi + 1), (count, width))
        entries = f(grid, slice(0, count))
        shift = entries - grid
        if (shift == shift[:, :1]).all():
            return _plus(c, x.scaled(1.0), shift[index, 0]), f
        if count * width <= max(FEW_ROWS, PER_ENTRY * int(np.prod(x.shape))):
            return _looked_up(c, x, entries, index), f
    s = steps.thresholds(f, count, x.type.lo, x.type.hi)
    h = steps.linear(s)
    if h is not None and not steps.differs(s, f, h):
        return _mapped(c, x, s, h, index), f
    if isinstance(f, Ratio) and f.single:  # in float64 they are nearer to being linear, which is far cheaper
        real = replace(f, single=False)
        t = steps.thresholds(real, count, x.type.lo, x.type.hi)
        g = steps.linear(t)
        if g is not None and not steps.differs(t, real, g):
            return _mapped(c, x, t, g, index), real
    if few:
        return _looked_up(c, x, entries, index), f
    h = steps.above(s)
    if h is None or steps.differs(s, f, h, slack=1):
        if isinstance(f, Requantisation) and (rough := _narrowed(c, x, f)) is not None:
            return _made(c, *rough, index)[0], f
        raise Unsupported(f"requantisation of integers up to {x.bound}", "a smaller accumulator")
    return _corrected(c, x, s, _mapped(c, x, s, h, index), index), f


def _narrowed(c: Context, x: Tensor, f: Requantisation) -> tuple[Tensor, Requantisation] | None:
    """Reals too wide for any map in 2^-``PART`` of a step or less, cut off where all are at a limit."""
    most = max(abs(end - int(z)) for end in f.limits for z in f.zero.ravel()) + 1
    shift = math.floor(math.log2(float((f.scale.astype(np.float64) / f.unit).min()))) - PART
    top = math.ceil(float((f.scale.astype(np.float64) / f.unit).max()) * most / 2.0**shift) if shift > 0 else 0
    if not 0 < top <= DType.I32.hi or f.bias is not None:
        return None
    y = c.rescale_by(x, 1, min(shift, MAX_SHIFT), DType.I32, -top, top, flat=(True, True))
    return y, replace(f, unit=f.unit * 2.0 ** min(shift, MAX_SHIFT))


def _plus(c: Context, x: Tensor, value: I64) -> Tensor:
    if (value == value.reshape(-1)[0]).all():
        v = int(value.reshape(-1)[0])
        return c.emit("addi", x, value=v) if v else x
    return c.emit("add", x, c.out.param(value))


def _looked_up(c: Context, x: Tensor, entries: I64, index: I64) -> Tensor:
    width = entries.shape[1]
    at = _plus(c, x.scaled(1.0), index * width - x.type.lo) if len(entries) > 1 else x
    first = 0 if len(entries) > 1 else x.type.lo
    return c.emit("lut", at, scale=1.0, table=c.out.lut(first, entries.reshape(-1), "quantise"))


def _mapped(c: Context, x: Tensor, s: steps.Steps, h: steps.Linear, index: I64) -> Tensor:
    """The map, clipped to the levels of ``s``: the lowest is the dtype's, where ``rescale`` saturates."""
    dtype = DType.I8 if s.last - s.first < 2**8 else DType.I16
    base = s.first - dtype.lo
    mult, offset = h.mult[index], h.offset[index] - (base << h.shift) - (1 << (h.shift - 1))
    x = x.scaled(1.0)
    one = int(mult.reshape(-1)[0])
    y = c.muli(x, one) if (mult == one).all() else c.emit("mul", x, c.out.param(mult))
    y = c.emit("rescale", _plus(c, y, offset), scale=1.0, shift=h.shift, dtype=dtype)
    if y.type.hi > s.last - base:
        y = c.emit("clamp", y, hi=s.last - base)
    return c.emit("addi", y, value=base) if base else y


def _corrected(c: Context, x: Tensor, s: steps.Steps, h: Tensor, index: I64) -> Tensor:
    """``h - [x < T[h]]``. The lowest level has no threshold."""
    rows, which = np.unique(s.at, axis=0, return_inverse=True)
    table = np.concatenate([np.full((len(rows), 1), s.lo, np.int64), rows], axis=1)
    place = _plus(c, h, which.reshape(-1)[index] * table.shape[1] - s.first)
    if table.size <= ROWS:
        t = c.emit("lut", place, scale=1.0, table=c.out.lut(0, table.reshape(-1), "thresholds"))
    else:
        rows_of = c.emit("gather", c.out.param(table.reshape(-1)), c.reshape(place, (int(np.prod(place.shape)),)))
        t = c.reshape(rows_of, place.shape)
    y = c.emit("sub", h, c.emit("lt", x.scaled(1.0), t, scale=1.0))
    return c.emit("clamp", y, lo=s.first) if y.type.lo < s.first else y


# ---- operators -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Parameters:
    """Scale and zero point of a tensor, which broadcast against it."""

    scale: Array
    zero: I64

    @property
    def single(self) -> bool:
        return self.scale.size == 1 and self.zero.size == 1


def spread(values: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """Parameters per tensor, per position of an axis, or per block of an axis, as an array that broadcasts."""
    if values.size == 1:
        return values.reshape(())
    if not block:
        if values.ndim != 1:
            raise Unsupported("parameters of more than one axis", "one axis, or a block size")
        return values.reshape([-1 if a == axis % len(shape) else 1 for a in range(len(shape))])
    axis %= len(shape)
    return np.repeat(values, block, axis=axis).take(np.arange(shape[axis]), axis=axis)


def constant_parameters(scale: Array, zero: Array | None, shape: tuple[int, ...], axis: int, block: int) -> Parameters:
    z = np.zeros((), np.int64) if zero is None else np.asarray(zero).astype(np.int64)
    return Parameters(spread(np.asarray(scale), shape, axis, block), spread(z, shape, axis, block))


def less(x: Array, zero: I64) -> Array:
    """Integers less their zero points; bytes in 16 bits, since weights are many."""
    return np.asarray(np.subtract(x, zero, dtype=np.int16 if x.dtype.itemsize == 1 else np.int64, casting="unsafe"))


def parameters(c: Context, n: Node, i: int) -> Parameters:
    """From inputs i and i + 1, which must be constant, for input 0."""
    scale = c.const(n.inputs[i])
    zero = c.const(n.inputs[i + 1]) if c.has(n, i + 1) else None
    if scale is None or (zero is None and c.has(n, i + 1)):
        raise Unsupported("scale and zero point are computed from the input", "constants")
    shape = c.shape(n.inputs[0])
    return constant_parameters(scale, zero, shape, n.attr("axis", 1), n.attr("block_size", 0))


def precision(n: Node) -> np.dtype[Any] | None:
    """The dtype in which a QuantizeLinear says that it divides."""
    from onnx.helper import tensor_dtype_to_np_dtype

    return np.dtype(tensor_dtype_to_np_dtype(n.attr("precision"))) if n.attr("precision") else None


def quantised(
    c: Context,
    x: Tensor,
    p: Parameters,
    to: tuple[int, int],
    real: np.dtype[Any],
    bounds: tuple[tuple[float, float], ...] = (),
    division: np.dtype[Any] | None = None,
    loose: bool = False,
) -> Tensor:
    """QuantizeLinear of a tensor that stands for reals of dtype ``real`` (or for integers)."""
    (scale, zero), index = classes(p.scale, p.zero)
    kind = real if real.kind == "f" else np.dtype(np.float64)
    unit = np.full(scale.shape, x.scale)
    return stepped(c, x, Requantisation(unit, scale, zero, to, kind, None, bounds, division), index, loose)


@lowering("QuantizeLinear", since=10)
@lowering("QuantizeLinear", domain="com.microsoft")
def quantize_linear(c: Context, n: Node) -> Result:
    """Per tensor, per position of ``axis``, or per block of it."""
    to = limits(c.value(n.outputs[0]).dtype)
    real = c.value(n.inputs[0]).dtype
    return quantised(
        c, c.tensor(n.inputs[0]), parameters(c, n, 1), to, real, division=precision(n), loose=n.attr("loose", False)
    )


@lowering("DequantizeLinear", since=10)
@lowering("DequantizeLinear", domain="com.microsoft")
def dequantize_linear(c: Context, n: Node) -> Result:
    """Per tensor exact, at the model's scale. With several scales: an exact product with scales in 16 bits."""
    p = parameters(c, n, 1)
    x = _plus(c, c.tensor(n.inputs[0]), -p.zero)
    if p.scale.size == 1:
        return x.scaled(float(p.scale))
    return c.multiply(x, c.quantised(p.scale))
