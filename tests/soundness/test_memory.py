"""Cheating provers against the memory argument, permutations, branches and batches.

Where it can, a forgery makes all tuples cancel and lies in one place only, so that exactly one rule has to see it: the
range of the elapsed time, the public row numbers, the claims on the leaves, the order of commitment and fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa import builder
from syurmy.isa.errors import Trap
from syurmy.isa.graph import Node, Public, Tuples
from syurmy.isa.ranges import Limbs
from syurmy.isa.trace import Trace
from syurmy.prover import prove as proving
from syurmy.prover.check import check_system
from syurmy.prover.field import U64, Ext, P
from syurmy.prover.kernels.bind import dot_rows
from syurmy.prover.keys import setup
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.protocol.leaves import Block
from syurmy.prover.protocol.mle import eq_vector
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover
from syurmy.prover.verifier.verify import Verifier
from tests.soundness import common as c
from tests.soundness.common import OPENING, ROOT, refused, says
from tests.soundness.forgeries import Host
from tests.soundness.memory_programs import (
    FIRST,
    GATHER,
    INPUTS,
    LAST,
    LOOP,
    RAM,
    SORT,
    STORE,
    TOPK,
    WIDE,
    Replaced,
    V,
    X,
    block,
    forged,
    named,
    other_run,
    trace_of,
)
from tests.soundness.test_replay import leave_out


def accesses(
    read: Mapping[int, Any] | None = None,
    elapsed: Mapping[int, int] | None = None,
    final: Any = None,
    times: Any = None,
) -> Replaced:
    """Columns of the accesses of ``RAM``, by instruction, and of its final contents."""

    def columns(plan: Plan) -> dict[Node, Any]:
        out: dict[Node, Any] = {plan.system.results[pc]: v for pc, v in (read or {}).items()}
        out |= {named(plan, "elapsed", pc): v for pc, v in (elapsed or {}).items()}
        if final is not None:
            out[named(plan, "final buf")] = final
        if times is not None:
            out[named(plan, "final times of buf")] = times
        return out

    return columns


@pytest.mark.parametrize("source", INPUTS)
def test_honest(source):
    trace = trace_of(source)
    statement = c.verifier_of(source).verify(forged(source))
    for name, value in trace.outputs.items():
        assert np.array_equal(statement.outputs[name], value)


def rows(*last: Any) -> list[Any]:
    return [X[0], X[1], *last]


NINE = np.array([9, 9])
FORGERIES: dict[str, tuple[Replaced, dict[str, Any]]] = {
    "stale read of what the first load left": (accesses({LAST: X[2]}, {LAST: 1}), {"z": X[2]}),
    "stale read of the initial row": (accesses({LAST: X[2]}, {LAST: 2}), {"z": X[2]}),
    "lost write": (accesses({LAST: X[2]}, {LAST: 1}, rows(X[2], X[3]), [0, 0, 3, 0]), {"z": X[2]}),
    "lost write, an older time at the end": (
        accesses({LAST: X[2]}, {LAST: 1}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": X[2]},
    ),
    "read from the future": (  # all tuples cancel
        accesses({FIRST: V, STORE: V, LAST: X[2]}, {FIRST: -2, LAST: 2}, rows(X[2], X[3]), [0, 0, 3, 0]),
        {"y": V, "z": X[2]},
    ),
    "read of its own write": (  # all tuples cancel
        accesses({LAST: NINE}, {LAST: -1}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": NINE},
    ),
    "a time of F between two times": (accesses({LAST: V}, {LAST: pow(2, -1, P)}), {}),
    "read of another row": (accesses({LAST: X[1]}, {LAST: 2}), {"z": X[1]}),
    "read of another buffer": (accesses({LAST: [0, 0]}, {LAST: 2}), {"z": [0, 0]}),
    "one entry of the row read differs": (accesses({LAST: [-1, 7]}), {"z": [-1, 7]}),
    "row changed between accesses": (accesses({STORE: NINE}), {}),
    "row changed at the end": (accesses(final=rows(V, NINE)), {}),
    "entries of a row swapped": (accesses(final=rows(V, X[3][::-1])), {}),
    "final time of another access": (accesses(times=[0, 0, 2, 0]), {}),
    "final time before the initial one": (accesses(times=[0, 0, 3, -1]), {}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_access(name):
    replaced, outputs = FORGERIES[name]
    refused(RAM, forged(RAM, replaced, outputs), *ROOT)


def test_row_out_of_range():
    """No initial tuple has the row, whatever time is claimed; the machine traps."""
    with pytest.raises(Trap, match="row 4"):
        trace_of(RAM, {**INPUTS[RAM], "j": 4})
    for read, elapsed in ((NINE, 2), (NINE, -1), ([0, 0], 2)):

        def replaced(plan: Plan, read: Any = read, elapsed: int = elapsed) -> dict[Node, Any]:
            columns = accesses({LAST: read}, {LAST: elapsed}, rows(V, X[3]), [0, 0, 2, 0])(plan)
            return {**columns, plan.system.inputs["j"]: 4}

        refused(RAM, forged(RAM, replaced, {"z": read}), *ROOT)


def test_initial_and_final_row_twice():
    """Row 2 twice and row 3 never, by false row numbers: the tuples cancel, the public numbers do not agree."""

    def replaced(plan: Plan) -> dict[Node, Any]:
        row = block(plan, "final contents").members[1]
        assert isinstance(row, Public)
        assert row is block(plan, "initial contents").members[1]
        columns = accesses({LAST: X[2]}, {LAST: 2}, rows(V, X[2]), [0, 0, 2, 3])(plan)
        return {**columns, row: [0, 1, 2, 2]}

    refused(RAM, forged(RAM, replaced, {"z": X[2]}), *OPENING)


class Leaves(Prover):
    """Other values in one member of one block of tuples, in the leaves only."""

    label, origin, member = "", -1, 0
    false: Any = None

    def fill_tuples(self, part: U64, b: Block, tuples: Tuples, betas: list[Ext]) -> None:
        node = tuples.members[self.member]
        if (tuples.label, tuples.origin) != (self.label, self.origin) or node is None:
            return super().fill_tuples(part, b, tuples, betas)
        kept = self.witness(node)
        self.witness._values[node] = np.broadcast_to(np.array(self.false, np.int64), node.shape)
        super().fill_tuples(part, b, tuples, betas)
        self.witness._values[node] = kept


def leaves(label: str, origin: int, member: int, values: Any) -> type[Prover]:
    return type("Lying", (Leaves,), {"label": label, "origin": origin, "member": member, "false": values})


LIES: dict[str, tuple[Replaced, dict[str, Any], type[Prover]]] = {
    "a load that does not write back": (
        accesses({STORE: NINE}, {}),
        {},
        leaves("write", FIRST, 2, NINE),
    ),
    "a store of something else": (
        accesses({LAST: NINE}, {}, rows(NINE, X[3])),
        {"z": NINE},
        leaves("write", STORE, 2, NINE),
    ),
    "a load at another time": (
        accesses({LAST: X[2]}, {LAST: 1}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": X[2]},
        leaves("write", LAST, 3, 1),
    ),
    "a load of another row": (
        accesses({LAST: X[3]}, {LAST: 2}, rows(V, X[3]), [0, 0, 2, 0]),
        {"z": X[3]},
        leaves("read", LAST, 1, 3),
    ),
    "a final row of another number": (accesses(), {}, leaves("final contents", -1, 1, [[0, 1, 2, 2]])),
    "an initial row of another number": (accesses(), {}, leaves("initial contents", -1, 1, [[0, 1, 2, 2]])),
    "initial contents of another input": (
        accesses({FIRST: NINE, STORE: NINE}),
        {"y": NINE},
        leaves("initial contents", -1, 2, [[X[0], X[1], NINE, X[3]]]),
    ),
}
UNBALANCED = {"a load of another row", "a final row of another number", "an initial row of another number"}


@pytest.mark.parametrize("name", LIES)
def test_leaves_of_other_tuples(name):
    replaced, outputs, prover = LIES[name]
    refused(RAM, forged(RAM, replaced, outputs, prover), *(ROOT if name in UNBALANCED else OPENING))


def test_elapsed_time_by_limbs(monkeypatch):
    """-1 has no limbs: neither a lowest limb of -1 nor an upper one."""
    c.keys(RAM)  # kept for all tests, so it is made before the limbs change
    monkeypatch.setattr(builder, "limbs_for", lambda checks: Limbs(1))
    key = setup(syurmy.assemble(RAM + "\n"), CLEAR)
    verifier = Verifier(key.verifying_key)
    trace = trace_of(RAM)
    assert verifier.verify(Prover(key, trace).run().data)
    base = accesses({LAST: NINE}, {LAST: -1}, rows(V, X[3]), [0, 0, 2, 0])
    for limb in (0, 1, -1, (-1 - 1) * pow(2, -1, P) % P):
        trace = trace_of(RAM)
        says(z=NINE)(trace)
        liar = Prover(key, trace)
        columns = {**base(liar.plan), named(liar.plan, "elapsed limb 1", LAST): limb}
        liar.witness = c.Forged(liar, trace, columns)
        with pytest.raises(Rejected) as e:
            verifier.verify(liar.run().data)
        assert e.value.step == ROOT[0]
        assert ROOT[1] in e.value.reason


# ---- pinning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [RAM, GATHER, SORT, LOOP, TOPK])
def test_every_column_is_pinned_and_every_constraint_needed(source, monkeypatch):
    """What single entries and pairs do not show to be needed, ``test_single_violations`` does."""
    given = {k: np.array(v) for k, v in INPUTS[source].items()}
    left = Host(c.keys(source).program, given).refuse_all(monkeypatch, 16)
    assert {label for _, label in left} <= {"elapsed", "ascending", "branch"}


def violated(source: str, replaced: Replaced, outputs: Mapping[str, Any], trace: Trace | None = None) -> set[str]:
    """Labels of the constraints that a forgery violates."""
    trace = trace or trace_of(source)
    says(**outputs)(trace)
    liar = Prover(c.keys(source), trace)
    witness = c.Forged(liar, trace, replaced(liar.plan))
    return {v.constraint for v in check_system(liar.plan.system, witness) if v.constraint != "value"}


def test_single_violations(monkeypatch):
    """Forgeries that would pass if one constraint was left out."""
    for name in ("read from the future", "read of its own write"):
        assert violated(RAM, *FORGERIES[name]) == {"elapsed"}
    for name in ("stale read of the initial row", "one entry of the row read differs", "row changed at the end"):
        assert violated(RAM, *FORGERIES[name]) == {"tuples of buf"}
    assert violated(SORT, *order([-1, 2, 3, 3], [1, 3, 2, 0])) == {"ascending"}
    assert violated(LOOP, lambda plan: {}, {}, other_run(monkeypatch, 3, {1})) == {"branch"}


# ---- fingerprints ----------------------------------------------------------------------------------------------------


def collision() -> bytes:
    """Another row of the same fingerprint, chosen when its point is known: entry 0 is one more, two others make up."""
    drawn: dict[str, list[Ext]] = {}

    class First(Prover):
        def lookups(self) -> tuple[Ext, Ext]:
            out = super().lookups()
            drawn.update(self.transcript.drawn)  # type: ignore[attr-defined]
            return out

    forged(WIDE, outputs={"y": [6]}, prover=First)
    w = eq_vector(drawn["fingerprint point"]).astype(object)
    assert w.shape == (2, 4)
    (a, b), (d, e) = w[:, 1], w[:, 2]  # a*u + d*v = -w0, b*u + e*v = -w0'
    inverse = pow(int(a * e - b * d) % P, -1, P)
    u = int(-w[0, 0] * e + w[1, 0] * d) * inverse % P
    v = int(-w[1, 0] * a + w[0, 0] * b) * inverse % P
    assert not ((w[:, 0] + w[:, 1] * u + w[:, 2] * v) % P).any()
    return forged(WIDE, lambda plan: {plan.system.results[0]: [6, 6 + u, 7 + v, 8]}, {"y": [6]})


def test_fingerprint_collision(monkeypatch):
    # the kernel for small entries would cut field elements short
    monkeypatch.setattr(proving, "dot_rows", lambda values, weights, bound: dot_rows(values, weights, 2**62))
    refused(WIDE, collision(), *ROOT)
    leave_out(monkeypatch, "witness root")
    statement = c.verifier_of(WIDE).verify(collision())
    assert statement.outputs["y"].tolist() == [6], "the attack works where the point does not depend on the root"


def test_fingerprint_point_comes_after_the_root():
    for source in (RAM, GATHER, WIDE):
        prover = Prover(c.keys(source), trace_of(source))
        run = c.verifier._Run(c.verifier_of(source), prover.run().data)
        run.run()
        for log in (prover.transcript.log, run.transcript.log):
            order = [label for _, label, _ in log]
            first = order.index("fingerprint point")
            for message in c.STATEMENT[1:]:
                assert order.index(message) < first
            assert order.index("alpha") < order.index("beta") < first < order.index("lookup values")


# ---- gather, order ---------------------------------------------------------------------------------------------------


def test_gather_of_another_row():
    x = INPUTS[GATHER]["x"]
    for counts in (None, [1, 1, 1, 0], [1, 0, 2, 0], [1, pow(2, -1, P), 1, 0]):

        def replaced(plan: Plan, counts: Any = counts) -> dict[Node, Any]:
            out: dict[Node, Any] = {plan.system.results[0]: [x[2], x[1], x[2]]}
            if counts is not None:
                out[named(plan, "multiplicity", 0)] = counts
            return out

        refused(GATHER, forged(GATHER, replaced, {"y": [x[2], x[1], x[2]]}), *ROOT)


@pytest.mark.parametrize("counts", [[1, 0, 1, 1], [2, 0, 1, 0], [1, 0, 2 - P, 1]])
def test_multiplicity_of_a_gather(counts):
    refused(GATHER, forged(GATHER, lambda plan: {named(plan, "multiplicity", 0): counts}), *ROOT)


def order(values: Any, places: Any) -> tuple[Replaced, dict[str, Any]]:
    """Columns of both instructions of ``SORT``, whose honest values are [-1, 2, 3, 3] and [1, 3, 0, 2]."""

    def columns(plan: Plan) -> dict[Node, Any]:
        return {named(plan, label, pc): v for pc in (0, 1) for label, v in (("sorted", values), ("places", places))}

    small = all(-128 <= v < 128 for v in values) and all(0 <= v < 4 for v in places)
    return columns, {"y": values, "p": places} if small else {}


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([-1, 2, 2, 3], [1, 3, 3, 0]),  # one dropped, another twice
        ([-1, 2, 3, 4], [1, 3, 0, 2]),  # one that is not there
        ([-1, 2, 3, 3], [1, 3, 2, 0]),  # ties in the other order
        ([-1, 2, 3, 3], [1, 3, 0, 0]),  # one place twice
        ([-1, 3, 2, 3], [1, 0, 3, 2]),  # not sorted
        ([3, 3, 2, -1], [0, 2, 3, 1]),  # the other way round
        ([-1 - pow(4, -1, P), 2, 3, 3], [2, 3, 0, 2]),  # the same key
    ],
)
def test_forged_order(values, places):
    replaced, outputs = order(values, places)
    refused(SORT, forged(SORT, replaced, outputs), *ROOT)
