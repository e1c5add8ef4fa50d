"""Levels of power spectra, ``log(max(M (re^2 + im^2), floor) + offset)``: mel spectrograms, decibels.

Power spans twice the orders of magnitude of a signal, and a logarithm shows all of them: what a speech model looks at
lies 80 dB, eight decimal orders, below the peak, where a power that was narrowed to 16 bits is 0. So between the
analysis (a convolution with sines and cosines) and the logarithm nothing is narrowed to 16 bits: parts keep
``PART_BITS``, their squares are summed exactly, and so are the bands of a filter M of constants that are not negative,
in as many bits as the machine's integers leave. The logarithm then takes the root (see ``root``).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Graph, Node, live
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import convolution, plane
from syurmy.compiler.ops.root import logarithm
from syurmy.isa.types import DType

DOMAIN = "spectrum"
PART_BITS = 24  # of a part's largest possible magnitude
SUM_BITS, REST_BITS = 59, 8  # of a band's, and of what rounding leaves of its weights
EXTRA_BITS = 4  # of the analysis beyond those of weights: rounded sines leak from the peak into other bands
VIEWS = {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity", "Cast"}


def fuse_spectra(graph: Graph) -> Graph:
    """The graph with such logarithms, and what leads to them from the analysis on, as nodes of the domain."""
    made = {o: n for n in graph.nodes for o in n.outputs}
    new: dict[str, Node] = {}
    for n in graph.nodes:
        if n.op == "Log" and not n.domain and graph.values[n.outputs[0]].dtype.kind == "f":
            source, floor, offset = _bounded(graph, made, n.inputs[0])
            found = _power(graph, made, source)
            if found is not None:
                attributes = {"floor": floor, "offset": offset}
                new |= {**found, n.outputs[0]: Node(n.name, "Level", DOMAIN, 1, (source,), n.outputs, attributes)}
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
                return {**found, name: replace(n, op="Bands", domain=DOMAIN)}
        return None
    if n.op == "Gemm" and all(_filter(graph, i) for i in n.inputs[1:]) and not n.attr("transA", 0):
        plain = (n.attr("alpha", 1.0), n.attr("beta", 1.0)) == (1.0, 1.0)
        found = _power(graph, made, n.inputs[0]) if plain else None
        return None if found is None else {**found, name: replace(n, op="Bands", domain=DOMAIN)}
    parts = _squared(graph, made, name)
    if parts is None:
        return None
    new = {name: Node(n.name, "Power", DOMAIN, 1, parts, n.outputs, {})}
    for part in parts:
        source: Node | None = made.get(part)
        while source is not None and source.op in VIEWS and not source.domain:
            source = made.get(source.inputs[0])
        if source is not None and source.op == "Conv" and not source.domain and len(source.inputs) == 2:
            w = graph.constants.get(source.inputs[1])
            if w is not None and np.isfinite(w).all() and w.any():
                new[source.outputs[0]] = replace(source, op="Analysis", domain=DOMAIN)
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


@lowering("Analysis", domain=DOMAIN)
def analysis(c: Context, n: Node) -> Result:
    """A convolution with ``EXTRA_BITS``. The unit is a power of two, so that sines and cosines have the same."""
    w = c.operand(n.inputs[1])
    assert isinstance(w, np.ndarray)
    unit = 2.0 ** (math.ceil(math.log2(float(np.abs(w).max()))) - c.precision.weights + 1 - EXTRA_BITS)
    return convolution(c, c.factor(c.tensor(n.inputs[0])), c.constant(plane(w), unit, n.inputs[1]), n)


@lowering("Power", domain=DOMAIN)
def power(c: Context, n: Node) -> Result:
    """The sum of squares of the sources, each in up to ``PART_BITS`` bits, at one scale."""
    parts = [_part(c, c.tensor(i)) for i in n.inputs]
    scale = max(p.scale for p in parts)
    parts = [p if p.scale == scale else c.rescale_to(p, scale, DType.I32) for p in parts]
    total: Tensor | None = None
    for p in parts:
        square = c.emit("mul", p, p, scale=scale * scale)
        total = square if total is None else c.emit("add", total, square)
    assert total is not None
    return total


def _part(c: Context, x: Tensor) -> Tensor:
    shift = x.bound.bit_length() - PART_BITS
    return c.rescale_by(x, 1, shift, DType.I32) if shift > 0 else x


@lowering("Bands", domain=DOMAIN)
def bands(c: Context, n: Node) -> Result:
    """The product with a constant matrix on either side (a Gemm: plus a constant), in units that keep it in the
    machine's integers. A wide band has small weights: what rounding them leaves is multiplied apart, in finer units."""
    first = c.const(n.inputs[0]) is not None  # the constant matrix
    x, m = c.tensor(n.inputs[first]), c.operand(n.inputs[not first])
    assert isinstance(m, np.ndarray)
    m, label, axis = m.T if n.attr("transB", 0) else m, n.inputs[not first], -1 if first or m.ndim == 1 else -2
    most = 2.0**SUM_BITS / x.bound  # of the sum of a band's weights, in units
    unit = max(float(m.sum(axis).max()) / most, float(m.max()) / (2 ** (c.precision.weights - 1) - 1)) or 1.0

    def product(weights: Tensor) -> Tensor:
        return c.emit("matmul", *((weights, x) if first else (x, weights)), scale=x.scale * weights.scale)

    y = product(c.constant(m, unit, label))
    rest = m / unit - np.rint(m / unit)
    bits = min(REST_BITS, math.floor(math.log2(most / max(float(np.abs(rest).sum(axis).max()), 1e-9))) - 1)
    if bits > 0 and rest.any():
        fine = product(c.constant(rest * unit, unit / 2**bits, f"{label}.rest"))
        y = c.emit("add", y, c.emit("shr", fine, amount=bits, scale=y.scale))
    return c.emit("add", y, c.constant(np.asarray(c.operand(n.inputs[2])), y.scale)) if c.has(n, 2) else y


@lowering("Level", domain=DOMAIN)
def level(c: Context, n: Node) -> Result:
    return logarithm(c, c.tensor(n.inputs[0]), n.attr("floor"), n.attr("offset"))
