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

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

import numpy as np

from syurmy.isa.arrays import I32, I64
from syurmy.isa.cost import PER_MOMENT, PER_OUTPUT, PER_PUT, PER_VIEW, Account
from syurmy.isa.inference import Types
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.path import DEFAULT_MAX_STEPS, Decide, Path, PathError, Prepared, StepLimit, walk
from syurmy.isa.program import Affine, Program
from syurmy.isa.progression import Part, Progression, single
from syurmy.isa.records import cached_property, dataclass

# A value's producer: an instruction index >= 0, or -(1 + k) for declaration k of (inputs + params).
# Counters are producers too: ("counter name", value) pairs never mix with others in one read.


MAX_VIEW = 2**22  # positions
ROUNDS = 3  # of a loop that are followed one by one before its further rounds are derived from them
TRIED = 6  # rounds after which a loop that has not come to repeat itself is followed to its end


@dataclass(frozen=True, eq=False)
class View:
    """A tensor made of several writes: for each position along ``axis`` a producer, its execution and its position.
    A stranger's program makes thousands of them, so they are in 32 bits."""

    axis: int
    producers: I32
    executions: I32
    positions: I32

    @staticmethod
    def whole(source: Source, axis: int, length: int) -> View:
        """One write as a view."""
        full = np.full(length, source.producer, np.int32)
        return View(axis, full, np.full(length, source.execution, np.int32), np.arange(length, dtype=np.int32))

    def same(self, other: View) -> bool:
        pairs = ((getattr(self, f), getattr(other, f)) for f in ("producers", "executions", "positions"))
        return all(np.array_equal(a, b) for a, b in pairs)

    @cached_property
    def last(self) -> int:
        """The producer of the highest number."""
        return int(self.producers.max())

    @cached_property
    def distinct(self) -> list[int]:
        """Every producer once, ascending."""
        found: list[int] = np.unique(self.producers).tolist()
        return found


class Source(NamedTuple):
    """What a register holds: one write, or a view (then the other two are 0)."""

    producer: int
    execution: int
    view: View | None = None


@dataclass
class Reads:
    """What one operand holds, per execution: the fields of its ``Source``; of a view its number, else -1. Producers and
    views are the same in all rounds of a part."""

    producers: Progression
    executions: Progression
    views: Progression


@dataclass
class Dataflow:
    """Resolved reads of one executed path; with a batch, of all its inputs one after the other.

    ``runs[i]``: how often instruction i ran; ``executions[i]``: how often it wrote a value of its own, in which of its
    runs: ``kept[i]`` (readers see through a ``mov`` and most ``put``). ``reads[i][j]``: what operand j holds.
    ``counters[i]``, ``batches[i]``: per execution of i, the loop counters (by name) and the input it belongs to.
    ``final[name]``: per input, what an output register holds at halt. ``loop_carried``: instructions whose result is
    read by an instruction at or before them. ``ticks[i]``: per execution of a RAM access, the buffer's clock before it;
    ``clocks[buffer]``: the largest clock at halt of a buffer that is accessed. ``views``: those that are read, by
    number.
    """

    path: Path
    executions: list[int]
    runs: list[int]
    kept: list[Progression] = field(default_factory=list)
    reads: list[list[Reads]] = field(default_factory=list)
    counters: list[dict[str, Progression]] = field(default_factory=list)
    batches: list[Progression] = field(default_factory=list)
    final: dict[str, Reads] = field(default_factory=dict)
    loop_carried: set[int] = field(default_factory=set)
    ticks: dict[int, Progression] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
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
KEPT, BATCH, TICK, FIRST = range(4)  # columns of rows; from FIRST on counters, then the source of each operand
FIELDS = len(Source._fields)
TAIL = 2**12  # rows that are kept as lists


