"""Pads, the matrices that are opened, and every error term of a plan (protocol, sections 7, 9.2, 9.3 and 11.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction

from tests.reference_verifier.codes import ROOM, Code, Level, bits, hiding_ladder, ladder, queries_that, radius, rounded
from tests.reference_verifier.field import P, log2_ceil
from tests.reference_verifier.layout import Block, Matrix, lay_out, runs_of
from tests.reference_verifier.plan import Plan
from tests.reference_verifier.reduction import Counts, count
from tests.reference_verifier.transcript import Rejected

TARGET = 100
FIELD = P * P

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Products:
    """``size`` messages from pad ``first`` on, and behind them a pad for each of ``sums``: which are multiplied."""

    first: int
    size: int
    sums: tuple[Pairs, ...]

    @property
    def pads(self) -> int:
        return self.size + len(self.sums)


@dataclass
class Opened:
    """A matrix and its number of queries. ``words``: where combinations of its rows lie in the next vector."""

    label: str
    code: Code
    words: list[list[Block]]
    grinding: int
    miss: Fraction  # what a query misses with
    queries: int = 0


@dataclass
class Opening:
    """``levels``: the ladder with its matrices; ``last``: entries of the vector that is sent; ``groups``: messages that
    are multiplied; ``pads`` and ``pad_blocks``: their number, and where they lie in the first vector (``exponent``: the
    first pad's number)."""

    counts: Counts
    matrices: list[Opened]
    levels: list[tuple[Level, Opened]]
    last: int
    logup_grinding: bool
    errors: list[tuple[str, Fraction]] = field(default_factory=list)
    groups: list[Products] = field(default_factory=list)
    messages: int = 0
    pads: int = 0
    pad_blocks: list[Block] = field(default_factory=list)
    tensors: Sequence[Matrix] = ()

    @property
    def total(self) -> Fraction:
        return sum((e for _, e in self.errors), Fraction(0))


def opening_rounds(plan: Plan, counts: Counts) -> int:
    return max(plan.witness.log_entries, plan.params.code.log_cols if plan.params and counts.rows else 0)


def pads_of(plan: Plan, counts: Counts) -> tuple[int, list[Products]]:
    """Pads of messages and products, in order of sending; the groups."""
    at, groups = 0, []
    for k in range(plan.log_leaves):
        groups.append(Products(at + 2 * k, 4, (((0, 3), (1, 2)), ((2, 3),))))
        at += 2 * k + groups[-1].pads
    if n := len(counts.contractions):
        at += 1 + counts.degree * counts.rounds
        groups.append(Products(at, 2 * n, tuple(((2 * i, 2 * i + 1),) for i in range(n))))
        at += groups[-1].pads
    if counts.reduced:
        at += 1 + 2 * max(counts.reduced) + len(counts.reduced)
    at += len(plan.system.externals)
    return at + 2 * opening_rounds(plan, counts) + 1 + counts.rows, groups


class Rows(Enum):
    """What is known of the rows of the params: nothing, so that every proof tests them; what a certificate tests; what
    one has tested."""

    TESTED, CERTIFYING, CERTIFIED = range(3)


def params_miss(plan: Plan, rows: Rows) -> Fraction:
    """What a query to the params misses with."""
    assert plan.params is not None
    code = plan.params.code
    if rows is Rows.TESTED:
        return (1 + code.rate) / 2
    delta = radius(code, plan.proofs)
    return 1 - delta if rows is Rows.CERTIFYING else code.rate + delta


def opening_of(plan: Plan, rows: Rows = Rows.TESTED, tensors: Sequence[Matrix] = ()) -> Opening:
    """Everything that steps 7 to 9 need; ``Rejected`` where 100 bits, or those of the key, cannot be had."""
    counts = count(plan)
    witness, words = plan.witness.code, [runs_of(plan.witness.code)]
    messages, groups = pads_of(plan, counts) if plan.hiding else (0, [])
    pads = messages + sum(g.pads for g in groups)
    pad_rows = -(-pads // witness.cols)
    if plan.hiding:
        witness = replace(witness, aux=max(2 * pad_rows, 4 - witness.rows))
        for i in range(pad_rows):
            words.append(runs_of(witness, min(witness.cols, rounded(pads - i * witness.cols))))
    if counts.rows:
        assert plan.params is not None
        words.append(runs_of(plan.params.code))
    words += [runs_of(t.code) for t in tensors]
    placed, used = lay_out(words)
    leaves = plan.used_leaves
    first, later = (18, 16) if leaves >= 2**20 else (16, 16) if leaves >= 2**17 or tensors else (12, 12)
    matrices = [Opened("witness", witness, placed[: 1 + pad_rows], first, (1 + witness.rate) / 2)]
    rest = [[word] for word in placed[1 + pad_rows :]]
    if counts.rows and plan.params is not None:
        matrices.append(Opened("params", plan.params.code, rest.pop(0), first, params_miss(plan, rows)))
    matrices += [
        Opened(f"tensor {i}", t.code, word, first, (1 + t.code.rate) / 2)
        for i, (t, word) in enumerate(zip(tensors, rest, strict=True))
    ]
    ladder_levels = (hiding_ladder if plan.hiding else ladder)(used)[1]
    levels = []
    last = used
    for i, level in enumerate(ladder_levels, 1):
        code, last = level.code, level.code.cols
        found, _ = lay_out([[(0, code.cols)]])
        if plan.hiding and i == 1:
            found, last = lay_out([runs_of(code), runs_of(code, 2 * level.log_rows)])
        levels.append((level, Opened(f"level {i}", code, found, later, (1 + code.rate) / 2)))
    logup = Fraction(plan.used_leaves * (plan.width + 2), FIELD)
    out = Opening(counts, matrices, levels, last, logup > bits(TARGET + plan.more + 2))
    out.groups, out.messages, out.pads = groups, messages, pads
    out.pad_blocks = [
        replace(b, exponent=i * witness.cols + b.exponent)
        for i, word in enumerate(matrices[0].words[1:])
        for b in word
        if b.exponent < witness.cols
    ]
    out.tensors = tensors
    fix_queries(plan, out, logup, rows)
    return out


def fix_queries(plan: Plan, opening: Opening, logup: Fraction, rows: Rows) -> None:
    """The fewest queries for equal shares of what the other errors leave."""
    every = [*opening.matrices, *(o for _, o in opening.levels)]
    most = [min(queries_that(o.miss, bits(ROOM)), o.code.n) for o in every]
    for o, number in zip(every, most, strict=True):
        o.queries = number  # of the claims that they add, in the terms
    left = bits(TARGET + plan.more) - sum((e for _, e in errors(plan, opening, logup, rows)), Fraction(0))
    if left <= 0:
        raise Rejected("soundness", "the other terms leave nothing for queries")
    for o, number in zip(every, most, strict=True):
        o.queries = queries_that(o.miss, left / len(every) * 2**o.grinding)
        if o.queries > number or (o.code.tail and o.queries >= o.code.tail):
            raise Rejected("soundness", f"{o.queries} queries to {o.label}")
    opening.errors = errors(plan, opening, logup, rows)
    for o in every:
        opening.errors.append((f"{o.label} queries", o.miss**o.queries / 2**o.grinding))
    if opening.total > bits(TARGET + plan.more):
        raise Rejected("soundness", f"less than {TARGET + plan.more} bits")


def errors(plan: Plan, opening: Opening, logup: Fraction, rows: Rows) -> list[tuple[str, Fraction]]:
    """All terms of section 7 but the queries'."""
    counts, out = opening.counts, []

    def add(name: str, numerator: int) -> None:
        out.append((name, Fraction(numerator, FIELD)))

    if plan.blocks:
        out.append(("logup", logup / 2**16 if opening.logup_grinding else logup))
        add("gkr", 1 + sum(3 * k + 2 for k in range(1, plan.log_leaves)))
    add("equations at a point", plan.point_length)
    add("claims (gamma)", 2 + len(plan.equations))
    if counts.contractions:
        add("contraction", counts.degree * counts.rounds)
        add("operands (eta)", 2 * len(counts.contractions))
    if counts.reduced:
        add("params reduction", 2 * max(counts.reduced))
        add("reduced params (zeta)", len(counts.reduced))
    if plan.hiding:
        add("sacrifice (e)", 2)
    if counts.rows:
        assert plan.params is not None
        joint = log2_ceil(counts.rows)
        add("params (delta)", joint)
        if rows is not Rows.CERTIFIED:
            add("proximity of the params", (joint + plan.params.log_rows) * plan.params.code.n)
    for i, t in enumerate(opening.tensors):
        add(f"proximity of tensor {i}", t.log_rows * t.code.n)
    add("opening", 2 * opening_rounds(plan, counts))
    add("proximity of the witness", plan.witness.log_rows * plan.witness.code.n)
    claims = len(opening.matrices)
    if plan.hiding:
        claims += plan.log_leaves + bool(counts.contractions) + bool(counts.reduced) + 1
        claims += sum(g.pads for g in opening.groups)
    asked = asked_by(opening.matrices)
    for level, opened in opening.levels:
        masked = plan.hiding and opened.label == "level 1"
        add(f"{opened.label} claims (beta)", claims + asked - 1)
        add(f"{opened.label} rounds", 2 * level.log_rows)
        if masked:
            add(f"{opened.label} mask (tau)", 1)
        add(f"{opened.label} proximity", (level.log_rows + 2 * masked) * level.code.n)
        claims, asked = 1, asked_by([opened])
    return out


def asked_by(matrices: Sequence[Opened]) -> int:
    """Claims that the queries of these matrices are."""
    return sum(len(o.words) * o.queries for o in matrices)
