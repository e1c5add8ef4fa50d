"""``python -m benchmarks.gpu``: what a graphics card takes per item beside a model of it, and proofs beside the CPU.

Where there is no card it prints the model and says so. The model counts instructions: issue slots of an operation, of
SASS as ``ptxas`` makes it for sm_80 and sm_90 (an IMAD.WIDE counts twice), times the operations of an item, at a share
of a card's issue rate, or bytes at a share of its bandwidth, whichever is more. Both shares are assumptions.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import RESULTS, child, machine, median, seconds
from benchmarks.programs import CASES, GENERATE
from syurmy import gpu
from syurmy.gpu import cuda
from syurmy.gpu.emulator import Emulator
from syurmy.gpu.grid import Grid
from syurmy.prover import lookup, sumcheck
from syurmy.prover.commitment import commit, stored_matrix
from syurmy.prover.field import U64, Ext, P
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.protocol.shapes import choose_witness_shape
from syurmy.prover.protocol.transcript import Sender, Transcript

RUNS = 5
RATE, BANDWIDTH = 0.55, 0.8  # shares that are reached: assumed, not measured
LAUNCH, COPY = 10e-6, 15e-6  # seconds of a launch and of a copy, with Python's share: assumed, not measured
SLOTS = {"mul": 34, "kmul": 154, "kmul_by": 134, "fold": 172, "gate": 226, "kmac": 64, "butterfly": 52, "compress": 800}
PROGRAMS = ("mlp784", "lenet5", "vgg16")


@dataclass(frozen=True)
class Model:
    """A card: multiprocessors, clock in Hz, bytes per second of its memory and of the bus."""

    name: str
    processors: int
    clock: float
    memory: float
    bus: float

    def ns(self, slots: float, moved: float) -> float:
        """Of an item."""
        return 1e9 * max(slots / (self.processors * self.clock * 128 * RATE), moved / (self.memory * BANDWIDTH))


CARDS = (
    Model("A100 80 GB", 108, 1.41e9, 2.04e12, 25e9),
    Model("H100 SXM", 132, 1.75e9, 3.35e12, 50e9),
    Model("RTX 4090", 128, 2.52e9, 1.01e12, 25e9),
)


def items(log_cols: int = 13) -> dict[str, tuple[float, float]]:
    """Issue slots and bytes of an item, from the products in docs/kernels.md and what each pass reads and writes;
    denominators of a leaf are made twice, of one member."""
    s = SLOTS
    weigh = 4 * s["kmul"]  # of the two sums of a pair, by both eq tables
    leaf = 4 * s["mul"] + s["kmul"] / 2 + (2 * s["kmul"] + weigh) / 4 + (4 * s["fold"] + 2 * s["kmul"] + weigh) / 4
    inner = (s["gate"] + s["kmul"]) / 2 + (2 * s["kmul_by"] + 2 * s["gate"] + weigh) / 4
    inner += (16 * s["fold"] + 2 * s["kmul_by"] + 4 * s["gate"] + 2 * weigh) / 8
    commitment = 4 * (log_cols / 2 * s["butterfly"] + s["mul"]) + 4 * 8 / 64 * s["compress"]
    return {
        "LogUp-GKR, per leaf": (leaf + inner, 2 * 20 + 96 + 160),
        "commit, per entry": (commitment, 8 + 32 + 64 * (-(-log_cols // 7) - 1) + 32),
        "opening's sumcheck, per entry": (2 * s["fold"] + 2 * (s["kmac"] + 10), 96),
        "weights bound, int8, per weight": (12, 1),
    }


def modelled_proof(card: Model, case: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds of a proof by what was counted (``proof``): its kernels, its launches and copies, the bus. What the host
    computes beside them is not in it."""
    ns = {name: card.ns(*item) for name, item in items().items()}
    entries = ns["commit, per entry"] + ns["opening's sumcheck, per entry"]
    kernels = case["leaves"] * ns["LogUp-GKR, per leaf"] + case["entries"] * entries
    kernels += 3 * case["weights"] * ns["weights bound, int8, per weight"]
    calls = sum(case["launches"].values()) * LAUNCH + (case["copies"] + case["waits"]) * COPY
    return kernels / 1e9, calls, (case["up"] + case["down"]) / card.bus


