"""One set of options for every way of compiling: named, limited and shown in one place."""

from __future__ import annotations

import inspect
import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy.cli import app
from syurmy.compiler import compile_model, compile_onnx, load
from syurmy.isa.errors import InputError
from tests.compiler.harness import helper, model_of

X = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = model_of([helper.make_node("Tanh", ["x"], ["y"])], {"x": X[0]}, ["y"])
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


BAD: list[dict[str, Any]] = [
    {"weights": 7}, {"weights": 16.0}, {"activations": True}, {"activations": "16"}, {"margin": float("inf")},
    {"margin": float("nan")}, {"margin": 0.5}, {"margin": "2"}, {"tolerance": -1e-3}, {"tolerance": float("nan")},
    {"tolerance": float("inf")}, {"tolerance": None}, {"public_inputs": 1}, {"committed_params": "yes"},
    {"shapes": {"x": 3}}, {"shapes": {"x": (0, 3)}}, {"shapes": {"x": "12"}}, {"shapes": [("x", (1,))]},
    {"calibrate": [1, 2]}, {"calibrate": np.zeros(3)},
]  # fmt: skip


@pytest.mark.parametrize("changes", BAD, ids=str)
def test_what_cannot_be_used_is_refused_before_anything_is_read(changes: dict[str, Any], tmp_path: Path) -> None:
    for attempt in (
        lambda: syurmy.Options(**changes),
        lambda: syurmy.compile_onnx(tmp_path / "absent.onnx", **changes),
        lambda: compile_model(onnx.ModelProto(), tmp_path / "out", **changes),
    ):
        with pytest.raises(InputError) as e:
            attempt()
        assert e.value.code == "I110"
        assert next(iter(changes)) in str(e.value)
    assert not list(tmp_path.iterdir())


def test_names_there_are_not() -> None:
    for name, near in (("calibration", "calibrate"), ("tolerence", "tolerance"), ("activation", "activations")):
        with pytest.raises(InputError) as e:
            syurmy.compile_onnx("absent.onnx", **{name: 1})
        assert (e.value.code, e.value.help) == ("I112", f"did you mean '{near}'?")
    with pytest.raises(InputError, match="no option 'zzz'"):
        syurmy.compile_onnx("absent.onnx", zzz=1)


def test_signatures_show_every_option() -> None:
    names = [f.name for f in fields(syurmy.Options)]
    for function in (syurmy.compile_onnx, compile_onnx, compile_model):
        shown = inspect.signature(function).parameters
        assert list(shown)[-len(names) :] == names
        assert shown["tolerance"].default == syurmy.Options().tolerance
    with pytest.raises(FrozenInstanceError):
        syurmy.Options().weights = 8  # type: ignore[misc]


def test_options_and_changes_of_them(path: Path) -> None:
    options = syurmy.Options(calibrate={"x": X}, weights=8, public_inputs=True)
    done = syurmy.compile_onnx(path, path.parent / "a", options, public_inputs=False)
    assert not done.program.inputs[0].public
    assert syurmy.compile_onnx(path, path.parent / "b", options).program.inputs[0].public


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "x.json"])
def test_calibration_from_a_file(path: Path, name: str) -> None:
    file = path.parent / name
    if name == "x.npz":
        np.savez(file, x=X)
    elif name == "x.npy":
        np.save(file, X)
    else:
        file.write_text(json.dumps({"x": X.tolist()}))
    want = compile_onnx(path, path.parent / "want", calibrate={"x": X})
    for given in (file, str(file)):
        assert syurmy.compile_onnx(path, path.parent / "got", calibrate=given).inputs == want.inputs
    assert compile_model(load.load(path), path.parent / "memory", calibrate=file).inputs == want.inputs
    with pytest.raises(InputError) as e:
        syurmy.compile_onnx(path, path.parent / "out", calibrate="gone.npz")
    assert e.value.code == "F100"


def test_the_command_has_the_same_limits(path: Path) -> None:
    for options in (["--margin", "inf"], ["--margin", "0.5"], ["--tolerance", "nan"], ["--weights", "12"]):
        done = CliRunner().invoke(app, ["compile", str(path), "-o", str(path.parent / "out"), *options, "--json"])
        assert done.exit_code == 2
        assert json.loads(done.stdout)["error"]["code"] == "I110", done.output
        assert not (path.parent / "out").exists()
