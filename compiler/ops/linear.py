"""Convolutions and matrix products. The result is the exact accumulator; the weights' scale lets it narrow by 2^16."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from syurmy.compiler import mantissas
from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.mantissas import Mantissas, Product, Site, coarse, multiplied, of_channels, reach, worth
from syurmy.compiler.ops.integer import product
from syurmy.compiler.scales import COARSE, FINE_BITS, SHIFT, SLACK, fine_unit
from syurmy.isa.arrays import F64, Array
from syurmy.isa.wellformed import l1_bound

DEAD_BITS = 44  # of the largest result, that sums of products have at most
MIN_WEIGHT = 2**9  # the largest weight is at least this many units: coarser weights are never worth a shorter shift


def weights(
    c: Context, w: F64, x: Tensor, peak: float, axes: tuple[int, ...], channel: int | None, bias: float, label: str
) -> Tensor:
    """``w`` as a param for products with the narrow ``x`` that reach ``peak`` (bias included, at most ``bias``), summed
    over ``axes``.

    The unit is 2^-16 units of the narrowed result per unit of x, unless that needs more bits than weights have. With 16
    bits one unit then serves all channels: activations have one scale, so errors of a small channel are as large as
    those of a large one either way. With 8 bits the param holds ``coarse`` mantissas times their multipliers. A fine
    program has 19 bits or more for the largest weight, and 16 for the largest of each channel, where those are within
    2^8 of each other: more bits of a constant cost nothing.
    """
    top = 2 ** (c.precision.weights - 1) - 1
    largest = reach(w)
    if largest == 0:
        return c.constant(w, 1.0 / x.scale, label)
    least = least_unit(c, x, peak)
    if c.precision.fine:  # 16 bits for nine tenths of the channels
        small = float(np.quantile(of_channels(w, channel), 0.1)) if channel is not None else largest
        return c.constant(w, max(fine_unit(largest, small, top), least), label)
    if channel is not None and c.precision.weights <= COARSE:
        q, m, unit = coarse(w, channel, top, least)
        return c.out.param(q * m, 1.0, label).scaled(unit)
    norm = float(np.abs(w).sum(axis=axes, dtype=np.float64).max()) if channel is not None else math.inf
    bound = norm * x.bound * x.scale + bias
    unit = c.unit(peak, bound) * SLACK / x.scale / 2**SHIFT
    unit = max(min(unit, largest / min(MIN_WEIGHT, top)), largest / top, least)
    return c.constant(w, unit, label)


def least_unit(c: Context, x: Tensor, peak: float) -> float:
    """Of weights for x; finer ones would leave no room for what is added to the products."""
    unit_of_factor = x.scale * max(1.0, x.peak / 2**FINE_BITS) if c.precision.fine else x.scale
    return float(peak / unit_of_factor / 2**DEAD_BITS)


def tied_product(
    c: Context, x: Tensor | F64, name: str, flipped: bool, peak: float, bias: Tensor | F64 | None
) -> Tensor | None:
    """``x @ w + bias`` with the matrix ``name`` (``flipped``: its transpose), where that is tied to others; else
    None."""
    found = c.tied(name) if isinstance(x, Tensor) and len(x.shape) > 1 else None
    if found is None or not isinstance(x, Tensor):
        return None
    q, turned = found.q, found.turned != flipped
    if found.rows is not None and not turned:
        return None
    x = x if c.precision.fine else c.narrow(x)
    if q.scale < least_unit(c, x, peak):
        return None
    x = c.factor(x, limit(q, (1 if turned else 0,))) if c.precision.fine else x
    if turned:  # the norms that bound the result are known of the param, not of its transpose
        order = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
        y = c.emit("matmul", q, c.emit("transpose", x, perm=order), scale=x.scale * q.scale)
        y = y if found.rows is None else c.emit("mul", y, found.rows, scale=y.scale)
        y = c.emit("transpose", y, perm=order)
    else:
        y = c.emit("matmul", x, q, scale=x.scale * q.scale)
    return plus(c, y, bias, peak)


def with_weights(
    c: Context, w: F64, x: Tensor, peak: float, axes: tuple[int, ...], channel: int | None, bias: float, label: str
) -> tuple[Tensor, Tensor]:
    """``x`` as a factor, and ``weights`` for it."""
    if c.precision.fine:  # weights do not depend on the factor, but its size on them
        q = weights(c, w, x, peak, axes, channel, bias, label)
        return c.factor(x, limit(q, axes)), q
    x = c.narrow(x)
    return x, weights(c, w, x, peak, axes, channel, bias, label)


def weighted(
    c: Context, w: F64, x: Tensor, peak: float, bias: float, site: Site, made: Product, given: Mantissas | None = None
) -> Tensor:
    """``made`` of x as a factor and of ``weights`` for it, or of their integers of 8 bits, scaled behind it where that
    is worth it: ``given`` ones, or ``coarse`` ones."""
    x = x if c.precision.fine else c.narrow(x)
    if given is not None:
        y = mantissas.product(c, x, given, least_unit(c, x, peak), site, made)
        if y is not None:
            return y
    if site.channel is not None and c.precision.weights <= COARSE and reach(w) > 0:
        q, m, unit = coarse(w, site.channel, 2 ** (c.precision.weights - 1) - 1, least_unit(c, x, peak))
        if (m == m.reshape(-1)[0]).all() or worth(c, w.size, site.outputs):
            return multiplied(c, made(x, c.out.param(q, 1.0, site.label)), m.reshape(site.column), unit)
    return made(*with_weights(c, w, x, peak, site.axes, site.channel, bias, site.label))


def limit(w: Tensor, axes: tuple[int, ...]) -> int:
    """What a factor may reach so that its products with a constant w, summed over ``axes``, stay integers."""
    return 2**59 // max(l1_bound(w.of(0, True), axes), 1)


def pair_limit(count: int) -> int:
    """What two factors may reach so that sums of ``count`` products stay integers."""
    return 1 << (59 - max(count, 1).bit_length()) // 2


def plus(c: Context, acc: Tensor, bias: Tensor | F64 | None, peak: float) -> Tensor:
    if bias is None or (not isinstance(bias, Tensor) and not bias.any()):
        return acc
    return c.emit("add", *c.align([acc, bias], peak, acc.bound * acc.scale))


def spatial(
    n: Node, image: Sequence[int], kernel: Sequence[int], ceil_to: Sequence[int] | None = None
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Strides, dilations and (before, after) padding per axis, from pads or auto_pad. ``ceil_to``: output lengths;
    the padding after is extended until the windows exist."""
    rank = len(image)
    strides = list(n.attr("strides") or [1] * rank)
    dilations = list(n.attr("dilations") or [1] * rank)
    pads = list(n.attr("pads") or [0] * (2 * rank))
    auto = n.attr("auto_pad", "NOTSET")
    widths = []
    for k in range(rank):
        span = dilations[k] * (kernel[k] - 1) + 1
        before, after = pads[k], pads[rank + k]
        if auto == "VALID":
            before = after = 0
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-image[k] // strides[k]) - 1) * strides[k] + span - image[k], 0)
            before, after = total // 2, total - total // 2
            if auto == "SAME_LOWER":
                before, after = after, before
        if ceil_to is not None:
            after = max(after, (ceil_to[k] - 1) * strides[k] + span - image[k] - before)
        widths.append((before, after))
    return strides, dilations, widths


