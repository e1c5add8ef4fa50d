"""Kinds of tabular models that were wrong: integers, imputed and discretised features, likelihoods, quotients, kernels.

Graphs as scikit-learn's converters write them; onnxruntime has the right values.
"""

from __future__ import annotations

import warnings
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from syurmy.compiler import CompiledModel, compile_model, load
from syurmy.compiler.ops.coupling import coupled
from syurmy.isa.arrays import Array
from tests.compiler.harness import check as check_node
from tests.compiler.test_tabular import ML, SPREAD, check, model_of, node, session


def constant(name: str, x: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(x), name))


def rows(count: int, kind: str = "float32", seed: int = 0) -> Array:
    """Income, age, a rate and a year."""
    r = np.random.default_rng(seed)
    return np.asarray(SPREAD * r.lognormal(0, 0.4, (count, 4))).astype(kind)


def linear(x: Array, source: str = "x") -> onnx.NodeProto:
    w = np.array([[1.3, -0.7, 0.4, 0.2]]) / np.maximum(x.std(axis=0), 1e-6)
    names = ["label", "scores"]
    return helper.make_node(
        "LinearClassifier", [source], names, domain=ML, coefficients=[*(-w[0]), *w[0]],
        intercepts=[float(w[0] @ x.mean(axis=0)), float(-w[0] @ x.mean(axis=0))], classlabels_ints=[0, 1],
        post_transform="LOGISTIC",
    )  # fmt: skip


def test_integer_features() -> None:
    """Integers of unlike size, one of them 0 on all samples; scaled inside or not."""
    x = rows(60, "int64")
    check(model_of([linear(x)], x, ["label", "scores"]), x[:40], x)
    scaler = node("Scaler", ["s"], offset=x.mean(axis=0).tolist(), scale=(1 / np.maximum(x.std(axis=0), 1)).tolist())
    z = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1)
    check(model_of([scaler, linear(z, "s")], x, ["label", "scores"]), x[:40], x)


def test_rows_that_were_calibrated_on() -> None:
    """All of them, whichever are held out; with heavy tails."""
    x = np.asarray(SPREAD * np.random.default_rng(3).lognormal(0, 1.2, (40, 4))).astype(np.float32)
    check(model_of([linear(x)], x, ["label", "scores"]), x, x)


def test_imputed_features() -> None:
    """An Imputer between unlike features and a scaler."""
    x = rows(60)
    fill = node("Imputer", ["f"], imputed_value_floats=x.mean(axis=0).tolist(), replaced_value_float=float("nan"))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    scaler = helper.make_node("Scaler", ["f"], ["s"], domain=ML, offset=x.mean(axis=0).tolist(),
                              scale=(1 / x.std(axis=0)).tolist())  # fmt: skip
    check(model_of([fill, scaler, linear(z, "s")], x, ["label", "scores"]), x[:40], x)


