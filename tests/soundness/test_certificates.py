"""Key certificates: set-ups that cheat, each refused for its reason, and accepted by a verifier that lacks just the
check that refuses it; what rests on a certificate; what a hiding one tells.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.builder import Builder
from syurmy.isa.errors import ConstraintError, InputError
from syurmy.isa.path import Path
from syurmy.prover import prove as proving
from syurmy.prover.certify import Certifier, certify
from syurmy.prover.commitment import Commitment
from syurmy.prover.field import P
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol import closeness, soundness
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.certificate import Certificate, certificate_plan
from syurmy.prover.protocol.closeness import RADII, Closeness, radius
from syurmy.prover.protocol.key import Mode, VerifyingKey
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.reed_solomon import MatrixShape, hiding_tail
from syurmy.prover.protocol.shapes import room
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC, MAGIC
from syurmy.prover.protocol.transcript import Rejected, Sender
from syurmy.prover.prove import Prover, prove
from syurmy.prover.verifier.certificate import check_certificate
from syurmy.prover.verifier.verify import Verifier
from tests.soundness import common as c
from tests.soundness.certificates import (
    ENCODING,
    LARGE,
    LOOKUPS,
    PROGRAMS,
    SMALL,
    VALUES,
    forged,
    honest,
    key,
    refused,
    with_matrix,
    with_params,
)

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

    def whole(*args: Any, old: Any = proving.Tables.instance) -> Any:
        """With the padded entry in both operands."""
        found = old(*args)
        for table in found.tables[-2:]:
            table[(0, 3) if table.ndim == 2 else 3] = 2
        return found

    monkeypatch.setattr(proving.Tables, "instance", whole)
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
    with pytest.raises(InputError, match="not the key certificate of a program"):
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
