"""Commands about breakpoints and watchpoints."""

from __future__ import annotations

import re

from syurmy.debugging import texts
from syurmy.debugging.session import Session, command
from syurmy.vm.debug import Breakpoint, DebugError, Location, Point, Watch

GROUP = "stop"


def _number(text: str) -> int:
    if not text.isdecimal():
        raise DebugError(f"'{text}' is not the number of a breakpoint", code="D111")
    return int(text)


def _conditional(text: str) -> tuple[str, str]:
    """Place and condition of ``PLACE``, ``PLACE if CONDITION`` or ``PLACE, CONDITION``."""
    m = re.match(r"(.*?)(?:\s+if\s+|\s*,\s*(?![^\[]*\]))(.*)", text)
    return (m[1].strip(), m[2].strip()) if m else (text.strip(), "")


def _describe(s: Session, p: Point) -> list[str]:
    kind = "watchpoint" if isinstance(p, Watch) else "temporary breakpoint" if p.temporary else "breakpoint"
    line = f"{kind} {p.id}: {p}"
    if isinstance(p, Breakpoint) and p.indices:
        places = list(dict.fromkeys(texts.place(s.d.program.code[i].span) or f"instruction {i}" for i in p.indices))
        line += f" at {', '.join(places[:3])}" + (f" and {len(places) - 3} more" if len(places) > 3 else "")
        if len(p.indices) > len(places):
            line += f" ({len(p.indices)} instructions)"
    if p.condition is not None:
        line += f", if {p.condition.text}"
    if not p.enabled:
        line += ", disabled"
    if p.ignore:
        line += f", passes {p.ignore} more time{'s' if p.ignore > 1 else ''}"
    if p.hits:
        line += f", hit {p.hits} time{'s' if p.hits > 1 else ''}"
    return [line, *(f"    {text}" for text in s.scripts.get(p.id, ()))]


def _list(s: Session) -> None:
    if not s.d.points:
        s.say("no breakpoints")
    for p in s.d.points.values():
        s.tell(_describe(s, p))


def _break(s: Session, text: str, temporary: bool) -> None:
    where, condition = _conditional(text)
    if not where and s.d.index is not None:
        where = f"@{s.d.index}"
    s.tell(_describe(s, s.d.break_at(Location.parse(where), condition, temporary=temporary)))


@command("break", "b", usage="[PLACE [if CONDITION]]", group=GROUP)
def break_(s: Session, text: str) -> None:
    """Stop before a place: a line (12, FILE:12), a label, a macro, a node of the model, @INDEX (an instruction), or
    trap [CODE]. A condition is over values there: h.max() > 1000 and step > 40. Alone: list what there is."""
    if text:
        _break(s, text, temporary=False)
    else:
        _list(s)


@command("tbreak", "tb", usage="PLACE [if CONDITION]", group=GROUP)
def tbreak(s: Session, text: str) -> None:
    """A breakpoint that goes after one stop."""
    _break(s, text, temporary=True)


@command("watch", usage="[-w] TARGET [if CONDITION]", group=GROUP)
def watch(s: Session, text: str) -> None:
    """Stop behind a write that changes a register, a part of one (h[3], h[0, :8]) or a row of a buffer. With -w behind
    every write."""
    every = text.startswith("-w ")
    target, condition = _conditional(text.removeprefix("-w "))
    s.tell(_describe(s, s.d.watch(target, "write" if every else "change", condition)))


@command("rwatch", usage="TARGET [if CONDITION]", group=GROUP)
def rwatch(s: Session, text: str) -> None:
    """Stop behind an instruction that reads a register, or a row of a buffer."""
    target, condition = _conditional(text)
    s.tell(_describe(s, s.d.watch(target, "read", condition)))


@command("condition", usage="N [CONDITION]", group=GROUP)
def condition(s: Session, text: str) -> None:
    """Give breakpoint N a new condition, or none."""
    number, _, test = text.partition(" ")
    s.d.set_condition(_number(number), test)
    s.tell(_describe(s, s.d.point(_number(number))))


@command("ignore", usage="N [COUNT]", group=GROUP)
def ignore(s: Session, text: str) -> None:
    """Pass breakpoint N the next COUNT times."""
    number, _, count = text.partition(" ")
    p = s.d.point(_number(number))
    if count.strip() and not count.strip().isdecimal():
        raise DebugError(f"'{count.strip()}' is not a number of times", code="D121")
    p.ignore = int(count or 0)
    s.tell(_describe(s, p))


@command("commands", usage="N", group=GROUP)
def commands(s: Session, text: str) -> None:
    """The lines that follow, up to end, are carried out whenever breakpoint N stops the run."""
    s.recording = s.d.point(_number(text)).id
    s.scripts[s.recording] = []


@command("delete", "clear", "cl", usage="[N ...]", group=GROUP)
def delete(s: Session, text: str) -> None:
    """Remove breakpoints and watchpoints by number; alone all of them."""
    for number in text.split() or [str(n) for n in s.d.points]:
        s.d.delete(_number(number))
        s.scripts.pop(int(number), None)


@command("enable", usage="N ...", group=GROUP)
def enable(s: Session, text: str) -> None:
    """Let breakpoints stop again."""
    for number in text.split():
        s.d.enable(_number(number))


@command("disable", usage="N ...", group=GROUP)
def disable(s: Session, text: str) -> None:
    """Let breakpoints pass without removing them."""
    for number in text.split():
        s.d.enable(_number(number), False)
