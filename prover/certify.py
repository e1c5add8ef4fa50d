"""Makes key certificates (protocol/certificate.py): the prover, about the params alone."""

from __future__ import annotations

from syurmy.isa.declared import params_alone
from syurmy.isa.errors import InputError
from syurmy.isa.path import Path
from syurmy.isa.trace import Trace
from syurmy.prover.keys import ProvingKey, check_bounds
from syurmy.prover.protocol.certificate import Certificate, certificate_plan
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC
from syurmy.prover.prove import Progress, Prover


def certify(pk: ProvingKey, progress: Progress | None = None) -> Certificate:
    """A certificate of this key; where its params are hidden it takes of the allowance, at most what one proof takes.
    Raises ``InputError`` where params are not as declared, or none is left."""
    if pk.mode.proofs == 1:
        raise InputError(
            "a certificate takes the place of a proof, and this key is for one",
            code="K154",
            help="make a new key with `syurmy-vm setup PROG --renew --proofs N`, the certificate counted",
        )
    check_bounds(params_alone(pk.program))
    proof = Certifier(pk, progress=progress).run()
    return Certificate(proof.data, proof.fields, proof.report)


class Certifier(Prover):
    """One certificate."""

    magic = CERTIFICATE_MAGIC

    def __init__(self, pk: ProvingKey, trace: Trace | None = None, progress: Progress | None = None) -> None:
        super().__init__(pk, Trace(params_alone(pk.program), {}) if trace is None else trace, progress)

    def planned(self, path: Path) -> Plan:
        return certificate_plan(self.pk.program, self.pk.mode)
