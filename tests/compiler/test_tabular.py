"""Models of ai.onnx.ml, node by node and as converters write them: labels equal onnxruntime's on every row."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import syurmy
from syurmy.compiler import CompiledModel, UnsupportedModel, load
from syurmy.compiler.questions import Steps
from syurmy.isa.arrays import Array
from tests.compiler.harness import compiled, outputs_of

ML = "ai.onnx.ml"
SPREAD = np.array([45000.0, 38.0, 0.02, 2000.0])  # what income, age, a rate and a year are like


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def model_of(
    nodes: Sequence[onnx.NodeProto], x: Array, outputs: Sequence[str], version: int = 3, default: bool = True
) -> onnx.ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        list(nodes),
        "case",
        [helper.make_tensor_value_info("x", kind, [None, *x.shape[1:]])],
        [onnx.ValueInfoProto(name=o) for o in outputs],
    )
    imports = [helper.make_opsetid(ML, version), *([helper.make_opsetid("", 17)] if default else [])]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    for o, y in zip(outputs, session(model).run(None, {"x": x[:1]}), strict=True):
        value = next(v for v in model.graph.output if v.name == o)
        value.CopyFrom(helper.make_tensor_value_info(o, helper.np_dtype_to_tensor_dtype(y.dtype), [None, *y.shape[1:]]))
    return model


def node(op: str, outputs: Sequence[str] = ("y",), **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, ["x"], list(outputs), domain=ML, **attrs)


def check(model: onnx.ModelProto, x: Array, rows: Array, tolerance: float = 1e-3) -> CompiledModel:
    """Compiles for one row, calibrated on ``x``; every row of ``rows`` as onnxruntime has it."""
    run = session(model)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = compile_on(model, x, Path(folder))
    expected: dict[str, list[Array]] = {o.name: [] for o in run.get_outputs()}
    found: dict[str, list[Array]] = {o: [] for o in expected}
    for row in rows:
        for name, e in zip(expected, run.run(None, {"x": row[None]}), strict=True):
            expected[name].append(np.array([list(m.values()) for m in e]) if isinstance(e, list) else e)
        for name, y in outputs_of(done, {"x": row[None]}).items():
            found[name].append(y)
    for p in done.outputs:
        e, y = np.stack(expected[p.model_name]), np.stack(found[p.model_name])
        assert y.shape == e.shape
        if e.dtype.kind == "f":
            span = float(np.ptp(e)) or float(np.abs(e).max()) or 1.0
            assert np.abs(y - e).max() <= tolerance * span, p.model_name
        elif e.dtype.kind in "OU":
            np.testing.assert_array_equal(np.array(p.labels)[y], e)
        else:
            np.testing.assert_array_equal(y, e)
    return done


def compile_on(model: onnx.ModelProto, x: Array, folder: Path) -> CompiledModel:
    from syurmy.compiler import compile_model

    return compile_model(load.prepare(model), folder, calibrate={"x": x[:, None]})


def floats_of(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def features(rng: np.random.Generator, rows: int, spread: Array = SPREAD) -> Array:
    return (rng.standard_normal((rows, len(spread))) * spread).astype(np.float32)


# ---- trees -----------------------------------------------------------------------------------------------------------


def tree(rng: np.random.Generator, modes: Sequence[str], width: int, depth: int, x: Array) -> dict[str, list[Any]]:
    """Node attributes of a random full tree whose thresholds are entries of x."""
    count = 2 ** (depth + 1) - 1
    inner = 2**depth - 1
    feature = rng.integers(0, width, count)
    return {
        "nodes_nodeids": list(range(count)),
        "nodes_featureids": feature.tolist(),
        "nodes_modes": [str(rng.choice(modes)) if k < inner else "LEAF" for k in range(count)],
        "nodes_values": [float(x[rng.integers(len(x)), f]) if k < inner else 0.0 for k, f in enumerate(feature)],
        "nodes_truenodeids": [2 * k + 1 if k < inner else 0 for k in range(count)],
        "nodes_falsenodeids": [2 * k + 2 if k < inner else 0 for k in range(count)],
        "nodes_missing_value_tracks_true": rng.integers(0, 2, count).tolist(),
    }


def ensemble(rng: np.random.Generator, trees: int, modes: Sequence[str], x: Array, depth: int = 3) -> dict[str, Any]:
    joined: dict[str, Any] = {"nodes_treeids": []}
    for t in range(trees):
        one = tree(rng, modes, x.shape[1], depth, x)
        joined["nodes_treeids"] += [t] * len(one["nodes_nodeids"])
        for k, v in one.items():
            joined.setdefault(k, []).extend(v)
    return joined


def leaves(attrs: Mapping[str, Any]) -> list[tuple[int, int]]:
    found = zip(attrs["nodes_treeids"], attrs["nodes_nodeids"], attrs["nodes_modes"], strict=True)
    return [(t, n) for t, n, m in found if m == "LEAF"]


def with_weights(attrs: dict[str, Any], kind: str, ids: Sequence[int], weights: Array) -> dict[str, Any]:
    """``weights[leaf, j]`` for the class or target ``ids[j]``."""
    places = leaves(attrs)
    return attrs | {
        f"{kind}_treeids": [t for t, _ in places for _ in ids],
        f"{kind}_nodeids": [n for _, n in places for _ in ids],
        f"{kind}_ids": [int(i) for _ in places for i in ids],
        f"{kind}_weights": [float(w) for row in weights for w in row],
    }


MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


@pytest.mark.parametrize("mode", [*[[m] for m in MODES], MODES])
def test_every_mode_with_nan_and_equal_thresholds(mode: list[str]) -> None:
    """Thresholds are entries of the data, so equality happens; a tenth of the entries is NaN, infinite or a zero."""
    rng = np.random.default_rng(len(mode) + MODES.index(mode[0]))
    x = features(rng, 24)
    x[:, 1] = np.rint(x[:, 1])
    attrs = ensemble(rng, 4, mode, x)
    attrs = with_weights(attrs, "target", [0, 1], rng.standard_normal((len(leaves(attrs)), 2)))
    model = model_of([node("TreeEnsembleRegressor", n_targets=2, **attrs)], x, ["y"])
    rows = x.copy()
    odd = rng.random(rows.shape) < 0.1
    rows[odd] = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 0.0], np.float32), int(odd.sum()))
    check(model, x, rows, 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_missing_values_in_calibration_data(dtype: type) -> None:
    """Of a model that only decides on its input, by the tracks of its nodes or behind an imputer."""
    rng = np.random.default_rng(4)
    x = features(rng, 48).astype(dtype)
    x[rng.random(x.shape) < 0.2] = np.nan
    x[3, 2] = np.inf
    attrs = ensemble(rng, 4, ["BRANCH_LEQ", "BRANCH_LT"], np.nan_to_num(x.astype(np.float32), posinf=1.0))
    attrs = with_weights(attrs, "target", [0], rng.standard_normal((len(leaves(attrs)), 1)))
    trees = node("TreeEnsembleRegressor", n_targets=1, **attrs)
    check(model_of([trees], x, ["y"]), x, x, 1e-6)
    if dtype is np.float32:
        fill = node("Imputer", ["f"], imputed_value_floats=[30000.0, 40.0, 0.0, 1.0], replaced_value_float=np.nan)
        trees.input[0] = "f"
        check(model_of([fill, trees], x, ["y"]), x, x, 1e-6)


@pytest.mark.parametrize("rows", [3, 48])  # with and without samples that only measure
def test_missing_values_that_are_computed_with_are_refused(rows: int) -> None:
    x = features(np.random.default_rng(3), rows)
    model = model_of([node("Scaler", offset=[0.0] * 4, scale=(1 / SPREAD).tolist())], x, ["y"])
    for bad in (np.nan, np.inf):
        x[1, 2] = bad  # an odd row
        with pytest.raises(syurmy.SyurmyError, match="NaN or infinity, which the model computes with") as e:
            check(model, x, x)
        assert e.value.code == "M109"


def test_thresholds_between_neighbouring_floats() -> None:
    """The next float below and above every threshold falls on its side of it, whatever the size of the feature."""
    rng = np.random.default_rng(5)
    x = features(rng, 16)
    attrs = ensemble(rng, 3, ["BRANCH_LEQ", "BRANCH_LT"], x)
    attrs = with_weights(attrs, "target", [0], rng.standard_normal((len(leaves(attrs)), 1)))
    model = model_of([node("TreeEnsembleRegressor", n_targets=1, **attrs)], x, ["y"])
    rows = np.concatenate([np.nextafter(x, np.float32(-np.inf)), x, np.nextafter(x, np.float32(np.inf))])
    check(model, x, rows, 1e-6)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_aggregates_and_base_values(aggregate: str) -> None:
    rng = np.random.default_rng(6)
    x = features(rng, 16)
    attrs = ensemble(rng, 5, ["BRANCH_LEQ"], x)
    attrs = with_weights(attrs, "target", [0, 1, 2], rng.standard_normal((len(leaves(attrs)), 3)))
    regressor = node(
        "TreeEnsembleRegressor", n_targets=3, aggregate_function=aggregate, base_values=[0.5, -2, 0.25], **attrs
    )
    if aggregate in ("MIN", "MAX"):
        del regressor.attribute[[a.name for a in regressor.attribute].index("base_values")]
    check(model_of([regressor], x, ["y"]), x, x, 1e-6)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [1, 2])
def test_a_leaf_with_several_weights_for_one_target(aggregate: str, targets: int) -> None:
    """As converters write the number of a tree's leaf, cast to an integer; what counts is onnxruntime's."""
    rng = np.random.default_rng(17)
    x = features(rng, 16)
    attrs = ensemble(rng, 2, ["BRANCH_LEQ"], x)
    ids = [0, 0, targets - 1]
    attrs = with_weights(attrs, "target", ids, rng.integers(1, 9, (len(leaves(attrs)), 3)))
    regressor = node("TreeEnsembleRegressor", ["r"], n_targets=targets, aggregate_function=aggregate, **attrs)
    whole = helper.make_node(
        "Cast", ["r"], ["y"], to=TensorProto.FLOAT if aggregate == "AVERAGE" else TensorProto.INT64
    )
    check(model_of([regressor, whole], x, ["y"]), x, x, 1e-6)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize(
    ("ids", "low"), [([0], 0.0), ([0], -1.0), ([1], 0.0), ([1], -1.0), ([0, 1], -1.0), ([0, 1, 2], -1.0)]
)
@pytest.mark.parametrize("base", [0, 1, 2])
def test_classifiers(transform: str, ids: list[int], low: float, base: int) -> None:
    """Which classes have weights, and of which sign, decides labels and scores in onnxruntime."""
    rng = np.random.default_rng(7)
    x = features(rng, 24)
    if base and transform.startswith("SOFTMAX"):
        pytest.skip("as without base values")
    classes = max(2, len(ids))
    if base and classes > 2:
        base = classes
    attrs = ensemble(rng, 3, ["BRANCH_LEQ"], x, depth=2)
    attrs = with_weights(attrs, "class", ids, rng.uniform(low, 1, (len(leaves(attrs)), len(ids))) / 3)
    if base:
        attrs["base_values"] = rng.uniform(-0.3, 0.3, base).tolist()
    labels = [7, -3, 12][:classes]
    model = model_of(
        [node("TreeEnsembleClassifier", ["l", "y"], post_transform=transform, classlabels_int64s=labels, **attrs)],
        x,
        ["l", "y"],
    )
    check(model, x, x[:9])


def test_trees_of_one_class_each() -> None:
    """As boosting of three classes has them: a leaf has a weight, of either sign, for the class of its tree alone."""
    rng = np.random.default_rng(17)
    x = features(rng, 24)
    attrs = ensemble(rng, 6, ["BRANCH_LEQ"], x, depth=2)
    places = leaves(attrs)
    attrs |= {
        "class_treeids": [t for t, _ in places],
        "class_nodeids": [n for _, n in places],
        "class_ids": [t % 3 for t, _ in places],
        "class_weights": rng.uniform(-1, 1, len(places)).tolist(),
    }
    trees = node("TreeEnsembleClassifier", ["l", "y"], post_transform="SOFTMAX", classlabels_int64s=[0, 1, 2], **attrs)
    check(model_of([trees], x, ["l", "y"]), x, x)
    gone = [k for k, (t, _) in enumerate(places) if t in (0, 3)][0::3]  # now class 0 may have no score
    for name in ("class_treeids", "class_nodeids", "class_ids", "class_weights"):
        attrs[name] = [v for k, v in enumerate(attrs[name]) if k not in gone]
    trees = node("TreeEnsembleClassifier", ["l", "y"], post_transform="SOFTMAX", classlabels_int64s=[0, 1, 2], **attrs)
    with pytest.raises(UnsupportedModel, match="no weight for class 0"):
        check(model_of([trees], x, ["l", "y"]), x, x)


def test_tree_ensemble_5_with_members() -> None:
    """Sets of categories, NaN tracks, and a tree that is one leaf (both sides of its root)."""
    splits = np.array([0, 30.5, 0, 1], np.float32)
    ensemble_ = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain=ML, aggregate_function=1, post_transform=0, n_targets=2,
        tree_roots=[0, 3], nodes_modes=numpy_helper_of(np.array([6, 0, 6, 1], np.uint8), "modes"),
        nodes_featureids=[0, 1, 0, 2], nodes_splits=numpy_helper_of(splits, "splits"),
        nodes_truenodeids=[1, 0, 2, 4], nodes_trueleafs=[0, 1, 1, 1], nodes_falsenodeids=[2, 1, 3, 4],
        nodes_falseleafs=[0, 1, 1, 1], nodes_missing_value_tracks_true=[0, 1, 0, 0],
        membership_values=numpy_helper_of(np.array([1, 2, 5, 9, np.nan, 0, 7, np.nan], np.float32), "members"),
        leaf_targetids=[0, 1, 0, 1, 0],
        leaf_weights=numpy_helper_of(np.array([1, 2, -3, 4, 0.5], np.float32), "leaves"),
    )  # fmt: skip
    x = np.array([[a, b, 0.5] for a in (*range(11), 1.5) for b in (10.0, 30.5, 40.0)], np.float32)
    model = model_of([ensemble_], x, ["y"], version=5)
    check(model, x, x, 1e-6)


def numpy_helper_of(x: Array, name: str) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(x, name)


def test_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """They enter by rank among the thresholds, which are looked for at once: one by one, those of a LightGBM model of
    565 trees took minutes."""
    searches, last = [], Steps._last
    monkeypatch.setattr(Steps, "_last", lambda *args: searches.append(args) or last(*args))
    rng = np.random.default_rng(8)
    x = (rng.standard_normal((50, 4)) * [40000, 40, 3, 2000]).astype(np.float64)
    attrs = ensemble(rng, 4, ["BRANCH_LEQ", "BRANCH_LT"], x.astype(np.float32))
    attrs = with_weights(attrs, "target", [0], rng.standard_normal((len(leaves(attrs)), 1)))
    check(model_of([node("TreeEnsembleRegressor", n_targets=1, **attrs)], x, ["y"]), x, x, 1e-6)
    assert len(searches) <= 4  # to where they are less and where they are not more; for codes, and for ranks


def test_a_scaler_before_trees_is_folded_into_thresholds() -> None:
    """Equality with a threshold of the scaled feature is hit by many raw floats: all go to the right side."""
    rng = np.random.default_rng(9)
    x = features(rng, 24)
    offset, scale = x.mean(axis=0), 1 / x.std(axis=0)
    scale[1] = -scale[1]
    scaled = (x - offset) * scale
    attrs = ensemble(rng, 4, ["BRANCH_LEQ", "BRANCH_LT"], scaled)
    attrs = with_weights(attrs, "target", [0], rng.standard_normal((len(leaves(attrs)), 1)))
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain=ML, offset=offset.tolist(), scale=scale.tolist()),
        helper.make_node("TreeEnsembleRegressor", ["s"], ["y"], domain=ML, n_targets=1, **attrs),
    ]
    done = check(model_of(nodes, x, ["y"]), x, np.concatenate([x, np.nextafter(x, np.float32(0))]), 1e-6)
    assert done.inputs[0].code is not None
    assert [r.op for r in done.rows] == ["TreeEnsembleRegressor"]


def test_only_the_domain_of_trees_is_imported_and_the_proof_verifies() -> None:
    rng = np.random.default_rng(10)
    x = features(rng, 32)
    attrs = ensemble(rng, 3, ["BRANCH_LEQ"], x)
    attrs = with_weights(attrs, "class", [0], rng.uniform(0, 0.3, (len(leaves(attrs)), 1)))
    model = model_of(
        [node("TreeEnsembleClassifier", ["l", "y"], classlabels_int64s=[0, 1], **attrs)], x, ["l", "y"], 1, False
    )
    done = check(model, x, x)
    trace = syurmy.run(done.program, done.quantise({"x": x[:1]}))
    proving, verifying = syurmy.setup(done.program)
    statement = syurmy.verify(verifying, syurmy.prove(proving, trace).to_bytes())
    np.testing.assert_array_equal(done.dequantise(statement.outputs)["l"], session(model).run(["l"], {"x": x[:1]})[0])


# ---- the other operators ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("targets", [1, 2, 3])
def test_linear_models_on_raw_features(transform: str, targets: int) -> None:
    rng = np.random.default_rng(11)
    x = features(rng, 48)
    w = (rng.standard_normal((targets, 4)) / SPREAD).reshape(-1).tolist()
    b = rng.standard_normal(targets).tolist()
    labels = [4, 9, 2][: max(targets, 2)]
    classifier = node(
        "LinearClassifier", ["l", "y"], coefficients=w, intercepts=b, classlabels_ints=labels, post_transform=transform
    )
    check(model_of([classifier], x, ["l", "y"]), x, x)
    regressor = node("LinearRegressor", coefficients=w, intercepts=b, targets=targets, post_transform=transform)
    check(model_of([regressor], x, ["y"]), x, x)


@pytest.mark.parametrize("kernel", ["LINEAR", "RBF", "POLY", "SIGMOID"])
@pytest.mark.parametrize("classes", [2, 3])
def test_support_vectors(kernel: str, classes: int) -> None:
    rng = np.random.default_rng(12)
    x = features(rng, 40, np.ones(4))
    counts = [4, 3, 5][:classes]
    total = sum(counts)
    pairs = classes * (classes - 1) // 2
    common = {
        "kernel_type": kernel,
        "kernel_params": [0.2, 0.3, 2.0],
        "support_vectors": rng.standard_normal(total * 4).tolist(),
    }
    machine = node(
        "SVMClassifier", ["l", "y"], coefficients=rng.standard_normal((classes - 1) * total).tolist(),
        vectors_per_class=counts, rho=rng.standard_normal(pairs).tolist(), classlabels_ints=[5, 1, 8][:classes],
        **common,
    )  # fmt: skip
    check(model_of([machine], x, ["l", "y"]), x, x)
    for one_class in (0, 1):
        machine = node(
            "SVMRegressor", coefficients=rng.standard_normal(total).tolist(), n_supports=total, rho=[0.1],
            one_class=one_class, **common,
        )  # fmt: skip
        check(model_of([machine], x, ["y"]), x, x)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(norm: str) -> None:
    rng = np.random.default_rng(13)
    x = features(rng, 24, np.ones(5))
    x[:8] = np.abs(x[:8])
    check(model_of([node("Normalizer", norm=norm)], x, ["y"]), x, x)


def test_features_and_categories() -> None:
    """Scaler of unlike features, Binarizer, Imputer, columns, and tables of whole numbers near and far."""
    rng = np.random.default_rng(14)
    x = features(rng, 32)
    check(model_of([node("Scaler", offset=[10.0, 2, 0, 1900], scale=(1 / SPREAD).tolist())], x, ["y"]), x, x)
    check(model_of([node("Binarizer", threshold=float(x[3, 1]))], x, ["y"]), x, x)
    ints = rng.integers(-3, 9, (32, 3)).astype(np.int64)
    for held in (floats_of(rng, 7), floats_of(rng, 3, 7), floats_of(rng, 2, 3, 7)):  # columns at places that are data
        nodes = [
            helper.make_node("Constant", [], ["w"], value=numpy_helper_of(held, "w")),
            helper.make_node("Clip", ["x", "lo", "hi"], ["at"]),
            helper.make_node("ArrayFeatureExtractor", ["w", "at"], ["y"], domain=ML),
        ]
        ends = [("lo", np.array(0)), ("hi", np.array(6))]
        nodes = [helper.make_node("Constant", [], [k], value=numpy_helper_of(v, k)) for k, v in ends] + nodes
        check(model_of(nodes, ints, ["y"]), ints, ints)
    check(model_of([node("OneHotEncoder", cats_int64s=[0, 2, -1, 8], zeros=1)], ints, ["y"]), ints, ints)
    near = node("LabelEncoder", keys_int64s=[-1, 4, 0], values_floats=[0.5, -2.25, 7.0], default_float=9.0)
    far = node("LabelEncoder", keys_int64s=[-1, 400000, 0], values_int64s=[5, -2, 7], default_int64=-9)
    for encoder in (near, far):
        check(model_of([encoder], ints, ["y"]), ints, ints)
    check(
        model_of([node("Imputer", replaced_value_int64=4, imputed_value_int64s=[100, 200, 300])], ints, ["y"]),
        ints,
        ints,
    )
    floats = rng.choice(np.array([0.1, 2.5, -7.0, 3.0], np.float32), (32, 2))
    encoder = node("LabelEncoder", keys_floats=[0.1, -7.0], values_floats=[1.5, 2.5], default_float=-1.0)
    check(model_of([encoder], floats, ["y"]), floats, floats)


def test_a_map_becomes_a_tensor_and_strings_their_numbers() -> None:
    rng = np.random.default_rng(15)
    x = features(rng, 32)
    names = ["maybe", "no", "yes"]  # as onnxruntime orders its maps
    w, b = (rng.standard_normal((3, 4)) / SPREAD).reshape(-1).tolist(), [0.1, 0.0, -0.2]
    nodes = [
        node(
            "LinearClassifier",
            ["label", "scores"],
            coefficients=w,
            intercepts=b,
            classlabels_strings=names,
            post_transform="SOFTMAX",
        ),
        helper.make_node("ZipMap", ["scores"], ["map"], domain=ML, classlabels_strings=names),
    ]
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
            onnx.helper.make_value_info(
                "map",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(
                        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
                    )
                ),
            ),
        ],
    )
    imports = [helper.make_opsetid(ML, 1), helper.make_opsetid("", 15), helper.make_opsetid("", 15)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    done = check(model, x, x)
    assert [p.labels for p in done.outputs] == [tuple(names), tuple(names)]


def test_unlike_features_keep_their_bits_through_a_network() -> None:
    """Standardised inside the model: income, age, a rate and a year in one tensor."""
    rng = np.random.default_rng(16)
    x = (features(rng, 48) * 0.3 + SPREAD).astype(np.float32)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    constants = {"mean": mean, "deviation": deviation, "w": rng.standard_normal((4, 8)).astype(np.float32),
                 "v": rng.standard_normal((8, 1)).astype(np.float32)}  # fmt: skip
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["c"]), helper.make_node("Div", ["c", "deviation"], ["z"]),
        helper.make_node("MatMul", ["z", "w"], ["a"]), helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]  # fmt: skip
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], x, ["y"])
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in constants.items())
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1]))
    done = check(model, x, x)
    assert len(done.inputs[0].scales) == 4
    with tempfile.TemporaryDirectory() as folder:
        again = compile_on(model, x, Path(folder))
        read = CompiledModel.read(Path(folder))
        assert read.inputs == again.inputs


def test_strings_that_are_computed_with_are_refused() -> None:
    nodes = [
        helper.make_node("StringNormalizer", ["x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.STRING, [2])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [2])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises((UnsupportedModel, syurmy.SyurmyError)), tempfile.TemporaryDirectory() as folder:
        compiled(model, {"x": np.array(["a", "b"])}, Path(folder))
