"""Views: the entries keep their integers and scale. Free in the proof, except where a concatenation needs one scale."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.isa.types import DType


@lowering("Identity", "Dropout")
def identity(c: Context, n: Node) -> Result:
    """Dropout at inference; its mask is all ones."""
    if n.op == "Dropout" and c.has(n, 2):
        training, ratio = (c.const(n.inputs[k]) if c.has(n, k) else np.array(0.5) for k in (2, 1))
        if training is None or (training.any() and (ratio is None or ratio.any())):
            raise Unsupported("training_mode is set, or computed from the input", "an exported inference model")
    if len(n.outputs) > 1 and n.outputs[1] and c.graph.uses(n.outputs[1]):
        ones = np.ones(c.shape(n.outputs[1]), np.int64)
        return c.tensor(n.inputs[0]), c.out.param(ones)
    return c.tensor(n.inputs[0])


@lowering("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(c: Context, n: Node) -> Result:
    """The shape is what the float model made."""
    return c.reshape(c.tensor(n.inputs[0]), c.shape(n.outputs[0]))


@lowering("Transpose")
def transpose(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    perm = n.attr("perm", tuple(reversed(range(len(x.shape)))))
    return x if tuple(perm) == tuple(range(len(x.shape))) else c.emit("transpose", x, perm=tuple(perm))


@lowering("Expand")
def expand(c: Context, n: Node) -> Result:
    return c.broadcast(c.tensor(n.inputs[0]), c.shape(n.outputs[0]))


@lowering("Concat")
def concat(c: Context, n: Node) -> Result:
    """Tensors of one scale are joined as they are; others are brought to one, exactly."""
    out = n.outputs[0]
    names = [i for i in n.inputs if 0 not in c.shape(i)]
    if c.is_float(out):
        parts = c.align([c.operand(i) for i in names], c.peak(out))
    else:
        parts = [c.tensor(i) for i in names]
    return parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=n.attr("axis", 1) % len(parts[0].shape))


def cut(c: Context, x: Tensor, axis: int, start: int, length: int, step: int = 1) -> Tensor:
    """``length`` positions from ``start`` on; a negative step counts down."""
    if (start, length, step) == (0, x.shape[axis], 1):
        return x
    if step > 0:
        return c.emit("slice", x, axis=axis, start=start, len=length, step=step)
    last = start + (length - 1) * step
    y = c.emit("slice", x, axis=axis, start=last, len=length, step=-step)
    return c.emit("flip", y, axis=axis)


@lowering("Slice")
def slice_(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    rank = len(x.shape)
    if n.attr("starts") is not None:
        starts, ends = n.attr("starts"), n.attr("ends")
        axes, steps = n.attr("axes"), None
    else:
        starts, ends = c.ints(n, 1, "starts"), c.ints(n, 2, "ends")
        axes = c.ints(n, 3, "axes") if c.has(n, 3) else None
        steps = c.ints(n, 4, "steps") if c.has(n, 4) else None
    axes = range(len(starts)) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis %= rank
        positions = (
            range(x.shape[axis])[slice(start, end, step)] if step > 0 else _down(x.shape[axis], start, end, step)
        )
        if not len(positions):
            raise Unsupported("the slice is empty", "one entry or more")
        x = cut(c, x, axis, positions[0], len(positions), step)
    return x


def _down(length: int, start: int, end: int, step: int) -> range:
    """ONNX clamps for a negative step: start to [0, length - 1], end to [-1, length - 1]."""
    first = min(max(start + length if start < 0 else start, 0), length - 1)
    last = min(max(end + length if end < 0 else end, -1), length - 1)
    return range(first, last, step)


@lowering("Split")
def split(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    axis = n.attr("axis", 0) % len(x.shape)
    at = 0
    parts: list[Tensor | None] = []
    for name in n.outputs:
        length = c.shape(name)[axis]
        parts.append(cut(c, x, axis, at, length) if length else None)  # an empty part is a constant
        at += length
    return parts


@lowering("Pad")
def pad(c: Context, n: Node, fill: float | None = None) -> Result:
    """Modes constant, reflect, edge and wrap; negative widths cut. ``fill`` instead of the node's padding value, minus
    infinity for the least that an entry can be."""
    x = c.tensor(n.inputs[0])
    rank = len(x.shape)
    widths = n.attr("pads") or n.attr("paddings")
    if widths is None:
        widths = c.ints(n, 1, "pads")
    axes = [a % rank for a in c.ints(n, 3, "axes")] if c.has(n, 3) else list(range(rank))
    mode = n.attr("mode", "constant")
    value = float(n.attr("value", 0.0))
    if fill is not None:
        value = fill
    elif c.has(n, 2):
        found = c.const(n.inputs[2])
        if found is None:
            raise Unsupported("the padding value is computed from the input", "a constant")
        value = float(found.reshape(-1)[0]) if found.size else 0.0
    half = len(widths) // 2
    for axis, before, after in zip(axes, widths[:half], widths[half:], strict=True):
        length = x.shape[axis]
        if min(before, after) < 0:
            x = cut(c, x, axis, max(-before, 0), length + min(before, 0) + min(after, 0))
            before, after = max(before, 0), max(after, 0)
        if before or after:
            x = _padded(c, x, axis, before, after, mode, value, fill == -math.inf)
    return x


def _padded(c: Context, x: Tensor, axis: int, before: int, after: int, mode: str, value: float, least: bool) -> Tensor:
    length = x.shape[axis]
    if mode == "constant":
        q = x.type.lo if least else round(value / x.scale) if math.isfinite(value) else int(math.copysign(2**20, value))
        if not x.type.dtype.lo <= q <= x.type.dtype.hi:
            x = c.emit("cast", x, dtype=DType.I64)
        return c.emit("pad", x, axis=(axis,), before=(before,), after=(after,), value=q)
    kind = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
    return pick(c, x, axis, np.pad(np.arange(length), (before, after), mode=kind))  # type: ignore[call-overload]


def pick(c: Context, x: Tensor, axis: int, index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Tensor:
    """``x`` at constant positions ``index`` (one axis) along ``axis``: runs of constant step, joined. Free."""
    at = [int(i) for i in index]
    parts, k = [], 0
    while k < len(at):
        step = at[k + 1] - at[k] if k + 1 < len(at) else 1
        end = k + 1
        while step and end < len(at) and at[end] - at[end - 1] == step:
            end += 1
        if not step:
            while end < len(at) and at[end] == at[k]:
                end += 1
            shape = list(x.shape)
            shape[axis] = end - k
            parts.append(c.broadcast(cut(c, x, axis, at[k], 1), shape))
        else:
            parts.append(cut(c, x, axis, at[k], end - k, step if end - k > 1 else 1))
        k = end
    return parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=axis)
