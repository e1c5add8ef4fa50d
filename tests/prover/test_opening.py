"""Openings through ladders of no, one and two levels: honest ones pass, every attack is refused for its reason, and
passes a verifier that lacks just the check that refuses it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from syurmy.prover import commitment as cm
from syurmy.prover import opening
from syurmy.prover.field import U64, ZERO, Ext, P, ext_array
from syurmy.prover.kernels.matrix import IntegerMatrix, bind_columns
from syurmy.prover.protocol import ladder as claims_on
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opened, Opening
from syurmy.prover.protocol.counts import Counts
from syurmy.prover.protocol.ladder import Claim, EqWeight
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.params_claims import ParamsClaim, combined_weights
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.shapes import Level
from syurmy.prover.protocol.soundness import Budget
from syurmy.prover.protocol.transcript import Receiver, Rejected, Sender, Transcript
from syurmy.prover.queries import Encoded
from syurmy.prover.verifier import opening as verifier

WITNESS = MatrixShape(5, 7, 2)  # of 8 rows
PARAMS = MatrixShape(5, 6, 2)
STORED = np.array([0, 1, 3, 4, 6])
LEVELS = (Level(8, MatrixShape(6, 5, 3, 2)), Level(5, MatrixShape(2, 4, 4, 2)))
QUERIES = 40
VALUES = "the last vector does not have the claimed values"
ENCODING = "the last vector does not encode to the opened columns"


def plan(levels: int) -> Opening:
    opened = tuple(Opened(f"level {i}", x.shape, QUERIES) for i, x in enumerate(LEVELS[:levels], 1))
    matrices = Opened("witness", WITNESS, QUERIES), Opened("params", PARAMS, QUERIES, 128)
    return Opening(Counts(), matrices, tuple(zip(LEVELS[:levels], opened, strict=True)), 192, 4, Budget())


def elements(rng: np.random.Generator, count: int) -> list[Ext]:
    return [Ext(int(a), int(b)) for a, b in rng.integers(0, P, (count, 2), dtype=np.uint64)]


class Case:
    """A witness, params and claims; prover and verifier of their opening. Tests replace what the prover uses."""

    def __init__(self, levels: int) -> None:
        rng = np.random.default_rng(0)
        self.plan = plan(levels)
        self.flat: U64 = np.zeros((8, 128), np.uint64)
        self.flat[STORED] = rng.integers(0, P, (5, 128), dtype=np.uint64)
        self.flat = self.flat.reshape(-1)
        self.omega = np.stack([rng.integers(0, P, 1024, dtype=np.uint64) for _ in range(2)])
        self.commitment = cm.commit(cm.stored_matrix(self.flat, 7, STORED), WITNESS)
        values = rng.integers(-(2**15), 2**15, (5, 64), dtype=np.int32)
        values[4] *= 1000
        self.params = cm.commit_params(IntegerMatrix.of(values), PARAMS)
        self.claims = [
            ParamsClaim(first, weights, [EqWeight(at, tuple(elements(rng, bits)), c) for at, bits, c in points])
            for first, weights, points in (
                (0, rng.integers(0, P, (2, 3), dtype=np.uint64), [(0, 6, Ext(5, 6))]),
                (2, rng.integers(0, P, (2, 3), dtype=np.uint64), [(0, 6, Ext(7))]),
                (4, mle.eq_vector([]), [(16, 4, Ext(1, 2)), (32, 5, Ext(3, 4))]),
            )
        ]
        first = self.claims[0].points[0]  # of other rows at the same columns, one of them in both
        weights = rng.integers(0, P, (2, 2), dtype=np.uint64)
        self.claims.append(ParamsClaim(1, weights, [EqWeight(0, first.point, Ext(11, 2))]))
        self.target = self.value()
        self.root, self.params_root = self.commitment.root, self.params.commitment.root
        self.row_changes: dict[str, U64] = {}
        self.sent_values: Any = None

    def value(self, params: cm.ParamsCommitment | None = None) -> Ext:
        total = mle.dot_base(self.omega, self.flat)
        for claim in self.claims:
            row = (params or self.params).integers.bind(claim.first_row, claim.weights)
            for point in claim.points:
                total = total + ext_total(point.values(row))
        return total

    def transcript(self) -> Transcript:
        t = Transcript()
        t.absorb("roots", self.root + self.params_root)
        return t

    def prove(self, sender: Sender | None = None) -> Sender:
        sender = sender or Sender(self.transcript())
        point, delta, _ = opening.prove_claims(sender, self.omega.copy(), self.flat, self.claims, self.params.integers)
        own = point
        weights = self.row_weights = np.ascontiguousarray(mle.eq_vector(own[:3])[:, STORED])
        assert self.commitment.matrix is not None
        rows = [
            bind_columns(self.commitment.matrix, weights),
            opening.combined_row(self.params.integers, self.claims, delta),
        ]
        for i, label in enumerate(("witness", "params")):
            if label in self.row_changes:
                rows[i] = mle.add(rows[i], self.row_changes[label])
        on_rows = [EqWeight(0, tuple(own[3:])), EqWeight(128, tuple(point[4:]))]
        matrices = [
            opening.Committed(self.plan.matrices[0], self.commitment),
            opening.Committed(self.plan.matrices[1], self.params.commitment),
        ]
        opening.prove_ladder(sender, self.plan, matrices, [[opening.Row(row)] for row in rows], on_rows)
        return sender

    def verify(self, data: bytes, target: Ext | None = None) -> None:
        receiver = Receiver(self.transcript(), data)
        evaluate = lambda s: mle.evaluate(self.omega, s)  # noqa: E731
        target = self.target if target is None else target
        point, values, delta = verifier.verify_claims(receiver, target, 10, evaluate, self.claims, 6)
        factors = mle.eq_vector(delta, len(self.claims))
        matrices = [
            verifier.Matrix(
                self.plan.matrices[0], self.root, np.ascontiguousarray(mle.eq_vector(point[:3])[:, STORED])
            ),
            verifier.Matrix(self.plan.matrices[1], self.params_root, combined_weights(self.claims, factors, 5)),
        ]
        on_rows = [
            Claim(EqWeight(0, tuple(point[3:])), ext_array(values[:1])),
            Claim(EqWeight(128, tuple(point[4:])), ext_array([mle.dot(factors, ext_array(values[1:]))])),
        ]
        verifier.verify_ladder(receiver, self.plan, matrices, on_rows)
        receiver.done()

    def refuses(self, data: bytes, reason: str, target: Ext | None = None) -> None:
        with pytest.raises(Rejected) as e:
            self.verify(data, target)
        assert (e.value.step, reason in e.value.reason) == ("opening", True), str(e.value)


def ext_total(values: U64) -> Ext:
    return sum((Ext(int(a), int(b)) for a, b in values.T), ZERO)


DEPTHS = pytest.mark.parametrize("levels", [0, 1, 2])


@cache
def honest(levels: int) -> Sender:
    return Case(levels).prove()


def tampered(sender: Sender, label: str, at: int = 0) -> bytes:
    """The proof with the lowest bit flipped of byte ``at`` of the first field of this label."""
    data = bytearray(sender.bytes())
    offset = next(offset for name, offset, _ in sender.fields if name == label)
    data[offset + at] ^= 1
    return bytes(data)


@DEPTHS
def test_honest_opening(levels):
    Case(levels).verify(honest(levels).bytes())


@DEPTHS
def test_wrong_target(levels):
    case = Case(levels)
    case.refuses(honest(levels).bytes(), "do not fit their sumcheck", case.target + 1)


@DEPTHS
def test_every_message(levels):
    """The lowest bit of the first and the last byte but seven of every field: refused, and for its reason where it has
    one of its own."""
    case = Case(levels)
    reasons = {"opening round": "sumcheck", "opening values": "sumcheck"}
    sender = honest(levels)
    for label, offset, size in sender.fields:
        for at in {offset, offset + size - 8} if size else ():
            data = bytearray(sender.bytes())
            data[at] ^= 1
            reason = "not under the root" if label.endswith(("columns", "path")) else reasons.get(label, "")
            case.refuses(bytes(data), reason)


# ---- false values and false rows -------------------------------------------------------------------------------------


class Lying(Sender):
    """Sends ``opening values`` with which a false target fits the sumcheck: the one at ``index`` is solved for."""

    def __init__(self, case: Case, target: Ext, index: int) -> None:
        super().__init__(case.transcript())
        self.case, self.wanted, self.index = case, target, index

    def ext(self, label: str, values: Sequence[Ext]) -> None:
        if label == "opening values":
            values = list(values)
            point = replayed(self.case, self.bytes(), "opening challenge", 10)
            sent = Receiver(Transcript(), self.bytes())
            target = self.wanted
            for x in point:
                p0, p2 = sent.ext("", 2)
                target = mle.dot(ext_array([p0, target - p0, p2]), ext_array(mle.lagrange(2, x)))
            half = pow(2, -4, P)
            weights = [mle.evaluate(self.case.omega, point)]
            weights += [half * claim.weight_at(point[4:]) for claim in self.case.claims]
            total = sum((w * v for w, v in zip(weights, values, strict=True)), ZERO)
            values[self.index] = values[self.index] + (target - total) * weights[self.index].inverse()
        super().ext(label, values)


def replayed(case: Case, data: bytes, label: str, count: int) -> list[Ext]:
    """The challenges of a sumcheck whose rounds are the last messages of ``data``."""
    receiver = Receiver(case.transcript(), data)
    out = []
    for _ in range(count):
        receiver.ext(label.replace("challenge", "round"), 2)
        out.append(receiver.transcript.challenge(label))
    return out


FALSE = Ext(123456789, 987654321)


def weightless(weight: Any) -> Any:
    """Weights that say nothing, in the place of some that did."""
    if isinstance(weight, EqWeight):
        return dataclasses.replace(weight, coefficient=ZERO)
    if isinstance(weight, claims_on.Together):
        return claims_on.Together(tuple(map(weightless, weight.parts)))
    if isinstance(weight, Encoded):
        return dataclasses.replace(weight, coefficients=np.zeros((2, weight.claims), np.uint64))
    assert isinstance(weight, claims_on.PowerWeights)
    return dataclasses.replace(weight, coefficients=np.zeros_like(weight.coefficients))


def nothing(claim: Claim) -> Claim:
    return Claim(weightless(claim.weight), np.zeros_like(claim.values))


def drop_value(monkeypatch: pytest.MonkeyPatch, dropped: int) -> None:
    """A protocol in which the value sent for the witness (0) or the params (1) is not claimed on the row."""
    prove, check = opening.prove_ladder, verifier.verify_ladder

    def proves(sender: Any, plan: Any, matrices: Any, rows: Any, values: Any) -> None:
        prove(sender, plan, matrices, rows, [weightless(w) if i == dropped else w for i, w in enumerate(values)])

    def checks(receiver: Any, plan: Any, matrices: Any, values: Any) -> None:
        check(receiver, plan, matrices, [nothing(c) if i == dropped else c for i, c in enumerate(values)])

    monkeypatch.setattr(opening, "prove_ladder", proves)
    monkeypatch.setattr(verifier, "verify_ladder", checks)


@DEPTHS
@pytest.mark.parametrize("index", [0, 1, 3])
def test_false_value(levels, index, monkeypatch):
    """Values that fit a false target, over the true rows; then where they are not claimed on the rows."""
    case = Case(levels)
    case.refuses(case.prove(Lying(case, FALSE, index)).bytes(), VALUES, FALSE)
    drop_value(monkeypatch, min(index, 1))
    case.verify(case.prove(Lying(case, FALSE, index)).bytes(), FALSE)


class Fitting(Lying):
    """Lies about a value and changes the row so that it has it."""

    def ext(self, label: str, values: Sequence[Ext]) -> None:
        super().ext(label, values)
        if label != "opening values":
            return
        true, index = list(values), self.index
        sent = Receiver(Transcript(), self.bytes()[-16 * len(true) :]).ext("", len(true))
        case = self.case
        copy = Receiver(case.transcript(), self.bytes())  # the challenges are those that follow
        s = []
        for _ in range(10):
            copy.ext("opening round", 2)
            s.append(copy.transcript.challenge("opening challenge"))
        copy.ext("opening values", len(true))
        delta = copy.transcript.challenges("params delta", 2)
        if index == 0:
            missing, eq, name, size = sent[0] - true[0], mle.eq_vector(s[3:]), "witness", 128
        else:
            factor = mle.eq_vector(delta, len(true) - 1)
            f = Ext(int(factor[0, index - 1]), int(factor[1, index - 1]))
            missing, eq, name, size = f * (sent[index] - true[index]), mle.eq_vector(s[4:]), "params", 64
        change = np.zeros((2, size), np.uint64)
        change[:, 3:4] = ext_array([missing * Ext(int(eq[0, 3]), int(eq[1, 3])).inverse()])
        case.row_changes[name] = change


def drop_encoding(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """A protocol in which nobody claims that the row of this matrix encodes to its columns."""
    for module, drop in ((opening, weightless), (verifier, nothing)):

        def without(channel: Any, matrices: Any, bits: int, old: Any = module.open_columns, drop: Any = drop) -> Any:
            found = old(channel, matrices, bits)
            return [drop(c) if m.opened.label == label else c for m, c in zip(matrices, found, strict=True)]

        monkeypatch.setattr(module, "open_columns", without)


@DEPTHS
@pytest.mark.parametrize(("index", "label"), [(0, "witness"), (2, "params")])
def test_row_that_has_the_false_value(levels, index, label, monkeypatch):
    """The row is not the matrix's: only the queries see it. Without them it is accepted."""
    case = Case(levels)
    case.refuses(case.prove(Fitting(case, FALSE, index)).bytes(), VALUES if levels else ENCODING, FALSE)
    drop_encoding(monkeypatch, label)
    case.verify(case.prove(Fitting(case, FALSE, index)).bytes(), FALSE)


