"""What ai.onnx.ml does with scores: post-transforms, and labels."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.lower import Context
from syurmy.compiler.ops.softmax import exponentials, scores, shares, softmax_last
from syurmy.isa.arrays import F64, I64


def label_of(c: Context, index: Tensor, labels: I64) -> Tensor:
    """``labels[index]``."""
    if (labels == np.arange(len(labels))).all():
        return index
    if len(labels) == 2:
        y = c.muli(index, int(labels[1] - labels[0]))
        return c.emit("addi", y, value=int(labels[0]), scale=1.0)
    return c.lookup(index, np.pad(labels, (0, index.type.hi + 1 - len(labels)), mode="edge"), "labels")


def logistic(v: F64) -> F64:
    return np.asarray(1 / (1 + np.exp(-v)))


def probit(v: F64) -> F64:
    """As onnxruntime approximates it."""
    z = 2 * v - 1
    log = np.log((1 - z) * (1 + z))
    half = 2 / (3.14159 * 0.147) + log / 2
    return np.asarray(math.sqrt(2) * np.sign(z) * np.sqrt(np.sqrt(half**2 - log / 0.147) - half))


def transformed(c: Context, x: Tensor, transform: str) -> Tensor:
    """Scores [.., classes] after ``post_transform``."""
    if transform == "NONE":
        return x
    if transform == "LOGISTIC":
        return c.table(x, logistic, "logistic")
    if transform == "PROBIT":
        return c.table(x, probit, "probit")
    if transform == "SOFTMAX":
        return softmax_last(c, x)
    if transform == "SOFTMAX_ZERO":
        return softmax_zero(c, x)
    raise Unsupported(f"post_transform {transform}", "NONE, LOGISTIC, PROBIT, SOFTMAX or SOFTMAX_ZERO")


def softmax_zero(c: Context, x: Tensor) -> Tensor:
    """Softmax of the scores that are not 0; of one that is, the share is 0."""
    kept = c.emit("ne", x, c.out.param(np.array(0)), scale=1.0)
    x = scores(c, x)
    least = c.broadcast(c.out.param(np.array(x.type.lo)), x.shape)
    _, e = exponentials(c, c.emit("select", kept, x, least, scale=x.scale))
    return shares(c, c.emit("mul", e, kept, scale=e.scale))


def pair_of(c: Context, x: Tensor, transform: str, share: bool) -> Tensor:
    """Scores [rows, 2] of two classes of which only the second one has one, ``x`` [rows, 1]: the first has the rest to
    1 (``share``), or the opposite."""
    if transform == "PROBIT":
        raise Unsupported("PROBIT of one score for two classes", "scores for both")
    if transform == "LOGISTIC":
        return transformed(c, c.emit("concat", c.emit("neg", x), x, axis=1), "LOGISTIC")
    if not share:
        return c.emit("concat", c.emit("neg", x), x, axis=1)
    one = c.out.param(np.rint(np.ones(x.shape) / x.scale).astype(np.int64), x.scale)
    return c.emit("concat", c.emit("sub", one, x, scale=x.scale), x, axis=1)
