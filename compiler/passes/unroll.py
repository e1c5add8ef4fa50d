"""If, Loop and Scan whose course no input decides, written out as the nodes that run.

A condition is constant if it folds (a flag, shape arithmetic, a comparison of the iteration's number), a trip count
likewise; a Scan runs once per position of its inputs. Each round becomes a copy of the body with names of its own, in
which the iteration's number is a constant. What depends on data stays, and is refused where it is lowered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from syurmy.compiler.errors import Problem, UnsupportedModel
from syurmy.compiler.graph import Runner, folds
from syurmy.compiler.load import inline_functions
from syurmy.compiler.passes.sequences import SEQUENCES, without_sequences
from syurmy.compiler.sizes import MIN_ROUNDS, controls, stays
from syurmy.isa.arrays import Array

MAX_NODES = 2**14  # of all rounds together
MAX_DEPTH = 16


def flattened(
    model: onnx.ModelProto, sample: Mapping[str, Array], lowered: Callable[[str, str], bool]
) -> onnx.ModelProto:
    """The model without such control flow, also inside bodies, with bodies' functions inlined, and without sequences
    (``passes.sequences``)."""
    for _ in range(MAX_DEPTH):
        listed = any(n.op_type in SEQUENCES for n in model.graph.node)
        if not listed and not any(controls(n) for n in model.graph.node):
            break
        unrolling = _Unrolling(model, sample)
        if listed and (plain := without_sequences(model, unrolling.values, unrolling.fixed)) is not None:
            model = plain
            continue
        nodes = unrolling.nodes()
        if nodes is None:
            break
        flat = onnx.ModelProto()
        flat.CopyFrom(model)
        del flat.graph.node[:]
        flat.graph.node.extend(nodes)
        model = inline_functions(flat, lowered)
    return model


class _Unrolling:
    """One pass over the nodes of a model: control flow at the top level is written out once."""

    def __init__(self, model: onnx.ModelProto, sample: Mapping[str, Array]) -> None:
        self.model = model
        self.opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
        self.values = Runner(model)(sample)
        self.fixed: dict[str, Array] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for n in model.graph.node:
            if folds(n, self.fixed):
                self.fixed.update({o: np.asarray(self.values[o]) for o in n.output if o})
        self.made: list[NodeProto] = []
        self.producers: dict[str, NodeProto] = {}

    def nodes(self) -> list[NodeProto] | None:
        """All nodes, or None if nothing could be written out."""
        forms = {"If": self._branch, "Loop": self._loop, "Scan": self._scan}
        out: list[NodeProto] = []
        changed = False
        for n in self.model.graph.node:
            self.made, self.producers = [], {}
            done = controls(n) and forms[n.op_type](n)
            changed |= done
            out += self.made if done else [n]
        return out if changed else None

    # ---- the three operators -------------------------------------------------------------------------------------

    def _branch(self, n: NodeProto) -> bool:
        condition = self.fixed.get(n.input[0])
        if condition is None:
            return False
        body = _attribute(n, "then_branch" if condition.any() else "else_branch", None)
        self._named(self._inlined(body, f"{n.output[0]}/", {}), n.output)
        return True

    def _loop(self, n: NodeProto) -> bool:
        given = [self.fixed.get(i) if i else np.array(True) for i in n.input[:2]]
        if any(g is None for g in given) or not any(n.input[:2]):
            return False
        rounds = int(given[0].reshape(())) if n.input[0] else 2**62  # type: ignore[union-attr]
        if n.input[0] and rounds >= MIN_ROUNDS and stays(n):
            return False
        condition, body = bool(given[1].any()), _attribute(n, "body", None)  # type: ignore[union-attr]
        states = list(n.input[2:])
        scanned: list[list[str]] = [[] for _ in body.output[1 + len(states) :]]
        k = 0
        while condition and k < rounds:
            prefix = f"{n.output[0]}/{k}/"
            first = [self._constant(f"{prefix}i", np.array(k)), self._constant(f"{prefix}c", np.array(True))]
            names = self._inlined(body, prefix, self._bound(body, [*first, *states]))
            found = self._value(names[0])
            if found is None:
                return False
            condition, k = bool(found.any()), k + 1
            for row, name in zip(scanned, names[1 + len(states) :], strict=True):
                row.append(name)
            states = names[1 : 1 + len(states)]
        if not k and scanned:
            return False
        joined = [self._stacked(row, f"{n.output[0]}/{j}", 0) for j, row in enumerate(scanned)]
        self._named([*states, *joined], n.output)
        return True

    def _scan(self, n: NodeProto) -> bool:
        if self.opset < 9:
            return False
        body, count = _attribute(n, "body", None), _attribute(n, "num_scan_inputs", 0)
        states, sources = list(n.input[:-count]), n.input[len(n.input) - count :]
        outs = len(body.output) - len(states)
        into, out = (_attribute(n, f"scan_{k}put_axes", [0] * m) for k, m in (("in", count), ("out", outs)))
        back_in, back_out = (
            _attribute(n, f"scan_{k}put_directions", [0] * m) for k, m in (("in", count), ("out", outs))
        )
        first = self.fixed[sources[0]] if sources[0] in self.fixed else self.values[sources[0]]
        length = first.shape[into[0]]
        if length >= MIN_ROUNDS and stays(n):
            return False
        scanned: list[list[str]] = [[] for _ in range(outs)]
        for k in range(length):
            prefix = f"{n.output[0]}/{k}/"
            parts = []
            for j, (name, axis, back) in enumerate(zip(sources, into, back_in, strict=True)):
                at = self._constant(f"{prefix}at{j}", np.array(length - 1 - k if back else k))
                self._add(helper.make_node("Gather", [name, at], [f"{prefix}part{j}"], axis=axis))
                parts.append(f"{prefix}part{j}")
            names = self._inlined(body, prefix, self._bound(body, [*states, *parts]))
            states = names[: len(states)]
            for row, name in zip(scanned, names[len(states) :], strict=True):
                row.append(name)
        if not length and scanned:
            return False
        joined = [
            self._stacked(row[::-1] if back else row, f"{n.output[0]}/{j}", axis)
            for j, (row, axis, back) in enumerate(zip(scanned, out, back_out, strict=True))
        ]
        self._named([*states, *joined], n.output)
        return True

    # ---- nodes ---------------------------------------------------------------------------------------------------

    def _add(self, n: NodeProto) -> None:
        if len(self.made) >= MAX_NODES:
            need = f"at most {MAX_NODES} nodes of all rounds together"
            raise UnsupportedModel([Problem(self.made[0].name, "Loop", "it has too many rounds", need)])
        self.made.append(n)
        self.producers.update(dict.fromkeys(n.output, n))

    def _constant(self, name: str, value: Array) -> str:
        self._add(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        return name

    @staticmethod
    def _bound(body: onnx.GraphProto, names: Sequence[str]) -> dict[str, str]:
        return {i.name: name for i, name in zip(body.input, names, strict=True)}

    def _inlined(self, body: onnx.GraphProto, prefix: str, names: dict[str, str]) -> list[str]:
        """A copy of the body's nodes; the names of its outputs."""
        names = dict(names)
        for t in body.initializer:
            names[t.name] = self._constant(prefix + t.name, numpy_helper.to_array(t))
        names.update({o: prefix + o for n in body.node for o in n.output if o})
        for n in body.node:
            self._add(_renamed(n, names, prefix))
        return [names.get(o.name, o.name) for o in body.output]

    def _stacked(self, parts: Sequence[str], label: str, axis: int) -> str:
        rows = []
        for k, name in enumerate(parts):
            rows.append(f"{label}/row{k}")
            if self.opset < 13:
                self._add(helper.make_node("Unsqueeze", [name], rows[-1:], axes=[axis]))
            else:
                at = self._constant(f"{label}/axis{k}", np.array([axis]))
                self._add(helper.make_node("Unsqueeze", [name, at], rows[-1:]))
        self._add(helper.make_node("Concat", rows, [f"{label}/rows"], axis=axis))
        return f"{label}/rows"

    def _named(self, names: Sequence[str], outputs: Sequence[str]) -> None:
        for name, output in zip(names, outputs, strict=False):
            if output:
                self._add(helper.make_node("Identity", [name], [output]))

    def _value(self, name: str) -> Array | None:
        """What a tensor made so far is, if it is constant."""
        if name in self.fixed:
            return self.fixed[name]
        n = self.producers.get(name)
        if n is None or any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in n.attribute):
            return None
        inputs = {i: self._value(i) for i in n.input if i}
        if any(v is None for v in inputs.values()):
            return None
        graph = helper.make_graph([n], "one", [onnx.ValueInfoProto(name=i) for i in inputs],
                                  [onnx.ValueInfoProto(name=o) for o in n.output if o])  # fmt: skip
        from onnx.reference import ReferenceEvaluator

        one = helper.make_model(graph, opset_imports=self.model.opset_import)
        results = ReferenceEvaluator(one).run(None, inputs)
        self.fixed.update(zip([o for o in n.output if o], map(np.asarray, results), strict=True))
        return self.fixed[name]


def _attribute(n: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in n.attribute if a.name == name), default)


def _renamed(n: NodeProto, names: Mapping[str, str], prefix: str) -> NodeProto:
    """A copy with other names of tensors, also where bodies inside read them."""
    copy = NodeProto()
    copy.CopyFrom(n)
    copy.name = prefix + n.name if n.name else ""
    for field in (copy.input, copy.output):
        renamed = [names.get(i, i) for i in field]
        del field[:]
        field.extend(renamed)
    for a in copy.attribute:
        for body in [a.g] if a.type == onnx.AttributeProto.GRAPH else a.graphs:
            own = {i.name for i in (*body.input, *body.initializer)} | {o for m in body.node for o in m.output}
            outer = {k: v for k, v in names.items() if k not in own}
            inner = [_renamed(m, outer, "") for m in body.node]
            del body.node[:]
            body.node.extend(inner)
            for o in body.output:
                o.name = outer.get(o.name, o.name)
    return copy
