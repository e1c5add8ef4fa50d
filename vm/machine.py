"""Fetch, decode, execute: one run of a program on exact integers.

The path is that of ``isa.dataflow.walk``, which prover and verifier follow as well. Registers hold int64 arrays; every
value that an instruction writes is kept in the trace, read-only. Overflow is impossible: the static intervals of
``isa.dataflow.infer_types`` lie inside ±2^61 (``check_intervals`` compares every write with them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import isa.ops  # noqa: F401  (fills the registry)
from isa.control import DEFAULT_MAX_STEPS, walk
from isa.errors import Trap
from isa.inference import infer_types
from isa.instruction import REGISTRY, Call
from isa.memory import Memory
from isa.program import I64, Program, Ram
from isa.trace import Trace
from isa.types import TensorType
from vm.events import Executed, Fetched, Halted, Listener, Trapped
from vm.inputs import validated

Operand = npt.NDArray[np.integer[Any]]


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
    return _Machine(program, validated(program, inputs), listeners, check_intervals).run(max_steps)


class _Machine:
    def __init__(self, program: Program, inputs: dict[str, I64], listeners: Sequence[Listener], check: bool) -> None:
        luts = {t.name: t for t in program.luts}
        self.program = program
        self.listeners = listeners
        self.trace = Trace(program, inputs)
        self.registers: dict[str, Operand] = {p.name: _param(program, p.name) for p in program.params}
        self.registers.update(inputs)
        rams = {r.name: r for r in program.rams}
        self.calls = [None if REGISTRY[ins.op].control else Call(ins, luts, rams=rams) for ins in program.code]
        self.memories = {r.name: Memory(self._initial(r)) for r in program.rams}
        self.types = infer_types(program).results if check else None
        self.wide: dict[str, I64] = {}  # params converted for instructions that need int64

    def run(self, max_steps: int) -> Trace:
        trace, code, listeners = self.trace, self.program.code, self.listeners
        step = 0
        for pc, counters in walk(self.program, max_steps + 1, self._branch):
            if step == max_steps:
                raise self._trapped(step, pc, Trap(f"the program takes more than {max_steps} steps", code="T101"))
            trace.path.append(pc)
            for tell in listeners:
                tell(Fetched(step, pc, code[pc], dict(counters)))
            call = self.calls[pc]
            if call is not None:
                self._execute(step, pc, call, counters)
            step += 1
        trace.final = {name: [(m.values, m.times)] for name, m in self.memories.items()}
        trace.outputs = {o.name: self._operand(o.name, {}, wide=True) for o in self.program.outputs}
        for tell in listeners:
            tell(Halted(step))
        return trace

    def _execute(self, step: int, pc: int, call: Call, counters: Mapping[str, int]) -> None:
        ins = call.instruction
        call.counters = counters
        call.memories = self.memories
        wide = call.op.family != "product"
        operands = [self._operand(name, counters, wide) for name in ins.src]
        try:
            value = call.op.execute(call, operands)
        except Trap as trap:
            raise self._trapped(step, pc, trap) from None
        value = np.asarray(value, dtype=np.int64)
        value.flags.writeable = False
        if self.types is not None:
            _check(pc, call, value, self.types[pc])
        writes = self.trace.writes.setdefault(pc, [])
        writes.append(value)
        if call.op.memory and call.read_times is not None:
            self.trace.read_times.setdefault(pc, []).append(call.read_times)
        if ins.dst is not None:
            self.registers[ins.dst] = value
        for tell in self.listeners:
            tell(Executed(step, pc, len(writes) - 1, tuple(operands), value))

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
        if name in counters:
            return np.array(counters[name], dtype=np.int64)
        value = self.registers[name]
        if not wide or value.dtype == np.int64:
            return value
        if name not in self.wide:
            self.wide[name] = value.astype(np.int64)
            self.wide[name].flags.writeable = False
        return self.wide[name]

    def _trapped(self, step: int, pc: int, trap: Trap) -> Trap:
        trap.instruction = pc
        trap.span = trap.span or self.program.code[pc].span
        element = "" if trap.element is None else f", element {list(trap.element)}"
        trap.add_note(f"at instruction {pc}{element}, step {step}")
        for tell in self.listeners:
            tell(Trapped(step, pc, trap))
        return trap


def _param(program: Program, name: str) -> Operand:
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
