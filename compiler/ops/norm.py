"""Softmax and normalisations: integer functions, each input has one output.

Softmax over n entries x = s*q. ``e = round(32767 exp(s (q - max q)))`` by table, ``t = sum e``, ``r = floor((32767 *
2^16 - 1) / t)``, ``p = round(e r / 2^16)`` at scale 1/32767. Since one e is 32767, r < 2^16 and p <= 32767. Error
against the softmax of s*q: at most (n/2 + 1) / t + 2 / 32767.

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
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.elementwise import times_constant
from syurmy.compiler.ops.linear import Floats, plus
from syurmy.isa.types import DType

ONE = 32767
SPREAD = 2**6
REACH = 11.2  # exp of less is below half a unit
COARSE = 2.0**4  # scores beyond this have a unit of 2^-11 in 16 bits


def _rows(c: Context, n: Node, default: int) -> tuple[Tensor, tuple[int, ...] | None]:
    """The source with the reduced entries on the last axis, and the permutation that leads back (None: only a
    reshape). Up to opset 12 all axes from ``axis`` on are one."""
    x = c.tensor(n.inputs[0])
    rank = len(x.shape)
    axis = n.attr("axis", default) % rank if rank else 0
    if n.version < 13:
        lead = math.prod(x.shape[:axis])
        return c.reshape(x, (lead, math.prod(x.shape) // lead)), None
    if axis == rank - 1 or rank == 0:
        return (x, None) if rank else (c.reshape(x, (1,)), None)
    perm = [a for a in range(rank) if a != axis] + [axis]
    return c.emit("transpose", x, perm=tuple(perm)), tuple(int(a) for a in np.argsort(perm))


def _back(c: Context, y: Tensor, perm: tuple[int, ...] | None, shape: tuple[int, ...]) -> Tensor:
    return c.reshape(y, shape) if perm is None else c.emit("transpose", y, perm=perm)


def scores(c: Context, x: Tensor) -> Tensor:
    """The source of a softmax: narrow, or a factor where narrow is too coarse and the program is fine."""
    coarse = x.peak * x.scale > COARSE and c.precision.fine
    return c.factor(x) if coarse else c.narrow(x)


def exponentials(c: Context, x: Tensor) -> tuple[Tensor, Tensor]:
    """``d = q - max q`` along the last axis and ``e = round(32767 exp(s d))``, for q from ``scores``. A range of d
    that a table does not hold is cut off where e is 0."""
    d = near = c.emit("sub", x, c.emit("reduce_max", x, axis=-1, keepdims=True))
    if d.type.lo <= -(2**16):
        near = c.rescale(d, min(1.0, (2**16 - 1) * d.scale / REACH), DType.I32, 1 - 2**16, 0)
    entries = np.rint(ONE * np.exp(np.arange(near.type.lo, 1) * near.scale)).astype(np.int64)
    return d, c.lookup(near, entries, "exp", 1 / ONE)  # no row above 0: no entry exceeds the maximum


def total(c: Context, e: Tensor) -> Tensor:
    """The sum along the last axis, at least 32767."""
    return c.emit("max", c.emit("sum", e, axes=(-1,), keepdims=True), c.out.param(np.array(ONE)))


@lowering("Softmax")
def softmax(c: Context, n: Node) -> Result:
    x, perm = _rows(c, n, 1 if n.version < 13 else -1)
    return _back(c, softmax_last(c, x), perm, c.shape(n.outputs[0]))


def softmax_last(c: Context, x: Tensor) -> Tensor:
    """Softmax along the last axis."""
    _, e = exponentials(c, scores(c, x))
    return shares(c, e)


def shares(c: Context, e: Tensor) -> Tensor:
    """``e / sum e`` at scale 1/32767, for entries e up to 32767."""
    r = c.emit("div", c.out.param(np.array((ONE << 16) - 1)), total(c, e), scale=1 / (1 << 16))
    p = c.emit("mul", e, r, scale=1 / (ONE << 16))
    p = c.rescale_by(p, 1, 16, DType.I16)
    return c.narrow(p)


@lowering("LogSoftmax")
def log_softmax(c: Context, n: Node) -> Result:
    """``d - log(sum e)``, the logarithm by table."""
    x, perm = _rows(c, n, 1 if n.version < 13 else -1)
    d, e = exponentials(c, scores(c, x))
    log = c.table(total(c, e).scaled(1 / ONE), lambda v: np.log(np.maximum(v, 1)), "log")
    y = c.emit("sub", *c.align([d, log], c.peak(n.outputs[0])))
    return _back(c, y, perm, c.shape(n.outputs[0]))


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
    g = c.emit("max", g, c.out.param(np.array(least)))
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
            mean = c.emit("sum", rows, axes=(-1,), keepdims=True, scale=rows.scale / length)
            out.append(c.reshape(mean, c.shape(name)))
        else:
            out.append(c.reshape(r, c.shape(name)))
    return out


def scaled_shifted(c: Context, y: Tensor, gamma: Tensor | Floats, beta: Tensor | Floats | None, out: str) -> Tensor:
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
