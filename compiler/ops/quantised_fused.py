"""Functions of integers between DequantizeLinear and QuantizeLinear: what ``passes.quantised`` makes, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.averages import averaged
from syurmy.compiler.ops.linear import convolution
from syurmy.compiler.ops.pool import average_pool
from syurmy.compiler.ops.quantised import classes, stepped
from syurmy.compiler.ops.tabulated import requantised, tabulated
from syurmy.isa.arrays import I64, Array


@lowering("Bounded", domain=FUSED)
def bounded(c: Context, n: Node) -> Result:
    return requantised(c, c.tensor(n.inputs[0]), n.attr("to"), n.attr("loose"))


@lowering("Product", domain=FUSED)
def product(c: Context, n: Node) -> Result:
    core, bias, x = n.attr("node"), n.attr("bias"), c.tensor(n.inputs[0])
    w = c.out.param(n.attr("weights"), 1.0, n.attr("label"))
    conv = core.op == "Conv"
    acc = convolution(c, x, w, core).scaled(1.0) if conv else c.emit("matmul", x, w, scale=1.0)
    column = (-1,) + (1,) * (len(x.shape) - 2) if conv else (-1,)
    values = [n.attr("unit").reshape(column)] + ([] if bias is None else [bias.reshape(column)])
    columns, index = classes(*values)
    f = n.attr("to").function(columns[0], columns[1] if bias is not None else None)
    return stepped(c, acc, f, index, loose=True)


@lowering("Average", domain=FUSED)
def average(c: Context, n: Node) -> Result:
    core, to = n.attr("node"), n.attr("to")
    y = averaged(c, c.tensor(n.inputs[0]), core, n.attr("scale"), n.attr("out"), to.of)
    if y is not None:
        return y
    exact = average_pool(c, core)
    assert isinstance(exact, Tensor)
    return requantised(c, exact, to, loose=True)


@lowering("Concat", domain=FUSED)
def concat(c: Context, n: Node) -> Result:
    parts = [requantised(c, c.tensor(i), n.attr("to")) for i in n.inputs]
    return c.emit("concat", *parts, axis=n.attr("axis") % len(parts[0].shape))


@lowering("Function", domain=FUSED)
def function(c: Context, n: Node) -> Result:
    leaves, to, kind = n.attr("leaves"), n.attr("to"), _kind(n)
    scales = [float(d.scale) for d in leaves.values()]

    def integers(*centred: I64) -> I64:
        return np.asarray(
            to.of(_evaluated(n, {i: d.reals(a) for (i, d), a in zip(leaves.items(), centred, strict=True)}))
        )

    ratios = [scales[0] / float(to.scale), scales[-1] / float(to.scale) * (-1 if kind == "Sub" else 1)]
    y = tabulated(
        c,
        [c.tensor(i) for i in leaves],
        tuple(leaves.values()),
        integers,
        ratios if kind in ("Add", "Sub") else (),
        to.zero,
        to.function(np.array([[math.prod(scales)]])) if kind == "Mul" else None,
    )
    return c.broadcast(y, c.shape(n.outputs[0]))


def _evaluated(n: Node, feeds: Mapping[str, Array]) -> Array:
    """The reals of a ``Function`` node, by the ONNX reference evaluator, node by node in each one's own version."""
    from onnx.reference import ReferenceEvaluator

    known: dict[str, Array] = {**n.attr("fixed"), **feeds}
    for k in n.attr("nodes"):
        attrs: dict[str, Any] = {a: list(v) if isinstance(v, tuple) else v for a, v in k.attrs.items()}
        proto = onnx.helper.make_node(k.op, k.inputs, k.outputs, **attrs)
        graph = onnx.helper.make_graph(
            [proto],
            "node",
            [],
            [onnx.ValueInfoProto(name=k.outputs[0])],
            [numpy_helper.from_array(np.asarray(known[i]), i) for i in dict.fromkeys(k.inputs) if i],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", k.version)])
        with np.errstate(all="ignore"):
            results: Any = ReferenceEvaluator(model).run(None, {})
            known[k.outputs[0]] = np.asarray(results[0])
    return np.asarray(known[n.attr("nodes")[-1].outputs[0]])


def _kind(n: Node) -> str:
    """``Add``, ``Sub`` or ``Mul`` where that is what a ``Function`` of two tensors is, up to Relu and Clip."""
    found = [k for k in n.attr("nodes") if k.op not in ("Relu", "Clip")]
    if len(found) != 1 or len(n.inputs) != 2 or set(found[0].inputs) != set(n.inputs):
        return ""
    reversed_difference = found[0].op == "Sub" and found[0].inputs != n.inputs
    return "" if reversed_difference else found[0].op
