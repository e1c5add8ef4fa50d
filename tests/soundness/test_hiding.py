"""Attacks on what hides: pads, products of pads, the rows of pads, the mask. Each is refused, and is accepted by a
verifier that lacks just the check that refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.graph import Public
from syurmy.prover import opening
from syurmy.prover.commitment import ParamsCommitment
from syurmy.prover.field import ONE, U64, ZERO, Ext, P, ext_array
from syurmy.prover.keys import params_matrix, setup
from syurmy.prover.protocol import mle
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.claims import Pulled
from syurmy.prover.protocol.contraction import all_contractions
from syurmy.prover.protocol.hidden import Hidden, Ledger, Pads, combination
from syurmy.prover.protocol.transcript import Receiver, Rejected, Replay
from syurmy.prover.prove import Prover
from syurmy.prover.verifier import front, verify
from syurmy.prover.verifier import opening as verifier
from syurmy.prover.verifier.front import Front
from tests.prover.test_opening import nothing, weightless
from tests.soundness import common as c
from tests.soundness.common import Cheat, accepted, cheat, ext_bytes, exts, refused, says
from tests.soundness.test_cheating import FORGERIES

VALUES = ("opening", "the last vector does not have the claimed values")
ENCODING = ("opening", "the last vector does not encode to the opened columns")
DOT, DENSE, SUM_PARAM, RESCALE = (c.hiding(source) for source in (c.DOT, c.DENSE, c.SUM_PARAM, c.RESCALE))
HALF = (P + 1) // 2
FIVE = says(s=5)  # the product in DOT is 4


class Peek(Front):
    """The proof so far, and ``more``, as its verifier reads it: its relations, of which the pads are known here."""

    def __init__(self, prover: Liar, pulled: Sequence[Pulled] | None, more: bytes) -> None:
        drawn, sent = prover.after_statement
        self.ledger = Ledger()
        data = prover.sender.bytes()[sent:] + more
        super().__init__(Receiver(Replay(prover.transcript.history[drawn:]), data, self.ledger))
        self.prover, self.plan, self.opening = prover, prover.plan, prover.opening
        with suppress(Rejected, IndexError):  # more is not sent or drawn yet
            self.claims(*self.contract(*self.lookups()))

    def public_value(self, node: Public) -> I64:
        return self.prover.witness(node)

    def residual(self, index: int) -> Ext:
        """The left side of a relation for the pads that are committed."""
        return self.prover.evaluate(self.ledger.relations[index])


class Liar(Prover):
    """Its messages go through ``adapt`` before they are sent: label, how many came before, and the padded elements."""

    def run(self) -> Any:
        self.sender.hook = self._hook  # type: ignore[attr-defined]
        self.drawn: dict[str, list[Ext]] = self.transcript.drawn  # type: ignore[attr-defined]
        return super().run()

    def _hook(self, label: str, before: int, data: bytes) -> bytes:
        changed = self.adapt(label, before, data)
        return data if changed is None else ext_bytes(*changed)

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        return None

    def pad(self, i: int) -> Ext:
        assert self.pads is not None
        return Ext(int(self.pads[0, i]), int(self.pads[1, i]))

    def evaluate(self, value: Hidden) -> Ext:
        return sum((x * self.pad(i) for i, x in value.pads.items()), value.known)

    def coefficient(self) -> Ext:
        """Of the only contraction."""
        point = self.space.points[red.LOOKUP]
        leaf = point[len(point) - self.plan.log_leaves :]
        gamma = self.drawn["gamma"][0]
        claims, _ = red.leaf_claims(self.plan, self.sweep, self.alpha, self.beta, gamma, ZERO, ZERO, leaf)
        return all_contractions(self.sweep.run(claims).products, self.sweep)[0].coefficient


def lying(source: str, prover: type[Liar], trace: Callable[[Any], None] = lambda trace: None, **columns: Any) -> bytes:
    return cheat(source, Cheat(prover=prover, trace=trace, columns=columns))


def drop_relation(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Nobody asks for the relations of this reason."""
    zero = Receiver.zero

    def lenient(self: Receiver, value: Any, step: str, why: str) -> None:
        zero(self, Hidden(ZERO, {}) if reason in why and isinstance(value, Hidden) else value, step, why)

    monkeypatch.setattr(Receiver, "zero", lenient)


