"""``run`` and ``prove`` of a model that is cut into segments: one after the other, kept as they finish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy import chained, committing, display, files, segmented, verification
from syurmy.commands import models
from syurmy.commands.common import Clock, agreed, elsewhere, going_on, print_json, rekeyed, sibling
from syurmy.commands.run import Proving, another_run, measured, output_lines, show, shows, told
from syurmy.isa.errors import InputError
from syurmy.keys import key_paths
from syurmy.outcome import DONE, MISSED, tell
from syurmy.parts import Parts, folder_of
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.bundle import BundleVerifier
from syurmy.segmented import Run

if TYPE_CHECKING:
    from syurmy.commands.models import Opened
    from syurmy.compiler.model import Entered
    from syurmy.compiler.rounding import Rounded
    from syurmy.compiler.undecided import Undecided
    from syurmy.prover.keys import ProvingKey
    from syurmy.segmented import Segmented


def ran(
    at: Opened,
    whole: Segmented,
    entered: Entered,
    proving: Proving | None,
    batch: bool,
    max_steps: int | None,
    strict: bool,
    json: bool,
) -> int:
    """What ``run`` does with a model in one piece, for one in segments."""
    if proving is not None and whole.steps is not None:
        raise InputError(
            "the program is one step of writing a text, which is proven as a chain of them",
            code="I147",
            help="syurmy-vm generate DIR --prompt TEXT --prove",
        )
    clock = Clock()
    given, cut, _ = entered
    watch = rounding = None
    if proving is not None:
        count = len(next(iter(given.values()))) if batch and given else 1
        for k, segment in enumerate(whole.segments):
            key = key_paths(whole.file(k), whole.keys_of(k, proving.keys))[0]
            proving.refuse_larger(segment, key, count)
    if at.model is not None:
        rounding = None if batch else at.model.rounding(entered)  # of a batch each segment runs all inputs
        watch = at.model.watch(rounding)
    undecided: tuple[Undecided, ...] = ()
    rounded: tuple[Rounded, ...] = ()
    with display.Working("execute") as working:
        heard = [listener for listener in (watch, rounding) if listener is not None]
        done = clock("execute", lambda: segmented.run(whole, given, batch, max_steps, heard, working))
    if at.model is not None and watch is not None:
        cut += watch.found(at.model.rows)
        undecided, rounded = watch.undecided(), at.model.rounded(rounding)
    unestimated = () if at.model is None else at.model.unestimated(rounding)
    noticed = models.noticed(at.model, cut, undecided, rounded, unestimated)
    result = told(at, done.outputs, done.steps, done.batch, done.branches) | noticed
    if proving is not None:
        result |= proven(at, whole, [done], proving, max_steps, clock)
    result |= measured(clock)
    if json:
        print_json(result)
    else:
        show(result, None, output_lines(at, done.outputs))
    return MISSED if strict and models.too_far(noticed) else DONE


def proven(
    at: Opened, whole: Segmented, runs: Sequence[Run], how: Proving, max_steps: int | None, clock: Clock
) -> dict[str, Any]:
    """Set up if need be, prove what is not proven yet, write the bundle; what is told of it. ``runs``: one, or one for
    every step of what is run in steps."""
    target = how.proof or sibling(at.path, ".proof")
    done = runs[0] if whole.steps is None else _stacked(runs)
    with display.Working("set-up") as working:
        ask = working.around(agreed(how.rekey))
        found = clock("setup", lambda: segmented.obtain(whole, how.keys, max_steps, ask, how.no_zk, tell=working))
        key = found.key
        rekeyed(found.replaced, key.digest())
        verifier = BundleVerifier(key, certificate=how.certificate)
        if not how.force:
            _same_run(target, verifier, whole, done)
        inner = whole.program if whole.steps is None else replace(whole.program, outputs=())  # openings in the parts
        uses = {link.name: len(link.segments) - 1 for link in key.links}
        proofs = how.output_proofs + segmented.SPARE + max((uses.get(o.name, 0) for o in inner.outputs), default=0)
        outputs = committing.of_outputs(
            inner, done.outputs, done.batch > 1, key.hiding, proofs, at.description, target.parent,
            target.stem, how.force,
        )  # fmt: skip
        count, kind = len(whole.segments) * len(runs), "segments" if whole.steps is None else "parts"

        def load(k: int) -> ProvingKey:
            return whole.load(k, how.keys)

        openings = how.openings | {name: opening for name, (_, opening) in outputs.items()}
        with (
            Parts(folder_of(target), key.digest(), done.inputs, openings, how.drop) as parts,
            elsewhere(how.scheduler, how.store) as cluster,
        ):
            with going_on(parts, count, f"{kind} are proven"):
                with_ = (parts, working, cluster, how.keys, how.memory, verifier)
                made = clock(
                    "prove",
                    lambda: (
                        segmented.prove(whole, key, load, done, openings, *with_)
                        if whole.steps is None
                        else chained.prove_steps(whole, key, load, runs, *with_)
                    ),
                )
                files.write_whole(target, made.bundle.data)
            parts.finish()
    if made.resumed:
        tell(f"{made.resumed} of {count} {kind} were proven before")
    statement, report = made.statement, made.bundle.report
    clock.seconds = report.seconds | clock.seconds
    return {
        "key": key.digest().hex(),
        "replaced_key": None if found.replaced is None else found.replaced.hex(),
        "inputs": statement.inputs,
        **{name: getattr(report, name) for name in ("leaves", "columns", "committed_entries")},
        "proof": str(target),
        "proof_bytes": len(made.bundle.data),
        "soundness_bits": statement.soundness_bits,
        "zero_knowledge": statement.hiding,
        "commitments": {name: c.digest().hex() for name, c in statement.commitments.items()},
        "openings": {name: str(path) for name, (path, _) in outputs.items()},
        "certificate": None if statement.certificate is None else statement.certificate.hex(),
        **verification.parts_data(statement),
        "resumed": made.resumed,
        "verified": True,
    }


def _stacked(runs: Sequence[Run]) -> Run:
    """All steps as one run: inputs and outputs with a first axis more, as statements have them."""
    first = runs[0]
    sides = [{name: np.stack([getattr(r, side)[name] for r in runs]) for name in getattr(first, side)}
             for side in ("inputs", "outputs", "values")]  # fmt: skip
    steps, branches = sum(r.steps for r in runs), sum(r.branches for r in runs)
    return Run(sides[0], sides[1], sides[2], steps, branches, first.batch)


def _same_run(target: Path, verifier: BundleVerifier, whole: Segmented, done: Run) -> None:
    """Raises ``InputError`` F130 where something is in the way that is not a proof of this run."""
    if not target.exists():
        return
    try:
        old = verifier.verify(files.read_bytes(target))
    except Rejected:
        raise another_run(target) from None
    if old.batch != done.batch or not shows(old, whole.program, done.inputs, done.outputs):
        raise another_run(target)
