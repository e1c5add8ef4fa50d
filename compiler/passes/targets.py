"""Outputs whose columns are of unlike size (a price beside a probability, boxes beside scores): a unit for each.

    y = spread(y', s),   y' = y / s

s are powers of two that bring the columns to one size on the samples. The division goes up into the constants of what
made the columns (weights, factors, offsets, leaves of trees), through sums, joins, views and what keeps a factor;
where it meets a tensor that it cannot go through, it is a product or another spread. ``spread`` is no instruction: its
result are the integers of ``y'`` with scales of their own (``compiler.channels``), as which the output leaves where
they are columns of the last axis; else they are brought to one scale, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from syurmy.compiler.channels import MOST_GROUPED, column_spans, thin
from syurmy.compiler.graph import FUSED, Graph, Node, Value, live, observed
from syurmy.compiler.scales import Precision
from syurmy.compiler.tabular import DOMAIN as ML
from syurmy.isa.arrays import F64, Array

VIEWS = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}  # entries stay in order
LINEAR = {"Relu", "LeakyRelu", "Neg", "Abs"}  # f(x / s) = f(x) / s
BOTH = {"Add", "Sub", "Max", "Min", "Where"}  # of x / s and y / s
Rule = Callable[[Node, F64], Node]


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such outputs spread."""
    for output in graph.outputs:
        if (spans := column_spans(graph, output)) is not None:
            graph = _spread(graph, output, spans)
    return graph


def _spread(graph: Graph, output: str, spans: F64) -> Graph:
    shape = graph.values[output].shape
    peaks = np.max([np.abs(np.asarray(x, np.float64)) for x in graph.samples[output]], axis=0)
    size = np.zeros(spans.shape)
    for span in np.unique(spans):  # columns of a group have one
        size[spans == span] = peaks[np.broadcast_to(spans == span, shape)].max()
    size = np.exp2(np.floor(np.log2(np.where(size > 0, size, peaks.max()))))
    made, full = _Divided(graph), np.broadcast_to(size, shape)
    if thin(size).size == 1 or made.rule(output, full) is None:
        return graph
    last = Node(f"{output}/columns", "Spread", FUSED, 1, (made.over(output, full),), (output,), {"scales": full})
    nodes: list[Node] = []
    for n in graph.nodes:
        nodes += [*made.nodes, last] if output in n.outputs else [n]
    return replace(
        graph,
        nodes=tuple(live(nodes, graph.outputs)),
        constants={**graph.constants, **made.constants},
        values={**graph.values, **made.values},
        samples={**graph.samples, **made.samples},
    )


