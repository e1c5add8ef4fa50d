"""Inventory of the transcript: what is absorbed and drawn, in which order and size, equal on both sides.

``transcript_inventory.txt`` holds it for small programs. A change of the protocol changes it: read the difference,
then write the file anew with ``BLESS_TRANSCRIPT=1``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from syurmy.prover.certify import Certifier
from syurmy.prover.protocol.certificate import Certificate, certificate_plan
from syurmy.prover.prove import Proof, Prover
from syurmy.prover.verifier import verify as verifier
from syurmy.prover.verifier.certificate import ReadingCertificate
from tests.soundness import common as c
from tests.soundness import test_memory as memory

GOLDEN = Path(__file__).with_name("transcript_inventory.txt")
LOGGED = {
    "params, lookups and contractions": c.DENSE,
    "no lookups": c.ADD_WIDE,
    "a reduction of params": c.BOUND,
    "memory": memory.RAM,
    "params through two levels": c.deep(c.DENSE),
    "hidden: params, lookups and contractions": c.hiding(c.DENSE),
    "committed inputs and outputs": c.COMMITTED,
    "hidden: committed inputs and outputs": c.hiding(c.COMMITTED),
}
CERTIFIED = {"a certificate": c.DENSE, "hidden: a certificate": c.hiding(c.DENSE)}
EVERY = [
    *(c.deep(c.DENSE), c.deep(c.DOT), c.WORDS, c.ROWS),
    *(c.DENSE, c.TWO_DENSE, c.SUM_PARAM, c.DOT, c.TWO_DOTS, c.MUL_PRIVATE),
    *(c.COMMITTED, c.COMMITTED_3, c.hiding(c.COMMITTED), c.hiding(c.COMMITTED_3)),
    *(c.RESCALE, c.SELECT, c.ARGMAX, c.LOOP, c.LUT, c.ADD, c.ADD_WIDE),
    *(memory.RAM, memory.GATHER, memory.SORT),
]
c.INPUTS.update(memory.INPUTS)
EVERY += [c.hiding(s) for s in (c.DENSE, c.SUM_PARAM, c.DOT, c.ROWS, c.ADD_WIDE, memory.RAM)]
MATRICES = ("witness", "params", "tensor 0", "tensor 1", "tensor 2")
PATHS = tuple(f"{matrix} {part}" for matrix in MATRICES for part in ("columns", "path"))

Log = list[tuple[str, str, int]]


def proven(source: str) -> tuple[Proof, Log, Log]:
    """A proof, and what prover and verifier logged."""
    prover = Prover(c.keys(source), c.trace_of(source), commitments=c.openings_of(source))
    proof = prover.run()
    run = verifier._Run(c.verifier_of(source), proof.data)
    run.run()
    return proof, prover.transcript.log, run.transcript.log


def logs(source: str) -> tuple[Log, Log]:
    return proven(source)[1:]


def certificate_logs(source: str) -> tuple[Certificate, Log, Log]:
    """A certificate of the key, and what prover and verifier logged."""
    pk = c.keys(source)
    prover = Certifier(pk)
    proof = prover.run()
    reading = ReadingCertificate(pk.verifying_key, certificate_plan(pk.program, pk.mode), proof.data)
    reading.accept()
    return Certificate(proof.data, proof.fields), prover.transcript.log, reading.transcript.log


def settled(log: Log) -> list[tuple[str, str, int | str]]:
    """Of a proof that is another one every time: without the lengths of paths, and without positions drawn again."""
    out: list[tuple[str, str, int | str]] = []
    for kind, label, size in log:
        line = kind, label, "any" if label.endswith(" path") else size
        if not (label.endswith(" positions") and out[-1] == line):
            out.append(line)
    return out


def inventory() -> str:
    """One line per message; repeated lines are counted."""
    lines = []
    for title, source in LOGGED.items():
        lines.append(f"# {title}")
        log = logs(source)[1]
        lines += [f"{kind:<9} {label:<28} {size}" for kind, label, size in (settled(log) if "hidden" in title else log)]
    for title, source in CERTIFIED.items():
        log = certificate_logs(source)[2]
        lines += [f"# {title}", *(f"{kind:<9} {label:<28} {size}" for kind, label, size in settled(log))]
    return "\n".join(lines) + "\n"


def test_inventory():
    found = inventory()
    if os.environ.get("BLESS_TRANSCRIPT") == "1":
        GOLDEN.write_text(found)
    assert found.splitlines() == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize("source", EVERY)
def test_both_sides_agree(source):
    prover, run = logs(source)
    assert prover == run


@pytest.mark.parametrize("source", CERTIFIED.values())
def test_certificates_agree_and_are_absorbed(source):
    certificate, prover, found = certificate_logs(source)
    assert prover == found
    log = [(label, size) for kind, label, size in found if kind == "absorb"]
    carried = [x for x in log if x[0] not in ("protocol", "program", "trace cells")]
    assert carried == [(label, size) for label, _, size in certificate.fields[1:]]
    assert [label for label, _ in log[:9]] == list(c.STATEMENT)


@pytest.mark.parametrize("source", EVERY)
def test_every_message_is_absorbed(source):
    """The absorbed messages are the proof's fields, in order; what the proof does not carry is named here."""
    proof, _, found = proven(source)
    log = [(label, size) for kind, label, size in found if kind == "absorb"]
    carried = [x for x in log if x[0] not in ("protocol", "commitment digests", "program", "trace cells")]
    assert carried == [(label, size) for label, _, size in proof.fields[1:]]
    assert log[0][0] == "protocol"
    assert [x for x in log if x[0] in ("program", "trace cells")] == [
        ("program", 32),
        ("trace cells", c.keys(source).plan.trace_cells),
    ]


