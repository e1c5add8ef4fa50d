"""Resize and Upsample: one matrix per axis, or a view where every output pixel is one input pixel.

Along an axis, output position x has the coordinate ``x_in`` of ONNX's ``coordinate_transformation_mode``; the matrix
has the weights of the nearest, linear or cubic kernel around it. Resizing is separable, so axes follow one another.
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import matrix_product
from syurmy.compiler.ops.shape import pick
from syurmy.isa.arrays import F64, I64


def coordinates(mode: str, length: int, out: int, scale: float, roi: tuple[float, float]) -> F64:
    """``x_in`` for every output position."""
    x = np.arange(out, dtype=np.float64)
    if mode == "half_pixel":
        return (x + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = out / (scale * length)
        return length / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (x + 0.5) / scale - 0.5 if out > 1 else np.full(1, -0.5 if scale == 1 else 0.0)
    if mode == "align_corners":
        width = scale * length  # as ONNX's reference has it: not rounded to the output's length
        return x * (length - 1) / (width - 1) if out > 1 else np.zeros(1)
    if mode == "asymmetric":
        return x / scale
    if mode == "tf_crop_and_resize":
        start, end = roi
        if out > 1:
            return start * (length - 1) + x * (end - start) * (length - 1) / (out - 1)
        return np.full(1, 0.5 * (start + end) * (length - 1))
    raise Unsupported(f"coordinate_transformation_mode {mode}")


def nearest(x: F64, rounding: str, length: int) -> I64:
    x = np.round(x, 9)  # a coordinate that is a tie up to rounding is one
    at = {"round_prefer_floor": np.ceil(x - 0.5), "round_prefer_ceil": np.floor(x + 0.5), "floor": np.floor(x),
          "ceil": np.ceil(x)}[rounding]  # fmt: skip
    return np.clip(at, 0, length - 1).astype(np.int64)


def _triangle(d: F64, a: float) -> F64:
    return np.asarray(np.clip(1 - np.abs(d), 0, 1))


def _cubic(d: F64, a: float) -> F64:
    d = np.abs(d)
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def weights(x: F64, length: int, cubic: bool, a: float, exclude: bool, scale: float) -> F64:
    """The matrix [output, input]. ``scale`` below 1: the kernel is stretched against aliasing. Taps beyond the border
    repeat its pixel, or are left out (``exclude``)."""
    reach = (2 if cubic else 1) / scale
    kernel = _cubic if cubic else _triangle
    w = np.zeros((len(x), length))
    for row, at in enumerate(x):
        taps = np.arange(math.floor(at - reach), math.ceil(at + reach) + 1)
        values = kernel((taps - at) * scale, a)
        if exclude:
            values = np.where((taps >= 0) & (taps < length), values, 0)
        total = values.sum()
        np.add.at(w[row], np.clip(taps, 0, length - 1), values / total if total else values)
    return w


@lowering("Resize", since=11)
@lowering("Resize", since=10)
@lowering("Upsample")
def resize(c: Context, n: Node) -> Result:
    x, shape = c.tensor(n.inputs[0]), c.shape(n.outputs[0])
    rank = len(x.shape)
    axes = [a % rank for a in n.attr("axes", tuple(range(rank)))]
    old = n.version < 11
    given = 1 if old else 2
    scales = [out / length for out, length in zip(shape, x.shape, strict=True)]
    roi = [(0.0, 1.0)] * rank
    attribute = n.attr("scales")
    found = np.array(attribute) if attribute is not None else c.const(n.inputs[given]) if c.has(n, given) else None
    if c.has(n, given) and found is None:
        raise Unsupported("scales are computed from the input", "constants")
    if found is not None and found.size:
        for a, s in zip(axes, found.reshape(-1).tolist(), strict=True):
            scales[a] = float(s)
    elif n.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        sizes = c.ints(n, 3, "sizes")
        ratios = [s / x.shape[a] for a, s in zip(axes, sizes, strict=True)]
        ratio = min(ratios) if n.attr("keep_aspect_ratio_policy") == "not_larger" else max(ratios)
        for a in axes:
            scales[a] = ratio
    mode = "asymmetric" if old else n.attr("coordinate_transformation_mode", "half_pixel")
    if mode == "tf_crop_and_resize":
        box = c.const(n.inputs[1])
        if box is None:
            raise Unsupported("the region is computed from the input", "a constant")
        for k, a in enumerate(axes):
            roi[a] = float(box[k]), float(box[k + len(axes)])
    outside = np.zeros(shape, bool)
    kind = n.attr("mode", "nearest")
    for a in axes:
        length, out, scale = x.shape[a], shape[a], scales[a]
        if scale == 1 and out == length and mode != "tf_crop_and_resize":
            continue
        at = coordinates(mode, length, out, scale, roi[a])
        if mode == "tf_crop_and_resize":
            beyond = (at < 0) | (at > length - 1)
            outside |= beyond.reshape([-1 if b == a else 1 for b in range(rank)])
        if kind == "nearest":
            rounding = n.attr("nearest_mode", "floor" if old else "round_prefer_floor")
            x = pick(c, x, a, nearest(at, rounding, length))
            continue
        stretched = min(scale, 1.0) if n.attr("antialias", 0) else 1.0
        w = weights(
            at, length, kind == "cubic", n.attr("cubic_coeff_a", -0.75), bool(n.attr("exclude_outside", 0)), stretched
        )
        x = along(c, x, w, a)
    if not outside.any():
        return x
    kept = c.emit("mul", x, c.out.param((~outside).astype(np.int64)))
    value = n.attr("extrapolation_value", 0.0)
    return kept if not value else c.emit("add", *c.align([kept, outside * value], c.peak(n.outputs[0])))


def along(c: Context, x: Tensor, w: F64, axis: int) -> Tensor:
    """The matrix ``w`` [output, input] on one axis."""
    rank = len(x.shape)
    perm = (*(a for a in range(rank) if a != axis), axis)
    x = c.emit("transpose", x, perm=perm) if axis != rank - 1 else x
    peak = x.peak * x.scale * float(np.abs(w).sum(axis=1).max(initial=1.0))
    y = matrix_product(c, x, w.T, peak, None, "resize")
    return c.emit("transpose", y, perm=tuple(int(a) for a in np.argsort(perm))) if axis != rank - 1 else y
