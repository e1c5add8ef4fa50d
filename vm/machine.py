"""Fetch, decode, execute: one run of a program on exact integers.

The path is that of ``isa.path.walk``, which prover and verifier follow as well; here branches go where the values
say. Registers hold int64 arrays; every value that an instruction writes is kept in the trace, read-only. Overflow is
impossible: the static intervals of ``isa.inference.infer_types`` lie inside ±2^61 (``check_intervals`` compares every
write with them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import syurmy.isa.ops  # noqa: F401  (fills the registry)
from syurmy.isa.arrays import I64, Integers
from syurmy.isa.errors import Trap
from syurmy.isa.inference import infer_types
from syurmy.isa.instruction import REGISTRY, Call
from syurmy.isa.memory import Memory
from syurmy.isa.path import DEFAULT_MAX_STEPS, Position, Prepared, walk
from syurmy.isa.program import Program, Ram
from syurmy.isa.trace import Trace
from syurmy.isa.types import TensorType
from syurmy.vm.events import Event, Executed, Fetched, Halted, Listener, Trapped
from syurmy.vm.inputs import validated, validated_batch

RECENT = 1000  # steps that a trap of the step limit looks back
INT64 = np.dtype(np.int64)


def run(
    program: Program,
    inputs: Mapping[str, npt.ArrayLike],
    *,
    max_steps: int = DEFAULT_MAX_STEPS,
    listeners: Sequence[Listener] = (),
    check_intervals: bool = False,
) -> Trace:
    """Run ``program`` on ``inputs`` (integer arrays of the declared shapes, by name) and return its trace.

    The trace aliases no array of the caller's; its arrays are read-only. ``listeners`` receive every event of
    ``vm.events``. Raises ``InputError`` for inputs that do not fit, and ``Trap`` with code, instruction, source span
    and offending element where execution stops early (``T101``: more than ``max_steps`` steps).
    ``check_intervals`` compares every written value with its static interval and raises ``AssertionError``.
    """
    given = validated(program, inputs)
    trace = Trace(program, given)
    types = infer_types(program).results if check_intervals else None
    trace.outputs = Machine(trace, given, types).run(max_steps, listeners)
    return trace


def run_batch(
    program: Program,
    inputs: Mapping[str, npt.ArrayLike],
    *,
    max_steps: int = DEFAULT_MAX_STEPS,
    listeners: Sequence[Listener] = (),
    check_intervals: bool = False,
) -> Trace:
    """Run ``program`` on several inputs, one after the other, for one proof: every input has one more leading axis.

    The trace holds the executions of all inputs in order; its inputs and outputs keep the leading axis (a batch of one
    is ``run``, without it). Every input starts with fresh registers and RAM. ``max_steps`` limits the whole batch.
    Raises as ``run``, and ``InputError`` I109 for leading axes that do not fit.
    """
    batch = validated_batch(program, inputs)
    trace = Trace(program, batch[0], batch=len(batch))
    types = infer_types(program).results if check_intervals else None
    outputs: list[dict[str, I64]] = []
    for k, given in enumerate(batch):
        try:
            outputs.append(Machine(trace, given, types).run(max_steps, listeners))
        except Trap as trap:
            trap.add_note(f"in input {k} of the batch")
            raise
    if len(batch) == 1:
        trace.outputs = outputs[0]
    else:
        trace.inputs = {name: np.stack([given[name] for given in batch]) for name in batch[0]}
        trace.outputs = {o.name: np.stack([out[o.name] for out in outputs]) for o in program.outputs}
        for array in (*trace.inputs.values(), *trace.outputs.values()):
            array.flags.writeable = False
    return trace


class Machine:
    """One input of a program, run step by step; appends to the trace.

    ``events`` is the run: between two events ``registers`` (arrays by name, read-only), ``memories`` (RAM) and
    ``counters`` (of the loops around the instruction) are what they are at that moment. ``run`` goes through all of it.
    """

    def __init__(
        self, trace: Trace, inputs: Mapping[str, I64], types: Sequence[TensorType | None] | None = None
    ) -> None:
        """``inputs`` as ``vm.inputs.validated`` gives them. ``types``: compare every write with its static type."""
        program = trace.program
        luts = {t.name: t for t in program.luts}
        self.program = program
        self.trace = trace
        self.registers: dict[str, Integers] = {p.name: _param(program, p.name) for p in program.params}
        self.registers.update(inputs)
        self.counters: Mapping[str, int] = {}
        rams = {r.name: r for r in program.rams}
        self.calls = [None if REGISTRY[ins.op].control else Call(ins, luts, rams=rams) for ins in program.code]
        self.memories = {r.name: Memory(self._initial(r)) for r in program.rams}
        for call in self.calls:
            if call is not None:
                call.memories = self.memories
        self.types = types
        self.wide: dict[str, I64] = {}  # params converted for instructions that need int64

    def run(self, max_steps: int = DEFAULT_MAX_STEPS, listeners: Sequence[Listener] = ()) -> dict[str, I64]:
        """The output registers at halt. Raises ``Trap``."""
        if listeners:
            for event in self.events(max_steps):
                for tell in listeners:
                    tell(event)
        else:
            for step, pc in self.steps(max_steps):
                if (call := self.calls[pc]) is not None:
                    self.execute(step, pc, call)
        return self.outputs()

    def events(self, max_steps: int = DEFAULT_MAX_STEPS) -> Iterator[Event]:
        """Every event, as it happens. After ``Trapped`` the trap is raised."""
        try:
            for step, pc in self.steps(max_steps):
                yield Fetched(step, pc, self.program.code[pc], dict(self.counters))
                if (call := self.calls[pc]) is not None:
                    yield Executed(step, pc, *self.execute(step, pc, call))
        except Trap as trap:
            yield Trapped(len(self.trace.path) - 1, trap.instruction or 0, trap)
            raise
        yield Halted(len(self.trace.path))

    def outputs(self) -> dict[str, I64]:
        """The output registers as they are."""
        return {o.name: self._operand(o.name, {}, wide=True) for o in self.program.outputs}

    def steps(self, max_steps: int = DEFAULT_MAX_STEPS, start: Position | None = None) -> Iterator[tuple[int, int]]:
        """Step and instruction, each about to be executed: whoever drives the machine calls ``execute`` for those that
        ``calls`` has. ``start``: where to go on, on a machine that holds what it held there (``isa.path.walk``)."""
        path = self.trace.path
        step = len(path)
        for pc, self.counters in walk(Prepared(self.program), max_steps + 1, self._branch, start=start):  # noqa: B020
            if step == max_steps:
                raise self._trapped(step, pc, self._runaway(max_steps))
            path.append(pc)
            yield step, pc
            step += 1
        for name, m in self.memories.items():
            self.trace.final.setdefault(name, []).append((m.values, m.times))

    def execute(self, step: int, pc: int, call: Call) -> tuple[int, tuple[Integers, ...], I64]:
        """Executes an instruction. Returns which execution of it this is, what it read, and its result."""
        ins, counters = call.instruction, self.counters
        call.counters = counters
        wide = not call.op.narrow_params
        held: Mapping[str, Any] = self.registers
        operands = tuple(
            [
                v if (v := held.get(name)) is not None and v.dtype is INT64 else self._operand(name, counters, wide)
                for name in ins.src
            ]
        )
        try:
            value = call.op.execute(call, operands)
        except Trap as trap:
            for note in _seen(ins.src, operands, trap.element):
                trap.add_note(note)
            raise self._trapped(step, pc, trap) from None
        value = np.asarray(value, dtype=INT64)
        value.flags.writeable = False
        if self.types is not None:
            _check(pc, call, value, self.types[pc])
        writes = self.trace.writes.get(pc)
        if writes is None:
            writes = self.trace.writes[pc] = []
        writes.append(value)
        if call.op.memory and call.read_times is not None:
            self.trace.read_times.setdefault(pc, []).append(call.read_times)
        if ins.dst is not None:
            self.registers[ins.dst] = value
        return len(writes) - 1, operands, value

    # ---- parts ---------------------------------------------------------------------------------------------------

    def _runaway(self, max_steps: int) -> Trap:
        recent = self.trace.path[-RECENT:]
        trap = Trap(f"the program takes more than {max_steps} steps", code="T101")
        trap.help = "does this loop end? if so, raise the limit with --max-steps"
        if recent:
            first, last = (self.program.code[i].span for i in (min(recent), max(recent)))
            lines = f", lines {first.line} to {last.line}" if first and last and first.file == last.file else ""
            trap.add_note(f"the last {len(recent)} steps ran instructions {min(recent)} to {max(recent)}{lines}")
        return trap

    def _initial(self, ram: Ram) -> I64:
        if ram.init is None:
            return np.zeros(ram.shape, np.int64)
        return np.asarray(self.registers[ram.init], dtype=np.int64)

    def _branch(self, pc: int) -> int:
        """The bit of the conditional branch that was just executed."""
        bit = int(self.trace.writes[pc][-1].reshape(-1)[0])
        self.trace.bits.setdefault(pc, []).append(bit)
        return bit

    def _operand(self, name: str, counters: Mapping[str, int], wide: bool) -> Any:
        """A counter, register, input or param. Params keep their narrow dtype only in products, which are exact for
        every integer dtype (``isa.exact``); elsewhere narrow NumPy arithmetic would wrap around."""
        value = self.registers.get(name)
        if value is None:
            return np.array(counters[name], dtype=np.int64)
        if value.dtype == INT64 or not wide:
            return value
        if name not in self.wide:
            self.wide[name] = value.astype(np.int64)
            self.wide[name].flags.writeable = False
        return self.wide[name]

    def _trapped(self, step: int, pc: int, trap: Trap) -> Trap:
        trap.instruction = pc
        trap.span = trap.span or self.program.code[pc].span
        element = "" if not trap.element else f", element {list(trap.element)}"
        rounds = "".join(f", {name} = {value}" for name, value in self.counters.items())
        trap.add_note(f"at instruction {pc}{element}, step {step}{rounds}")
        return trap


def _seen(names: Sequence[str], operands: Sequence[Integers], element: tuple[int, ...] | None) -> Iterator[str]:
    """What the operands held where an instruction trapped: single values, and entries at the element if the shapes
    are those of an elementwise instruction."""
    for name, value in dict(zip(names, operands, strict=True)).items():
        if value.size == 1:
            yield f"{name} = {int(value.reshape(-1)[0])}"
        elif element and value.ndim == len(element):
            at = tuple(i if d > 1 else 0 for i, d in zip(element, value.shape, strict=True))
            if all(i < d for i, d in zip(at, value.shape, strict=True)):
                yield f"{name}[{', '.join(map(str, at))}] = {int(value[at])}"


def _param(program: Program, name: str) -> Integers:
    view = np.asarray(program.data[name]).view()
    view.flags.writeable = False
    return view


def _check(pc: int, call: Call, value: I64, t: TensorType | None) -> None:
    where = f"instruction {pc} ({call.op.name})"
    assert t is not None, where
    assert value.shape == t.shape, f"{where}: shape {value.shape}, typed {t.shape}"
    if value.size:
        lo, hi = int(value.min()), int(value.max())
        assert t.lo <= lo <= hi <= t.hi, f"{where}: values in [{lo}, {hi}], typed [{t.lo}, {t.hi}]"