class Captured(Exception):
    pass


def wanted(case: Case, data: bytes, label: str, target: Ext) -> Ext:
    """What the verifier wants the claim of this level to be."""
    found: list[Ext] = []
    original = verifier.sumcheck.verify

    def stop(receiver: Any, name: str, value: Ext, rounds: int, degree: int) -> Any:
        if name == label:
            found.append(value)
            raise Captured
        return original(receiver, name, value, rounds, degree)

    verifier.sumcheck.verify = stop  # type: ignore[assignment]
    try:
        case.verify(data, target)
    except Captured:
        return found[0]
    finally:
        verifier.sumcheck.verify = original
    raise AssertionError("the verifier did not get there")


@pytest.mark.parametrize(("levels", "at"), [(1, 1), (2, 1), (2, 2)])
def test_vector_other_than_committed(levels, at, monkeypatch):
    """False values; the vector of a level is changed after its root so that it fits the batched claim."""
    case = Case(levels)
    rounds = opening.sumcheck.prove_leading

    def changed(s: Sender, label: str, tables: list[U64], count: int) -> Any:
        if label == f"level {at}":
            omega, z = tables[0], tables[1].copy()
            missing = wanted(case, s.bytes(), label, FALSE) - mle.dot(omega, z)
            entry = Ext(int(z[0, 5]), int(z[1, 5])) + missing * Ext(int(omega[0, 5]), int(omega[1, 5])).inverse()
            z[:, 5:6] = ext_array([entry])
            tables = [omega, z]
        return rounds(s, label, tables, count)

    monkeypatch.setattr(opening.sumcheck, "prove_leading", changed)
    case.refuses(case.prove(Lying(case, FALSE, 0)).bytes(), ENCODING if at == levels else VALUES, FALSE)
    drop_encoding(monkeypatch, f"level {at}")
    case.verify(case.prove(Lying(case, FALSE, 0)).bytes(), FALSE)


