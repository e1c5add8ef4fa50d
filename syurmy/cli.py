"""The command line ``syurmy-vm``.

Exit codes: ``outcome.EXITS``. With ``--json`` standard output is exactly one JSON object; errors then are
``{"error": {...}}`` beside the line on stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

import syurmy
from syurmy.commands.asm import asm
from syurmy.commands.certify import certify, verify_key
from syurmy.commands.check import check
from syurmy.commands.commit import commit
from syurmy.commands.common import reported
from syurmy.commands.compare import compare
from syurmy.commands.compile import compile
from syurmy.commands.debug import debug
from syurmy.commands.devices import devices
from syurmy.commands.disasm import disasm
from syurmy.commands.doctor import doctor, warmup
from syurmy.commands.editor import dap, lsp
from syurmy.commands.explain import explain
from syurmy.commands.fmt import fmt
from syurmy.commands.generate import generate
from syurmy.commands.info import info
from syurmy.commands.new import new
from syurmy.commands.profile import profile
from syurmy.commands.run import prove, run
from syurmy.commands.setup import setup
from syurmy.commands.share import share
from syurmy.commands.testing import run_tests
from syurmy.commands.verify import verify
from syurmy.help import Command, Group
from syurmy.outcome import EXITS, seldom_collect, settle_streams, tell, warn

app = typer.Typer(
    name="syurmy-vm",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: " + "; ".join(f"{code} {meaning.replace(';', ',')}" for code, meaning in EXITS.items()),
)

COMMANDS = (
    *(run, prove, compile, generate, verify, setup, certify, verify_key, commit, share, check, compare, profile, debug),
    *(asm, disasm, info, new, explain, fmt, lsp, dap, doctor, devices, warmup),
)

for command in COMMANDS:
    app.command(command.__name__.replace("_", "-"), cls=Command)(reported(command))
app.command("test", cls=Command)(reported(run_tests))


def _version(asked: bool) -> None:
    if asked:
        print(f"syurmy-vm {syurmy.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run tensor programs on exact integers, prove the run, verify proofs."""


def listen() -> None:
    """Notes and warnings of the library, such as that kernels are being compiled, go to stderr."""
    log = logging.getLogger("syurmy")
    log.addHandler(_Notes())
    log.setLevel(logging.INFO)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        (warn if record.levelno >= logging.WARNING else tell)(record.getMessage())


def main() -> None:
    """The command line, once everything is imported (``syurmy.__main__`` answers Ctrl-C until then). Whoever calls it
    in a process of their own keeps their handlers."""
    settle_streams()
    listen()
    seldom_collect()
    if os.environ.get("COLUMNS") == "0":  # as good as not set for Python and shells; Rich prints nothing
        del os.environ["COLUMNS"]
    everything = app.registered_commands
    # Typer reads the options of every command that it has: of the one that is asked for in a quarter of the time
    app.registered_commands = [c for c in everything if c.name in sys.argv[1:2]] or everything
    try:
        app()
    finally:
        app.registered_commands = everything


if __name__ == "__main__":
    main()
