"""The soundness budget of one plan: every error term of protocol section 9, and the queries that the rest pays for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from syurmy.isa.graph import ParamTensor
from syurmy.prover.protocol import soundness
from syurmy.prover.protocol.claims import Term
from syurmy.prover.protocol.contraction import Contraction
from syurmy.prover.protocol.grinding import GRINDING_BITS, needs_grinding
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.soundness import Budget


def budget(
    plan: Plan,
    contractions: Sequence[Contraction],
    param_claims: int,
    reduced: Mapping[ParamTensor, Sequence[Term]],
) -> Budget:
    """All errors of a proof but the queries; ``query_counts`` adds those."""
    b = Budget()
    if plan.blocks:
        b.add("logup", soundness.logup(plan.used_leaves, plan.width, GRINDING_BITS if needs_grinding(plan) else 0))
        b.add("gkr", soundness.gkr(plan.log_leaves))
    b.add("equations at a point", soundness.sumcheck(1, plan.point_length))
    b.add("claims (gamma)", soundness.batching(2 + len(plan.equations)))
    if contractions:
        rounds = max(c.variables for c in contractions)
        b.add("contraction", soundness.sumcheck(max(c.degree for c in contractions), rounds))
        b.add("operands (eta)", soundness.batching(2 * len(contractions)))
    b.add("opening", soundness.sumcheck(2, plan.witness.log_entries))
    b.add("witness proximity", soundness.proximity(plan.witness.shape, plan.witness.log_rows))
    if reduced and plan.params is not None:
        rounds = max(plan.params.places[p.name].log_size for p in reduced)
        b.add("params reduction", soundness.sumcheck(2, rounds))
    if param_claims and plan.params is not None:
        b.add("params claims (gamma, delta)", soundness.batching(2 * param_claims))
        b.add("params opening", soundness.sumcheck(2, plan.params.shape.log_cols))
        b.add("params proximity", soundness.proximity(plan.params.shape, plan.params.log_rows, param_claims))
    return b


def query_counts(plan: Plan, b: Budget, param_claims: int) -> list[int]:
    """Queries for the witness and, with claims on params, the params matrix; their errors join the budget.

    Raises ``soundness.InsufficientSoundness``.
    """
    shapes: list[MatrixShape] = [plan.witness.shape]
    if param_claims and plan.params is not None:
        shapes.append(plan.params.shape)
    counts = soundness.queries_for(b, shapes)
    for name, shape, count in zip(("witness queries", "params queries"), shapes, counts, strict=False):
        b.add(f"{name} ({count})", soundness.query(shape, count))
    return counts
