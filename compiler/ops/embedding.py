"""Rows of a constant matrix by indices, those beyond it 0: what ``passes.embeddings`` makes of one-hot products."""

from __future__ import annotations

import numpy as np

from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.indexing import from_zero, rows_at
from syurmy.compiler.ops.logic import both


@lowering("Embedding", domain=FUSED)
def embedding(c: Context, n: Node) -> Result:
    w, shape = c.const(n.inputs[1]), c.shape(n.outputs[0])
    assert w is not None
    depth = len(w)
    index = c.reshape(c.tensor(n.inputs[0]), shape[:-1])
    index = from_zero(c, index, depth) if n.attr("wraps") else index
    if index.type.lo < 0 or index.type.hi >= depth:
        zero, end = (c.out.param(np.array(k)) for k in (0, depth))
        inside = both(c, c.emit("ge", index, zero, scale=1.0), c.emit("lt", index, end, scale=1.0))
        index = c.emit("select", inside, index, c.broadcast(end, index.shape), scale=1.0)
        w = np.concatenate([w, np.zeros_like(w[:1])])
    return rows_at(c, c.quantised(w.astype(np.float64), label=n.inputs[1]), index, True)
