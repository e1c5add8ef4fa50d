"""What a small file stands for, counted before any of it is made: nodes of functions within functions, entries of
tensors, rounds of loops."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
from onnx import numpy_helper

from syurmy import host
from syurmy.compiler.bodies.engine import SMALL, graphs, known_types, nodes_of
from syurmy.compiler.bodies.writer import Known
from syurmy.compiler.errors import ModelError
from syurmy.display import bytes_text
from syurmy.isa.arrays import Array

MAX_NODES = 2**15  # of all functions, written out
MAX_ENTRIES = 2**28  # of a tensor, as in programs
ROUNDS = 2**14  # of a Loop: of each of them every tensor is kept while it is compiled
WAVES = 8  # of constants that shapes hang on, and shapes that those make known
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
SIZED = {  # the result's size is a value: it may be large where all that is read is small
    "Range", "ConstantOfShape", "Expand", "Tile", "Pad", "Resize", "Upsample", "OneHot", "BlackmanWindow", "HannWindow",
    "HammingWindow", "MelWeightMatrix", "CenterCropPad", "DFT", "Col2Im", "MaxUnpool", "AffineGrid",
}  # fmt: skip

Name = tuple[str, str, str]


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its own functions written out, itself if it has none. Raises ``ModelError``: M108 for functions
    that call each other in a circle, M114 for more than ``MAX_NODES`` nodes."""
    if not model.functions:
        return model
    bodies = {(f.domain, f.name, f.overload): f for f in model.functions}
    counts: dict[Name, int | None] = {}  # None: being counted

    def made(nodes: Iterator[onnx.NodeProto]) -> int:
        return sum(of((n.domain, n.op_type, n.overload)) for n in nodes)

    def of(name: Name) -> int:
        if name not in bodies:
            return 1
        if name not in counts:
            counts[name] = None
            counts[name] = made(nodes_of(bodies[name]))
        count = counts[name]
        if count is None:
            raise ModelError(f"function '{name[1]}' calls itself, directly or through others", code="M108")
        return count

    count = made(nodes_of(model.graph))
    if count > MAX_NODES:
        raise ModelError(
            f"the model's functions stand for {count:,} nodes, at most {MAX_NODES:,} are written out",
            code="M114",
            help="functions that call functions several times multiply; export fewer repetitions",
        )
    return onnx.inliner.inline_local_functions(model)


def bounded(model: onnx.ModelProto) -> None:
    """Refuses tensors and loops that no program can hold, before anything computes them; ``model`` is changed: a Loop
    that its condition ends runs ``ROUNDS + 1`` rounds at most, which is refused where it is written out.

    Shapes that hang on values (of Range, Expand, Resize, ...) are known where those are computed from constants and
    shapes alone. Raises ``ModelError`` M114.
    """
    known: dict[str, Array] = {}
    for _ in range(WAVES):
        graph = _inferred(model, known)
        _check_sizes(graph)
        shapes = known_types(graph)
        _check_sum(graph, shapes)
        if all(_sized(shapes, n) for n in graph.node):
            break
        found = _folded(model, graph, shapes, known)
        if not found:
            break
        known.update(found)
    _check_rounds(model.graph, known, 1)


def _inferred(model: onnx.ModelProto, known: Mapping[str, Array]) -> onnx.GraphProto:
    """The graph with the types that are found without those that the file claims, ``known`` tensors being constants."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = "bare"
    bare.graph.input.extend(model.graph.input)
    for t in model.graph.initializer:
        if math.prod(t.dims) <= SMALL:
            bare.graph.initializer.append(t)
        else:  # not copied
            bare.graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    bare.graph.node.extend(n for n in model.graph.node if not any(o in known for o in n.output if o))
    bare.graph.initializer.extend(numpy_helper.from_array(x, name) for name, x in known.items())
    for g in _bodies(bare.graph):
        del g.value_info[:]
    with contextlib.suppress(onnx.shape_inference.InferenceError):  # without data_prop, which takes 150 bytes an entry
        return onnx.shape_inference.infer_shapes(bare).graph
    return bare.graph


def _bodies(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """All graphs within nodes, at any depth."""
    for n in nodes_of(graph):
        yield from graphs(n)


def _check_sizes(graph: onnx.GraphProto) -> None:
    places = {o: n for n in nodes_of(graph) for o in n.output}
    for g in (graph, *_bodies(graph)):
        for v in (*g.input, *g.value_info, *g.output):
            shape = [d.dim_value for d in v.type.tensor_type.shape.dim]
            if math.prod(shape) > MAX_ENTRIES:
                n = places.get(v.name)
                of = f"{n.op_type} '{n.name or v.name}' makes" if n is not None else f"'{v.name}' has"
                raise ModelError(
                    f"{of} {math.prod(shape):,} entries ({shape}), no tensor may have more than {MAX_ENTRIES:,}",
                    code="M114",
                    help="a smaller input (--shape), or a model that works on parts of it",
                )


def _check_sum(graph: onnx.GraphProto, shapes: Mapping[str, Known]) -> None:
    """The float model keeps every tensor."""
    size = 0
    for o in (o for n in graph.node for o in n.output if o in shapes and shapes[o].dtype):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(shapes[o].dtype)
        size += math.prod(_dims(shapes, o) or ()) * dtype.itemsize
    if size > host.memory() > 0:
        raise ModelError(
            f"the float model's tensors take {bytes_text(size)} together, this machine has {bytes_text(host.memory())}",
            code="M114",
            help="a smaller input (--shape)",
        )


def _sized(shapes: Mapping[str, Known], n: onnx.NodeProto) -> bool:
    return all(_dims(shapes, o) is not None for o in n.output if o)


def _dims(shapes: Mapping[str, Known], name: str) -> tuple[int, ...] | None:
    """A tensor's shape, if all of it is known."""
    found = shapes[name].shape if name in shapes else None
    dims = tuple(d for d in found or () if d is not None)
    return dims if found is not None and len(dims) == len(found) else None


