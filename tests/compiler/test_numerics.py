"""The error bounds that docs/numerics.md states hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from syurmy import vm
from syurmy.isa.arrays import Array
from tests.compiler.harness import compiled, floats, model_of


def run(op: str, x: Array, folder: Path, **attributes: object) -> tuple[Array, Array, float, float]:
    """The result, the input that the program saw, and the units of both."""
    model = model_of([helper.make_node(op, ["x"], ["y"], **attributes)], {"x": x}, ["y"])
    done = compiled(model, {"x": x}, folder)
    q = done.quantise({"x": x})
    unit = done.inputs[0].scale
    y = done.dequantise(vm.run(done.program, q).outputs)["y"]
    return y, q[done.inputs[0].name] * unit, unit, done.outputs[0].scale


@pytest.mark.parametrize(("entries", "size"), [(2, 1.0), (64, 3.0), (64, 0.01), (300, 30.0)])
def test_softmax(entries: int, size: float, tmp_path: Path) -> None:
    x = floats(np.random.default_rng(entries), 50, entries) * np.float32(size)
    y, seen, _, _ = run("Softmax", x, tmp_path, axis=-1)
    e = np.exp(seen - seen.max(axis=-1, keepdims=True))
    t = 32767 * e.sum(axis=-1, keepdims=True) - entries / 2  # what the sum of the rounded entries is at least
    bound = (entries / 2 + 1) / np.maximum(t, 32767) + 2 / 32767
    error = np.abs(y - e / e.sum(axis=-1, keepdims=True))
    assert (error <= bound + 1e-7).all()
    assert error.mean() < 1e-4
    assert (np.abs(y.sum(axis=-1) - 1) <= entries / 32767 + 1e-4).all()


@pytest.mark.parametrize(
    ("op", "slope"), [("Tanh", 1.0), ("Sigmoid", 0.25), ("Erf", 1.13), ("Sin", 1.0), ("Softplus", 1.0)]
)
def test_tables(op: str, slope: float, tmp_path: Path) -> None:
    x = floats(np.random.default_rng(0), 5000) * 3
    y, _, unit, out = run(op, x, tmp_path)
    model = model_of([helper.make_node(op, ["x"], ["y"])], {"x": x}, ["y"])
    from onnx.reference import ReferenceEvaluator

    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    assert np.abs(y - expected).max() <= out / 2 + slope * unit / 2 + 1e-6


def test_units(tmp_path: Path) -> None:
    """One unit of an input is the power of two from a quarter above the samples' peak over 32767 on."""
    x = floats(np.random.default_rng(0), 100)
    _, seen, unit, _ = run("Relu", x, tmp_path)
    least = 1.25 * np.abs(x).max() / 32767
    assert least <= unit < 2 * least
    assert np.log2(unit) == np.rint(np.log2(unit))
    assert np.abs(seen - x).max() <= unit / 2 * (1 + 1e-6)
