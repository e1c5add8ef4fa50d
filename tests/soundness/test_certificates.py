"""Key certificates: set-ups that cheat, each refused for its reason, and accepted by a verifier that lacks just the
check that refuses it; what rests on a certificate; what a hiding one tells.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.builder import Builder
from syurmy.isa.encoding import decode
from syurmy.isa.errors import ConstraintError, InputError
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.prover import prove as proving
from syurmy.prover.certify import Certifier, certify
from syurmy.prover.commitment import Commitment, ParamsCommitment, commit_params
from syurmy.prover.field import P
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.keys import ProvingKey, params_matrix, setup
from syurmy.prover.protocol import closeness, soundness
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.certificate import Certificate, certificate_plan
from syurmy.prover.protocol.closeness import RADII, Closeness, radius
from syurmy.prover.protocol.key import Mode, VerifyingKey
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.plan import Plan, params_layout
from syurmy.prover.protocol.reed_solomon import MatrixShape, hiding_tail
from syurmy.prover.protocol.shapes import room
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC, MAGIC, start_transcript
from syurmy.prover.protocol.transcript import Rejected, Sender
from syurmy.prover.prove import Prover, prove
from syurmy.prover.secrets import Secrets
from syurmy.prover.verifier import certificate as certificates
from syurmy.prover.verifier.certificate import Certified, ReadingCertificate, check_certificate
from syurmy.prover.verifier.verify import Verifier
from tests.isa.constraints import centred, to_field
from tests.soundness import common as c
from tests.soundness import test_simulator as hidden
from tests.soundness.simulator import Programmed, Simulator, programmed

LOOKUPS = ("lookup", "lookups and tables do not balance")
VALUES = ("opening", "the last vector does not have the claimed values")  # the same where messages are hidden
ENCODING = ("opening", "the last vector does not encode to the opened columns")
TABLED, RANGED = "tabled", "ranged"
SMALL = """
.input x : i16[5] private
.param w : i16[3, 5] committed bounds -9..40 l1 (0)=30, (1)=31 = {{3, -9, 9, 0, 1}, {-7, 5, 4, -3, 2}, {9, 8, -7, 0, 6}}
.param b : i32[1] committed bounds -70000..5 = {-61234}
.output y public
    mul z, x, w
    sum z, z
    add y, z, b
    halt
"""  # range checks: fewer entries than values
LARGE = f"""
.input x : i8[64] private
.param w : i8[3, 64] committed bounds -9..12 l1 (1)=400 = {{{
    ", ".join("{" + ", ".join(str((7 * r + 5 * k) % 22 - 9) for k in range(64)) + "}" for r in range(3))
}}}
.param v : i8[64] committed bounds -9..12 = {{{", ".join(str(k % 22 - 9) for k in range(64))}}}
.output y public
    mul z, x, w
    sum z, z
    mul u, x, v
    sum u, u
    add y, z, u
    halt
