"""Attacks on committed inputs and outputs. Each is refused for its reason, and accepted by a verifier that lacks just
the check that refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.builder import Builder
from syurmy.isa.errors import InputError
from syurmy.isa.types import DType
from syurmy.prover import prove as proving
from syurmy.prover.commitment import ParamsCommitment, commit, commit_params, in_rows
from syurmy.prover.field import U64, Ext, P, ext_array
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.keys import setup
from syurmy.prover.protocol import mle
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.ladder import Claim, DenseWeight, EqWeight, Together
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.tensors import NAME, TensorCommitment, possible
from syurmy.prover.protocol.transcript import Transcript
from syurmy.prover.prove import Prover
from syurmy.prover.secrets import Secrets
from syurmy.prover.tensors import TensorOpening, seal
from syurmy.prover.verifier import opening as verifier
from tests.prover.test_opening import weightless
from tests.soundness import common as c
from tests.soundness.common import Cheat, accepted, at, cheat, refused
from tests.soundness.test_hiding import ENCODING, VALUES, drop_word

CLAIM = ("opening", "the values of witness and params do not fit their sumcheck")
BALANCE = ("lookup", "lookups and tables do not balance")
BOTH = pytest.mark.parametrize("source", [c.COMMITTED_3, c.hiding(c.COMMITTED_3)], ids=["clear", "hiding"])


def of(source: str, in_clear: tuple[str, str]) -> tuple[str, str]:
    """What hides shows every broken check at its end."""
    return VALUES if c.keys(source).mode.hiding else in_clear


def other(source: str, x: list[int]) -> TensorOpening:
    """A commitment to another input x."""
    return c.sealed(source, c.trace_of(source, {**c.INPUTS[source], "x": x}))["x"]


def weigh_tensor_otherwise(monkeypatch: pytest.MonkeyPatch, change: Callable[[Claim], Claim]) -> None:
    """Prover and verifier have another claim than that the first committed tensor has the value that was sent."""

    def fewer(opening: Any, values: Any, relations: Any = (), old: Any = verifier.claims_on_rows) -> Any:
        out = old(opening, values, relations)
        index = len(out) - len(opening.tensors)
        out[index] = change(out[index])
        return out

    for module in ("syurmy.prover.prove", "syurmy.prover.verifier.verify"):
        monkeypatch.setattr(f"{module}.claims_on_rows", fewer)


def drop_tensor_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody claims that the first committed tensor has the value that was sent."""

    def nothing(claim: Claim) -> Claim:
        weight = claim.weight.parts[0] if isinstance(claim.weight, Together) else claim.weight
        return Claim(weightless(weight), np.zeros((2, 1), np.uint64))

    weigh_tensor_otherwise(monkeypatch, nothing)


class Other(Prover):
    """Names a commitment to another tensor than that of the run; sends its value (0), the value that fits the run (1),
    or a row with that value (2)."""

    lies = 0
    x = (1, -2, 4)

    def openings(self, given: Any) -> list[TensorOpening]:
        hidden = self.pk.mode.hiding
        return [other(c.hiding(c.COMMITTED_3) if hidden else c.COMMITTED_3, list(self.x)), *list(given.values())[1:]]

    def run(self) -> Any:
        mine = c.openings_of(c.hiding(c.COMMITTED_3) if self.pk.mode.hiding else c.COMMITTED_3)["x"]
        honest, bind = proving.tensor_values, proving.bind_tensor

        def values(claims: Any, rows: Any) -> list[Ext]:
            return honest(claims, [bind(mine, claims[0])])

        def row(tensor: Any, claim: Any) -> U64:
            """The row of the tensor that was committed, with one entry changed so that it has the false value."""
            found = bind(tensor, claim)
            (point,) = claim.points
            missing = honest([claim], [bind(mine, claim)])[0] - honest([claim], [found])[0]
            eq = mle.eq_vector(point.point)
            change = missing * Ext(int(eq[0, 0]), int(eq[1, 0])).inverse()
            found[:, :1] = mle.add(np.ascontiguousarray(found[:, :1]), ext_array([change]))
            return found

        with pytest.MonkeyPatch.context() as patch:
            if self.lies:
                patch.setattr(proving, "tensor_values", values)
            if self.lies == 2:
                patch.setattr(proving, "bind_tensor", row)
            return super().run()


