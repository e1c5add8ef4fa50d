"""Entries that a mask selects, where what is made of them has a shape of its own.

NonZero, GatherND and Compress give as many rows as the mask has ones, which no program can. But ``x[m] = v``, ``x[m] =
f(x[m])``, a sum or a mean of ``f(x[m], y[m])`` and the number of ones are fixed in shape, and are the same with all
rows and a Where:

    ScatterND(y, NonZero(m)^T, f(x[m]))  =  Where(m, f(x), y)
    ReduceSum(f(x[m]))                   =  ReduceSum(Where(m, f(x), 0))
    Shape(x[m])[0]                       =  ReduceSum(Cast(m))

Selections that are read in another way stay, and are refused where their shape is data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto

from syurmy.compiler.bodies.engine import inferred, known_types, nodes_of, taken_names
from syurmy.compiler.bodies.writer import Unknown, Writer

SELECT = {"NonZero", "Compress"}
POINTWISE = {
    "Abs", "Add", "Cast", "Clip", "Div", "Erf", "Exp", "Gelu", "Identity", "LeakyRelu", "Log", "Mul", "Neg", "Pow",
    "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh",
}  # fmt: skip
NEUTRAL = {"ReduceSum": 0, "ReduceMean": 0, "ReduceL1": 0, "ReduceL2": 0, "ReduceSumSquare": 0, "ReduceProd": 1}


@dataclass(frozen=True)
class Rows:
    """Of the tensor ``full``, those that ``mask`` selects; its leading axes are the mask's. ``like``: a tensor of the
    model's of its shape."""

    full: str
    mask: str
    like: str


