"""The numbers that are fixed before the first challenge: from program and path alone, and checked against the
proof's and against what they must come to."""

from dataclasses import replace
from fractions import Fraction

import pytest

from syurmy.isa.errors import InputError
from syurmy.prover.protocol import counts as counting
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.counts import Counts, count_claims
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.soundness import TARGET_BITS, Budget
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover
from syurmy.prover.verifier.outlined import Outlined
from syurmy.prover.verifier.verify import Verifier
from tests.soundness import common as c
from tests.soundness import memory_programs as memory

c.INPUTS.update(memory.INPUTS)


@pytest.mark.parametrize("source", [c.DENSE, c.TWO_DENSE, c.BOUND, c.TWO_DOTS, c.ROWS, c.LOOP, memory.RAM])
def test_counts_do_not_depend_on_the_points(source, monkeypatch):
    plan = Plan.of(c.keys(source).program) if c.keys(source).plan else None
    assert plan is not None
    first = count_claims(plan)
    for seed in (b"a", b"b", b"c"):
        monkeypatch.setattr(counting, "_SEED", seed)
        assert count_claims(plan) == first


def test_what_is_counted():
    assert count_claims(c.keys(c.TWO_DOTS).plan) == Counts(((2, 2), (2, 2)), 0, ())
    assert count_claims(c.keys(c.ROWS).plan).rows == 2
    assert count_claims(c.keys(c.TWO_DENSE).plan).rows == 1  # two params, one row
    assert count_claims(c.keys(c.SUM_PARAM).plan).reduced == (2,)  # of the axis that is summed
    assert count_claims(c.keys(c.BOUND).plan).reduced == (2, 2)  # the rows are bound to two points
    assert Counts().rounds == Counts().degree == 0


def test_a_proof_with_other_counts_is_refused(monkeypatch):
    """The sweeps of the proof come to other numbers than those that fixed the queries."""
    verifier = Verifier(c.keys(c.DENSE).verifying_key)
    opening = Opening.of(verifier.plan)
    verifier.plan.opening = replace(opening, counts=replace(opening.counts, rows=7))
    with pytest.raises(Rejected, match="not as many as the plan counts") as e:
        verifier.verify(c.honest(c.DENSE).data)
    assert e.value.step == "soundness"
    prover = Prover(c.keys(c.DENSE), c.trace_of(c.DENSE))
    prover.opening = replace(prover.opening, counts=replace(opening.counts, rows=7))
    with pytest.raises(InputError) as error:
        prover.run()
    assert error.value.code == "P170"


@pytest.mark.parametrize(("denominator", "holds"), [(2**TARGET_BITS, True), (2**TARGET_BITS - 1, False)])
def test_a_budget_that_does_not_hold_is_refused(denominator, holds):
    """Whatever the numbers of queries were computed from: the errors add up to at most 2^-100, or no proof counts."""
    verifier = Verifier(c.keys(c.DOT).verifying_key)
    budget = Budget()
    budget.add("all", Fraction(1, denominator))
    verifier.plan.opening = replace(Opening.of(verifier.plan), budget=budget)
    if holds:
        verifier.verify(c.honest(c.DOT).data)
        return
    with pytest.raises(Rejected, match=f"{TARGET_BITS} wanted") as e:
        verifier.verify(c.honest(c.DOT).data)
    assert e.value.step == "soundness"


def test_a_product_behind_a_product_is_refused(monkeypatch):
    """Claims on it would be settled by nothing: there is no third sweep."""
    verifier = Verifier(c.keys(c.DOT).verifying_key)
    pull = Outlined.pull

    def twice(self, claims):
        pulled, known = pull(self, claims)
        return replace(pulled, products=self.plan.outline.pulled[0].products), known

    monkeypatch.setattr(Outlined, "pull", twice)
    with pytest.raises(Rejected, match="an operand of a product holds a product") as e:
        verifier.verify(c.honest(c.DOT).data)
    assert e.value.step == "contraction"


@pytest.mark.parametrize(("change", "reason"), [("groups", "products of hidden values"), ("messages", "as many as")])
def test_pads_that_are_counted_otherwise_are_refused(change, reason):
    """A product that no group counts would be checked by nobody; a shadow with the number of a message would be no pad
    of its own."""
    source = c.hiding(c.DOT)
    verifier = Verifier(c.keys(source).verifying_key)
    opening = Opening.of(verifier.plan)
    pads = opening.hiding.pads
    group = pads.groups[0]
    other = {"groups": (replace(group, sums=group.sums[::-1]), *pads.groups[1:]), "messages": pads.messages - 1}
    fewer = replace(pads, **{change: other[change]})
    verifier.plan.opening = replace(opening, hiding=replace(opening.hiding, pads=fewer))
    with pytest.raises(Rejected, match=reason) as e:
        verifier.verify(c.honest(source).data)
    assert e.value.step == "soundness"
