"""Powers of columns less a constant, as power transforms have them: ``x^e - k`` and ``k - x^e``, e for each column.

Near e = 0 all digits of ``x^e`` are those of ``k = 1``: what is left has its own digits only if it is one function.
"""

from __future__ import annotations

from dataclasses import replace

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.scales import Precision

MOST_COLUMNS = 32  # that get a table each


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such differences as one node each."""
    made = {n.outputs[0]: n for n in graph.nodes if n.op == "Pow" and not n.domain}
    nodes, found = [], False
    for n in graph.nodes:
        fused = _fused(graph, made, n) if n.op == "Sub" and not n.domain else None
        nodes.append(fused or n)
        found |= fused is not None
    return replace(graph, nodes=tuple(live(nodes, graph.outputs))) if found else graph


def _fused(graph: Graph, made: dict[str, Node], n: Node) -> Node | None:
    for place in (0, 1):
        power, k = made.get(n.inputs[place]), graph.constants.get(n.inputs[1 - place])
        if power is None or k is None or k.dtype.kind != "f" or graph.uses(power.outputs[0]) > 1:
            continue
        shape, e = graph.values[power.inputs[0]].shape, graph.constants.get(power.inputs[1])
        if (
            e is None
            or not shape
            or e.size != shape[-1]
            or not 2 <= e.size <= MOST_COLUMNS
            or graph.values[n.outputs[0]].shape != shape
        ):
            return None
        if k.size not in (1, e.size) or e.shape[-1] != e.size or (k.size > 1 and k.shape[-1] != k.size):
            if not (k == k.reshape(-1)[0]).all():
                return None
            k = k.reshape(-1)[:1]
        sign = 1.0 if place == 0 else -1.0
        columns = [(float(p), sign, float(-sign * q)) for p, q in
                   zip(e.reshape(-1), [*k.reshape(-1)] * (e.size if k.size == 1 else 1), strict=True)]  # fmt: skip
        return Node(n.name, "PowerLess", FUSED, 1, power.inputs[:1], n.outputs, {"columns": tuple(columns)})
    return None
