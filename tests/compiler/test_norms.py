"""Normalisations that are written out: as right as the operator, for rows of any size, and of hardly any variance."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from syurmy.compiler import compile_model, load
from syurmy.isa.arrays import Array
from tests.compiler.harness import evaluated, floats, model_of

node = helper.make_node


def written(form: str) -> list[onnx.NodeProto]:
    """One of the ways in which exporters write it."""
    centre = [node("ReduceMean", ["x"], ["mu"], axes=[-1]), node("Sub", ["x", "mu"], ["d"])]
    d = "x" if form.startswith("rms") else "d"
    square = node("Pow", [d, "two"], ["q"]) if form in ("div", "power") else node("Mul", [d, d], ["q"])
    mean = [square, node("ReduceMean", ["q"], ["v"], axes=[-1]), node("Add", ["v", "e"], ["ve"])]
    ends = {
        "div": [node("Sqrt", ["ve"], ["sd"]), node("Div", [d, "sd"], ["y"])],
        "reciprocal": [node("Sqrt", ["ve"], ["sd"]), node("Reciprocal", ["sd"], ["r"]), node("Mul", [d, "r"], ["y"])],
        "power": [node("Pow", ["ve", "minus"], ["r"]), node("Mul", ["r", d], ["y"])],
        "rms": [node("Sqrt", ["ve"], ["sd"]), node("Div", ["one", "sd"], ["r"]), node("Mul", [d, "r"], ["y"])],
        "rms div": [node("Pow", ["ve", "half"], ["sd"]), node("Div", [d, "sd"], ["y"])],
    }  # fmt: skip
    return [*([] if d == "x" else centre), *mean, *ends[form]]


CONSTANTS = {"two": np.float32(2), "e": np.float32(1e-5), "minus": np.float32(-0.5), "one": np.float32(1),
             "half": np.float32(0.5)}  # fmt: skip


def rows(rng: np.random.Generator, count: int) -> Array:
    """Of which every third one hardly varies, and some are not around 0."""
    x = floats(rng, count, 1, 6, 16)
    x[::3, 0, 2] = x[::3, 0, 2, :1] + 1e-3 * floats(rng, len(x[::3]), 16)
    x[1::3, 0, 4] += 2
    return x


@pytest.mark.parametrize("form", ["div", "reciprocal", "power", "rms", "rms div"])
def test_written_out(form: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = rows(rng, 12)
    fixed = {k: np.asarray(v) for k, v in CONSTANTS.items()}
    model = model_of(written(form), {"x": x[0]}, ["y"], fixed, opset=17)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
        assert [r.op for r in done.rows] == ["Normalised"]
        for one in rows(rng, 6):
            want = evaluated(model, {"x": one})[0]
            assert np.abs(done.run({"x": one}).outputs["y"] - want).max() < 1e-3 * np.ptp(want)


def test_each_over_an_axis_of_its_own(tmp_path: Path) -> None:
    """What is left after a mean over one axis, over its mean square along another."""
    rng = np.random.default_rng(4)
    x = floats(rng, 12, 1, 6, 16)
    nodes = written("div")
    nodes[3] = node("ReduceMean", ["q"], ["v"], axes=[1])
    model = model_of(nodes, {"x": x[0]}, ["y"], {k: np.asarray(v) for k, v in CONSTANTS.items()}, opset=17)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
    assert [r.op for r in done.rows] == ["ReduceMean", "Sub", "Normalised"]
    want = evaluated(model, {"x": x[0]})[0]
    assert np.abs(done.run({"x": x[0]}).outputs["y"] - want).max() < 1e-3 * np.ptp(want)


def affine(form: str, axis: int, n: int) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """With gamma and beta, of n entries along an axis of ``[1, 6, 16]``, as Flax and Keras have it written."""
    rng = np.random.default_rng(9)
    shape = [n if a == axis else 1 for a in range(3)]
    gamma, beta = 1 + floats(rng, *shape) / 4, floats(rng, *shape)
    fixed = {"gamma": gamma, "beta": beta, "e": np.float32(1e-3), "part": np.float32(1 / n), "zero": np.float32(0),
             "axis": np.array([axis])}  # fmt: skip
    inverse = [node("Add", ["v", "e"], ["ve"]), node("Sqrt", ["ve"], ["sd"]), node("Reciprocal", ["sd"], ["r"])]
    sums = [node("ReduceSum", ["x", "axis"], ["s"], keepdims=0), node("Mul", ["s", "part"], ["m0"]),
            node("Unsqueeze", ["m0", "axis"], ["mu"])]  # fmt: skip
    means = [node("ReduceMean", ["x"], ["mu"], axes=[axis]), node("Sub", ["x", "mu"], ["d"]),
             node("Mul", ["d", "d"], ["q"]), node("ReduceMean", ["q"], ["v"], axes=[axis])]  # fmt: skip
    scaled = [*inverse, node("Mul", ["r", "gamma"], ["g"])]
    if form == "flax":
        squares = [node("Mul", ["x", "x"], ["q"]), node("ReduceSum", ["q", "axis"], ["t"]),
                   node("Mul", ["part", "t"], ["p"]), node("Mul", ["mu", "mu"], ["mm"]),
                   node("Sub", ["p", "mm"], ["v0"]), node("Max", ["zero", "v0"], ["v"])]  # fmt: skip
        end = [node("Sub", ["x", "mu"], ["d"]), node("Mul", ["d", "g"], ["u"]), node("Add", ["u", "beta"], ["y"])]
        return [*sums, *squares, *scaled, *end], fixed
    if form == "keras":
        end = [node("Mul", ["mu", "g"], ["h"]), node("Sub", ["beta", "h"], ["b"]), node("Mul", ["x", "g"], ["u"]),
               node("Add", ["u", "b"], ["y"])]  # fmt: skip
        return [*means, *scaled, *end], fixed
    channels = 16 if axis == 1 else 6  # each normalised over all else
    fixed |= {"ones": np.ones(channels, np.float32), "zeros": np.zeros(channels, np.float32),
              "count": np.float32(n)}  # fmt: skip
    perm = [0, 2, 1] if axis == 1 else [0, 1, 2]
    nodes = [node("Transpose", ["x"], ["c"], perm=perm), node("ReduceMean", ["c"], ["m"], axes=[0, 2]),
             node("Sub", ["c", "m"], ["d"]), node("ReduceSumSquare", ["d"], ["t"], axes=[0, 2], keepdims=0),
             node("Div", ["t", "count"], ["v"]), node("Squeeze", ["m", "ends"], ["mu"]),
             node("BatchNormalization", ["c", "ones", "zeros", "mu", "v"], ["b"], epsilon=1e-3),
             node("Transpose", ["b"], ["bt"], perm=perm), node("Mul", ["bt", "gamma"], ["u"]),
             node("Add", ["u", "beta"], ["y"])]  # fmt: skip
    return nodes, fixed | {"ends": np.array([0, 2])}


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("form", ["flax", "keras", "fused"])
def test_written_out_with_parameters(form: str, axis: int, tmp_path: Path) -> None:
    """A variance that is a difference of means, and parameters on both sides of it, lose no more than the operator:
    the differences of large numbers that they are took 5e-3 of the range of a Flax model's probabilities."""
    rng = np.random.default_rng(3)
    nodes, fixed = affine(form, axis, 6 if axis == 1 else 16)
    x = 3 + floats(rng, 12, 1, 6, 16)
    model = model_of(nodes, {"x": x[0]}, ["y"], {k: np.asarray(v) for k, v in fixed.items()}, opset=17)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
        assert "Normalised" in [r.op for r in done.rows]
        assert not {"Sqrt", "ReduceMean", "BatchNormalization"} & {r.op for r in done.rows}
        assert not done.fine
        for one in 3 + floats(rng, 3, 1, 6, 16):
            want = evaluated(model, {"x": one})[0]
            assert np.abs(done.run({"x": one}).outputs["y"] - want).max() < 2e-4 * np.ptp(want)