@lowering("Conv")
def conv(c: Context, n: Node) -> Result:
    """1-, 2- and 3-dimensional; groups, strides, dilations, auto_pad. Weights may be data."""
    x, w = c.tensor(n.inputs[0]), c.weight(n.inputs[1])
    out = n.outputs[0]
    bias = c.operand(n.inputs[2]) if c.has(n, 2) else None
    top = float(np.abs(bias).max(initial=0.0)) if isinstance(bias, np.ndarray) else 0.0
    column = (-1,) + (1,) * (len(x.shape) - 2)
    if isinstance(w, Tensor):
        x, q = (c.factor(t, pair_limit(math.prod(w.shape[1:]))) for t in (x, w))
        acc = convolution(c, x, q, n)
    else:
        given = mantissas.given(c.graph, n.inputs[1], w)
        w = plane(w)
        site = Site(tuple(range(1, w.ndim)), 0, math.prod(c.shape(out)), column, n.inputs[1])
        acc = weighted(
            c, w, x, c.peak(out), top, site, lambda x, q: convolution(c, x, q, n), given and given.reshaped(w.shape)
        )
    if isinstance(bias, Tensor):
        bias = c.reshape(bias, (bias.shape[0], *column[1:]))
    elif bias is not None:
        bias = bias.reshape(column)
    return plus(c, acc, bias, c.peak(out))


