"""The table of bodies, and the pass that puts them in the place of their nodes, also inside If, Loop and Scan.

Bodies ask for shapes and dtypes. What shape inference does not know of an operator outside the default domain it knows
of its body, so the pass goes over the model again and again: each time it replaces the nodes of which enough is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.shape_inference
from onnx import AttributeProto, GraphProto, NodeProto, helper

from syurmy.compiler.bodies.writer import Known, Unknown, Writer
from syurmy.compiler.errors import Problem, Unsupported, UnsupportedModel

Body = Callable[[Writer], str | Sequence[str]]
MAX_WAVES = 256
SMALL = 1024  # entries; larger constants say nothing about shapes
LONG = 2**20  # entries of vectors that inference takes for shapes
COUNTED = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


@dataclass(frozen=True)
class Entry:
    """``before``: the version of the domain from which on the operator is not replaced."""

    body: Body
    before: float


_TABLE: dict[tuple[str, str], Entry] = {}


def body(*ops: str, domain: str = "", before: float = float("inf")) -> Callable[[Body], Body]:
    """Registers a function that writes the body of ``ops``: it returns the names of the outputs that it made."""

    def register(f: Body) -> Body:
        for op in ops:
            if (domain, op) in _TABLE:
                raise ValueError(f"{op} has two bodies")
            _TABLE[domain, op] = Entry(f, before)
        return f

    return register


def replaced() -> list[str]:
    """Operators with a body, with their domains."""
    return sorted(f"{d}.{op}" if d else op for d, op in _TABLE)


def has_body(domain: str, op: str) -> bool:
    """Whether some version of the operator is replaced by a body of this table."""
    return ("" if domain == "ai.onnx" else domain, op) in _TABLE


def expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with bodies in the place of all nodes that have one. Raises ``UnsupportedModel``. The argument is not
    changed, but shares nothing either: it is returned as it is where there is nothing to do."""
    versions = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    own = {(f.domain, f.name) for f in model.functions}

    def entry(n: NodeProto) -> Entry | None:
        domain = "" if n.domain == "ai.onnx" else n.domain
        found = _TABLE.get((domain, n.op_type))
        if found is None or (domain, n.op_type) in own or versions.get(domain, 1) >= found.before:
            return None
        return found

    if not any(entry(n) for n in nodes_of(model.graph)):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(MAX_WAVES):
        wave = _Wave(entry, versions.get("", 1), taken_names(copy.graph))
        wave.graph(copy.graph, inferred(copy), {}, {})
        copy.graph.initializer.extend(wave.constants)
        if wave.problems:
            raise UnsupportedModel(list(wave.problems))
        if not wave.waiting:
            return copy
        if not wave.changed:
            break
    raise UnsupportedModel(wave.waiting)


def nodes_of(graph: GraphProto | onnx.FunctionProto) -> Iterator[NodeProto]:
    """Its nodes, those of If, Loop and Scan too."""
    for n in graph.node:
        yield n
        for inner in graphs(n):
            yield from nodes_of(inner)


def graphs(n: NodeProto) -> list[GraphProto]:
    """The bodies of a node."""
    return [g for a in n.attribute for g in ([a.g] if a.type == AttributeProto.GRAPH else a.graphs)]


def captured(n: NodeProto) -> list[str]:
    """What the bodies of a node read from outside, in order."""
    found: dict[str, None] = {}
    for a in n.attribute:
        for body in [a.g] if a.type == AttributeProto.GRAPH else a.graphs:
            own = {i.name for i in (*body.input, *body.initializer)} | {o for m in body.node for o in m.output}
            reads = [i for m in body.node for i in (*m.input, *captured(m))] + [o.name for o in body.output]
            found.update(dict.fromkeys(i for i in reads if i and i not in own))
    return list(found)


def taken_names(graph: GraphProto) -> set[str]:
    names = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    for n in nodes_of(graph):
        names.update(n.output)
        names.update(i.name for g in graphs(n) for i in (*g.input, *g.initializer))
    return names


