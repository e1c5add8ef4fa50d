"""A front that takes claims from its plan's outline (``protocol/outline.py``) where that has one: the claims that its
own sweeps come to, at its own challenges."""

from __future__ import annotations

from collections.abc import Callable

from syurmy.prover.field import ONE, Ext
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.claims import Pulled, Term
from syurmy.prover.protocol.contraction import Contraction
from syurmy.prover.protocol.hidden import Value
from syurmy.prover.protocol.outline import Coincidence, Numbers
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.front import Ends, Front


class Outlined(Front):
    """See the module's description."""

    numbers: Numbers | None = None
    _pulls = 0

    def leaf_claims(self, alpha: Ext, beta: Ext, gamma: Ext, num: Value, den: Value) -> tuple[list[red.Claim], Value]:
        if (outline := self.plan.outline) is None:
            return super().leaf_claims(alpha, beta, gamma, num, den)
        point = self.space.points[red.LOOKUP]
        leaf_point = point[len(point) - self.plan.log_leaves :]
        at = red.places(self.plan, leaf_point)
        self.numbers = Numbers(outline, self.space, at, beta, gamma)
        self._make(self.numbers, outline.made().first)
        totals = self.numbers.totals()
        numbers = outline.leaves.numbers
        return [], red.leaf_target(self.plan, numbers, totals, at, alpha, beta, gamma, num, den, leaf_point)

    def pull(self, claims: list[red.Claim]) -> tuple[Pulled, Ext]:
        if self.numbers is None:
            return super().pull(claims)
        pulled = self.numbers.outline.pulled[self._pulls]
        if self._pulls:
            self._make(self.numbers, self.numbers.outline.made().second)
        self._pulls += 1
        known = Pulled(self.numbers.element(pulled.constant), publics=self.numbers.terms(pulled.publics))
        return known, red.known_part(known, self.sweep, self.public_value)

    def contractions(self, pulled: Pulled) -> list[Contraction]:
        if self.numbers is None:
            return super().contractions(pulled)
        return list(map(self.numbers.contraction, self.numbers.outline.contractions))

    def operand_claims(self, contractions: list[Contraction], rounds: int, eta: Ext) -> list[red.Claim]:
        if self.numbers is None:
            return super().operand_claims(contractions, rounds, eta)
        self.numbers.drawn(eta)
        out: list[red.Claim] = []
        power = ONE
        for c in contractions:
            for side in (c.a, c.b):
                power = power * eta
                out.append((side.node, Term(power, ())))  # which weights it has is asked of nobody here
        return out

    def claims(self, pulled: list[Pulled], contractions: list[Contraction], target: Value) -> Ends:
        if self.numbers is not None:
            self._make(self.numbers, self.numbers.outline.made().second)
            pulled = list(map(self.numbers.ends, self.numbers.outline.pulled))
        return super().claims(pulled, contractions, target)

    def omega_at(self, pulled: list[Pulled]) -> Callable[[list[Ext]], Ext]:
        if self.numbers is None:
            return super().omega_at(pulled)
        columns = self.numbers.terms(self.numbers.outline.made().columns)
        return lambda point: red.omega_at(columns, self.plan.witness, self.sweep, point)

    def _make(self, numbers: Numbers, steps: list[int]) -> None:
        try:
            numbers.make(steps)
        except Coincidence:
            raise Rejected("soundness", "the claims are not as many as the plan counts: two sums are equal") from None
