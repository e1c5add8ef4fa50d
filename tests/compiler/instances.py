"""Random instances of every operator that has a lowering: shapes, axes (negative ones too), attributes, broadcasting.

``INSTANCES[op](d)`` draws from ``d`` and gives the arguments of ``harness.check``. An operator that is registered and
not here fails ``test_every_operator``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from syurmy.compiler.ops.activation import FUNCTIONS
from syurmy.isa.arrays import Array

Instance = dict[str, Any]
DTYPES = (np.int8, np.uint8, np.int16, np.uint16, np.int32)


class Draw:
    """Random pieces of an instance."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def one(self, *of: Any) -> Any:
        return of[int(self.rng.integers(len(of)))]

    def int(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def flag(self) -> int:
        return self.int(0, 1)

    def shape(self, low: int = 1, high: int = 4, side: int = 4) -> list[int]:
        return [self.int(1, side) for _ in range(self.int(low, high))]

    def floats(self, *shape: int, factor: float = 1.0) -> Array:
        return np.asarray(self.rng.standard_normal(shape) * factor, np.float32)

    def ints(self, low: int, high: int, *shape: int, dtype: Any = np.int64) -> Array:
        return np.asarray(self.rng.integers(low, high + 1, shape), dtype)

    def bools(self, *shape: int) -> Array:
        return np.asarray(self.rng.integers(0, 2, shape), bool)

    def axis(self, rank: int) -> int:
        return self.int(-rank, rank - 1)

    def axes(self, rank: int, least: int = 1) -> list[int]:
        chosen = self.rng.permutation(rank)[: self.int(least, rank)]
        return [int(a) - rank * self.flag() for a in chosen]

    def pair(self) -> tuple[list[int], list[int]]:
        """Shapes that broadcast: axes of length 1, leading axes left out."""
        full = self.shape(0, 4)
        a, b = ([1 if self.flag() else d for d in full] for _ in range(2))
        return a[self.int(0, len(a)) :], b

    def split(self, inputs: dict[str, Array], fixed: Sequence[str]) -> Instance:
        """One of ``fixed``, or none, is a constant."""
        name = self.one("", *fixed)
        constants = {name: inputs.pop(name)} if name else {}
        return {"inputs": inputs, "constants": constants}


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


Make = Callable[[Draw], Instance]
INSTANCES: dict[str, Make] = {}


def of(*ops: str) -> Callable[[Callable[[Draw, str], Instance]], Callable[[Draw, str], Instance]]:
    """Registers how instances of some operators are made."""

    def register(make: Callable[[Draw, str], Instance]) -> Callable[[Draw, str], Instance]:
        for op in ops:
            assert op not in INSTANCES, op
            INSTANCES[op] = lambda d, op=op: {"op": op, **make(d, op)}  # type: ignore[misc]
        return make

    return register


# ---- entry by entry -------------------------------------------------------------------------------------------------

RANGES = {"Acos": (-0.9, 0.9), "Asin": (-0.9, 0.9), "Atanh": (-0.8, 0.8), "Acosh": (1.5, 9.0), "Log": (0.5, 9.0),
          "Sqrt": (0.1, 9.0), "Reciprocal": (0.5, 3.0), "Tan": (-1.4, 1.4)}  # fmt: skip
REFERENCE_FAILS = {"Softsign"}  # at rank 0: it writes into the scalar that abs gives
STEPS = {"Ceil", "Floor", "Round", "Sign", "ThresholdedRelu", "Shrink"}
ALPHA = {"Elu", "Celu", "LeakyRelu", "Selu", "HardSigmoid", "ThresholdedRelu", "Swish"}


@of(*FUNCTIONS)
def function(d: Draw, op: str) -> Instance:
    """Where the function jumps, arguments are multiples of 1/4, which are exact."""
    x = d.rng.uniform(*RANGES.get(op, (-4.0, 4.0)), d.shape(0, 4)).astype(np.float32)
    x = np.asarray(np.rint(x * 4) / 4 if op in STEPS else x, np.float32)
    out: Instance = {"inputs": {"x": x}, "opset": 24 if op == "Swish" else 21, "peak": 1e-2,
                     "rounded": op not in STEPS, "runtime": op in REFERENCE_FAILS}  # fmt: skip
    if op in ALPHA and d.flag():
        out["alpha"] = d.one(0.25, 0.5, 1.0)
    if op == "Gelu":
        out["approximate"] = d.one("none", "tanh")
    return out


@of("Relu", "Neg", "Identity")
def plain(d: Draw, op: str) -> Instance:
    shape = d.shape(0)
    return {"inputs": {"x": d.floats(*shape) if d.flag() else d.ints(-99, 99, *shape, dtype=np.int32)}}


@of("Clip")
def clip(d: Draw, op: str) -> Instance:
    bounds = d.one({}, {"l": -0.5}, {"h": 0.5}, {"l": -0.25, "h": 0.5}, {"l": 0.5, "h": 0.25}, {"l": 0.0})
    constants = {k: np.asarray(v, np.float32) for k, v in bounds.items()}
    order = ["x", *([k if k in bounds else "" for k in "lh"][: 2 if "h" in bounds else 1])]
    return {"inputs": {"x": d.floats(*d.shape(0), factor=2)}, "constants": constants, "order": order, "peak": 1,
            "rounded": True}  # fmt: skip


@of("PRelu")
def prelu(d: Draw, op: str) -> Instance:
    shape = d.shape(1, 4)
    slope = [1 if d.flag() else n for n in shape][d.int(0, len(shape)) :]
    return {**d.split({"x": d.floats(*shape), "s": d.floats(*slope)}, "s"), "order": ["x", "s"], "peak": 1}


@of("Add", "Sub", "Mul", "Div", "Pow")
def arithmetic(d: Draw, op: str) -> Instance:
    a, b = (d.floats(*s, factor=10.0 ** d.int(-2, 2)) for s in d.pair())
    if op == "Div":
        b = np.asarray(np.sign(b) * (np.abs(b) + np.abs(b).max()) + (b == 0), np.float32)
    if op == "Pow":
        a, b = np.asarray(np.abs(a) / np.abs(a).max() + 0.5, np.float32), np.asarray(d.one(-1.0, 0.5, 2, 3), np.float32)
    peak = max(float(np.abs(v).max()) for v in (a, b)) if op in ("Add", "Sub") else 1e-6
    return {**d.split({"a": a, "b": b}, ["b"] if op == "Pow" else ["a", "b"]), "order": ["a", "b"], "peak": peak,
            "tolerance": 4e-4}  # fmt: skip


@of("Sum", "Mean", "Max", "Min")
def variadic(d: Draw, op: str) -> Instance:
    a, b = d.pair()
    xs = {"a": d.floats(*a), "b": d.floats(*b, factor=3), "c": d.floats(1)}
    return {"inputs": {k: xs[k] for k in "abc"[: d.int(1, 3)]}, "peak": 3, "runtime": op == "Mean"}


@of("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def comparison(d: Draw, op: str) -> Instance:
    a, b = (d.ints(-3, 3, *s, dtype=np.int32) for s in d.pair())
    kind = d.one(np.int32, np.float32)
    return {**d.split({"a": a.astype(kind), "b": b.astype(kind)}, "ab"), "order": ["a", "b"]}


@of("And", "Or", "Xor")
def logic(d: Draw, op: str) -> Instance:
    a, b = (d.bools(*s) for s in d.pair())
    return {**d.split({"a": a, "b": b}, "ab"), "order": ["a", "b"]}


@of("Not")
def negation(d: Draw, op: str) -> Instance:
    return {"inputs": {"x": d.bools(*d.shape(0))}, "opset": d.one(1, 7, 21)}


@of("IsNaN")
def is_nan(d: Draw, op: str) -> Instance:
    return {"inputs": {"x": d.floats(*d.shape(0))}}


@of("Where")
def where(d: Draw, op: str) -> Instance:
    a, b = d.pair()
    mask = d.bools(*b[d.int(0, len(b)) :])
    return {**d.split({"m": mask, "a": d.floats(*a), "b": d.floats(*b, factor=4)}, "ab"), "order": ["m", "a", "b"],
            "peak": 4}  # fmt: skip


@of("Mod")
def mod(d: Draw, op: str) -> Instance:
    a, b = d.pair()
    x, y = d.ints(-99, 99, *a, dtype=np.int16), d.ints(1, 9, *b, dtype=np.int16) * d.one(-1, 1)
    return {**d.split({"a": x, "b": y.astype(np.int16)}, "b"), "order": ["a", "b"], "fmod": d.flag()}


@of("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bits(d: Draw, op: str) -> Instance:
    kind = d.one(*DTYPES)
    info = np.iinfo(kind)
    return {"inputs": {k: d.ints(info.min, info.max, *s, dtype=kind) for k, s in zip("ab", d.pair(), strict=True)}}


@of("BitwiseNot")
def complement(d: Draw, op: str) -> Instance:
    kind = d.one(*DTYPES)
    return {"inputs": {"x": d.ints(np.iinfo(kind).min, np.iinfo(kind).max, *d.shape(0), dtype=kind)}}


@of("BitShift")
def shift(d: Draw, op: str) -> Instance:
    kind = d.one(np.uint8, np.uint16)
    a, b = d.pair()
    x, y = d.ints(0, np.iinfo(kind).max, *a, dtype=kind), d.ints(0, np.iinfo(kind).bits - 1, *b, dtype=kind)
    return {**d.split({"a": x, "b": y}, "b"), "order": ["a", "b"], "direction": d.one("LEFT", "RIGHT")}


@of("BitCast")
def bit_cast(d: Draw, op: str) -> Instance:
    return {"inputs": {"x": d.ints(-128, 127, *d.shape(0), dtype=np.int8)}, "opset": 26, "to": int(TensorProto.UINT8)}


@of("Cast", "CastLike")
def cast(d: Draw, op: str) -> Instance:
    """Of reals with halves and quarters: toward 0."""
    source, target = d.one(np.float32, np.int16, np.bool_, np.uint8), d.one(np.float32, np.int32, np.int8, np.bool_)
    shape = d.shape(0)
    x = d.ints(0, 200, *shape) / 4
    x = np.asarray(x - 10 * (np.dtype(source).kind not in "ub"))
    x = np.asarray(np.rint(x) if np.dtype(source).kind != "f" else x).astype(source)
    if op == "Cast":
        return {"inputs": {"x": x}, "to": helper.np_dtype_to_tensor_dtype(np.dtype(target))}
    return {"inputs": {"x": x}, "constants": {"like": np.zeros(1, target)}}


# ---- products -------------------------------------------------------------------------------------------------------


def windows(d: Draw, rank: int, dilated: bool = True) -> tuple[Instance, list[int]]:
    kernel = [d.int(1, 3) for _ in range(rank)]
    out: Instance = {"kernel_shape": kernel, "strides": [d.int(1, 2) for _ in range(rank)]}
    if dilated:
        out["dilations"] = [d.int(1, 2) for _ in range(rank)]
    span = [(k - 1) * g + 1 for k, g in zip(kernel, out.get("dilations", [1] * rank), strict=True)]
    if d.flag():
        out["pads"] = [d.int(0, k // 2) for k in kernel * 2]
    return out, [s + d.int(0, 3) for s in span]


@of("Conv")
def conv(d: Draw, op: str) -> Instance:
    w, image = windows(d, d.int(1, 3))
    group, cin, cout = d.int(1, 3), d.int(1, 2), d.int(1, 2)
    weights = {"w": d.floats(group * cout, cin, *w["kernel_shape"]), "b": d.floats(group * cout)}
    return {"inputs": {"x": d.floats(d.int(1, 2), group * cin, *image)}, "constants": weights, "group": group,
            "peak": 1, **w}  # fmt: skip


@of("ConvTranspose")
def conv_transpose(d: Draw, op: str) -> Instance:
    rank, group = d.int(1, 2), d.int(1, 2)
    w, _ = windows(d, rank)
    w.pop("pads", None)
    weights = {"w": d.floats(2 * group, 3, *w["kernel_shape"]), "b": d.floats(3 * group)}
    return {"inputs": {"x": d.floats(1, 2 * group, *[d.int(1, 4) for _ in range(rank)])}, "constants": weights,
            "group": group, "runtime": True, "peak": 1, **w}  # fmt: skip


@of("Gemm")
def gemm(d: Draw, op: str) -> Instance:
    m, k, n, ta, tb = d.int(1, 5), d.int(1, 5), d.int(1, 5), d.flag(), d.flag()
    xs = {"a": d.floats(*((k, m) if ta else (m, k))), "b": d.floats(*((n, k) if tb else (k, n))),
          "c": d.floats(*d.one((n,), (m, 1), (1, n), (1,), ()))}  # fmt: skip
    return {**d.split(xs, "abc"), "order": ["a", "b", "c"], "transA": ta, "transB": tb, "alpha": d.one(0.5, 1.0),
            "beta": d.one(-0.5, 1.0), "peak": 2}  # fmt: skip


@of("MatMul")
def matmul(d: Draw, op: str) -> Instance:
    a, b = (s[-2:] for s in d.pair())
    m, k, n = d.int(1, 4), d.int(1, 5), d.int(1, 4)
    xs = {"a": d.floats(k) if d.int(0, 3) == 0 else d.floats(*a, m, k),
          "b": d.floats(k) if d.int(0, 3) == 0 else d.floats(*b, k, n)}  # fmt: skip
    return {**d.split(xs, "ab"), "order": ["a", "b"], "peak": 3}


@of("Einsum")
def einsum(d: Draw, op: str) -> Instance:
    equation = d.one("ij,jk->ik", "bij,bjk", "i,j->ij", "...ij,...jk->...ik", "bhqd,bhkd->bhqk", "ij->", "ij,ij->i")
    sizes = {ch: d.int(1, 4) for ch in "bdhijkq"}
    xs = {}
    for k, term in enumerate(equation.split("->")[0].split(",")):
        xs[f"x{k}"] = d.floats(*([2] if "..." in term else []), *(sizes[ch] for ch in term.replace("...", "")))
    return {"inputs": xs, "equation": equation, "peak": 2, "tolerance": 4e-4}


@of("Det")
def det(d: Draw, op: str) -> Instance:
    side = d.int(1, 4)
    return {"inputs": {"x": d.floats(*d.shape(0, 2), side, side)}, "opset": 22, "peak": 1, "tolerance": 1e-3}


@of("RNN", "GRU", "LSTM")
def recurrent(d: Draw, op: str) -> Instance:
    direction = d.one("forward", "reverse", "bidirectional")
    both, gates, hidden, batch = 1 + (direction == "bidirectional"), {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 3, d.int(1, 2)
    weights = {"w": d.floats(both, gates * hidden, 2), "r": d.floats(both, gates * hidden, hidden),
               "b": d.floats(both, 2 * gates * hidden)}  # fmt: skip
    attributes = {"linear_before_reset": d.flag()} if op == "GRU" else {}
    return {"inputs": {"x": d.floats(d.int(1, 4), batch, 2)}, "constants": weights, "outputs": ("y", "h"),
            "hidden_size": hidden, "direction": direction, "runtime": True, "tolerance": 1e-3,
            **attributes}  # fmt: skip


@of("Attention")
def attention(d: Draw, op: str) -> Instance:
    heads, keys = d.int(1, 2), d.int(1, 5)
    xs = {"q": d.floats(1, heads, d.int(1, 4), 4), "k": d.floats(1, heads, keys, 4), "v": d.floats(1, heads, keys, 4)}
    return {"inputs": xs, "opset": 23, "is_causal": d.flag(), "softcap": d.one(0.0, 5.0), "tolerance": 1e-3}


# ---- pooling, reductions, normalisations ----------------------------------------------------------------------------


@of("MaxPool", "AveragePool", "LpPool")
def pool(d: Draw, op: str) -> Instance:
    w, image = windows(d, d.int(1, 3), dilated=op == "MaxPool")
    extra: Instance = {"count_include_pad": d.flag()} if op == "AveragePool" else {}
    if op == "LpPool":
        extra = {"p": d.int(1, 4), "tolerance": 1e-3}
    return {"inputs": {"x": d.floats(1, 2, *image)}, "runtime": True, "peak": 2, **w, **extra}


@of("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(d: Draw, op: str) -> Instance:
    extra: Instance = {"p": d.int(1, 3), "tolerance": 1e-3} if op == "GlobalLpPool" else {}
    return {"inputs": {"x": d.floats(2, 3, *d.shape(1, 3))}, "runtime": True, "peak": 1, **extra}


@of("MaxUnpool")
def max_unpool(d: Draw, op: str) -> Instance:
    places = np.stack([d.rng.permutation(4 * 6)[:6] for _ in range(2)]) + integers(0, 24)[:, None]
    xs = {"x": d.floats(1, 2, 2, 3), "i": places.reshape(1, 2, 2, 3)}
    return {**d.split(xs, "i"), "order": ["x", "i"], "kernel_shape": [2, 2], "strides": [2, 2]}


@of("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceLogSumExp")
def reduction(d: Draw, op: str) -> Instance:
    shape = d.shape(1, 4, 3)
    constants = {"axes": integers(*d.axes(len(shape)))} if d.int(0, 3) else {}
    return {"inputs": {"x": d.floats(*shape) + np.float32(0.1)}, "constants": constants, "keepdims": d.flag(),
            "peak": 2, "tolerance": 1e-3}  # fmt: skip


@of("ArgMax", "ArgMin")
def arg(d: Draw, op: str) -> Instance:
    x = d.ints(-3, 3, *d.shape()).astype(np.float32)
    return {"inputs": {"x": x}, "axis": d.axis(x.ndim), "keepdims": d.flag(), "select_last_index": d.flag()}


@of("TopK")
def top_k(d: Draw, op: str) -> Instance:
    x = d.ints(-3, 3, *d.shape(), dtype=np.int32)
    axis = d.axis(x.ndim)
    return {"inputs": {"x": x}, "constants": {"k": integers(d.int(1, x.shape[axis]))}, "axis": axis,
            "largest": d.flag(), "outputs": ("y", "i")}  # fmt: skip


@of("Softmax", "LogSoftmax", "Hardmax", "LpNormalization")
def along_axis(d: Draw, op: str) -> Instance:
    x = d.floats(*[n + 1 for n in d.shape()], factor=3)
    extra: Instance = {"p": d.int(1, 2), "runtime": True} if op == "LpNormalization" else {}
    return {"inputs": {"x": x}, "axis": d.axis(x.ndim), "tolerance": 1e-3 if op != "LogSoftmax" else 2e-3, **extra}


@of("LayerNormalization", "RMSNormalization")
def layer_norm(d: Draw, op: str) -> Instance:
    shape, axis = [2, 3, 6], d.axis(3)
    constants = {"g": d.floats(*shape[axis:])}
    if op == "LayerNormalization" and d.flag():
        constants["b"] = d.floats(*shape[axis:])
    return {"inputs": {"x": d.floats(*shape, factor=3)}, "constants": constants, "axis": axis,
            "opset": 23 if op == "RMSNormalization" else 21, "tolerance": 1e-3}  # fmt: skip


@of("InstanceNormalization", "GroupNormalization", "BatchNormalization")
def channel_norm(d: Draw, op: str) -> Instance:
    image = d.shape(1, 3, 3)
    constants = {"g": d.floats(4), "b": d.floats(4)}
    if op == "BatchNormalization":
        constants |= {"m": d.floats(4), "v": np.abs(d.floats(4)) + np.float32(0.1)}
    extra = {"num_groups": d.one(1, 2, 4)} if op == "GroupNormalization" else {}
    return {"inputs": {"x": d.floats(2, 4, *image, 3)}, "constants": constants, "tolerance": 1e-3, "peak": 1, **extra}


@of("MeanVarianceNormalization")
def mean_variance(d: Draw, op: str) -> Instance:
    return {"inputs": {"x": d.floats(2, 3, 4, 5)}, "axes": d.axes(4, 2), "tolerance": 1e-3}


@of("LRN")
def lrn(d: Draw, op: str) -> Instance:
    return {"inputs": {"x": d.floats(2, 4, 3, 2)}, "size": d.one(1, 3, 5), "alpha": 0.2, "runtime": True,
            "tolerance": 1e-3}  # fmt: skip


# ---- views ----------------------------------------------------------------------------------------------------------


@of("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice", "Pad", "Concat", "Split",
    "Trilu", "CumSum", "CumProd", "ReverseSequence", "Resize", "Upsample", "EyeLike", "Dropout")  # fmt: skip
def view(d: Draw, op: str) -> Instance:
    shape = d.shape(2, 4)
    rank = len(shape)
    x = {"x": d.floats(*shape)}
    out: Instance = {"inputs": x, "peak": 1}
    if op == "Reshape":
        out["constants"] = {"s": integers(*d.one([0, -1], [-1], [-1, 1]))}
    elif op == "Flatten":
        out["axis"] = d.int(-rank, rank)
    elif op == "Squeeze":
        out |= {"inputs": {"x": x["x"][None, :, None]}, "constants": {"a": integers(0, 2 - (rank + 2) * d.flag())}}
    elif op == "Unsqueeze":
        out["constants"] = {"a": integers(*d.one([0, -1], [1], [-2], [0, 1]))}
    elif op == "Transpose":
        out["perm"] = d.rng.permutation(rank).tolist()
    elif op == "Expand":
        kept = [1 if d.flag() else n for n in shape]
        out |= {"inputs": {"x": d.floats(*kept)}, "constants": {"s": integers(*d.one([2, *shape], shape))}}
    elif op == "Tile":
        out["constants"] = {"r": integers(*(d.int(1, 3) for _ in shape))}
    elif op == "Slice":
        axis, step = d.axis(rank), d.one(1, 2, -1, -2)
        ends = (0, 100) if step > 0 else (-1, -100)
        out["constants"] = {k: integers(v) for k, v in zip("seat", (*ends, axis, step), strict=True)}
    elif op == "Pad":
        out |= {"constants": {"p": integers(*(d.int(0, 2) for _ in shape * 2))}, "mode": d.one("constant", "edge")}
    elif op == "Concat":
        out |= {"inputs": {**x, "z": d.floats(*shape, factor=5)}, "axis": d.axis(rank), "peak": 5}
    elif op == "Split":
        axis = d.axis(rank)
        shape[axis] = 5
        first = d.int(1, 4)
        out |= {"inputs": {"x": d.floats(*shape)}, "constants": {"s": integers(first, 5 - first)}, "axis": axis,
                "outputs": ("y", "z")}  # fmt: skip
    elif op == "Trilu":
        out |= {"constants": {"k": np.array(d.int(-3, 3))}, "upper": d.flag()}
    elif op in ("CumSum", "CumProd"):
        out |= {"constants": {"a": np.array(d.axis(rank))}, "exclusive": d.flag(), "reverse": d.flag(),
                "opset": 26 if op == "CumProd" else 21, "peak": 3, "tolerance": 5e-4}  # fmt: skip
    elif op == "ReverseSequence":
        first = d.flag()
        out |= {"constants": {"l": d.ints(1, shape[first], shape[1 - first])}, "time_axis": first,
                "batch_axis": 1 - first}  # fmt: skip
    elif op == "Resize":
        sizes = integers(1, 2, d.int(2, 8), d.int(2, 8))
        out |= {"inputs": {"x": d.floats(1, 2, 4, 5)}, "constants": {"s": sizes}, "order": ["x", "", "", "s"],
                "mode": d.one("nearest", "linear", "cubic"), "tolerance": 5e-4,
                "coordinate_transformation_mode": d.one("half_pixel", "asymmetric", "align_corners")}  # fmt: skip
    elif op == "Upsample":
        scales = np.array([1, 1, d.int(1, 3), d.int(1, 3)], np.float32)
        out |= {"inputs": {"x": d.floats(1, 2, 3, 4)}, "constants": {"s": scales}, "opset": 9, "runtime": True,
                "mode": d.one("nearest", "linear"), "tolerance": 5e-4}  # fmt: skip
    elif op == "EyeLike":
        out |= {"inputs": {"x": d.floats(d.int(1, 4), d.int(1, 4))}, "k": d.int(-2, 2)}
    return out


@of("Gather", "GatherElements", "GatherND")
def gather(d: Draw, op: str) -> Instance:
    """Indices that are constant or data, from either end."""
    shape = d.shape(2, 4)
    axis, x = d.axis(len(shape)), d.floats(*shape)
    n = min(shape[:2]) if op == "GatherND" else shape[axis]
    at = {"Gather": d.shape(0, 2), "GatherElements": shape, "GatherND": [*d.shape(0, 2), d.int(1, 2)]}[op]
    extra = {} if op == "GatherND" else {"axis": axis}
    return {**d.split({"x": x, "i": d.ints(-n, n - 1, *at)}, ["i", "x"]), "order": ["x", "i"], "peak": 1, **extra}


@of("Compress")
def compress(d: Draw, op: str) -> Instance:
    """Rows, or entries, that a constant condition picks; it may be shorter than the axis."""
    x = d.floats(*d.shape(1, 3))
    axis, flat = d.axis(x.ndim), d.flag()
    kept = np.arange(d.int(1, x.size if flat else x.shape[axis])) % d.int(1, 3) == 0
    return {"inputs": {"x": x}, "constants": {"c": kept}, "peak": 1, **({} if flat else {"axis": axis})}


@of("ScatterElements", "ScatterND", "Scatter")
def scatter(d: Draw, op: str) -> Instance:
    """Different places, constant or data; several values to one place where they are added."""
    rows, width = d.int(2, 4), d.int(1, 4)
    count = d.int(1, rows)
    add = op != "Scatter" and bool(d.flag())
    pick: Callable[[], Any] = (
        (lambda: d.rng.integers(0, rows, count)) if add else lambda: d.rng.permutation(rows)[:count]
    )
    at = pick()[:, None] if op == "ScatterND" else np.stack([pick() for _ in range(width)], axis=1)
    x, u = d.floats(rows, width), d.floats(count, width)
    axis = d.one(0, -2)
    if op != "ScatterND" and d.flag():
        x, u, at, axis = x.T, u.T, at.T, d.one(1, -1)
    xs = {k: np.ascontiguousarray(v) for k, v in (("x", x), ("i", at - rows * d.flag()), ("u", u))}
    extra: Instance = {} if op == "ScatterND" else {"axis": axis}
    extra |= {"opset": 10, "runtime": True} if op == "Scatter" else {"reduction": "add" if add else "none"}
    return {**d.split(xs, "i"), "order": ["x", "i", "u"], "peak": 2, "tolerance": 4e-4, **extra}


@of("TensorScatter")
def tensor_scatter(d: Draw, op: str) -> Instance:
    batch, heads, length, steps = d.int(1, 3), d.int(1, 2), d.int(3, 5), d.int(1, 3)
    mode = d.one("linear", "circular")
    start = d.ints(0, length - (steps if mode == "linear" else 1), batch)
    shape, axis = d.one(([batch, heads, length, 2], -2), ([batch, length, 2], 1))
    new = [steps if n == length and k in (axis, axis % len(shape)) else n for k, n in enumerate(shape)]
    xs = {"x": d.floats(*shape), "u": d.floats(*new), "i": start}
    return {**d.split(xs, "i"), "order": ["x", "u", "i"], "opset": 24, "mode": mode, "axis": axis, "peak": 1,
            "tolerance": 4e-4}  # fmt: skip


@of("OneHot")
def one_hot(d: Draw, op: str) -> Instance:
    depth = d.int(2, 5)
    constants = {"d": np.array(depth), "v": np.array(d.one([0, 1], [-1.5, 2.5]), np.float32)}
    shape = d.shape(0, 3)
    return {"inputs": {"i": d.ints(-depth, depth - 1, *shape)}, "constants": constants, "axis": d.axis(len(shape) + 1)}


@of("RotaryEmbedding")
def rotary(d: Draw, op: str) -> Instance:
    width, length = d.one(4, 8), d.int(1, 4)
    turned = width // d.one(1, 2)
    angles = d.rng.uniform(0, 6, (2, length, turned // 2)).astype(np.float32)
    return {"inputs": {"x": d.floats(2, d.int(1, 3), length, width)}, "opset": 23, "tolerance": 5e-4,
            "constants": {"cos": np.cos(angles), "sin": np.sin(angles)}, "interleaved": d.flag(),
            "rotary_embedding_dim": turned if turned < width else 0}  # fmt: skip
