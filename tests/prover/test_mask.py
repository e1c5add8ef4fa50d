"""Weights of rows in what the hiding level hands on, and of the rows of pads, against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from syurmy.prover.field import ZERO, Ext, P, ext_list
from syurmy.prover.protocol import mask
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.hidden import Hidden
from syurmy.prover.protocol.ladder import SumOfWeights, bind_opened
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.shapes import HIDING_AUX, Level
from tests.soundness import common as c


def columns(shape: MatrixShape) -> np.ndarray:
    return np.random.default_rng(1).integers(0, P, (4, shape.height), dtype=np.uint64)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_rows_of_pads_are_two_rows_each(index: int) -> None:
    """Coefficients of 1 and of u, behind the rows of the witness."""
    shape = MatrixShape(5, 4, 2, aux=6)
    drawn = columns(shape)
    found = ext_list(bind_opened(drawn, shape, mask.pad_row_weights(shape, index)))
    first, second = drawn[:, 5 + 2 * index], drawn[:, 6 + 2 * index]
    assert found == [Ext(int(a), int(b)) for a, b in zip(first, second, strict=True)]
    wide = mask.widened(np.array([[1, 2, 3, 4, 5], [0, 0, 0, 0, 0]], np.uint64), shape)
    assert wide.tolist() == [[1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0], [0] * 11]
    unit = mask.unit_row(shape, index)
    assert np.flatnonzero(unit).tolist() == [5 + index]
    assert unit[0, 5 + index] == 1


def test_masked_rows() -> None:
    """u* = g + tau * sum of eq * U, y* = g' + tau * y; rows of the matrix: U, y, g, g', over K."""
    level = Level(6, MatrixShape(3, 4, 2, 2, aux=HIDING_AUX))
    shape, rng = level.shape, np.random.default_rng(2)
    drawn = columns(shape)
    eq, tau = rng.integers(0, P, (2, 3), dtype=np.uint64), Ext(5, 7)
    row, (pads,) = mask.mask_weights(level, eq, tau)
    u_star, y_star = (ext_list(bind_opened(drawn, shape, w)) for w in (row, pads))
    for k, column in enumerate(drawn):
        rows = [Ext(int(a), int(b)) for a, b in zip(column[:6], column[6:], strict=True)]
        folded = sum((e * r for e, r in zip(ext_list(eq), rows[:3], strict=True)), ZERO)
        assert u_star[k] == rows[4] + tau * folded
        assert y_star[k] == rows[5] + tau * rows[3]


def test_the_masked_claim() -> None:
    """<omega, u*> + <a, y*> = sigma + tau * b, where the rounds end in b - <a, y>."""
    plan = c.keys(c.hiding(c.DOT)).plan
    assert plan is not None
    level, opened = Opening.of(plan).levels[0]
    pads = 2 * level.log_rows
    a = {i: Ext(i + 1, 2 * i) for i in range(pads)}
    b, sigma, tau = Ext(11, 12), Ext(13, 14), Ext(15, 16)
    value = Hidden(b, {i: -x for i, x in a.items()})
    claim = mask.masked_claim(opened, SumOfWeights(()), value, sigma, tau)
    assert ext_list(claim.values) == [sigma + tau * b]
    used = max(block.offset + block.size for word in opened.places for block in word)
    z = np.random.default_rng(3).integers(0, P, (2, 1 << (used - 1).bit_length()), dtype=np.uint64)
    y = {block.exponent + i: block.offset + i for block in opened.places[1] for i in range(block.size)}
    expected = sum((x * Ext(*map(int, z[:, y[i]])) for i, x in a.items()), ZERO)
    assert ext_list(claim.weight.values(z)) == [expected]
    moved = tuple(replace(block, offset=block.offset + block.size) for block in opened.places[0])
    with pytest.raises(ValueError, match="begins the vector"):
        mask.masked_weights(replace(opened, words=(moved, *opened.places[1:])), SumOfWeights(()), value)
