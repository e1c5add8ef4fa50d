"""A proof as an object: its bytes, and what their beginning says."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import ClassVar, Self

from syurmy.isa.errors import InputError
from syurmy.isa.records import dataclass
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


class Sent(Summary):
    """Bytes that a prover sends: ``what`` they are is said by ``magic``, their beginning, and behind it (at ``named``)
    for which key."""

    data: bytes
    what: ClassVar[str]
    magic: ClassVar[bytes]
    named: ClassVar[int]
    code: ClassVar[str] = "K150"

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def load(cls, source: Source) -> Self:
        """From a file, or bytes. Raises ``InputError`` for what is none; verifying decides on the rest."""
        data = content(source, cls.what)
        if data[:8] != cls.magic[:8]:
            where = "this" if isinstance(source, bytes | bytearray | memoryview) else str(source)
            raise InputError(f"{where} is not {cls.what}", code=cls.code)
        return cls(data)

    @classmethod
    def given(cls, source: Self | Source) -> Self:
        """The object itself, that of bytes as they are, that in a file by its path."""
        if isinstance(source, cls):
            return source
        if isinstance(source, bytes):
            return cls(source)  # verifying says what is wrong with them
        if hasattr(source, "summary"):
            raise other_kind(source, cls.what)
        return cls.load(source)

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
        return self.data[self.named : self.named + 32]


@dataclass(repr=False)
class Proof(Sent):
    """``data`` is the whole proof. Of one just made, ``fields``: label, offset and length of every piece, for tests and
    tools; ``report``: what it took."""

    data: bytes
    fields: list[tuple[str, int, int]] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    what = "a proof"
    magic = MAGIC
    named = len(MAGIC) + 32
