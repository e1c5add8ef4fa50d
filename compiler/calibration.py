"""The samples on which a model is observed: given by the user, or random."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from syurmy.compiler.errors import ModelError
from syurmy.compiler.values import accepted
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError

DEFAULT_SAMPLES = 6
MOVES = {"Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose", "Slice", "Split", "Expand"}
MAX_SAMPLES = 64
HALVED = 8  # from so many samples on, half of them are kept back to measure


def random_samples(model: onnx.ModelProto, count: int = DEFAULT_SAMPLES) -> list[dict[str, Array]]:
    """Normal reals, integers over the rows that they choose among, else over a dtype of 8 bits, else 0 or 1; always the
    same ones."""
    rng = np.random.default_rng(0)
    rows = _rows_chosen(model)
    samples = []
    for _ in range(count):
        one: dict[str, Array] = {}
        for name, dtype, shape in _inputs(model):
            low, high = _interval(dtype, rows.get(name))
            x = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(low, high, shape)
            one[name] = np.asarray(x).astype(dtype)
        samples.append(one)
    return samples


def _interval(dtype: np.dtype[Any], rows: int | None) -> tuple[int, int]:
    """Where random integers are drawn from, the end excluded."""
    if rows is not None:
        return 0, rows
    if dtype.kind in "iu" and dtype.itemsize == 1:
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1
    return 0, 2


def _rows_chosen(model: onnx.ModelProto) -> dict[str, int]:
    """By integer input: how many rows what it indexes has (tokens of a vocabulary, positions, classes of a one-hot)."""
    graph = model.graph
    values = {t.name: list(t.dims) for t in graph.initializer}
    for v in (*graph.value_info, *graph.input):
        values.setdefault(v.name, [d.dim_value for d in v.type.tensor_type.shape.dim])
    constants = {t.name: t for t in graph.initializer}
    origin = {name: name for name, dtype, _ in _inputs(model) if dtype.kind in "iu"}
    rows: dict[str, int] = {}
    for n in graph.node:
        if n.op_type in MOVES and n.input[0] in origin:
            origin.update(dict.fromkeys(n.output, origin[n.input[0]]))
        count = 0
        if n.op_type == "Gather" and n.input[1] in origin and values.get(n.input[0]):
            axis = next((a.i for a in n.attribute if a.name == "axis"), 0)
            count, name = values[n.input[0]][axis], origin[n.input[1]]
        elif n.op_type == "OneHot" and n.input[0] in origin and n.input[1] in constants:
            depth = onnx.numpy_helper.to_array(constants[n.input[1]])
            count, name = int(depth.reshape(-1)[0]), origin[n.input[0]]
        if count > 0:
            rows[name] = min(count, rows.get(name, count))
    return rows


def _inputs(model: onnx.ModelProto) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    initialised = {t.name for t in model.graph.initializer}
    out = []
    for i in model.graph.input:
        if i.name not in initialised:
            t = i.type.tensor_type
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(t.elem_type))
            out.append((i.name, dtype, tuple(d.dim_value for d in t.shape.dim)))
    return out


def halves(samples: Sequence[dict[str, Array]], random: bool) -> tuple[list[dict[str, Array]], list[dict[str, Array]]]:
    """The samples that scales come from, and those that accuracy is measured on as well: every other one of many given,
    a third of random ones."""
    if random:
        return list(samples[: -(len(samples) // 3) or None]), list(samples[len(samples) - len(samples) // 3 :])
    return (list(samples[::2]), list(samples[1::2])) if len(samples) >= HALVED else (list(samples), [])


def given_samples(model: onnx.ModelProto, given: Mapping[str, npt.ArrayLike]) -> list[dict[str, Array]]:
    """From arrays by input name, each one sample or several stacked; NaN and infinity too, which only some models can
    take (``compiler.pipeline``). Raises ``ModelError``."""
    stacks: dict[str, Array] = {}
    for name, dtype, shape in _inputs(model):
        if name not in given:
            raise ModelError(f"no calibration data for input '{name}'", code="M109")
        try:
            x = accepted(name, given[name], dtype)
        except InputError as e:
            raise ModelError(f"calibration data cannot be used: {e.message}", code="M109", help=e.help) from e
        if not math.prod(x.shape[1:]):
            raise ModelError(f"calibration data of '{name}' has no entries: shape {list(x.shape)}", code="M109")
        if x.ndim <= 2 and x.shape[-1:] == (math.prod(shape),) and x.shape[1:] != shape and x.shape != shape:
            x = x.reshape(-1, *shape)  # flat lists, one for each sample
        if x.shape == shape:
            x = x[None]
        elif shape[:1] == (1,) and x.shape[1:] == shape[1:]:
            x = x[:, None]
        if x.shape[1:] != shape or not len(x):
            raise ModelError(
                f"calibration data of '{name}' has shape {list(x.shape)}, expected {list(shape)} or a stack of them",
                code="M109",
            )
        with np.errstate(over="ignore"):
            stacks[name] = x.astype(dtype)
        if dtype.kind == "f" and (np.isfinite(x) & ~np.isfinite(stacks[name])).any():
            raise ModelError(f"calibration data of '{name}' is beyond {dtype}", code="M109")
    unknown = sorted(set(given) - set(stacks))
    if unknown:
        raise ModelError(f"calibration data for '{unknown[0]}', which is no input", code="M109")
    count = min((len(x) for x in stacks.values()), default=1)
    return [{name: np.asarray(x[k]) for name, x in stacks.items()} for k in range(min(count, MAX_SAMPLES))]
