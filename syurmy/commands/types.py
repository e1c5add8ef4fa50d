"""``syurmy-vm info --types``: dtype, shape, interval of every line, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from syurmy.commands.common import print_json

if TYPE_CHECKING:
    from syurmy.assembler.typetable import Row


def show_types(program: Path, json: bool) -> None:
    """Print the table for a program's text, a verifying key or a binary encoding. Raises ``AssemblyErrors``."""
    from syurmy import keys
    from syurmy.assembler.diagnostics import AssemblyErrors
    from syurmy.assembler.drafts import draft, typing
    from syurmy.assembler.source import read_text
    from syurmy.assembler.typetable import type_table

    if program.suffix == ".tasm":
        drawn = draft(read_text(program) + "\n", str(program))
        if drawn.errors:
            raise AssemblyErrors(drawn.errors, drawn.sources.texts)
        rows = type_table(drawn.program, drawn.typing, drawn.places)
    else:
        code = keys.read_program(program)
        rows = type_table(code, typing(code))
    if json:
        print_json({"file": str(program), "types": [_described(row) for row in rows]})
    else:
        _print(rows, str(program))


def _described(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "dtype": str(row.type.dtype),
        "shape": list(row.type.shape),
        "interval": [row.type.lo, row.type.hi],
        "why": row.why,
        "instruction": row.index,
        "file": row.place.file if row.place else None,
        "line": row.place.line if row.place else None,
        "macros": [{"name": name, "file": at.file, "line": at.line} for name, at in row.calls],
    }


def _print(rows: list[Row], main: str) -> None:
    table = [("line", "name", "type", "interval", "why")]
    table += [(_place(r, main), r.name, str(r.type), f"{r.type.lo}..{r.type.hi}", r.why) for r in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for *cells, why in table:
        print("  ".join([*map(str.ljust, cells, widths), why]))


def _place(row: Row, main: str) -> str:
    """Lines of the program itself are numbers; those that a macro holds follow the line of its call."""
    places = [at for _, at in row.calls] + ([row.place] if row.place else [])
    if not places:
        return "" if row.index is None else f"#{row.index}"
    return " > ".join(f"{at.line}" if at.file == main else f"{Path(at.file).name}:{at.line}" for at in places)
