"""Names in the text of a program: where each is defined, and where used.

Registers, inputs, params, tables, buffers, constants and loop counters share one space of names, labels have one,
macros another. A macro's parameters and the names that start with ``%`` belong to the macro alone. What a name stands
for in the call of a macro follows from the macro: an argument that its body writes is written, and one that it jumps to
is a label.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from syurmy.assembler import syntax as s
from syurmy.assembler.source import names_in
from syurmy.isa.errors import Span
from syurmy.isa.instruction import REGISTRY, Op
from syurmy.isa.wellformed import RESERVED


class Kind(enum.Enum):
    """What a definition makes."""

    INPUT = "input"
    PARAM = "param"
    TABLE = "table"
    BUFFER = "buffer"
    CONSTANT = "constant"
    REGISTER = "register"
    COUNTER = "loop counter"
    LABEL = "label"
    MACRO = "macro"
    PARAMETER = "parameter of a macro"


_WORD = re.compile(r"\n|0x[0-9a-fA-F]+|%?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
DECLARED = (Kind.INPUT, Kind.PARAM, Kind.TABLE, Kind.BUFFER, Kind.CONSTANT, Kind.LABEL, Kind.MACRO, Kind.PARAMETER)


@dataclass(frozen=True)
class Symbol:
    """One name of a program. ``space``: "name", "label" or "macro"; ``scope``: the macro it belongs to, or nothing."""

    name: str
    space: str = "name"
    scope: str = ""


@dataclass(frozen=True)
class Occurrence:
    """A symbol in the text, as it is written there. ``kind``: what is defined here, None for a use; ``within``: the
    macro around it, if any."""

    symbol: Symbol
    span: Span
    kind: Kind | None = None
    within: str = ""
    label: bool = False  # used or defined as one


@dataclass
class Symbols:
    """All occurrences in the files of a program, in the order of the text, and its includes."""

    occurrences: list[Occurrence] = field(default_factory=list)
    includes: list[s.Text] = field(default_factory=list)
    macros: dict[str, s.Macro] = field(default_factory=dict)

    def at(self, file: str, line: int, column: int) -> Occurrence | None:
        """The occurrence at a place (counted from 1), the end of its name included."""
        for o in self.occurrences:
            if (o.span.file, o.span.line) == (file, line) and o.span.column <= column <= o.span.column + o.span.length:
                return o
        return None

    def of(self, symbol: Symbol) -> list[Occurrence]:
        return [o for o in self.occurrences if o.symbol == symbol]

    def definition(self, o: Occurrence) -> Occurrence | None:
        """Where the symbol is declared; for a register the last line above that writes it, or the first that does."""
        made = [d for d in self.of(o.symbol) if d.kind is not None]
        above = [d for d in made if d.span.file == o.span.file and d.span.line < o.span.line]
        declared = [d for d in made if d.kind in DECLARED]
        found = declared[:1] or above[-1:] or made[:1]
        return found[0] if found else None

    def visible(self, macro: str) -> dict[Symbol, Kind]:
        """Symbols that a line may name, outside macros or in one, with what defined them first."""
        out: dict[Symbol, Kind] = {}
        for o in self.occurrences:
            if o.kind is not None and o.symbol.scope in ("", macro):
                out.setdefault(o.symbol, o.kind)
        return out


def symbols(parsed: Mapping[str, Sequence[s.Node]]) -> Symbols:
    """The names in the statements of all files of a program (``Sources.parsed``)."""
    macros, bodies = _macros(parsed)
    roles = _roles(macros, bodies)
    out = Symbols(macros=macros)
    for statements in parsed.values():
        macro: s.Macro | None = None
        for st in statements:
            if isinstance(st, s.Include):
                out.includes.append(st.path)
            if isinstance(st, s.Macro):
                macro = st
            out.occurrences += _Walk(macro, macros, roles).statement(st)
            if isinstance(st, s.EndMacro):
                macro = None
    return out


# ---- macros ----------------------------------------------------------------------------------------------------------


def _macros(parsed: Mapping[str, Sequence[s.Node]]) -> tuple[dict[str, s.Macro], dict[str, list[s.Node]]]:
    macros: dict[str, s.Macro] = {}
    bodies: dict[str, list[s.Node]] = {}
    for statements in parsed.values():
        name = ""
        for st in statements:
            if isinstance(st, s.Macro):
                name = st.name.value
                macros.setdefault(name, st)
                bodies.setdefault(name, [])
            elif isinstance(st, s.EndMacro):
                name = ""
            elif name:
                bodies[name].append(st)
    return macros, bodies


@dataclass(frozen=True)
class _Roles:
    """Parameters that a macro's body writes, and those that it uses as labels."""

    written: AbstractSet[str] = frozenset()
    labels: AbstractSet[str] = frozenset()


def _roles(macros: Mapping[str, s.Macro], bodies: Mapping[str, list[s.Node]]) -> dict[str, _Roles]:
    """Roles of all macros, followed through the macros that they call until nothing changes."""
    roles = dict.fromkeys(macros, _Roles())
    while True:
        new = {}
        for name, macro in macros.items():
            seen = [o for st in bodies[name] for o in _Walk(macro, macros, roles).statement(st)]
            own = [o for o in seen if o.symbol.scope == name]
            new[name] = _Roles(
                frozenset(o.symbol.name for o in own if o.kind is Kind.REGISTER),
                frozenset(o.symbol.name for o in own if o.label),
            )
        if new == roles:
            return roles
        roles = new


