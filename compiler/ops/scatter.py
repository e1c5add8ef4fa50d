"""Writes to places of a tensor. Constant places are views: the entries of both operands, joined in another order.

Places that are data are products with truth values, one comparison per index and place it could mean:

``y = x (1 - sum_j h_j) + sum_j h_j u_j`` with ``h_j[p] = 1`` where index j is p. An index outside writes nothing; that
indices differ, and lie inside, is ONNX's condition, and a run tells where they do not (with ``reduction`` add, where
``y = x + sum_j h_j u_j``, they need not).
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.indexing import flat, from_zero, indices, places_of, row_numbers, take
from syurmy.compiler.ops.shape import cut, pick
from syurmy.compiler.saturation import MEETS
from syurmy.isa.arrays import I64

MAX_PAIRS = 2**20


def hot(c: Context, index: Tensor, count: int) -> Tensor:
    """``[.., j, p] = 1`` where ``index[.., j]`` is p, else 0."""
    if math.prod(index.shape) * count > MAX_PAIRS:
        raise Unsupported(f"{math.prod(index.shape)} indices that are data into {count} places",
                          f"{MAX_PAIRS} pairs or less, or constants")  # fmt: skip
    index = c.reshape(index, (*index.shape, 1))
    c.out.within(index, count)
    return c.emit("eq", index, c.out.param(np.arange(count)), scale=1.0)


def written(c: Context, x: Tensor, rows: Tensor, h: Tensor, add: bool) -> Tensor:
    """``x`` [.., p, w] with rows [.., j, w] where h [.., j, p] is 1; both at one scale."""
    rank = len(h.shape)
    turned = c.emit("transpose", h, perm=(*range(rank - 2), rank - 1, rank - 2))
    sums = c.emit("matmul", turned, rows, scale=rows.scale)
    if not add:
        taken = c.emit("sum", turned, axes=(-1,), keepdims=True)
        c.out.cuts_off(taken, taken, None, 2, cause=MEETS)  # by two indices: a run tells that
        free = c.emit("addi", c.emit("neg", taken), value=1)
        x = c.emit("mul", x, free, scale=x.scale)
    return c.emit("add", x, sums)


def operands(c: Context, n: Node, first: int, second: int) -> tuple[Tensor, Tensor]:
    """Two inputs as factors at one scale, which is the output's."""
    x, u = c.tensor(n.inputs[first]), c.tensor(n.inputs[second])
    if not c.is_float(n.inputs[first]):
        return x, u
    x, u = (c.narrow(t) for t in c.align([x, u], c.peak(n.outputs[0]) or 1.0))
    x, u = c.align([x, u], c.peak(n.outputs[0]) or 1.0)
    return x, u


def reduction(n: Node) -> bool:
    """Whether values are added."""
    how = n.attr("reduction", "none")
    if how not in ("none", "add"):
        raise Unsupported(f"indices that are data with reduction {how}", "none or add, or constant indices")
    return bool(how == "add")


def scatter_elements_at(c: Context, n: Node, axis: int) -> Tensor:
    """ScatterElements where indices are data."""
    add = reduction(n)
    x, u = operands(c, n, 0, 2)
    index = from_zero(c, c.tensor(n.inputs[1]), x.shape[axis])
    rank = len(x.shape)
    order = (*(a for a in range(rank) if a != axis), axis)
    back = tuple(int(a) for a in np.argsort(order))
    x, u, index = (c.emit("transpose", t, perm=order) if axis != rank - 1 else t for t in (x, u, index))
    h, rows = hot(c, index, x.shape[-1]), c.reshape(u, (*u.shape, 1))
    short = [a for a in range(rank - 1) if index.shape[a] < x.shape[a]]
    if short:
        after = tuple(x.shape[a] - index.shape[a] for a in short)
        h, rows = (c.emit("pad", t, axis=tuple(short), before=(0,) * len(short), after=after, value=0)
                   for t in (h, rows))  # fmt: skip
    y = c.reshape(written(c, c.reshape(x, (*x.shape, 1)), rows, h, add), x.shape)
    return c.emit("transpose", y, perm=back) if axis != rank - 1 else y


def scatter_nd_at(c: Context, n: Node, row: Tensor, count: int) -> Tensor:
    """ScatterND where the rows written to are data: their numbers, of ``count``."""
    add = reduction(n)
    x, u = operands(c, n, 0, 2)
    width = math.prod(x.shape) // count
    h = hot(c, flat(c, row), count)
    rows = c.reshape(u, (math.prod(row.shape), width))
    y = written(c, c.reshape(x, (count, width)), rows, h, add)
    return c.reshape(y, x.shape)


def scattered(c: Context, n: Node, places: I64) -> Tensor:
    """Input 0 with input 2 written to constant ``places`` of the row-major order; several to one place are combined by
    the node's reduction, one round each."""
    x, updates = [c.tensor(i) for i in (n.inputs[0], n.inputs[2])]
    how = n.attr("reduction", "none")
    real = c.is_float(n.inputs[0])
    peak = max(c.peak(n.inputs[0]), c.peak(n.inputs[2]), c.peak(n.outputs[0]))
    if real and how != "mul":
        x, updates = c.align([x, updates], peak)
    shape, size = x.shape, math.prod(x.shape)
    u, places = flat(c, updates), places.reshape(-1)
    acc = flat(c, x)
    rounds: list[dict[int, int]] = [{}]
    for k, place in enumerate(places.tolist()):
        if how == "none":
            rounds[0][place] = k
        else:
            free = next((r for r in rounds if place not in r), None)
            if free is None:
                free = {}
                rounds.append(free)
            free[place] = k
    for r in rounds:
        source = np.arange(size)
        for place, k in r.items():
            source[place] = size + k
        if how in ("none", "max", "min"):
            new = take(c, c.emit("concat", acc, u, axis=0), source)
            acc = new if how == "none" else c.emit(how, acc, new)
            continue
        neutral = 0 if how == "add" else 1
        source = np.where(source < size, len(places), source - size)
        one = c.out.param(np.array([neutral]), 1.0) if not real or how == "add" else c.constant(np.ones(1), u.scale)
        new = take(c, c.emit("concat", u, one, axis=0), source)
        if how == "add":
            acc = c.emit("add", acc, new)
        else:
            acc = c.multiply(acc, new) if real else c.emit("mul", acc, new)
    return c.reshape(acc, shape)