def plane(w: F64) -> F64:
    """A constant kernel over one axis as one over two: its L1 norms are known of the param, not of a reshaped one."""
    return w[:, :, None] if w.ndim == 3 else w


def convolution(c: Context, x: Tensor, w: Tensor, n: Node) -> Tensor:
    """The convolution of integers, without bias. Over one axis the kernel may be a ``plane``."""
    image, kernel = x.shape[2:], w.shape[len(w.shape) - len(x.shape[2:]) :]
    strides, dilations, widths = spatial(n, image, kernel)
    group, scale = n.attr("group", 1), x.scale * w.scale
    if len(image) == 1:
        x, w = c.reshape(x, (*x.shape[:2], 1, image[0])), c.reshape(w, (*w.shape[:2], 1, kernel[-1]))
        y = conv2d(c, x, w, [1, *strides], [1, *dilations], [(0, 0), *widths], group)
        y = c.reshape(y, (*y.shape[:2], y.shape[3]))
    elif len(image) == 2:
        y = conv2d(c, x, w, strides, dilations, widths, group)
    elif len(image) == 3:
        y = conv3d(c, x, w, strides, dilations, widths, group)
    else:
        raise Unsupported(f"a convolution over {len(image)} axes", "1 to 3")
    return y.scaled(scale)


def conv2d(
    c: Context,
    x: Tensor,
    w: Tensor,
    strides: Sequence[int],
    dilations: Sequence[int],
    widths: Sequence[tuple[int, int]],
    group: int,
) -> Tensor:
    pad = (widths[0][0], widths[1][0], widths[0][1], widths[1][1])
    pad_attr: tuple[int, ...] = pad if any(pad) else (0, 0)
    return c.emit(
        "conv2d",
        x,
        w,
        scale=x.scale * w.scale,
        stride=tuple(strides),
        pad=pad_attr,
        dilation=tuple(dilations),
        groups=group,
    )


def conv3d(
    c: Context,
    x: Tensor,
    w: Tensor,
    strides: Sequence[int],
    dilations: Sequence[int],
    widths: Sequence[tuple[int, int]],
    group: int,
) -> Tensor:
    """One two-dimensional convolution per plane of the kernel, on the planes of the image that it meets; their sum."""
    if any(widths[0]):
        x = c.emit("pad", x, axis=(2,), before=(widths[0][0],), after=(widths[0][1],))
    b, ch, depth, height, width = x.shape
    o, cg, kd, kh, kw = w.shape
    planes = (depth - dilations[0] * (kd - 1) - 1) // strides[0] + 1
    acc: Tensor | None = None
    for k in range(kd):
        part = c.emit("slice", x, axis=2, start=k * dilations[0], len=planes, step=strides[0])
        part = c.reshape(c.emit("transpose", part, perm=(0, 2, 1, 3, 4)), (b * planes, ch, height, width))
        kernel = c.reshape(c.emit("slice", w, axis=2, start=k, len=1), (o, cg, kh, kw))
        y = conv2d(c, part, kernel, strides[1:], dilations[1:], widths[1:], group)
        acc = y if acc is None else c.emit("add", acc, y)
    assert acc is not None
    acc = c.reshape(acc, (b, planes, *acc.shape[1:]))
    return c.emit("transpose", acc, perm=(0, 2, 1, 3, 4))


def matrix_product(
    c: Context,
    a: Tensor | F64,
    b: Tensor | F64,
    peak: float,
    bias: Tensor | F64 | None,
    label: str,
    given: Mantissas | None = None,
) -> Tensor:
    """``a @ b + bias`` by NumPy's rules, wide; at most one of a and b is constant, b with ``given`` integers where it
    has some."""
    top = float(np.abs(bias).max(initial=0.0)) if isinstance(bias, np.ndarray) else 0.0

    def product(qa: Tensor, qb: Tensor) -> Tensor:
        return c.emit("matmul", qa, qb, scale=qa.scale * qb.scale)

    if isinstance(a, Tensor) and isinstance(b, Tensor):
        acc = product(*(c.factor(x, pair_limit(a.shape[-1])) for x in (a, b)))
    elif isinstance(a, Tensor):
        assert not isinstance(b, Tensor)
        flat = b.ndim == 2
        outputs = math.prod(a.shape[:-1]) * b.shape[-1]
        site = Site((max(b.ndim - 2, 0),), 1 if flat else None, outputs, (-1,), label)
        acc = weighted(c, b, a, peak, top, site, product, given if flat else None)
    else:
        assert isinstance(b, Tensor)
        outputs = len(a) * math.prod(b.shape) // b.shape[max(len(b.shape) - 2, 0)]
        site = Site((a.ndim - 1,), 0 if a.ndim == 2 else None, outputs, (-1, 1)[: len(b.shape)], label)
        acc = weighted(c, a, b, peak, top, site, lambda qb, qa: product(qa, qb))
    return plus(c, acc, bias, peak)