def inferred(model: onnx.ModelProto) -> GraphProto:
    """The graph with the types that inference finds; large constants are inputs there, so that nothing is copied."""
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.value_info.extend(model.graph.value_info)
    light.graph.output.extend(model.graph.output)
    initialised = {t.name for t in model.graph.initializer}
    light.graph.input.extend(i for i in model.graph.input if i.name not in initialised)
    for t in model.graph.initializer:
        if int(np.prod(t.dims)) <= SMALL:
            light.graph.initializer.append(t)
        else:
            light.graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    with contextlib.suppress(onnx.shape_inference.InferenceError):
        return typed(light).graph
    return light.graph


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the types that inference finds, also by what integers of vectors are; that takes 200 bytes for every
    entry of a vector of integers, known or not, so without it where those are long. Raises ``InferenceError``."""
    plain = onnx.shape_inference.infer_shapes(model)
    if _integers(plain.graph) > LONG:
        return plain
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _integers(graph: GraphProto) -> int:
    """Entries of all vectors of integers, those of bodies too."""
    vectors = (
        k.shape[0] or 0 for k in known_types(graph).values() if k.dtype in COUNTED and k.shape and not k.shape[1:]
    )
    return sum(vectors) + sum(_integers(g) for n in graph.node for g in graphs(n))


@dataclass
class _Wave:
    """One pass. ``waiting``: nodes of which too little is known yet."""

    entry: Callable[[NodeProto], Entry | None]
    opset: int
    taken: set[str]
    constants: list[onnx.TensorProto] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    waiting: list[Problem] = field(default_factory=list)
    changed: bool = False

    def graph(
        self,
        graph: GraphProto,
        inferred: GraphProto,
        types: Mapping[str, Known],
        values: Mapping[str, onnx.TensorProto],
    ) -> None:
        """Replaces the graph's nodes; ``types`` and ``values`` are those of the graphs around it."""
        types = {**types, **known_types(inferred)}
        values = {**values, **{t.name: t for t in graph.initializer}}
        for n in graph.node:
            if n.op_type == "Constant" and n.attribute and n.attribute[0].type == AttributeProto.TENSOR:
                values[n.output[0]] = n.attribute[0].t
        nodes: list[NodeProto] = []
        for n, typed in zip(graph.node, inferred.node, strict=True):
            for inner, known in zip(graphs(n), graphs(typed), strict=True):
                self.graph(inner, known, types, values)
            found = self.entry(n)
            nodes += [n] if found is None else self.replaced(n, found, types, values)
        kept = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del graph.node[:]
        graph.node.extend(kept)

    def replaced(
        self, n: NodeProto, found: Entry, types: Mapping[str, Known], values: Mapping[str, onnx.TensorProto]
    ) -> list[NodeProto]:
        label = n.name or next((o for o in n.output if o), n.op_type)
        domain = f"{n.domain}." if n.domain else ""
        w = Writer(n, self.opset, types, values, self.taken)
        try:
            results = found.body(w)
        except Unknown as e:
            need = "shapes that are fixed in the file"
            self.waiting.append(Problem(label, domain + n.op_type, f"the shape of '{e}' is not known", need))
            return [n]
        except Unsupported as e:
            self.problems.append(Problem(label, domain + n.op_type, e.reason, e.need))
            return [n]
        self.changed = True
        names = [results] if isinstance(results, str) else list(results)
        nodes = w.finished(dict(zip(n.output, names, strict=False)))
        self.constants += w.constants
        return nodes


def known_types(graph: GraphProto) -> dict[str, Known]:
    found = {}
    for v in (*graph.input, *graph.value_info, *graph.output):
        if v.type.HasField("tensor_type"):
            t = v.type.tensor_type
            dims = tuple(d.dim_value if d.HasField("dim_value") else None for d in t.shape.dim)
            found[v.name] = Known(t.elem_type, dims if t.HasField("shape") else None)
    for c in graph.initializer:
        found[c.name] = Known(c.data_type, tuple(c.dims))
    for n in graph.node:
        if n.op_type == "Constant" and n.attribute and n.attribute[0].type == AttributeProto.TENSOR:
            c = n.attribute[0].t
            found[n.output[0]] = Known(c.data_type, tuple(c.dims))
    return found
