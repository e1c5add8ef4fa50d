"""The second verifier accepts the vectors with the stored transcript, and refuses what the project's refuses."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest

from syurmy.isa.errors import SyurmyError
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.verify import Verifier
from tests.reference_verifier import transcript as ours
from tests.reference_verifier.field import P
from tests.reference_verifier.statement import MAGIC, read_key
from tests.reference_verifier.verify import Run
from tests.reference_verifier.verify import Verifier as Second
from tests.vectors.files import KEY, PROOF, STATEMENT, lines, read
from tests.vectors.programs import CASES

BYTES = ("root", "digest", "path length", "path", "statement", "nonce")  # fields that are no elements of F
SLOW = "wide-clear"  # of which only what the others do not have is changed


@cache
def second(name: str) -> Second:
    return Second(read(name, KEY))


@cache
def first(name: str) -> Verifier:
    return Verifier(VerifyingKey.from_bytes(read(name, KEY)))


def statement_of(run: Run) -> dict[str, object]:
    """As in the files."""
    s = run.plan.system
    batch = s.flow.path.batch

    def nested(shape: tuple[int, ...], values: list[int]) -> object:
        if not shape:
            return values[0]
        step = len(values) // shape[0]
        return [nested(shape[1:], values[i * step : (i + 1) * step]) for i in range(shape[0])]

    found = {n: nested(n.shape, v) for n, v in run.values.items()}
    single = {n: v[0] if batch == 1 else v for n, v in found.items() if isinstance(v, list)}
    return {
        "program": s.program.name,
        "key": run.key.digest.hex(),
        "hiding": run.key.hiding,
        "batch": batch,
        "branches": {str(pc): list(bits) for pc, bits in s.flow.path.bits.items()},
        "inputs": {n.name: v for n, v in single.items() if n.source == "input"},
        "outputs": {n.name: v for n, v in single.items() if n.source == "output"},
        "reveals": [[pc, found[n]] for pc, n in s.reveals],
    }


@pytest.mark.parametrize("name", CASES)
def test_is_accepted_with_the_same_statement_and_transcript(name):
    run = second(name).verify(read(name, PROOF))
    assert statement_of(run) == json.loads(read(name, STATEMENT))
    assert run.transcript.log == lines(name)


# ---- mutated bytes -------------------------------------------------------------------------------------------------


def fields(name: str) -> Iterator[tuple[str, int, int]]:
    """Label, offset and size of what a proof consists of, by the stored log."""
    at = len(MAGIC)
    for line in lines(name):
        kind, rest = line.split(" ", 1)
        label, size = rest.split(": ")[0], rest.split(": ")[1].split(" ")[0]
        if kind == "absorb" and label not in ("protocol", "program", "trace cells"):
            yield label, at, int(size)
            at += int(size)
    assert at == len(read(name, PROOF))


def flipped(proof: bytes, bit: int) -> bytes:
    at, mask = bit // 8, 1 << bit % 8
    return proof[:at] + bytes([proof[at] ^ mask]) + proof[at + 1 :]


def mutations(name: str) -> Iterator[tuple[str, bytes]]:
    """Of each label the first and the last field with a bit flipped, and one that is cut, not canonical, missing, or in
    the next one's place; more bytes and fewer."""
    proof, draw = read(name, PROOF), random.Random(name)
    by_label: dict[str, list[tuple[int, int]]] = {}
    for label, at, size in fields(name):
        if size and (name != SLOW or label.startswith(("level", "last"))):
            by_label.setdefault(label, []).append((at, size))
    for i in range(len(MAGIC)):
        yield f"magic {i}", flipped(proof, 8 * i + draw.randrange(8))
    for label, found in by_label.items():
        for at, size in dict.fromkeys((found[0], found[-1])):
            bit = draw.randrange(8 * size)
            yield f"{label} bit {bit}", flipped(proof, 8 * at + bit)
        at, size = draw.choice(found)
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


@pytest.mark.parametrize("name", CASES)
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
    yield from (read(other, KEY) for other in CASES if other != name)
    for i in [*range(31), *(draw.randrange(31, end) for _ in range(20)), end - 1]:
        yield key[:i] + bytes([key[i] ^ 1 << draw.randrange(8)]) + key[i + 1 :]
    yield from (key[:-1], key + b"\0", key[:40], key[:20], b"", key[:8] + b"\1" + key[9:])


@pytest.mark.parametrize("name", CASES)
def test_no_proof_under_another_key(name):
    """As it is, and where it names the other key's digest."""
    proof, at = read(name, PROOF), len(MAGIC) + 32
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
    assert usable >= len(CASES)
