"""What a used leaf of a lookup tree costs, at powers of two and just above: ``python -m benchmarks.leaves [LOG ...]``.

Each tree of 2^LOG leaves and more (default 12 to 22) is built and proven in a process of its own, which names user
and system time per used leaf, the least of several runs, and its memory at the peak. ``--full``: full trees alone,
once: 2^27 leaves take 6.5 GB. As much memory is written to by another process before each (``measure.touch``): system
time is then for pages that this process takes, and not for those that the machine itself has never had. Numerators are
1 but those of a table of 2^16 rows, or of a quarter of the leaves. ``--programs``: whole proofs instead, without zero
knowledge, of 3/4 of 2^LOG leaves, a few more than 2^LOG, and 5/4. Prints a markdown table; ``--output FILE`` has the
numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np

import syurmy
from benchmarks import report
from benchmarks.measure import child, machine, touch
from syurmy.host import peak_mb
from syurmy.prover import lookup
from syurmy.prover.field import Ext, P
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.transcript import Sender, Transcript

LOGS = tuple(range(12, 23))
ABOVE = (1.0, 0.0, 1.1, 1.25, 1.5, 1.75)  # of a power of two, 0: one leaf more
STRIP = 1 << 20  # leaves that are filled in at once
TABLE = 1 << 16
SECONDS = 0.5  # of runs of a small tree
RUNS = 5  # at least
FIXED, BYTES = 256 << 20, 50  # that a process takes, and by leaf
PROGRAM = """
.input x : {dtype}[16, {n}] private
.output y public
    rescale z, x, {shift}, {to}
    sum y, z
    halt
"""
LOOKUPS = (("i8", 2, "i8"), ("i16", 8, "i16"), ("i16", 8, "i8"))  # which take 3, 4 and 5 leaves an entry, and tables


def tree(used: int) -> lookup.Leaves:
    """Leaves of a few blocks, padding none."""
    rng = np.random.default_rng(used)
    table = slice(used // 2, used // 2 + min(TABLE, used // 4))
    leaves = lookup.Leaves.ones(used, others=[(table.start, table.stop)])
    factors = lookup.factors(1, Ext(3, 5), [Ext(7, 11)])
    for lo in range(0, used, STRIP):
        members = rng.integers(0, 1 << 16, min(STRIP, used - lo))
        part = leaves.denominators()[:, lo : lo + len(members)]
        lookup.fill_planes((part[0], part[1]), [members], members.shape, members.shape, factors)
    leaves.num[table] = P - rng.integers(1, 1 << 16, table.stop - table.start, np.uint64)
    return leaves


def measure(used: int, once: bool) -> dict[str, Any]:
    """ns of user and of system time per leaf, the least sum, and MiB at the peak."""
    found: list[tuple[float, float]] = []
    while not found or (not once and (len(found) <= RUNS or sum(map(sum, found)) < SECONDS)):
        leaves = tree(used)
        before = resource.getrusage(resource.RUSAGE_SELF)
        lookup.prove_tree(Sender(Transcript()), leaves)
        after = resource.getrusage(resource.RUSAGE_SELF)
        del leaves
        found.append((after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime))
    return least(used, found)


def least(used: int, found: list[tuple[float, float]]) -> dict[str, Any]:
    user, system = min(found[1:] or found, key=sum)
    return {"used": used, "user": user / used * 1e9, "system": system / used * 1e9, "peak_mb": peak_mb()}


def measure_program(log: int, which: int) -> dict[str, Any]:
    """The same of whole proofs of an element-wise program."""
    dtype, shift, to = LOOKUPS[which]
    program = syurmy.assemble(PROGRAM.format(dtype=dtype, n=1 << log - 6, shift=shift, to=to))
    key, _ = syurmy.setup(program, zk=False)
    inputs = {"x": np.random.default_rng(log).integers(-100, 100, (16, 1 << log - 6))}
    trace = syurmy.run(program, inputs)
    found: list[tuple[float, float]] = []
    while len(found) <= RUNS or sum(map(sum, found)) < SECONDS:
        before = resource.getrusage(resource.RUSAGE_SELF)
        syurmy.prove(key, trace)
        after = resource.getrusage(resource.RUSAGE_SELF)
        found.append((after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime))
    return least(Plan.of(program).used_leaves, found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaves")
    parser.add_argument("logs", nargs="*", type=int, metavar="LOG", default=LOGS)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--programs", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--used", type=int, help=argparse.SUPPRESS)  # in a child
    given = parser.parse_args()
    if given.used is not None:
        measure(1 << 16, True)  # kernels are there
        (log,) = given.logs
        print(json.dumps(measure_program(log, given.used) if given.programs else measure(given.used, given.full)))
        return
    found = []
    for log in given.logs:
        factors = ABOVE[:1] if given.full else ABOVE
        sizes = range(len(LOOKUPS)) if given.programs else [int((1 << log) * f) or (1 << log) + 1 for f in factors]
        how = [flag for flag in ("--full", "--programs") if getattr(given, flag[2:])]
        for size in sizes:
            if given.full:
                touch(FIXED + BYTES * size)
            found.append(child(["-m", "benchmarks.leaves", str(log), "--used", str(size), *how]))
    print(report.machine(machine()))
    rows = [
        (f"{r['used']:,}", f"{r['user']:.1f}", f"{r['system']:.1f}", f"{r['peak_mb'] * 2**20 / r['used']:.0f}")
        for r in found
    ]
    print(report.table(("used leaves", "user time, ns a leaf", "system time, ns", "memory, bytes a leaf"), rows))
    if given.output is not None:
        what = "programs" if given.programs else "trees"
        given.output.write_text(json.dumps({"machine": machine(), what: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
