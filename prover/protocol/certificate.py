"""Key certificates: a proof, made once by who ran set-up, that a key's params are what its program declares (protocol
section 10).

It has the messages of a proof of ``isa.declared``'s system: no inputs, the path of a single run, an empty statement.
Other differences: its magic, and the queries to the params, which test all of their rows for a smaller distance
(protocol/closeness.py). Its digest is named by every proof that rests on it.
"""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path as File

from blake3 import blake3

from syurmy.isa.declared import assemble_declared
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.isa.records import dataclass
from syurmy.isa.source import Source, content, other_kind
from syurmy.isa.summary import Summary
from syurmy.prover.protocol.closeness import Closeness
from syurmy.prover.protocol.key import CLEAR, Mode
from syurmy.prover.protocol.plan import Plan, params_layout
from syurmy.prover.protocol.proof import Report
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC


@dataclass(repr=False)
class Certificate(Summary):
    """``data`` is the whole certificate. Of one just made, ``fields`` and ``report`` as of a proof."""

    data: bytes
    fields: list[tuple[str, int, int]] = field(default_factory=list)
    report: Report = field(default_factory=Report)

    @staticmethod
    def load(source: Certificate | Source) -> Certificate:
        """The certificate in a file, or in bytes; one itself is as it is. Raises ``InputError`` for what is none;
        checking it decides on the rest."""
        if isinstance(source, Certificate):
            return source
        if hasattr(source, "summary"):
            raise other_kind(source, "a certificate")
        data = content(source, "a certificate")
        if data[:8] != CERTIFICATE_MAGIC[:8] or len(data) < len(CERTIFICATE_MAGIC) + 64:
            where = "this" if isinstance(source, bytes | bytearray | memoryview) else str(source)
            raise InputError(f"{where} is not the key certificate of a program", code="K152")
        return Certificate(data)

    def save(self, path: str | File) -> None:
        """Write the file, whole or not at all."""
        from syurmy.files import write_whole

        write_whole(File(path), self.data)

    def to_bytes(self) -> bytes:
        return self.data

    def digest(self) -> bytes:
        """What proofs name that rest on it."""
        return blake3(b"syurmy-vm certificate" + self.data).digest()

    @property
    def key_digest(self) -> bytes:
        """The digest of the key that it names."""
        return self.data[len(CERTIFICATE_MAGIC) + 32 : len(CERTIFICATE_MAGIC) + 64]

    def summary(self) -> list[tuple[str, str]]:
        return [("of", f"{len(self.data):,} bytes"), ("for key", f"{self.key_digest.hex()[:16]}…")]


def certificate_plan(program: Program, mode: Mode = CLEAR) -> Plan:
    """The plan of a certificate. Raises ``ConstraintError`` where bounds are too large to be proven, ``InputError``
    K149 where no param is committed."""
    layout = params_layout(program, mode)
    if layout is None:
        raise InputError("no param is committed: there is nothing to certify", code="K149")
    return replace(Plan.laid_out(assemble_declared(program), layout, mode), closeness=Closeness.CERTIFYING)