# A challenge, and what must have been absorbed (all of it, where messages repeat) before the first one is drawn.
STATEMENT = (*c.STATEMENT, "commitments", "commitment digests")
OBLIGATIONS: dict[str, tuple[str, ...]] = {
    "alpha": STATEMENT,
    "beta": STATEMENT,
    "fingerprint point": STATEMENT,
    "equation point": STATEMENT,
    "gamma": ("lookup round", "lookup values"),
    "contraction challenge": ("contraction sum",),
    "eta": ("contraction sum", "contraction round", "contraction values"),
    "params reduction challenge": ("contraction values", "params reduction sum"),
    "zeta": ("params reduction round", "params reduction values"),
    "sacrifice challenge": (
        *STATEMENT,
        *("lookup values", "contraction values", "params reduction values", "tensor values"),
    ),
    "opening challenge": ("contraction values", "params reduction values", "tensor values", "sacrifice"),
    "mask challenge": ("level 1 root", "level 1 round", "mask sum"),
    "params delta": ("opening round", "opening values"),
    "witness positions": ("opening values", "level 1 root"),
    "params positions": ("opening values", "level 1 root"),
    "tensor 0 positions": ("opening values", "level 1 root"),
    "tensor 1 positions": ("opening values", "level 1 root"),
    "tensor 2 positions": ("opening values", "level 1 root"),
    "level 1 beta": ("level 1 root", *PATHS),
    "level 1 challenge": ("level 1 root", *PATHS),
    "level 1 positions": ("level 1 round", "level 2 root"),
    "level 2 beta": ("level 2 root", "level 1 columns", "level 1 path"),
    "level 2 challenge": ("level 2 root", "level 1 columns", "level 1 path"),
    "level 2 positions": ("level 2 round", "last vector"),
}
LAST = ("witness", "level 1", "level 2")  # whose positions are drawn after the last vector: the last of these that is
# A challenge that follows a message of its own round, and one that follows another challenge.
ROUNDS = {
    "lookup round": "lookup challenge",
    "lookup values": "lookup merge",
    "contraction round": "contraction challenge",
    "params reduction round": "params reduction challenge",
    "opening round": "opening challenge",
    "level 1 round": "level 1 challenge",
    "level 2 round": "level 2 challenge",
}
BEFORE = [
    ("alpha", "beta"),
    ("beta", "fingerprint point"),
    ("fingerprint point", "lookup merge"),
    ("lookup merge", "equation point"),
    ("lookup merge", "gamma"),
    ("equation point", "gamma"),
    ("gamma", "contraction challenge"),
    ("contraction challenge", "eta"),
    ("eta", "opening challenge"),
    ("eta", "sacrifice challenge"),
    ("zeta", "sacrifice challenge"),
    ("sacrifice challenge", "opening challenge"),
    ("level 1 challenge", "mask challenge"),
    ("mask challenge", "level 1 positions"),
    ("zeta", "opening challenge"),
    ("opening challenge", "params delta"),
    ("params delta", "params positions"),
    ("params positions", "level 1 beta"),
    ("tensor 2 positions", "level 1 beta"),
    ("level 1 beta", "level 1 challenge"),
    ("level 1 challenge", "level 1 positions"),
    ("level 1 positions", "level 2 beta"),
    ("level 2 beta", "level 2 challenge"),
    ("level 2 challenge", "level 2 positions"),
]


