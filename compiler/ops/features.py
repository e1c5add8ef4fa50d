"""What ai.onnx.ml does to features before a model sees them."""

from __future__ import annotations

import math

import numpy as np

from syurmy.compiler.channels import INPUT_BITS, channels_of, factor, joined, scaled, shifted
from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.lower import Context, Result, absorbing, lowering
from syurmy.compiler.ops.decisions import decided
from syurmy.compiler.ops.indexing import rows_at
from syurmy.compiler.ops.normalisation import normalised
from syurmy.compiler.ops.root import at_least
from syurmy.compiler.ops.shape import pick
from syurmy.compiler.ops.trees import unit_of
from syurmy.compiler.tabular import DOMAIN
from syurmy.isa.arrays import I64, Array
from syurmy.isa.types import DType

MAX_TABLE = 2**16


@absorbing("Scaler", domain=DOMAIN)
@lowering("Scaler", domain=DOMAIN)
def scaler(c: Context, n: Node) -> Result:
    """``(x - offset) * scale``: every column keeps its integers, and gets a scale of its own."""
    offset, scale = (np.asarray(n.attr(k) or default, np.float64) for k, default in (("offset", [0]), ("scale", [1])))
    name = n.inputs[0]
    x = channels_of(c.channels[name] if name in c.channels else c.tensors[name])
    moved = shifted(c, x, -offset)
    if moved is None:  # products of features have more bits than those of an input
        moved = shifted(c, factor(c, x, INPUT_BITS - 2, INPUT_BITS), -offset)
    if moved is None:
        raise Unsupported("an offset far beyond the samples", "offsets of the size of the features")
    return scaled(c, moved, scale)


@lowering("Binarizer", domain=DOMAIN)
def binarizer(c: Context, n: Node) -> Result:
    """1 above the threshold, else 0; of reals that are computed, within half a unit."""
    x = c.tensor(n.inputs[0])
    cut = math.floor(float(np.float32(n.attr("threshold", 0.0))) / x.scale)
    return c.emit("gt", x, c.out.param(np.array(max(min(cut, 2**60), -(2**60)))), scale=1.0)


@lowering("Normalizer", domain=DOMAIN)
def normalizer(c: Context, n: Node) -> Result:
    """Rows over their maximum, the sum of their magnitudes or the root of the sum of their squares; those whose norm is
    0 stay."""
    kind = n.attr("norm", "MAX")
    if kind == "L2":
        y = normalised(c, c.tensor(n.inputs[0]), 0.0, centre=False)
        return y.scaled(y.scale / math.sqrt(y.shape[-1]))
    x = c.factor(c.tensor(n.inputs[0]))
    if kind == "L1":
        norm = c.emit("sum", c.emit("abs", x), axes=(-1,), keepdims=True)
    else:
        norm = c.emit("reduce_max", x, axis=-1, keepdims=True)
        if norm.type.lo < 0:  # the sign of the maximum goes to the row
            sign = c.emit("sign", norm, scale=1.0)
            x, norm = c.emit("mul", x, sign, scale=x.scale), c.emit("abs", norm)
    return over(c, x, norm)


