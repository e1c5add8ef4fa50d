"""What a compiled model's key says: names, scales, labels and units, from the model and from the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy import descriptions, keys, verification
from syurmy.cli import app
from syurmy.compiler import CompiledModel
from syurmy.isa.errors import InputError
from syurmy.prover.protocol.description import CODE, INTEGER, REAL, Description
from tests.compiler.harness import helper, model_of

ROOT = Path(__file__).resolve().parents[2]
X = np.random.default_rng(0).standard_normal((8, 1, 3)).astype(np.float32)
NAMES = ("zero", "one", "two")


def compiled(folder: Path, **options: Any) -> CompiledModel:
    nodes = [
        helper.make_node("Tanh", ["in x"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["class"], axis=1, keepdims=0),
    ]
    model = model_of(nodes, {"in x": X[0]}, ["scores", "class"])
    onnx.save(model, folder / "m.onnx")
    return syurmy.compile_onnx(folder / "m.onnx", folder / "m", calibrate={"in x": X}, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    folder = tmp_path_factory.mktemp("model")
    return compiled(folder, labels=NAMES, units={"in x": "mV"}, title="a tanh", public_inputs=True)


def test_the_key_says_what_the_compiler_knows(model: CompiledModel) -> None:
    d = model.description
    (x,), (scores, label) = d.inputs, d.outputs
    assert d.title == "a tanh"
    assert (x.title, x.form, x.dtype, x.unit) == ("in x", REAL, "float32", "mV")
    assert x.scales == (Fraction(model.inputs[0].scale),)
    assert (scores.form, scores.columns, scores.labels) == (REAL, True, NAMES)
    assert (label.form, label.dtype, label.columns, label.labels) == (INTEGER, "int64", False, NAMES)
    assert Description.from_bytes(d.to_bytes()) == d
    assert CompiledModel.read(model.folder).description == CompiledModel.read(str(model.folder)).description == d
    assert descriptions.beside(model.folder / "model.tasm", model.program) == d


def test_the_statement_alone_gives_the_models_outputs(model: CompiledModel) -> None:
    run = model.run({"in x": X[3]})
    key, vk = syurmy.setup(model.program, model.description)
    statement = syurmy.verify(vk, syurmy.prove(key, run.trace).to_bytes())
    for name, values in run.outputs.items():
        assert statement.output_values[name].dtype == values.dtype
        assert np.array_equal(statement.output_values[name], values)
    assert np.abs(statement.input_values["in x"] - X[3]).max() <= model.inputs[0].scale / 2 * 1.001


def test_a_folder_is_run_proven_and_verified_without_onnx(model: CompiledModel) -> None:
    """Nor is the folder needed to verify; values are expected in reals, inputs as they were given."""
    np.save(model.folder / "x.npy", X[3])
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("onnx", "onnxruntime", "onnxslim", "google"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from syurmy.cli import main
sys.argv[0] = "syurmy-vm"
main()
"""
    arguments = ["run", "model.tasm", "--input", "x.npy", "--prove"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=model.folder, env=environment, check=True)
    answer = verification.answer(
        model.folder / "model.vk", model.folder / "model.proof", expect=[f"in x={model.folder / 'x.npy'}"]
    )
    assert answer.rejected is None
    best = NAMES[int(X[3].argmax())]
    assert f'output class = [{X[3].argmax()}] ("{best}")' in answer.text
    assert f'(largest: "{best}")' in answer.text
    assert "mV" in answer.text
    other = X[3].copy()
    other[0, 1] += 2 * model.inputs[0].scale
    np.save(model.folder / "x.npy", other)
    answer = verification.answer(
        model.folder / "model.vk", model.folder / "model.proof", expect=[f"in x={model.folder / 'x.npy'}"]
    )
    assert answer.rejected is not None


def test_labels_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("zero\none\ntwo\n")
    (tmp_path / "labels.json").write_text(json.dumps(NAMES))
    text = compiled(tmp_path, labels=tmp_path / "labels.txt").outputs
    named = compiled(tmp_path, labels={"class": str(tmp_path / "labels.json")}).outputs
    assert [p.labels for p in text] == [NAMES, NAMES]
    assert [p.labels for p in named] == [(), NAMES]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"labels": {"scores": ["a", "b"]}}, "I116"),
        ({"labels": {"clas": ["a", "b"]}}, "I101"),
        ({"labels": ["a\nb", "c"]}, "K124"),
        ({"labels": 3}, "I110"),
        ({"labels": "gone.txt"}, "F100"),
        ({"units": {"y": "m"}}, "I101"),
        ({"units": {"scores": "\x07"}}, "K124"),
        ({"units": ["m"]}, "I110"),
        ({"title": "a\nb"}, "K124"),
    ],
)
def test_what_cannot_be_said(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as e:
        compiled(tmp_path, **options)
    assert e.value.code == code
    assert not (tmp_path / "m").exists() or not any((tmp_path / "m").iterdir())


def test_names_that_cannot_be_printed_are_spelt_out(model: CompiledModel) -> None:
    p = replace(model.outputs[0], model_name="a\nb", labels=("x\x1b[0m", "y" * 500, "z"))
    q = p.quantity
    assert q.title == r"a\nb"
    assert q.labels[0] == r"x\x1b[0m"
    assert len(q.labels[1]) == 200


def test_a_float_that_is_only_compared_is_a_code(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Less", ["x", "t"], ["l"]),
        helper.make_node("Cast", ["l"], ["y"], to=onnx.TensorProto.INT64),
    ]
    model = model_of(nodes, {"x": X[0]}, ["y"], constants={"t": np.float32([[0.1, 0.2, 0.3]])})
    onnx.save(model, tmp_path / "m.onnx")
    done = syurmy.compile_onnx(tmp_path / "m.onnx", tmp_path / "m", calibrate={"x": X}, public_inputs=True)
    assert done.description.inputs[0].form == CODE
    path = tmp_path / "m" / "model.tasm"
    key = keys.obtain(done.program, path).key
    x = np.array([[0.1, np.nan, -np.inf]], np.float32)
    statement = syurmy.verify(key.verifying_key, syurmy.prove(key, done.run({"x": x}).trace).to_bytes())
    assert np.array_equal(statement.input_values["x"], x, equal_nan=True)


def test_the_command_takes_labels_units_and_a_title(model: CompiledModel, tmp_path: Path) -> None:
    path, data = model.folder.parent / "m.onnx", tmp_path / "x.npz"
    np.savez(data, **{"in x": X})
    (tmp_path / "labels.txt").write_text("zero\none\ntwo\n")

    def call(*options: str, code: int = 0) -> dict[str, Any]:
        arguments = ["compile", str(path), "-o", str(tmp_path / "out"), "--calibrate", str(data), "--json", *options]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code, done.output
        return dict(json.loads(done.stdout))

    labels = str(tmp_path / "labels.txt")
    call("--labels", labels, "--unit", "in x=mV", "--unit", "scores=points", "--title", "a tanh")
    d = CompiledModel.read(tmp_path / "out").description
    assert (d.title, d.inputs[0].unit, d.outputs[0].unit) == ("a tanh", "mV", "points")
    assert [x.labels for x in d.outputs] == [NAMES, NAMES]
    call("--labels", f"class={labels}")
    assert [x.labels for x in CompiledModel.read(tmp_path / "out").description.outputs] == [(), NAMES]
    for options, error in (
        (("--unit", "mV"), "I111"),
        (("--unit", "y=mV"), "I101"),
        (("--labels", str(tmp_path / "gone.txt")), "F100"),
    ):
        assert call(*options, code=2)["error"]["code"] == error
