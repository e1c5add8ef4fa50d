"""Normalisations over rows, groups, channels, neighbouring channels, and by p-norms.

Normalisation of rows of n entries. ``d = n q - sum q`` is exact (real: d * s / n), ``v = sum d^2 + E`` with E standing
for epsilon, ``g = max(isqrt(4^k v), least)``, ``r = floor(2^p / g)``, and d * r at scale sqrt(n) 2^k / 2^p is the
result. k and p are such that g and r have 16 significant bits or more on the samples; relative error 2^-15 there.
``least`` is the larger of what E alone gives and 2^-6 of the least g on the samples: rows with less variance than that
come out smaller.
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.elementwise import times_constant
from syurmy.compiler.ops.linear import plus, spatial
from syurmy.compiler.ops.pool import padded, slide
from syurmy.compiler.ops.reduce import last
from syurmy.compiler.ops.root import at_least, root
from syurmy.isa.arrays import F64

POWER_BITS = 30
SPREAD = 2**6


def normalised(c: Context, x: Tensor, epsilon: float, centre: bool = True) -> Tensor:
    """Rows (the last axis) over their root mean square plus epsilon, after subtracting the mean if ``centre``. Wide."""
    d, r = deviations(c, x, epsilon, centre)
    return c.emit("mul", d, r, scale=d.scale * r.scale)


def deviations(c: Context, x: Tensor, epsilon: float, centre: bool = True) -> tuple[Tensor, Tensor]:
    """The two factors of ``normalised``: what is left after subtracting the mean, and one over its root mean square."""
    n = x.shape[-1]
    if not c.precision.fine or x.bound * n >= 2**59:
        x = c.factor(x)
    d = x
    if centre:
        d = c.emit("sub", c.muli(x, n), c.emit("sum", x, axes=(-1,), keepdims=True), scale=x.scale / n)
    if c.precision.fine:
        d = c.factor(d, 2 ** ((58 - n.bit_length()) // 2))
    if d.bound**2 * n >= 2**58:
        d = c.narrow(d, 16)
    v = c.emit("sum", c.emit("mul", d, d), axes=(-1,), keepdims=True)
    added = min(round(n * epsilon / d.scale**2), 2**58)
    top = v.type.hi + added
    low = min((int(q[q > 0].min()) for q in v.values if (q > 0).any()), default=0) + added
    k = max(0, min((60 - top.bit_length()) // 2, 20 - max(low, 1).bit_length() // 2))
    v = c.emit("addi", v, value=added) if added else v
    g = c.emit("isqrt", c.muli(v, 4**k))
    smallest = min((int(q[q > 0].min()) for q in g.values if (q > 0).any()), default=1)  # rows of zeros stay zeros
    least = max(1, math.isqrt(added * 4**k), smallest // SPREAD)
    by_epsilon = least == max(1, math.isqrt(added * 4**k))  # then no row has less
    g = c.emit("max", g, c.out.param(np.array(least))) if by_epsilon else at_least(c, g, least)
    p = 16 + g.peak.bit_length()
    while p > 8 and max(d.bound, g.type.hi) * (2**p // least + 1) >= 2**60:
        p -= 1
    r = c.emit("div", c.out.param(np.array(2**p)), g, scale=math.sqrt(n) * 2.0**k / 2.0**p / d.scale)
    return d, r


@lowering("LayerNormalization")
def layer_normalization(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    axis = n.attr("axis", -1) % len(x.shape)
    length = math.prod(x.shape[axis:])
    rows = c.reshape(x, (*x.shape[:axis], length))
    d, r = deviations(c, rows, n.attr("epsilon", 1e-5))
    y = c.reshape(c.emit("mul", d, r, scale=d.scale * r.scale), x.shape)
    bias = c.operand(n.inputs[2]) if c.has(n, 2) else None
    out: list[Tensor | None] = [scaled_shifted(c, y, c.operand(n.inputs[1]), bias, n.outputs[0])]
    for k, name in enumerate(n.outputs[1:]):
        if not name or not c.graph.uses(name):
            out.append(None)
        elif k == 0:
            rows = c.addend(rows, length)
            mean = c.emit("sum", rows, axes=(-1,), keepdims=True, scale=rows.scale / length)
            out.append(c.reshape(mean, c.shape(name)))
        else:
            out.append(c.reshape(r, c.shape(name)))
    return out


@lowering("Normalised", domain=FUSED)
def written_out(c: Context, n: Node) -> Result:
    """``compiler.passes.norms``."""
    y = _over(c, c.tensor(n.inputs[0]), n.attr("axes"), n.attr("epsilon"), n.attr("centre"))
    gamma, beta = n.attr("gamma"), n.attr("beta")
    y = y if gamma is None else times_constant(c, y, gamma, f"{n.outputs[0]}.gamma")
    return y if beta is None else plus(c, y, beta, c.peak(n.outputs[0]))


def scaled_shifted(c: Context, y: Tensor, gamma: Tensor | F64, beta: Tensor | F64 | None, out: str) -> Tensor:
    """``y * gamma + beta``, wide."""
    if isinstance(gamma, Tensor):
        y = c.multiply(y, gamma)
    else:
        y = times_constant(c, y, gamma, f"{out}.gamma")
    return plus(c, y, beta, c.peak(out))


@lowering("BatchNormalization")
def batch_normalization(c: Context, n: Node) -> Result:
    """A product and a sum per channel; after a convolution the simplifier has folded it into the weights."""
    if n.attr("training_mode", 0):
        raise Unsupported("training_mode is set", "an exported inference model")
    found = [c.const(name) for name in n.inputs[1:5]]
    if any(f is None for f in found):
        raise Unsupported("its parameters are computed from the input", "constants")
    gamma, beta, mean, var = (np.asarray(f, np.float64) for f in found)
    a = gamma / np.sqrt(var + n.attr("epsilon", 1e-5))
    x = c.tensor(n.inputs[0])
    column = (-1,) + (1,) * (len(x.shape) - 2) if len(x.shape) > 1 else (-1,)
    y = times_constant(c, x, a.reshape(column), f"{n.outputs[0]}.a")
    return plus(c, y, (beta - mean * a).reshape(column), c.peak(n.outputs[0]))


def _columns(x: Tensor | F64 | None, c: Context, rank: int) -> Tensor | F64 | None:
    """A vector over channels, shaped to meet [N, C, ..]."""
    if x is None:
        return None
    shape = (-1,) + (1,) * (rank - 2)
    return c.reshape(x, (x.shape[0], *shape[1:])) if isinstance(x, Tensor) else x.reshape(shape)


@lowering("InstanceNormalization", since=6)
@lowering("GroupNormalization", since=18)
def group_normalization(c: Context, n: Node) -> Result:
    """Rows of one group of channels; an instance is a group of one channel. Scale and bias per channel (up to opset 20
    per group)."""
    x = c.tensor(n.inputs[0])
    batch, channels = x.shape[:2]
    groups = n.attr("num_groups", channels)
    rows = c.reshape(x, (batch, groups, math.prod(x.shape[1:]) // groups))
    y = normalised(c, rows, n.attr("epsilon", 1e-5))
    parts = [c.operand(name) for name in n.inputs[1:3]]
    if n.op == "GroupNormalization" and n.version < 21:
        shape = (groups, 1)
        gamma, beta = (c.reshape(p, shape) if isinstance(p, Tensor) else p.reshape(shape) for p in parts)
        return c.reshape(scaled_shifted(c, y, gamma, beta, n.outputs[0]), x.shape)
    gammas, betas = (_columns(p, c, len(x.shape)) for p in parts)
    assert gammas is not None
    return scaled_shifted(c, c.reshape(y, x.shape), gammas, betas, n.outputs[0])


@lowering("RMSNormalization", since=23)
def rms_normalization(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    axis = n.attr("axis", -1) % len(x.shape)
    rows = c.reshape(x, (*x.shape[:axis], math.prod(x.shape[axis:])))
    y = c.reshape(normalised(c, rows, n.attr("epsilon", 1e-5), centre=False), x.shape)
    return scaled_shifted(c, y, c.operand(n.inputs[1]), None, n.outputs[0])


@lowering("MeanVarianceNormalization", since=9)
def mean_variance_normalization(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    return _over(c, x, tuple(a % len(x.shape) for a in n.attr("axes", (0, 2, 3))), 1e-9, True)


def _over(c: Context, x: Tensor, axes: tuple[int, ...], epsilon: float, centre: bool) -> Tensor:
    """``normalised`` over several axes."""
    perm = (*(a for a in range(len(x.shape)) if a not in axes), *sorted(axes))
    shape = tuple(x.shape[a] for a in perm)
    y = c.reshape(normalised(c, last(c, x, axes), epsilon, centre), shape)
    back = tuple(int(a) for a in np.argsort(perm))
    return y if back == tuple(range(len(back))) else c.emit("transpose", y, perm=back)


@lowering("LpNormalization")
def lp_normalization(c: Context, n: Node) -> Result:
    """p = 2: over the root mean square, at another scale. p = 1: times the reciprocal of the sum of magnitudes. Rows of
    zeros stay zeros."""
    x = c.narrow(c.tensor(n.inputs[0]))
    axis = n.attr("axis", -1) % len(x.shape)
    length = x.shape[axis]
    if n.attr("p", 2) == 2:
        y = _over(c, x, (axis,), 0.0, False)
        return y.scaled(y.scale / math.sqrt(length))
    total = c.emit("sum", c.emit("abs", x), axes=(axis,), keepdims=True)
    least = max(1, min((int(q[q > 0].min(initial=2**40)) for q in total.values), default=1))
    p = 16 + total.peak.bit_length()
    floor = max(1, least >> 6)
    while p > 8 and x.bound * (2**p // floor + 1) >= 2**60:
        p -= 1
    r = c.emit("div", c.out.param(np.array(2**p)), c.emit("max", total, c.out.param(np.array(floor))), scale=1.0)
    return c.emit("mul", x, r, scale=2.0**-p)


@lowering("LRN")
def lrn(c: Context, n: Node) -> Result:
    """``x * (bias + alpha / size * sum x^2)^-beta``, the sum over neighbouring channels and the power by table."""
    x = c.narrow(c.tensor(n.inputs[0]))
    size = n.attr("size")
    before = (size - 1) // 2
    a, beta, bias = n.attr("alpha", 1e-4) / size, n.attr("beta", 0.75), n.attr("bias", 1.0)
    s = c.emit("pad", c.multiply(x, x), axis=(1,), before=(before,), after=(size - 1 - before,), value=0)
    parts = [c.emit("slice", s, axis=1, start=k, len=x.shape[1]) for k in range(size)]
    total = parts[0]
    for part in parts[1:]:
        total = c.emit("add", total, part)
    f = c.table(total, lambda v: np.power(np.maximum(bias + a * v, 1e-30), -beta), "lrn")
    return c.multiply(x, f)


@lowering("LpPool", "GlobalLpPool")
def lp_pool(c: Context, n: Node) -> Result:
    """``(sum |x|^p)^(1/p)``: a table of powers with ``POWER_BITS`` bits (magnitudes and squares are exact), exact sums,
    and roots: square roots are exact, what is left of p is a table over one."""
    x = c.narrow(c.tensor(n.inputs[0]))
    p = n.attr("p", 2)
    y = _powers(c, x, p)
    if n.op == "GlobalLpPool":
        return _root(c, c.emit("sum", y, axes=tuple(range(2, len(x.shape))), keepdims=True), p)
    kernel, lengths = n.attr("kernel_shape"), c.shape(n.outputs[0])[2:]
    if len(kernel) != len(lengths):
        raise Unsupported("a kernel of another rank than the image")
    strides, dilations, widths = spatial(n, x.shape[2:], kernel, lengths)
    total = slide(c, padded(c, y, widths, 0), lengths, kernel, strides, dilations, lambda a, b: c.emit("add", a, b))
    return _root(c, total, p)


def _powers(c: Context, x: Tensor, p: int) -> Tensor:
    """``|x|^p`` of the narrow x."""
    if p == 1:
        return c.emit("abs", x)
    if p == 2:
        return c.multiply(x, x)
    q = np.abs(np.arange(x.type.lo, x.type.hi + 1, dtype=np.float64))
    unit = q.max() ** p / 2**POWER_BITS
    return c.lookup(x, np.rint(q**p / unit).astype(np.int64), "power", unit * x.scale**p)


def _root(c: Context, total: Tensor, p: int) -> Tensor:
    """The p-th root of a sum that is not negative."""
    while p % 2 == 0:
        total, p = root(c, total), p // 2
    return total if p == 1 else c.table(root(c, total), lambda v: v ** (2 / p), "root")
