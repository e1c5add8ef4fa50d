"""The files of a vector, and the statement and the transcript's log of the project's verifier as text."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from blake3 import blake3

import syurmy
from syurmy.prover.field import Ext
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.transcript import Transcript
from syurmy.prover.verifier import verify
from syurmy.prover.verifier.verify import Statement, Verifier
from tests.vectors.programs import CASES, Case

FOLDER = Path(__file__).parent
SHOWN = 32  # bytes of a message that are written out
KEY, PROOF, STATEMENT, LOG = "key.vk", "proof.proof", "statement.json", "transcript.txt"


def read(name: str, file: str) -> bytes:
    return (FOLDER / name / file).read_bytes()


def lines(name: str) -> list[str]:
    """The stored log."""
    return read(name, LOG).decode().splitlines()


@cache
def key_of(name: str) -> ProvingKey:
    """A new key; of a clear vector the one that is stored."""
    case = CASES[name]
    program = syurmy.assemble(case.program)
    return setup(program, Mode.of(program, case.hiding, case.proofs))


def proof_of(name: str) -> Proof:
    """A new proof under ``key_of``; of a clear vector the one that is stored."""
    case, key = CASES[name], key_of(name)
    return syurmy.prove(key, syurmy.run(key.program, inputs_of(case), batch=case.batch))


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


def logged(verifier: Verifier, proof: bytes) -> tuple[Statement, list[str]]:
    """What the project's verifier says, and the log of its transcript."""
    made: list[Logging] = []

    def logging() -> Logging:
        made.append(Logging())
        return made[-1]

    with patch.object(verify, "Transcript", logging):
        statement = verifier.verify(proof)
    (transcript,) = made
    return statement, transcript.text


def text_of(statement: Statement) -> str:
    """The statement as JSON."""
    said = {
        "program": statement.program,
        "key": statement.key_digest.hex(),
        "hiding": statement.hiding,
        "batch": statement.batch,
        "branches": {str(pc): list(bits) for pc, bits in statement.branches.items()},
        "inputs": {name: v.tolist() for name, v in statement.inputs.items()},
        "outputs": {name: v.tolist() for name, v in statement.outputs.items()},
        "reveals": [[pc, v.tolist()] for pc, v in statement.reveals],
    }
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def write(name: str) -> None:
    """Make a vector's files anew."""
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    key, proof = key_of(name).verifying_key, proof_of(name).data
    statement, log = logged(Verifier(key), proof)
    (folder / KEY).write_bytes(key.to_bytes())
    (folder / PROOF).write_bytes(proof)
    (folder / STATEMENT).write_text(text_of(statement))
    (folder / LOG).write_text("\n".join(log) + "\n")
