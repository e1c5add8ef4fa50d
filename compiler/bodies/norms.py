"""Normalisations of rows, with what onnxruntime's optimiser fuses into them: a residual, a bias, embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syurmy.compiler.bodies.engine import body
from syurmy.compiler.bodies.writer import Writer

RUNTIME = "com.microsoft"
LAST = [-1]


def layer_norm(w: Writer, x: str, gamma: str, beta: str, epsilon: float, axes: Sequence[int] = LAST) -> list[str]:
    """Result, mean, and one over the standard deviation; the operator itself where the opset has it."""
    if w.opset >= 17:
        return w.several("LayerNormalization", 3, x, gamma, beta, axis=axes[0], epsilon=epsilon)
    axes = _counted(w, x, axes)
    mean = w.reduce("ReduceMean", _wide(w, x), axes, True)
    y, inverse = _scaled(w, w("Sub", _wide(w, x), mean), gamma, epsilon, axes)
    return [w("Add", y, beta) if beta else y, mean, inverse]


def rms_norm(w: Writer, x: str, gamma: str, epsilon: float, axes: Sequence[int] = LAST) -> list[str]:
    """Result, and one over the root mean square."""
    return list(_scaled(w, _wide(w, x), gamma, epsilon, _counted(w, x, axes)))


def _wide(w: Writer, x: str) -> str:
    """In float32: squares leave float16, and epsilon is 0 there."""
    return w.cast(x, np.float32) if w.real == np.float16 else x


def _counted(w: Writer, x: str, axes: Sequence[int]) -> Sequence[int]:
    """Axes counted from the start, where the opset has no others."""
    return axes if w.opset >= 11 else [a % w.rank(x) for a in axes]


def _scaled(w: Writer, d: str, gamma: str, epsilon: float, axes: Sequence[int]) -> tuple[str, str]:
    square = w.reduce("ReduceMean", w("Mul", d, d), axes, True)
    root = w("Sqrt", w("Add", square, w.const(epsilon, np.float64 if w.real == np.float64 else np.float32)))
    y = w("Div", d, root)
    return w("Mul", w.cast(y, np.float16) if w.real == np.float16 else y, gamma), w("Reciprocal", root)


@body("SkipLayerNormalization", domain=RUNTIME)
def skip_layer_normalization(w: Writer) -> list[str]:
    s = w.total(w.input(0), w.input(1), w.input(4))
    return [*layer_norm(w, s, w.input(2), w.input(3), w.attr("epsilon", 1e-12)), s]


@body("SkipSimplifiedLayerNormalization", domain=RUNTIME)
def skip_simplified_layer_normalization(w: Writer) -> list[str]:
    s = w.total(w.input(0), w.input(1), w.input(3))
    y, inverse = rms_norm(w, s, w.input(2), w.attr("epsilon", 1e-12))
    return [y, inverse, inverse, s]  # there is no mean


@body("EmbedLayerNormalization", domain=RUNTIME)
def embed_layer_normalization(w: Writer) -> list[str]:
    """The sum of a token's, its place's and its segment's row, normalised; and how many tokens the mask keeps."""
    ids, segments, words, places, kinds, gamma, beta, mask, at = map(w.input, range(9))
    batch, length = w.shape(ids)
    row = w("Gather", places, at, axis=0) if at else w.part(places, 0, 0, length)
    s = w("Add", w("Gather", words, ids, axis=0), row)
    s = w("Add", s, w("Gather", kinds, segments, axis=0)) if kinds and segments else s
    y = layer_norm(w, s, gamma, beta, w.attr("epsilon", 1e-12))[0]
    if not w.wants(1):
        count = ""
    elif mask:
        count = w.reduce("ReduceSum", w.cast(mask, np.int32), [1], False)
    else:
        count = w.const([0] * batch, np.int32)
    return [y, count, s]
