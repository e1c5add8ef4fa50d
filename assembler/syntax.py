"""From text to statements: splitting, the Lark parser, and syntax errors in words.

A file is split into statements (one per line; an open brace continues on the next lines) and each is parsed on its
own by ``tasm.lark`` (LALR). A statement that cannot be parsed costs one diagnostic and the next is parsed as usual.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken, VisitError
from lark.tree import Meta

from syurmy.assembler.diagnostics import suggestion
from syurmy.host import cache_folder
from syurmy.isa.errors import AssemblyError, Span

DIRECTIVES = (".program", ".include", ".const", ".input", ".param", ".lut", ".ram", ".output", ".macro", ".endmacro",
              ".for", ".print", ".expect")  # fmt: skip

VISIBILITIES = ("public", "private", "committed")


# ---- values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """An identifier; what it stands for depends on where it stands."""

    value: str
    span: Span


@dataclass(frozen=True)
class Number:
    """An integer, decimal or hexadecimal."""

    value: int
    span: Span


@dataclass(frozen=True)
class Text:
    """A string in quotes, without them."""

    value: str
    span: Span


@dataclass(frozen=True)
class Operation:
    """``op`` is one of + - * // % ** or ``neg`` with one operand."""

    op: str
    operands: tuple[Value, ...]
    span: Span


@dataclass(frozen=True)
class Sequence:
    """``(1, 2, 3)``."""

    items: tuple[Value, ...]
    span: Span


@dataclass(frozen=True)
class Braces:
    """Inline data, unparsed: a matrix may have millions of entries."""

    text: str
    span: Span


@dataclass(frozen=True)
class File:
    """A data file, and the key of one of its arrays where it holds several."""

    path: str
    key: str | None
    span: Span


Value = Name | Number | Text | Operation | Sequence
Data = Braces | File


# ---- statements ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProgramName:
    """``.program NAME``."""

    name: Name
    span: Span


@dataclass(frozen=True)
class Include:
    """``.include "PATH"``."""

    path: Text
    span: Span


@dataclass(frozen=True)
class Const:
    """``.const NAME = VALUE``."""

    name: Name
    value: Value
    span: Span


@dataclass(frozen=True)
class Tensor:
    """``i16[2, 3]``."""

    dtype: Name
    shape: tuple[Value, ...]
    span: Span


@dataclass(frozen=True)
class Range:
    """``LO..HI``, both included."""

    lo: Value
    hi: Value
    span: Span


@dataclass(frozen=True)
class InputDecl:
    """``.input``."""

    name: Name
    tensor: Tensor
    visibility: Name | None
    within: Range | None
    span: Span


@dataclass(frozen=True)
class ParamDecl:
    """``.param``."""

    name: Name
    tensor: Tensor
    visibility: Name | None
    bounds: Range | None
    l1: tuple[tuple[Sequence, Value], ...]
    data: Data | None
    span: Span


@dataclass(frozen=True)
class LutDecl:
    """``.lut``."""

    name: Name
    source: Name
    target: Name
    within: Range | None
    data: Data
    span: Span


@dataclass(frozen=True)
class RamDecl:
    """``.ram``."""

    name: Name
    tensor: Tensor
    init: Name | None
    span: Span


@dataclass(frozen=True)
class OutputDecl:
    """``.output``."""

    name: Name
    visibility: Name | None
    span: Span


@dataclass(frozen=True)
class Macro:
    """``.macro``; its body are the statements up to ``.endmacro``."""

    name: Name
    formals: tuple[tuple[Name, Value | None], ...]
    span: Span


@dataclass(frozen=True)
class EndMacro:
    """``.endmacro``."""

    span: Span


@dataclass(frozen=True)
class For:
    """``.for row in x``: a block that runs once per row of x, in which ``row`` is that row."""

    name: Name
    source: Name
    span: Span


@dataclass(frozen=True)
class Print:
    """``.print x``: for people, no part of the program."""

    name: Name
    span: Span


@dataclass(frozen=True)
class Expect:
    """``.expect x = 5`` or ``= {1, 2}``: a test, no part of the program."""

    name: Name
    value: Value | Braces
    span: Span


@dataclass(frozen=True)
class Named:
    """An operand with its name: ``axis=1``."""

    name: Name
    value: Value
    span: Span


