"""Which write every read sees, along an executed path.

Names and path are public, so reads are resolved to writes by both sides alike (protocol section 5, "Registers"). A
register holds either the result of one execution of one instruction, or, after ``put``, a view: for every position
along one axis, the write that is visible there. Views make a loop that fills a buffer linear in its length.

A loop whose rounds all take the same path is followed for ``ROUNDS`` rounds only. Let S(r) be what the registers of its
body hold after round r, and R(r) the reads of round r. Where S(r) - S(r-1) = S(r-1) - S(r-2) (the same writers, other
executions of them), no register is copied from one that shifts otherwise, so that S shifts by as much in every later
round; and as R(r+1) is made of S(r) and of writes of the round itself, it is R(r) + (R(r) - R(r-1)). The inputs of a
batch without branches repeat in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.cost import Account
from syurmy.isa.inference import Types
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.path import DEFAULT_MAX_STEPS, Decide, Path, PathError, StepLimit, matching_ends, walk
from syurmy.isa.program import Affine, Program

# A value's producer: an instruction index >= 0, or -(1 + k) for declaration k of (inputs + params).
# Counters are producers too: ("counter name", value) pairs never mix with others in one read.


MAX_VIEW = 2**22  # positions
ROUNDS = 3  # of a loop that are followed one by one before its further rounds are derived from them
TRIED = 6  # rounds after which a loop that has not come to repeat itself is followed to its end

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
class Reads:
    """What one operand holds, per execution: producers and executions ``int64[n]``; where it is a view, ``views``."""

    producers: I64
    executions: I64
    views: Mapping[int, Source]

    @staticmethod
    def of(sources: Sequence[Source]) -> Reads:
        """The sources of an operand, one per execution, as arrays."""
        return Reads(
            np.array([s.producer for s in sources], np.int64),
            np.array([s.execution for s in sources], np.int64),
            {i: s for i, s in enumerate(sources) if s.axis >= 0},
        )


@dataclass
class Dataflow:
    """Resolved reads of one executed path; with a batch, of all its inputs one after the other.

    ``runs[i]``: how often instruction i ran; ``executions[i]``: how often it wrote a value of its own, in which of
    its runs: ``kept[i]`` (readers see through a ``mov`` and most ``put``). ``reads[i][j]``: what operand j holds.
    ``counters[i]``, ``batches[i]``: per execution of i, the loop counters (arrays by name) and the input it belongs
    to. ``final[name]``: per input, what an output register holds at halt. ``loop_carried``: instructions whose result
    is read by an instruction at or before them. ``ticks[i]``: per execution of a RAM access, the buffer's clock
    before it; ``clocks[buffer]``: the largest clock at halt.
    """

    path: Path
    executions: list[int]
    runs: list[int]
    kept: list[I64] = field(default_factory=list)
    reads: list[list[Reads]] = field(default_factory=list)
    counters: list[dict[str, I64]] = field(default_factory=list)
    batches: list[I64] = field(default_factory=list)
    final: dict[str, Reads] = field(default_factory=dict)
    loop_carried: set[int] = field(default_factory=set)
    ticks: dict[int, I64] = field(default_factory=dict)
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
    derive: bool = True,
) -> Dataflow:
    """Follow the path on names alone. Counters appear as sources with producer ``COUNTER``. ``derive`` False follows
    every round of every loop (the definition of what is derived).

    Raises ``StepLimit``, ``PathError`` where the path is not one of this program, and ``ConstraintError`` where views
    are too much for the ``account``.
    """
    return _Resolving(program, types, path or Path(), max_steps, account or Account(), derive).run()


COUNTER = -(10**9)
KEPT, BATCH, TICK, FIRST = range(4)  # columns of rows; from FIRST on counters, then producer and execution per operand


class _Rows:
    """What is known of every execution of one instruction, a row each: ``int64[n, width]``."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()  # of the counters
        self.parts: list[I64] = []
        self.tail: list[list[int]] = []
        self.before = 0  # rows in parts
        self.views: dict[tuple[int, int], Source] = {}  # row, operand

    def __len__(self) -> int:
        return self.before + len(self.tail)

    def add(self, rows: I64) -> None:
        self._flush()
        self.parts.append(rows)
        self.before += len(rows)

    def since(self, mark: int) -> I64:
        """The rows from ``mark`` on."""
        self._flush()
        found: list[I64] = []
        at = self.before
        for part in reversed(self.parts):
            if at <= mark:
                break
            at -= len(part)
            found.append(part[max(mark - at, 0) :])
        return np.concatenate(found[::-1]) if found else np.zeros((0, FIRST), np.int64)

    def _flush(self) -> None:
        if self.tail:
            self.parts.append(np.array(self.tail, np.int64))
            self.before += len(self.tail)
            self.tail = []


@dataclass
class _Moment:
    """Everything that a round can change, after it: rows, runs, executions and clocks by number or name."""

    registers: dict[str, Source | None]
    rows: list[int]
    runs: list[int]
    executions: list[int]
    clocks: dict[str, int]
    steps: int


