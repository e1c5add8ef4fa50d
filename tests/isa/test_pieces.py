"""Pieces hold every entry of a lookup once, in as few leaves as the rule allows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.isa import pieces as p
from syurmy.isa.types import padded
from tests.drawing import examples

SHAPES = st.lists(st.integers(1, 70), min_size=1, max_size=3).map(tuple)


@given(SHAPES, st.sampled_from([0, 1, 30, 2048]))
@examples(200)
def test_pieces(shape: tuple[int, ...], price: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(p, "price", lambda length: price)
        p._cut.cache_clear()
        found = p.pieces(shape)
        leaves, order = p.leaves(shape), p.leading(shape)
    p._cut.cache_clear()
    values = np.arange(math.prod(shape)).reshape(shape)
    assert {piece.order for piece in found} == {order}
    assert [piece.of(values).shape for piece in found] == [piece.true for piece in found]
    assert np.array_equal(np.concatenate([piece.of(values) for piece in found]), np.transpose(values, order))
    assert leaves == sum(math.prod(piece.dims) for piece in found)
    assert all(d == padded(d) for piece in found for d in piece.dims)

    worst = max(padded(d) / d for d in shape)
    if len(found) > 1:
        assert padded(shape[order[0]]) / shape[order[0]] == worst
    else:
        assert order == tuple(range(len(shape)))
    cut = next(d for d in shape if padded(d) / d == worst)
    slices = math.prod(map(padded, shape)) // padded(cut)
    whole, cost = math.prod(map(padded, shape)), leaves + (len(found) - 1) * price
    assert cost == min(_cost(cut, digits) * slices + digits * price for digits in range(cut.bit_count()))
    assert cost <= whole


def _cost(d: int, digits: int) -> int:
    """Slices, if the first binary digits of d are pieces and the rest is padded."""
    out = 0
    for _ in range(digits):
        out, d = out + padded(d) // 2, d - padded(d) // 2
    return out + padded(d)


def test_large_tensors_are_cut_and_small_ones_are_not() -> None:
    assert [(q.axis, q.lo, q.hi) for q in p.pieces((1, 16, 768))] == [(2, 0, 512), (2, 512, 768)]
    assert p.leaves((1, 16, 768)) == 16 * 768
    assert len(p.pieces((1, 28, 28))) == 1


@pytest.mark.parametrize("length", [3 << 22, 5 << 20, (1 << 22) - 1])
def test_vectors_stay_whole(length: int) -> None:
    """A verifier would have weights for every piece, each as long as the tensor."""
    assert len(p.pieces((1, length))) == 1
