"""Tensor assembly in one layout, with every comment kept: the text changes, the program does not.

Declarations stand at the margin, their names aligned. Code is indented by four columns per block; labels stand one
step to the left, in front of their instruction where they did and fit. Mnemonics fill a column, and so do the comments
behind code, paragraph by paragraph (blank lines and lines of comment end one). Inline data, and what stands in a
comment, is kept as it is written.

The layout is a fixed point: formatting it again changes nothing. ``format_text`` parses its own result and compares the
statements, so what it returns is the program that was given.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from syurmy.assembler import syntax as s
from syurmy.assembler.diagnostics import AssemblyErrors
from syurmy.isa.errors import AssemblyError, SyurmyError
from syurmy.isa.instruction import REGISTRY, Flow

STEP = 4  # columns per block
WIDEST = 10  # a mnemonic that is longer does not widen the column
NAMES = 16  # the same for declared names
TYPES = 13  # and for declared types
REMARKS = 49  # columns before a comment behind code, more where the code is longer
LONGEST = 90  # code that is longer does not push the comments of its neighbours
BLANKS = 2  # blank lines that are kept together

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+)|(?P<text>"[^"]*")|(?P<name>[%.]?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)"""
    r"""|(?P<number>0x[0-9a-fA-F]+|[0-9]+)|(?P<mark>->|\.\.|//|\*\*|[-+*/%=:,(){}\[\]])"""
)
_BINARY = {"+", "-", "*", "//", "%", "**"}
_TENSOR = re.compile(r"([\w.%]+) : (\w+\[[^\]]*\]) ?(.*)", re.DOTALL)
_ALONE = {".program", ".include"}
_DECLARATIONS = {".program", ".include", ".const", ".input", ".param", ".lut", ".ram", ".output"}


def format_text(text: str, filename: str = "<string>") -> str:
    """``text`` in the standard layout. Raises ``AssemblyErrors`` with every statement that cannot be parsed."""
    text = text.removeprefix("\ufeff")
    before = _statements(text, filename)
    rows = _rows(text.split("\n"), before)
    _lay_out(rows)
    for part in _paragraphs(rows):
        _align(part)
    out = _joined(rows)
    if _bare([st for _, st in _statements(out, filename)]) != _bare([st for _, st in before]):
        raise SyurmyError(f"{filename} cannot be formatted without a change of its statements", code="X170")
    return out


@dataclass
class _Row:
    """One statement, or a line that holds none."""

    words: list[str] = field(default_factory=list)  # labels, then the mnemonic or directive, then what follows it
    labels: int = 0
    remark: str = ""  # a comment with its semicolon
    written: int = 0  # the column at which the line began
    rest: list[str] = field(default_factory=list)  # further lines of inline data
    statement: s.Node | None = None
    indent: int = 0
    hangs: int = 0  # a comment that goes on from the line before: the least column for it
    body: str = ""

    @property
    def lead(self) -> str:
        """The mnemonic or directive, if there is one."""
        return self.words[self.labels] if len(self.words) > self.labels else ""

    @property
    def tail(self) -> str:
        return self.words[self.labels + 1] if self.lead else ""


@dataclass(frozen=True)
class _Token:
    text: str
    kind: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


# ---- reading ---------------------------------------------------------------------------------------------------------


def _statements(text: str, filename: str) -> list[tuple[s.Line, s.Node]]:
    errors: list[SyurmyError] = []
    found = []
    for line in s.split(text):
        try:
            found.append((line, s.parse(line, filename)))
        except AssemblyError as e:
            errors.append(e)
    if errors:
        raise AssemblyErrors(errors, {filename: text})
    return found


def _bare(x: Any) -> Any:
    """Statements without their places, to be compared."""
    if isinstance(x, s.Braces):
        return [line.rstrip() for line in x.text.split("\n")]
    if isinstance(x, list | tuple):
        return [_bare(v) for v in x]
    if dataclasses.is_dataclass(x):
        return [type(x).__name__, *(_bare(getattr(x, f.name)) for f in dataclasses.fields(x) if f.name != "span")]
    return x


