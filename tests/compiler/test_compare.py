"""A compiled model beside its float original: numbers against NumPy's, and where errors begin."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from syurmy import run
from syurmy.cli import app
from syurmy.compiler import CompiledModel, compile_onnx
from syurmy.compiler.compare import CAUSES, compare
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError
from tests.compiler.harness import floats, helper, model_of

node = helper.make_node


def mlp(folder: Path, samples: Array, **options: Any) -> tuple[CompiledModel, Path]:
    """Two layers on ``samples`` of shape [n, 2, 6], and its file."""
    r = np.random.default_rng(5)
    weights = {"w": floats(r, 6, 8), "v": floats(r, 8, 3)}
    nodes = [node("MatMul", ["x", "w"], ["h"], name="first"), node("Relu", ["h"], ["r"], name="cut"),
             node("MatMul", ["r", "v"], ["y"], name="last")]  # fmt: skip
    return built(folder, nodes, {"x": samples}, ["y"], weights, **options)


def built(
    folder: Path, nodes: list[Any], samples: dict[str, Array], outputs: list[str], weights: dict[str, Array], **o: Any
) -> tuple[CompiledModel, Path]:
    path = folder / "m.onnx"
    onnx.save(model_of(nodes, {k: v[0] for k, v in samples.items()}, outputs, weights), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile_onnx(path, folder / "m", calibrate=samples, **o), path


def data() -> Array:
    return floats(np.random.default_rng(6), 4, 2, 6)


def test_numbers_are_those_of_the_definition(tmp_path: Path) -> None:
    x = data()
    model, path = mlp(tmp_path, x)
    found = compare(model, path, {"x": x})
    assert [d.tensor for d in found.tensors] == ["x", "h", "r", "y"]
    assert (found.samples, found.same_source, found.first) == (4, True, None)
    r = np.random.default_rng(5)
    w, v = floats(r, 6, 8), floats(r, 8, 3)
    expected = np.maximum(x @ w, 0) @ v
    got = np.stack([model.run({"x": one}).outputs["y"] for one in x])
    y, off = found.tensors[-1], np.abs(expected.astype(np.float64) - got)
    assert y.error == pytest.approx(off.max(), abs=1e-6)
    assert y.mean == pytest.approx(off.mean(), abs=1e-6)
    assert y.relative == pytest.approx(off.max() / (expected.max() - expected.min()), rel=0.02)
    assert y.worst is not None
    at = (y.worst.sample, *y.worst.element)
    assert y.worst.expected == pytest.approx(float(expected[at]), abs=1e-6)
    assert y.worst.found == pytest.approx(float(got[at]), abs=1e-6)


def test_what_is_read_from_the_folder_compares_the_same(tmp_path: Path) -> None:
    model, path = mlp(tmp_path, data())
    again = CompiledModel.read(model.folder)
    assert again.held == model.held
    assert again.source == model.source
    assert compare(again, path, {"x": data()}) == compare(model, path, {"x": data()})


def test_a_scale_that_does_not_fit_its_tensor_is_refused(tmp_path: Path) -> None:
    model, path = mlp(tmp_path, data())
    held = tuple(replace(h, results=tuple(replace(r, scale=[1.0] * 7) for r in h.results)) for h in model.held)
    with pytest.raises(InputError, match="does not fit the tensor"):
        compare(replace(model, held=held), path, {"x": data()})


def test_saturation_begins_where_values_leave_the_range(tmp_path: Path) -> None:
    model, path = mlp(tmp_path, data())
    found = compare(model, path, {"x": 9 * data()})
    assert found.first is not None
    assert (found.first.node, found.first.cause) == ("x", "saturation")
    assert found.first.saturated > 0
    assert sum(d.begins for d in found.tensors) == 1  # what reads it only passes it on


def test_an_inner_node_that_saturates_is_named(tmp_path: Path) -> None:
    """Every entry is as the samples have them, their sums are not."""
    r = np.random.default_rng(7)
    x = np.where(r.random((8, 1, 32)) < 0.5, -1.0, 1.0).astype(np.float32)
    nodes = [node("MatMul", ["x", "w"], ["h"], name="sum"), node("Sigmoid", ["h"], ["s"], name="squash"),
             node("MatMul", ["s", "v"], ["y"], name="last")]  # fmt: skip
    weights = {"w": np.full((32, 2), 0.05, np.float32), "v": np.full((2, 1), 1.0, np.float32)}
    model, path = built(tmp_path, nodes, {"x": x}, ["y"], weights)
    found = compare(model, path, {"x": np.ones((1, 32), np.float32)})
    assert found.first is not None
    assert (found.first.node, found.first.cause) == ("squash", "saturation")


def test_a_cancelled_sum_is_told(tmp_path: Path) -> None:
    r = np.random.default_rng(8)
    x = np.stack([floats(r, 4), floats(r, 4)])
    big = (1e4 * (1 + np.abs(floats(r, 4)))).astype(np.float32)
    nodes = [node("Add", ["x", "big"], ["a"], name="up"), node("Abs", ["a"], ["b"], name="abs"),
             node("Sub", ["b", "big"], ["y"], name="down")]  # fmt: skip
    model, path = built(tmp_path, nodes, {"x": x}, ["y"], {"big": big}, tolerance=1.0, activations=8)
    found = compare(model, path, {"x": x}, tolerance=0.05)
    assert found.first is not None
    assert (found.first.node, found.first.cause) == ("down", "cancelled sum")
    assert set(CAUSES) >= {d.cause for d in compare(model, path, {"x": x}).tensors if d.begins}


def test_integers_that_differ_are_counted(tmp_path: Path) -> None:
    """Values half a unit apart are told apart by the float model alone."""
    x = np.array([[0.5, 1.5, 2.5, -7.25]], np.float32)
    nodes = [node("Greater", ["x", "k"], ["y"], name="decide")]
    model, path = built(tmp_path, nodes, {"x": np.stack([x, 3 * x])}, ["y"], {"k": np.float32([0.5])})
    near = np.nextafter(np.float32(0.5), np.float32(1))
    found = compare(model, path, {"x": np.full((1, 4), near, np.float32)})
    expected = run(model.program, model.quantise({"x": np.full((1, 4), near, np.float32)})).outputs
    wrong = sum(int(np.count_nonzero(v != 1)) for v in expected.values())
    assert found.tensors[-1].wrong == wrong


def test_of_an_elementwise_node_the_operands_are_shown_at_the_entry(tmp_path: Path) -> None:
    model, path = mlp(tmp_path, data())
    r = next(d for d in compare(model, path, {"x": 9 * data()}).tensors if d.op == "Relu")
    assert r.worst is not None
    ((name, expected, found, error),) = r.worst.inputs
    assert name == "h"
    assert expected is not None
    assert found is not None
    assert max(expected, 0.0) == pytest.approx(r.worst.expected)
    assert error > 0


def test_recurrent_models_compare_behind_their_loop(tmp_path: Path) -> None:
    r = np.random.default_rng(9)
    x = floats(r, 3, 7, 1, 4)
    weights = {"w": floats(r, 1, 5, 4), "u": floats(r, 1, 5, 5), "v": floats(r, 5, 2)}
    nodes = [node("RNN", ["x", "w", "u"], ["", "last"], hidden_size=5, name="loop"),
             node("MatMul", ["last", "v"], ["y"], name="head")]  # fmt: skip
    model, path = built(tmp_path, nodes, {"x": x}, ["y"], weights)
    found = compare(model, path, {"x": x})
    assert {"last", "y"} <= {d.tensor for d in found.tensors}
    assert found.first is None


def test_the_command(tmp_path: Path) -> None:
    mlp(tmp_path, data())
    np.savez(tmp_path / "big.npz", x=9 * data())
    runner = CliRunner()
    done = runner.invoke(app, ["compare", str(tmp_path / "m")])
    assert done.exit_code == 0
    assert "4 tensors agree within 0.001 of their range on 1 input" in done.stdout
    done = runner.invoke(app, ["compare", str(tmp_path / "m.onnx"), "--input", str(tmp_path / "big.npz")])
    assert "the error begins at input 'x': saturation" in done.stdout
    assert "of input" in done.stdout
    done = runner.invoke(app, ["compare", str(tmp_path / "m"), "-i", str(tmp_path / "big.npz"), "--json"])
    said = json.loads(done.stdout)
    assert said["first"] == {"node": "x", "tensor": "x", "cause": "saturation"}
    assert {t["tensor"] for t in said["tensors"]} == {"x", "h", "r", "y"}


def test_another_file_is_told_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    _, path = mlp(tmp_path, data())
    other = onnx.load(path)
    other.doc_string = "another"
    onnx.save(other, tmp_path / "other.onnx")
    runner = CliRunner()
    done = runner.invoke(app, ["compare", str(tmp_path / "m"), "--model", str(tmp_path / "other.onnx")])
    assert done.exit_code == 0
    assert "is not the file that was compiled" in done.stderr
    path.unlink()
    done = runner.invoke(app, ["compare", str(tmp_path / "m")])
    assert done.exit_code == 2
    assert "--model" in done.stderr