@dataclass(frozen=True)
class Positions:
    """``first:end`` along an axis; None for its ends."""

    first: Value | None
    end: Value | None
    span: Span


@dataclass(frozen=True)
class Indexed:
    """A part of a tensor, ``x[t, 0:8]``, or rows that are chosen at run time, ``kv[i]``."""

    name: Name
    subscripts: tuple[Value | Positions, ...]
    span: Span


@dataclass(frozen=True)
class Statement:
    """An instruction or a macro call."""

    mnemonic: Name
    operands: tuple[Value | Named | Indexed, ...]
    span: Span


@dataclass(frozen=True)
class Label:
    """``name:``, alone or before a statement."""

    name: Name
    statement: Statement | Label | None
    span: Span


Node = (
    ProgramName
    | Include
    | Const
    | InputDecl
    | ParamDecl
    | LutDecl
    | RamDecl
    | OutputDecl
    | Macro
    | EndMacro
    | For
    | Print
    | Expect
    | Label
    | Statement
)


# ---- splitting -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """The text of one statement, comments blanked; ``first`` is the number of its first line."""

    text: str
    first: int


def split(text: str) -> Iterator[Line]:
    """Statements of a file. A brace left open ends at the next line that starts with a dot or at the end."""
    pending: list[str] = []
    first = depth = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = _without_comment(raw.rstrip("\r"))
        if pending and line.lstrip().startswith("."):
            yield Line("\n".join(pending), first)
            pending, depth = [], 0
        if not pending:
            if not line.strip():
                continue
            first = number
        pending.append(line)
        depth += line.count("{") - line.count("}")
        if depth <= 0:
            yield Line("\n".join(pending), first)
            pending, depth = [], 0
    if pending:
        yield Line("\n".join(pending), first)


def _without_comment(line: str) -> str:
    quoted = False
    for i, c in enumerate(line):
        if c == '"':
            quoted = not quoted
        elif c == ";" and not quoted:
            return line[:i].rstrip()
    return line


# ---- parsing ---------------------------------------------------------------------------------------------------------


@cache
def _lark() -> Lark:
    """The parser. Its tables are kept in a file, which lark makes again where it is missing, old or damaged."""
    kept: str | bool = False
    with contextlib.suppress(OSError):  # no such folder to be had: the tables are made each time
        cache_folder().mkdir(parents=True, exist_ok=True)
        kept = str(cache_folder() / "grammar")
    return Lark.open(
        "tasm.lark", rel_to=__file__, parser="lalr", start=["statement", "expr"], propagate_positions=True, cache=kept
    )


def parse(line: Line, file: str) -> Node:
    """The statement in a line; raises ``AssemblyError`` with the place and what was expected there."""
    statement: Node = _parse(line, file, "statement")
    return statement


def parse_expression(text: str, span: Span) -> Value:
    """An expression from inside inline data; ``span`` says where it starts."""
    value: Value = _parse(Line(" " * (span.column - 1) + text, span.line), span.file, "expr")
    return value


def _parse(line: Line, file: str, start: str) -> Any:
    word = line.text.split(maxsplit=1)[0] if line.text.strip() else ""
    if start == "statement" and word.startswith(".") and (m := re.match(r"\.\w*", word)) and m[0] not in DIRECTIVES:
        span = Span(file, line.first, line.text.index(".") + 1, len(m[0]))
        help = suggestion(m[0], DIRECTIVES) or f"directives are {', '.join(DIRECTIVES)}"
        raise AssemblyError(f"unknown directive '{m[0]}'", code="A101", span=span, help=help)
    try:
        tree = _lark().parse(line.text, start=start)
    except UnexpectedInput as e:
        raise _syntax_error(e, line, file) from None
    try:
        return _Build(file, line.first - 1).transform(tree)
    except (RecursionError, VisitError):  # Lark wraps what the deepest rule raises
        raise AssemblyError("expression is nested too deeply", code="A102", span=Span(file, line.first, 1)) from None


_WORDS = {"NAME": "a name", "INT": "a number", "STRING": "a string", "BRACES": "data in braces", "$END": "end of line"}
_OPERATORS = frozenset(["+", "-", "*", "//", "%", "**"])