def drop_word(monkeypatch: pytest.MonkeyPatch, label: str, index: int) -> None:
    """Nobody claims that this combination of the matrix's rows encodes to its columns."""
    for module, drop in ((opening, weightless), (verifier, nothing)):

        def without(channel: Any, matrices: Any, bits: int, old: Any = module.open_columns, drop: Any = drop) -> Any:
            names = [(m.opened.label, i) for m in matrices for i in range(len(m.opened.places))]
            found = old(channel, matrices, bits)
            return [drop(x) if name == (label, index) else x for name, x in zip(names, found, strict=True)]

        monkeypatch.setattr(module, "open_columns", without)


def drop_value(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    """Nobody claims that a row (0: the witness's, 1: the params') has the value that was sent."""

    def fewer(opening: Any, values: Any, relations: Any = (), old: Any = verifier.claims_on_rows) -> Any:
        out = old(opening, values, relations)
        weight = weightless(out[1 + index].weight.parts[0])
        out[1 + index] = replace(out[1 + index], weight=weight, values=np.zeros((2, 1), np.uint64))
        return out

    for module in ("syurmy.prover.prove", "syurmy.prover.verifier.verify"):
        monkeypatch.setattr(f"{module}.claims_on_rows", fewer)


# ---- honest proofs, and false witnesses ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["remainder out of range", "selector of F", "argmax: not one-hot", "selector two"])
def test_false_witness(name):
    source, columns, outputs, _ = FORGERIES[name]
    source = c.hiding(source)
    refused(source, cheat(source, Cheat(columns=columns, trace=says(**outputs))), *VALUES)


def test_modes_do_not_mix():
    """A proof that hides nothing under a key that hides, and the other way round."""
    for mine, other in ((c.DOT, DOT), (DOT, c.DOT)):
        proof = Prover(c.keys(mine), c.trace_of(mine)).run().data
        accepted(mine, proof)
        refused(other, proof, "statement", "the proof belongs to another key")


# ---- every relation is needed ----------------------------------------------------------------------------------------


def test_false_statement(monkeypatch):
    """Only the last relation is broken: what columns must add up to."""
    refused(DOT, lying(DOT, Liar, FIVE), *VALUES)
    drop_relation(monkeypatch, "witness and params do not fit")
    assert accepted(DOT, lying(DOT, Liar, FIVE)).outputs["s"] == 5


class OfSum(Liar):
    """Claims the sum of the contraction that a false output needs."""

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label == "contraction sum":
            self.lie = self.coefficient() * (int(self.witness.trace.outputs["s"]) - 4)
            return [exts(data)[0] + self.lie]
        return None


def test_false_contraction(monkeypatch):
    refused(DOT, lying(DOT, OfSum, FIVE), *VALUES)
    drop_relation(monkeypatch, "operands' values do not fit")
    assert accepted(DOT, lying(DOT, OfSum, FIVE)).outputs["s"] == 5


class OfReduction(Liar):
    """Adds to the sum of the params reduction what a false output lacks."""

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label == "params reduction sum":
            claims, _ = red.leaf_claims(
                self.plan, self.sweep, self.alpha, self.beta, self.drawn["gamma"][0], ZERO, ZERO,
                self.space.points[red.LOOKUP][-self.plan.log_leaves :],
            )  # fmt: skip
            pulled = self.sweep.run(claims)
            said = red.known_part(pulled, self.sweep, self.witness)
            true = red.known_part(pulled, self.sweep, self.honest)
            return [exts(data)[0] + true - said]
        return None

    def honest(self, node: Public) -> I64:
        values = self.witness(node)
        return values - np.array([[1, 0]]) if node.source == "output" else values


def test_false_reduction(monkeypatch):
    lie = says(s=[4, 5])
    refused(SUM_PARAM, lying(SUM_PARAM, OfReduction, lie), *VALUES)
    drop_relation(monkeypatch, "values of the params do not fit the reduction")
    assert accepted(SUM_PARAM, lying(SUM_PARAM, OfReduction, lie)).outputs["s"].tolist() == [4, 5]


class OfLayers(Liar):
    """Lookups do not balance; the values of the first ``layers`` layers are adapted: the relations there hold."""

    layers = 0

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label != "lookup values" or before >= self.layers:
            return None
        p0, p1, q0, q1 = exts(data)
        seen = Peek(self, None, data)
        group = seen.ledger.groups[before]
        true = q1 - self.pad(group.first + 3)
        factor = self.drawn["alpha"][0] if before == 0 else -ONE
        return [p0 - seen.residual(before) * (factor * true).inverse(), p1, q0, q1]


@pytest.mark.parametrize("layers", [0, 1, 4])
def test_false_layer(layers, monkeypatch):
    class Here(OfLayers):
        pass

    Here.layers = layers
    lie, columns = says(y=[2, -25, 19]), FORGERIES["remainder out of range"][1]
    refused(RESCALE, lying(RESCALE, Here, lie, **columns), *VALUES)
    drop_relation(monkeypatch, f"layer {layers} sumcheck" if layers else "do not balance")
    assert accepted(RESCALE, lying(RESCALE, Here, lie, **columns)).outputs["y"].tolist() == [2, -25, 19]


# ---- products of pads ------------------------------------------------------------------------------------------------


class Spread(OfSum):
    """As ``OfSum``, with the lie spread over the rounds, so that their end is off by what does not depend on
    challenges: one pad of a product, bent by it, hides that."""

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label == "contraction round":
            return [x + self.lie * pow(HALF, before + 1, P) for x in exts(data)]
        return super().adapt(label, before, data)


def bend(monkeypatch: pytest.MonkeyPatch) -> None:
    import syurmy.prover.prove as proving

    fill = proving.fill_pads

    def bent(pads: Pads, secrets: Any) -> U64:
        out = fill(pads, secrets)
        product = pads.groups[-1].first + pads.groups[-1].count
        value = Ext(int(out[0, product]), int(out[1, product])) + pow(HALF, 2, P)  # of four entries: two rounds
        out[:, product : product + 1] = ext_array([value])
        return out

    monkeypatch.setattr(proving, "fill_pads", bent)


def weaker_sacrifice(monkeypatch: pytest.MonkeyPatch, products: bool) -> None:
    """Without the relations of products, or without those of single pads."""
    whole = front.sacrifice

    def some(pads: Pads, e: Ext, sent: Sequence[Ext]) -> list[Hidden]:
        relations = iter(whole(pads, e, sent))
        out = []
        for group in pads.groups:
            for kind, count in ((False, group.count), (True, len(group.sums))):
                found = [next(relations) for _ in range(count)]
                out += [Hidden(ZERO, {})] * count if kind == products else found
        return out

    monkeypatch.setattr(front, "sacrifice", some)


def test_bent_product_of_pads(monkeypatch):
    """A pad that is not the product it stands for: only the sacrifice sees it."""
    bend(monkeypatch)
    refused(DOT, lying(DOT, Spread, FIVE), *VALUES)
    weaker_sacrifice(monkeypatch, True)
    assert accepted(DOT, lying(DOT, Spread, FIVE)).outputs["s"] == 5


class Covered(Spread):
    """Sends for the sacrifice what makes the relation of the bent product hold."""

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label != "sacrifice":
            return super().adapt(label, before, data)
        assert self.opening.hiding is not None
        pads, sent, e = self.opening.hiding.pads, exts(data), self.drawn["sacrifice challenge"][0]
        group, shadow = pads.groups[-1], pads.shadows[-1]
        product, of_shadow = self.pad(group.first + 2), self.pad(shadow.first + 2)
        b = self.pad(shadow.first + 1) + sent[-1]  # e^2 * product - shadow product = (u + a')(v + b')
        wanted = (e * e * product - of_shadow + self.pad(shadow.first) * self.pad(shadow.first + 1)) * b.inverse()
        return [*sent[:-2], wanted - self.pad(shadow.first), sent[-1]]


def test_sacrifice_of_other_pads(monkeypatch):
    bend(monkeypatch)
    refused(DOT, lying(DOT, Covered, FIVE), *VALUES)
    weaker_sacrifice(monkeypatch, False)
    assert accepted(DOT, lying(DOT, Covered, FIVE)).outputs["s"] == 5


# ---- rows ------------------------------------------------------------------------------------------------------------


class LatePads(Liar):
    """Changes, in the vector, the pad of a last message so that the broken relation holds for it."""

    def rows(self, *args: Any) -> list[list[opening.Row]]:
        rows = super().rows(*args)
        seen = Peek(self, None, b"")
        last = seen.ledger.relations[-1]
        number = seen.ledger.used - 2 - len(self.opening.matrices)  # of the last round, which is in no other relation
        change = -self.evaluate(last) * last.pads[number].inverse()
        row, at = divmod(number, self.opening.matrices[0].shape.cols)
        entries = rows[0][1 + row].entries.copy()
        entries[:, at : at + 1] = mle.add(entries[:, at : at + 1].copy(), ext_array([change]))
        rows[0][1 + row] = opening.Row(entries, rows[0][1 + row].tail)
        self.changed = row
        return rows


def test_pads_chosen_late(monkeypatch):
    """Pads of the vector that are not those committed: only the queries to their rows see it."""
    refused(DOT, lying(DOT, LatePads, FIVE), *VALUES)
    for word in range(1, len(c.keys(DOT).plan.opening.matrices[0].places)):
        drop_word(monkeypatch, "witness", word)
    assert accepted(DOT, lying(DOT, LatePads, FIVE)).outputs["s"] == 5


class OfValue(Liar):
    """Sends the value of a row with which a false statement fits the opening's sumcheck."""

    index = 0
    fitting = False  # and changes the row so that it has it

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label != "opening values":
            return None
        sent = exts(data)
        last = Peek(self, None, data).ledger.relations[-1]
        number = Peek(self, None, data).ledger.used - len(sent) + self.index
        self.missing = self.evaluate(last) * last.pads[number].inverse()  # a value's pad has minus its coefficient
        sent[self.index] = sent[self.index] + self.missing
        return sent

    def rows(self, matrices: Any, checked: Any, params_row: Any) -> list[list[opening.Row]]:
        rows = super().rows(matrices, checked, params_row)
        if self.fitting:
            point = self.drawn["opening challenge"]
            eq = mle.eq_vector(point[len(point) - self.opening.matrices[self.index].shape.log_cols :])
            row = rows[self.index][0]
            entries = row.entries.copy()
            change = self.missing * Ext(int(eq[0, 3]), int(eq[1, 3])).inverse()
            entries[:, 3:4] = mle.add(entries[:, 3:4].copy(), ext_array([change]))
            rows[self.index][0] = opening.Row(entries, row.tail)
        return rows


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("fitting", [False, True])
def test_false_value(index, fitting, monkeypatch):
    """With the true row the claim of its value refuses it, with a row that has the value the queries do."""

    class Here(OfValue):
        pass

    Here.index, Here.fitting = index, fitting
    source, lie = (DENSE, says(y=[[-3, 4], [-10, 11]])) if index else (DOT, FIVE)
    refused(source, lying(source, Here, lie), *VALUES)
    if fitting:
        drop_word(monkeypatch, ("witness", "params")[index], 0)
    else:
        drop_value(monkeypatch, index)
    accepted(source, lying(source, Here, lie))


def test_other_params(monkeypatch):
    """A run with other params than those under the key's root."""
    pk = c.keys(DENSE)
    program = syurmy.assemble(c.DENSE.replace("-5, 4", "-5, 7"))
    assert pk.params is not None
    assert pk.plan is not None
    assert pk.plan.params is not None
    other = params_matrix(program, pk.plan.params)
    key = replace(setup(program, pk.mode), verifying_key=pk.verifying_key, allowance=None)
    key = replace(key, params=ParamsCommitment(pk.params.commitment, other))
    trace = syurmy.run(program, {k: np.array(v) for k, v in c.INPUTS[DENSE].items()})
    refused(DENSE, Prover(key, trace).run().data, *VALUES)
    drop_word(monkeypatch, "params", 0)
    assert accepted(DENSE, Prover(key, trace).run().data).outputs["y"].tolist() != [[-3, 4], [-10, 10]]


# ---- the mask --------------------------------------------------------------------------------------------------------


class AfterMask(Liar):
    """Sends for sigma what the false claim needs, with the mask's challenge known."""

    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label != "mask sum":
            return None
        seen = Peek(self, None, b"")
        index = len(seen.ledger.relations) - 1
        error = seen.residual(index) * self.drawn["level 1 beta"][0] ** index
        for x in self.drawn["level 1 challenge"]:
            error = error * x * (2 - x)
        return [exts(data)[0] + self.drawn["mask challenge"][0] * error]


def early_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides draw the mask's challenge before sigma is sent."""
    challenge, raw = c.Transcript.challenge, c.Transcript.absorb
    known: dict[int, Ext] = {}

    def drawn(self: Any, label: str) -> Ext:
        if label == "mask challenge" and id(self) in known:
            return known.pop(id(self))
        value = challenge(self, label)
        return value

    def absorb(self: Any, label: str, data: bytes) -> None:
        if label == "mask sum":
            known[id(self)] = self.challenge("mask challenge")
        raw(self, label, data)

    monkeypatch.setattr(c.Transcript, "challenge", drawn)
    monkeypatch.setattr(c.Transcript, "absorb", absorb)


class EarlyMask(AfterMask):
    def adapt(self, label: str, before: int, data: bytes) -> list[Ext] | None:
        if label == "mask sum":  # what absorbing it is about to draw
            copy = c.Transcript()
            copy._buffer = self.transcript._buffer.copy()
            self.drawn["mask challenge"] = [copy.challenge("mask challenge")]
        return super().adapt(label, before, data)


def test_sigma_after_the_mask(monkeypatch):
    """With the challenge known, sigma makes up for any false claim; the true order is what refuses it."""
    early_mask(monkeypatch)
    assert accepted(DOT, lying(DOT, EarlyMask, FIVE)).outputs["s"] == 5
    monkeypatch.undo()
    refused(DOT, lying(DOT, EarlyMask, FIVE), *VALUES)


class Captured(Exception):
    pass


def altered(monkeypatch: pytest.MonkeyPatch, word: int) -> None:
    """The masked vector is changed, after the mask, so that it has the claimed value: in its row or in its pads."""
    honest = opening.mask

    def changed(sender: Any, plan: Any, *rest: Any) -> tuple[U64, U64]:
        omega, z = honest(sender, plan, *rest)
        found: list[U64] = []

        def stop(*args: Any, old: Any = verifier.masked_claim) -> Any:
            found.append(old(*args).values)
            raise Captured

        reading = verify._Run(c.verifier_of(DOT), c.MAGIC + sender.bytes())
        with pytest.MonkeyPatch.context() as inner, suppress(Captured):
            inner.setattr(verifier, "masked_claim", stop)
            reading.run()
        wanted = Ext(int(found[0][0, 0]), int(found[0][1, 0]))
        at = plan.levels[0][1].places[word][0].offset
        weight = Ext(int(omega[0, at]), int(omega[1, at]))
        change = (wanted - mle.dot(omega, z)) * weight.inverse()
        z[:, at : at + 1] = mle.add(z[:, at : at + 1].copy(), ext_array([change]))
        return omega, z

    monkeypatch.setattr(opening, "mask", changed)


@pytest.mark.parametrize("word", [0, 1])
def test_masked_vector_altered(word, monkeypatch):
    """Only the queries to the hiding level see it."""
    altered(monkeypatch, word)
    last = len(c.keys(DOT).plan.opening.levels) == 1
    refused(DOT, lying(DOT, Liar, FIVE), *(ENCODING if last else VALUES))
    drop_word(monkeypatch, "level 1", word)
    assert accepted(DOT, lying(DOT, Liar, FIVE)).outputs["s"] == 5


def test_hidden_columns_are_under_their_root():
    """A column of any matrix changed by one is refused by its path."""
    proof = Prover(c.keys(DENSE), c.trace_of(DENSE)).run()
    for label in ("witness", "params", "level 1"):
        data = bytearray(proof.data)
        data[next(at for name, at, _ in proof.fields if name == f"{label} columns")] ^= 1
        refused(DENSE, bytes(data), "opening", f"an opened column of '{label}' is not under the root")


@pytest.mark.parametrize("source", [DOT, DENSE, SUM_PARAM])
def test_every_message_is_bound(source):
    """The lowest bit of the first and of the last element of every piece."""
    proof = Prover(c.keys(source), c.trace_of(source)).run()
    for label, offset, size in proof.fields[1:]:
        for at in {offset, offset + max(0, size - 8)} if size else ():
            data = bytearray(proof.data)
            data[at] ^= 1
            with pytest.raises(Rejected):
                c.verifier_of(source).verify(bytes(data))
            assert label


def test_combinations_are_those_of_the_operators():
    """Of values that are hidden, and of some that are not, in which pads meet."""
    a, b, factor = Ext(3, 4), Ext(5), Ext(6, 7)
    ledger = Ledger()
    x, y = ledger.hide([a, b])
    for parts, start in (
        ([(x, factor), (y, a), (x, b)], ZERO),
        ([(x, -factor), (b, a)], x + y),
        ([(y * a + x, factor), (x, b)], -x),
        ([(a, b), (b, factor)], x),
    ):
        expected = start
        for value, f in parts:
            expected = expected + value * f
        got = combination(parts, start)
        assert (got.known, got.pads) == (expected.known, expected.pads)
    assert combination([(a, b), (b, factor)], factor) == a * b + b * factor + factor
    assert (x.pads, y.pads) == ({0: Ext(-1)}, {1: Ext(-1)})  # as they were


def test_hidden_values_decide_nothing():
    """What is hidden has no truth value, is not compared, and is not multiplied by what is hidden."""
    a = Hidden(ONE, {0: -ONE})
    for forbidden in (lambda: bool(a), lambda: a == a, lambda: a * a):
        with pytest.raises(TypeError):
            forbidden()
    assert (a * 3 + 2 - Ext(1)).known == Ext(4)
