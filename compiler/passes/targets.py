"""Outputs whose columns are of unlike size (a price beside a probability): a unit for each column.

    y = spread(y', s),   y' = y / s

s are powers of two that bring the columns to one size on the samples. The division goes up into the constants of what
made the columns (weights, factors, offsets, leaves of trees), through sums, joins, views and what keeps a factor; where
it meets a tensor that it cannot go through, it is a product. ``spread`` is no instruction: its result are the integers
of ``y'`` with scales of their own (``compiler.channels``), as which the output leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from syurmy.compiler.channels import column_spans
from syurmy.compiler.graph import FUSED, Graph, Node, Value, live, observed
from syurmy.compiler.scales import Precision
from syurmy.compiler.tabular import DOMAIN as ML
from syurmy.isa.arrays import F64, Array

VIEWS = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}  # of one row: its entries stay in order
LINEAR = {"Relu", "LeakyRelu", "Neg", "Abs"}  # f(x / s) = f(x) / s
BOTH = {"Add", "Sub", "Max", "Min", "Where"}  # of x / s and y / s
TREES = {"TreeEnsembleRegressor"}


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such outputs spread."""
    for output in graph.outputs:
        if column_spans(graph, output) is not None:
            graph = _spread(graph, output)
    return graph


def _spread(graph: Graph, output: str) -> Graph:
    rows = np.stack([np.asarray(x, np.float64).reshape(-1) for x in graph.samples[output]])
    peaks = np.abs(rows).max(axis=0)
    size = np.exp2(np.floor(np.log2(np.where(peaks > 0, peaks, peaks.max()))))
    made = _Divided(graph)
    if (size == size[0]).all() or not made.within(output):
        return graph
    shape = graph.values[output].shape
    top = made.over(output, size.reshape(shape))
    last = Node(f"{output}/columns", "Spread", FUSED, 1, (top,), (output,), {"scales": size.reshape(shape)})
    old = next(n for n in graph.nodes if output in n.outputs)
    nodes: list[Node] = []
    for n in graph.nodes:
        nodes += [*made.nodes, last] if n is old else [n]
    return replace(
        graph,
        nodes=tuple(live(nodes, graph.outputs)),
        constants={**graph.constants, **made.constants},
        values={**graph.values, **made.values},
        samples={**graph.samples, **made.samples},
    )


@dataclass
class _Divided:
    """Tensors over constants: nodes, in order, with what is known of their results."""

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    samples: dict[str, list[Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._made = {o: n for n in self.graph.nodes for o in n.outputs[:1]}

    def within(self, name: str) -> bool:
        """Whether a division can go into what makes a tensor."""
        return self._rule(name) is not None

    def _rule(self, name: str) -> Callable[[Node, F64], Node] | None:
        n = self._made.get(name)
        if n is None or (self.graph.uses(name) > 1):
            return None
        if n.op in TREES and n.domain in (ML, FUSED):
            return _leaves
        if n.op == "LinearRegressor" and n.domain == ML and n.attr("post_transform", "NONE") == "NONE":
            return _coefficients
        if n.domain:
            return None
        if n.op in VIEWS | LINEAR:
            return lambda n, s: self._with(n, 0, self.over(n.inputs[0], s.reshape(self._shape(n.inputs[0]))))
        if n.op in BOTH:
            return self._both
        if n.op == "Concat":
            return self._parts
        if n.op in ("Mul", "Div"):
            return self._factor
        last = self._shape(name)[-1:] == (int(np.prod(self._shape(name))),)
        if n.op in ("MatMul", "Gemm") and last and n.inputs[1] in self.graph.constants:
            return self._weights
        return None

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.graph.values[name].shape

    def _known(self, name: str, x: Array) -> str:
        """A new constant in place of ``name``'s; small ones in float64."""
        new = f"{name}/{len(self.constants) + len(self.values)}"
        self.constants[new] = np.asarray(x)
        self.values[new] = observed([self.constants[new]])
        return new

    @staticmethod
    def _with(n: Node, place: int, name: str) -> Node:
        return replace(n, inputs=(*n.inputs[:place], name, *n.inputs[place + 1 :]))

    def over(self, name: str, s: F64) -> str:
        """The tensor ``name / s``."""
        if (s == 1).all():
            return name
        if name in self.graph.constants:
            return self._known(name, self.graph.constants[name] / s)
        rule, new = self._rule(name), f"{name}/{len(self.constants) + len(self.values)}"
        self.values[new] = Value(np.dtype(np.float32), s.shape, 0.0, 0.0)  # its place
        if rule is None or s.shape != self._shape(name):
            factor = self._known(name, 1 / s)
            node = Node(new, "Mul", "", 14, (name, factor), (new,), {})
        else:
            node = rule(self._made[name], s)
        seen = [np.asarray(x, np.float64) / s for x in self.graph.samples[name]]
        self.nodes.append(replace(node, outputs=(new,)))
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

    def _factor(self, n: Node, s: F64) -> Node:
        known = [i in self.graph.constants for i in n.inputs]
        if n.op == "Div" and known[1]:
            return self._with(n, 1, self._known(n.inputs[1], self.graph.constants[n.inputs[1]] * s))
        place = int(n.op == "Mul" and known[1])
        return self._with(n, place, self.over(n.inputs[place], s))

    def _weights(self, n: Node, s: F64) -> Node:
        row = s.reshape(-1)
        w = self.graph.constants[n.inputs[1]]
        turned = n.attr("transB", 0)
        over = w / (row[:, None] if turned else row).astype(np.float64 if w.dtype == np.float64 else np.float32)
        n = self._with(n, 1, self._known(n.inputs[1], over))
        return self._with(n, 2, self.over(n.inputs[2], s)) if len(n.inputs) > 2 and n.inputs[2] else n


def _coefficients(n: Node, s: F64) -> Node:
    each = np.asarray(n.attr("coefficients"), np.float64).reshape(s.size, -1) / s.reshape(-1, 1)
    offsets = n.attr("intercepts")
    attrs = dict(n.attrs) | {"coefficients": tuple(each.reshape(-1).tolist())}
    if offsets:
        attrs["intercepts"] = tuple((np.asarray(offsets, np.float64) / s.reshape(-1)).tolist())
    return replace(n, attrs=attrs)


def _leaves(n: Node, s: F64) -> Node:
    """The weights of leaves, and what is added to all trees."""
    row, attrs = s.reshape(-1), dict(n.attrs)
    ids = np.asarray(n.attr("target_ids"), np.int64)
    for key, over in (("target_weights", row[ids]), ("base_values", row)):
        for name in (key, f"{key}_as_tensor"):
            if (found := n.attr(name)) is not None and np.size(found):
                attrs[name] = np.asarray(found, np.float64) / over
    return replace(n, attrs=attrs)
