"""Gather, scatter and what can be said with them.

Constant indices are views: runs of positions, joined. Indices that are data read whole rows by the memory argument
(``gather``): one lookup per index and one per row of the table, whatever their width.
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler import mantissas
from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.shape import cut, pick
from syurmy.compiler.scales import FEW, power_of_two
from syurmy.isa.arrays import I64, Array

MAX_RUNS = 4096
TABLE_BITS = 48  # of a few constants that data chooses among, in a fine program


def flat(c: Context, x: Tensor) -> Tensor:
    return c.reshape(x, (math.prod(x.shape),))


def take(c: Context, x: Tensor, at: I64) -> Tensor:
    """Entries at constant places of the row-major order, in the shape of ``at``."""
    places = at.reshape(-1)
    steps = np.diff(places)
    if len(steps) and 1 + int((np.diff(steps) != 0).sum()) > 2 * MAX_RUNS:
        raise Unsupported(f"{len(places)} scattered indices", "runs of constant step, or a gather of whole rows")
    return c.reshape(pick(c, flat(c, x), 0, places), at.shape)


def indices(c: Context, name: str, length: int) -> I64 | None:
    """Constant indices counted from 0, or None."""
    found = c.const(name)
    if found is None:
        return None
    at = found.astype(np.int64)
    at = np.where(at < 0, at + length, at)
    if at.size and not (at.min() >= 0 and at.max() < length):
        raise Unsupported("a constant index outside the axis")
    return at


def from_zero(c: Context, index: Tensor, length: int) -> Tensor:
    """Indices that are data, counted from the start: those below 0 count from the end."""
    if index.type.lo >= 0:
        return index
    return c.emit("add", index, c.muli(c.emit("lt", index, c.out.param(np.array(0)), scale=1.0), length))


def rows_at(c: Context, rows: Tensor, index: Tensor, real: bool) -> Tensor:
    """``rows[index]`` along the first axis by one memory read per index; an index outside traps."""
    if real and rows.name not in c.out.params:
        rows = c.factor(rows)
    y = c.emit("gather", rows, flat(c, index), scale=rows.scale)
    return c.reshape(y, (*index.shape, *rows.shape[1:]))


@lowering("Gather")
def gather(c: Context, n: Node) -> Result:
    """Indices may be data; one outside the axis traps."""
    known = c.const(n.inputs[0])
    tied = None if known is None or n.attr("axis", 0) else c.tied(n.inputs[0])
    if tied is not None and tied.rows is not None and not tied.turned:
        return c.emit("mul", _gathered(c, n, tied.q), _gathered(c, n, tied.rows), scale=tied.q.scale)
    if tied is None and known is not None and (found := _narrow_rows(c, n, known)) is not None:
        return found
    x = c.tensor(n.inputs[0])
    if c.precision.fine and known is not None and known.ndim == 1 and known.size <= FEW and known.dtype.kind == "f":
        peak = float(np.abs(known[np.isfinite(known)]).max(initial=0.0)) or 1.0  # few cost nothing: bins, quantiles
        x = c.constant(known, power_of_two(peak / 2**TABLE_BITS), n.inputs[0])
    return _gathered(c, n, x)


def _narrow_rows(c: Context, n: Node, table: Array) -> Tensor | None:
    """Rows of a table that the model gives as integers of 8 bits and fewer: these, times the scales of their blocks,
    which are read beside them; None where that is not worth it."""
    given = None if table.ndim != 2 or n.attr("axis", 0) else mantissas.given(c.graph, n.inputs[0], table)
    scales = None if given is None else given.transposed().by_block()
    if given is None or scales is None or c.const(n.inputs[1]) is not None:
        return None
    columns = math.prod(c.shape(n.outputs[0])) + len(table) * 2  # both tables are looked up
    if not np.isfinite(scales).all() or not scales.any() or not mantissas.worth(c, table.size, columns):
        return None
    m, unit = mantissas.multipliers(c, scales)
    q = _gathered(c, n, c.out.param(given.q, 1.0, n.inputs[0]))
    by = _gathered(c, n, c.out.param(m.T, 1.0, f"{n.inputs[0]}.scales"))
    parts = c.reshape(q, (*by.shape, table.shape[1] // len(m)))
    return c.reshape(c.emit("mul", parts, c.reshape(by, (*by.shape, 1)), scale=unit), q.shape)


def _gathered(c: Context, n: Node, x: Tensor) -> Tensor:
    axis = n.attr("axis", 0) % len(x.shape)
    length = x.shape[axis]
    shape = (*x.shape[:axis], *c.shape(n.inputs[1]), *x.shape[axis + 1 :])
    at = indices(c, n.inputs[1], length)
    if at is not None:
        return c.reshape(pick(c, x, axis, at.reshape(-1)), shape)
    index = from_zero(c, c.tensor(n.inputs[1]), length)
    first = (axis, *(a for a in range(len(x.shape)) if a != axis))
    rows = c.emit("transpose", x, perm=first) if axis else x
    y = rows_at(c, rows, index, c.is_float(n.inputs[0]))
    if axis:
        k = len(index.shape)
        y = c.emit("transpose", y, perm=(*range(k, k + axis), *range(k), *range(k + axis, len(y.shape))))
    return c.reshape(y, shape)


@lowering("Compress", since=9)
def compress(c: Context, n: Node) -> Result:
    """Positions where the constant condition is true; without an axis, of the flat tensor."""
    condition = c.const(n.inputs[1])
    if condition is None:
        raise Unsupported("the result's shape depends on the input's values", "a constant condition")
    x, axis = c.tensor(n.inputs[0]), n.attr("axis")
    x, axis = (flat(c, x), 0) if axis is None else (x, axis % len(x.shape))
    return pick(c, x, axis, np.flatnonzero(condition[: x.shape[axis]]))


@lowering("GatherElements", since=11)
def gather_elements(c: Context, n: Node) -> Result:
    """Indices may be data; one outside the axis traps, or a run tells of it."""
    x = c.tensor(n.inputs[0])
    rank = len(x.shape)
    axis, shape = n.attr("axis", 0) % rank, c.shape(n.inputs[1])
    at = indices(c, n.inputs[1], x.shape[axis])
    if at is not None:
        places = list(np.indices(shape))
        places[axis] = at
        return take(c, x, np.ravel_multi_index(tuple(places), x.shape))
    index = from_zero(c, c.tensor(n.inputs[1]), x.shape[axis])
    if rank > 1:
        c.out.within(index, x.shape[axis])  # it is a place of another row
    strides = np.cumprod([1, *x.shape[:0:-1]])[::-1]
    others = sum((np.arange(shape[a]) * strides[a]).reshape([-1 if b == a else 1 for b in range(rank)])
                 for a in range(rank) if a != axis)  # fmt: skip
    place = c.muli(index, int(strides[axis]))
    if rank > 1:
        place = c.emit("add", place, c.out.param(np.asarray(others, np.int64)))
    return rows_at(c, flat(c, x), place, c.is_float(n.inputs[0]))


def places_of(at: I64, shape: tuple[int, ...], batch: int) -> I64:
    """Row-major places of what GatherND reads: ``at[.., :]`` are the leading coordinates after ``batch`` axes."""
    at = np.where(at < 0, at + np.array(shape[batch : batch + at.shape[-1]]), at)
    depth = at.shape[-1]
    inner = np.arange(math.prod(shape[batch + depth :])).reshape(shape[batch + depth :])
    lead = np.zeros(at.shape[:-1], np.int64)
    for k in range(batch):
        lead = lead * shape[k] + np.arange(shape[k]).reshape([-1 if a == k else 1 for a in range(lead.ndim)])
    for k in range(depth):
        lead = lead * shape[batch + k] + at[..., k]
    return np.asarray(lead.reshape((*lead.shape, *(1,) * inner.ndim)) * max(inner.size, 1) + inner)


def row_numbers(c: Context, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Row-major numbers of the places ``index[.., :]`` that are data, among the leading axes of ``shape``."""
    row: Tensor | None = None
    for k in range(index.shape[-1]):
        part = from_zero(c, c.reshape(cut(c, index, len(index.shape) - 1, k, 1), index.shape[:-1]), shape[k])
        c.out.within(part, shape[k])  # of several coordinates, one outside is another place
        row = part if row is None else c.emit("add", c.muli(row, shape[k]), part)
    assert row is not None
    return row


