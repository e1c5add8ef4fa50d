"""What is written out of If, Loop and Scan, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from syurmy.compiler import UnsupportedModel
from syurmy.compiler.passes import unroll
from tests.compiler.harness import check, floats
from tests.compiler.instances_of_maps import BOOL, FLOAT, INT, body

node = helper.make_node
X = floats(np.random.default_rng(0), 3)


def test_loops_in_loops() -> None:
    """The inner trip count is the outer iteration's number; both bodies use the same names."""
    inner = body("b", [node("Add", ["a", "x"], ["n"]), node("Identity", ["c"], ["d"])],
                 [("j", INT, []), ("c", BOOL, []), ("a", FLOAT, [3])], ["d", "n"])  # fmt: skip
    outer = body("b", [node("Loop", ["i", "", "a"], ["n"], body=inner), node("Identity", ["c"], ["d"])],
                 [("i", INT, []), ("c", BOOL, []), ("a", FLOAT, [3])], ["d", "n"])  # fmt: skip
    check([node("Loop", ["trips", "", "x"], ["y"], body=outer)], {"x": X}, {"trips": np.array(4)}, runtime=True)


def test_a_loop_without_rounds_gives_its_state() -> None:
    graph = body("b", [node("Neg", ["a"], ["n"]), node("Identity", ["c"], ["d"])],
                 [("i", INT, []), ("c", BOOL, []), ("a", FLOAT, [3])], ["d", "n"])  # fmt: skip
    check([node("Loop", ["", "no", "x"], ["y"], body=graph)], {"x": X}, {"no": np.array(False)}, runtime=True)


def test_a_loop_that_ends_where_a_constant_says() -> None:
    """While i < 3, without a trip count."""
    graph = body("b", [node("Add", ["a", "x"], ["n"]), node("Less", ["i", "most"], ["d"])],
                 [("i", INT, []), ("c", BOOL, []), ("a", FLOAT, [3])], ["d", "n"], most=np.array(3))  # fmt: skip
    check([node("Loop", ["", "yes", "x"], ["y"], body=graph)], {"x": X}, {"yes": np.array(True)}, runtime=True)


def test_data_decides_nothing() -> None:
    """A branch, a trip count and an end that depend on the input."""
    branches = {k: body(k, [node(op, ["x"], [k])], [], [k]) for k, op in (("t", "Neg"), ("e", "Abs"))}
    select = node("If", ["c"], ["y"], then_branch=branches["t"], else_branch=branches["e"])
    with pytest.raises(UnsupportedModel, match="the condition is computed from the input"):
        check([select], {"x": X, "c": np.array(True)}, runtime=True)
    ends = [node("Neg", ["a"], ["n"]), node("ReduceSum", ["n"], ["s"], keepdims=0), node("Less", ["s", "k"], ["d"])]
    graph = body("b", ends, [("i", INT, []), ("c", BOOL, []), ("a", FLOAT, [3])], ["d", "n"], k=np.float32(9))
    for trips in ({"m": np.array(2)}, {}):
        constants = {} if trips else {"m": np.array(2)}
        with pytest.raises(UnsupportedModel, match="the trip count or the condition is computed from the input"):
            check([node("Loop", ["m", "", "x"], ["y"], body=graph)], {"x": X, **trips}, constants, runtime=True)


@pytest.mark.parametrize("rounds", [4, 40])
def test_a_scan_of_which_nothing_is_an_input(rounds: int) -> None:
    """One of its outputs folds; the other stays what it is."""
    graph = body("b", [node("Mul", ["a", "k"], ["n"]), node("Identity", ["n"], ["s"])],
                 [("a", FLOAT, [3]), ("k", FLOAT, [3])], ["n", "s"])  # fmt: skip
    constants = {"start": X, "rows": np.random.default_rng(1).uniform(0.8, 1.1, (rounds, 3)).astype(np.float32)}
    scan = node("Scan", ["start", "rows"], ["u", "z"], body=graph, num_scan_inputs=1)
    check([scan, node("Add", ["x", "u"], ["y"])], {"x": X}, constants, outputs=("y", "z"), runtime=True)


def test_a_scan_over_a_constant() -> None:
    """Only its state is an input."""
    graph = body("b", [node("Mul", ["a", "k"], ["n"]), node("Identity", ["n"], ["s"])],
                 [("a", FLOAT, [3]), ("k", FLOAT, [3])], ["n", "s"])  # fmt: skip
    rows = floats(np.random.default_rng(1), 4, 3)
    scan = node("Scan", ["x", "rows"], ["y", "z"], body=graph, num_scan_inputs=1)
    check([scan], {"x": X}, {"rows": rows}, outputs=("y", "z"), runtime=True)


def test_too_many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unroll, "MAX_NODES", 10)
    nodes = [node("Cast", ["i"], ["f"], to=FLOAT), node("Add", ["a", "f"], ["n"]), node("Identity", ["c"], ["d"])]
    graph = body("b", nodes, [("i", INT, []), ("c", BOOL, []), ("a", FLOAT, [3])], ["d", "n"])
    with pytest.raises(UnsupportedModel, match="too many rounds"):
        check([node("Loop", ["m", "", "x"], ["y"], body=graph)], {"x": X}, {"m": np.array(50)}, runtime=True)
