"""Quantised graphs equal the ONNX reference evaluator bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tests.compiler.harness import check, floats
from tests.drawing import SEEDS, examples

SCALES = st.sampled_from([0.0078125, 0.02, 0.5, 0.1, 1.0, 0.003921569])


@examples(25)
@given(SEEDS, SCALES, SCALES, st.sampled_from([np.int8, np.uint8]), st.booleans())
def test_requantisation(seed: int, sx: float, sy: float, dtype: Any, shifted: bool) -> None:
    """All 8-bit integers through dequantise and quantise: halves, saturation, zero points."""
    rng = np.random.default_rng(seed)
    x = np.arange(256).astype(dtype)
    zx, zy = (rng.integers(0, 100, 2) if shifted else np.zeros(2, np.int64)).astype(dtype)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "sx", "zx"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "sy", "zy"], ["y"]),
    ]
    check(nodes, {"x": x}, {"sx": np.float32(sx), "zx": zx, "sy": np.float32(sy), "zy": zy})


@pytest.mark.parametrize("zero", [0, 7])
@pytest.mark.parametrize("scale", [2.0**-7, 0.0123])
def test_convolution_between_quantisations(zero: int, scale: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    constants: dict[str, Any] = {
        "w": rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8), "b": rng.integers(-999, 999, 4).astype(np.int32),
        "sx": np.float32(scale), "sw": np.float32(2.0**-6), "sb": np.float32(np.float32(scale) * np.float32(2.0**-6)),
        "sy": np.float32(0.25), "zx": np.uint8(zero), "zy": np.uint8(128)}  # fmt: skip
    node = helper.make_node
    nodes = [node("DequantizeLinear", ["x", "sx", "zx"], ["xr"]), node("DequantizeLinear", ["w", "sw"], ["wr"]),
             node("DequantizeLinear", ["b", "sb"], ["br"]), node("Conv", ["xr", "wr", "br"], ["c"], pads=[1, 1, 1, 1]),
             node("Relu", ["c"], ["r"]), node("QuantizeLinear", ["r", "sy", "zy"], ["y"])]  # fmt: skip
    check(nodes, {"x": x}, constants)


def test_quantised_input_is_near() -> None:
    """A real input is rounded to 16 bits first, which may move a value over a half."""
    x = floats(np.random.default_rng(2), 50)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    check(nodes, {"x": x}, {"s": np.float32(0.02), "z": np.int8(3)}, tolerance=0.01)


@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_scales_per_channel_between_quantisations(op: str) -> None:
    """Equal to onnxruntime, bit for bit."""
    rng = np.random.default_rng(1)
    conv = op == "Conv"
    x = rng.integers(0, 256, (1, 3, 8, 8) if conv else (5, 12)).astype(np.uint8)
    sw = rng.uniform(0.002, 0.02, 4).astype(np.float32)
    constants: dict[str, Any] = {
        "w": rng.integers(-127, 128, (4, 3, 3, 3) if conv else (12, 4)).astype(np.int8), "zw": np.zeros(4, np.int8),
        "sx": np.float32(0.031), "zx": np.uint8(7), "sw": sw, "sy": np.float32(0.25), "zy": np.uint8(128)}  # fmt: skip
    node = helper.make_node
    axis = 0 if conv else 1
    nodes = [node("DequantizeLinear", ["x", "sx", "zx"], ["xr"]),
             node("DequantizeLinear", ["w", "sw", "zw"], ["wr"], axis=axis)]  # fmt: skip
    if conv:
        constants |= {"b": rng.integers(-999, 999, 4).astype(np.int32), "sb": np.float32(0.031) * sw,
                      "zb": np.zeros(4, np.int32)}  # fmt: skip
        nodes += [node("DequantizeLinear", ["b", "sb", "zb"], ["br"], axis=0),
                  node("Conv", ["xr", "wr", "br"], ["c"], pads=[1, 1, 1, 1])]  # fmt: skip
    else:
        nodes.append(node("MatMul", ["xr", "wr"], ["c"]))
    nodes.append(node("QuantizeLinear", ["c", "sy", "zy"], ["y"]))
    done = check(nodes, {"x": x}, constants, runtime=True)
    assert [r.op for r in done.rows] == ["DequantizeLinear", "Product"]


@pytest.mark.parametrize("zero", [0, 5])
def test_quantisation_per_channel(zero: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(-99, 99, (2, 3, 4)).astype(np.int8)
    scales = np.array([0.5, 0.013, 2.0], np.float32)
    constants = {"one": np.float32(1.0), "s": scales, "z": np.array([zero, 1, 2], np.int8)}
    node = helper.make_node
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["y"], axis=1)]
    check(nodes, {"x": x}, {k: constants[k] for k in "sz"})
    nodes = [node("DequantizeLinear", ["x", "one"], ["r"]), node("QuantizeLinear", ["r", "s", "z"], ["y"], axis=1)]
    check(nodes, {"x": x}, {**constants, "s": np.array([0.7, 0.37, 2.3], np.float32)})


def test_a_normalisation_with_quantised_parameters() -> None:
    """As onnxruntime's quantiser writes it: constants, by DequantizeLinear."""
    rng = np.random.default_rng(2)
    constants: dict[str, Any] = {"scale": np.float32(2.0**-6), "zero": np.int8(0)}
    nodes = []
    for name, values in {"g": (20, 90), "b": (-90, 90), "m": (-90, 90), "v": (20, 90)}.items():
        constants[f"{name}q"] = rng.integers(*values, 4).astype(np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}q", "scale", "zero"], [name]))
    nodes.append(helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"]))
    check(nodes, {"x": floats(rng, 2, 4, 3, 3)}, constants)
