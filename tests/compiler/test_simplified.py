"""What the simplifier makes of a model computes the same, or is not taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from syurmy.compiler import UnsupportedModel, load
from syurmy.isa.arrays import Array
from tests.compiler.harness import check, compiled, evaluated, model_of

make = helper.make_node
R = np.random.default_rng(3)


def f(*shape: int) -> Array:
    return R.standard_normal(shape).astype(np.float32)


X = f(1, 3, 8, 8)
CONV = make("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1])
SCALED = [CONV, make("Mul", ["c", "k"], ["y"])]
CASES: dict[str, Any] = {
    "a factor for each column of a picture": (SCALED, X, {"w": f(8, 3, 3, 3), "k": f(8)}),
    "a factor for each row of a picture": (SCALED, X, {"w": f(8, 3, 3, 3), "k": f(8, 1)}),
    "a factor that spreads a product": (
        [
            make("Gemm", ["x", "w", "b"], ["g"], transB=1), make("Reshape", ["g", "s"], ["r"]),
            make("Mul", ["r", "k"], ["y"]),
        ],
        f(2, 5), {"w": f(6, 5), "b": f(6), "s": np.array([2, 6, 1]), "k": f(6)},
    ),
    "padding of some axes": (
        [make("Pad", ["x", "q", "", "a"], ["p"]), make("Conv", ["p", "w"], ["y"])],
        X, {"w": f(8, 3, 3, 3), "q": np.array([0, 0, 1, 2]), "a": np.array([2, 3])},
    ),
    "a normalisation": (
        [CONV, make("BatchNormalization", ["c", "s", "o", "m", "v"], ["y"])],
        X, {"w": f(8, 3, 3, 3), "s": f(8), "o": f(8), "m": f(8), "v": np.abs(f(8))},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_the_model_does(name: str) -> None:
    nodes, x, constants = CASES[name]
    model = model_of(nodes, {"x": x}, ["y"], constants)
    simple = load.prepare(model)
    assert (len(simple.graph.node) == 1) == (name == "a normalisation")  # folded where that is right
    np.testing.assert_allclose(evaluated(simple, {"x": x})[0], evaluated(model, {"x": x})[0], rtol=1e-3, atol=1e-4)
    check(nodes, {"x": x}, constants)


def test_dropout_in_training_is_refused_and_not_left_out(tmp_path: Path) -> None:
    nodes = [make("MatMul", ["x", "w"], ["h"]), make("Dropout", ["h", "r", "t"], ["d"]), make("Relu", ["d"], ["y"])]
    constants = {"w": f(4, 4), "r": np.array(0.5, np.float32), "t": np.array(True)}
    model = model_of(nodes, {"x": f(2, 4)}, ["y"], constants)
    with pytest.raises(UnsupportedModel, match="training_mode"):
        compiled(model, {"x": f(2, 4)}, tmp_path)
