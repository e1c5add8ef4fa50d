"""Normalisations that exporters write out, as the operator that they are.

    y = (x - m) / sqrt(v + e) * gamma + beta,    m = mean(x),  v = mean((x - m)^2) or mean(x^2) - m^2

or without m, gamma or beta. PyTorch writes the quotient, Flax the second v, with gamma in the root's reciprocal, and
Keras ``x g + (beta - m g)`` or a BatchNormalization whose statistics are x's own. Means are sums over a count, too, and
are reshaped and expanded on the way. As one node it keeps its digits for rows that hardly vary, and for those that vary
less than any of the samples'; what the pattern says is compared with the float model before a node takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.scales import Precision
from syurmy.isa.arrays import F64

VIEWS = {"Reshape", "Expand", "Squeeze", "Unsqueeze", "Identity"}
ALIKE, MOST = 2**-6, 3 / 4  # how far off the pattern may be, and where: the second v loses digits in float32


class _Mean(NamedTuple):
    """Of what, over which axes."""

    source: str
    axes: tuple[int, ...]


class _Inverse(NamedTuple):
    """``gamma / sqrt(v + epsilon)``, v of ``of``; ``centre``: after subtracting the mean."""

    of: _Mean
    epsilon: float
    centre: bool
    gamma: str | None = None


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such results as one node each."""
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
        if n.domain:
            return None
        for inverse, beta in self.candidates(n):
            x = inverse.of.source
            v = self.graph.values[x]
            if v.dtype.kind != "f" or v.shape != self.graph.values[n.outputs[0]].shape:
                continue
            attrs = {"epsilon": inverse.epsilon, "centre": inverse.centre, "axes": inverse.of.axes}
            for key, name in (("gamma", inverse.gamma), ("beta", beta)):
                if name is not None:
                    part = np.asarray(self.graph.constants[name], np.float64)
                    channels = (-1, *(1,) * (len(v.shape) - 2))
                    attrs[key] = part.reshape(channels) if n.op == "BatchNormalization" else part
            made = Node(n.name, "Normalised", FUSED, 1, (x,), n.outputs, attrs)
            if all(self.holds(made, k) for k in range(len(self.graph.samples[x]))):
                return made
        return None

    def candidates(self, n: Node) -> Iterator[tuple[_Inverse, str | None]]:
        """What a node may be, with the name of beta."""
        if n.op == "Div" and (w := self.under_root(self.unrepeated(n.inputs[1]))) is not None:
            yield from (
                (i, None) for i in self.inverses(w) if self.is_left(n.inputs[0], i) and self.met(n.inputs[1], i.of)
            )
        if n.op == "Mul":
            for d, other in (n.inputs, n.inputs[::-1]):
                yield from ((i, None) for i in self.inverse(other) if self.is_left(d, i))
        if n.op in ("Add", "Sub"):
            for product, rest in (n.inputs, n.inputs[::-1])[: 1 + (n.op == "Add")]:
                yield from self.shifted(n.op, product, rest)
        if n.op == "BatchNormalization" and all(i in self.graph.constants for i in n.inputs[1:3]):
            mean, v = self.mean(n.inputs[3]), self.variance(n.inputs[4])
            others = tuple(a for a in range(len(self.graph.values[n.inputs[0]].shape)) if a != 1)
            if mean == (n.inputs[0], others) and v == (mean, True) and len(n.outputs) == 1:
                yield _Inverse(mean, n.attr("epsilon", 1e-5), True, n.inputs[1]), n.inputs[2]

    def shifted(self, op: str, product: str, rest: str) -> Iterator[tuple[_Inverse, str | None]]:
        """``x g + (beta - m g)``, or ``x g - m g``."""
        first, beta = self.by(product, "Mul"), None
        if op == "Add":
            if (less := self.by(rest, "Sub")) is None or less.inputs[0] not in self.graph.constants:
                return
            beta, rest = less.inputs
        second = self.by(rest, "Mul")
        for x, g in (first.inputs, first.inputs[::-1]) if first is not None and second is not None else ():
            for m, h in (second.inputs, second.inputs[::-1]) if second is not None else ():
                for i in self.inverse(g) if self.plain(g) == self.plain(h) else ():
                    if i.centre and i.of.source == x and self.is_mean(m, i.of):
                        yield i, beta

    def holds(self, n: Node, k: int) -> bool:
        """Whether the node is what the float model computes on sample k."""
        x, y = (np.asarray(self.graph.samples[name][k], np.float64) for name in (n.inputs[0], n.outputs[0]))
        with np.errstate(all="ignore"):
            off = np.abs(computed(x, n) - y)
        alike = off <= ALIKE * max(float(np.abs(y).max(initial=0.0)), 1e-30)
        return off.shape == y.shape and float(alike.mean()) > MOST

    def is_left(self, d: str, i: _Inverse) -> bool:
        """Whether d is what is normalised: x less its mean, or x itself."""
        if not i.centre:
            return d == i.of.source
        n = self.by(d, "Sub")
        return n is not None and n.inputs[0] == i.of.source and self.is_mean(n.inputs[1], i.of)

    def unrepeated(self, name: str) -> str:
        while (n := self.by(name, "Expand")) is not None:
            name = n.inputs[0]
        return name

    def inverse(self, name: str) -> Iterator[_Inverse]:
        """What a factor is, alone or times a constant, where each entry of it meets those that it is of."""
        if (n := self.by(name, "Mul")) is not None:
            for inner, gamma in (n.inputs, n.inputs[::-1]):
                if gamma in self.graph.constants:
                    yield from (i._replace(gamma=gamma) for i in self.inverse(inner) if i.gamma is None)
        yield from (i for i in self.reciprocal(self.unrepeated(name)) if self.met(name, i.of) is not None)

    def reciprocal(self, name: str) -> Iterator[_Inverse]:
        n = self.by(self.plain(name), "Reciprocal", "Div", "Pow")
        if n is None:
            return
        within = None
        if n.op == "Pow" and self.number(n.inputs[1]) == -0.5:
            within = n.inputs[0]
        elif n.op == "Reciprocal" or (n.op == "Div" and self.number(n.inputs[0]) == 1.0):
            within = self.under_root(n.inputs[-1])
        if within is not None:
            yield from self.inverses(within)

    def under_root(self, name: str) -> str | None:
        n = self.by(self.plain(name), "Sqrt", "Pow")
        if n is None or (n.op == "Pow" and self.number(n.inputs[1]) != 0.5):
            return None
        return n.inputs[0]

    def inverses(self, within: str) -> Iterator[_Inverse]:
        """What is divided by, where ``within`` is ``v + e``: of a centred x, and of what is that already."""
        n = self.by(self.plain(within), "Add")
        for v, e in (n.inputs, n.inputs[::-1]) if n is not None else ():
            epsilon, found = self.number(e), self.variance(v)
            if epsilon is not None and epsilon >= 0 and found is not None:
                yield _Inverse(found[0], epsilon, found[1])
                if (square := self.mean_square(v)) is not None and square != found[0]:
                    yield _Inverse(square, epsilon, False)

    def variance(self, name: str) -> tuple[_Mean, bool] | None:
        """Of what ``name`` is the variance, and True; or the mean square, and False."""
        name = self.plain(name)
        n = self.by(name, "Max", "Relu")
        if n is not None:  # what float32 makes of a difference may be negative
            others = [i for i in n.inputs if self.number(i) is None]
            if len(others) != 1 or any(self.number(i) not in (None, 0.0) for i in n.inputs):
                return None
            name = self.plain(others[0])
        if (square := self.mean_square(name)) is not None:
            d = self.by(square.source, "Sub")
            if d is not None and self.is_mean(d.inputs[1], of := _Mean(d.inputs[0], square.axes)):
                return of, True
            return square, False
        n = self.by(name, "Sub")
        if n is None:
            return None
        whole, part = self.mean_square(n.inputs[0]), self.squared(n.inputs[1])
        return (whole, True) if whole is not None and part is not None and self.mean(part) == whole else None

    def mean_square(self, name: str) -> _Mean | None:
        if (sums := self.by(self.plain(name), "Div", "Mul")) is not None:
            for total, count in (sums.inputs, sums.inputs[::-1])[: 1 + (sums.op == "Mul")]:
                n = self.by(self.plain(total), "ReduceSumSquare")
                if n is not None and self.counts(n, sums.op, count):
                    return self.over(n, n.inputs[0])
        mean = self.mean(name)
        squared = None if mean is None else self.squared(mean.source)
        return None if mean is None or squared is None else _Mean(squared, mean.axes)

    def squared(self, name: str) -> str | None:
        """x where ``name`` is ``x^2``."""
        n = self.by(self.plain(name), "Mul", "Pow")
        if n is None:
            return None
        square = n.inputs[1] == n.inputs[0] if n.op == "Mul" else self.number(n.inputs[1]) == 2.0
        return n.inputs[0] if square else None

    def mean(self, name: str) -> _Mean | None:
        n = self.by(self.plain(name), "ReduceMean", "Mul", "Div")
        if n is None:
            return None
        if n.op == "ReduceMean":
            return self.over(n, n.inputs[0])
        for total, count in (n.inputs, n.inputs[::-1])[: 1 + (n.op == "Mul")]:
            s = self.by(self.plain(total), "ReduceSum")
            if s is not None and self.counts(s, n.op, count):
                return self.over(s, s.inputs[0])
        return None

    def counts(self, total: Node, op: str, count: str) -> bool:
        """Whether a sum is divided by the number of its terms."""
        mean, c = self.over(total, total.inputs[0]), self.number(count)
        if mean is None or not c:
            return False
        terms = math.prod(self.graph.values[mean.source].shape[a] for a in mean.axes)
        return math.isclose(c if op == "Div" else 1 / c, terms, rel_tol=1e-6)

    def over(self, n: Node, source: str) -> _Mean | None:
        shape, axes = self.graph.values[source].shape, n.attr("axes")
        if axes is None and len(n.inputs) > 1 and n.inputs[1] in self.graph.constants:
            axes = self.graph.constants[n.inputs[1]].reshape(-1).tolist()
        return _Mean(source, tuple(sorted(int(a) % len(shape) for a in axes))) if axes and shape else None

    def plain(self, name: str) -> str:
        """Without what only gives a statistic another shape: its entries stay in order, and are not repeated."""
        while (n := self.by(name, *VIEWS)) is not None and self.size(n.inputs[0]) == self.size(name):
            name = n.inputs[0]
        return name

    def size(self, name: str) -> int:
        return math.prod(self.graph.values[name].shape)

    def met(self, name: str, of: _Mean) -> str | None:
        """The statistic that is repeated along the axes, and meets each entry that it is of; None if it is not."""
        name = self.unrepeated(name)
        shape, own = self.graph.values[name].shape, self.graph.values[of.source].shape
        kept = tuple(1 if a in of.axes else s for a, s in enumerate(own))
        return name if (1,) * (len(own) - len(shape)) + shape == kept else None

    def is_mean(self, name: str, of: _Mean) -> bool:
        found = self.met(name, of)
        return found is not None and self.mean(found) == of


def computed(x: F64, n: Node) -> F64:
    """What the node computes of reals."""
    axes = n.attr("axes")
    d = x - x.mean(axes, keepdims=True) if n.attr("centre") else x
    y = d / np.sqrt((d * d).mean(axes, keepdims=True) + n.attr("epsilon"))
    return np.asarray(y * n.attr("gamma", 1.0) + n.attr("beta", 0.0))