def _syntax_error(e: UnexpectedInput, line: Line, file: str) -> AssemblyError:
    text_lines = line.text.split("\n")
    if isinstance(e, UnexpectedToken) and e.token.type != "$END":
        row, column, found = int(e.token.line or 1), int(e.token.column or 1), str(e.token)
    elif isinstance(e, UnexpectedCharacters):
        row, column = e.line, e.column
        found = text_lines[row - 1][column - 1]
    else:
        row, column, found = len(text_lines), len(text_lines[-1].rstrip()) + 1, "end of line"
    expected = _expected(e)
    shown = found if found == "end of line" else f"'{found if len(found) <= 20 else found[:17] + '...'}'"
    message = f"unexpected {shown}" + (f", expected {expected}" if expected else "")
    help = ""
    before = text_lines[row - 1][: column - 1] if row <= len(text_lines) else ""
    if found.startswith(".") and before[-1:].isdigit():
        help = "numbers are integers: scale and round real values first"
    elif found == "{" or (found == "end of line" and "{" in line.text):
        help = "a brace is not closed"
    elif found == '"':
        help = "a string ends on the line where it starts"
    elif found == "#":
        help = "comments start with ;"
    elif before.lstrip().startswith((".input", ".param", ".output")) and found not in VISIBILITIES:
        help = suggestion(found, VISIBILITIES)
    elif found == "/":
        help = "integer division is //"
    length = 1 if found == "end of line" else len(found)
    return AssemblyError(message, code="A100", span=Span(file, line.first + row - 1, column, length), help=help)


def _expected(e: UnexpectedInput) -> str:
    if isinstance(e, UnexpectedToken):
        names = set(e.accepts or e.expected)
    elif isinstance(e, UnexpectedCharacters):
        names = set(e.allowed or ())
    else:
        names = set(e.expected) if isinstance(e, UnexpectedEOF) else set()
    literals = {t.name: t.pattern.value for t in _lark().terminals if t.pattern.type == "str"}
    words: list[str] = []
    for name in sorted(names):
        if name == "VISIBILITY":
            words.append("'public', 'private' or 'committed'")
        elif name in literals and literals[name] not in _OPERATORS:
            words.append(f"'{literals[name]}'")
        elif name in _WORDS:
            words.append(_WORDS[name])
    words = [w for w in words if not w.startswith("'.") or w == "'..'"]
    if {"a name", "a number"} <= set(words):
        words = [w for w in words if w not in ("a name", "a number", "'('")] + ["a name, a number or '('"]
    elif any(literals.get(n) in _OPERATORS for n in names):
        words.append("an operator")
    return " or ".join(words) if len(words) <= 6 else ""


