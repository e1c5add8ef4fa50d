"""Integers wrap at their dtype before the next reader, means of them are rounded, casts of whole reals are exact."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syurmy.compiler import compile_model, load
from syurmy.isa.arrays import Array
from tests.compiler.harness import TensorProto, check, evaluated, floats, helper, model_of

node = helper.make_node
DTYPES = ("int8", "uint8", "int16", "uint16", "int32")


def drawn(dtype: str, *shape: int) -> Array:
    """Over the whole range, the least and the largest included."""
    info = np.iinfo(dtype)
    x = np.random.default_rng(3).integers(info.min, info.max, shape, dtype=np.int64, endpoint=True)
    x.reshape(-1)[:2] = info.min, info.max
    return x.astype(dtype)


def followed(op: str, inputs: dict[str, Array], constants: dict[str, Array] | None = None, **attributes: Any) -> None:
    """The node alone, and with a reader that would see what did not wrap."""
    first = node(op, [*inputs, *(constants or {})], ["t"], **attributes)
    for to in (TensorProto.DOUBLE, TensorProto.INT64):
        with np.errstate(over="ignore"):
            check([first, node("Cast", ["t"], ["y"], to=to)], inputs, constants, tolerance=1e-12)
    with np.errstate(over="ignore"):
        check([node(op, [*inputs, *(constants or {})], ["y"], **attributes)], inputs, constants)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_two_operands(op: str, dtype: str) -> None:
    a, b = drawn(dtype, 2, 8), np.roll(drawn(dtype, 2, 8), 3)
    followed(op, {"a": a, "b": b})
    followed(op, {"a": a}, {"b": b[:1]})


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.startswith("int")])
@pytest.mark.parametrize("op", ["Neg", "Abs"])
def test_one_operand(op: str, dtype: str) -> None:
    followed(op, {"a": drawn(dtype, 3, 4)})


def test_sums_and_products() -> None:
    a, b = drawn("int32", 3, 4), drawn("int32", 4, 2)
    followed("MatMul", {"a": a, "b": b})
    followed("MatMul", {"a": a}, {"b": b})
    followed("ReduceSum", {"a": a}, {"axes": np.array([1])})
    followed("CumSum", {"a": a}, {"axis": np.array(1)})
    followed("ReduceProd", {"a": a}, {"axes": np.array([1])})
    followed("Pow", {"a": a}, {"e": np.array(3, np.int32)})
    small = a % 1000
    check([node("Gemm", ["a", "b", "c"], ["y"], alpha=2.0, beta=-3.0)], {"a": small, "b": b % 1000, "c": small[:, :2]})


SMALL = np.array([[1, -2, 3, 2], [2, 2, -1, 1]], np.int32)
AXES = {"axes": np.array([1])}


@pytest.mark.parametrize(
    ("op", "constants", "large"),
    [
        ("ReduceSum", AXES, [2**31 - 1, 5, 0, 0]),
        ("ReduceProd", AXES, [2**30, 2**20, 1, 3]),  # 0 modulo 2^32, on the way too
        ("ReduceSumSquare", AXES, [2**16, 0, 0, 0]),
        ("ReduceL1", AXES, [2**31 - 1, -9, 0, 0]),
        ("Pow", {"e": np.array(5, np.int32)}, [2**8, 2**7, 1, 0]),
    ],
)
def test_what_onnxruntime_does_not_wrap_is_told(
    op: str, constants: dict[str, Array], large: list[int], tmp_path: Path
) -> None:
    """int32 that leave their type wrap, as in ONNX's reference, where onnxruntime gives the largest or least: that is
    said when the model is compiled, whatever the samples show, and of the runs in which it happens alone."""
    model = model_of([node(op, ["x", *constants], ["y"], name="it")], {"x": SMALL}, ["y"], constants)
    with pytest.warns(UserWarning, match=r"beyond their type: \w+ '"):
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": SMALL[None]})
    assert done.missed is None
    small = SMALL[:, ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(done.run({"x": small}).outputs["y"], evaluated(model, {"x": small})[0])
    beyond = np.array([large, [1, 1, 1, 1]], np.int32)
    with np.errstate(over="ignore"):
        expected = evaluated(model, {"x": beyond})[0].astype(np.int32)
    with pytest.warns(UserWarning, match="wrapped, .* may be wrong"):
        made = done.run({"x": beyond})
    assert np.array_equal(made.outputs["y"], expected)
    assert sum(s.entries for s in made.saturated) >= 1


def test_what_cannot_leave_int32_is_not_told(tmp_path: Path) -> None:
    x = np.array([[[0, 255, 7, 9]]], np.uint8)
    for op, of in (("ReduceSum", "c"), ("ReduceSumSquare", "c"), ("ReduceProd", "d")):
        nodes = [node("Cast", ["x"], ["c"], to=TensorProto.INT32), node("Sign", ["c"], ["d"]),
                 node(op, [of, "axes"], ["y"])]  # fmt: skip
        model = load.prepare(model_of(nodes, {"x": x[0]}, ["y"], {"axes": np.array([1])}))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compile_model(model, tmp_path / op, calibrate={"x": x})


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_means_are_rounded_towards_zero(dtype: str) -> None:
    a = np.array([[-7, 0, 0, 0], [7, 0, 0, 0], [35, 13, 1, -24], [-3, -3, -3, -2]], dtype)
    followed("ReduceMean", {"a": a}, {"axes": np.array([1])})
    followed("ReduceMean", {"a": a}, {"axes": np.array([0, 1])}, keepdims=0)


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8])
def test_whole_reals_become_the_same_integers(dtype: int) -> None:
    top = 250 if dtype == TensorProto.UINT8 else 2**31 - 200
    low = 0 if dtype == TensorProto.UINT8 else -(2**24)
    x = np.array([[0, 1, low, 99_999 % (top + 1), 16_777_215 % (top + 1), top]], np.float32)
    check([node("Cast", ["x"], ["y"], to=dtype)], {"x": x})
    nodes = [node("Reshape", ["x", "s"], ["r"]), node("Cast", ["r"], ["y"], to=dtype)]
    check(nodes, {"x": x}, {"s": np.array([3, 2])})


def test_casts_of_computed_reals() -> None:
    """Accumulators far beyond 16 bits, at scales that are no power of two; nothing within their error of an integer."""
    x = np.random.default_rng(0).integers(-9000, 9000, (1, 64)).astype(np.float32)
    nodes = [node("Mul", ["x", "k"], ["p"]), node("Cast", ["p"], ["y"], to=TensorProto.INT64)]
    check(nodes, {"x": x}, {"k": np.array(7.0, np.float32)})
    check(nodes, {"x": x + 0.25}, {"k": np.array(5.0, np.float32)})
    check(nodes, {"x": x}, {"k": np.array(33.71, np.float32)})


def test_reals_are_not_integers_for_their_looks() -> None:
    """An input that is also read as a real keeps the scale of one."""
    x = np.rint(floats(np.random.default_rng(0), 1, 8) * 100)
    check([node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Tanh", ["x"], ["y"])], {"x": x}, outputs=["i", "y"])