def without_selections(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with such readers of selections replaced; the model itself if there are none. Raises nothing."""
    if not any(n.op_type in SELECT and not n.domain for n in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    types = known_types(inferred(copy))
    values = {t.name: t for t in copy.graph.initializer}
    values.update({n.output[0]: n.attribute[0].t for n in copy.graph.node if n.op_type == "Constant"
                   and n.attribute and n.attribute[0].name == "value"})  # fmt: skip
    opset = next((o.version for o in copy.opset_import if o.domain in ("", "ai.onnx")), 1)
    made = {o: n for n in copy.graph.node for o in n.output}
    taken = taken_names(copy.graph)
    nodes: list[NodeProto] = []
    changed = False
    for n in copy.graph.node:
        w = Writer(n, opset, types, values, taken)
        try:
            result = _Reader(w, made).result()
        except Unknown:
            result = None
        changed |= result is not None
        nodes += [n] if result is None else w.finished({n.output[0]: result})
        copy.graph.initializer.extend(w.constants if result is not None else [])
    if not changed:
        return model
    needed, kept = {o.name for o in copy.graph.output}, []
    for n in reversed(nodes):
        if needed.intersection(n.output):
            needed.update(n.input)
            for a in n.attribute:
                needed.update(i for g in [a.g, *a.graphs] for m in nodes_of(g) for i in m.input)
            kept.append(NodeProto.FromString(n.SerializeToString()))
    del copy.graph.node[:]
    copy.graph.node.extend(kept[::-1])
    return copy


class _Reader:
    """A node that may read a selection."""

    def __init__(self, w: Writer, made: Mapping[str, NodeProto]) -> None:
        self.w, self.made = w, made

    def result(self) -> str | None:
        n = self.w.node
        if n.domain:
            return None
        if n.op_type == "ScatterND" and self.w.attr("reduction", "none") == "none":
            return self.scattered()
        if n.op_type in NEUTRAL:
            return self.reduced()
        return self.counted() if n.op_type in ("Gather", "Size") else None

    def producer(self, name: str, *ops: str) -> NodeProto | None:
        n = self.made.get(name)
        return n if n is not None and not n.domain and n.op_type in ops else None

    # ---- what is selected --------------------------------------------------------------------------------------------

    def mask_of(self, name: str) -> str | None:
        """The mask of whose ones a tensor holds the places, one a row (or the numbers, of a vector)."""
        w, n = self.w, self.producer(name, "Transpose", "Squeeze", "Reshape", "Flatten")
        source = self.producer(n.input[0], "NonZero", "Transpose") if n is not None else None
        if n is None or source is None:
            return None
        if n.op_type == "Transpose" and source.op_type == "NonZero":
            return str(source.input[0])
        inner = source.input[0] if source.op_type == "NonZero" else self.mask_of(n.input[0])
        return inner if inner is not None and n.op_type != "Transpose" and w.rank(inner) == 1 else None

    def rows(self, name: str) -> Rows | None:
        w, n = self.w, self.producer(name, "GatherND", "Gather", "Compress")
        if n is None:
            return None
        given = {a.name: a.i for a in n.attribute}
        if n.op_type == "Compress":
            if w.value(n.input[1]) is not None or ("axis" not in given and w.rank(n.input[0]) > 1):
                return None
            mask = n.input[1] if given.get("axis", 0) == 0 else None
        else:
            mask = None if given.get("batch_dims", 0) or given.get("axis", 0) else self.mask_of(n.input[1])
            if mask is not None and n.op_type == "Gather" and w.rank(mask) != 1:
                return None
        if mask is None or w.shape(n.input[0])[: w.rank(mask)] != w.shape(mask):
            return None
        return Rows(n.input[0], mask, n.input[0])

    def lifted(self, name: str, depth: int = 8) -> Rows | None:
        """A pointwise function of rows as the rows of one of all."""
        found = self.rows(name)
        n = self.producer(name, *POINTWISE) if found is None and depth else None
        if n is None:
            return found
        parts = [self.lifted(i, depth - 1) if i else None for i in n.input]
        found = next((p for p in parts if p is not None), None)
        masks = {p.mask for p in parts if p is not None}
        if (
            found is None
            or len(masks) != 1
            or any(p is None and i and not self.single(i) for p, i in zip(parts, n.input, strict=True))
        ):
            return None
        names = [p.full if p is not None else i for p, i in zip(parts, n.input, strict=True)]
        given = {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
        return Rows(self.w(n.op_type, *names, **given), found.mask, found.like)

    def single(self, name: str) -> bool:
        """Whether a tensor is a number, or a vector of one."""
        return self.w.shape(name) in ((), (1,))

    def filled(self, name: str) -> str | None:
        """The one number of which a tensor is made, whatever its shape."""
        n = self.producer(name, "Expand", "ConstantOfShape", "Identity", "Reshape")
        if n is None:
            return None
        if n.op_type == "ConstantOfShape":
            value = next((onnx.numpy_helper.to_array(a.t) for a in n.attribute), np.zeros(1, np.float32))
            return self.w.const(value.reshape(()))
        inner = n.input[0]
        return self.w.reshape(inner, [1]) if self.known_single(inner) else self.filled(inner)

    def known_single(self, name: str) -> bool:
        try:
            return self.single(name)
        except Unknown:
            return False

    def condition(self, mask: str, rank: int) -> str:
        """The mask as truth values, with axes of one entry for those of a row."""
        w = self.w
        shape = w.shape(mask)
        m = mask if w.dtype(mask) == np.bool_ else w.cast(mask, np.bool_)
        return w.reshape(m, [*shape, *(1,) * (rank - len(shape))]) if rank > len(shape) else m

    # ---- what is made of it ------------------------------------------------------------------------------------------

    def scattered(self) -> str | None:
        w = self.w
        data, places, updates = (w.input(k) for k in range(3))
        mask = self.mask_of(places)
        if mask is None or w.shape(data)[: w.rank(mask)] != w.shape(mask):
            return None
        number = self.filled(updates)
        if number is None:
            found = self.lifted(updates)
            if found is None or found.mask != mask:
                return None
            number = found.full
        return w("Where", self.condition(mask, w.rank(data)), number, data)

    def reduced(self) -> str | None:
        """Over the selected rows, and perhaps more axes."""
        w = self.w
        found = self.lifted(w.input(0))
        if found is None:
            return None
        shape, lead = w.shape(found.like), w.rank(found.mask)
        rest = shape[lead:]
        axes = w.attr("axes")
        if axes is None and w.has(1):
            given = w.value(w.input(1))
            if given is None:
                return None
            axes = given.tolist()
        axes = sorted(a % (1 + len(rest)) for a in axes) if axes else list(range(1 + len(rest)))
        if axes[0] != 0:
            return None
        op, keep = w.node.op_type, self.condition(found.mask, len(shape))
        kind = w.dtype(found.like)
        x = w("Where", keep, found.full, w.const(NEUTRAL[op], kind))
        over = [*range(lead), *(lead + a - 1 for a in axes[1:])]
        y = w.reduce("ReduceSum" if op == "ReduceMean" else op, x, over, False)
        if op == "ReduceMean":
            each = math.prod(rest[a - 1] for a in axes[1:])
            count = w("Mul", self.count(found.mask, kind), w.const(each, kind))
            y = w("Div", y, w("Max", count, w.const(1, kind)))
        kept = [1 if k in axes else d for k, d in enumerate([1, *rest])]
        return w.reshape(y, kept if w.attr("keepdims", 1) else [d for k, d in enumerate(kept) if k not in axes])

    def count(self, mask: str, dtype: np.dtype[np.generic]) -> str:
        ones = self.w.cast(self.condition(mask, 0), dtype)
        return self.w.reduce("ReduceSum", ones, list(range(self.w.rank(mask))), False)

    def counted(self) -> str | None:
        """Shape(..)[k] where axis k is that of the selected."""
        w = self.w
        n = self.producer(w.input(0), "Shape") if w.node.op_type == "Gather" else None
        at = w.value(w.input(1)) if n is not None else None
        if n is None or at is None or at.size != 1 or n.attribute:
            return None
        source, k = n.input[0], int(at.reshape(()))
        nonzero = self.producer(source, "NonZero")
        if nonzero is not None:
            mask = nonzero.input[0] if k in (1, -1) else None
        else:
            found = self.rows(source)
            mask = (self.mask_of(source) or (found.mask if found else None)) if k == 0 else None
        if mask is None:
            return None
        return w.reshape(self.count(mask, np.dtype(np.int64)), at.shape)
