"""What is run in steps and proven by one bundle of all of them (protocol section 12.1): its proofs, one after the
other, and the commitments to what each step hands on to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from syurmy import committing
from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.parts import Parts, Share
from syurmy.prover.protocol.bundle import BundleKey
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.proof import Report
from syurmy.prover.protocol.tensors import MAX_TENSOR_PROOFS
from syurmy.prover.tensors import TensorOpening
from syurmy.prover.verifier.bundle import BundleVerifier
from syurmy.segmented import (
    SPARE,
    Parted,
    Proven,
    Run,
    Segmented,
    Tell,
    add,
    bundled,
    kept_opening,
    proofs_left,
)

if TYPE_CHECKING:
    from pathlib import Path

    from syurmy.cluster import Cluster
    from syurmy.isa.program import Program
    from syurmy.prover.allowance import Allowance
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.key import VerifyingKey


def refuse_spent(
    allowance: Allowance | None, key: VerifyingKey, program: Program, wanted: int, batch: int, certified: bool
) -> None:
    """Before any is made: raises ``InputError`` P180 where the params stay hidden in fewer proofs than are wanted.
    ``certified``: they rest on a certificate."""
    from syurmy.isa.path import Path as ExecutedPath
    from syurmy.prover.protocol.budget import Opening
    from syurmy.prover.protocol.plan import Plan, branches
    from syurmy.prover.protocol.tensors import tensor_layout

    if allowance is None or branches(program):
        return
    plan = Plan.of(program, ExecutedPath(batch=batch), key.max_steps, key.mode)
    tensors = [tensor_layout(x.shape, Mode(True, 2 + SPARE)) for x in plan.system.externals]
    opening = Opening.of(plan.certified() if certified else plan, tensors)
    left = allowance.proofs(opening)
    if left is not None and left < wanted:
        raise InputError(
            f"{wanted} proofs are to be made, and the key's params stay hidden in {left} more",
            code="P180",
            help="write less, or make a new key with `syurmy-vm setup DIR --renew --proofs N`, one for each step",
        )


def prove_steps(
    at: Segmented,
    key: BundleKey,
    load: Callable[[int], ProvingKey],
    runs: Sequence[Run],
    parts: Parts,
    tell: Tell = lambda phase, fraction: None,
    elsewhere: Cluster | None = None,
    keys_folder: Path | None = None,
    memory: int | None = None,
    verifier: BundleVerifier | None = None,
) -> Proven:
    """``prove`` for a whole that is run in steps, of the runs of all of them: what each hands on is committed to once,
    and all proofs that it is in name that. Raises ``InputError`` I148 for runs that do not follow from each other."""
    refuse_apart(key, runs)
    chain = _Chain(at, key, runs, parts, verifier)
    certified = chain.verifier.certificate is not None
    report, size = Report(), len(at.segments)
    pending = [(k, j) for k, finished in enumerate(chain.finished) for j in range(size) if j not in finished]
    resumed = size * len(runs) - len(pending)
    wanted = Counter(j for _, j in pending)
    if elsewhere is not None:
        from syurmy.prover.keys import counted

        for j, count in wanted.items():
            own = counted(at.key_of(j, keys_folder))[0]
            refuse_spent(own, key.segments[j], at.segments[j], count, runs[0].batch, certified)
        _on_cluster(chain, pending, elsewhere, keys_folder, report, tell)
    loaded: dict[int, ProvingKey] = {}
    at_step, step = -1, None
    for made, (k, j) in enumerate(pending if elsewhere is None else ()):
        if step is None or at_step != k:
            at_step, step = k, chain.step(k)
        if j not in loaded:  # one key in memory, of a program in one piece for all steps
            loaded = {j: load(j)}
            if count := wanted.pop(j, 0):  # the first time
                own = loaded[j].allowance
                refuse_spent(own, key.segments[j], at.segments[j], count, runs[0].batch, certified)

        def told(phase: str, fraction: float, k: int = k, made: int = made) -> None:
            tell(f"step {k + 1} of {len(runs)}: {phase}", (made + fraction) / len(pending))

        step.finish(j, *step.proven(j, loaded[j], report, told, memory))
        chain.finished[k][j] = step.finished[j]
    found = [finished[j] for finished in chain.finished for j in range(size)]
    return bundled(chain.verifier, found, report, resumed)


def _on_cluster(
    chain: _Chain,
    pending: Sequence[tuple[int, int]],
    cluster: Cluster,
    keys_folder: Path | None,
    report: Report,
    tell: Tell,
) -> None:
    """All that are not finished, each a task."""
    size = len(chain.at.segments)
    steps = {k: chain.step(k) for k in dict.fromkeys(k for k, _ in pending)}
    sizes: dict[int, Callable[[], int]] = {}
    tasks = []
    for k, j in pending:
        task, name = steps[k].task(j, cluster, keys_folder), f"step {k}" + (f" segment {j}" if size > 1 else "")
        needs = sizes.setdefault(j, cache(task.memory))  # worked out once for all steps
        tasks.append(replace(task, part=replace(task.part, number=k * size + j), name=name, memory=needs))
    tell(f"{len(tasks)} proofs on the cluster", 0.0)
    for made, (n, proof, took) in enumerate(cluster.proven(tasks), 1):
        k, j = divmod(n, size)
        add(report, took)
        steps[k].finish(j, *steps[k].verified(j, proof))
        chain.finished[k][j] = steps[k].finished[j]
        tell(f"{len(tasks)} proofs on the cluster", made / len(tasks))


def refuse_apart(key: BundleKey, runs: Sequence[Run]) -> None:
    """Raises ``InputError`` I148 for runs of which no bundle would be accepted."""
    assert key.steps is not None
    if not 1 <= len(runs) <= key.steps.most:
        raise InputError(f"{len(runs)} steps are to be proven, the key is for 1 to {key.steps.most}", code="I148")
    for c in key.steps.carried:
        if c.first is not None and not (runs[0].inputs[c.target] == c.first).all():
            raise InputError(f"'{c.target}' of step 0 is not {c.first}, where steps begin", code="I148")
        for k, (before, after) in enumerate(pairwise(runs), 1):
            handed = before.outputs.get(c.source, before.inputs.get(c.source))
            if not np.array_equal(np.asarray(handed), after.inputs[c.target]):
                message = f"'{c.target}' of step {k} is not what step {k - 1} hands on as '{c.source}'"
                raise InputError(message, code="I148", help="run each step with what the one before put out")


class _Chain:
    """Steps that are proven one by one; ``finished``: proofs that there are, of each by segment. Commitments are kept
    in files, in memory those that one step names.

    What a step puts out, or is given, and the next one takes in, is one tensor with one commitment: ``places`` has the
    number of that by step, for each committed input and output, ``named`` how many proofs of each step name it."""

    def __init__(
        self, at: Segmented, key: BundleKey, runs: Sequence[Run], parts: Parts, verifier: BundleVerifier | None
    ) -> None:
        assert key.steps is not None
        self.at, self.key, self.runs, self.parts = at, key, runs, parts
        self.verifier = BundleVerifier(key) if verifier is None else verifier
        inputs = [i.name for i in at.program.inputs if i.committed]
        outputs = [o.name for o in at.program.outputs if o.committed]
        made = {c.target: c.source for c in key.steps.carried if c.target in inputs}
        self.places: list[dict[tuple[str, bool], int]] = []  # by name, and whether it is an output
        self.first: list[tuple[int, str, bool]] = []
        self.named: list[dict[int, int]] = []
        for k in range(len(runs)):
            before = self.places[-1] if k else {}
            self.places.append({})
            for name in inputs:
                source = made.get(name, "")
                self._place(k, name, False, before.get((source, source in outputs)))
            for name in outputs:
                self._place(k, name, True)
        self.open: dict[int, TensorOpening] = {}
        self.left: dict[int, float] = {}  # in how many more proofs each stays hidden
        self.finished = [self.step(k).finished for k in range(len(runs))]
        while spent := [n for n, left in self.left.items() if left < self._pending(n)]:
            for n in spent:  # as ``Parted`` does
                self._keep(n, self._fresh(n))
            for k in sorted({k for n in spent for k in self.named[n]}):
                self.finished[k] = self.step(k).finished

    def _place(self, k: int, name: str, out: bool, same: int | None = None) -> None:
        """Notes what a committed input or output of step ``k`` is."""
        n = len(self.first) if same is None else same
        if same is None:
            self.first.append((k, name, out))
            self.named.append({})
        self.places[k][name, out] = n
        proofs = sum(  # an output may be read by later segments
            any(i.name == name and i.committed for i in p.inputs) or any(o.name == name for o in p.outputs)
            for p in self.at.segments
        )
        self.named[n][k] = self.named[n].get(k, 0) + proofs

    def step(self, k: int) -> Parted:
        """What is proven of step ``k``."""
        mine = {name: n for (name, _), n in self.places[k].items()}
        self.open = {n: x for n, x in self.open.items() if n in mine.values()}
        openings = {name: self._opened(n) for name, n in mine.items()}
        share = Share(self.parts, k * len(self.at.segments), len(self.first) + k * len(self.key.links))
        return Parted(self.at, self.key, self.runs[k], openings, share, self.verifier)

    def _opened(self, n: int) -> TensorOpening:
        if n not in self.open:
            values, batch = self._values(n), self.runs[0].batch > 1
            found = kept_opening(self.parts.opening(n), values if batch else values[None], self.key.hiding)
            self._keep(n, self._fresh(n) if found is None else found)
        return self.open[n]

    def _keep(self, n: int, opening: TensorOpening) -> None:
        self.open[n], self.left[n] = opening, proofs_left(opening)

    def _values(self, n: int) -> I64:
        k, name, out = self.first[n]
        return (self.runs[k].outputs if out else self.runs[k].inputs)[name]

    def _fresh(self, n: int) -> TensorOpening:
        opening = committing.commit(
            self.at.program,
            self.first[n][1],
            self._values(n),
            hiding=self.key.hiding,
            proofs=min(sum(self.named[n].values()) + SPARE, MAX_TENSOR_PROOFS),
            batch=self.runs[0].batch > 1,
            description=self.at.description,
        )
        opening.save(self.parts.opening(n))
        return opening

    def _pending(self, n: int) -> int:
        """At most how many proofs that are still to be made name it."""
        size = len(self.at.segments)
        return sum(count for k, count in self.named[n].items() if len(self.finished[k]) < size)
