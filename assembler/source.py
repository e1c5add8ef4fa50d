"""Source files: includes, macro definitions, and the expansion of macro calls.

A file is included once, however often it is named. A macro's body is kept parsed; a call replaces its parameters by the
arguments, which are whole expressions, so precedence survives. Names in the body that start with ``%`` are local: call
number n of macro m turns ``%t`` into ``m.n.t``, with n such that the sources contain no name ``m.n.*``. All other names
in a body are those of the program, labels included. Arguments may be registers, rows of buffers, labels, integers,
tuples, dtypes, strings and tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import syurmy
import syurmy.isa.ops
from syurmy.assembler import syntax as s
from syurmy.assembler.diagnostics import suggestion
from syurmy.isa.errors import AssemblyError, InputError, Span, SyurmyError
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.source import read_bytes

MAX_EXPANSIONS = 2**16
FRAME = {name for name, op in REGISTRY.items() if op.flow in (Flow.OPEN, Flow.CLOSE, Flow.STOP)}
LIBRARY = Path(syurmy.__file__).parent / "lib"  # macros and tables that are installed with the package


Call = tuple[str, Span]  # macro, place
Argument = s.Value | s.Indexed


@dataclass(frozen=True)
class MacroDef:
    """A macro: its formal operands with their defaults, its body, the folder of its data paths."""

    name: str
    formals: tuple[tuple[s.Name, s.Value | None], ...]
    body: tuple[s.Node, ...]
    base: Path


@dataclass(frozen=True)
class Item:
    """A statement, the folder that its data paths start from, and the macro calls it came through."""

    statement: s.Node
    base: Path
    calls: tuple[Call, ...] = ()


@dataclass
class Sources:
    """Parsed files. ``errors`` collects what could not be parsed, ``damaged`` the words of those lines; ``edited`` are
    the texts of files, by their resolved paths, that an editor has not saved yet."""

    include_paths: Sequence[Path] = ()
    data_root: Path | None = None
    edited: Mapping[Path, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    parsed: dict[str, list[s.Node]] = field(default_factory=dict)  # all statements of a file
    paths: dict[str, Path] = field(default_factory=dict)  # by the names that messages show
    items: list[Item] = field(default_factory=list)
    macros: dict[str, MacroDef] = field(default_factory=dict)
    errors: list[SyurmyError] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)  # macros with a statement that could not be parsed
    expansions: int = 0
    _dotted: set[str] = field(default_factory=set)
    _calls: dict[str, int] = field(default_factory=dict)
    _open: list[Path] = field(default_factory=list)
    _seen: set[Path] = field(default_factory=set)

    # ---- reading -------------------------------------------------------------------------------------------------

    def read(self, text: str, file: str, path: Path) -> None:
        """Parse ``text``; its includes and data are relative to the folder of ``path``."""
        self.texts[file] = text
        self.parsed[file] = []
        self.paths[file] = path
        self._open.append(path)
        self._seen.add(path)
        base = self.data_root or path.parent
        macro: s.Macro | None = None
        body: list[s.Node] = []
        for line in s.split(text):
            try:
                st = s.parse(line, file)
            except AssemblyError as e:
                self.errors.append(e)
                if macro is not None:
                    self.broken.add(macro.name.value)
                self.damaged.update(line.text.replace(",", " ").replace(":", " ").split())
                continue
            self.parsed[file].append(st)
            self._dotted.update(n.value for n in names_in(st) if "." in n.value)
            try:
                if isinstance(st, s.EndMacro):
                    self._define(macro, body, st, base)
                    macro, body = None, []
                elif macro is not None:
                    if isinstance(st, s.Macro | s.Include | s.ProgramName):
                        help = f"'.macro {macro.name.value}' is still open"
                        message = "only instructions and declarations may stand in a macro"
                        raise AssemblyError(message, code="A140", span=st.span, help=help)
                    body.append(st)
                elif isinstance(st, s.Macro):
                    macro = st
                elif isinstance(st, s.Include):
                    self._include(st, path)
                else:
                    self.items.append(Item(st, base))
            except SyurmyError as e:
                self.errors.append(e)
        if macro is not None:
            self.errors.append(AssemblyError(f"macro '{macro.name.value}' is not closed", code="A141",
                                             span=macro.span, help="add .endmacro after its body"))  # fmt: skip
            self.damaged |= FRAME  # its body may hold what the program lacks
        self._open.pop()

    def _define(self, macro: s.Macro | None, body: list[s.Node], end: s.EndMacro, base: Path) -> None:
        if macro is None:
            raise AssemblyError(".endmacro without .macro", code="A141", span=dataclasses.replace(end.span, length=9))
        name = macro.name.value
        if name in self.macros:
            raise AssemblyError(f"macro '{name}' is defined twice", code="A104", span=macro.name.span)
        formals = [f.value for f, _ in macro.formals]
        for f, _ in macro.formals:
            if formals.count(f.value) > 1 or f.value.startswith("%"):
                raise AssemblyError(f"'{f.value}' cannot be a parameter here", code="A142", span=f.span,
                                    help="parameters are distinct names without %")  # fmt: skip
        self.macros[name] = MacroDef(name, macro.formals, tuple(body), base)

    def _include(self, st: s.Include, path: Path) -> None:
        wanted = st.path.value
        tried = [folder / wanted for folder in (path.parent, *self.include_paths, LIBRARY)]
        found = next((p.resolve() for p in tried if p.is_file()), None)
        if found is None:
            listed = ", ".join(map(str, tried[:-1]))
            raise AssemblyError(f"include file not found: {wanted}", code="A150", span=st.path.span,
                                help=f"tried {listed} and the library")  # fmt: skip
        if found in self._open:
            chain = " -> ".join(p.name for p in [*self._open[self._open.index(found) :], found])
            raise AssemblyError(f"include cycle: {chain}", code="A151", span=st.path.span)
        if found in self._seen:
            return
        text = self.edited[found] if found in self.edited else read_text(found, st.path.span)
        shown = _shown(next(p for p in tried if p.is_file()))
        self.read(text, shown, found)

    # ---- expanding -----------------------------------------------------------------------------------------------

    def expand(self, call: s.Statement, calls: tuple[Call, ...]) -> Iterator[Item]:
        """The body of a macro with the call's arguments in place; raises ``AssemblyError``."""
        macro = self.macros[call.mnemonic.value]
        if any(name == macro.name for name, _ in calls):
            raise AssemblyError(f"macro '{macro.name}' calls itself", code="A143", span=call.mnemonic.span)
        self.expansions += 1
        binding = self._bind(macro, call)
        number = self._calls.get(macro.name, 0) + 1
        while any(n.startswith(f"{macro.name}.{number}.") for n in self._dotted):
            number += 1
        self._calls[macro.name] = number
        prefix = f"{macro.name}.{number}."
        inner = (*calls, (macro.name, call.mnemonic.span))
        for st in macro.body:
            yield Item(substituted(st, binding, prefix), macro.base, inner)

    def _bind(self, macro: MacroDef, call: s.Statement) -> dict[str, Argument]:
        formals = [f.value for f, _ in macro.formals]
        binding: dict[str, Argument] = {}
        usage = f"{macro.name} {', '.join(f if d is None else f + '=...' for f, d in _formals(macro))}"
        for i, operand in enumerate(call.operands):
            if isinstance(operand, s.Named):
                name, span = operand.name.value, operand.name.span
                value: Argument = operand.value
                if name not in formals:
                    raise AssemblyError(f"macro {macro.name} has no parameter '{name}'", code="A144", span=span,
                                        help=suggestion(name, formals) or f"usage: {usage}")  # fmt: skip
            else:
                if i >= len(formals):
                    raise AssemblyError(f"macro {macro.name} takes {len(formals)} arguments, here are "
                                        f"{len(call.operands)}", code="A144", span=operand.span,
                                        help=f"usage: {usage}")  # fmt: skip
                name, value, span = formals[i], operand, operand.span
            if name in binding:
                raise AssemblyError(f"argument '{name}' is given twice", code="A144", span=span)
            binding[name] = value
        for f, default in _formals(macro):
            if f not in binding:
                if default is None:
                    raise AssemblyError(f"macro {macro.name} needs argument '{f}'", code="A144",
                                        span=call.span, help=f"usage: {usage}")  # fmt: skip
                binding[f] = default
        return binding


