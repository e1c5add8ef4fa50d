"""The manual of the macro library, from its own comments: ``python -m syurmy.assembler.library [--check]``.

A file's first comment introduces it; ``; ---- title ---`` begins a section; the comment before a macro describes it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from syurmy.assembler import syntax as s
from syurmy.assembler.source import LIBRARY

PATH = Path(__file__).resolve().parents[1] / "docs" / "macros.md"
FILES = ("nn.tasm",)  # what is made to be included by anybody
SECTION = re.compile(r"; -{3,} (.*?) -{3,}\Z")
HEAD = """# Macro library

Macros that are installed with the package: `.include "nn.tasm"` from any program. This page is generated from the
library's comments by `python -m syurmy.assembler.library`.
"""


def manual() -> str:
    """The whole page."""
    return HEAD + "".join("\n" + part for name in FILES for part in _file(name))


def _file(name: str) -> Iterator[str]:
    text = (LIBRARY / name).read_text(encoding="utf-8")
    comment: list[str] = []
    introduced = False
    for line in text.splitlines():
        if found := SECTION.match(line):
            yield f"## {found[1][0].upper()}{found[1][1:]}\n"
            comment = []
        elif line.startswith(";"):
            comment.append(line[2:])
        elif line.startswith(".macro"):
            macro = s.parse(s.Line(line, 1), name)
            assert isinstance(macro, s.Macro)
            yield f"### {macro.name.value}\n\n```\n{line.removeprefix('.macro ')}\n```\n"
            yield _prose(comment)
            comment = []
        else:
            if comment and not introduced:
                yield _prose(comment)
                introduced = True
            comment = []


def _prose(lines: list[str]) -> str:
    """A comment as it stands; indented lines are text that is kept as it is."""
    out: list[str] = []
    kept = False
    for line in lines:
        if (indented := line.startswith("  ")) != kept:
            out += ["", "```"] if indented else ["```", ""]
            kept = indented
        out.append(line.strip())
    return "\n".join([*out, *(["```"] if kept else [])]) + "\n"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m syurmy.assembler.library [--check]", file=sys.stderr)
        return 2
    text = manual()
    if not arguments:
        PATH.write_text(text, encoding="utf-8")
    elif not PATH.is_file() or PATH.read_text(encoding="utf-8") != text:
        print(f"{PATH.name} is stale: run python -m syurmy.assembler.library", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
