"""Order: the k largest, and where the maxima of pooling windows are."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.jumps import error_of
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.narrowing import LIMIT
from syurmy.compiler.ops.indexing import flat, rows_at
from syurmy.compiler.ops.shape import cut
from syurmy.compiler.scales import FEW


@lowering("TopK")
def top_k(c: Context, n: Node) -> Result:
    """The k largest or smallest along an axis in order, and their places; of equals the first come first."""
    x, real = c.tensor(n.inputs[0]), c.is_float(n.inputs[0])
    rank = len(x.shape)
    axis, k = n.attr("axis", -1) % rank, c.shape(n.outputs[0])[n.attr("axis", -1)]
    perm = (*(a for a in range(rank) if a != axis), axis)
    back = tuple(int(a) for a in np.argsort(perm))
    x = c.factor(x) if real and x.type.size > FEW else x  # few are ordered exactly
    if real and x.bound * 2 * x.shape[axis] >= LIMIT:  # a value and its place are one integer
        amount = (x.bound * 2 * x.shape[axis] // LIMIT).bit_length()
        x = c.emit("shr", x, amount=amount, scale=x.scale * 2**amount)
    x = c.emit("transpose", x, perm=perm) if axis != rank - 1 else x
    largest = bool(n.attr("largest", 1))
    if largest and not (len(n.outputs) > 1 and c.graph.uses(n.outputs[1])):
        best, places = c.emit("topk", x, k=k), None
    else:
        order = c.emit("argsort", x, scale=1.0, descending=largest)
        if real:
            given = [np.moveaxis(f, axis, -1) for f in c.given(n.inputs[0])]
            c.out.decides("order", [x], [given], counts=True, first=k)
        places = cut(c, order, rank - 1, 0, k)
        best = along_last(c, x, places, real)
    if axis != rank - 1:
        best = c.emit("transpose", best, perm=back)
        places = None if places is None else c.emit("transpose", places, perm=back)
    return [best, places]


def along_last(c: Context, x: Tensor, places: Tensor, real: bool) -> Tensor:
    """``x[.., places[.., j]]``, places below the length of the last axis."""
    lead, length = math.prod(x.shape[:-1]), x.shape[-1]
    if lead > 1:
        first = (np.arange(lead) * length).reshape(*x.shape[:-1], 1)
        places = c.emit("add", places, c.out.param(first))
    return rows_at(c, flat(c, x), places, real)


def window_places(c: Context, n: Node, windows: Tensor, kernel: tuple[int, ...], dilations: list[int],
                  strides: list[int], before: list[int], image: tuple[int, ...]) -> Tensor:  # fmt: skip
    """Row-major places, in the whole unpadded tensor, of the first largest entry of every window. ``windows``
    [batch, channels, lengths.., entries of a window]."""
    if n.attr("storage_order", 0) and len(image) != 2:
        raise Unsupported("column-major indices of other than two axes", "storage_order 0")
    steps = np.cumprod([1, *image[:0:-1]])[::-1]
    if n.attr("storage_order", 0):
        steps = np.array([1, image[0]])
    at = c.emit("argmax", windows, axis=-1, keepdims=False, scale=1.0)
    if c.is_float(n.inputs[0]):
        c.out.decides_within(
            "largest",
            windows,
            error_of(c, n.inputs[0], c.tensors[n.inputs[0]]) * c.tensors[n.inputs[0]].scale / windows.scale,
        )
    inner = np.indices(kernel).reshape(len(kernel), -1) * np.array(dilations)[:, None]
    offset = c.lookup(at, (inner * steps[:, None]).sum(axis=0).astype(np.int64), "window")
    batch, channels, *lengths = windows.shape[:-1]
    base = np.arange(batch * channels).reshape(batch, channels, *(1,) * len(image)) * math.prod(image)
    for k, length in enumerate(lengths):
        start = (np.arange(length) * strides[k] - before[k]) * steps[k]
        base = base + start.reshape([-1 if a == k + 2 else 1 for a in range(len(lengths) + 2)])
    return c.emit("add", offset, c.out.param(base))