"""  # tables: (w, |w|) and v alone
c.INPUTS.update({SMALL: {"x": [1, -2, 3, 4, 5]}, LARGE: {"x": list(range(64))}})
PROGRAMS = [SMALL, LARGE, c.DENSE, c.TWO_DENSE, c.SUM_PARAM, c.ROWS]


def key(program: Program, values: dict[str, Any], mode: Mode | None = None) -> ProvingKey:
    """A key whose maker commits to ``values`` (of F) whatever the program declares."""
    mode = Mode.of(program, False) if mode is None else mode
    honest = setup(program, mode)
    data = {**program.data, **{n: centred(to_field(np.array(v, dtype=object))) for n, v in values.items()}}
    assert honest.plan is not None
    assert honest.plan.params is not None
    return with_matrix(replace(honest, program=replace(program, data=data)), params_matrix_of(program, data, mode))


def params_matrix_of(program: Program, data: Any, mode: Mode) -> Any:
    layout = params_layout(program, mode)
    assert layout is not None
    return params_matrix(replace(program, data=data), layout).joined()


def with_matrix(pk: ProvingKey, matrix: Any) -> ProvingKey:
    """The key with a commitment to this matrix."""
    assert pk.params is not None
    shape = pk.params.commitment.shape
    return with_params(pk, commit_params(IntegerMatrix.of(matrix), shape, Secrets(b"test") if shape.tail else None))


def with_params(pk: ProvingKey, params: ParamsCommitment) -> ProvingKey:
    vk = replace(pk.verifying_key, params_root=params.commitment.root)
    return replace(pk, params=params, verifying_key=vk, allowance=None)


class Forger(Certifier):
    """Honest about all that is not forged: columns over the field, lookups without a row left out."""

    def __init__(self, pk: ProvingKey, replaced: Any = None) -> None:
        super().__init__(pk)
        trace = self.witness.trace
        labels = {col.label: col for col in self.plan.system.columns}
        self.witness = c.Forged(self, trace, {labels[n]: v for n, v in (replaced or {}).items()})


def forged(pk: ProvingKey, **columns: Any) -> bytes:
    return Forger(pk, columns).run().data


def refused(pk: ProvingKey, data: bytes, step: str, reason: str) -> None:
    with pytest.raises(Rejected) as e:
        check_certificate(pk.verifying_key, data)
    assert (e.value.step, reason in e.value.reason) == (step, True), str(e.value)


@cache
def honest(source: str) -> Certificate:
    return certify(c.keys(source))


# ---- what is certified -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [*PROGRAMS, *map(c.hiding, PROGRAMS)])
def test_honest_certificates(source):
    """They are accepted; their budget holds, with every term; proofs rest on them."""
    pk = c.keys(source)
    found = check_certificate(pk.verifying_key, honest(source))
    assert found.soundness_bits >= 100
    names = [name for name, _ in found.soundness]
    assert {"params proximity", "witness proximity", "logup", "gkr", "claims (gamma)"} <= set(names)
    verifier = Verifier(pk.verifying_key, certificate=honest(source))
    proof = prove(pk, c.trace_of(source), certificate=honest(source))
    statement = verifier.verify(proof)
    assert statement.certificate == honest(source).digest() == found.digest
    assert statement.soundness_bits >= 100
    without = prove(pk, c.trace_of(source))
    assert pk.plan is not None
    queries = [Opening.of(plan).matrices[1].queries for plan in (pk.plan.certified(), pk.plan)]
    assert queries[0] <= queries[1]
    assert verifier.verify(without).certificate == found.digest
    assert Verifier(pk.verifying_key).verify(without).certificate is None
    assert "params proximity" not in dict(statement.soundness)


@pytest.mark.parametrize("source", PROGRAMS)
def test_every_param_is_read_at_the_common_point(source):
    """Each is evaluated, none reduced: padded entries and all rows are part of the claims."""
    plan = certificate_plan(c.keys(source).program)
    opening = Opening.of(plan)
    assert opening.counts.reduced == ()
    assert opening.counts.rows >= 1
    for p in plan.system.params.values():
        assert any(p in _sources(m) for lk in plan.system.lookups for m in lk.members)


def _sources(node: Any) -> set[Any]:
    return {node} | {s for n in node.inputs for s in _sources(n)}


OUTSIDE = {
    "above": (SMALL, {"w": [[41, 0, 0, 0, 0], [0] * 5, [0] * 5]}),
    "below": (SMALL, {"w": [[0, 0, 0, 0, 0], [0] * 5, [0, 0, 0, 0, -10]]}),
    "half": (SMALL, {"w": [[(P + 1) // 2, 0, 0, 0, 0], [0] * 5, [0] * 5]}),
    "a scalar below": (SMALL, {"b": [-70001]}),
    "a scalar above": (SMALL, {"b": [6]}),
    "table, above": (LARGE, {"v": [0] * 63 + [13]}),
    "table, below": (LARGE, {"v": [-10] + [0] * 63}),
    "table, half": (LARGE, {"v": [0] * 63 + [(P + 1) // 2]}),
    "table of magnitudes, above": (LARGE, {"w": [[0] * 64, [0] * 63 + [13], [0] * 64]}),
    "one value more": (c.TWO_DENSE, {"w": [3, -1, 5]}),
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("hiding", [False, True])
def test_entry_outside_its_interval(name, hiding):
    source, values = OUTSIDE[name]
    program = syurmy.assemble(source)
    pk = key(program, values, Mode.of(program, hiding))
    refused(pk, forged(pk), *(VALUES if hiding else LOOKUPS))


def test_an_honest_certifier_says_which():
    pk = key(syurmy.assemble(SMALL), {"b": [6]})
    with pytest.raises(InputError, match="'b' leaves its interval"):
        certify(pk)


def without(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """Certificates lack the constraints of this label."""
    for name in ("range", "lookup"):
        old = getattr(Builder, name)

        def skip(self: Builder, a: Any, b: Any, said: str, old: Any = old) -> None:
            if label not in said:
                old(self, a, b, said)

        monkeypatch.setattr(Builder, name, skip)


DELETED = {
    "below": ("param w", {"w": [[0, 0, 0, 0, 0], [0] * 5, [0, 0, 0, 0, -10]]}),
    "above": ("param w upper", {"w": [[41, 0, 0, 0, 0], [0] * 5, [0] * 5]}),
    "half": ("param w", {"w": [[(P + 1) // 2, 0, 0, 0, 0], [0] * 5, [0] * 5]}),
}


@pytest.mark.parametrize("name", DELETED)
def test_both_ends_of_an_interval_are_needed(name, monkeypatch):
    """Without the check of that end, and the bounds of sums, the same key is certified."""
    label, values = DELETED[name]
    program = syurmy.assemble(SMALL.replace(" l1 (0)=30, (1)=31", " l1 (0)=120, (1)=200"))
    pk = key(program, values)
    refused(pk, forged(pk), *LOOKUPS)
    without(monkeypatch, label)
    assert check_certificate(pk.verifying_key, forged(pk))


HEAVY = [[12, -9, 9, 0, 2], [-7, 5, 4, -3, 2], [9, 8, -7, 0, 6]]  # the first row's sum is 32


def test_sum_above_its_bound(monkeypatch):
    """Whatever is said of |w|; each of the three checks is needed."""
    program = syurmy.assemble(SMALL)
    pk = key(program, {"w": HEAVY})
    refused(pk, forged(pk), *LOOKUPS)
    low, high = np.abs(HEAVY), np.abs(HEAVY)
    low[0, 1], high[0, 0] = -9, -12  # too small where w is negative, and where it is positive
    for magnitudes in (low, high):
        refused(pk, forged(pk, **{"|w|": magnitudes}), *LOOKUPS)
    for label, columns in (
        ("L1 bound of w", {}),
        ("magnitude of w below", {"|w|": high}),
        ("magnitude of w above", {"|w|": low}),
    ):
        with monkeypatch.context() as m:
            without(m, label)
            assert check_certificate(pk.verifying_key, forged(pk, **columns))


def test_sum_above_its_bound_in_a_table(monkeypatch):
    """The magnitudes are the table's."""
    program = syurmy.assemble(LARGE)
    values = np.zeros((3, 64), np.int64)
    values[2, :40] = 12  # 480
    pk = key(program, {"w": values})
    refused(pk, forged(pk), *LOOKUPS)
    said = np.abs(values)
    said[2, 0] -= 100
    refused(pk, forged(pk, **{"|w|": said}), *LOOKUPS)
    without(monkeypatch, "L1 bound of w")
    assert check_certificate(pk.verifying_key, forged(pk))


