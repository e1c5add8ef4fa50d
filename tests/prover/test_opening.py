"""Openings: honest ones pass, every attack is refused for its reason, no bytes crash the verifier."""

import dataclasses

import numpy as np
import pytest

from syurmy.prover import commitment as cm
from syurmy.prover import opening
from syurmy.prover.field import U64, Ext, P, to_field
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.transcript import Receiver, Rejected, Sender, Transcript
from syurmy.prover.verifier import opening as verifier

SHAPE = MatrixShape(5, 6, 2)  # of 8 rows
STORED = np.array([0, 1, 3, 4, 6])
QUERIES = 40


def point(rng, k):
    return [Ext(int(a), int(b)) for a, b in rng.integers(0, P, (k, 2), dtype=np.uint64)]


class Witness:
    def __init__(self):
        rng = np.random.default_rng(0)
        self.flat: U64 = np.zeros((8, 64), np.uint64)
        self.flat[STORED] = rng.integers(0, P, (5, 64), dtype=np.uint64)
        self.flat = self.flat.reshape(-1)
        self.omega = np.stack([rng.integers(0, P, 512, dtype=np.uint64) for _ in range(2)])
        self.value = mle.dot_base(self.omega, self.flat)
        self.commitment = cm.commit(cm.stored_matrix(self.flat, 6, STORED), SHAPE)

    def prove(self, commitment=None, flat=None):
        commitment = commitment or self.commitment
        sender = Sender(Transcript())
        sender.transcript.absorb("root", self.commitment.root)
        opening.prove_witness(sender, commitment, QUERIES, self.omega, self.flat if flat is None else flat, STORED)
        return sender

    def verify(self, data, value=None):
        receiver = Receiver(Transcript(), data)
        receiver.transcript.absorb("root", self.commitment.root)
        value = self.value if value is None else value
        evaluate = lambda s: mle.evaluate(self.omega, s)  # noqa: E731
        verifier.verify_witness(receiver, self.commitment.root, SHAPE, QUERIES, 3, STORED, value, evaluate)
        receiver.done()


class Params:
    def __init__(self):
        rng = np.random.default_rng(1)
        values = rng.integers(-(2**15), 2**15, (5, 64), dtype=np.int32)
        values[4] *= 1000
        self.params = cm.commit_params(values, SHAPE)
        self.claims = []
        for first, count in ((0, 3), (2, 3), (4, 1)):
            weights = rng.integers(0, P, (2, count), dtype=np.uint64)
            at = point(rng, 6)
            value = mle.evaluate(self.params.integers.bind(first, weights), at)
            self.claims.append(verifier.ParamsClaim(first, weights, at, value))

    def prove(self, params=None):
        sender = Sender(Transcript())
        params = params or self.params
        rows = [params.integers.bind(c.first_row, c.weights) for c in self.claims]
        opening.prove_params(sender, params, QUERIES, self.claims, rows)
        return sender

    def verify(self, data, claims=None):
        receiver = Receiver(Transcript(), data)
        root = self.params.commitment.root
        verifier.verify_params(receiver, root, SHAPE, QUERIES, self.claims if claims is None else claims)
        receiver.done()


@pytest.fixture(scope="module")
def witness():
    return Witness()


@pytest.fixture(scope="module")
def params():
    return Params()


def tampered(sender, label, at=0):
    """The proof with the lowest bit flipped of byte ``at`` of the first field of this label."""
    data = bytearray(sender.bytes())
    offset = next(offset for name, offset, _ in sender.fields if name == label)
    data[offset + at] ^= 1
    return bytes(data)


def test_honest_openings(witness, params):
    witness.verify(witness.prove().bytes())
    params.verify(params.prove().bytes())


def test_wrong_target(witness, params):
    with pytest.raises(Rejected, match="does not fit its sumcheck"):
        witness.verify(witness.prove().bytes(), witness.value + 1)
    claims = [dataclasses.replace(c, value=c.value + 1) for c in params.claims]
    with pytest.raises(Rejected, match="do not fit their sumcheck"):
        params.verify(params.prove().bytes(), claims)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("opening round", "does not fit its sumcheck"),
        ("opening value", "does not fit its sumcheck"),
        ("witness columns", "not under the root"),
        ("witness path", "not under the root"),
    ],
)
def test_tampered_witness_opening(witness, label, reason):
    with pytest.raises(Rejected, match=reason):
        witness.verify(tampered(witness.prove(), label))


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("params round", "do not fit their sumcheck"),
        ("params values", "do not fit their sumcheck"),
        ("params columns", "not under the root"),
        ("params path", "not under the root"),
    ],
)
def test_tampered_params_opening(params, label, reason):
    with pytest.raises(Rejected, match=reason):
        params.verify(tampered(params.prove(), label))


