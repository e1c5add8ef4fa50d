"""RotaryEmbedding: pairs of entries turned by angles whose cosines and sines are constant tables."""

from __future__ import annotations

import numpy as np

from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.isa.arrays import F64


@lowering("RotaryEmbedding", since=23)
def rotary_embedding(c: Context, n: Node) -> Result:
    """``(a, b)`` becomes ``(a cos - b sin, a sin + b cos)``; a and b are halves of the turned part, or neighbours if
    ``interleaved``. Entries from ``rotary_embedding_dim`` on stay."""
    x = c.factor(c.tensor(n.inputs[0]))
    cos, sin = (_angles(c, n, i) for i in (1, 2))
    flat = len(x.shape) == 3
    if flat:
        b, length, width = x.shape
        heads = n.attr("num_heads")
        x = c.reshape(x, (b, length, heads, width // heads))
    else:
        x = c.emit("transpose", x, perm=(0, 2, 1, 3))
    b, length, heads, width = x.shape
    turned = n.attr("rotary_embedding_dim", 0) or width
    part = c.emit("slice", x, axis=3, start=0, len=turned) if turned < width else x
    half = turned // 2
    pairs = (b, length, heads, half, 2) if n.attr("interleaved", 0) else (b, length, heads, 2, half)
    axis = 4 if n.attr("interleaved", 0) else 3
    part = c.reshape(part, pairs)
    shape = (b, length, heads, half)
    first, second = (c.reshape(c.emit("slice", part, axis=axis, start=k, len=1), shape) for k in (0, 1))
    weights = [c.constant(f[:, :, None, :half], 2.0**-15) for f in (cos, sin)]
    products = [[c.multiply(v, w) for w in weights] for v in (first, second)]
    real = c.emit("sub", products[0][0], products[1][1])
    imaginary = c.emit("add", products[0][1], products[1][0])
    joined = c.emit("concat", *(c.reshape(v, tuple(1 if a == axis else d for a, d in enumerate(pairs)))
                                for v in (real, imaginary)), axis=axis)  # fmt: skip
    y = c.reshape(joined, (b, length, heads, turned))
    if turned < width:
        rest = c.emit("slice", x, axis=3, start=turned, len=width - turned)
        y = c.emit("concat", *c.align([y, rest], c.peak(n.outputs[0])), axis=3)
    return c.reshape(y, c.shape(n.outputs[0])) if flat else c.emit("transpose", y, perm=(0, 2, 1, 3))


def _angles(c: Context, n: Node, i: int) -> F64:
    """The cosines or sines at every position, [batch or 1, length, half]."""
    cache = c.const(n.inputs[i])
    at = c.const(n.inputs[3]) if c.has(n, 3) else None
    if cache is None or (c.has(n, 3) and at is None):
        raise Unsupported("positions or tables are computed from the input", "constants")
    values = cache.astype(np.float64)
    return values if at is None else values[at.astype(np.int64)]
