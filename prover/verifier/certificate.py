"""Checks a key certificate: the verifier, about the params alone (protocol section 10)."""

from __future__ import annotations

from functools import partial

from syurmy.isa.arrays import I64
from syurmy.isa.graph import Public
from syurmy.isa.path import Path
from syurmy.isa.records import dataclass
from syurmy.isa.refusal import refusing
from syurmy.isa.source import Source
from syurmy.isa.summary import Summary
from syurmy.prover.protocol.certificate import Certificate, certificate_plan
from syurmy.prover.protocol.key import VerifyingKey, unusable
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC, NO_CERTIFICATE
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.verify import Reading


@dataclass(frozen=True, repr=False)
class Certified(Summary):
    """What an accepted certificate says: the params behind this key's root lie in their declared intervals, keep their
    L1 bounds and are zero where they are padded, and all their rows together are close to codewords."""

    program: str
    key_digest: bytes
    digest: bytes
    soundness_bits: float
    soundness: list[tuple[str, float]]

    def summary(self) -> list[tuple[str, str]]:
        return [("of program", self.program), ("key", f"{self.key_digest.hex()[:16]}…")]


def check_certificate(key: VerifyingKey | Source, certificate: Certificate | Source) -> Certified:
    """Accepts, or raises ``Rejected``; ``InputError`` for a file that cannot be read, or is none, and for a key that
    cannot be used or has no committed params."""
    vk, found = VerifyingKey.load(key), Certificate.load(certificate)
    with refusing(unusable, mistakes=True):
        program = vk.decoded
        plan = certificate_plan(program, vk.mode)
    with refusing(partial(Rejected, "format"), mistakes=True):
        reading = ReadingCertificate(vk, plan, found.data)
        reading.accept()
    budget = reading.opening.budget
    return Certified(program.name, vk.digest(), found.digest(), budget.total_bits(), budget.rows())


class ReadingCertificate(Reading):
    """One certificate as its verifier reads it."""

    what, magic = "certificate", CERTIFICATE_MAGIC

    def __init__(self, vk: VerifyingKey, plan: Plan, data: bytes) -> None:
        self.own = plan
        super().__init__(vk, 1, data)

    def planned(self, path: Path, certificate: bytes) -> Plan:
        if certificate != NO_CERTIFICATE or path != Path():
            raise Rejected("statement", "a certificate names no other and has no path")
        return self.own

    def public_value(self, node: Public) -> I64:
        raise Rejected("statement", "a certificate is about params alone")
