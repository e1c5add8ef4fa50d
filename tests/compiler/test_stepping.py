"""Models that quantise what they compute: the integers onnxruntime has, or a run that says that it may have others."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from syurmy.compiler import CompiledModel, compile_model
from syurmy.compiler.recorded import RECORD
from syurmy.compiler.stepping import Stepped
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError
from tests.compiler.harness import evaluated

pytest.importorskip("onnxruntime")
TOLERANCE, INPUTS = 1e-3, 150


def model(nodes: Sequence[onnx.NodeProto], shape: tuple[int, ...], constants: dict[str, Array]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    kept = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], kept), opset_imports=opsets, ir_version=8)


def dynamic() -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Two layers that quantise what they read, a tanh between."""
    rng, node = np.random.default_rng(5), helper.make_node
    nodes, constants, x = [], {}, "x"
    for k, (a, b) in enumerate([(12, 16), (16, 4)]):
        constants |= {f"w{k}": rng.integers(-90, 90, (a, b)).astype(np.int8), f"s{k}": np.float32(0.004)}
        nodes += [
            node("DynamicQuantizeLinear", [x], [f"q{k}", f"qs{k}", f"qz{k}"]),
            node("MatMulInteger", [f"q{k}", f"w{k}", f"qz{k}"], [f"a{k}"]),
            node("Cast", [f"a{k}"], [f"f{k}"], to=TensorProto.FLOAT),
            node("Mul", [f"qs{k}", f"s{k}"], [f"u{k}"]),
            node("Mul", [f"f{k}", f"u{k}"], ["y" if k else "h"]),
        ]
        nodes += [] if k else [node("Tanh", ["h"], ["t"])]
        x = "t"
    return model(nodes, (1, 12), constants), (1, 12)


def normalised() -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """A layer norm of dequantised entries, quantised again."""
    rng, node = np.random.default_rng(6), helper.make_node
    constants = {
        "s": np.float32(0.03), "z": np.int8(3), "s2": np.float32(0.027), "z2": np.int8(-5),
        "g": rng.uniform(0.5, 1.5, 16).astype(np.float32), "b": rng.normal(size=16).astype(np.float32) / 10,
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["r"]),
        node("LayerNormalization", ["r", "g", "b"], ["n"], axis=-1),
        node("QuantizeLinear", ["n", "s2", "z2"], ["m"]), node("DequantizeLinear", ["m", "s2", "z2"], ["y"]),
    ]  # fmt: skip
    return model(nodes, (1, 6, 16), constants), (1, 6, 16)


def pooled() -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """A table of a dequantised tensor, averaged and quantised: what the table rounds decides."""
    node = helper.make_node
    constants = {"s": np.float32(0.03), "z": np.int8(3), "s2": np.float32(0.002), "z2": np.int8(-5)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["r"]),
        node("HardSwish", ["r"], ["h"]), node("GlobalAveragePool", ["h"], ["n"]),
        node("QuantizeLinear", ["n", "s2", "z2"], ["m"]), node("DequantizeLinear", ["m", "s2", "z2"], ["y"]),
    ]  # fmt: skip
    return model(nodes, (1, 16, 3, 3), constants), (1, 16, 3, 3)


