"""Pointwise functions that exporters write as several nodes become one table.

``x * clip(x + 3, 0, 6) / 6``, ``x * sigmoid(x)``, ``x/2 * (1 + erf(x / sqrt 2))``: every node has operands that are
numbers or functions of the same tensor, so the whole is a function of one number. One narrowing and one lookup replace
one of each per node, and there is one rounding instead of one per node.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.ops.activation import FUNCTIONS
from syurmy.compiler.scales import FEW, Precision
from syurmy.isa.arrays import F64

Function = Callable[[F64], F64]
BINARY: dict[str, Callable[[F64, F64], F64]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Min": np.minimum,
    "Max": np.maximum}  # fmt: skip
FREE = {"Add", "Sub", "Mul", "Div"}  # with a number
LINEAR = {"Neg", "Identity"}
EXACT = {"Sqrt", "Log", "Reciprocal", "Div", "Pow", "Mul"}
MAX_NODES = 32  # counted with repetition, as often as they are evaluated


@dataclass(frozen=True)
class Expression:
    """A tensor as a function of ``source``: how many nodes it takes, and the operators among them that cost lookups."""

    source: str
    function: Function
    nodes: int = 0
    costly: tuple[str, ...] = ()


def fuse(graph: Graph, precision: Precision) -> Graph:
    """The graph with such expressions replaced by one node each, where that saves something. A fine program computes
    roots, logarithms and reciprocals of few entries exactly, not by a table."""
    known: dict[str, Expression] = {}
    for n in graph.nodes:
        e = _expression(graph, n, known)
        if e is not None:
            known[n.outputs[0]] = e
    inner = {
        name
        for n in graph.nodes
        if n.outputs[0] in known
        for name in n.inputs
        if name in known and known[name].source == known[n.outputs[0]].source
    }
    nodes = []
    for n in graph.nodes:
        e = known.get(n.outputs[0])
        read = graph.reading.get(n.outputs[0], [])
        name = n.outputs[0]
        ends = name not in inner or name in graph.outputs or any(m.outputs[0] not in known for m in read)
        if (
            e is not None
            and precision.fine
            and EXACT.intersection(e.costly)
            and math.prod(graph.values[name].shape) <= FEW
        ):
            e = None
        if e is not None and ends and e.nodes > 1 and e.costly and e.costly not in (("Relu",), ("Clip",)):
            n = Node(n.name, "Pointwise", FUSED, 1, (e.source,), n.outputs, {"function": e.function, "of": e.costly})
        nodes.append(n)
    return replace(graph, nodes=tuple(live(nodes, graph.outputs)))


def _expression(graph: Graph, n: Node, known: dict[str, Expression]) -> Expression | None:
    """The expression of the node's output; None if it is no function of one tensor."""
    if n.domain or len(n.outputs) != 1 or n.outputs[0] not in graph.values:
        return None
    parts: list[Expression | float] = []
    for name in n.inputs:
        if name in graph.constants:
            c = graph.constants[name]
            if c.size != 1 or c.dtype.kind != "f" or not np.isfinite(c).all():
                return None
            parts.append(float(c.reshape(-1)[0]))
        elif name == "" or graph.values[name].dtype.kind != "f":
            return None
        else:
            parts.append(known.get(name) or Expression(name, lambda x: x))
    tensors = [p for p in parts if isinstance(p, Expression)]
    out = graph.values[n.outputs[0]]
    if not tensors or len({e.source for e in tensors}) != 1 or graph.values[tensors[0].source].shape != out.shape:
        return None
    nodes = sum(e.nodes for e in tensors) + 1
    if out.dtype.kind != "f" or nodes > MAX_NODES:
        return None
    function = _function(n, parts)
    if function is None:
        return None
    free = n.op in LINEAR or (n.op in FREE and len(tensors) == 1 and not (n.op == "Div" and parts[0] is not tensors[0]))
    costly = tuple(op for e in tensors for op in e.costly) + (() if free else (n.op,))
    return Expression(tensors[0].source, function, nodes, costly)


def _function(n: Node, parts: list[Expression | float]) -> Function | None:
    def value(p: Expression | float, x: F64) -> F64:
        return p.function(x) if isinstance(p, Expression) else np.asarray(p)

    if n.op in BINARY and len(parts) == 2:
        a, b = parts
        return lambda x: np.asarray(BINARY[n.op](value(a, x), value(b, x)), np.float64)
    first = parts[0]
    if n.op in FUNCTIONS and len(parts) == 1:
        f = FUNCTIONS[n.op](n)
        return lambda x: f(value(first, x))
    if n.op == "Clip":
        bounds = [p for p in parts[1:] if not isinstance(p, Expression)]
        if len(bounds) != len(parts) - 1:
            return None
        low = float(n.attr("min", bounds[0] if bounds else -np.inf))
        high = float(n.attr("max", bounds[1] if len(bounds) > 1 else np.inf))
        return lambda x: np.minimum(np.maximum(value(first, x), low), high)
    simple: dict[str, Function] = {"Relu": lambda x: np.maximum(x, 0), "Neg": np.negative, "Identity": lambda x: x}
    if n.op in simple and len(parts) == 1:
        return lambda x: simple[n.op](value(first, x))
    return None
