"""Diagnostics: place, source line with a caret, code, what was expected, what to do.

mlp.tasm:7:5: error[A110]: unknown instruction 'matmull'
  7 |     matmull h, x, w1
    |     ^^^^^^^
  = help: did you mean 'matmul'?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from syurmy.isa.errors import SyurmyError


class AssemblyErrors(SyurmyError):
    """All diagnostics of one run, in order of the source. ``str`` renders them; ``errors`` holds them."""

    def __init__(self, errors: Sequence[SyurmyError], sources: Mapping[str, str]) -> None:
        self.errors = tuple(errors)
        self.sources = dict(sources)
        first = self.errors[0]
        super().__init__("\n".join(render(e, self.sources) for e in errors), code=first.code, span=first.span)


def render(error: SyurmyError, sources: Mapping[str, str] | None = None) -> str:
    """The text of one error. ``sources`` maps file names to their text; other files are read if they still exist."""
    if isinstance(error, AssemblyErrors):
        return error.message
    where = f"{error.span}: " if error.span else ""
    lines = [f"{where}error[{error.code}]: {error.message}"]
    if error.span is not None and (source := _line(error.span.file, error.span.line, sources or {})) is not None:
        number = str(error.span.line)
        column = error.span.column
        lead = "".join("\t" if c == "\t" else " " for c in source[: column - 1])
        carets = "^" * max(1, min(error.span.length, len(source) - column + 1))
        lines.append(f"  {number} | {source}")
        lines.append(f"  {' ' * len(number)} | {lead}{carets}")
    if error.help:
        lines.append(f"  = help: {error.help}")
    lines.extend(f"  = note: {note}" for note in getattr(error, "__notes__", ()))
    return "\n".join(lines)


def suggestion(word: str, known: Iterable[str]) -> str:
    """``did you mean ...?`` for a misspelt word, or nothing."""
    close = difflib.get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""


def _line(file: str, line: int, sources: Mapping[str, str]) -> str | None:
    text = sources.get(file)
    if text is None:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
    lines = text.split("\n")
    return lines[line - 1].rstrip("\r") if 1 <= line <= len(lines) else None
