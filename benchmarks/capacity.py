"""What models take and what was predicted: ``python -m benchmarks.capacity [[NAME=]PROGRAM|DIR|MODEL.onnx ...]``.

Each is set up, proven some times and verified by the command line, every command in a process of its own; beside the
memory at its peak and the seconds of its proof stands what ``info`` said before. Without arguments: generated networks
and ``programs/onnx``. Prints a markdown table and keeps the raw numbers in ``benchmarks/results/DATE-capacity.json``.

``--renew`` measures these and what is given, then fits the seconds to what was measured (``syurmy/fitted.py``),
predicts anew, and writes the table of docs/large_models.md; ``--from FILE`` takes the measurements from such a file.
Nothing else should run on the machine.
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
import numpy.typing as npt

from benchmarks import report
from benchmarks.measure import RESULTS, ROOT, Failed, child, machine
from benchmarks.programs import GENERATE, TIMEOUT
from syurmy.fitted import FIXED, SECONDS

NETWORKS = {
    "mlp64": "MLP 64-64-64-10",
    "mlp784": "MLP 784-512-512-10",
    "lenet5": "LeNet-5, 28×28",
    "cnn264k": "CNN 264 k, 32×32",
    "vgg16": "VGG16, 32×32",
}
MODELS = {"resnet": "ResNet, 32×32 (`programs/onnx`)", "chargpt": "character GPT, 4 layers, 64 characters"}
SHORT = 2.0  # seconds of a proof that is made five times, not three
COUNTS = (
    *("leaves", "committed_entries", "params_entries", "columns"),
    *("places", "encoded_entries", "product_entries"),
)
DOCS = ROOT / "docs" / "large_models.md"
FITTED = ROOT / "syurmy" / "fitted.py"
BEGIN, END = "<!-- written by benchmarks/capacity.py -->", "<!-- end of what is written -->"


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


def measure(name: str, path: Path, folder: Path) -> dict[str, Any]:
    """Predictions and measurements of one program; ``folder`` for its keys and proof, which must be empty."""
    said = command("info", path)[0]
    keys = "--keys", folder
    made, setup, setup_peak = command("setup", path, "--out", folder)
    prove = "prove", path, *keys, "--proof", folder / "x.proof", "--force"
    proofs = [command(*prove)]
    proofs += [command(*prove) for _ in range(4 if proofs[0][0]["seconds"]["prove"] < SHORT else 2)]
    first, last = proofs[0][0], proofs[-1][0]
    _, verify, _ = command("verify", made["verifying_key"], folder / "x.proof")

    def took(phase: str) -> float:
        return float(median(x["seconds"][phase] for x, *_ in proofs))

    return {
        "name": name,
        **{count: said[count] for count in (*COUNTS, "encoding_seconds", "estimated_seconds")},
        "predicted": {"setup": said["setup_bytes"], "prove": said["prove_bytes"]},
        "peak_mb": {"setup": setup_peak, "prove": max(x["peak_mb"] for x, *_ in proofs)},
        "key_bytes": made["proving_key_bytes"],
        "proof_bytes": last["proof_bytes"],
        "seconds": {"setup": setup, "first": first["seconds"]["prove"], "verify": verify, "prove": took("prove")},
        "phases": {phase: took(phase) for phase in SECONDS},
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


def fit(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Non-negative constants of every term of ``SECONDS``, with the least sum of squares of errors beside the whole
    proof's time, of every phase and, three times as much, of all together; one that would be negative is left out."""
    terms = [(phase, name) for phase in SECONDS for name in SECONDS[phase]]
    lines, found = [], []
    for r in rows:
        phases = {phase: r["phases"][phase] - (r["encoding_seconds"] if phase == "opening" else 0) for phase in SECONDS}
        whole = r["seconds"]["prove"]
        one = np.array([1 if name == FIXED else r[name] for _, name in terms], np.float64) / whole
        for phase, took in phases.items():
            lines.append(one * [p == phase for p, _ in terms])
            found.append(took / whole)
        lines.append(3 * one)
        found.append(3 * sum(phases.values()) / whole)
    counts, wanted = np.array(lines), np.array(found)
    used: npt.NDArray[np.bool_] = np.any(counts, axis=0)
    while True:
        constants = np.zeros(len(used))
        constants[used] = np.linalg.lstsq(counts[:, used], wanted, rcond=None)[0]
        if (constants >= 0).all():
            break
        used[np.argmin(constants * counts.mean(axis=0))] = False
    out: dict[str, dict[str, float]] = {phase: {} for phase in SECONDS}
    for (phase, name), x in zip(terms, constants.tolist(), strict=True):
        out[phase][name] = float(f"{x:.3g}")
    return out


