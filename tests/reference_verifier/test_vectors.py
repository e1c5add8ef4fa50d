"""The second verifier accepts the vectors with the stored transcript, and refuses what the project's refuses."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

import pytest

from syurmy.isa.errors import SyurmyError
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.verify import Verifier
from tests.reference_verifier import errors as ours
from tests.reference_verifier.field import P
from tests.reference_verifier.files import read_key
from tests.reference_verifier.verify import Statement
from tests.reference_verifier.verify import Verifier as Second
from tests.vectors.files import (
    CERTIFICATE,
    CERTIFICATE_LOG,
    KEY,
    LOG,
    PROOF,
    STATEMENT,
    lines,
    read,
    stored_certificate,
)
from tests.vectors.programs import CASES

HEAD = 10  # bytes before the first message: magic and version
BYTES = (
    "root",
    "digest",
    "certificate",
    "path length",
    "path",
    "statement",
    "nonce",
    "commitments",
)  # no elements of F
ABSORBED = ("protocol", "program", "trace cells", "commitment digests")  # and not read
CERTIFIED = [name for name, case in CASES.items() if case.certified]
ALL_OF_HIDING = "params-hiding"  # of the other hiding ones bits are flipped only: it takes long
SLOW = "wide-clear"  # of which only what the others do not have is changed


@cache
def second(name: str) -> Second:
    return Second(read(name, KEY), stored_certificate(name))


@cache
def first(name: str) -> Verifier:
    return Verifier(read(name, KEY), certificate=stored_certificate(name))


def statement_of(said: Statement) -> dict[str, object]:
    """As in the files."""
    batch = said.path.batch

    def nested(shape: tuple[int, ...], values: list[int]) -> object:
        if not shape:
            return values[0]
        step = len(values) // shape[0]
        return [nested(shape[1:], values[i * step : (i + 1) * step]) for i in range(shape[0])]

    def of(source: str) -> dict[str, object]:
        shapes = {v.name: v.shape if batch > 1 else v.shape[1:] for v in said.values if v.source == source}
        return {v.name: nested(shapes[v.name], v.entries) for v in said.values if v.source == source}

    revealed = [v for v in said.values if v.source == "reveal"]
    return {
        "program": said.program.name,
        "key": said.key.hex(),
        "hiding": said.hiding,
        "certificate": said.certificate.hex() if said.certificate else None,
        "batch": batch,
        "branches": {str(pc): list(bits) for pc, bits in said.path.bits.items()},
        "inputs": of("input"),
        "outputs": of("output"),
        "commitments": {name: digest.hex() for name, digest in said.commitments.items()},
        "reveals": [[int(v.name.split("@")[1]), nested(v.shape, v.entries)] for v in revealed],
    }


@pytest.mark.parametrize("name", CASES)
def test_is_accepted_with_the_same_statement_and_transcript(name):
    said = second(name).verify(read(name, PROOF))
    assert statement_of(said) == json.loads(read(name, STATEMENT))
    assert said.log == lines(name)
    if CASES[name].certified:
        assert second(name).certificate_log == lines(name, CERTIFICATE_LOG)


# ---- mutated bytes -------------------------------------------------------------------------------------------------


def fields(name: str, log: str = LOG, file: str = PROOF) -> Iterator[tuple[str, int, int]]:
    """Label, offset and size of what a proof consists of, by the stored log."""
    at = HEAD
    for line in lines(name, log):
        kind, rest = line.split(" ", 1)
        label, size = rest.split(": ")[0], rest.split(": ")[1].split(" ")[0]
        if kind == "absorb" and label not in ABSORBED:
            yield label, at, int(size)
            at += int(size)
    assert at == len(read(name, file))


def flipped(proof: bytes, bit: int) -> bytes:
    at, mask = bit // 8, 1 << bit % 8
    return proof[:at] + bytes([proof[at] ^ mask]) + proof[at + 1 :]


def mutations(name: str) -> Iterator[tuple[str, bytes]]:
    """Of each label a bit flipped in the first or last field or both, and one that is cut, not canonical, missing, or
    in the next one's place; more bytes and fewer."""
    proof, draw = read(name, PROOF), random.Random(name)
    by_label: dict[str, list[tuple[int, int]]] = {}
    for label, at, size in fields(name):
        if size and (name != SLOW or label.startswith(("level", "last"))):
            by_label.setdefault(label, []).append((at, size))
    for i in range(HEAD):
        yield f"magic {i}", flipped(proof, 8 * i + draw.randrange(8))
    for label, found in by_label.items():
        ends = list(dict.fromkeys((found[0], found[-1])))
        for at, size in [draw.choice(ends)] if CASES[name].hiding else ends:  # those take longer
            bit = draw.randrange(8 * size)
            yield f"{label} bit {bit}", flipped(proof, 8 * at + bit)
        at, size = draw.choice(found)
        if name == SLOW or (CASES[name].hiding and name != ALL_OF_HIDING):
            continue
        yield f"{label} cut", proof[: at + draw.randrange(size)]
        if not label.endswith(BYTES):
            yield (
                f"{label} not canonical",
                proof[:at] + draw.randrange(P, 2**64).to_bytes(8, "little") + proof[at + 8 :],
            )
        if draw.random() < 0.2:
            yield f"{label} without", proof[:at] + proof[at + size :]
        for (a, n), (b, m) in list(pairwise(found))[:1]:
            if proof[a : a + n] != proof[b : b + m]:
                yield (
                    f"{label} swapped",
                    proof[:a] + proof[b : b + m] + proof[a + n : b] + proof[a : a + n] + proof[b + m :],
                )
    yield "longer", proof + b"\0"
    yield "longer by a digest", proof + bytes(25)
    yield "empty", b""
    yield "twice", proof + proof


