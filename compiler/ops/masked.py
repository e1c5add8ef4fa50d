"""Softmax over the entries that a mask keeps, 0 for the others: what ``passes.masks`` makes."""

from __future__ import annotations

import numpy as np

from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.softmax import exponentials, scores, shares


@lowering("MaskedSoftmax", domain=FUSED)
def masked_softmax(c: Context, n: Node) -> Result:
    x = scores(c, c.tensor(n.inputs[0]))
    keep = c.const(n.inputs[1])
    if keep is not None:
        k = c.out.param(keep.astype(np.int64), label=f"{n.outputs[0]}.keep")
    else:
        t = c.tensor(n.inputs[1])
        if t.scale != 1.0:
            raise Unsupported("a mask computed from reals", "whole numbers")
        k = c.emit("lt", t, c.out.param(np.array(1)))
    k = c.broadcast(k, x.shape)
    least = c.broadcast(c.out.param(np.array(x.type.lo)), x.shape)
    _, e = exponentials(c, c.emit("select", k, x, least, scale=x.scale))
    return shares(c, c.emit("mul", e, k, scale=e.scale))