def _formals(macro: MacroDef) -> list[tuple[str, s.Value | None]]:
    return [(f.value, d) for f, d in macro.formals]


def names_in(x: Any) -> Iterator[s.Name]:
    """All names in a statement."""
    if isinstance(x, s.Name):
        yield x
    elif isinstance(x, tuple):
        for v in x:
            yield from names_in(v)
    elif dataclasses.is_dataclass(x) and not isinstance(x, Span | s.Number | s.Text | s.Braces | s.File):
        for f in dataclasses.fields(x):
            yield from names_in(getattr(x, f.name))


_KEPT = {(s.Statement, "mnemonic"), (s.Named, "name"), (s.InputDecl, "visibility"), (s.ParamDecl, "visibility"),
         (s.OutputDecl, "visibility")}  # fmt: skip


def substituted(x: Any, binding: dict[str, Argument], prefix: str) -> Any:
    """``x`` with parameters replaced by arguments and local names by their renamed form."""
    if isinstance(x, s.Name):
        if x.value.startswith("%"):
            return dataclasses.replace(x, value=prefix + x.value[1:])
        return binding.get(x.value, x)
    if isinstance(x, tuple):
        return tuple(substituted(v, binding, prefix) for v in x)
    if dataclasses.is_dataclass(x) and not isinstance(x, Span | s.Number | s.Text | s.Braces | s.File):
        fields = [f.name for f in dataclasses.fields(x) if f.name != "span"]
        changed: dict[str, Any] = {
            f: substituted(getattr(x, f), binding, prefix) for f in fields if (type(x), f) not in _KEPT
        }
        place: Any = x
        return dataclasses.replace(place, span=dataclasses.replace(place.span), **changed)
    return x


def read_text(path: Path, span: Span | None = None) -> str:
    """A source file's text; raises ``InputError`` I101."""
    try:
        text = read_bytes(path).decode("utf-8-sig")  # some editors write a mark at the beginning
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror}", code="I101", span=span) from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {path}: it is not UTF-8 text", code="I101", span=span) from None
    except ValueError as e:
        raise InputError(f"cannot read {path}: {e}", code="I101", span=span) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _shown(path: Path) -> str:
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
