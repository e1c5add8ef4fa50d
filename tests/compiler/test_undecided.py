"""Every deciding operator of ``compiler.undecided``, behind a product that rounds: what lies where the float model's
function jumps is told at run time, what lies far from there is not."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from syurmy.compiler import CompiledModel, compile_model, load
from syurmy.isa.arrays import Array

ML = "ai.onnx.ml"
MIX = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0].astype(np.float32)
FAR = [0.3, -1.7, 2.3, -0.8]
K, SPLIT, TWO = np.array([2]), np.array([0.25, -0.5, 1.5, 0.75], np.float32), np.float32(2)
WHOLE, HALF, ZERO = [1.0, -1.7, 2.3, -0.8], [0.3, 1.5, 2.3, -0.8], [0.0, -1.7, 2.3, -0.8]
TIES = [2.3, 0.3, 2.3, -0.8]
TREE = {"nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0],
        "nodes_values": [0.4, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0]}  # fmt: skip
CLASSES = {"class_treeids": [0, 0, 0, 0], "class_nodeids": [1, 1, 2, 2], "class_ids": [0, 1, 0, 1],
           "class_weights": [0.9, 0.1, 0.2, 0.8], "classlabels_int64s": [0, 1]}  # fmt: skip
TARGETS = {"target_treeids": [0, 0], "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0]}
SUPPORT = {"kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 3.0], "coefficients": [1.0, -1.0], "rho": [0.0],
           "support_vectors": [1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0], "vectors_per_class": [1, 1],
           "classlabels_ints": [0, 1]}  # fmt: skip


def one(op: str, *inputs: str, domain: str = "", outputs: Sequence[str] = ("y",), **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, ["v", *inputs], list(outputs), domain=domain, **attrs)


def stepped() -> list[onnx.NodeProto]:
    """A scan whose rounds take the floor of a state."""
    kind = TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "x_t"], ["new"]), helper.make_node("Floor", ["new"], ["low"])], "body",
        [helper.make_tensor_value_info("s", kind, [4]), helper.make_tensor_value_info("x_t", kind, [4])],
        [helper.make_tensor_value_info("new", kind, [4]), helper.make_tensor_value_info("low", kind, [4])],
    )  # fmt: skip
    return [helper.make_node("Concat", ["zeros", "v"], ["steps"], axis=0),
            helper.make_node("Scan", ["start", "steps"], ["end", "y"], body=body, num_scan_inputs=1)]  # fmt: skip


Case = tuple[list[onnx.NodeProto], list[float], Mapping[str, Array]]
CASES: dict[str, Case] = {
    "ArgMax": ([one("ArgMax", axis=1)], TIES, {}),
    "ArgMax of the last": ([one("ArgMax", axis=1, select_last_index=1)], TIES, {}),
    "ArgMin": ([one("ArgMin", axis=1)], [-0.8, 0.3, 2.3, -0.8], {}),
    "Hardmax": ([one("Hardmax", axis=1)], TIES, {}),
    "TopK": ([one("TopK", "k", outputs=["best", "y"])], [2.3, 0.3, 0.3, -0.8], {"k": K}),
    "TopK of the least": ([one("TopK", "k", outputs=["best", "y"], largest=0)], [2.3, 0.3, 0.3, -0.8], {"k": K}),
    "MaxPool": ([one("Reshape", "shape", outputs=["r"]),
                 helper.make_node("MaxPool", ["r"], ["m", "y"], kernel_shape=[2])], [2.3, 2.3, 0.3, -0.8],
                {"shape": np.array([1, 1, 4])}),
    "Equal": ([one("Equal", "c")], [0.25, -1.7, 2.3, -0.8], {"c": SPLIT}),
    "Less": ([one("Less", "c")], [0.25, -1.7, 2.3, -0.8], {"c": SPLIT}),
    "LessOrEqual": ([one("LessOrEqual", "c")], [0.25, -1.7, 2.3, -0.8], {"c": SPLIT}),
    "Greater": ([one("Greater", "c")], [0.25, -1.7, 2.3, -0.8], {"c": SPLIT}),
    "GreaterOrEqual": ([one("GreaterOrEqual", "c")], [0.25, -1.7, 2.3, -0.8], {"c": SPLIT}),
    "Greater of two": ([one("Tanh", outputs=["t"]), one("Greater", "t")], ZERO, {}),
    "Binarizer": ([one("Binarizer", domain=ML, threshold=0.25)], [0.25, -1.7, 2.3, -0.8], {}),
    "Sign": ([one("Sign")], ZERO, {}),
    "Cast to booleans": ([one("Cast", to=TensorProto.BOOL)], ZERO, {}),
    "Cast to integers": ([one("Cast", to=TensorProto.INT64)], WHOLE, {}),
    "Floor": ([one("Floor")], WHOLE, {}),
    "Ceil": ([one("Ceil")], WHOLE, {}),
    "Round": ([one("Round")], HALF, {}),
    "Mod": ([one("Mod", "two", fmod=1)], [2.0, -1.7, 2.3, -0.8], {"two": TWO}),
    "Shrink": ([one("Shrink", lambd=0.5)], [0.5, -1.7, 2.3, -0.8], {}),
    "ThresholdedRelu": ([one("ThresholdedRelu", alpha=1.0)], WHOLE, {}),
    "a scan's Floor": (stepped(), WHOLE, {"zeros": np.zeros((9, 4), np.float32), "start": np.zeros(4, np.float32)}),
    "TreeEnsembleClassifier": ([one("TreeEnsembleClassifier", domain=ML, outputs=["y", "s"], **TREE, **CLASSES)],
                               [0.3, 0.4, 2.3, -0.8], {}),
    "TreeEnsembleRegressor": ([one("TreeEnsembleRegressor", domain=ML, n_targets=1, **TREE, **TARGETS)],
                              [0.3, 0.4, 2.3, -0.8], {}),
    "LinearClassifier": ([one("LinearClassifier", domain=ML, outputs=["y", "s"], intercepts=[0.0, 0.0],
                              coefficients=[1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0], classlabels_ints=[0, 1],
                              post_transform="NONE")], ZERO, {}),
    "SVMClassifier": ([one("SVMClassifier", domain=ML, outputs=["y", "s"], **SUPPORT)], ZERO, {}),
    "Div": ([one("Slice", "a", "b", "last", outputs=["d"]), one("Div", "d")], [1e-6, -1.7, 2.3, -0.8],
            {"a": np.array([0]), "b": np.array([1]), "last": np.array([1])}),
    "Reciprocal": ([one("Reciprocal")], [1e-6, -1.7, 2.3, -0.8], {}),
}  # fmt: skip


def made(case: Case, folder: Path) -> CompiledModel:
    nodes, _, constants = case
    mixed = helper.make_node("MatMul", ["x", "mix"], ["v"])
    fixed = [numpy_helper.from_array(c, name) for name, c in {"mix": MIX, **constants}.items()]
    graph = helper.make_graph([mixed, *nodes], "case", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
                              [onnx.ValueInfoProto(name="y")], fixed)  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y = np.asarray(session.run(["y"], {"x": samples()[0]})[0])
    kind = helper.np_dtype_to_tensor_dtype(y.dtype)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", kind, y.shape))
    return compile_model(load.prepare(model), folder, calibrate={"x": samples()})


def samples() -> Array:
    """Rows of which the product is far from all jumps."""
    r = np.random.default_rng(1)
    v = np.array(FAR) + r.uniform(-0.05, 0.05, (12, 1, 4))
    return np.asarray(v @ MIX.T, np.float32)


def told(done: CompiledModel, v: Sequence[float]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(done.run({"x": np.asarray(np.array([v]) @ MIX.T, np.float32)}).undecided)


@pytest.mark.parametrize("name", CASES)
def test_what_is_decided_by_too_little_is_told(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = made(CASES[name], Path(folder) / "m")
        assert told(done, CASES[name][1])
        assert not told(done, FAR)
        again = CompiledModel.read(Path(folder) / "m")
        assert again.decisions == done.decisions
        assert told(again, CASES[name][1])
        assert not told(dataclasses.replace(done, decisions=()), CASES[name][1])
