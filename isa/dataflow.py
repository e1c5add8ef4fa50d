"""Which write every read sees, along an executed path.

Names and path are public, so reads are resolved to writes by both sides alike (protocol section 5, "Registers"). A
register holds either the result of one execution of one instruction, or, after ``put``, a view: for every position
along one axis, the write that is visible there. Views make a loop that fills a buffer linear in its length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from syurmy.isa.cost import Account
from syurmy.isa.inference import Types
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.path import DEFAULT_MAX_STEPS, Path, PathError, walk
from syurmy.isa.program import I64, Affine, Program

# A value's producer: an instruction index >= 0, or -(1 + k) for declaration k of (inputs + params).
# Counters are producers too: ("counter name", value) pairs never mix with others in one read.


MAX_VIEW = 2**22  # positions

_EMPTY: I64 = np.zeros(0, np.int64)


@dataclass
class Source:
    """What a register holds: one write, or a view along ``axis`` with a write per position."""

    producer: int = 0
    execution: int = 0
    axis: int = -1  # -1: a single write
    producers: I64 = field(default_factory=lambda: _EMPTY)
    executions: I64 = field(default_factory=lambda: _EMPTY)
    positions: I64 = field(default_factory=lambda: _EMPTY)


@dataclass
class Dataflow:
    """Resolved reads of one executed path; with a batch, of all its inputs one after the other.

    ``runs[i]``: how often instruction i ran; ``executions[i]``: how often it wrote a value of its own, in which of
    its runs: ``kept[i]`` (readers see through a ``mov`` and most ``put``). ``reads[i][j]``: per execution, what
    operand j holds. ``counters[i]``, ``batches[i]``: per execution of i, the loop counters and the input it belongs
    to. ``final[name]``: per input, what an output register holds at halt. ``loop_carried``: instructions whose result
    is read by an instruction at or before them. ``ticks[i]``: per execution of a RAM access, the buffer's clock
    before it; ``clocks[buffer]``: the largest clock at halt.
    """

    path: Path
    executions: list[int]
    runs: list[int]
    kept: list[list[int]]
    reads: list[list[list[Source]]]
    counters: list[list[dict[str, int]]]
    batches: list[list[int]]
    final: dict[str, list[Source]] = field(default_factory=dict)
    loop_carried: set[int] = field(default_factory=set)
    ticks: dict[int, list[int]] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=dict)
    steps: int = 0


def declaration_index(program: Program) -> dict[str, int]:
    """Producer numbers of inputs and params: -1, -2, ... in order of declaration."""
    names = [i.name for i in program.inputs] + [p.name for p in program.params]
    return {name: -(1 + k) for k, name in enumerate(names)}


def resolve(
    program: Program,
    types: Types,
    path: Path | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    account: Account | None = None,
) -> Dataflow:
    """Follow the path on names alone. Counters appear as sources with producer ``COUNTER``.

    Raises ``StepLimit``, ``PathError`` where the path is not one of this program, and ``ConstraintError`` where views
    are too much for the ``account``.
    """
    account = account or Account()
    path = path or Path()
    n = len(program.code)
    declared = declaration_index(program)
    flow = Dataflow(
        path,
        executions=[0] * n,
        runs=[0] * n,
        kept=[[] for _ in range(n)],
        reads=[[[] for _ in ins.src] for ins in program.code],
        counters=[[] for _ in range(n)],
        batches=[[] for _ in range(n)],
    )
    flow.final = {out.name: [] for out in program.outputs}
    decide, all_used = path.decide()
    inputs = {i.name for i in program.inputs}
    ops = [REGISTRY[ins.op] for ins in program.code]
    sizes = [0 if t is None else t.size for t in types.results]
    for batch in range(path.batch):
        registers = {name: Source(k, batch if name in inputs else 0) for name, k in declared.items()}
        clocks = dict.fromkeys((r.name for r in program.rams), 0)
        for pc, counters in walk(program, max_steps - flow.steps, decide):
            flow.steps += 1
            op = ops[pc]
            if op.control:
                continue
            ins = program.code[pc]
            flow.runs[pc] += 1
            account.worked(sizes[pc])
            sources = []
            for name in ins.src:
                source = Source(COUNTER, counters[name]) if name in counters else registers.get(name)
                if source is None:
                    raise PathError(f"'{name}' is read before it is written", span=ins.span)
                sources.append(source)
            if ins.dst is not None and (seen := _seen_through(program, types, pc, sources, counters)) is not None:
                if seen.axis >= 0:
                    account.spend(len(seen.producers), "views")
                registers[ins.dst] = seen
                continue
            execution = flow.executions[pc]
            flow.executions[pc] += 1
            flow.kept[pc].append(flow.runs[pc] - 1)
            flow.counters[pc].append(dict(counters))
            flow.batches[pc].append(batch)
            for j, source in enumerate(sources):
                flow.reads[pc][j].append(source)
                _note_loop_carried(flow, pc, source)
            if op.memory:
                buffer = str(ins.get("buffer"))
                flow.ticks.setdefault(pc, []).append(clocks[buffer])
                clocks[buffer] += types.operands[pc][0].size
            if ins.dst is not None:
                registers[ins.dst] = Source(pc, execution)
        for out in program.outputs:
            if out.name not in registers:
                raise PathError(f"output '{out.name}' is never written on this path")
            flow.final[out.name].append(registers[out.name])
        for name, clock in clocks.items():
            flow.clocks[name] = max(flow.clocks.get(name, 0), clock)
    if not all_used():
        raise PathError("the path has more branch bits than the program uses")
    return flow


COUNTER = -(10**9)


def _note_loop_carried(flow: Dataflow, pc: int, source: Source) -> None:
    if source.axis < 0:
        if source.producer >= pc:
            flow.loop_carried.add(source.producer)
    else:
        flow.loop_carried.update(int(p) for p in np.unique(source.producers) if p >= pc)


def _seen_through(
    program: Program, types: Types, pc: int, sources: Sequence[Source], counters: Mapping[str, int]
) -> Source | None:
    """What readers of the result see where nothing new is written: through a ``mov`` its source, through a ``put`` a
    view.

    None where the result is a value of its own: any other instruction, a counter that is moved, a ``put`` along
    another axis than an earlier one or along an axis of more than ``MAX_VIEW`` positions.
    """
    op = REGISTRY[program.code[pc].op]
    if op.renames:
        return None if sources[0].producer == COUNTER else sources[0]
    return _put_view(program, types, pc, sources, counters) if op.patches else None


def _put_view(
    program: Program, types: Types, pc: int, sources: Sequence[Source], counters: Mapping[str, int]
) -> Source | None:
    ins = program.code[pc]
    base, part = sources
    base_type, part_type = types.operands[pc]
    axis = int(ins.get("axis", 0)) % len(base_type.shape)  # type: ignore[arg-type]
    if base_type.shape[axis] > MAX_VIEW:
        return None
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
