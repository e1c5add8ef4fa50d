"""The soundness budget, term by term from the table in section 7 of docs/protocol.md: written out once more from the
sizes of blocks, matrices and levels, so that a term that is missing or too small is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest

from syurmy.isa.graph import Table, Tuples
from syurmy.prover.field import P
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.plan import Plan
from tests.soundness import common as c
from tests.soundness import memory_programs as memory

c.INPUTS.update(memory.INPUTS)
SOURCES = [c.DOT, c.DENSE, c.TWO_DENSE, c.SUM_PARAM, c.ROWS, c.WORDS, c.LOOP, memory.RAM, memory.SORT]


def log2(n: int) -> int:
    return (n - 1).bit_length()


def bits_of(shape: Sequence[int]) -> int:
    return sum(map(log2, shape))


def width(plan: Plan) -> int:
    """W: the members of the widest tuple, with the degree of a fingerprint."""
    most = 0
    for b in plan.blocks:
        if isinstance(b.source, Tuples):
            rank = len(b.source.shape)
            rows = [bits_of(m.shape[rank:]) for m in b.source.members if m is not None]
            most = max(most, len(b.source.members) + max([0, *rows]))
        else:
            most = max(most, b.source.width if isinstance(b.source, Table) else len(b.source.members))
    return most


def terms(plan: Plan, opening: Opening, hiding: bool) -> list[Fraction]:
    counts, levels = opening.counts, opening.levels
    leaves = sum(math.prod(b.dims) for b in plan.blocks)
    layers = max(1, log2(leaves))
    point = max([layers, *(bits_of(e.expression.shape) for e in plan.equations)])
    lookups = Fraction(leaves * (width(plan) + 2))
    if lookups / P**2 > Fraction(1, 2**102):
        lookups /= 2**16
    over_k = [lookups, 1 + sum(3 * k + 2 for k in range(1, layers)), point, 2 + len(plan.equations)]
    pads, products = 0, [(4, 2)] * layers  # values and sums of products
    pads += sum(2 * k + 6 for k in range(layers))
    relations = layers + 1
    if counts.contractions:
        n = len(counts.contractions)
        rounds, degree = (max(sizes) for sizes in zip(*counts.contractions, strict=True))
        over_k += [degree * rounds, 2 * n]
        pads, products, relations = pads + 1 + degree * rounds + 3 * n, [*products, (2 * n, n)], relations + 1
    if counts.reduced:
        over_k += [2 * max(counts.reduced), len(counts.reduced)]
        pads, relations = pads + 1 + 2 * max(counts.reduced) + len(counts.reduced), relations + 1
    over_k += [2] * hiding
    witness, rounds = opening.matrices[0].shape, plan.witness.log_entries
    claims, asked, used = 1, opening.matrices[0].queries, witness.cols + witness.tail
    if counts.rows:
        (_, params), joint = opening.matrices, log2(counts.rows)
        rounds = max(rounds, log2(params.shape.cols))
        rows = joint + plan.params.log_entries - log2(params.shape.cols)
        over_k += [joint, rows * params.shape.n]
        claims, asked, used = claims + 1, asked + params.queries, used + params.shape.cols + params.shape.tail
    over_k += [2 * rounds, (plan.witness.log_entries - log2(witness.cols)) * witness.n]
    if hiding:
        pads += 2 * rounds + 1 + counts.rows + sum(map(sum, products))
        assert pads == opening.hiding.pads.total
        words = -(-pads // witness.cols)
        claims += relations + sum(map(sum, products))
        asked += words * opening.matrices[0].queries
        used += pads + words * witness.tail  # and a few between: numbers of pads are rounded up
    for i, (level, opened) in enumerate(levels):
        masked = hiding and i == 0
        k = level.log_size - log2(level.shape.cols)
        assert level.shape.rows >= used / level.shape.cols
        assert k == max(masked, log2(level.shape.rows))
        over_k += [claims + asked - 1, 2 * k, *([1] * masked), (k + 2 * masked) * level.shape.n]
        claims, asked = 1, opened.queries * (2 if masked else 1)
        used = level.shape.cols + (2 * k + 2 * level.shape.tail if masked else 0)
    grinding = 16 if leaves > 2**17 else 12
    queries = []
    for opened in [*opening.matrices, *(o for _, o in levels)]:
        rate = Fraction(opened.shape.cols + opened.shape.tail, opened.shape.n)
        assert opened.queries < opened.shape.tail or not opened.shape.tail
        queries.append(((1 + rate) / 2) ** opened.queries / 2**grinding)
    return [*(Fraction(x) / P**2 for x in over_k), *queries]


@pytest.mark.parametrize("hiding", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_every_term_is_that_of_the_table(source: str, hiding: bool) -> None:
    plan = c.keys(c.hiding(source) if hiding else source).plan
    opening = Opening.of(plan)
    found = opening.budget.terms
    expected = terms(plan, opening, hiding)
    assert [(name, error) for (name, error), wanted in zip(found, expected, strict=True) if error != wanted] == []
    assert sum(expected) <= Fraction(1, 2**100)
