"""A prover that reads its own messages again, as their verifier does, to learn which relations its pads satisfy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from syurmy.prover.field import ZERO, Ext
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.claims import Pulled
from syurmy.prover.protocol.contraction import Contraction
from syurmy.prover.protocol.hidden import Ledger, Value
from syurmy.prover.protocol.params_claims import ParamsClaim
from syurmy.prover.protocol.transcript import Receiver, Replay
from syurmy.prover.verifier.front import Front

if TYPE_CHECKING:
    from syurmy.prover.prove import Prover


class Again(Front):
    """The proof so far as its verifier reads it, to learn which relations its pads satisfy. What does not depend on
    pads is not computed again; the known parts of targets are of no use here and left out."""

    def __init__(
        self,
        prover: Prover,
        pulled: list[Pulled],
        contractions: list[Contraction],
        claims: list[ParamsClaim],
        tensors: list[ParamsClaim],
        of_omega: Ext,
    ) -> None:
        assert prover.opening.hiding is not None
        drawn, sent = prover.after_statement
        ledger = Ledger()
        replay = Replay(prover.transcript.history[drawn:])
        super().__init__(Receiver(replay, prover.sender.bytes()[sent:], ledger), prover.space)
        self.plan, self.opening, self.on_operands = prover.plan, prover.opening, prover.on_operands
        self.of = iter(pulled), contractions, claims, of_omega
        self.of_tensors = tensors
        found, contractions, target = self.contract(*self.lookups())
        self.ends = self.claims(found, contractions, target)
        self.relations = ledger.relations

    def leaf_claims(self, alpha: Ext, beta: Ext, gamma: Ext, num: Value, den: Value) -> tuple[list[red.Claim], Value]:
        return [], ZERO - den - num * gamma

    def pull(self, claims: list[red.Claim]) -> tuple[Pulled, Ext]:
        return next(self.of[0]), ZERO

    def contractions(self, pulled: Pulled) -> list[Contraction]:
        return self.of[1]

    def operand_claims(self, contractions: list[Contraction], rounds: int, eta: Ext) -> list[red.Claim]:
        return self.on_operands

    def params_claims(self, points: list[red.ParamPoint]) -> list[ParamsClaim]:
        return self.of[2]

    def tensor_claims(self, pulled: list[Pulled]) -> list[ParamsClaim]:
        return self.of_tensors

    def omega_at(self, pulled: list[Pulled]) -> Callable[[list[Ext]], Ext]:
        return lambda point: self.of[3]
