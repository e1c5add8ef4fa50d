"""The soundness budget of one plan and what follows from it: every error term of protocol section 7, the ladder of the
opening, and the numbers of queries. From program and path alone: nothing of a proof enters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from syurmy.prover.protocol import soundness
from syurmy.prover.protocol.counts import Counts, count_claims
from syurmy.prover.protocol.grinding import GRINDING_BITS, needs_grinding, query_grinding_bits
from syurmy.prover.protocol.layout import stack
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.reed_solomon import MAX_BITS, MatrixShape, queries, queries_within
from syurmy.prover.protocol.shapes import Level, ladder
from syurmy.prover.protocol.soundness import TARGET_BITS, Budget, InsufficientSoundness


@dataclass(frozen=True)
class Opened:
    """A matrix whose columns are queried: ``offset``: where its row lies in the vector of the next level."""

    label: str
    shape: MatrixShape
    queries: int
    offset: int = 0


@dataclass(frozen=True)
class Opening:
    """How a proof of this plan opens its matrices: the first ones (witness; params, where there are claims on them),
    the ladder, the bits of grinding before positions are drawn, and the budget with every query in it."""

    counts: Counts
    matrices: tuple[Opened, ...]
    levels: tuple[tuple[Level, Opened], ...]
    used: int  # entries of the first vector that are stored
    grinding_bits: int
    budget: Budget

    @property
    def last(self) -> int:
        """Entries of the vector that is sent."""
        return self.levels[-1][0].shape.cols if self.levels else self.used

    @staticmethod
    def of(plan: Plan) -> Opening:
        """Worked out once per plan. Raises ``InsufficientSoundness``."""
        if plan.opening is None:
            plan.opening = Opening.with_ladder(plan, lambda used: ladder(used)[1])
        assert isinstance(plan.opening, Opening)
        return plan.opening

    @staticmethod
    def with_ladder(plan: Plan, choose: Callable[[int], tuple[Level, ...]]) -> Opening:
        """As ``of``, with the levels that ``choose`` gives a vector of so many entries."""
        counts = count_claims(plan)
        shapes = [("witness", plan.witness.shape)]
        if counts.rows:
            assert plan.params is not None
            shapes.append(("params", plan.params.shape))
        used = sum(shape.cols for _, shape in shapes)
        return _opening(plan, counts, shapes, used, choose(used))


def _opening(
    plan: Plan, counts: Counts, shapes: list[tuple[str, MatrixShape]], used: int, levels: tuple[Level, ...]
) -> Opening:
    every = [*shapes, *((f"level {i}", level.shape) for i, level in enumerate(levels, 1))]
    grinding_bits = query_grinding_bits(plan)
    most = [queries(shape.log_blowup, MAX_BITS) for _, shape in every]
    share = (Fraction(1, 1 << TARGET_BITS) - _errors(plan, counts, levels, most).total()) / len(every)
    if share <= 0:
        bits = _errors(plan, counts, levels, most).total_bits()
        raise InsufficientSoundness(f"{bits:.2f} bits before any query, {TARGET_BITS} wanted")
    found = [queries_within(shape.log_blowup, share * (1 << grinding_bits)) for _, shape in every]
    for (name, shape), count, bound in zip(every, found, most, strict=True):
        if count > min(bound, shape.n):
            raise InsufficientSoundness(f"{count} queries to the {shape.n} positions of '{name}'")
    budget = _errors(plan, counts, levels, found)
    for (name, shape), count in zip(every, found, strict=True):
        budget.add(f"{name} queries ({count})", soundness.query(shape, count, grinding_bits))
    offsets = stack([shape.cols for _, shape in shapes])
    opened = [Opened(name, shape, count) for (name, shape), count in zip(every, found, strict=True)]
    first = tuple(Opened(o.label, o.shape, o.queries, at) for o, at in zip(opened, offsets, strict=False))
    rest = tuple(zip(levels, opened[len(first) :], strict=True))
    return Opening(counts, first, rest, used, grinding_bits, budget)


def _errors(plan: Plan, counts: Counts, levels: tuple[Level, ...], queried: list[int]) -> Budget:
    """All errors of a proof but the queries, of which there are ``queried`` per matrix (the claims they add)."""
    b = Budget()
    if plan.blocks:
        b.add("logup", soundness.logup(plan.used_leaves, plan.width, GRINDING_BITS if needs_grinding(plan) else 0))
        b.add("gkr", soundness.gkr(plan.log_leaves))
    b.add("equations at a point", soundness.sumcheck(1, plan.point_length))
    b.add("claims (gamma)", soundness.batching(2 + len(plan.equations)))
    if counts.contractions:
        b.add("contraction", soundness.sumcheck(counts.degree, counts.rounds))
        b.add("operands (eta)", soundness.batching(2 * len(counts.contractions)))
    if counts.reduced:
        b.add("params reduction", soundness.sumcheck(2, max(counts.reduced)))
        b.add("reduced params (zeta)", soundness.batching(len(counts.reduced)))
    rounds = plan.witness.log_entries
    if counts.rows:
        assert plan.params is not None
        rounds = max(rounds, plan.params.shape.log_cols)
        joint = (counts.rows - 1).bit_length()
        b.add("params (delta)", soundness.batching(joint))
        b.add("params proximity", soundness.proximity(plan.params.shape, joint + plan.params.log_rows))
    b.add("opening", soundness.sumcheck(2, rounds))
    b.add("witness proximity", soundness.proximity(plan.witness.shape, plan.witness.log_rows))
    first = 1 + (counts.rows > 0)  # matrices, and as many claims on the first vector
    claims, asked = first, sum(queried[:first])
    for i, level in enumerate(levels, 1):
        b.add(f"level {i} claims (beta)", soundness.batching(claims + asked - 1))
        b.add(f"level {i} rounds", soundness.sumcheck(2, level.log_rows))
        b.add(f"level {i} proximity", soundness.proximity(level.shape, level.log_rows))
        claims, asked = 1, queried[first + i - 1]
    return b