def test_a_row_that_is_not_of_the_matrix(witness, monkeypatch):
    """The cheating prover continues honestly after it: columns and paths are right for the new positions."""
    honest = opening.bind_columns

    def wrong(matrix, weights):
        row = honest(matrix, weights)
        row[0, 0] ^= np.uint64(1)
        return row

    monkeypatch.setattr(opening, "bind_columns", wrong)
    with pytest.raises(Rejected, match="does not encode"):
        witness.verify(witness.prove().bytes())


def test_another_witness_of_the_same_value(witness):
    """Sumcheck and value over another W, columns of the committed one."""
    flat = witness.flat.copy()
    flat[:64] = to_field(np.arange(64))
    value = mle.dot_base(witness.omega, flat)
    with pytest.raises(Rejected, match="does not have the claimed value"):
        witness.verify(witness.prove(flat=flat).bytes(), value)
    other = cm.commit(cm.stored_matrix(flat, 6, STORED), SHAPE)
    with pytest.raises(Rejected, match="not under the root"):
        witness.verify(witness.prove(other, flat).bytes(), value)
    mixed = cm.Commitment(SHAPE, witness.commitment.codeword, witness.commitment.tree, other.matrix)
    with pytest.raises(Rejected, match="does not encode"):
        witness.verify(witness.prove(mixed, flat).bytes(), value)


def test_swapped_columns(witness):
    """A codeword with two halves exchanged: right columns at wrong positions."""
    c = witness.commitment
    swapped = cm.Commitment(SHAPE, np.roll(c.codeword, 1, axis=0), c.tree, c.matrix)
    with pytest.raises(Rejected, match="not under the root"):
        witness.verify(witness.prove(swapped).bytes())


def test_rows_that_are_not_codewords(witness):
    """A committed word far from the code: its tree is consistent, the proximity test is what refuses it."""
    c = witness.commitment
    word = c.codeword.copy()
    word[::2, 2] = 17
    far = Witness()
    far.commitment = cm.Commitment(SHAPE, word, cm.MerkleTree.of_columns(word), c.matrix)
    with pytest.raises(Rejected, match="does not encode"):
        far.verify(far.prove().bytes())


def test_params_other_than_committed(params):
    values = params.params.integers.values.copy()
    values[2, 7] += 1
    commitment = params.params.commitment
    other = cm.ParamsCommitment(commitment, IntegerMatrix.of(values))
    claims = [
        dataclasses.replace(c, value=mle.evaluate(other.integers.bind(c.first_row, c.weights), c.column_point))
        for c in params.claims
    ]
    with pytest.raises(Rejected, match="does not encode"):
        params.verify(params.prove(other).bytes(), claims)
    with pytest.raises(Rejected, match="not under the root"):
        params.verify(params.prove(cm.commit_params(values, SHAPE)).bytes(), claims)


def test_a_claim_on_other_rows_or_another_point(params):
    data = params.prove().bytes()
    first = params.claims[0]
    moved = [dataclasses.replace(first, first_row=1), *params.claims[1:]]
    with pytest.raises(Rejected, match="does not encode"):
        params.verify(data, moved)
    turned = [dataclasses.replace(first, column_point=first.column_point[::-1]), *params.claims[1:]]
    with pytest.raises(Rejected, match="do not fit their sumcheck"):
        params.verify(data, turned)


def test_truncated_and_extended(witness, params):
    for case in (witness, params):
        data = case.prove().bytes()
        for size in (0, 1, len(data) // 2, len(data) - 1):
            with pytest.raises(Rejected, match="the proof ends inside"):
                case.verify(data[:size])
        with pytest.raises(Rejected, match="after the end"):
            case.verify(data + b"\0")


def test_no_bytes_crash_the_verifier(witness, params):
    rng = np.random.default_rng(4)
    for case in (witness, params):
        data = case.prove().bytes()
        for _ in range(30):
            with pytest.raises(Rejected):
                case.verify(rng.bytes(len(data)))
            changed = bytearray(data)
            changed[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
            with pytest.raises(Rejected):
                case.verify(bytes(changed))
        with pytest.raises(Rejected):
            case.verify(bytes(len(data)))


def test_callers_errors(params):
    with pytest.raises(ValueError, match="at least one"):
        params.verify(b"", [])
    with pytest.raises(ValueError, match="do not exist"):
        verifier.combined_weights(params.claims, verifier.powers(Ext(2), 3), 4)
    with pytest.raises(ValueError, match="kept as integers"):
        opening.open_rows(Sender(Transcript()), "x", params.params.commitment, 1, np.zeros((2, 5), np.uint64))
