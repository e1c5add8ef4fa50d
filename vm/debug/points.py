"""Breakpoints and watchpoints, and what a run reports where it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap
from syurmy.vm.debug.expressions import Expression, Target
from syurmy.vm.debug.listing import Location

ACCESSES = ("change", "write", "read")


@dataclass(eq=False)
class Point:
    """What can stop a run. ``condition``: only where it holds; ``ignore``: how many more times it is passed; ``hits``:
    how often it was reached with its condition true, forwards or backwards; ``temporary``: goes after one stop;
    ``passes``: asked at a hit that would stop, whether to go on all the same."""

    id: int
    condition: Expression | None = None
    ignore: int = 0
    enabled: bool = True
    temporary: bool = False
    hits: int = 0
    passes: Callable[[Point], bool] | None = None


@dataclass(eq=False)
class Breakpoint(Point):
    """Stops before instructions ``indices``; one on traps has none, and stops where the run does."""

    location: Location = field(default_factory=lambda: Location("index"))
    indices: tuple[int, ...] = ()

    def __str__(self) -> str:
        return str(self.location)


@dataclass(eq=False)
class Watch(Point):
    """Stops behind an instruction that accesses ``target``, a register or rows of a buffer, or a part of them.

    ``access``: ``change`` (a write that changes entries of the part), ``write`` (any write of the register, or of one
    of the rows) or ``read`` (an instruction reads the register, or one of the rows).
    """

    target: Target = field(default_factory=lambda: Target(""))
    access: str = "change"
    indices: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.access} of {self.target}"


@dataclass(frozen=True)
class Source:
    """An operand's entry that a value was made of. ``element`` None: the operand as a whole."""

    name: str
    element: tuple[int, ...] | None
    value: int | None


@dataclass(frozen=True, eq=False)
class Change:
    """What a watchpoint saw: instruction ``index`` at step ``step``, the part before (None: no value yet) and after.
    ``element`` is the first that differs, in the register's own indices, and ``sources`` is what it was made of."""

    watch: Watch
    step: int
    index: int
    before: I64 | None
    after: I64
    element: tuple[int, ...] | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, eq=False)
class Stop:
    """Why a run stopped. ``reason``: entry, step, goto, breakpoint, watch, trap, pause, end (the program halted) or
    start (going back, nothing stopped it before step 0). ``notes``: conditions that could not be evaluated."""

    reason: str
    points: Sequence[Point] = ()
    changes: Sequence[Change] = ()
    trap: Trap | None = None
    notes: Sequence[str] = ()