@BOTH
@pytest.mark.parametrize("lies", [0, 1, 2])
def test_another_tensor_than_committed(source, lies, monkeypatch):
    class Here(Other):
        pass

    Here.lies = lies
    refused(source, cheat(source, Cheat(prover=Here)), *of(source, (CLAIM, VALUES, ENCODING)[lies]))
    if lies == 1:
        drop_tensor_value(monkeypatch)
    if lies == 2:
        drop_word(monkeypatch, "tensor 0", 0)
    if lies:
        accepted(source, cheat(source, Cheat(prover=Here)))


class Far(Prover):
    """The committed word is no codeword: half of its columns are of one tensor, half of another."""

    def openings(self, given: Any) -> list[TensorOpening]:
        mine = given["x"]
        source = c.hiding(c.COMMITTED_3) if self.pk.mode.hiding else c.COMMITTED_3
        word = mine.matrix.commitment.codeword.copy()
        word[::2] = other(source, [7, 7, 7]).matrix.commitment.codeword[::2]
        tree = MerkleTree.of_columns(word)
        matrix = ParamsCommitment(replace(mine.matrix.commitment, codeword=word, tree=tree), mine.matrix.integers)
        return [replace(mine, matrix=matrix, commitment=replace(mine.commitment, root=tree.root))]


@BOTH
def test_a_commitment_that_is_no_codeword(source, monkeypatch):
    refused(source, cheat(source, Cheat(prover=Far)), *of(source, ENCODING))
    drop_word(monkeypatch, "tensor 0", 0)
    accepted(source, cheat(source, Cheat(prover=Far)))


def out_of_range(x: int) -> Cheat:
    """A run on [x, -2, 3], with a commitment to that."""

    class OutOfRange(Prover):
        def openings(self, given: Any) -> list[TensorOpening]:
            mode = given["x"].commitment.mode
            return [replace(seal(np.array([[x, -2, 3]]), DType.I16, mode), allowance=None)]

    def trace(trace: Any) -> None:
        trace.inputs["x"] = np.array([x, -2, 3])
        trace.outputs["s"] = np.array(x * 5 - 12 - 21)

    return Cheat(columns={"input x": at(0, lambda v: x)}, trace=trace, prover=OutOfRange)


@pytest.mark.parametrize(("x", "check"), [(301, "input x upper"), (-301, "input x")])
@BOTH
def test_entries_outside_the_declared_interval(source, x, check, monkeypatch):
    """The commitment is to them, and so is the column of the run: what refuses is the column's range, at this end."""
    refused(source, cheat(source, out_of_range(x)), *of(source, BALANCE))
    unranged(monkeypatch, check)
    unchecked = f"; without {check}{source}"  # keys of its own
    c.INPUTS[unchecked] = c.INPUTS[source]
    statement = accepted(unchecked, cheat(unchecked, out_of_range(x)))
    assert statement.outputs["s"] == x * 5 - 33