def test_gaussian_likelihoods() -> None:
    """Squares over small variances, their logarithmic sum, and its exponential: alike features and unlike ones."""
    for x in (rows(60), np.random.default_rng(1).uniform(0.1, 8, (60, 4)).astype(np.float32)):
        means = np.stack([x[:20].mean(axis=0), x[20:].mean(axis=0), x[::3].mean(axis=0)])[None]
        scale = np.broadcast_to(x.var(axis=0) / 40, (1, 3, 4)).astype(np.float32)
        nodes = [
            constant("shape", np.array([-1, 1, 4])), constant("mean", means), constant("two", np.float32(2)),
            constant("var", scale), constant("axis", np.array([2])), constant("half", np.float32(-0.5)),
            constant("out", np.array([-1, 1])),
            helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("Sub", ["r", "mean"], ["d"]),
            helper.make_node("Pow", ["d", "two"], ["q"]), helper.make_node("Div", ["q", "var"], ["z"]),
            helper.make_node("ReduceSum", ["z", "axis"], ["s"], keepdims=0),
            helper.make_node("Mul", ["s", "half"], ["likely"]),
            helper.make_node("ArgMax", ["likely"], ["label"], axis=1, keepdims=0),
            helper.make_node("ReduceLogSumExp", ["likely"], ["all"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["likely", "all"], ["log"]), helper.make_node("Exp", ["log"], ["share"]),
        ]  # fmt: skip
        check(model_of(nodes, x, ["label", "share"]), x[:40], x[:40])


def test_discretised_features() -> None:
    """Thresholds that features are equal to, and a constant column that converters make of the input."""
    x = np.random.default_rng(2).integers(1, 80, (60, 1)).astype(np.float32) / 10
    nodes = [
        constant("edges", np.array([2.0, 3.5, 4.1, 6.0], np.float32)), constant("none", np.zeros(1, np.float32)),
        constant("last", np.ones(1, np.float32)), helper.make_node("Less", ["x", "edges"], ["below"]),
        helper.make_node("Cast", ["below"], ["b"], to=1), helper.make_node("Mul", ["x", "none"], ["zero"]),
        helper.make_node("Add", ["zero", "last"], ["one"]), helper.make_node("Concat", ["b", "one"], ["all"], axis=1),
        helper.make_node("ArgMax", ["all"], ["y"], axis=1),
    ]  # fmt: skip
    done = check(model_of(nodes, x, ["y"]), x[:40], x)
    assert done.inputs[0].code is not None


def test_powers_of_either_sign() -> None:
    """What is not a number for one sign, replaced, and multiplied by 0 there (Yeo-Johnson as it is converted)."""
    x = np.random.default_rng(4).uniform(-3, 3, (60, 2)).astype(np.float32)
    nodes = [
        constant("one", np.float32(1)), constant("zero", np.float32(0)), constant("a", np.float32([0.6, 1.4])),
        constant("b", np.float32([1.4, 0.6])), helper.make_node("Less", ["x", "zero"], ["below"]),
        helper.make_node("Cast", ["below"], ["low"], to=1), helper.make_node("Not", ["below"], ["above"]),
        helper.make_node("Cast", ["above"], ["high"], to=1), helper.make_node("Add", ["x", "one"], ["up"]),
        helper.make_node("Sub", ["one", "x"], ["down"]), helper.make_node("Pow", ["up", "a"], ["p"]),
        helper.make_node("Pow", ["down", "b"], ["q"]),
        *(helper.make_node("Imputer", [k], [f"{k}0"], domain=ML, imputed_value_floats=[0.0],
                           replaced_value_float=float("nan")) for k in "pq"),
        helper.make_node("Mul", ["p0", "high"], ["ph"]), helper.make_node("Mul", ["q0", "low"], ["ql"]),
        helper.make_node("Sub", ["ph", "ql"], ["y"]),
    ]  # fmt: skip
    check(model_of(nodes, x, ["y"]), x, x)


def test_quotients_of_unlike_divisors() -> None:
    """Divisors over three orders of magnitude, of both signs: as exact as they enter (0.2 % of the least)."""
    r = np.random.default_rng(5)
    b = (10.0 ** r.uniform(-1, 2, (1, 64)) * r.choice([-1, 1], (1, 64))).astype(np.float32)
    a = (b * r.uniform(-2, 2, (1, 64))).astype(np.float32)
    check_node("Div", {"a": a, "b": b}, order=["a", "b"], tolerance=2e-3)


def test_labels_of_a_few_wide_scores() -> None:
    """The sign of scores that are small beside the largest."""
    x = (10.0 ** np.linspace(-4, 1, 32) * np.where(np.arange(32) % 2, 1, -1))[None].astype(np.float32)
    check_node("Sign", {"x": x})


def test_order_of_wide_distances() -> None:
    """Sums of squares of differences with all their bits are put in order."""
    x = np.random.default_rng(6).uniform(0, 1e4, (1, 40, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["q"]),
        helper.make_node("ReduceSum", ["q", "axis"], ["d"], keepdims=0),
        helper.make_node("TopK", ["d", "k"], ["y", "at"], largest=0),
    ]
    constants = {"axis": np.array([2]), "k": np.array([5])}
    check_node(nodes, {"x": x}, constants, outputs=["y", "at"], options={"tolerance": 0.0})


def test_a_softmax_of_many_classes() -> None:
    """What rounds to 0 of thousands of shares adds up."""
    x = np.random.default_rng(7).standard_normal((2, 6625)).astype(np.float32)
    x[:, 17] += 10
    done = check_node("Softmax", {"x": x}, axis=-1, tolerance=4e-4)
    assert done.fine


# ---- kernels ---------------------------------------------------------------------------------------------------------


def machine(x: Array, y: Array, **attrs: Any) -> onnx.NodeProto:
    count = len(x) // 2
    return node("SVMClassifier", ["label", "scores"], classlabels_ints=[0, 1], kernel_type="RBF", rho=[0.1],
                kernel_params=[0.4, 0.0, 3.0], support_vectors=x.reshape(-1).tolist(), coefficients=y.tolist(),
                vectors_per_class=[count, len(x) - count], post_transform="NONE", **attrs)  # fmt: skip


def test_probabilities_of_two_classes() -> None:
    """onnxruntime goes on from the sigmoid by an iteration that ends 2.5e-3 away."""
    r = np.random.default_rng(8)
    vectors = r.standard_normal((12, 3)).astype(np.float32)
    coefficients = np.where(np.arange(12) < 6, 1, -1) * r.uniform(0.2, 1, 12)
    x = r.standard_normal((60, 3)).astype(np.float32)
    model = model_of([machine(vectors, coefficients, prob_a=[-2.3], prob_b=[0.2])], x, ["label", "scores"])
    check(model, x[:40], x)


def test_coupled() -> None:
    """The table's function beside onnxruntime, over all of the sigmoid."""
    x = np.linspace(-4, 4, 400, dtype=np.float32)[:, None]
    svm = node("SVMClassifier", ["label", "scores"], classlabels_ints=[0, 1], kernel_type="LINEAR", rho=[0.0],
               kernel_params=[0.0, 0.0, 3.0], support_vectors=[1.0, 0.0], coefficients=[1.0, 0.0],
               vectors_per_class=[1, 1], prob_a=[-2.0], prob_b=[0.3], post_transform="NONE")  # fmt: skip
    _, expected = session(model_of([svm], x, ["label", "scores"])).run(None, {"x": x})
    sigmoid = 1 / (1 + np.exp(-2.0 * x[:, 0].astype(np.float64) + 0.3))
    assert np.quantile(np.abs(coupled(sigmoid[:, None], 2)[0] - expected), 0.98) < 1e-5
    assert np.abs(sigmoid - expected[:, 0]).max() > 1e-3


def test_probabilities_of_several_classes() -> None:
    """Pairs are coupled by as many steps as onnxruntime takes; three classes and four, either kernel."""
    r = np.random.default_rng(9)
    for classes, kind in ((3, "RBF"), (4, "LINEAR")):
        pairs = classes * (classes - 1) // 2
        centres = r.standard_normal((classes, 3)) * 1.5
        vectors = np.concatenate([centres[k] + r.standard_normal((4, 3)) * 0.5 for k in range(classes)])
        vectors = vectors.astype(np.float32)
        rows = []  # entry [j - 1] of class i: its part in the pair with j
        for k in range(classes):
            signs = [1.0 if j >= k else -1.0 for j in range(classes - 1)]
            rows.append(np.repeat(np.array(signs)[:, None], 4, axis=1) * r.uniform(0.2, 0.6, (classes - 1, 4)))
        x = (centres[r.integers(0, classes, 60)] + r.standard_normal((60, 3)) * 0.7).astype(np.float32)
        svm = node("SVMClassifier", ["label", "scores"], classlabels_ints=list(range(classes)), kernel_type=kind,
                   rho=(r.uniform(-0.2, 0.2, pairs)).tolist(), kernel_params=[0.4, 0.0, 3.0],
                   support_vectors=vectors.reshape(-1).tolist(), coefficients=np.hstack(rows).reshape(-1).tolist(),
                   vectors_per_class=[4] * classes, post_transform="NONE",
                   prob_a=[-2.1, -1.7, -2.4, -1.5, -1.9, -2.2][:pairs],
                   prob_b=[0.1, -0.3, 0.2, 0.0, -0.1, 0.3][:pairs])  # fmt: skip
        check(model_of([svm], x, ["label", "scores"]), x[:40], x, tolerance=2.5e-3)


def test_coupled_classes() -> None:
    """The reference of the machine's steps beside onnxruntime, where its end is certain."""
    r = np.random.default_rng(10)
    x = r.standard_normal((200, 3)).astype(np.float32)
    svm = node("SVMClassifier", ["label", "scores"], classlabels_ints=[0, 1, 2], kernel_type="LINEAR",
               rho=[0.0, 0.0, 0.0], kernel_params=[0.0, 0.0, 3.0], support_vectors=np.eye(3).reshape(-1).tolist(),
               coefficients=[1.0, -1.0, 0.5, 0.7, -0.4, -1.0], vectors_per_class=[1, 1, 1], prob_a=[-2.0, -1.5, -3.0],
               prob_b=[0.3, 0.0, -0.2], post_transform="NONE")  # fmt: skip
    _, expected = session(model_of([svm], x, ["label", "scores"])).run(None, {"x": x})
    scores = x @ np.array([[1.0, 0.7, 0.0], [-1.0, 0.0, -0.4], [0.0, 0.5, -1.0]])
    a, b = np.array([-2.0, -1.5, -3.0]), np.array([0.3, 0.0, -0.2])
    found, rounds = coupled(1 / (1 + np.exp(a * scores + b)), 3)
    assert rounds.max() >= 2
    assert np.quantile(np.abs(found - expected), 0.98) < 1e-5


def told(done: CompiledModel, row: Array) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done.run({"x": row})
    return [str(w.message) for w in caught]


def test_what_is_decided_by_too_little_is_told(tmp_path: Path) -> None:
    """Scores nearer than the program is off: the label may be another one, and a run says so; from the folder too."""
    x = rows(60)
    model = model_of([linear(x)], x, ["label", "scores"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(load.prepare(model), tmp_path / "m", calibrate={"x": x[:40, None]})
    assert done.decisions
    near = x.mean(axis=0)[None].astype(np.float32)  # where both scores are 0
    assert any("decide otherwise: LinearClassifier" in text for text in told(done, near))
    assert any("decide otherwise" in text for text in told(CompiledModel.read(tmp_path / "m"), near))
    scores = np.abs(session(model).run(None, {"x": x})[1][:, 1] - 0.5)
    assert not told(done, x[int(scores.argmax())][None])


def transformed(powers: Array, yeo: bool) -> list[onnx.NodeProto]:
    """Box-Cox, or Yeo-Johnson, as the converter writes them; a power near 0 among the columns."""
    one = np.ones((), np.float32)
    nodes = [constant("one", one), constant("e", powers), constant("zero", np.float32(0))]
    if not yeo:
        return [*nodes, helper.make_node("Pow", ["x", "e"], ["p"]), helper.make_node("Sub", ["p", "one"], ["d"]),
                helper.make_node("Div", ["d", "e"], ["y"])]  # fmt: skip
    return [
        *nodes, constant("f", (2 - powers).astype(np.float32)), helper.make_node("Less", ["x", "zero"], ["below"]),
        helper.make_node("Cast", ["below"], ["low"], to=1), helper.make_node("Not", ["below"], ["above"]),
        helper.make_node("Cast", ["above"], ["high"], to=1), helper.make_node("Add", ["x", "one"], ["up"]),
        helper.make_node("Sub", ["one", "x"], ["down"]), helper.make_node("Pow", ["up", "e"], ["p"]),
        helper.make_node("Pow", ["down", "f"], ["q"]), helper.make_node("Sub", ["p", "one"], ["pd"]),
        helper.make_node("Sub", ["one", "q"], ["qd"]), helper.make_node("Div", ["pd", "e"], ["pe"]),
        helper.make_node("Div", ["qd", "f"], ["qe"]),
        *(helper.make_node("Imputer", [k], [f"{k}0"], domain=ML, imputed_value_floats=[0.0],
                           replaced_value_float=float("nan")) for k in ("pe", "qe")),
        helper.make_node("Mul", ["pe0", "high"], ["a"]), helper.make_node("Mul", ["qe0", "low"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]  # fmt: skip


def test_power_transforms_of_unlike_columns() -> None:
    """Log-normal columns of unlike size, each with a power of its own, and functions of such columns."""
    x = np.asarray(SPREAD * np.random.default_rng(11).lognormal(0, 0.5, (60, 4))).astype(np.float32)
    powers = np.array([0.03, -0.8, 0.2, -0.1], np.float32)
    for yeo in (False, True):
        model = model_of(transformed(powers, yeo), x, ["y"])
        y = session(model).run(None, {"x": x})[0]
        scaler = helper.make_node("Scaler", ["y"], ["z"], domain=ML, offset=y.mean(axis=0).tolist(),
                                  scale=(1 / y.std(axis=0)).tolist())  # fmt: skip
        check(model_of([*transformed(powers, yeo), scaler], x, ["z"]), x, x)


def test_functions_of_unlike_columns() -> None:
    """A logarithm, a root and a bounded function, column by column."""
    x = np.asarray(SPREAD * np.random.default_rng(12).lognormal(0, 0.5, (60, 4))).astype(np.float32)
    for op in ("Log", "Sqrt", "Tanh"):
        z = session(model_of([helper.make_node(op, ["x"], ["z"])], x, ["z"])).run(None, {"x": x})[0]
        scaler = helper.make_node("Scaler", ["z"], ["y"], domain=ML, offset=z.mean(axis=0).tolist(),
                                  scale=(1 / np.maximum(z.std(axis=0), 1e-3)).tolist())  # fmt: skip
        check(model_of([helper.make_node(op, ["x"], ["z"]), scaler], x, ["y"]), x, x)


def test_networks_on_unlike_columns() -> None:
    """A batch normalisation, or a logarithm of one more, before a matrix product."""
    r = np.random.default_rng(13)
    x = np.asarray(SPREAD * r.lognormal(0, 0.5, (60, 4))).astype(np.float32)
    w = constant("w", r.standard_normal((4, 3)).astype(np.float32))
    columns = {"g": np.ones(4), "b": np.full(4, 0.1), "m": x.mean(axis=0), "v": x.var(axis=0)}
    norm = [*(constant(k, v.astype(np.float32)) for k, v in columns.items()),
            helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["z"])]  # fmt: skip
    log = [constant("one", np.float32(1)), helper.make_node("Add", ["x", "one"], ["a"]),
           helper.make_node("Log", ["a"], ["z"])]  # fmt: skip
    for nodes in (norm, log):
        check(model_of([w, *nodes, helper.make_node("MatMul", ["z", "w"], ["y"])], x, ["y"]), x, x)


def test_products_of_features_that_are_standardised(tmp_path: Path) -> None:
    """Polynomial features of the third degree as they are converted, and a regression on them whose terms cancel."""
    r = np.random.default_rng(21)
    x = r.standard_normal((60, 4)).astype(np.float32)
    powers = [at for degree in (1, 2, 3) for at in combinations_with_replacement(range(4), degree)]
    nodes = []
    for j, at in enumerate(powers):
        taken = helper.make_node("ArrayFeatureExtractor", ["x", f"at{j}"], [f"f{j}"], domain=ML)
        product = helper.make_node("ReduceProd", [f"f{j}"], [f"p{j}"], axes=[1], keepdims=1)
        nodes += [constant(f"at{j}", np.array(at)), taken, product]
    values = np.stack([np.prod(x[:, at], axis=1, dtype=np.float64) for at in powers], axis=1)
    deviation = values.std(axis=0)
    cancelling = np.linalg.svd((values - values.mean(axis=0)) / deviation)[2][-1] * 400
    nodes += [
        helper.make_node("Concat", [f"p{j}" for j in range(len(powers))], ["all"], axis=1),
        helper.make_node("Scaler", ["all"], ["s"], domain=ML, offset=values.mean(axis=0).tolist(),
                         scale=(1 / deviation).tolist()),
        helper.make_node("LinearRegressor", ["s"], ["y"], domain=ML, intercepts=[150.0],
                         coefficients=cancelling.tolist()),
    ]  # fmt: skip
    model = load.prepare(model_of(nodes, x, ["y"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_model(model, tmp_path / "m", calibrate={"x": x[:, None]}, tolerance=1e-7)
    assert done.missed is not None
    assert "no finer program" not in done.missed.help  # all are tried
    assert done.missed.error < 5e-5


def test_features_beside_products_of_them() -> None:
    """Components of raw features (sums of many bits) and standardised ones, in one row for a classifier."""
    r = np.random.default_rng(22)
    x = rows(60)
    w = (r.standard_normal((4, 2)) / 40).astype(np.float32)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    size = float(np.abs((x - mean) @ w).max())
    coefficients = np.concatenate([r.standard_normal(2) / size * 4, r.standard_normal(4)])
    nodes = [
        constant("m", mean), constant("w", w), helper.make_node("Sub", ["x", "m"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["c"]),
        node("Scaler", ["s"], offset=mean.tolist(), scale=(1 / deviation).tolist()),
        helper.make_node("Concat", ["c", "s"], ["all"], axis=1),
        helper.make_node("LinearClassifier", ["all"], ["label", "scores"], domain=ML, classlabels_ints=[0, 1],
                         coefficients=[*(-coefficients), *coefficients], intercepts=[0.0, 0.0],
                         post_transform="SOFTMAX"),
    ]  # fmt: skip
    check(model_of(nodes, x, ["label", "scores"]), x[:40], x)


def test_quotients_of_columns_of_unlike_size() -> None:
    """Ratios of raw features, each in a unit of its own; they were 2 % off, which was told."""
    r = np.random.default_rng(23)
    x = (r.lognormal(0, 1, (90, 6)) * [1e4, 1, 100, 1e3, 0.1, -50]).astype(np.float32)
    split = helper.make_node("Split", ["x"], ["a", "b"], axis=1)
    weights = constant("w", (r.standard_normal((3, 1)) / [[10], [10], [-2]]).astype(np.float32))
    ratios = [split, helper.make_node("Div", ["a", "b"], ["q"])]
    product = helper.make_node("MatMul", ["q", "w"], ["y"])
    inner = np.sort(np.abs(x), axis=0)[[4, -5]]
    rows = x[((np.abs(x) > inner[0]) & (np.abs(x) < inner[1])).all(axis=1)]  # none beyond the samples
    check(model_of([weights, *ratios, product], x, ["y"]), x, rows)
    log = [helper.make_node("Abs", ["q"], ["p"]), helper.make_node("Log", ["p"], ["y"])]
    check(model_of([*ratios, *log], x, ["y"]), x, rows)
