"""Inputs as ezkl writes them, and axes that the data shows to be time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from syurmy.cli import app
from syurmy.compiler import ModelError, compile_onnx
from syurmy.isa.arrays import Array
from tests.compiler.harness import evaluated, floats, helper, model_of

node = helper.make_node


def two_inputs(tmp_path: Path) -> tuple[Path, dict[str, Array], onnx.ModelProto]:
    r = np.random.default_rng(2)
    x = {"a": floats(r, 1, 2, 3), "b": floats(r, 1, 3, 2)}
    model = model_of([node("MatMul", ["a", "b"], ["c"]), node("Relu", ["c"], ["y"])], x, ["y"])
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx", x, model


def call(*arguments: object) -> dict[str, object]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_input_json_everywhere(tmp_path: Path) -> None:
    """One file calibrates, runs, and checks: flat lists in the order of the inputs."""
    path, x, model = two_inputs(tmp_path)
    file = tmp_path / "input.json"
    file.write_text(json.dumps({"input_data": [v.reshape(-1).tolist() for v in x.values()], "output_data": [[0.0]]}))
    call("compile", path, "--calibrate", file)
    program = tmp_path / "m" / "model.tasm"
    shown = call("run", program, "--input", file)
    (expected,) = evaluated(model, x)
    np.testing.assert_allclose(np.array(shown["outputs"]["y"]).reshape(expected.shape), expected, atol=2e-3)  # type: ignore[index]
    assert call("check", program, "--input", file)
    shaped = tmp_path / "shaped.json"
    shaped.write_text(json.dumps({"input_data": [v.tolist() for v in x.values()]}))
    assert call("run", program, "--input", shaped)["outputs"] == shown["outputs"]


def test_input_json_of_several_samples(tmp_path: Path) -> None:
    """ezkl's calibration data: every list holds all samples of an input, one after the other."""
    path, x, _ = two_inputs(tmp_path)
    file = tmp_path / "cal.json"
    file.write_text(json.dumps({"input_data": [np.concatenate([v.reshape(-1)] * 9).tolist() for v in x.values()]}))
    done = compile_onnx(path, tmp_path / "m", calibrate=file)
    assert done.missed is None


def test_input_json_of_too_few(tmp_path: Path) -> None:
    path, _, _ = two_inputs(tmp_path)
    file = tmp_path / "input.json"
    file.write_text(json.dumps({"input_data": [[1.0] * 6]}))
    done = CliRunner().invoke(app, ["compile", str(path), "--calibrate", str(file)])
    assert done.exit_code == 2
    assert "lists 1 inputs, the model has 2: a, b" in done.stderr


def test_an_input_called_input_data(tmp_path: Path) -> None:
    """The name means the input where the model has one of that name."""
    x = {"input_data": floats(np.random.default_rng(0), 2, 2)}
    model = model_of([node("Neg", ["input_data"], ["y"])], x, ["y"])
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "x.json").write_text(json.dumps({"input_data": x["input_data"].tolist()}))
    call("compile", tmp_path / "m.onnx", "--calibrate", tmp_path / "x.json")
    shown = call("run", tmp_path / "m" / "model.tasm", "--input", tmp_path / "x.json")
    np.testing.assert_allclose(np.array(shown["outputs"]["y"]), -x["input_data"], atol=1e-3)  # type: ignore[index]


def test_input_json_of_a_program(tmp_path: Path) -> None:
    """Programs take it too."""
    (tmp_path / "p.tasm").write_text(
        ".input a : i16[2, 2] private\n.input b : i16[3] private\n.output y public\n sum s, b\n add y, a, s\n halt\n"
    )
    (tmp_path / "in.json").write_text(json.dumps({"input_data": [[1, 2, 3, 4], [1, 1, 1]]}))
    shown = call("run", tmp_path / "p.tasm", "--input", tmp_path / "in.json")
    assert np.array(shown["outputs"]["y"]).tolist() == [[4, 5], [6, 7]]  # type: ignore[index]


def free(tmp_path: Path) -> Path:
    """Two inputs of free first axes."""
    x = {"x": np.zeros((1, 4), np.float32), "s": np.zeros((1, 4), np.float32)}
    model = model_of([node("Add", ["x", "s"], ["y"])], x, ["y"])
    for i in (*model.graph.input, *model.graph.output):
        i.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("shape", [(5, 50, 4), (50, 4)])
def test_time_is_said(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Data of several steps, for one sample or for several."""
    given = {"x": np.ones(shape, np.float32), "s": np.ones((shape[0] if len(shape) == 3 else 1, 4), np.float32)}
    with pytest.raises(ModelError) as e:
        compile_onnx(free(tmp_path), tmp_path / "m", calibrate=given)
    assert e.value.code == "M109"
    assert "--shape x=50,4" in e.value.help
    done = compile_onnx(tmp_path / "m.onnx", tmp_path / "m", calibrate=given, shapes={"x": (50, 4)})
    assert done.inputs[0].shape == (50, 4)


def test_steps_that_are_taken_for_samples_are_said(tmp_path: Path) -> None:
    """A flat list, or one sequence, where a recurrent operator walks along the free first axis."""
    rng = np.random.default_rng(3)
    constants = {"w": floats(rng, 1, 12, 4), "r": floats(rng, 1, 12, 3)}
    model = model_of(
        [node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3)], {"x": floats(rng, 1, 1, 4)}, ["y"], constants
    )
    for i in (*model.graph.input, *model.graph.output):
        i.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.save(model, tmp_path / "m.onnx")
    x = floats(rng, 9, 1, 4)
    for given in (x, x.reshape(-1)):
        with pytest.warns(UserWarning, match="--shape x=9,1,4; 9 samples"):
            compile_onnx(tmp_path / "m.onnx", tmp_path / "m", calibrate={"x": given})
