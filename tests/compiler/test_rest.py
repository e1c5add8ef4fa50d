"""Lowerings that the other files leave: each is compared with the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from syurmy.compiler import UnsupportedModel
from tests.compiler.harness import check, floats
from tests.drawing import SEEDS, examples

SOME = examples(8)


@SOME
@given(SEEDS, st.integers(-2, 1), st.booleans(), st.booleans())
def test_cumulative_product(seed: int, axis: int, exclusive: bool, reverse: bool) -> None:
    x = floats(np.random.default_rng(seed), 3, 4)
    check("CumProd", {"x": x}, {"a": np.array(axis)}, opset=26, exclusive=int(exclusive), reverse=int(reverse),
          peak=1, tolerance=5e-4)  # fmt: skip


@SOME
@given(SEEDS, st.integers(1, 3), st.booleans())
def test_root_mean_square(seed: int, axes: int, negative: bool) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, 2, 3, 4, 5)
    axis = -axes if negative else 4 - axes
    check("RMSNormalization", {"x": x}, {"s": floats(rng, *x.shape[axis:])}, opset=23, axis=axis, tolerance=1e-3)


@SOME
@given(SEEDS, st.sampled_from([(0, 2, 3), (1,), (-1,), (0, 1, 2, 3)]))
def test_mean_and_variance(seed: int, axes: tuple[int, ...]) -> None:
    x = floats(np.random.default_rng(seed), 2, 3, 4, 5) + np.float32(0.5)
    check("MeanVarianceNormalization", {"x": x}, axes=list(axes), tolerance=1e-3)


@SOME
@given(SEEDS, st.integers(1, 3))
def test_global_norm_pool(seed: int, p: int) -> None:
    x = floats(np.random.default_rng(seed), 2, 3, 4, 5)
    check("GlobalLpPool", {"x": x}, p=p, runtime=True, tolerance=1e-3)


@SOME
@given(SEEDS, st.booleans())
def test_reversed_sequences(seed: int, time_first: bool) -> None:
    rng = np.random.default_rng(seed)
    batch, time = 3, 4
    x = floats(rng, *((time, batch) if time_first else (batch, time)), 2)
    axes = {"time_axis": 0, "batch_axis": 1} if time_first else {"time_axis": 1, "batch_axis": 0}
    check("ReverseSequence", {"x": x}, {"l": rng.integers(1, time + 1, batch)}, **axes)


@SOME
@given(SEEDS, st.booleans(), st.booleans())
def test_rotary_embedding(seed: int, interleaved: bool, partial: bool) -> None:
    rng = np.random.default_rng(seed)
    width, length = 8, 3
    turned = 4 if partial else width
    angles = rng.uniform(0, 6, (2, length, turned // 2)).astype(np.float32)
    constants = {"cos": np.cos(angles), "sin": np.sin(angles)}
    check("RotaryEmbedding", {"x": floats(rng, 2, 2, length, width)}, constants, opset=23, tolerance=5e-4,
          interleaved=int(interleaved), rotary_embedding_dim=turned if partial else 0)  # fmt: skip


@SOME
@given(SEEDS, st.integers(-2, 1))
def test_scatter_of_old_opsets(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    x, at = floats(rng, 4, 4), np.stack([rng.permutation(4)[:3] for _ in range(4)])
    at = at if axis % 2 else at.T
    check("Scatter", {"x": x, "u": floats(rng, *at.shape)}, {"i": np.ascontiguousarray(at)}, order=["x", "i", "u"],
          opset=10, axis=axis, runtime=True)  # fmt: skip


def test_no_number_is_nan() -> None:
    check("IsNaN", {"x": floats(np.random.default_rng(0), 3)})


@pytest.mark.parametrize("k", [-2, 0, 1])
def test_identity_matrices(k: int) -> None:
    """A constant, whatever the input is."""
    x = floats(np.random.default_rng(0), 3, 4)
    done = check("EyeLike", {"x": x}, k=k)
    assert not sum(r.lookups for r in done.rows)


def test_bits_of_integers() -> None:
    x = np.array([-128, -1, 0, 1, 127], np.int8)
    check("BitCast", {"x": x}, opset=26, to=2)
    with pytest.raises(UnsupportedModel, match="the bits of"):
        check("BitCast", {"x": floats(np.random.default_rng(0), 3)}, opset=26, to=6)


@pytest.mark.parametrize("op", ["BlackmanWindow", "HammingWindow", "HannWindow", "Range", "Dropout", "MelWeightMatrix"])
def test_what_depends_on_no_data(op: str) -> None:
    """Windows, ranges and filter banks are constants; a dropout at inference is nothing."""
    node, rng = helper.make_node, np.random.default_rng(0)
    inputs = {
        "Range": [np.float32(1), np.float32(7), np.float32(1)],
        "MelWeightMatrix": [np.array(k) for k in (6, 10, 8000)] + [np.float32(0), np.float32(4000)],
        "Dropout": [floats(rng, 6)],
    }.get(op, [np.array(6)])
    constants = {f"c{k}": v for k, v in enumerate(inputs)}
    nodes = [node(op, list(constants), ["w"]), node("Mul", ["x", "w"], ["y"])]
    check(nodes, {"x": floats(rng, 6, 6)}, constants, tolerance=3e-4)
