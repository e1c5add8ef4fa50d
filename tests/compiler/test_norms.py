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


def test_what_is_none_stays(tmp_path: Path) -> None:
    """A variance over another axis."""
    rng = np.random.default_rng(4)
    x = floats(rng, 12, 1, 6, 16)
    nodes = written("div")
    nodes[3] = node("ReduceMean", ["q"], ["v"], axes=[1])
    model = model_of(nodes, {"x": x[0]}, ["y"], {k: np.asarray(v) for k, v in CONSTANTS.items()}, opset=17)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
    assert "Normalised" not in [r.op for r in done.rows]
