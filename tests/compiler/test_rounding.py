"""What rounding does to a run (``compiler.rounding``): the estimate beside the real error, and what it is used for."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from syurmy.assembler import assemble
from syurmy.compiler import CompiledModel, compile_model, load
from syurmy.compiler.rounding import Rounding, Whole
from syurmy.compiler.undecided import Decision
from syurmy.isa.arrays import Array
from syurmy.isa.program import Instruction
from syurmy.vm.machine import run
from tests.compiler.harness import evaluated, floats, model_of

RNG = np.random.default_rng(3)


def estimated(text: str, folder: str, inputs: Mapping[str, Array], reals: Mapping[str, Array]) -> tuple[Array, Array]:
    """The output of a program and d of it, for inputs that stand for ``reals``."""
    program = assemble(text, data_root=folder)
    rounding = Rounding(program, {name: reals[name] - inputs[name] for name in inputs}, Whole(), ["y"])
    y = run(program, inputs, listeners=(rounding,)).outputs["y"]
    d = rounding.found[0]["y"]
    return np.asarray(y), np.zeros(np.shape(y)) if d is None else np.asarray(d)


X = np.array([[900, -700, 350, 20], [-15, 801, 444, -90]])
OFF = np.array([[0.25, -0.5, 0.125, 0.375], [0.5, -0.25, 0.0, -0.125]])
W = np.array([[3, -1], [2, 5], [-4, 1], [7, 2]])
REAL = X + OFF
ONE = {
    "rescale y, x, shift=3, dtype=i16, mult=5": REAL * 5 / 8,
    "clamp y, x, lo=-100, hi=400": REAL.clip(-100, 400),
    "relu y, x": REAL.clip(0),
    "abs y, x": np.abs(REAL),
    "neg y, x": -REAL,
    "add y, x, x": 2 * REAL,
    "sub y, x, c": REAL - 7,
    "addi y, x, 5": REAL + 5,
    "muli y, x, -3": REAL * -3,
    "max y, x, c": np.maximum(REAL, 7),
    "min y, x, c": np.minimum(REAL, 7),
    "mul y, x, c": REAL * 7,
    "shl y, x, 2": REAL * 4,
    "shr y, x, 2": REAL / 4,
    "sum y, x, axes=(1,)": REAL.sum(axis=1),
    "transpose y, x": REAL.T,
    "pad y, x, axis=0, before=1, after=0, value=9": np.concatenate([np.full((1, 4), 9), REAL]),
    "concat y, x, x, axis=0": np.concatenate([REAL, REAL]),
    "matmul y, x, w": REAL @ W,
    "reduce_max y, x, axis=1": REAL.max(axis=1),
    "reduce_min y, x, axis=0": REAL.min(axis=0),
    "sort y, x": np.sort(REAL, axis=-1),
    "topk y, x, 2": -np.sort(-REAL, axis=-1)[:, :2],
    "div y, x, c": REAL / 7,
    "isqrt y, p": np.sqrt(REAL**2),
    "gather y, x[i]": REAL[[1, 0, 1]],
    "lut y, x, table=third": REAL / 3,
}


@pytest.mark.parametrize("line", ONE)
def test_an_instruction_without_rounding_is_its_real_function(line: str) -> None:
    d = {"x": X, "p": X * X, "i": np.array([1, 0, 1]), "w": W, "c": np.array(7)}
    shape = np.shape(ONE[line])
    with tempfile.TemporaryDirectory() as folder:
        third = np.array([int(np.rint(v / 3)) for v in range(-2048, 2048)])
        np.save(Path(folder) / "third.npy", third)
        np.save(Path(folder) / "w.npy", W.astype(np.int8))
        np.save(Path(folder) / "c.npy", np.int8(7))
        text = f"""
        .program one
        .input x : i16[2,4] private in -2048..2047
        .input p : i32[2,4] private in 0..4000000
        .input i : i8[3] private in 0..1
        .param w : i8[4,2] public = "w.npy"
        .param c : i8[] public = "c.npy"
        .lut third : i16 -> i16 in -2048..2047 = "third.npy"
        .output y public
            {line}
            halt
        """
        y, off = estimated(text, folder, {k: d[k] for k in ("x", "p", "i")}, {"x": REAL, "p": REAL**2, "i": d["i"]})
    assert y.shape == shape
    assert np.abs(y + off - ONE[line]).max() <= (0.5 if "lut" in line else 1e-6)


def spread(v: float) -> Array:
    return np.array([[v, 1 - v, 0.02]], np.float32) * np.array([1, 1, 5000], np.float32)


def classifier() -> onnx.ModelProto:
    """Scores of hundreds, of which the samples show the softmax only where it is flat."""
    w = np.array([[400, 0], [0, 400], [0.5, -0.5]], np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["s"]), helper.make_node("Softmax", ["s"], ["p"])]
    return load.prepare(model_of(nodes, {"x": spread(0.2)}, ["p"], {"w": w}))


def test_between_samples_a_softmax_is_right_or_told() -> None:
    model = classifier()
    samples = np.stack([spread(v) for v in (*np.linspace(0.0, 0.2, 8), *np.linspace(0.8, 1.0, 8))])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(model, Path(folder) / "m", calibrate={"x": samples})
        again = CompiledModel.read(Path(folder) / "m")
        assert again.limits == done.limits != {}
        for v in np.linspace(0.38, 0.41, 25):
            x = spread(float(v))
            found = again.run({"x": x})
            error = float(np.abs(found.outputs["p"] - evaluated(model, {"x": x})[0]).max())
            assert error <= 1e-3 or found.rounded


def test_what_rounding_takes_off_is_told() -> None:
    """Of 8 bits, where no finer program is made."""
    model = classifier()
    samples = np.stack([spread(v) for v in (*np.linspace(0.0, 0.2, 8), *np.linspace(0.8, 1.0, 8))])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(model, Path(folder) / "m", calibrate={"x": samples}, activations=8)
        told = []
        for v in np.linspace(0.35, 0.45, 30):
            x = spread(float(v))
            found = done.run({"x": x})
            error = float(np.abs(found.outputs["p"] - evaluated(model, {"x": x})[0]).max())
            told.append(bool(found.rounded))
            assert found.rounded or error <= 1e-3
        assert any(told)


def column_model(nodes: Sequence[onnx.NodeProto], x: Array, constants: Mapping[str, Array]) -> onnx.ModelProto:
    return load.prepare(model_of(nodes, {"x": x}, ["y"], constants))


def test_powers_of_columns_and_what_is_made_of_them_are_one_table_each() -> None:
    """A power transform of columns of which one is nearly constant, then standardised."""
    e = np.array([0.5, -1.5, 3.0, -8.0], np.float32)
    mean, std = np.array([4.0, 0.4, 80.0, 0.12], np.float32), np.array([0.5, 0.1, 20.0, 1e-4], np.float32)
    rows = np.abs(RNG.normal(3, 0.5, (40, 1, 4))).astype(np.float32) + 1
    constants = {"one": np.array([1], np.float32), "e": e, "mean": mean, "std": std}
    nodes = [
        helper.make_node("Pow", ["x", "e"], ["p"]), helper.make_node("Sub", ["p", "one"], ["q"]),
        helper.make_node("Div", ["q", "e"], ["r"]), helper.make_node("Sub", ["r", "mean"], ["s"]),
        helper.make_node("Div", ["s", "std"], ["y"]),
    ]  # fmt: skip
    model = column_model(nodes, rows[0], constants)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(model, Path(folder) / "m", calibrate={"x": rows[:30]})
        assert len(done.program.luts) == 4
        for x in rows[30:]:
            floats = (x.astype(np.float64) ** e - 1) / e
            want = (floats - mean) / std
            assert np.abs(done.run({"x": x}).outputs["y"] - want).max() <= 1e-3 * np.ptp(want)


def test_a_comparison_of_unlike_columns_with_constants_notes_what_is_near() -> None:
    """It once stopped at columns that entering rounds."""
    rows = (RNG.uniform(0, 1, (20, 1, 2)) * [1e5, 1e-3]).astype(np.float32)
    cut = np.array([[3e4, 4e-4]], np.float32)
    nodes = [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Less", ["m", "cut"], ["y"]),
             helper.make_node("Tanh", ["m"], ["t"])]  # fmt: skip
    model = column_model(nodes, rows[0], {"k": np.array([[1.1, 0.7]], np.float32), "cut": cut})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(model, Path(folder) / "m", calibrate={"x": rows})
        for x in rows:
            assert (done.run({"x": x}).outputs["y"] == evaluated(model, {"x": x})[0]).all()


def test_a_decision_is_near_by_what_rounding_did_to_this_run() -> None:
    ins = Instruction("gt", "y", ("x", "c"), ())
    d = Decision(0, 80, "edges", edges=(0.0,), rest=10)
    x = np.array([5, 30, 70, 200])
    assert d.near(ins, [x, np.array(0)]) == 3
    assert d.near(ins, [x, np.array(0)], [None, None]) == 1
    assert dataclasses.replace(d, rest=-1).near(ins, [x, np.array(0)], [None, None]) == 3
    assert d.near(ins, [x, np.array(0)], [np.array([0.0, 12.0, 40.0, 300.0]), None]) == 3


def test_a_quotient_by_what_has_a_wide_interval(tmp_path: Path) -> None:
    """The cosine of two vectors: reciprocals of the product of their lengths had 8 bits."""
    a, b = (RNG.normal(0, 1, (30, 1, 16)).astype(np.float32) for _ in range(2))
    w = RNG.normal(0, 1, (16, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["u"]), helper.make_node("MatMul", ["b", "w"], ["v"]),
        helper.make_node("Mul", ["u", "v"], ["uv"]), helper.make_node("ReduceSum", ["uv", "axis"], ["dot"]),
        helper.make_node("ReduceL2", ["u", "axis"], ["m"]), helper.make_node("ReduceL2", ["v", "axis"], ["n"]),
        helper.make_node("Mul", ["m", "n"], ["mn"]), helper.make_node("Div", ["dot", "mn"], ["y"]),
    ]  # fmt: skip
    model = load.prepare(model_of(nodes, {"a": a[0], "b": b[0]}, ["y"], {"w": w, "axis": np.array([1])}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(model, tmp_path / "m", calibrate={"a": a[:20], "b": b[:20]})
        assert done.error <= 5e-4
        for k in range(20, 30):
            given = {"a": a[k], "b": b[k]}
            assert np.abs(done.run(given).outputs["y"] - evaluated(model, given)[0]).max() <= 1e-3


def test_a_number_on_one_sample_has_its_size_for_a_range(tmp_path: Path) -> None:
    """There is nothing else to measure by; runs of such a model were not estimated."""
    r = np.random.default_rng(2)
    x, w = floats(r, 1, 12), floats(r, 12, 1)
    model = load.prepare(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": x}, ["y"], {"w": w}))
    done = compile_model(model, tmp_path / "m", calibrate={"x": x[None]})
    assert done.limits["y"].span == pytest.approx(abs(float((x @ w)[0, 0])), rel=1e-3)
    run = done.run({"x": x * np.float32(0.9)})
    assert not run.unestimated
    assert not run.rounded
