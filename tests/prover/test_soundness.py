"""The budget: exact sums, the numbers of the protocol document, and the smallest number of queries."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

import syurmy
from syurmy.prover.protocol import budget as budgets
from syurmy.prover.protocol import grinding, soundness
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.soundness import Budget
from syurmy.prover.protocol.tensors import tensor_layout
from tests.soundness import common as c

HUNDRED = Fraction(1, 2**100)


def test_terms():
    assert round(soundness.bits(soundness.logup(2**24, 3)), 1) == 101.7
    assert soundness.logup(2**24, 3, grinding_bits=16) * 2**16 == soundness.logup(2**24, 3)
    assert soundness.gkr(3) * soundness.K_SIZE == 1 + 5 + 8
    assert soundness.sumcheck(2, 20) * soundness.K_SIZE == 40
    assert soundness.batching(7) * soundness.K_SIZE == 7
    shape = MatrixShape(100, 10, 2)
    assert soundness.proximity(shape, 10) * soundness.K_SIZE == 10 * 4096
    assert soundness.query(shape, 2) == Fraction(25, 64)
    assert soundness.query(shape, 2, grinding_bits=4) == Fraction(25, 1024)


@pytest.mark.parametrize("count", [0, 4097])
def test_queries_have_positions(count):
    with pytest.raises(ValueError, match="positions"):
        soundness.query(MatrixShape(100, 10, 2), count)


def test_errors_add_up():
    budget = Budget()
    assert budget.holds()
    budget.add("a", Fraction(1, 2**101))
    budget.add("b", Fraction(1, 2**101))
    assert budget.holds()
    assert budget.rows() == [("a", 101.0), ("b", 101.0), ("total", 100.0)]
    assert "total" in str(budget)
    budget.add("c", Fraction(1, 2**300))
    assert not budget.holds()  # exact: rounded, the sum is still 100 bits
    with pytest.raises(ValueError, match="negative"):
        budget.add("d", Fraction(-1, 2))


PROGRAMS = [c.deep(c.DENSE), c.DENSE, c.TWO_DENSE, c.SUM_PARAM, c.DOT, c.RESCALE, c.LOOP, c.ADD, c.WORDS]
PROGRAMS += [c.hiding(source) for source in (c.DENSE, c.SUM_PARAM, c.DOT, c.ADD, c.ROWS)]


@pytest.mark.parametrize("source", PROGRAMS)
def test_queries_are_the_fewest(source):
    """Equal shares of what the other terms leave: one query less and a share is exceeded."""
    opening = Opening.of(c.keys(source).plan)
    assert opening.budget.holds()
    every = [*opening.matrices, *(opened for _, opened in opening.levels)]
    errors = dict(opening.budget.terms)
    for o in every:
        error = soundness.query(o.shape, o.queries, opening.grinding_bits)
        assert errors[f"{o.label} queries ({o.queries})"] == error
        assert (
            error * len(every)
            <= HUNDRED
            < len(every) * soundness.query(o.shape, o.queries - 1, opening.grinding_bits) * 2
        )


def test_every_level_is_counted():
    opening = Opening.of(c.keys(c.deep(c.DENSE)).plan)
    names = {name for name, _ in opening.budget.terms}
    assert opening.levels
    for i, (level, opened) in enumerate(opening.levels, 1):
        assert opened.label == f"level {i}"
        for term in (f"level {i} claims (beta)", f"level {i} rounds", f"level {i} proximity"):
            assert term in names
        assert dict(opening.budget.terms)[f"level {i} proximity"] * soundness.K_SIZE == level.log_rows * level.shape.n
    queries = sum(o.queries for o in opening.matrices)
    first = dict(opening.budget.terms)["level 1 claims (beta)"] * soundness.K_SIZE
    assert first == len(opening.matrices) + queries - 1


@pytest.mark.parametrize("source", [c.DENSE, c.SUM_PARAM, c.DOT, c.ROWS])
def test_what_hiding_costs(source):
    """The terms of section 9, from the numbers of relations and of rows that are compared."""
    opening = Opening.of(c.keys(c.hiding(source)).plan)
    plan, errors, hiding = c.keys(c.hiding(source)).plan, dict(opening.budget.terms), opening.hiding
    level, opened = opening.levels[0]
    assert errors["sacrifice"] * soundness.K_SIZE == 2
    assert errors["level 1 mask"] * soundness.K_SIZE == 1
    assert errors["level 1 proximity"] * soundness.K_SIZE == (level.log_rows + 2) * level.shape.n
    prover = c.Prover(c.keys(c.hiding(source)), c.trace_of(c.hiding(source)))
    prover.run()
    relations = len(prover.again.relations)
    words = sum(o.queries * len(o.places) for o in opening.matrices)
    found = errors["level 1 claims (beta)"] * soundness.K_SIZE
    assert found == relations + len(opening.matrices) + words - 1
    assert hiding.pads.messages == prover.again.receiver.ledger.used
    assert len(opened.places) == 2
    miss = (1 + Fraction(level.shape.cols + level.shape.tail, level.shape.n)) / 2
    assert errors[f"level 1 queries ({opened.queries})"] == miss**opened.queries / (1 << opening.grinding_bits)
    assert not c.keys(source).plan.mode.hiding
    assert "sacrifice" not in dict(Opening.of(c.keys(source).plan).budget.terms)
    assert plan.mode.hiding


def test_too_many_queries_for_the_random_coefficients(monkeypatch):
    """Where other terms leave so little that more columns would be opened than a row has random coefficients."""
    plan = Plan.of(c.keys(c.DOT).program, mode=Mode(True))
    errors = budgets._errors

    def more(*args):
        b = errors(*args)
        b.add("large", HUNDRED - b.total() - Fraction(1, 2**112))
        return b

    monkeypatch.setattr(budgets, "_errors", more)
    with pytest.raises(soundness.InsufficientSoundness, match="queries to"):
        Opening.of(plan)


def test_witness_proximity_counts_all_row_variables():
    """Rows that are not stored are zero, but the weights of those that are come from all variables."""
    plan = c.keys(c.WORDS).plan
    error = dict(Opening.of(plan).budget.terms)["witness proximity"]
    assert error * soundness.K_SIZE == (plan.witness.log_entries - plan.witness.shape.log_cols) * plan.witness.shape.n


def plan_with(monkeypatch, left):
    """A plan of which all terms but the queries leave this much of the target."""
    errors = budgets._errors

    def more(*args):
        b = errors(*args)
        b.add("large", HUNDRED - b.total() - left if left else HUNDRED)
        return b

    monkeypatch.setattr(budgets, "_errors", more)
    return Plan.of(c.keys(c.RESCALE).program)


def test_nothing_left(monkeypatch):
    with pytest.raises(soundness.InsufficientSoundness, match="before any query"):
        Opening.of(plan_with(monkeypatch, left=0))


def test_too_few_positions(monkeypatch):
    plan = plan_with(monkeypatch, left=Fraction(1, 2**150))
    with pytest.raises(soundness.InsufficientSoundness, match="positions of 'witness'"):
        Opening.of(plan)


def test_a_budget_that_does_not_hold_is_refused(monkeypatch):
    """The queries are chosen so that it holds; whether it does is asked all the same."""
    proof, verifier = c.honest(c.RESCALE), c.verifier_of(c.RESCALE)
    monkeypatch.setattr(Budget, "holds", lambda self, bits: False)
    with pytest.raises(c.Rejected, match=r"soundness: 100\.\d+ bits, 100 wanted"):
        verifier.verify(proof)


def test_an_opening_is_worked_out_once():
    plan = Plan.of(c.keys(c.RESCALE).program)
    assert Opening.of(plan) is Opening.of(plan)
    again = Opening.of(replace(plan))
    assert again == replace(Opening.of(plan), budget=again.budget)


def sized(leaves: int, tensors: int = 0) -> Any:
    """What the choice of bits looks at."""
    return SimpleNamespace(used_leaves=leaves, system=SimpleNamespace(externals=[None] * tensors))


def test_large_plans_grind_more_where_columns_are_long():
    """By the number of leaves; only in the phase that opens the first matrices more than 16 bits."""
    for leaves, bits in ((0, (12, 12)), (2**17 - 1, (12, 12)), (2**17, (16, 16)), (2**20 - 1, (16, 16))):
        assert grinding.query_grinding_bits(sized(leaves)) == bits
    assert grinding.query_grinding_bits(sized(2**20)) == (18, 16)
    assert grinding.query_grinding_bits(sized(0, tensors=1)) == (16, 16)
    assert grinding.query_grinding_bits(sized(2**20, tensors=1)) == (18, 16)


def test_what_is_worked_out_of_a_plan_is_not_that_of_another():
    """A certificate allows fewer queries, so neither plan may serve the openings of the other."""
    source = """
        .input x : i16[3] committed
        .param w : i8[3] committed = {3, -1, 2}
        .output s public
            dot s, x, w
            halt
    """
    plan = Plan.of(syurmy.assemble(source))
    layouts = [tensor_layout(plan.system.externals[0].shape, plan.mode)]
    tested, certified = Opening.of(plan, layouts), Opening.of(plan.certified(), layouts)
    assert certified.matrices[1].queries != tested.matrices[1].queries
    assert Opening.of(plan, layouts) is tested


def test_each_phase_counts_its_own_grinding(monkeypatch):
    monkeypatch.setattr(budgets, "query_grinding_bits", lambda plan: (14, 7))
    plan = replace(c.keys(c.deep(c.DENSE)).plan)
    opening = Opening.with_ladder(plan, c.two_levels)
    errors = dict(opening.budget.terms)
    for opened, bits in [*((o, 14) for o in opening.matrices), *((o, 7) for _, o in opening.levels)]:
        assert opening.grinding(opened) == bits
        error = soundness.query(opened.shape, opened.queries, bits)
        assert errors[f"{opened.label} queries ({opened.queries})"] == error
    assert opening.budget.holds()
