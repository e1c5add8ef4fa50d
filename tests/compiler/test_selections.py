"""What is made of entries that a mask selects, where its shape is fixed; and what is refused because it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from syurmy.compiler import UnsupportedModel
from syurmy.isa.arrays import Array
from tests.compiler.harness import check, floats

node = helper.make_node
RNG = np.random.default_rng(5)
X, Y = floats(RNG, 4, 3), floats(RNG, 4, 3)
PLACES = [
    node("Greater", ["x", "zero"], ["m"]),
    node("NonZero", ["m"], ["n"]),
    node("Transpose", ["n"], ["t"], perm=[1, 0]),
]
ZERO = {"zero": np.array(0, np.float32)}


def number(x: float) -> dict[str, Array]:
    return {**ZERO, "v": np.array(x, np.float32)}


def test_assignment_of_a_number() -> None:
    """x[x > 0] = v, as PyTorch writes it."""
    nodes = [*PLACES, node("Shape", ["t"], ["s"]), node("Gather", ["s", "first"], ["k"]),
             node("Expand", ["v", "k"], ["u"]), node("ScatterND", ["x", "t", "u"], ["y"])]  # fmt: skip
    check(nodes, {"x": X}, {**number(-2.5), "first": np.array([0])}, opset=13)


def test_assignment_of_what_is_selected() -> None:
    """x[x > 0] = tanh(x[x > 0] * v)"""
    nodes = [*PLACES, node("GatherND", ["x", "t"], ["g"]), node("Mul", ["g", "v"], ["a"]), node("Tanh", ["a"], ["u"]),
             node("ScatterND", ["x", "t", "u"], ["y"])]  # fmt: skip
    check(nodes, {"x": X}, number(2), opset=13)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(op: str, keepdims: int) -> None:
    """Of the difference of two tensors under one mask: a masked loss."""
    nodes = [*PLACES, node("GatherND", ["x", "t"], ["a"]), node("GatherND", ["z", "t"], ["b"]),
             node("Sub", ["a", "b"], ["d"]), node(op, ["d"], ["y"], keepdims=keepdims)]  # fmt: skip
    check(nodes, {"x": X, "z": Y}, ZERO, opset=13)


@pytest.mark.parametrize("axes", [[0], [0, 1], None])
def test_reductions_of_rows(axes: list[int] | None) -> None:
    """Rows by a mask of one axis, by Compress and by Gather."""
    first = {"c": np.array([1, 0], np.int64)}
    mask = [node("ReduceSum", ["x", "last"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["m"])]
    given: dict[str, Any] = {} if axes is None else {"axes": axes}
    ways = {
        "Compress": [node("Compress", ["x", "m"], ["r"], axis=0)],
        "Gather": [
            node("NonZero", ["m"], ["n"]),
            node("Squeeze", ["n", "lead"], ["t"]),
            node("Gather", ["x", "t"], ["r"]),
        ],
    }
    for way in ways.values():
        nodes = [*mask, *way, node("ReduceMean", ["r"], ["y"], **given)]
        check(nodes, {"x": X}, {**ZERO, **first, "last": np.array([1]), "lead": np.array([0])}, opset=13)


def test_how_many() -> None:
    for source, k in {"n": 1, "t": 0}.items():
        nodes = [*PLACES, node("Shape", [source], ["s"]), node("Gather", ["s", "k"], ["y"])]
        check(nodes, {"x": X}, {**ZERO, "k": np.array(k)}, opset=13)


def test_what_stays_open_is_refused() -> None:
    for nodes in (
        [*PLACES, node("GatherND", ["x", "t"], ["y"])],
        [*PLACES, node("GatherND", ["x", "t"], ["g"]), node("ReduceMax", ["g"], ["y"])],
        [*PLACES, node("GatherND", ["x", "t"], ["g"]), node("Greater", ["z", "zero"], ["m2"]),
         node("NonZero", ["m2"], ["n2"]), node("Transpose", ["n2"], ["t2"], perm=[1, 0]),
         node("GatherND", ["z", "t2"], ["h"]), node("ReduceSum", ["h"], ["hs"]), node("Mul", ["g", "hs"], ["y"])],
    ):  # fmt: skip
        with pytest.raises(UnsupportedModel, match="the result's shape depends on the input's values"):
            check(nodes, {"x": X, "z": Y}, ZERO, opset=13)
