"""Softmax under a constant mask, in the forms that exporters write."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.compiler.harness import check, floats

CAUSAL = np.triu(np.ones((5, 5), bool), 1)


@pytest.mark.parametrize("far", [-np.inf, -1e4, -1e9, np.finfo(np.float32).min])
@pytest.mark.parametrize("form", ["add", "swapped", "where", "other branch"])
def test_causal(form: str, far: float) -> None:
    rng = np.random.default_rng(1)
    x = floats(rng, 2, 3, 5, 5) * 3
    mask = np.where(CAUSAL, np.float32(far), np.float32(0))
    node = helper.make_node
    if form in ("add", "swapped"):
        constants = {"m": mask}
        first = node("Add", ["x", "m"] if form == "add" else ["m", "x"], ["s"])
    else:
        constants = {"k": CAUSAL if form == "other branch" else ~CAUSAL, "m": np.array(far, np.float32)}
        first = node("Where", ["k", "m", "x"] if form == "other branch" else ["k", "x", "m"], ["s"])
    check([first, node("Softmax", ["s"], ["y"], axis=-1)], {"x": x}, constants)


def test_a_mask_that_also_adds() -> None:
    rng = np.random.default_rng(2)
    mask = np.where(CAUSAL, np.float32(-1e9), floats(rng, 5, 5))
    nodes = [helper.make_node("Add", ["x", "m"], ["s"]), helper.make_node("Softmax", ["s"], ["y"])]
    check(nodes, {"x": floats(rng, 2, 5, 5)}, {"m": mask})


@pytest.mark.parametrize("form", ["mul", "swapped", "where"])
def test_a_mask_that_is_data(form: str) -> None:
    rng = np.random.default_rng(3)
    x = floats(rng, 2, 3, 5, 5) * 3
    present = (np.arange(5) < np.array([[3], [5]])).astype(np.int64).reshape(2, 1, 1, 5)
    node = helper.make_node
    nodes = [node("Cast", ["m"], ["f"], to=TensorProto.FLOAT), node("Sub", ["one", "f"], ["t"])]
    if form == "where":
        nodes += [node("Cast", ["t"], ["b"], to=TensorProto.BOOL), node("Where", ["b", "far", "t"], ["a"])]
    else:
        nodes.append(node("Mul", ["t", "far"] if form == "mul" else ["far", "t"], ["a"]))
    nodes += [node("Add", ["x", "a"], ["s"]), node("Softmax", ["s"], ["y"])]
    constants = {"one": np.array(1, np.float32), "far": np.array(np.finfo(np.float32).min, np.float32)}
    check(nodes, {"x": x, "m": present}, constants)
