"""Sequences and optional values at the top level of a model, as the tensors that they hold.

Exporters write lists of tensors so (``torch.stack``, ``split``, loops that gather rows). Which tensors a sequence holds
is known where places are constants: what takes one out is the tensor itself then, and what joins them a Concat. Nodes
that make sequences stay, for those that are not understood; what nothing reads is dropped later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from syurmy.compiler.bodies.engine import captured

MAKING = {
    "SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SplitToSequence", "Optional",
}  # fmt: skip
TAKING = {"SequenceAt", "SequenceLength", "ConcatFromSequence", "OptionalGetElement", "OptionalHasElement"}
SEQUENCES = MAKING | TAKING


def without_sequences(
    model: onnx.ModelProto, values: Mapping[str, Any], fixed: Mapping[str, Any]
) -> onnx.ModelProto | None:
    """The model with what takes tensors out of sequences replaced; None where there is nothing to replace. ``values``:
    its tensors on a sample; ``fixed``: those that no input decides."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    made = _Lists(values, fixed, opset, {o for n in model.graph.node for o in n.output})
    nodes: list[NodeProto] = []
    changed = False
    for n in model.graph.node:
        taken = made.taken(n) if n.domain in ("", "ai.onnx") else None
        nodes += [n] if taken is None else taken
        changed |= taken is not None
    if not changed:
        return None
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    del flat.graph.node[:]
    read, kept = {o.name for o in model.graph.output}, []
    for n in reversed(nodes):
        if n.op_type not in MAKING or read.intersection(n.output):
            kept.append(n)
            read.update((*n.input, *captured(n)))
    flat.graph.node.extend(reversed(kept))
    return flat


class _Lists:
    """``held``: the names of the tensors in each sequence (of an optional value: itself, or none)."""

    def __init__(self, values: Mapping[str, Any], fixed: Mapping[str, Any], opset: int, known: set[str]) -> None:
        self.values, self.fixed, self.opset, self.known = values, fixed, opset, known
        self.held: dict[str, list[str]] = {}
        self.optional: dict[str, str] = {}

    def taken(self, n: NodeProto) -> list[NodeProto] | None:
        """What stands in the place of a node; None where it stays."""
        if n.op_type == "SplitToSequence":
            return self._split(n)
        if n.op_type in MAKING or n.op_type == "Identity":
            self._noted(n)
            return None
        out = n.output[0] if n.output else ""
        if n.op_type in ("OptionalGetElement", "OptionalHasElement") and n.input and n.input[0]:
            return self._optional(n)
        if n.op_type not in TAKING or not n.input or n.input[0] not in self.held:
            return None
        parts = self.held[n.input[0]]
        if n.op_type == "SequenceLength":
            return [_constant(out, np.array(len(parts)))]
        if n.op_type == "SequenceAt":
            at = self._place(n, 1, 0)
            return None if at is None or not -len(parts) <= at < len(parts) else [_same(parts[at], out)]
        return self._joined(n, parts) if parts else None

    def _place(self, n: NodeProto, k: int, default: int) -> int | None:
        if k >= len(n.input) or not n.input[k]:
            return default
        found = self.fixed.get(n.input[k])
        return None if found is None or np.size(found) != 1 else int(np.reshape(found, ()))

    def _noted(self, n: NodeProto) -> None:
        """What the sequence that a node makes holds."""
        parts = list(self.held[n.input[0]]) if n.input and n.input[0] in self.held else None
        out = n.output[0]
        if n.op_type in ("SequenceEmpty", "SequenceConstruct"):
            self.held[out] = list(n.input)
        elif n.op_type == "Optional":
            self.optional[out] = n.input[0] if n.input else ""
        elif n.op_type == "Identity" and n.input[0] in self.optional:
            self.optional[out] = self.optional[n.input[0]]
        elif parts is None:
            return
        elif n.op_type == "Identity":
            self.held[out] = parts
        elif (at := self._place(n, 1 + (n.op_type == "SequenceInsert"), len(parts))) is not None:
            if n.op_type == "SequenceInsert":
                parts.insert(at, n.input[1])
            else:
                del parts[at if at < len(parts) else -1]
            self.held[out] = parts

    def _optional(self, n: NodeProto) -> list[NodeProto] | None:
        """An optional value, or a tensor or sequence in its place."""
        name, out = n.input[0], n.output[0]
        if name not in self.optional and name not in self.held:
            known = isinstance(self.values.get(name), np.ndarray)
            inner = name if known else None
        else:
            inner = self.optional.get(name, name)
        if inner is None:
            return None
        if n.op_type == "OptionalHasElement":
            return [_constant(out, np.array(bool(inner)))]
        if inner in self.held:
            self.held[out] = self.held[inner]
        return [_same(inner, out)] if inner else None

    def _split(self, n: NodeProto) -> list[NodeProto] | None:
        x, label = n.input[0], n.output[0]
        shape = np.shape(self.values.get(x, ()))
        given = helper.get_node_attr_value(n, "axis") if any(a.name == "axis" for a in n.attribute) else 0
        keep = helper.get_node_attr_value(n, "keepdims") if any(a.name == "keepdims" for a in n.attribute) else 1
        if not shape:
            return None
        axis, length = given % len(shape), shape[given]
        sizes, several = [1] * length, len(n.input) > 1 and n.input[1]
        if several:
            split = self.fixed.get(n.input[1])
            if split is None:
                return None
            each = [int(v) for v in np.reshape(split, -1)]
            sizes = each if np.ndim(split) else [min(each[0], length - k) for k in range(0, length, each[0])]
        names = [f"{label}/{k}" for k in range(len(sizes))]
        if names[0] in self.known:  # it is written out, and stays for something else
            self.held[label] = names
            return None
        squeezed = not several and not keep
        rows = [f"{name}/row" for name in names] if squeezed else names
        nodes = [self._with(helper.make_node("Split", [x], rows, axis=axis), "split", sizes)]
        if squeezed:
            pairs = zip(rows, names, strict=True)
            nodes += [self._with(helper.make_node("Squeeze", [row], [name]), "axes", [axis]) for row, name in pairs]
        self.held[label] = names
        return [*(c for pair in nodes for c in pair), n]

    def _joined(self, n: NodeProto, parts: list[str]) -> list[NodeProto]:
        attrs = {a.name: helper.get_attribute_value(a) for a in n.attribute}
        axis, out, nodes = attrs["axis"], n.output[0], []
        if attrs.get("new_axis", 0):
            rows = [f"{out}/{k}" for k in range(len(parts))]
            for part, row in zip(parts, rows, strict=True):
                nodes += self._with(helper.make_node("Unsqueeze", [part], [row]), "axes", [axis])
            parts = rows
        return [*nodes, helper.make_node("Concat", parts, [out], axis=axis)]

    def _with(self, n: NodeProto, name: str, numbers: list[int]) -> list[NodeProto]:
        """A node with a list that is an attribute up to opset 12, and an input from there on."""
        if self.opset < 13:
            n.attribute.append(helper.make_attribute(name, numbers))
            return [n]
        n.input.append(f"{n.output[0]}/{name}")
        return [_constant(n.input[-1], np.array(numbers)), n]


def _constant(name: str, x: np.ndarray[Any, Any]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(x))


def _same(name: str, out: str) -> NodeProto:
    return helper.make_node("Identity", [name], [out])
