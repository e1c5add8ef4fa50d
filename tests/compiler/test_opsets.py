"""One network as exporters of every opset write it: shape arithmetic, and operators whose attributes became inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import syurmy
from syurmy.compiler import load
from syurmy.isa.arrays import Array
from tests.compiler.harness import compiled, floats, outputs_of

ort = pytest.importorskip("onnxruntime")
NEWEST = 21  # later ones change none of these operators


class Writer:
    """Nodes and constants of a graph; what an operator takes as an attribute or as an input depends on the opset."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def const(self, x: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(x, dtype)
        return name

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{len(self.nodes)}", **attributes))
        return name

    def moved(self, since: int, op: str, x: str, **values: Any) -> str:
        """Attributes that are inputs from opset ``since`` on, in this order."""
        if self.opset < since:
            return self(op, x, **values)
        kinds = (np.float32 if isinstance(v, float) else np.int64 for v in values.values())
        return self(op, x, *(self.const(v, k) for v, k in zip(values.values(), kinds, strict=True)))


def network(opset: int) -> tuple[onnx.ModelProto, Array]:
    rng = np.random.default_rng(opset)
    w = Writer(opset)
    y = w("Conv", "x", w.const(floats(rng, 6, 3, 3, 3), np.float32), pads=[1, 1, 1, 1])
    shift, size = (w.const(rng.uniform(0.5, 1.5, 6), np.float32) for _ in range(2))
    y = w("BatchNormalization", y, size, shift, shift, size)
    y = w.moved(11, "Clip", y, min=-1.0, max=2.0)
    y = w("Upsample", y, scales=[1.0, 1.0, 2.0, 2.0]) if opset < 9 else (
        w("Upsample", y, w.const([1, 1, 2, 2], np.float32)) if opset < 10 else
        w("Resize", y, *([] if opset < 11 else [w.const([], np.float32)]), w.const([1, 1, 2, 2], np.float32),
          mode="nearest", **({} if opset < 11 else {"coordinate_transformation_mode": "asymmetric",
                                                    "nearest_mode": "floor"})))  # fmt: skip
    y = w("Pad", y, pads=[0, 0, 1, 0, 0, 0, 1, 0]) if opset < 11 else w("Pad", y, w.const([0, 0, 1, 0, 0, 0, 1, 0]))
    y = w.moved(10, "Slice", y, starts=[1, 0], ends=[9, 8], axes=[2, 3])
    y = w("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = w("Dropout", y)
    shape = w("Shape", y)  # x.view(x.size(0), -1) of older exporters
    batch = w("Gather", shape, w.const(0), axis=0)
    batch, rest = (w.moved(13, "Unsqueeze", v, axes=[0]) for v in (batch, w.const(-1)))
    y = w("Reshape", y, w("Concat", batch, rest, axis=0))
    ones = w("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([1], np.int64))) if opset >= 9 else None
    if ones is not None:  # torch.arange and friends: the places of what is not zero
        places = w("NonZero", ones)
        first = w("Gather", w("Transpose", places, perm=[1, 0]), w.const([0, 5]), axis=0)  # [2, 4]
        bias = w("Cast", w("Reshape", first, w.const([1, 8])), to=TensorProto.FLOAT)
        y = w("Concat", y, bias, axis=1)
    y = w("Gemm", y, w.const(floats(rng, 96 + 8 * (ones is not None), 5) / 8, np.float32),
          w.const(floats(rng, 5), np.float32))  # fmt: skip
    z = w.moved(13, "ReduceSum", y, axes=[1])
    y = w("Sub", y, w("Mul", z, w.const(0.1, np.float32)))
    w.nodes.append(helper.make_node("Softmax", [y], ["y"], axis=1))
    graph = helper.make_graph(
        w.nodes, "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(v, k) for k, v in w.constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model, floats(rng, 1, 3, 4, 4)


@pytest.mark.parametrize("opset", range(load.OLDEST, NEWEST + 1))
def test_every_opset(opset: int, tmp_path: Path) -> None:
    model, x = network(opset)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {"x": x})
    done = compiled(model, {"x": x}, tmp_path)
    found = outputs_of(done, {"x": x})["y"]
    assert np.abs(found - want).max() < 3e-4
    folded = {"Shape", "Gather", "Concat", "Unsqueeze", "ConstantOfShape", "NonZero", "Cast", "Dropout"}
    assert not folded - {"Concat"} & {r.op for r in done.rows}
    if opset in (load.OLDEST, NEWEST):
        trace = syurmy.run(done.program, done.quantise({"x": x}))
        key, verifying_key = syurmy.setup(done.program)
        syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
