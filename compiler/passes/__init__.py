"""What is rewritten before nodes are lowered: one file a pass, and their order.

``unroll.flattened`` comes first, on the ONNX model: control flow whose course no input decides becomes the nodes that
run. Then, on the observed graph, in the order of ``PASSES``: constants that are computed from inputs, what
QuantizeLinear reads before anything else takes its operands, decisions on features before what lies before them is
fused, quotients that are softmaxes or normalisations, differences of powers, masks before the softmax's sum gets a
scale, units of an output's columns, and chains of pointwise operators last, from what is left.

A pass is ``fuse(graph, precision)``: the graph with some nodes replaced by one of the domain ``graph.FUSED``, whose
lowering is in ``compiler.ops``. It changes no tensor that a model output or a node outside of the pattern reads.
"""

from __future__ import annotations

from collections.abc import Callable

from syurmy.compiler.graph import Graph
from syurmy.compiler.passes import (
    columns,
    embeddings,
    identities,
    masks,
    norms,
    pointwise,
    powers,
    quantised,
    shares,
    spectra,
    targets,
)
from syurmy.compiler.scales import Precision

Pass = Callable[[Graph, Precision], Graph]
PASSES: tuple[Pass, ...] = (
    identities.fuse, quantised.fuse, columns.fuse, shares.fuse, norms.fuse, powers.fuse, masks.fuse,
    embeddings.fuse, spectra.fuse, targets.fuse, pointwise.fuse,
)  # fmt: skip


def rewritten(graph: Graph, precision: Precision) -> Graph:
    """The graph after all passes."""
    for fuse in PASSES:
        graph = fuse(graph, precision)
    return graph
