"""Real networks on real inputs: agreement with onnxruntime, and a proof of one inference each. The larger models that
packages ship are measured by ``benchmarks.models``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import syurmy
from benchmarks import models

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("name", "count"), [("lenet5", 100), ("resnet", 60), ("chargpt", 12), ("silero", 200), ("melspectrogram", 12)]
)
def test_agreement_and_proof(name: str, count: int, tmp_path: Path) -> None:
    """Within a thousandth of the output's range, on inputs that were not calibrated on; the same decisions."""
    model = models.MODELS[name]
    try:
        model.path()
        known, new = model.inputs(32, count)
    except models.Missing as e:
        pytest.skip(str(e))
    done = models.compiled(model, known, tmp_path)
    both = models.compare(model, done, new)
    for output in both.floats:
        assert both.report(output)["error"] < 1e-3, output
    if model.decide:
        first = next(iter(both.floats))
        floats, ours = (model.decide(np.stack(xs[first])) for xs in (both.floats, both.ours))
        assert np.mean(floats == ours) >= 0.995
        if model.labels:
            assert np.mean(ours.reshape(-1) == model.labels(count)) >= {"lenet5": 0.97, "resnet": 0.88}[name]
    trace = syurmy.run(done.program, done.quantise(new[0]))
    proving_key, verifying_key = syurmy.setup(done.program)
    statement = syurmy.verify(verifying_key, syurmy.prove(proving_key, trace).to_bytes())
    for output, value in trace.outputs.items():
        np.testing.assert_array_equal(statement.outputs[output], value)


@pytest.mark.parametrize("name", ["lenet5", "resnet", "chargpt"])
def test_trained_models_are_valid(name: str) -> None:
    onnx.checker.check_model(onnx.load(models.MODELS[name].path()), full_check=True)
