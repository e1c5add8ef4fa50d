"""A batch job: prove many inputs with one key, in several processes, and take up where it stopped.

    python -m examples.batch PROG.tasm INPUTS.npz PROOFS [JOBS]

INPUTS.npz holds every input of the program, stacked along a leading axis. Proof k is written to PROOFS/000k.proof,
whole or not at all, and a proof that is there and verifies is not made again. The last line is a summary in JSON; the
exit code is 1 if a run failed.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import syurmy
from syurmy import ProvingKey, SyurmyError, Verifier

_held: dict[str, Any] = {}  # of one process: the key, mapped from its file, and what verifies


def prepare(program: Path, key: Path) -> None:
    """What a process does once."""
    code = syurmy.load(program)
    _held["key"] = ProvingKey.load(key, code)
    _held["verifier"] = Verifier(_held["key"].verifying_key)


def prove(inputs: dict[str, Any], target: Path) -> tuple[str, str]:
    """Makes one proof and verifies it; what became of it (kept, made, failed), and why not."""
    verifier: Verifier = _held["verifier"]
    try:
        key: ProvingKey = _held["key"]
        trace = syurmy.run(key.program, inputs)
        if target.exists():
            try:
                shown = verifier.verify(target).outputs
                if all(np.array_equal(shown[name], trace.outputs[name]) for name in shown):
                    return "kept", ""
            except SyurmyError:
                pass  # damaged, or of another key: made again
        proof = syurmy.prove(key, trace)
        verifier.verify(proof)
        proof.save(target)
        return "made", ""
    except SyurmyError as e:
        return "failed", f"[{e.code}] {e.message}"


def main(program: Path, inputs: Path, folder: Path, jobs: int = 2) -> int:
    """The whole job; returns the exit code."""
    start = time.perf_counter()
    with np.load(inputs) as archive:
        stacked = {name: archive[name] for name in archive.files}
    samples = [dict(zip(stacked, one, strict=True)) for one in zip(*stacked.values(), strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "key.pk"
    try:
        ProvingKey.load(key, syurmy.load(program))
    except SyurmyError:
        # committed params stay hidden in so many proofs; twice as many as inputs, as some may be made again
        proving_key, verifying_key = syurmy.setup(program, proofs=max(1, 2 * len(samples)))
        proving_key.save(key)
        verifying_key.save(folder / "key.vk")
    count = {"kept": 0, "made": 0, "failed": 0}
    context = get_context("spawn")  # a process starts with nothing of this one
    with ProcessPoolExecutor(jobs, context, prepare, (program, key)) as pool:
        targets = [folder / f"{k:04}.proof" for k in range(len(samples))]
        for target, (what, why) in zip(targets, pool.map(prove, samples, targets), strict=True):
            count[what] += 1
            if why:
                print(f"{target}: {why}", file=sys.stderr)
    print(json.dumps(count | {"seconds": round(time.perf_counter() - start, 3)}))
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) not in (3, 4):
        raise SystemExit(__doc__)
    given, stacked_inputs, into = map(Path, arguments[:3])
    raise SystemExit(main(given, stacked_inputs, into, *map(int, arguments[3:])))
