"""What stands where in a program: statements, macro expansions, blocks, routines, lines, labels, nodes of a model.

A *statement* is what one line of the source made: one instruction, or several where operands such as ``x[t]`` are
instructions of their own. An *expansion* is one use of a macro: the instructions that came through it. Both are
contiguous.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from syurmy.isa.errors import Span
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.path import matching_ends
from syurmy.isa.program import Instruction, Program
from syurmy.vm.debug.errors import DebugError


@dataclass(frozen=True)
class ModelNode:
    """A node of the model that a program was compiled from: instructions ``first .. last - 1``."""

    name: str
    op: str
    first: int
    last: int


@dataclass(frozen=True)
class Frame:
    """One level of the stack. ``kind``: program, routine or macro. ``index`` is the instruction that is next there, and
    ``span`` its line: in the innermost level the line that is executed, further out the line of the use or the call."""

    kind: str
    name: str
    index: int
    span: Span | None

    def __str__(self) -> str:
        return self.name if self.kind == "program" else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Location:
    """Where to stop. ``kind``: line, label, macro, index (of an instruction), node (of a model) or trap; ``name`` is
    the label, macro, node, file (of a line; the program's own if empty) or code (of a trap; any if empty)."""

    kind: str
    name: str = ""
    number: int = 0

    @staticmethod
    def parse(text: str) -> Location:
        """``12``, ``FILE:12``, ``@7`` (an instruction), ``label L``, ``macro M``, ``node N``, ``trap [T110]``, or a
        name alone, which is a label, macro or node (kind ``name``). Raises ``DebugError`` D110."""
        text = text.strip()
        if m := re.fullmatch(r"(?:(.*):)?(\d+)", text):
            return Location("line", m[1] or "", int(m[2]))
        if m := re.fullmatch(r"@\s*(\d+)", text):
            return Location("index", number=int(m[1]))
        word, _, rest = text.partition(" ")
        if word == "trap":
            return Location("trap", rest.strip())
        if word in ("label", "macro", "node") and rest.strip():
            return Location(word, rest.strip())
        if not text:
            raise DebugError(
                "where?", code="D110", help="a line, FILE:LINE, a label, macro or node, @INSTRUCTION, or trap"
            )
        return Location("name", text)

    def __str__(self) -> str:
        if self.kind == "line":
            return f"{self.name}:{self.number}" if self.name else f"line {self.number}"
        if self.kind == "index":
            return f"instruction {self.number}"
        return f"{self.kind} {self.name}".strip() if self.kind != "name" else self.name


class Listing:
    """The program's instructions and where they come from. ``nodes``: those of the model, if it was compiled."""

    def __init__(self, program: Program, nodes: Iterable[ModelNode] = ()) -> None:
        self.program = program
        self.code = program.code
        self.nodes = tuple(nodes)
        self.ends = matching_ends(program.code)
        self.flows = [REGISTRY[ins.op].flow for ins in program.code]

    @cached_property
    def file(self) -> str:
        """The program's own file: where code stands that came through no macro, or else any."""
        spans = [ins.calls[0][1] if ins.calls else ins.span for ins in self.code]
        return next((s.file for s in reversed(spans) if s is not None), "")

    @cached_property
    def files(self) -> tuple[str, ...]:
        """All files with code, the program's own first."""
        found = {self.file: None}
        for ins in self.code:
            found.update({s.file: None for s in (ins.span, *(at for _, at in ins.calls)) if s is not None})
        return tuple(found)

    @cached_property
    def labels(self) -> dict[int, str]:
        """The label in front of an instruction."""
        return {index: name for name, index in reversed(list(self.program.labels.items()))}

    @cached_property
    def macros(self) -> dict[str, tuple[int, ...]]:
        """The first instruction of every expansion of a macro."""
        found: dict[str, list[int]] = {}
        before: Sequence[tuple[str, Span]] = ()
        for pc, ins in enumerate(self.code):
            for depth in range(1, len(ins.calls) + 1):
                if ins.calls[:depth] != before[:depth]:
                    found.setdefault(ins.calls[depth - 1][0], []).append(pc)
            before = ins.calls
        return {name: tuple(pcs) for name, pcs in found.items()}

    # ---- extents -------------------------------------------------------------------------------------------------

    def statement(self, pc: int) -> range:
        """The instructions of the statement that ``pc`` belongs to."""
        here = _line(self.code[pc])
        return self._around(pc, lambda ins: _line(ins) == here) if here is not None else range(pc, pc + 1)

    def expansion(self, pc: int, depth: int) -> range:
        """The expansion, ``depth`` macros deep, that ``pc`` belongs to."""
        calls = self.code[pc].calls[:depth]
        return self._around(pc, lambda ins: ins.calls[:depth] == calls)

    def whole(self, pc: int) -> range:
        """What begins at ``pc``: an expansion (the outermost that does), a block with its rounds, or a statement."""
        calls = self.code[pc].calls
        before = self.code[pc - 1].calls if pc else ()
        for depth in range(1, len(calls) + 1):
            if calls[:depth] != before[:depth]:
                return self.expansion(pc, depth)
        if self.flows[pc] is Flow.OPEN:
            return range(pc, self.ends[pc] + 1)
        return range(pc, self.statement(pc).stop)

    def block(self, pc: int) -> range | None:
        """The innermost ``repeat`` block around ``pc`` (its ends included, ``pc`` not its ``repeat``)."""
        depth = 0
        for at in range(pc - 1, -1, -1):
            if self.flows[at] is Flow.CLOSE:
                depth += 1
            elif self.flows[at] is Flow.OPEN:
                if depth == 0:
                    return range(at, self.ends[at] + 1)
                depth -= 1
        return None

    def node(self, pc: int) -> ModelNode | None:
        """The model's node that an instruction belongs to."""
        return next((n for n in self.nodes if n.first <= pc < n.last), None)

    def _around(self, pc: int, same: object) -> range:
        first = last = pc
        while first and same(self.code[first - 1]):  # type: ignore[operator]
            first -= 1
        while last + 1 < len(self.code) and same(self.code[last + 1]):  # type: ignore[operator]
            last += 1
        return range(first, last + 1)

    # ---- the stack -----------------------------------------------------------------------------------------------

    def stack(self, pc: int, returns: Sequence[int]) -> list[Frame]:
        """The levels around ``pc``, innermost first; ``returns``: where the routines return to, outermost first."""
        frames: list[Frame] = []
        places = [pc, *(r - 1 for r in reversed(returns))]
        for k, at in enumerate(places):
            span = self.code[at].span
            for macro, use in reversed(self.code[at].calls):
                frames.append(Frame("macro", macro, at, span))
                span = use
            if k + 1 < len(places):
                target = int(self.code[places[k + 1]].get("target"))  # type: ignore[arg-type]
                frames.append(Frame("routine", self.labels.get(target, f"@{target}"), at, span))
            else:
                frames.append(Frame("program", self.program.name, at, span))
        return frames

    # ---- places --------------------------------------------------------------------------------------------------

    def lines(self, file: str) -> dict[int, tuple[int, ...]]:
        """Lines of a file with code, ascending, and where each begins: first instructions of its statements, and of the
        expansions of macros that it uses."""
        found: dict[int, list[int]] = {}
        before: set[tuple[Span, ...]] = set()
        for pc, ins in enumerate(self.code):
            chains = set(_chains(ins))
            for chain in sorted(chains - before, key=len, reverse=True):
                if chain[-1].file == file and pc not in found.get(chain[-1].line, ()):
                    found.setdefault(chain[-1].line, []).append(pc)
            before = chains
        return {line: tuple(found[line]) for line in sorted(found)}

    def find(self, at: Location) -> tuple[int, ...]:
        """The instructions to stop before. Raises ``DebugError`` D110 where there is no code."""
        match at.kind:
            case "line":
                return self._at_line(at)
            case "index":
                if not at.number < len(self.code):
                    help = f"the program has instructions 0 to {len(self.code) - 1}"
                    raise DebugError(f"there is no instruction {at.number}", code="D110", help=help)
                return (at.number,)
            case "label" if at.name in self.program.labels:
                return (self.program.labels[at.name],)
            case "macro" if at.name in self.macros:
                return self.macros[at.name]
            case "node" if found := [n.first for n in self.nodes if n.first < n.last and at.name in _names(n)]:
                return tuple(found)
            case "trap":
                return ()
            case "name":
                for kind in ("label", "macro", "node"):
                    try:
                        return self.find(Location(kind, at.name))
                    except DebugError:
                        continue
        known = {"label": self.program.labels, "macro": self.macros, "node": {n.name: 0 for n in self.nodes}}
        names = [*known[at.kind]] if at.kind in known else [name for some in known.values() for name in some]
        near = difflib.get_close_matches(at.name, names, 1)
        what = at.kind if at.kind in known else "label, macro or node"
        help = f"did you mean '{near[0]}'?" if near else ""
        raise DebugError(f"there is no {what} '{at.name}' with code", code="D110", help=help)

    def file_of(self, name: str) -> str:
        """The file that ``name`` means: by its name in diagnostics, its path, or the end of one. Raises D110."""
        if not name:
            return self.file
        for file in self.files:
            if file == name or Path(file).resolve() == Path(name).resolve():
                return file
        ends = [file for file in self.files if Path(file).as_posix().endswith("/" + name) or Path(file).name == name]
        if len(ends) != 1:
            help = f"there is code in {', '.join(self.files)}"
            raise DebugError(
                f"'{name}' is {'several' if ends else 'none'} of the program's files", code="D110", help=help
            )
        return ends[0]

    def _at_line(self, at: Location) -> tuple[int, ...]:
        file = self.file_of(at.name)
        lines = self.lines(file)
        if at.number in lines:
            return lines[at.number]
        following = [n for n in lines if n > at.number]
        help = (
            f"the next line with code is {following[0]}"
            if following
            else f"the last line with code is {max(lines, default=0)}"
        )
        raise DebugError(f"line {at.number} of {file} has no code", code="D110", help=help)


def _names(n: ModelNode) -> tuple[str, str]:
    """What a node may be called: its name, and the end of one that is a path."""
    return n.name, n.name.rpartition("/")[2]


def _line(ins: Instruction) -> tuple[str, int, tuple[tuple[str, Span], ...]] | None:
    return None if ins.span is None else (ins.span.file, ins.span.line, ins.calls)


def _chains(ins: Instruction) -> list[tuple[Span, ...]]:
    """Lines that an instruction stands for, each behind the uses of macros around it: its own, and those of the uses.
    Of places only file and line count."""
    places = [*(at for _, at in ins.calls), *([] if ins.span is None else [ins.span])]
    short = [Span(p.file, p.line, 0) for p in places]
    return [tuple(short[: k + 1]) for k in range(len(short))]