def elements(*shape: int) -> U64:
    return np.random.default_rng(1).integers(0, P, shape, np.uint64)


def measured(memory: Grid, log: int) -> Iterator[tuple[str, str, float]]:
    """Item, size and ns per item, on the selected backend ``memory``; what is timed ends with a download."""

    def per(work: Callable[[], object], count: int) -> float:
        return median(work, RUNS) / count * 1e9

    members = [memory.upload(np.random.default_rng(1).integers(0, 1 << 16, 1 << log, np.int32))]

    def fill(den: gpu.Array) -> None:
        parts = den[0, : 1 << log], den[1, : 1 << log]
        lookup.fill_planes(parts, members, [1 << log], [1 << log], lookup.factors(1, Ext(3, 5), [Ext(7, 9)]))

    leaves = lookup.Leaves.ones(1 << log, memory, [], fill)
    work: Callable[[], object] = lambda: lookup.prove_tree(Sender(Transcript()), leaves)  # noqa: E731
    yield "LogUp-GKR, per leaf", f"2^{log} leaves", per(work, 1 << log)

    shape = choose_witness_shape(log, lambda log_cols: 1 << (log - log_cols))
    flat: gpu.Array = memory.upload(elements(1 << log))
    matrix = stored_matrix(flat, shape.log_cols)
    yield "commit, per entry", f"2^{log} entries", per(lambda: commit(matrix, shape).root, 1 << log)

    omega: gpu.Array = memory.upload(elements(2, 1 << log))
    instance = [sumcheck.Instance(Ext(1), [omega, flat])]
    work = lambda: sumcheck.prove(Sender(Transcript()), "x", instance, log)  # noqa: E731
    yield "opening's sumcheck, per entry", f"2^{log} entries", per(work, 1 << log)

    side = 1 << (log // 2)
    integers = IntegerMatrix.of(np.random.default_rng(1).integers(-128, 128, (side, side), np.int8))
    weights = elements(2, side)
    work = lambda: gpu.download(integers.bind(0, weights, memory))  # noqa: E731
    yield "weights bound, int8, per weight", f"{side} × {side}", per(work, side * side)


def proof(name: str, folder: Path, memory: Grid, runs: int) -> dict[str, Any]:
    """A program's clear proof on the CPU and on the device: the same bytes, the times, what crossed."""
    import syurmy
    from syurmy import inputs

    path = folder / f"{name}.tasm"
    program = syurmy.load(path)
    trace = syurmy.run(program, inputs.read(inputs.beside(path), inputs.of_program(program)))
    key, _ = syurmy.setup(program, zk=False)
    expected = syurmy.prove(key, trace)
    cpu = seconds(lambda: syurmy.prove(key, trace), runs)
    before = gpu.current()
    gpu.select(memory)
    try:
        memory.traffic.clear()
        start = time.perf_counter()
        found = syurmy.prove(key, trace)
        first, kept = time.perf_counter() - start, memory.traffic.kept
        memory.traffic.clear()
        same = syurmy.prove(key, trace).data == found.data == expected.data
        traffic = asdict(memory.traffic)
        device = seconds(lambda: syurmy.prove(key, trace), runs)
    finally:
        gpu.select(before)
    report, params = expected.report, key.params
    weights = 0 if params is None else int(np.prod(params.integers.shape))
    return {"program": name, "same_bytes": same, "cpu_seconds": min(cpu), "device_seconds": min(device),
            "first_seconds": first, "weights": weights, "leaves": report.leaves, "entries": report.committed_entries,
            "proof_bytes": len(expected.data), **traffic, "kept": kept}  # fmt: skip


def modelled() -> list[str]:
    """The model as a table."""
    lines = ["| model, ns | " + " | ".join(c.name for c in CARDS) + " |", "| --- |" + " --: |" * len(CARDS)]
    for name, (slots, moved) in items().items():
        lines.append(f"| {name} | " + " | ".join(f"{c.ns(slots, moved):.4f}" for c in CARDS) + " |")
    return lines


def tables(result: dict[str, Any]) -> list[str]:
    """What was measured, as tables."""
    lines = ["| item | size | ns | model, ns |", "| --- | --- | --: | --- |"]
    for name, size, ns in result["items"]:
        model = ", ".join(f"{c.name} {c.ns(*items()[name]):.3f}" for c in CARDS)
        lines.append(f"| {name} | {size} | {ns:.3f} | {model} |")
    lines += ["", "| program | CPU, ms | card, ms |", "| --- | --: | --: |"]
    lines += ["| {} | {:.1f} | {:.1f} |".format(p["program"], 1e3 * p["cpu_seconds"], 1e3 * p["device_seconds"])
              for p in result["programs"]]  # fmt: skip
    lines += ["", *counted(result["programs"])]
    for p in result["programs"]:
        if not p["same_bytes"]:
            lines.append(f"\n**The proof of {p['program']} is not that of the CPU.**\n")
    return lines


def counted(programs: Sequence[dict[str, Any]]) -> list[str]:
    """What proofs launch and move, and what the model makes of it: kernels + launches and copies + bus."""
    lines = ["| program | leaves | launches | copies up | waits | MB up | MB down | MB with key | peak, MB | "
             + " | ".join(f"{c.name}, ms" for c in CARDS) + " |",
             "| --- |" + " --: |" * (8 + len(CARDS))]  # fmt: skip
    for p in programs:
        calls = p["leaves"], sum(p["launches"].values()), p["copies"], p["waits"]
        sizes = [f"{p[name] / 1e6:.2f}" for name in ("up", "down", "kept", "peak")]
        model = [" + ".join(f"{1e3 * s:.1f}" for s in modelled_proof(c, p)) for c in CARDS]
        lines.append(" | ".join([f"| {p['program']}", *(f"{n:,}" for n in calls), *sizes, *model]) + " |")
    return lines


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--card", type=int, default=0, metavar="N")
    parser.add_argument("--log", type=int, default=22, help="items of kernels: 2^LOG")
    parser.add_argument("--programs", nargs="*", choices=list(CASES), default=PROGRAMS, metavar="NAME")
    parser.add_argument("--count", action="store_true", help="without a card: count what proofs launch, by emulation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw numbers (benchmarks/results/gpu-DATE.json)")
    return parser.parse_args(argv)


def run(memory: Grid, options: argparse.Namespace, runs: int = RUNS) -> dict[str, Any]:
    """Everything on a device."""
    result: dict[str, Any] = {"machine": machine(), "device": memory.name}
    before = gpu.current()
    gpu.select(memory)
    try:
        result["items"] = list(measured(memory, options.log))
    finally:
        gpu.select(before)
    result["programs"] = proofs(memory, options.programs, runs)
    return result


def proofs(memory: Grid, programs: Sequence[str], runs: int) -> list[dict[str, Any]]:
    """``proof`` of each."""
    with tempfile.TemporaryDirectory(prefix="syurmy-bench-") as folder:
        for name in programs:
            child(["-c", GENERATE, name, folder])
        return [proof(name, Path(folder), memory, runs) for name in programs]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 also without a card, 1 where a proof is not that of the CPU."""
    from syurmy.prover.kernels.grid import FORMS

    options = arguments(argv)
    print("\n".join(modelled()))
    print(f"\nThe model assumes {RATE:.0%} of the issue rate, {BANDWIDTH:.0%} of the bandwidth. It is no measurement.")
    if why := cuda.missing():
        print(f"\nNo card, so nothing is measured: {why}")
        found = proofs(Grid(Emulator(), FORMS, pool.CPU), options.programs, 1) if options.count else []
        if found:
            print("\n".join(["", *counted(found)]))
        return 0 if all(p["same_bytes"] for p in found) else 1
    device = cuda.Cuda(options.card)
    result = run(Grid(device, FORMS, pool.CPU), options)
    card = cuda.cards()[options.card]
    result["card"] = asdict(card)
    target = options.json or RESULTS / f"gpu-{time.strftime('%Y-%m-%d')}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{card.name}, {result['machine']['cpu']}, {result['machine']['date']}\n")
    print("\n".join(tables(result)))
    print(f"raw numbers: {target}", file=sys.stderr)
    return 0 if all(p["same_bytes"] for p in result["programs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
