"""ConvTranspose: zeros between the entries of the image, then a convolution with the turned kernel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import convolution, pair_limit, plane, plus, with_weights
from syurmy.compiler.ops.shape import cut


def spread(c: Context, x: Tensor, axis: int, stride: int) -> Tensor:
    """``stride - 1`` zeros between neighbours along ``axis``."""
    if stride == 1 or x.shape[axis] == 1:
        return x
    length = x.shape[axis]
    x = c.reshape(x, (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :]))
    x = c.emit("pad", x, axis=(axis + 1,), before=(0,), after=(stride - 1,), value=0)
    x = c.reshape(x, (*x.shape[:axis], length * stride, *x.shape[axis + 2 :]))
    return cut(c, x, axis, 0, (length - 1) * stride + 1)


@lowering("ConvTranspose")
def conv_transpose(c: Context, n: Node) -> Result:
    """1- to 3-dimensional; groups, strides, dilations, pads, output_shape, output_padding, auto_pad."""
    x, w, out = c.tensor(n.inputs[0]), c.operand(n.inputs[1]), n.outputs[0]
    group = n.attr("group", 1)
    rank = len(x.shape) - 2
    ones = (1,) * rank
    strides, dilations = n.attr("strides") or ones, n.attr("dilations") or ones
    bias = c.operand(n.inputs[2]) if c.has(n, 2) else None
    column = (-1, *ones)
    if isinstance(w, Tensor):
        kernel = w.shape[2:]
        x, q = (c.factor(t, pair_limit(math.prod(w.shape))) for t in (x, w))
        q = _turned(c, q, group)
    else:
        kernel = w.shape[2:]
        turned = np.flip(w, tuple(range(2, rank + 2)))
        turned = turned.reshape(group, w.shape[0] // group, w.shape[1], *kernel).swapaxes(1, 2)
        turned = plane(turned.reshape(group * w.shape[1], w.shape[0] // group, *kernel))
        top = float(np.abs(bias).max(initial=0.0)) if isinstance(bias, np.ndarray) else 0.0
        x, q = with_weights(c, turned, x, c.peak(out), tuple(range(1, turned.ndim)), None, top, n.inputs[1])
    lengths, image = c.shape(out)[2:], x.shape[2:]
    for k in range(rank):
        x = spread(c, x, k + 2, strides[k])
        span = dilations[k] * (kernel[k] - 1)
        before = span - _first_pad(n, k, rank, image[k], lengths[k], strides[k], span)
        after = lengths[k] + span - x.shape[k + 2] - before
        if min(before, after) < 0:
            x = cut(c, x, k + 2, max(-before, 0), x.shape[k + 2] + min(before, 0) + min(after, 0))
        if max(before, after) > 0:
            x = c.emit("pad", x, axis=(k + 2,), before=(max(before, 0),), after=(max(after, 0),), value=0)
    acc = convolution(c, x, q, replace(n, attrs={"group": group, "dilations": tuple(dilations)}))
    if isinstance(bias, Tensor):
        bias = c.reshape(bias, (bias.shape[0], *ones))
    elif bias is not None:
        bias = bias.reshape(column)
    return plus(c, acc, bias, c.peak(out))


def _first_pad(n: Node, k: int, rank: int, image: int, length: int, stride: int, span: int) -> int:
    """How much of the full result is cut off at the start of axis k."""
    auto = n.attr("auto_pad", "NOTSET")
    if auto == "VALID":
        return 0
    if auto == "NOTSET" and n.attr("output_shape") is None:
        return int((n.attr("pads") or (0,) * 2 * rank)[k])
    extra = (n.attr("output_padding") or (0,) * rank)[k]
    total = max(stride * (image - 1) + extra + span + 1 - length, 0)
    return total // 2 if auto != "SAME_LOWER" else total - total // 2


def _turned(c: Context, w: Tensor, group: int) -> Tensor:
    """[C, M / group, ..] to [M, C / group, ..], every spatial axis reversed."""
    for a in range(2, len(w.shape)):
        w = c.emit("flip", w, axis=a) if w.shape[a] > 1 else w
    ch, m, *kernel = w.shape
    w = c.reshape(w, (group, ch // group, m, *kernel))
    w = c.emit("transpose", w, perm=(0, 2, 1, *range(3, len(w.shape))))
    return c.reshape(w, (group * m, ch // group, *kernel))
