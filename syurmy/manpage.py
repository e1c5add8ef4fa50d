"""The manual page of ``syurmy-vm``, from the commands themselves: ``python -m syurmy.manpage > docs/syurmy-vm.1``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from syurmy import __version__
from syurmy.outcome import EXITS


def text() -> str:
    """The page in roff."""
    from syurmy.cli import app

    group: Any = typer.main.get_command(app)  # typer brings its own click, or uses the one that is installed
    lines = [
        f'.TH SYURMY-VM 1 "" "syurmy-vm {__version__}" "User commands"',
        ".SH NAME",
        "syurmy-vm \\- run tensor programs on exact integers, prove the run, verify proofs",
        ".SH SYNOPSIS",
        ".B syurmy-vm",
        ".I COMMAND",
        "[\\fIOPTIONS\\fR] ...",
        ".SH COMMANDS",
    ]
    for name, command in group.commands.items():
        lines += _command(name, command)
    lines += [".SH GENERAL OPTIONS", *_options(group)]
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXITS.items():
        lines += [".TP", f".B {code}", _plain(f"{meaning}.")]
    lines += [
        ".SH ENVIRONMENT",
        ".TP",
        ".B SYURMY_CACHE",
        "Folder in which compiled kernels are kept; otherwise syurmy-vm in \\fBXDG_CACHE_HOME\\fR or ~/.cache.",
        ".TP",
        ".B SYURMY_DEVICE",
        "What proofs are made on where no --device is given: cpu, cuda, cuda:N or auto.",
        ".SH FILES",
        ".TP",
        ".B PROG.pk\\fR, \\fBPROG.vk\\fR, \\fBPROG.proof",
        "Proving key, verifying key and proof of \\fBPROG.tasm\\fR.",
        ".TP",
        ".B PROG.inputs.npz\\fR, \\fBPROG.inputs.json",
        "What is read where no --input is given.",
    ]
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    shown = " ".join(_plain(p.metavar if p.required else f"[{p.metavar}]") for p in arguments)
    yield f'.SS "{name}"'
    yield f".B syurmy\\-vm {name}"
    if shown:
        yield f".I {shown}"
    yield ".PP"
    yield _plain(inspect.cleandoc(command.help or ""))
    yield from _options(command)


def _options(command: Any) -> Iterator[str]:
    context = command.make_context(command.name, [], resilient_parsing=True)
    for p in command.params:
        if p.param_type_name == "option" and (record := p.get_help_record(context)):
            yield ".TP"
            shown = re.sub(r"<\w+( \w+)?>|INTEGER( RANGE.*)?|FLOAT|TEXT$", "N", " ".join(record[0].split()))
            yield f".B {_plain(shown)}"
            yield _plain(" ".join((p.help or "").split()))


def _plain(text: str) -> str:
    """Text that roff leaves as it is."""
    out = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in out.splitlines() if line.strip())


if __name__ == "__main__":
    print(text(), end="")