@DEPTHS
def test_other_columns(levels, monkeypatch):
    """Columns that fit a false row: they are not under the root. Where paths are not checked they are accepted."""
    case = Case(levels)

    def forged() -> bytes:
        sender = Fitting(case, FALSE, 0)
        send, draw, drawn = sender.base_array, sender.transcript.positions, []

        def positions(label: str, count: int, bound: int) -> list[int]:
            found = draw(label, count, bound)
            drawn.extend(found if label == "witness positions" else ())
            return found

        def fitting(label: str, values: U64) -> None:
            if label == "witness columns":
                values = values.copy()
                change = Ext(*(int(v) for v in case.row_changes["witness"][:, 3]))
                for column, x in zip(values, claims_on.evaluation_points(WITNESS.log_n, drawn).tolist(), strict=True):
                    for row, more in zip((0, 1), split(change * pow(x, 3, P), case.row_weights), strict=True):
                        column[row] = (int(column[row]) + more) % P
            send(label, values)

        sender.base_array = fitting  # type: ignore[method-assign]
        sender.transcript.positions = positions  # type: ignore[method-assign]
        return case.prove(sender).bytes()

    case.refuses(forged(), "an opened column of 'witness' is not under the root", FALSE)
    monkeypatch.setattr(verifier, "verify_multiproof", lambda *_: True)
    case.verify(forged(), FALSE)


