"""What there is to say about a place in a program: pure functions of its analysis, without any protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from syurmy.assembler import syntax as s
from syurmy.assembler.source import LIBRARY
from syurmy.assembler.symbols import Kind, Occurrence, Symbol
from syurmy.assembler.typetable import Row
from syurmy.editor.project import Analysis
from syurmy.isa.errors import Span
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.manual import directives, entry, shown, summary, usage
from syurmy.isa.types import DType, TensorType
from syurmy.isa.wellformed import RESERVED, valid_name

WORDS = frozenset([*s.VISIBILITIES, "in", "bounds", "l1"])  # of declarations; a name that is one reads as none
SHOWN = 4  # types of one place in several expansions
_WORD = re.compile(r"[.%]?[A-Za-z_][\w.]*")


# ---- hover -----------------------------------------------------------------------------------------------------------


def hover(programs: Sequence[Analysis], path: Path, line: int, column: int) -> str | None:
    """Markdown on the word at a place of the file ``path``, which all ``programs`` hold; the first is its own."""
    own = programs[0]
    file = own.file(path)
    lines = own.lines(file) if file else []
    if file is None or not 1 <= line <= len(lines):
        return None
    word = word_at(lines[line - 1], column)
    for text in own.symbols.includes:
        if text.span.file == file and text.span.line == line:
            found = include_of(own, text)
            return f"`{found}`" if found else None
    if word is None:
        return None
    occurrence = own.symbols.at(file, line, column)
    if occurrence is not None:
        return "\n\n".join([_definition(programs, occurrence), *_types(programs, path, occurrence)])
    if word.startswith(".") and word in directives():
        return "\n\n".join(f"{example}\n\n{meaning}" for example, meaning in directives()[word])
    if word in REGISTRY and _is_mnemonic(lines[line - 1], column):
        return entry(REGISTRY[word]).strip()
    if word in [d.value for d in DType]:
        return f"`{word}`: {DType(word).lo} to {DType(word).hi}"
    if (op := REGISTRY.get(mnemonic(lines[line - 1]))) is not None:
        for a in op.attributes:
            if a.name == word:
                default = "" if a.default is None else f", default `{shown(a.default)}`"
                return f"attribute `{a.name}` of `{op.name}`: {a.doc} ({a.kind}{default})"
    return None


def word_at(text: str, column: int) -> str | None:
    for m in _WORD.finditer(text):
        if m.start() < column <= m.end() + 1:
            return m[0]
    return None


def mnemonic(text: str) -> str:
    """The mnemonic or directive of a line, whatever follows it."""
    m = re.match(r"\s*(?:%?[A-Za-z_][\w.]*\s*:\s*)*([.%]?[A-Za-z_][\w.]*)", text)
    return m[1] if m else ""


def _is_mnemonic(text: str, column: int) -> bool:
    m = re.match(r"\s*(?:%?[A-Za-z_][\w.]*\s*:\s*)*([.%]?[A-Za-z_][\w.]*)", text)
    return m is not None and m.start(1) < column <= m.end(1) + 1


def _definition(programs: Sequence[Analysis], o: Occurrence) -> str:
    for a in programs:
        if (found := a.symbols.definition(o)) is not None and found.kind is not None:
            text = a.line(found.span).strip()
            lead = f"{found.kind.value} `{o.symbol.name}`"
            if o.symbol.scope and not o.symbol.name.startswith("%"):
                return f"{lead} `{o.symbol.scope}`"
            comment = _comment(a, found.span) if found.kind in (Kind.MACRO, Kind.LABEL) else ""
            return f"{lead}\n```tasm\n{text}\n```" + (f"\n\n{comment}" if comment else "")
    return f"`{o.symbol.name}`"


def _comment(a: Analysis, span: Span) -> str:
    """The lines of comment right above a line."""
    lines = a.lines(span.file)
    first = span.line - 1
    while first and lines[first - 1].startswith(";") and not lines[first - 1].startswith("; ----"):
        first -= 1
    return "\n".join(line[1:].strip() for line in lines[first : span.line - 1])


def _types(programs: Sequence[Analysis], path: Path, o: Occurrence) -> Iterator[str]:
    """Lines on the types that a name has at a place, in all programs."""
    found: dict[str, None] = {}
    for a in programs:
        file = a.file(path)
        for t, why in types_at(a, Span(file or "", o.span.line, o.span.column, o.span.length), o):
            found[f"`{t}` in {t.lo}..{t.hi}" + (f": {why}" if why else "")] = None
    yield from list(found)[:SHOWN]
    if len(found) > SHOWN:
        yield f"and {len(found) - SHOWN} more"


def types_at(a: Analysis, span: Span, o: Occurrence) -> Iterator[tuple[TensorType, str]]:
    """What the value is that a name stands for at a place, per instruction that it is an operand of."""
    rows = {row.index: row for row in a.rows if row.index is not None}
    any_found = False
    for index, (ins, places) in enumerate(zip(a.draft.program.code, a.draft.operands, strict=True)):
        here = [name for name, at in places.items() if at == span]
        if not here and ins.span is not None and (ins.span.file, ins.span.line) == (span.file, span.line):
            here = [name for name in ins.src if _stands_for(name, o.symbol)]
        for name in here:
            if name == ins.dst and o.kind is not None and index in rows:
                any_found = True
                yield rows[index].type, rows[index].why
            elif name in ins.src and len(a.draft.typing.operands[index]) == len(ins.src):
                any_found = True
                yield a.draft.typing.operands[index][ins.src.index(name)], ""
    if not any_found:
        yield from ((r.type, r.why) for r in a.rows if r.index is None and r.name == o.symbol.name)
        yield from ((t, "") for name, t in _final(a, span) if name == o.symbol.name)


def _stands_for(name: str, symbol: Symbol) -> bool:
    if not symbol.scope:
        return name == symbol.name
    return name.startswith(f"{symbol.scope}.") and name.endswith(f".{symbol.name[1:]}")


def _final(a: Analysis, span: Span) -> Iterator[tuple[str, TensorType]]:
    """The types of outputs, where they are declared."""
    declared = {st.name.value for st in a.draft.sources.parsed.get(span.file, ()) if isinstance(st, s.OutputDecl)
                and st.span.line == span.line}  # fmt: skip
    last = {row.name: row.type for row in a.rows}
    yield from ((name, last[name]) for name in declared & last.keys())


# ---- hints -----------------------------------------------------------------------------------------------------------


def hints(programs: Sequence[Analysis], path: Path) -> dict[tuple[int, int], str]:
    """dtype and shape of what is written, by the line and column behind its name. Of a line that several calls or
    programs run, only what all agree on."""
    seen: dict[tuple[int, int], set[str]] = {}
    for a in programs:
        file = a.file(path)
        last: dict[tuple[object, Span], Row] = {}
        for row in a.rows:
            if row.index is not None:
                at = a.draft.operands[row.index].get(row.name)
                if at is not None and at.file == file:
                    last[row.calls[: _depth(row, at)], at] = row
        for (_, at), row in last.items():
            seen.setdefault((at.line, at.column + at.length), set()).add(str(row.type))
    return {place: types.pop() for place, types in seen.items() if len(types) == 1}


def _depth(row: Row, at: Span) -> int:
    """How many of the macro calls around an instruction are calls around the text at ``at`` as well."""
    lines = [(place.file, place.line) for _, place in row.calls]
    return lines.index((at.file, at.line)) if (at.file, at.line) in lines else len(lines)


# ---- completion ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """A word that may stand here. ``kind``: "instruction", "directive", "file", "word", "attribute" or a ``Kind``."""

    text: str
    kind: str | Kind
    detail: str = ""
    documentation: str = ""


def proposals(a: Analysis, path: Path, line: int, before: str) -> Iterator[Proposal]:
    """What may follow ``before``, the text of the line up to the cursor."""
    if s.without_comment(before).rstrip() != before.rstrip():
        return
    if m := re.match(r'\s*\.include\s+"([^"]*)$', before):
        yield from _files(path, m[1])
        return
    if before.count('"') % 2:
        return
    lead = mnemonic(before)
    if re.fullmatch(r"\s*(?:%?[A-Za-z_][\w.]*\s*:\s*)*[.%]?[\w.]*", before):
        yield from _statements(a)
    elif lead.startswith("."):
        yield from _declaration(a, lead, before, _macro_at(a, path, line))
    else:
        yield from _operands(a, lead, before, _macro_at(a, path, line))


def _statements(a: Analysis) -> Iterator[Proposal]:
    for op in REGISTRY.values():
        yield Proposal(op.name, "instruction", usage(op), summary(op))
    for name, macro in a.symbols.macros.items():
        formals = ", ".join(f.value if d is None else f"{f.value}=..." for f, d in macro.formals)
        yield Proposal(name, Kind.MACRO, f"{name} {formals}", _comment(a, macro.span))
    table = directives()
    for name in s.DIRECTIVES:
        example, meaning = table.get(name, [("", "the end of a macro")])[0]
        yield Proposal(name, "directive", example.strip("`"), meaning)


def _declaration(a: Analysis, lead: str, before: str, macro: str) -> Iterator[Proposal]:
    if lead in (".input", ".param", ".output"):
        yield from (Proposal(word, "word") for word in s.VISIBILITIES)
    if re.search(r"(:|->)\s*\w*$", before):
        yield from _dtypes()
    if lead in (".output", ".print", ".expect", ".for", ".ram") or "[" in before or "=" in before or ".." in before:
        yield from _names(a, macro)


def _operands(a: Analysis, lead: str, before: str, macro: str) -> Iterator[Proposal]:
    visible = a.symbols.visible(macro)
    op = REGISTRY.get(lead)
    named = re.search(r"(\w+)\s*=\s*[^,=]*$", before)
    if op is not None:
        kinds = {x.name: x.kind for x in op.attributes}
        asked = kinds.get(named[1], "") if named else ""
        if asked == "dtype" or (not named and "dtype" in kinds.values()):
            yield from _dtypes()
        if asked == "bool":
            yield from (Proposal(word, "word") for word in ("true", "false"))
        if "label" in kinds.values():
            yield from (Proposal(x.name, k) for x, k in visible.items() if k is Kind.LABEL)
        if not named:
            for x in op.attributes:
                if x.name != op.indexed and x.kind != "label":
                    yield Proposal(f"{x.name}=", "attribute", x.kind, x.doc)
    elif lead in a.symbols.macros and not named:
        for f, _ in a.symbols.macros[lead].formals:
            yield Proposal(f"{f.value}=", "attribute", f"parameter of {lead}")
    yield from _names(a, macro)


def _names(a: Analysis, macro: str) -> Iterator[Proposal]:
    types = {row.name: row.type for row in a.rows}
    for x, kind in a.symbols.visible(macro).items():
        if x.space == "name":
            t = types.get(x.name)
            yield Proposal(x.name, kind, "" if t is None else f"{t} in {t.lo}..{t.hi}")


def _dtypes() -> Iterator[Proposal]:
    for d in DType:
        yield Proposal(d.value, "word", f"{d.lo} to {d.hi}")


def _files(path: Path, begun: str) -> Iterator[Proposal]:
    folder = begun.rpartition("/")[0]
    for base in (path.parent / folder, LIBRARY / folder):
        if base.is_dir():
            for found in sorted(base.iterdir()):
                if found.suffix == ".tasm" and found != path:
                    yield Proposal(f"{folder}/{found.name}" if folder else found.name, "file", str(base))
                elif found.is_dir() and base.parent != LIBRARY.parent and not found.name.startswith("."):
                    yield Proposal(f"{folder}/{found.name}/" if folder else f"{found.name}/", "file")


def _macro_at(a: Analysis, path: Path, line: int) -> str:
    """The macro whose body holds a line."""
    name = ""
    for st in a.draft.sources.parsed.get(a.file(path) or "", ()):
        if st.span.line > line:
            break
        if isinstance(st, s.Macro):
            name = st.name.value
        elif isinstance(st, s.EndMacro):
            name = ""
    return name


# ---- definitions, names ----------------------------------------------------------------------------------------------


def include_of(a: Analysis, text: s.Text) -> Path | None:
    """The file that an include names."""
    base = a.path_of(text.span).parent
    tried = [folder / text.value for folder in (base, LIBRARY)]
    return next((p.resolve() for p in tried if p.is_file()), None)


def why_not(symbol: Symbol, new: str, programs: Sequence[Analysis]) -> str | None:
    """Why a symbol cannot be called ``new``; None if it can."""
    local = symbol.name.startswith("%")
    if local and not new.startswith("%"):
        return "names of a macro start with %"
    if new in RESERVED or new in WORDS:
        return f"'{new}' is a word of the language: choose another name"
    if not valid_name(new.removeprefix("%") if local else new):
        return f"'{new}' cannot be a name: a name is a letter or _, then letters, digits, _ and ."
    if new in REGISTRY:
        return f"'{new}' is an instruction: choose another name"
    for a in programs:
        uses = [o for o in a.symbols.occurrences if o.symbol.name == new]
        if any(o.symbol.space == symbol.space and o.symbol.scope == symbol.scope for o in uses):
            return f"'{new}' is taken"
        bodies = {o.within for o in a.symbols.of(symbol)} | {symbol.scope}
        if any(o.within in bodies - {""} for o in uses):
            return f"'{new}' means something else in the macro '{next(o.within for o in uses if o.within in bodies)}'"
    return None


def begun(text: str) -> str:
    """The word, or in an include the file name, that the text ends with."""
    if m := re.match(r'\s*\.include\s+"([^"]*)$', text):
        return m[1]
    m = re.search(r"[.%]?[\w.]*$", text)
    return m[0] if m else ""


def macro_ends(a: Analysis, file: str) -> dict[int, int]:
    """The last line of the macro that begins on a line, of all macros of a file."""
    out: dict[int, int] = {}
    first = 0
    for st in a.draft.sources.parsed.get(file, ()):
        if isinstance(st, s.Macro):
            first = out[st.span.line] = st.span.line
        elif isinstance(st, s.EndMacro) and first:
            out[first] = st.span.line
    return out