@lowering("MatMul")
def matmul(c: Context, n: Node) -> Result:
    out = n.outputs[0]
    if not c.is_float(out):
        return product(c, "matmul", c.tensor(n.inputs[0]), c.tensor(n.inputs[1]), c.value(out).dtype)
    a, b = c.weight(n.inputs[0]), c.weight(n.inputs[1])
    y = tied_product(c, a, n.inputs[1], False, c.peak(out), None)
    given = mantissas.given(c.graph, n.inputs[1], b)
    return y or matrix_product(c, a, b, c.peak(out), None, label(c, n, 0, 1), given)


def label(c: Context, n: Node, *inputs: int) -> str:
    """The name of the first constant among inputs, for its param."""
    return next((n.inputs[i] for i in inputs if c.const(n.inputs[i]) is not None), n.outputs[0])


def _integer_gemm(c: Context, n: Node) -> Tensor:
    factors = [n.attr(name, 1.0) for name in ("alpha", "beta")]
    if any(f != int(f) for f in factors):
        raise Unsupported("Gemm of integers with fractions as factors", "whole ones")
    a, b = (
        c.emit("transpose", c.tensor(i), perm=(1, 0)) if n.attr(t, 0) else c.tensor(i)
        for i, t in zip(n.inputs[:2], ("transA", "transB"), strict=True)
    )
    dtype = c.value(n.outputs[0]).dtype
    y = c.muli(c.wrapped(product(c, "matmul", a, b, dtype), dtype), int(factors[0]))
    if not c.has(n, 2):
        return y
    return c.emit("add", y, c.muli(c.tensor(n.inputs[2]), int(factors[1])))


@lowering("Gemm")
def gemm(c: Context, n: Node) -> Result:
    """``alpha * A' @ B' + beta * C``; alpha and beta go into constants and scales."""
    out = n.outputs[0]
    if not c.is_float(out):
        return _integer_gemm(c, n)
    a, b = c.weight(n.inputs[0]), c.weight(n.inputs[1])
    given = mantissas.given(c.graph, n.inputs[1], b)
    a = transposed(c, a) if n.attr("transA", 0) else a
    if n.attr("transB", 0):
        b, given = transposed(c, b), given and given.transposed()
    alpha, beta = float(n.attr("alpha", 1.0)), float(n.attr("beta", 1.0))
    if not isinstance(b, Tensor):
        b, given = (b, given) if alpha == 1.0 else (b.astype(np.float64) * alpha, given and given.times(alpha))
    elif not isinstance(a, Tensor):
        a = a if alpha == 1.0 else a.astype(np.float64) * alpha
    elif alpha > 0:
        b = b.scaled(b.scale * alpha)
    else:
        raise Unsupported(f"alpha is {alpha} with two computed matrices", "a positive one")
    bias = c.operand(n.inputs[2]) if c.has(n, 2) and beta != 0 else None
    if isinstance(bias, Tensor):
        if beta < 0:
            bias = c.emit("neg", bias)
        bias = bias.scaled(bias.scale * abs(beta))
    elif bias is not None:
        bias = bias * beta
    y = tied_product(c, a, n.inputs[1], bool(n.attr("transB", 0)), c.peak(out), bias) if alpha == 1.0 else None
    return y or matrix_product(c, a, b, c.peak(out), bias, label(c, n, 1, 0), given)


def transposed(c: Context, x: Tensor | Array) -> Tensor | F64:
    return c.emit("transpose", x, perm=(1, 0)) if isinstance(x, Tensor) else x.T
