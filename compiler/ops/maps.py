"""Operators that are linear in their first input and constant in all others: products with a matrix.

Its rows are what the float operator gives for unit vectors, so the matrix has the operator's own conventions: Fourier
transforms (real or complex, inverse, one-sided), images from columns, samples of an image at fixed places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node, Runner
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import convolution, matrix_product, plane, with_weights
from syurmy.compiler.ops.shape import pick
from syurmy.isa.arrays import F64, Array

MAX_MATRIX = 2**22


def others(c: Context, n: Node, what: str) -> list[Array | None]:
    """All inputs but the first, which are constant; None where absent."""
    found = [c.const(i) if i else None for i in n.inputs[1:]]
    if any(i and f is None for i, f in zip(n.inputs[1:], found, strict=True)):
        raise Unsupported(f"{what} computed from the input", "constants")
    return found


def response(n: Node, inputs: Sequence[Array | None], attrs: Mapping[str, Any] | None = None) -> F64:
    """What the float operator gives for ``inputs``, the first of which is data."""
    names = ["x" if k == 0 else f"c{k}" if v is not None else "" for k, v in enumerate(inputs)]
    node = helper.make_node(n.op, names, ["y"], **(n.attrs if attrs is None else attrs))
    fixed = [numpy_helper.from_array(v, i) for i, v in zip(names[1:], inputs[1:], strict=True) if v is not None]
    x = np.asarray(inputs[0], np.float32)
    graph = helper.make_graph([node], "map", [helper.make_tensor_value_info("x", 1, x.shape)],
                              [helper.make_tensor_value_info("y", 1, None)], fixed)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", n.version)], ir_version=8)
    return np.asarray(Runner(model)({"x": x})["y"], np.float64)


def units(count: int, outputs: int) -> F64:
    if count * outputs > MAX_MATRIX:
        raise Unsupported(f"a matrix of {count} times {outputs} entries", f"at most {MAX_MATRIX}")
    return np.eye(count)


def moved(c: Context, x: Tensor, order: Sequence[int]) -> Tensor:
    return x if tuple(order) == tuple(range(len(order))) else c.emit("transpose", x, perm=tuple(order))


@lowering("DFT", since=17)
def dft(c: Context, n: Node) -> Result:
    """Along one axis, of real numbers (a last axis of 1) or complex ones (2)."""
    x, shape = c.tensor(n.inputs[0]), c.shape(n.outputs[0])
    rank = len(x.shape)
    fixed = others(c, n, "the length or the axis")
    attrs, axis = dict(n.attrs), n.attr("axis", 1)
    if n.version >= 20:
        axis = -2 if len(fixed) < 2 or fixed[1] is None else int(fixed[1].reshape(()))
        fixed = [fixed[0] if fixed else None, np.array(1)]
    else:
        attrs["axis"] = 1
    axis %= rank
    length, kind = x.shape[axis], x.shape[-1]
    size = shape[axis] * shape[-1]
    w = response(n, [units(length * kind, size).reshape(-1, length, kind), *fixed], attrs).reshape(length * kind, size)
    order = [a for a in range(rank) if a not in (axis, rank - 1)] + [axis, rank - 1]
    lead = [x.shape[a] for a in order[:-2]]
    y = matrix_product(c, c.reshape(moved(c, x, order), (*lead, length * kind)), w, c.peak(n.outputs[0]), None,
                       n.outputs[0])  # fmt: skip
    back = [int(a) for a in np.argsort(order)]
    return moved(c, c.reshape(y, (*lead, shape[axis], shape[-1])), back)


@lowering("STFT", since=17)
def stft(c: Context, n: Node) -> Result:
    """A convolution with the sines and cosines of one frame, windowed, at distances of ``frame_step``."""
    x = c.tensor(n.inputs[0])
    step, *rest = others(c, n, "the step, the window or the length")
    assert step is not None
    batch, frames, bins, _ = c.shape(n.outputs[0])
    window, given = [*rest, None, None][:2]
    length = int(given.reshape(())) if given is not None else 0 if window is None else window.size
    kind = x.shape[2] if len(x.shape) == 3 else 1
    basis = units(length * kind, bins * 2).reshape(-1, length, kind)
    w = response(n, [basis, np.array(length), window, given])  # [length * kind, 1, bins, 2]
    w = w.reshape(length, kind, bins * 2).transpose(2, 1, 0)
    signal = c.reshape(x, (batch, x.shape[1], kind))
    signal = moved(c, signal, (0, 2, 1)) if kind > 1 else c.reshape(x, (batch, 1, x.shape[1]))
    signal, q = with_weights(c, plane(w), signal, c.peak(n.outputs[0]), (1, 2, 3), 0, 0.0, n.outputs[0])
    y = convolution(c, signal, q, replace(n, attrs={"strides": (int(step.reshape(())),)}))
    return c.reshape(moved(c, y, (0, 2, 1)), (batch, frames, bins, 2))


@lowering("Col2Im", since=18)
def col2im(c: Context, n: Node) -> Result:
    """Columns of a block's entries added where they lie in the image."""
    x, shape = c.tensor(n.inputs[0]), c.shape(n.outputs[0])
    image, block = others(c, n, "the shapes")
    assert image is not None
    assert block is not None
    batch, channels = shape[:2]
    size = math.prod(block.tolist()) * x.shape[2]
    basis = units(size, math.prod(shape[2:])).reshape(size, -1, x.shape[2])
    w = response(n, [basis, image, block]).reshape(size, -1)
    y = matrix_product(c, c.reshape(x, (batch, channels, size)), w, c.peak(n.outputs[0]), None, n.outputs[0])
    return c.reshape(y, shape)


