"""The command line ``syurmy-verify``: the command ``verify`` of ``syurmy-vm`` alone, on Python's own argument parser.

Exit codes: ``outcome.EXITS``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import syurmy
from syurmy import interrupts, outcome


class _Parser(argparse.ArgumentParser):
    """With ``--json`` tells what it does not understand as JSON, too."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.json = "--json" in (sys.argv if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        if self.json:
            outcome.misused(message, "verify")
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """Arguments and options of ``syurmy-vm verify``."""
    out = _Parser("syurmy-verify", description="Verify a proof and print its statement.")
    out.add_argument("key", type=Path, metavar="PROG.vk", help="Verifying key.")
    out.add_argument("proof", type=Path, metavar="FILE.proof", help="Proof.")
    out.add_argument("--reference", action="store_true", help="Verify in plain NumPy, as this command always does.")
    out.add_argument("--max-steps", type=_count, metavar="N", help="Reject longer runs before doing the work.")
    out.add_argument("--max-batch", type=_count, metavar="N", help="Reject proofs of more inputs than this.")
    out.add_argument("--expect", action="append", metavar="NAME=VALUE", help="What an input or output must be.")
    out.add_argument("--expect-key", metavar="DIGEST", help="What the key's digest must begin with.")
    out.add_argument("--certificate", type=Path, metavar="PROG.cert", help="The key's certificate, checked before.")
    out.add_argument("--tokenizer", type=Path, metavar="FILE", help="For the text of what a language model wrote.")
    out.add_argument("--verbose", "-v", action="store_true", help="Every term of the soundness error.")
    out.add_argument("--raw", action="store_true", help="The program's integers, not what they stand for.")
    out.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")
    out.add_argument("--debug", action="store_true", help="Show tracebacks of errors.")
    out.add_argument("--version", action="version", version=f"syurmy-verify {syurmy.__version__}")
    return out


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _verify(json: bool, debug: bool, **given: Any) -> int:
    from syurmy.verification import answer

    return answer(**given).show(json, debug)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``syurmy-verify``; returns the exit code."""
    if arguments is None:
        interrupts.ended_at_once()
        outcome.settle_streams()
        outcome.seldom_collect()
    given = parser().parse_args(arguments)
    return outcome.exit_code(lambda: _verify(**vars(given)), "verify", given.json, given.debug)


if __name__ == "__main__":
    sys.exit(main())
