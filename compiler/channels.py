"""Tensors whose entries have scales of their own: features of unlike size, each in its own unit.

``real = scales * integer``, entry by entry. Operators that can take scales up do so (``absorbing`` in
``compiler.lower``): a matrix product multiplies its weights by them, a product with a constant changes the scales only,
a sum with a constant adds it in each entry's unit, views carry scales along. For every other reader ``uniform`` is the
same tensor at one scale: a product with the ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Graph
from syurmy.compiler.narrowing import LIMIT, SAME
from syurmy.compiler.scales import FEW, ROOM_BITS, power_of_two
from syurmy.compiler.tables import Tables
from syurmy.isa.arrays import F64, Array
from syurmy.isa.types import DType, TensorType

INPUT_BITS = 30  # magnitude bits of an input, room among them: a float32 has 24, exact down to 2^-4 of the largest
ROOM = 58  # bits of a sum of products
WEIGHT_BITS = 18  # of the largest weight, which it leaves
RATIO_BITS, REACH_BITS = 16, 50  # of ratios between scales, and of entries at one scale
FARTHEST_BITS = 54  # of these, where nothing less keeps the tolerance
FACTOR_BITS, ROOMY_BITS = 19, 22  # of a factor of a product of data on the samples, and at all
FAR_BITS = 8  # above those of an input
TERM_BITS, SHORT_BITS = 27, 6  # of a term of a sum, where ratios would lose more than some bits
LEFT_BITS = 22  # what a sum with a constant leaves at least
UNLIKE = 8.0  # features whose peaks are this far apart are unlike
SEEN = 16  # samples from which on ranges of an output's columns are known
MOST_COLUMNS = 32  # of an output that has a unit for each
MOST_GROUPED, SEEN_GROUPED = 2**8, 64  # of one of several rows, and entries of each from which on their range is known
UNLIKE_GROUPS = 32.0


@dataclass(frozen=True, eq=False)
class Channels:
    """``q`` are integers (its own scale is 1); ``scales`` has its shape."""

    q: Tensor
    scales: F64

    @property
    def shape(self) -> tuple[int, ...]:
        return self.q.shape

    @property
    def bare(self) -> Channels:
        """Without what it was on the samples."""
        return Channels(self.q.bare, self.scales)

    @property
    def peaks(self) -> F64:
        """The largest magnitude of every entry's integer on the samples."""
        return np.asarray(np.max([np.abs(v) for v in self.q.values], axis=0), np.float64)


def input_scales(graph: Graph, name: str, margin: float) -> tuple[TensorType, F64] | None:
    """Type and scales of an input with a unit for each feature (place along its last axis); None if it has one feature,
    or is large. Integers enter as they are."""
    v = graph.values[name]
    if v.dtype.kind not in "fiu" or not len(v.shape) >= 1 or math.prod(v.shape) > FEW or v.shape[-1] < 2:
        return None
    peaks = feature_peaks(graph, name)
    if v.dtype.kind != "f":
        return input_interval(v.dtype, v.shape), np.ones(v.shape)
    peaks = np.where(peaks > 0, peaks, 1.0) * margin
    scales = np.array([power_of_two(p / (2 ** (INPUT_BITS - ROOM_BITS) - 1)) for p in peaks])
    t = TensorType(DType.I32, v.shape, -(2**INPUT_BITS), 2**INPUT_BITS - 1)
    return t, np.broadcast_to(scales, v.shape).copy()


def unlike(graph: Graph, name: str) -> bool:
    """Whether an input has features of unlike size."""
    peaks = feature_peaks(graph, name)
    return bool(peaks.any() and peaks.max() >= UNLIKE * peaks[peaks > 0].min())


def feature_peaks(graph: Graph, name: str) -> F64:
    """The largest magnitude of every feature on the samples."""
    x = np.stack([np.asarray(s, np.float64) for s in graph.samples[name]])
    return np.asarray(np.abs(x).reshape(-1, x.shape[-1]).max(axis=0))


def column_spans(graph: Graph, output: str) -> F64 | None:
    """The ranges of an output's columns, if they are unlike, in a shape that broadcasts to it.

    Of one row of a few each column's; not of shares and the like, which mean what they are beside 1. A column that is
    constant is judged with the others. Of several rows those of two groups of places along the last or the second axis
    (coordinates and scores of boxes), the ranges in one all that much larger than in the other."""
    v, rows = graph.values[output], graph.samples.get(output, ())
    if v.dtype.kind != "f" or not v.shape or not rows or (v.lo >= 0 and v.hi <= 1):
        return None
    if v.shape[-1] != math.prod(v.shape):
        axes = [a for a in dict.fromkeys((len(v.shape) - 1, 1)) if 1 < v.shape[a] <= MOST_GROUPED]
        return next((s for a in axes if (s := _grouped(rows, a)) is not None), None)
    if v.shape[-1] > MOST_COLUMNS or len(rows) < SEEN:
        return None
    seen = np.stack([np.asarray(x, np.float64) for x in rows])
    spans = np.ptp(seen, axis=0)
    if not np.isfinite(seen).all() or not spans.any():
        return None
    spans = np.where(spans > 0, spans, np.ptp(seen))
    return spans if spans.max() >= UNLIKE * spans.min() else None


