"""Models whose inputs and outputs are committed: one input for two models, and scales that have to agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import syurmy
from syurmy.commands import models
from syurmy.compiler import compile_model
from syurmy.isa.errors import InputError
from tests.compiler.harness import helper, model_of
from tests.syurmy.test_segments import vm

X = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)


def compiled(folder: Path, op: str, calibrate: Any = X, **options: Any) -> syurmy.CompiledModel:
    model = model_of([helper.make_node(op, ["x"], ["y"])], {"x": X[0]}, ["y"])
    onnx.save(model, folder / f"{op}.onnx")
    return syurmy.compile_onnx(
        folder / f"{op}.onnx", folder / f"{op}-{len(options)}", calibrate={"x": calibrate}, **options
    )


def test_one_input_for_two_models(tmp_path: Path) -> None:
    """Calibrated alike, both read it; a model of another scale does not."""
    one, two = (compiled(tmp_path, op, commit_inputs=["x"]) for op in ("Tanh", "Relu"))
    other = compiled(tmp_path, "Sigmoid", 3 * X, commit_inputs=["x"])
    assert [i.visibility for i in one.program.inputs] == ["committed"]
    integers = one.quantise({"x": X[1]})["x"]
    opening = syurmy.commit(one, "x", integers, proofs=2)
    digests = []
    for model in (one, two):
        pk, vk = syurmy.setup(model)
        trace = syurmy.run(model.program, {"x": integers})
        statement = syurmy.verify(vk, syurmy.prove(pk, trace, commitments={"x": opening}).to_bytes())
        digests.append(statement.commitments["x"].digest())
    assert digests == [opening.commitment.digest()] * 2
    pk, _ = syurmy.setup(other)
    with pytest.raises(InputError) as e:
        syurmy.prove(pk, syurmy.run(other.program, {"x": integers}), commitments={"x": opening})
    assert e.value.code == "P188"
    assert "scale" in e.value.message


def test_outputs(tmp_path: Path) -> None:
    model = compiled(tmp_path, "Tanh", commit_inputs=["x"], commit_outputs=["y"])
    assert [o.visibility for o in model.program.outputs] == ["committed"]
    with pytest.raises(InputError) as e:
        compiled(tmp_path, "Relu", commit_outputs=["z"], commit_inputs=())
    assert e.value.code == "I110"


def fed(folder: Path, op: str, x: Any, **options: Any) -> syurmy.CompiledModel:
    model = model_of([helper.make_node(op, ["h"], ["z"])], {"h": x[0]}, ["z"])
    return compile_model(model, folder / f"{op}-fed", calibrate={"h": x}, **options)


@pytest.mark.parametrize("by", ["folder", "name", "model"])
def test_a_model_reads_what_another_gives(tmp_path: Path, by: str) -> None:
    """Its input has the other's integers, whatever it was calibrated on; the two proofs name one commitment."""
    first = compiled(tmp_path, "Softplus", commit_outputs=["y"])
    source = {"folder": str(first.folder), "name": f"{first.folder}:y", "model": first}[by]
    second = fed(tmp_path, "Tanh", np.abs(7 * X), commit_inputs=["h"], reads={"h": source})
    assert second.inputs[0].scale == first.outputs[0].scale
    run = first.run({"x": X[2]})
    integers = run.trace.outputs["y"]
    trace = syurmy.run(second.program, {"h": integers})
    found = second.dequantise(trace.outputs)["z"]
    np.testing.assert_allclose(found, np.tanh(np.logaddexp(0, X[2])), atol=1e-3)
    opening = syurmy.commit(first, "y", integers, proofs=2)
    digests = []
    for model, made, name in ((first, run.trace, "y"), (second, trace, "h")):
        pk, vk = syurmy.setup(model)
        statement = syurmy.verify(vk, syurmy.prove(pk, made, commitments={name: opening}).to_bytes())
        digests.append(statement.commitments[name].digest())
    assert digests == [opening.commitment.digest()] * 2


