"""Levels of power spectra, ``log(max(M (re^2 + im^2), floor) + offset)``, as nodes of their own.

What leads from the analysis (a convolution with sines and cosines) over powers and bands to such a logarithm is marked,
so that nothing on the way is narrowed to 16 bits: see ``ops.spectrum`` for why, and for what each node computes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.scales import Precision

VIEWS = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity", "Cast"}


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such logarithms, and what leads to them from the analysis on, as nodes of the domain."""
    made = {o: n for n in graph.nodes for o in n.outputs}
    new: dict[str, Node] = {}
    for n in graph.nodes:
        if n.op == "Log" and not n.domain and graph.values[n.outputs[0]].dtype.kind == "f":
            source, floor, offset = _bounded(graph, made, n.inputs[0])
            found = _power(graph, made, source)
            if found is not None:
                attributes = {"floor": floor, "offset": offset}
                new |= {**found, n.outputs[0]: Node(n.name, "Level", FUSED, 1, (source,), n.outputs, attributes)}
    nodes = [new.get(n.outputs[0], n) for n in graph.nodes]
    return replace(graph, nodes=tuple(live(nodes, graph.outputs)))


def _number(graph: Graph, name: str) -> float | None:
    c = graph.constants.get(name)
    return float(c.reshape(-1)[0]) if c is not None and c.size == 1 and c.dtype.kind == "f" else None


def _bounded(graph: Graph, made: dict[str, Node], name: str) -> tuple[str, float, float]:
    """The tensor below ``Clip(x, min)``, ``Max(x, c)`` and ``x + c``, and the numbers; 0 where there is none."""
    n = made.get(name)
    if n is None or n.domain:
        return name, 0.0, 0.0
    if n.op == "Clip":
        low, high = (n.attr(k, _number(graph, n.inputs[i]) if len(n.inputs) > i else None)
                     for i, k in ((1, "min"), (2, "max")))  # fmt: skip
        known = all(_number(graph, i) is not None for i in n.inputs[1:] if i)
        if known and low is not None and low >= 0 and (high is None or math.isinf(high)):
            return n.inputs[0], float(low), 0.0
    if n.op in ("Max", "Add") and len(n.inputs) == 2:
        for x, other in (n.inputs, n.inputs[::-1]):
            c = _number(graph, other)
            if c is not None and c >= 0 and graph.values[x].shape == graph.values[name].shape:
                return (x, c, 0.0) if n.op == "Max" else (x, 0.0, c)
    return name, 0.0, 0.0


def _power(graph: Graph, made: dict[str, Node], name: str) -> dict[str, Node] | None:
    """Replacements for what makes a power; None if the tensor is none."""
    n = made.get(name)
    if n is None or n.domain or graph.values[name].dtype.kind != "f":
        return None
    if n.op in VIEWS or n.op == "ReduceSum":
        return _power(graph, made, n.inputs[0])
    if n.op == "MatMul":
        for x, other in (n.inputs, n.inputs[::-1]):
            found = _power(graph, made, x) if _filter(graph, other) else None
            if found is not None:
                return {**found, name: replace(n, op="Bands", domain=FUSED)}
        return None
    if n.op == "Gemm" and all(_filter(graph, i) for i in n.inputs[1:]) and not n.attr("transA", 0):
        plain = (n.attr("alpha", 1.0), n.attr("beta", 1.0)) == (1.0, 1.0)
        found = _power(graph, made, n.inputs[0]) if plain else None
        return None if found is None else {**found, name: replace(n, op="Bands", domain=FUSED)}
    parts = _squared(graph, made, name)
    if parts is None:
        return None
    new = {name: Node(n.name, "Power", FUSED, 1, parts, n.outputs, {})}
    for part in parts:
        source: Node | None = made.get(part)
        while source is not None and source.op in VIEWS and not source.domain:
            source = made.get(source.inputs[0])
        if source is not None and source.op == "Conv" and not source.domain and len(source.inputs) == 2:
            w = graph.constants.get(source.inputs[1])
            if w is not None and np.isfinite(w).all() and w.any():
                new[source.outputs[0]] = replace(source, op="Analysis", domain=FUSED)
    return new


def _filter(graph: Graph, name: str) -> bool:
    """Constants that are not negative."""
    m = graph.constants.get(name)
    return m is not None and bool((m >= 0).all() and np.isfinite(m).all())


def _squared(graph: Graph, made: dict[str, Node], name: str) -> tuple[str, ...] | None:
    """The tensors of one shape of which this is the sum of squares."""
    n = made.get(name)
    if n is None or n.domain:
        return None
    if n.op == "Mul" and n.inputs[0] == n.inputs[1]:
        return (n.inputs[0],)
    if n.op == "Pow" and _number(graph, n.inputs[1]) == 2 and n.inputs[0] not in graph.constants:
        return (n.inputs[0],)
    if n.op == "Add":
        sides = [_squared(graph, made, i) for i in n.inputs]
        if sides[0] and sides[1] and len({graph.values[p].shape for s in sides if s for p in s}) == 1:
            return sides[0] + sides[1]
    return None
