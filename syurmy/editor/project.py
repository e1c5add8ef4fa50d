"""The programs of a workspace as they are being edited, each analysed when it is asked for and its files have changed.

A file belongs to every program that includes it. What is said about a place in it, and what a name is renamed in, comes
from all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from syurmy.assembler.drafts import Draft, draft
from syurmy.assembler.source import LIBRARY, read_text
from syurmy.assembler.symbols import Occurrence, Symbol, Symbols, symbols
from syurmy.assembler.typetable import Row, type_table
from syurmy.isa.errors import InputError, Span

MAX_PROGRAMS = 500  # of a workspace that are searched for users of a file
IGNORED = frozenset(["node_modules", "build", "dist", "__pycache__"])


@dataclass
class Analysis:
    """One program: its draft, and what follows from it. ``stamps``: the state of its files when it was made."""

    path: Path
    draft: Draft
    stamps: dict[Path, object]
    _lines: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def symbols(self) -> Symbols:
        return symbols(self.draft.sources.parsed)

    @cached_property
    def rows(self) -> list[Row]:
        return type_table(self.draft.program, self.draft.typing, self.draft.places)

    def file(self, path: Path) -> str | None:
        """The name by which places in ``path`` go here."""
        return next((name for name, p in self.draft.sources.paths.items() if p == path), None)

    def path_of(self, span: Span) -> Path:
        return self.draft.sources.paths[span.file]

    def lines(self, file: str) -> list[str]:
        """The text of a file by lines; one empty line of a file that is none of this program."""
        if file not in self._lines:
            self._lines[file] = self.draft.sources.texts.get(file, "").split("\n")
        return self._lines[file]

    def line(self, span: Span) -> str:
        """The text of the line a span begins in."""
        return self.lines(span.file)[span.line - 1]


@dataclass
class Project:
    """``edited``: texts of open files by resolved path; ``roots``: folders whose programs count."""

    roots: list[Path] = field(default_factory=list)
    edited: dict[Path, str] = field(default_factory=dict)
    _versions: dict[Path, int] = field(default_factory=dict)
    _known: dict[Path, Analysis] = field(default_factory=dict)

    def edit(self, path: Path, text: str | None) -> None:
        """``text`` stands for the file from now on; None: the file on disk counts again."""
        self._versions[path] = self._versions.get(path, 0) + 1
        if text is None:
            self.edited.pop(path, None)
        else:
            begun = text.startswith("\ufeff")  # a byte order mark, which takes a column where the client counts
            self.edited[path] = " " + text[1:] if begun else text

    def analysis(self, path: Path) -> Analysis:
        """Raises ``InputError`` for a file that is not open and cannot be read."""
        known = self._known.get(path)
        if known is not None and all(self._stamp(p) == stamp for p, stamp in known.stamps.items()):
            return known
        text = self.edited[path] if path in self.edited else read_text(path)
        drawn = draft(text, str(path), edited=self.edited)
        files = {*drawn.sources.paths.values(), path}
        made = Analysis(path, drawn, {p: self._stamp(p) for p in files})
        if not any(e.code in ("A150", "I101") for e in drawn.errors):  # a file that is missing may come
            self._known[path] = made
        return made

    def programs_with(self, path: Path) -> list[Analysis]:
        """The file as a program of its own, then the programs that include it: open ones and those of the workspace."""
        own = self.analysis(path)
        others = {*self.edited, *self._workspace()} - {path}
        return [own, *(a for p in sorted(others) if (a := self._tried(p)) is not None and a.file(path) is not None)]

    def everywhere(self, path: Path, symbol: Symbol) -> dict[Path, list[tuple[Analysis, Occurrence]]]:
        """All occurrences of a symbol of the file, by file, through all programs that share one that names it."""
        out: dict[Path, dict[tuple[int, int], tuple[Analysis, Occurrence]]] = {}
        ready, seen = [path], set[Path]()
        while ready:
            file = ready.pop()
            if file in seen:
                continue
            seen.add(file)
            for a in self.programs_with(file):
                for o in a.symbols.of(symbol):
                    where = a.path_of(o.span)
                    out.setdefault(where, {}).setdefault((o.span.line, o.span.column), (a, o))
                    ready.append(where)
        return {p: [found[k] for k in sorted(found)] for p, found in sorted(out.items())}

    def owns(self, path: Path) -> bool:
        """Whether the file is the user's to change, and not of the library that is installed."""
        if any(path.is_relative_to(root) for root in self.roots):
            return True
        return not path.is_relative_to(LIBRARY.resolve())

    def _tried(self, path: Path) -> Analysis | None:
        try:
            return self.analysis(path)
        except InputError:
            return None

    def _stamp(self, path: Path) -> object:
        if path in self.edited:
            return self._versions[path]
        try:
            return "disk", path.stat().st_mtime_ns
        except OSError:
            return "missing"

    def _workspace(self) -> Iterator[Path]:
        count = 0
        for root in self.roots:
            for folder, folders, files in os.walk(root):
                folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in IGNORED)
                for name in sorted(files):
                    if name.endswith(".tasm"):
                        count += 1
                        if count > MAX_PROGRAMS:
                            return
                        yield Path(folder, name).resolve()
