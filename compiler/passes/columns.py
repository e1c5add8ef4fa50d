"""Decisions on features, traced back to the model's inputs.

What lies between an input and a tree, a comparison with a constant, a category or a threshold is often a view (columns
taken, joined, reshaped) or a monotone function of one number (a scaler, a cast, a clip). So every entry that is
decided on is an ``Entry``: a place in a tensor further up, and the functions in between. The decision is then one on
that place itself, exactly: ``f(x) <= t`` is ``x <= c`` with c the largest x for which it holds, rounding of every
float operation included.

An input of which nothing else is asked enters as a *coded* one (``compiler.coding``): in exact integers that have the
order of its floats, whatever the sizes of its features, NaN included.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.questions import MODES, TREES, Entry, Map, coded_inputs
from syurmy.compiler.scales import Precision
from syurmy.compiler.tabular import DOMAIN as ML
from syurmy.compiler.views import VIEWS, viewed
from syurmy.isa.arrays import I64, Array

OTHERS = {"Binarizer", "OneHotEncoder", "LabelEncoder"}
MAX_ENTRIES = 2**15
UNARY = {"Neg", "Relu", "Floor", "Ceil"}
BINARY = {"Add", "Sub", "Mul", "Div", "Max", "Min"}


@dataclass
class Tracer:
    """Entries of tensors. ``entries[i]`` is what the number i in an array of ``trace`` stands for."""

    graph: Graph
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._makers = {o: n for n in self.graph.nodes for o in n.outputs if o}
        self._ids: dict[Entry, int] = {}
        self._done: dict[str, I64] = {}

    def trace(self, name: str) -> I64:
        """The entries of a tensor, in its shape. Its own, where nothing can be said about where they come from."""
        if name not in self._done:
            made = self._makers.get(name)
            found = (
                None if made is None or self.graph.values[name].dtype.kind not in "fiub" else self._through(made, name)
            )
            if found is None or found.shape != self.graph.values[name].shape:
                shape = self.graph.values[name].shape
                found = self._numbered([Entry(name, k) for k in range(int(np.prod(shape)))]).reshape(shape)
            self._done[name] = found
        return self._done[name]

    def _numbered(self, entries: list[Entry]) -> I64:
        for e in entries:
            if e not in self._ids:
                self._ids[e] = len(self.entries)
                self.entries.append(e)
        return np.array([self._ids[e] for e in entries], np.int64)

    def _mapped(self, ids: I64, maps: Array) -> I64:
        """One ``Map`` (an object array that broadcasts) after another."""
        shape = np.broadcast_shapes(ids.shape, maps.shape)
        pairs = zip(np.broadcast_to(ids, shape).reshape(-1), np.broadcast_to(maps, shape).reshape(-1), strict=True)
        return self._numbered([replace(e := self.entries[i], maps=(*e.maps, m)) for i, m in pairs]).reshape(shape)

    def _through(self, n: Node, name: str) -> I64 | None:
        v = self.graph.values[name]
        if int(np.prod(v.shape)) > MAX_ENTRIES:
            return None
        constants = [self.graph.constants.get(i) if i else None for i in n.inputs]
        if n.domain == "" and n.op in VIEWS | {"Concat"}:
            return self._view(n, name, constants)
        if n.domain == ML and n.op == "ArrayFeatureExtractor" and constants[1] is not None and constants[0] is None:
            return np.take(self.trace(n.inputs[0]), constants[1].reshape(-1).astype(np.int64), axis=-1)
        if n.domain == ML and n.op == "FeatureVectorizer":
            parts = [self.trace(i) for i in n.inputs]
            rows = [p.reshape(v.shape[0], -1) for p in parts]
            return self._mapped(np.concatenate(rows, axis=1), _one(Map("Cast", dtype=v.dtype.name)))
        if v.dtype.kind != "f" or len([i for i in n.inputs if i not in self.graph.constants]) != 1:
            return None
        return self._pointwise(n, name, constants)

    def _pointwise(self, n: Node, name: str, constants: list[Array | None]) -> I64 | None:
        v = self.graph.values[name]
        dtype = v.dtype.name
        if n.domain == ML:
            if n.op not in ("Scaler", "Imputer"):
                return None
            ids = self.trace(n.inputs[0])
            if n.op == "Scaler":
                offset, scale = (np.asarray(n.attr(k, ()), np.float32).astype(float) for k in ("offset", "scale"))
                pairs = np.broadcast(offset if offset.size else np.zeros(1), scale if scale.size else np.ones(1))
                return self._mapped(ids, _objects(Map("Scaler", float(o), float(s)) for o, s in pairs))
            if not np.isnan(n.attr("replaced_value_float", 0.0)):
                return None
            values = n.attr("imputed_value_floats", ())
            return self._mapped(ids, _objects(Map("Impute", float(np.float32(x)), dtype=dtype) for x in values))
        if n.domain != "":
            return None
        if n.op == "Cast" and self.graph.values[n.inputs[0]].dtype.kind in "fiu":
            return self._mapped(self.trace(n.inputs[0]), _one(Map("Cast", dtype=dtype)))
        if n.op in UNARY:
            return self._mapped(self.trace(n.inputs[0]), _one(Map(n.op, dtype=dtype)))
        if n.op == "Clip" and (bounds := _bounds(n, constants)) is not None:
            return self._mapped(self.trace(n.inputs[0]), _one(Map("Clip", *bounds, dtype=dtype)))
        if n.op in BINARY and len(n.inputs) == 2:
            at = 0 if constants[0] is None else 1
            other = constants[1 - at]
            if (
                other is None
                or not np.isfinite(other).all()
                or not (n.op in ("Add", "Sub", "Max", "Min") or other.all())
            ):
                return None
            if at == 1 and n.op == "Div":
                return None
            op = "From" if at == 1 and n.op == "Sub" else n.op
            maps = _objects(Map(op, float(x), dtype=dtype) for x in other.reshape(-1)).reshape(other.shape)
            return self._mapped(self.trace(n.inputs[at]), maps)
        return None

    def _view(self, n: Node, name: str, constants: list[Array | None]) -> I64 | None:
        if n.op == "Concat":
            if any(k is not None for k in constants):
                return None
            parts = [self.trace(i) for i in n.inputs]
            return np.concatenate(parts, axis=n.attr("axis", 1))
        if constants[0] is not None or any(i and k is None for i, k in zip(n.inputs[1:], constants[1:], strict=True)):
            return None
        shapes = [self.graph.values[o].shape for o in n.outputs if o]
        return viewed(n, self.trace(n.inputs[0]), constants, shapes)[[o for o in n.outputs if o].index(name)]


def _one(m: Map) -> Array:
    return _objects([m]).reshape(())


def _objects(maps: Any) -> Array:
    listed = list(maps)
    out = np.empty(len(listed), object)
    out[:] = listed
    return out


def _bounds(n: Node, constants: list[Array | None]) -> tuple[float, float] | None:
    if any(i and k is None for i, k in zip(n.inputs[1:], constants[1:], strict=True)):
        return None
    given = [None if k is None else float(k.reshape(-1)[0]) for k in (*constants, None, None)]
    low, high = (
        n.attr(name, default if given[k] is None else given[k])
        for k, name, default in ((1, "min", -np.inf), (2, "max", np.inf))
    )
    return float(low), float(high)


# ---- the pass --------------------------------------------------------------------------------------------------------


def fuse(graph: Graph, precision: Precision) -> Graph:
    """Nodes that decide read the tensors that their entries come from. Comparisons and the like only where that makes
    every input they come from a coded one: elsewhere they gain nothing."""
    tracer = Tracer(graph)
    plans = {id(n): p for n in graph.nodes if (p := _plan(graph, tracer, n)) is not None}
    while True:
        nodes = [plans.get(id(n), n) for n in graph.nodes]
        made = replace(graph, nodes=tuple(live(nodes, graph.outputs)))
        coded = coded_inputs(made)
        lost = [k for k, p in plans.items() if p.op not in TREES and not all(i in coded for i in p.inputs)]
        if not lost:
            return made
        for k in lost:
            del plans[k]


def _plan(graph: Graph, tracer: Tracer, n: Node) -> Node | None:
    """The node with its entries as an attribute and their bases as inputs."""
    if not ((n.domain == ML and n.op in TREES | OTHERS) or (n.domain == "" and n.op in MODES)):
        return None
    data = [i for i in n.inputs if i not in graph.constants]
    if len(data) != 1 or graph.values[data[0]].dtype.kind not in "fiu":
        return None
    if n.op not in TREES and graph.values[data[0]].dtype.kind != "f":
        return None
    attrs = dict(n.attrs)
    ids = tracer.trace(data[0])
    after: tuple[Map, ...] = ()
    if n.op in MODES:
        other = graph.constants[n.inputs[1 - n.inputs.index(data[0])]]
        attrs |= {"value": other, "swapped": n.inputs[1] == data[0]}
    elif n.op == "OneHotEncoder":
        attrs["keys"], after = np.array(n.attr("cats_int64s") or (), np.float64), (Map("Trunc", dtype="float64"),)
    elif n.op == "LabelEncoder":
        tensor = n.attr("keys_tensor")
        attrs["keys"] = np.asarray(n.attr("keys_floats") or (), np.float32) if tensor is None else np.asarray(tensor)
    if "keys" in attrs and not (attrs["keys"].size and attrs["keys"].dtype.kind == "f"):
        return None
    if n.op in TREES and not _regular(tracer, ids):
        entries = [Entry(data[0], k) for k in range(ids.size)]
    else:
        entries = [replace(e := tracer.entries[i], maps=(*e.maps, *after)) for i in ids.reshape(-1)]
    bases = tuple(dict.fromkeys(e.base for e in entries))
    attrs |= {"entries": entries, "of": graph.values[data[0]].shape}
    return Node(n.name, n.op, FUSED, 1, bases, n.outputs, attrs)


def _regular(tracer: Tracer, ids: I64) -> bool:
    """Whether all rows are made alike, each from its own rows of the bases."""
    rows = ids.reshape(1 if ids.ndim == 1 else ids.shape[0], -1)
    first = [tracer.entries[i] for i in rows[0]]
    sizes = {e.base: int(np.prod(tracer.graph.values[e.base].shape)) for e in first}
    if any(size % len(rows) for size in sizes.values()):
        return False
    steps = [sizes[e.base] // len(rows) for e in first]
    return all(e.index < step for e, step in zip(first, steps, strict=True)) and all(
        tracer.entries[i] == replace(e, index=e.index + k * step)
        for k, row in enumerate(rows)
        for i, e, step in zip(row, first, steps, strict=True)
    )
