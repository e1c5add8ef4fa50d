"""RAM, long runs, decoding and batches: ``python -m benchmarks.memory [--quick | --from FILE]``.

Keeps the raw numbers in ``benchmarks/results/DATE-memory.json``, and writes them into ``benchmarks/README.md`` and
``README.md`` (``--quick`` prints a table only). Every proof is verified. ``--from``: of results that there are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report, steps
from benchmarks.measure import RESULTS, ROOT, machine, median
from syurmy.assembler import assemble, assemble_file
from syurmy.host import peak_mb
from syurmy.isa.arrays import I64
from syurmy.isa.program import Program
from syurmy.prover.keys import setup
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import Verifier
from syurmy.vm import run, run_batch

PROGRAMS = ROOT / "programs"
LONG = 10**7  # steps of the longest run
BEGIN, END = "<!-- memory: written by python -m benchmarks.memory -->", "<!-- end of memory -->"
Inputs = Mapping[str, I64]

ACCESSES = """
.program accesses
.ram m : i16[1024, 8]
.input i : i16[{n}] private in 0..1023
.input v : i16[{n}, 8] private
.output y public
    store m[i], v
    load  r, m[i]
    sum   y, r, axes=(0,)
    halt
"""

SCALAR = """
.program scalar
.input a    : i32[] private in 1..1000
.input last : i32[] public
.output x public
    mov  x, a
    muli i, a, 0
    cast i, i, i32
again:
    muli x, x, 1103
    addi x, x, 12345
    addi z, a, 65535
    mod  x, x, z
    cast x, x, i32
    addi i, i, 1
    cast i, i, i32
    lt   more, i, last
    bnz  more, again
    halt
