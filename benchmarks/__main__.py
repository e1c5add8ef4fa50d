"""``python -m benchmarks``: measure, print tables, keep the raw numbers. See benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import commitments, peers, programs, report
from benchmarks.measure import RESULTS, Failed, child, machine

PARTS = ("kernels", "cold", "programs", "commitments", "peers")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure kernels, programs and peers.")
    parser.add_argument("--quick", action="store_true", help="small kernels, the smallest network, no cold start")
    parser.add_argument("--peers", action="store_true", help="also ezkl (about ten minutes, 12 GB)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts instead of all")
    parser.add_argument("--programs", nargs="+", choices=list(programs.CASES), metavar="NAME", help="these networks")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH", help="an interpreter that has ezkl")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw numbers (benchmarks/results/DATE.json)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 1 if something could not be measured."""
    options = arguments(argv)
    parts = set(options.only or PARTS) - (set() if options.peers or options.only else {"peers"})
    if options.quick and not options.only:
        parts -= {"cold"}
    names = options.programs or (["mlp64"] if options.quick else list(programs.CASES))
    target = options.json or RESULTS / f"{time.strftime('%Y-%m-%d')}{'-quick' * options.quick}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    result: dict[str, Any] = {"machine": machine(), "quick": options.quick, "failures": failures}
    print(report.machine(result["machine"]), file=sys.stderr)

    def attempt(title: str, work: Callable[[], Any], keep: Callable[[Any], None]) -> None:
        """Measure and save: an interrupted run keeps what it has."""
        print(f"{title} ...", end=" ", flush=True, file=sys.stderr)
        start = time.perf_counter()
        try:
            keep(work())
        except Failed as error:
            failures.append(f"{title}: {error}")
            print(f"failed: {error}", file=sys.stderr)
        else:
            print(report.duration(time.perf_counter() - start), file=sys.stderr)
        _write(target, result)

    def listed(key: str) -> Callable[[Any], None]:
        rows: list[Any] = result.setdefault(key, [])
        return rows.append

    if "kernels" in parts:
        command = ["-m", "benchmarks.kernels", *["--quick"] * options.quick]
        attempt("kernels", lambda: child(command), lambda rows: result.update(kernels=rows))
    if "cold" in parts:
        attempt("cold start", programs.cold_start, lambda c: result.update(cold=c))
    if "programs" in parts:
        for name in names:
            runs = 1 if options.quick else None
            attempt(name, partial(programs.measure, name, runs), listed("programs"))
    if "commitments" in parts:
        for name in names:
            runs = 1 if options.quick else None
            attempt(f"commitments of {name}", partial(commitments.measure, name, runs), listed("commitments"))
    if "peers" in parts:
        missing = peers.unavailable(options.peer_python)
        if missing:
            failures.append(missing)
            print(missing, file=sys.stderr)
        for name in () if missing else [n for n in peers.CASES if n in names]:
            attempt(f"ezkl {name}", partial(peers.measure, name, options.peer_python), listed("peers"))
    _write(target, result)
    print(report.markdown(result))
    print(f"raw numbers: {target}", file=sys.stderr)
    return 1 if failures else 0


def _write(path: Path, result: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted; what was measured until then is kept", file=sys.stderr)
        sys.exit(130)
