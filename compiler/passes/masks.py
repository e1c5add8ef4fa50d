"""Softmax under a mask: causal attention, and attention to the tokens that are there.

Exporters write a mask as ``Softmax(x + m)`` or ``Softmax(Where(k, x, m))`` with entries of m at minus infinity, or so
far below that nothing of the exponential is left. One scale for such a sum would leave x no bits, so x and the kept
entries are handed over instead. Kept entries are those of Softmax over them (see ``ops.softmax``); the others are
exactly 0.

A mask may be data where its form shows what it is: ``x + t * c`` or ``x + Where(t, c, 0)`` with a constant c so far
below 0. An entry is kept where the whole number t is below 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from syurmy.compiler.graph import FUSED, Graph, Node, live, observed
from syurmy.compiler.scales import Precision

Floats = npt.NDArray[np.float64]
FAR = 1e3  # below this, and below FACTOR times the other operand's peak, an entry is masked
FACTOR = 4.0


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with masked softmaxes as one node each; a mask with other finite entries stays as a sum before it."""
    made = {o: n for n in graph.nodes for o in n.outputs}
    constants, values, samples = dict(graph.constants), dict(graph.values), dict(graph.samples)
    nodes = []
    for n in graph.nodes:
        found = source = None
        rank = len(graph.values[n.outputs[0]].shape) if n.op == "Softmax" else 0
        default = 1 if n.version < 13 else -1
        if n.op == "Softmax" and not n.domain and rank and n.attr("axis", default) % rank == rank - 1:
            source = made.get(n.inputs[0])
            found = _split(graph, source) if source is not None else None
        if found is not None and source is not None:
            x, keep, bias = found
            name = f"{n.inputs[0]}.keep"
            constants[name] = keep
            if bias is not None:
                constants[f"{name}.bias"] = bias
                nodes.append(replace(source, inputs=(x, f"{name}.bias"), outputs=(f"{name}.sum",)))
                samples[f"{name}.sum"] = [v + bias.astype(v.dtype) for v in graph.samples[x]]
                x = nodes[-1].outputs[0]
                values[x] = observed(samples[x])
            n = Node(n.name, "MaskedSoftmax", FUSED, 1, (x, name), n.outputs, {})
        elif source is not None and source.op == "Add":
            for x, m in (source.inputs, source.inputs[::-1]):
                t = _switch(graph, made.get(m))
                if t is not None and graph.values[x].shape == graph.values[n.outputs[0]].shape:
                    n = Node(n.name, "MaskedSoftmax", FUSED, 1, (x, t), n.outputs, {})
        nodes.append(n)
    nodes = live(nodes, graph.outputs)
    return replace(graph, nodes=tuple(nodes), constants=constants, values=values, samples=samples)


def _split(graph: Graph, n: Node) -> tuple[str, npt.NDArray[np.bool_], Floats | None] | None:
    """The unmasked tensor, which entries are kept, and what else the mask adds."""
    if n.op == "Add":
        x, m = n.inputs if n.inputs[1] in graph.constants else n.inputs[::-1]
        if m not in graph.constants or x in graph.constants:
            return None
        mask = graph.constants[m].astype(np.float64)
    elif n.op == "Where" and n.inputs[0] in graph.constants:
        condition = graph.constants[n.inputs[0]].astype(bool)
        _, x, m = n.inputs
        if m not in graph.constants:
            x, m, condition = m, x, ~condition
        if m not in graph.constants or x in graph.constants:
            return None
        mask = np.where(condition, 0.0, graph.constants[m].astype(np.float64))
    else:
        return None
    keep = mask >= -max(FAR, FACTOR * graph.values[x].absmax)
    shape = graph.values[n.outputs[0]].shape
    if keep.all() or graph.values[x].shape != shape or not np.broadcast_to(keep, shape).any(axis=-1).all():
        return None
    bias = np.where(keep, mask, 0.0)
    return x, keep, bias if bias.any() else None


def _switch(graph: Graph, n: Node | None) -> str | None:
    """The tensor that is above 0 where the mask that a node makes hides an entry."""
    if n is None or n.op not in ("Mul", "Where"):
        return None
    t, far, *rest = n.inputs if n.inputs[1] in graph.constants else n.inputs[::-1]
    c = graph.constants.get(far)
    if c is None or c.size != 1 or not c.reshape(-1)[0] <= -FAR or t in graph.constants:
        return None
    hidden = [np.asarray(v) != 0 for v in graph.samples[t]]
    if rest:  # what is added to kept entries must be nothing
        added = graph.samples.get(rest[0]) or [graph.constants[rest[0]]] * len(hidden)
        if any(np.where(h, 0, v).any() for h, v in zip(hidden, added, strict=True)):
            return None
    return t
