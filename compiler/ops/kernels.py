"""Linear models and support vector machines of ai.onnx.ml, with onnxruntime's labels and scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from syurmy.compiler.channels import Channels, channels_of, product, shifted, uniform
from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, absorbing, lowering
from syurmy.compiler.ops.coupling import ONE, coupled, coupling
from syurmy.compiler.ops.linear import matrix_product, plus
from syurmy.compiler.ops.scores import label_of, logistic, pair_of, transformed
from syurmy.compiler.tabular import DOMAIN
from syurmy.compiler.undecided import off
from syurmy.isa.arrays import F64, I64

LEAST = 1e-7  # of a pair's probability


def _reals(n: Node, name: str) -> F64:
    return np.asarray(n.attr(name) or (), np.float32).astype(np.float64)


def _seen(c: Context, name: str) -> F64:
    """The source on the samples, one row each."""
    return np.concatenate([np.asarray(x, np.float64).reshape(-1, x.shape[-1]) for x in c.graph.samples[name]])


def _told_apart(c: Context, y: Tensor, seen: F64) -> None:
    """Notes that the last instruction decided by scores ``y``, which are ``seen`` in floats, all samples' rows."""
    parts = np.split(seen, c.out.samples)
    if c.out.code[-1].op == "argmax":
        c.out.decides("largest", [y], [parts], counts=True)
    else:
        c.out.decides("edges", [y], [parts], counts=True, edges=(0.0,))


def _rows(c: Context, name: str) -> int:
    return c.shape(name)[0] if len(c.shape(name)) > 1 else 1


def affine(c: Context, n: Node, w: F64, bias: F64) -> Tensor:
    """``x @ w + bias`` for the source of a node, wide; [rows, columns of w]."""
    name = n.inputs[0]
    seen = _seen(c, name) @ w + bias
    peak = float(np.abs(seen).max(initial=0.0)) or 1.0
    if name in c.channels:
        y = plus(c, product(c, c.channels[name], w, peak, f"{n.name}.coefficients"), bias, peak)
    else:
        y = matrix_product(c, c.tensor(name), w, peak, bias, f"{n.name}.coefficients")
    return c.reshape(y, (_rows(c, name), w.shape[1]))


@absorbing("LinearRegressor", domain=DOMAIN)
@lowering("LinearRegressor", domain=DOMAIN)
def linear_regressor(c: Context, n: Node) -> Result:
    targets = int(n.attr("targets", 1))
    bias = _reals(n, "intercepts")
    y = affine(c, n, _reals(n, "coefficients").reshape(targets, -1).T, bias if bias.size else np.zeros(targets))
    transform = n.attr("post_transform", "NONE")
    return c.reshape(transformed(c, y, transform if targets > 1 or transform == "PROBIT" else "NONE"),
                     c.shape(n.outputs[0]))  # fmt: skip


@absorbing("LinearClassifier", domain=DOMAIN)
@lowering("LinearClassifier", domain=DOMAIN)
def linear_classifier(c: Context, n: Node) -> Result:
    bias, labels = _reals(n, "intercepts"), np.array(n.attr("classlabels_ints") or (), np.int64)
    w = _reals(n, "coefficients").reshape(len(bias), -1).T
    y, seen = affine(c, n, w, bias), _seen(c, n.inputs[0]) @ w + bias
    transform = n.attr("post_transform", "NONE")
    if len(bias) > 1:
        best = c.emit("argmax", y, axis=-1, keepdims=False, scale=1.0)
        _told_apart(c, y, seen)
        return label_of(c, best, labels), transformed(c, y, transform)
    yes = c.emit("gt", y, c.out.param(np.array(0)), scale=1.0)
    _told_apart(c, y, seen)
    yes = c.reshape(yes, (y.shape[0],))
    label = label_of(c, yes, labels if len(labels) == 2 else np.array([0, 1]))
    if len(labels) == 2:
        return label, pair_of(c, y, transform, share=True)
    return label, transformed(c, y, transform if transform == "PROBIT" else "NONE")


# ---- support vectors -------------------------------------------------------------------------------------------------


