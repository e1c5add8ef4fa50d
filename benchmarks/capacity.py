"""What models take and what was predicted: ``python -m benchmarks.capacity [PROGRAM|DIR|MODEL.onnx ...]``.

Each is set up, proven three times and verified by the command line, every command in a process of its own; beside the
memory at its peak and the seconds of its proof stands what ``info`` said before. Without arguments: generated networks
and ``programs/onnx``. Prints a markdown table and keeps the raw numbers in ``benchmarks/results/DATE-capacity.json``.
``--fit FILE`` prints the constants of ``syurmy.costs`` that fit such a file best, and how far each program is off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.measure import RESULTS, ROOT, Failed, child, machine
from benchmarks.programs import GENERATE, TIMEOUT

NETWORKS = ("mlp64", "mlp784", "lenet5", "cnn264k", "vgg16")
MODELS = ("chargpt",)
COUNTS = ("leaves", "committed_entries", "params_entries", "columns")


def command(*arguments: object) -> tuple[dict[str, Any], float, float]:
    """What ``syurmy-vm ARGUMENTS --json`` printed, its seconds, and its peak in MiB. Raises ``Failed``."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        given = [sys.executable, "-m", "syurmy", *map(str, arguments), "--json"]
        process = subprocess.Popen(given, cwd=ROOT, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - start
        out.seek(0)
        if status:
            raise Failed(f"{' '.join(given[2:])} ended with {status}")
        return json.load(out), took, usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(path: Path, folder: Path) -> dict[str, Any]:
    """Predictions and measurements of one program; ``folder`` for its keys and proof, which must be empty."""
    said = command("info", path)[0]
    keys = "--keys", folder
    made, setup, setup_peak = command("setup", path, "--out", folder)
    proofs = [command("prove", path, *keys, "--proof", folder / "x.proof", "--force") for _ in range(3)]
    first, last = proofs[0][0], proofs[-1][0]
    prove = median(x["seconds"]["prove"] for x, *_ in proofs)
    _, verify, _ = command("verify", made["verifying_key"], folder / "x.proof")
    return {
        "name": path.stem if path.suffix else path.name,
        **{name: said[name] for name in (*COUNTS, "encoding_seconds", "estimated_seconds")},
        "predicted": {"setup": said["setup_bytes"], "prove": said["prove_bytes"]},
        "peak_mb": {"setup": setup_peak, "prove": max(x["peak_mb"] for x, *_ in proofs)},
        "key_bytes": made["proving_key_bytes"],
        "proof_bytes": last["proof_bytes"],
        "seconds": {"setup": setup, "first": first["seconds"]["prove"], "prove": prove, "verify": verify},
        "load": os.getloadavg()[0],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""

    def memory(r: dict[str, Any], what: str) -> str:
        predicted, found = r["predicted"][what] / (1 << 20), r["peak_mb"][what]
        return f"{predicted:,.0f} / {found:,.0f} MiB ({predicted / found:.2f})"

    def seconds(r: dict[str, Any]) -> str:
        predicted, found = r["estimated_seconds"], r["seconds"]["prove"]
        return f"{report.duration(predicted)} / {report.duration(found)} ({predicted / found:.2f})"

    head = ["", "leaves", "params", "prove: predicted / measured", "set-up: predicted / measured", "key", "proof"]
    head += ["set-up", "prove: predicted / measured", "verify", "load"]
    cells = [
        (
            *(r["name"], f"{r['leaves']:,}", f"{r['params_entries']:,}", memory(r, "prove"), memory(r, "setup")),
            *(report.size(r["key_bytes"]), report.size(r["proof_bytes"])),
            *(report.duration(r["seconds"]["setup"]), seconds(r), report.duration(r["seconds"]["verify"])),
            f"{r['load']:.1f}",
        )
        for r in rows
    ]
    return report.table(head, cells)


def fit(rows: list[dict[str, Any]]) -> str:
    """Non-negative constants, one that is fixed and one for each of ``COUNTS``, with the least sum of squares of
    relative errors; a constant that would be negative is left out."""
    counts = np.array([[1, *(r[name] for name in COUNTS)] for r in rows], np.float64)
    found = np.array([r["seconds"]["prove"] for r in rows])
    rest = found - [r["encoding_seconds"] for r in rows]
    used = np.ones(counts.shape[1], bool)
    while True:
        constants = np.zeros(len(used))
        constants[used] = np.linalg.lstsq(counts[:, used] / found[:, None], rest / found, rcond=None)[0]
        if (constants >= 0).all():
            break
        used[np.argmin(constants * counts.mean(axis=0))] = False
    off = (counts @ constants - rest) / found
    said = [f"{name}: {x:.3g}" for name, x in zip(("fixed", *COUNTS), constants, strict=True)]
    return "\n".join(said + [f"{r['name']}: {100 * x:+.0f} %" for r, x in zip(rows, off, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity")
    parser.add_argument("programs", nargs="*", type=Path, metavar="PROGRAM|DIR|MODEL.onnx")
    parser.add_argument("--fit", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.fit is not None:
        print(fit(json.loads(options.fit.read_text())["rows"]))
        return
    given = options.programs
    result: dict[str, Any] = {"machine": machine(), "rows": []}
    with tempfile.TemporaryDirectory(prefix="syurmy-bench-") as made:
        folder = Path(made)
        if not given:
            for name in NETWORKS:
                child(["-c", GENERATE, name, str(folder)], timeout=TIMEOUT)
            given = [folder / f"{name}.tasm" for name in NETWORKS]
            given += [ROOT / "programs" / "onnx" / f"{name}.onnx" for name in MODELS]
        for path in given:
            at = path
            if path.suffix == ".onnx":
                at = folder / path.stem
                command("compile", path, "-o", at)
            keys = folder / "keys"
            keys.mkdir()
            result["rows"].append(measure(at, keys))
            shutil.rmtree(keys)
    print(report.machine(result["machine"]))
    print(table(result["rows"]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"{time.strftime('%Y-%m-%d')}-capacity.json"
    target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