@lowering("GatherND", since=11)
def gather_nd(c: Context, n: Node) -> Result:
    """Indices may be data; a place outside the tensor traps, or a run tells of it."""
    x, at, batch = c.tensor(n.inputs[0]), c.const(n.inputs[1]), n.attr("batch_dims", 0)
    if at is not None:
        return take(c, x, places_of(at.astype(np.int64), x.shape, batch))
    index = c.tensor(n.inputs[1])
    depth = index.shape[-1]
    row = row_numbers(c, index, x.shape[batch:])
    if batch:
        each = math.prod(x.shape[batch : batch + depth])
        lead = np.arange(math.prod(x.shape[:batch])).reshape(*x.shape[:batch], *(1,) * (len(row.shape) - batch))
        row = c.emit("add", row, c.out.param(lead * each))
    rows = c.reshape(x, (math.prod(x.shape[: batch + depth]), *x.shape[batch + depth :]))
    return c.reshape(rows_at(c, rows, row, c.is_float(n.inputs[0])), c.shape(n.outputs[0]))


@lowering("OneHot", since=9)
def one_hot_(c: Context, n: Node) -> Result:
    """``off + (on - off) * (index is k)``."""
    values, depth = c.const(n.inputs[2]), c.const(n.inputs[1])
    if values is None or depth is None:
        raise Unsupported("depth or values are computed from the input", "constants")
    x = c.tensor(n.inputs[0])
    if x.scale != 1.0:
        x = c.lookup(c.narrow(x), np.rint(np.arange(c.narrow(x).type.lo, c.narrow(x).type.hi + 1) * c.narrow(x).scale)
                     .astype(np.int64), "index")  # fmt: skip
    k = int(depth.reshape(-1)[0])
    x = from_zero(c, x, k)
    hot = c.emit("eq", c.reshape(x, (*x.shape, 1)), c.out.param(np.arange(k)), scale=1.0)
    off, on = (float(v) for v in values.reshape(-1))
    scale = 1.0
    if not all(v == int(v) and abs(v) < 2**31 for v in (off, on)):
        scale = max(abs(off), abs(on)) / (2**15 - 1)
    low, high = round(off / scale), round(on / scale)
    y = c.muli(hot, high - low).scaled(scale)
    y = c.emit("addi", y, value=low) if low else y
    rank = len(y.shape)
    axis = n.attr("axis", -1) % rank
    perm = list(range(rank - 1))
    perm.insert(axis, rank - 1)
    return y if axis == rank - 1 else c.emit("transpose", y, perm=tuple(perm))


