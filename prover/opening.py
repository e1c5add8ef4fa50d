"""The opening, prover's side (verifier's: prover/verifier/opening.py; weights and claims: prover/protocol/ladder.py).

``prove_claims``: <Omega, W> + sum_j <g_j, k_j> = V by one sumcheck, g_j = u_j^T M combinations of the params' rows,
k_j a sum of eq vectors. It ends at s; W(s) and all g_j(s) are sent. With delta, drawn after them, the rows are one
each: w = eq(s_row)^T W and h = sum_j eq(delta, j) * g_j.

``prove_ladder``: the rows are not sent. They lie side by side in a vector that is committed as a matrix of its own,
level by level, and the last one is sent. Of a matrix, columns are opened when the next vector is fixed; that its row
encodes to them, and w and h have the values sent, are linear claims on that vector. As the weights of a row are random
and later than the matrix's root, the queries are the proximity test too.

Soundness of each: prover/protocol/soundness.py (sumcheck, batching, proximity, queries).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syurmy.prover import sumcheck
from syurmy.prover.commitment import Commitment, ParamsCommitment, commit
from syurmy.prover.field import ONE, U64, Ext, log2_ceil
from syurmy.prover.grinding import grinding_nonce
from syurmy.prover.kernels.matrix import transpose
from syurmy.prover.kernels.opening import add_scaled, power_sum
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opened, Opening
from syurmy.prover.protocol.grinding import grinding_seed
from syurmy.prover.protocol.ladder import EqWeight, PowerWeights, SumOfWeights, Weight, batched
from syurmy.prover.protocol.params_claims import ParamsClaim
from syurmy.prover.protocol.transcript import Sender


@dataclass(frozen=True, eq=False)
class Committed:
    """A committed matrix that is opened as ``opened`` says."""

    opened: Opened
    commitment: Commitment


def bind_claims(params: ParamsCommitment, claims: Sequence[ParamsClaim]) -> list[U64]:
    """g_j = u_j^T M of every claim, ``uint64[2, C]``: the only time that a proof reads the params' rows."""
    return [params.integers.bind(claim.first_row, claim.weights) for claim in claims]


def prove_claims(
    sender: Sender, omega: U64, flat: U64, claims: Sequence[ParamsClaim], bound: Sequence[U64]
) -> tuple[list[Ext], list[Ext]]:
    """``omega`` ``uint64[2, 2^m]``, ``flat`` ``uint64[2^m]``, ``bound`` from ``bind_claims``; the point s and
    delta."""
    instances = [sumcheck.Instance(ONE, [omega, flat])]
    for claim, row in zip(claims, bound, strict=True):
        first = claim.points[0]
        if len(claim.points) == 1 and row.shape[1] == 1 << len(first.point):
            instances.append(sumcheck.Instance(first.coefficient, [row, mle.eq_vector(first.point)]))
        else:
            weights = np.zeros_like(row)
            add_dense(weights, SumOfWeights(tuple(claim.points)))
            instances.append(sumcheck.Instance(ONE, [row, weights]))
    rounds = max(x.tables[0].shape[1].bit_length() - 1 for x in instances)
    point, finals = sumcheck.prove(sender, "opening", instances, rounds)
    sender.ext("opening values", [finals[0][1], *(f[0] for f in finals[1:])])
    return point, sender.transcript.challenges("params delta", log2_ceil(max(1, len(claims))))


def combined(rows: Sequence[U64], factors: U64) -> U64:
    """Sum of ``factors[:, j]`` * row j."""
    total = np.zeros_like(rows[0])
    for row, a, b in zip(rows, *factors.tolist(), strict=True):
        add_scaled(total, row, Ext(a, b))
    return total


def prove_ladder(
    sender: Sender, plan: Opening, matrices: Sequence[Committed], rows: Sequence[U64], values: Sequence[EqWeight]
) -> None:
    """``rows``: of each matrix, its combination, which is claimed to encode to the opened columns; ``values``: weights
    of the claims on them."""
    z = np.zeros((2, 1 << log2_ceil(plan.used)), np.uint64)
    for m, row in zip(matrices, rows, strict=True):
        z[:, m.opened.offset : m.opened.offset + row.shape[1]] = row
    omega = np.zeros_like(z)
    claims: list[Weight] = list(values)
    for level, opened in plan.levels:
        stored = z[:, : level.shape.rows << level.shape.log_cols]
        commitment = commit(transpose(stored.reshape(level.shape.height, -1)), level.shape)
        sender.raw(f"{opened.label} root", commitment.root)
        claims += open_columns(sender, matrices, plan.grinding_bits)
        weights, _ = batched(claims, sender.transcript.challenge(f"{opened.label} beta"))
        add_dense(omega, weights)
        _, (omega, z) = sumcheck.prove_leading(sender, opened.label, [omega, z], level.log_rows)
        matrices = [Committed(opened, commitment)]
        claims = [SumOfWeights(())]  # the claim that is left: its weights are written out already
    sender.ext_array("last vector", z[:, : plan.last])
    open_columns(sender, matrices, plan.grinding_bits)


def open_columns(sender: Sender, matrices: Sequence[Committed], grinding_bits: int) -> list[PowerWeights]:
    """Draws positions, sends columns and paths; the weights of the claims that the rows encode to them."""
    sender.raw("query nonce", grinding_nonce(grinding_seed(sender.transcript), grinding_bits))
    drawn = [
        sender.transcript.positions(f"{m.opened.label} positions", m.opened.queries, m.opened.shape.n) for m in matrices
    ]
    out = []
    for m, positions in zip(matrices, drawn, strict=True):
        sender.base_array(f"{m.opened.label} columns", m.commitment.codeword[positions])
        sender.raw(f"{m.opened.label} path", m.commitment.tree.multiproof(positions).tobytes())
        out.append(PowerWeights.at(m.opened.offset, m.opened.shape, positions))
    return out


def add_dense(omega: U64, weight: Weight) -> None:
    """Adds the weights, written out, to ``uint64[2, 2^k]``."""
    if isinstance(weight, SumOfWeights):
        for part in weight.parts:
            add_dense(omega, part)
        return
    if isinstance(weight, EqWeight):
        dense = mle.scale(mle.eq_vector(weight.point), weight.coefficient)
    else:
        assert isinstance(weight, PowerWeights)
        dense = power_sum(weight.x[0], weight.coefficients, 1 << weight.log_block)
    block = omega[:, weight.offset : weight.offset + dense.shape[1]]
    block[:] = mle.add(block, dense)
