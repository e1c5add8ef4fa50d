"""Softmax, LogSoftmax, and their parts: integer functions, each input has one output.

Softmax over n entries x = s*q. ``e = round(32767 exp(s (q - max q)))`` by table, ``t = sum e``, ``r = floor((32767 *
2^16 - 1) / t)``, ``p = round(e r / 2^16)`` at scale 1/32767. Since one e is 32767, r < 2^16 and p <= 32767. Error
against the softmax of s*q: at most (n/2 + 1) / t + 2 / 32767.
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.passes.shares import OVERFLOW
from syurmy.compiler.scales import FEW
from syurmy.isa.types import DType

ONE = 32767
REACH = 11.2  # exp of less is below half a unit
LONG, LONG_BITS = 2**8, 8  # entries of a row from which on e has that many bits more, where the program is fine
WIDEST = 2**58  # differences of more leave the machine
LOG_BITS = 20  # below 1, of logarithms of shares
REACHED = int(OVERFLOW * 2**LOG_BITS)
MORE_BITS = 8  # of shares, where nothing less keeps the tolerance: all of them nearly alike
COARSE = 2.0**4  # scores beyond this have a unit of 2^-11 in 16 bits


def rows(c: Context, n: Node, default: int) -> tuple[Tensor, tuple[int, ...] | None]:
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


def back(c: Context, y: Tensor, perm: tuple[int, ...] | None, shape: tuple[int, ...]) -> Tensor:
    return c.reshape(y, shape) if perm is None else c.emit("transpose", y, perm=perm)


def scores(c: Context, x: Tensor) -> Tensor:
    """The source of a softmax: narrow, or a factor where narrow is too coarse and the program is fine."""
    coarse = x.peak * x.scale > COARSE and c.precision.fine
    return c.factor(x) if coarse else c.narrow(x)


def exponentials(c: Context, x: Tensor) -> tuple[Tensor, Tensor]:
    """``d = q - max q`` along the last axis and ``e = round(one exp(s d))``, for q from ``scores``. A range of d that a
    table does not hold is cut off where e is 0. ``one`` is 32767; of long rows in a fine program more, since what is
    lost of many small shares adds up."""
    long = c.precision.fine and x.shape[-1] >= LONG
    one, reach = (ONE << LONG_BITS, REACH + LONG_BITS * math.log(2)) if long else (ONE, REACH)
    d = near = c.emit("sub", x, c.emit("reduce_max", x, axis=-1, keepdims=True))
    if d.type.lo <= -(2**16):
        near = c.rescale(d, min(1.0, (2**16 - 1) * d.scale / reach), DType.I32, 1 - 2**16, 0, flat=(True, True))
    entries = np.rint(one * np.exp(np.arange(near.type.lo, 1) * near.scale)).astype(np.int64)
    return d, c.lookup(near, entries, "exp", 1 / one)  # no row above 0: no entry exceeds the maximum


def total(c: Context, e: Tensor, empty: bool = True) -> Tensor:
    """The sum along the last axis, at least 1. ``empty``: a line of zeros has a result in the float model."""
    added = c.emit("sum", e, axes=(-1,), keepdims=True)
    y = c.emit("max", added, c.out.param(np.array(round(1 / e.scale))))
    c.out.cuts_off(y, added, None, None, None if empty else 0)
    return y


@lowering("Softmax")
def softmax(c: Context, n: Node) -> Result:
    x, perm = rows(c, n, 1 if n.version < 13 else -1)
    return back(c, softmax_last(c, x), perm, c.shape(n.outputs[0]))


def softmax_last(c: Context, x: Tensor) -> Tensor:
    """Softmax along the last axis."""
    _, e = exponentials(c, scores(c, x))
    return shares(c, e)


def shares(c: Context, e: Tensor, empty: bool = True) -> Tensor:
    """``e / sum e`` at scale 1/32767, for entries e up to 1. ``empty`` as in ``total``."""
    one = round(1 / e.scale)
    more = MORE_BITS if c.precision.sloped and e.type.size <= FEW else 0
    r = c.emit("div", c.out.param(np.array((one << 16 + more) - 1)), total(c, e, empty), scale=1 / (1 << 16 + more))
    p = c.emit("mul", e, r, scale=1 / (one << 16 + more))
    p = c.rescale_by(p, 1, 16 + (one // ONE).bit_length() - 1, DType.I32 if more else DType.I16)
    return p if more else c.narrow(p)


@lowering("LogSoftmax")
def log_softmax(c: Context, n: Node) -> Result:
    x, perm = rows(c, n, 1 if n.version < 13 else -1)
    return back(c, log_softmax_last(c, scores(c, x), c.peak(n.outputs[0])), perm, c.shape(n.outputs[0]))


def log_softmax_last(c: Context, x: Tensor, peak: float) -> Tensor:
    """``d - log(sum e)`` along the last axis, the logarithm by table."""
    d, e = exponentials(c, x)
    log = c.table(total(c, e), lambda v: np.log(np.maximum(v, 1)), "log")
    return c.emit("sub", *c.align([d, log], peak))


# ---- quotients that are softmaxes (``compiler.passes.shares``) -------------------------------------------------------


def _logarithms(c: Context, n: Node) -> Tensor:
    """The source, of which only differences matter: few are not narrowed before, so no row is cut off."""
    x = c.tensor(n.inputs[0])
    return x if x.type.size <= FEW and x.bound < WIDEST else scores(c, x)


@lowering("Softmax", domain=FUSED)
def softmax_of_logarithms(c: Context, n: Node) -> Result:
    return shares(c, exponentials(c, _logarithms(c, n))[1])


@lowering("LogSoftmax", domain=FUSED)
def logarithms_of_shares(c: Context, n: Node) -> Result:
    return log_softmax_last(c, _logarithms(c, n), c.peak(n.outputs[0]))


@lowering("LogShare", domain=FUSED)
def log_share(c: Context, n: Node) -> Result:
    """``-log(1 + exp m)`` as ``min(-m, 0) - log(1 + exp -|m|)``, in one unit for all, which holds whatever m is."""
    m, unit = c.tensor(n.inputs[0]), 2.0**-LOG_BITS
    top = math.ceil(OVERFLOW / m.scale)
    m = c.emit("clamp", m, lo=-top, hi=top) if m.bound > top else m
    m = c.rescale_to(m, unit, DType.I32, -REACHED, REACHED, flat=(True, True))
    line = c.emit("neg", c.emit("relu", m))
    size = c.rescale_by(c.emit("abs", m), 1, LOG_BITS - 10, DType.I16, 0, flat=(True, True))
    bend = c.table(size, lambda v: -np.log1p(np.exp(-v)), "log_share", unit, 2**LOG_BITS)
    return c.emit("add", line, bend)
