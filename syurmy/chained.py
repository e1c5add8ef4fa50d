"""What is run in steps and proven by one bundle of all of them (protocol section 12.1): its proofs, one after the
other, and the commitments to what each step hands on to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from syurmy import committing
from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.parts import Parts, Share
from syurmy.prover.protocol.bundle import BundleKey, wanted_more
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.proof import Report
from syurmy.prover.tensors import TensorOpening
from syurmy.prover.verifier.bundle import BundleVerifier
from syurmy.segmented import (
    SPARE,
    Parted,
    Proven,
    Run,
    Segmented,
    Tell,
    bundled,
    kept_opening,
    proofs_left,
    usual_proofs,
)

if TYPE_CHECKING:
    from syurmy.prover.keys import ProvingKey

MIN_PLACES = 2  # of a cache


def refuse_weak(at: Segmented) -> None:
    """Raises ``InputError`` P171 where the proofs of the longest bundle cannot have so many bits each that they have
    100 together (or what 64 leave where there are more)."""
    from syurmy.isa.path import Path as ExecutedPath
    from syurmy.prover.protocol.budget import Opening
    from syurmy.prover.protocol.plan import Plan, branches
    from syurmy.prover.protocol.soundness import InsufficientSoundness
    from syurmy.prover.protocol.tensors import tensor_layout

    wanted = more = wanted_more(at.most_proofs)
    for program in at.segments:
        if branches(program):
            continue  # known after the run
        while more >= 0:
            plan = Plan.of(
                program, ExecutedPath(batch=1), mode=replace(Mode.of(program, True, usual_proofs(at)), more=more)
            )
            tensors = [tensor_layout(x.shape, Mode(True, 2 + SPARE)) for x in plan.system.externals]
            try:
                Opening.of(plan, tensors)
                break
            except InsufficientSoundness:
                more -= 1
    if more < wanted:
        steps = 2**more // len(at.segments) if more >= 0 else 0
        raise InputError(
            f"{at.most_proofs} proofs have 100 bits of soundness together with {100 + wanted} each,"
            " and this model is too large for that",
            code="P171",
            help=f"--cache {steps - 1} at most" if steps > MIN_PLACES else "leave --cache out: one proof of all tokens",
        )


def refuse_spent(key: ProvingKey, wanted: int, batch: int) -> None:
    """Before any is made: raises ``InputError`` P180 where the params stay hidden in fewer proofs than are wanted."""
    from syurmy.isa.path import Path as ExecutedPath
    from syurmy.prover.protocol.budget import Opening
    from syurmy.prover.protocol.plan import Plan, branches
    from syurmy.prover.protocol.tensors import tensor_layout

    if key.allowance is None or branches(key.program):
        return
    plan = Plan.of(key.program, ExecutedPath(batch=batch), key.verifying_key.max_steps, key.mode)
    tensors = [tensor_layout(x.shape, Mode(True, 2 + SPARE)) for x in plan.system.externals]
    opening = Opening.of(plan, tensors)
    left = (key.allowance.limit - key.allowance.used) // opening.matrices[1].queries if opening.counts.rows else wanted
    if left < wanted:
        raise InputError(
            f"{wanted} proofs are to be made, and the key's params stay hidden in {left} more",
            code="P180",
            help="write less, or make a new key with `syurmy-vm setup DIR --renew --proofs N`,"
            " one for each token that is read",
        )


def prove_steps(
    at: Segmented,
    key: BundleKey,
    load: Callable[[int], ProvingKey],
    runs: Sequence[Run],
    parts: Parts,
    tell: Tell = lambda phase, fraction: None,
    memory: int | None = None,
) -> Proven:
    """``prove`` for a whole that is run in steps, of the runs of all of them: what each hands on is committed to once,
    and both proofs name that."""
    chain = _Chain(at, key, runs, parts)
    report, size = Report(), len(at.segments)
    count = sum(size - len(finished) for finished in chain.finished)
    loaded: dict[int, ProvingKey] = {}
    asked: set[int] = set()
    made = 0
    for k, finished in enumerate(chain.finished):
        step = chain.step(k) if len(finished) < size else None
        for j in range(size) if step is not None else ():
            if j in finished:
                continue
            if j not in loaded:  # one key in memory, of a program in one piece for all steps
                loaded = {j: load(j)}
                if j not in asked:
                    refuse_spent(loaded[j], sum(j not in f for f in chain.finished), runs[0].batch)
                asked.add(j)

            def told(phase: str, fraction: float, k: int = k, made: int = made) -> None:
                tell(f"step {k + 1} of {len(runs)}: {phase}", (made + fraction) / count)

            assert step is not None
            step.finish(j, *step.proven(j, loaded[j], report, told, memory))
            finished[j] = step.finished[j]
            made += 1
    found = [finished[j] for finished in chain.finished for j in range(size)]
    return bundled(key, found, report, len(found) - made)


class _Chain:
    """Steps that are proven one by one; ``finished``: proofs that there are, of each by segment. Commitments to what is
    handed on are kept in files, those of one step at a time in memory."""

    def __init__(self, at: Segmented, key: BundleKey, runs: Sequence[Run], parts: Parts) -> None:
        assert key.steps is not None
        committed = {i.name for i in at.program.inputs if i.committed}
        self.at, self.key, self.runs, self.parts, self.verifier = at, key, runs, parts, BundleVerifier(key)
        self.pairs = [c for c in key.steps.carried if c.target in committed]
        self.makers = [sum(any(o.name == c.source for o in p.outputs) for p in at.segments) for c in self.pairs]
        self.readers = [sum(any(i.name == c.target for i in p.inputs) for p in at.segments) for c in self.pairs]
        self.open: dict[tuple[int, int], TensorOpening] = {}
        self.left: dict[tuple[int, int], float] = {}  # in how many more proofs each stays hidden
        self.finished = [self.step(k).finished for k in range(len(runs))]
        while spent := [place for place, left in self.left.items() if left < self._pending(*place)]:
            for b, j in spent:  # as ``Parted`` does
                self._keep(b, j, self._fresh(b, j))
            for k in {k for b, _ in spent for k in (b - 1, b) if 0 <= k < len(runs)}:
                self.finished[k] = self.step(k).finished

    def step(self, k: int) -> Parted:
        """What is proven of step ``k``."""
        self.open = {(b, j): x for (b, j), x in self.open.items() if b == k}
        openings = {c.target: self._handed(k, j) for j, c in enumerate(self.pairs)}
        openings |= {c.source: self._handed(k + 1, j) for j, c in enumerate(self.pairs)}
        first = (len(self.runs) + 1) * len(self.pairs) + k * len(self.key.links)  # behind those between steps
        share = Share(self.parts, k * len(self.at.segments), first)
        return Parted(self.at, self.key, self.runs[k], openings, share, self.verifier)

    def _handed(self, b: int, j: int) -> TensorOpening:
        """What is handed to step ``b``."""
        if (b, j) not in self.open:
            values, batch = self._values(b, j), self.runs[0].batch > 1
            found = kept_opening(self._place(b, j), values if batch else values[None], self.key.hiding)
            self._keep(b, j, self._fresh(b, j) if found is None else found)
        return self.open[b, j]

    def _keep(self, b: int, j: int, opening: TensorOpening) -> None:
        self.open[b, j], self.left[b, j] = opening, proofs_left(opening)

    def _place(self, b: int, j: int) -> Path:
        """Where the opening of what is handed to step ``b`` is kept."""
        return self.parts.opening(b * len(self.pairs) + j)

    def _values(self, b: int, j: int) -> I64:
        c = self.pairs[j]
        return self.runs[b].values[c.target] if b < len(self.runs) else self.runs[b - 1].outputs[c.source]

    def _fresh(self, b: int, j: int) -> TensorOpening:
        opening = committing.commit(
            self.at.program,
            self.pairs[j].target,
            self._values(b, j),
            hiding=self.key.hiding,
            proofs=self.makers[j] + self.readers[j] + SPARE,
            batch=self.runs[0].batch > 1,
            description=self.at.description,
        )
        opening.save(self._place(b, j))
        return opening

    def _pending(self, b: int, j: int) -> int:
        """At most how many proofs that are still to be made name it."""
        open_at = [0 <= k < len(self.runs) and len(self.finished[k]) < len(self.at.segments) for k in (b - 1, b)]
        return open_at[0] * self.makers[j] + open_at[1] * self.readers[j]
