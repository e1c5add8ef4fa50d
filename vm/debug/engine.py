"""The debugger's engine; ``vm.debug`` tells how a front end drives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from syurmy.isa.arrays import I64, Array
from syurmy.isa.inference import Types, infer_types
from syurmy.isa.instruction import Call
from syurmy.isa.path import DEFAULT_MAX_STEPS, counter_of
from syurmy.isa.program import Input, Param, Program
from syurmy.isa.types import TensorType
from syurmy.vm.debug import provenance
from syurmy.vm.debug.errors import DebugError
from syurmy.vm.debug.expressions import NOWHERE, Expression, Target, Value, parse
from syurmy.vm.debug.history import BUDGET
from syurmy.vm.debug.listing import Frame, Listing, Location, ModelNode
from syurmy.vm.debug.points import ACCESSES, Breakpoint, Change, Point, Source, Stop, Watch
from syurmy.vm.debug.run import Run, Visitor

P = TypeVar("P", bound="Point")


@dataclass
class Found:
    """What may stop a run at one place: breakpoints, what watchpoints saw, conditions that could not be evaluated."""

    points: list[Point] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Debugger(Run):
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
        super().__init__(program, inputs, max_steps, budget)
        self.listing = Listing(program, nodes)
        self.points: dict[int, Point] = {}
        self._declared = frozenset(self.registers)
        self._counters = frozenset(name for ins in program.code if (name := counter_of(ins)) is not None)
        self._stops: dict[int, list[Breakpoint]] = {}
        self._watching: dict[int, list[Watch]] = {}
        self._next_id = 1

    # ---- where it stands -----------------------------------------------------------------------------------------

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

    def why(self, target: Target | str, limit: int = provenance.LIMIT) -> provenance.Link:
        """Where an element's value came from; see ``provenance``. The target is one element. Raises ``DebugError``."""
        wanted = self.target(target) if isinstance(target, str) else target
        place = provenance.element(self.value(wanted.name), wanted)
        return provenance.follow(self, wanted.name, place, self.step, limit)

    def value(self, name: str) -> Array:
        """The value of a name here. Raises ``DebugError`` D102."""
        scope = self.scope()
        if name not in scope:
            self.expression(name)
            raise DebugError(f"'{name}' has no value here", code="D102", help=NOWHERE)
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
        depth = self.depth
        return self._forward(lambda pc: pc not in rest or self.depth != depth) or Stop("step")

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
        if self.depth:
            return self._leave(range(len(self.program.code)), self.depth)
        block = self.listing.block(self.index)
        return self.resume() if block is None else self._leave(block)

    def until(self, location: Location | None = None) -> Stop:
        """To an instruction further on in the program (so a loop is run to its end), or to a location; in any case no
        further than the end of the routine. Raises ``DebugError`` D110."""
        if self.index is None:
            return Stop("end")
        here, depth = self.index, self.depth
        if location is None:
            return self._forward(lambda pc: self.depth < depth or (self.depth == depth and pc > here)) or Stop("step")
        wanted = frozenset(self.listing.find(location))
        return self._forward(lambda pc: pc in wanted or self.depth < depth) or Stop("step")

    def resume(self) -> Stop:
        """On until something stops it."""
        return self._forward(None) or Stop("end")

    def _leave(self, region: range, depth: int | None = None) -> Stop:
        """On until the path is outside of ``region`` in the same routine, or back in the caller."""
        here = self.depth
        if depth is not None:
            return self._forward(lambda pc: self.depth < depth) or Stop("step")
        return self._forward(lambda pc: self.depth < here or (self.depth == here and pc not in region)) or Stop("step")

    def here(self) -> Stop | None:
        """What stops a run at the very place where it stands; going on only looks at those that follow."""
        return self._stop(self._matching(self.index))

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
        self.seek(to)
        return Stop("step")

    def reverse(self) -> Stop:
        """Back to the last place where going forwards would have stopped, or to the start. Interrupted, it stands where
        it has looked back to so far."""
        self._paused = False
        if self.index is not None and self.trap is None:
            self._checkpoint()  # to stand here again soon
        before = self.step  # places below it are still to be looked at
        stops, watching = list(self._stops), list(self._watching)
        while before > 1:
            start = self.history.before(before - 2)
            if self.history.seen(stops, start.step + 1, before) or self.history.seen(watching, start.step, before - 1):
                self.load(start)
                collected = self._collected(before - 1)
                if collected is None:
                    break
                for step, hit in reversed(collected):
                    if (stop := self._stop(hit)) is not None:
                        self.seek(step)
                        return stop
            before = start.step + 1
            if self._paused:
                break
        if before > 1:
            self.seek(before)
            return Stop("pause")
        self.seek(0)
        if before == 1 and (stop := self._stop(self._matching(self.index))) is not None:
            return stop
        return Stop("start")

    def goto(self, step: int) -> Stop:
        """To the place before step ``step``, back or on (no further than the end or a trap), stopping nowhere else.
        Interrupted, it stands where it is by then. Raises ``DebugError`` D112."""
        if step < 0:
            raise DebugError("steps count from 0", code="D112")
        self._paused = False
        if self.seek(step, pausable=True) == "pause":
            return Stop("pause")
        if self.trap is not None:
            return Stop("trap", trap=self.trap)
        return Stop("end" if self.step < step else "goto")

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

    # ---- what stops it -------------------------------------------------------------------------------------------

    def _forward(self, done: Callable[[int], bool] | None) -> Stop | None:
        """On to where ``done`` says so of the next instruction (None), or something stops it, or the program ends."""
        stopped: list[Stop] = []
        self._paused = False

        def visit(step: int, pc: int | None, seen: Found | None) -> bool:
            stop = self._stop(self._matching(pc, seen))
            stopped.extend([] if stop is None else [stop])
            return stop is not None

        match self.advance(done, visitor=Visitor(self._stops, self._watching, self._observed, visit)):
            case "stopped":
                return stopped[0]
            case "trap":
                return self._at_trap()
            case "there":
                return None
            case reason:
                return Stop(reason)

    def _collected(self, to: int) -> list[tuple[int, Found]] | None:
        """What would have stopped the run on its way to a step, and where; None if it was interrupted."""
        found: list[tuple[int, Found]] = []

        def visit(step: int, pc: int | None, seen: Found | None) -> bool:
            found.append((step, self._matching(pc, seen)))
            return False

        reason = self.advance(to=to, visitor=Visitor(self._stops, self._watching, self._observed, visit))
        return None if reason == "pause" else found

    def _observed(self, step: int, pc: int, call: Call) -> Found | None:
        """Executes an instruction that is watched; what its watchpoints saw."""
        watches = self._watching[pc]
        before = [self._part(w) for w in watches]
        operands = [self.operand(name) for name in call.instruction.src]
        result = self.execute(step, pc, call)
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
        if w.access == "change" and old is not None and np.array_equal(old, new):
            return None
        memory = self._machine.memories.get(w.target.name)
        shape = self._machine.registers[w.target.name].shape if memory is None else memory.values.shape
        places = w.target.of(np.arange(int(np.prod(shape))).reshape(shape)).reshape(-1)
        if w.access == "change":
            same = old is not None and old.shape == new.shape
            differs = places[np.atleast_1d(old != new).reshape(-1)] if same else places
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

    def _at_trap(self) -> Stop:
        trap = self.trap
        assert trap is not None
        points: list[Point] = []
        for p in self.points.values():
            traps = isinstance(p, Breakpoint) and p.location.kind == "trap" and p.location.name in ("", trap.code)
            if traps and p.enabled:
                p.hits += 1
                points.append(p)
        return Stop("trap", points, trap=trap)

    def _matching(self, pc: int | None, seen: Found | None = None) -> Found:
        """Adds to what watchpoints saw the breakpoints before ``pc`` whose conditions hold."""
        found = seen or Found()
        points = () if pc is None else self._stops.get(pc, ())
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
            elif p.passes is None or not p.passes(p):
                stopping.append(p)
        if not stopping:
            return None
        for p in stopping:
            if p.temporary and p.id in self.points:
                self.delete(p.id)
        seen = [c for c in found.changes if c.watch in stopping]
        return Stop("watch" if seen else "breakpoint", stopping, seen, notes=found.notes)