def _folded(
    model: onnx.ModelProto, graph: onnx.GraphProto, shapes: Mapping[str, Known], before: Mapping[str, Array]
) -> dict[str, Array]:
    """What the nodes make of small constants and of shapes that are known, as far as that is small."""
    from onnx.reference import ReferenceEvaluator

    small = dict(before)
    small.update((t.name, numpy_helper.to_array(t)) for t in graph.initializer if math.prod(t.dims) <= SMALL)
    made: dict[str, Array] = {}
    for n in graph.node:
        if n.op_type in RANDOM or graphs(n) or n.domain not in ("", "ai.onnx"):
            continue
        if n.op_type in ("Shape", "Size"):
            shape = _dims(shapes, n.input[0])
            if shape is None:
                continue
            feeds = {n.input[0]: np.broadcast_to(np.float32(0), shape)}
        elif all(not i or i in small for i in n.input):
            feeds = {i: small[i] for i in n.input if i}
        else:
            continue
        if n.op_type in SIZED and not _sized(shapes, n):
            continue  # its size is looked at first
        if any(math.prod(_dims(shapes, o) or ()) > SMALL for o in n.output):
            continue
        names = [o for o in n.output if o]
        read, written = ([onnx.ValueInfoProto(name=name) for name in side] for side in (feeds, names))
        one = onnx.helper.make_graph([n], "one", read, written)
        try:
            results = ReferenceEvaluator(onnx.helper.make_model(one, opset_imports=model.opset_import)).run(None, feeds)
        except Exception:  # whoever runs the model says what is wrong with it
            continue
        arrays = [np.asarray(x) for x in results]
        if all(x.size <= SMALL for x in arrays):
            made.update(zip(names, arrays, strict=True))
            small.update(made)
    return made


def _check_rounds(graph: onnx.GraphProto, known: Mapping[str, Array], around: int) -> None:
    """``around``: how often the graph runs at least."""
    constants = {**known, **{t.name: numpy_helper.to_array(t) for t in graph.initializer if math.prod(t.dims) <= 1}}
    for n in graph.node:
        if n.op_type == "Constant" and n.attribute and n.attribute[0].type == onnx.AttributeProto.TENSOR:
            constants[n.output[0]] = numpy_helper.to_array(n.attribute[0].t)
    limits = []
    for n in graph.node:
        rounds = around
        if n.op_type == "Loop" and n.domain in ("", "ai.onnx"):
            body = next(a.g for a in n.attribute if a.name == "body")
            trips = constants.get(n.input[0]) if n.input[0] else np.array(2**62)
            begun = constants.get(n.input[1], np.array(True)).all()
            count = int(trips.reshape(-1)[0]) if trips is not None and trips.size and begun else 0
            if always(body, body.output[0].name, body.input[1].name):
                rounds = max(around * count, 1)
            elif count > ROUNDS:
                n.input[0] = f"{n.output[0] or n.name}/rounds"
                limits.append(numpy_helper.from_array(np.array(ROUNDS + 1), n.input[0]))
            if rounds > ROUNDS:
                raise ModelError(
                    f"Loop '{n.name or n.output[0]}' runs {rounds:,} rounds, at most {ROUNDS:,} are compiled",
                    code="M114",
                    help="a smaller constant trip count",
                )
        for body in graphs(n):
            _check_rounds(body, constants, rounds)
    graph.initializer.extend(limits)


def always(body: onnx.GraphProto, name: str, condition: str) -> bool:
    """Whether a body's condition is the one it got, or true."""
    if name == condition:
        return True
    for t in body.initializer:
        if t.name == name:
            return bool(numpy_helper.to_array(t).all())
    made = next((m for m in body.node if name in m.output), None)
    if made is None:
        return False
    if made.op_type == "Constant":
        return any(a.name == "value" and bool(numpy_helper.to_array(a.t).all()) for a in made.attribute)
    return made.op_type in ("Identity", "Cast") and always(body, made.input[0], condition)