def over(c: Context, x: Tensor, norm: Tensor) -> Tensor:
    """``x / norm``, the reciprocal with 20 bits on the samples; a norm below 2^-6 of the least on the samples counts as
    that, and x is 0 where the norm is."""
    least = max(1, min((int(v[v > 0].min(initial=2**40)) for v in norm.values), default=1) >> 6)
    p = 20 + norm.peak.bit_length()
    while p > 8 and x.bound * (2**p // least + 1) >= 2**60:
        p -= 1
    r = c.emit("div", c.out.param(np.array(2**p)), at_least(c, norm, least), scale=1.0)
    return c.emit("mul", x, r, scale=2.0**-p * x.scale / norm.scale)


@lowering("Imputer", domain=DOMAIN)
def imputer(c: Context, n: Node) -> Result:
    """One value for another, column by column. There is no NaN among a program's numbers: one that is computed has to
    be left out behind the node as well, by a product with a mask."""
    x, real = c.tensor(n.inputs[0]), c.is_float(n.inputs[0])
    if real and any(np.isnan(f).any() for f in c.given(n.inputs[0])) and set(c.graph.readers(n.outputs[0])) != {"Mul"}:
        raise Unsupported("it replaces NaN that the model computes", "a model that is defined on the samples")
    old = n.attr("replaced_value_float", 0.0) if real else n.attr("replaced_value_int64", 0)
    new = np.asarray(n.attr("imputed_value_floats" if real else "imputed_value_int64s"), np.float64)
    if real and not np.isfinite(old):
        return x
    target = old / x.scale
    if round(target) != target:
        return x
    found = c.emit("eq", x, c.out.param(np.array(round(target))), scale=1.0)
    value = c.out.param(np.rint(new / x.scale).astype(np.int64), x.scale, "imputed")
    return c.broadcast(c.emit("select", found, value, x, scale=x.scale), x.shape)


@absorbing("Imputer", domain=DOMAIN)
def imputer_of_unlike(c: Context, n: Node) -> Result | None:
    """Missing numbers never enter, so a column keeps its scale; a value that is replaced is looked for at one scale."""
    return (
        c.channels[n.inputs[0]]
        if c.is_float(n.inputs[0]) and not np.isfinite(n.attr("replaced_value_float", 0.0))
        else None
    )


@absorbing("FeatureVectorizer", domain=DOMAIN)
@lowering("FeatureVectorizer", domain=DOMAIN)
def feature_vectorizer(c: Context, n: Node) -> Result:
    parts = [channels_of(c.channels[i] if i in c.channels else c.tensor(i)) for i in n.inputs]
    rows = c.shape(n.outputs[0])[0]
    for k, p in enumerate(parts):
        shape = (rows, p.q.type.size // rows)
        parts[k] = type(p)(c.reshape(p.q, shape), p.scales.reshape(shape))
    return parts[0] if len(parts) == 1 else joined(c, parts, 1)


@lowering("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(c: Context, n: Node) -> Result:
    """Columns at constant places, or at places that are data."""
    at, shape = c.const(n.inputs[1]), c.shape(n.outputs[0])
    if at is not None:
        x = c.tensor(n.inputs[0])
        return c.reshape(pick(c, x, len(x.shape) - 1, at.reshape(-1).astype(np.int64)), shape)
    x = c.tensor(n.inputs[0])
    length, others = x.shape[-1], x.type.size // x.shape[-1]
    places = c.tensor(n.inputs[1])
    columns = c.reshape(x, (length,) if others == 1 else (others, length))
    columns = columns if others == 1 else c.emit("transpose", columns, perm=(1, 0))
    y = rows_at(c, columns, c.reshape(places, (places.type.size,)), c.is_float(n.inputs[0]))
    return c.reshape(y if others == 1 else c.emit("transpose", y, perm=(1, 0)), shape)


@absorbing("ArrayFeatureExtractor", domain=DOMAIN)
def columns_of_unlike(c: Context, n: Node) -> Result | None:
    at = c.const(n.inputs[1])
    if at is None:
        return None
    x, places = c.channels[n.inputs[0]], at.reshape(-1).astype(np.int64)
    shape = c.shape(n.outputs[0])
    q = pick(c, x.q, len(x.shape) - 1, places)
    return type(x)(c.reshape(q, shape), np.take(x.scales, places, axis=-1).reshape(shape))


# ---- categories ------------------------------------------------------------------------------------------------------


def _list(n: Node, kind: str) -> Array | None:
    """Keys or values of a LabelEncoder."""
    for suffix in ("_tensor", "_int64s", "_floats"):
        found = n.attr(f"{kind}{suffix}")
        if found is not None and len(found):
            return np.asarray(found, np.float32 if suffix == "_floats" else None)
    return None


def _default(n: Node, values: Array) -> float:
    tensor = n.attr("default_tensor")
    if tensor is not None:
        return float(np.asarray(tensor).reshape(-1)[0])
    return float(n.attr("default_float", -0.0) if values.dtype.kind == "f" else n.attr("default_int64", -1))


@lowering("LabelEncoder", "CategoryMapper", domain=DOMAIN)
def label_encoder(c: Context, n: Node) -> Result:
    """The value of a whole number's key: by a table where keys are close together, else by a comparison with each."""
    keys, values = _list(n, "keys"), _list(n, "values")
    if keys is None or values is None:
        raise Unsupported("it encodes strings", "keys and values that are numbers")
    x = c.tensor(n.inputs[0])
    if c.is_float(n.inputs[0]) and x.scale != 1.0:
        raise Unsupported("keys are compared with computed reals", "whole numbers, or an input of the model")
    numbers = keys.astype(np.float64)
    whole = np.rint(numbers) == numbers
    first: dict[int, int] = {}
    for k in np.flatnonzero(whole):
        first.setdefault(int(numbers[k]), int(k))
    table = np.append(values.astype(np.float64), _default(n, values))
    unit = unit_of(table, 1) if c.is_float(n.outputs[0]) else 1.0
    entries = np.rint(table / unit).astype(np.int64)
    lo, hi = min(first) - 1, max(first) + 1
    if hi - lo >= MAX_TABLE:
        return _by_comparison(c, x, np.array(list(first)), entries[list(first.values())], int(entries[-1]), unit)
    if x.type.lo < lo or x.type.hi > hi:
        x = c.emit("clamp", c.emit("cast", x, dtype=DType.I64), lo=lo, hi=hi, scale=1.0)
    rows = [int(entries[first.get(v, -1)]) for v in range(x.type.lo, x.type.hi + 1)]
    return c.lookup(x, np.array(rows, np.int64), "labels", unit)


def _by_comparison(c: Context, x: Tensor, keys: I64, values: I64, default: int, unit: float) -> Tensor:
    hot = c.emit("eq", c.reshape(x, (*x.shape, 1)), c.out.param(keys, 1.0, "keys"), scale=1.0)
    y = c.emit("matmul", hot, c.out.param((values - default)[:, None], 1.0, "values"), scale=unit)
    return c.emit("addi", c.reshape(y, x.shape), value=default, scale=unit)


@lowering("LabelEncoder", domain=FUSED)
def label_encoder_of_input(c: Context, n: Node) -> Result:
    """The value of a float key, found by comparison with each."""
    values = _list(n, "values")
    assert values is not None
    table = np.append(values.astype(np.float64), _default(n, values))
    unit = unit_of(table, 1) if c.is_float(n.outputs[0]) else 1.0
    entries = np.rint(table / unit).astype(np.int64)
    shape = c.shape(n.outputs[0])
    hot = c.reshape(decided(c, n), (math.prod(shape), len(values)))
    y = c.emit("matmul", hot, c.out.param((entries[:-1] - entries[-1])[:, None], 1.0, "values"), scale=unit)
    return c.reshape(c.emit("addi", y, value=int(entries[-1]), scale=unit), shape)


@lowering("OneHotEncoder", domain=DOMAIN)
def one_hot_encoder(c: Context, n: Node) -> Result:
    x = c.tensor(n.inputs[0])
    if x.scale != 1.0:
        raise Unsupported("categories are compared with computed reals", "whole numbers, or an input of the model")
    keys = np.array(n.attr("cats_int64s") or (), np.int64)
    if not keys.size:
        raise Unsupported("categories that are strings", "whole numbers")
    return c.emit("eq", c.reshape(x, (*x.shape, 1)), c.out.param(keys, 1.0, "categories"), scale=1.0)


@lowering("OneHotEncoder", domain=FUSED)
def one_hot_encoder_of_input(c: Context, n: Node) -> Result:
    return c.reshape(decided(c, n), c.shape(n.outputs[0]))
