"""Pieces hold every entry of a lookup once, in as few leaves as the rule allows."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import syurmy
from syurmy.isa import pieces as p
from syurmy.isa.graph import Committed
from syurmy.isa.joining import reach
from syurmy.isa.program import Instruction, Program
from syurmy.isa.system import assemble, started
from syurmy.isa.types import padded
from tests.drawing import examples

SHAPES = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple)
KERNELS = "{{{{1}}, {{2}}}, {{{3}}, {{1}}}, {{{2}}, {{3}}}}"
EMPTY = Program("empty", (), (), (), (), (Instruction("halt", None, ()),))


def column(shape: tuple[int, ...]) -> Committed:
    return Committed(*started(EMPTY).new(shape, (0, 1)), ())


@given(SHAPES, st.sampled_from([0, 1, 30, 2048]))
@examples(200)
def test_pieces(shape: tuple[int, ...], price: int) -> None:
    node = column(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(p, "price", lambda length: price)
        p.cut.cache_clear()
        found = p.pieces(node)
        leaves, whole = p.leaves(node), p.whole_of(node)
    p.cut.cache_clear()
    values = np.arange(math.prod(shape)).reshape(shape)
    assert {piece.axes for piece in found} == {whole.axes}
    assert [piece.of(values).shape for piece in found] == [piece.true for piece in found]
    assert np.array_equal(np.concatenate([piece.of(values) for piece in found]), whole.of(values))
    assert np.array_equal(np.sort(whole.of(values), axis=None), values.reshape(-1))
    assert leaves == sum(math.prod(piece.dims) for piece in found)

    several = sum(shape[a] > 1 for a in whole.axes) > 1
    cost = leaves + (len(found) - 1 + several) * price
    assert cost == min(
        math.prod(map(padded, shape)),
        *(_cost(shape, range(a, b + 1), price) for a in range(len(shape)) for b in range(a, len(shape))),
    )


def _cost(shape: tuple[int, ...], run: range, price: int) -> int:
    """The least for a run, if its first binary digits are pieces and the rest is padded."""
    length = math.prod(shape[a] for a in run)
    slices = math.prod(padded(d) for a, d in enumerate(shape) if a not in run)
    extra = price * (sum(shape[a] > 1 for a in run) > 1)
    out, taken = [], 0
    for digits in range(length.bit_count()):
        out.append((taken + padded(length - taken)) * slices + digits * price + extra)
        taken += padded(length - taken) // 2
    return min(out)


def test_large_tensors_are_cut_and_small_ones_are_not() -> None:
    assert [(q.axes, q.lo, q.hi) for q in p.pieces(column((1, 16, 768)))] == [((2,), 0, 512), ((2,), 512, 768)]
    assert p.leaves(column((1, 16, 768))) == 16 * 768
    assert len(p.pieces(column((1, 28, 28)))) == 1


def test_axes_of_images_are_one() -> None:
    """56 by 56 places: 2048 + 1024 + 64."""
    found = p.pieces(column((1, 1, 64, 56, 56)))
    assert [(q.axes, q.true) for q in found] == [((3, 4), (n, 1, 1, 64)) for n in (2048, 1024, 64)]


def test_columns_lie_as_they_take_least() -> None:
    assert p.laid((1, 1, 32, 80, 80)) == (1, 1, 32, 6400)
    assert p.laid((1, 1, 64, 56, 56)) == (1, 1, 64, 56, 56)  # 3136 takes 4096, as 64 * 64 does
    assert p.laid((1, 3, 9, 9)) == (1, 3, 9, 9)  # too small
    assert p.laid((5, 1, 5, 4096)) == (25, 4096)


@pytest.mark.parametrize("length", [3 << 22, 5 << 20, (1 << 22) - 1])
def test_vectors_stay_whole(length: int) -> None:
    """A verifier would have weights for every piece, each as long as the tensor."""
    assert len(p.pieces(column((1, length)))) == 1


@pytest.mark.parametrize(
    ("code", "apart"),
    [
        ("conv2d y, x, w", {(1, 2), (1, 3)}),  # channels, and the two axes of places
        ("conv2d y, x, w\n slice y, y, axis=1, len=2\n add y, y, 1", {(1, 2), (1, 3)}),
        ("conv2d y, x, w\n transpose y, y, perm=(1, 0, 2)", {(1, 2), (2, 3)}),
        ("conv2d y, x, w\n reshape y, y, shape=(3, 30)", {(1, 2)}),
        ("conv2d y, x, w\n reshape y, y, shape=(5, 3, 6)", {(1, 2), (1, 3), (2, 3)}),
        ("conv2d y, x, w\n concat y, x, y, axis=0", {(1, 2), (1, 3)}),
        ("conv2d y, x, w\n sum y, y, axes=0", set()),
        ("matmul y, x, x2", {(1, 2), (1, 3), (2, 3)}),  # each of two products, its rows, its columns
        ("mul y, x, x", set()),
        ("mul y, x, x\n concat y, y, x, axis=0", set()),
    ],
)
def test_axes_that_a_product_keeps_apart(code: str, apart: set[tuple[int, int]]) -> None:
    source = f"""
.input x : i8[2, 5, 6] private
.input x2 : i8[2, 6, 5] private
.param w : i8[3, 2, 1, 1] committed = {KERNELS}
.output y public
    {code}
    halt
"""
    node = assemble(syurmy.assemble(source)).system.results[code.count("\n")]
    rank = len(node.shape)
    assert reach(node) == tuple(
        max(b for b in range(a, rank) if not any(pair in apart for pair in combinations(range(a, b + 1), 2)))
        for a in range(rank)
    )
