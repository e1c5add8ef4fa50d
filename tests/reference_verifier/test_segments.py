"""Proofs of segments have more bits than others: both verifiers take them, with the same errors, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from syurmy.prover.keys import setup
from syurmy.prover.protocol.key import MAX_MORE, Mode, VerifyingKey
from syurmy.prover.protocol.soundness import bits
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from tests.bundles import example
from tests.reference_verifier import errors as ours
from tests.reference_verifier.verify import verify as second
from tests.soundness import common as c


@pytest.mark.parametrize("hiding", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_segments_of_a_bundle(tmp_path: Path, hiding: bool) -> None:
    w = example(hiding)
    made = w.proven(tmp_path / "parts")
    every = list(zip(w.key.segments, made.bundle.proofs(), made.statement.segments, strict=True))
    for key, proof, said in every[:: 3 if hiding else 1]:  # the second verifier takes a second for each
        found = second(key.to_bytes(), proof)
        assert bits(found.error) == pytest.approx(said.soundness_bits)
        assert said.soundness_bits >= 102


@pytest.mark.parametrize("more", [1, MAX_MORE])
def test_more_bits_are_another_key(more: int) -> None:
    """More queries, and another digest: a proof under a key of fewer bits is none under one of more."""
    source = c.DENSE
    usual = c.keys(source)
    key = setup(usual.program, Mode(False, 0, more))
    proof = prove(key, c.trace_of(source))
    assert verify(key.verifying_key, proof).soundness_bits >= 100 + more
    assert bits(second(key.verifying_key.to_bytes(), proof.data).error) >= 100 + more
    with pytest.raises(ours.Rejected):
        second(key.verifying_key.to_bytes(), c.honest(source).data)
    data = bytearray(key.verifying_key.to_bytes())
    data[10] = 2 * (MAX_MORE + 1)
    with pytest.raises(ours.Rejected):
        second(bytes(data), proof.data)
    with pytest.raises(Exception, match="does not say what its proofs hide"):
        VerifyingKey.from_bytes(bytes(data))
    assert replace(key.verifying_key, mode=Mode(False)).digest() != key.verifying_key.digest()
