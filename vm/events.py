"""What the machine tells its listeners (debugger, profiler, progress), in the order it happens.

Every step is a ``Fetched``, followed by an ``Executed`` unless the instruction is control flow; the last event is
``Halted`` or ``Trapped``. A batch is run input by input; steps and executions count on from one to the next, and each
input ends with ``Halted``. Arrays in events are the machine's own and must not be written to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from syurmy.isa.arrays import I64, Integers
from syurmy.isa.errors import Trap
from syurmy.isa.program import Instruction


@dataclass(frozen=True)
class Fetched:
    """Instruction ``index`` is next; ``step`` counts from 0. ``counters`` are those of the enclosing loops."""

    step: int
    index: int
    instruction: Instruction
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Executed:
    """Execution ``execution`` of instruction ``index`` read ``operands`` and gave ``result`` (int64)."""

    step: int
    index: int
    execution: int
    operands: tuple[Integers, ...]
    result: I64


@dataclass(frozen=True)
class Trapped:
    """Instruction ``index`` stopped the run; ``trap`` is raised next."""

    step: int
    index: int
    trap: Trap


@dataclass(frozen=True)
class Halted:
    """The run ended after ``steps`` instructions."""

    steps: int


Event: TypeAlias = Fetched | Executed | Trapped | Halted
Listener: TypeAlias = Callable[[Event], None]
