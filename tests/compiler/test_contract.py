"""What a program is worth is measured and said: held-out samples, missed tolerances, NaN, values beyond."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

import syurmy
from syurmy.cli import app
from syurmy.compiler import CompiledModel, ModelError, compile_model, compile_onnx, load, rounding
from syurmy.compiler.calibration import random_samples, split
from syurmy.isa.arrays import Array
from tests.compiler.harness import floats, helper, model_of

node = helper.make_node
ONNX = Path(__file__).parents[2] / "programs" / "onnx"


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def built(
    nodes: list[onnx.NodeProto],
    samples: dict[str, Array],
    outputs: list[str],
    constants: dict[str, Array] | None = None,
) -> onnx.ModelProto:
    return load.prepare(model_of(nodes, {k: v[0] for k, v in samples.items()}, outputs, constants))


def mlp(x: Array) -> onnx.ModelProto:
    r = rng()
    nodes = [node("MatMul", ["x", "w"], ["h"], name="first"), node("Relu", ["h"], ["r"], name="cut"),
             node("MatMul", ["r", "v"], ["y"], name="last")]  # fmt: skip
    return built(nodes, {"x": x}, ["y"], {"w": floats(r, 6, 8), "v": floats(r, 8, 3)})


def compiled(model: onnx.ModelProto, folder: Path, **options: Any) -> tuple[CompiledModel, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = compile_model(model, folder, **options)
    return done, [str(w.message) for w in caught]


def test_the_furthest_samples_give_the_scales(tmp_path: Path) -> None:
    """Rows that the user calibrates on are never cut off for having been held out: a user who gives every other row at
    ten times the size has said how large inputs get. It was a missed tolerance here while every other row was held out
    whatever it held."""
    x = floats(rng(), 16, 2, 6)
    x[1::2] *= 10
    done, said = compiled(mlp(x), tmp_path / "all", calibrate={"x": x})
    assert not said
    for row in x:
        assert not done.run({"x": row}).saturated
    x[1::2] /= 10
    x[13, 1, 4] = -70  # one feature of one row
    done, said = compiled(mlp(x), tmp_path / "one", calibrate={"x": x})
    assert not said
    assert not done.run({"x": x[13]}).saturated


def test_held_out_samples_are_measured(tmp_path: Path) -> None:
    """More rows with an extreme of their own than scales can come from: what the held-out ones show is said."""
    x = floats(rng(), 16, 1, 16)
    x[np.arange(16), 0, np.arange(16)] = 1000.0 * 4.0 ** np.arange(16)
    w = np.diag(0.25 ** np.arange(16)).astype(np.float32)
    model = built([node("MatMul", ["x", "w"], ["h"]), node("Tanh", ["h"], ["y"])], {"x": x}, ["y"], {"w": w})
    done, said = compiled(model, tmp_path / "b", calibrate={"x": x})
    assert done.missed is not None
    assert done.missed.output == "y"
    assert len(said) == 1
    assert CompiledModel.read(tmp_path / "b").missed == done.missed
    few, _ = compiled(mlp(x[:, :, :6]), tmp_path / "c", calibrate={"x": x[:7, :, :6]})
    assert few.missed is None


def test_split() -> None:
    """Half for scales, what is furthest in any tensor among them, three quarters at most; all rows are looked at."""
    flat = np.ones((32, 3))
    assert split(flat, 1.25, False) == (list(range(0, 32, 2)), list(range(1, 32, 2)))
    assert split(flat[:7], 1.25, False) == (list(range(7)), [])
    assert tuple(map(len, split(flat[:6], 2.0, True))) == (4, 2)
    far = flat.copy()
    far[[5, 17], [0, 2]] = 2
    far[19, 1] = 1.1  # the margin takes that up
    scaling, held = split(far, 1.25, False)
    assert {5, 17} <= set(scaling)
    assert 19 in split(far, 1.0, False)[0]
    assert len(scaling) == len(held) == 16
    scaling, held = split(1 + np.eye(32), 1.25, False)
    assert (len(scaling), len(held)) == (24, 8)
    many = np.ones((1000, 2))
    many[777, 1] = 50
    scaling, held = split(many, 1.25, False)
    assert (777 in scaling, len(scaling), len(held)) == (True, 32, 32)
    assert not set(scaling) & set(held)


def test_a_finer_program_that_gains_nothing_is_not_kept(tmp_path: Path) -> None:
    """Reals that are nearly halves are told apart by no program: the cheap one is taken, and that is said."""
    x = np.full((8, 1, 64), 0.5, np.float32) + np.float32(2**-24) * rng().integers(-3, 4, (8, 1, 64)).astype(np.float32)
    x[:, 0, 0] = 9
    model = built([node("Round", ["x"], ["y"])], {"x": x}, ["y"])
    done, said = compiled(model, tmp_path / "m", calibrate={"x": x})
    assert done.missed is not None
    assert not done.fine
    assert len(said) == 1


def test_integers_count_as_they_are(tmp_path: Path) -> None:
    """Classes told apart by less than the program resolves: the one number that matters is wrong, and that is said."""
    x = np.ones((9, 1, 5000), np.float32)  # too many to give each its own unit
    x[4:, 0, 1] += 1e-6
    model = built([node("Mul", ["x", "k"], ["p"]), node("ArgMax", ["p"], ["class"], axis=1, name="which")], {"x": x},
                  ["class"], {"k": np.full((1, 5000), 1000, np.float32)})  # fmt: skip
    done, said = compiled(model, tmp_path / "m", calibrate={"x": x})
    assert done.missed is not None
    assert (done.missed.output, done.missed.op) == ("class", "Mul")  # what the classes are told apart by
    assert done.missed.wrong == 5
    assert "integers" in said[0]
    assert done.rows[-1].wrong == 5


def test_a_missed_tolerance_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = floats(rng(), 8, 2, 6)
    onnx.save(mlp(x), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=x)
    options = ["compile", str(tmp_path / "m.onnx"), "--calibrate", str(tmp_path / "x.npz"), "--json"]
    for extra, code in (([], 0), (["--strict"], 3)):
        done = CliRunner().invoke(app, [*options, "--tolerance", "1e-9", *extra])
        assert done.exit_code == code
        shown = json.loads(done.stdout)
        assert shown["missed"]["output"] == "y"
        assert shown["missed"]["message"] in shown["warnings"]
        assert "more than the tolerance" in done.stderr
        assert json.loads((tmp_path / "m" / "model.json").read_text())["missed"]["node"] == shown["missed"]["node"]
        run = CliRunner().invoke(app, ["run", str(tmp_path / "m" / "model.tasm"), "--json", *extra])  # silent otherwise
        assert (run.exit_code, json.loads(run.stdout)["missed"]) == (code, shown["missed"]["message"])
        assert shown["missed"]["message"] in " ".join(run.stderr.split())
    done = CliRunner().invoke(app, [*options, "--strict"])
    assert (done.exit_code, json.loads(done.stdout)["missed"]) == (0, None)
    for most, names in ((rounding.MOST, []), (1, ["y"])):  # a run that is too long to be estimated says so
        monkeypatch.setattr(rounding, "MOST", most)
        run = CliRunner().invoke(app, ["run", str(tmp_path / "m" / "model.tasm"), "--json", "--strict"])
        shown = json.loads(run.stdout)
        assert (run.exit_code, shown["missed"], shown["unestimated"]) == (0, None, names)
        assert ("not estimated for 'y'" in run.stderr) == bool(names)


def test_causes(tmp_path: Path) -> None:
    x = floats(rng(), 4, 2, 6)
    done, _ = compiled(mlp(x), tmp_path / "a", calibrate={"x": x}, weights=8, activations=8)
    assert done.missed is not None
    assert done.missed.cause == "resolution"
    assert "--weights 16" in done.missed.help
    large = 1e6 + floats(rng(), 4, 1, 5000).astype(np.float64)
    model = built([node("Sub", ["x", "c"], ["d"], name="less")], {"x": large.astype(np.float32)}, ["d"],
                  {"c": np.full((1, 5000), 1e6, np.float32)})  # fmt: skip
    done, _ = compiled(model, tmp_path / "b", calibrate={"x": large}, tolerance=1e-9)
    assert done.missed is not None
    assert (done.missed.op, done.missed.cause) == ("Sub", "cancelled sum")


@pytest.mark.parametrize("decided", [False, True])
def test_nan_is_refused(decided: bool, tmp_path: Path) -> None:
    x = np.abs(floats(rng(), 9, 1, 4))
    x[5, 0, 2] = -1
    tail = [node("ArgMax", ["l"], ["y"], axis=1, name="which")] if decided else [node("Identity", ["l"], ["y"])]
    model = built([node("Log", ["x"], ["l"], name="logs"), *tail], {"x": x}, ["y"])
    with pytest.raises(ModelError, match="Log 'logs'") as e:
        compile_model(model, tmp_path / "m", calibrate={"x": x})
    assert e.value.code == "M111"
    assert not (tmp_path / "m").exists()


def test_nan_that_is_replaced_is_none(tmp_path: Path) -> None:
    x = floats(rng(), 4, 1, 4)
    nodes = [node("Sqrt", ["x"], ["r"]), node("IsNaN", ["r"], ["bad"]), node("Where", ["bad", "zero", "r"], ["y"])]
    model = built(nodes, {"x": x}, ["y"], {"zero": np.zeros((), np.float32)})
    done, said = compiled(model, tmp_path / "m", calibrate={"x": x})
    assert done.missed is None, said


# ---- values beyond the samples ---------------------------------------------------------------------------------------


def test_beyond_the_range_of_an_input(tmp_path: Path) -> None:
    x = floats(rng(), 8, 2, 6)
    done, _ = compiled(mlp(x), tmp_path / "m", calibrate={"x": x})
    quiet = done.run({"x": x[0]})
    assert quiet.saturated == quiet.warnings == ()
    with pytest.warns(UserWarning, match="input 'x': 12 values"):
        loud = CompiledModel.read(tmp_path / "m").run({"x": np.where(x[0] < 0, -100, 100).astype(np.float32)})
    assert (loud.saturated[0].op, loud.saturated[0].entries, loud.saturated[0].share) == ("input", 12, 1.0)
    with pytest.warns(UserWarning, match="input 'x'"):
        done.quantise({"x": x[0] * 1000})


def test_beyond_the_range_of_a_node(tmp_path: Path) -> None:
    """Inputs in their range whose product is not: the node that narrows it is named, by the machine's own values."""
    x = np.tile(np.eye(64, dtype=np.float32), (8, 1, 1))[:, :1] * np.arange(1, 9, dtype=np.float32)[:, None, None]
    nodes = [node("MatMul", ["x", "w"], ["h"], name="sum"), node("MatMul", ["h", "v"], ["s"], name="next"),
             node("Exp", ["s"], ["y"], name="power")]  # fmt: skip
    constants = {"w": np.full((64, 2), 0.125, np.float32), "v": np.ones((2, 1), np.float32)}
    model = built(nodes, {"x": x}, ["y"], constants)
    done, _ = compiled(model, tmp_path / "m", calibrate={"x": x})
    assert done.run({"x": x[7]}).saturated == ()
    with pytest.warns(UserWarning, match="MatMul 'next'"):
        beyond = done.run({"x": np.full((1, 64), 8, np.float32)})
    assert {s.node for s in beyond.saturated} == {"next"}
    assert all(s.op != "input" for s in beyond.saturated)


