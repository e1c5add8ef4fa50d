"""What a proof consists of and about how long it takes, under the same names before (compile, info) and after (run).

Lookup leaves and committed entries are all of the proof's: those of the instructions, and the fixed part, which are the
tables that lookups are answered from. A batch shares it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from syurmy import pace
from syurmy.display import bytes_text, seconds_text
from syurmy.isa.errors import ConstraintError
from syurmy.isa.path import Path

if TYPE_CHECKING:
    from syurmy.isa.program import Program
    from syurmy.prover.protocol.plan import Plan

BATCH = 64
# The first proof of a process with zero knowledge, kernels compiled, on two cores of an AMD EPYC: fitted to thirteen
# programs from 2,784 to 40 million leaves, of which all are within 25 % and eleven within 15 (docs/large_models.md;
# python -m benchmarks.capacity --fit). ``pace.FIT`` names the fit.
FIXED_SECONDS, LEAF_SECONDS, ENTRY_SECONDS, PARAM_SECONDS = 0.11, 1.0e-7, 1.67e-7, 3.9e-9


@dataclass(frozen=True)
class Cost:
    """Of one proof. ``leaves``: entries that are looked up, and rows of tables; ``committed_entries``: what the prover
    commits to, in ``columns``; ``params_entries``: what the key has committed to; bytes: of memory at the peaks of
    set-up and of a proof under a key that is there (``syurmy.memory``), None where it is too much for one proof;
    ``encoding_seconds``: for what of the params' encoding is not in the key."""

    instructions: int
    steps: int
    leaves: int
    columns: int
    committed_entries: int
    params_entries: int
    batch: int = 1
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
        return _seconds(self.leaves, self.committed_entries, self.params_entries) + self.encoding_seconds

    def to_json(self) -> dict[str, Any]:
        """All numbers by name, the estimate as ``estimated_seconds``."""
        return asdict(self) | {"estimated_seconds": self.seconds}


def work_seconds(leaves: int, committed_entries: int) -> float:
    """About how long so many lookup leaves and committed entries take the prover."""
    return leaves * LEAF_SECONDS + committed_entries * ENTRY_SECONDS


def proof_seconds(plan: Plan) -> float:
    """About how long a proof by this plan takes, without what the key may leave to it."""
    params = 0 if plan.params is None else plan.params.true_entries
    return _seconds(plan.used_leaves, plan.witness.true_entries, params)


def fitted_seconds(plan: Plan) -> float:
    """``Cost.fitted_seconds`` of a proof by this plan, without what else it costs."""
    return proof_seconds(plan) + _encoding_seconds(plan)


def _encoding_seconds(plan: Plan) -> float:
    from syurmy.prover.commitment import anew_seconds, kept

    if plan.params is None or kept(plan.params.shape, proof_seconds(plan)):
        return 0.0
    return anew_seconds(plan.params.shape)


def _seconds(leaves: int, committed_entries: int, params_entries: int) -> float:
    return FIXED_SECONDS + work_seconds(leaves, committed_entries) + params_entries * PARAM_SECONDS


NAMES = (*(f.name for f in fields(Cost)), "estimated_seconds")


def of_plan(plan: Plan) -> Cost:
    """What a proof by this plan costs."""
    from syurmy import memory
    from syurmy.prover.protocol.soundness import InsufficientSoundness

    system, need = plan.system, None
    with suppress(InsufficientSoundness):
        need = memory.of_plan(plan)
    return Cost(
        instructions=len(system.program.code),
        steps=system.flow.steps,
        leaves=plan.used_leaves,
        columns=len(plan.witness.places),
        committed_entries=plan.witness.true_entries,
        params_entries=0 if plan.params is None else plan.params.true_entries,
        batch=system.flow.path.batch,
        setup_bytes=None if need is None else need.setup,
        prove_bytes=None if need is None else need.prove,
        encoding_seconds=_encoding_seconds(plan),
    )


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
