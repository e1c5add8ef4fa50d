"""Shares of a whole by their logarithms: ``p / sum p`` where p is an exponential or ``1 / (1 + exp m)``.

In floats p keeps its digits however small it is, so the quotient is right where all of a row is next to nothing; at one
scale p rounds to 0 there. ``p / sum p = softmax(log p)``, and ``log p`` is the exponential's argument, or
``-log(1 + exp m)``, in whichever order parts are joined. Converters guard the quotient: where the sum is 0 (in floats:
all m beyond ``OVERFLOW``) every share is the same, as it is for logarithms cut off there. Likewise

    exp(x - logsumexp x) = softmax x,    x - logsumexp x = logsoftmax x

also where ``logsumexp`` is written out. The logarithm of shares that are kept from 0, ``log clip(softmax x)`` or
``log(softmax x + c)``, is a function of ``logsoftmax x``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from syurmy.compiler.graph import FUSED, Graph, Node, Value, live, observed
from syurmy.compiler.scales import Precision
from syurmy.isa.arrays import F64, Array

OVERFLOW = 88.72  # exp of more is infinite in float32
MOST_GUARDS, LEAST = 3, 1e-300
FROM = 13  # opset: before, a softmax is over all axes from one on
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such quotients as softmaxes."""
    found = _Shares(graph)
    nodes: list[Node] = []
    for n in graph.nodes:
        made = found.share(n) if not n.domain else None
        if made is not None:
            nodes += found.take()
            if made.op == "ReduceLogSumExp":  # which may be taken from its source
                found.made[n.outputs[0]] = made
        nodes.append(n if made is None else made)
    if not found.values:
        same = all(a is b for a, b in zip(nodes, graph.nodes, strict=True))
        return graph if same else replace(graph, nodes=tuple(live(nodes, graph.outputs)))
    values, samples = {**graph.values, **found.values}, {**graph.samples, **found.samples}
    return replace(graph, nodes=tuple(live(nodes, graph.outputs)), values=values, samples=samples)