ONE_SIDED = """
.input x : i8[] private
.param w : i8[5] committed bounds {bounds} l1 (0)={bound} = {{2, -2, 1, -1, 0}}
.output y public
    mov y, x
    halt
"""


@pytest.mark.parametrize(("bounds", "entry"), [("-9..2", -9), ("-2..9", 9)])
def test_the_larger_end_of_an_interval_implies_a_bound(bounds, entry):
    """Five entries of at most 9 in magnitude keep 45, not 44, by themselves, whichever end is the larger one."""
    for bound in (45, 44, 10):
        program = syurmy.assemble(ONE_SIDED.format(bounds=bounds, bound=bound))
        pk = key(program, {"w": [entry] * 5})
        if bound == 45:
            assert check_certificate(pk.verifying_key, forged(pk))
        else:
            refused(pk, forged(pk), *LOOKUPS)


def padding_of(pk: ProvingKey, name: str, value: int) -> ProvingKey:
    """The key with one padded entry of a param that is not zero."""
    assert pk.plan is not None
    layout = pk.plan.params
    assert layout is not None
    assert pk.params is not None
    place = layout.places[name]
    flat = np.zeros((1 << layout.log_rows, layout.shape.cols), np.int64)
    flat[layout.stored_rows] = pk.params.integers.joined()
    free = np.zeros_like(flat, np.bool_)
    inside = free.reshape(-1)[place.offset : place.offset + place.size].reshape(place.dims)
    inside[:] = True
    inside[place.true_part] = False
    free[np.setdiff1d(np.arange(len(free)), layout.stored_rows)] = False
    flat[tuple(np.argwhere(free)[-1])] = value
    return with_matrix(pk, flat[layout.stored_rows])


