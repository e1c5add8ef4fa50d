"""What a key's certificate and a committed input cost and save, in both modes, each network in a process of its own.

A certificate is made and checked, and proofs that rest on it beside those that do not; the network's input is declared
committed, committed for two proofs, and proven. One network alone: ``python -m benchmarks.commitments NAME RUNS
FOLDER``, with the network generated in the folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import programs
from benchmarks.measure import seconds
from benchmarks.programs import WARM
from syurmy.host import peak_mb

PROOFS = 2  # that a committed input is for


def measure(name: str, runs: int | None = None) -> dict[str, Any]:
    """``programs.measure``, of this module."""
    return programs.measure(name, runs, "benchmarks.commitments")


def _run(name: str, runs: int, folder: Path) -> dict[str, Any]:
    _case(WARM, 1, folder)
    return {"case": name, "runs": runs, **_case(name, runs, folder), "peak_mb": peak_mb()}


def _case(name: str, runs: int, folder: Path) -> dict[str, Any]:
    """Numbers by mode."""
    import syurmy
    from syurmy import inputs as given

    path = folder / f"{name}.tasm"
    program = syurmy.load(path)
    inputs = given.read(given.beside(path), given.of_program(program))
    committed = replace(program, inputs=tuple(replace(i, committed=True, public=False) for i in program.inputs))
    out = {}
    for mode, zk in (("zero_knowledge", True), ("clear", False)):
        certificate = _certificate(program, inputs, zk, runs)
        out[mode] = {"certificate": certificate, "committed": _committed(committed, inputs, zk, runs)}
    return out


def _certificate(program: Any, inputs: Any, zk: bool, runs: int) -> dict[str, Any]:
    import syurmy
    from syurmy.prover.verifier.verify import Verifier

    key, verifying_key = syurmy.setup(program, zk=zk)
    trace = syurmy.run(program, inputs)
    took: dict[str, float] = {}
    certificate = _timed(took, "certify", lambda: syurmy.certify(key))
    _timed(took, "check", lambda: syurmy.verify_key(verifying_key, certificate))
    plain = _proofs("plain", took, runs, lambda: syurmy.prove(key, trace), Verifier(verifying_key))
    verifier = Verifier(verifying_key, certificate=certificate)
    rests = _proofs("", took, runs, lambda: syurmy.prove(key, trace, certificate=certificate), verifier)
    return {"seconds": took, "certificate_bytes": len(certificate.to_bytes()), "plain_bytes": plain, "bytes": rests}


def _committed(program: Any, inputs: Any, zk: bool, runs: int) -> dict[str, Any]:
    import syurmy
    from syurmy.prover.verifier.verify import Verifier

    key, verifying_key = syurmy.setup(program, zk=zk)
    trace = syurmy.run(program, inputs)
    took: dict[str, float] = {}
    made: list[dict[str, Any]] = []

    def commit() -> None:
        made.append({i.name: syurmy.commit(program, i.name, inputs[i.name], proofs=PROOFS, zk=zk)
                     for i in program.inputs})  # fmt: skip

    took["commit"] = statistics.median(seconds(commit, runs + 2))  # each for one of the proofs

    def prove() -> Any:
        return syurmy.prove(key, trace, commitments=made.pop())

    size = _proofs("", took, runs, prove, Verifier(verifying_key))
    entries = sum(inputs[i.name].size for i in program.inputs)
    return {"seconds": took, "entries": int(entries), "bytes": size}


def _proofs(title: str, took: dict[str, float], runs: int, prove: Callable[[], Any], verifier: Any) -> int:
    """Times to prove and verify, in ``took``; the proof's bytes."""
    made: list[Any] = []
    if runs > 1:
        prove()
    took[f"{title} prove".strip()] = statistics.median(seconds(lambda: made.append(prove()), runs))
    data = made[0].to_bytes()
    verifier.verify(data)
    took[f"{title} verify".strip()] = statistics.median(seconds(lambda: verifier.verify(data), max(3, runs)))
    return len(data)


def _timed(took: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    out = work()
    took[name] = time.perf_counter() - start
    return out


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
