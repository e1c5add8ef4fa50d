"""Embeddings that exporters write as products with one-hot rows.

``MatMul(Cast(Equal(i, 0 .. n-1)), W)`` and ``MatMul(OneHot(i, n, (0, 1)), W)`` are rows of W: one memory read per index
instead of n comparisons. Where no entry of the one-hot row is 1, an index below 0 or from n on, the product is 0; so a
row of zeros follows those of W, and such indices read that.
"""

from __future__ import annotations

from dataclasses import replace

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.scales import Precision


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such products as one node each."""
    made = {o: n for n in graph.nodes for o in n.outputs}
    nodes = []
    for n in graph.nodes:
        w = graph.constants.get(n.inputs[1]) if n.op == "MatMul" and not n.domain else None
        found = _index(graph, made, n.inputs[0], w.shape[0]) if w is not None and w.ndim == 2 else None
        if found is not None:
            index, wraps = found
            n = Node(n.name, "Embedding", FUSED, 1, (index, n.inputs[1]), n.outputs, {"wraps": wraps})
        nodes.append(n)
    return replace(graph, nodes=tuple(live(nodes, graph.outputs)))


def _index(graph: Graph, made: dict[str, Node], name: str, depth: int) -> tuple[str, bool] | None:
    """The index tensor (its one-hot rows are the tensor ``name``), and whether negative ones count from the end."""
    n, shape = made.get(name), graph.values[name].shape
    while n is not None and n.op in ("Cast", "Identity"):
        n = made.get(n.inputs[0])
    if n is None or n.domain:
        return None
    if n.op == "OneHot" and len(n.inputs) == 3 and n.attr("axis", -1) in (-1, len(shape) - 1):
        values = graph.constants.get(n.inputs[2])
        whole = graph.values[n.inputs[0]].dtype.kind in "iu"
        return (n.inputs[0], True) if whole and values is not None and values.tolist() == [0, 1] else None
    if n.op == "Equal":
        for index, places in (n.inputs, n.inputs[::-1]):
            c, v = graph.constants.get(places), graph.values[index]
            column = v.dtype.kind in "iu" and v.shape == (*shape[:-1], 1) and index not in graph.constants
            if c is not None and column and c.shape[-1:] == (depth,) == (c.size,) and (c.ravel() == range(depth)).all():
                return index, False
    return None
