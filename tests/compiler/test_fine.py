"""Fine programs: every operator that has more bits there, against the reference at a tolerance that 16 bits miss; the
choice between both kinds; a proof of one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import syurmy
from syurmy.compiler import CompiledModel
from syurmy.isa.arrays import Array
from tests.compiler.harness import check, compiled, evaluated, floats, helper, model_of, outputs_of
from tests.drawing import SEEDS, examples

SOME = examples(8)


def fine(
    op: str | Sequence[Any],
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array] | None = None,
    tolerance: float = 2e-5,
    **options: Any,
) -> CompiledModel:
    done = check(op, inputs, constants, tolerance=tolerance, options={"tolerance": 0.0}, **options)
    assert done.fine or done.error < tolerance / 2  # of both programs the better is kept, which can be the plain one
    return done


@SOME
@given(SEEDS, st.sampled_from([1, 2]), st.integers(1, 2), st.booleans())
def test_convolution(seed: int, axes: int, group: int, data: bool) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, 1, 4, *(7, 6)[:axes])
    w = floats(rng, 6, 4 // group, *(3, 2)[:axes]) * np.float32(10.0) ** -rng.integers(0, 3, (6, *(1,) * (axes + 1)))
    w = w.astype(np.float32)
    inputs, constants = ({"x": x, "w": w}, None) if data else ({"x": x}, {"w": w, "b": floats(rng, 6)})
    fine("Conv", inputs, constants, group=group)
    fine("ConvTranspose", {"x": x}, {"w": np.ascontiguousarray(w[:4])})


@SOME
@given(SEEDS, st.booleans(), st.booleans())
def test_products(seed: int, batched: bool, data: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = floats(rng, *(3,) * batched, 5, 24), floats(rng, 24, 7)
    fine("MatMul", {"a": a, "b": b} if data else {"a": a}, None if data else {"b": b})
    fine("Mul", {"a": a, "b": floats(rng, 24)})
    fine("Einsum", {"a": floats(rng, 5, 24), "b": b}, equation="ij,jk->ki")


@SOME
@given(SEEDS, st.floats(20.0, 30.0))
def test_softmax(seed: int, reach: float) -> None:
    """Shares of scores that 16 bits hold to 10^-3; the shares themselves have 15 bits."""
    rng = np.random.default_rng(seed)
    x = floats(rng, 3, 9) * np.float32(reach)
    check("Softmax", {"x": x}, tolerance=1.5e-4, peak=1.0, options={"tolerance": 0.0})
    check("LogSoftmax", {"x": x / 4}, tolerance=1.5e-4, options={"tolerance": 0.0})


@SOME
@given(SEEDS)
def test_normalisation_of_unlike_rows(seed: int) -> None:
    """One row a hundred times as large as the others leaves them six bits less: of a row whose deviation is half of the
    others' half a unit is 5e-4, before the gain."""
    rng = np.random.default_rng(seed)
    x = floats(rng, 5, 32)
    x[0] *= 100
    fine("LayerNormalization", {"x": x}, {"g": floats(rng, 32), "b": floats(rng, 32)}, tolerance=6e-4)


@SOME
@given(SEEDS, st.sampled_from(["LSTM", "GRU", "RNN"]))
def test_recurrence(seed: int, op: str) -> None:
    rng = np.random.default_rng(seed)
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    weights = {k: floats(rng, 1, gates * 6, d) / 2 for k, d in (("w", 5), ("r", 6))}
    fine(op, {"x": floats(rng, 4, 2, 5)}, weights, tolerance=3e-4, hidden_size=6)


@SOME
@given(SEEDS)
def test_written_out_normalisation(seed: int) -> None:
    """Mean, variance as a difference of squares, root and quotient: each exact on few entries."""
    rng = np.random.default_rng(seed)
    x = floats(rng, 4, 48) * np.float32([[1], [8], [0.5], [2]]) + np.float32(1)
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["x", "axes"], ["m"]), node("Mul", ["x", "x"], ["xx"]),
        node("ReduceMean", ["xx", "axes"], ["s"]),
        node("Mul", ["m", "m"], ["mm"]), node("Sub", ["s", "mm"], ["d"]), node("Max", ["d", "zero"], ["v"]),
        node("Add", ["v", "eps"], ["e"]), node("Sqrt", ["e"], ["root"]), node("Sub", ["x", "m"], ["c"]),
        node("Div", ["c", "root"], ["y"])]  # fmt: skip
    constants = {"axes": np.array([1]), "zero": np.float32(0), "eps": np.float32(1e-5)}
    fine(nodes, {"x": x}, constants, tolerance=5e-4)


@SOME
@given(SEEDS, st.sampled_from(["GlobalMaxPool", "MaxPool", "Relu", "ReduceMax"]))
def test_order_and_relu(seed: int, op: str) -> None:
    rng = np.random.default_rng(seed)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]),
             helper.make_node(op, ["c"], ["y"], **({"kernel_shape": [2, 2]} if op == "MaxPool" else {}))]  # fmt: skip
    fine(nodes, {"x": floats(rng, 1, 3, 9, 9)}, {"w": floats(rng, 4, 3, 3, 3)})


def deep(rng: np.random.Generator) -> tuple[Any, dict[str, Array]]:
    """Twelve layers of products and relus, whose roundings add up."""
    nodes, constants = [], {}
    for k in range(12):
        constants[f"w{k}"] = floats(rng, 16, 16) / 3
        nodes += [helper.make_node("MatMul", [f"x{k}" if k else "x", f"w{k}"], [f"h{k}"]),
                  helper.make_node("Relu", [f"h{k}"], [f"x{k + 1}"])]  # fmt: skip
    nodes.append(helper.make_node("MatMul", ["x12", "w0"], ["y"]))
    inputs = {"x": floats(rng, 4, 16)}
    return model_of(nodes, inputs, ["y"], constants), inputs


def test_bits_follow_the_tolerance(tmp_path: Path) -> None:
    model, inputs = deep(np.random.default_rng(0))
    made = {t: compiled(model, inputs, tmp_path / str(k), tolerance=t) for k, t in enumerate((1.0, 1e-4))}
    assert not made[1.0].fine
    assert made[1e-4].fine
    assert made[1.0].error > 5e-5 > made[1e-4].error
    (want,) = evaluated(model, inputs)
    for done in made.values():
        y = outputs_of(done, inputs)["y"]
        assert np.abs(y - want).max() / (want.max() - want.min()) == pytest.approx(
            done.error, rel=0.05, abs=2e-6
        )  # float32 sums differ in order
        assert CompiledModel.read(done.folder).error == done.error
    assert not compiled(model, inputs, tmp_path / "8", weights=8, activations=8).fine


def test_fine_program_is_proven() -> None:
    model, inputs = deep(np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        done = compiled(model, inputs, Path(folder), tolerance=0.0)
        assert done.fine
        assert any(i.op == "rescale" and i.get("lo") == 0 for i in done.program.code)
        trace = syurmy.run(done.program, done.quantise(inputs))
        key, verifying_key = syurmy.setup(done.program)
        statement = syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
        np.testing.assert_array_equal(statement.outputs["y"], trace.outputs["y"])
