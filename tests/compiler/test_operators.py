"""Every lowering against the ONNX reference evaluator on random shapes and attributes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from syurmy.compiler import UnsupportedModel
from syurmy.compiler.lower import operators
from syurmy.compiler.ops.activation import FUNCTIONS
from tests.compiler.harness import check, floats
from tests.drawing import SEEDS, examples

MANY = examples(25)
FEW = examples(8)


def shapes(low: int = 1, high: int = 4, side: int = 5) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, side), min_size=low, max_size=high)


@st.composite
def broadcast_pair(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    full = draw(shapes(0, 4))
    a, b = ([1 if draw(st.booleans()) else d for d in full] for _ in range(2))
    return a[draw(st.integers(0, len(a))) :], b


@MANY
@given(
    st.sampled_from(["Add", "Sub", "Mul", "Div"]), broadcast_pair(), SEEDS, st.sampled_from(["data", "left", "right"])
)
def test_arithmetic(op: str, pair: tuple[list[int], list[int]], seed: int, constant: str) -> None:
    rng = np.random.default_rng(seed)
    a, b = (floats(rng, *s) * np.float32(10.0 ** rng.integers(-3, 3)) for s in pair)
    if op == "Div":
        b = (np.sign(b) * (np.abs(b) + np.abs(b).max()) + (b == 0)).astype(np.float32)
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    inputs, constants = {"a": a, "b": b}, {}
    if constant:
        moved = "a" if constant == "left" else "b"
        constants = {moved: inputs.pop(moved)}
    cancelling = max(float(np.abs(x).max(initial=0)) for x in (a, b)) / 4 if op in ("Add", "Sub") else 1e-6
    check(op, inputs, constants, order=["a", "b"], tolerance=4e-4 if op == "Div" else 2e-4, peak=cancelling)


@FEW
@given(shapes(), st.integers(1, 4), SEEDS, st.sampled_from(["Sum", "Mean"]))
def test_variadic_sums(shape: list[int], count: int, seed: int, op: str) -> None:
    rng = np.random.default_rng(seed)
    check(op, {f"x{k}": floats(rng, *shape) * np.float32(10.0 ** rng.integers(-2, 2)) for k in range(count)})


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Neg", "Relu", "Abs", "Sign", "ReduceSum", "MatMul"])
def test_integers_are_exact(op: str) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(-1000, 1000, (2, 4, 4)).astype(np.int32), rng.integers(-1000, 1000, (4, 4)).astype(np.int32)
    constants = {"b": b} if op in ("Add", "Sub", "Mul", "MatMul") else {}
    check(op, {"a": a}, constants)


SPATIAL = st.integers(1, 3)


@st.composite
def windows(draw: st.DrawFn, ranks: tuple[int, ...] = (1, 2, 3)) -> dict[str, Any]:
    rank = draw(st.sampled_from(ranks))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    image = [s + draw(st.integers(0, 4)) for s in spans]
    out: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "image": image}
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto == "NOTSET":
        out["pads"] = [draw(st.integers(0, k // 2)) for k in kernel] + [draw(st.integers(0, k // 2)) for k in kernel]
    else:
        out["auto_pad"] = auto
        if auto != "VALID":
            out["dilations"] = [1] * rank
            out["strides"] = [min(pair) for pair in zip(strides, kernel, strict=True)]
    return out


@MANY
@given(windows(), SEEDS, st.integers(1, 3), st.integers(1, 2), st.booleans(), st.sampled_from([8, 16, 16]))
def test_conv(w: dict[str, Any], seed: int, group: int, batch: int, bias: bool, bits: int) -> None:
    rng = np.random.default_rng(seed)
    image = w.pop("image")
    cin, cout = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    constants = {"w": floats(rng, group * cout, cin, *w["kernel_shape"])}
    if bias:
        constants["b"] = floats(rng, group * cout)
    tolerance = 2e-4 if bits == 16 else 3e-2  # of the terms, also where their sum cancels
    x = {"x": floats(rng, batch, group * cin, *image)}
    check("Conv", x, constants, group=group, tolerance=tolerance, peak=1.0, options={"weights": bits}, **w)


@FEW
@given(windows((2,)), SEEDS)
def test_conv_with_computed_weights(w: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, k = floats(rng, 1, 2, *w.pop("image")), floats(rng, 3, 2, *w["kernel_shape"])
    peak = float(np.abs(x).max() * np.abs(k).max())  # of the terms: both factors are rounded, and all sums may cancel
    check("Conv", {"x": x, "w": k, "b": floats(rng, 3)}, peak=peak, **w)


@MANY
@given(windows(), SEEDS, st.sampled_from(["MaxPool", "AveragePool"]), st.booleans(), st.booleans())
def test_pool(w: dict[str, Any], seed: int, op: str, ceil: bool, count: bool) -> None:
    rng = np.random.default_rng(seed)
    image = w.pop("image")
    attributes = {**w, "ceil_mode": int(ceil and "pads" in w and not any(w["pads"]))}
    if op == "AveragePool":
        attributes["count_include_pad"] = int(count)
        attributes["dilations"] = [1] * len(image)
    # the reference evaluator mistakes automatic padding and windows with gaps
    check(op, {"x": floats(rng, 1, 2, *image)}, runtime=True, peak=3, **attributes)


@FEW
@given(shapes(2, 2), SEEDS, st.sampled_from(["GlobalAveragePool", "GlobalMaxPool"]))  # the reference needs 2 axes
def test_global_pool(image: list[int], seed: int, op: str) -> None:
    check(op, {"x": floats(np.random.default_rng(seed), 2, 3, *image)})


@MANY
@given(st.booleans(), st.booleans(), st.sampled_from([0.5, 1.0, -2.0]), st.sampled_from([0.0, 1.0, -0.5]), SEEDS,
       st.sampled_from([None, "row", "column", "one"]), st.sampled_from(["none", "b", "bc", "a"]))  # fmt: skip
def test_gemm(ta: bool, tb: bool, alpha: float, beta: float, seed: int, bias: str | None, fixed: str) -> None:
    rng = np.random.default_rng(seed)
    m, k, n = rng.integers(1, 6, 3)
    arrays = {"a": floats(rng, *((k, m) if ta else (m, k))), "b": floats(rng, *((n, k) if tb else (k, n)))}
    if bias is not None:
        arrays["c"] = floats(rng, *{"row": (n,), "column": (m, 1), "one": (1,)}[bias])
    if fixed == "none":
        alpha = abs(alpha)
    constants = {name: arrays.pop(name) for name in list(arrays) if fixed != "none" and name in fixed}
    check("Gemm", arrays, constants, order=[*"abc"] if bias else [*"ab"], transA=int(ta), transB=int(tb), alpha=alpha,
          beta=beta, peak=2)  # fmt: skip


@MANY
@given(broadcast_pair(), st.integers(1, 6), SEEDS, st.sampled_from(["none", "a", "b"]), st.booleans(), st.booleans())
def test_matmul(batch: tuple[list[int], list[int]], k: int, seed: int, fixed: str, row: bool, column: bool) -> None:
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 5, 2)
    a = floats(rng, k) if row else floats(rng, *batch[0][-3:], m, k)
    b = floats(rng, k) if column else floats(rng, *batch[1][-3:], k, n)
    inputs, constants = {"a": a, "b": b}, {}
    if fixed != "none":
        constants = {fixed: inputs.pop(fixed)}
    check("MatMul", inputs, constants, order=["a", "b"], peak=float(np.abs(a).max() * np.abs(b).max()))


DOMAINS = {"Acos": (-0.9, 0.9), "Asin": (-0.9, 0.9), "Atanh": (-0.8, 0.8), "Acosh": (1.5, 9.0), "Log": (0.5, 9.0),
           "Sqrt": (0.1, 9.0), "Reciprocal": (0.5, 3.0), "Tan": (-1.0, 1.0)}  # fmt: skip
STEPS = {"Ceil", "Floor", "Round", "Sign", "ThresholdedRelu", "Shrink"}  # rounding the source can cross a jump


@pytest.mark.parametrize("op", sorted(FUNCTIONS))
def test_function(op: str) -> None:
    if op == "Swish":
        pytest.importorskip("onnx", "1.19")
    rng = np.random.default_rng(1)
    x = rng.uniform(*DOMAINS.get(op, (-4.0, 4.0)), (3, 50)).astype(np.float32)
    if op in STEPS:
        x = (np.rint(x) + rng.uniform(-0.3, 0.3, x.shape) + (0.5 if op in ("Ceil", "Floor") else 0)).astype(np.float32)
        x[x == 0] = 0.1
    opset = 24 if op == "Swish" else 21
    check(op, {"x": x}, opset=opset)
    if op not in STEPS:
        check(op, {"x": x}, opset=opset, tolerance=0.06, options={"activations": 8})


@pytest.mark.parametrize(("op", "attributes"), [("Elu", {"alpha": 0.5}), ("Selu", {"alpha": 1.2, "gamma": 0.7}),
    ("Celu", {"alpha": 2.0}), ("LeakyRelu", {"alpha": 0.3}), ("HardSigmoid", {"alpha": 0.4, "beta": 0.3}),
    ("Gelu", {"approximate": "tanh"})])  # fmt: skip
def test_function_attributes(op: str, attributes: dict[str, Any]) -> None:
    check(op, {"x": floats(np.random.default_rng(2), 40) * 3}, **attributes)


@MANY
@given(
    shapes(), SEEDS, st.sampled_from([(None, None), (-0.5, None), (None, 0.7), (-0.3, 0.4), (0.0, None), (0.6, 0.2)])
)
def test_clip(shape: list[int], seed: int, bounds: tuple[float | None, float | None]) -> None:
    constants = {k: np.float32(b) for k, b in zip("lh", bounds, strict=True) if b is not None}
    order = ["x", "l" if "l" in constants else "", "h" if "h" in constants else ""]
    check("Clip", {"x": floats(np.random.default_rng(seed), *shape)}, constants, order=order, tolerance=1e-3)


@FEW
@given(SEEDS, st.sampled_from([(1,), (4,), (3, 1)]), st.booleans())
def test_prelu(seed: int, slope: tuple[int, ...], fixed: bool) -> None:
    rng = np.random.default_rng(seed)
    x, s = floats(rng, 2, 3, 4), floats(rng, *slope)
    peak = float(np.abs(x).max() * max(np.abs(s).max(), 1))  # a slope makes what x was rounded by as much larger
    check("PRelu", {"x": x} if fixed else {"x": x, "s": s}, {"s": s} if fixed else {}, peak=peak)


@MANY
@given(shapes(1, 4, 6), SEEDS, st.sampled_from(["Softmax", "LogSoftmax"]), st.data())
def test_softmax(shape: list[int], seed: int, op: str, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = floats(np.random.default_rng(seed), *shape) * 4
    tolerance = 5e-4 if op == "Softmax" else 2e-3
    if op == "LogSoftmax" and shape[axis] == 1:
        return  # all zeros: no range to be relative to
    check(op, {"x": x}, axis=axis, tolerance=tolerance)


@FEW
@given(SEEDS, st.integers(-3, -1), st.sampled_from([1e-5, 1e-2, 1e-12]), st.booleans())
def test_layer_normalization(seed: int, axis: int, epsilon: float, bias: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 3, 8)
    constants = {"g": floats(rng, *shape[axis:])}
    if bias:
        constants["b"] = floats(rng, *shape[axis:])
    x = floats(rng, *shape) * np.float32(3) + np.float32(rng.uniform(-5, 5))
    check("LayerNormalization", {"x": x}, constants, axis=axis, epsilon=epsilon, tolerance=1e-3)


@FEW
@given(SEEDS, shapes(0, 3))
def test_batch_normalization(seed: int, image: list[int]) -> None:
    rng = np.random.default_rng(seed)
    g, b, m = (floats(rng, 3) for _ in range(3))
    check("BatchNormalization", {"x": floats(rng, 2, 3, *image)}, {"g": g, "b": b, "m": m, "v": np.abs(floats(rng, 3))})


@MANY
@given(shapes(), SEEDS, st.sampled_from(["Sum", "Mean", "Max", "Min"]), st.booleans(), st.data())
def test_reduce(shape: list[int], seed: int, op: str, keep: bool, data: st.DataObject) -> None:
    subsets = [s for r in range(len(shape) + 1) for s in itertools.combinations(range(len(shape)), r)]
    axes = [a - len(shape) * data.draw(st.booleans()) for a in data.draw(st.sampled_from(subsets))]
    x = floats(np.random.default_rng(seed), *shape)
    constants = {"axes": np.array(axes, np.int64)} if axes else {}
    check(f"Reduce{op}", {"x": x}, constants, keepdims=int(keep), peak=3, rounded=op == "Sum")


@MANY
@given(shapes(), SEEDS, st.sampled_from(["ArgMax", "ArgMin"]), st.booleans(), st.booleans(), st.data())
def test_arg(shape: list[int], seed: int, op: str, keep: bool, last: bool, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)
    check(op, {"x": x}, axis=axis, keepdims=int(keep), select_last_index=int(last))


# ---- views: exact up to the rounding of the input --------------------------------------------------------------------


@MANY
@given(shapes(), SEEDS, st.data())
def test_slice(shape: list[int], seed: int, data: st.DataObject) -> None:
    rank = len(shape)
    axes = data.draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=1))
    starts, ends, steps = [], [], []
    for a in axes:
        step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
        positions = data.draw(st.tuples(st.integers(0, shape[a] - 1), st.integers(0, shape[a] - 1)))
        low, high = min(positions), max(positions) + 1
        start, end = (low, high) if step > 0 else (high - 1, low - 1 if low else -10 * shape[a])
        starts.append(start - (shape[a] if data.draw(st.booleans()) else 0))
        ends.append(end if step < 0 or data.draw(st.booleans()) or high == shape[a] else end - shape[a])
        steps.append(step)
    named = {k: np.array(v, np.int64) for k, v in (("s", starts), ("e", ends), ("a", axes), ("t", steps))}
    named["a"] = named["a"] - rank * int(data.draw(st.booleans()))
    check("Slice", {"x": floats(np.random.default_rng(seed), *shape)}, named, tolerance=5e-2)


@MANY
@given(shapes(1, 3), SEEDS, st.sampled_from(["constant", "reflect", "edge", "wrap"]), st.data())
def test_pad(shape: list[int], seed: int, mode: str, data: st.DataObject) -> None:
    top = [d - 1 if mode == "reflect" else d for d in shape]
    pads = [data.draw(st.integers(0, min(t, 3))) for t in top * 2]
    constants: dict[str, Any] = {"p": np.array(pads, np.int64)}
    if mode == "constant":
        constants["v"] = np.float32(data.draw(st.sampled_from([0.0, 1.5, -20.0])))
    check("Pad", {"x": floats(np.random.default_rng(seed), *shape)}, constants, mode=mode, tolerance=5e-2)


@FEW
@given(shapes(), SEEDS, st.data())
def test_transpose_and_reshape(shape: list[int], seed: int, data: st.DataObject) -> None:
    x = floats(np.random.default_rng(seed), *shape)
    check("Transpose", {"x": x}, perm=data.draw(st.permutations(range(len(shape)))))
    check("Reshape", {"x": x}, {"s": np.array([0, -1], np.int64)})
    check("Flatten", {"x": x}, axis=data.draw(st.integers(-len(shape), len(shape))))
    check("Unsqueeze", {"x": x}, {"a": np.array([0, -1], np.int64)})
    check("Squeeze", {"x": x[None, :, None]}, {"a": np.array([0, 2], np.int64)})
    check("Expand", {"x": x}, {"s": np.array([2, *shape], np.int64)})
    check("Identity", {"x": x})
    check("Neg", {"x": x})


@FEW
@given(shapes(2, 3), SEEDS, st.integers(1, 4), st.booleans(), st.data())
def test_concat_and_split(shape: list[int], seed: int, parts: int, scaled: bool, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    xs = {f"x{k}": floats(rng, *shape) * np.float32(7.0**k if scaled else 1) for k in range(parts)}
    check("Concat", xs, {"c": floats(rng, *shape)} if scaled else {}, axis=axis)
    lengths = [k + 1 for k in range(parts)]
    whole = list(shape)
    whole[axis] = sum(lengths)
    names = [f"y{k}" for k in range(parts)]
    check("Split", {"x": floats(rng, *whole)}, {"s": np.array(lengths, np.int64)}, axis=axis, outputs=names,
          tolerance=5e-2)  # fmt: skip


@given(SEEDS, st.integers(0, 2), st.integers(-3, -1), st.integers(0, 3))
@examples(8)
def test_parts_without_entries_vanish(seed: int, axis: int, negative: int, first: int) -> None:
    """A slice and a part of a split that are empty, joined with others: neither costs anything."""
    x = floats(np.random.default_rng(seed), 3, 3, 3)
    node = helper.make_node
    nodes = [node("Slice", ["x", "at", "at", "axes"], ["none"]),
             node("Split", ["x", "lengths"], ["a", "b"], axis=negative),
             node("Concat", ["a", "b"], ["all"], axis=negative),
             node("Concat", ["all", "none", "x"], ["y"], axis=axis)]  # fmt: skip
    check(nodes, {"x": x}, {"at": np.array([1]), "axes": np.array([axis]), "lengths": np.array([first, 3 - first])})


@pytest.mark.parametrize("axis", [0, 1])
def test_an_output_without_entries_is_refused(axis: int) -> None:
    x = floats(np.random.default_rng(0), 2, 3)
    with pytest.raises(UnsupportedModel, match="no entries"):
        check("Slice", {"x": x}, {"s": np.array([1]), "e": np.array([1]), "a": np.array([axis])})


# ---- graphs ----------------------------------------------------------------------------------------------------------


def test_shape_arithmetic_folds() -> None:
    """Reshape to a shape that an exporter computes from Shape, Gather, Unsqueeze and Concat."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "first"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["h"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Reshape", ["zeros", "target"], ["flat"]),
        helper.make_node("Add", ["h", "flat"], ["y"]),
    ]
    constants = {"zero": np.array(0, np.int64), "first": np.array([0], np.int64), "minus": np.array([-1], np.int64)}
    check(nodes, {"x": floats(np.random.default_rng(0), 2, 3, 4)}, constants)


