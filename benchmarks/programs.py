"""Set-up, prove and verify the benchmark networks, each in a process of its own so that peak memory is its own.

Warm means: kernels are compiled, cached on disk, loaded and have run once, on the smallest network. Every proof is
verified. Run one alone: ``python -m benchmarks.programs NAME RUNS FOLDER``, with a network generated in the folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Failed, child, median, process, seconds
from syurmy.host import peak_mb

TIMEOUT = 3600.0
WARM = "mlp64"


@dataclass(frozen=True)
class Target:
    """To reach: seconds, bytes, MiB; None where nothing was set."""

    prove: float
    verify: float | None = None
    proof_bytes: int | None = None
    peak_mb: float | None = None


@dataclass(frozen=True)
class Case:
    """``name`` is the generator's (programs/generate.py)."""

    name: str
    title: str
    runs: int
    target: Target


CASES = {
    case.name: case
    for case in (
        Case("mlp64", "MLP 64-64-64-10", 3, Target(0.15)),
        Case("mlp784", "MLP 784-512-512-10", 3, Target(0.25, 0.03, 400_000, 512)),
        Case("lenet5", "LeNet-5 28×28", 3, Target(0.4, 0.05, 400_000)),
        Case("cnn264k", "CNN 264 k, 32×32", 3, Target(0.6)),
        Case("dense4m", "dense 4 M", 3, Target(0.6)),
        Case("vgg11", "VGG11 32×32", 3, Target(3.0)),
        Case("vgg16", "VGG16 32×32", 3, Target(4.0, 0.2, 2_000_000)),
    )
}


def measure(name: str, runs: int | None = None, module: str = "benchmarks.programs") -> dict[str, Any]:
    """Generate a case and let a ``module`` measure it, in child processes. Raises ``Failed``."""
    with tempfile.TemporaryDirectory(prefix="syurmy-bench-") as folder:
        for wanted in {name, WARM}:
            child(["-c", GENERATE, wanted, folder], timeout=TIMEOUT)
        arguments = ["-m", module, name, str(runs or CASES[name].runs), folder]
        out: dict[str, Any] = child(arguments, timeout=TIMEOUT)
        return out


GENERATE = """
import json, pathlib, sys
from programs.generate import network
net = network(sys.argv[1])
net.write(pathlib.Path(sys.argv[2]))
print(json.dumps(net.parameters))
"""


def _run(name: str, runs: int, folder: Path) -> dict[str, Any]:
    import syurmy
    from syurmy import inputs as given
    from syurmy.prover.protocol.proof import Proof
    from syurmy.prover.verifier.verify import Verifier

    def load(name: str) -> tuple[Any, Any]:
        path = folder / f"{name}.tasm"
        program = syurmy.load(path)
        return program, given.read(given.beside(path), given.of_program(program))

    program, inputs = load(WARM)
    for zk in (True, False):
        key, verifying_key = syurmy.setup(program, zk=zk)
        syurmy.verify(verifying_key, syurmy.prove(key, syurmy.run(program, inputs)).to_bytes())

    took: dict[str, float] = {}
    start = time.perf_counter()
    program, inputs = load(name)
    took["assemble"] = time.perf_counter() - start
    trace = syurmy.run(program, inputs)
    took["execute"] = median(lambda: syurmy.run(program, inputs), 5 if runs > 1 else 1)
    start = time.perf_counter()
    key, verifying_key = syurmy.setup(program, zk=False)
    took["setup"] = time.perf_counter() - start
    hiding_key, hiding_verifying_key = syurmy.setup(program)

    proofs: list[Proof] = []
    hiding: list[Proof] = []
    if runs > 1:
        syurmy.prove(key, trace)
        syurmy.prove(hiding_key, trace)
    raw, hiding_raw = [], []
    for _ in range(runs):  # side by side, so that both see the same machine
        raw += seconds(lambda: proofs.append(syurmy.prove(key, trace)), 1)
        hiding_raw += seconds(lambda: hiding.append(syurmy.prove(hiding_key, trace)), 1)
    took["prove"] = statistics.median(raw)
    report = proofs[raw.index(min(raw, key=lambda t: abs(t - took["prove"])))].report
    data = proofs[0].to_bytes()

    start = time.perf_counter()
    verifier = Verifier(verifying_key)
    took["key"] = time.perf_counter() - start
    statement = verifier.verify(data)
    took["verify"] = statistics.median(seconds(lambda: verifier.verify(data), max(3, runs)))
    hiding_verifier = Verifier(hiding_verifying_key)
    hidden = hiding[0].to_bytes()
    if any((hiding_verifier.verify(hidden).outputs[n] != trace.outputs[n]).any() for n in statement.outputs):
        raise SystemExit("the hiding proof states other outputs than the run")
    if any((statement.outputs[n] != trace.outputs[n]).any() for n in statement.outputs):
        raise SystemExit("the proof states other outputs than the run")
    return {
        "case": name,
        "runs": runs,
        "parameters": sum(int(a.size) for a in program.data.values()),
        "seconds": took,
        "prove_raw": raw,
        "phases": {k: v for k, v in report.seconds.items() if k != "prove"},
        "proof_bytes": len(data),
        "zero_knowledge": {
            "prove": statistics.median(hiding_raw),
            "verify": statistics.median(seconds(lambda: hiding_verifier.verify(hidden), max(3, runs))),
            "proof_bytes": len(hidden),
        },
        "verifying_key_bytes": len(verifying_key.to_bytes()),
        "peak_mb": peak_mb(),
        "ratio": took["prove"] / took["execute"],
        "leaves": report.leaves,
        "columns": report.columns,
        "committed_entries": report.committed_entries,
        "soundness_bits": statement.soundness_bits,
        "verified": True,
    }