@lowering("GridSample", since=16)
def grid_sample(c: Context, n: Node) -> Result:
    """At constant places, which may differ in each image of the batch."""
    x, shape = c.tensor(n.inputs[0]), c.shape(n.outputs[0])
    (grid,) = others(c, n, "the places")
    assert grid is not None
    size, points = math.prod(x.shape[2:]), math.prod(shape[2:])
    basis = units(size, points * len(grid)).reshape(1, size, *x.shape[2:])
    w = [response(n, [basis, g[None]]).reshape(size, points) for g in grid]
    same = all((v == w[0]).all() for v in w)
    y = matrix_product(c, c.reshape(x, (*x.shape[:2], size)), w[0] if same else np.stack(w), c.peak(n.outputs[0]),
                       None, n.outputs[0])  # fmt: skip
    return c.reshape(y, shape)


@lowering("RoiAlign", since=10)
def roi_align(c: Context, n: Node) -> Result:
    """Of constant regions: averages of samples, or (mode max) the largest of the products of a sample's four corners
    with their weights, as ONNX defines it."""
    x, out = c.tensor(n.inputs[0]), n.outputs[0]
    regions, images = others(c, n, "the regions")
    assert regions is not None
    assert images is not None
    rows, channels, *bins = c.shape(out)
    size = math.prod(x.shape[2:])
    units(size, rows * math.prod(bins))
    each = c.reshape(pick(c, x, 0, images.astype(np.int64)), (rows, channels, size))
    if n.attr("mode", "avg") == "avg":
        w = np.stack([_samples(n, x, region, bins, n.attr("sampling_ratio", 0)) for region in regions])
        return c.reshape(matrix_product(c, each, w, c.peak(out), None, out), c.shape(out))
    return _largest(c, n, x, each, regions, bins)


def _samples(n: Node, x: Tensor, region: Array, bins: Sequence[int], ratio: int) -> F64:
    """The matrix [entries of an image, bins] of a region's averages."""
    size = math.prod(x.shape[2:])
    attrs = {**n.attrs, "mode": "avg", "output_height": bins[0], "output_width": bins[1], "sampling_ratio": ratio}
    basis = np.eye(size).reshape(1, size, *x.shape[2:])
    return response(n, [basis, region[None], np.zeros(1, np.int64)], attrs).reshape(size, -1)


def _largest(c: Context, n: Node, x: Tensor, each: Tensor, regions: Array, bins: list[int]) -> Tensor:
    parts: list[Tensor] = []
    channels = x.shape[1]
    for r, region in enumerate(regions):
        sides = (region[2:] - region[:2])[::-1] * n.attr("spatial_scale", 1.0)
        if n.version < 16 or n.attr("coordinate_transformation_mode", "half_pixel") == "output_half_pixel":
            sides = np.maximum(sides, 1.0)
        count = [n.attr("sampling_ratio", 0) or max(1, math.ceil(s / b)) for s, b in zip(sides, bins, strict=True)]
        w = _samples(n, x, region, [b * k for b, k in zip(bins, count, strict=True)], 1)
        taps = np.argsort(-np.abs(w), axis=0, kind="stable")[:4]  # the corners; weights of 0 are corners too
        w = np.take_along_axis(w, taps, 0).T.reshape(bins[0], count[0], bins[1], count[1], -1)
        places: Array = taps.T.reshape(w.shape)
        order = (0, 2, 1, 3, 4)
        places = places.transpose(order).reshape(math.prod(bins), -1)
        w = w.transpose(order).reshape(math.prod(bins), -1)
        image = c.reshape(pick(c, each, 0, np.array([r])), (channels, each.shape[2]))
        found = c.reshape(pick(c, image, 1, places.reshape(-1)), (channels, *places.shape))
        products = c.multiply(found, c.quantised(w, label=n.outputs[0]))
        parts.append(c.emit("reduce_max", products, axis=-1, keepdims=False))
    parts = c.align(parts, c.peak(n.outputs[0]))
    parts = [c.reshape(p, (1, channels, *bins)) for p in parts]
    return parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=0)
