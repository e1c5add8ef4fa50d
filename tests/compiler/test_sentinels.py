"""Sentinels in the forms and constants that exporters write: masks that are inputs, padded either way, and maxima."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from syurmy.compiler import compile_model, load
from syurmy.isa.arrays import Array
from tests.compiler.harness import check, floats, helper, model_of

node = helper.make_node
SMALLEST = float(np.finfo(np.float32).min)
SENTINELS = [-1e4, -65504.0, -1e9, SMALLEST, -np.inf]
N = 6
LENGTHS = [3, 6, 1]
RIGHT = np.arange(N) < np.array(LENGTHS)[:, None]  # [batch, N]
LEFT = RIGHT[:, ::-1]
CAUSAL = np.tril(np.ones((N, N), bool))


def scores(seed: int, scale: float = 3) -> Array:
    return floats(np.random.default_rng(seed), len(LENGTHS), 2, N, N) * np.float32(scale)


def scalar(x: float) -> Array:
    return np.array(x, np.float32)


@pytest.mark.parametrize("far", SENTINELS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("form", ["where", "added where", "complement times", "log"])
def test_a_padding_mask_that_is_an_input(form: str, side: str, far: float) -> None:
    if form == "log" and far != -np.inf:
        pytest.skip("a logarithm has one sentinel")
    if form == "complement times" and far == -np.inf:
        pytest.skip("0 times infinity is NaN")
    mask = (RIGHT if side == "right" else LEFT).astype(np.int64)
    constants = {"c": scalar(far), "zero": scalar(0), "one": scalar(1), "axes": np.array([1, 2])}
    nodes = [node("Unsqueeze", ["m", "axes"], ["u"])]
    if form in ("where", "added where"):
        nodes.append(node("Cast", ["u"], ["b"], to=TensorProto.BOOL))
        nodes += (
            [node("Where", ["b", "x", "c"], ["s"])]
            if form == "where"
            else [node("Where", ["b", "zero", "c"], ["a"]), node("Add", ["a", "x"], ["s"])]
        )
    else:
        nodes.append(node("Cast", ["u"], ["f"], to=TensorProto.FLOAT))
        nodes += (
            [node("Log", ["f"], ["a"])]
            if form == "log"
            else [node("Sub", ["one", "f"], ["t"]), node("Mul", ["t", "c"], ["a"])]
        )
        nodes.append(node("Add", ["x", "a"], ["s"]))
    check([*nodes, node("Softmax", ["s"], ["y"])], {"x": scores(1), "m": mask}, constants, runtime=True)


@pytest.mark.parametrize(("far", "side"), list(itertools.product(SENTINELS[:-1], ["left", "right"])))
@pytest.mark.parametrize("form", ["sum and max", "min", "and", "where of where"])
def test_a_causal_mask_joins_a_padding_mask(form: str, side: str, far: float) -> None:
    """Left padding leaves rows that see nothing: the float model shares them among the least hidden entries."""
    mask = (RIGHT if side == "right" else LEFT)[:, None, None, :]
    constants = {
        "c": scalar(far),
        "zero": scalar(0),
        "causal": np.where(CAUSAL, np.float32(0), np.float32(far)),
        "k": CAUSAL,
    }
    if form == "and":
        nodes = [node("And", ["m", "k"], ["b"]), node("Where", ["b", "x", "c"], ["s"])]
    elif form == "where of where":
        nodes = [node("Where", ["k", "x", "c"], ["w"]), node("Where", ["m", "w", "c"], ["s"])]
    else:
        nodes = [node("Where", ["m", "zero", "c"], ["p"])]
        nodes += (
            [node("Add", ["p", "causal"], ["q"]), node("Max", ["q", "c"], ["a"])]
            if form == "sum and max"
            else [node("Min", ["p", "causal"], ["a"])]
        )
        nodes.append(node("Add", ["x", "a"], ["s"]))
    loose = 1e-3 if far == -65504 else 2e-4  # the float model's sums of -65504 have a unit of 2^-8
    check(
        [*nodes, node("Softmax", ["s"], ["y"])], {"x": scores(2), "m": mask}, constants, runtime=True, tolerance=loose
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_where_for_the_causal_mask_and_a_sum_for_the_padding(side: str) -> None:
    mask = (RIGHT if side == "right" else LEFT)[:, None, None, :].astype(np.float32)
    constants = {"c": scalar(-1e4), "one": scalar(1), "k": CAUSAL}
    nodes = [
        node("Where", ["k", "x", "c"], ["w"]),
        node("Sub", ["one", "m"], ["t"]),
        node("Mul", ["t", "c"], ["p"]),
        node("Add", ["w", "p"], ["s"]),
        node("Softmax", ["s"], ["y"]),
    ]
    check(nodes, {"x": scores(3), "m": mask}, constants, runtime=True, tolerance=1e-3)  # sums of -1e4 are rounded


def test_rows_whose_visible_entries_are_all_padding() -> None:
    """Under a deep causal mask and a shallow one for padding, what is left is shared by value."""
    mask = LEFT[:, None, None, :].astype(np.float32)
    for deep in (SMALLEST, -np.inf, -1e9):
        constants = {"c": scalar(deep), "d": scalar(-1e4), "one": scalar(1), "k": CAUSAL}
        nodes = [
            node("Where", ["k", "x", "c"], ["w"]),
            node("Sub", ["one", "m"], ["t"]),
            node("Mul", ["t", "d"], ["p"]),
            node("Add", ["w", "p"], ["s"]),
            node("Softmax", ["s"], ["y"]),
        ]
        check(nodes, {"x": scores(12), "m": mask}, constants, runtime=True, tolerance=1e-3)


@pytest.mark.parametrize("far", SENTINELS[:-1])
def test_an_additive_mask_that_is_an_input(far: float) -> None:
    mask = np.where(RIGHT, np.float32(0), np.float32(far))[:, None, None, :]
    check(
        [node("Add", ["x", "m"], ["s"]), node("Softmax", ["s"], ["y"])],
        {"x": scores(4), "m": mask},
        runtime=True,
    )


def test_infinity_behind_a_guard() -> None:
    """Rows that see nothing are NaN, and 0 behind the guard."""
    mask = LEFT[:, None, None, :]
    constants = {"c": scalar(-np.inf), "zero": scalar(0), "k": CAUSAL}
    nodes = [
        node("And", ["m", "k"], ["b"]),
        node("Where", ["b", "zero", "c"], ["a"]),
        node("Add", ["x", "a"], ["s"]),
        node("Softmax", ["s"], ["p"]),
        node("IsNaN", ["p"], ["n"]),
        node("Where", ["n", "zero", "p"], ["y"]),
    ]
    check(nodes, {"x": scores(5), "m": mask}, constants, runtime=True)


def test_a_line_that_infinity_hides_is_told() -> None:
    """The float model has NaN there, and a proof would be of numbers."""
    x, mask = floats(np.random.default_rng(4), 8, 1, N), np.ones((8, 1, N), bool)
    mask[::2, :, 3:] = False
    nodes = [node("Where", ["m", "x", "c"], ["s"]), node("Softmax", ["s"], ["y"])]
    model = load.prepare(model_of(nodes, {"x": x[0], "m": mask[0]}, ["y"], {"c": scalar(-np.inf)}))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(model, Path(folder) / "m", calibrate={"x": x, "m": mask})
        assert not done.run({"x": x[1], "m": mask[0]}).saturated
        assert done.run({"x": x[1], "m": mask[0] & False}).saturated


@pytest.mark.parametrize("move", ["GatherND", "Slice", "Expand", "Concat", "Reshape", "scaled"])
def test_masks_that_move(move: str) -> None:
    mask = RIGHT[:, None, None, :]
    constants: dict[str, Array] = {"c": scalar(SMALLEST), "zero": scalar(0)}
    nodes = [node("Where", ["m", "zero", "c"], ["a"])]
    batch = len(LENGTHS)
    if move == "GatherND":
        constants["i"] = np.array([[[[[b, 0, 0, j] for j in range(N)]]] for b in range(batch)])
        nodes.append(node("GatherND", ["a", "i"], ["g"]))
    elif move == "Slice":
        constants |= {"from": np.array([0]), "to": np.array([N]), "axis": np.array([3])}
        nodes.append(node("Slice", ["a", "from", "to", "axis"], ["g"]))
    elif move == "Expand":
        constants["shape"] = np.array([batch, 1, N, N])
        nodes.append(node("Expand", ["a", "shape"], ["g"]))
    elif move == "Concat":
        constants |= {"h": np.array([N // 2, N // 2])}
        nodes += [node("Split", ["m", "h"], ["m0", "m1"], axis=3)]
        nodes[0] = node("Where", ["m0", "zero", "c"], ["a0"])
        nodes = [
            nodes[1],
            nodes[0],
            node("Where", ["m1", "zero", "c"], ["a1"]),
            node("Concat", ["a0", "a1"], ["g"], axis=3),
        ]
    elif move == "Reshape":
        constants |= {"flat": np.array([batch, N]), "full": np.array([batch, 1, 1, N])}
        nodes += [node("Reshape", ["a", "flat"], ["f"]), node("Reshape", ["f", "full"], ["g"])]
    else:
        constants["half"] = scalar(0.5)
        nodes.append(node("Mul", ["a", "half"], ["g"]))
    nodes += [node("Add", ["x", "g"], ["s"]), node("Softmax", ["s"], ["y"])]
    check(nodes, {"x": scores(6), "m": mask}, constants, runtime=True)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_along_any_axis(axis: int) -> None:
    rng = np.random.default_rng(7)
    mask = rng.random((len(LENGTHS), 2, N, N)) < 0.7
    constants = {"c": scalar(-1e9)}
    nodes = [node("Where", ["m", "x", "c"], ["s"]), node("Softmax", ["s"], ["y"], axis=axis)]
    check(nodes, {"x": scores(8), "m": mask}, constants, runtime=True)


@pytest.mark.parametrize("far", [-1e4, -1e9, SMALLEST, -np.inf])
def test_padding_before_a_maximum(far: float) -> None:
    rng = np.random.default_rng(9)
    x = floats(rng, 1, 3, 6, 6) - np.float32(40)
    constants = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": scalar(far)}
    nodes = [node("Pad", ["x", "pads", "v"], ["p"]), node("MaxPool", ["p"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    check(nodes, {"x": x}, constants, runtime=True)


@pytest.mark.parametrize("far", [-1e4, SMALLEST, -np.inf])
@pytest.mark.parametrize("op", ["ArgMax", "ReduceMax", "TopK"])
def test_the_largest_of_what_is_allowed(op: str, far: float) -> None:
    """Moves that are not allowed, words that must not come."""
    rng = np.random.default_rng(10)
    x = floats(rng, 4, 9)
    allowed = rng.random((4, 9)) < 0.5
    allowed[:, 0] = True
    constants: dict[str, Array] = {"c": scalar(far)}
    nodes = [node("Where", ["m", "x", "c"], ["s"])]
    if op == "TopK":
        constants["k"] = np.array([1])
        nodes.append(node("TopK", ["s", "k"], ["y", "i"]))
        check(nodes, {"x": x, "m": allowed}, constants, runtime=True, outputs=("y", "i"))
    else:
        attrs = {"axis": 1} if op == "ArgMax" else {}
        if op == "ReduceMax":
            constants["axes"] = np.array([1])
        nodes.append(node(op, ["s", *(["axes"] if op == "ReduceMax" else [])], ["y"], **attrs))
        check(nodes, {"x": x, "m": allowed}, constants, runtime=True)


def test_large_values_are_not_sentinels() -> None:
    """Weights of thousands beside scores of thousands, and of different sizes."""
    rng = np.random.default_rng(11)
    x = floats(rng, 4, 5) * np.float32(800)
    constants = {"b": np.array([-1500, -2500, 900, -1100, 0], np.float32)}
    nodes = [node("Add", ["x", "b"], ["s"]), node("ArgMax", ["s"], ["y"], axis=1)]
    check(nodes, {"x": x}, constants, runtime=True)


@pytest.mark.parametrize("far", [-1e4, -1e9, SMALLEST])
@pytest.mark.parametrize("form", ["clip", "clip without top", "max"])
def test_scores_cut_off_behind_the_mask(form: str, far: float) -> None:
    """OPT takes the largest of its masked scores and the smallest float; others clip on both sides."""
    mask = RIGHT.astype(np.int64)
    constants = {"c": scalar(far), "one": scalar(1), "axes": np.array([1, 2]), "low": scalar(-1e6), "top": scalar(4)}
    nodes = [
        node("Unsqueeze", ["m", "axes"], ["u"]), node("Cast", ["u"], ["f"], to=TensorProto.FLOAT),
        node("Sub", ["one", "f"], ["t"]), node("Mul", ["t", "c"], ["a"]), node("Add", ["a", "x"], ["s"]),
        node("Max", ["s", "low"], ["k"]) if form == "max" else
        node("Clip", ["s", "low", "top"] if form == "clip" else ["s", "low"], ["k"]),
        node("Softmax", ["k"], ["y"], axis=-1),
    ]  # fmt: skip
    check(nodes, {"x": scores(7), "m": mask}, constants)


@pytest.mark.parametrize("far", [1e4, 1e9, np.inf])
@pytest.mark.parametrize("op", ["ArgMin", "ReduceMin", "TopK", "Neg"])
def test_the_least_of_what_is_allowed(op: str, far: float) -> None:
    """Sentinels far above, also where something else reads them."""
    rng = np.random.default_rng(11)
    x, allowed = floats(rng, 3, 8), rng.random((3, 8)) < 0.5
    allowed[:, :2] = True
    nodes = [node("Where", ["b", "x", "c"], ["w"]), node("Where", ["b", "w", "zero"], ["kept"])]
    constants, outputs = {"c": scalar(far), "zero": scalar(0)}, ["y", "kept"]
    if op == "TopK":
        constants["k"] = np.array([2])
        nodes.append(node("TopK", ["w", "k"], ["y", "at"], largest=0))
        outputs = ["y", "at", "kept"]
    elif op == "Neg":
        nodes += [node("Neg", ["w"], ["n"]), node("Softmax", ["n"], ["y"], axis=-1)]
    elif op == "ArgMin":
        nodes.append(node("ArgMin", ["w"], ["y"], axis=-1))
    else:
        constants["axes"] = np.array([-1])
        nodes.append(node("ReduceMin", ["w", "axes"], ["y"]))
    check(nodes, {"x": x, "b": allowed}, constants, outputs=outputs, tolerance=4e-4)


def test_hidden_entries_are_no_error_of_what_chooses() -> None:
    """What is decided far from the sentinels is not told."""
    rng = np.random.default_rng(12)
    x, allowed = floats(rng, 16, 1, 12), rng.random((16, 1, 12)) < 0.6
    allowed[..., :3] = True
    nodes = [node("Where", ["b", "x", "c"], ["w"]), node("TopK", ["w", "k"], ["y", "at"])]
    constants = {"c": scalar(-1e30), "k": np.array([3])}
    model = model_of(nodes, {"x": x[0], "b": allowed[0]}, ["y", "at"], constants)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), Path(folder) / "made", calibrate={"x": x, "b": allowed})
        assert max(d.units for d in done.decisions) <= 4
        assert not done.run({"x": x[0], "b": allowed[0]}).warnings


@pytest.mark.parametrize("far", [-1e9, -np.inf])
@pytest.mark.parametrize("move", ["Concat", "Reshape", "Slice", "Gather", "Pad", "Transpose"])
def test_a_mask_that_was_added_moves_with_the_scores(move: str, far: float) -> None:
    """It has one line for all heads, and what moves has one for each: a column for nothing beside the keys, heads that
    are joined to rows, some of the heads. That stopped with a ValueError."""
    x, mask = scores(6), RIGHT.astype(np.int64)
    heads = int(far > -np.inf)  # one that sees nothing is NaN
    constants = {"c": scalar(far), "zero": scalar(0), "axes": np.array([1, 2]), "null": scores(1)[..., :1],
                 "rows": np.array([3, 2 * N, N]), "start": np.array([1]), "end": np.array([2]), "one": np.array([1]),
                 "pads": np.array([0, 0, 0, 0, 0, heads, 0, 2])}  # fmt: skip
    nodes = [node("Unsqueeze", ["m", "axes"], ["u"]), node("Cast", ["u"], ["b"], to=TensorProto.BOOL),
             node("Where", ["b", "zero", "c"], ["a"]), node("Add", ["x", "a"], ["s"])]  # fmt: skip
    nodes += {
        "Concat": [node("Concat", ["s", "null"], ["t"], axis=-1)],
        "Reshape": [node("Reshape", ["s", "rows"], ["t"])],
        "Slice": [node("Slice", ["s", "start", "end", "one"], ["t"])],
        "Gather": [node("Gather", ["s", "start"], ["t"], axis=1)],
        "Pad": [node("Pad", ["s", "pads", "c"], ["t"])],
        "Transpose": [node("Transpose", ["s"], ["s0"], perm=[0, 2, 1, 3]), node("Reshape", ["s0", "rows"], ["t"])],
    }[move]
    used = {i for n in nodes for i in n.input}
    constants = {k: v for k, v in constants.items() if k in used}
    check([*nodes, node("Softmax", ["t"], ["y"], axis=-1)], {"x": x, "m": mask}, constants)
