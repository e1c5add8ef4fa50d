"""Sequences and optional values that exporters write, as the tensors that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from syurmy.compiler import UnsupportedModel
from syurmy.isa.arrays import Array
from tests.compiler.harness import compiled, evaluated, model_of, outputs_of

make = helper.make_node
R = np.random.default_rng(5)


def f(*shape: int) -> Array:
    return R.standard_normal(shape).astype(np.float32)


def growing() -> onnx.NodeProto:
    """A loop of ten rounds that gathers rows of x, doubled, in a sequence."""
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    scalar = [helper.make_tensor_value_info(n, t, []) for n, t in (("i", 7), ("c", 9))]
    nodes = [
        make("Identity", ["c"], ["on"]), make("Gather", ["x", "i"], ["row"], axis=0),
        make("Add", ["row", "row"], ["twice"]), make("SequenceInsert", ["s", "twice"], ["t"]),
    ]  # fmt: skip
    outs = [helper.make_tensor_value_info("on", 9, []), helper.make_tensor_sequence_value_info("t", 1, None)]
    return make("Loop", ["ten", "", "none"], ["all"], body=helper.make_graph(nodes, "b", [*scalar, sequence], outs))


SPLIT = [make("SequenceAt", ["s", "one"], ["u"]), make("SequenceErase", ["s", "zero"], ["e"]),
         make("ConcatFromSequence", ["e"], ["v"], axis=0)]  # fmt: skip
CASES: dict[str, Any] = {
    "built": (
        [
            make("SequenceConstruct", ["x", "k"], ["s"]), make("SequenceInsert", ["s", "x", "zero"], ["t"]),
            make("SequenceAt", ["t", "last"], ["a"]), make("SequenceLength", ["t"], ["n"]),
            make("Cast", ["n"], ["r"], to=1), make("Mul", ["a", "r"], ["u"]),
            make("ConcatFromSequence", ["t"], ["v"], axis=0, new_axis=1),
        ],
        f(2, 6), 13,
    ),
    "rows": ([make("SplitToSequence", ["x"], ["s"], axis=1, keepdims=0), *SPLIT], f(2, 6), 11),
    "parts": ([make("SplitToSequence", ["x", "four"], ["s"], axis=1), make("SequenceAt", ["s", "one"], ["u"]),
               make("ConcatFromSequence", ["s"], ["v"], axis=1)], f(2, 6), 13),
    "sizes": ([make("SplitToSequence", ["x", "sizes"], ["s"], axis=-2), *SPLIT], f(6, 3), 13),
    "optional": (
        [
            make("Optional", ["x"], ["o"]), make("OptionalHasElement", ["o"], ["h"]),
            make("OptionalGetElement", ["o"], ["g"]), make("Where", ["h", "g", "k"], ["u"]), make("Relu", ["g"], ["v"]),
        ],
        f(2, 6), 18,
    ),
    "a loop": (
        [
            make("SequenceEmpty", [], ["none"]), growing(), make("SequenceAt", ["all", "one"], ["u"]),
            make("ConcatFromSequence", ["all"], ["v"], axis=0, new_axis=1),
        ],
        f(10, 3), 13,
    ),
}  # fmt: skip
CONSTANTS = {
    "zero": np.array(0), "one": np.array(1), "last": np.array(-1), "four": np.array(4), "ten": np.array(10),
    "sizes": np.array([1, 2, 3]), "k": f(2, 6),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sequences_are_the_tensors_that_they_hold(name: str, tmp_path: Path) -> None:
    nodes, x, opset = CASES[name]
    read = {i for n in nodes for i in n.input}
    constants = {k: v for k, v in CONSTANTS.items() if k in read}
    model = model_of(nodes, {"x": x}, ["u", "v"], constants, opset, runtime=True)
    done = compiled(model, {"x": x}, tmp_path / "m")
    found = outputs_of(done, {"x": x / 2})
    for o, e in zip("uv", evaluated(model, {"x": x / 2}, runtime=True), strict=True):
        assert found[o].shape == e.shape
        np.testing.assert_allclose(found[o], e, atol=4e-4 * np.abs(e).max())


def test_a_place_that_data_choose_is_refused(tmp_path: Path) -> None:
    nodes = [
        make("ArgMax", ["x"], ["i"], axis=1, keepdims=0), make("Squeeze", ["i"], ["at"]),
        make("SequenceConstruct", ["x", "k"], ["s"]), make("SequenceAt", ["s", "at"], ["y"]),
    ]  # fmt: skip
    x = np.array([[1.0, 0, 0, 0, 0, 0]], np.float32)
    model = model_of(nodes, {"x": x}, ["y"], {"k": f(1, 6)}, 13, runtime=True)
    with pytest.raises(UnsupportedModel, match="SequenceAt"):
        compiled(model, {"x": x}, tmp_path)
