"""One run of a program, forwards and backwards: the machine, its checkpoints, and the values of steps behind it."""

from __future__ import annotations

import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt

from syurmy.isa.arrays import I64, Array
from syurmy.isa.errors import Trap
from syurmy.isa.instruction import Call
from syurmy.isa.path import DEFAULT_MAX_STEPS, Position
from syurmy.isa.program import Instruction, Program
from syurmy.isa.trace import Trace
from syurmy.vm.debug.errors import DebugError
from syurmy.vm.debug.history import BUDGET, SPACING, Checkpoint, History
from syurmy.vm.inputs import validated
from syurmy.vm.machine import Machine

SHARE = 20  # execution takes at least so many times as long as checkpoints
SEGMENTS = 4  # stretches of the past whose values are kept while provenance is followed


@dataclass(frozen=True, eq=False)
class Execution:
    """One executed step: ``operands`` in the order of the instruction's sources; ``result`` None of control flow."""

    step: int
    index: int
    instruction: Instruction
    counters: Mapping[str, int]
    operands: tuple[Array, ...]
    result: I64 | None


S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Visitor(Generic[S]):
    """Who looks on while a run goes on. ``observe`` executes the instructions ``watching`` (of step, instruction and
    call) and returns what it saw there; ``visit`` is asked before the instructions ``stops``, and behind an instruction
    of which something was seen, whether to stop (of step, instruction, None at the end, and what was seen)."""

    stops: Mapping[int, object]
    watching: Mapping[int, object]
    observe: Callable[[int, int, Call], S | None]
    visit: Callable[[int, int | None, S | None], bool]


class _Segment:
    """Values of the steps from a checkpoint to ``stop - 1``: results, counters, and buffer and rows of stores."""

    def __init__(self, start: Checkpoint, stop: int) -> None:
        self.start, self.stop = start, stop
        self.results: dict[int, I64] = {}
        self.counters: dict[int, Mapping[str, int]] = {}
        self.stored: dict[int, tuple[str, frozenset[int]]] = {}