def _rows(raw: Sequence[str], statements: Sequence[tuple[s.Line, s.Node]]) -> list[_Row]:
    by_line = {line.first: (line, st) for line, st in statements}
    rows: list[_Row] = []
    number = 1
    while number <= len(raw):
        source = raw[number - 1].rstrip()
        expanded = source.expandtabs(8)
        row = _Row(remark=source.strip(), written=len(expanded) - len(expanded.lstrip()))
        if number in by_line:
            line, row.statement = by_line[number]
            head, *more = line.text.split("\n")
            row.words, row.labels = _words(head)
            row.remark = source[len(head) :].strip()
            if more:  # what stands behind an open brace is data, a comment as well
                row.words[-1], row.remark = (row.words[-1] + source[len(head) :]).rstrip(), ""
                row.rest = [raw[number + k].rstrip() for k in range(len(more))]
            number += len(more)
        rows.append(row)
        number += 1
    return rows


def _words(head: str) -> tuple[list[str], int]:
    """The labels, the mnemonic or directive, and the text behind it with its blanks in order; how many are labels."""
    words: list[str] = []
    while m := re.match(r"\s*(%?[A-Za-z_][\w.]*)\s*:", head):
        words.append(f"{m[1]}:")
        head = head[m.end() :]
    m = re.match(r"\s*([%.]?[A-Za-z_][\w.]*)", head)
    return (words, len(words)) if m is None else ([*words, m[1], _spaced(m[1], head[m.end() :])], len(words))


# ---- blanks within a statement ---------------------------------------------------------------------------------------


def _spaced(lead: str, text: str) -> str:
    """What follows a mnemonic or directive, blanks where they belong."""
    code, data = _before_data(text)
    declares = lead.startswith(".") and lead != ".macro"
    tokens = list(_tokens(code))
    out, last, last_text, depth = "", "", "", 0
    for k, t in enumerate(tokens):
        following = tokens[k + 1] if k + 1 < len(tokens) else None
        role = _role(t, last, last_text, following, declares, depth)
        if role == "binary":
            blank_before, blank_after = t.start > tokens[k - 1].end, following is not None and following.start > t.end
            role = "loose" if blank_before or blank_after else "tight"
        if out and _apart(role, last, t.text, lead):
            out += " "
        out += t.text
        depth += (role == "open") - (role == "close")
        last, last_text = role, t.text
    return f"{out} {data}".strip()


def _before_data(text: str) -> tuple[str, str]:
    """The text up to inline data, and the data as it is written."""
    quoted = False
    for i, c in enumerate(text):
        quoted ^= c == '"'
        if c == "{" and not quoted:
            return text[:i], text[i:].rstrip()
    return text, ""


def _tokens(code: str) -> Iterator[_Token]:
    operand = False  # whether the last token ends one: then % divides, else it begins a local name
    for m in _TOKEN.finditer(code):
        kind, text = m.lastgroup or "", m[0]
        if kind == "space":
            continue
        if text.startswith("%") and len(text) > 1 and operand:
            yield _Token("%", "mark", m.start())
            yield _Token(text[1:], "name", m.start() + 1)
        else:
            yield _Token(text, kind, m.start())
        operand = kind in ("name", "number") or text in (")", "]")


def _role(t: _Token, last: str, last_text: str, following: _Token | None, declares: bool, depth: int) -> str:
    """What a token is for. ``tight`` touches both of its neighbours, ``loose`` none, ``binary`` as it is written."""
    if t.kind != "mark":
        return t.kind
    if t.text in "([":
        return "open"
    if t.text in ")]":
        return "close"
    if t.text == ",":
        return "comma"
    if t.text in _BINARY:
        begins = last in ("", "open", "comma", "tight", "loose", "sign") or (declares and last_text in ("in", "bounds"))
        return "sign" if t.text in "+-" and begins else "binary"
    if t.text == "=":
        norm = last_text == ")" and following is not None and following.kind != "text"  # as in l1 (0)=123
        return "loose" if declares and not norm else "tight"
    if t.text == ":":
        return "loose" if declares and not depth and last != "text" else "tight"
    return "tight" if t.text == ".." else "loose"


def _apart(role: str, last: str, text: str, lead: str) -> bool:
    if role in ("comma", "close", "tight") or last in ("open", "sign", "tight"):
        return False
    return not (role == "open" and last == "name" and (text == "[" or lead == ".macro"))


# ---- columns ---------------------------------------------------------------------------------------------------------


