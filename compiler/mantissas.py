"""Weights of 8 bits and fewer keep their integers: what a unit of each channel, or of each block along a sum, stands
for is multiplied behind the product.

    y[i, o] = sum over b of m[b, o] * (sum over k in block b of x[i, k] q[k, o]),    real weight = unit * m * q

The param holds q, in int8; m are few integers in a param of their own. That is as exact as weights ``m q`` in one param
of 16 or 32 bits, and the key has a half or a quarter of their bytes, but the inner sums become a column of the proof
each where the m differ. So it is done where those cost no more than ``WORTH`` times what the weights cost: hardly where
many rows meet short blocks. And of weights that are many: of few, most of a key is their encoding, as long as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Graph, Node, applied
from syurmy.compiler.narrowing import Narrowing
from syurmy.isa.arrays import F64, I64, Array, Integers
from syurmy.isa.attribution import ENTRY
from syurmy.isa.types import DType

WORTH = 0.5
LEAST = 2**16  # weights, from which on narrower ones are worth an instruction
STRIP = 2**20  # weights that are compared, or rounded, at a time
RATIO = 2**8  # resolution of per-channel scales below that of the largest channel
UNIT_BITS, FINE_UNIT_BITS = 16, 18  # of the largest multiplier, for scales that a model gives
LEAST_BITS = 12  # of it, where the machine's integers have less room
SUM_BITS = 59  # of a sum of products

Product = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Mantissas:
    """``real = scale * q``: integers ``int8[...]``, and scales (float, of as many axes) that broadcast to them."""

    q: Array
    scale: Array

    def reshaped(self, shape: tuple[int, ...]) -> Mantissas:
        """With axes of length 1 more."""
        scale = np.broadcast_to(self.scale, self.q.shape)
        return Mantissas(self.q.reshape(shape), scale.reshape(shape))

    def transposed(self) -> Mantissas:
        return Mantissas(self.q.T, self.scale.T)

    def times(self, by: float) -> Mantissas:
        return self if by == 1.0 else replace(self, scale=self.scale.astype(np.float64) * by)

    def by_block(self) -> F64 | None:
        """The scales of ``[K, N]`` as ``[blocks, N]``: the longest blocks of equal length in which none changes; of
        kernels ``[O, ...]`` as ``[1, O]``, None where they are not one to a channel."""
        spread = np.broadcast_to(self.scale, self.q.shape)
        if self.q.ndim != 2:
            rows = spread.reshape(len(spread), -1)
            return rows[:, 0].astype(np.float64)[None] if (rows == rows[:, :1]).all() else None
        if self.scale.shape[0] == 1:
            return spread[:1].astype(np.float64)
        turns = np.flatnonzero((spread[1:] != spread[:-1]).any(axis=1)) + 1
        return spread[:: int(np.gcd.reduce([len(spread), *turns]))].astype(np.float64)


def given(graph: Graph, name: str, reals: Tensor | Array) -> Mantissas | None:
    """The integers that the constant ``reals`` was dequantised from; None where it was not, or they, less their zero
    points, take more than 8 bits."""
    if isinstance(reals, Tensor) or name not in graph.folded:
        return None
    found = _behind_views(graph, name)
    if found is None or found.q.shape != reals.shape or not found.q.size:
        return None
    spread = np.broadcast_to(found.scale, found.q.shape)
    step = max(1, STRIP * len(reals) // reals.size)
    for k in range(0, len(reals), step):  # what the graph holds under this name is what counts
        part = slice(k, k + step)
        if not np.allclose(found.q[part] * spread[part], reals[part], rtol=1e-5, atol=0):
            return None
    return found


def _behind_views(graph: Graph, name: str) -> Mantissas | None:
    n = graph.folded[name]
    if n.op == "DequantizeLinear":
        return _dequantised(graph, n)
    inner = _behind_views(graph, n.inputs[0])
    if inner is None:
        return None
    rest = [graph.constants.get(i) if i else None for i in n.inputs[1:]]
    spread = np.broadcast_to(inner.scale, inner.q.shape)
    return Mantissas(*(applied(n, [x, *rest]) for x in (inner.q, spread)))


def _dequantised(graph: Graph, n: Node) -> Mantissas | None:
    from syurmy.compiler.ops.quantised import less, spread

    q, scale, *zeros = (graph.constants[i] for i in n.inputs if i)
    if q.dtype.itemsize > 1 or q.dtype.kind not in "iu":
        return None
    axis, block = n.attr("axis", 1), n.attr("block_size", 0)
    try:
        scale = spread(scale, q.shape, axis, block)
        if zeros:
            q = less(q, spread(zeros[0].astype(np.int16), q.shape, axis, block))
    except Unsupported:
        return None
    if not q.size or q.min() < DType.I8.lo or q.max() > DType.I8.hi:
        return None
    return Mantissas(q.astype(np.int8, copy=False), scale.reshape((1,) * (q.ndim - scale.ndim) + scale.shape))


def worth(c: Narrowing, weights: int, entries: int) -> bool:
    """Whether so many weights are worth a column of ``entries``, for every round of a loop, in every proof: or whether
    that was asked for."""
    return weights >= LEAST and (c.out.narrow or entries * c.out.executions * ENTRY <= WORTH * weights)


def multiplied(c: Narrowing, y: Tensor, m: I64, unit: float) -> Tensor:
    """``y * m`` in units that are ``unit`` of y's; m broadcasts against it."""
    first = int(m.reshape(-1)[0])
    if (m == first).all():
        return y.scaled(y.scale * unit * first)
    return c.emit("mul", y, c.out.param(m), scale=y.scale * unit)