def cold_start() -> dict[str, Any]:
    """Whole processes ``syurmy-vm run programs/digits_mlp.tasm --prove``: first with an empty kernel cache and no keys,
    then again; and how long compiling the kernels took, in a third process with another empty cache. Median seconds of
    whole processes that compile nothing.
    """
    import shutil

    with tempfile.TemporaryDirectory(prefix="syurmy-bench-") as folder:
        shutil.copytree(
            ROOT / "programs", Path(folder) / "programs", ignore=shutil.ignore_patterns("*.[pv]k", "*.proof")
        )
        path = Path(folder) / "programs" / "digits_mlp.tasm"
        command = ["-m", "syurmy.cli", "run", str(path), "--prove", "--json"]
        # as installed: Python keeps the bytecode of the modules, whatever this process was told
        bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        environment = {"SYURMY_CACHE": str(Path(folder) / "cache"), **bytecode}
        out: dict[str, Any] = {}
        for name in ("cold", "warm"):
            start = time.perf_counter()
            summary = child(command, environment=environment, timeout=TIMEOUT)
            out[f"{name}_seconds"] = time.perf_counter() - start
            out[f"{name}_prove_seconds"] = summary["seconds"]["prove"]
            if not summary["verified"]:
                raise Failed(f"the proof of the {name} process was not verified")
        lenet = path.with_name("lenet.tasm")
        child(["-m", "syurmy", "run", str(lenet), "--prove", "--json"], environment=environment, timeout=TIMEOUT)
        files = {p.stem: [p.with_suffix(".vk"), p.with_suffix(".proof")] for p in (path, lenet)}
        out["processes"] = {
            " ".join(["syurmy-vm", *words, *(f.name for f in files.get(stem, []))]): process(
                ["-m", "syurmy", *words, *files.get(stem, [])], environment=environment
            )
            for words, stem in ((["--help"], ""), (["verify"], path.stem), (["verify"], lenet.stem))
        }
        environment = {"SYURMY_CACHE": str(Path(folder) / "another"), **bytecode}
        compiled: dict[str, Any] = child(
            ["-m", "benchmarks.programs", "--compile", str(path)], environment=environment, timeout=TIMEOUT
        )
        return out | compiled


def _compile(path: Path) -> dict[str, Any]:
    """Seconds that Numba compiles for one run, set-up, proof and verification, and the number of kernels."""
    from numba.core import event

    import syurmy
    from syurmy import inputs as given

    with event.install_recorder("numba:compile") as recorder:
        program = syurmy.load(path)
        trace = syurmy.run(program, given.read(given.beside(path), given.of_program(program)))
        key, verifying_key = syurmy.setup(program)
        syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
    depth, total, kernels, start = 0, 0.0, 0, 0.0
    for moment, e in recorder.buffer:  # compiling one kernel compiles what it calls: count the outermost only
        if e.is_start:
            kernels += depth == 0
            start = moment if depth == 0 else start
            depth += 1
        else:
            depth -= 1
            total += moment - start if depth == 0 else 0.0
    return {"compile_seconds": total, "kernels": kernels}


if __name__ == "__main__":
    if sys.argv[1] == "--compile":
        print(json.dumps(_compile(Path(sys.argv[2]))))
    else:
        print(json.dumps(_run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
