"""The executed path, which write every read sees, and types at a fixpoint.

Names and path are public, so reads are resolved to writes by both sides alike (protocol section 5, "Registers"). A
register holds either the result of one execution of one instruction, or, after ``put``, a view: for every position
along one axis, the write that is visible there. Views make a loop that fills a buffer linear in its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from isa.errors import AssemblyError, ConstraintError, TypeRuleError
from isa.instruction import REGISTRY, Call, L1Bounds
from isa.program import I64, Affine, Instruction, Program
from isa.types import MAX_ENTRIES, DType, TensorType

DEFAULT_MAX_STEPS = 1_000_000


class StepLimit(ConstraintError):
    """The path is longer than the step limit."""

    code = "T101"


def matching_ends(code: tuple[Instruction, ...]) -> dict[int, int]:
    """For every ``repeat`` the index of its ``end`` and back; ``AssemblyError`` if they do not pair."""
    pairs: dict[int, int] = {}
    stack: list[int] = []
    for i, ins in enumerate(code):
        if ins.op == "repeat":
            stack.append(i)
        elif ins.op == "end":
            if not stack:
                raise AssemblyError("end without repeat", code="A130", span=ins.span)
            j = stack.pop()
            pairs[i], pairs[j] = j, i
    if stack:
        raise AssemblyError("repeat without end", code="A131", span=code[stack[-1]].span)
    return pairs


def counter_of(ins: Instruction) -> str | None:
    name = ins.get("counter")
    return str(name) if name else None


def walk(program: Program, max_steps: int = DEFAULT_MAX_STEPS) -> Iterator[tuple[int, Mapping[str, int]]]:
    """The executed path: instruction index and loop counters, step by step, control instructions included.

    The counters mapping is reused between steps; copy it to keep it. Raises ``StepLimit``.
    """
    code = program.code
    pairs = matching_ends(code)
    counters: dict[str, int] = {}
    rounds: dict[int, int] = {}
    pc = steps = 0
    while pc < len(code):
        steps += 1
        if steps > max_steps:
            raise StepLimit(f"more than {max_steps} steps", span=code[pc].span, help="raise the limit with --max-steps")
        ins = code[pc]
        if ins.op == "repeat":
            rounds[pc] = 0
            if (name := counter_of(ins)) is not None:
                counters[name] = 0
            yield pc, counters
        elif ins.op == "end":
            yield pc, counters
            start = pairs[pc]
            rounds[start] += 1
            if rounds[start] < int(code[start].get("count")):  # type: ignore[arg-type]
                if (name := counter_of(code[start])) is not None:
                    counters[name] = rounds[start]
                pc = start + 1
                continue
            if (name := counter_of(code[start])) is not None:
                del counters[name]
        else:
            yield pc, counters
            if ins.op == "halt":
                return
        pc += 1


# A value's producer: an instruction index >= 0, or -(1 + k) for declaration k of (inputs + params).
# Counters are producers too: ("counter name", value) pairs never mix with others in one read.


@dataclass
class Source:
    """What a register holds: one write, or a view along ``axis`` with a write per position."""

    producer: int = 0
    execution: int = 0
    axis: int = -1  # -1: a single write
    producers: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    executions: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    positions: I64 = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass
class Dataflow:
    """Resolved reads of one executed path.

    ``executions[i]``: how often instruction i ran. ``reads[i][j]``: per execution, what operand j holds.
    ``counters[i]``: per execution of i, the loop counters. ``final[name]``: what an output register holds at halt.
    ``loop_carried``: instructions whose result is read by an instruction at or before them.
    """

    executions: list[int]
    reads: list[list[list[Source]]]
    counters: list[list[dict[str, int]]]
    final: dict[str, Source]
    loop_carried: set[int]
    steps: int


def declaration_index(program: Program) -> dict[str, int]:
    """Producer numbers of inputs and params: -1, -2, ... in order of declaration."""
    names = [i.name for i in program.inputs] + [p.name for p in program.params]
    return {name: -(1 + k) for k, name in enumerate(names)}


def resolve(program: Program, types: Types, max_steps: int = DEFAULT_MAX_STEPS) -> Dataflow:
    """Follow the path on names alone. Counters appear as sources with producer ``COUNTER``."""
    n = len(program.code)
    declared = declaration_index(program)
    registers: dict[str, Source] = {name: Source(k) for name, k in declared.items()}
    flow = Dataflow([0] * n, [[] for _ in range(n)], [[] for _ in range(n)], {}, set(), 0)
    for i, ins in enumerate(program.code):
        flow.reads[i] = [[] for _ in ins.src]
    for pc, counters in walk(program, max_steps):
        flow.steps += 1
        ins = program.code[pc]
        op = REGISTRY[ins.op]
        if op.control:
            continue
        execution = flow.executions[pc]
        flow.executions[pc] += 1
        flow.counters[pc].append(dict(counters))
        for j, name in enumerate(ins.src):
            source = Source(COUNTER, counters[name]) if name in counters else registers[name]
            flow.reads[pc][j].append(source)
            _note_loop_carried(flow, pc, source)
        if ins.dst is not None:
            # a plain move is an alias: nothing new is written (a counter is no write and has to become one)
            alias = ins.op == "mov" and flow.reads[pc][0][-1].producer != COUNTER
            registers[ins.dst] = flow.reads[pc][0][-1] if alias else Source(pc, execution)
            if ins.op == "put":
                view = _put_view(program, types, pc, flow, counters)
                if view is not None:
                    registers[ins.dst] = view
    for out in program.outputs:
        flow.final[out.name] = registers[out.name]
    return flow


COUNTER = -(10**9)


def _note_loop_carried(flow: Dataflow, pc: int, source: Source) -> None:
    if source.axis < 0:
        if source.producer >= pc:
            flow.loop_carried.add(source.producer)
    else:
        flow.loop_carried.update(int(p) for p in np.unique(source.producers) if p >= pc)


def _put_view(program: Program, types: Types, pc: int, flow: Dataflow, counters: Mapping[str, int]) -> Source | None:
    """The view after a ``put``, or None where it must become a value of its own (another axis, a computed part)."""
    ins = program.code[pc]
    base, part = flow.reads[pc][0][-1], flow.reads[pc][1][-1]
    base_type, part_type = types.operands[pc]
    axis = int(ins.get("axis", 0)) % len(base_type.shape)  # type: ignore[arg-type]
    if COUNTER in (base.producer, part.producer) or (base.axis >= 0 and base.axis != axis):
        return None
    if part.axis >= 0 and part.axis != axis:
        return None
    at = ins.get("at", 0)
    start = at.at(counters) if isinstance(at, Affine) else int(at)  # type: ignore[arg-type]
    length = part_type.shape[axis]
    view = _as_view(base, axis, base_type.shape[axis])
    update = _as_view(part, axis, length)
    for name in ("producers", "executions", "positions"):
        new = getattr(view, name).copy()
        new[start : start + length] = getattr(update, name)
        setattr(view, name, new)
    return view


def _as_view(s: Source, axis: int, length: int) -> Source:
    if s.axis >= 0:
        return Source(s.producer, s.execution, axis, s.producers, s.executions, s.positions)
    full = np.full(length, s.producer, np.int64)
    return Source(0, 0, axis, full, np.full(length, s.execution, np.int64), np.arange(length, dtype=np.int64))


@dataclass
class Types:
    """Static types: ``results[i]`` of instruction i joined over executions; ``operands[i]`` as joined at its reads."""

    results: list[TensorType | None]
    operands: list[tuple[TensorType, ...]]
    final: dict[str, TensorType]


def infer_types(program: Program, l1: L1Bounds | None = None, max_steps: int = DEFAULT_MAX_STEPS) -> Types:
    """Types of all instructions over the executed path. A loop is iterated until its types repeat.

    Raises ``TypeRuleError`` with the instruction's span.
    """
    code = program.code
    pairs = matching_ends(code)
    luts = {t.name: t for t in program.luts}
    l1 = l1 or recorded_l1(program)
    calls = [None if REGISTRY[ins.op].control else Call(ins, luts, l1) for ins in code]
    fixed = {i.name: i.type for i in program.inputs} | {p.name: p.type for p in program.params}
    state: dict[str, TensorType] = {}
    counters: dict[str, TensorType] = {}
    types = Types([None] * len(code), [() for _ in code], {})
    budget = max_steps

    def read(name: str, ins: Instruction) -> TensorType:
        for scope in (counters, state, fixed):
            if name in scope:
                return scope[name]
        raise TypeRuleError(f"'{name}' is read before it is written", code="A230", span=ins.span)

    def join(old: TensorType | None, new: TensorType, ins: Instruction) -> TensorType:
        if old is None:
            return new
        if old.shape != new.shape or old.dtype != new.dtype:
            raise TypeRuleError(f"the type changes between executions: {old}, then {new}", code="A231", span=ins.span)
        return old.joined(new)

    def run(lo: int, hi: int) -> None:
        nonlocal budget
        pc = lo
        while pc < hi:
            ins = code[pc]
            budget -= 1
            if budget < 0:
                raise StepLimit(f"more than {max_steps} steps", span=ins.span, help="raise the limit with --max-steps")
            if ins.op == "repeat":
                loop(pc)
                pc = pairs[pc] + 1
                continue
            call = calls[pc]
            if call is None:
                if ins.op == "halt":
                    return
                pc += 1
                continue
            operands = tuple(read(s, ins) for s in ins.src)
            try:
                call.counter_ranges = {name: t.hi + 1 for name, t in counters.items()}
                new = call.op.infer(call, operands)
            except TypeRuleError as e:
                e.span = e.span or ins.span
                raise
            if new.size > MAX_ENTRIES:
                raise TypeRuleError(f"{new} has more than 2^28 entries", code="A225", span=ins.span)
            old = types.operands[pc]
            types.operands[pc] = tuple(
                join(o, t, ins) for o, t in zip(old or (None,) * len(operands), operands, strict=True)
            )
            types.results[pc] = join(types.results[pc], new, ins)
            if ins.dst is not None:
                state[ins.dst] = new
            pc += 1

    def loop(start: int) -> None:
        count = int(code[start].get("count"))  # type: ignore[arg-type]
        name = counter_of(code[start])
        if name is not None:
            counters[name] = TensorType(DType.I32, (), 0, count - 1)
        for _ in range(count):
            before = dict(state)
            run(start + 1, pairs[start])
            if state == before:
                break
        if name is not None:
            del counters[name]

    run(0, len(code))
    for out in program.outputs:
        if out.name not in state and out.name not in fixed:
            raise TypeRuleError(f"output '{out.name}' is never written", code="A232")
        types.final[out.name] = state.get(out.name) or fixed[out.name]
    return types


class recorded_l1(L1Bounds):
    """L1 bounds that the program records."""

    def __init__(self, program: Program) -> None:
        self._bounds = {p.name: dict(p.l1) for p in program.params}

    def __call__(self, name: str, axes: tuple[int, ...]) -> int | None:
        return self._bounds.get(name, {}).get(axes)