def split(value: Ext, weights: U64) -> tuple[int, int]:
    """d, e in F with d*weights[:, 0] + e*weights[:, 1] = value."""
    (a, c), (b, d) = ((int(w[0]), int(w[1])) for w in weights.T[:2])
    inverse = pow(a * d - b * c, -1, P)
    return (d * value.a - b * value.b) * inverse % P, (a * value.b - c * value.a) * inverse % P


# ---- words that are no codewords -------------------------------------------------------------------------------------


@DEPTHS
def test_rows_that_are_not_codewords(levels, monkeypatch):
    """A committed word far from the code: its tree is consistent, the proximity test is what refuses it. Without the
    claims at the queried positions it is accepted."""
    case = Case(levels)
    word = case.commitment.codeword.copy()
    word[::2, 2] = 17
    case.commitment = cm.Commitment(WITNESS, word, MerkleTree.of_columns(word), case.commitment.matrix)
    case.root = case.commitment.root
    case.refuses(case.prove().bytes(), VALUES if levels else ENCODING)
    drop_encoding(monkeypatch, "witness")
    case.verify(case.prove().bytes())


@pytest.mark.parametrize(("levels", "at"), [(1, 1), (2, 1), (2, 2)])
def test_levels_that_are_not_codewords(levels, at, monkeypatch):
    case = Case(levels)
    commit, made = opening.commit, []

    def far(matrix: U64, shape: MatrixShape) -> cm.Commitment:
        made.append(shape)
        c = commit(matrix, shape)
        if len(made) != at:
            return c
        word = c.codeword.copy()
        word[::2, 1] = 17
        return cm.Commitment(shape, word, MerkleTree.of_columns(word), matrix)

    monkeypatch.setattr(opening, "commit", far)
    case.refuses(case.prove().bytes(), ENCODING if at == levels else VALUES)
    made.clear()
    drop_encoding(monkeypatch, f"level {at}")
    case.verify(case.prove().bytes())


