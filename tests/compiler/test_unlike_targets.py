"""Outputs whose columns are of unlike size (several targets, transformed features): each is right to its own range, or
a run says that it is not."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

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


FAR = [constant(f"w{k}", W[:, k : k + 1] * [1, 1, 1e-7][k]) for k in range(3)]
SCORE = [
    constant("m", MEAN), constant("v", (W / [300, 1, 0.1]).astype(np.float32)),
    make("Sub", ["x", "m"], ["c"]), make("MatMul", ["c", "v"], ["t"]),
]  # fmt: skip
SPREAD_OUT = {
    "joined": [
        *(*FAR, *(make("MatMul", ["x", f"w{k}"], [f"t{k}"]) for k in range(3))),
        make("Concat", ["t0", "t1", "t2"], ["y"], axis=1),
    ],
    "squares": [make("Mul", ["x", "x"], ["q"]), make("Identity", ["q"], ["y"])],
    "scaled": [
        *SCORE, make("Tanh", ["t"], ["h"]),
        constant("f", np.array([1e6, 1.0, 1e-3], np.float32)), constant("o", np.array([5e6, 0.5, 0.01], np.float32)),
        make("Mul", ["h", "f"], ["p"]), make("Add", ["p", "o"], ["y"]),
    ],
    "price and probability": [
        *SCORE, make("Split", ["t"], ["a", "b", "d"], axis=1), make("Sigmoid", ["b"], ["s"]),
        constant("f", np.array([[2e5]], np.float32)), constant("o", np.array([3e5], np.float32)),
        make("Gemm", ["a", "f", "o"], ["p"]), make("Relu", ["p"], ["r"]), make("Concat", ["r", "s"], ["y"], axis=1),
    ],
    "trees": [
        node("TreeEnsembleRegressor", n_targets=2, nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2],
             nodes_featureids=[0] * 3, nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
             nodes_values=[float(np.median(X[:, 0])), 0.0, 0.0], nodes_truenodeids=[1, 0, 0],
             nodes_falsenodeids=[2, 0, 0], target_treeids=[0] * 4, target_nodeids=[1, 1, 2, 2],
             target_ids=[0, 1, 0, 1], target_weights=[1e6, 0.3, 3e6, 0.7], base_values=[1e5, 0.01]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", SPREAD_OUT)
def test_targets_of_very_unlike_size_leave_in_units_of_their_own(kind: str, tmp_path: Path) -> None:
    """One that is up to a thousand millionth of another; what the key says of the units is what they are."""
    done, off, said = columns(SPREAD_OUT[kind], X, tmp_path)
    assert off.max() <= 1e-3
    assert done.missed is None
    assert not said
    (port,) = done.outputs
    assert max(port.scales) >= 1000 * min(port.scales)
    assert [float(s) for s in done.description.outputs[0].scales] == list(port.scales)
    assert CompiledModel.read(tmp_path / "m").outputs == done.outputs


@pytest.mark.parametrize("axis", [2, 1])
def test_boxes_beside_scores_in_one_output(axis: int, tmp_path: Path) -> None:
    """As detectors end: scores were off by 0.5 % of theirs, 1e-6 of the range of all, which was not told."""
    shape = (1, 20, 6) if axis == 2 else (1, 6, 20)
    nodes = [
        constant("k", np.array(640, np.float32)),
        make("Split", ["x"], ["b", "s"], axis=axis, split=[4, 2]), make("Mul", ["b", "k"], ["p"]),
        make("Sigmoid", ["s"], ["c"]), make("Concat", ["p", "c"], ["y"], axis=axis),
    ]  # fmt: skip
    x = R.standard_normal((20, *shape)).astype(np.float32)
    info = [helper.make_tensor_value_info(name, 1, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "boxes", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8)
    done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x[:12]})
    found = np.stack([done.run(one).outputs["y"] for one in x[12:]])
    off = np.abs(found - np.stack([session(model).run(None, {"x": one})[0] for one in x[12:]]))
    boxes, scores = np.split(off, [4], axis=axis + 1)
    assert boxes.max() < 1e-3 * 640
    assert scores.max() < 3e-4
    assert bool(done.outputs[0].scales) == (axis == 2)


def test_rounding_of_a_small_target_is_told_of_a_run(tmp_path: Path) -> None:
    """Where between samples a column is off by more than the tolerance of its range, though not by that of the rest."""
    done, _, _ = columns(SPREAD_OUT["scaled"], X, tmp_path)
    limit = done.limits["y"]
    assert limit.span == 1
    assert np.shape(limit.spans) == (1, 3)
    unit = np.array(done.outputs[0].scales)
    off = 2 * limit.least * np.array(limit.spans) / unit * [0, 0, 1]  # units: only the last is off
    found = done.rounded(SimpleNamespace(found=[{done.outputs[0].name: off}]))
    assert [(r.output, round(r.share, 4)) for r in found] == [("y", round(2 * limit.least, 4))]


def test_a_target_that_has_too_few_bits_is_told(tmp_path: Path) -> None:
    """One that is a function of what the others are, all in one tensor: its column has no bits of its own."""
    far = [constant("k", np.array([9.0, 0, -9.0], np.float32)), make("Add", ["t", "k"], ["u"])]
    done, off, said = columns([*SCORE, *far, make("Exp", ["u"], ["y"])], X, tmp_path)
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
