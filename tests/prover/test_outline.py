"""What the plan's own sweeps come to without values is what sweeps with values come to, at whatever points."""

import numpy as np
import pytest

from syurmy.assembler import assemble
from syurmy.isa.graph import Committed
from syurmy.prover.field import ONE, Ext
from syurmy.prover.protocol import counts as counting
from syurmy.prover.protocol import plan as planning
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.claims import Sweep, Term
from syurmy.prover.protocol.counts import Counts, count_claims, sweeps
from syurmy.prover.protocol.outline import Coincidence, Numbers, Slot
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.protocol.weights import WeightSpace
from syurmy.prover.verifier.verify import Verifier
from tests.prover.test_plan import MIXED, rolled
from tests.soundness import common as c
from tests.soundness import memory_programs as memory
from tests.vectors.programs import SUMS

c.INPUTS.update(memory.INPUTS)
SOURCES = [c.DENSE, c.TWO_DENSE, c.BOUND, c.TWO_DOTS, c.ROWS, c.LOOP, c.SUM_PARAM, memory.RAM, MIXED]


def made(plan, space):
    """The numbers of the outline at the points that the counting sweeps take."""
    draw = counting._stream()
    space.points[red.FINGERPRINT] = draw(plan.fingerprint_bits)
    space.points[red.LOOKUP] = point = draw(plan.point_length)
    beta, gamma, eta = draw(3)
    at = red.places(plan, point[len(point) - plan.log_leaves :])
    numbers = Numbers(plan.outline, space, at, beta, gamma)
    numbers.make(plan.outline.made().first)
    contractions = [numbers.contraction(x) for x in plan.outline.contractions]
    if contractions:
        space.points[red.CONTRACTION] = draw(max(x.variables for x in contractions))
    numbers.drawn(eta)
    numbers.make(plan.outline.made().second)
    return numbers, contractions


def read(terms):
    return [(t.coefficient, [(axes, w.point, w.array.tolist()) for axes, w in t.groups]) for t in terms]


def values_of(node):
    if node.values is not None:
        return node.values
    return np.random.default_rng(node.id).integers(-9, 9, node.shape)


@pytest.mark.parametrize("program", [*map(assemble, SOURCES), rolled(5, 32)], ids=lambda p: p.name)
@pytest.mark.parametrize("seed", [b"one", b"two"])
def test_an_outline_has_the_claims_of_the_sweeps(program, seed, monkeypatch):
    monkeypatch.setattr(counting, "_SEED", seed)
    monkeypatch.setattr(planning, "MAX_TERMS", 8)  # of 32 that meet in the last program
    plan = Plan.of(program)
    assert program.name != "rolled" or any(x.label == "value" for x in plan.system.columns)
    sweep, other = Sweep(WeightSpace()), Sweep(WeightSpace())
    wanted, pulled = sweeps(plan, sweep)
    numbers, contractions = made(plan, other.space)
    outline = plan.outline
    assert len(pulled) == len(outline.pulled)
    assert [(x.product, x.coefficient, x.dims) for x in contractions] == [
        (x.product, x.coefficient, x.dims) for x in wanted
    ]
    for one, two in zip(contractions, wanted, strict=True):
        assert read([Term(ONE, one.batch)]) == read([Term(ONE, two.batch)])
        assert (one.variables, one.degree) == (two.variables, two.degree)
    for mine, theirs in zip(outline.pulled, pulled, strict=True):
        for kind in ("params", "externals"):
            found = numbers.terms(getattr(mine, kind))
            assert [n.id for n in found] == [n.id for n in getattr(theirs, kind)]
            for node, terms in getattr(theirs, kind).items():
                assert [t[:1] for t in read(found[node])] == [t[:1] for t in read(terms)]
                assert [g[2] for t in read(found[node]) for g in t[1]] == [g[2] for t in read(terms) for g in t[1]]
        of_mine = type(mine)(numbers.element(mine.constant), publics=numbers.terms(mine.publics))
        assert red.known_part(of_mine, other, values_of) == red.known_part(theirs, sweep, values_of)
    point = [Ext(3 * i + 1, i) for i in range(plan.witness.log_entries)]
    columns = numbers.terms(outline.made().columns)
    assert all(isinstance(n, Committed) for n in columns)
    assert red.omega_at(columns, plan.witness, other, point) == red.omega_at(
        red.columns_of(pulled, sweep), plan.witness, sweep, point
    )
    assert count_claims(plan) == Counts.of(plan, wanted, *red.split_params(pulled))
    assert plan.outline is outline


@pytest.mark.parametrize("source", [c.DENSE, c.BOUND, c.ROWS, memory.RAM])
def test_counting_adds_no_steps(source):
    """Threads count and verify at once: a step that one of them adds could be taken for another's."""
    plan = Plan.of(assemble(source))
    outline, steps = plan.outline, len(plan.outline.lines.steps)
    counts = count_claims(plan)
    assert len(outline.lines.steps) == steps
    outline.made()  # adds steps of its own, and sums that decide nothing
    alike = len(outline.alike)
    after = len(outline.lines.steps)
    assert count_claims(plan) == counts
    assert len(outline.lines.steps) == after
    assert plan.outline is outline
    assert len(outline.alike) == alike


def test_sums_that_coincide_are_counted_by_a_sweep():
    """Two tensors get the same sum of weights: a sweep with values merges what goes on from there."""
    plan = Plan.of(assemble(SUMS))
    with pytest.raises(Coincidence):
        made(plan, WeightSpace())
    counts = count_claims(plan)
    assert plan.outline is None
    assert count_claims(plan) == counts


def test_sums_that_coincide_in_a_proof_are_refused(monkeypatch):
    verifier = Verifier(c.keys(c.DENSE).verifying_key)

    def meet(self, numbers):
        raise Coincidence

    Opening.of(verifier.plan)
    monkeypatch.setattr(Numbers, "make", meet)
    with pytest.raises(Rejected, match="two sums are equal") as e:
        verifier.verify(c.honest(c.DENSE).data)
    assert e.value.step == "soundness"


@pytest.mark.parametrize("source", [c.DENSE, c.ROWS, c.SUM_PARAM, c.hiding(c.DOT)])
def test_a_verifier_decides_alike_without_an_outline(source):
    verifier = Verifier(c.keys(source).verifying_key)
    first = verifier.verify(c.honest(source).data)
    assert verifier.plan.outline is not None
    verifier.plan.outline = None
    second = verifier.verify(c.honest(source).data)
    assert first.soundness == second.soundness
    assert {n: v.tolist() for n, v in first.outputs.items()} == {n: v.tolist() for n, v in second.outputs.items()}


def test_an_element_without_a_value_has_none():
    slot = Slot([], ("given", (), None))
    for ask in (bool, lambda x: x == 1 or x.a, lambda x: x.inverse()):
        with pytest.raises((TypeError, AttributeError)):
            ask(slot)
    assert ONE * slot is slot