@v_args(meta=True)
class _Build(Transformer[Token, Any]):
    """Lark's tree to the records above."""

    def __init__(self, file: str, offset: int) -> None:
        super().__init__()
        self._file, self._offset = file, offset

    def _at(self, t: Token | Meta) -> Span:
        one_line = t.end_line == t.line
        length = int(t.end_column or 0) - int(t.column or 0) if one_line else 1_000_000
        return Span(self._file, int(t.line or 1) + self._offset, int(t.column or 1), length)

    def _name(self, t: Token | None) -> Any:
        return None if t is None else Name(str(t), self._at(t))

    def program(self, meta: Meta, c: list[Any]) -> ProgramName:
        return ProgramName(self._name(c[0]), self._at(meta))

    def include(self, meta: Meta, c: list[Any]) -> Include:
        return Include(self._text(c[0]), self._at(meta))

    def const(self, meta: Meta, c: list[Any]) -> Const:
        return Const(self._name(c[0]), c[1], self._at(meta))

    def input(self, meta: Meta, c: list[Any]) -> InputDecl:
        return InputDecl(self._name(c[0]), c[1], self._name(c[2]), c[3], self._at(meta))

    def param(self, meta: Meta, c: list[Any]) -> ParamDecl:
        return ParamDecl(self._name(c[0]), c[1], self._name(c[2]), c[3], c[4] or (), c[5], self._at(meta))

    def lut(self, meta: Meta, c: list[Any]) -> LutDecl:
        return LutDecl(self._name(c[0]), self._name(c[1]), self._name(c[2]), c[3], c[4], self._at(meta))

    def output(self, meta: Meta, c: list[Any]) -> OutputDecl:
        return OutputDecl(self._name(c[0]), self._name(c[1]), self._at(meta))

    def ram(self, meta: Meta, c: list[Any]) -> RamDecl:
        return RamDecl(self._name(c[0]), c[1], self._name(c[2]), self._at(meta))

    def macro(self, meta: Meta, c: list[Any]) -> Macro:
        return Macro(self._name(c[0]), tuple(f for f in c[1:] if f is not None), self._at(meta))

    def formal(self, meta: Meta, c: list[Any]) -> tuple[Name, Value | None]:
        return self._name(c[0]), c[1]

    def endmacro(self, meta: Meta, c: list[Any]) -> EndMacro:
        return EndMacro(Span(self._file, 1 + self._offset, 1))

    def for_(self, meta: Meta, c: list[Any]) -> For:
        return For(self._name(c[0]), self._name(c[1]), self._at(meta))

    def print(self, meta: Meta, c: list[Any]) -> Print:
        return Print(self._name(c[0]), self._at(meta))

    def expect(self, meta: Meta, c: list[Any]) -> Expect:
        return Expect(self._name(c[0]), c[1], self._at(meta))

    def label(self, meta: Meta, c: list[Any]) -> Label:
        return Label(self._name(c[0]), c[1], self._at(meta))

    def instruction(self, meta: Meta, c: list[Any]) -> Statement:
        return Statement(self._name(c[0]), tuple(o for o in c[1:] if o is not None), self._at(meta))

    def tensor(self, meta: Meta, c: list[Any]) -> Tensor:
        return Tensor(self._name(c[0]), tuple(d for d in c[1:] if d is not None), self._at(meta))

    def within(self, meta: Meta, c: list[Any]) -> Range:
        return Range(c[0], c[1], self._at(meta))

    bounds = within

    def l1(self, meta: Meta, c: list[Any]) -> tuple[Any, ...]:
        return tuple(c)

    def norm(self, meta: Meta, c: list[Any]) -> tuple[Any, ...]:
        return c[0], c[1]

    def braces(self, meta: Meta, c: list[Any]) -> Braces:
        return Braces(str(c[0]), self._at(c[0]))

    def file(self, meta: Meta, c: list[Any]) -> File:
        return File(str(c[0])[1:-1], None if c[1] is None else str(c[1])[1:-1], self._at(meta))

    def named(self, meta: Meta, c: list[Any]) -> Named:
        return Named(self._name(c[0]), c[1], self._at(meta))

    def indexed(self, meta: Meta, c: list[Any]) -> Indexed:
        return Indexed(self._name(c[0]), tuple(c[1:]), self._at(meta))

    def positions(self, meta: Meta, c: list[Any]) -> Positions:
        return Positions(c[0], c[1], self._at(meta))

    def string(self, meta: Meta, c: list[Any]) -> Text:
        return self._text(c[0])

    def _text(self, t: Token) -> Text:
        return Text(str(t)[1:-1], self._at(t))

    def tuple(self, meta: Meta, c: list[Any]) -> Sequence:
        return Sequence(tuple(c), self._at(meta))

    single = tuple

    def number(self, meta: Meta, c: list[Any]) -> Number:
        return Number(int(str(c[0]), 0) if str(c[0]).startswith("0x") else int(str(c[0])), self._at(c[0]))

    def name(self, meta: Meta, c: list[Any]) -> Name:
        return Name(str(c[0]), self._at(c[0]))

    def _operation(self, op: str, meta: Meta, c: list[Any]) -> Operation:
        return Operation(op, tuple(c), self._at(meta))

    def add(self, meta: Meta, c: list[Any]) -> Operation:
        return self._operation("+", meta, c)

    def sub(self, meta: Meta, c: list[Any]) -> Operation:
        return self._operation("-", meta, c)

    def mul(self, meta: Meta, c: list[Any]) -> Operation:
        return self._operation("*", meta, c)

    def floordiv(self, meta: Meta, c: list[Any]) -> Operation:
        return self._operation("//", meta, c)

    def mod(self, meta: Meta, c: list[Any]) -> Operation:
        return self._operation("%", meta, c)

    def pow(self, meta: Meta, c: list[Any]) -> Operation:
        return self._operation("**", meta, c)

    def neg(self, meta: Meta, c: list[Any]) -> Operation:
        return self._operation("neg", meta, c)
