"""Real networks on real inputs: agreement with onnxruntime, and a proof of one inference each. The larger models that
packages ship are measured by ``benchmarks.models``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import syurmy
from benchmarks import models
from compiler import CompiledModel

ort = pytest.importorskip("onnxruntime")
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def compare(name: str, folder: Path, count: int) -> tuple[CompiledModel, Array, Array, models.Samples]:
    """Float and integer outputs on ``count`` inputs that were not calibrated on."""
    model = models.MODELS[name]
    try:
        path = model.path()
    except models.Missing as e:
        pytest.skip(str(e))
    known, new = model.inputs(32)
    calibration = {k: np.stack([s[k] for s in known]) for k in known[0]}
    done = syurmy.compile_onnx(path, folder, shapes=model.shapes, calibrate=calibration, margin=model.margin)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    first = session.get_outputs()[0].name
    floats = [session.run([first], s)[0] for s in new[:count]]
    ours = [done.dequantise(syurmy.run(done.program, done.quantise(s)).outputs)[first] for s in new[:count]]
    return done, np.stack(floats).astype(np.float64), np.stack(ours).astype(np.float64), new


def prove(done: CompiledModel, inputs: dict[str, models.Array]) -> None:
    trace = syurmy.run(done.program, done.quantise(inputs))
    proving_key, verifying_key = syurmy.setup(done.program)
    statement = syurmy.verify(verifying_key, syurmy.prove(proving_key, trace).to_bytes())
    for name, value in trace.outputs.items():
        np.testing.assert_array_equal(statement.outputs[name], value)


def test_lenet5(tmp_path: Path) -> None:
    done, floats, ours, new = compare("lenet5", tmp_path, 32)
    assert (floats.argmax(-1) == ours.argmax(-1)).all()
    assert np.abs(floats - ours).max() < 1e-3 * np.abs(floats).max()
    with np.load(models.HERE / "lenet5_test.npz") as data:
        images, labels = data["image"][:100], data["label"][:100]
    traces = [syurmy.run(done.program, done.quantise({"image": x[None] / np.float32(255)})) for x in images]
    right = [t.outputs[done.outputs[0].name].argmax() == label for t, label in zip(traces, labels, strict=True)]
    assert np.mean(right) >= 0.97
    prove(done, new[0])


def test_chargpt(tmp_path: Path) -> None:
    done, floats, ours, new = compare("chargpt", tmp_path, 12)
    assert np.mean(floats.argmax(-1) == ours.argmax(-1)) >= 0.995
    error = np.abs(floats - ours) / np.abs(floats).max()
    assert error.max() < 5e-3
    assert error.mean() < 3e-4
    prove(done, new[0])


def test_voice_activity(tmp_path: Path) -> None:
    done, floats, ours, new = compare("silero", tmp_path, 12)
    assert np.abs(floats - ours).max() < 2e-2  # a probability
    prove(done, new[0])


@pytest.mark.parametrize("name", ["lenet5", "chargpt"])
def test_trained_models_are_valid(name: str) -> None:
    onnx.checker.check_model(onnx.load(models.MODELS[name].path()), full_check=True)
