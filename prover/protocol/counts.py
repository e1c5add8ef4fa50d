"""How many claims of which size a plan comes to: a function of program and path alone.

Everything that is fixed before the first challenge (numbers of queries, shapes of the ladder) needs these counts, so
the sweeps run once with fixed pseudo-random points. The sweeps of a proof see other points, and give the same counts
but for coincidences among random elements of K; where they do not, the prover stops and the verifier rejects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from blake3 import blake3

from syurmy.isa import collector
from syurmy.isa.records import dataclass
from syurmy.prover.field import Ext
from syurmy.prover.protocol import reduction as red
from syurmy.prover.protocol.claims import Pulled, Sweep
from syurmy.prover.protocol.contraction import Contraction, all_contractions
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.weights import WeightSpace

_SEED = b"syurmy-vm points of the counting sweep"


@dataclass(frozen=True)
class Counts:
    """``contractions``: variables and degree of each; ``rows``: combinations of the params' rows that are evaluated;
    ``reduced``: log2 of the padded size of every table of params that goes through the reduction."""

    contractions: tuple[tuple[int, int], ...] = ()
    rows: int = 0
    reduced: tuple[int, ...] = ()

    @property
    def rounds(self) -> int:
        """Of the contraction sumcheck."""
        return max((variables for variables, _ in self.contractions), default=0)

    @property
    def degree(self) -> int:
        return max((degree for _, degree in self.contractions), default=0)

    @staticmethod
    def of(
        plan: Plan,
        contractions: Sequence[Contraction],
        points: Sequence[red.ParamPoint],
        rest: Sequence[red.Reduced],
    ) -> Counts:
        """What a pair of sweeps came to: evaluation claims on params, and claims of other shapes."""
        of = tuple((c.variables, c.degree) for c in contractions)
        if plan.params is None:
            return Counts(of)
        places = [plan.params.places[p.name] for p in [*(p.param for p in points), *(r.param for r in rest)]]
        rows = [red.row_of(plan.params, place) for place in places]
        count = len({r for r in rows if r is not None}) + rows.count(None)
        return Counts(of, count, tuple(r.place(plan.params).log_size for r in rest))


def count_claims(plan: Plan) -> Counts:
    """Of the plan's outline; of both sweeps, where these come to less at the fixed points."""
    with collector.held_back():
        if (outline := plan.outline) is not None:
            draw = _stream()
            points = {red.FINGERPRINT: draw(plan.fingerprint_bits), red.LOOKUP: draw(plan.point_length)}
            (beta, gamma, eta), point = draw(3), points[red.LOOKUP]
            if outline.contractions:
                points[red.CONTRACTION] = draw(max(c.variables for c in outline.contractions))
            at = red.places(plan, point[len(point) - plan.log_leaves :])
            if not outline.coincide(at, beta, gamma, eta, points):
                return Counts.of(plan, outline.contractions, *red.split_params(outline.counted))
            plan.outline = None
        space = WeightSpace()
        counts = Counts.of(plan, *swept(plan, space))
    space.forget()
    return counts


def swept(plan: Plan, space: WeightSpace) -> tuple[list[Contraction], list[red.ParamPoint], list[red.Reduced]]:
    """What both sweeps come to at the fixed points: contractions, evaluation claims on params, and claims of other
    shapes."""
    contractions, pulled = sweeps(plan, Sweep(space))
    return contractions, *red.split_params(pulled)


def sweeps(plan: Plan, sweep: Sweep) -> tuple[list[Contraction], list[Pulled]]:
    """Contractions, and what each of both sweeps came to."""
    draw = _stream()
    space = sweep.space
    space.points[red.FINGERPRINT] = draw(plan.fingerprint_bits)
    space.points[red.LOOKUP] = point = draw(plan.point_length)
    beta, gamma, eta = draw(3)
    pulled = [sweep.run(red.claims_at_leaves(plan, sweep, beta, gamma, point[len(point) - plan.log_leaves :]))]
    contractions = all_contractions(pulled[0].products, sweep)
    if contractions:
        rounds = max(c.variables for c in contractions)
        space.points[red.CONTRACTION] = draw(rounds)
        pulled.append(sweep.run(red.operand_claims(contractions, sweep, rounds, eta)))
    return contractions, pulled


def _stream() -> Callable[[int], list[Ext]]:
    """Gives the next so many of the fixed elements."""
    stream = blake3(_SEED)
    at = 0

    def draw(count: int) -> list[Ext]:
        nonlocal at
        data = stream.digest(length=16 * count, seek=at)
        at += 16 * count
        words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
        return [Ext(words[i], words[i + 1]) for i in range(0, len(words), 2)]

    return draw
