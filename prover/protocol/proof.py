"""A proof as an object: its bytes, and what their beginning says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from syurmy.isa.errors import InputError
from syurmy.isa.source import Source, content, other_kind
from syurmy.isa.summary import Summary
from syurmy.prover.protocol.statement import MAGIC


@dataclass
class Report:
    """What a proof took. ``seconds``: commit, lookup, contraction, opening, prove."""

    instructions: int = 0
    steps: int = 0
    leaves: int = 0
    columns: int = 0
    committed_entries: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    proof_bytes: int = 0
    soundness_bits: float = 0.0
    soundness: list[tuple[str, float]] = field(default_factory=list)
    peak_mb: float = 0.0


@dataclass(repr=False)
class Proof(Summary):
    """``data`` is the whole proof. Of one just made, ``fields``: label, offset and length of every piece, for tests and
    tools; ``report``: what it took."""

    data: bytes
    fields: list[tuple[str, int, int]] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    @staticmethod
    def load(source: Source) -> Proof:
        """The proof in a file, or in bytes. Raises ``InputError`` for what is none; verifying decides on the rest."""
        data = content(source, "a proof")
        if data[:8] != MAGIC[:8]:
            where = "this" if isinstance(source, bytes | bytearray | memoryview) else str(source)
            raise InputError(f"{where} is not a proof", code="K150")
        return Proof(data)

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        from syurmy.files import write_whole

        write_whole(Path(path), self.data)

    def to_bytes(self) -> bytes:
        return self.data

    def summary(self) -> list[tuple[str, str]]:
        return [("of", f"{len(self.data):,} bytes"), ("for key", f"{self.key_digest.hex()[:16]}…")]

    @property
    def key_digest(self) -> bytes:
        """The digest of the key that it names."""
        return self.data[len(MAGIC) + 32 : len(MAGIC) + 64]


def proof_bytes(proof: Proof | Source) -> bytes:
    """The bytes of a proof: of the object, of a file by its path, or as they are."""
    if isinstance(proof, Proof):
        return proof.data
    if isinstance(proof, bytes):
        return proof  # verifying says what is wrong with them
    if hasattr(proof, "summary"):
        raise other_kind(proof, "a proof")
    return Proof.load(proof).data
