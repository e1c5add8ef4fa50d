"""The stored vectors are what the project makes and accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.verifier.verify import Verifier
from tests.vectors.files import (
    ALL,
    CERTIFICATE_LOG,
    FOLDER,
    KEY,
    LOG,
    PROOF,
    STATEMENT,
    bundle_of,
    certificate_of,
    files_of,
    key_of,
    lines,
    logged,
    proof_of,
    read,
    stored_certificate,
    text_of,
    whole,
)
from tests.vectors.programs import BUNDLES, CASES

CLEAR = [name for name, case in CASES.items() if not case.hiding]
HIDING = [name for name, case in CASES.items() if case.hiding]
LARGEST = 1.1 * 10**6  # bytes of all files


def test_there_are_no_other_files():
    found = {f"{f.parent.name}/{f.name}" for f in FOLDER.glob("*/*") if f.parent.name != "__pycache__"}
    assert found == {f"{name}/{file}" for name in ALL for file in files_of(name)}
    assert sum((FOLDER / f).stat().st_size for f in found) <= LARGEST


@pytest.mark.parametrize("name", ALL)
def test_is_accepted_with_the_same_statement_and_transcript(name):
    statement, logs = logged(read(name, KEY), read(name, PROOF), stored_certificate(name))
    assert text_of(statement).encode() == read(name, STATEMENT)
    assert logs == [lines(name, file) for file in (CERTIFICATE_LOG, LOG) if file in files_of(name)]


@pytest.mark.parametrize("name", CLEAR)
def test_clear_proofs_are_made_bit_for_bit(name):
    """If this is meant to change: ``python -m tests.vectors``."""
    assert key_of(name).verifying_key.to_bytes() == read(name, KEY)
    assert (None if (made := certificate_of(name)) is None else made.data) == stored_certificate(name)
    assert proof_of(name).data == read(name, PROOF)


@pytest.mark.parametrize("name", BUNDLES)
def test_clear_bundles_are_made_bit_for_bit(name):
    assert whole(name).key.to_bytes() == read(name, KEY)
    assert bundle_of(name) == (read(name, PROOF), stored_certificate(name))


@pytest.mark.parametrize("name", HIDING)
def test_hiding_proofs_are_other_ones_every_time(name):
    """Of the same statement, under a key that differs in the commitment to its params alone."""
    stored, made = VerifyingKey.from_bytes(read(name, KEY)), key_of(name).verifying_key
    assert replace(made, params_root=stored.params_root) == stored
    assert (made.params_root != stored.params_root) == bool(stored.params_root)
    proof = proof_of(name).data
    assert proof != read(name, PROOF)
    statement = Verifier(made, certificate=certificate_of(name)).verify(proof)
    if (certified := stored_certificate(name)) is not None:
        assert certificate_of(name).data != certified
        statement = replace(statement, certificate=Certificate(certified).digest())
    statement = replace(statement, key_digest=stored.digest())
    if statement.commitments:  # to the same tensors, and hiding them
        named = logged(read(name, KEY), read(name, PROOF), stored_certificate(name))[0].commitments
        assert all(named[n].digest() != c.digest() for n, c in statement.commitments.items())
        statement = replace(statement, commitments=named)
    assert text_of(statement).encode() == read(name, STATEMENT)
