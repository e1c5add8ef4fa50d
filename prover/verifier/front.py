"""From the first challenge to the claims on rows (protocol steps 3 to 7): read from a channel, in both modes.

The channel is a ``Receiver``. Where messages are hidden, its elements are affine forms in the pads, and its checks
become relations between them (protocol/hidden.py). So the same code is run by the verifier, by a prover that has to
know which relations its pads satisfy, and by a simulator that makes a proof without a witness.
"""

from __future__ import annotations

from collections.abc import Callable

from syurmy.isa.arrays import I64
from syurmy.isa.graph import Public
from syurmy.isa.records import dataclass
from syurmy.prover.field import ONE, ZERO, Ext, P
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.budget import Opening, operand_products
from syurmy.prover.protocol.claims import Pulled, Sweep
from syurmy.prover.protocol.contraction import Contraction, all_contractions, batch_values
from syurmy.prover.protocol.counts import Counts
from syurmy.prover.protocol.grinding import GRINDING_BITS, grinding_holds, grinding_seed, needs_grinding
from syurmy.prover.protocol.hidden import Value, combination, sacrifice
from syurmy.prover.protocol.layout import Parts
from syurmy.prover.protocol.params_claims import ParamsClaim
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.transcript import Receiver, Rejected
from syurmy.prover.protocol.weights import WeightSpace
from syurmy.prover.verifier import lookup, sumcheck
from syurmy.prover.verifier.opening import verify_claims

HALF = (P + 1) // 2


@dataclass(frozen=True)
class Ends:
    """Where the opening's sumcheck ends: its point, the values W(s), g_0(s), ... that are claimed there, the challenges
    that combine the latter, and the claims on params; the claims on committed tensors, and the values claimed."""

    point: list[Ext]
    values: list[Value]
    delta: list[Ext]
    claims: list[ParamsClaim]
    tensors: list[ParamsClaim]
    of_tensors: list[Value]