def unranged(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """Programs lack the range check of this label."""

    def skip(self: Builder, x: Any, bits: int, said: str, old: Any = Builder.range) -> None:
        if said != label:
            old(self, x, bits, said)

    monkeypatch.setattr(Builder, "range", skip)
    monkeypatch.setattr(Builder, "finish", finish_unpinned)


def finish_unpinned(self: Builder, old: Any = Builder.finish) -> None:
    for column in self.system.columns:
        self.pin(column, column.interval)
    old(self)


class Padded(Prover):
    """A padded entry of the committed matrix is not zero. ``silent``: it sends the value of the true entries."""

    silent = False

    def openings(self, given: Any) -> list[TensorOpening]:
        mine = self.true = given["x"]
        layout = mine.commitment.layout
        rows = in_rows({NAME: mine.values}, layout).joined().astype(np.int64)
        assert rows.shape[1] >= 4
        rows[0, 3] = 7
        secrets = Secrets.fresh([]) if self.pk.mode.hiding else None
        matrix = commit_params(IntegerMatrix.of(rows), layout.shape, secrets)
        return [replace(mine, matrix=matrix, commitment=replace(mine.commitment, root=matrix.commitment.root))]

    def run(self) -> Any:
        honest, bind = proving.tensor_values, proving.bind_tensor
        with pytest.MonkeyPatch.context() as patch:
            if self.silent:
                patch.setattr(
                    proving, "tensor_values", lambda claims, rows: honest(claims, [bind(self.true, claims[0])])
                )
            return super().run()


class SilentlyPadded(Padded):
    silent = True


def true_entries_only(claim: Claim) -> Claim:
    """Of three entries in a block of four."""
    parts = claim.weight.parts if isinstance(claim.weight, Together) else (claim.weight,)
    (eq,) = (p for p in parts if isinstance(p, EqWeight))
    dense = mle.scale(mle.eq_vector(eq.point), eq.coefficient)
    assert dense.shape[1] == 4
    dense[:, 3] = 0
    of_true = DenseWeight(eq.offset, dense)
    weight = of_true if len(parts) == 1 else Together(tuple(of_true if p is eq else p for p in parts))
    return Claim(weight, claim.values)


@BOTH
def test_padding_that_is_not_zero(source, monkeypatch):
    """The value that is claimed is that of all entries, padded ones too."""
    refused(source, cheat(source, Cheat(prover=Padded)), *of(source, CLAIM))
    refused(source, cheat(source, Cheat(prover=SilentlyPadded)), *VALUES)
    weigh_tensor_otherwise(monkeypatch, true_entries_only)
    accepted(source, cheat(source, Cheat(prover=SilentlyPadded)))


class Swapped(Prover):
    def openings(self, given: Any) -> list[TensorOpening]:
        x, v, *rest = given.values()
        return [v, x, *rest]


@pytest.mark.parametrize("source", [c.COMMITTED, c.hiding(c.COMMITTED)], ids=["clear", "hiding"])
def test_commitments_of_two_inputs_swapped(source):
    """By a prover, and in a proof that is made."""
    refused(source, cheat(source, Cheat(prover=Swapped)), *of(source, CLAIM))
    proof = c.honest(source)
    ((_, start, size),) = [f for f in proof.fields if f[0] == "commitments"]
    one, two = proof.data[start : start + size // 3], proof.data[start + size // 3 : start + 2 * size // 3]
    with pytest.raises(c.Rejected):
        c.verifier_of(source).verify(proof.data[:start] + two + one + proof.data[start + 2 * size // 3 :])


def test_one_root_read_as_two_tensors():
    """Another dtype, shape or number of proofs under the same root has another digest, and the prover refuses it."""
    mine = c.openings_of(c.COMMITTED)["x"]
    public = mine.commitment
    names = {
        replace(public, **change).digest()
        for change in ({}, {"dtype": DType.I32}, {"shape": (1, 2, 2)}, {"shape": (2, 2)}, {"mode": Mode(True, 1)})
    }
    assert len(names | {replace(public, meaning=bytes([1] * 32)).digest()}) == 6
    square = syurmy.assemble(c.COMMITTED_3.replace("[3]", "[2, 2]").replace("dot s, x, z", "mul s, x, z"))
    pk = setup(square, Mode(False))
    trace = syurmy.run(square, {"x": [[1, -2], [3, 4]], "z": [[1, 1], [1, 1]]})
    with pytest.raises(InputError, match=r"is to i16\[4\]"):
        Prover(pk, trace, commitments={"x": mine})
    squared = seal(np.array([[[1, -2], [3, 4]]]), DType.I16, Mode(False))
    assert squared.commitment.root == public.root  # the matrices are the same
    assert squared.commitment.digest() != public.digest()
    statement = syurmy.verify(pk.verifying_key, Prover(pk, trace, commitments={"x": squared}).run())
    assert statement.commitments["x"].digest() == squared.commitment.digest()


IMPOSSIBLE = [
    ((1, 3), Mode(True, 0)),  # as many random coefficients as none needs
    ((1, 3), Mode(True, 1025)),
    ((1, 3), Mode(False, 1)),  # a second name for one matrix
    ((1, 1 << 14, (1 << 14) + 1), Mode(False)),
    ((1, 0), Mode(False)),
    ((), Mode(False)),
    ((1,) * 10, Mode(False)),
]


def test_what_no_commitment_is_to():
    """Nor for: refused by who commits, and by who reads a statement."""
    assert possible((1, 3), Mode(True, 1024))
    assert not any(possible(shape, mode) for shape, mode in IMPOSSIBLE)
    for source, proofs in ((c.COMMITTED_3, (1,)), (c.hiding(c.COMMITTED_3), (0, 1025))):
        proof = c.honest(source)
        ((_, start, _),) = [f for f in proof.fields if f[0] == "commitments"]
        for said in proofs:
            data = proof.data[:start] + said.to_bytes(4, "little") + proof.data[start + 4 :]
            refused(source, data, "statement", f"the commitment to 'x' is for {said} proofs")


# ---- order -----------------------------------------------------------------------------------------------------------


class Late(Prover):
    """Draws the point of the equation first, then commits to a tensor that agrees with the input there alone."""

    def run(self) -> Any:
        self.sender.hook = self._hook  # type: ignore[attr-defined]
        return super().run()

    def openings(self, given: Any) -> list[TensorOpening]:
        self.mine = given["x"]
        return [self.mine]

    def _hook(self, label: str, before: int, data: bytes) -> bytes:
        return data

    def lookups(self) -> Any:
        ends = super().lookups()
        layout = self.mine.commitment.layout
        (place,) = layout.places.values()
        point = self.space.points[red.LOOKUP][-place.log_size :]
        eq = mle.eq_vector(point).astype(object)
        rows = in_rows({NAME: self.mine.values}, layout).joined().astype(object)
        # eq . d = 0 over K is two equations over F: d_0 = 1, d_3 = 0, d_1 and d_2 solved for
        (a, b), (e, f) = eq[:, 1:3].tolist()
        det = pow(a * f - b * e, -1, P)
        u, w = -int(eq[0, 0]), -int(eq[1, 0])
        d = [1, (u * f - b * w) * det % P, (a * w - e * u) * det % P]
        rows[0, :3] = [(int(x) + y) % P for x, y in zip(rows[0, :3], d, strict=True)]
        columns = np.ascontiguousarray(rows.T % P).astype(np.uint64)
        commitment = commit(columns, layout.shape)
        signed = np.where(columns > P // 2, columns.astype(object) - P, columns.astype(object))
        assert abs(signed).max() < 2**63
        integers = IntegerMatrix.of(np.ascontiguousarray(signed.T.astype(np.int64)))
        late = replace(self.mine, matrix=ParamsCommitment(commitment, integers))
        self.tensors = [replace(late, commitment=replace(late.commitment, root=commitment.root))]
        return ends


def patched(proof: bytes, fields: Any, root: bytes) -> bytes:
    ((_, start, size),) = [f for f in fields if f[0] == "commitments"]
    return proof[: start + size - 32] + root + proof[start + size :]


def late_proof() -> bytes:
    source = c.COMMITTED_3
    prover = Late(c.keys(source), c.trace_of(source), commitments=c.openings_of(source))
    prover.sender = c.HookedSender(prover.transcript, prover._hook)
    made = prover.run()
    return patched(made.data, made.fields, prover.tensors[0].commitment.root)


def test_commitments_are_absorbed_before_the_point(monkeypatch):
    """Known before it is named, the point admits a tensor that was never an input."""
    refused(c.COMMITTED_3, late_proof(), *BALANCE)
    absorb = Transcript.absorb

    def forgetful(self: Transcript, label: str, data: bytes) -> None:
        if label not in ("commitments", "commitment digests"):
            absorb(self, label, data)

    monkeypatch.setattr(Transcript, "absorb", forgetful)
    statement = accepted(c.COMMITTED_3, late_proof())
    assert statement.commitments["x"].root != c.openings_of(c.COMMITTED_3)["x"].commitment.root


# ---- what the prover refuses, and the allowance ----------------------------------------------------------------------


def prover_with(source: str, **openings: Any) -> Prover:
    return Prover(c.keys(source), c.trace_of(source), commitments=openings)


def test_what_the_prover_refuses():
    clear, hidden = c.COMMITTED_3, c.hiding(c.COMMITTED_3)
    mine = c.openings_of(clear)["x"]
    for source, given, code in (
        (clear, {}, "P184"),
        (clear, {"x": mine, "z": mine}, "P185"),
        (hidden, {"x": mine}, "P186"),
        (clear, {"x": c.openings_of(hidden)["x"]}, "P186"),
        (clear, {"x": replace(seal(np.array([[1, -2, 3]]), DType.I32, Mode(False)))}, "P187"),
        (clear, {"x": other(clear, [1, -2, 4])}, "P189"),
    ):
        with pytest.raises(InputError) as e:
            prover_with(source, **given)
        assert e.value.code == code
        assert "4" not in e.value.message.replace("i64", "")  # no value


def test_proofs_are_counted():
    """Two proofs for which it is, whichever keys they are under, and no third one; the count comes before the proof."""
    source = c.hiding(c.COMMITTED_3)
    opening_ = seal(np.array([[1, -2, 3]]), DType.I16, Mode(True, 2))
    assert opening_.allowance is not None
    for _ in range(2):
        accepted(source, prover_with(source, x=opening_).run().data)
    used = opening_.allowance.used
    assert used == 2 * prover_with(source, x=opening_).opening.of_tensors[0].queries
    with pytest.raises(InputError) as e:
        prover_with(source, x=opening_).run()
    assert e.value.code == "P180"
    assert "committed tensor" in e.value.message
    assert used == opening_.allowance.used


def test_an_opening_is_kept(tmp_path):
    """In one file that only its owner reads, with its count beside it; damaged ones are refused."""
    source = c.hiding(c.COMMITTED_3)
    mine = seal(np.array([[1, -2, 3]]), DType.I16, Mode(True, 2))
    path = tmp_path / "x.opening"
    mine.save(path)
    assert (path.stat().st_mode & 0o777, (tmp_path / "x.opening.used").stat().st_mode & 0o777) == (0o600, 0o600)
    again = TensorOpening.load(path)
    assert again.commitment == mine.commitment
    accepted(source, prover_with(source, x=again).run().data)
    assert TensorOpening.load(path).allowance.used == again.allowance.used > 0  # type: ignore[union-attr]
    data = path.read_bytes()
    for i in range(0, len(data), 7):
        path.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(InputError):
            TensorOpening.load(path)
    path.write_bytes(data[:8] + b"\2" + data[9:])
    with pytest.raises(InputError, match="has protocol version 2, this program speaks 3") as e:
        TensorOpening.load(path)
    assert (e.value.code, e.value.help) == ("K171", "make it again with `syurmy-vm commit`")
    path.write_bytes(data)
    (tmp_path / "x.opening.used").unlink()
    with pytest.raises(InputError, match="not known"):
        prover_with(source, x=TensorOpening.load(path)).run()


def test_commitments_are_files(tmp_path):
    for source in (c.COMMITTED, c.hiding(c.COMMITTED)):
        for opening_ in c.openings_of(source).values():
            public = opening_.commitment
            data = public.to_bytes()
            assert TensorCommitment.from_bytes(data) == public
            for i in range(len(data)):
                for changed in (data[:i], data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]):
                    try:
                        found = TensorCommitment.from_bytes(changed)
                    except InputError:
                        continue
                    assert found.digest() != public.digest()
            with pytest.raises(InputError):
                TensorCommitment.from_bytes(data + b"\0")


def test_two_programs_one_commitment():
    """The same tensor under two keys: the proofs say so by its digest."""
    one, two = syurmy.assemble(c.COMMITTED_3), syurmy.assemble(c.COMMITTED_3.replace("dot s, x, z", "mul s, x, z"))
    mine = seal(np.array([[1, -2, 3]]), DType.I16, Mode(True, 2))
    inputs = {"x": [1, -2, 3], "z": [5, 6, -7]}
    said = []
    for program in (one, two):
        pk = setup(program)
        proof = Prover(pk, syurmy.run(program, inputs), commitments={"x": mine}).run()
        said.append(syurmy.verify(pk.verifying_key, proof).commitments["x"].digest())
    assert said == [mine.commitment.digest()] * 2


def test_a_batch_is_one_tensor():
    program = syurmy.assemble(c.COMMITTED)
    inputs = {k: np.array([v, v, v]) for k, v in c.INPUTS[c.COMMITTED].items()}
    trace = syurmy.run(program, inputs, batch=True)
    assert trace.batch == 3
    pk = setup(program)
    mode = Mode(True, 1)
    made = {n: seal(v, d, mode) for n, v, d in (("x", inputs["x"], DType.I16), ("v", inputs["v"], DType.I16))}
    y = trace.outputs["y"]
    made["y"] = seal(np.asarray(y), c.keys(c.COMMITTED).plan.system.externals[2].dtype, mode)
    statement = syurmy.verify(pk.verifying_key, Prover(pk, trace, commitments=made).run())
    assert {n: k.shape for n, k in statement.commitments.items()} == dict.fromkeys(("x", "v", "y"), (3, 4))


def test_tails_are_of_the_tensor():
    """Two commitments to one tensor, and two tensors under one seed, share no column."""
    mode = Mode(True, 2)
    one, two = (seal(np.array([[1, -2, 3]]), DType.I16, mode).matrix.commitment.codeword for _ in range(2))
    assert not (one == two).any()
