"""Certificates of bundles' keys that cheat: a segment's swapped, repeated, left out, of another model, another order or
another whole, and bytes that are none. Each is refused, with what is wrong, before any of them is worked through."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError
from syurmy.prover.protocol.bundle import CERTIFICATE_MAGIC, BundleCertificate, BundleKey, Port
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.transcript import Rejected
from tests.bundles import CUTS, SOURCE, Whole, example, rejoined, split, walk, walking, whole_of

HEAD = len(CERTIFICATE_MAGIC) + 32 + 4  # before the lengths
FAR = 10.0  # seconds of processor time for some hundred refusals


@cache
def of(w: Whole) -> BundleCertificate:
    with TemporaryDirectory() as folder:
        return w.certified(Path(folder) / "parts").certificate


@cache
def honest() -> list[bytes]:
    """One each of segments 0 and 1, nothing of 2 and 3."""
    return of(example(False)).parts()


def made(parts: list[bytes], key: BundleKey | None = None) -> bytes:
    return rejoined(example(False).key if key is None else key, parts, CERTIFICATE_MAGIC)


def refused(certificate: bytes, key: BundleKey | None = None) -> Rejected:
    with pytest.raises(Rejected) as e:
        syurmy.verify_key(example(False).key if key is None else key, certificate)
    return e.value


def test_what_it_says_and_what_rests_on_it(tmp_path: Path) -> None:
    """Of the whole's key; proofs that rest on it are accepted with it only, others with and without."""
    w, certificate = example(False), of(example(False))
    said = syurmy.verify_key(w.key, certificate)
    assert isinstance(said, syurmy.BundleCertified)
    assert (said.key_digest, said.digest, said.shared_params) == (w.key.digest(), certificate.digest(), ("w",))
    assert [s is not None for s in said.segments] == [True, True, False, False]
    assert said.soundness_bits == min(bits for _, bits in said.soundness) >= 100
    resting = w.proven(tmp_path / "parts", certificate=certificate)
    plain = w.proven(tmp_path / "parts")
    assert len(resting.bundle.data) < len(plain.bundle.data)
    assert resting.statement.certificate == certificate.digest()
    for bundle in (resting.bundle, plain.bundle):
        checked = syurmy.verify(w.key, bundle, certificate=certificate.data)
        assert checked.certificate == certificate.digest()
        assert checked.segments[2].certificate is None  # type: ignore[attr-defined]
    assert syurmy.verify(w.key, plain.bundle).certificate is None
    with pytest.raises(Rejected, match="rests on certificate") as e:
        syurmy.verify(w.key, resting.bundle)
    assert e.value.step == "segment 0: certificate"
    mixed = rejoined(w.key, [*split(plain.bundle.data)[:1], *split(resting.bundle.data)[1:]])
    with pytest.raises(Rejected, match="rests on certificate") as e:  # links hold: clear commitments are the same
        syurmy.verify(w.key, mixed)
    assert e.value.step == "segment 1: certificate"
    assert syurmy.verify(w.key, mixed, certificate=certificate).certificate


def test_another_certificate_of_the_same_key(tmp_path: Path) -> None:
    """Proofs rest on the one that they name."""
    w = example(True)
    one, two = of(w), w.certified(tmp_path / "parts").certificate
    bundle = w.proven(tmp_path / "parts", certificate=one).bundle
    assert syurmy.verify_key(w.key, two)
    with pytest.raises(Rejected, match="rests on certificate") as e:
        syurmy.verify(w.key, bundle, certificate=two)
    assert e.value.step == "segment 0: certificate"
    crossed = made([two.parts()[0], *one.parts()[1:]], w.key)
    with pytest.raises(Rejected) as e:
        syurmy.verify(w.key, bundle, certificate=crossed)
    assert e.value.step == "segment 0: certificate"
    assert syurmy.verify(w.key, bundle, certificate=one)


def test_steps(tmp_path: Path) -> None:
    """One certificate for the proofs of all steps."""
    w, certificate = walking(False), of(walking(False))
    assert len(certificate.parts()) == 1
    found = w.walked(tmp_path / "parts", walk([3, 1], 3), certificate)
    said = syurmy.verify(w.key, found.bundle, certificate=certificate)
    assert said.certificate == found.statement.certificate == certificate.digest()
    with pytest.raises(Rejected, match="rests on certificate") as e:
        syurmy.verify(w.key, found.bundle)
    assert e.value.step == "step 0: certificate"


def test_swapped_repeated_left_out_and_too_many() -> None:
    first, second, *none = honest()
    cases = {
        "it is the certificate of segment 1": [second, first, *none],
        "it is the certificate of segment 0": [first, first, *none],
        "it holds 3 certificates of 4 segments": [first, second, *none[1:]],
        "it holds 5 certificates of 4 segments": [first, second, *none, b""],
        "its certificate is missing": [first, b"", *none],
        "it commits no param": [first, second, second, b""],
    }
    for reason, parts in cases.items():
        assert refused(made(parts)).reason == reason
    assert syurmy.verify_key(example(False).key, made(honest()))
    with pytest.raises(ValueError, match="a certificate for each"):
        BundleCertificate.of(example(False).key, [first, b"", *none])


