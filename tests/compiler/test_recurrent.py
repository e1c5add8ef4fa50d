"""Recurrent layers become loops: right over many steps, in every form, and no longer than one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syurmy import vm
from syurmy.isa.arrays import Array
from syurmy.prover.check import check as violations
from syurmy.prover.keys import setup
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from tests.compiler.harness import check, compiled, evaluated, floats, helper, model_of, outputs_of

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def layer(rng: np.random.Generator, op: str, inputs: int, hidden: int, directions: int = 1) -> dict[str, Array]:
    g = GATES[op] * hidden
    size = np.float32(1 / np.sqrt(hidden))
    return {
        "w": floats(rng, directions, g, inputs) * size,
        "r": floats(rng, directions, g, hidden) * size,
        "b": floats(rng, directions, 2 * g) * size,
    }


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_errors_do_not_grow_with_time(op: str) -> None:
    rng = np.random.default_rng(1)
    x = floats(rng, 60, 2, 5)
    outputs = ("y", "h", "c") if op == "LSTM" else ("y", "h")
    check(op, {"x": x}, layer(rng, op, 5, 8), outputs=outputs, hidden_size=8, runtime=True, tolerance=1e-3)


def test_a_cell_that_remembers_for_long() -> None:
    """Forget gates at 1: a step that lost 2^-15 of the cell would lose a hundredth in 300 steps."""
    rng = np.random.default_rng(2)
    weights = layer(rng, "LSTM", 3, 4)
    weights["b"][0, 8:12] = 12
    weights["b"][0, 0:4] = -4
    check("LSTM", {"x": floats(rng, 300, 1, 3)}, weights, outputs=("y", "h", "c"), hidden_size=4, runtime=True,
          tolerance=1e-3)  # fmt: skip


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lengths_that_are_data(op: str, direction: str, tmp_path: Path) -> None:
    """Calibrated on some lengths, run on others: states stay behind the end, and what is put out there is 0."""
    rng = np.random.default_rng(13)
    directions = 1 + (direction == "bidirectional")
    outputs = ("y", "h", "c") if op == "LSTM" else ("y", "h")
    node = helper.make_node(op, ["x", "w", "r", "b", "n"], list(outputs), hidden_size=4, direction=direction)
    given = {"x": floats(rng, 6, 3, 3), "n": np.array([6, 4, 2], np.int32)}
    model = model_of([node], given, outputs, layer(rng, op, 3, 4, directions), runtime=True)
    done = compiled(model, given, tmp_path / "m")
    for n in ([6, 4, 2], [1, 6, 3], [2, 2, 5]):
        one = given | {"n": np.array(n, np.int32)}
        for name, e in zip(outputs, evaluated(model, one, runtime=True), strict=True):
            np.testing.assert_allclose(outputs_of(done, one)[name], e, atol=1e-3)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_clipped_gates(op: str) -> None:
    rng = np.random.default_rng(14)
    outputs = ("y", "h", "c") if op == "LSTM" else ("y", "h")
    check(op, {"x": 3 * floats(rng, 9, 2, 3)}, layer(rng, op, 3, 4), outputs=outputs, hidden_size=4, clip=0.4,
          runtime=True, tolerance=1e-3)  # fmt: skip


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_sequences_of_different_lengths(op: str, direction: str) -> None:
    rng = np.random.default_rng(3)
    directions = 1 + (direction == "bidirectional")
    constants = layer(rng, op, 3, 4, directions) | {"n": np.array([5, 2, 4], np.int32)}
    outputs = ("y", "h", "c") if op == "LSTM" else ("y", "h")
    check(op, {"x": floats(rng, 5, 3, 3)}, constants, outputs=outputs, hidden_size=4, direction=direction, runtime=True,
          tolerance=1e-3)  # fmt: skip


@pytest.mark.parametrize("attributes", [{"input_forget": 1}, {"peep": True}, {"peep": True, "input_forget": 1}])
def test_forms_of_the_lstm(attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    attributes = dict(attributes)
    constants = layer(rng, "LSTM", 3, 4)
    order = ["x", "w", "r", "b"]
    if attributes.pop("peep", False):
        constants["p"] = floats(rng, 1, 12)
        order += ["", "", "", "p"]
    check("LSTM", {"x": floats(rng, 6, 2, 3)}, constants, order=order, outputs=("y", "h", "c"), hidden_size=4,
          runtime=True, tolerance=1e-3, **attributes)  # fmt: skip


@pytest.mark.parametrize(
    ("op", "activations"),
    [("RNN", ["Relu"]), ("RNN", ["Softsign"]), ("GRU", ["HardSigmoid", "Tanh"]), ("LSTM", ["Sigmoid", "Tanh", "Relu"])],
)
def test_other_functions(op: str, activations: list[str]) -> None:
    rng = np.random.default_rng(5)
    outputs = ("y", "h", "c") if op == "LSTM" else ("y", "h")
    check(op, {"x": floats(rng, 12, 2, 3)}, layer(rng, op, 3, 4), outputs=outputs, hidden_size=4, runtime=True,
          activations=activations, tolerance=1e-3)  # fmt: skip


def test_states_and_weights_that_are_data() -> None:
    rng = np.random.default_rng(6)
    weights = layer(rng, "LSTM", 3, 4)
    x = {"x": floats(rng, 5, 2, 3), "h0": floats(rng, 1, 2, 4), "c0": floats(rng, 1, 2, 4), "r": weights.pop("r")}
    check("LSTM", x, weights, order=["x", "w", "r", "b", "", "h0", "c0"], outputs=("y", "h", "c"), hidden_size=4,
          runtime=True, tolerance=1e-3)  # fmt: skip


def test_a_program_has_one_step_and_is_proven(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    weights = layer(rng, "LSTM", 6, 8)
    sizes = []
    for steps in (4, 24):
        inputs = {"x": floats(rng, steps, 1, 6)}
        model = model_of([helper.make_node("LSTM", ["x", *weights], ["y"], hidden_size=8)], inputs, ["y"], weights)
        done = compiled(model, inputs, tmp_path / str(steps))
        sizes.append(len(done.program.code))
        outputs_of(done, inputs)  # every write within its static interval
    assert sizes[0] == sizes[1]
    trace = vm.run(done.program, done.quantise(inputs))
    assert not violations(done.program, trace)
    key = setup(done.program)
    statement = verify(key.verifying_key, prove(key, trace).to_bytes())
    assert np.array_equal(statement.outputs["y"], trace.outputs["y"])
