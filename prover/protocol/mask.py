"""The mask of the hiding level, shared by prover and verifier (protocol section 9).

The hiding level commits the rows of a vector U, and three rows more: y, the pads of its rounds; g, uniform; g',
uniform where y holds pads and zero elsewhere. Its rounds, padded, leave <omega, u> + <a, y> = b about u = sum over rows
of eq(r, row) * U, with omega, a and b public. The prover sends sigma = <omega, g> + <a, g'>; with a challenge tau drawn
after it, u* = g + tau*u and y* = g' + tau*y are uniform and independent of all else, and

    <omega, u*> + <a, y*> = sigma + tau*b.

From here on nothing is hidden: u* and y*, with their random coefficients, are the next vector.
"""

from __future__ import annotations

import numpy as np

from syurmy.prover.field import U64, ZERO, Ext, ext_array
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opened
from syurmy.prover.protocol.hidden import Hidden
from syurmy.prover.protocol.ladder import Claim, PadWeights, SumOfWeights
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.shapes import HIDING_AUX, Level


def mask_weights(level: Level, eq: U64, tau: Ext) -> tuple[U64, tuple[U64, ...]]:
    """Weights of the level's rows, those of the vector and then y, g and g', in u* and in y*."""
    rows = level.shape.rows
    row = np.zeros((2, rows + HIDING_AUX), np.uint64)
    row[:, :rows] = mle.scale(eq, tau)
    row[0, rows + 1] = 1
    pads = np.zeros_like(row)
    pads[:, rows : rows + 1] = ext_array([tau])
    pads[0, rows + 2] = 1
    return row, (pads,)


def unit_row(shape: MatrixShape, index: int) -> U64:
    """Weight 1 for one of the rows behind the vector's."""
    out = np.zeros((2, shape.every), np.uint64)
    out[0, shape.rows + index] = 1
    return out


def masked_weights(opened: Opened, folded: SumOfWeights, value: Hidden) -> SumOfWeights:
    """omega on u* and a on y*, which lie where ``opened`` says; ``value``: what the rounds end in, b - <a, y>."""
    row, pads = opened.places
    if row[0].offset or row[0].exponent:
        raise ValueError("the masked row begins the vector")
    entries = tuple(b for b in pads if b.exponent < opened.shape.cols)
    return SumOfWeights((folded, PadWeights.of(entries, [Hidden(ZERO, (-value).pads)]).scaled(ext_array([1]))))


def masked_claim(opened: Opened, folded: SumOfWeights, value: Hidden, sigma: Ext, tau: Ext) -> Claim:
    """The equation above."""
    return Claim(masked_weights(opened, folded, value), ext_array([sigma + tau * value.known]))


def pad_row_weights(shape: MatrixShape, index: int) -> U64:
    """Weights of a witness matrix's rows in the row of pads ``index`` over K: one row over F for each plane."""
    out = np.zeros((2, shape.every), np.uint64)
    out[0, shape.rows + 2 * index] = 1
    out[1, shape.rows + 2 * index + 1] = 1
    return out


def widened(weights: U64, shape: MatrixShape) -> U64:
    """Weights of the rows, with zeros for those that are no part of their combination."""
    out = np.zeros((2, shape.every), np.uint64)
    out[:, : shape.rows] = weights
    return out
