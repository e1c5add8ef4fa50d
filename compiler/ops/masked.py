"""What reads tensors with sentinels, taken apart by ``passes.masks`` into a value and ``far`` (0 where visible)."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.shape import pad
from syurmy.compiler.ops.softmax import exponentials, scores, shares


@lowering("MaskedSoftmax", domain=FUSED)
def masked_softmax(c: Context, n: Node) -> Result:
    """Softmax over the visible entries of a line, 0 for the others.

    A line without any is shared by its least hidden entries: by their values where the float model's sum still holds
    them (``beside`` is "sum"), else evenly ("nothing"). Beside infinity ("never"), where the float model has NaN, none:
    that is told unless the model replaces it.
    """
    shape = c.shape(n.outputs[0])
    axis, rank, beside = n.attr("axis") % len(shape), len(shape), n.attr("beside")
    perm = tuple([a for a in range(rank) if a != axis] + [axis])

    def lines(x: Tensor) -> Tensor:
        """The full rank, with the softmax's axis last; other axes may have length 1."""
        x = c.reshape(x, (1,) * (rank - len(x.shape)) + x.shape)
        return x if axis == rank - 1 else c.emit("transpose", x, perm=perm)

    visible, shared = (lines(k) for k in _masks(c, n.inputs[1], axis - rank, beside))
    x = scores(c, c.tensor(n.inputs[0]))
    full = tuple(shape[a] for a in perm)
    x = c.broadcast(lines(x), full)
    seen, shared = c.broadcast(visible, full), c.broadcast(shared, full)
    least = c.broadcast(c.out.param(np.array(x.type.lo)), full)
    _, e = exponentials(c, c.emit("select", seen, x, least, scale=x.scale))
    guarded = "IsNaN" in c.graph.readers(n.outputs[0])
    y = shares(c, c.emit("mul", e, shared, scale=e.scale), beside != "never" or guarded)
    return y if axis == rank - 1 else c.emit("transpose", y, perm=tuple(int(a) for a in np.argsort(perm)))


def _masks(c: Context, name: str, axis: int, beside: str) -> tuple[Tensor, Tensor]:
    """Bits of the entries whose values count, and of those that have a share: visible ones, or of a line without any
    those that are least hidden. ``axis`` counts from the end."""
    far = c.const(name)
    if far is not None:
        open_ = far == 0
        reaches = far.ndim >= -axis  # else it is the same along the lines
        most = far == far.min(axis=axis, keepdims=True) if reaches else np.ones_like(open_)
        bits = (open_, open_) if beside == "never" else (most, most) if beside == "sum" else (open_, most)
        made = [
            c.out.param(b.astype(np.int64), label=f"{name}.{k}") for k, b in zip(("seen", "shared"), bits, strict=True)
        ]
        return made[0], made[1]
    t = c.tensor(name)
    open_bits = c.emit("lt", t, c.out.param(np.array(1)))
    if beside == "never":
        return open_bits, open_bits
    if len(t.shape) < -axis or t.shape[axis] == 1:
        shared = c.broadcast(c.out.param(np.array(1)), t.shape)
    else:
        shared = c.emit("eq", t, c.emit("reduce_min", t, axis=axis, keepdims=True))
    return (shared if beside == "sum" else open_bits), shared


@lowering("Sunk", domain=FUSED)
def sunk(c: Context, n: Node) -> Result:
    """The value with hidden entries at the least that any entry can be."""
    shape = c.shape(n.outputs[0])
    x = c.broadcast(c.narrow(c.tensor(n.inputs[0])), shape)
    far = c.const(n.inputs[1])
    seen = (
        c.out.param((far == 0).astype(np.int64))
        if far is not None
        else c.emit("lt", c.tensor(n.inputs[1]), c.out.param(np.array(1)))
    )
    least = c.broadcast(c.out.param(np.array(x.type.lo)), shape)
    return _known(c, n, c.emit("select", c.broadcast(seen, shape), x, least, scale=x.scale))


def _known(c: Context, n: Node, y: Tensor) -> Tensor:
    """Where hidden entries are is only known now; they are no error of the program's."""
    name, lo, samples = n.outputs[0], y.type.lo, c.graph.samples
    given = [np.asarray(f, np.float64).reshape(y.shape) for f in samples[name]]
    assert isinstance(samples, dict)
    samples[name] = [np.where(q == lo, lo * y.scale, f) for q, f in zip(y.values, given, strict=True)]
    return y


@lowering("PadLeast", domain=FUSED)
def pad_least(c: Context, n: Node) -> Result:
    """Padding by the least that an entry can be."""
    y = pad(c, n, -math.inf)
    assert isinstance(y, Tensor)
    return _known(c, n, y)
