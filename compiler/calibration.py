"""The samples on which a model is observed: given by the user, or random."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from syurmy.compiler.errors import ModelError
from syurmy.compiler.graph import Defined
from syurmy.compiler.load import free_first
from syurmy.compiler.scales import FEW
from syurmy.compiler.values import accepted
from syurmy.isa.arrays import Array
from syurmy.isa.errors import InputError

Sample = Mapping[str, Array]
DEFAULT_SAMPLES, LARGE_SAMPLES = 6, 3  # random ones, and of a large model: every tensor has many entries
LARGE = 2**24  # weights
MOVES = {"Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose", "Slice", "Split", "Expand"}
MAX_SAMPLES = 64
LOOKED_AT = 4096  # samples among which the furthest are found, where the float model is small
HALVED = 8  # from so many samples on, half of them are kept back to measure
KEPT = 2**30  # bytes of the float model's tensors that are kept, instead of computed again


def random_samples(
    model: onnx.ModelProto, count: int = 0, given: Mapping[str, Array] | None = None
) -> list[dict[str, Array]]:
    """Normal reals, integers over the rows that they choose among, else over a dtype of 8 bits, else 0 or 1; always the
    same ones. As many as suit the model unless ``count`` says so; ``given``: what else of its inputs are in each."""
    weights = sum(math.prod(t.dims) for t in model.graph.initializer)
    count = count or (DEFAULT_SAMPLES if weights < LARGE else LARGE_SAMPLES)
    rng = np.random.default_rng(0)
    rows = rows_chosen(model)
    samples = []
    for _ in range(count):
        one: dict[str, Array] = dict(given or {})
        for name, dtype, shape in _inputs(model):
            if name in one:
                continue
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


def rows_chosen(model: onnx.ModelProto) -> dict[str, int]:
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


class Runs:
    """The float model's tensors by name, inputs included, on one sample after the other (``graph.Defined``); ``room``:
    bytes of them that are kept."""

    def __init__(self, model: onnx.ModelProto, samples: Sequence[Sample], weights: Mapping[str, Array] | None = None):
        """``weights``: see ``graph.Runner``."""
        self._run = Defined(model, weights)
        self.weights = self._run.weights
        self.samples = samples
        self._kept: dict[int, Mapping[str, Any]] = {}
        self._bytes = 0
        self.room = KEPT
        self.inputs = tuple(samples[0])

    def __getitem__(self, k: int) -> Mapping[str, Any]:
        if k in self._kept:
            return self._kept[k]
        tensors = self._run(self.samples[k])
        size = sum(np.asarray(x).nbytes for x in tensors.values())
        if self._bytes + size <= self.room:
            self._kept[k] = tensors
            self._bytes += size
        return tensors

    def of(self, sample: Sample) -> Mapping[str, Any]:
        """The same of inputs that are no sample."""
        return self._run(sample)

    def extremes(self, tell: Callable[[str, float], None]) -> npt.NDArray[np.float64]:
        """What every tensor reaches, by sample; more than ``MAX_SAMPLES`` only where that takes no memory."""
        found = [extremes_of(self[0], self.inputs)]
        count = min(len(self.samples), max(MAX_SAMPLES, KEPT // max(self._bytes, 1)))
        for k in range(1, count):
            tell("float model", k / count)
            found.append(extremes_of(self[k], self.inputs))
        return np.stack(found)


def split(extremes: npt.NDArray[np.float64], margin: float, random: bool) -> tuple[list[int], list[int]]:
    """Which samples scales come from, and which are held out to measure on as well (none of few that were given).

    ``extremes[k]``: what each tensor (and each feature of an input) reaches on sample k. Scales come from half of
    ``MAX_SAMPLES`` at most (two thirds of random ones), the furthest first: rows that the user gives must not be cut
    off for having been held out. Where it takes more than that to come near every extreme, up to three quarters are
    taken. The margin takes up the rest.
    """
    count = min(len(extremes), MAX_SAMPLES)
    if count < HALVED and not random:
        return list(range(count)), []
    usual = count - count // 3 if random else (count + 1) // 2
    near = extremes * (1 + (margin - 1) / 2) >= extremes.max(axis=0, initial=0.0)
    taken = [0]
    while len(taken) < max(usual, count - count // 4):
        missing = near[:, ~near[taken].any(axis=0)].sum(axis=1)
        if not missing.any():
            break
        taken.append(int(missing.argmax()))
    everywhere = [*_spread(range(len(extremes)), usual), *range(len(extremes))]
    taken += [k for k in dict.fromkeys(everywhere) if k not in taken][: max(usual - len(taken), 0)]
    return sorted(taken), _spread(sorted(set(range(len(extremes))) - set(taken)), count - len(taken))


def _spread(of: Sequence[int], count: int) -> list[int]:
    """``count`` of them at even distances."""
    return [of[k * len(of) // count] for k in range(count)]


def extremes_of(tensors: Mapping[str, Any], inputs: Sequence[str]) -> npt.NDArray[np.float64]:
    """The largest finite magnitude of every real tensor that the float model makes of one sample, and of every feature
    (place along the last axis) of its ``inputs``."""
    found: list[npt.NDArray[np.float64]] = []
    for name, x in tensors.items():
        x = np.asarray(x)
        if x.dtype.kind != "f" or not x.size:
            found.append(np.zeros(1))
            continue
        by_feature = name in inputs and x.ndim > 0 and x.size <= FEW
        rows = x.reshape(-1, x.shape[-1] if by_feature else 1)
        reach = np.maximum(-rows.min(axis=0), rows.max(axis=0)).astype(np.float64)
        if not np.isfinite(reach).all():
            reach = np.abs(np.where(np.isfinite(rows), rows, 0)).max(axis=0).astype(np.float64)
        found.append(reach)
    return np.concatenate(found)


def _of_time(model: onnx.ModelProto, name: str, given: Sequence[int], shape: Sequence[int]) -> str:
    """What to do where data shows that a free first axis, which was taken for a batch of one, is another: time, say."""
    last = given[len(given) - len(shape) :]
    if name not in free_first(model) or tuple(last[1:]) != tuple(shape[1:]):
        return ""
    taken = f"the first axis of '{name}' is free and was taken for a batch of 1"
    return f"{taken}; if it is time, give --shape {name}={','.join(map(str, last))}"


def _walked(model: onnx.ModelProto, name: str) -> bool:
    """Whether a recurrent operator takes an input step by step along its first axis."""
    readers = [n for n in model.graph.node if name in (n.input if n.op_type == "Scan" else n.input[:1])]
    batched = [any(a.name == "layout" and a.i for a in n.attribute) for n in readers]
    return any(n.op_type in ("GRU", "LSTM", "RNN", "Scan") and not b for n, b in zip(readers, batched, strict=True))


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
        fits = x.shape == shape or x.shape[1:] == shape or (shape[:1] == (1,) and x.shape[1:] == shape[1:])
        if not fits and (x.ndim == 1 or (x.ndim == 2 and x.shape[1] == math.prod(shape))):
            x = x.reshape(-1, *shape) if x.size % math.prod(shape) == 0 else x  # flat lists, one for each sample or all
        apart = x.shape != shape
        if x.shape == shape:
            x = x[None]
        elif shape[:1] == (1,) and x.shape[1:] == shape[1:]:
            x = x[:, None]
        if x.shape[1:] != shape or not len(x):
            raise ModelError(
                f"calibration data of '{name}' has shape {list(x.shape)}, expected {list(shape)} or a stack of them",
                code="M109",
                help=_of_time(model, name, x.shape, shape),
            )
        said = _of_time(model, name, (len(x), *shape[1:]), shape) if apart and _walked(model, name) else ""
        if said and len(x) > 1:
            warnings.warn(f"{said}; {len(x)} samples of one step each are taken", stacklevel=4)
        with np.errstate(over="ignore"):
            stacks[name] = x.astype(dtype)
        if dtype.kind == "f" and (np.isfinite(x) & ~np.isfinite(stacks[name])).any():
            raise ModelError(f"calibration data of '{name}' is beyond {dtype}", code="M109")
    unknown = sorted(set(given) - set(stacks))
    if unknown:
        raise ModelError(f"calibration data for '{unknown[0]}', which is no input", code="M109")
    counts = {name: len(x) for name, x in stacks.items()}
    count = min(counts.values(), default=1)
    for name, other in counts.items():
        if other != count:
            few = next(k for k, c in counts.items() if c == count)
            what = f"calibration data holds {other} samples of '{name}' and {count} of '{few}'"
            shape = tuple(stacks[name].shape[1:])
            raise ModelError(what, code="M109", help=_of_time(model, name, (count, other, *shape[1:]), shape))
    return [{name: np.asarray(x[k]) for name, x in stacks.items()} for k in range(min(count, LOOKED_AT))]