@dataclass
class _Divided:
    """Tensors over constants of their shape: nodes, in order, with what is known of their results."""

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    samples: dict[str, list[Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._made = {n.outputs[0]: n for n in self.graph.nodes}
        self._names = 0

    def rule(self, name: str, s: F64) -> Rule | None:
        """How a division goes into what makes a tensor, if it can."""
        n = self._made.get(name)
        if n is None or self.graph.uses(name) > 1 or s.shape != self._shape(name):
            return None
        columns = thin(s).size == s.shape[-1]  # one for each, in all rows
        if n.domain in (ML, FUSED) and n.op == "TreeEnsembleRegressor" and columns:
            return _leaves
        if n.domain == ML and n.op == "LinearRegressor" and columns and n.attr("post_transform", "NONE") == "NONE":
            return _coefficients
        if n.domain:
            return None
        if n.op in ("MatMul", "Gemm") and columns and n.inputs[1] in self.graph.constants:
            return self._weights
        if n.op in VIEWS and thin(s.reshape(self._shape(n.inputs[0]))).size > MOST_GROUPED:
            return None
        if n.op in VIEWS | LINEAR:
            return lambda n, s: self._with(n, 0, self.over(n.inputs[0], s.reshape(self._shape(n.inputs[0]))))
        if n.op == "Transpose":
            return self._turned
        return {"Concat": self._parts, "Mul": self._factor, "Div": self._factor}.get(
            n.op, self._both if n.op in BOTH else None
        )

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.graph.values[name].shape

    def _new(self, name: str) -> str:
        self._names += 1
        return f"{name}/{self._names}"

    def _known(self, name: str, x: Array) -> str:
        """A new constant in place of ``name``'s."""
        new = self._new(name)
        self.constants[new], self.values[new] = np.asarray(x), observed([np.asarray(x)])
        return new

    @staticmethod
    def _with(n: Node, place: int, name: str) -> Node:
        return replace(n, inputs=(*n.inputs[:place], name, *n.inputs[place + 1 :]))

    def over(self, name: str, s: F64) -> str:
        """The tensor ``name / s``."""
        if (s == 1).all():
            return name
        if name in self.graph.constants:
            return self._known(name, self.graph.constants[name] / thin(s))
        rule, new = self.rule(name, s), self._new(name)
        if rule is not None:
            node = replace(rule(self._made[name], s), outputs=(new,))
        elif thin(s).size == 1:
            node = Node(new, "Mul", "", 14, (name, self._known(name, 1 / thin(s))), (new,), {})
        else:  # factors of a product would be rounded beside the largest
            node = Node(new, "Spread", FUSED, 1, (name,), (new,), {"scales": 1 / s})
        self.nodes.append(node)
        seen = [np.asarray(x, np.float64) / s for x in self.graph.samples[name]]
        self.values[new], self.samples[new] = replace(observed(seen), dtype=self.graph.values[name].dtype), seen
        return new

    def _both(self, n: Node, s: F64) -> Node:
        for k in range(int(n.op == "Where"), len(n.inputs)):
            n = self._with(n, k, self.over(n.inputs[k], s))
        return n

    def _parts(self, n: Node, s: F64) -> Node:
        axis = n.attr("axis", 1)
        ends = np.cumsum([self._shape(i)[axis] for i in n.inputs])[:-1]
        for k, part in enumerate(np.split(s, ends, axis=axis)):
            n = self._with(n, k, self.over(n.inputs[k], part))
        return n

    def _turned(self, n: Node, s: F64) -> Node:
        perm = n.attr("perm", tuple(reversed(range(s.ndim))))
        return self._with(n, 0, self.over(n.inputs[0], s.transpose(np.argsort(perm))))

    def _factor(self, n: Node, s: F64) -> Node:
        known = [i in self.graph.constants for i in n.inputs]
        if n.op == "Div" and known[1]:
            return self._with(n, 1, self._known(n.inputs[1], self.graph.constants[n.inputs[1]] * thin(s)))
        place = int(n.op == "Mul" and known[1])
        return self._with(n, place, self.over(n.inputs[place], s))

    def _weights(self, n: Node, s: F64) -> Node:
        row, w = thin(s).reshape(-1), self.graph.constants[n.inputs[1]]
        row = row.astype(np.float64 if w.dtype == np.float64 else np.float32)
        n = self._with(n, 1, self._known(n.inputs[1], w / (row[:, None] if n.attr("transB", 0) else row)))
        return self._with(n, 2, self.over(n.inputs[2], s)) if len(n.inputs) > 2 and n.inputs[2] else n


def _coefficients(n: Node, s: F64) -> Node:
    row, attrs = thin(s).reshape(-1), dict(n.attrs)
    each = np.asarray(n.attr("coefficients"), np.float64).reshape(row.size, -1) / row[:, None]
    attrs["coefficients"] = tuple(each.reshape(-1).tolist())
    if n.attr("intercepts"):
        attrs["intercepts"] = tuple((np.asarray(n.attr("intercepts"), np.float64) / row).tolist())
    return replace(n, attrs=attrs)


def _leaves(n: Node, s: F64) -> Node:
    """The weights of leaves, and what is added to all trees."""
    row, attrs = thin(s).reshape(-1), dict(n.attrs)
    ids = np.asarray(n.attr("target_ids"), np.int64)
    for key, over in (("target_weights", row[ids]), ("base_values", row)):
        for name in (key, f"{key}_as_tensor"):
            if (found := n.attr(name)) is not None and np.size(found):
                attrs[name] = np.asarray(found, np.float64) / over
    return replace(n, attrs=attrs)