@dataclass(frozen=True)
class Site:
    """Where weights are used: the axes that are summed over; that of channels, if there is one; how many entries the
    result has, and the shape of one number a channel beside it; the param's label."""

    axes: tuple[int, ...]
    channel: int | None
    outputs: int
    column: tuple[int, ...]
    label: str


def multipliers(c: Narrowing, scales: F64, least: float = 0.0) -> tuple[I64, float]:
    """Scales as ``unit * m``, no unit below ``least``; 1 where they are all alike."""
    largest = float(np.abs(scales).max())
    bits = FINE_UNIT_BITS if c.precision.fine else UNIT_BITS
    unit = largest if (scales == scales[0, 0]).all() else max(largest / (2**bits - 1), least)
    return np.rint(scales / unit).astype(np.int64), unit


def product(c: Narrowing, x: Tensor, w: Mantissas, least: float, site: Site, made: Product) -> Tensor | None:
    """The product of x with weights that a model gives as integers, ``made(x, q)`` where a sum is one block; None where
    it is not worth its columns, or has no room. ``least``: of a weight's unit."""
    scales = w.by_block()
    if scales is None or not np.isfinite(scales).all() or not scales.any():
        return None
    blocks, largest = len(scales), float(np.abs(scales).max())
    alike = bool((scales == scales[0, 0]).all())
    if not alike and not worth(c, w.q.size, site.outputs * blocks):
        return None
    m, unit = multipliers(c, scales, least)
    total = _largest_sum(w.q, m)
    limit = 2**SUM_BITS // max(total, 1)
    x = c.factor(x, limit) if c.precision.fine else c.narrow(x)
    if x.bound > limit or (not alike and largest < unit * 2**LEAST_BITS):
        return None
    if blocks == 1:
        return multiplied(c, made(x, c.out.param(w.q, 1.0, site.label)), m[0].reshape(site.column), unit)
    size, columns = w.q.shape[0] // blocks, w.q.shape[1]
    q = c.out.param(w.q.reshape(blocks, size, columns), 1.0, site.label)
    parts = c.reshape(x, (math.prod(x.shape[:-1]), blocks, size))
    y = c.emit("matmul", c.emit("transpose", parts, perm=(1, 0, 2)), q)
    y = c.emit("einsum", y, c.out.param(m), spec="bij,bj->ij", scale=x.scale * unit)
    return c.reshape(y, (*x.shape[:-1], columns))


def _largest_sum(q: Array, m: I64) -> int:
    """The largest sum of ``|m q|`` over a channel; a block at a time, so that no wide copy of q is made."""
    if q.ndim != 2:
        return max(int(np.abs(k, dtype=np.int64).sum()) * abs(int(f)) for k, f in zip(q, m[0], strict=True))
    size = len(q) // len(m)
    sums = [np.abs(q[k * size : (k + 1) * size], dtype=np.int16).sum(axis=0, dtype=np.int64) for k in range(len(m))]
    return int((np.stack(sums) * np.abs(m)).sum(axis=0).max())


# ---- weights that become 8 bits -----------------------------------------------------------------------------


def reach(w: F64) -> float:
    """The largest magnitude. Raises ``Unsupported`` where that is infinite."""
    largest = max(-float(w.min(initial=0.0)), float(w.max(initial=0.0)))
    if not math.isfinite(largest):
        raise Unsupported("a weight is infinite")
    return largest


def of_channels(w: F64, channel: int) -> F64:
    """The largest magnitude in each channel, with w's axes."""
    axes = tuple(a for a in range(w.ndim) if a != channel)
    ends = w.min(axis=axes, keepdims=True), w.max(axis=axes, keepdims=True)
    return np.asarray(np.maximum(-ends[0], ends[1]), np.float64)


def coarse(w: F64, channel: int, top: int, least: float) -> tuple[Integers, I64, float]:
    """``w`` as ``unit * m * q`` with mantissas q up to ``top`` of 8 bits, and multipliers 1 .. 2^8 along ``channel``,
    with w's axes: channels have units of their own. No unit is below ``least``."""
    unit = max(reach(w) / top, least) / RATIO
    m = np.clip(np.ceil(of_channels(w, channel) / (unit * top)), 1, RATIO).astype(np.int64)
    q = np.empty(w.shape, np.int8)
    step = max(1, STRIP * len(w) // w.size)
    for k in range(0, len(w), step):
        part = slice(k, k + step)
        q[part] = np.rint(w[part] / (unit * (m[part] if channel == 0 else m)))
    return q, m, unit
