"""Pooling, axis by axis. Averages are sums at another scale (free); maxima are taken along one axis after the other,
which shares them between overlapping windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import spatial
from syurmy.compiler.ops.order import window_places
from syurmy.isa.types import DType


def slide(
    c: Context,
    x: Tensor,
    lengths: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    combine: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """``combine`` over all entries of the windows of the spatial axes 2, 3, ...; a tree per axis."""
    for k, length in enumerate(lengths):
        if (kernel[k], strides[k], length) == (1, 1, x.shape[k + 2]):
            continue
        parts = [
            c.emit("slice", x, axis=k + 2, start=j * dilations[k], len=length, step=strides[k])
            for j in range(kernel[k])
        ]
        while len(parts) > 1:
            parts = [combine(*pair) if len(pair) > 1 else pair[0] for pair in _pairs(parts)]
        x = parts[0]
    return x


def windows(
    c: Context,
    x: Tensor,
    lengths: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Tensor:
    """[batch, channels, lengths.., entries of a window]: the windows of the spatial axes, written out."""
    parts = []
    for at in np.ndindex(*kernel):
        part = x
        for k, j in enumerate(at):
            part = c.emit("slice", part, axis=k + 2, start=j * dilations[k], len=lengths[k], step=strides[k])
        parts.append(c.reshape(part, (*part.shape, 1)))
    return parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=len(parts[0].shape) - 1)


def _pairs(parts: list[Tensor]) -> list[list[Tensor]]:
    return [parts[i : i + 2] for i in range(0, len(parts), 2)]


def padded(c: Context, x: Tensor, widths: Sequence[tuple[int, int]], value: int) -> Tensor:
    axes = [k for k, w in enumerate(widths) if any(w)]
    if not axes:
        return x
    return c.emit(
        "pad",
        x,
        axis=tuple(k + 2 for k in axes),
        before=tuple(widths[k][0] for k in axes),
        after=tuple(widths[k][1] for k in axes),
        value=value,
    )


@lowering("MaxPool")
def max_pool(c: Context, n: Node) -> Result:
    """Padding holds the least value that the source can have."""
    x = c.factor(c.tensor(n.inputs[0]))
    image, kernel, lengths = x.shape[2:], n.attr("kernel_shape"), c.shape(n.outputs[0])[2:]
    strides, dilations, widths = spatial(n, image, kernel, lengths)
    if len(n.outputs) > 1 and n.outputs[1] and c.graph.uses(n.outputs[1]):
        wide = c.emit("cast", x, dtype=DType.I64)  # a value below all others marks the padding
        w = windows(c, padded(c, wide, widths, x.type.lo - 1), lengths, kernel, strides, dilations)
        best = c.emit("reduce_max", w, axis=-1, keepdims=False)
        return best, window_places(c, n, w, kernel, dilations, strides, [b for b, _ in widths], image)
    x = padded(c, x, widths, x.type.lo)
    return slide(c, x, lengths, kernel, strides, dilations, lambda a, b: c.emit("max", a, b))


@lowering("AveragePool")
def average_pool(c: Context, n: Node) -> Result:
    """Windows that reach over the border have fewer entries: their sums are multiplied by integers, exactly."""
    x = c.tensor(n.inputs[0])
    image, kernel, lengths = x.shape[2:], n.attr("kernel_shape"), c.shape(n.outputs[0])[2:]
    strides, dilations, widths = spatial(n, image, kernel, lengths)
    inside = spatial(n, image, kernel)[2] if n.attr("count_include_pad", 0) else [(0, 0)] * len(image)
    counts = np.ones((), np.int64)
    for k in range(len(image)):
        first = np.arange(lengths[k]) * strides[k] - widths[k][0]
        at = first[:, None] + np.arange(kernel[k]) * dilations[k]
        seen = ((at >= -inside[k][0]) & (at < image[k] + inside[k][1])).sum(axis=1)
        counts = np.multiply.outer(counts, seen)
    multiple = math.lcm(*map(int, np.unique(counts)))
    x = padded(c, c.addend(x, multiple * math.prod(kernel)), widths, 0)
    y = slide(c, x, lengths, kernel, strides, dilations, lambda a, b: c.emit("add", a, b))
    if (counts != multiple).any():
        y = c.emit("mul", y, c.out.param(multiple // counts), scale=y.scale)
    return y.scaled(y.scale / multiple)


@lowering("GlobalAveragePool")
def global_average_pool(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    axes = tuple(range(2, len(x.shape)))
    count = math.prod(x.shape[2:])
    x = c.addend(x, count)
    return c.emit("sum", x, axes=axes, keepdims=True, scale=x.scale / count)


@lowering("GlobalMaxPool")
def global_max_pool(c: Context, n: Node) -> Result:
    x = c.factor(c.tensor(n.inputs[0]))
    y = c.emit("reduce_max", c.reshape(x, (*x.shape[:2], -1 if len(x.shape) > 2 else 1)), axis=2)
    return c.reshape(y, c.shape(n.outputs[0]))
