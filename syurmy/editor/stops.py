"""Breakpoints as an editor sets them: all of one kind at once, each answered with where it really is, or why it is not.

A hit condition is a number N (from the Nth hit on), or ``> N``, ``>= N``, ``== N``, ``% N`` (every Nth).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from syurmy.isa.errors import SyurmyError
from syurmy.vm.debug import Breakpoint, DebugError, Debugger, Location, Point

ACCESSES = {"read": ("read",), "write": ("change",), "readWrite": ("read", "change")}
Body = dict[str, Any]


class Breakpoints:
    """``log`` takes the message of a log point; ``logging``: whether it is wanted."""

    def __init__(self, d: Debugger, log: Callable[[str], None]) -> None:
        self._d = d
        self._log = log
        self.logging = True
        self._of: dict[str, list[int]] = {}  # numbers by kind, or by file
        for id in [*d.points]:
            d.delete(id)

    def lines(self, file: str, wanted: Sequence[Body]) -> list[Body]:
        """All line breakpoints of a file. One on a line without code moves to the next line that has some."""
        key = f"file {Path(file).resolve()}"
        self._forget(key)
        return [self._made(key, b, partial(self._line, file, b)) for b in wanted]

    def functions(self, wanted: Sequence[Body]) -> list[Body]:
        """Breakpoints on labels, macros, nodes of a model, or whatever ``Location.parse`` reads."""
        self._forget("function")
        return [self._made("function", b, partial(self._function, b)) for b in wanted]

    def instructions(self, wanted: Sequence[Body]) -> list[Body]:
        """Breakpoints on instructions ``index``."""
        self._forget("instruction")
        return [self._made("instruction", b, partial(self._instruction, b)) for b in wanted]

    def data(self, wanted: Sequence[Body]) -> list[Body]:
        """Watchpoints on the targets ``dataId``."""
        self._forget("data")
        return [self._made("data", b, partial(self._watches, b)) for b in wanted]

    def reason(self, points: Iterable[Point]) -> str:
        """The protocol's word for what stopped the run."""
        for p in points:
            for kind in ("function", "instruction"):
                if p.id in self._of.get(kind, ()):
                    return f"{kind} breakpoint"
        return "breakpoint"

    # ---- parts ---------------------------------------------------------------------------------------------------

    def _forget(self, key: str) -> None:
        for id in self._of.pop(key, ()):
            if id in self._d.points:
                self._d.delete(id)

    def _made(self, key: str, wanted: Body, make: Callable[[], Sequence[Point]]) -> Body:
        try:
            least, once, every = _hits(str(wanted.get("hitCondition") or ""))
            points = make()
        except SyurmyError as e:
            return {"verified": False, "message": e.message + (f" ({e.help})" if e.help else "")}
        for p in points:
            self._of.setdefault(key, []).append(p.id)
            p.ignore, p.temporary = least - 1, once
            p.passes = self._passing(every, str(wanted.get("logMessage") or ""))
        out: Body = {"id": points[0].id, "verified": True}
        first = points[0]
        if isinstance(first, Breakpoint) and first.indices:
            index = first.indices[0]
            out["instructionReference"] = f"0x{index:x}"
            span = self._d.program.code[index].span
            if key.startswith("file"):
                out |= {
                    "line": first.location.number,
                    "source": source_of(self._d.listing.file_of(first.location.name)),
                }
            elif span is not None:
                out |= {"line": span.line, "source": source_of(span.file)}
        return out

    def _passing(self, every: int, message: str) -> Callable[[Point], bool] | None:
        if every == 1 and not message:
            return None

        def passes(p: Point) -> bool:
            if p.hits % every:
                return True
            if message and self.logging:
                self._log(message)
            return bool(message)

        return passes

    def _line(self, file: str, wanted: Body) -> list[Point]:
        name = self._d.listing.file_of(file)
        line = int(wanted["line"])
        with_code = [n for n in self._d.listing.lines(name) if n >= line]
        return [self._at(Location("line", name, with_code[0] if with_code else line), wanted)]

    def _function(self, wanted: Body) -> list[Point]:
        return [self._at(Location.parse(str(wanted.get("name", ""))), wanted)]

    def _instruction(self, wanted: Body) -> list[Point]:
        if wanted["index"] < 0:
            raise DebugError(f"there is no instruction {wanted['index']}", code="D110")
        return [self._at(Location("index", number=wanted["index"]), wanted)]

    def _at(self, where: Location, wanted: Body) -> Point:
        return self._d.break_at(where, str(wanted.get("condition") or ""))

    def _watches(self, wanted: Body) -> list[Point]:
        accesses = ACCESSES.get(str(wanted.get("accessType") or "write"), ("change",))
        target, condition = str(wanted.get("dataId") or ""), str(wanted.get("condition") or "")
        made: list[Point] = []
        for access in accesses:
            try:
                made.append(self._d.watch(target, access, condition))
            except DebugError:
                if access == accesses[-1] and not made:
                    raise
        return made


def _hits(text: str) -> tuple[int, bool, int]:
    """From which hit on, whether only that one, and which share of hits a hit condition means. Raises D101."""
    if not text.strip():
        return 1, False, 1
    m = re.fullmatch(r"\s*(>=|>|==|=|%)?\s*(\d+)\s*", text)
    if m is None or int(m[2]) < (m[1] != ">"):
        raise DebugError(f"'{text}' is no hit condition", code="D101", help="a number, > N, >= N, == N or % N")
    count = int(m[2])
    match m[1]:
        case ">":
            return count + 1, False, 1
        case "==" | "=":
            return count, True, 1
        case "%":
            return 1, False, count
        case _:
            return count, False, 1


def source_of(file: str) -> Body:
    """A source file as the protocol names it."""
    path = Path(file)
    return {"name": path.name, "path": str(path.resolve())} if path.exists() else {"name": file}
