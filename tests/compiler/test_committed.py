"""Models whose inputs and outputs are committed: one input for two models, and scales that have to agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import syurmy
from syurmy.isa.errors import InputError
from tests.compiler.harness import helper, model_of

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
