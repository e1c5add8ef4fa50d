"""Openings of committed matrices, prover's side (verifier's: prover/verifier/opening.py).

``open_rows``: w = u^T M for row weights u over K, then t distinct positions q, the codeword columns at them and their
Merkle paths. The verifier checks Enc(w)[q] = <u, column q>. As u is random and later than the root, w is also the
proximity test.

``prove_witness``: <Omega, W> = V by one sumcheck over the bits of the entry index (row bits first), W(s), and the
opening with eq(s_row): W(s) = <w, eq(s_col)>.

``prove_params``: claims <u_j^T M, eq(c_j)> = v_j. With g_j = u_j^T M, one sumcheck of sum_j gamma^j * <g_j, eq(c_j)>
over the column bits ends at one column point s; all g_j(s) are sent before delta, and h = sum_j delta^j * g_j is
opened: <h, eq(s)> = sum_j delta^j * g_j(s).

Soundness of each: prover/protocol/soundness.py (sumcheck, batching by gamma and delta, proximity, queries).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from syurmy.prover import sumcheck
from syurmy.prover.commitment import Commitment, ParamsCommitment
from syurmy.prover.field import ONE, U64
from syurmy.prover.kernels.matrix import bind_columns
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.params_claims import ParamsClaim, combined_weights, powers
from syurmy.prover.protocol.transcript import Sender

I64 = npt.NDArray[np.int64]


def open_rows(
    sender: Sender, label: str, commitment: Commitment, queries: int, row_weights: U64, row: U64 | None = None
) -> U64:
    """Send w = row_weights^T M (``row`` when already known) and the opened columns. Returns w, ``uint64[2, C]``."""
    if row is None:
        if commitment.matrix is None:
            raise ValueError("a matrix that is kept as integers is opened with its row")
        row = bind_columns(commitment.matrix, row_weights)
    sender.ext_array(f"{label} row", row)
    positions = sender.transcript.positions(f"{label} positions", queries, commitment.shape.n)
    sender.base_array(f"{label} columns", commitment.codeword[positions])
    sender.raw(f"{label} path", commitment.tree.multiproof(positions).tobytes())
    return row


def prove_witness(
    sender: Sender, commitment: Commitment, queries: int, omega: U64, flat: U64, stored_rows: I64
) -> None:
    """Open the witness: ``omega`` ``uint64[2, 2^m]``, ``flat`` ``uint64[2^m]``, rows of 2^log_cols entries; the
    committed rows are ``stored_rows``, increasing, and every other row of ``flat`` is zero."""
    rounds = len(flat).bit_length() - 1
    log_rows = rounds - commitment.shape.log_cols
    point, finals = sumcheck.prove(sender, "opening", [sumcheck.Instance(ONE, [omega, flat])], rounds)
    sender.ext("opening value", [finals[0][1]])
    weights = np.ascontiguousarray(mle.eq_vector(point[:log_rows])[:, stored_rows])
    open_rows(sender, "witness", commitment, queries, weights)


def bind_claims(params: ParamsCommitment, claims: Sequence[ParamsClaim]) -> list[U64]:
    """g_j = u_j^T M of every claim, ``uint64[2, C]``: the only time that a proof reads the params' rows."""
    return [params.integers.bind(claim.first_row, claim.weights) for claim in claims]


def prove_params(
    sender: Sender, params: ParamsCommitment, queries: int, claims: Sequence[ParamsClaim], rows: Sequence[U64]
) -> None:
    """Open all claims on the params, at least one; ``rows`` from ``bind_claims``."""
    shape = params.commitment.shape
    gamma = sender.transcript.challenge("params gamma")
    instances = [
        sumcheck.Instance(c, [row, mle.eq_vector(claim.column_point)])
        for c, row, claim in zip(powers(gamma, len(claims)), rows, claims, strict=True)
    ]
    _, finals = sumcheck.prove(sender, "params", instances, shape.log_cols)
    sender.ext("params values", [f[0] for f in finals])
    coefficients = powers(sender.transcript.challenge("params delta"), len(claims))
    combined = rows[0]
    for row, c in zip(rows[1:], coefficients[1:], strict=True):
        combined = mle.add(combined, mle.scale(row, c))
    weights = combined_weights(claims, coefficients, shape.rows)
    open_rows(sender, "params", params.commitment, queries, weights, combined)
