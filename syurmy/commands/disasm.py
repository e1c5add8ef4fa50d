"""``syurmy-vm disasm``: a program as text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from syurmy.commands.common import Debug, Json, Target, print_json


def disasm(
    program: Annotated[
        Path, typer.Argument(metavar="FILE", help="PROG.vk, PROG.bin, PROG.tasm, a model's folder or MODEL.onnx.")
    ],
    output: Target = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print a program as tensor assembly, macros expanded."""
    from syurmy import files, keys
    from syurmy.assembler import disassemble
    from syurmy.commands import models

    if program.suffix in (".vk", ".bin"):
        code = keys.read_program(program)
    else:
        code = models.opened(program, None).program
    text = disassemble(code)
    if output is not None:
        files.write_whole(output, text.encode())
    if json:
        print_json({"program": code.name, "file": str(output) if output else None, "text": text})
    elif output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
