"""Claims on rows of the params matrix, and the weights of the rows' combination (protocol section 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syurmy.isa.records import dataclass
from syurmy.prover.field import U64, ZERO, Ext
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.ladder import EqWeight


@dataclass(frozen=True, eq=False)
class ParamsClaim:
    """Terms of the opening's sum that share a row: <u^T M, sum of ``points``>.

    u is ``weights`` (``uint64[2, k]``) on the stored rows from ``first_row``, else zero.
    """

    first_row: int
    weights: U64
    points: list[EqWeight]

    def weight_at(self, s: Sequence[Ext]) -> Ext:
        """The extension of the sum of ``points`` at s: the factor of (u^T M)(s) at the end of the sumcheck."""
        return sum((point.folded(len(s), s).coefficient for point in self.points), ZERO)


def combined_weights(claims: Sequence[ParamsClaim], factors: U64, rows: int) -> U64:
    """Sum of ``factors[:, j]`` * u_j, ``uint64[2, rows]``. ``ValueError`` for a claim on rows that do not exist."""
    out = np.zeros((2, rows), np.uint64)
    for j, claim in enumerate(claims):
        if claim.first_row < 0 or claim.first_row + claim.weights.shape[1] > rows:
            raise ValueError("a claim on rows that do not exist")
        part = slice(claim.first_row, claim.first_row + claim.weights.shape[1])
        factor = Ext(int(factors[0, j]), int(factors[1, j]))
        out[:, part] = mle.add(out[:, part], mle.scale(claim.weights, factor))
    return out