# ---- order -----------------------------------------------------------------------------------------------------------


def early_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides draw the positions of the first matrices before the vector is fixed."""
    for module, name in ((opening, "prove_ladder"), (verifier, "verify_ladder")):

        def early(channel: Any, plan: Any, matrices: Any, *rest: Any, ladder: Any = getattr(module, name)) -> None:
            draw = channel.transcript.positions
            known = {m.opened.label: draw(m.opened.label, m.opened.queries, m.opened.shape.n) for m in matrices}
            channel.transcript.positions = lambda label, count, bound: (
                known.get(label.removesuffix(" positions")) or draw(label, count, bound)
            )
            ladder(channel, plan, matrices, *rest)

        monkeypatch.setattr(module, name, early)


@DEPTHS
def test_positions_before_the_next_vector(levels, monkeypatch):
    """With the positions known, u + c*V(x), V zero at all of them, is another row that no query sees."""
    case = Case(levels)
    case.plan = dataclasses.replace(
        case.plan, matrices=tuple(dataclasses.replace(m, queries=20) for m in case.plan.matrices)
    )
    early_positions(monkeypatch)
    original = opening.prove_ladder

    def vanishing(sender: Sender, plan: Any, matrices: Any, rows: Any, values: Any) -> None:
        copy = Transcript()
        copy._buffer = sender.transcript._buffer.copy()
        known = copy.positions("witness", matrices[0].opened.queries, WITNESS.n)
        v = [1]
        for x in claims_on.evaluation_points(WITNESS.log_n, known).tolist():  # multiply by (X - x)
            v = [(a - x * b) % P for a, b in zip([0, *v], [*v, 0], strict=True)]
        poly = np.zeros((2, 128), np.uint64)
        poly[0, : len(v)] = v
        true = rows[0][0].entries
        missing = sender.sent0 - mle.evaluate(true, values[0].point)  # type: ignore[attr-defined]
        scale = missing * mle.evaluate(poly, values[0].point).inverse()
        false = [opening.Row(mle.add(true, mle.scale(poly, scale)))]
        original(sender, plan, matrices, [false, rows[1]], values)

    class Sent(Lying):
        def ext(self, label: str, values: Sequence[Ext]) -> None:
            super().ext(label, values)
            if label == "opening values":
                self.sent0 = Receiver(Transcript(), self.bytes()[-16 * len(values) :]).ext("", 1)[0]

    monkeypatch.setattr(opening, "prove_ladder", vanishing)
    data = case.prove(Sent(case, FALSE, 0)).bytes()
    case.verify(data, FALSE)
    monkeypatch.undo()
    with pytest.raises(Rejected):
        case.verify(data, FALSE)


def test_beta_before_the_values(monkeypatch):
    """With beta known, false values of witness and (one claim on the) params cancel in the batched claim."""
    for module in (opening, verifier):
        batched = module.batched
        monkeypatch.setattr(module, "batched", lambda weights, beta, batched=batched: batched(weights, FALSE))
    case = Case(1)

    case.claims = case.claims[:1]
    case.target = case.value()

    class Two(Sender):
        def ext(self, label: str, values: Sequence[Ext]) -> None:
            if label == "opening values":
                point = replayed(case, self.bytes(), "opening challenge", 10)
                sent = Receiver(Transcript(), self.bytes())
                target = FALSE
                for x in point:
                    p0, p2 = sent.ext("", 2)
                    target = mle.dot(ext_array([p0, target - p0, p2]), ext_array(mle.lagrange(2, x)))
                w, k = mle.evaluate(case.omega, point), pow(2, -4, P) * case.claims[0].weight_at(point[4:])
                missing = target - w * values[0] - k * values[1]
                b = missing * (k - w * FALSE).inverse()  # w*a + k*b = missing, a + FALSE*b = 0
                values = [values[0] - FALSE * b, values[1] + b]
            super().ext(label, values)

    data = case.prove(Two(case.transcript())).bytes()
    case.verify(data, FALSE)
    monkeypatch.undo()
    case.refuses(case.prove(Two(case.transcript())).bytes(), VALUES, FALSE)


@DEPTHS
def test_query_nonce(levels):
    """Another nonce, even one that would hold for another seed, is refused."""
    case = Case(levels)
    sender = honest(levels)
    refused = 0
    for at in range(8):
        try:
            case.verify(tampered(sender, "query nonce", at))
        except Rejected as e:
            refused += "nonce does not hold" in e.reason
        else:
            raise AssertionError("another nonce was accepted")
    assert refused >= 5  # of 4 bits: one in sixteen holds, and then draws other positions


# ---- params ----------------------------------------------------------------------------------------------------------


@DEPTHS
def test_params_other_than_committed(levels):
    case = Case(levels)
    values = case.params.integers.joined()
    values[2, 7] += 1
    true = case.params.commitment
    case.params = cm.ParamsCommitment(true, IntegerMatrix.of(values))
    target = case.value()
    case.refuses(case.prove().bytes(), VALUES if levels else ENCODING, target)
    case.params = cm.commit_params(IntegerMatrix.of(values), PARAMS)
    case.refuses(case.prove().bytes(), "an opened column of 'params' is not under the root", target)


@DEPTHS
def test_a_claim_on_other_rows_or_another_point(levels):
    case = Case(levels)
    data = case.prove().bytes()
    true, first = list(case.claims), case.claims[0]
    case.claims = [dataclasses.replace(first, first_row=1), *true[1:]]
    case.refuses(data, VALUES if levels else ENCODING)
    turned = [EqWeight(0, first.points[0].point[::-1], first.points[0].coefficient)]
    case.claims = [dataclasses.replace(first, points=turned), *true[1:]]
    case.refuses(data, "do not fit their sumcheck")


# ---- bytes -----------------------------------------------------------------------------------------------------------


@DEPTHS
def test_truncated_and_extended(levels):
    case, data = Case(levels), honest(levels).bytes()
    for size in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(Rejected, match="the proof ends inside"):
            case.verify(data[:size])
    with pytest.raises(Rejected, match="after the end"):
        case.verify(data + b"\0")


@DEPTHS
def test_no_bytes_crash_the_verifier(levels):
    rng = np.random.default_rng(4)
    case, data = Case(levels), honest(levels).bytes()
    for _ in range(20):
        with pytest.raises(Rejected):
            case.verify(rng.bytes(len(data)))
        changed = bytearray(data)
        changed[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        with pytest.raises(Rejected):
            case.verify(bytes(changed))
    with pytest.raises(Rejected):
        case.verify(bytes(len(data)))


def test_callers_errors():
    case = Case(0)
    with pytest.raises(ValueError, match="do not exist"):
        combined_weights(case.claims, mle.eq_vector([Ext(2), Ext(3)], 3), 4)
    with pytest.raises(ValueError, match="do not fit the shape"):
        verifier.Matrix(case.plan.matrices[0], case.root, np.zeros((2, 4), np.uint64))
