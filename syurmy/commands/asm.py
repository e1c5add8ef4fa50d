"""``syurmy-vm asm``: a program in its binary encoding."""

from __future__ import annotations

from typing import Any

from syurmy.commands.common import Debug, Json, ProgramPath, Target, print_json, sibling, terminal


def asm(program: ProgramPath, output: Target = None, json: Json = False, debug: Debug = False) -> None:
    """Assemble a program to its canonical binary encoding (PROG.bin unless --output)."""
    from syurmy import display, files
    from syurmy.commands import models
    from syurmy.isa.encoding import digest, encode

    at = models.opened(program, None)
    code, program = at.program, at.path
    data = encode(code)
    target = output or sibling(program, ".bin")
    files.write_whole(target, data)
    result: dict[str, Any] = {
        "program": code.name,
        "digest": digest(code).hex(),
        "file": str(target),
        "bytes": len(data),
    }
    if json:
        print_json(result | {"instructions": len(code.code)})
    else:
        size = f"{len(code.code)} instructions, {display.bytes_text(len(data))}"
        terminal().print(f"{target}: {size}, digest {result['digest'][:16]}…", markup=False, soft_wrap=True)