class _Resolving:
    def __init__(
        self, program: Program, types: Types, path: Path, max_steps: int, account: Account, derive: bool
    ) -> None:
        n = len(program.code)
        self.program, self.types, self.max_steps, self.account, self.derive = program, types, max_steps, account, derive
        self.flow = Dataflow(path, executions=[0] * n, runs=[0] * n)
        self.ops = [REGISTRY[ins.op] for ins in program.code]
        self.sizes = [0 if t is None else t.size for t in types.results]
        self.rows = [_Rows() for _ in program.code]
        self.final: dict[str, list[Source]] = {out.name: [] for out in program.outputs}
        self.registers: dict[str, Source] = {}
        self.clocks: dict[str, int] = {}
        self.ends = matching_ends(program.code)
        self.bodies: dict[int, tuple[range, list[str]] | None] = {}
        self.moments: dict[int, list[_Moment]] = {}

    def run(self) -> Dataflow:
        flow, path = self.flow, self.flow.path
        declared = declaration_index(self.program)
        inputs = {i.name for i in self.program.inputs}
        decide, all_used = path.decide()
        everything = range(len(self.program.code))
        alike = self.derive and not any(op.patches or op.flow is Flow.BRANCH for op in self.ops)
        moments: list[_Moment] = []
        for batch in range(path.batch):
            self.registers = {name: Source(k, batch if name in inputs else 0) for name, k in declared.items()}
            self.clocks = dict.fromkeys((r.name for r in self.program.rams), 0)
            self._input(batch, decide)
            if alike and batch < 2:
                moments.append(self._moment(everything, self.final))
                left = path.batch - 2
                if batch == 1 and left:
                    self._further(everything, moments[0], moments[1], left)
                    self._more_outputs(moments, left)
                    break
        if not all_used():
            raise PathError("the path has more branch bits than the program uses")
        self._finish()
        return flow

    def _more_outputs(self, moments: Sequence[_Moment], left: int) -> None:
        for name, sources in self.final.items():
            a, b = (m.registers[name] for m in moments)
            assert a is not None
            assert b is not None
            shift = b.execution - a.execution
            sources += [Source(b.producer, b.execution + shift * (k + 1)) for k in range(left)]

    def _input(self, batch: int, decide: Decide) -> None:
        program, flow, registers = self.program, self.flow, self.registers
        for pc, counters in walk(program, self.max_steps - flow.steps, decide, self._skip if self.derive else None):
            flow.steps += 1
            op = self.ops[pc]
            if op.control:
                if op.flow is Flow.OPEN:
                    self.moments[pc] = []
                continue
            ins = program.code[pc]
            flow.runs[pc] += 1
            self.account.worked(self.sizes[pc])
            sources = []
            for name in ins.src:
                source = Source(COUNTER, counters[name]) if name in counters else registers.get(name)
                if source is None:
                    raise PathError(f"'{name}' is read before it is written", span=ins.span)
                sources.append(source)
            if ins.dst is not None:
                seen = _seen_through(program, self.types, pc, sources, counters)
                if seen is not None:
                    if seen.axis >= 0:
                        self.account.spend(len(seen.producers), "views")
                    registers[ins.dst] = seen
                    continue
            self._record(pc, batch, counters, sources)
            if ins.dst is not None:
                registers[ins.dst] = Source(pc, flow.executions[pc] - 1)
        for out in program.outputs:
            if out.name not in registers:
                raise PathError(f"output '{out.name}' is never written on this path")
            self.final[out.name].append(registers[out.name])
        for name, clock in self.clocks.items():
            flow.clocks[name] = max(flow.clocks.get(name, 0), clock)

    def _record(self, pc: int, batch: int, counters: Mapping[str, int], sources: Sequence[Source]) -> None:
        flow, rows, tick = self.flow, self.rows[pc], 0
        if self.ops[pc].memory:
            buffer = str(self.program.code[pc].get("buffer"))
            tick = self.clocks[buffer]
            self.clocks[buffer] += self.types.operands[pc][0].size
        if not len(rows):
            rows.names = tuple(counters)
        row = [flow.runs[pc] - 1, batch, tick, *counters.values()]
        for j, source in enumerate(sources):
            row += (source.producer, source.execution)
            if source.axis >= 0:
                rows.views[len(rows), j] = source
            _note_loop_carried(flow, pc, source)
        rows.tail.append(row)
        flow.executions[pc] += 1

    # ---- rounds that repeat --------------------------------------------------------------------------------------

    def _body(self, start: int) -> tuple[range, list[str]] | None:
        """The instructions of a block and the registers that they name, if its rounds can be derived."""
        if start not in self.bodies:
            body = range(start + 1, self.ends[start])
            ops = [self.ops[pc] for pc in body]
            if any(op.patches or op.flow in (Flow.BRANCH, Flow.CALL) for op in ops):
                self.bodies[start] = None
            else:
                code = [self.program.code[pc] for pc in body]
                names = {n for ins in code for n in (*ins.src, *([ins.dst] if ins.dst is not None else []))}
                self.bodies[start] = body, sorted(names)
        return self.bodies[start]

    def _moment(self, body: range, names: Iterable[str]) -> _Moment:
        return _Moment(
            {name: self.registers.get(name) for name in names},
            [len(self.rows[pc]) for pc in body],
            [self.flow.runs[pc] for pc in body],
            [self.flow.executions[pc] for pc in body],
            dict(self.clocks),
            self.flow.steps,
        )

    def _skip(self, start: int, done: int, count: int) -> tuple[int, int]:
        """Called after round ``done`` of ``count``: how many further rounds are derived here, and the steps of each."""
        known = self._body(start)
        if known is None or done > TRIED or count - done < 2:
            return 0, 0
        body, names = known
        moments = self.moments[start]
        moments.append(self._moment(body, names))
        if len(moments) < ROUNDS:
            return 0, 0
        first, second, third = moments[-3:]
        shifts = {}
        for name in names:
            a, b, c = first.registers[name], second.registers[name], third.registers[name]
            if a is None or b is None or c is None:
                if a is not b or b is not c:
                    return 0, 0
                continue  # a counter, or never written
            if a.axis >= 0 or b.axis >= 0 or c.axis >= 0:
                if a is not b or b is not c:
                    return 0, 0
                continue
            shift = c.execution - b.execution
            if not a.producer == b.producer == c.producer or b.execution - a.execution != shift:
                return 0, 0
            shifts[name] = shift
        left = count - done
        per_round = third.steps - second.steps
        if self.flow.steps + left * per_round > self.max_steps:
            raise StepLimit(f"more than {self.max_steps} steps", span=self.program.code[start].span,
                            help="raise the limit with --max-steps")  # fmt: skip
        if not self._further(body, second, third, left):
            return 0, 0
        for name, shift in shifts.items():
            held = third.registers[name]
            assert held is not None
            self.registers[name] = Source(held.producer, held.execution + left * shift)
        return left, per_round

    def _further(self, body: range, before: _Moment, after: _Moment, left: int) -> bool:
        """Adds ``left`` rounds, each as far behind the one before as ``after`` is behind ``before``; the rows of the
        round before are those up to ``before``. False (and nothing added) where rounds are not of one form."""
        made = []
        for k, pc in enumerate(body):
            rows, each = self.rows[pc], after.rows[k] - before.rows[k]
            if not each:
                continue
            last = rows.since(after.rows[k] - each)
            if after.rows[k] < 2 * each:
                return False
            previous = rows.since(after.rows[k] - 2 * each)[:each]
            shift = last - previous
            views = [(i, j) for (i, j) in rows.views if i >= after.rows[k] - each] if rows.views else []
            if any(rows.views.get((i - each, j)) is not rows.views[i, j] for i, j in views):
                return False
            made.append((pc, last, shift, views))
        for pc, last, shift, views in made:
            rows, each = self.rows[pc], len(last)
            steps = np.arange(1, left + 1)[:, None, None]
            rows.add((last[None] + steps * shift[None]).reshape(-1, last.shape[1]))
            for i, j in views:
                for n in range(1, left + 1):
                    rows.views[i + n * each, j] = rows.views[i, j]
        for k, pc in enumerate(body):
            runs = after.runs[k] - before.runs[k]
            self.flow.runs[pc] += left * runs
            self.flow.executions[pc] += left * (after.executions[k] - before.executions[k])
            self.account.worked(left * runs * self.sizes[pc])
        if len(body) < len(self.program.code):  # within one input; every input has clocks of its own
            for name, clock in after.clocks.items():
                self.clocks[name] += left * (clock - before.clocks[name])
        steps_each = after.steps - before.steps
        if self.flow.steps + left * steps_each > self.max_steps:
            raise StepLimit(f"more than {self.max_steps} steps", help="raise the limit with --max-steps")
        self.flow.steps += left * steps_each
        return True

    # ---- what others see -----------------------------------------------------------------------------------------

    def _finish(self) -> None:
        flow = self.flow
        for pc, ins in enumerate(self.program.code):
            rows = self.rows[pc]
            table = rows.since(0) if len(rows) else np.zeros((0, FIRST + 2 * len(ins.src)), np.int64)
            flow.kept.append(table[:, KEPT])
            flow.batches.append(table[:, BATCH])
            flow.counters.append({name: table[:, FIRST + k] for k, name in enumerate(rows.names)})
            if self.ops[pc].memory:
                flow.ticks[pc] = table[:, TICK]
            at = FIRST + len(rows.names)
            flow.reads.append([
                Reads(table[:, at + 2 * j], table[:, at + 2 * j + 1],
                      {i: v for (i, k), v in rows.views.items() if k == j})
                for j in range(len(ins.src))
            ])  # fmt: skip
        flow.final = {name: Reads.of(sources) for name, sources in self.final.items()}


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
