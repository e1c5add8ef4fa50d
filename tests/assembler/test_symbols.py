"""Names and where they stand: every name of a text has its place, and what is renamed keeps the program."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from syurmy.assembler import assemble
from syurmy.assembler.drafts import draft
from syurmy.assembler.symbols import Kind, Occurrence, Symbol, symbols
from syurmy.isa.program import Program

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(ROOT.glob("programs/*.tasm"))
MANY = 2000  # bytes of a program with many names

TEXT = """\
.const N = 2
.input  x : i8[N] private in 0..N
.param  w : i8[3] public = {N, 0x1f,
  N - 1}
.ram    kept : i8[N] = x
.output y public
.macro grow(dst, src, to, by=N)
    addi dst, src, by
    cast dst, dst, i16
    sum  %t, dst, axes=(0)
    gt   %t, %t, 1000
    bz   %t, to
.endmacro
    cast y, x, i16
again: grow y, y, to=again
    repeat N, t
        slice one, w, axis=0, start=t
        store kept[t], one
    end
    halt
"""


def found(text: str = TEXT) -> list[Occurrence]:
    return symbols(draft(text, "a.tasm").sources.parsed).occurrences


def places(symbol: Symbol) -> list[tuple[int, int, Kind | None]]:
    return [(o.span.line, o.span.column, o.kind) for o in found() if o.symbol == symbol]


def test_occurrences() -> None:
    assert draft(TEXT, "a.tasm").errors == ()
    assert places(Symbol("N")) == [
        (1, 8, Kind.CONSTANT), (2, 16, None), (2, 33, None), (3, 29, None), (4, 3, None), (5, 19, None),
        (7, 30, None), (16, 12, None)]  # fmt: skip
    assert places(Symbol("again", "label")) == [(15, 1, Kind.LABEL), (15, 22, None)]
    assert places(Symbol("to", scope="grow")) == [(7, 23, Kind.PARAMETER), (12, 14, None), (15, 19, None)]
    assert places(Symbol("%t", scope="grow")) == [
        (10, 10, Kind.REGISTER), (11, 10, Kind.REGISTER), (11, 14, None), (12, 10, None)]  # fmt: skip
    assert places(Symbol("y"))[1:] == [(14, 10, Kind.REGISTER), (15, 13, Kind.REGISTER), (15, 16, None)]
    assert places(Symbol("t")) == [(16, 15, Kind.COUNTER), (17, 37, None), (18, 20, None)]
    assert places(Symbol("kept")) == [(5, 9, Kind.BUFFER), (18, 15, None)]
    assert places(Symbol("grow", "macro")) == [(7, 8, Kind.MACRO), (15, 8, None)]


def test_every_name_of_the_text_is_found() -> None:
    """Against a search for words, less what is no name of the program: mnemonics, attributes, dtypes, keywords."""
    other = {"addi", "cast", "sum", "gt", "bz", "repeat", "slice", "store", "end", "halt", "axis", "axes", "start",
             "in", "i8", "i16", "private", "public", "0x1f"}  # fmt: skip
    words = []
    for number, line in enumerate(TEXT.split("\n"), 1):
        line = re.sub(r"^\.\w+", lambda m: " " * len(m[0]), line)
        words += [(number, m.start() + 1) for m in re.finditer(r"0x\w+|%?\b[A-Za-z_]\w*", line) if m[0] not in other]
    assert sorted((o.span.line, o.span.column) for o in found()) == words


def renamed(text: str, file: str, symbol: Symbol, new: str, all: list[Occurrence]) -> str:
    lines = text.split("\n")
    for o in sorted(all, key=lambda o: -o.span.column):
        if o.symbol == symbol and o.span.file == file:
            line, at = lines[o.span.line - 1], o.span.column - 1
            assert line[at : at + o.span.length] == symbol.name
            lines[o.span.line - 1] = line[:at] + new + line[at + o.span.length :]
    return "\n".join(lines)


def without_names(p: Program) -> object:
    """Everything of a program but what its names are: each by the place where it is first seen."""
    number: dict[str, str] = {}

    def n(name: str | None) -> str | None:
        return None if name is None else number.setdefault(name, f"n{len(number)}")

    params = [replace(d, l1=()) for d in p.params]
    declared = [[replace(d, name=n(d.name) or "") for d in ds] for ds in (p.inputs, params, p.luts, p.outputs)]
    rams = [replace(r, name=n(r.name) or "", init=n(r.init)) for r in p.rams]
    code = [
        (i.op, n(i.dst), tuple(map(n, i.src)), [(k, n(v) if k in ("counter", "buffer", "table") else
         str(v) if not hasattr(v, "terms") else (v.constant, [(n(c), f) for c, f in v.terms])) for k, v in i.attrs])
        for i in p.code
    ]  # fmt: skip
    return declared, rams, code


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stat().st_size > MANY else [], id=p.name) for p in SHIPPED],
)
def test_renaming_keeps_the_program(path: Path) -> None:
    text = path.read_text()
    before = draft(text, str(path))
    all = symbols(before.sources.parsed).occurrences
    main = {o.symbol for o in all if o.span.file == str(path) and o.kind is not None}
    own = {x for x in main if not any(o.symbol == x and o.span.file != str(path) for o in all)}
    assert own
    for symbol in own:
        new = "%fresh" if symbol.name.startswith("%") else "fresh.name"
        after = assemble(renamed(text, str(path), symbol, new, all), filename=str(path))
        assert without_names(after) == without_names(before.program), symbol
