"""What no input decides though it is computed from one: ``0 x``, ``x - x``, ``x / x``, ``where(c, x, x)``.

Converters write constants so that have a batch's shape. They are constants of the graph here, and what is computed from
constants alone is one, too: an input that is read for nothing else is then one that is only compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.compiler.graph import Graph, Node
from syurmy.compiler.scales import Precision

Array = npt.NDArray[Any]


def fuse(graph: Graph, precision: Precision) -> Graph:
    constants, same, nodes = dict(graph.constants), dict[str, str](), list[Node]()
    found = False
    for n in graph.nodes:
        n = replace(n, inputs=tuple(same.get(i, i) for i in n.inputs))
        known = _known(n, graph, constants) if found or n.domain == "" else None
        if known is not None:
            constants[n.outputs[0]] = known
        elif _is_second(n, graph) and n.outputs[0] not in graph.outputs:
            same[n.outputs[0]] = n.inputs[1]
        else:
            nodes.append(n)
            continue
        found = True
    return replace(graph, nodes=tuple(nodes), constants=constants) if found else graph


def _known(n: Node, graph: Graph, constants: Mapping[str, Array]) -> Array | None:
    """The only output of a node, where it is a constant."""
    if len(n.outputs) != 1 or n.outputs[0] in graph.outputs or "body" in n.attrs or "then_branch" in n.attrs:
        return None
    v = graph.values[n.outputs[0]]
    new = any(i in constants and i not in graph.constants for i in n.inputs)  # weights that are dequantised stay so
    if new and all(not i or i in constants for i in n.inputs):
        return np.asarray(graph.samples[n.outputs[0]][0])
    if n.domain != "" or v.dtype.kind not in "fiu":
        return None
    if n.op == "Mul" and any(i in constants and not constants[i].any() for i in n.inputs):
        return np.zeros(v.shape, v.dtype)
    if n.op in ("Sub", "Div") and n.inputs[0] == n.inputs[1]:
        return np.full(v.shape, int(n.op == "Div"), v.dtype)
    return None


def _is_second(n: Node, graph: Graph) -> bool:
    """A choice between one tensor and itself, which has its shape."""
    return (
        (n.domain, n.op) == ("", "Where")
        and n.inputs[1] == n.inputs[2]
        and graph.values[n.inputs[1]].shape == graph.values[n.outputs[0]].shape
    )
