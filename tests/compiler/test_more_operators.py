"""Lowerings of logic, integers, indexing, resizing, recurrence, quantised products: against the ONNX reference."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from syurmy.compiler import UnsupportedModel
from syurmy.isa.errors import Trap
from tests.compiler.harness import check, compiled, floats, model_of, outputs_of
from tests.drawing import SEEDS, examples

SOME = examples(12)
FEW = examples(5)


def shapes(low: int = 1, high: int = 4, side: int = 4) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, side), min_size=low, max_size=high)


def ints(rng: np.random.Generator, lo: int, hi: int, shape: Any, dtype: Any = np.int16) -> np.ndarray:
    return rng.integers(lo, hi, shape).astype(dtype)


@SOME
@given(shapes(0), SEEDS, st.sampled_from(["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]), st.booleans())
def test_comparison(shape: list[int], seed: int, op: str, real: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.asarray(ints(rng, -3, 4, s)) for s in (shape, shape[1:]))
    if real:
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32) + np.float32(0.5 * (op != "Equal"))
    check(op, {"a": np.asarray(a), "b": np.asarray(b)})


@FEW
@given(shapes(0), SEEDS, st.sampled_from(["And", "Or", "Xor"]))
def test_logic(shape: list[int], seed: int, op: str) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.asarray(rng.integers(0, 2, s).astype(bool)) for s in (shape, shape[1:]))
    check(op, {"a": a, "b": b})
    check("Not", {"a": a})


@SOME
@given(shapes(), SEEDS, st.sampled_from([1.0, 50.0]), st.booleans())
def test_where(shape: list[int], seed: int, factor: float, fixed: bool) -> None:
    rng = np.random.default_rng(seed)
    data = {"m": rng.integers(0, 2, shape[1:]).astype(bool), "a": floats(rng, *shape)}
    b = {"b": floats(rng, *shape) * np.float32(factor)}
    check("Where", data if fixed else {**data, **b}, b if fixed else {})


@FEW
@given(shapes(), SEEDS, st.sampled_from(["Max", "Min"]), st.integers(1, 3), st.booleans())
def test_extremum(shape: list[int], seed: int, op: str, count: int, real: bool) -> None:
    rng = np.random.default_rng(seed)
    xs = {f"x{k}": floats(rng, *shape) if real else ints(rng, -99, 99, shape, np.int32) for k in range(count)}
    check(op, xs)


@SOME
@given(SEEDS, st.sampled_from([np.int8, np.int16, np.uint8, np.uint16]), st.integers(0, 1))
def test_integer_division_and_remainder(seed: int, dtype: Any, fmod: int) -> None:
    rng = np.random.default_rng(seed)
    lo = 0 if np.dtype(dtype).kind == "u" else -100
    a, b = ints(rng, lo, 100, (3, 5), dtype), ints(rng, lo, 100, 5, dtype)
    b[b == 0] = 7
    check("Mod", {"a": a, "b": b}, fmod=fmod)
    check("Mod", {"a": a}, {"b": b}, fmod=fmod)
    # the reference evaluator floors quotients; ONNX truncates
    check("Div", {"a": a, "b": b}, runtime=np.dtype(dtype).itemsize > 1 or lo == 0)


@FEW
@given(SEEDS, st.sampled_from([np.int8, np.int16, np.int32, np.uint8, np.uint16]))
def test_bits(seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    a, b = (ints(rng, info.min, info.max + 1, 20, np.int64).astype(dtype) for _ in range(2))
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        check(op, {"a": a, "b": b})
    check("BitwiseNot", {"a": a})
    if info.min == 0:
        amount = ints(rng, 0, info.bits, 20, dtype)
        for direction in ("LEFT", "RIGHT"):
            check("BitShift", {"a": a, "b": amount}, direction=direction)
            check("BitShift", {"a": a}, {"b": amount}, direction=direction)


@pytest.mark.parametrize("source", ["float32", "int16", "uint8", "int8", "bool"])
@pytest.mark.parametrize("target", ["float32", "int32", "uint8", "int8", "bool"])
def test_cast(source: str, target: str) -> None:
    x = np.array([-7.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 100.0])
    x = np.abs(x) if "u" in source or (source == "float32" and target == "uint8") else x
    x = x.astype(source)
    check("Cast", {"a": x}, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))


@SOME
@given(SEEDS, st.sampled_from([0.5, 2.0, 3.0, -1.0, 0.0]), st.booleans())
def test_pow(seed: int, e: float, real: bool) -> None:
    rng = np.random.default_rng(seed)
    x = (np.abs(floats(rng, 3, 4)) + np.float32(0.5)) if real else ints(rng, 1, 9, (3, 4), np.int8)
    p = np.float32(e if real else abs(math.floor(e)))
    check("Pow", {"x": x}, {"p": np.asarray(p)}, tolerance=4e-4)


@SOME
@given(shapes(1, 3), SEEDS, st.sampled_from(["Prod", "L1", "L2", "SumSquare", "LogSumExp"]), st.booleans(), st.data())
def test_reductions(shape: list[int], seed: int, op: str, keep: bool, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = floats(np.random.default_rng(seed), *shape) + np.float32(0.1)
    constants = {"axes": np.array([axis], np.int64)}
    check(f"Reduce{op}", {"x": x}, constants, keepdims=int(keep), tolerance=1e-3, peak=0.3)


@SOME
@given(shapes(), SEEDS, st.booleans(), st.data())
def test_gather(shape: list[int], seed: int, private: bool, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    d = shape[axis]
    x = {"x": floats(rng, *shape)}
    at = {"i": ints(rng, -d, d, data.draw(shapes(0, 2)), np.int64)}
    check("Gather", {**x, **at} if private else x, {} if private else at, axis=axis, peak=1)
    each = {"i": ints(rng, -d, d, shape, np.int64)}
    check("GatherElements", {**x, **each} if private else x, {} if private else each, axis=axis, peak=1)


@SOME
@given(SEEDS, st.sampled_from(["Equal", "swapped", "OneHot"]))
def test_one_hot_products_are_rows(seed: int, form: str) -> None:
    """Indices outside give rows of zeros; OneHot counts negative ones from the end."""
    rng = np.random.default_rng(seed)
    node = helper.make_node
    pair = ["i", "places"] if form == "Equal" else ["places", "i"]
    nodes = [node("OneHot", ["i", "depth", "values"], ["hot"])] if form == "OneHot" else [
        node("Equal", pair, ["same"]), node("Cast", ["same"], ["hot"], to=1)]  # fmt: skip
    nodes.append(node("MatMul", ["hot", "w"], ["y"]))
    index = rng.integers(-8, 8, (2, 5) if form == "OneHot" else (2, 5, 1))
    constants = {"w": floats(rng, 6, 3), "depth": np.array(6), "values": np.array([0, 1], np.float32),
                 "places": np.arange(6).reshape(1, 1, 6)}  # fmt: skip
    used = {k: constants[k] for k in ("w", *(("depth", "values") if form == "OneHot" else ("places",)))}
    done = check(nodes, {"i": index}, used)
    assert [r.op for r in done.rows] == ["Embedding"]


@SOME
@given(SEEDS, st.integers(0, 1), st.integers(1, 2), st.booleans())
def test_gather_nd(seed: int, batch: int, depth: int, private: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 3, 4, 2)
    x, at = floats(rng, *shape), rng.integers(-2, 2, (*shape[:batch], 3, depth))
    inputs = {"x": x, "i": at} if private else {"x": x}
    check("GatherND", inputs, {} if private else {"i": at}, batch_dims=batch)


@pytest.mark.parametrize("at", [[1, 2], [1], [[1], [2]], [[-1, 2]]])
@pytest.mark.parametrize("private", [False, True])
def test_gather_nd_of_single_places(at: list[Any], private: bool) -> None:
    """One place is one number: the result has rank 0."""
    x, i = floats(np.random.default_rng(0), 3, 4), np.array(at)
    check("GatherND", {"x": x, "i": i} if private else {"x": x}, {} if private else {"i": i}, order=["x", "i"], peak=1)


@SOME
@given(SEEDS, st.integers(-3, 2), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans())
def test_top_k(seed: int, axis: int, k: int, largest: bool, real: bool, both: bool) -> None:
    """Small integers have many ties: the first come first."""
    rng = np.random.default_rng(seed)
    x = floats(rng, 3, 4, 5) if real else ints(rng, -2, 3, (3, 4, 5), np.int32)
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=int(largest))
    check([node], {"x": x}, {"k": np.array([k])}, outputs=("y", "i") if both else ("y",), runtime=not real)


@SOME
@given(SEEDS, st.integers(1, 2), st.integers(1, 2), st.integers(0, 1), st.integers(0, 1))
def test_places_of_maxima(seed: int, stride: int, dilation: int, pad: int, order: int) -> None:
    x = floats(np.random.default_rng(seed), 2, 2, 6, 5)
    check("MaxPool", {"x": x}, outputs=("y", "i"), runtime=True, kernel_shape=[3, 2], strides=[stride] * 2,
          dilations=[1, dilation], pads=[pad] * 4, storage_order=order)  # fmt: skip


@pytest.mark.parametrize("index", [7, -8])
def test_an_index_outside_traps(index: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inputs = {"x": floats(np.random.default_rng(0), 7, 2), "i": np.array([0, 3])}
        model = model_of([helper.make_node("Gather", ["x", "i"], ["y"])], inputs, ["y"])
        done = compiled(model, inputs, Path(folder))
        with pytest.raises(Trap, match="row"):
            outputs_of(done, {**inputs, "i": np.array([0, index])})


@SOME
@given(SEEDS, st.sampled_from(["none", "add", "mul", "max", "min"]))
def test_scatter(seed: int, reduction: str) -> None:
    rng = np.random.default_rng(seed)
    x, u = floats(rng, 4, 3), floats(rng, 2, 3)
    at = np.stack([rng.permutation(4)[:2] for _ in range(3)], axis=1).astype(np.int64)
    check("ScatterElements", {"x": x, "u": u}, {"i": at}, order=["x", "i", "u"], axis=0, reduction=reduction, peak=1)
    rows = rng.permutation(4)[:2].astype(np.int64)[:, None]
    check("ScatterND", {"x": x, "u": u}, {"i": rows}, order=["x", "i", "u"], reduction=reduction, peak=1)
    check("GatherND", {"x": x}, {"i": rows}, tolerance=5e-2)


@FEW
@given(shapes(2, 3), SEEDS, st.integers(-2, 2), st.integers(0, 1))
def test_triangles_tiles_and_sums(shape: list[int], seed: int, k: int, flag: int) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, *shape)
    check("Trilu", {"x": x}, {"k": np.array(k, np.int64)}, upper=flag, tolerance=5e-2)
    check("Tile", {"x": x}, {"r": np.array([2, 1, 3][: len(shape)], np.int64)})
    check("CumSum", {"x": x}, {"a": np.array(-1, np.int64)}, exclusive=flag, reverse=1 - flag, peak=3)
    check("Hardmax", {"x": x}, axis=0)


@SOME
@given(
    SEEDS,
    st.sampled_from(["nearest", "linear", "cubic"]),
    st.sampled_from(["half_pixel", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"]),
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.integers(0, 1),
)
def test_resize(seed: int, mode: str, coordinates: str, sizes: tuple[int, int], antialias: int) -> None:
    x = floats(np.random.default_rng(seed), 1, 2, 5, 6)
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode != "nearest":
        attributes["antialias"] = antialias
    check("Resize", {"x": x}, {"s": np.array([1, 2, *sizes], np.int64)}, order=["x", "", "", "s"], tolerance=5e-4,
          peak=1, **attributes)  # fmt: skip


@SOME
@given(SEEDS, st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.booleans(),
       st.integers(1, 2), st.booleans())  # fmt: skip
def test_conv_transpose(
    seed: int, rank: int, kernel: int, stride: int, pad: int, fixed: bool, group: int, bias: bool
) -> None:
    rng = np.random.default_rng(seed)
    x, w = floats(rng, 1, 2 * group, *[4] * rank), floats(rng, 2 * group, 3, *[kernel] * rank)
    rest = {"w": w, "b": floats(rng, 3 * group)} if bias else {"w": w}
    pad = min(pad, (kernel - 1) // 2)
    check("ConvTranspose", {"x": x} if fixed else {"x": x, **rest}, rest if fixed else {}, strides=[stride] * rank,
          pads=[pad] * 2 * rank, group=group, runtime=True, peak=1)  # fmt: skip


@pytest.mark.parametrize("equation", ["ij,jk->ik", "bij,bjk", "i,j->ij", "...ii->...i", "bhqd,bhkd->bhqk", "ij->",
                                      "ab,bc,cd->ad", "...ij,...jk->...ik", "ii", "ij,ij->i"])  # fmt: skip
def test_einsum(equation: str) -> None:
    rng = np.random.default_rng(0)
    sizes = dict(zip("abcdhijkq", (2, 3, 4, 5, 2, 3, 4, 2, 3), strict=True))
    if "ii" in equation:
        sizes["i"] = 3
    xs = {}
    for k, term in enumerate(equation.split("->")[0].split(",")):
        lead = [2] if "..." in term else []
        xs[f"x{k}"] = floats(rng, *lead, *(sizes[ch] for ch in term.replace("...", "")))
    check("Einsum", xs, equation=equation, peak=1, tolerance=4e-4)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent(op: str, direction: str) -> None:
    """Against onnxruntime: the reference evaluator does not cover all of it."""
    rng = np.random.default_rng(1)
    d, gates, hidden, batch, steps = 1 + (direction == "bidirectional"), {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 3, 2, 4
    x = floats(rng, steps, batch, 5)
    c = {"w": floats(rng, d, gates * hidden, 5), "r": floats(rng, d, gates * hidden, hidden),
         "b": floats(rng, d, 2 * gates * hidden)}  # fmt: skip
    outputs = ("y", "h", "c") if op == "LSTM" else ("y", "h")
    attributes = {"linear_before_reset": 1} if op == "GRU" and direction == "reverse" else {}
    check(op, {"x": x, "h0": floats(rng, d, batch, hidden)}, c, order=["x", "w", "r", "b", "", "h0"], outputs=outputs,
          hidden_size=hidden, direction=direction, runtime=True, tolerance=1e-3, **attributes)  # fmt: skip


@FEW
@given(SEEDS, st.sampled_from([np.int8, np.uint8]), st.booleans())
def test_quantised_products(seed: int, dtype: Any, channels: bool) -> None:
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    n = 6 if channels else 1
    whole = lambda *s: ints(rng, info.min, info.max + 1, s, np.int64).astype(dtype)  # noqa: E731
    one = lambda v: np.array(v, np.float32)  # noqa: E731
    w_scale = rng.uniform(0.001, 0.02, n).astype(np.float32)
    w_zero = np.zeros(n, np.int8)
    x, w = whole(2, 4, 5, 5), ints(rng, -127, 128, (6, 4, 3, 3), np.int8)
    c = {"xs": one(0.031), "xz": dtype(3), "w": w, "ws": w_scale if channels else w_scale[0], "wz": w_zero if channels
         else np.int8(0), "ys": one(0.17), "yz": dtype(5), "b": ints(rng, -999, 999, 6, np.int32)}  # fmt: skip
    c = {k: np.asarray(v) for k, v in c.items()}
    check("QLinearConv", {"x": x}, c)
    a, b = whole(3, 8), ints(rng, -127, 128, (8, 6), np.int8)
    m = {"as": one(0.031), "az": dtype(3), "b": b, "bs": c["ws"], "bz": c["wz"], "ys": one(0.29), "yz": dtype(5)}
    check("QLinearMatMul", {"a": a}, {k: np.asarray(v) for k, v in m.items()})
    check("MatMulInteger", {"a": a}, {"b": b, "az": np.asarray(dtype(3))})
    check("ConvInteger", {"x": x}, {"w": w, "xz": np.asarray(dtype(3))}, runtime=True)


@pytest.mark.parametrize("op", ["InstanceNormalization", "GroupNormalization", "LRN", "LpNormalization", "LpPool"])
def test_normalisations(op: str) -> None:
    rng = np.random.default_rng(3)
    x = floats(rng, 2, 4, 5, 5) + np.float32(0.3)
    per_channel = {"g": floats(rng, 4), "b": floats(rng, 4)}
    if op == "InstanceNormalization":
        check(op, {"x": x}, per_channel, tolerance=1e-3)
    elif op == "GroupNormalization":
        check(op, {"x": x}, per_channel, num_groups=2, tolerance=1e-3)
    elif op == "LRN":
        check(op, {"x": x}, size=3, alpha=0.2, tolerance=1e-3, runtime=True)  # the reference mixes up batch and channel
    elif op == "LpNormalization":
        for p in (1, 2):
            check(op, {"x": x}, p=p, axis=1, tolerance=1e-3, runtime=True)  # the reference forgets magnitudes
    else:
        check(op, {"x": x}, kernel_shape=[2, 2], strides=[2, 1], p=2, tolerance=1e-3, runtime=True)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention(causal: int, mask: str | None) -> None:
    rng = np.random.default_rng(2)
    xs: dict[str, Any] = {k: floats(rng, 1, 2, 5, 8) for k in "qkv"}
    if mask == "bool":
        xs["m"] = rng.integers(0, 2, (5, 5)).astype(bool) | np.eye(5, dtype=bool)
    elif mask == "float":
        xs["m"] = floats(rng, 5, 5)
    check("Attention", xs, opset=23, is_causal=causal, tolerance=1e-3)


def test_what_is_refused() -> None:
    rng = np.random.default_rng(0)
    x = floats(rng, 4)
    with pytest.raises(UnsupportedModel, match="finite"):
        check("IsInf", {"x": x})
    with pytest.raises(UnsupportedModel, match="indices that are data"):
        check("ScatterND", {"x": x, "i": np.array([[1]], np.int64), "u": x[:1]}, reduction="max")
    with pytest.raises(UnsupportedModel, match="places computed from the input"):
        check("GridSample", {"x": x.reshape(1, 1, 2, 2), "g": floats(rng, 1, 2, 2, 2)})
    with pytest.raises(UnsupportedModel, match="the determinant of matrices of 7 rows"):
        check("Det", {"x": floats(rng, 7, 7)}, opset=22)