def predicted(r: dict[str, Any], constants: dict[str, dict[str, float]]) -> float:
    """Seconds of a proof of a row."""
    each = (s * (1 if name == FIXED else r[name]) for terms in constants.values() for name, s in terms.items())
    return float(sum(each) + r["encoding_seconds"])


def renew(result: dict[str, Any], source: str) -> None:
    """Writes ``fitted.py`` and the table of the documentation; what was predicted is of the new constants then."""
    rows, constants = result["rows"], fit(result["rows"])
    for r in rows:
        r["estimated_seconds"] = predicted(r, constants)
    head, _, _ = FITTED.read_text().partition("DATE = ")
    lines = ["SECONDS = {", *(f"    {json.dumps(p)}: {json.dumps(terms)}," for p, terms in constants.items()), "}"]
    name = 'FIXED = "fixed"  # the name of what no count is multiplied by'
    date = result["machine"]["date"][:16].replace(" ", "T").replace(":", "")
    FITTED.write_text(head + "\n".join([f'DATE = "{date}"', name, *lines, ""]))
    text = DOCS.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    off = sorted(abs(r["estimated_seconds"] / r["seconds"]["prove"] - 1) for r in rows)
    told = f"Predicted seconds are off by {100 * off[len(off) // 2]:.0f} % (median), {100 * off[-1]:.0f} % at most."
    said = f"{report.machine(result['machine'])} Raw numbers: `benchmarks/results/{source}`. {told}"
    DOCS.write_text(f"{before}\n{said}\n\n{table(rows)}\n{after}")
    print("\n".join(f"{r['name']}: {100 * r['estimated_seconds'] / r['seconds']['prove'] - 100:+.0f} %" for r in rows))


def _named(given: str) -> tuple[str, Path]:
    name, is_given, path = given.rpartition("=")
    return (name if is_given else Path(path).stem), Path(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity")
    parser.add_argument("programs", nargs="*", metavar="[NAME=]PROGRAM|DIR|MODEL.onnx")
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="known")
    options = parser.parse_args()
    if options.known is not None:
        renew(json.loads(options.known.read_text()), options.known.name)
        return
    given = [_named(x) for x in options.programs]
    result: dict[str, Any] = {"machine": machine(), "rows": []}
    with tempfile.TemporaryDirectory(prefix="syurmy-bench-") as made:
        folder = Path(made)
        if not given or options.renew:
            for name in NETWORKS:
                child(["-c", GENERATE, name, str(folder)], timeout=TIMEOUT)
            models = [(title, ROOT / "programs" / "onnx" / f"{name}.onnx") for name, title in MODELS.items()]
            given = [*((title, folder / f"{name}.tasm") for name, title in NETWORKS.items()), *models, *given]
        for name, path in given:
            at = path
            if path.suffix == ".onnx":
                at = folder / path.stem
                command("compile", path, "-o", at)
            keys = folder / "keys"
            keys.mkdir()
            result["rows"].append(measure(name, at, keys))
            shutil.rmtree(keys)
    print(report.machine(result["machine"]))
    print(table(result["rows"]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"{time.strftime('%Y-%m-%d')}-capacity.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    if options.renew:
        renew(result, target.name)


if __name__ == "__main__":
    main()