def test_composed_layers_stay_accurate() -> None:
    """Attention over 6 tokens, composed of primitives, with a residual and normalisation."""
    rng = np.random.default_rng(5)
    d = 16
    c = {f"w{k}": floats(rng, d, d) / np.float32(math.sqrt(d)) for k in "qkv"} | {
        "scale": np.float32(1 / math.sqrt(d)), "g": np.ones(d, np.float32), "b": np.zeros(d, np.float32)}  # fmt: skip
    node = helper.make_node
    nodes = [*(node("MatMul", ["x", f"w{k}"], [k]) for k in "qkv"), node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
             node("MatMul", ["q", "kt"], ["s"]), node("Mul", ["s", "scale"], ["t"]), node("Softmax", ["t"], ["p"]),
             node("MatMul", ["p", "v"], ["o"]), node("Add", ["x", "o"], ["r"]),
             node("LayerNormalization", ["r", "g", "b"], ["y"])]  # fmt: skip
    check(nodes, {"x": floats(rng, 1, 6, d)}, c, tolerance=5e-4)


def test_pointwise_expressions_become_one_table() -> None:
    """Hard swish, SiLU and GELU as exporters write them: as many lookups as entries."""
    node, rng = helper.make_node, np.random.default_rng(4)
    hard = [node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["b"]),
            node("Mul", ["x", "b"], ["m"]), node("Div", ["m", "six"], ["y"])]  # fmt: skip
    silu = [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])]
    gelu = [node("Div", ["x", "root"], ["d"]), node("Erf", ["d"], ["e"]), node("Add", ["e", "one"], ["p"]),
            node("Mul", ["x", "p"], ["q"]), node("Mul", ["q", "half"], ["y"])]  # fmt: skip
    c = {
        k: np.float32(v)
        for k, v in {"three": 3, "zero": 0, "six": 6, "root": math.sqrt(2), "one": 1, "half": 0.5}.items()
    }
    for nodes in (hard, silu, gelu):
        done = check(nodes, {"x": floats(rng, 2, 50) * 3}, {k: v for n in nodes for k, v in c.items() if k in n.input})
        assert sum(r.lookups for r in done.rows) == 100
    both = [*silu, node("Add", ["s", "y"], ["z"])]  # an inner tensor that is read elsewhere
    check(both, {"x": floats(rng, 2, 50)}, outputs=("s", "z"))


def test_every_lowering_is_registered_once() -> None:
    assert len(operators()) >= 75
    assert len(set(operators())) == len(operators())