def _lay_out(rows: Sequence[_Row]) -> None:
    """The body of every row, and where it and the comments alone begin."""
    region: list[_Row] = []  # a macro's body, or the code outside macros
    for row in rows:
        if isinstance(row.statement, s.Macro | s.EndMacro):
            _lay_out_region(region, isinstance(row.statement, s.EndMacro))
            region = []
            row.body = f"{row.lead} {row.tail}".rstrip()
        elif row.words:
            region.append(row)
    _lay_out_region(region, False)
    following = 0
    for row in reversed(rows):
        if row.words:
            following = row.indent
        elif row.remark:
            row.indent = following
    before: _Row | None = None  # the line with code and a comment that a comment may go on from
    for row in rows:
        if row.words:
            before = row if row.remark else None
        elif not row.remark:
            before = None
        elif before is not None and row.written > max(before.indent, row.indent) + 2 * STEP:
            row.hangs = max(before.indent, row.indent) + 3 * STEP
        else:
            before = None
            row.indent = row.indent if row.written else 0


def _lay_out_region(region: Sequence[_Row], macro: bool) -> None:
    code = [r for r in region if macro or r.lead not in _DECLARATIONS]
    widths = [len(r.lead) for r in code if r.tail and not r.lead.startswith(".") and len(r.lead) <= WIDEST]
    labels = [n for r in code if r.labels and r.lead and (n := len(_labels(r))) < WIDEST + STEP]
    width = max(widths, default=0)
    base = STEP if not labels else max(2 * STEP, -(-(max(labels) + 1) // STEP) * STEP)
    depth = 0
    for row in code:
        depth = max(0, depth - (_flow(row) is Flow.CLOSE))
        row.indent = base + STEP * depth
        margin = " " * (row.indent - base) + _labels(row)
        depth += _flow(row) is Flow.OPEN
        if not row.lead:
            row.body = margin
            continue
        operation = f"{row.lead.ljust(0 if row.lead.startswith('.') else width)} {row.tail}" if row.tail else row.lead
        row.body = (margin.ljust(row.indent) if len(margin) < row.indent else f"{margin} ") + operation


def _labels(row: _Row) -> str:
    return " ".join(row.words[: row.labels])


def _flow(row: _Row) -> Flow:
    if isinstance(row.statement, s.For):
        return Flow.OPEN
    return REGISTRY[row.lead].flow if row.lead in REGISTRY else Flow.NEXT


def _paragraphs(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    part: list[_Row] = []
    for row in rows:
        if row.words or row.hangs:
            part.append(row)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _align(part: Sequence[_Row]) -> None:
    """Declared names and types, and comments behind code, of one paragraph."""
    declared = [r for r in part if r.words and not r.body]
    lead = _widest((r.lead for r in declared if r.lead not in _ALONE), WIDEST)
    names = _widest((_declared(r)[0] for r in declared), NAMES)
    types = _widest((_declared(r)[1] for r in declared), TYPES)
    for row in declared:
        name, type, rest = _declared(row)
        text = f"{name.ljust(names)} : {type.ljust(types if rest else 0)} {rest}" if type else row.tail
        row.body = f"{row.lead if row.lead in _ALONE else row.lead.ljust(lead)} {text}".rstrip()
    ends = [len(r.body) + 2 for r in part if r.words and r.remark and len(r.body) <= LONGEST]
    column = max([REMARKS, *ends, *(r.hangs for r in part)])
    for row in part:
        if row.remark:
            row.body = f"{row.body.ljust(column - 2)}  {row.remark}"


def _widest(texts: Iterable[str], most: int) -> int:
    return max((len(t) for t in texts if len(t) <= most), default=0)


def _declared(row: _Row) -> tuple[str, str, str]:
    """Name, type and the rest of the declaration of a tensor; three times nothing for others."""
    m = _TENSOR.fullmatch(row.tail)
    return (m[1], m[2], m[3]) if m else ("", "", "")


def _joined(rows: Sequence[_Row]) -> str:
    lines: list[str] = []
    blanks = 0
    for row in rows:
        if not row.words and not row.remark:
            blanks += 1
            continue
        lines += [""] * min(blanks if lines else 0, BLANKS)
        blanks = 0
        lines.append(row.body if row.words or row.hangs else " " * row.indent + row.remark)
        lines += row.rest
    return "\n".join(lines) + "\n" if lines else ""
