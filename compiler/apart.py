"""Large weights kept out of a model while it is checked and simplified, which copies and serialises it again and again.

They stand as inputs of the graph meanwhile: of them only type and shape are needed. While it is simplified, the weights
of convolutions are back, since what follows them (a normalisation, a bias) is folded into them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt
import onnx
from google.protobuf.message import Message
from onnx import numpy_helper

LARGE = 2**16  # bytes of a weight
WORTH = 2**25  # of all of them
FOLDED_INTO = {"Conv", "ConvTranspose", "BatchNormalization", "Pad"}
KINDS: dict[int, int] = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.FLOAT16: 2,
    onnx.TensorProto.DOUBLE: 8,
}  # bytes of an entry


class Apart:
    """The large weights of ``model``, which stay in it, uncopied; ``light`` is a copy without them, or ``model`` itself
    where they are few. Then nobody may go on using ``model`` but through ``back``."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = model.graph
        named = {i.name for i in graph.input} | {o.name for o in graph.output}
        large = [t for t in graph.initializer if _bytes(t) >= LARGE and t.name not in named]
        few = sum(map(_bytes, large)) < WORTH
        self.names: set[str] = set() if few else {t.name for t in large}
        self.light = model
        if self.names:
            self.light = onnx.ModelProto()
            _fill(self.light, model, "graph")
            _fill(self.light.graph, graph, "initializer")
            self.light.graph.initializer.extend(t for t in graph.initializer if t.name not in self.names)
            self.light.graph.input.extend(
                onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in large
            )

    def to_fold(self, light: onnx.ModelProto) -> onnx.ModelProto:
        """``light`` with those weights in it again that something may be folded into."""
        folded = {i for n in self.model.graph.node if n.op_type in FOLDED_INTO for i in n.input} & self.names
        self.names -= folded
        without_inputs(light.graph, folded)
        light.graph.initializer.extend(t for t in self.model.graph.initializer if t.name in folded)
        return light

    def held(self) -> dict[str, npt.NDArray[Any]]:
        """The weights that ``light`` has as inputs, uncopied."""
        return {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer if t.name in self.names}

    def back(self, light: onnx.ModelProto) -> onnx.ModelProto:
        """What became of ``light`` with the weights in it again: ``model``, changed."""
        if not self.names:
            return light
        graph = self.model.graph
        without_inputs(light.graph, self.names)
        for k in reversed([k for k, t in enumerate(graph.initializer) if t.name not in self.names]):
            del graph.initializer[k]
        _fill(self.model, light, "graph")
        _fill(graph, light.graph, "initializer")
        graph.initializer.extend(light.graph.initializer)
        return self.model


def _bytes(t: onnx.TensorProto) -> int:
    """Of a weight's data, if it is of reals and in one piece: to look at that would copy it."""
    return KINDS.get(t.data_type, 0) * math.prod(t.dims) if t.HasField("raw_data") else 0


def _fill(target: Message, source: Message, but: str) -> None:
    """All fields of ``source`` into ``target`` in the place of what is there, except the one called ``but``."""
    for f in target.DESCRIPTOR.fields:
        if f.name == but:
            continue
        target.ClearField(f.name)
        value = getattr(source, f.name)
        if f.is_repeated:
            getattr(target, f.name).extend(value)
        elif source.HasField(f.name):
            if f.type == f.TYPE_MESSAGE:
                getattr(target, f.name).CopyFrom(value)
            else:
                setattr(target, f.name, value)


def without_inputs(graph: onnx.GraphProto, names: set[str]) -> None:
    """Takes inputs out of a graph."""
    for k in reversed([k for k, i in enumerate(graph.input) if i.name in names]):
        del graph.input[k]
