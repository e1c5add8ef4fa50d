"""The order of a graph's nodes."""

from __future__ import annotations

import onnx

from syurmy.compiler.bodies.engine import captured
from syurmy.compiler.errors import ModelError


def sort(graph: onnx.GraphProto) -> None:
    """Nodes in an order in which tensors are written before they are read, by bodies as well: in rounds, of all that
    read nothing else than what was written in rounds before."""
    known = {i.name for i in graph.input} | {t.name for t in graph.initializer} | {""}
    known |= {t.values.name for t in graph.sparse_initializer}
    nodes = list(graph.node)
    writers = {o: k for k, n in enumerate(nodes) for o in n.output if o not in known}
    readers: list[list[int]] = [[] for _ in nodes]
    waits = [0] * len(nodes)
    for k, n in enumerate(nodes):
        missing = [i for i in n.input if i not in writers and i not in known]
        if missing:
            raise ModelError(f"node '{n.name or n.op_type}' reads '{missing[0]}', which nothing writes", code="M103")
        before = {writers[i] for i in (*n.input, *captured(n)) if i in writers}
        waits[k] = len(before)
        for w in before:
            readers[w].append(k)
    order: list[int] = []
    ready = [k for k, count in enumerate(waits) if not count]
    while ready:
        order += ready
        freed = [r for k in ready for r in readers[k]]
        for r in freed:
            waits[r] -= 1
        ready = sorted({r for r in freed if not waits[r]})
    if len(order) < len(nodes):
        names = ", ".join([n.name or n.op_type for n, count in zip(nodes, waits, strict=True) if count][:5])
        raise ModelError(f"the graph is cyclic: {names} wait for each other", code="M103")
    ordered = [onnx.NodeProto.FromString(nodes[k].SerializeToString()) for k in order]
    del graph.node[:]
    graph.node.extend(ordered)
    unwritten = [o.name for o in graph.output if o.name not in known and o.name not in writers]
    if unwritten:
        raise ModelError(f"output '{unwritten[0]}' is never written", code="M103")