def _grouped(rows: Sequence[Array], axis: int) -> F64 | None:
    """``column_spans`` along an axis: of two groups, told apart where the ranges are furthest apart."""
    others = tuple(a for a in range(rows[0].ndim) if a != axis)
    if len(rows) * rows[0].size < SEEN_GROUPED * rows[0].shape[axis]:
        return None
    lo, hi = (f(np.stack([f(x, axis=others) for x in rows]), axis=0).astype(np.float64) for f in (np.min, np.max))
    spans = hi - lo
    if not np.isfinite(spans).all() or not spans.any():
        return None
    order = np.argsort(spans)
    steps = np.diff(np.log2(np.maximum(spans[order], spans.max() * 2.0**-60)))
    large = spans > spans[order[int(steps.argmax())]]
    if not large.any():
        return None
    found = np.empty(spans.shape)
    for group in (large, ~large):
        least, most = lo[group].min(), hi[group].max()
        found[group] = 1.0 if least >= 0 and most <= 1 else most - least
    if found.min() <= 0 or found[large].min() < UNLIKE_GROUPS * found[~large].max():
        return None
    return np.expand_dims(found, others)


def thin(x: F64) -> F64:
    """``x`` with one entry along every axis on which it does not change."""
    for axis in range(x.ndim):
        first = x.take([0], axis)
        if (x == first).all():
            x = first
    return x


def input_interval(dtype: np.dtype[Any], shape: tuple[int, ...], unsigned: bool = False) -> TensorType:
    """The register type of an integer input: the interval of its dtype, cut to that of i32 (of 32 bits without a sign
    if ``unsigned``)."""
    info = np.iinfo(dtype)
    lo, hi = max(int(info.min), DType.I32.lo), min(int(info.max), 2**32 - 1 if unsigned else DType.I32.hi)
    return TensorType(next(d for d in DType if d.lo <= lo and hi <= d.hi), shape, lo, hi)


def levelled(c: Tables, x: Tensor) -> Channels:
    """An integer input whose columns get the bits of a real one's each: what is far beyond a column's samples is cut
    off, since it would leave the weights of the others no bits."""
    columns = np.max([np.abs(v).reshape(-1, x.shape[-1]).max(axis=0) for v in x.values], axis=0)
    up = np.exp2(np.maximum(INPUT_BITS - ROOM_BITS - np.ceil(np.log2(np.maximum(columns, 1))), 0)).astype(np.int64)
    raised = c.emit("mul", x, c.out.param(up, 1.0, "levels"), scale=1.0)
    most = max(2**INPUT_BITS, raised.peak << ROOM_BITS)
    q = c.emit("clamp", raised, lo=-most, hi=most - 1, scale=1.0)
    c.out.cuts_off(q, raised, -most, most - 1)
    return Channels(q, np.broadcast_to(1.0 / up, x.shape))


def uniform(c: Tables, x: Channels) -> Tensor:
    """The tensor at one scale, wide."""
    nonzero = np.abs(x.scales[x.scales != 0])
    if not nonzero.size:
        return c.muli(x.q, 0)
    least = float(nonzero.min())
    if (np.abs(x.scales - x.scales.reshape(-1)[0]) <= SAME * least).all() and x.scales.reshape(-1)[0] > 0:
        return x.q.scaled(least)
    ratios = x.scales / least
    whole = bool((np.rint(ratios) == ratios).all())
    least /= 1 if whole else 2**RATIO_BITS
    reach = float((np.abs(x.scales) * np.maximum(x.peaks, 1)).max())
    bound = float(np.abs(x.scales).max()) * x.q.bound
    room = LIMIT / 4 / x.shape[-1]  # for a sum over the last axis
    most = FARTHEST_BITS if c.precision.sloped else REACH_BITS
    unit = least * max(1.0, power_of_two(max(reach / 2**most, bound / room) / least))
    if unit > least * (1 if whole else 2**SHORT_BITS) and x.q.bound > 2 ** (TERM_BITS + ROOM_BITS):
        return uniform(c, factor(c, x, TERM_BITS, TERM_BITS + ROOM_BITS, whole=True))
    return c.emit("mul", x.q, c.constant(thin(x.scales), unit, "ratios"), scale=unit)


def scaled(c: Tables, x: Channels, by: F64) -> Channels:
    """``x * by``: another meaning for the same integers."""
    shape = np.broadcast_shapes(x.shape, by.shape)
    return Channels(c.broadcast(x.q, shape), np.broadcast_to(x.scales * by, shape))


