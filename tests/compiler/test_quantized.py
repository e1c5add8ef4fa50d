"""Quantised graphs equal the ONNX reference evaluator bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.compiler.harness import check, floats

SCALES = st.sampled_from([0.0078125, 0.02, 0.5, 0.1, 1.0, 0.003921569])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), SCALES, SCALES, st.sampled_from([np.int8, np.uint8]), st.booleans())
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