"""


def measure(program: Program, inputs: Inputs, runs: int, batch: bool = False) -> dict[str, Any]:
    """Seconds, bytes and sizes of one proof; the median of ``runs`` after one that does not count."""
    execute = run_batch if batch else run
    trace = execute(program, inputs)
    pk = setup(program, CLEAR)
    proof = prove(pk, trace)
    verifier = Verifier(pk.verifying_key)
    statement = verifier.verify(proof.data)
    if any((statement.outputs[name] != trace.outputs[name]).any() for name in statement.outputs):
        raise AssertionError("the proof states other outputs than the run has")
    r = proof.report
    return {
        "execute": median(lambda: execute(program, inputs), runs),
        "prove": median(lambda: prove(pk, trace), runs),
        "verify": median(lambda: verifier.verify(proof.data), runs),
        "bytes": len(proof.data),
        "steps": r.steps,
        "leaves": r.leaves,
        "committed": r.committed_entries,
        "bits": r.soundness_bits,
        "peak_mb": peak_mb(),
    }


def accesses(log: int, runs: int) -> dict[str, Any]:
    n = 2 ** (log - 1)  # as many stores as loads
    rng = np.random.default_rng(log)
    inputs = {"i": rng.integers(0, 1024, n), "v": rng.integers(-1000, 1000, (n, 8))}
    return {"accesses": 2 * n, **measure(assemble(ACCESSES.format(n=n)), inputs, runs)}


def scalar(rounds: int, runs: int) -> dict[str, Any]:
    return measure(assemble(SCALAR), {"a": np.array(77), "last": np.array(rounds)}, runs)


def program(name: str, runs: int) -> dict[str, Any]:
    with np.load(PROGRAMS / f"{name}.inputs.npz") as file:
        inputs = dict(file)
    return measure(assemble_file(PROGRAMS / f"{name}.tasm"), inputs, runs)


def lenet(batch: int, runs: int) -> dict[str, Any]:
    with np.load(PROGRAMS / "lenet.inputs.npz") as file:
        inputs = {name: np.stack([x] * batch) if batch > 1 else x for name, x in file.items()}
    return {"batch": batch, **measure(assemble_file(PROGRAMS / "lenet.tasm"), inputs, runs, batch > 1)}


def _table(first: str, rows: list[tuple[str, dict[str, Any], str]]) -> str:
    head = [first, "steps", "leaves", "prove", "verify", "proof", "execute", ""]
    cells = [
        (
            name,
            f"{r['steps']:,}",
            f"{r['leaves']:,}",
            report.duration(r["prove"]),
            report.duration(r["verify"]),
            report.size(r["bytes"]),
            report.duration(r["execute"]),
            note,
        )
        for name, r, note in rows
    ]
    return report.table(head, cells)


def measured(quick: bool) -> dict[str, Any]:
    """Everything, as it is kept."""
    runs = 1 if quick else 3
    logs = [10, 12] if quick else [10, 12, 14, 16, 18]
    result: dict[str, Any] = {"machine": machine(), "quick": quick, "runs": runs}
    result["accesses"] = [accesses(log, runs) for log in logs]
    result["scalar"] = [scalar(n, runs) for n in ([100] if quick else [112, 1111])]
    names = ["generate_text", "generate_text_ram"]
    result["programs"] = {} if quick else {name: program(name, runs) for name in names}
    result["lenet"] = [lenet(b, runs) for b in ([1, 2] if quick else [1, 8, 64])]
    result["long"] = None if quick else steps.alone(LONG)
    return result


def table(result: dict[str, Any]) -> str:
    """The rows of ``benchmarks/README.md``."""
    base = result["accesses"][0]
    rows = []
    for r in result["accesses"]:
        rows.append((f"{r['accesses']:,} accesses of 8-wide rows", r, f"{1e6 * _access(r, base):.1f} µs per access"))
    rows += [(f"scalar loop, {r['steps']:,} steps", r, "") for r in result["scalar"]]
    rows += [(name, r, "") for name, r in result["programs"].items()]
    for r in result["lenet"]:
        per = f"prove {report.duration(r['prove'] / r['batch'])}, {report.size(r['bytes'] / r['batch'])} an inference"
        rows.append((f"LeNet-5, batch {r['batch']}", r, per))
    return _table("program", rows)


def _access(r: dict[str, Any], base: dict[str, Any]) -> float:
    """Seconds of proving that an access adds to the smallest run, or of that run has."""
    if r is base:
        return float(r["prove"] / r["accesses"])
    return float((r["prove"] - base["prove"]) / (r["accesses"] - base["accesses"]))


def paragraph(result: dict[str, Any]) -> str:
    """What ``README.md`` says of it."""
    m, long, base = result["machine"], result["long"], result["accesses"]
    loop, batch, text = result["scalar"][-1], result["lenet"][-1], result["programs"]["generate_text"]
    took = {k: report.duration(v) for k, v in long["seconds"].items()}
    where = f"{m['cpu']}, {m['cores']} cores (load {m['load']})"
    lines = [
        f"On {m['date'][:10]}, {where}, medians of {result['runs']}, nothing hidden:",
        f"- a loop of {loop['steps']:,} scalar instructions in {report.duration(loop['prove'])}, "
        f"{report.size(loop['bytes'])}, verified in {report.duration(loop['verify'])};",
        f"- RAM at {1e6 * _access(base[-1], base[0]):.1f} µs per access of an 8-wide row;",
        f"- LeNet-5 in a batch of {batch['batch']} at {report.duration(batch['prove'] / batch['batch'])} and "
        f"{report.size(batch['bytes'] / batch['batch'])} an inference;",
        f"- a transformer that writes 55 characters in {report.duration(text['prove'])}, one proof of "
        f"{report.size(text['bytes'])};",
        f"- once, its input hidden, a loop of {long['steps']:,} instructions (`--max-steps`): run {took['execute']}, "
        f"prove {took['prove']} with {long['peak_mb'] / 1024:.1f} GiB, {report.size(long['bytes'])}, "
        f"verified in {took['verify']}.",
    ]
    return "\n".join([lines[0], "", *lines[1:]]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--from", dest="kept", type=Path, metavar="FILE", help="results to write down")
    options = parser.parse_args()
    target = options.kept
    if target is None:
        result = measured(options.quick)
        RESULTS.mkdir(parents=True, exist_ok=True)
        target = RESULTS / f"{time.strftime('%Y-%m-%d')}-memory{'-quick' * options.quick}.json"
        target.write_text(json.dumps(result, indent=1) + "\n")
    result = json.loads(target.read_text())
    said = f"{report.machine(result['machine'])}\n\n{table(result)}\n\nRaw numbers: `results/{target.name}`.\n"
    print(said, end="")
    if not result["quick"]:
        report.write_readme(said, begin=BEGIN, end=END)
        report.write_readme(paragraph(result), ROOT / "README.md", BEGIN, END)


if __name__ == "__main__":
    main()