def test_a_model_reads_what_another_reads(tmp_path: Path) -> None:
    """An input of the other; by features where that has scales of its own for them; its unit too."""
    mixed = np.stack([X[:, 0, :] * [45000.0, 38.0, 0.02]] * 2, 1).astype(np.float32)
    weights = (np.ones((3, 1)) / [[45000.0], [38.0], [0.02]]).astype(np.float32)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": mixed[0]}, ["y"], {"w": weights})
    first = compile_model(model, tmp_path / "first", calibrate={"x": mixed}, units={"x": "m"})
    assert first.inputs[0].scales
    again = compile_model(model, tmp_path / "again", calibrate={"x": mixed / 2}, reads={"x": f"{first.folder}:x"})
    assert (again.inputs[0].scales, again.inputs[0].unit) == (first.inputs[0].scales, "m")
    assert again.program.inputs[0].type == first.program.inputs[0].type
    np.testing.assert_allclose(again.run({"x": mixed[3]}).outputs["y"], mixed[3] @ weights, atol=3e-3)


@pytest.mark.parametrize(
    ("source", "code"),
    [("nowhere", "F110"), ("{folder}:nothing", "I119"), ("{folder}:y", "I119"), (7, "I110")],
)
def test_what_cannot_be_read(tmp_path: Path, source: Any, code: str) -> None:
    """A folder that is none, no such tensor, one of another shape, an option of another kind."""
    first = compiled(tmp_path, "Tanh")
    source = source.format(folder=first.folder) if isinstance(source, str) else source
    with pytest.raises(InputError) as e:
        fed(tmp_path, "Tanh", X[:, :1], reads={"h": source} if isinstance(source, str) else source)
    assert e.value.code == code


def test_only_scales_are_read(tmp_path: Path) -> None:
    """An input that its model only compares has none; an input that is not there cannot be read."""
    argmax = model_of([helper.make_node("ArgMax", ["x"], ["y"], axis=1)], {"x": X[0]}, ["y"])
    first = compile_model(argmax, tmp_path / "first", calibrate={"x": X})
    with pytest.raises(InputError) as e:
        fed(tmp_path, "Tanh", X[:, :, :1], reads={"h": first})
    assert (e.value.code, "int64" in e.value.message) == ("I119", True)
    with pytest.raises(InputError) as e:
        fed(tmp_path, "Tanh", X, reads={"g": first})
    assert e.value.code == "I101"


def test_by_command(tmp_path: Path) -> None:
    """``commit`` takes what ``run`` takes, reals by the recorded scale; what a model gives goes into the next to the
    last bit, also where that has more bits than the reals have."""
    first = compiled(tmp_path, "Identity", commit_inputs=["x"], commit_outputs=["y"])
    words = ("commit", first.folder, "-o", tmp_path, "-i")
    made = vm(*words, f"x={X[1].tolist()}")["commitments"]["x"]
    opening = syurmy.TensorOpening.load(tmp_path / "x.opening")
    assert np.array_equal(opening.values[0], first.quantise({"x": X[1]})["x"])
    assert opening.commitment.digest().hex() == made["digest"]
    cut = vm(*words, f"x={(9 * X[1]).tolist()}", "--force")
    assert "input 'x'" in cut["warnings"][0]
    raw = vm(*words, f"x={opening.values[0].tolist()}", "--raw", "--force")
    assert np.array_equal(syurmy.TensorOpening.load(raw["commitments"]["x"]["opening"]).values, opening.values)
    assert vm(*words, "x=[[1,2,3]]", "--force", code=2)["error"]["code"] == "I105"
    assert vm(*words, "y=[[1,2,3]]", "--force", code=2)["error"]["code"] == "I101"

    at = models.opened(first.folder, None)
    assert at.model is not None
    wide = np.full((2, 3), 2**30 + 1)  # float32 has 24 bits
    ran = models.inputs(at, None, committed={"x": wide})
    assert (np.array_equal(ran.integers["x"], wide), ran.saturated, ran.rounded["x"].any()) == (True, (), False)
