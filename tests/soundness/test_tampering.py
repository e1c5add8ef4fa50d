"""Any change of a proof's bytes is refused, quickly and with a reason; damaged keys give an input error."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from syurmy.isa.errors import SyurmyError
from syurmy.prover.field import P
from syurmy.prover.kernels import compiled
from syurmy.prover.keys import VerifyingKey
from syurmy.prover.protocol import arithmetic, grinding, plain
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.verify import Verifier, check_magic
from tests.soundness import common as c
from tests.soundness import test_memory as memory

SOURCES = {
    "params": c.DENSE,
    "two params": c.TWO_DENSE,
    "no params": c.DOT,
    "loop": c.LOOP,
    "lut": c.LUT,
    "argmax": c.ARGMAX,
    "no lookups": c.ADD,
    "sum of a param": c.BOUND,
    "ram": memory.RAM,
    "branches": memory.LOOP,
    "sort": memory.SORT,
    "one level": c.WORDS,
    "two levels": c.deep(c.DENSE),
    "committed": c.COMMITTED,
}
c.INPUTS.update(memory.INPUTS)
BYTES = {"magic", "witness root", "key digest", "certificate", "path length", "path", "statement", "query nonce"}
BYTES |= {"commitments"} | {
    f"{matrix} {part}"
    for matrix in ("witness", "params", "tensor 0", "tensor 1", "tensor 2", "level 1", "level 2")
    for part in ("root", "path")
}


def must_reject(source: str, proof: bytes, step: str | None = None) -> None:
    """With the compiled and with the plain arithmetic, at the same step for the same reason."""
    said = []
    for module in (compiled, plain):
        start = time.process_time()
        with arithmetic.using(module), pytest.raises(Rejected) as e:
            c.verifier_of(source).verify(proof)
        assert e.value.step in c.STEPS
        assert e.value.reason
        assert step is None or e.value.step == step, str(e.value)
        assert time.process_time() - start < 2
        said.append(str(e.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", SOURCES)
def test_honest_proofs_are_accepted(name):
    """With both arithmetics, as the same statement."""
    source, said = SOURCES[name], []
    for module in (compiled, plain):
        with arithmetic.using(module):
            said.append(repr(c.verifier_of(source).verify(c.honest(source).data)))
    assert said[0] == said[1]


def fields(source: str) -> list[tuple[str, int, int]]:
    return [f for f in c.honest(source).fields if f[2]]


def sampled(source: str) -> Iterator[tuple[str, int, int]]:
    """Of the many fields with one label the first, the last and one between."""
    by_label: dict[str, list[tuple[str, int, int]]] = {}
    for f in fields(source):
        by_label.setdefault(f[0], []).append(f)
    for group in by_label.values():
        yield from dict.fromkeys((group[0], group[len(group) // 2], group[-1]))


@pytest.mark.parametrize("name", SOURCES)
def test_every_field_is_covered(name):
    """Fields follow each other without a gap, so a change of any byte is a change of some field."""
    at = 0
    for _, offset, length in fields(SOURCES[name]):
        assert offset == at
        at += length
    assert at == len(c.honest(SOURCES[name]).data)


@pytest.mark.parametrize("name", SOURCES)
def test_bits(name):
    """One bit, at the first, the last and some other byte of every field."""
    source, rng = SOURCES[name], random.Random(name)
    for _, offset, length in fields(source):
        places = {offset, offset + length - 1, offset + rng.randrange(length)}
        for place in rng.sample(sorted(places), 1 if length <= 64 else len(places)):
            proof = bytearray(c.honest(source).data)
            proof[place] ^= 1 << rng.randrange(8)
            must_reject(source, bytes(proof))


@pytest.mark.parametrize("name", SOURCES)
def test_elements(name):
    """Of what is not bytes: an element plus one; an element that is not canonical, be it the same one plus p."""
    source, rng = SOURCES[name], random.Random(name)
    data = c.honest(source).data
    for label, offset, length in sampled(source):
        if label in BYTES:
            continue
        at = offset + 8 * rng.randrange(length // 8)
        old = int.from_bytes(data[at : at + 8], "little")

        def replaced(value: int, at: int = at) -> bytes:
            return data[:at] + value.to_bytes(8, "little") + data[at + 8 :]

        must_reject(source, replaced((old + 1) % P))
        must_reject(source, replaced(P), "format")
        must_reject(source, replaced(2**64 - 1), "format")
        if old + P < 2**64:
            must_reject(source, replaced(old + P), "format")


def test_same_element_plus_p():
    """Small elements of opened columns have a second form below 2^64: it is refused although it is the same residue."""
    source = c.ADD_PRIVATE
    data = c.honest(source).data
    found = 0
    for label, offset, length in fields(source):
        if label in BYTES:
            continue
        for at in range(offset, offset + length, 8):
            old = int.from_bytes(data[at : at + 8], "little")
            if old + P < 2**64 and found < 20:
                found += 1
                must_reject(source, data[:at] + (old + P).to_bytes(8, "little") + data[at + 8 :], "format")
    assert found


@pytest.mark.parametrize("name", SOURCES)
def test_truncated_and_extended(name):
    source = SOURCES[name]
    data = c.honest(source).data
    for _, offset, length in sampled(source):
        for end in {offset, offset + 1, offset + length - 1} - {len(data)}:
            must_reject(source, data[:end], "format" if end < 10 else None)
    for tail in (b"\0", bytes(8), bytes(16), data, bytes(1 << 16)):
        must_reject(source, data + tail, "format")
    must_reject(source, b"\0" + data, "format")


def edited(source: str, rng: random.Random) -> Iterator[bytes]:
    """Fields left out, duplicated, swapped with their neighbours, replaced by random bytes."""
    data = c.honest(source).data
    every = fields(source)
    for k in sorted(rng.sample(range(len(every)), min(25, len(every)))):
        _, o, n = every[k]
        field = data[o : o + n]
        yield data[:o] + data[o + n :]
        yield data[: o + n] + field + data[o + n :]
        yield data[:o] + rng.randbytes(n) + data[o + n :]
        yield data[:o] + bytes(n) + data[o + n :]
        yield data[:o] + field[::-1] + data[o + n :]
        if k + 1 < len(every):
            _, p, m = every[k + 1]
            yield data[:o] + data[p : p + m] + field + data[p + m :]


@pytest.mark.parametrize("name", SOURCES)
def test_fields_edited(name):
    source = SOURCES[name]
    for proof in edited(source, random.Random(name)):
        if proof != c.honest(source).data:  # a field of zeros may be replaced by zeros
            must_reject(source, proof)


@pytest.mark.parametrize("name", SOURCES)
def test_nonsense(name):
    source, rng = SOURCES[name], random.Random(name)
    data = c.honest(source).data
    magic = data[:10]
    for proof in (b"", b"\0", magic, magic[:-1], bytes(len(data)), rng.randbytes(len(data)), bytes(1 << 24)):
        must_reject(source, proof, "format")
    head = data[:106] if name != "no lookups" else data[:42]  # magic, root, key digest, certificate
    for size in (0, 1, 100, len(data) - len(head), 1 << 20):
        must_reject(source, head + rng.randbytes(size))
    must_reject(source, head + bytes(1 << 20))
    must_reject(source, head + b"\xff" * (1 << 20))
    must_reject(source, c.honest(c.RESCALE).data, "statement")
    for version, todo in ((2, "make it again with `syurmy-vm prove`"), (4, "update syurmy-vm")):
        other = data[:8] + version.to_bytes(2, "little") + data[10:]
        with pytest.raises(Rejected, match=f"protocol version {version}.*{todo}"):
            c.verifier_of(source).verify(other)


def test_a_certificate_of_before() -> None:
    said = "the certificate has protocol version 2, not 3: make it again with `syurmy-vm certify`"
    with pytest.raises(Rejected, match=said):
        check_magic(b"SYURMYCT\2\0", CERTIFICATE_MAGIC)


def test_splices():
    """A prefix of one honest proof with the rest of another for other inputs."""
    source = c.RESCALE
    one = c.honest(source)
    other = c.Prover(c.keys(source), c.trace_of(source, {"x": [5, -100, 76]})).run().data
    assert c.accepted(source, other)
    assert len(one.data) <= len(other) + 64 * 32
    for _, offset, _ in one.fields[1:]:
        for proof in (one.data[:offset] + other[offset:], other[:offset] + one.data[offset:]):
            if proof not in (one.data, other):
                must_reject(source, proof)


def test_grinding_nonce(monkeypatch):
    """Large proofs carry a nonce; small ones do here."""
    monkeypatch.setattr(grinding, "GRINDING_ERROR", 0)
    source = c.RESCALE
    proof = c.Prover(c.keys(source), c.trace_of(source)).run()
    assert c.accepted(source, proof.data)
    at = next(o for name, o, _ in proof.fields if name == "grinding nonce")
    for place in range(at, at + 8):
        changed = bytearray(proof.data)
        changed[place] ^= 1
        with pytest.raises(Rejected) as e:
            c.accepted(source, bytes(changed))
        assert (e.value.step, e.value.reason) == ("lookup", "the grinding nonce does not hold")
    without = proof.data[:at] + proof.data[at + 8 :]
    must_reject(source, without, "lookup")
    monkeypatch.undo()
    must_reject(source, proof.data, "lookup")


# ---- keys ------------------------------------------------------------------------------------------------------------


def unusable(data: bytes, proof: bytes) -> None:
    """The key is refused, or it is another key, for which this proof does not count."""
    try:
        Verifier(VerifyingKey.from_bytes(data)).verify(proof)
    except (SyurmyError, Rejected):
        return
    raise AssertionError("accepted under a damaged key")


@pytest.mark.parametrize("name", ["params", "loop", "lut"])
def test_damaged_verifying_keys(name):
    source, rng = SOURCES[name], random.Random(name)
    key, proof = c.keys(source).verifying_key.to_bytes(), c.honest(source).data
    assert VerifyingKey.from_bytes(key) == c.keys(source).verifying_key
    for end in range(0, len(key), 7):
        unusable(key[:end], proof)
    for tail in (b"\0", bytes(33), key):
        unusable(key + tail, proof)
    for place in range(0, len(key), 2):
        damaged = bytearray(key)
        damaged[place] ^= 1 << rng.randrange(8)
        unusable(bytes(damaged), proof)
    for size in (0, 1, 18, 100, len(key)):
        unusable(rng.randbytes(size), proof)
        unusable(key[:18] + rng.randbytes(size), proof)


def test_keys_of_long_linear_chains():
    """A key costs time and stack in proportion to its program: no walk over all paths of the graph."""
    step = "    transpose t, r\n    add r, r, t\n    reshape r, r, (4)\n    reshape r, r, (2, 2)\n"
    doubling = (
        ".input x : i8[2, 2] private\n.output y public\n    mov r, x\n" + step * 24 + "    mul y, r, x\n    halt\n"
    )
    turning = "    transpose r, r\n    reshape r, r, (2, 3)\n" * 700
    deep = f".input x : i8[2, 3] private\n.output y public\n    mov r, x\n{turning}    mul y, r, x\n    halt\n"
    for source in (deep, doubling):
        start = time.process_time()
        c.verifier_of(source)
        assert time.process_time() - start < 10
