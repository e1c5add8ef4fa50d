"""The command line ``syurmy-verify``: the command ``verify`` of ``syurmy-vm`` alone, on Python's own argument parser.
``syurmy-vm verify`` is answered here, too, unless it asks for help or makes a mistake: Typer takes as long to import as
a small proof to verify.

Exit codes: ``outcome.EXITS``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
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
    """Arguments and options of ``syurmy-verify``."""
    out = with_options(_Parser("syurmy-verify", description="Verify a proof and print its statement."))
    out.add_argument("--version", action="version", version=f"syurmy-verify {syurmy.__version__}")
    return out


def with_options(out: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """With the arguments and options of ``syurmy-vm verify``."""
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
    return out


class _Strict(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def of_whole(arguments: Sequence[str]) -> int | None:
    """The exit code of ``syurmy-vm verify`` with these arguments; None, and nothing done, where Typer has to answer."""
    try:
        given = with_options(_Strict("syurmy-vm verify", add_help=False, allow_abbrev=False)).parse_args(arguments)
    except ValueError:
        return None
    _begun()
    return _answered(given, bar=True)


def _begun() -> None:
    """What a process that verifies does first."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no product here is large enough for threads
    outcome.settle_streams()
    outcome.seldom_collect()


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _verify(json: bool, debug: bool, bar: bool, **given: Any) -> int:
    from syurmy.display import Working
    from syurmy.verification import answer

    with Working("verify") if bar else nullcontext():
        found = answer(**given)
    return found.show(json, debug)


def _answered(given: argparse.Namespace, bar: bool = False) -> int:
    """``bar``: where the packages for it are installed."""
    return outcome.exit_code(lambda: _verify(bar=bar, **vars(given)), "verify", given.json, given.debug)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``syurmy-verify``; returns the exit code."""
    if arguments is None:
        interrupts.ended_at_once()
        _begun()
    return _answered(parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