def _kernel(n: Node, seen: F64, vectors: F64) -> F64:
    """The kernel in floats: what the tables are made for."""
    gamma, coef, degree = _parameters(n)
    dots = seen @ vectors.T
    kind = n.attr("kernel_type", "LINEAR")
    if kind == "RBF":
        return np.asarray(np.exp(-gamma * ((seen[:, None, :] - vectors) ** 2).sum(axis=2)))
    if kind == "POLY":
        return np.asarray((gamma * dots + coef) ** degree)
    return np.asarray(np.tanh(gamma * dots + coef) if kind == "SIGMOID" else dots)


def _parameters(n: Node) -> tuple[float, float, float]:
    found = [float(v) for v in n.attr("kernel_params") or (0.0, 0.0, 3.0)]
    return found[0], found[1], found[2]


def kernels(c: Context, n: Node, vectors: F64) -> Tensor:
    """[rows, vectors]: the kernel of every row with every support vector."""
    kind = n.attr("kernel_type", "LINEAR")
    gamma, coef, degree = _parameters(n)
    if kind == "LINEAR":
        return affine(c, n, vectors.T, np.zeros(len(vectors)))
    if kind == "RBF":
        return c.table(_squared_distances(c, n, vectors), lambda v: np.exp(-gamma * np.maximum(v, 0)), "rbf")
    dots = affine(c, n, vectors.T * gamma, np.full(len(vectors), coef))
    function: Callable[[F64], F64] = np.tanh if kind == "SIGMOID" else lambda v: np.asarray(v**degree)
    return c.table(dots, function, kind.lower())


def _squared_distances(c: Context, n: Node, vectors: F64) -> Tensor:
    """``sum (x - v)^2`` over features, of differences as factors: large features decide, as they do in the model."""
    name = n.inputs[0]
    x = channels_of(c.channels[name] if name in c.channels else c.factor(c.tensor(name)))
    rows, features = _rows(c, name), vectors.shape[1]
    x = Channels(c.reshape(x.q, (rows, 1, features)), x.scales.reshape(rows, 1, features))
    d = shifted(c, x, -vectors[None])
    if d is None:
        raise Unsupported("support vectors far beyond the samples", "calibration data like the training data")
    y = c.factor(uniform(c, d), 2**26)
    square = c.emit("mul", y, y, scale=y.scale**2)
    return c.emit("sum", square, axes=(2,), keepdims=False)


def _combined(c: Context, n: Node, vectors: F64, w: F64, bias: F64) -> tuple[Tensor, F64]:
    """``kernels @ w + bias``, and the same in floats on the samples."""
    if n.attr("kernel_type", "LINEAR") == "LINEAR":  # one product, not two
        seen = _seen(c, n.inputs[0]) @ (vectors.T @ w) + bias
        return affine(c, n, vectors.T @ w, bias), seen
    seen = _kernel(n, _seen(c, n.inputs[0]), vectors) @ w + bias
    peak = float(np.abs(seen).max(initial=0.0)) or 1.0
    return matrix_product(c, kernels(c, n, vectors), w, peak, bias, f"{n.name}.coefficients"), seen


@absorbing("SVMRegressor", domain=DOMAIN)
@lowering("SVMRegressor", domain=DOMAIN)
def svm_regressor(c: Context, n: Node) -> Result:
    coefficients, rho = _reals(n, "coefficients"), _reals(n, "rho")
    count = int(n.attr("n_supports", 0))
    if count:
        y, seen = _combined(c, n, _reals(n, "support_vectors").reshape(count, -1), coefficients[:, None], rho[:1])
    else:
        y, seen = affine(c, n, coefficients[:, None], rho[:1]), _seen(c, n.inputs[0]) @ coefficients[:, None] + rho[:1]
    if n.attr("one_class", 0):
        positive = c.emit("gt", y, c.out.param(np.array(0)), scale=1.0)
        _told_apart(c, y, seen)
        y = c.emit("addi", c.muli(positive, 2), value=-1, scale=1.0)
    return c.reshape(y, c.shape(n.outputs[0]))


