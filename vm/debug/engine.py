"""The debugger's engine; ``vm.debug`` tells how a front end drives it."""

from __future__ import annotations

import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from syurmy.isa.errors import Trap
from syurmy.isa.inference import Types, infer_types
from syurmy.isa.instruction import Call
from syurmy.isa.path import DEFAULT_MAX_STEPS, Position, counter_of
from syurmy.isa.program import I64, Input, Instruction, Param, Program
from syurmy.isa.trace import Trace
from syurmy.isa.types import TensorType
from syurmy.vm.debug import provenance
from syurmy.vm.debug.errors import DebugError
from syurmy.vm.debug.expressions import Expression, Target, Value, parse
from syurmy.vm.debug.history import BUDGET, SPACING, Checkpoint, History
from syurmy.vm.debug.listing import Frame, Listing, Location, ModelNode
from syurmy.vm.debug.points import ACCESSES, Breakpoint, Change, Point, Source, Stop, Watch
from syurmy.vm.inputs import validated
from syurmy.vm.machine import Machine

Array = npt.NDArray[Any]
SHARE = 20  # execution takes at least so many times as long as checkpoints
SEGMENTS = 4  # stretches of the past whose values are kept while provenance is followed
P = TypeVar("P", bound="Point")


@dataclass
class Found:
    """What may stop a run at one place: breakpoints, what watchpoints saw, conditions that could not be evaluated."""

    points: list[Point] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Segment:
    """Values of the steps from a checkpoint to ``stop - 1``: results, counters, and buffer and rows of stores."""

    def __init__(self, start: Checkpoint, stop: int) -> None:
        self.start, self.stop = start, stop
        self.results: dict[int, I64] = {}
        self.counters: dict[int, Mapping[str, int]] = {}
        self.stored: dict[int, tuple[str, frozenset[int]]] = {}


@dataclass(frozen=True, eq=False)
class Execution:
    """One executed step: ``operands`` in the order of the instruction's sources; ``result`` None of control flow."""

    step: int
    index: int
    instruction: Instruction
    counters: Mapping[str, int]
    operands: tuple[Array, ...]
    result: I64 | None


