"""Weak Fiat-Shamir: attacks that a transcript with one message left out would admit, and the real one does not.

Each attack knows a challenge before it sends what the challenge must depend on. With the message left out of the hash
(on both sides) the false statement is accepted, which shows that the attack is right; with the real transcript the
guessed challenge is stale and the same attack is rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from syurmy.isa.graph import Table
from syurmy.prover.field import ZERO, Ext, P
from syurmy.prover.lookup import Leaves
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.contraction import all_contractions
from syurmy.prover.protocol.mle import dot_base
from syurmy.prover.protocol.transcript import Transcript
from syurmy.prover.prove import Prover
from tests.soundness import common as c
from tests.soundness.common import (
    Cheat,
    accepted,
    at,
    cheat,
    ext_bytes,
    exts,
    keys,
    refused,
    result_of,
    says,
    written_out,
)
from tests.soundness.test_cheating import Covering


def leave_out(monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    absorb = Transcript.absorb
    monkeypatch.setattr(
        Transcript, "absorb", lambda self, label, data: absorb(self, label, b"" if label == left_out else data)
    )


def upcoming(transcript: Transcript, label: str, data: bytes, *challenges: str) -> Ext:
    """The last of the challenges that would follow if ``data`` was sent now."""
    copy = Transcript()
    copy._buffer = transcript._buffer.copy()
    copy.absorb(label, data)
    return [copy.challenge(x) for x in challenges][-1]


FALSE = {"columns": {"result": at(0, lambda y: y + 1)}, "trace": says(y=[2, -25, 19])}  # the remainder leaves its range


def multiplicities_after_alpha() -> bytes:
    """With alpha and beta known, two multiplicities in F make up for any sum over K."""
    seen: dict[str, Any] = {}

    class First(Prover):
        def leaves(self) -> Leaves:
            leaves = written_out(super().leaves())
            seen["leaves"], seen["alpha"] = (leaves.num.copy(), leaves.den[:, : len(leaves.num)].copy()), self.alpha
            return leaves

    cheat(c.RESCALE, Cheat(**FALSE, prover=First))
    num, den = seen["leaves"]
    fractions = [Ext(int(n)) * Ext(int(a), int(b)).inverse() for n, a, b in zip(num, *den, strict=True)]
    plan = keys(c.RESCALE).plan
    missing = sum(fractions, ZERO) - plan.padding * seen["alpha"].inverse()
    table = next(b for b in plan.blocks if isinstance(b.source, Table) and b.size > 1)
    u, v = (Ext(int(den[0, table.offset + i]), int(den[1, table.offset + i])).inverse() for i in (0, 1))
    determinant = pow(u.a * v.b - u.b * v.a, -1, P)
    more = [
        (missing.a * v.b - missing.b * v.a) * determinant % P,
        (u.a * missing.b - u.b * missing.a) * determinant % P,
    ]

    class Second(Prover):
        def multiplicities(self) -> Any:
            values = super().multiplicities()
            row = values[table.multiplicity]
            for i in (0, 1):
                row[0, i] = (int(row[0, i]) + more[i]) % P
            return values

    return cheat(c.RESCALE, Cheat(**FALSE, prover=Second))


def values_after_merge() -> bytes:
    """With mu known, the two nodes under the root need only agree with the tree on their line at mu."""

    class Balanced(Prover):
        def run(self) -> Any:
            self.sender.hook = self.adapt  # type: ignore[attr-defined]
            return super().run()

        def adapt(self, label: str, before: int, data: bytes) -> bytes:
            if label != "lookup values" or before:
                return data
            p0, p1, q0, q1 = exts(data)
            mu = upcoming(self.transcript, label, data, "lookup merge")
            line = p0 + mu * (p1 - p0)
            # alpha*(x*q1 + y*q0) = padding*q0*q1 with y = (line - (1 - mu)*x)/mu
            inverse = mu.inverse()
            wanted = self.plan.padding * self.alpha.inverse() * q0 * q1 - line * inverse * q0
            x = wanted * (q1 - (1 - mu) * inverse * q0).inverse()
            return ext_bytes(x, (line - (1 - mu) * x) * inverse, q0, q1)

    return cheat(c.RESCALE, Cheat(**FALSE, prover=Balanced))


def operands_after_eta() -> bytes:
    """With eta known, false values of two operands can agree with the sumcheck and cancel in the claims."""

    class Cancelling(Covering):
        lies = 2

        def total(self, data: bytes) -> bytes:
            claims, target = red.leaf_claims(
                self.plan, self.sweep, self.alpha, self.beta, self.drawn["gamma"][0], *self.leaf,
                self.space.points[red.LOOKUP][-self.plan.log_leaves :],
            )  # fmt: skip
            first = self.sweep.run(claims)
            self.terms = all_contractions(first.products, self.sweep)
            on_columns = dot_base(Prover.omega(self, red.columns_of([first], self.sweep)), self.flat)
            self.claimed = target - red.known_part(first, self.sweep, self.witness) - on_columns
            return ext_bytes(self.claimed)

        def operands(self, data: bytes) -> bytes:
            a, b, d, e = exts(data)
            eta = upcoming(self.transcript, "contraction values", data, "eta")
            k, m = (term.coefficient for term in self.terms)
            missing = self.final("contraction", self.claimed) - k * a * b - m * d * e
            # b' = b + x, e' = e + y: k*a*x + m*d*y = missing, eta^2*x + eta^4*y = 0
            y = missing * (m * d - k * a * eta * eta).inverse()
            return ext_bytes(a, b - eta * eta * y, d, e + y)

    how = Cheat(nodes=lambda pk: {result_of(pk, "dot"): [5]}, trace=says(s=5), prover=Cancelling)
    return cheat(c.TWO_DOTS, how)


ATTACKS = {
    "witness root": (c.RESCALE, multiplicities_after_alpha, "lookup"),
    "lookup values": (c.RESCALE, values_after_merge, "lookup"),
    "contraction values": (c.TWO_DOTS, operands_after_eta, "opening"),
}
REASONS = {
    "witness root": "lookups and tables do not balance",
    "lookup values": "layer 1 sumcheck: the values sent do not satisfy the last claim",
    "contraction values": "the values of witness and params do not fit their sumcheck",
}


@pytest.mark.parametrize("left_out", ATTACKS)
def test_stale_transcript(left_out, monkeypatch):
    source, attack, step = ATTACKS[left_out]
    refused(source, attack(), step, REASONS[left_out])
    leave_out(monkeypatch, left_out)
    statement = accepted(source, attack())
    honest = c.trace_of(source).outputs
    assert any(not np.array_equal(statement.outputs[name], honest[name]) for name in honest)


def test_left_out_message_changes_nothing_for_the_honest(monkeypatch):
    """An honest proof under either transcript is accepted by its own verifier only."""
    real = c.honest(c.RESCALE).data
    leave_out(monkeypatch, "witness root")
    weak = Prover(keys(c.RESCALE), c.trace_of(c.RESCALE)).run().data
    assert accepted(c.RESCALE, weak)
    refused(c.RESCALE, real, "lookup", "")


@pytest.mark.parametrize("label", ["alpha", "gamma", "eta"])
def test_challenges_of_another_proof(label):
    """A prover that replays the challenges of an earlier proof for other inputs."""
    source = c.DOT
    old = c.RecordingTranscript()
    prover = Prover(keys(source), c.trace_of(source, {"x": [1, 1, 1, 1], "z": [2, 2, 2, 2]}))
    prover.transcript = old
    c.start_transcript(old)
    prover.sender = c.HookedSender(old, lambda label, before, data: data)
    prover.run()

    class Replaying(c.RecordingTranscript):
        def challenge(self, name: str) -> Ext:
            value = super().challenge(name)
            return old.drawn[label][0] if name == label else value

    again = Prover(keys(source), c.trace_of(source))
    again.transcript = Replaying()
    c.start_transcript(again.transcript)
    again.sender = c.HookedSender(again.transcript, lambda label, before, data: data)
    with pytest.raises(c.Rejected):
        accepted(source, again.run().data)