@absorbing("SVMClassifier", domain=DOMAIN)
@lowering("SVMClassifier", domain=DOMAIN)
def svm_classifier(c: Context, n: Node) -> Result:
    labels = np.array(n.attr("classlabels_ints") or (), np.int64)
    counts = [int(v) for v in n.attr("vectors_per_class") or ()]
    coefficients, rho, classes = _reals(n, "coefficients"), _reals(n, "rho"), len(labels)
    transform = n.attr("post_transform", "NONE")
    if not counts:
        y = affine(c, n, coefficients.reshape(classes, -1).T, np.full(classes, rho[0]))
        return _linear_labels(c, y, labels, bool((coefficients >= 0).all())), transformed(c, y, transform)
    total = sum(counts)
    coefficients = coefficients.reshape(classes - 1, total)
    starts = np.cumsum([0, *counts])
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    w = np.zeros((total, len(pairs)))
    for k, (i, j) in enumerate(pairs):
        w[starts[i] : starts[i + 1], k] = coefficients[j - 1, starts[i] : starts[i + 1]]
        w[starts[j] : starts[j + 1], k] = coefficients[i, starts[j] : starts[j + 1]]
    y, seen = _combined(c, n, _reals(n, "support_vectors").reshape(total, -1), w, rho[: len(pairs)])
    first = c.emit("gt", y, c.out.param(np.array(0)), scale=1.0)
    _told_apart(c, y, seen)
    votes = np.zeros((len(pairs), classes), np.int64)
    base = np.zeros(classes, np.int64)
    for k, (i, j) in enumerate(pairs):
        votes[k, i], votes[k, j] = 1, -1
        base[j] += 1
    counted = c.emit("add", c.emit("matmul", first, c.out.param(votes), scale=1.0), c.out.param(base), scale=1.0)
    label = label_of(c, c.emit("argmax", counted, axis=-1, keepdims=False, scale=1.0), labels)
    a, b = _reals(n, "prob_a"), _reals(n, "prob_b")
    if a.size:
        return label, _probabilities(c, y, seen, a, b, classes)
    if classes == 2:
        return label, pair_of(c, y, transform, share=transform != "NONE")
    return label, transformed(c, y, transform)


def _linear_labels(c: Context, y: Tensor, labels: I64, positive: bool) -> Tensor:
    """Of a linear machine without support vectors: the largest score's; of two classes, whether it is large."""
    best = c.emit("argmax", y, axis=-1, keepdims=False, scale=1.0)
    if len(labels) == 2:
        cut = math.ceil(0.5 / y.scale) - 1 if positive else 0
        largest = c.emit("reduce_max", y, axis=-1, keepdims=False)
        above = c.emit("gt", largest, c.out.param(np.array(cut)), scale=1.0)
        best = c.emit("max", best, above, scale=1.0)
    return label_of(c, best, labels)


def _probabilities(c: Context, y: Tensor, seen: F64, a: F64, b: F64, classes: int) -> Tensor:
    """Platt's sigmoids of scores [rows, pairs], which are ``seen`` on the samples, coupled as onnxruntime does. Of two
    classes by a table."""

    def sigmoid(v: F64, k: int) -> F64:
        return np.asarray(np.clip(1 - logistic(a[k] * v + b[k]), LEAST, 1 - LEAST))

    if classes == 2:
        p = c.table(y, lambda v: coupled(sigmoid(v, 0).reshape(-1, 1), 2)[0][:, 0].reshape(v.shape), "platt")
        one = c.out.param(np.rint(np.ones(p.shape) / p.scale).astype(np.int64), p.scale)
        return c.emit("concat", p, c.emit("sub", one, p, scale=p.scale), axis=1)
    rounds = coupled(np.stack([sigmoid(seen[:, k], k) for k in range(seen.shape[1])], axis=1), classes)[1]
    parts = []
    for k in range(y.shape[1]):
        one = c.emit("slice", y, axis=1, start=k, len=1)
        parts.append(c.table(one, partial(sigmoid, k=k), "platt", 1 / ONE, ONE))
    error = max(off(q, f, y.scale) for q, f in zip(y.values, np.split(seen, c.out.samples), strict=True))
    error *= y.scale * float(np.abs(a).max()) / 4  # the sigmoid is no steeper
    return coupling(c, c.emit("concat", *parts, axis=1), classes, int(rounds.max(initial=1)), error)
