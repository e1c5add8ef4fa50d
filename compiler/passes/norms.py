"""Normalisations that exporters write out, along the last axis, as the operator that they are.

    d = x - mean(x),   y = d / sqrt(mean(d^2) + e)

or without the mean; the root's reciprocal may be a power, or a product with one. As one node it keeps its digits for
rows that hardly vary, and for those that vary less than any of the samples'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.scales import Precision


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such quotients as one node each."""
    found = _Written(graph, {o: n for n in graph.nodes for o in n.outputs if not n.domain})
    nodes = [found.normalised(n) or n for n in graph.nodes]
    if all(a is b for a, b in zip(nodes, graph.nodes, strict=True)):
        return graph
    return replace(graph, nodes=tuple(live(nodes, graph.outputs)))


@dataclass(frozen=True)
class _Written:
    graph: Graph
    made: dict[str, Node]

    def by(self, name: str, *ops: str) -> Node | None:
        n = self.made.get(name)
        return n if n is not None and n.op in ops else None

    def number(self, name: str) -> float | None:
        c = self.graph.constants.get(name)
        return None if c is None or c.size != 1 or c.dtype.kind not in "fiu" else float(c.reshape(()))

    def normalised(self, n: Node) -> Node | None:
        if n.domain or n.op not in ("Div", "Mul") or len(n.inputs) != 2:
            return None
        pairs = [n.inputs] if n.op == "Div" else [n.inputs, n.inputs[::-1]]
        for d, other in pairs:
            within = self.under_root(other) if n.op == "Div" else self.under_inverse(other)
            epsilon = None if within is None else self.variance(within, d)
            if epsilon is None or self.graph.values[d].shape != self.graph.values[n.outputs[0]].shape:
                continue
            source = self.centred(d)
            attrs = {"epsilon": epsilon, "centre": source is not None}
            return Node(n.name, "Normalised", FUSED, 1, (d if source is None else source,), n.outputs, attrs)
        return None

    def under_root(self, name: str) -> str | None:
        n = self.by(name, "Sqrt", "Pow")
        if n is None or (n.op == "Pow" and self.number(n.inputs[1]) != 0.5):
            return None
        return n.inputs[0]

    def under_inverse(self, name: str) -> str | None:
        n = self.by(name, "Reciprocal", "Div", "Pow")
        if n is None:
            return None
        if n.op == "Pow":
            return n.inputs[0] if self.number(n.inputs[1]) == -0.5 else None
        if n.op == "Div" and self.number(n.inputs[0]) != 1.0:
            return None
        return self.under_root(n.inputs[-1])

    def variance(self, name: str, d: str) -> float | None:
        """e where ``name`` is ``mean(d^2) + e``."""
        n = self.by(name, "Add")
        for v, e in (n.inputs, n.inputs[::-1]) if n is not None else ():
            mean, epsilon = self.by(v, "ReduceMean"), self.number(e)
            if mean is None or epsilon is None or epsilon < 0 or not self.over_last(mean):
                continue
            square = self.by(mean.inputs[0], "Mul", "Pow")
            if square is None or square.inputs[0] != d:
                continue
            if square.inputs[1] == d if square.op == "Mul" else self.number(square.inputs[1]) == 2.0:
                return epsilon
        return None

    def centred(self, d: str) -> str | None:
        """x where d is ``x - mean(x)``."""
        n = self.by(d, "Sub")
        mean = self.by(n.inputs[1], "ReduceMean") if n is not None else None
        if n is None or mean is None or mean.inputs[0] != n.inputs[0] or not self.over_last(mean):
            return None
        return n.inputs[0]

    def over_last(self, n: Node) -> bool:
        v = self.graph.values[n.inputs[0]]
        axes = n.attr("axes")
        if axes is None and len(n.inputs) > 1 and n.inputs[1] in self.graph.constants:
            axes = self.graph.constants[n.inputs[1]].reshape(-1).tolist()
        real = v.dtype.kind == "f" and bool(n.attr("keepdims", 1)) and bool(v.shape)
        return real and axes is not None and bool((np.array(axes) % len(v.shape) == [len(v.shape) - 1]).all())
