"""The files of a vector, and the statement and the transcript's log of the project's verifier as text."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from blake3 import blake3

import syurmy
from syurmy.isa.trace import Trace
from syurmy.prover.certify import certify
from syurmy.prover.field import Ext
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.transcript import Transcript
from syurmy.prover.prove import prove
from syurmy.prover.tensors import TensorOpening, seal
from syurmy.prover.verifier import verify
from syurmy.prover.verifier.bundle import BundleStatement
from syurmy.prover.verifier.verify import Statement
from syurmy.prover.witness import Witness
from tests.bundles import Whole, whole_of
from tests.vectors.programs import BUNDLES, CASES, Case

FOLDER = Path(__file__).parent
SHOWN = 32  # bytes of a message that are written out
KEY, PROOF, STATEMENT, LOG = "key.vk", "proof.proof", "statement.json", "transcript.txt"
CERTIFICATE, CERTIFICATE_LOG = "certificate.cert", "certificate.txt"  # where the proof rests on one
ALL: Mapping[str, Case] = {**CASES, **BUNDLES}


def read(name: str, file: str) -> bytes:
    return (FOLDER / name / file).read_bytes()


def lines(name: str, file: str = LOG) -> list[str]:
    """The stored log."""
    return read(name, file).decode().splitlines()


@cache
def key_of(name: str) -> ProvingKey:
    """A new key; of a clear vector the one that is stored."""
    case = CASES[name]
    program = syurmy.assemble(case.program)
    return setup(program, Mode.of(program, case.hiding, case.proofs))


@cache
def certificate_of(name: str) -> Certificate | None:
    """A new one of ``key_of``, where the proof rests on one."""
    return certify(key_of(name)) if CASES[name].certified else None


def proof_of(name: str) -> Proof:
    """A new proof under ``key_of``; of a clear vector the one that is stored."""
    case, key = CASES[name], key_of(name)
    trace = syurmy.run(key.program, inputs_of(case), batch=case.batch)
    made = openings_of(key, trace, Mode(case.hiding, case.proofs if case.hiding else 0))
    return prove(key, trace, commitments=made, certificate=certificate_of(name))


def openings_of(key: ProvingKey, trace: Trace, mode: Mode) -> dict[str, TensorOpening]:
    """New commitments to all that the program says is committed."""
    if not any(d.committed for d in (*key.program.inputs, *key.program.outputs)):
        return {}
    assert key.plan is not None
    values = Witness(key.plan.system, trace)
    return {e.name: seal(values(e), e.dtype, mode) for e in key.plan.system.externals}


def files_of(name: str) -> list[str]:
    return [KEY, PROOF, STATEMENT, LOG, *((CERTIFICATE, CERTIFICATE_LOG) if ALL[name].certified else ())]


def stored_certificate(name: str) -> bytes | None:
    return read(name, CERTIFICATE) if ALL[name].certified else None


@cache
def whole(name: str) -> Whole:
    """The new keys of a vector that is a bundle."""
    case = BUNDLES[name]
    return whole_of(syurmy.assemble(case.program), case.cuts, case.hiding)


def bundle_of(name: str) -> tuple[bytes, bytes]:
    """A new bundle under them, and the certificate that its proofs rest on."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = whole(name).certified(Path(folder) / "parts").certificate
        made = whole(name).proven(Path(folder) / "parts", inputs_of(BUNDLES[name]), certificate=certificate)
    return made.bundle.data, certificate.data


def inputs_of(case: Case) -> dict[str, Any]:
    return {k: np.array(v) for k, v in case.inputs.items()}


class Logging(Transcript):
    """``text``: a line for every absorb and challenge."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []

    def absorb(self, label: str, data: bytes) -> None:
        super().absorb(label, data)
        shown = data.hex() if len(data) <= SHOWN else f"blake3 {blake3(data).hexdigest()}"
        self.text.append(f"absorb {label}: {len(data)} bytes {shown}".rstrip())

    def absorb_zeros(self, label: str, count: int) -> None:
        super().absorb_zeros(label, count)
        self.text.append(f"absorb {label}: {count} bytes, zero")

    def challenge(self, label: str) -> Ext:
        drawn = super().challenge(label)
        self.text.append(f"challenge {label}: {drawn.a} {drawn.b}")
        return drawn

    def positions(self, label: str, count: int, bound: int) -> list[int]:
        drawn = super().positions(label, count, bound)
        self.text.append(f"challenge {label}: {' '.join(map(str, drawn))} of {bound}")
        return drawn


def logged(key: bytes, proof: bytes, certificate: bytes | None) -> tuple[Statement, list[list[str]]]:
    """What the project's verifier says, and the logs of its transcripts, that of the certificate first; of a bundle
    those of its parts are one."""
    made: list[Logging] = []

    def logging() -> Logging:
        made.append(Logging())
        return made[-1]

    with patch.object(verify, "Transcript", logging):
        statement = syurmy.verify(key, proof, certificate=certificate)
    texts = [transcript.text for transcript in made]
    if isinstance(statement, BundleStatement):
        proofs = len(texts) - len(statement.segments)
        texts = [list(chain(*texts[:proofs])), list(chain(*texts[proofs:]))][certificate is None :]
    return statement, texts


def text_of(statement: Statement) -> str:
    """The statement as JSON."""
    said = {
        "program": statement.program,
        "key": statement.key_digest.hex(),
        "hiding": statement.hiding,
        "certificate": statement.certificate.hex() if statement.certificate else None,
        "batch": statement.batch,
        "branches": {str(pc): list(bits) for pc, bits in statement.branches.items()},
        "inputs": {name: v.tolist() for name, v in statement.inputs.items()},
        "outputs": {name: v.tolist() for name, v in statement.outputs.items()},
        "commitments": {name: c.digest().hex() for name, c in statement.commitments.items()},
        "reveals": [[pc, v.tolist()] for pc, v in statement.reveals],
    }
    if isinstance(statement, BundleStatement):
        said["links"] = {name: digest.hex() for name, digest in statement.links}
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def write(name: str) -> None:
    """Make a vector's files anew."""
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    if name in BUNDLES:
        key = whole(name).key.to_bytes()
        proof, certificate = bundle_of(name)
    else:
        key, proof, own = key_of(name).verifying_key.to_bytes(), proof_of(name).data, certificate_of(name)
        certificate = None if own is None else own.data
    statement, logs = logged(key, proof, certificate)
    (folder / KEY).write_bytes(key)
    (folder / PROOF).write_bytes(proof)
    (folder / STATEMENT).write_text(text_of(statement))
    if certificate is not None:
        (folder / CERTIFICATE).write_bytes(certificate)
    for file, log in zip((CERTIFICATE_LOG, LOG)[-len(logs) :], logs, strict=True):
        (folder / file).write_text("\n".join(log) + "\n")