@pytest.mark.parametrize("source", EVERY)
def test_challenges_come_after_what_they_depend_on(source):
    log = logs(source)[1]
    absorbed: dict[str, list[int]] = {}
    drawn: dict[str, list[int]] = {}
    for i, (kind, label, _) in enumerate(log):
        (absorbed if kind == "absorb" else drawn).setdefault(label, []).append(i)
    assert set(drawn) <= {*OBLIGATIONS, *ROUNDS.values(), "lookup lambda", "grinding seed"}
    for challenge, needed in OBLIGATIONS.items():
        for label in needed:
            if challenge in drawn and label in absorbed:
                assert absorbed[label][-1] < drawn[challenge][0], f"{challenge} before {label}"
    for label, challenge in ROUNDS.items():
        for i in absorbed.get(label, ()):
            assert log[i + 1][:2] == ("challenge", challenge), f"{label} is not followed by its challenge"
    for first, second in BEFORE:
        if first in drawn and second in drawn:
            assert drawn[first][-1] < drawn[second][0], f"{second} before {first}"
    last = [label for label in LAST if f"{label} positions" in drawn][-1]
    assert absorbed["last vector"][0] < drawn[f"{last} positions"][0]
    for i in absorbed["query nonce"]:
        assert log[i - 1][:2] == ("challenge", "grinding seed")
        assert log[i + 1][1].endswith("positions")
        assert log[i - 2][1].endswith(("root", "last vector"))
    assert len(absorbed["query nonce"]) == len([label for label in LAST if f"{label} positions" in drawn])


def test_all_obligations_are_seen():
    """The programs together draw every challenge that is listed."""
    seen = {label for source in EVERY for kind, label, _ in logs(source)[1] if kind == "challenge"}
    assert (set(OBLIGATIONS) | set(ROUNDS.values())) - seen == set()


@pytest.mark.parametrize("source", [c.DENSE, c.LOOP])
def test_every_challenge_depends_on_every_earlier_message(source):
    """Two runs that differ in one message share no later challenge."""
    fields = c.honest(source).fields[1:]
    for k in (0, 2, 3, len(fields) // 2, 2 * len(fields) // 3):

        def hook(label: str, before: int, data: bytes, k: int = k, count: list[int] = [-1]) -> bytes:  # noqa: B006
            count[0] += 1
            return bytes([data[0] ^ 1]) + data[1:] if count[0] == k else data

        one, other = c.RecordingTranscript(), c.RecordingTranscript()
        for transcript, change in ((one, False), (other, True)):
            prover = Prover(c.keys(source), c.trace_of(source), commitments=c.openings_of(source))
            prover.transcript = transcript
            c.start_transcript(transcript)
            prover.sender = c.HookedSender(transcript, hook if change else lambda label, before, data: data)
            prover.run()
        same = [i for i, (a, b) in enumerate(zip(one.states, other.states, strict=False)) if a == b]
        assert same == list(range(len(same)))
        assert len(same) < len(one.states)
