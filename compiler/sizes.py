"""Shapes, and values that shapes hang on, through a graph and the rounds of its loops, before anything large is made.

Refused are tensors that no program can hold, all tensors together that this machine cannot hold, and loops that stay
loops and whose states grow.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
import onnx.shape_inference
from onnx import numpy_helper

from syurmy import host
from syurmy.compiler.bodies.engine import SMALL, captured, graphs, known_types, nodes_of
from syurmy.compiler.bodies.writer import Known
from syurmy.compiler.errors import ModelError, Problem, UnsupportedModel
from syurmy.display import bytes_text
from syurmy.isa.arrays import Array

MAX_ENTRIES = 2**28  # of a tensor, as in programs
ROUNDS = 2**14  # of a Loop: of each of them every tensor is kept while it is compiled
MIN_ROUNDS = 8  # from which on a loop is shorter than its rounds (``ops.flow``)
FOLLOWED = 2**8  # rounds, of all loops together
WAVES = 8  # of constants that shapes hang on, and shapes that those make known
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
SIZED = {  # the result's size is a value: it may be large where all that is read is small
    "Range", "ConstantOfShape", "Expand", "Tile", "Pad", "Resize", "Upsample", "OneHot", "BlackmanWindow", "HannWindow",
    "HammingWindow", "MelWeightMatrix", "CenterCropPad", "DFT", "Col2Im", "MaxUnpool", "AffineGrid",
}  # fmt: skip
CONTROL = {"If", "Loop", "Scan"}


class Following:
    """``known``: what the nodes make of small constants, and of shapes that are known, as far as that is small. Raises
    ``ModelError`` M114 and ``UnsupportedModel``."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.opsets = model.opset_import
        self.left = FOLLOWED
        self.bytes = 0  # of all tensors that the float model keeps, in all rounds
        self.known, _ = self._graph(model, 1)

    def _graph(self, model: onnx.ModelProto, times: int) -> tuple[dict[str, Array], dict[str, Known]]:
        """Constants and shapes of a graph that runs so many times."""
        known: dict[str, Array] = {}
        ends: dict[str, Known] = {}  # what loops leave
        followed: set[str] = set()
        for _ in range(WAVES):
            graph = _inferred(model, known, ends)
            _check_sizes(graph)
            shapes = known_types(graph)
            before = len(followed)
            for n in graph.node:
                if controls(n) and n.op_type == "Loop" and n.output[0] not in followed:
                    left = self._loop(n, shapes, constants(graph, known), times)
                    if left is not None:
                        followed.add(n.output[0])
                        ends.update(left)
            if len(followed) == before:
                if all(_sized(shapes, n) for n in graph.node):
                    break
                found = _folded(model, graph, shapes, known)
                if not found:
                    break
                known.update(found)
        self._add(shapes, (o for n in graph.node for o in n.output), times)
        return known, shapes

    def _add(self, shapes: Mapping[str, Known], names: Iterable[str], times: int) -> None:
        for o in names:
            if o in shapes and shapes[o].dtype:
                dtype = onnx.helper.tensor_dtype_to_np_dtype(shapes[o].dtype)
                self.bytes += times * math.prod(_dims(shapes, o) or ()) * dtype.itemsize
        if self.bytes > host.memory() > 0:
            raise ModelError(
                f"the float model's tensors take {bytes_text(self.bytes)} together, this machine has "
                f"{bytes_text(host.memory())}",
                code="M114",
                help="a smaller input (--shape)",
            )

    def _loop(
        self, n: onnx.NodeProto, shapes: Mapping[str, Known], known: Mapping[str, Array], times: int
    ) -> dict[str, Known] | None:
        """What a Loop leaves, by name; None where too little is known (yet). Its rounds are followed until their shapes
        come to rest."""
        body = next(a.g for a in n.attribute if a.name == "body")
        names = [o.name for o in body.output]
        trips, begun = (known.get(i) if i else None for i in n.input[:2])
        if any(_dims(shapes, i) is None or not shapes[i].dtype for i in n.input[2:]):
            return None
        if begun is not None and not begun.all():
            return None
        endless = always(body, names[0], body.input[1].name)
        sure = trips is not None and trips.size == 1 and (begun is not None or not n.input[1])  # how many rounds run
        count = min(int(trips.reshape(())), ROUNDS) if trips is not None and trips.size == 1 else ROUNDS
        held = [shapes[i] for i in n.input[2:]]
        outside = {i: shapes[i] for i in captured(n) if i in shapes}
        k, types = 0, shapes
        while k < count:
            if not self.left:
                return None
            self.left -= 1
            states = dict(zip((i.name for i in body.input[2:]), held, strict=True))
            spent = self.bytes
            inner = self._round(body, k, endless, outside | states, {i: known[i] for i in outside if i in known})
            found, types = self._graph(inner, times if sure else 0)
            k += 1
            if any(_dims(types, o) is None or not types[o].dtype for o in names[1 : 1 + len(held)]):
                return None
            after = [types[o] for o in names[1 : 1 + len(held)]]
            going = np.array(True) if endless else found.get(names[0])
            sure &= going is not None
            if going is not None and not going.all():
                count = k
            if after == held:
                self.bytes += (count - k) * (self.bytes - spent)
                break
            if endless and sure and count >= MIN_ROUNDS and stays(n):
                j = next(j for j, (a, b) in enumerate(zip(held, after, strict=True)) if a != b)
                raise UnsupportedModel(
                    [Problem(n.name or n.output[0], "Loop", *changes(j, held[j].shape, after[j].shape))]
                )
            held = after
        if not sure or any(_dims(types, o) is None for o in names[1 + len(held) :]):
            return None
        parts = [Known(types[o].dtype, (count, *(types[o].shape or ()))) for o in names[1 + len(held) :]] if k else []
        return {o: t for o, t in zip(n.output, [*held, *parts], strict=False) if o}

    def _round(
        self,
        body: onnx.GraphProto,
        k: int,
        endless: bool,
        types: Mapping[str, Known],
        values: Mapping[str, Array],
    ) -> onnx.ModelProto:
        """Round k of a body as a model; ``types`` and ``values`` of what it reads from outside."""
        inner = onnx.ModelProto(ir_version=8, opset_import=self.opsets)
        inner.graph.name = "round"
        inner.graph.node.extend(body.node)
        inner.graph.initializer.extend(t for t in body.initializer if math.prod(t.dims) <= SMALL)
        own = {t.name: Known(t.data_type, tuple(t.dims)) for t in body.initializer if math.prod(t.dims) > SMALL}
        inner.graph.input.extend(_value(name, t) for name, t in {**types, **own}.items() if name not in values)
        inner.graph.initializer.extend(numpy_helper.from_array(x, name) for name, x in values.items())
        number, condition = (i.name for i in body.input[:2])
        inner.graph.initializer.append(numpy_helper.from_array(np.array(k), number))
        if endless:
            inner.graph.initializer.append(numpy_helper.from_array(np.array(True), condition))
        else:
            inner.graph.input.append(_value(condition, Known(onnx.TensorProto.BOOL, ())))
        return inner


