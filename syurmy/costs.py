"""What a proof consists of and about how long it takes, under the same names before (compile, info) and after (run).

Lookup leaves and committed entries are all of the proof's: those of the instructions, and the fixed part, which are the
tables that lookups are answered from. A batch shares it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from syurmy import pace
from syurmy.display import bytes_text, seconds_text
from syurmy.fitted import FIXED, SECONDS
from syurmy.isa.errors import ConstraintError
from syurmy.isa.path import Path

if TYPE_CHECKING:
    from syurmy.isa.program import Program
    from syurmy.prover.protocol.budget import Opening
    from syurmy.prover.protocol.layout import MatrixLayout
    from syurmy.prover.protocol.plan import Plan

BATCH = 64


@dataclass(frozen=True)
class Cost:
    """Of one proof. ``leaves``: entries that are looked up, and rows of tables; ``committed_entries``: what the prover
    commits to, in ``columns``, which lie in ``places`` and are encoded to ``encoded_entries``; ``product_entries``: of
    the tables of all products; ``params_entries``: what the key has committed to; bytes: of memory at the peaks of
    set-up and of a proof under a key that is there (``syurmy.memory``), None where it is too much for one proof;
    ``encoding_seconds``: for what of the params' encoding is not in the key."""

    instructions: int
    steps: int
    leaves: int
    columns: int
    committed_entries: int
    params_entries: int
    batch: int = 1
    places: int = 0
    encoded_entries: int = 0
    product_entries: int = 0
    setup_bytes: int | None = None
    prove_bytes: int | None = None
    encoding_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """About how long proving takes here, for all inputs of the batch, kernels compiled."""
        return self.fitted_seconds * pace.factor()

    @property
    def fitted_seconds(self) -> float:
        """The same on the machine that the estimate was fitted on."""
        return sum(self.phases.values()) + self.encoding_seconds

    @property
    def phases(self) -> dict[str, float]:
        """Its phases, without what the key may leave to the proof."""
        return {
            phase: sum(s * (1 if name == FIXED else getattr(self, name)) for name, s in terms.items())
            for phase, terms in SECONDS.items()
        }

    def to_json(self) -> dict[str, Any]:
        """All numbers by name, the estimate as ``estimated_seconds``."""
        return asdict(self) | {"estimated_seconds": self.seconds}


def work_seconds(leaves: int, committed_entries: int) -> float:
    """About how long so many lookup leaves and committed entries take the prover, in columns that are encoded at a rate
    of 1/4 and lie in half as many places again."""
    one = Cost(
        *(0, 0, leaves, 0, committed_entries, 0),
        places=3 * committed_entries // 2,
        encoded_entries=4 * committed_entries,
    )
    return sum(one.phases.values()) - sum(terms[FIXED] for terms in SECONDS.values())


def proof_seconds(plan: Plan) -> float:
    """About how long a proof by this plan takes, without what the key may leave to it."""
    return sum(counted(plan).phases.values())


def counted(plan: Plan) -> Cost:
    """What a proof by this plan costs, but for its memory."""
    from syurmy.prover.commitment import anew_seconds, kept
    from syurmy.prover.protocol.soundness import InsufficientSoundness

    system, params = plan.system, None if plan.params is None else plan.params.shape
    encoded, products = plan.witness.shape.encoded, 0
    with suppress(InsufficientSoundness):
        opening = _opening(plan)
        encoded = opening.matrices[0].shape.encoded
        products = sum(degree << variables for variables, degree in opening.counts.contractions)
    return Cost(
        instructions=len(system.program.code),
        steps=system.flow.steps,
        leaves=plan.used_leaves,
        columns=len(plan.witness.places),
        committed_entries=plan.witness.true_entries,
        params_entries=0 if plan.params is None else plan.params.true_entries,
        batch=system.flow.path.batch,
        places=1 << plan.witness.log_entries,
        encoded_entries=encoded,
        product_entries=products,
        encoding_seconds=0.0 if params is None or kept(params, single=True) else anew_seconds(params),
    )


def _opening(plan: Plan) -> Opening:
    """One that was worked out for the plan, whatever its commitments to tensors are for, or one for new ones."""
    from syurmy.prover.protocol.budget import Opening

    for known in (plan.opening, *plan.openings.values()):
        if isinstance(known, Opening):
            return known
    return Opening.of(plan, new_tensors(plan))


def new_tensors(plan: Plan) -> list[MatrixLayout]:
    """The layouts of commitments to the plan's tensors that are not there yet."""
    from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode
    from syurmy.prover.protocol.tensors import tensor_layout

    given = Mode(plan.mode.hiding, DEFAULT_PROOFS if plan.mode.hiding else 0)
    return [tensor_layout(x.shape, given) for x in plan.system.externals]


NAMES = (*(f.name for f in fields(Cost)), "estimated_seconds")


def of_plan(plan: Plan) -> Cost:
    """What a proof by this plan costs."""
    from syurmy import memory
    from syurmy.prover.protocol.soundness import InsufficientSoundness

    need = None
    with suppress(InsufficientSoundness):
        need = memory.of_plan(plan)
    out = counted(plan)
    return out if need is None else replace(out, setup_bytes=need.setup, prove_bytes=need.prove)


def of_program(program: Program, batch: bool = True) -> tuple[Cost, Cost | None] | None:
    """What a proof of a run costs, and one of a ``batch`` of ``BATCH`` runs (None if that is not asked for, or too
    large for one proof). None where the path depends on data, which only a run shows."""
    from syurmy.prover.protocol.key import Mode
    from syurmy.prover.protocol.plan import Plan, branches

    if branches(program):
        return None
    mode = Mode.of(program)
    one = of_plan(Plan.of(program, mode=mode))
    if not batch:
        return one, None
    try:
        return one, of_plan(Plan.of(program, Path(batch=BATCH), mode=mode))
    except ConstraintError:
        return one, None


def lines(found: tuple[Cost, Cost | None]) -> list[str]:
    """The cost in sentences."""
    one, many = found
    where = "on two cores" if pace.factor() == 1 else "here"
    out = [
        f"a proof: {one.leaves:,} lookup leaves, {one.committed_entries:,} committed entries in {one.columns} columns, "
        f"about {seconds_text(one.seconds)} to prove {where}"
    ]
    if one.setup_bytes is not None and one.prove_bytes is not None:
        out.append(f"about {bytes_text(one.prove_bytes)} of memory to prove, {bytes_text(one.setup_bytes)} to set up")
    if many is not None and one.batch == 1:
        leaves, entries, took = (v / many.batch for v in (many.leaves, many.committed_entries, many.seconds))
        out.append(
            f"in a batch of {many.batch}, each: {leaves:,.0f} lookup leaves, {entries:,.0f} committed entries, "
            f"about {seconds_text(took)}"
        )
    return out