@pytest.mark.parametrize("of", ["z", "turned"])
def test_statistics_of_something_else_stay(of: str, tmp_path: Path) -> None:
    """Of another tensor, and of x turned, whose means meet other entries."""
    rng = np.random.default_rng(3)
    nodes, fixed = affine("keras", 2, 8)
    fixed["gamma"] = fixed["beta"] = np.float32(0.5)
    first = node("Relu", ["x"], ["z"]) if of == "z" else node("Transpose", ["x"], ["turned"], perm=[0, 2, 1])
    for n in nodes[:2]:
        n.input[0] = of
    x = 3 + floats(rng, 12, 1, 8, 8)
    model = model_of([first, *nodes], {"x": x[0]}, ["y"], {k: np.asarray(v) for k, v in fixed.items()}, opset=17)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
    assert "Normalised" not in [r.op for r in done.rows]
    want = evaluated(model, {"x": x[0]})[0]
    assert np.abs(done.run({"x": x[0]}).outputs["y"] - want).max() < 1e-3 * np.ptp(want)


def test_a_mean_that_meets_other_entries_stays(tmp_path: Path) -> None:
    """Of a square, the means of rows laid along columns: shapes say so, and nearly equal means do not hide it."""
    rng = np.random.default_rng(3)
    nodes, fixed = affine("keras", 2, 8)
    fixed["gamma"] = fixed["beta"] = np.float32(0.5)
    fixed["across"] = np.array([1, 1, 8])
    nodes[1:1] = [node("Reshape", ["mu"], ["laid"], name="laid"), node("Identity", ["laid"], ["other"])]
    nodes[1].input.append("across")
    nodes[3].input[1] = "other"
    x = 3 + floats(rng, 12, 1, 8, 8) / 100
    model = model_of(nodes, {"x": x[0]}, ["y"], {k: np.asarray(v) for k, v in fixed.items()}, opset=17)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
    assert "Normalised" not in [r.op for r in done.rows]