def test_of_another_model() -> None:
    """Other weights of one segment, or of both: whatever key the file names, and whichever part is taken."""
    theirs = whole_of(syurmy.assemble(SOURCE.replace("{3, -1,", "{4, -1,")), CUTS, False)
    mine, other = honest(), of(theirs).parts()
    assert "belongs to another key: it names" in refused(made(mine), theirs.key).reason
    for k in range(2):
        parts = [other[i] if i == k else mine[i] for i in range(4)]
        e = refused(made(parts))
        assert (e.step, e.reason[:41]) == (f"segment {k}: statement", "the certificate belongs to another key: i")
    assert refused(made(mine, theirs.key), theirs.key).step == "segment 0: statement"
    assert syurmy.verify_key(theirs.key, of(theirs))


def test_of_another_order_or_another_whole() -> None:
    """Two segments that do not need each other, in either order; and the same segments that are said to be another
    whole: every part would do, the file is of the key that it names."""
    text = (
        ".program p\n.input x : i8[2] public\n.param v : i8[2] committed = {1, 2}\n"
        ".param w : i8[2] committed = {3, 4}\n.output a public\n.output b public\ndot a, x, v\ndot b, x, w\nhalt"
    )
    w = whole_of(syurmy.assemble(text), (1,), False)
    first, second = of(w).parts()
    crossed = replace(w.key, segments=w.key.segments[::-1])
    renamed = replace(w.key, name="q")
    titled = replace(w.key, description=Description("another"))
    narrow = replace(w.key, outputs=w.key.outputs[::-1])
    assert narrow.outputs == (Port("b", True), Port("a", True))
    for other in (crossed, renamed, titled, narrow):
        assert "belongs to another key: it names" in refused(of(w).data, other).reason
    assert refused(made([first, second], crossed), crossed).reason == "it is the certificate of segment 1"
    for other, parts in ((crossed, [second, first]), (renamed, [first, second])):
        assert syurmy.verify_key(other, made(parts, other))


def test_bytes_that_are_no_certificate() -> None:
    """Cut short anywhere, made longer, any byte of the head and many of the parts changed, lengths that are moved or
    huge: refused with a reason, in little time."""
    w = example(False)
    good = of(w).data
    start = HEAD + 8 * 4
    lengths = [good[HEAD + 8 * k : HEAD + 8 * k + 8] for k in range(4)]
    bent = [*range(start), *range(start, len(good), 331), len(good) - 1]
    cases = [good[:k] + bytes([good[k] ^ 1 << k % 8]) + good[k + 1 :] for k in bent]
    cases += [good[:k] for k in [*range(0, start + 40, 5), *range(start, len(good), 1009), len(good) - 1]]
    cases += [good + b"\0", good + good, good[:HEAD] + lengths[1] + lengths[0] + good[HEAD + 16 :]]
    cases += [good[:HEAD] + b"\0" * 8 + lengths[0] + good[HEAD + 16 :], good[:HEAD] + b"\xff" * 8 + good[HEAD + 8 :]]
    cases += [good[: HEAD - 4] + n.to_bytes(4, "little") + good[HEAD:] for n in (0, 1, 3, 5, 1 << 10, 2**32 - 1)]
    cases += [made([*honest()[:2], b"\0", b""]), made([honest()[0], b"SYURMYCT", b"", b""])]
    began, steps = time.process_time(), set()
    for case in cases:
        e = refused(case)
        assert e.reason
        steps.add(e.step)
    assert time.process_time() - began < FAR
    assert {"format", "statement"} <= steps
    assert {f"segment {k}" for k in range(2)} <= {s.partition(":")[0] for s in steps}
    for version, todo in ((2, "make it again with `syurmy-vm certify`"), (4, "update syurmy-vm")):
        e = refused(good[:8] + bytes([version]) + good[9:])
        assert e.reason == f"the certificate of a bundle has protocol version {version}, not 3: {todo}"


def test_nothing_to_certify_and_other_files(tmp_path: Path) -> None:
    w = whole_of(syurmy.assemble(".program p\n.input x : i8[2] public\n.output y public\nmov y, x\nhalt"), (), False)
    with pytest.raises(InputError) as e:
        w.certified(tmp_path / "parts")
    assert e.value.code == "K149"
    with pytest.raises(InputError) as e:
        syurmy.verify_key(w.key, made([b""], w.key))
    assert e.value.code == "K149"
    (tmp_path / "one.cert").write_bytes(honest()[0])
    (tmp_path / "all.cert").write_bytes(made(honest()))
    for key, file in ((example(False).key, "one"), (example(False).key.segments[0], "all")):
        with pytest.raises(InputError) as e:
            syurmy.verify_key(key, tmp_path / f"{file}.cert")
        assert e.value.code == "K152"
    with pytest.raises(InputError) as e:
        syurmy.verify(example(False).verifier, b"", certificate=tmp_path / "all.cert")
    assert e.value.code == "I118"


def test_a_key_for_one_proof_and_a_stale_key(tmp_path: Path) -> None:
    """Refused before anything is taken of what may be opened."""
    w = example(True)
    few = tuple(syurmy.setup(p, proofs=1)[0] for p in w.at.segments[:2])
    keys = (*few, *w.keys[2:])
    assert {k.mode for k in few} == {Mode(True, 1)}
    one = replace(w, keys=keys, key=w.at.key([k.verifying_key for k in keys]))
    with pytest.raises(InputError) as e:
        one.certified(tmp_path / "parts")
    assert e.value.code == "K154"
    stale = replace(one, key=w.key)
    with pytest.raises(InputError) as e:
        stale.certified(tmp_path / "parts")
    assert e.value.code == "K131"
    assert all(k.allowance is not None and k.allowance.used == 0 for k in few)
    assert np.array_equal(stale.key.digest(), w.key.digest())
