"""Makes key certificates (protocol/certificate.py): the prover, about the params alone."""

from __future__ import annotations

from syurmy import costs
from syurmy.isa.declared import params_alone
from syurmy.isa.errors import InputError
from syurmy.isa.path import Path
from syurmy.isa.trace import Trace
from syurmy.prover.keys import ProvingKey, check_bounds
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.certificate import Certificate, certificate_plan
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC
from syurmy.prover.prove import Progress, Prover


def certify(pk: ProvingKey, progress: Progress | None = None) -> Certificate:
    """A certificate of this key; where its params are hidden it takes of the allowance what several proofs
    take, but leaves as many as the key is for, less one, if these rest on it (closeness.radius). Raises ``InputError``
    where params are not as declared, or too little is left."""
    if pk.mode.proofs == 1:
        raise InputError(
            "a certificate leaves one proof less than a key is for, and this one is for one",
            code="K154",
            help="make a new key with `syurmy-vm setup PROG --renew --proofs N`, the certificate counted",
        )
    check_bounds(params_alone(pk.program))
    proof = Certifier(pk, progress=progress).run()
    return Certificate(proof.data, proof.fields, proof.report)


def proofs_left(pk: ProvingKey) -> tuple[int, int] | None:
    """How many proofs of single runs the key's allowance is still enough for: if they rest on a certificate, and if
    not; None where nothing is counted, or a path depends on data."""
    if pk.allowance is None or pk.plan is None:
        return None
    tensors = costs.new_tensors(pk.plan)  # which change nothing of this
    resting, others = (pk.allowance.proofs(Opening.of(plan, tensors)) for plan in (pk.plan.certified(), pk.plan))
    return None if resting is None or others is None else (resting, others)


class Certifier(Prover):
    """One certificate."""

    magic = CERTIFICATE_MAGIC

    def __init__(self, pk: ProvingKey, trace: Trace | None = None, progress: Progress | None = None) -> None:
        super().__init__(pk, Trace(params_alone(pk.program), {}) if trace is None else trace, progress)

    def planned(self, path: Path) -> Plan:
        return certificate_plan(self.pk.program, self.pk.mode)