class Debugger:
    """One input of a program, run forwards and backwards. Between calls the machine stands *before* step ``step``,
    which is instruction ``index``; at the end of the program ``index`` is None.

    ``nodes``: of the model the program was compiled from. ``budget``: bytes for checkpoints (see ``history``).
    Raises ``InputError`` for inputs that do not fit.
    """

    def __init__(
        self,
        program: Program,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        nodes: Sequence[ModelNode] = (),
        max_steps: int = DEFAULT_MAX_STEPS,
        budget: int = BUDGET,
    ) -> None:
        given = validated(program, inputs)
        self.program = program
        self.inputs: Mapping[str, I64] = given
        self.listing = Listing(program, nodes)
        self.max_steps = max_steps
        self.points: dict[int, Point] = {}
        self.step = 0
        self.index: int | None = 0
        self.trap: Trap | None = None
        self._trace = Trace(program, given, path=cast(list[int], array("i")))
        # of writes only a branch's last bit is read again: nothing else is kept
        branches = {pc for pc, ins in enumerate(program.code) if ins.op in ("bz", "bnz")}
        forgotten: Any = {pc: deque(maxlen=int(pc in branches)) for pc in range(len(program.code))}
        self._trace.writes = forgotten
        self._trace.bits = dict(forgotten)
        self._trace.read_times = dict(forgotten)
        self._machine = Machine(self._trace, given)
        self._stored = {r.name: np.full(r.shape[0], -1, np.int64) for r in program.rams}
        self._declared = frozenset(self._machine.registers)
        self.history = History(budget, self._machine.registers)
        self._counters = frozenset(name for ins in program.code if (name := counter_of(ins)) is not None)
        self._writers: dict[str, list[int]] = {}
        for pc, ins in enumerate(program.code):
            if ins.dst is not None:
                self._writers.setdefault(ins.dst, []).append(pc)
        self._stores = frozenset(pc for pc, ins in enumerate(program.code) if ins.op == "store")
        self._stops: dict[int, list[Breakpoint]] = {}
        self._watching: dict[int, list[Watch]] = {}
        self._next_id = 1
        self._paused = False
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

    def stack(self) -> list[Frame]:
        """The levels around the instruction (macros, routines, the program), innermost first; empty at the end."""
        return [] if self.index is None else self.listing.stack(self.index, [pc for pc, _ in self._here.returns])

    @cached_property
    def types(self) -> Types:
        """Static types: ``types.results[i]`` of instruction i."""
        return infer_types(self.program, max_steps=max(self.max_steps, DEFAULT_MAX_STEPS))

    # ---- values --------------------------------------------------------------------------------------------------

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that an expression may use: registers, inputs, params, buffers, counters, ``step``, ``index``."""
        rams = {r.name for r in self.program.rams}
        return self._declared | self._writers.keys() | rams | self._counters | {"step", "index"}

    def scope(self) -> Mapping[str, Any]:
        """What has a value here, by name."""
        standing = {"step": self.step, "index": -1 if self.index is None else self.index}
        return {**standing, **self.memories, **self._machine.registers, **self.counters}

    def expression(self, text: str) -> Expression:
        """A parsed expression (see ``expressions``). Raises ``DebugError`` D101, D102."""
        return parse(text, self.names)

    def evaluate(self, text: str) -> Value:
        """The value of an expression here. Raises ``DebugError``."""
        return self.expression(text)(self.scope())

    def target(self, text: str) -> Target:
        """The register, buffer or part of one that a text names. Raises ``DebugError``."""
        return self.expression(text).target(self.scope())

    def value(self, name: str) -> Array:
        """The value of a name here. Raises ``DebugError`` D102."""
        scope = self.scope()
        if name not in scope:
            self.expression(name)
            raise DebugError(f"'{name}' has no value here", code="D102", help="it is written later")
        return np.asarray(scope[name])

    def written(self, name: str) -> int | None:
        """The step that wrote what a register holds here; None for inputs, params and what has no value."""
        return self.history.last(self._writers.get(name, ()), self.step)

    def type_of(self, name: str) -> TensorType | None:
        """The static type of what a name holds here; None of counters and of what has no value."""
        step = self.written(name)
        if step is not None:
            return self.types.results[self.history.path[step]]
        declared: list[Input | Param] = [*self.program.inputs, *self.program.params]
        if (found := next((d for d in declared if d.name == name), None)) is not None:
            return found.type
        for ram in self.program.rams:
            if ram.name == name:
                return TensorType.full(ram.dtype, ram.shape)
        return None

    # ---- forwards ------------------------------------------------------------------------------------------------

    def step_in(self, statement: bool = True) -> Stop:
        """One statement of the source (into macros, routines and loops), or one instruction."""
        if self.index is None:
            return Stop("end")
        rest = range(self.index + 1, self.listing.statement(self.index).stop if statement else self.index + 1)
        depth = self._depth
        return self._forward(lambda pc: pc not in rest or self._depth != depth) or Stop("step")

    def next(self) -> Stop:
        """All of what begins here: a macro's expansion, a call, a loop with all its rounds, or a statement."""
        if self.index is None:
            return Stop("end")
        whole = self.listing.whole(self.index)
        alone = whole.stop == self.listing.statement(self.index).stop
        return self._leave(range(self.index + 1, whole.stop) if alone else whole)

    def finish(self) -> Stop:
        """To behind the innermost macro or routine around the instruction; outside of both, of the innermost loop;
        outside of all, to the end."""
        if self.index is None:
            return Stop("end")
        calls = self.program.code[self.index].calls
        if calls:
            return self._leave(self.listing.expansion(self.index, len(calls)))
        if self._depth:
            return self._leave(range(len(self.program.code)), self._depth)
        block = self.listing.block(self.index)
        return self.resume() if block is None else self._leave(block)

    def until(self, location: Location | None = None) -> Stop:
        """To an instruction further on in the program (so a loop is run to its end), or to a location; in any case no
        further than the end of the routine. Raises ``DebugError`` D110."""
        if self.index is None:
            return Stop("end")
        here, depth = self.index, self._depth
        if location is None:
            return self._forward(lambda pc: self._depth < depth or (self._depth == depth and pc > here)) or Stop("step")
        wanted = frozenset(self.listing.find(location))
        return self._forward(lambda pc: pc in wanted or self._depth < depth) or Stop("step")

    def resume(self) -> Stop:
        """On until something stops it."""
        return self._forward(None) or Stop("end")

    def pause(self) -> None:
        """Makes a run stop soon; may be called from another thread or a signal handler."""
        self._paused = True

    def _leave(self, region: range, depth: int | None = None) -> Stop:
        """On until the path is outside of ``region`` in the same routine, or back in the caller."""
        here = self._depth
        if depth is not None:
            return self._forward(lambda pc: self._depth < depth) or Stop("step")
        return self._forward(lambda pc: self._depth < here or (self._depth == here and pc not in region)) or Stop(
            "step"
        )

    # ---- backwards -----------------------------------------------------------------------------------------------

    def step_back(self, statement: bool = True) -> Stop:
        """Back by one statement, or one instruction."""
        if self.step == 0:
            return Stop("start")
        path, to = self.history.path, self.step - 1
        if statement:
            whole = self.listing.statement(path[to])
            while to and path[to - 1] == path[to] - 1 and path[to - 1] in whole:
                to -= 1
        self._seek(to)
        return Stop("step")

    def reverse(self) -> Stop:
        """Back to the last place where going forwards would have stopped, or to the start."""
        before = self.step  # places below it are still to be looked at
        stops, watching = list(self._stops), list(self._watching)
        while before > 1:
            start = self.history.before(before - 2)
            if self.history.seen(stops, start.step + 1, before) or self.history.seen(watching, start.step, before - 1):
                found: list[tuple[int, Found]] = []
                self._load(start)
                self._forward(None, to=before - 1, collect=found)
                for step, hit in reversed(found):
                    if (stop := self._stop(hit)) is not None:
                        self._seek(step)
                        return stop
            before = start.step + 1
        self._seek(0)
        if before == 1 and (stop := self._stop(self._matching(self._stops.get(self.history.path[0], ())))) is not None:
            return stop
        return Stop("start")

    def goto(self, step: int) -> Stop:
        """To the place before step ``step``, back or on (no further than the end or a trap), stopping nowhere else.
        Raises ``DebugError`` D112."""
        if step < 0:
            raise DebugError("steps count from 0", code="D112")
        self._seek(step)
        if self.trap is not None:
            return Stop("trap", trap=self.trap)
        return Stop("end" if self.step < step else "goto")

    def _seek(self, step: int) -> None:
        """To a place, stopping nowhere else; to the end or a trap if that comes first."""
        if step == self.step:
            return
        start = self.history.before(step)
        if step < self.step or start.step > self.step or self.trap is not None:
            self._load(start)
        if self.step < step:
            self._forward(None, to=step)

    # ---- breakpoints and watchpoints -----------------------------------------------------------------------------

    def break_at(
        self, location: Location | str, condition: str = "", *, ignore: int = 0, temporary: bool = False
    ) -> Breakpoint:
        """A new breakpoint. Raises ``DebugError`` for a place without code or a condition that cannot be read."""
        where = Location.parse(location) if isinstance(location, str) else location
        indices = self.listing.find(where)
        tested = self.expression(condition) if condition.strip() else None
        made = Breakpoint(self._new_id(), tested, ignore, temporary=temporary, location=where, indices=indices)
        return self._added(made)

    def watch(self, target: Target | str, access: str = "change", condition: str = "", *, ignore: int = 0) -> Watch:
        """A new watchpoint; ``access`` is one of ``points.ACCESSES``. Raises ``DebugError``."""
        wanted = self.target(target) if isinstance(target, str) else target
        if access not in ACCESSES:
            raise DebugError(f"'{access}' is no access", code="D111", help=f"there are {', '.join(ACCESSES)}")
        buffers = {r.name: r for r in self.program.rams}
        code = self.program.code
        if wanted.name in buffers:
            op = "load" if access == "read" else "store"
            indices = [pc for pc, ins in enumerate(code) if ins.op == op and ins.get("buffer") == wanted.name]
        elif access == "read":
            indices = [pc for pc, ins in enumerate(code) if wanted.name in ins.src]
        else:
            indices = self._writers.get(wanted.name, [])
        if not indices:
            does = "reads" if access == "read" else "writes"
            raise DebugError(f"no instruction {does} '{wanted.name}'", code="D110")
        if wanted.name in self.scope():
            wanted.of(self.value(wanted.name))  # the element exists
        elif (t := self.types.results[indices[0]]) is not None:
            wanted.of(np.broadcast_to(np.int64(0), t.shape))
        tested = self.expression(condition) if condition.strip() else None
        return self._added(Watch(self._new_id(), tested, ignore, target=wanted, access=access, indices=tuple(indices)))

    def point(self, id: int) -> Point:
        """A breakpoint or watchpoint by its number. Raises ``DebugError`` D111."""
        if id not in self.points:
            listed = ", ".join(map(str, self.points)) or "none"
            raise DebugError(f"there is no breakpoint {id}", code="D111", help=f"there are {listed}")
        return self.points[id]

    def delete(self, id: int) -> None:
        """Raises ``DebugError`` D111."""
        del self.points[self.point(id).id]
        self._arm()

    def enable(self, id: int, enabled: bool = True) -> None:
        """Raises ``DebugError`` D111."""
        self.point(id).enabled = enabled
        self._arm()

    def set_condition(self, id: int, condition: str) -> None:
        """A new condition; none if empty. Raises ``DebugError``."""
        self.point(id).condition = self.expression(condition) if condition.strip() else None

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _added(self, made: P) -> P:
        self.points[made.id] = made
        self._arm()
        return made

    def _arm(self) -> None:
        self._stops, self._watching = {}, {}
        for p in self.points.values():
            if not p.enabled:
                continue
            if isinstance(p, Breakpoint):
                for pc in p.indices:
                    self._stops.setdefault(pc, []).append(p)
            elif isinstance(p, Watch):
                for pc in p.indices:
                    self._watching.setdefault(pc, []).append(p)

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

    def why(self, target: Target | str, limit: int = provenance.LIMIT) -> provenance.Link:
        """Where an element's value came from; see ``provenance``. The target is one element. Raises ``DebugError``."""
        wanted = self.target(target) if isinstance(target, str) else target
        place = provenance.element(self.value(wanted.name), wanted)
        return provenance.follow(self, wanted.name, place, self.step, limit)

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
        back, trap = self.step, self.trap
        if self.index is not None and trap is None:
            self._checkpoint()
        self._seek(step)  # makes checkpoints on its way
        start = self.history.before(step)
        made = _Segment(start, step + 1)
        self._load(start)
        while self.step <= step and self.index is not None:
            self._log(made)
            self._fetch()
        self._segments = [made, *self._segments[: SEGMENTS - 1]]
        self._seek(back)
        self.trap = trap
        return made

    def _log(self, segment: _Segment) -> None:
        assert self.index is not None
        ins, call = self.program.code[self.index], self._machine.calls[self.index]
        if self._machine.counters:
            segment.counters[self.step] = dict(self._machine.counters)
        if call is not None:
            if self.index in self._stores:
                rows = self.value(ins.src[0])
                segment.stored[self.step] = str(ins.get("buffer")), frozenset(rows.reshape(-1).tolist())
            segment.results[self.step] = self._run(self.step, self.index, call)

    # ---- the run -------------------------------------------------------------------------------------------------

    @property
    def _depth(self) -> int:
        return len(self._here.returns)

    def _fetch(self) -> None:
        """Makes what the path says next the place; at the end, ``index`` None."""
        try:
            self.step, self.index = next(self._steps)
        except StopIteration:
            self.step, self.index = len(self._trace.path), None
        except Trap as trap:
            self._trapped(len(self._trace.path), trap.instruction or 0, trap)
        self._known()

    def _known(self) -> None:
        """Keeps what has become known of the path."""
        path = cast("array[int]", self._trace.path)
        if len(path) > len(self.history.path):
            self.history.path = path
        self._reached = max(self._reached, self.step)

    def _trapped(self, step: int, index: int, trap: Trap) -> None:
        self.step, self.index, self.trap = step, index, trap

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

    def _load(self, saved: Checkpoint) -> None:
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
        self._fetch()

    def _run(self, step: int, index: int, call: Call) -> I64:
        """Executes an instruction and notes which rows it stores."""
        result = self._machine.execute(step, index, call)[2]
        if index in self._stores:
            rows = np.asarray(self._operand(call.instruction.src[0]))
            self._stored[str(call["buffer"])][rows.reshape(-1)] = step
        return result

    def _operand(self, name: str) -> Array:
        value = self._machine.registers.get(name)
        return np.asarray(self._machine.counters[name]) if value is None else value

    def _forward(
        self, done: Callable[[int], bool] | None, to: int = -1, collect: list[tuple[int, Found]] | None = None
    ) -> Stop | None:
        """On to where ``done`` says so of the next instruction (None), or something stops it, or the program ends.

        ``to``: to this step, where nothing stops it. ``collect``: what would have stopped it on the way goes there.
        """
        if self.trap is not None:
            return Stop("trap", trap=self.trap)
        if self.index is None:
            return Stop("end")
        silent = to >= 0 and collect is None
        stops = {} if silent else self._stops
        watching = {} if silent else self._watching
        special = self._stores | watching.keys()
        calls, execute, clock = self._machine.calls, self._machine.execute, time.perf_counter
        began = clock() - self._seconds
        due = self._due
        self._paused = False
        step, pc = self.step, self.index
        index: int | None = None  # where it stops
        seen: Found | None = None  # by watchpoints, of the last instruction
        try:
            if (call := calls[pc]) is not None:
                if pc in special:
                    seen = self._observed(step, pc, call, watching.get(pc, ()))
                else:
                    execute(step, pc, call)
            for step, pc in self._steps:
                if pc in stops or seen is not None:
                    self.step, self.index = step, pc
                    found, seen = self._matching(stops.get(pc, ()), seen), None
                    if collect is not None:
                        collect.append((step, found))
                    elif (stop := self._stop(found)) is not None:
                        index = pc
                        return stop
                if step == to or (done is not None and done(pc)):
                    index = pc
                    return None
                if clock() - began > due:
                    self.step, self.index, self._seconds = step, pc, clock() - began
                    if self._paused:
                        index = pc
                        return Stop("pause")
                    self._checkpoint()
                    began, due = clock() - self._seconds, self._due  # making it is no execution
                if (call := calls[pc]) is not None:
                    if pc in special:
                        seen = self._observed(step, pc, call, watching.get(pc, ()))
                    else:
                        execute(step, pc, call)
            step = len(self._trace.path)
            if seen is not None:
                if collect is not None:
                    collect.append((step, seen))
                elif (stop := self._stop(seen)) is not None:
                    return stop
            return Stop("end")
        except Trap as trap:
            step = len(self._trace.path) if trap.code == "T101" else step
            self.trap, index = trap, trap.instruction
            return self._at_trap(trap)
        finally:
            self.step, self.index, self._seconds = step, index, clock() - began
            self._known()

    def _observed(self, step: int, pc: int, call: Call, watches: Sequence[Watch]) -> Found | None:
        """Executes an instruction that stores or is watched; what its watchpoints saw."""
        names = call.instruction.src
        before = [self._part(w) for w in watches]
        operands = [self._operand(name) for name in names] if watches else []
        result = self._run(step, pc, call)
        if not watches:
            return None
        self.step, self.index = step, pc  # for conditions
        found = Found()
        for w, old in zip(watches, before, strict=True):
            new = self._part(w)
            element = self._touched(w, old, new, operands[0])
            if element is not None and new is not None and self._wanted(w, found.notes):
                sources = self._made_of(w, call, operands, result, element) if w.access != "read" else ()
                found.changes.append(Change(w, step, pc, old, new, element or None, sources))
        return found if found.changes else None

    def _part(self, w: Watch) -> I64 | None:
        """What the watched part holds; None where it has no value, or none of that shape."""
        memory = self._machine.memories.get(w.target.name)
        value = self._machine.registers.get(w.target.name) if memory is None else memory.values
        if value is None:
            return None
        try:
            part: I64 = w.target.of(value)
        except DebugError:
            return None
        return part if memory is None else part.copy()

    def _touched(self, w: Watch, old: I64 | None, new: I64 | None, rows: Array) -> tuple[int, ...] | None:
        """The first element of the register or buffer that concerns a watchpoint; () for none in particular; None if
        the access does not concern it."""
        if new is None:
            return None
        memory = self._machine.memories.get(w.target.name)
        shape = self._machine.registers[w.target.name].shape if memory is None else memory.values.shape
        places = w.target.of(np.arange(int(np.prod(shape))).reshape(shape)).reshape(-1)
        if w.access == "change":
            same = old is not None and old.shape == new.shape
            differs = places[np.atleast_1d(old != new).reshape(-1)] if same else places
            if not len(differs):
                return None
            return tuple(int(i) for i in np.unravel_index(int(differs[0]), shape))
        if memory is None:
            return ()
        width = int(np.prod(shape[1:]))
        hit = places[np.isin(places // width, rows)]
        return tuple(int(i) for i in np.unravel_index(int(hit[0]), shape)) if len(hit) else None

    def _made_of(
        self, w: Watch, call: Call, operands: Sequence[Array], result: I64, at: tuple[int, ...]
    ) -> tuple[Source, ...]:
        if w.target.name in self._machine.memories:
            if not at:
                return ()
            rows = operands[0]
            j = int(np.flatnonzero(rows.reshape(-1) == at[0])[-1])
            place = (*(int(i) for i in np.unravel_index(j, rows.shape)), *at[1:]) if rows.ndim else at[1:]
            return provenance.named(call.instruction.src, operands, [(1, place), (0, place[: rows.ndim])])
        if call.op.memory or (not at and result.ndim):
            return ()
        found = provenance.origins(call, operands, at)
        return provenance.named(call.instruction.src, operands, (*found.sources, *found.by))

    def _at_trap(self, trap: Trap) -> Stop:
        points: list[Point] = []
        for p in self.points.values():
            traps = isinstance(p, Breakpoint) and p.location.kind == "trap" and p.location.name in ("", trap.code)
            if traps and p.enabled:
                p.hits += 1
                points.append(p)
        return Stop("trap", points, trap=trap)

    def _matching(self, points: Sequence[Breakpoint], seen: Found | None = None) -> Found:
        """Adds to what watchpoints saw the breakpoints of this place whose conditions hold."""
        found = seen or Found()
        found.points += [p for p in points if self._wanted(p, found.notes)]
        return found

    def _wanted(self, p: Point, notes: list[str]) -> bool:
        """Whether a point's condition holds here. One that has no value counts as true, and is told of."""
        if p.condition is None:
            return True
        try:
            return p.condition.holds(self.scope())
        except DebugError as e:
            notes.append(f"condition '{p.condition.text}' of breakpoint {p.id} has no value: {e.message}")
            return True

    def _stop(self, found: Found) -> Stop | None:
        """Counts what was hit; None if all of it is to be passed."""
        stopping: list[Point] = []
        for p in dict.fromkeys([*found.points, *(c.watch for c in found.changes)]):
            p.hits += 1
            if p.ignore > 0:
                p.ignore -= 1
            else:
                stopping.append(p)
        if not stopping:
            return None
        for p in stopping:
            if p.temporary and p.id in self.points:
                self.delete(p.id)
        seen = [c for c in found.changes if c.watch in stopping]
        return Stop("watch" if seen else "breakpoint", stopping, seen, notes=found.notes)
