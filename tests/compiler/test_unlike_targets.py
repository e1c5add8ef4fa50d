"""Outputs whose columns are of unlike size (several targets, transformed features): each is right to its own range, or
a run says that it is not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from syurmy.compiler import CompiledModel, UnsupportedModel, compile_model, load
from syurmy.isa.arrays import Array
from tests.compiler.test_tabular import ML, SPREAD, model_of, node, session
from tests.compiler.test_tabular_kinds import constant

make = helper.make_node
R = np.random.default_rng(0)
X = (SPREAD * R.lognormal(0, 0.4, (48, 4))).astype(np.float32)
W = (R.standard_normal((4, 3)) / SPREAD[:, None] * [300.0, 1.0, 0.1]).astype(np.float32)
MEAN = X.mean(axis=0)
KINDS = {
    "features": [make("Identity", ["x"], ["y"])],
    "centred": [constant("m", MEAN), make("Sub", ["x", "m"], ["y"])],
    "product": [
        *(constant("m", MEAN), constant("w", W)), make("Sub", ["x", "m"], ["c"]), make("MatMul", ["c", "w"], ["y"]),
    ],
    "regressor": [
        node("LinearRegressor", coefficients=W.T.reshape(-1).tolist(), intercepts=[300.0, 0.5, 0.0], targets=3),
    ],
    "joined": [
        *(constant(f"w{k}", W[:, k : k + 1]) for k in range(2)),
        *(make("MatMul", ["x", f"w{k}"], [f"t{k}"]) for k in range(2)),
        make("Tanh", ["t1"], ["h"]),
        make("Concat", ["t0", "h"], ["y"], axis=1),
    ],
}  # fmt: skip


def columns(nodes: list[onnx.NodeProto], x: Array, folder: Path) -> tuple[CompiledModel, Array, list[str]]:
    """How far every column is off, over its range, on rows that were calibrated on and others; and what is said."""
    model = model_of(nodes, x, ["y"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = compile_model(load.prepare(model), folder / "m", calibrate={"x": x[:40, None]})
        found = np.concatenate([np.asarray(done.run({"x": row[None]}).outputs["y"]) for row in x])
    expected = session(model).run(None, {"x": x})[0]
    return done, np.abs(found - expected).max(axis=0) / np.ptp(expected, axis=0), [str(w.message) for w in caught]


@pytest.mark.parametrize("kind", KINDS)
def test_every_target_is_right_to_its_own_range(kind: str, tmp_path: Path) -> None:
    done, off, said = columns(KINDS[kind], X, tmp_path)
    assert off.max() <= 1e-3
    assert done.missed is None
    assert not any("off by" in text for text in said)


TOLD = {
    "targets": [
        *(constant(f"w{k}", W[:, k : k + 1] * [1, 1, 1e-7][k]) for k in range(3)),
        *(make("MatMul", ["x", f"w{k}"], [f"t{k}"]) for k in range(3)),
        make("Concat", ["t0", "t1", "t2"], ["y"], axis=1),
    ],
    "squares": [make("Mul", ["x", "x"], ["q"]), make("Identity", ["q"], ["y"])],
}


@pytest.mark.parametrize("kind", TOLD)
def test_a_target_that_has_too_few_bits_is_told(kind: str, tmp_path: Path) -> None:
    """One that is a thousand millionth of another."""
    done, off, said = columns(TOLD[kind], X, tmp_path)
    assert off[2] > 1e-3
    assert done.missed is not None
    assert done.missed.column == 2
    told = sum("the range of its column 2" in text for text in said)
    assert told == 1 + len(X)  # when compiled, and of every run
    assert CompiledModel.read(tmp_path / "m").missed == done.missed


def test_shares_and_few_samples_are_judged_as_a_whole(tmp_path: Path) -> None:
    """A class that hardly occurs is no target of its own, and one row has no range."""
    z = ((X - MEAN) / X.std(axis=0)).astype(np.float32)
    bias = np.array([0.0, 1.0, -9.0], np.float32)
    w = R.standard_normal((4, 3)).astype(np.float32)
    scores = [constant("w", w), constant("b", bias), make("MatMul", ["x", "w"], ["s"]), make("Add", ["s", "b"], ["t"])]
    done, off, said = columns([*scores, make("Softmax", ["t"], ["y"])], z, tmp_path)
    assert not done.fine
    assert not said
    assert off.max() > 1e-3
    model = model_of(KINDS["product"], X, ["y"])
    few = compile_model(load.prepare(model), tmp_path / "few", calibrate={"x": X[:8, None]})
    assert few.missed is None


def test_a_sequence_of_unlike_tensors_is_refused(tmp_path: Path) -> None:
    """What a classifier of several outputs becomes."""
    nodes = [
        constant("w", W), make("MatMul", ["x", "w"], ["a"]), make("Relu", ["x"], ["b"]),
        make("SequenceConstruct", ["a", "b"], ["s"]), make("SequenceConstruct", ["a"], ["one"]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", 1, [None, 4])]
    for made in ("s", "one"):
        t = helper.make_tensor_sequence_value_info(made, 1, None)
        kept = [n for n in nodes if n.output[0] == made or n.op_type != "SequenceConstruct"]
        graph = helper.make_graph(kept, "case", inputs, [t])
        imports = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        with pytest.raises(UnsupportedModel, match="SequenceConstruct"):
            compile_model(load.prepare(model), tmp_path / made, calibrate={"x": X[:20, None]})


def test_features_of_unlike_size_go_beyond_their_samples(tmp_path: Path) -> None:
    """Each has a unit of its own, and room for four times what it reaches on the samples, in which nothing is cut."""
    done = columns(KINDS["product"], X, tmp_path)[0]
    assert len(done.inputs[0].scales) == 4
    far = (3.9 * X[:40].max(axis=0))[None].astype(np.float32)
    run = done.run({"x": far})
    assert not run.saturated
    expected = (far - MEAN) @ W
    assert np.abs(run.outputs["y"] - expected).max() <= 1e-3 * np.abs(expected).max()
