"""The soundness budget of one plan and what follows from it: every error term of protocol section 7, the ladder of the
opening, and the numbers of queries. From program and path alone: nothing of a proof enters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from syurmy.isa.records import dataclass
from syurmy.prover.protocol import soundness
from syurmy.prover.protocol.closeness import Closeness, params_miss
from syurmy.prover.protocol.counts import Counts, count_claims
from syurmy.prover.protocol.grinding import GRINDING_BITS, needs_grinding, query_grinding_bits
from syurmy.prover.protocol.hidden import TREE, Group, Pads
from syurmy.prover.protocol.ladder import Block, Word, lay_out
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.reed_solomon import MAX_BITS, MatrixShape, missed, queries_within, rounded
from syurmy.prover.protocol.shapes import MIN_HEIGHT, Level, hiding_ladder, ladder
from syurmy.prover.protocol.soundness import TARGET_BITS, Budget, InsufficientSoundness

MAX_OPENINGS = 64  # remembered per plan


@dataclass(frozen=True)
class Opened:
    """A matrix whose columns are queried. ``words``: where its rows' combinations lie in the vector of the next level;
    by default one without random coefficients, at ``offset``."""

    label: str
    shape: MatrixShape
    queries: int
    offset: int = 0
    words: tuple[Word, ...] = ()

    @property
    def places(self) -> tuple[Word, ...]:
        return self.words or ((Block(0, self.shape.log_cols, self.offset),),)


@dataclass(frozen=True)
class Hiding:
    """``pads``: of the proof; ``places``: where they lie in the first vector, ``exponent`` the number of the first pad
    in a block; ``masked``: entries of the vector that the first level hands on."""

    pads: Pads
    places: Word
    masked: int


@dataclass(frozen=True)
class Opening:
    """How a proof of this plan opens its matrices: the first ones (witness; params, where there are claims on them; one
    of each committed tensor), the ladder, the bits of grinding before positions are drawn (in the first matrices,
    ``first_grinding_bits`` where they are others), the budget with every query in it, and, where something is hidden,
    the pads. The first level then hides the vector."""

    counts: Counts
    matrices: tuple[Opened, ...]
    levels: tuple[tuple[Level, Opened], ...]
    used: int  # entries of the first vector that are stored
    grinding_bits: int
    budget: Budget
    hiding: Hiding | None = None
    tensors: tuple[MatrixLayout, ...] = ()
    first_grinding_bits: int | None = None

    @property
    def of_tensors(self) -> tuple[Opened, ...]:
        """The matrices of the committed tensors, in the order of the statement."""
        return self.matrices[len(self.matrices) - len(self.tensors) :]

    def grinding(self, opened: Opened) -> int:
        """Bits of grinding before positions in this matrix, and those beside it, are drawn."""
        first = opened in self.matrices and self.first_grinding_bits is not None
        return self.first_grinding_bits if first else self.grinding_bits  # type: ignore[return-value]

    @property
    def last(self) -> int:
        """Entries of the vector that is sent."""
        if self.hiding is not None and len(self.levels) == 1:
            return self.hiding.masked
        return self.levels[-1][0].shape.cols if self.levels else self.used

    @staticmethod
    def of(plan: Plan, tensors: Sequence[MatrixLayout] = ()) -> Opening:
        """Worked out once per plan, and number of proofs that its committed tensors are for; ``tensors``: their
        layouts. Raises ``InsufficientSoundness``."""
        choose = hiding_ladder if plan.mode.hiding else ladder
        if tensors:
            shapes = tuple((t.log_entries, t.shape) for t in tensors)
            found = plan.openings.get(shapes)
            if found is None:
                found = Opening.with_ladder(plan, lambda used: choose(used)[1], tensors)
                if len(plan.openings) >= MAX_OPENINGS:  # a verifier has them of strangers
                    plan.openings.clear()
                plan.openings[shapes] = found
            assert isinstance(found, Opening)
            return found
        if plan.opening is None:
            plan.opening = Opening.with_ladder(plan, lambda used: choose(used)[1])
        assert isinstance(plan.opening, Opening)
        return plan.opening

    @staticmethod
    def with_ladder(
        plan: Plan, choose: Callable[[int], tuple[Level, ...]], tensors: Sequence[MatrixLayout] = ()
    ) -> Opening:
        """As ``of``, with the levels that ``choose`` gives a vector of so many entries."""
        if len(tensors) != len(plan.system.externals):
            raise ValueError(f"{len(tensors)} layouts of {len(plan.system.externals)} committed tensors")
        counts = count_claims(plan)
        witness = plan.witness.shape
        words: list[list[tuple[int, int]]] = [_runs(witness)]
        pads = pads_of(plan, counts) if plan.mode.hiding else None
        if pads is not None:
            rows = -(-pads.total // witness.cols)  # over K, each two over F
            witness = replace(witness, aux=max(2 * rows, MIN_HEIGHT - witness.rows))
            for first in range(0, pads.total, witness.cols):
                count = min(witness.cols, rounded(pads.total - first))
                words.append(_runs(witness, count))
        shapes = [("witness", witness)]
        if counts.rows:
            assert plan.params is not None
            shapes.append(("params", plan.params.shape))
            words.append(_runs(plan.params.shape))
        for i, layout in enumerate(tensors):
            shapes.append((f"tensor {i}", layout.shape))
            words.append(_runs(layout.shape))
        placed, used = lay_out(words)
        of_witness = len(placed) - len(shapes) + 1
        by_matrix = [placed[:of_witness], *((word,) for word in placed[of_witness:])]
        levels = choose(used)
        hiding = None
        if pads is not None:
            hiding = Hiding(pads, _pad_places(by_matrix[0][1:], witness.cols), _masked(levels[0])[1])
        return _opening(plan, counts, shapes, by_matrix, used, levels, hiding, tuple(tensors))


def _runs(shape: MatrixShape, count: int | None = None) -> list[tuple[int, int]]:
    """A row's coefficients: its entries (or the first ``count``), and its random ones."""
    return [(0, shape.cols if count is None else count), (shape.cols, shape.tail)]