@pytest.mark.parametrize("source", [SMALL, c.hiding(c.DENSE), c.TWO_DENSE])
@pytest.mark.parametrize("value", [1, -1, (P - 1) // 2])
def test_padding_that_is_not_zero(source, value):
    pk = padding_of(c.keys(source), "v" if source == c.TWO_DENSE else "w", value)
    refused(pk, Certifier(pk).run().data, *(VALUES if pk.mode.hiding else (VALUES[0], "")))


NORM = """
.input x : i8[3] private
.param w : i8[3] committed = {3, -1, 2}
.output s public
    dot s, w, w
    sum u, x
    halt
"""
c.INPUTS[NORM] = {"x": [1, 2, 3]}


def test_padding_makes_a_false_statement(monkeypatch):
    """What the certificate is for: without one, the sum of squares of a param is another by its padding."""
    bad = padding_of(c.keys(NORM), "w", 2)
    trace = c.trace_of(NORM)
    trace.outputs["s"] = np.array(14 + 4)

    def whole(*args: Any, old: Any = proving.instance) -> Any:
        """With the padded entry in both operands."""
        found = old(*args)
        for table in found.tables[-2:]:
            table[(0, 3) if table.ndim == 2 else 3] = 2
        return found

    monkeypatch.setattr(proving, "instance", whole)
    proof = Prover(bad, trace).run()
    assert Verifier(bad.verifying_key).verify(proof).outputs["s"] == 18
    refused(bad, Certifier(bad).run().data, VALUES[0], "")


# ---- closeness -------------------------------------------------------------------------------------------------------


def spoilt(pk: ProvingKey, row: int, share: Fraction) -> ProvingKey:
    """The key with so large a share of the positions of one row overwritten, and honest otherwise."""
    assert pk.params is not None
    old = pk.params.commitment
    codeword = np.array(old.codeword)
    count = int(share * old.shape.n)
    at = np.random.default_rng(1).choice(old.shape.n, count, replace=False)
    codeword[at, row] = (codeword[at, row].astype(object) + 1) % P
    commitment = Commitment(old.shape, codeword, MerkleTree.of_columns(codeword), old.matrix, old.tail)
    return with_params(pk, replace(pk.params, commitment=commitment))


@pytest.mark.parametrize("mode", [Mode(False), Mode(True, 2)])
def test_row_far_from_the_code(mode):
    """Every row is part of the combination that is tested."""
    pk = setup(syurmy.assemble(c.ROWS), mode)
    assert pk.params is not None
    shape = pk.params.commitment.shape
    delta = radius(shape, pk.mode.proofs)
    assert shape.rows > 1
    for row in {0, shape.rows // 2, shape.rows - 1}:
        bad = spoilt(pk, row, delta + Fraction(1, 64))
        refused(bad, Certifier(bad).run().data, *(VALUES if mode.hiding else ENCODING))


def test_fewer_queries_would_not_see_it(monkeypatch):
    """As few as a proof asks that rests on a certificate, and a row that is spoilt in a few positions is not seen."""
    pk = c.keys(c.ROWS)
    assert pk.params is not None
    shape = pk.params.commitment.shape
    delta = radius(shape, 0)
    bad = spoilt(pk, 0, Fraction(1, 256))
    refused(bad, Certifier(bad).run().data, *ENCODING)
    miss = closeness.params_miss

    def few(s: MatrixShape, proofs: int, what: Closeness) -> Fraction:
        return Fraction(1, 2**60) if what is Closeness.CERTIFYING else miss(s, proofs, what)

    monkeypatch.setattr("syurmy.prover.protocol.budget.params_miss", few)
    found = 0
    for share in (Fraction(1, 512),) * 4:
        bad = spoilt(pk, 0, share)
        with suppress(Rejected):
            found += bool(check_certificate(bad.verifying_key, Certifier(bad).run().data))
    assert found
    assert delta <= RADII[-1]


@pytest.mark.parametrize("log_cols", [4, 8, 12, 16])
@pytest.mark.parametrize("log_blowup", [1, 2, 3, 4])
@pytest.mark.parametrize("proofs", [0, 1, 2, 3, 16, 64])
def test_radius(log_cols, log_blowup, proofs):
    """Never beyond the unique radius; a certificate and as many proofs as are left open fewer positions than there are
    random coefficients."""
    tail = hiding_tail(log_cols, log_blowup, 94, proofs) if proofs else 0
    if tail is None or not room(log_cols, log_blowup):
        return
    shape = MatrixShape(16, log_cols, log_blowup, tail=tail)
    delta = radius(shape, proofs)
    assert 0 < delta <= (1 - shape.rate) / 2
    errors = [closeness.params_miss(shape, proofs, x) for x in (Closeness.CERTIFYING, Closeness.CERTIFIED)]
    assert errors == [1 - delta, shape.rate + delta]
    assert errors[1] <= closeness.params_miss(shape, proofs, Closeness.TESTED) <= errors[0]
    once, each = (closeness.queries_within(e, Fraction(1, 2**94)) for e in errors)
    if proofs:
        assert once + (proofs - 1) * each < tail
    elif delta in RADII:
        assert once <= shape.n


@pytest.mark.parametrize("source", [c.ROWS, c.hiding(c.ROWS)])
def test_the_budget_counts_each_kind_of_query(source):
    pk = c.keys(source)
    plan = certificate_plan(pk.program, pk.mode)
    assert pk.plan is not None
    for opening, what in (
        (Opening.of(plan), Closeness.CERTIFYING),
        (Opening.of(pk.plan.certified()), Closeness.CERTIFIED),
    ):
        params = opening.matrices[1]
        miss = closeness.params_miss(params.shape, pk.mode.proofs, what)
        error = dict(opening.budget.terms)[f"params queries ({params.queries})"]
        assert error == miss**params.queries / 2 ** opening.grinding(params)
        assert error == soundness.query(params.shape, params.queries, opening.grinding(params), miss)
        assert opening.budget.holds()


# ---- what rests on a certificate -------------------------------------------------------------------------------------


def test_a_proof_names_its_certificate():
    source = c.DENSE
    pk, certificate = c.keys(source), honest(source)
    other = Certificate(honest(source).data[:-1] + bytes([honest(source).data[-1] ^ 1]))
    proof = prove(pk, c.trace_of(source), certificate=certificate)
    at = next(o for name, o, _ in proof.fields if name == "certificate")
    assert proof.data[at : at + 32] == certificate.digest()
    with pytest.raises(Rejected, match=r"rests on certificate .*: give it with --certificate"):
        Verifier(pk.verifying_key).verify(proof)
    named_other = prove(pk, c.trace_of(source), certificate=other)
    with pytest.raises(Rejected, match=r"rests on certificate .*: this is"):
        Verifier(pk.verifying_key, certificate=certificate).verify(named_other)
    none = proof.data[:at] + bytes(32) + proof.data[at + 32 :]
    with pytest.raises(Rejected):
        Verifier(pk.verifying_key, certificate=certificate).verify(none)
    with pytest.raises(InputError, match="that of another key"):
        prove(c.keys(c.TWO_DENSE), c.trace_of(c.TWO_DENSE), certificate=certificate)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_proof_that_names_no_certificate_tests_closeness(batch):
    """On every path, also for a verifier that has one: as few queries as with a certificate are not enough."""
    source = c.DENSE
    pk = c.keys(source)
    given = {k: np.array([v] * batch) if batch > 1 else np.array(v) for k, v in c.INPUTS[source].items()}
    trace = syurmy.run(pk.program, given, batch=batch > 1)

    class Few(Prover):
        def planned(self, path: Path) -> Plan:
            return super().planned(path).certified()

    few, honest_ = Few(pk, trace).run(), Prover(pk, trace).run()
    for certificate in (None, honest(source)):
        verifier = Verifier(pk.verifying_key, certificate=certificate)
        assert verifier.verify(honest_).batch == batch
        with pytest.raises(Rejected):
            verifier.verify(few)
        path = Path(batch)
        assert verifier.plan_for(path).closeness is Closeness.TESTED
        if certificate is not None:
            assert verifier.plan_for(path, certified=True).closeness is Closeness.CERTIFIED
            assert verifier.verify(prove(pk, trace, certificate=certificate)).batch == batch


def test_the_digest_is_absorbed():
    """A proof made for one certificate is none for another, whatever it says."""
    source = c.DENSE
    pk = c.keys(source)

    class Absorbing(Prover):
        def commit(self) -> Any:
            self.sender = Sender(self.transcript)
            return super().commit()

    prover = Absorbing(pk, c.trace_of(source), certificate=bytes(31) + b"\1")
    proof = prover.run()
    at = next(o for name, o, _ in proof.fields if name == "certificate")
    changed = proof.data[:at] + honest(source).digest() + proof.data[at + 32 :]
    with pytest.raises(Rejected):
        Verifier(pk.verifying_key, certificate=honest(source)).verify(changed)


def test_certificates_of_other_keys():
    """Of another program, another mode, other params, another limit of steps, another description."""
    mine = c.keys(c.DENSE)
    limited = replace(mine.verifying_key, max_steps=1000)
    for vk in (c.keys(c.TWO_DENSE), c.keys(c.hiding(c.DENSE)), key(mine.program, {"w": np.zeros((3, 2))})):
        with pytest.raises(Rejected, match="statement: the certificate belongs to another key"):
            check_certificate(vk.verifying_key, honest(c.DENSE))
    with pytest.raises(Rejected, match="statement: the certificate belongs to another key"):
        check_certificate(limited, honest(c.DENSE))


def relabelled(data: bytes, vk: VerifyingKey) -> bytes:
    at = len(CERTIFICATE_MAGIC) + 32
    return data[:at] + vk.digest() + data[at + 32 :]


def test_a_certificate_from_before_a_change():
    """A weight is changed after certifying; the certificate is made to name the new key."""
    mine = c.keys(c.DENSE)
    changed = key(mine.program, {"w": [[3, -1], [0, 2], [-5, 3]]})
    refused(changed, relabelled(honest(c.DENSE).data, changed.verifying_key), "lookup", "")

    class Old(Certifier):
        """Names the new key, and opens the old params."""

        def __init__(self) -> None:
            super().__init__(replace(mine, verifying_key=changed.verifying_key))

    refused(changed, Old().run().data, "opening", "an opened column of 'params' is not under the root")


def test_rows_swapped():
    """The certificate is about the rows as they lie."""
    pk = c.keys(c.ROWS)
    assert pk.params is not None
    values = pk.params.integers.joined()
    swapped = with_matrix(pk, values[::-1])

    class Unswapped(Certifier):
        def __init__(self) -> None:
            super().__init__(replace(pk, verifying_key=swapped.verifying_key))

    refused(swapped, Unswapped().run().data, "opening", "an opened column of 'params' is not under the root")


def test_proofs_and_certificates_are_not_each_other():
    source = c.DENSE
    pk = c.keys(source)
    proof = c.honest(source).data
    with pytest.raises(InputError, match="not a key certificate"):
        check_certificate(pk.verifying_key, proof)
    with pytest.raises(Rejected, match="this is not a proof"):
        Verifier(pk.verifying_key).verify(honest(source).data)
    with pytest.raises(Rejected):
        check_certificate(pk.verifying_key, CERTIFICATE_MAGIC + proof[len(MAGIC) :])
    with pytest.raises(Rejected):
        Verifier(pk.verifying_key).verify(MAGIC + honest(source).data[len(MAGIC) :])


def test_nothing_to_certify():
    with pytest.raises(InputError, match="nothing to certify"):
        certify(c.keys(c.DOT))
    with pytest.raises(InputError, match="nothing to certify"):
        check_certificate(c.keys(c.DOT).verifying_key, honest(c.DENSE))


def test_sums_that_could_leave_the_integers():
    source = """
.param w : i64[4] committed bounds -2305843009213693952..2305843009213693951 l1 (0)=2305843009213693951 = {1, 2, 3, 4}
.input x : i8[] private
.output y public
    sum s, x
    mov y, s
    halt
"""
    with pytest.raises(ConstraintError, match=r"sums of \|w\| could leave"):
        certificate_plan(syurmy.assemble(source))


# ---- every byte ------------------------------------------------------------------------------------------------------


def edited(source: str, rng: random.Random) -> Iterator[bytes]:
    data, fields = honest(source).data, honest(source).fields
    seen: dict[str, int] = {}
    for k, (label, o, n) in enumerate(fields):
        seen[label] = seen.get(label, 0) + 1
        if not n or seen[label] > 3:
            continue
        place = o + rng.randrange(n)
        yield data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        yield data[:o] + data[o + n :]
        yield data[: o + n] + data[o:]
        yield data[:o] + rng.randbytes(n) + data[o + n :]
        yield data[:o]
        yield data[: o + n - 1]
        if k + 1 < len(fields) and (m := fields[k + 1][2]):
            yield data[:o] + data[o + n : o + n + m] + data[o : o + n] + data[o + n + m :]
    yield from (data + b"\0", data + data, data[:-1], b"", data[:10], data[:74], data[:74] + bytes(1 << 20))


@pytest.mark.parametrize("source", [c.DENSE, LARGE, c.hiding(c.DENSE)])
def test_every_field_edited(source):
    """Refused with a reason, or no certificate at all."""
    vk = c.keys(source).verifying_key
    for data in edited(source, random.Random(source)):
        if data == honest(source).data:
            continue
        with pytest.raises((Rejected, InputError)) as e:
            check_certificate(vk, data)
        assert e.type is Rejected or e.value.code == "K152"
        assert e.type is not Rejected or (e.value.step in c.STEPS and e.value.reason)


def test_a_path_or_another_certificate():
    """Fields that a certificate has no use for have one form."""
    source = c.DENSE
    pk = c.keys(source)

    class Naming(Certifier):
        def planned(self, path: Path) -> Plan:
            self.certificate = bytes(31) + b"\1"
            return super().planned(path)

    refused(pk, Naming(pk).run().data, "statement", "a certificate names no other")
    for path, step in ((Path(2), "path"), (Path(1, {0: (0,)}), "statement")):
        other, said = Certifier(pk), encode_path(path)
        sent = {"path length": len(said).to_bytes(4, "little"), "path": said}
        other.sender = c.HookedSender(other.transcript, lambda label, before, data, sent=sent: sent.get(label, data))
        with pytest.raises(Rejected) as e:
            check_certificate(pk.verifying_key, other.run().data)
        assert e.value.step == step


# ---- hiding ----------------------------------------------------------------------------------------------------------


def test_it_takes_of_the_allowance():
    """At most what one proof takes; of a key for one proof none is left, so it is not made."""
    for proofs in (2, 16):
        program = syurmy.assemble(c.DENSE)
        pk = setup(program, Mode.of(program, True, proofs))
        assert pk.allowance is not None
        certificate = certify(pk)
        taken = pk.allowance.used
        assert taken == Opening.of(certificate_plan(program, pk.mode)).matrices[1].queries
        for _ in range(proofs - 1):
            assert prove(pk, c.trace_of(c.DENSE), certificate=certificate)
        pk.allowance.take(pk.allowance.limit - pk.allowance.used)
        with pytest.raises(InputError, match="used up"):
            certify(pk)
    pk = setup(program, Mode.of(program, True, 1))
    with pytest.raises(InputError, match="this key is for one"):
        certify(pk)
    assert pk.allowance is not None
    assert pk.allowance.used == 0


class Simulated(Simulator):
    magic, proofs = CERTIFICATE_MAGIC, 2

    def planned(self) -> Plan:
        return certificate_plan(self.program, self.mode)


def checked(vk: VerifyingKey, data: bytes, seed: int) -> None:
    plan = certificate_plan(decode(vk.program), vk.mode)
    programmed(ReadingCertificate(vk, plan, data), seed).accept()


@pytest.mark.parametrize("source", [SMALL, LARGE, c.DENSE, c.ROWS])
def test_simulated_certificates_are_accepted(source):
    """Of params that nobody knows."""
    simulator = Simulated(syurmy.assemble(source), np.random.default_rng(1))
    data = simulator.proof({}, seed=7)
    checked(simulator.key, data, 7)
    with pytest.raises(Rejected):
        check_certificate(simulator.key, data)


@pytest.mark.parametrize("source", [SMALL, c.DENSE, c.ROWS])
def test_every_byte_is_of_a_known_kind(source):
    found = honest(c.hiding(source)) if source != SMALL else certify(setup(syurmy.assemble(source)))
    assert {label for label, _, _ in found.fields} <= hidden.EVERY
    at = 0
    for _, offset, size in found.fields:
        assert offset == at
        at += size
    assert at == len(found.data)


class Fixed(Certifier):
    """Its challenges are programmed."""

    def __init__(self, pk: ProvingKey) -> None:
        super().__init__(pk)
        self.transcript = Programmed(5)
        start_transcript(self.transcript, self.magic)
        self.sender = Sender(self.transcript)


@pytest.mark.parametrize("made", [Certifier, Fixed])
def test_two_certificates_agree_nowhere(made):
    """But where they are public, and in columns of the params at equal positions."""
    pk = c.keys(c.hiding(c.DENSE))
    one, two = (made(pk).run() for _ in range(2))
    pairs = zip(hidden.fields_of(one.fields, one.data), hidden.fields_of(two.fields, two.data), strict=True)
    for (label, a), (other, b) in pairs:
        assert label == other
        if label in hidden.PUBLIC:
            assert a == b
        elif label in hidden.SECRET and label != "params columns":
            x, y = (np.frombuffer(v, "<u8") for v in (a, b))
            assert len(x) != len(y) or not ((x == y) & (x != 0)).any(), label


COUNT = 80


def test_certificates_of_two_keys_and_simulations_look_alike():
    """Whatever the params: every element is spread evenly over many keys, and not correlated with others."""
    program = syurmy.assemble(c.TWO_DENSE)
    data: list[dict[str, I64]] = [{"w": [3, -1, 2], "v": [1, 4, -2]}, {"w": [-1, -1, 3], "v": [-2, -1, 4]}]
    of = []
    for values in data:
        arrays = {n: np.array(v, np.int8) for n, v in values.items()}
        made = [Fixed(setup(replace(program, data=arrays), Mode(True, 2))).run() for _ in range(COUNT)]
        of.append(np.stack([np.frombuffer(hidden.secret_part(m.fields, m.data), "<u8") for m in made]))
    simulated = []
    for i in range(COUNT):
        simulator = Simulated(program, np.random.default_rng(i))
        proof = simulator.proof({}, 5)
        simulated.append(np.frombuffer(hidden.secret_part(hidden.simulated_fields(simulator), proof), "<u8"))
    of.append(np.stack(simulated))
    assert len({x.shape[1] for x in of}) == 1
    still = [(x == x[0]).all(axis=0) for x in of]
    assert all((a == still[0]).all() for a in still)
    assert all((x[:, still[0]] == 0).all() for x in of)
    for x in of:
        spread, correlation = hidden.deviation(x[:, ~still[0]])
        assert spread < 13, spread
        assert correlation < 6.5, correlation


# ---- hostile keys ----------------------------------------------------------------------------------------------------


def test_many_large_tables_are_charged(monkeypatch):
    """Tables are built only where the work for them is allowed."""
    lines = [f".param w{i} : i16[256, 256] committed bounds {-i}..32000\n" for i in range(4)]
    uses = "".join(f"    add y, y, w{i}\n" for i in range(4))
    source = "".join(lines) + f".input x : i8[256, 256] private\n.output y public\n    mov y, x\n{uses}    halt\n"
    program = syurmy.assemble(source)
    assert certificate_plan(program)
    monkeypatch.setattr("syurmy.isa.cost.FREE", 2**16 + 2**13)
    monkeypatch.setattr("syurmy.isa.cost.RATE", 0)
    with pytest.raises(ConstraintError, match="tables"):
        certificate_plan(program)


def test_summary():
    found: Certified = check_certificate(c.keys(c.DENSE).verifying_key, honest(c.DENSE))
    assert dict(found.summary())["of program"] == found.program
    assert "bytes" in dict(honest(c.DENSE).summary())["of"]
    assert Certificate.load(honest(c.DENSE).to_bytes()).digest() == honest(c.DENSE).digest()
    assert certificates.CERTIFICATE_MAGIC[:8] == honest(c.DENSE).data[:8]