class _Rows:
    """What is known of every execution of one instruction, or of an output at every halt, a row each:
    ``int64[n, width]``."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()  # of the counters
        self.parts: list[_Rounds] = []
        self.tail: list[list[int]] = []
        self.before = 0  # rows in parts

    def __len__(self) -> int:
        return self.before + len(self.tail)

    def append(self, row: list[int]) -> None:
        self.tail.append(row)
        if len(self.tail) == TAIL:
            self._flush()

    def add(self, rounds: _Rounds) -> None:
        self._flush()
        self.parts.append(rounds)
        self.before += len(rounds)

    def since(self, mark: int) -> I64:
        """The rows from ``mark`` on, each column in one piece."""
        self._flush()
        if mark >= self.before:
            return np.zeros((0, FIRST), np.int64)
        out = np.empty((self.parts[0].rows.shape[1], self.before - mark), np.int64)
        at = self.before
        for part in reversed(self.parts):
            if at <= mark:
                break
            at -= len(part)
            for k, column in enumerate(out):
                if at >= mark:
                    part.column(k, column[at - mark : at - mark + len(part)])
                else:
                    whole = np.empty(len(part), np.int64)
                    part.column(k, whole)
                    column[: len(part) - (mark - at)] = whole[mark - at :]
        return out.T

    def columns(self) -> list[Progression]:
        """All rows, column by column; none where there are no rows."""
        if not self.parts and len(self.tail) == 1:  # of what no loop holds
            return list(map(single, self.tail[0]))
        self._flush()
        width = self.parts[0].rows.shape[1] if self.parts else 0
        return [Progression.joined([part.of_column(k) for part in self.parts]) for k in range(width)]

    def _flush(self) -> None:
        if self.tail:
            self.parts.append(_Rounds(np.array(self.tail, np.int64)))
            self.before += len(self.tail)
            self.tail = []


@dataclass
class _Rounds:
    """Rows as they are or, with a ``shift``, as they come in ``times`` further rounds, each shifted once more."""

    rows: I64
    shift: I64 | None = None
    times: int = 1

    def __len__(self) -> int:
        return self.times * len(self.rows)

    def of_column(self, k: int) -> Part:
        """One column."""
        rows = self.rows[:, k].copy()
        return (
            Part.of(rows) if self.shift is None else Part(rows + self.shift[:, k], self.shift[:, k].copy(), self.times)
        )

    def column(self, k: int, out: I64) -> None:
        """Fills ``int64[len(self)]`` in with one column."""
        rounds = out.reshape(self.times, len(self.rows))
        rounds[:] = self.rows[:, k]
        if self.shift is not None and self.shift[:, k].any():
            for i, by in enumerate(self.shift[:, k].tolist()):
                rounds[:, i] += by * np.arange(1, 1 + self.times)


@dataclass
class _Moment:
    """Everything that a round can change, after it, of the instructions and names of its block: what registers hold,
    rows, runs, executions, and the clocks of all buffers that were accessed."""

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
        self.control = [op.control for op in self.ops]
        self.through = [op.renames or op.patches for op in self.ops]  # what readers can see through
        self.sizes = [0 if t is None else t.size for t in types.results]
        self.outputs = [out.name for out in program.outputs]
        self.rows = [_Rows() for _ in (*program.code, *self.outputs)]
        self.fixed = declaration_index(program)
        self.inputs = {i.name for i in program.inputs}
        self.batch = 0
        self.registers: dict[str, Source] = {}
        self.clocks: dict[str, int] = {}  # of the buffers that were accessed
        self.numbers: dict[View, int] = {}
        self.prepared = Prepared(program)
        self.bodies: dict[int, tuple[Sequence[int], list[str]] | None] = {}
        self.moments: dict[int, list[_Moment]] = {}

    def run(self) -> Dataflow:
        flow, path = self.flow, self.flow.path
        decide, all_used = path.decide()
        everything = range(len(self.rows))
        alike = self.derive and path.batch > 2 and not any(op.patches or op.flow is Flow.BRANCH for op in self.ops)
        moments: list[_Moment] = []
        for self.batch in range(path.batch):
            self.registers, self.clocks = {}, {}
            self._input(decide)
            if alike:
                moments.append(self._moment(everything, ()))
                if self.batch == 1:
                    self._further(everything, moments[0], moments[1], path.batch - 2)
                    break
        if not all_used():
            raise PathError("the path has more branch bits than the program uses")
        self._finish()
        return flow

    def _held(self, name: str) -> Source | None:
        """What a register, input or param holds; None before the first write, and for counters."""
        source = self.registers.get(name)
        if source is None and (k := self.fixed.get(name)) is not None:
            return Source(k, self.batch if name in self.inputs else 0)
        return source

    def _input(self, decide: Decide) -> None:
        program, flow, registers = self.program, self.flow, self.registers
        left = self.max_steps - flow.steps
        for pc, counters in walk(self.prepared, left, decide, self._skip if self.derive else None):
            flow.steps += 1
            if self.control[pc]:
                if self.ops[pc].flow is Flow.OPEN:
                    self.moments[pc] = []
                continue
            ins = program.code[pc]
            flow.runs[pc] += 1
            self.account.worked(self.sizes[pc])
            sources = []
            for name in ins.src:
                if name in counters:
                    source: Source | None = Source(COUNTER, counters[name])
                else:
                    source = registers.get(name) or self._held(name)
                if source is None:
                    raise PathError(f"'{name}' is read before it is written", span=ins.span)
                sources.append(source)
            if self.through[pc] and ins.dst is not None:
                seen = self._seen_through(pc, sources, counters)
                if seen is not None:
                    registers[ins.dst] = seen
                    continue
            self._record(pc, counters, sources)
            if ins.dst is not None:
                registers[ins.dst] = Source(pc, flow.executions[pc] - 1)
        self.account.spend(PER_OUTPUT * len(self.outputs), "outputs of a batch")
        for name, rows in zip(self.outputs, self.rows[len(program.code) :], strict=True):
            source = self._held(name)
            if source is None:
                raise PathError(f"output '{name}' is never written on this path")
            rows.append([0, self.batch, 0, *self._numbered(source)])
        for name, clock in self.clocks.items():
            flow.clocks[name] = max(flow.clocks.get(name, 0), clock)

    def _record(self, pc: int, counters: Mapping[str, int], sources: Sequence[Source]) -> None:
        flow, rows, tick = self.flow, self.rows[pc], 0
        if self.ops[pc].memory:
            buffer = str(self.program.code[pc].get("buffer"))
            tick = self.clocks.get(buffer, 0)
            self.clocks[buffer] = tick + self.types.operands[pc][0].size
        if not len(rows):
            rows.names = tuple(counters)
        row = [flow.runs[pc] - 1, self.batch, tick, *counters.values()]
        for source in sources:
            producer, execution, view = source
            if view is None:
                row += (producer, execution, -1)
                if producer >= pc:
                    flow.loop_carried.add(producer)
                continue
            row += self._numbered(source)
            if view.last >= pc:
                flow.loop_carried.update(p for p in view.distinct if p >= pc)
        self.account.spend(len(row), "executions")
        rows.append(row)
        flow.executions[pc] += 1

    def _numbered(self, source: Source) -> tuple[int, int, int]:
        """The fields of a source in a row. A view is kept, and has a number, once it is read."""
        producer, execution, view = source
        if view is None:
            return producer, execution, -1
        if view not in self.numbers:
            self.account.spend(PER_VIEW * len(view.producers), "views")
            self.numbers[view] = len(self.flow.views)
            self.flow.views.append(view)
        return producer, execution, self.numbers[view]

    # ---- rounds that repeat --------------------------------------------------------------------------------------

    def _body(self, start: int) -> tuple[Sequence[int], list[str]] | None:
        """The instructions that a round of a block runs and the registers that they name, if its rounds can be
        derived."""
        if start not in self.bodies:
            body = self._round(start)
            if any(self.ops[pc].patches or self.ops[pc].flow in (Flow.BRANCH, Flow.CALL) for pc in body):
                self.bodies[start] = None
            else:
                code = [self.program.code[pc] for pc in body]
                names = {n for ins in code for n in (*ins.src, *([ins.dst] if ins.dst is not None else []))}
                self.bodies[start] = [pc for pc in body if not self.ops[pc].control], sorted(names)
        return self.bodies[start]

    def _round(self, start: int) -> list[int]:
        """What a round of a block runs, up to its first branch; blocks inside it once. Jumps may leave most of it out,
        and whoever enters the block again and again shall not pay for what never runs."""
        pc, end = start + 1, self.prepared.ends[start]
        reached: dict[int, None] = {}
        while start < pc < end and pc not in reached:
            reached[pc] = None
            self.account.spend(1, "rounds")
            pc = self.prepared.targets[pc] if self.ops[pc].flow is Flow.JUMP else pc + 1
        return list(reached)

    def _moment(self, body: Sequence[int], names: Sequence[str]) -> _Moment:
        self.account.spend(PER_MOMENT * (len(body) + len(names) + len(self.clocks)), "rounds")
        return _Moment(
            {name: self._held(name) for name in names},
            [len(self.rows[k]) for k in body],
            [self.flow.runs[k] for k in body if k < len(self.flow.runs)],
            [self.flow.executions[k] for k in body if k < len(self.flow.runs)],
            dict(self.clocks),
            self.flow.steps,
        )

    def _skip(self, start: int, done: int, count: int) -> tuple[int, int]:
        """Called after round ``done`` of ``count``: how many further rounds are derived here, and the steps of each."""
        if done > TRIED or count - done < 2 or (known := self._body(start)) is None:
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
            shift = c.execution - b.execution
            if not a.producer == b.producer == c.producer or b.execution - a.execution != shift:
                return 0, 0
            if a.view is not b.view or b.view is not c.view:
                return 0, 0
            if shift:
                shifts[name] = c._replace(execution=c.execution + (count - done) * shift)
        left = count - done
        per_round = third.steps - second.steps
        if self.flow.steps + left * per_round > self.max_steps:
            raise StepLimit(f"more than {self.max_steps} steps", span=self.program.code[start].span,
                            help="raise the limit with --max-steps")  # fmt: skip
        if not self._further(body, second, third, left):
            return 0, 0
        self.registers |= shifts
        return left, per_round

    def _further(self, body: Sequence[int], before: _Moment, after: _Moment, left: int) -> bool:
        """Adds ``left`` rounds, each as far behind the one before as ``after`` is behind ``before``; the rows of the
        round before are those up to ``before``. False (and nothing added) where rounds are not of one form."""
        steps_each = after.steps - before.steps
        if self.flow.steps + left * steps_each > self.max_steps:
            raise StepLimit(f"more than {self.max_steps} steps", help="raise the limit with --max-steps")
        made = []
        for k, was, now in zip(body, before.rows, after.rows, strict=True):
            rows, each = self.rows[k], now - was
            if not each:
                continue
            if now < 2 * each:
                return False
            last = rows.since(was)
            shift = last - rows.since(was - each)[:each]
            sources = shift[:, FIRST + len(rows.names) :].reshape(len(shift), -1, FIELDS)
            if sources[:, :, [0, FIELDS - 1]].any():  # other producers or views
                return False
            made.append((rows, last, shift))
        for k in range(len(after.runs)):  # the rows of outputs come behind those of instructions, and have no runs
            pc, runs = body[k], after.runs[k] - before.runs[k]
            self.flow.runs[pc] += left * runs
            self.flow.executions[pc] += left * (after.executions[k] - before.executions[k])
            self.account.worked(left * runs * self.sizes[pc])
        for rows, last, shift in made:
            self.account.spend(left * last.size, "executions")
            rows.add(_Rounds(last, shift, left))
        for name, clock in after.clocks.items():  # every input starts its own, and so ends with those of the one before
            self.clocks[name] += left * (clock - before.clocks.get(name, 0))
        self.flow.steps += left * steps_each
        return True

    # ---- what others see -----------------------------------------------------------------------------------------

    def _finish(self) -> None:
        flow = self.flow
        for pc, ins in enumerate(self.program.code):
            rows = self.rows[pc]
            columns = rows.columns() or [Progression(())] * (FIRST + FIELDS * len(ins.src))
            flow.kept.append(columns[KEPT])
            flow.batches.append(columns[BATCH])
            flow.counters.append({name: columns[FIRST + k] for k, name in enumerate(rows.names)})
            if self.ops[pc].memory:
                flow.ticks[pc] = columns[TICK]
            flow.reads.append(_reads(columns[FIRST + len(rows.names) :]))
        for name, rows in zip(self.outputs, self.rows[len(self.program.code) :], strict=True):
            flow.final[name] = _reads(rows.columns()[FIRST:])[0]

    # ---- what readers see through --------------------------------------------------------------------------------

    def _seen_through(self, pc: int, sources: Sequence[Source], counters: Mapping[str, int]) -> Source | None:
        """What readers of the result see where nothing new is written: through a ``mov`` its source, through a ``put``
        a view.

        None where the result is a value of its own: any other instruction, a counter that is moved, a ``put`` along
        another axis than an earlier one or along an axis of more than ``MAX_VIEW`` positions.
        """
        if self.ops[pc].renames:
            return None if sources[0].producer == COUNTER else sources[0]
        return self._put_view(pc, sources, counters) if self.ops[pc].patches else None

    def _put_view(self, pc: int, sources: Sequence[Source], counters: Mapping[str, int]) -> Source | None:
        ins = self.program.code[pc]
        base_type, part_type = self.types.operands[pc]
        axis = int(ins.get("axis", 0)) % len(base_type.shape)  # type: ignore[arg-type]
        length, put = base_type.shape[axis], part_type.shape[axis]
        if length > MAX_VIEW:
            return None
        if any(s.producer == COUNTER or (s.view is not None and s.view.axis != axis) for s in sources):
            return None
        self.account.spend(PER_PUT + length, "views")
        base, part = (s.view or View.whole(s, axis, n) for s, n in zip(sources, (length, put), strict=True))
        at = ins.get("at", 0)
        start = at.at(counters) if isinstance(at, Affine) else int(at)  # type: ignore[arg-type]
        fields = []
        for name in ("producers", "executions", "positions"):
            new = getattr(base, name).copy()
            new[start : start + put] = getattr(part, name)
            fields.append(new)
        return Source(0, 0, View(axis, *fields))


def _reads(columns: Sequence[Progression]) -> list[Reads]:
    """Of the sources of every operand."""
    return [Reads(*columns[at : at + FIELDS]) for at in range(0, len(columns), FIELDS)]
