"""Fuzzes a target for a number of seconds, guided by the coverage of the product's own modules (atheris, libFuzzer).

A crash, an accepted forgery or an answer that takes too long or too much memory is written to
``tests/fuzz/corpus/TARGET``, where a test keeps asking for an answer to it, and ends the run with an error.
``python -m tests.fuzz TARGET SECONDS [--seed N]`` (0: another seed every time).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

ANSWER_SECONDS = 60  # ten, several times slower where every branch is counted, on a machine that others use too
MEGABYTES = 4096
LONGEST = 2**16  # bytes of an input
KERNELS = [f"syurmy.prover.kernels.{f.stem}" for f in Path(__file__).parents[2].glob("prover/kernels/*.py")]

with atheris.instrument_imports(include=["syurmy"], exclude=KERNELS):  # Numba compiles kernels from their bytecode
    from syurmy.isa import refusal
    from tests.fuzz.targets import CORPUS, TARGETS, honest, kept


def main() -> None:
    refusal.STRICT = True
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("seconds", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    target, found = TARGETS[args.target], CORPUS / args.target
    found.mkdir(parents=True, exist_ok=True)

    def once(data: bytes) -> None:
        target(data)

    with tempfile.TemporaryDirectory(prefix="syurmy-fuzz-") as folder:
        for k, data in enumerate(kept(args.target) + honest(args.target)):
            target(data)
            (Path(folder) / str(k)).write_bytes(data)
        options = {
            "max_total_time": args.seconds,
            "seed": args.seed,
            "timeout": ANSWER_SECONDS,
            "rss_limit_mb": MEGABYTES,
            "max_len": LONGEST,
            "artifact_prefix": f"{found}/",
            "print_final_stats": 1,
        }
        atheris.Setup([sys.argv[0], *(f"-{k}={v}" for k, v in options.items()), folder], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
