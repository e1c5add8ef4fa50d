"""What a used leaf of a lookup tree costs, at powers of two and just above: ``python -m benchmarks.leaves [LOG ...]``.

Each tree of 2^LOG leaves and more (default 18, 20, 22) is built and proven in a process of its own, which names user
and system time per used leaf, the least of several runs, and its memory at the peak. ``--full``: full trees alone,
once: 2^27 leaves take 7.5 GB. Numerators are 1 but those of a table of 2^16 rows. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import resource
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.measure import child, machine
from syurmy.host import peak_mb
from syurmy.prover import lookup
from syurmy.prover.field import Ext, P
from syurmy.prover.protocol.transcript import Sender, Transcript

LOGS = (18, 20, 22)
ABOVE = (1.0, 0.0, 1.1, 1.25, 1.5, 1.75)  # of a power of two, 0: one leaf more
STRIP = 1 << 20  # leaves that are filled in at once
TABLE = 1 << 16
RUNS = 5


def tree(used: int) -> lookup.Leaves:
    """Leaves of a few blocks, padding none."""
    rng = np.random.default_rng(used)
    leaves = lookup.Leaves.ones(used)
    factors = lookup.factors(1, Ext(3, 5), [Ext(7, 11)])
    for lo in range(0, used, STRIP):
        members = rng.integers(0, 1 << 16, min(STRIP, used - lo))
        part = leaves.denominators()[:, lo : lo + len(members)]
        lookup.fill_planes((part[0], part[1]), [members], members.shape, members.shape, factors)
    table = slice(used // 2, used // 2 + min(TABLE, used // 4))
    leaves.num[table] = P - rng.integers(1, 1 << 16, table.stop - table.start, np.uint64)
    return leaves


def measure(used: int, runs: int) -> dict[str, Any]:
    """ns of user and of system time per leaf, the least sum, and MiB at the peak."""
    found = []
    for _ in range(runs):
        leaves = tree(used)
        before = resource.getrusage(resource.RUSAGE_SELF)
        lookup.prove_tree(Sender(Transcript()), leaves)
        after = resource.getrusage(resource.RUSAGE_SELF)
        del leaves
        found.append((after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime))
    user, system = min(found[1:] or found, key=sum)
    return {"used": used, "user": user / used * 1e9, "system": system / used * 1e9, "peak_mb": peak_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaves")
    parser.add_argument("logs", nargs="*", type=int, metavar="LOG", default=LOGS)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--used", type=int, help=argparse.SUPPRESS)  # in a child
    given = parser.parse_args()
    if given.used:
        measure(1 << 16, 1)  # kernels are there
        print(json.dumps(measure(given.used, 1 if given.full else RUNS)))
        return
    rows = []
    for log in given.logs:
        for factor in ABOVE[:1] if given.full else ABOVE:
            used = int((1 << log) * factor) or (1 << log) + 1
            once = ["--full"] if given.full else []
            r = child(["-m", "benchmarks.leaves", "--used", str(used), *once])
            rows.append((f"{used:,}", f"{r['user']:.1f}", f"{r['system']:.1f}", f"{r['peak_mb'] * 2**20 / used:.0f}"))
    print(report.machine(machine()))
    print(report.table(("used leaves", "user time, ns a leaf", "system time, ns", "memory, bytes a leaf"), rows))


if __name__ == "__main__":
    main()
