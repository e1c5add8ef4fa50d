"""``prove --batch --per-proof K``: a proof of every K runs, here one after the other or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import syurmy
from syurmy import display, files, keys, segmented
from syurmy.commands import models
from syurmy.commands.common import Clock, agreed, elsewhere, going_on, print_json, rekeyed, sibling
from syurmy.commands.run import Proving, another_run, measured, output_lines, show, shows, told, verified_anew
from syurmy.compiler.model import Entered
from syurmy.isa.errors import InputError
from syurmy.outcome import DONE, MISSED, tell
from syurmy.parts import Parts, folder_of
from syurmy.prover.protocol.proof import Report
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.verify import Statement, Verifier

if TYPE_CHECKING:
    from syurmy.cluster import Cluster
    from syurmy.commands.models import Opened
    from syurmy.compiler.rounding import Rounded
    from syurmy.compiler.saturation import Saturation
    from syurmy.compiler.undecided import Undecided
    from syurmy.isa.arrays import I64, Array
    from syurmy.prover.keys import ProvingKey


@dataclass
class Ran:
    """Runs that share a proof, ``batch`` of them, and what was noticed; of one alone there is no axis before its
    tensors."""

    inputs: dict[str, I64]
    outputs: dict[str, I64]
    batch: int
    steps: int
    branches: int
    noticed: tuple[Sequence[Saturation], Sequence[Undecided], Sequence[Rounded], Sequence[str]] = ((), (), (), ())

    def stacked(self, values: Mapping[str, I64]) -> dict[str, I64]:
        return {name: x if self.batch > 1 else x[None] for name, x in values.items()}


def ran(
    at: Opened,
    entered: Entered,
    how: Proving,
    size: int,
    batch: bool,
    max_steps: int | None,
    strict: bool,
    json: bool,
) -> int:
    """What ``prove`` does, with so many runs in each proof."""
    _refuse(at, batch)
    clock = Clock()
    with display.Working("execute"):
        runs = clock("execute", lambda: _runs(at, entered, size, max_steps))
    cut, undecided, rounded, unestimated = ([x for r in runs for x in r.noticed[k]] for k in range(4))
    cut = [*entered.saturated, *cut]
    noticed = models.noticed(at.model, cut, undecided, rounded, list(dict.fromkeys(unestimated)))
    outputs = _joined([r.stacked(r.outputs) for r in runs])
    steps, branches = sum(r.steps for r in runs), sum(r.branches for r in runs)
    result = told(at, outputs, steps, sum(r.batch for r in runs), branches) | noticed
    result |= _proven(at, runs, how, max_steps, clock)
    result |= measured(clock)
    if json:
        print_json(result)
    else:
        show(result, None, output_lines(at, outputs))
    return MISSED if strict and models.too_far(noticed) else DONE


def _refuse(at: Opened, batch: bool) -> None:
    """Raises ``InputError`` X192 for what cannot be divided."""
    said = "--per-proof divides a batch"
    if not batch:
        raise InputError(f"{said}, and this is one run", code="X192", help="add --batch")
    if at.segmented is not None:
        raise InputError(f"{said} of a program in one piece, not of segments", code="X192", help="leave it out")
    if any(i.committed for i in at.program.inputs) or any(o.committed for o in at.program.outputs):
        message = f"{said}, and a commitment to one is opened as a whole"
        raise InputError(message, code="X192", help="leave it out, or commit to each part and prove that")


def _runs(at: Opened, entered: Entered, size: int, max_steps: int | None) -> list[Ran]:
    """Every ``size`` of the inputs, run. Raises ``InputError`` as ``syurmy.run``."""
    lengths = {name: np.shape(x)[:1] for name, x in entered.integers.items()}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        listed = ", ".join(f"{name} {list(n)}" for name, n in lengths.items()) or "none"
        raise InputError(f"the inputs of a batch have one leading axis of one length, not {listed}", code="I105")
    ((count,),) = set(lengths.values())
    out = []
    for first in range(0, count, size):
        rows = slice(first, min(first + size, count))
        one = rows.stop - first == 1
        mine = {name: np.asarray(x)[first if one else rows] for name, x in entered.integers.items()}
        watch = rounding = None
        if at.model is not None:
            off = {name: x[first if one else rows] for name, x in entered.rounded.items()}
            rounding = at.model.rounding(Entered(mine, (), off), None if one else rows.stop - first)
            watch = at.model.watch(rounding)
        heard = [listener for listener in (watch, rounding) if listener is not None]
        trace = syurmy.run(at.program, mine, batch=not one, max_steps=max_steps, listeners=heard)
        done = Ran(trace.inputs, trace.outputs, trace.batch, len(trace.path), sum(map(len, trace.bits.values())))
        if at.model is not None and watch is not None:
            rounded, unknown = at.model.rounded(rounding), at.model.unestimated(rounding)
            done.noticed = watch.found(at.model.rows), watch.undecided(), rounded, unknown
        out.append(done)
    return out


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Any]:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _proven(at: Opened, runs: Sequence[Ran], how: Proving, max_steps: int | None, clock: Clock) -> dict[str, Any]:
    """Set up if need be, prove what is not proven yet, write the proofs; what is told of them."""
    target = how.proof or sibling(at.path, ".proof")
    targets = [target.with_suffix(f".{k}{target.suffix}") for k in range(len(runs))]
    with display.Working("set-up") as working:
        ask = working.around(agreed(how.rekey))
        found = clock("setup", lambda: keys.obtain(at.program, at.path, how.keys, max_steps, ask, no_zk=how.no_zk))
        key: ProvingKey = found.key
        rekeyed(found.replaced, key.verifying_key.digest())
        verifier = Verifier(key.verifying_key, certificate=how.certificate, plan=key.plan)
        for path, run in zip(targets, runs, strict=True):
            if path.exists() and not how.force and _said(verifier, files.read_bytes(path), at, run) is None:
                raise another_run(path)
        inputs = _joined([r.stacked(r.inputs) for r in runs])
        sizes = np.array([r.batch for r in runs])
        job = {**inputs, "": sizes}  # other parts of the same batch are another run
        with (
            Parts(folder_of(target), key.verifying_key.digest(), job, {}, how.drop) as parts,
            elsewhere(how.scheduler, how.store) as cluster,
        ):
            work = _Work(at, key, keys.key_paths(at.path, how.keys)[0], verifier, parts, how)
            with going_on(parts, len(runs), "proofs are made"):
                resumed = clock("prove", lambda: work(runs, cluster, working))
                for path, (proof, _) in zip(targets, work.in_order(), strict=True):
                    files.write_whole(path, proof)
            parts.finish()
    if resumed:
        tell(f"{resumed} of {len(runs)} proofs were made before")
    said = [s for _, s in work.in_order()]
    clock.seconds = work.report.seconds | clock.seconds
    shown = [r.stacked({n: np.asarray(x) for n, x in s.inputs.items()}) for r, s in zip(runs, said, strict=True)]
    return {
        "key": key.verifying_key.digest().hex(),
        "replaced_key": None if found.replaced is None else found.replaced.hex(),
        "inputs": _joined(shown),
        **{name: getattr(work.report, name) for name in ("leaves", "columns", "committed_entries")},
        "proofs": [{"proof": str(p), "batch": s.batch} for p, s in zip(targets, said, strict=True)],
        "proof_bytes": sum(len(proof) for proof, _ in work.in_order()),
        "soundness_bits": min(s.soundness_bits for s in said),
        "zero_knowledge": said[0].hiding,
        "commitments": {},
        "openings": {},
        "certificate": None if said[0].certificate is None else said[0].certificate.hex(),
        "resumed": resumed,
        "verified": True,
    }


def _said(verifier: Verifier, proof: bytes, at: Opened, run: Ran) -> Statement | None:
    """What a proof shows, if it holds and shows what one of these runs would."""
    try:
        said = verifier.verify(proof)
    except Rejected:
        return None
    return said if said.batch == run.batch and shows(said, at.program, run.inputs, run.outputs) else None


class _Work:
    """The proofs of a batch: those that are kept, and those to be made."""

    def __init__(self, at: Opened, key: ProvingKey, file: Path, verifier: Verifier, parts: Parts, how: Proving) -> None:
        self.at, self.key, self.file, self.verifier, self.parts = at, key, file, verifier, parts
        self.certificate, self.memory = how.certificate, how.memory
        self.report = Report()
        self.finished: dict[int, tuple[bytes, Statement]] = {}

    def in_order(self) -> list[tuple[bytes, Statement]]:
        return [self.finished[k] for k in sorted(self.finished)]

    def __call__(self, runs: Sequence[Ran], cluster: Cluster | None, working: display.Working) -> int:
        """Makes what is missing; how many were there."""
        for k, run in enumerate(runs):
            kept = self.parts.proof(k)
            if kept is not None and (said := _said(self.verifier, kept, self.at, run)) is not None:
                self.finished[k] = kept, said
        resumed, count = len(self.finished), len(runs)
        pending = [k for k in range(count) if k not in self.finished]
        if cluster is not None:
            resting = None if self.certificate is None else files.read_bytes(self.certificate)
            at, own = (self.at.program, self.at.path), (self.key.verifying_key.digest(), self.file)
            tasks = [
                cluster.task(k, f"proof {k}", at, own, runs[k].inputs, {}, runs[k].batch > 1, resting) for k in pending
            ]
            phase = f"{len(pending)} proofs on the cluster"
            working(phase, resumed / count)
            for k, proof, took in cluster.proven(tasks):
                self.keep(k, proof, took)
                working(phase, len(self.finished) / count)
            return resumed
        for k in pending:
            trace = syurmy.run(
                self.key.program, runs[k].inputs, batch=runs[k].batch > 1, max_steps=self.key.verifying_key.max_steps
            )
            phase = f"proof {k + 1} of {count}"
            made = syurmy.prove(
                self.key,
                trace,
                lambda step, done, k=k, phase=phase: working(f"{phase}: {step}", (k + done) / count),  # type: ignore[misc]
                certificate=self.certificate,
                memory=self.memory,
            )
            self.keep(k, made.data, made.report)
        return resumed

    def keep(self, k: int, proof: bytes, took: Report) -> None:
        segmented.add(self.report, took)
        self.finished[k] = proof, verified_anew(self.verifier, proof, self.file)
        self.parts.keep(k, proof)
