"""Large weights kept out of a model while it is checked and simplified, which serialises it again and again.

They stand as inputs of the graph meanwhile: of them only type and shape are needed. The weights of convolutions stay,
since what follows them (a normalisation, a bias) is folded into them.
"""

from __future__ import annotations

import onnx

LARGE = 2**16  # bytes of a weight
WORTH = 2**25  # of all of them
FOLDED_INTO = {"Conv", "ConvTranspose", "BatchNormalization", "Pad"}
KINDS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}


class Apart:
    """The large weights of ``model``, taken out of it in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        folded = {i for n in graph.node if n.op_type in FOLDED_INTO for i in n.input}
        named = {i.name for i in graph.input} | {o.name for o in graph.output}
        large = [
            k
            for k, t in enumerate(graph.initializer)
            if len(t.raw_data) >= LARGE and t.data_type in KINDS and t.name not in folded | named
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

    def back(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """``model`` with the weights in it again."""
        names = {t.name for t in self.tensors}
        for k in reversed([k for k, i in enumerate(model.graph.input) if i.name in names]):
            del model.graph.input[k]
        model.graph.initializer.extend(self.tensors)
        return model
