"""What a compiled model does for its user: prove, check, accuracy; names and files as they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import syurmy
from syurmy.compiler import CompiledModel, compile_model
from syurmy.compiler.model import Accuracy
from syurmy.isa.errors import InputError
from tests.compiler.harness import helper, model_of

X = np.random.default_rng(0).standard_normal((8, 1, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    folder = tmp_path_factory.mktemp("model")
    onnx.save(model_of([helper.make_node("Tanh", ["x"], ["scores"])], {"x": X[0]}, ["scores"]), folder / "m.onnx")
    np.savez(folder / "x.npz", x=X)
    return syurmy.compile_onnx(folder / "m.onnx", folder / "m", calibrate=folder / "x.npz")


def test_it_proves_with_its_own_key_and_another(model: CompiledModel) -> None:
    for run in (model.prove({"x": X[2]}), model.prove(X[2]), model.prove(X[2], syurmy.setup(model)[0])):
        assert run.proof is not None
        assert run.statement is not None
        again = syurmy.verify(model.keys[1], run.proof)
        assert np.array_equal(again.output_values["scores"], run.outputs["scores"])
        assert np.abs(run.outputs["scores"] - np.tanh(X[2])).max() < 2e-3
    assert model.keys is model.keys
    assert model.keys[1].digest() == syurmy.setup(model.folder / "model.tasm")[1].digest()


def test_it_checks_every_constraint(model: CompiledModel) -> None:
    assert model.check(X[1]) == []


def test_accuracy_against_the_float_model_and_labels(model: CompiledModel, tmp_path: Path) -> None:
    floats = np.tanh(X)
    np.savez(tmp_path / "data.npz", x=X, scores=floats)
    for found in (
        model.accuracy({"x": X}, {"scores": floats}),
        model.accuracy({"x": X}, floats),
        model.accuracy(X, floats),
        model.accuracy(X[:, 0], floats[:, 0]),
        model.accuracy({"x": X, "scores": floats}),
        model.accuracy(tmp_path / "data.npz"),
    ):
        assert (found.samples, found.agreement, found.saturated) == (8, {"scores": 1.0}, 0)
        assert found.error["scores"] < 1e-3
    labels = X[:, 0].argmax(axis=1)
    assert model.accuracy(X, labels).agreement == {"scores": 1.0}
    assert model.accuracy(X, labels).error == {}
    labels[:2] = (labels[:2] + 1) % 3
    assert model.accuracy(X, labels).agreement == {"scores": 0.75}
    wrong = floats.copy()
    wrong[5] = 0.5 + wrong[5]
    assert model.accuracy(X, wrong).error["scores"] > 0.1
    assert model.accuracy(10 * X, np.tanh(10 * X)).saturated > 0
    assert "same decision" in repr(model.accuracy(X, floats))
    assert isinstance(found, Accuracy)


@pytest.mark.parametrize(
    ("data", "expected", "code"),
    [
        ({"y": X}, X, "I102"),
        ({"x": X}, None, "I102"),
        ({"x": X}, X[:3], "I109"),
        ({"x": X[:0]}, X[:0], "I109"),
        ({"x": X}, np.zeros((8, 2)), "I105"),
        ({"x": X}, np.zeros((8, 2), int), "I105"),
        ({"x": X}, {"score": X}, "I102"),
        ("gone.npz", None, "F100"),
    ],
)
def test_data_that_cannot_be_compared(model: CompiledModel, data: object, expected: object, code: str) -> None:
    with pytest.raises(InputError) as e:
        model.accuracy(data, expected)  # type: ignore[arg-type]
    assert e.value.code == code


def test_slips_in_names_are_told(model: CompiledModel) -> None:
    with pytest.raises(InputError) as e:
        model.run({"X": X[0]})
    assert e.value.help in ("did you mean 'x'?", "it has x")
    with pytest.raises(InputError) as e:
        model.accuracy({"x": X}, {"score": X})
    assert e.value.help == "" or "score" in e.value.help


def test_a_model_in_memory_is_calibrated_on_a_file(model: CompiledModel, tmp_path: Path) -> None:
    m = model_of([helper.make_node("Tanh", ["x"], ["scores"])], {"x": X[0]}, ["scores"])
    done = compile_model(m, tmp_path / "m", calibrate=model.folder.parent / "x.npz")
    assert done.inputs[0].scale == model.inputs[0].scale


def test_a_repr_is_short(model: CompiledModel) -> None:
    run = model.run(X[0])
    for shown in (model, run, model.accuracy(X, np.tanh(X))):
        assert len(repr(shown)) < 300
        assert shown._repr_html_().startswith("<table>")