def made(proto: onnx.ModelProto, shape: tuple[int, ...], folder: Path) -> CompiledModel:
    x = np.random.default_rng(0).normal(size=(16, *shape)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile_model(proto, folder, calibrate={"x": x}, tolerance=TOLERANCE)


@pytest.mark.parametrize("kind", [dynamic, normalised, pooled])
def test_another_step_is_told(kind: Any, tmp_path: Path) -> None:
    """Of many inputs some are a step off; each of them says so, few others do, and none where steps are not known."""
    proto, shape = kind()
    done = dataclasses.replace(made(proto, shape, tmp_path / "made"), missed=None)  # which every run would say
    blind = dataclasses.replace(done, steps=(), rests={})
    rng, off, silent, needless, unseen = np.random.default_rng(9), 0, 0, 0, 0
    span = done.limits["y"].span
    for _ in range(INPUTS):
        x = {"x": rng.normal(size=shape).astype(np.float32)}
        want = evaluated(proto, x, runtime=True)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = done.run(x)
            beyond = np.abs(run.outputs["y"] - want).max() > TOLERANCE * span
            unseen += bool(beyond and not blind.run(x).warnings)
        off += beyond
        silent += bool(beyond and not run.warnings)
        needless += bool(run.warnings and not beyond)
    assert off > 0
    assert unseen > 0
    assert silent == 0
    assert needless <= INPUTS // 10


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(
    ("form", "step"), [("QLinearSoftmax", 1 / 256), ("dequantised", 1 / 256), ("dequantised", 0.01)]
)
def test_a_softmax_between_integers_is_the_runtimes(form: str, step: float, dtype: Any, tmp_path: Path) -> None:
    """Along an axis in the middle, with rows of which one entry has all, so that 256 steps are cut off at 255."""
    node, low = helper.make_node, int(np.iinfo(dtype).min)
    constants = {"s": np.float32(0.11), "z": dtype(low + 100), "o": np.float32(step), "e": dtype(low)}
    quantised = ["q", "s", "z", "o", "e"]
    middle = [
        node("DequantizeLinear", ["q", "s", "z"], ["r"]), node("Softmax", ["r"], ["p"], axis=1),
        node("QuantizeLinear", ["p", "o", "e"], ["m"]),
    ]  # fmt: skip
    own = node("QLinearSoftmax", quantised, ["m"], domain="com.microsoft", axis=1, opset=13)
    first, last = node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["m", "o", "e"], ["y"])
    proto = model([first, *([own] if form == "QLinearSoftmax" else middle), last], (2, 7, 3), constants)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 2, 7, 3)).astype(np.float32) * rng.choice([1, 4, 20], (40, 1, 1, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(proto, tmp_path / "made", calibrate={"x": x[:8]})
        for one in x:
            want = evaluated(proto, {"x": one}, runtime=True)[0]
            np.testing.assert_array_equal(np.rint(done.run(one).outputs["y"] / step), np.rint(want / step))


def test_reals_too_wide_for_one_map_are_quantised(tmp_path: Path) -> None:
    """Accumulators of 50 bits and more, as a fine program has behind a normalisation and a product."""
    rng, node = np.random.default_rng(2), helper.make_node
    constants = {
        "g": rng.uniform(0.5, 1.5, 64).astype(np.float32), "b": np.zeros(64, np.float32), "s": np.float32(0.01),
        "z": np.int8(0), "a": np.array([1]),
    }  # fmt: skip
    nodes = [
        node("LayerNormalization", ["x", "g", "b"], ["n"], axis=-1), node("ReduceMean", ["n"], ["p"], axes=[1]),
        node("QuantizeLinear", ["p", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]  # fmt: skip
    proto = model(nodes, (1, 9, 64), constants)
    x = rng.normal(size=(48, 1, 9, 64)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(proto, tmp_path / "made", calibrate={"x": x[:24]}, tolerance=1e-6)
        assert done.fine
        wrong = [np.abs(done.run(one).outputs["y"] - evaluated(proto, {"x": one}, runtime=True)[0]).max() for one in x]
    assert np.count_nonzero(wrong) <= 2


def test_a_record_with_other_steps_is_refused(tmp_path: Path) -> None:
    proto, shape = normalised()
    done = made(proto, shape, tmp_path / "made")
    path = tmp_path / "made" / RECORD
    good = json.loads(path.read_text())
    assert CompiledModel.read(tmp_path / "made").steps == done.steps
    assert all(isinstance(s, Stepped) for s in done.steps)
    changes: list[tuple[str, Any]] = [
        ("source", "nothing"), ("index", 10**6), ("kind", "other"), ("rows", [0.5]), ("units", [0.0]),
        ("zeros", []), ("dtype", "int8"), ("rows", [1]), ("factors", ["a"]),
    ]  # fmt: skip
    for key, value in changes:
        steps = [*good["steps"][:-1], {**good["steps"][-1], key: value}]
        path.write_text(json.dumps({**good, "steps": steps}))
        with pytest.raises(InputError):
            CompiledModel.read(tmp_path / "made")
    path.write_text(json.dumps({**good, "rests": {"nothing": [0.5]}}))
    with pytest.raises(InputError):
        CompiledModel.read(tmp_path / "made")