def _pad_places(words: Sequence[Word], cols: int) -> Word:
    """The blocks that hold pads, with their first pad's number."""
    return tuple(
        replace(block, exponent=i * cols + block.exponent)
        for i, word in enumerate(words)
        for block in word
        if block.exponent < cols
    )


def _masked(level: Level) -> tuple[tuple[Word, ...], int]:
    """What a hiding level hands on: its masked row and the masked pads of its rounds, in one vector."""
    return lay_out([_runs(level.shape), _runs(level.shape, 2 * level.log_rows)])


def opening_rounds(plan: Plan, counts: Counts) -> int:
    """Of the sumcheck over witness and params."""
    columns = plan.params.shape.log_cols if plan.params is not None and counts.rows else 0
    return max(plan.witness.log_entries, columns)


def pads_of(plan: Plan, counts: Counts) -> Pads:
    """The pads of every message in order: protocol section 9."""
    at = 0
    groups = []
    for k in range(plan.log_leaves):
        groups.append(Group(at + 2 * k, 4, TREE))
        at += 2 * k + groups[-1].size
    if counts.contractions:
        at += 1 + max(1, counts.degree) * counts.rounds
        terms = len(counts.contractions)
        groups.append(Group(at, 2 * terms, operand_products(terms)))
        at += groups[-1].size
    if counts.reduced:
        at += 1 + 2 * max(counts.reduced) + len(counts.reduced)
    at += len(plan.system.externals)
    at += 2 * opening_rounds(plan, counts) + 1 + counts.rows
    return Pads(at, tuple(groups))