def said(verify: Verifier | Second, proof: bytes) -> str:
    """The step in which it is refused; "accepted"."""
    try:
        verify.verify(proof)
    except (Rejected, ours.Rejected) as e:
        return e.step
    return "accepted"


@pytest.mark.parametrize("name", [name for name in CASES if name not in CERTIFIED])
def test_mutated_proofs_are_refused_by_both_in_the_same_step(name):
    for what, proof in mutations(name):
        assert said(second(name), proof) == said(first(name), proof), what
        assert "nonce" in what or said(first(name), proof) != "accepted", what


@pytest.mark.parametrize("name", CASES)
def test_other_statements_are_refused_by_both(name):
    """Every value of the statement one more, and the path of another number of inputs."""
    proof = read(name, PROOF)
    ((_, at, size),) = [f for f in fields(name) if f[0] == "statement"]
    for i in range(size):
        changed = proof[: at + i] + bytes([(proof[at + i] + 1) % 256]) + proof[at + i + 1 :]
        assert said(second(name), changed) == said(first(name), changed) != "accepted"


@pytest.mark.parametrize("name", ["committed-clear", "committed-hiding"])
def test_commitments_for_other_numbers_of_proofs_are_refused_by_both(name):
    """1 to 1024 where they hide, none in clear ones: what is outside is no commitment, what is inside another one."""
    proof, own = read(name, PROOF), CASES[name].proofs if CASES[name].hiding else 0
    ((_, at, size),) = [f for f in fields(name) if f[0] == "commitments"]
    assert proof[at : at + 4] == own.to_bytes(4, "little")
    for record in range(at, at + size, size // 2):
        for number in {0, 1, 3, 1024, 1025, 2**32 - 1} - {own}:
            changed = proof[:record] + number.to_bytes(4, "little") + proof[record + 4 :]
            inside = CASES[name].hiding and 1 <= number <= 1024
            step = said(first(name), changed)
            assert said(second(name), changed) == step != "accepted"
            assert (step == "statement") == (not inside)


STRAIGHT = {  # other paths of a program without branches
    "no inputs": b"\0\0",
    "two inputs": b"\2\0",
    "a number in two bytes": b"\x81\0\0",
    "the largest number": b"\xff" * 8 + b"\x7f\0",
    "cut inside a number": b"\1\x80",
    "cut": b"\1",
    "longer": b"\1\0\0",
    "a branch without bits": b"\1\1\0\1\0",
    "no branch there": b"\1\1\0\1\3",
    "so many branches": b"\1" + b"\xff" * 8 + b"\x7f",
    "nothing": b"",
}
LOOPS = {  # of one whose branch at instruction 8 is taken four times and then not: b"\1\1\10\3\0\4\1"
    "once more": b"\1\1\10\3\0\5\1",
    "not the last time": b"\1\1\10\2\0\5",
    "once less": b"\1\1\10\3\0\3\1",
    "never": b"\1\1\10\1\1",
    "a bit too many": b"\1\1\10\3\0\4\2",
    "an empty run": b"\1\1\10\5\0\4\1\0\1",
    "an empty run at the end": b"\1\1\10\4\0\4\1\0",
    "at another instruction": b"\1\1\11\3\0\4\1",
    "twice": b"\1\2\10\3\0\4\1\10\3\0\4\1",
    "one more branch": b"\1\2\10\3\0\4\1\14\1\1",
    "no branch": b"\1\0",
    "more bits than steps": b"\1\1\10\3\0\xff\xff\xff\xff\x0f\1",
    "another number of inputs": b"\2\1\10\3\0\4\1",
}


@pytest.mark.parametrize(
    ("name", "what"), [*(("dense-clear", w) for w in STRAIGHT), *(("branches-hiding", w) for w in LOOPS)]
)
def test_other_paths_are_refused_by_both(name, what):
    proof, path = read(name, PROOF), (STRAIGHT | LOOPS)[what]
    ((_, at, size),) = [f for f in fields(name) if f[0] == "path"]
    assert proof[at : at + size] in (b"\1\0", b"\1\1\10\3\0\4\1")
    changed = proof[: at - 4] + len(path).to_bytes(4, "little") + path + proof[at + size :]
    assert said(second(name), changed) == said(first(name), changed) != "accepted"


# ---- certificates --------------------------------------------------------------------------------------------------


def checked(make: Callable[[], object]) -> str:
    """The step in which a certificate is refused; "accepted"."""
    try:
        make()
    except (Rejected, ours.Rejected) as e:
        return e.step
    except SyurmyError:
        return "format"  # what is not a certificate at all
    return "accepted"


@pytest.mark.parametrize("name", CERTIFIED)
def test_changed_certificates_are_refused_by_both(name):
    """And those of another key; in the same step."""
    key, whole, draw = read(name, KEY), read(name, CERTIFICATE), random.Random(name)
    by_label = {label: (at, size) for label, at, size in fields(name, CERTIFICATE_LOG, CERTIFICATE) if size}
    changed = [flipped(whole, 8 * at + draw.randrange(8 * size)) for at, size in by_label.values()]
    changed += [flipped(whole, draw.randrange(80)), whole[:-1], whole + b"\0", whole[:40], b"", read(name, PROOF)]
    changed += [read(other, CERTIFICATE) for other in CERTIFIED if other != name]
    for data in changed:
        mine, theirs = checked(lambda d=data: Second(key, d)), checked(lambda d=data: Verifier(key, certificate=d))
        assert mine == theirs != "accepted"


@pytest.mark.parametrize("name", CERTIFIED)
def test_proofs_rest_on_their_own_certificate_only(name):
    """Without it, or with the certificate not named, they are refused; proofs without one need none."""
    key, proof, at = read(name, KEY), read(name, PROOF), HEAD + 64
    assert said(Second(key), proof) == said(Verifier(key), proof) == "certificate"
    unnamed = proof[:at] + bytes(32) + proof[at + 32 :]
    assert said(second(name), unnamed) == said(first(name), unnamed) != "accepted"
    for other in CASES:
        if other != name and not CASES[other].certified:
            proof = read(other, PROOF)
            named = proof[:at] + (second(name).certificate or b"") + proof[at + 32 :]
            assert said(second(other), named) == said(first(other), named) == "certificate"


# ---- other keys ----------------------------------------------------------------------------------------------------


def verifier_of(key: bytes) -> Verifier | None:
    """None where the key is refused."""
    try:
        return Verifier(VerifyingKey.from_bytes(key))
    except SyurmyError:
        return None


def refused(key: bytes, proof: bytes) -> bool:
    """By the second verifier, as a key or with the proof."""
    try:
        Second(key).verify(proof)
    except ours.Rejected:
        return True
    return False


def changed_keys(name: str) -> Iterator[bytes]:
    """Those of other vectors; one bit changed in every byte of the head and in some of the rest; cut and extended."""
    key, draw = read(name, KEY), random.Random(name)
    end = len(key) - 4 - int.from_bytes(key[-9:-5], "little")  # of what is no description: it has five bytes
    assert end == len(key) - 9
    yield from {other for name in CASES if (other := read(name, KEY)) != key}
    for i in [*range(31), *(draw.randrange(31, end) for _ in range(20)), end - 1]:
        yield key[:i] + bytes([key[i] ^ 1 << draw.randrange(8)]) + key[i + 1 :]
    yield from (key[:-1], key + b"\0", key[:40], key[:20], b"", key[:8] + b"\1" + key[9:])


@pytest.mark.parametrize("name", CASES)
def test_no_proof_under_another_key(name):
    """As it is, and where it names the other key's digest."""
    proof, at = read(name, PROOF), HEAD + 32
    assert read_key(read(name, KEY)).digest == proof[at : at + 32] == first(name).vk.digest()
    usable = 0
    for key in changed_keys(name):
        theirs = verifier_of(key)
        if theirs is None:
            assert refused(key, proof)
            continue
        usable += 1
        mine = Second(key)
        assert mine.key.digest == theirs.vk.digest()
        for changed in (proof, proof[:at] + mine.key.digest + proof[at + 32 :]):
            assert said(mine, changed) == said(theirs, changed) != "accepted"
    assert usable >= 10
