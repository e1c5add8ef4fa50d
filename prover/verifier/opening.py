"""Openings of committed matrices, verifier's side (messages and statement: prover/opening.py).

The caller fixes root, shape and number of queries from the statement, the key and the budget, has absorbed the root
before any point in the weights was drawn, and has settled the claims' values otherwise. Shapes and claims that do not
fit each other are errors of the caller (``ValueError``); every proof that is not accepted is ``Rejected``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from syurmy.prover.field import U64, ZERO, Ext, eq_scalar
from syurmy.prover.protocol import arithmetic, mle
from syurmy.prover.protocol.merkle import DIGEST, hash_columns, proof_length, verify_multiproof
from syurmy.prover.protocol.params_claims import ParamsClaim, combined_weights, powers
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.transcript import Receiver, Rejected
from syurmy.prover.verifier import sumcheck

I64 = npt.NDArray[np.int64]


def check_rows(receiver: Receiver, label: str, root: bytes, shape: MatrixShape, queries: int, row_weights: U64) -> U64:
    """w, ``uint64[2, C]``, of which the queries say that it is row_weights^T M; row_weights ``uint64[2, R]``."""
    if row_weights.shape != (2, shape.rows) or not 0 < queries <= shape.n:
        raise ValueError("weights or queries do not fit the shape")
    row = receiver.ext_array(f"{label} row", shape.cols)
    positions = receiver.transcript.positions(f"{label} positions", queries, shape.n)
    columns = receiver.base_array(f"{label} columns", queries * shape.rows).reshape(queries, shape.rows)
    path = receiver.raw(f"{label} path", DIGEST * proof_length(shape.log_n, positions))
    digests = np.frombuffer(path, np.uint8).reshape(-1, DIGEST)
    if not verify_multiproof(root, shape.log_n, positions, hash_columns(columns), digests):
        raise Rejected("opening", f"an opened column of '{label}' is not under the root")
    vectors = arithmetic.current()
    codeword = vectors.encode_ext(row, shape.log_blowup)
    if not np.array_equal(codeword[:, positions], vectors.bind_columns(columns, row_weights)):
        raise Rejected("opening", f"the row of '{label}' does not encode to the opened columns")
    return row


def verify_witness(
    receiver: Receiver,
    root: bytes,
    shape: MatrixShape,
    queries: int,
    log_rows: int,
    stored_rows: I64,
    target: Ext,
    omega_at: Callable[[list[Ext]], Ext],
) -> None:
    """<Omega, W> = target for the W under ``root``; ``omega_at`` evaluates the extension of Omega at log_rows +
    log_cols elements.

    Error: sumcheck(2, log_rows + log_cols), proximity(shape), the queries.
    """
    point, value = sumcheck.verify(receiver, "opening", target, log_rows + shape.log_cols, 2)
    at_point = receiver.ext("opening value", 1)[0]
    if omega_at(point) * at_point != value:
        raise Rejected("opening", "the value of the witness does not fit its sumcheck")
    weights = np.ascontiguousarray(mle.eq_vector(point[:log_rows])[:, stored_rows])
    row = check_rows(receiver, "witness", root, shape, queries, weights)
    if mle.dot(row, mle.eq_vector(point[log_rows:])) != at_point:
        raise Rejected("opening", "the row of 'witness' does not have the claimed value")


def verify_params(
    receiver: Receiver, root: bytes, shape: MatrixShape, queries: int, claims: Sequence[ParamsClaim]
) -> None:
    """All claims on the params under ``root``; at least one.

    Error: batching(claims) twice, sumcheck(2, log_cols), proximity(shape, claims), the queries.
    """
    if not claims or any(len(claim.column_point) != shape.log_cols for claim in claims):
        raise ValueError("claims on the params are at points in log_cols variables, and there is at least one")
    coefficients = powers(receiver.transcript.challenge("params gamma"), len(claims))
    target = sum((c * claim.value for c, claim in zip(coefficients, claims, strict=True)), ZERO)
    point, value = sumcheck.verify(receiver, "params", target, shape.log_cols, 2)
    values = receiver.ext("params values", len(claims))
    expected = ZERO
    for c, claim, v in zip(coefficients, claims, values, strict=True):
        expected = expected + c * v * eq_scalar(claim.column_point, point)
    if expected != value:
        raise Rejected("opening", "the values of the params do not fit their sumcheck")
    coefficients = powers(receiver.transcript.challenge("params delta"), len(claims))
    row = check_rows(receiver, "params", root, shape, queries, combined_weights(claims, coefficients, shape.rows))
    combined = sum((c * v for c, v in zip(coefficients, values, strict=True)), ZERO)
    if mle.dot(row, mle.eq_vector(point)) != combined:
        raise Rejected("opening", "the row of 'params' does not have the claimed values")
