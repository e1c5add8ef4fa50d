"""Move and view instructions: executed values and constraint graph against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa.errors import TypeRuleError
from syurmy.isa.program import Affine
from syurmy.isa.system import build
from syurmy.isa.types import DType
from tests.drawing import SEEDS, examples
from tests.isa.graph_eval import (
    Operand,
    check,
    check_op,
    instruction,
    op_program,
    program_of,
    random_array,
    random_shape,
)


def refused(op: str, *arrays: np.ndarray, **attrs: object) -> str:
    program, _ = op_program(op, [Operand(a, DType.I8) for a in arrays], **attrs)
    with pytest.raises(TypeRuleError) as e:
        build(program)
    return e.value.code


def any_axis(rng: np.random.Generator, rank: int) -> int:
    return int(rng.integers(-rank, rank))


@examples(25)
@given(SEEDS, st.integers(1, 4))
def test_shape_changes(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    x = random_array(rng, random_shape(rng, rank))
    assert np.array_equal(check_op("mov", x), x)
    assert np.array_equal(check_op("reshape", x, shape=(-1,)), x.ravel())
    assert np.array_equal(check_op("reshape", x, shape=(1, x.size)), x.reshape(1, -1))
    assert np.array_equal(check_op("transpose", x), x.T)
    perm = rng.permutation(rank)
    assert np.array_equal(check_op("transpose", x, perm=tuple((perm - rank).tolist())), x.transpose(perm))
    axis = any_axis(rng, rank)
    assert np.array_equal(check_op("flip", x, axis=axis), np.flip(x, axis))
    shape = tuple(int(rng.integers(1, 4)) if d == 1 else d for d in x.shape)
    assert np.array_equal(check_op("broadcast", x, shape=(2, *shape)), np.broadcast_to(x, (2, *shape)))


@examples(25)
@given(SEEDS, st.integers(1, 3), st.integers(1, 3))
def test_slice_concat_pad_put(seed: int, rank: int, step: int) -> None:
    rng = np.random.default_rng(seed)
    x = random_array(rng, random_shape(rng, rank))
    axis = any_axis(rng, rank)
    d = x.shape[axis]
    start = int(rng.integers(d))
    n = int(rng.integers(1, (d - start - 1) // step + 2))
    true = np.take(x, [start + j * step for j in range(n)], axis)
    assert np.array_equal(check_op("slice", x, axis=axis, start=start, len=n, step=step), true)

    others = [random_array(rng, [*x.shape[: axis % rank], k, *x.shape[axis % rank + 1 :]], DType.I16) for k in (1, 3)]
    assert np.array_equal(check_op("concat", x, *others, axis=axis), np.concatenate([x, *others], axis))
    assert np.array_equal(check_op("concat", x, axis=axis), x)

    widths = rng.integers(0, 3, size=(rank, 2))
    axes = tuple(i - rank for i in range(rank))
    before, after = tuple(widths[:, 0].tolist()), tuple(widths[:, 1].tolist())
    for value in (0, -7):
        true = np.pad(x, widths, constant_values=value)
        assert np.array_equal(check_op("pad", x, axis=axes, before=before, after=after, value=value), true)

    part = random_array(rng, true_part_shape(x, axis, n_part := int(rng.integers(1, d + 1))))
    at = int(rng.integers(0, d - n_part + 1))
    true = np.moveaxis(x, axis, 0).copy()
    true[at : at + n_part] = np.moveaxis(part, axis, 0)
    assert np.array_equal(check_op("put", x, part, axis=axis, at=at), np.moveaxis(true, 0, axis))


def true_part_shape(x: np.ndarray, axis: int, n: int) -> list[int]:
    shape = list(x.shape)
    shape[axis] = n
    return shape


@examples(25)
@given(SEEDS, st.integers(0, 2))
def test_im2col(seed: int, lead: int) -> None:
    rng = np.random.default_rng(seed)
    x = random_array(rng, (*random_shape(rng, lead, 3), *rng.integers(1, 7, size=2)))
    kernel, stride, dilation = (tuple(rng.integers(1, 4, size=2).tolist()) for _ in range(3))
    pad = tuple(rng.integers(0, 4, size=int(rng.choice([2, 4]))).tolist())
    top, left, bottom, right = pad if len(pad) == 4 else pad * 2
    p = np.pad(x, [(0, 0)] * lead + [(top, bottom), (left, right)])
    oh, ow = ((p.shape[lead + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2))
    attrs = {"kernel": kernel, "stride": stride, "dilation": dilation, "pad": pad}
    if min(oh, ow) < 1:
        assert refused("im2col", x, **attrs) == "A220"
        return
    true = np.zeros((*x.shape[:lead], oh, ow, *kernel), np.int64)
    for oy, ox, ky, kx in itertools.product(range(oh), range(ow), range(kernel[0]), range(kernel[1])):
        y, z = oy * stride[0] + ky * dilation[0], ox * stride[1] + kx * dilation[1]
        true[..., oy, ox, ky, kx] = p[..., y, z]
    assert np.array_equal(check_op("im2col", x, **attrs), true)


@pytest.mark.parametrize("kind", ["private", "public", "param", "public param"])
def test_every_kind_of_operand(kind: str) -> None:
    x = np.arange(-6, 6).reshape(3, 4)
    assert np.array_equal(check_op("flip", Operand(x, kind=kind), axis=0), x[::-1])
    assert np.array_equal(check_op("slice", Operand(x, kind=kind), axis=1, start=1, len=2), x[:, 1:3])


@examples(25)
@given(SEEDS, st.integers(1, 4), st.integers(0, 1))
def test_counter_slices_and_puts(seed: int, rounds: int, axis: int) -> None:
    """dst is filled slice by slice with rescaled slices of src, in reverse; then put into, whole."""
    rng = np.random.default_rng(seed)
    x = random_array(rng, (2 * rounds, 3) if axis == 0 else (3, 2 * rounds))
    old = random_array(rng, x.shape)
    loop = [
        instruction("mov", "y", "old"),
        instruction("repeat", None, count=rounds, counter="t"),
        instruction("slice", "s", "x", axis=axis, start=Affine(0, (("t", 2),)), len=2),
        instruction("rescale", "r", "s", shift=1, dtype=DType.I8),
        instruction("put", "y", "y", "r", axis=axis, at=Affine(2 * rounds - 2, (("t", -2),))),
        instruction("slice", "z", "y", axis=axis, start=Affine(0, (("t", 1),)), len=1),
        instruction("neg", "w", "z"),
        instruction("end", None),
    ]
    program, inputs = program_of({"x": Operand(x), "old": Operand(old)}, loop, ["y", "w"])
    trace = check(program, inputs).trace
    half = np.moveaxis((x + 1) >> 1, axis, 0).reshape(rounds, 2, 3)[::-1].reshape(-1, 3)
    assert np.array_equal(np.moveaxis(trace.outputs["y"], axis, 0), half)


def test_put_that_becomes_a_value() -> None:
    """Along a second axis, or of a value that changes in the loop, a put is its own linear image."""
    x = np.arange(12).reshape(3, 4)
    code = [
        instruction("put", "y", "x", "row", axis=0, at=1),
        instruction("put", "y", "y", "column", axis=1, at=2),
        instruction("repeat", None, count=2, counter="t"),
        instruction("put", "y", "y", "cell", axis=0, at=Affine(0, (("t", 2),))),
        instruction("end", None),
    ]
    operands = {
        "x": Operand(x),
        "row": Operand([[-1, -2, -3, -4]]),
        "column": Operand([[50], [60], [70]]),
        "cell": Operand([[7, 8, 9, 10]]),
    }
    program, inputs = program_of(operands, code, ["y"])
    true = np.array([[7, 8, 9, 10], [-1, -2, 60, -4], [7, 8, 9, 10]])
    assert np.array_equal(check(program, inputs).trace.outputs["y"], true)


def test_put_keeps_dtype_and_refuses_what_does_not_fit() -> None:
    program, _ = op_program("put", [Operand([1, 2], DType.I8), Operand([300], DType.I16)])
    with pytest.raises(TypeRuleError, match="leaves i8"):
        build(program)


def test_refusals() -> None:
    x = np.zeros((2, 3), np.int64)
    assert refused("reshape", x, shape=(4, 2)) == "A220"
    assert refused("reshape", x, shape=(-1, -1)) == "A220"
    assert refused("reshape", x, shape=(0, -1)) == "A220"
    assert refused("transpose", x, perm=(0, 0)) == "A221"
    assert refused("slice", x, axis=2, start=0, len=1) == "A221"
    assert refused("slice", x, axis=1, start=2, len=2) == "A222"
    assert refused("slice", x, axis=1, start=-1, len=1) == "A222"
    assert refused("slice", x, axis=1, start=Affine(0, (("t", 1),)), len=1) == "A222"
    assert refused("slice", x, axis=1, start=0, len=0) == "A223"
    assert refused("put", x, x, axis=0, at=1) == "A222"
    assert refused("put", x, x[:, :1], axis=0) == "A220"
    assert refused("concat", x, x[:, :2], axis=0) == "A220"
    assert refused("pad", x, axis=(0,), before=(-1,), after=(0,)) == "A223"
    assert refused("pad", x, axis=(0, -2), before=(1, 1), after=(0, 0)) == "A223"
    assert refused("pad", x, axis=(0,), before=(1,), after=(0,), value=128) == "A223"
    assert refused("broadcast", x, shape=(3, 3)) == "A220"
    assert refused("flip", x, axis=-3) == "A221"
    assert refused("im2col", x[0], kernel=(1, 1)) == "A220"
    assert refused("im2col", x, kernel=(1, 1), pad=(0, 0, 0)) == "A223"


def test_counter_leaves_the_axis() -> None:
    code = [
        instruction("repeat", None, count=4, counter="t"),
        instruction("slice", "y", "x", axis=0, start=Affine(0, (("t", 1),)), len=1),
        instruction("end", None),
    ]
    program, _ = program_of({"x": Operand([1, 2, 3])}, code, ["y"])
    with pytest.raises(TypeRuleError, match="positions 0 to 3"):
        build(program)
