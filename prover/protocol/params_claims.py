"""Claims on rows of the params matrix, and their combination by powers of one challenge (protocol section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syurmy.prover.field import ONE, U64, Ext
from syurmy.prover.protocol import mle


@dataclass(frozen=True, eq=False)
class ParamsClaim:
    """<u^T M, eq(column_point)> = value; u is ``weights`` (``uint64[2, k]``) on the stored rows from ``first_row``,
    else zero."""

    first_row: int
    weights: U64
    column_point: list[Ext]
    value: Ext


def powers(x: Ext, count: int) -> list[Ext]:
    """1, x, ..., x^(count - 1)."""
    out = [ONE]
    while len(out) < count:
        out.append(out[-1] * x)
    return out[:count]


def combined_weights(claims: Sequence[ParamsClaim], coefficients: Sequence[Ext], rows: int) -> U64:
    """Sum of coefficient * u over the claims, ``uint64[2, rows]``. ``ValueError`` for a claim on rows that do not
    exist."""
    out = np.zeros((2, rows), np.uint64)
    for claim, c in zip(claims, coefficients, strict=True):
        if claim.first_row < 0 or claim.first_row + claim.weights.shape[1] > rows:
            raise ValueError("a claim on rows that do not exist")
        part = slice(claim.first_row, claim.first_row + claim.weights.shape[1])
        out[:, part] = mle.add(out[:, part], mle.scale(claim.weights, c))
    return out
