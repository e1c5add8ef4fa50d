"""Chains of functions of columns around powers, as power transforms have them: one function for each column.

``(x^e - 1) / e`` with e for each column has none of its digits in ``x^e`` near e = 0, and what is left can be a small
part of it that a scaler makes large: of ``0.5 + 1e-3 z`` standardised, 16 bits leave 7. So all nodes from a tensor to
the last that is a function of each entry alone, with constants for each column, are one function ``f_k(x)`` for column
k (``compiler.ops.unlike.by_column``), rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.ops.activation import FUNCTIONS
from syurmy.compiler.scales import Precision
from syurmy.compiler.tabular import DOMAIN as ML
from syurmy.isa.arrays import Array

MOST_COLUMNS = 32  # that get a table each
MOST_NODES = 64  # counted with repetition, as often as they are evaluated
Function = Callable[[Array, int], Any]  # of entries of a column
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Min": np.minimum,
    "Max": np.maximum, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater, "Equal": np.equal,
    "GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or}  # fmt: skip
UNARY: dict[str, Callable[[Any], Any]] = {
    "Neg": np.negative, "Identity": lambda x: x, "Not": np.logical_not, "IsNaN": np.isnan,
}  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """A tensor as functions of the columns of ``source``; ``powers``: whether each has an exponent of its own."""

    source: str
    function: Function
    powers: bool = False
    nodes: int = 0


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such chains as one node each."""
    known: dict[str, Chain] = {}
    readers: dict[str, list[Node]] = {}
    for n in graph.nodes:
        for name in n.inputs:
            readers.setdefault(name, []).append(n)
        chain = _chain(graph, n, known)
        if chain is not None:
            known[n.outputs[0]] = chain
    if not any(chain.powers for chain in known.values()):
        return graph
    nodes = []
    for n in graph.nodes:
        name, found = n.outputs[0], known.get(n.outputs[0])
        ends = name in graph.outputs or any(m.outputs[0] not in known for m in readers.get(name, ()))
        if found is not None and found.powers and found.nodes > 1 and ends and graph.values[name].dtype.kind == "f":
            n = Node(n.name, "Columns", FUSED, 1, (found.source,), n.outputs, {"function": found.function})
        nodes.append(n)
    return replace(graph, nodes=tuple(live(nodes, graph.outputs)))


def _chain(graph: Graph, n: Node, known: dict[str, Chain]) -> Chain | None:
    """The chain of the node's output; None if it is none of one tensor."""
    out = graph.values.get(n.outputs[0])
    if len(n.outputs) != 1 or out is None or not out.shape or not 2 <= out.shape[-1] <= MOST_COLUMNS:
        return None
    parts: list[Chain | Array] = []
    for name in n.inputs:
        c = graph.constants.get(name)
        if c is not None:
            if c.size != 1 and not (c.size == out.shape[-1] == c.shape[-1]):
                return None
            parts.append(np.broadcast_to(c.reshape(-1), out.shape[-1]))
        elif name in known:
            parts.append(known[name])
        elif name and graph.values[name].dtype.kind == "f" and graph.values[name].shape == out.shape:
            parts.append(Chain(name, lambda x, k: x))
        else:
            return None
    chains = [p for p in parts if isinstance(p, Chain)]
    nodes = sum(p.nodes for p in chains) + 1
    if not chains or len({p.source for p in chains}) != 1 or nodes > MOST_NODES:
        return None
    function = _function(n, parts, out.shape[-1])
    if function is None or graph.values[chains[0].source].shape != out.shape:
        return None
    own = n.op == "Pow" and isinstance(e := parts[1], np.ndarray) and len(np.unique(e)) > 1
    return Chain(chains[0].source, function, own or any(p.powers for p in chains), nodes)


def _function(n: Node, parts: Sequence[Chain | Array], columns: int) -> Function | None:
    def value(p: Chain | Array, x: Array, k: int) -> Any:
        return p.function(x, k) if isinstance(p, Chain) else p[k]

    first = parts[0]
    if n.domain == ML:
        return _tabular(n, first, columns) if isinstance(first, Chain) else None
    if n.domain:
        return None
    if n.op in BINARY and len(parts) == 2:
        return lambda x, k: BINARY[n.op](*(value(p, x, k) for p in parts))
    if n.op == "Where":
        return lambda x, k: np.where(*(value(p, x, k) for p in parts))
    unary = UNARY.get(n.op) or (FUNCTIONS[n.op](n) if n.op in FUNCTIONS else None)
    if n.op == "Cast":
        kind = onnx.helper.tensor_dtype_to_np_dtype(n.attr("to")).kind
        unary = {"f": lambda v: np.asarray(v, np.float64), "b": lambda v: np.asarray(v) != 0}.get(kind)
    if unary is None or len(parts) != 1:
        return None
    return lambda x, k: unary(value(first, x, k))


def _tabular(n: Node, source: Chain, columns: int) -> Function | None:
    """Scalers and imputers."""

    def each(name: str, default: float) -> Array | None:
        v = np.asarray(n.attr(name) or (default,), np.float32).astype(np.float64)
        return np.broadcast_to(v, columns) if v.size in (1, columns) else None

    if n.op == "Scaler":
        offset, scale = each("offset", 0.0), each("scale", 1.0)
        if offset is None or scale is None:
            return None
        return lambda x, k: (source.function(x, k) - offset[k]) * scale[k]
    values, replaced = each("imputed_value_floats", 0.0), float(n.attr("replaced_value_float", 0.0))
    if n.op != "Imputer" or values is None or not n.attr("imputed_value_floats"):
        return None

    def imputed(x: Array, k: int) -> Any:
        y = source.function(x, k)
        return np.where(np.isnan(y) if np.isnan(replaced) else y == replaced, values[k], y)

    return imputed
