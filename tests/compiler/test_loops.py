"""Scan and Loop with many rounds: one copy of the body in the program, right in every round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from syurmy import vm
from syurmy.compiler import UnsupportedModel
from syurmy.isa.arrays import Array
from syurmy.prover.check import check as violations
from tests.compiler.harness import TensorProto, check, compiled, floats, helper, model_of

node, info = helper.make_node, helper.make_tensor_value_info
REAL, WHOLE, BIT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def leaky(rng: np.random.Generator) -> tuple[onnx.GraphProto, dict[str, Array]]:
    """``h = tanh(x U + 0.5 h W); y = 2 h``, with W and U from outside."""
    nodes = [
        node("MatMul", ["x", "U"], ["xu"]),
        node("MatMul", ["h", "W"], ["hw"]),
        node("Mul", ["hw", "half"], ["m"]),
        node("Add", ["xu", "m"], ["s"]),
        node("Tanh", ["s"], ["h1"]),
        node("Add", ["h1", "h1"], ["y"]),
    ]
    body = helper.make_graph(
        nodes, "step", [info("h", REAL, [2, 4]), info("x", REAL, [2, 3])],
        [info("h1", REAL, [2, 4]), info("y", REAL, [2, 4])],
        [onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )  # fmt: skip
    return body, {"U": floats(rng, 3, 4), "W": floats(rng, 4, 4)}


@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_scan(axis: int, backwards: int) -> None:
    rng = np.random.default_rng(1)
    body, constants = leaky(rng)
    x = np.moveaxis(floats(rng, 20, 2, 3), 0, axis).copy()
    scan = node("Scan", ["h0", "x"], ["h", "ys"], body=body, num_scan_inputs=1, scan_input_axes=[axis],
                scan_output_axes=[axis], scan_input_directions=[backwards],
                scan_output_directions=[backwards])  # fmt: skip
    done = check(
        [scan], {"h0": floats(rng, 2, 4), "x": x}, constants, outputs=("h", "ys"), runtime=True, tolerance=1e-3
    )
    assert sum(i.op == "repeat" for i in done.program.code) == 1
    assert sum(i.op == "matmul" for i in done.program.code) == 2


def test_a_body_that_reads_data_from_outside() -> None:
    rng = np.random.default_rng(2)
    body, constants = leaky(rng)
    w = constants.pop("W")
    scan = node("Scan", ["h0", "x"], ["h", "ys"], body=body, num_scan_inputs=1)
    inputs = {"h0": floats(rng, 2, 4), "x": floats(rng, 12, 2, 3), "W": w}
    check([scan], inputs, constants, outputs=("h", "ys"), runtime=True, tolerance=1e-3)


def counting(rounds: int) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """A running mean of rows at the iteration's number, a count, and a flag that stays up once it is up."""
    nodes = [
        node("Gather", ["x", "i"], ["row"], axis=0),
        node("Mul", ["m", "keep"], ["a"]),
        node("Mul", ["row", "take"], ["b"]),
        node("Add", ["a", "b"], ["m1"]),
        node("Add", ["n", "one"], ["n1"]),
        node("ReduceMax", ["row"], ["top"], keepdims=0),
        node("Greater", ["top", "limit"], ["now"]),
        node("Or", ["up", "now"], ["up1"]),
        node("Identity", ["c"], ["c1"]),
        node("Identity", ["n1"], ["count"]),
    ]
    body = helper.make_graph(
        nodes, "step",
        [info("i", WHOLE, []), info("c", BIT, []), info("m", REAL, [3]), info("n", WHOLE, []), info("up", BIT, [])],
        [info("c1", BIT, []), info("m1", REAL, [3]), info("n1", WHOLE, []), info("up1", BIT, []),
         info("count", WHOLE, [])],
    )  # fmt: skip
    constants = {
        "keep": np.array(0.75, np.float32), "take": np.array(0.25, np.float32), "one": np.array(1),
        "limit": np.array(2, np.float32), "trips": np.array(rounds),
    }  # fmt: skip
    return [node("Loop", ["trips", "", "m0", "n0", "up0"], ["m", "n", "up", "counts"], body=body)], constants


def test_loop_with_states_of_every_kind() -> None:
    rng = np.random.default_rng(3)
    nodes, constants = counting(16)
    inputs = {"x": floats(rng, 16, 3), "m0": floats(rng, 3), "n0": np.array(5), "up0": np.array(False)}
    outputs = ("m", "n", "up", "counts")
    done = check(nodes, inputs, constants, outputs=outputs, runtime=True, tolerance=1e-3)
    assert sum(i.op == "repeat" for i in done.program.code) == 1


def test_few_rounds_are_written_out() -> None:
    rng = np.random.default_rng(4)
    nodes, constants = counting(4)
    inputs = {"x": floats(rng, 4, 3), "m0": floats(rng, 3), "n0": np.array(5), "up0": np.array(False)}
    done = check(nodes, inputs, constants, outputs=("m", "n", "up", "counts"), runtime=True, tolerance=1e-3)
    assert not any(i.op == "repeat" for i in done.program.code)


def test_a_loop_satisfies_its_constraints(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    nodes, constants = counting(12)
    inputs = {"x": floats(rng, 12, 3), "m0": floats(rng, 3), "n0": np.array(5), "up0": np.array(False)}
    done = compiled(model_of(nodes, inputs, ["m", "counts"], constants, runtime=True), inputs, tmp_path)
    assert not violations(done.program, vm.run(done.program, done.quantise(inputs)))


def test_a_trip_count_that_is_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    nodes, constants = counting(12)
    trips = constants.pop("trips")
    inputs = {"x": floats(rng, 12, 3), "m0": floats(rng, 3), "n0": np.array(5), "up0": np.array(False), "trips": trips}
    with pytest.raises(UnsupportedModel, match="trip count"):
        compiled(model_of(nodes, inputs, ["m"], constants, runtime=True), inputs, tmp_path)
