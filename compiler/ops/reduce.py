"""Reductions over axes. Sums and means are free; order takes comparisons."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.integer import quotient


def reduced_axes(c: Context, n: Node) -> tuple[int, ...]:
    """Axes from the attribute or input 1; all of them if absent, none if the node says so."""
    rank = len(c.shape(n.inputs[0]))
    axes = c.axes(n, 1, rank)
    if not axes:
        return () if n.attr("noop_with_empty_axes", 0) else tuple(range(rank))
    return axes


def last(c: Context, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``x`` with ``axes`` moved to the end and joined into one."""
    kept = [a for a in range(len(x.shape)) if a not in axes]
    perm = (*kept, *sorted(axes))
    if perm != tuple(range(len(x.shape))):
        x = c.emit("transpose", x, perm=perm)
    return c.reshape(x, (*x.shape[: len(kept)], math.prod(x.shape[len(kept) :])))


@lowering("ReduceSum", "ReduceMean")
def reduce_sum(c: Context, n: Node) -> Result:
    """A mean of reals is the sum at another scale, one of integers is rounded toward 0."""
    x, axes = c.tensor(n.inputs[0]), reduced_axes(c, n)
    if not axes:
        return x
    if n.op == "ReduceMean" and not c.is_float(n.inputs[0]):
        y = c.emit("sum", x, axes=axes, keepdims=bool(n.attr("keepdims", 1)))
        return quotient(c, y, c.out.param(np.array(math.prod(x.shape[a] for a in axes))))
    count = math.prod(x.shape[a] for a in axes)
    x = c.addend(x, count) if c.is_float(n.inputs[0]) else x
    scale = x.scale / (count if n.op == "ReduceMean" else 1)
    return c.emit("sum", x, axes=axes, keepdims=bool(n.attr("keepdims", 1)), scale=scale)


@lowering("ReduceMax", "ReduceMin")
def reduce_extremum(c: Context, n: Node) -> Result:
    x, axes = c.tensor(n.inputs[0]), reduced_axes(c, n)
    if not axes:
        return x
    x = c.factor(x) if c.is_float(n.inputs[0]) else x
    y = c.emit("reduce_max" if n.op == "ReduceMax" else "reduce_min", last(c, x, axes), axis=-1)
    return c.reshape(y, c.shape(n.outputs[0]))


@lowering("ArgMax", "ArgMin")
def arg_extremum(c: Context, n: Node) -> Result:
    """On the exact accumulator: rounding makes no ties. With select_last_index the axis is read backwards."""
    x = c.tensor(n.inputs[0])
    axis = n.attr("axis", 0) % len(x.shape)
    backwards = bool(n.attr("select_last_index", 0))
    x = c.emit("flip", x, axis=axis) if backwards else x
    y = c.emit(n.op.lower(), x, axis=axis, keepdims=bool(n.attr("keepdims", 1)), scale=1.0)
    if c.is_float(n.inputs[0]):
        given = c.given(n.inputs[0])
        c.out.decides("largest", [x], [[np.flip(f, axis) for f in given] if backwards else given], counts=True)
    return c.emit("addi", c.emit("neg", y), value=x.shape[axis] - 1) if backwards else y