# ---- statements ------------------------------------------------------------------------------------------------------


class _Walk:
    """Occurrences of one statement, in ``macro`` if that is not None."""

    def __init__(self, macro: s.Macro | None, macros: Mapping[str, s.Macro], roles: Mapping[str, _Roles]) -> None:
        self._macro = "" if macro is None else macro.name.value
        self._formals = frozenset() if macro is None else frozenset(f.value for f, _ in macro.formals)
        self._macros, self._roles = macros, roles

    def statement(self, st: s.Node) -> Iterator[Occurrence]:
        match st:
            case s.ProgramName() | s.Include() | s.EndMacro():
                return
            case s.Const():
                yield from self._uses(st.value)
                yield self._one(st.name, Kind.CONSTANT)
            case s.InputDecl():
                yield self._one(st.name, Kind.INPUT)
                yield from self._uses((st.tensor.shape, st.within))
            case s.ParamDecl():
                yield self._one(st.name, Kind.PARAM)
                yield from self._uses((st.tensor.shape, st.bounds, st.l1))
                yield from self._data(st.data)
            case s.LutDecl():
                yield self._one(st.name, Kind.TABLE)
                yield from self._uses(st.within)
                yield from self._data(st.data)
            case s.RamDecl():
                yield self._one(st.name, Kind.BUFFER)
                yield from self._uses((st.tensor.shape, st.init))
            case s.OutputDecl() | s.Print():
                yield self._one(st.name)
            case s.Expect():
                yield from self._uses((st.name, st.value))
                yield from self._data(st.value)
            case s.For():
                yield self._one(st.name, Kind.REGISTER)
                yield self._one(st.source)
            case s.Macro():
                yield Occurrence(Symbol(st.name.value, "macro"), st.name.span, Kind.MACRO, self._macro)
                for formal, default in st.formals:
                    yield self._one(formal, Kind.PARAMETER)
                    yield from _Walk(None, self._macros, self._roles)._uses(default)  # names of the program
            case s.Label():
                yield self._one(st.name, Kind.LABEL, "label")
                if st.statement is not None:
                    yield from self.statement(st.statement)
            case s.Statement():
                yield from self._operation(st)

    def _operation(self, st: s.Statement) -> Iterator[Occurrence]:
        name = st.mnemonic.value
        if (op := REGISTRY.get(name)) is not None:
            yield from self._instruction(op, st)
            return
        yield Occurrence(Symbol(name, "macro"), st.mnemonic.span, None, self._macro)
        formals = [f.value for f, _ in self._macros[name].formals] if name in self._macros else []
        roles = self._roles.get(name, _Roles())
        for k, operand in enumerate(st.operands):
            formal = formals[k] if k < len(formals) else ""
            value: Any = operand
            if isinstance(operand, s.Named):
                formal, value = operand.name.value, operand.value
                yield Occurrence(Symbol(formal, "name", name), operand.name.span, None, self._macro)
            if isinstance(value, s.Name) and formal in roles.written:
                yield self._one(value, Kind.REGISTER)
            elif isinstance(value, s.Name) and formal in roles.labels:
                yield self._one(value, None, "label")
            else:
                yield from self._uses(value)

    def _instruction(self, op: Op, st: s.Statement) -> Iterator[Occurrence]:
        kinds = {a.name: a.kind for a in op.attributes}
        order = [a.kind for a in op.attributes if a.positional]
        sources = (
            len(op.sources) if not op.indexed else 1 + len([n for n in op.sources if n not in ("idx", op.indexed)])
        )
        plain = [o for o in st.operands if not isinstance(o, s.Named)]
        after = op.has_dst + sources
        if op.variadic:
            after = max(after, len(plain) - len(order))
        for k, operand in enumerate(plain):
            if k == 0 and op.has_dst and isinstance(operand, s.Name):
                yield self._one(operand, Kind.REGISTER)
            else:
                kind = order[k - after] if after <= k < after + len(order) else ""
                yield from self._attribute(kind, operand)
        for n in st.operands:
            if isinstance(n, s.Named):
                yield from self._attribute(kinds.get(n.name.value, ""), n.value)

    def _attribute(self, kind: str, value: Any) -> Iterator[Occurrence]:
        if kind == "label" and isinstance(value, s.Name):
            yield self._one(value, None, "label")
        elif kind == "name" and isinstance(value, s.Name):
            yield self._one(value, Kind.COUNTER)
        elif kind not in ("dtype", "str", "bool"):
            yield from self._uses(value)

    def _uses(self, x: Any) -> Iterator[Occurrence]:
        for name in names_in(x):
            if name.value not in RESERVED:
                yield self._one(name)

    def _data(self, data: Any) -> Iterator[Occurrence]:
        """Constants in inline data."""
        if not isinstance(data, s.Braces):
            return
        line, start = data.span.line, 1 - data.span.column
        for m in _WORD.finditer(data.text):
            if m[0] == "\n":
                line, start = line + 1, m.end()
            elif m[0] not in RESERVED and not m[0].startswith("0x"):
                yield self._one(s.Name(m[0], Span(data.span.file, line, m.start() - start + 1, len(m[0]))))

    def _one(self, name: s.Name, kind: Kind | None = None, space: str = "name") -> Occurrence:
        word = name.value
        if word in self._formals:
            symbol = Symbol(word, "name", self._macro)
        else:
            symbol = Symbol(word, space, self._macro if word.startswith("%") else "")
        return Occurrence(symbol, name.span, kind, self._macro, space == "label")