def changes(state: int, before: Iterable[int | None] | None, after: Iterable[int | None] | None) -> tuple[str, str]:
    """Why a loop whose state changes its shape is refused, and what is needed."""
    return f"state {state} changes its shape from {list(before or ())} to {list(after or ())}", "one shape"


def controls(n: onnx.NodeProto) -> bool:
    """Whether a node has bodies that it runs."""
    return n.op_type in CONTROL and n.domain in ("", "ai.onnx")


def stays(n: onnx.NodeProto) -> bool:
    """Whether a Scan, or a Loop whose trip count is known, becomes a loop of the program: all rounds run, and the body
    has no control flow of its own and makes nothing of the iteration's number but places in tensors from outside."""
    body = next(a.g for a in n.attribute if a.name == "body")
    if any(controls(m) or "Sequence" in m.op_type for m in body.node) or len(body.output) != len(
        {o.name for o in body.output}
    ):
        return False
    if n.op_type == "Scan":
        return True
    number, condition = (i.name for i in body.input[:2])
    if not always(body, body.output[0].name, condition):
        return False
    inside = {o for m in body.node for o in m.output} | {i.name for i in body.input}
    readers = [m for m in body.node if number in m.input]
    return number not in {o.name for o in body.output} and all(
        m.op_type == "Gather" and m.input[1] == number and m.input[0] not in inside for m in readers
    )


def constants(graph: onnx.GraphProto, known: Mapping[str, Array]) -> dict[str, Array]:
    """Small constants by name: those known, initializers, and what Constant nodes hold."""
    held = {t.name: t for t in graph.initializer}
    for n in graph.node:
        if n.op_type == "Constant" and n.attribute and n.attribute[0].type == onnx.AttributeProto.TENSOR:
            held[n.output[0]] = n.attribute[0].t
    return {**known, **{name: numpy_helper.to_array(t) for name, t in held.items() if math.prod(t.dims) <= SMALL}}


def _value(name: str, t: Known) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, t.dtype, t.shape)


def _inferred(model: onnx.ModelProto, known: Mapping[str, Array], ends: Mapping[str, Known]) -> onnx.GraphProto:
    """The graph with the types that are found without those that the file claims, ``known`` tensors being constants and
    ``ends`` of these types."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    bare.graph.name = "bare"
    bare.graph.input.extend(model.graph.input)
    for t in model.graph.initializer:
        if math.prod(t.dims) <= SMALL:
            bare.graph.initializer.append(t)
        else:  # not copied
            bare.graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))
    bare.graph.input.extend(_value(name, t) for name, t in ends.items())
    bare.graph.node.extend(n for n in model.graph.node if not any(o in known or o in ends for o in n.output if o))
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