def operand_products(terms: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Which values of a contraction are multiplied: two operands for each term."""
    return tuple(((2 * i, 2 * i + 1),) for i in range(terms))


def _opening(
    plan: Plan,
    counts: Counts,
    shapes: list[tuple[str, MatrixShape]],
    words: Sequence[tuple[Word, ...]],
    used: int,
    levels: tuple[Level, ...],
    hiding: Hiding | None,
    tensors: tuple[MatrixLayout, ...],
) -> Opening:
    every = [*shapes, *((f"level {i}", level.shape) for i, level in enumerate(levels, 1))]
    first_bits, later_bits = query_grinding_bits(plan)
    grinding = [first_bits] * len(shapes) + [later_bits] * len(levels)
    proofs, closeness = plan.mode.proofs, plan.closeness
    misses = [params_miss(s, proofs, closeness) if name == "params" else missed(s.rate) for name, s in every]
    most = [min(queries_within(m, Fraction(1, 1 << MAX_BITS)), s.n) for m, (_, s) in zip(misses, every, strict=True)]
    share = (Fraction(1, 1 << TARGET_BITS) - _errors(plan, counts, levels, most, hiding, tensors).total()) / len(every)
    if share <= 0:
        before = _errors(plan, counts, levels, most, hiding, tensors).total_bits()
        raise InsufficientSoundness(f"{before:.2f} bits before any query, {TARGET_BITS} wanted")
    found = [queries_within(miss, share * (1 << bits)) for miss, bits in zip(misses, grinding, strict=True)]
    for (name, shape), count, bound in zip(every, found, most, strict=True):
        if count > bound or (shape.tail and count >= shape.tail):
            raise InsufficientSoundness(f"{count} queries to the {shape.n} positions of '{name}'")
    budget = _errors(plan, counts, levels, found, hiding, tensors)
    for (name, shape), count, bits, miss in zip(every, found, grinding, misses, strict=True):
        budget.add(f"{name} queries ({count})", soundness.query(shape, count, bits, miss))
    opened = [Opened(name, shape, count) for (name, shape), count in zip(every, found, strict=True)]
    first = tuple(replace(o, words=w) for o, w in zip(opened, words, strict=False))
    rest = list(zip(levels, opened[len(first) :], strict=True))
    if hiding is not None:
        level, o = rest[0]
        rest[0] = level, replace(o, words=_masked(level)[0])
    return Opening(counts, first, tuple(rest), used, later_bits, budget, hiding, tensors, first_bits)


def _errors(
    plan: Plan,
    counts: Counts,
    levels: tuple[Level, ...],
    queried: list[int],
    hiding: Hiding | None,
    tensors: tuple[MatrixLayout, ...],
) -> Budget:
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
    if hiding is not None:
        b.add("sacrifice", soundness.sumcheck(2, 1))
    if counts.rows:
        assert plan.params is not None
        joint = (counts.rows - 1).bit_length()
        b.add("params (delta)", soundness.batching(joint))
        if plan.closeness is not Closeness.CERTIFIED:
            b.add("params proximity", soundness.proximity(plan.params.shape, joint + plan.params.log_rows))
    for i, layout in enumerate(tensors):
        b.add(f"tensor {i} proximity", soundness.proximity(layout.shape, layout.log_rows))
    b.add("opening", soundness.sumcheck(2, opening_rounds(plan, counts)))
    b.add("witness proximity", soundness.proximity(plan.witness.shape, plan.witness.log_rows))
    first = 1 + (counts.rows > 0) + len(tensors)  # matrices, and as many claims on the first vector
    claims, asked = first, sum(queried[:first])
    if hiding is not None:
        claims += relations(plan, counts, hiding.pads)
        asked += queried[0] * -(-hiding.pads.total // plan.witness.shape.cols)
    for i, level in enumerate(levels, 1):
        masks = 2 if hiding is not None and i == 1 else 0
        b.add(f"level {i} claims (beta)", soundness.batching(claims + asked - 1))
        b.add(f"level {i} rounds", soundness.sumcheck(2, level.log_rows))
        if masks:
            b.add(f"level {i} mask", soundness.batching(1))
        b.add(f"level {i} proximity", soundness.proximity(level.shape, level.log_rows + masks))
        claims, asked = 1, queried[first + i - 1] * max(1, masks)
    return b


def relations(plan: Plan, counts: Counts, pads: Pads) -> int:
    """Between pads: one per layer of the tree, for the contraction, the reduction and the opening, and those of the
    sacrifice."""
    return plan.log_leaves + bool(counts.contractions) + bool(counts.reduced) + 1 + pads.relations