@lowering("ScatterElements", "Scatter")
def scatter_elements(c: Context, n: Node) -> Result:
    shape = c.shape(n.inputs[0])
    axis = n.attr("axis", 0) % len(shape)
    at = indices(c, n.inputs[1], shape[axis])
    if at is None:
        return scatter_elements_at(c, n, axis)
    places = list(np.indices(at.shape))
    places[axis] = at
    return scattered(c, n, np.asarray(np.ravel_multi_index(tuple(places), shape)))


@lowering("ScatterND", since=11)
def scatter_nd(c: Context, n: Node) -> Result:
    """Indices may be data (see ``compiler.ops.scatter``), with reduction none or add."""
    at = c.const(n.inputs[1])
    if at is None:
        shape, index = c.shape(n.inputs[0]), c.tensor(n.inputs[1])
        return scatter_nd_at(c, n, row_numbers(c, index, shape), math.prod(shape[: index.shape[-1]]))
    return scattered(c, n, places_of(at.astype(np.int64), c.shape(n.inputs[0]), 0))


@lowering("TensorScatter", since=24)
def tensor_scatter(c: Context, n: Node) -> Result:
    """Each sequence of the batch written into its cache from a place on that may be data; ``circular`` wraps."""
    past, update = operands(c, n, 0, 1)
    rank = len(past.shape)
    axis = n.attr("axis", -2) % rank
    order = (0, axis, *(a for a in range(1, rank) if a != axis))
    batch, length, steps = past.shape[0], past.shape[axis], update.shape[axis]
    moved = [c.emit("transpose", t, perm=order) for t in (past, update)]
    shape = moved[0].shape
    x, u = (c.reshape(t, (batch, t.shape[1], math.prod(t.shape[2:]))) for t in moved)
    circular = n.attr("mode", "linear") == "circular"
    start = c.const(n.inputs[2]) if c.has(n, 2) else np.zeros(batch, np.int64)
    if start is not None:
        at = start.astype(np.int64)[:, None] + np.arange(steps)
        y = _joined(c, x, u, at % length if circular else at)
    else:
        index = c.emit("add", c.reshape(c.tensor(n.inputs[2]), (batch, 1)), c.out.param(np.arange(steps)))
        index = c.emit("mod", index, c.out.param(np.array(length))) if circular else index
        y = written(c, x, u, hot(c, index, length), False)
    return c.emit("transpose", c.reshape(y, shape), perm=tuple(int(a) for a in np.argsort(order)))


def _joined(c: Context, x: Tensor, u: Tensor, at: I64) -> Tensor:
    """Rows u [b, j, w] at constant places of x [b, p, w]."""
    batch, length, width = x.shape
    if at.min() < 0 or at.max() >= length:
        raise Unsupported("a place outside the cache")
    source = np.arange(batch * length).reshape(batch, length)
    np.put_along_axis(source, at, batch * length + np.arange(at.size).reshape(at.shape), 1)
    rows = c.emit("concat", *(c.reshape(t, (batch * t.shape[1], width)) for t in (x, u)), axis=0)
    return c.reshape(pick(c, rows, 0, source.reshape(-1)), x.shape)


@lowering("MaxUnpool", since=9)
def max_unpool(c: Context, n: Node) -> Result:
    """Values at the places that MaxPool gave, in an image of zeros; an ``output_shape`` adds zeros at the ends."""
    x, shape = c.tensor(n.inputs[0]), c.shape(n.outputs[0])
    kernel = n.attr("kernel_shape")
    rank = len(kernel)
    strides, pads = n.attr("strides") or (1,) * rank, n.attr("pads") or (0,) * 2 * rank
    image = [(x.shape[k + 2] - 1) * strides[k] - pads[k] - pads[rank + k] + kernel[k] for k in range(rank)]
    size = math.prod((*x.shape[:2], *image))
    at = c.const(n.inputs[1])
    values = flat(c, x)
    if at is not None:
        source = np.full(size, values.shape[0])
        source[at.astype(np.int64).reshape(-1)] = np.arange(at.size)
        zero = c.out.param(np.zeros(1, np.int64), x.scale)
        y = pick(c, c.emit("concat", values, zero, axis=0), 0, source)
    else:
        values = c.factor(values) if c.is_float(n.inputs[0]) else values
        y = c.emit("matmul", values, hot(c, flat(c, c.tensor(n.inputs[1])), size), scale=values.scale)
    y = c.reshape(y, (*x.shape[:2], *image))
    for k, (length, want) in enumerate(zip(image, shape[2:], strict=True)):
        if want > length:
            y = c.emit("pad", y, axis=(k + 2,), before=(0,), after=(want - length,), value=0)
        elif want < length:
            y = cut(c, y, k + 2, 0, want)
    return y