@dataclass
class _Shares:
    graph: Graph
    values: dict[str, Value] = field(default_factory=dict)
    samples: dict[str, Sequence[Array]] = field(default_factory=dict)
    made: dict[str, Node] = field(default_factory=dict)
    _new: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = {o: n for n in self.graph.nodes for o in n.outputs if not n.domain}

    def take(self) -> list[Node]:
        new, self._new = self._new, []
        return new

    def by(self, name: str, *ops: str) -> Node | None:
        n = self.made.get(name)
        return n if n is not None and n.op in ops else None

    # ---- what is a share -----------------------------------------------------------------------------------------

    def share(self, n: Node) -> Node | None:
        source = None
        if n.op == "Div" and self.values_real(n.outputs[0]):
            whole = self.parts(n)
            source = None if whole is None else self.logarithm(whole)
        elif n.op == "Exp":
            inner = self.by(n.inputs[0], "Sub")
            source = None if inner is None else self.shifted(inner)
        if source is not None:
            return Node(n.name, "Softmax", FUSED, 1, (source,), n.outputs, {})
        if n.op == "Log":
            return self.log_sum_exp(n) or self.guarded(n)
        source = self.shifted(n) if n.op == "Sub" else None
        return None if source is None else Node(n.name, "LogSoftmax", FUSED, 1, (source,), n.outputs, {})

    def log_sum_exp(self, n: Node) -> Node | None:
        total = self.by(n.inputs[0], "ReduceSum")
        power = self.by(total.inputs[0], "Exp") if total is not None else None
        if total is None or power is None:
            return None
        inputs = (power.inputs[0], *total.inputs[1:])
        return Node(n.name, "ReduceLogSumExp", "", total.version, inputs, n.outputs, total.attrs)

    def guarded(self, n: Node) -> Node | None:
        """The logarithm of a softmax, as a function of its logarithm."""
        name, guards = n.inputs[0], list[Callable[[F64], F64]]()
        while (guard := self.by(name, "Clip", "Max", "Add")) is not None and len(guards) < MOST_GUARDS:
            found = self.guard(guard)
            if found is None:
                return None
            guards.insert(0, found[1])
            name = found[0]
        p = self.by(name, "Softmax")
        if p is None:
            return None
        logs = []
        for v in self.seen(p.inputs[0]):
            x = np.asarray(v, np.float64)
            axis = p.attr("axis", 1 if p.version < FROM else -1) % max(x.ndim, 1)
            axes = tuple(range(axis, x.ndim)) if p.version < FROM else axis
            d = x - x.max(axis=axes, keepdims=True)
            logs.append(d - np.log(np.exp(d).sum(axis=axes, keepdims=True)))
        made = self.add(replace(p, op="LogSoftmax", outputs=(f"log {name}",)), logs)

        def function(v: F64) -> F64:
            share = np.exp(v)
            for f in guards:
                share = f(share)
            return np.where(share > 0, np.log(np.maximum(share, LEAST)), v)

        return Node(n.name, "Pointwise", FUSED, 1, (made,), n.outputs, {"function": function, "of": ("Log",)})

    def guard(self, n: Node) -> tuple[str, Callable[[F64], F64]] | None:
        """What a node with constants keeps from 0, and how."""
        fixed = [self.graph.constants.get(i) if i else None for i in n.inputs]
        if any(c is not None and c.size != 1 for c in fixed):
            return None
        numbers = [None if c is None else float(c.reshape(-1)[0]) for c in fixed]
        if n.op == "Clip":
            ends = [n.attr(key, numbers[k] if len(numbers) > k else None) for k, key in ((1, "min"), (2, "max"))]
            if any(i and numbers[k] is None for k, i in enumerate(n.inputs) if k):
                return None
            lo, hi = (default if e is None else float(e) for e, default in zip(ends, (-np.inf, np.inf), strict=True))
            return n.inputs[0], lambda v: np.clip(v, lo, hi)
        for k in (0, 1) if len(n.inputs) == 2 else ():
            c = numbers[1 - k]
            if numbers[k] is None and c is not None:
                return n.inputs[k], partial(np.maximum if n.op == "Max" else np.add, c)
        return None

    def values_real(self, name: str) -> bool:
        return self.graph.values[name].dtype.kind == "f"

    def parts(self, n: Node) -> str | None:
        """What is divided by its own sum along the last axis."""
        p, total = n.inputs
        if self.sums(total, p):
            return p
        up, down = self.by(p, "Add"), self.by(total, "Add")
        for a, z in (up.inputs, up.inputs[::-1]) if up is not None and down is not None else ():
            for s, k in (down.inputs, down.inputs[::-1]) if down is not None else ():
                times = self.by(k, "Mul")
                if times is not None and z in times.inputs and self.sums(s, a) and self.is_zero(z, s):
                    count = self.graph.constants.get(times.inputs[1 - times.inputs.index(z)])
                    if count is not None and count.size == 1 and count.item() == self.graph.values[a].shape[-1]:
                        return a
        return None

    def sums(self, total: str, p: str) -> bool:
        n = self.by(total, "ReduceSum")
        if n is None or n.inputs[0] != p or not n.attr("keepdims", 1) or p not in self.graph.values:
            return False
        return self.over_last(n)

    def over_last(self, n: Node) -> bool:
        rank = len(self.graph.values[n.inputs[0]].shape)
        axes = n.attr("axes")
        if axes is None and len(n.inputs) > 1 and n.inputs[1] in self.graph.constants:
            axes = self.graph.constants[n.inputs[1]].reshape(-1).tolist()
        return bool(axes) and [a % rank for a in axes] == [rank - 1]

    def is_zero(self, z: str, total: str) -> bool:
        """Whether z is 1 where the total is 0, else 0."""
        cast = self.by(z, "Cast")
        no = self.by(cast.inputs[0], "Not") if cast is not None else None
        truth = self.by(no.inputs[0], "Cast") if no is not None else None
        return truth is not None and truth.inputs[0] == total

    def shifted(self, n: Node) -> str | None:
        """x of ``x - logsumexp x`` along the last axis."""
        x, total = n.inputs
        view = self.by(total, *VIEWS)
        log = self.by(view.inputs[0] if view is not None else total, "ReduceLogSumExp")
        if log is None or log.inputs[0] != x or not self.over_last(log):
            return None
        shape = self.graph.values[x].shape
        return x if self.graph.values[total].shape == (*shape[:-1], 1) else None

    # ---- logarithms ----------------------------------------------------------------------------------------------

    def logarithm(self, name: str) -> str | None:
        """A tensor that is the logarithm of ``name``, of nodes that are new."""
        n = self.made.get(name)
        if n is None:
            return None
        if n.op == "Exp":
            return n.inputs[0]
        m = self.odds(n)
        if m is not None:
            logs = [-np.logaddexp(0, np.minimum(np.float64(v), OVERFLOW)) for v in self.seen(m)]
            return self.add(Node(n.name, "LogShare", FUSED, 1, (m,), (f"log {name}",), {}), logs)
        if n.op == "Concat" or n.op in VIEWS:
            sources = n.inputs if n.op == "Concat" else n.inputs[:1]
            found = [self.logarithm(i) for i in sources]
            logs = [i for i in found if i is not None]
            if len(logs) != len(found):
                return None
            parts = [self.seen(i) for i in logs]
            shape = self.graph.values[name].shape
            axis = n.attr("axis", 0)
            count = len(parts[0])
            joined = [np.concatenate([p[k] for p in parts], axis) if len(parts) > 1 else parts[0][k].reshape(shape)
                      for k in range(count)]  # fmt: skip
            kept = tuple(n.inputs[len(sources) :])
            return self.add(replace(n, inputs=(*logs, *kept), outputs=(f"log {name}",)), joined)
        return None

    def odds(self, n: Node) -> str | None:
        """m of ``1 / (1 + exp m)``."""
        below = (
            n.inputs[0] if n.op == "Reciprocal" else n.inputs[1] if n.op == "Div" and self.is_one(n.inputs[0]) else ""
        )
        add = self.by(below, "Add")
        for one, e in (add.inputs, add.inputs[::-1]) if add is not None else ():
            power = self.by(e, "Exp")
            if power is not None and self.is_one(one):
                return power.inputs[0]
        return None

    def is_one(self, name: str) -> bool:
        c = self.graph.constants.get(name)
        return c is not None and bool((c == 1).all())

    def seen(self, name: str) -> Sequence[Array]:
        return self.samples[name] if name in self.samples else self.graph.samples[name]

    def add(self, n: Node, samples: Sequence[Array]) -> str:
        name = n.outputs[0]
        if name not in self.values:
            self.samples[name] = [np.asarray(x, np.float32) for x in samples]
            self.values[name] = observed(self.samples[name])
            self._new.append(n)
        return name
