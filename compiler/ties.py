"""Tied weights: one matrix that is read in several places, as it is or transposed, is one param.

A language model's embedding is also its head; exporters write both as constants of their own, one the transpose of the
other, and models that run one layer many times read its weights each time. A product would give the weights the unit
that makes its own narrowing cheapest, so that the same reals become other integers for every reader. Where at least as
many entries are saved as the products have results, all readers share the integers of the finest unit instead: a
result may then take one lookup more where it is narrowed, as its shift is longer than 16 bits, but each entry is
committed, encoded and stored once.

Weights of 8 bits have a unit for each channel (``compiler.mantissas``), so they are tied where all readers have the
same channels: the rows of an embedding are those of its head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from syurmy.compiler.graph import Graph, Node
from syurmy.isa.arrays import Array

LEAST = 2**14  # entries of a matrix that is worth it
CORNER = 8  # rows and columns that tell most matrices apart


@dataclass(frozen=True)
class Tie:
    """A constant is the one called ``name``, or its transpose (``turned``)."""

    name: str
    turned: bool


def ties(graph: Graph, by_row: bool = False) -> dict[str, Tie]:
    """The real matrices that are worth to be one, by their names in the graph; that whose rows are read by index stands
    for all of its kind, else the first. ``by_row``: only where its rows are all readers' channels."""
    reads: dict[str, list[int]] = {}
    channels: dict[str, set[int]] = {}
    for n in graph.nodes:
        if (found := _read(graph, n)) is not None:
            reads.setdefault(found[0], []).append(found[1])
            channels.setdefault(found[0], set()).add(found[2])
    groups: dict[str, dict[str, bool]] = {}  # names of equal matrices, and whether they are turned
    for name in sorted(reads, key=lambda name: min(reads[name])):  # rows that are read by index first: 0
        for first, group in groups.items():
            turned = _turned(graph.constants[first], graph.constants[name])
            if turned is not None:
                group[name] = turned
                break
        else:
            groups[name] = {name: False}
    out = {}
    for first, group in groups.items():
        if by_row and any(channels[name] != {int(turned)} for name, turned in group.items()):
            continue
        results = [entries for name in group for entries in reads[name]]
        if (len(results) - 1) * graph.constants[first].size >= max(sum(results), 1):
            out.update({name: Tie(first, turned) for name, turned in group.items()})
    return out


def _read(graph: Graph, n: Node) -> tuple[str, int, int] | None:
    """The matrix that a node reads, the entries of its product with it (0: it reads rows by index), and the axis of its
    channels."""
    if n.domain or len(n.inputs) < 2:
        return None
    name, other = n.inputs[1::-1] if n.op in ("MatMul", "Gemm") else n.inputs[:2]
    w = graph.constants.get(name)
    if w is None or w.ndim != 2 or w.dtype.kind != "f" or w.size < LEAST or other in graph.constants:
        return None
    if n.op == "Gather" and not n.attr("axis", 0):
        return name, 0, 0
    if n.op == "MatMul" or (n.op == "Gemm" and n.attr("alpha", 1.0) == 1.0):
        return name, math.prod(graph.values[n.outputs[0]].shape), int(not n.attr("transB", 0))
    return None


def _turned(a: Array, b: Array) -> bool | None:
    """Whether b is the transpose of a; None where it is neither that nor a."""
    for turned, c in ((False, b), (True, b.T)):
        corner = np.s_[:CORNER, :CORNER]
        if a.shape == c.shape and a.dtype == c.dtype and (a[corner] == c[corner]).all() and np.array_equal(a, c):
            return turned
    return None
