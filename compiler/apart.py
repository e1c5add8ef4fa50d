"""Large weights kept out of a model while it is checked and simplified, which serialises it again and again.

They stand as inputs of the graph meanwhile: of them only type and shape are needed. While it is simplified, the weights
of convolutions are back, since what follows them (a normalisation, a bias) is folded into them.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

LARGE = 2**16  # bytes of a weight
WORTH = 2**25  # of all of them
FOLDED_INTO = {"Conv", "ConvTranspose", "BatchNormalization", "Pad"}
KINDS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}


class Apart:
    """The large weights of ``model``, taken out of it in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.folded = {i for n in graph.node if n.op_type in FOLDED_INTO for i in n.input}
        named = {i.name for i in graph.input} | {o.name for o in graph.output}
        large = [
            k
            for k, t in enumerate(graph.initializer)
            if len(t.raw_data) >= LARGE and t.data_type in KINDS and t.name not in named
        ]
        self.tensors: list[onnx.TensorProto] = []
        if sum(len(graph.initializer[k].raw_data) for k in large) < WORTH:
            return
        for k in reversed(large):
            t = onnx.TensorProto()
            t.CopyFrom(graph.initializer[k])
            self.tensors.append(t)
            del graph.initializer[k]
            graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)))

    def to_fold(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """``model`` with those weights in it again that something may be folded into."""
        return self._back(model, self.folded)

    def back(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """``model`` with the weights in it again."""
        return self._back(model, {t.name for t in self.tensors})

    def _back(self, model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
        found = [t for t in self.tensors if t.name in names]
        self.tensors = [t for t in self.tensors if t.name not in names]
        given = {t.name for t in found}
        for k in reversed([k for k, i in enumerate(model.graph.input) if i.name in given]):
            del model.graph.input[k]
        model.graph.initializer.extend(found)
        return model
