"""Roots and logarithms of sums of squares keep small values that a table on 16 bits would lose."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from syurmy import vm
from tests.compiler.harness import compiled, floats, model_of


@pytest.mark.parametrize(("op", "tolerance"), [("Sqrt", 1e-2), ("Log", 1e-2)])
@pytest.mark.parametrize("square", ["Mul", "Pow"])
def test_magnitudes_over_eight_binary_orders(square: str, op: str, tolerance: float, tmp_path: object) -> None:
    """Relative to each value, not to the peak: magnitudes from 2^-8 to 1."""
    rng = np.random.default_rng(0)
    x = floats(rng, 2, 64)
    size = 2.0 ** -np.linspace(0, 8, 64).astype(np.float32)
    x = (x / np.hypot(*x) * size).astype(np.float32)
    node = helper.make_node
    nodes = [node(square, ["x", "x" if square == "Mul" else "two"], ["s"]),
             node("ReduceSum", ["s", "axes"], ["t"], keepdims=0), node(op, ["t"], ["y"])]  # fmt: skip
    constants = {"two": np.array(2, np.float32), "axes": np.array([0], np.int64)}
    model = model_of(nodes, {"x": x}, ["y"], constants)
    done = compiled(model, {"x": x}, tmp_path / "m")  # type: ignore[operator]
    y = done.dequantise(vm.run(done.program, done.quantise({"x": x}), check_intervals=True).outputs)["y"]
    expected = size if op == "Sqrt" else 2 * np.log(size)
    error = np.abs(y - expected) / (size if op == "Sqrt" else 1)
    assert error.max() < tolerance