def shifted(c: Tables, x: Channels, by: F64) -> Channels | None:
    """``x + by``, in units small beside what is left on the samples; None if that leaves the machine's integers."""
    shape = np.broadcast_shapes(x.shape, by.shape)
    if not by.any():
        return Channels(c.broadcast(x.q, shape), np.broadcast_to(x.scales, shape))
    scales = np.broadcast_to(x.scales, shape)
    if (scales == 0).any():
        return None
    offset = np.broadcast_to(by, shape) / scales
    left = np.max([np.abs(v + offset) for v in x.q.values], axis=0)
    least = left.reshape(-1, shape[-1]).max(axis=0).min()
    bits = int(np.clip(np.ceil(LEFT_BITS - np.log2(max(least, 2.0**-8))), 0, 16))
    if (np.rint(offset) == offset).all():
        bits = 0
    if (float(np.abs(offset).max()) + x.q.bound) * 2**bits >= 2**52:
        return None
    q = c.emit("add", c.muli(x.q, 2**bits), c.out.param(np.rint(offset * 2**bits).astype(np.int64), 1.0, "offset"))
    return Channels(q, scales / 2**bits)


def product(c: Tables, x: Channels, w: F64, peak: float, label: str) -> Tensor:
    """``x @ w`` for a constant w, exact in x: the scales go into the weights. For results up to ``peak``."""
    lead = int(np.prod(x.shape[:-1], dtype=np.int64))
    if c.precision.fine and x.q.bound >= 2 ** (ROOM - WEIGHT_BITS):  # products of columns, say
        x = factor(c, x, INPUT_BITS - 2, INPUT_BITS)
    scales = x.scales.reshape(lead, x.shape[-1])
    if (scales != scales[0]).any():
        raise Unsupported("rows of unlike scales", "one scale per column")
    w = w * scales[0].reshape(-1, *(1,) * (w.ndim - 1))
    reached = x.peaks.reshape(lead, -1).max(axis=0)
    wanted = c.unit(peak) / (4 * max(float(reached.sum()), 1.0))
    bound = float((np.abs(w).sum(axis=0)).max(initial=0.0)) * x.q.bound
    unit = max(wanted, bound / 2**ROOM, float(np.abs(w).max(initial=0.0)) / 2**50) or 1.0
    return c.emit("matmul", x.q, c.constant(w, unit, label), scale=unit)


def factor(c: Tables, x: Channels, bits: int = FACTOR_BITS, most: int = ROOMY_BITS, whole: bool = False) -> Channels:
    """``x`` with integers of ``bits`` bits on the samples (small enough for a product of two), every column with bits
    of its own, and ``most`` at all."""
    if x.q.bound < 2**most:
        return x
    columns = x.peaks.reshape(-1, x.shape[-1]).max(axis=0)
    peaks = np.broadcast_to(np.maximum(columns, 1), x.shape)
    up = np.floor(np.log2(peaks.max() / peaks))
    up = np.minimum(up, max(0, 58 - x.q.bound.bit_length()))
    q = c.emit("mul", x.q, c.out.param(np.exp2(up).astype(np.int64), 1.0, "levels"), scale=1.0) if up.any() else x.q
    f = min(1.0, 2.0**bits / peaks.max())
    if whole:
        y = c.rescale_by(q, 1, -math.floor(math.log2(f)), DType.I32, -(2**most), 2**most - 1)
    else:
        y = c.rescale(q, f, DType.I32, -(2**most), 2**most - 1)
    return Channels(y.scaled(1.0), x.scales / np.exp2(up) * y.scale / q.scale)


def squared(c: Tables, x: Channels) -> Channels:
    x = factor(c, x, FACTOR_BITS + 6, ROOMY_BITS + 6) if c.precision.sloped else factor(c, x)
    return Channels(c.emit("mul", x.q, x.q, scale=1.0), x.scales**2)


def joined(c: Tables, parts: Sequence[Channels], axis: int) -> Channels:
    """Integers of about one size; those that are far larger than an input's would leave the others no bits."""
    wide = [p.q.bound >= 2 ** (INPUT_BITS + FAR_BITS) for p in parts]
    if any(wide) and not all(wide):
        both = zip(parts, wide, strict=True)
        parts = [factor(c, p, INPUT_BITS - 2, INPUT_BITS) if w else p for p, w in both]
    most = min(max(p.q.bound for p in parts), 2**INPUT_BITS)
    up = [2 ** max(0, most.bit_length() - max(p.q.bound, 1).bit_length()) for p in parts]
    q = c.emit("concat", *(c.muli(p.q, m) for p, m in zip(parts, up, strict=True)), axis=axis, scale=1.0)
    return Channels(q, np.concatenate([p.scales / m for p, m in zip(parts, up, strict=True)], axis=axis))


def channels_of(x: Tensor | Channels) -> Channels:
    """A tensor as one whose scales are all equal."""
    return x if isinstance(x, Channels) else Channels(x.scaled(1.0), np.full(x.shape, x.scale))