class Front:
    """``receiver`` stands behind the statement. ``plan`` and ``opening`` are set before a step is called."""

    plan: Plan
    opening: Opening

    def __init__(self, receiver: Receiver, space: WeightSpace | None = None) -> None:
        self.receiver = receiver
        self.transcript = receiver.transcript
        self.space = WeightSpace() if space is None else space
        self.sweep = Sweep(self.space)

    def public_value(self, node: Public) -> I64:
        """The statement's value of a public tensor, or the program's."""
        raise NotImplementedError

    # ---- what a prover knows already when it reads its own messages ----------------------------------------------

    def leaf_claims(self, alpha: Ext, beta: Ext, gamma: Ext, num: Value, den: Value) -> tuple[list[red.Claim], Value]:
        """The claims at the leaves and their target."""
        point = self.space.points[red.LOOKUP]
        leaf_point = point[len(point) - self.plan.log_leaves :]
        return red.leaf_claims(self.plan, self.sweep, alpha, beta, gamma, num, den, leaf_point)

    def pull(self, claims: list[red.Claim]) -> tuple[Pulled, Ext]:
        """Claims where they end, and what constants and public tensors contribute."""
        pulled = self.sweep.run(claims)
        return pulled, red.known_part(pulled, self.sweep, self.public_value)

    def contractions(self, pulled: Pulled) -> list[Contraction]:
        return all_contractions(pulled.products, self.sweep)

    def operand_claims(self, contractions: list[Contraction], rounds: int, eta: Ext) -> list[red.Claim]:
        return red.operand_claims(contractions, self.sweep, rounds, eta)

    def params_claims(self, points: list[red.ParamPoint]) -> list[ParamsClaim]:
        return red.params_claims(self.plan, points, self.sweep)

    def tensor_claims(self, pulled: list[Pulled]) -> list[ParamsClaim]:
        return red.tensor_claims(self.plan, pulled, self.opening.tensors, self.sweep)

    def omega_at(self, pulled: list[Pulled]) -> Callable[[list[Ext]], Ext]:
        """The extension of the columns' weights."""
        columns = red.columns_of(pulled, self.sweep)
        return lambda point: red.omega_at(columns, self.plan.witness, self.sweep, point)

    # ---- lookups -------------------------------------------------------------------------------------------------

    def lookups(self) -> tuple[Ext, Ext, Value, Value]:
        plan = self.plan
        if needs_grinding(plan):
            seed = grinding_seed(self.transcript)
            if not grinding_holds(seed, self.receiver.raw("grinding nonce", 8), GRINDING_BITS):
                raise Rejected("lookup", "the grinding nonce does not hold")
        alpha = self.transcript.challenge("alpha")
        beta = self.transcript.challenge("beta")
        self.space.points[red.FINGERPRINT] = self.transcript.challenges("fingerprint point", plan.fingerprint_bits)
        point: list[Ext] = []
        num: Value = ZERO
        den: Value = ONE
        if plan.blocks:
            point, num, den = lookup.verify_tree(self.receiver, plan.log_leaves, alpha, plan.padding)
        extra = self.transcript.challenges("equation point", plan.point_length - len(point))
        self.space.points[red.LOOKUP] = extra + point
        return alpha, beta, num, den

    # ---- claims and contractions ---------------------------------------------------------------------------------

    def contract(self, alpha: Ext, beta: Ext, num: Value, den: Value) -> tuple[list[Pulled], list[Contraction], Value]:
        """Where the claims ended, and what their columns and params must add up to."""
        gamma = self.transcript.challenge("gamma")
        claims, target = self.leaf_claims(alpha, beta, gamma, num, den)
        first, known = self.pull(claims)
        target = target - known
        contractions = self.contractions(first)
        if not contractions:
            return [first], [], target
        total = self.receiver.ext("contraction sum", 1)[0]
        rounds = max(c.variables for c in contractions)
        degree = max(c.degree for c in contractions)
        point, value = sumcheck.verify(self.receiver, "contraction", total, rounds, degree)
        self.space.points[red.CONTRACTION] = point
        finals = self.receiver.ext("contraction values", 2 * len(contractions))
        products = self.receiver.products(finals, operand_products(len(contractions)))
        halves = [pow(HALF, k, P) for k in range(rounds + 1)]
        batches = batch_values(contractions, self.sweep, red.CONTRACTION, rounds)
        scales = [c.coefficient * halves[rounds - c.variables] * w for c, w in zip(contractions, batches, strict=True)]
        expected = combination(zip(products, scales, strict=True))
        self.receiver.zero(expected - value, "contraction", "the operands' values do not fit the sumcheck")
        eta = self.transcript.challenge("eta")
        operands = self.operand_claims(contractions, rounds, eta)
        second, known = self.pull(operands)
        if second.products:
            raise Rejected("contraction", "an operand of a product holds a product")
        claimed = zip(finals, (term.coefficient for _, term in operands), strict=True)
        return [first, second], contractions, combination(claimed, target - total - known)

    # ---- the sumcheck over witness and params --------------------------------------------------------------------

    def claims(self, pulled: list[Pulled], contractions: list[Contraction], target: Value) -> Ends:
        """Everything that is claimed about columns and params, at one point."""
        plan, opening = self.plan, self.opening
        points, rest = red.split_params(pulled)
        if Counts.of(plan, contractions, points, rest) != opening.counts:
            raise Rejected("soundness", "the claims are not as many as the plan counts")
        if rest:
            target, reduced = self.reduce_params(rest, target)
            points = points + reduced
        tensors = self.tensor_claims(pulled)
        of_tensors: list[Value] = []
        if tensors:
            of_tensors = list(self.receiver.ext("tensor values", len(tensors)))
            for claim, v in zip(tensors, of_tensors, strict=True):
                target = target - v * claim.points[0].coefficient
        ledger = self.receiver.ledger
        if opening.hiding is not None and ledger is not None:
            pads = opening.hiding.pads
            if tuple(ledger.groups) != pads.groups:
                raise Rejected("soundness", "the products of hidden values are not those that the plan counts")
            e = self.transcript.challenge("sacrifice challenge")
            sent = self.receiver.open_ext("sacrifice", pads.sacrificed)
            ledger.relations += sacrifice(pads, e, sent)
        claims = self.params_claims(points)
        point, values, delta = verify_claims(
            self.receiver,
            target,
            plan.witness.log_entries,
            self.omega_at(pulled),
            claims,
            plan.params.shape.log_cols if plan.params is not None else 0,
        )
        if opening.hiding is not None and ledger is not None and ledger.used != opening.hiding.pads.messages:
            raise Rejected("soundness", "the hidden values are not as many as the plan counts")
        return Ends(point, values, delta, claims, tensors, of_tensors)

    def reduce_params(self, rest: list[red.Reduced], target: Value) -> tuple[Value, list[red.ParamPoint]]:
        """The target with these claims replaced by evaluations, and the evaluation claims."""
        plan = self.plan
        assert plan.params is not None
        total = self.receiver.ext("params reduction sum", 1)[0]
        places = [r.place(plan.params) for r in rest]
        rounds = max(place.log_size for place in places)
        point, value = sumcheck.verify(self.receiver, red.PARAMS, total, rounds, 2)
        self.space.points[red.PARAMS] = point
        finals = self.receiver.ext("params reduction values", len(rest))
        weights, parts = [], Parts(point)
        for r, place in zip(rest, places, strict=True):
            weight = sum((red.term_at(t, place, self.sweep, parts) for t in r.terms), ZERO)
            weights.append(weight * pow(HALF, rounds - place.log_size, P))
        expected = combination(zip(finals, weights, strict=True))
        self.receiver.zero(expected - value, "params", "the values of the params do not fit the reduction")
        points = red.reduced_points(plan, rest, rounds, self.transcript.challenge("zeta"))
        return combination(zip(finals, (p.coefficient for p in points), strict=True), target - total), points
