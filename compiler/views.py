"""Views with constant parameters, on arrays: where the entries of a result come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syurmy.compiler.graph import Node
from syurmy.isa.arrays import Array

VIEWS = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Gather", "Slice", "Split"}


def viewed(n: Node, x: Array, constants: Sequence[Array | None], shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The results of a node of ``VIEWS``, of the given shapes, for a source with entries ``x``."""
    if n.op == "Transpose":
        return [x.transpose(n.attr("perm", tuple(reversed(range(x.ndim)))))]
    if n.op == "Expand":
        return [np.broadcast_to(x, shapes[0])]
    if n.op == "Gather":
        assert constants[1] is not None
        return [np.take(x, constants[1].astype(np.int64), axis=n.attr("axis", 0))]
    if n.op == "Split":
        axis = n.attr("axis", 0)
        return np.split(x, np.cumsum([s[axis] for s in shapes])[:-1], axis=axis)
    if n.op == "Slice":
        return [_sliced(n, x, constants)]
    return [x.reshape(shapes[0])]


def _sliced(n: Node, x: Array, constants: Sequence[Array | None]) -> Array:
    given = [None if k is None else [int(v) for v in k.reshape(-1)] for k in constants[1:]]
    starts, ends = (given[0], given[1]) if given else (list(n.attr("starts")), list(n.attr("ends")))
    assert starts is not None
    assert ends is not None
    axes = given[2] if len(given) > 2 and given[2] is not None else list(n.attr("axes") or range(len(starts)))
    steps = given[3] if len(given) > 3 and given[3] is not None else [1] * len(starts)
    at: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at[axis % x.ndim] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(at)]
