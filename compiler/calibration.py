"""The samples on which a model is observed: given by the user, or random."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from syurmy.compiler.errors import ModelError

Array = npt.NDArray[Any]
DEFAULT_SAMPLES = 6
MAX_SAMPLES = 64
HALVED = 8  # from so many samples on, half of them are kept back to measure


def random_samples(model: onnx.ModelProto, count: int = DEFAULT_SAMPLES) -> list[dict[str, Array]]:
    """Normal reals and integers 0 or 1, always the same ones."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        one: dict[str, Array] = {}
        for name, dtype, shape in _inputs(model):
            x = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
            one[name] = np.asarray(x).astype(dtype)
        samples.append(one)
    return samples


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
    """From arrays by input name, each one sample or several stacked. Raises ``ModelError``."""
    stacks: dict[str, Array] = {}
    for name, dtype, shape in _inputs(model):
        if name not in given:
            raise ModelError(f"no calibration data for input '{name}'", code="M109")
        x = np.asarray(given[name])
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise ModelError(f"calibration data of '{name}' holds NaN or infinity", code="M109")
        if not math.prod(x.shape[1:]):
            raise ModelError(f"calibration data of '{name}' has no entries: shape {list(x.shape)}", code="M109")
        if x.shape == shape:
            x = x[None]
        elif shape[:1] == (1,) and x.shape[1:] == shape[1:]:
            x = x[:, None]
        if x.shape[1:] != shape or not len(x):
            raise ModelError(
                f"calibration data of '{name}' has shape {list(x.shape)}, expected {list(shape)} or a stack of them",
                code="M109",
            )
        stacks[name] = x.astype(dtype)
    unknown = sorted(set(given) - set(stacks))
    if unknown:
        raise ModelError(f"calibration data for '{unknown[0]}', which is no input", code="M109")
    count = min((len(x) for x in stacks.values()), default=1)
    return [{name: np.asarray(x[k]) for name, x in stacks.items()} for k in range(min(count, MAX_SAMPLES))]
