"""What stands between DequantizeLinear and QuantizeLinear becomes one function of integers.

- A convolution or matrix product with constant weights, of a dequantised tensor, and its bias: per channel a monotone
  function of the exact accumulator, ``y = Q(fl(fl(u acc) + b))`` with u the product of both scales.
- Pointwise operators on one dequantised tensor, or on two of 8 bits: a function on at most 2^16 pairs of integers that
  the ONNX reference evaluator itself computes (``compiler.ops.tabulated``).
- An average over fewer than 8 entries, whose halves are decided by the rounding of the float32 sum: every partial sum
  is rounded as float32 rounds it (``compiler.ops.averages``).
- A softmax: shares of integer exponentials, divided and rounded at once (``compiler.ops.quantised_softmax``).
- A concatenation: its parts are quantised, exactly as ``Q(concat(x, y)) = concat(Q(x), Q(y))``.
- Relu and Clip before QuantizeLinear bound its result: Q never decreases, so ``Q(clip(x, a, b))`` is a clipped Q.

Operators that only move or choose entries (Reshape, Transpose, MaxPool, ...) work on the integers as they are.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import FUSED, Graph, Node, live
from syurmy.compiler.ops.activation import FUNCTIONS
from syurmy.compiler.ops.averages import windows
from syurmy.compiler.ops.quantised import ROWS, constant_parameters, less, limits, precision
from syurmy.compiler.ops.tabulated import Dequantised, Quantiser
from syurmy.compiler.scales import Precision
from syurmy.isa.arrays import Array

QUANTISERS = ("", "com.microsoft")
MOVES = {
    "DepthToSpace", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "Reshape", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}  # fmt: skip
POINTWISE = {*FUNCTIONS, "Add", "Clip", "Div", "Identity", "Max", "Min", "Mul", "Neg", "Pow", "PRelu", "Relu", "Sub"}
MAX_NODES = 32
BYTE = 2**8  # rows of a table of exponentials
SHORT_SUM = 8  # NumPy and onnxruntime add so few entries one after the other


class _Patterns:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made = {o: n for n in graph.nodes for o in n.outputs} | dict(graph.folded)
        self.uses = Counter(i for n in graph.nodes for i in n.inputs) + Counter(graph.outputs)
        self._dequantised: dict[str, Dequantised | None] = {}

    def constant(self, name: str) -> Array | None:
        """A real constant's values, also one that is dequantised in the program."""
        if name in self.graph.constants:
            return self.graph.constants[name]
        n = self.made.get(name)
        fixed = n is not None and n.op == "DequantizeLinear" and all(i in self.graph.constants for i in n.inputs)
        return self.graph.samples[name][0] if fixed else None

    def quantiser(self, n: Node) -> Quantiser | None:
        given = [self.graph.constants.get(i) for i in n.inputs[1:] if i]
        if any(g is None or g.size != 1 for g in given):
            return None
        zero = int(np.asarray(given[1]).reshape(())) if len(given) > 1 else 0
        real, to = (self.graph.values[name].dtype for name in (n.inputs[0], n.outputs[0]))
        if real.kind != "f":
            return None
        try:
            return Quantiser(np.asarray(given[0]).reshape(()), zero, limits(to), real, precision(n))
        except Unsupported:
            return None

    def dequantised(self, name: str) -> Dequantised | None:
        """Where a tensor comes from, through operators that keep its entries."""
        if name not in self._dequantised:
            n = self.made.get(name)
            found = None
            if n is not None and n.op == "DequantizeLinear" and n.domain in QUANTISERS:
                found = self._parameters(n)
            elif n is not None and n.op in MOVES and not n.domain and n.inputs:
                found = self.dequantised(n.inputs[0])
            self._dequantised[name] = found
        return self._dequantised[name]

    def _parameters(self, n: Node) -> Dequantised | None:
        given = [self.graph.constants.get(i) for i in n.inputs[1:] if i]
        if any(g is None or g.size != 1 for g in given):
            return None
        zero = int(np.asarray(given[1]).reshape(())) if len(given) > 1 else 0
        x = self.graph.constants.get(n.inputs[0])
        try:
            span = limits(self.graph.values[n.inputs[0]].dtype) if x is None else (int(x.min()), int(x.max()))
        except Unsupported:
            return None
        return Dequantised(np.asarray(given[0]).reshape(()), zero, span)

    # ---- what QuantizeLinear reads ---------------------------------------------------------------------------------

    def fused(self, q: Node) -> Node:
        """The node that replaces ``q``: itself if nothing fits."""
        to = self.quantiser(q)
        if to is None:
            return q
        name, plain = q.inputs[0], to
        while (n := self.made.get(name)) is not None and (b := self._bounds(n)) is not None:
            name, to = n.inputs[0], replace(to, bounds=(b, *to.bounds))
        if n is not None and not n.domain:
            found = self._product(n, name) or self._average(n) or self._concat(n) or self._softmax(n, to)
            if found is not None:
                op, inputs, attrs = found
                return Node(q.name, op, FUSED, 1, inputs, q.outputs, {**attrs, "to": to})
        if (found := self._pointwise(q.inputs[0])) is not None:
            op, inputs, attrs = found
            return Node(q.name, op, FUSED, 1, inputs, q.outputs, {**attrs, "to": plain})
        loose = self.dequantised(name) is None and n is not None
        if to.bounds:
            return Node(q.name, "Bounded", FUSED, 1, (name,), q.outputs, {"to": to, "loose": loose})
        return replace(q, attrs={**q.attrs, "loose": loose})

    def _bounds(self, n: Node) -> tuple[float, float] | None:
        if n.domain or n.op not in ("Relu", "Clip"):
            return None
        if n.op == "Relu":
            return 0.0, math.inf
        ends = []
        for i, attr, default in ((1, "min", -math.inf), (2, "max", math.inf)):
            x = np.asarray(n.attr(attr, default))
            if i < len(n.inputs) and n.inputs[i]:
                given = self.constant(n.inputs[i])
                if given is None or given.size != 1:
                    return None
                x = given
            ends.append(float(x.reshape(())))
        return ends[0], ends[1]

    def _product(self, n: Node, name: str) -> tuple[str, tuple[str, ...], dict[str, Any]] | None:
        """Conv, Gemm, or MatMul with or without a bias that is added."""
        added: Array | None = None
        if n.op == "Add":
            for i in (0, 1):
                inner, given = self.made.get(n.inputs[i]), self.constant(n.inputs[1 - i])
                if inner is not None and inner.op == "MatMul" and given is not None and self.uses[name] == 1:
                    name, n, added = n.inputs[i], inner, given
                    break
        if n.op not in ("Conv", "Gemm", "MatMul") or self.uses[name] != 1:
            return None
        if n.attr("transA", 0) or n.attr("alpha", 1.0) != 1 or n.attr("beta", 1.0) != 1:
            return None
        x, d = self.dequantised(n.inputs[0]), self.made.get(n.inputs[1])
        if x is None or d is None or d.op != "DequantizeLinear" or any(i not in self.graph.constants for i in d.inputs):
            return None
        q = self.graph.constants[d.inputs[0]]
        if n.op != "Conv" and q.ndim != 2:
            return None
        channel = 0 if n.op == "Conv" or n.attr("transB", 0) else 1
        fixed = [self.graph.constants[i] for i in d.inputs[1:] if i]
        try:
            p = constant_parameters(
                fixed[0], fixed[1] if len(fixed) > 1 else None, q.shape, d.attr("axis", 1), d.attr("block_size", 0)
            )
        except Unsupported:
            return None
        scale = p.scale
        if scale.size > 1:
            kept = tuple(a for a in range(q.ndim) if a != channel)
            if scale.max(axis=kept).size != q.shape[channel] or (scale != scale.max(axis=kept, keepdims=True)).any():
                return None  # several scales along a sum
            scale = scale.max(axis=kept)
        bias = added
        if len(n.inputs) > 2 and n.inputs[2]:
            bias = self.constant(n.inputs[2])
            if bias is None:
                return None
        if bias is not None and bias.size > 1 and (bias.size != q.shape[channel] or bias.shape[-1] != bias.size):
            return None
        weights = less(q, p.zero)
        if n.op != "Conv" and channel == 0:
            weights = weights.T
        attrs = {"node": n, "weights": weights, "label": d.inputs[0], "bias": bias}
        attrs["unit"] = float(x.scale) * scale.astype(np.float64).reshape(-1)
        return "Product", (n.inputs[0],), attrs

    def _average(self, n: Node) -> tuple[str, tuple[str, ...], dict[str, Any]] | None:
        if n.op != "AveragePool" or len(n.attr("kernel_shape")) > 2:
            return None
        x = self.dequantised(n.inputs[0])
        if x is None or not 1 < math.prod(n.attr("kernel_shape")) < SHORT_SUM or x.scale.dtype != np.float32:
            return None
        image, out = (self.graph.values[i].shape[2:] for i in (n.inputs[0], n.outputs[0]))
        if any(n.attr("pads") or ()) or windows(n, image, out) is None:
            return None
        return "Average", n.inputs, {"node": n, "scale": x.scale, "out": out}

    def _concat(self, n: Node) -> tuple[str, tuple[str, ...], dict[str, Any]] | None:
        if n.op != "Concat" or not all(self.dequantised(i) for i in n.inputs):
            return None
        return "Concat", n.inputs, {"axis": n.attr("axis")}

    def _softmax(self, n: Node, to: Quantiser) -> tuple[str, tuple[str, ...], dict[str, Any]] | None:
        x = self.dequantised(n.inputs[0]) if n.op == "Softmax" and not to.bounds else None
        return None if x is None or x.width > BYTE else ("Shares", n.inputs[:1], {"node": n, "of": x})

    def _pointwise(self, name: str) -> tuple[str, tuple[str, ...], dict[str, Any]] | None:
        nodes: list[Node] = []
        leaves: dict[str, Dequantised] = {}
        fixed: dict[str, Array] = {}

        def visit(name: str) -> bool:
            found = self.dequantised(name)
            if found is not None:
                leaves[name] = found
                return True
            given = self.constant(name)
            if given is not None and given.size == 1:
                fixed[name] = given.reshape(())
                return True
            n = self.made.get(name)
            if n is None or n.domain or n.op not in POINTWISE or len(n.outputs) != 1 or len(nodes) > MAX_NODES:
                return False
            if any(o.outputs == n.outputs for o in nodes):
                return True
            if not all(not i or visit(i) for i in n.inputs):
                return False
            nodes.append(n)
            return True

        if not visit(name) or not nodes or not 1 <= len(leaves) <= 2:
            return None
        if math.prod(d.width for d in leaves.values()) > ROWS:
            return None
        return "Function", tuple(leaves), {"nodes": tuple(nodes), "leaves": leaves, "fixed": fixed}


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph with such nodes in the place of QuantizeLinear."""
    quantisers = [n.op == "QuantizeLinear" and n.domain in QUANTISERS for n in graph.nodes]
    if not any(quantisers):
        return graph
    patterns = _Patterns(graph)
    nodes = [patterns.fused(n) if found else n for n, found in zip(graph.nodes, quantisers, strict=True)]
    return replace(graph, nodes=tuple(live(nodes, graph.outputs)))
