"""Whole numbers: shifts by any amount, remainders of any sign, dtypes that NumPy lacks, rows that a constant picks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import syurmy
from syurmy.compiler import UnsupportedModel
from syurmy.compiler.held import without_held
from syurmy.isa.arrays import Array
from tests.compiler.harness import check, compiled, floats, outputs_of

NEWEST = 28


def edges(dtype: Any) -> Array:
    """The ends of a dtype, cut to what an input may be, and what is near 0."""
    info = np.iinfo(dtype)
    lo, hi = max(info.min, -(2**31)), min(info.max, 2**31 - 1)
    return np.unique(np.clip([lo, lo + 1, -5, -2, -1, 0, 1, 2, 3, 7, 100, hi - 1, hi], lo, hi)).astype(dtype)


def shifted(x: Array, y: Array, direction: str) -> Array:
    """ONNX's definition, in Python's integers."""
    bits, lo = np.iinfo(x.dtype).bits, int(np.iinfo(x.dtype).min)

    def one(a: int, k: int) -> int:
        if not 0 <= k < bits:
            return -1 if direction == "RIGHT" and a < 0 else 0
        return a >> k if direction == "RIGHT" else ((a << k) - lo) % 2**bits + lo

    pairs = np.broadcast(x, y)
    return np.array([one(int(a), int(k)) for a, k in pairs], x.dtype).reshape(pairs.shape)


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_shifts(dtype: Any, direction: str, data: bool, tmp_path: Path) -> None:
    x = edges(dtype)[:, None]
    bits = np.iinfo(dtype).bits
    y = np.array([0, 1, bits // 2, bits - 1, bits, 100, *([-1, -100] if np.iinfo(dtype).min else [])]).astype(dtype)
    node = helper.make_node("BitShift", ["x", "y"], ["z"], direction=direction)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    info = {k: helper.make_tensor_value_info(k, kind, v.shape) for k, v in (("x", x), ("y", y), ("z", x * y))}
    inputs = {"x": x, "y": y} if data else {"x": x}
    graph = helper.make_graph([node], "g", [info[k] for k in inputs], [info["z"]],
                              [] if data else [numpy_helper.from_array(y, "y")])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", NEWEST)], ir_version=10)
    want = shifted(x, y, direction)
    done = compiled(model, inputs, tmp_path)
    np.testing.assert_array_equal(outputs_of(done, inputs)["z"], want)


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32])
def test_remainders(dtype: Any, fmod: int) -> None:
    """Of data by data, at the ends of the dtype."""
    x, y = edges(dtype)[:, None], edges(dtype)
    check("Mod", {"x": x, "d": y[y != 0]}, fmod=fmod)


def test_remainders_are_proven(tmp_path: Path) -> None:
    x = {"x": edges(np.int32)[:, None], "d": np.array([-7, 3, 2**31 - 1, -(2**31)], np.int32)}
    done = check("Mod", x)
    trace = syurmy.run(done.program, done.quantise(x))
    key, verifying_key = syurmy.setup(done.program)
    syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_rows_that_a_constant_picks(axis: int | None) -> None:
    x = floats(np.random.default_rng(0), 4, 5)
    kept = np.array([True, False, True, True])
    given = {} if axis is None else {"axis": axis}
    check("Compress", {"x": x}, {"c": kept}, opset=11 if axis == -1 else 9, **given)
    with pytest.raises(UnsupportedModel, match="a constant condition"):
        check("Compress", {"x": x, "c": kept}, opset=11, **given)


def small_model(nodes: list[onnx.NodeProto], source: int, target: int, *constants: onnx.TensorProto) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(k, t, [6]) for k, t in (("x", source), ("y", target))]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)


SMALL = {TensorProto.INT4: ml_dtypes.int4, TensorProto.UINT4: ml_dtypes.uint4,
         TensorProto.INT2: ml_dtypes.int2, TensorProto.UINT2: ml_dtypes.uint2}  # fmt: skip


@pytest.mark.parametrize("kind", SMALL)
def test_integers_of_few_bits(kind: int, tmp_path: Path) -> None:
    """As outputs, as inputs, and between; QuantizeLinear ends where they do."""
    x = np.array([-9, -2.7, -1, 0, 1.2, 9], np.float32)
    cast = small_model([helper.make_node("Cast", ["x"], ["y"], to=kind)], TensorProto.FLOAT, kind)
    done = compiled(cast, {"x": x}, tmp_path / "cast")
    few = np.trunc(x).astype(np.int32).astype(SMALL[kind])
    np.testing.assert_array_equal(outputs_of(done, {"x": x})["y"], few.astype(np.int8))

    back = small_model([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], kind, TensorProto.FLOAT)
    done = compiled(back, {"x": few}, tmp_path / "back")
    np.testing.assert_array_equal(outputs_of(done, {"x": few})["y"], few.astype(np.float32))

    scale = numpy_helper.from_array(np.array(0.5, np.float32), "s")
    zero = numpy_helper.from_array(np.array(1, SMALL[kind]), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = small_model(nodes, TensorProto.FLOAT, TensorProto.FLOAT, scale, zero)
    done = compiled(model, {"x": x}, tmp_path / "quantised")
    lo, hi = int(ml_dtypes.iinfo(SMALL[kind]).min), int(ml_dtypes.iinfo(SMALL[kind]).max)
    want = (np.clip(np.rint(x / 0.5) + 1, lo, hi) - 1) * 0.5
    assert np.abs(outputs_of(done, {"x": x})["y"] - want).max() < 1e-3


def test_weights_of_4_bits_with_a_scale_per_block(tmp_path: Path) -> None:
    """As quantisers of language models write them into the default domain."""
    rng = np.random.default_rng(1)
    w = rng.integers(-8, 8, (32, 6)).astype(ml_dtypes.int4)
    scales = rng.uniform(0.02, 0.1, (2, 6)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=16),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in (("x", [3, 32]), ("y", [3, 6]))]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:],
                              [numpy_helper.from_array(v, k) for k, v in (("w", w), ("s", scales))])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = {"x": floats(rng, 3, 32)}
    want = x["x"] @ (w.astype(np.float32) * np.repeat(scales, 16, axis=0))
    y = outputs_of(compiled(model, x, tmp_path), x)["y"]
    assert np.abs(y - want).max() < 1e-3 * np.ptp(want)


def test_bfloat16_is_held_in_float32(tmp_path: Path) -> None:
    """Inputs, weights, outputs and casts in between."""
    rng = np.random.default_rng(0)
    w = floats(rng, 6).astype(ml_dtypes.bfloat16)
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.BFLOAT16),
        helper.make_node("Mul", ["c", "w"], ["y"]),
    ]
    model = small_model(nodes, TensorProto.BFLOAT16, TensorProto.BFLOAT16, numpy_helper.from_array(w, "w"))
    x = floats(rng, 6).astype(ml_dtypes.bfloat16)
    done = compiled(model, {"x": x}, tmp_path)
    want = np.tanh(x.astype(np.float32)) * w.astype(np.float32)
    assert np.abs(outputs_of(done, {"x": x})["y"] - want).max() < 1e-3
    assert [p.dtype for p in (*done.inputs, *done.outputs)] == ["float32", "float32"]


def test_models_without_such_dtypes_stay_as_they_are() -> None:
    model = small_model([helper.make_node("Neg", ["x"], ["y"])], TensorProto.FLOAT, TensorProto.FLOAT)
    assert without_held(model) is model