def test_cuts_of_the_model_are_not_told(tmp_path: Path) -> None:
    """Relu, Clip and the flat ends of a sigmoid cut off what they are meant to."""
    x = floats(rng(), 8, 2, 6)
    nodes = [node("Relu", ["x"], ["r"]), node("Clip", ["x", "lo", "hi"], ["c"]), node("Add", ["r", "c"], ["a"]),
             node("Sigmoid", ["a"], ["y"])]  # fmt: skip
    model = built(nodes, {"x": x}, ["y"], {"lo": np.float32(-0.25).reshape(()), "hi": np.float32(0.25).reshape(())})
    for k, options in enumerate(({}, {"tolerance": 1e-7})):
        done, _ = compiled(model, tmp_path / f"m{k}", calibrate={"x": x}, **options)
        assert done.run({"x": x[3]}).saturated == ()


@pytest.mark.parametrize(("op", "inside", "outside"), [("Log", 0.3, -0.3), ("Sqrt", 0.2, -1.0), ("Asin", 0.5, 1.2)])
def test_what_a_function_is_not_defined_for_is_told(op: str, inside: float, outside: float, tmp_path: Path) -> None:
    """NaN in the float model, and any number here."""
    x = np.abs(floats(rng(), 12, 1, 4)).clip(0.1, 0.9)
    done, _ = compiled(built([node(op, ["x"], ["y"])], {"x": x}, ["y"]), tmp_path / "m", calibrate={"x": x})
    for m in (done, CompiledModel.read(tmp_path / "m")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert not m.run({"x": np.array([[inside, 0.5, 0.4, 0.3]])}).saturated
            assert m.run({"x": np.array([[outside, 0.5, 0.4, 0.3]])}).saturated


def test_where_a_clip_ends_differences_from_its_end_are_0(tmp_path: Path) -> None:
    """A hinge's probabilities: ``(clip(s, -1, 1) + 1) / 2``, and one each where all are 0."""
    r = rng()
    x = floats(r, 40, 1, 4)
    nodes = [node("MatMul", ["x", "w"], ["s"]), node("Clip", ["s", "low", "one"], ["c"]),
             node("Add", ["c", "one"], ["a"]), node("Cast", ["a"], ["b"], to=9),
             node("Cast", ["b"], ["y"], to=1)]  # fmt: skip
    fixed = {"w": floats(r, 4, 3) * 4, "low": np.array(-1, np.float32), "one": np.array(1, np.float32)}
    model = built(nodes, {"x": x}, ["y"], fixed)
    done, _ = compiled(model, tmp_path / "m", calibrate={"x": x})
    for one in x:
        s = one @ fixed["w"]
        sure = np.abs(s + 1) > 1e-3
        assert (done.run({"x": one}).outputs["y"] == (s > -1))[sure].all()


def test_run_tells_what_was_cut_off(tmp_path: Path) -> None:
    x = floats(rng(), 8, 2, 6)
    compiled(mlp(x), tmp_path / "m", calibrate={"x": x})
    np.save(tmp_path / "large.npy", x[0] * 1000)
    np.save(tmp_path / "small.npy", x[0])
    for name, wanted in (("large", True), ("small", False)):
        file = str(tmp_path / f"{name}.npy")
        done = CliRunner().invoke(app, ["run", str(tmp_path / "m" / "model.tasm"), "--input", file, "--json"])
        assert done.exit_code == 0
        assert bool(json.loads(done.stdout)["saturated"]) is wanted
        assert ("calibrated range" in done.stderr) is wanted
    assert syurmy.load(tmp_path / "m" / "model.tasm").code


def test_rows_name_their_instructions(tmp_path: Path) -> None:
    x = floats(rng(), 8, 2, 6)
    done, _ = compiled(mlp(x), tmp_path / "m", calibrate={"x": x})
    assert [(r.first, r.last) for r in done.rows] == [(r.first, r.last) for r in CompiledModel.read(done.folder).rows]
    assert all(a.last == b.first for a, b in zip(done.rows, done.rows[1:], strict=False))
    assert {e.index for e in done.ends} <= set(range(done.rows[-1].last))


# ---- without calibration data ----------------------------------------------------------------------------------------


def test_random_indices_are_drawn_from_all_rows(tmp_path: Path) -> None:
    """Tokens and positions choose among the rows of a table, through casts and reshapes; rows differ in size."""
    r = rng()
    table = floats(r, 500, 8) * np.exp(floats(r, 500, 1))
    nodes = [node("Cast", ["ids"], ["i"], to=7), node("Reshape", ["i", "s"], ["j"]), node("Gather", ["t", "j"], ["e"]),
             node("Gather", ["p", "at"], ["f"]), node("Add", ["e", "f"], ["h"]), node("Mul", ["h", "h"], ["q"]),
             node("ReduceMean", ["q"], ["m"], axes=[1]), node("Sqrt", ["m"], ["r"]),
             node("Div", ["h", "r"], ["y"])]  # fmt: skip
    inputs = {"ids": np.zeros((1, 16), np.int32), "at": np.zeros(16, np.int64)}
    constants = {"t": table, "p": floats(r, 64, 8), "s": np.array([16])}
    model = load.prepare(model_of(nodes, inputs, ["y"], constants, opset=17))
    drawn = random_samples(model)
    assert max(int(s["ids"].max()) for s in drawn) > 400
    assert 30 < max(int(s["at"].max()) for s in drawn) < 64
    done, said = compiled(model, tmp_path / "m")
    assert len(said) == 1, said  # that there is no calibration data
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for _ in range(4):
        given = {"ids": r.integers(0, 500, (1, 16)).astype(np.int32), "at": r.integers(0, 64, 16)}
        want = session.run(None, given)[0]
        np.testing.assert_allclose(done.run(given).outputs["y"], want, atol=2e-3 * np.ptp(want))


def test_tokens_without_data_need_no_finer_program(tmp_path: Path) -> None:
    """A transformer that misses the tolerance with the margin of random samples; its tokens are all that there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_onnx(ONNX / "chargpt.onnx", tmp_path / "m")
    assert not done.fine
    assert done.missed is None
    ids = np.load(ONNX / "chargpt_test.npz")["ids"][:1, :64].astype(np.int64)
    session = onnxruntime.InferenceSession(str(ONNX / "chargpt.onnx"))
    want = session.run(None, {"ids": ids})[0]
    found = done.run({"ids": ids})
    assert not found.saturated
    assert np.abs(found.outputs["logits"] - want).max() < 1e-3 * np.ptp(want)


def test_random_samples_of_other_integers() -> None:
    inputs = {
        "image": np.zeros((1, 64), np.uint8),
        "mask": np.zeros((1, 64), np.int64),
        "k": np.zeros((1, 64), np.int64),
    }
    nodes = [node("Cast", [k], [f"{k}.y"], to=1) for k in ("image", "mask")]
    nodes.append(node("OneHot", ["k", "depth", "values"], ["k.y"]))
    constants = {"depth": np.array(12), "values": np.array([0, 1], np.float32)}
    sample = random_samples(load.prepare(model_of(nodes, inputs, ["image.y", "mask.y", "k.y"], constants)))[0]
    assert [int(sample[k].max()) for k in ("mask", "k")] == [1, 11]
    assert sample["image"].max() > 200


@pytest.mark.parametrize("op", ["ScatterElements", "ScatterND"])
def test_indices_that_meet_are_told(op: str, tmp_path: Path) -> None:
    """ONNX leaves open what two updates of one place give, and onnxruntime takes the last."""
    r = rng()
    x, u = floats(r, 4, 1, 6), floats(r, 4, 1, 2)
    at = np.array([[[0, 3]], [[5, 1]], [[2, 4]], [[4, 0]]])
    if op == "ScatterND":
        x, u, at = x[:, 0], u[:, 0], at[:, 0, :, None]
    one = {"axis": -1} if op == "ScatterElements" else {}
    samples = {"x": x, "at": at, "u": u}
    done, said = compiled(
        built([node(op, ["x", "at", "u"], ["y"], **one)], samples, ["y"]), tmp_path / "m", calibrate=samples
    )
    assert not said
    given = {name: v[0] for name, v in samples.items()}
    assert not done.run(given).saturated
    with pytest.warns(UserWarning, match=f"one place.* may be wrong: {op}"):
        done.run(given | {"at": np.zeros_like(at[0])})


@pytest.mark.parametrize("op", ["GatherElements", "GatherND", "ScatterElements", "ScatterND"])
def test_indices_outside_are_told(op: str, tmp_path: Path) -> None:
    """One coordinate of several that is outside is another place, not none: nothing traps there."""
    elements = op.endswith("Elements")
    x, u = floats(rng(), 6, 2 if elements else 3, 5), floats(rng(), 6, 2, *([2] if elements else []))
    at = np.array([[[0, k % 4 + 1], [2, k % 2 + 3]] for k in range(6)])
    samples = {"x": x, "at": at, "u": u}
    along = {"axis": 1} if elements else {}
    read = ["x", "at", "u"] if op.startswith("Scatter") else ["x", "at"]
    samples = {k: samples[k] for k in read}
    done, said = compiled(built([node(op, read, ["y"], **along)], samples, ["y"]), tmp_path / "m", calibrate=samples)
    given = {name: v[0] for name, v in samples.items()}
    assert not said
    assert not done.run(given).saturated
    outside = at[0].copy()
    outside[0, 1] = 5
    with pytest.warns(UserWarning, match=f"outside of their axis.* may be wrong: {op}"):
        made = done.run(given | {"at": outside})
    assert [s.cause for s in made.saturated] == ["outside"]


def test_an_output_that_is_infinite_on_a_sample_is_told(tmp_path: Path) -> None:
    x = np.array([[1.0, 0.0], [2.0, 3.0]], np.float32)
    model = model_of([helper.make_node("Log", ["x"], ["y"])], {"x": x[1]}, ["y"])
    with pytest.warns(UserWarning, match="infinity on the samples, in y"):
        compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_model(load.prepare(model), tmp_path / "n", calibrate={"x": x[[1, 1]]})