@lowering("Hardmax")
def hardmax(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    shape = x.shape
    axis = n.attr("axis", 1 if n.version < 13 else -1) % len(shape)
    if n.version < 13:
        x = c.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))
        axis = 1
    best = c.emit("argmax", x, axis=axis, keepdims=True, scale=1.0)
    if c.is_float(n.inputs[0]):
        c.out.decides("largest", [x], [[f.reshape(x.shape) for f in c.given(n.inputs[0])]], counts=True)
    places = np.arange(x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(x.shape))])
    return c.reshape(c.emit("eq", best, c.out.param(places), scale=1.0), shape)


@lowering("Trilu", since=14)
def trilu(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    k = c.ints(n, 1, "the diagonal")[0] if c.has(n, 1) else 0
    rows, columns = np.arange(x.shape[-2])[:, None], np.arange(x.shape[-1])
    kept = columns - rows >= k if n.attr("upper", 1) else columns - rows <= k
    return x if kept.all() else c.emit("mul", x, c.out.param(kept.astype(np.int64)))


@lowering("Tile", since=6)
def tile(c: Context, n: Node) -> Result:
    """Axes that are not repeated count as one with those behind them."""
    x, times = c.tensor(n.inputs[0]), c.ints(n, 1, "repeats")
    apart: list[int] = []
    full: list[int] = []
    for many, d in zip(times, x.shape, strict=True):
        if many == 1 and apart:
            apart[-1], full[-1] = apart[-1] * d, full[-1] * d
        else:
            apart, full = [*apart, 1, d], [*full, many, d]
    return c.reshape(c.broadcast(c.reshape(x, apart), full), c.shape(n.outputs[0]))


@lowering("CumSum", since=11)
def cumsum(c: Context, n: Node) -> Result:
    """A product with a triangle of ones."""
    x = c.tensor(n.inputs[0])
    rank = len(x.shape)
    axis = c.ints(n, 1, "the axis")[0] % rank
    length = x.shape[axis]
    before, after = np.arange(length)[:, None], np.arange(length)
    seen = before >= after if n.attr("reverse", 0) else before <= after
    if n.attr("exclusive", 0):
        seen &= before != after
    perm = (*(a for a in range(rank) if a != axis), axis)
    moved = c.emit("transpose", x, perm=perm) if axis != rank - 1 else x
    y = c.emit("matmul", moved, c.out.param(seen.astype(np.int64)), scale=x.scale)
    return c.emit("transpose", y, perm=tuple(int(a) for a in np.argsort(perm))) if axis != rank - 1 else y


@lowering("CumProd", since=1)
def cumprod(c: Context, n: Node) -> Result:
    """One product per position, narrowed."""
    x = c.tensor(n.inputs[0])
    real = c.is_float(n.inputs[0])
    axis = c.ints(n, 1, "the axis")[0] % len(x.shape)
    x = c.emit("flip", x, axis=axis) if n.attr("reverse", 0) else x
    parts = [c.emit("slice", x, axis=axis, start=k, len=1) for k in range(x.shape[axis])]
    out = parts[:1]
    for part in parts[1:]:
        out.append(c.multiply(out[-1], part) if real else c.emit("mul", out[-1], part))
    if n.attr("exclusive", 0):
        ones = np.ones(parts[0].shape)
        out = [c.constant(ones, 2.0**-15) if real else c.out.param(ones.astype(np.int64)), *out[:-1]]
    if real:
        out = c.align(out, c.peak(n.outputs[0]))
    y = out[0] if len(out) == 1 else c.emit("concat", *out, axis=axis)
    return c.emit("flip", y, axis=axis) if n.attr("reverse", 0) else y


@lowering("ReverseSequence", since=10)
def reverse_sequence(c: Context, n: Node) -> Result:
    """Each sequence of the batch reversed up to its length, which is constant."""
    x = c.tensor(n.inputs[0])
    lengths, batch, time = c.ints(n, 1, "the lengths"), n.attr("batch_axis", 1), n.attr("time_axis", 0)
    places = list(np.indices(x.shape))
    each = np.array(lengths).reshape([-1 if a == batch else 1 for a in range(len(x.shape))])
    places[time] = np.where(places[time] < each, each - 1 - places[time], places[time])
    return take(c, x, np.ravel_multi_index(tuple(places), x.shape))


@lowering("Range", "EyeLike", "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix")
def constant_only(c: Context, n: Node) -> Result:
    """Folds if its inputs are constant; the identity matrix needs only a shape."""
    if n.op != "EyeLike":
        raise Unsupported("its size is computed from the input", "constants")
    rows, columns = c.shape(n.outputs[0])
    return c.out.param(np.eye(rows, columns, n.attr("k", 0)).astype(np.int64))