class Run:
    """One input of a program. Between calls the machine stands *before* step ``step``, which is instruction ``index``;
    at the end of the program ``index`` is None. ``trap``: what the instruction stopped with, when it was tried.

    Raises ``InputError`` for inputs that do not fit.
    """

    def __init__(
        self,
        program: Program,
        inputs: Mapping[str, npt.ArrayLike],
        max_steps: int = DEFAULT_MAX_STEPS,
        budget: int = BUDGET,
    ) -> None:
        given = validated(program, inputs)
        self.program = program
        self.inputs: Mapping[str, I64] = given
        self.max_steps = max_steps
        self.step = 0
        self.index: int | None = 0
        self.trap: Trap | None = None
        self._trace = Trace(program, given, path=cast(list[int], array("i")))
        # of writes only a branch's last bit is read again: nothing else is kept
        nothing: Any = deque(maxlen=0)
        self._trace.writes = {
            pc: cast(Any, deque(maxlen=1)) if ins.op in ("bz", "bnz") else nothing
            for pc, ins in enumerate(program.code)
        }
        self._trace.bits = dict.fromkeys(range(len(program.code)), nothing)
        self._trace.read_times = dict.fromkeys(range(len(program.code)), nothing)
        self._machine = Machine(self._trace, given)
        self._stored = {r.name: np.full(r.shape[0], -1, np.int64) for r in program.rams}
        self.history = History(budget, self._machine.registers)
        self._writers: dict[str, list[int]] = {}
        for pc, ins in enumerate(program.code):
            if ins.dst is not None:
                self._writers.setdefault(ins.dst, []).append(pc)
        self._stores = frozenset(pc for pc, ins in enumerate(program.code) if ins.op == "store")
        self._paused = False
        self._broken = False
        self._here = Position()
        self._seconds = 0.0  # of execution before this place
        self._due = 0.0  # when, in these seconds, the next checkpoint is made
        self._segments: list[_Segment] = []
        self._reached = 0  # steps that have been executed
        self._steps: Iterator[tuple[int, int]] = self._machine.steps(max_steps, self._here)
        self._fetch()
        self._checkpoint()

    # ---- where it stands -----------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the program has halted."""
        return self.index is None

    @property
    def instruction(self) -> Instruction | None:
        """The next instruction; None at the end."""
        return None if self.index is None else self.program.code[self.index]

    @property
    def counters(self) -> Mapping[str, int]:
        """Counters of the loops around the instruction."""
        return {} if self.index is None else dict(self._machine.counters)

    @property
    def registers(self) -> Mapping[str, Array]:
        """Registers, inputs and params that have a value; read-only arrays (params in their own dtypes)."""
        return self._machine.registers

    @property
    def memories(self) -> Mapping[str, I64]:
        """Contents of the RAM buffers. They change as the run goes on: copy what is kept."""
        return {name: m.values for name, m in self._machine.memories.items()}

    # ---- forwards and back ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Makes a motion under way stop soon, forwards or back; may come from another thread or a signal handler."""
        self._paused = True

    def advance(
        self,
        done: Callable[[int], bool] | None = None,
        to: int = -1,
        visitor: Visitor[Any] | None = None,
        pausable: bool = False,
    ) -> str:
        """On until something stops it; says what: ``done`` (which is asked of the next instruction) or the step ``to``:
        "there"; the visitor: "stopped"; "end", "trap"; "pause" if it may be interrupted, as with a visitor it may."""
        if self._broken:
            self._mend()
        if self.trap is not None:
            return "trap"
        if self.index is None:
            return "end"
        pausable = pausable or visitor is not None
        stops = {} if visitor is None else visitor.stops
        watching = {} if visitor is None else visitor.watching
        special = self._stores | watching.keys()
        calls, execute, clock = self._machine.calls, self._machine.execute, time.perf_counter
        began = clock() - self._seconds
        due = self._due
        step, pc = self.step, self.index
        index: int | None = None  # where it stops
        seen: Any = None  # of the last instruction
        try:
            if (call := calls[pc]) is not None:
                if pc in special:
                    seen = self._special(step, pc, call, visitor)
                else:
                    execute(step, pc, call)
            for step, pc in self._steps:
                if pc in stops or seen is not None:
                    assert visitor is not None
                    self.step, self.index = step, pc
                    if visitor.visit(step, pc, seen):
                        index = pc
                        return "stopped"
                    seen = None
                if step == to or (done is not None and done(pc)):
                    index = pc
                    return "there"
                if clock() - began > due:
                    self.step, self.index, self._seconds = step, pc, clock() - began
                    if self._paused and pausable:
                        index = pc
                        return "pause"
                    self._checkpoint()
                    began, due = clock() - self._seconds, self._due  # making it is no execution
                if (call := calls[pc]) is not None:
                    if pc in special:
                        seen = self._special(step, pc, call, visitor)
                    else:
                        execute(step, pc, call)
            step = self.step = len(self._trace.path)
            self.index = None
            return "stopped" if seen is not None and visitor is not None and visitor.visit(step, None, seen) else "end"
        except Trap as trap:
            step = len(self._trace.path) if trap.code == "T101" else step
            self.trap, index = trap, trap.instruction
            return "trap"
        except BaseException:  # such as no memory: the instruction may be half done, the walk over
            index, self._broken = pc, True
            raise
        finally:
            self.step, self.index, self._seconds = step, index, clock() - began
            self._known()

    def _special(self, step: int, pc: int, call: Call, visitor: Visitor[Any] | None) -> Any:
        if visitor is not None and pc in visitor.watching:
            return visitor.observe(step, pc, call)
        self.execute(step, pc, call)
        return None

    def _mend(self) -> None:
        """After an exception that is no trap: the same place again, from a checkpoint."""
        step = self.step
        self.load(self.history.before(step))
        self.seek(step)

    def seek(self, step: int, pausable: bool = False) -> str:
        """To a place, stopping nowhere else; to the end or a trap if that comes first. Says as ``advance`` does what
        stopped it."""
        if self._broken:
            self._mend()
        if step == self.step:
            return "there"
        start = self.history.before(step)
        if step < self.step or start.step > self.step or self.trap is not None:
            self.load(start)
        return self.advance(to=step, pausable=pausable) if self.step < step else "there"

    @contextmanager
    def elsewhere(self, step: int) -> Iterator[None]:
        """Stands at another step (no further than the end or a trap) while the block runs."""
        back, trap = self.step, self.trap
        if self.index is not None and trap is None:
            self._checkpoint()
        try:
            self.seek(step)
            yield
        finally:
            self.seek(back)
            self.trap = trap

    # ---- the past ------------------------------------------------------------------------------------------------

    def execution(self, step: int) -> Execution:
        """What a step that lies behind read and wrote. Raises ``DebugError`` D112."""
        if not 0 <= step < self._reached:
            raise DebugError(f"step {step} has not been executed", code="D112")
        segment = self._segment(step)
        ins = self.program.code[self.history.path[step]]
        counters = segment.counters.get(step, {})
        operands = tuple(self._past(segment, name, step, counters) for name in ins.src)
        return Execution(step, self.history.path[step], ins, counters, operands, segment.results.get(step))

    def call(self, index: int) -> Call:
        """An instruction with its attributes, for its definition's methods."""
        call = self._machine.calls[index]
        assert call is not None
        return call

    def writer(self, name: str, before: int) -> int | None:
        """The step below ``before`` that wrote a register last; None if nothing did."""
        return self.history.last(self._writers.get(name, ()), before)

    def storer(self, buffer: str, row: int, before: int) -> int | None:
        """The step below ``before`` that stored a row of a buffer last; None if nothing did."""
        if before >= self.step:
            at = int(self._stored[buffer][row])
            return at if at >= 0 else None
        segment = self._segment(before)
        for step in range(before - 1, segment.start.step - 1, -1):
            if buffer == segment.stored.get(step, ("",))[0] and row in segment.stored[step][1]:
                return step
        at = int(segment.start.stored[buffer][row])
        return at if at >= 0 else None

    def _past(self, segment: _Segment, name: str, step: int, counters: Mapping[str, int]) -> Array:
        if name in counters:
            return np.array(counters[name])
        written = self.writer(name, step)
        if written is not None and written >= segment.start.step:
            return cast(Array, segment.results[written])
        return segment.start.registers[name]

    def _segment(self, step: int) -> _Segment:
        """The values of the stretch around a step, from the last checkpoint before it."""
        for known in self._segments:
            if known.start.step <= step < known.stop:
                return known
        with self.elsewhere(step):  # makes checkpoints on its way
            start = self.history.before(step)
            made = _Segment(start, step + 1)
            self.load(start)
            while self.step <= step and self.index is not None:
                self._log(made)
                self._fetch()
        self._segments = [made, *self._segments[: SEGMENTS - 1]]
        return made

    def _log(self, segment: _Segment) -> None:
        assert self.index is not None
        ins, call = self.program.code[self.index], self._machine.calls[self.index]
        if self._machine.counters:
            segment.counters[self.step] = dict(self._machine.counters)
        if call is not None:
            if self.index in self._stores:
                rows = self.operand(ins.src[0])
                segment.stored[self.step] = str(ins.get("buffer")), frozenset(rows.reshape(-1).tolist())
            segment.results[self.step] = self.execute(self.step, self.index, call)

    # ---- parts ---------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many routines have been called and not returned."""
        return len(self._here.returns)

    def _fetch(self) -> None:
        """Makes what the path says next the place; at the end, ``index`` None."""
        try:
            self.step, self.index = next(self._steps)
        except StopIteration:
            self.step, self.index = len(self._trace.path), None
        except Trap as trap:
            self.step, self.index, self.trap = len(self._trace.path), trap.instruction, trap
        self._known()

    def _known(self) -> None:
        """Keeps what has become known of the path."""
        path = cast("array[int]", self._trace.path)
        if len(path) > len(self.history.path):
            self.history.path = path
        self._reached = max(self._reached, self.step)

    def _checkpoint(self) -> None:
        assert self.index is not None
        began = time.perf_counter()
        here = self._here.copy()
        here.pc, here.counters = self.index, dict(self._machine.counters)
        memories = {n: (m.values.copy(), m.times.copy(), m.clock) for n, m in self._machine.memories.items()}
        stored = {name: steps.copy() for name, steps in self._stored.items()}
        registers = dict(self._machine.registers)
        own = sys.getsizeof(registers) + sum(s.nbytes for s in stored.values())
        own += sum(values.nbytes + times.nbytes for values, times, _ in memories.values())
        self.history.add(Checkpoint(self.step, self._seconds, here, registers, memories, stored, own))
        self._due = self._seconds + max(SPACING, SHARE * (time.perf_counter() - began))

    def load(self, saved: Checkpoint) -> None:
        """Makes the machine what it was at a checkpoint."""
        machine = self._machine
        machine.registers = dict(saved.registers)
        for name, (values, times, ticks) in saved.memories.items():
            memory = machine.memories[name]
            memory.values[...], memory.times[...], memory.clock = values, times, ticks
        self._stored = {name: steps.copy() for name, steps in saved.stored.items()}
        self._here = saved.position.copy()
        self._trace.path = cast(list[int], self.history.path[: saved.step])
        self._trace.final = {}
        self._steps = machine.steps(self.max_steps, self._here)
        self._seconds, self._due, self.trap = saved.seconds, saved.seconds + SPACING, None
        self._broken = False
        self._fetch()

    def execute(self, step: int, index: int, call: Call) -> I64:
        """Executes an instruction and notes which rows it stores."""
        result = self._machine.execute(step, index, call)[2]
        if index in self._stores:
            rows = np.asarray(self.operand(call.instruction.src[0]))
            self._stored[str(call["buffer"])][rows.reshape(-1)] = step
        return result

    def operand(self, name: str) -> Array:
        """What an operand of the instruction holds."""
        value = self._machine.registers.get(name)
        return np.asarray(self._machine.counters[name]) if value is None else value
