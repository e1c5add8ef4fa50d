"""Both verifiers refuse, in the same step, proofs of cheating provers: false witnesses, and single messages changed by
one who goes on from there (so that nonces and paths are right, and one equation is not).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from unittest.mock import patch

import pytest

from syurmy.prover.protocol.transcript import Rejected
from tests.reference_verifier import arrangement
from tests.reference_verifier import errors as ours
from tests.reference_verifier.field import P
from tests.reference_verifier.shapes import Level
from tests.reference_verifier.verify import Verifier as Second
from tests.soundness import common as c
from tests.soundness import memory_programs as memory
from tests.soundness.test_cheating import FORGERIES

c.INPUTS.update(memory.INPUTS)
DEEP = c.deep(c.DENSE)
SOURCES = {
    "memory": memory.RAM,
    "a reduction of params": c.BOUND,
    "two levels": DEEP,
    "hiding, a reduction of params": c.hiding(c.BOUND),
}
BYTES = ("root", "certificate", "path", "statement")  # of what is not elements
UNCHANGED = {"magic", "key digest", "path length", "path", "query nonce"}  # see test_vectors.py


def two_levels(used: int) -> tuple[int, tuple[Level, ...]]:
    """The ladder of ``common.deep``."""
    rows = -(-used >> 5)
    return 0, (Level(5, 3, rows, (rows - 1).bit_length()), Level(4, 4, 2, 1))


@cache
def second(source: str) -> Second:
    verifier = Second(c.keys(source).verifying_key.to_bytes())
    if source == DEEP:
        with patch.object(arrangement, "ladder", two_levels):
            verifier.verify(c.honest(source).data)  # remembers what follows from the path
    return verifier


def refused_by_both(source: str, proof: bytes) -> str:
    """The step."""
    with pytest.raises(Rejected) as theirs:
        c.verifier_of(source).verify(proof)
    with pytest.raises(ours.Rejected) as mine:
        second(source).verify(proof)
    assert mine.value.step == theirs.value.step, (str(mine.value), str(theirs.value))
    return mine.value.step


def changed(label: str, nth: int) -> Callable[[str, int, bytes], bytes]:
    """One more in the first element of this message, or another last byte."""

    def hook(name: str, before: int, data: bytes) -> bytes:
        if (name, before) != (label, nth):
            return data
        if label.endswith(BYTES):
            return data[:-1] + bytes([data[-1] ^ 1])
        return ((int.from_bytes(data[:8], "little") + 1) % P).to_bytes(8, "little") + data[8:]

    return hook


@pytest.mark.parametrize("name", SOURCES)
def test_one_message_changed(name):
    source = SOURCES[name]
    labels = [label for label, _, size in c.honest(source).fields if size and label not in UNCHANGED]
    assert second(source).verify(c.honest(source).data)
    steps = set()
    for label in dict.fromkeys(labels):
        last = labels.count(label) - 1
        for nth in {0, last} if not source.endswith("hidden") else {last}:
            steps.add(refused_by_both(source, c.cheat(source, c.Cheat(hook=changed(label, nth)))))
    assert "opening" in steps
    assert source.endswith("hidden") or "lookup" in steps


@pytest.mark.parametrize("name", FORGERIES)
def test_false_witness(name):
    source, columns, outputs, (step, _) = FORGERIES[name]
    for claimed in {None, *outputs}:
        trace = c.says(**outputs) if claimed else (lambda t: None)
        assert refused_by_both(source, c.cheat(source, c.Cheat(columns=columns, trace=trace))) == step
