"""Static types of all instructions: dtype, shape and an interval that holds on every execution.

``repeat`` blocks are iterated, at most as often as they run, until their types repeat. Where a program jumps, types
are joined where paths meet, and followed to a fixpoint; an interval that keeps growing there is widened to its dtype.
A data-dependent loop therefore needs a ``cast`` or ``clamp`` on what it accumulates, and the overflow that typing
reports otherwise says so.

The work is bounded whatever the program: a block or routine is followed once per state in which it is entered; after
``PRECISE`` instructions in all, ``repeat`` blocks are widened too; and what is copied where paths meet is counted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace

from syurmy.isa import blame
from syurmy.isa.errors import TypeRuleError
from syurmy.isa.instruction import REGISTRY, Call, Flow, L1Bounds
from syurmy.isa.path import DEFAULT_MAX_STEPS, StepLimit, check_steps, counter_of, matching_ends
from syurmy.isa.program import Instruction, Program
from syurmy.isa.records import dataclass
from syurmy.isa.types import MAX_ENTRIES, MAX_RANK, DType, TensorType

WIDEN_AFTER = 6  # visits of a place where paths meet
MAX_FOLLOWED = 10**6  # instructions
OPERANDS = 4  # beyond which a list of operands counts as so many more instructions
PRECISE = 10**5  # instructions that are followed before repeat blocks are widened
MAX_COPIED = 2 * 10**7  # registers, over all places where paths meet and all blocks that are entered
PER_ENTERED = 8  # what is known on entering a block or routine is looked up, not only copied
PER_JOINED = 16  # a register whose type differs between paths costs about as much as so many that are copied
MAX_CALLS = 64  # routines that call one another

State = dict[str, TensorType | None]  # None: the type differs between the paths that meet here


@dataclass
class Types:
    """Static types: ``results[i]`` of instruction i joined over executions; ``operands[i]`` as joined at its reads.
    ``followed``: how many instructions were, some many times, to find them."""

    results: list[TensorType | None]
    operands: list[tuple[TensorType, ...]]
    final: dict[str, TensorType]
    followed: int = 0


def infer_types(program: Program, l1: L1Bounds | None = None, max_steps: int = DEFAULT_MAX_STEPS) -> Types:
    """Types of all instructions over every path.

    Raises ``TypeRuleError`` with the instruction's span, ``StepLimit``.
    """
    return Inference(program, l1 or recorded_l1(program), max_steps).run()


class Inference:
    """One run over all paths; see ``infer_types``."""

    def __init__(self, program: Program, l1: L1Bounds, max_steps: int) -> None:
        self.program = program
        self.code = program.code
        self.pairs = matching_ends(program.code)
        luts = {t.name: t for t in program.luts}
        rams = {r.name: r for r in program.rams}
        self.calls = [None if REGISTRY[ins.op].control else Call(ins, luts, l1, rams) for ins in program.code]
        self.fixed = {i.name: i.type for i in program.inputs} | {p.name: p.type for p in program.params}
        self.counters: dict[str, TensorType] = {}
        self.types = Types([None] * len(program.code), [() for _ in program.code], {})
        self.max_steps = max_steps
        self.spent = 0  # instructions followed
        self.halted: State | None = None
        self.routines: list[int] = []
        self.meeting = {_target(ins) for ins in program.code if ins.get("target") is not None}
        self.copied = 0
        self.names: dict[int, tuple[str, ...] | None] = {}
        self.followed: dict[tuple[int, frozenset[tuple[str, TensorType | None]]], State | None] = {}

    def run(self) -> Types:
        for ram in self.program.rams:
            if ram.init is not None:
                t = self.fixed[ram.init]
                if t.shape != ram.shape or t.lo < ram.dtype.lo or t.hi > ram.dtype.hi:
                    raise TypeRuleError(f"'{ram.init}' ({t}) cannot fill buffer '{ram.name}'", code="A264")
        check_steps(self.program, self.max_steps)
        _, returned = self.region(0, 0, len(self.code), {})
        if returned is not None:
            ret = next(ins for ins in self.code if REGISTRY[ins.op].flow is Flow.RETURN)
            raise TypeRuleError("ret is reached outside a routine", code="A235", span=ret.span, help="halt before it")
        final = self.halted
        if final is None:
            raise TypeRuleError("no path reaches halt", code="A233", span=self.code[-1].span)
        for out in self.program.outputs:
            final_type = final.get(out.name) or self.fixed.get(out.name)
            if final_type is None:
                raise TypeRuleError(f"output '{out.name}' is not written on every path", code="A232")
            self.types.final[out.name] = final_type
        self.types.followed = self.spent
        return self.types

    def region(self, entry: int, lo: int, hi: int, start: State) -> tuple[State | None, State | None]:
        """Types on leaving the block ``[lo, hi)`` at its end, and at ``ret``; None where no path does."""
        if entry >= hi:
            return start, None
        arriving: dict[int, State] = {}
        visits: dict[int, int] = {}
        out: State | None = None
        returned: State | None = None
        ready = [entry]  # a heap, and what is in it
        waiting = {entry}
        arriving[entry] = start
        while ready:
            pc = heapq.heappop(ready)
            waiting.discard(pc)
            state = dict(arriving[pc])
            straight = True
            while straight:  # follow straight code without storing states between instructions
                straight = False
                ins = self.code[pc]
                self.spend(ins)
                following = [pc + 1]
                flow = REGISTRY[ins.op].flow
                behind = self.pairs[pc] + 1 if flow is Flow.OPEN else pc + 1
                if flow is Flow.OPEN:
                    after = self.loop(pc, state)
                    following = [behind] if after is not None else []
                    state = after if after is not None else state
                elif flow is Flow.STOP:
                    self.halted = self.met(self.halted, state)
                    following = []
                elif flow is Flow.JUMP:
                    following = [_target(ins)]
                elif flow is Flow.RETURN:
                    returned = self.met(returned, state)
                    following = []
                elif flow is Flow.CALL:
                    after = self.routine(pc, state)
                    following = [pc + 1] if after is not None else []
                    state = after if after is not None else state
                else:
                    self.step(pc, state)
                    if flow is Flow.BRANCH:
                        following = [pc + 1, _target(ins)]
                for nxt in following:
                    if nxt >= hi:
                        out = self.met(out, state)
                    elif len(following) == 1 and nxt in (pc + 1, behind) and nxt not in self.meeting:
                        pc, straight = nxt, True
                    else:
                        self.copy(state, ins)
                        visits[nxt] = visits.get(nxt, 0) + 1
                        old = arriving.get(nxt)
                        met = self.met(old, state, widen=visits[nxt] > WIDEN_AFTER)
                        if met != old:
                            arriving[nxt] = met
                            if nxt not in waiting:
                                waiting.add(nxt)
                                heapq.heappush(ready, nxt)
        return out, returned

    def loop(self, start: int, state: State) -> State | None:
        """Types behind a block that is entered with these, which may be changed. Registers that it does not name go
        around it."""
        names = self.named(start)
        if names is None:
            return self.once(start, state, self.rounds)
        after = self.once(start, {name: state[name] for name in names if name in state}, self.rounds)
        if after is not None:
            state.update(after)
            after = state
        return after

    def named(self, start: int) -> tuple[str, ...] | None:
        """The registers that a block names; None where it may be left by another way than its end."""
        if start not in self.names:
            inside = self.code[start + 1 : self.pairs[start]]
            if any(REGISTRY[ins.op].flow in (Flow.CALL, Flow.RETURN, Flow.STOP) for ins in inside):
                self.names[start] = None
            else:
                self.names[start] = tuple(
                    dict.fromkeys(n for ins in inside for n in (*ins.src, ins.dst) if n is not None)
                )
        return self.names[start]

    def rounds(self, start: int, state: State) -> State | None:
        count = int(self.code[start].get("count"))  # type: ignore[arg-type]
        name = counter_of(self.code[start])
        if name is not None:
            self.counters[name] = TensorType(DType.I32, (), 0, count - 1)
        current: State | None = state
        for _ in range(count):
            before = current
            assert before is not None
            self.copy(before, self.code[start])
            current, _ = self.region(start + 1, start + 1, self.pairs[start], dict(before))
            if current is None or current == before:
                break
            if self.spent > PRECISE:
                wide = self.met(before, current, widen=True)
                if wide == before:
                    break  # what leaves this round lies in what entered it, and so in all later ones
                current = wide
        if name is not None:
            del self.counters[name]
        return current

    def once(self, start: int, state: State, follow: Callable[[int, State], State | None]) -> State | None:
        """``follow(start, state)``, once per state."""
        self.copy(state, self.code[start], PER_ENTERED)
        key = start, frozenset(state.items())
        if key not in self.followed:
            self.followed[key] = follow(start, state)
        after = self.followed[key]
        return None if after is None else dict(after)

    def met(self, old: State | None, new: State, widen: bool = False) -> State:
        """Types where paths meet: registers that are written on both, their intervals joined."""
        if old is None:
            return dict(new)
        out = {name: t for name, t in old.items() if name in new}
        for name, b in new.items():
            if name not in out or (a := out[name]) is b:
                continue
            self.copied += PER_JOINED
            if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
                out[name] = None
            elif widen:
                out[name] = replace(a, lo=a.lo if b.lo >= a.lo else a.dtype.lo, hi=a.hi if b.hi <= a.hi else a.dtype.hi)
            else:
                out[name] = a.joined(b)
        return out

    def copy(self, state: State, ins: Instruction, times: int = 1) -> None:
        self.copied += times * len(state)
        if self.copied > MAX_COPIED:
            raise TypeRuleError("too many paths meet, with too many registers", code="A236", span=ins.span,
                                help="write fewer registers, or fewer jumps")  # fmt: skip

    def routine(self, pc: int, state: State) -> State | None:
        target = _target(self.code[pc])
        if target in self.routines:
            raise TypeRuleError("a routine calls itself", code="A234", span=self.code[pc].span)
        if len(self.routines) == MAX_CALLS:
            raise TypeRuleError(
                f"more than {MAX_CALLS} routines call one another", code="A234", span=self.code[pc].span
            )
        return self.once(target, state, self.called)

    def called(self, target: int, state: State) -> State | None:
        self.routines.append(target)
        counters, self.counters = self.counters, {}
        _, returned = self.region(target, 0, len(self.code), state)
        self.counters = counters
        self.routines.pop()
        return returned

    def step(self, pc: int, state: State) -> None:
        ins, call = self.code[pc], self.calls[pc]
        assert call is not None
        operands = tuple(self.read(s, ins, state) for s in ins.src)
        try:
            call.counter_ranges = {name: t.hi + 1 for name, t in self.counters.items()}
            new = call.op.infer(call, operands)
        except TypeRuleError as e:
            e.span = e.span or ins.span
            if e.code == "A210":
                blame.widened(e, self.program, self.types.results, call, operands)
            raise
        if len(new.shape) > MAX_RANK:
            raise TypeRuleError(f"{new} has rank {len(new.shape)}, at most {MAX_RANK} is possible", code="A105",
                                span=ins.span)  # fmt: skip
        if new.size > MAX_ENTRIES:
            raise TypeRuleError(f"{new} has more than 2^28 entries", code="A225", span=ins.span)
        old = self.types.operands[pc] or (None,) * len(operands)
        self.types.operands[pc] = tuple(
            self.joined(o, t, ins, name) for o, t, name in zip(old, operands, ins.src, strict=True)
        )
        self.types.results[pc] = self.joined(self.types.results[pc], new, ins, ins.dst)
        if ins.dst is not None:
            state[ins.dst] = new

    def read(self, name: str, ins: Instruction, state: State) -> TensorType:
        if name in self.counters:
            return self.counters[name]
        if name in state:
            t = state[name]
            if t is None:
                message = f"the type of '{name}' differs between the paths that meet here"
                error = TypeRuleError(message, code="A231", span=ins.span, help="cast it to one dtype on every path")
                blame.differing(error, self.program, self.types.results, name)
                raise error
            return t
        if name in self.fixed:
            return self.fixed[name]
        raise TypeRuleError(f"'{name}' is read before it is written on every path", code="A230", span=ins.span)

    def joined(self, old: TensorType | None, new: TensorType, ins: Instruction, name: str | None) -> TensorType:
        if old is None:
            return new
        if old.shape != new.shape or old.dtype != new.dtype:
            message = f"the type of '{name}' changes between executions: {old}, then {new}"
            error = TypeRuleError(message, code="A231", span=ins.span, help="cast it to one dtype in every round")
            if name is not None:
                blame.differing(error, self.program, self.types.results, name, new)
            raise error
        return old.joined(new)

    def spend(self, ins: Instruction) -> None:
        self.spent += 1 + len(ins.src) // OPERANDS
        if self.spent > MAX_FOLLOWED:
            raise StepLimit(f"types need more than {MAX_FOLLOWED} steps to come to rest", span=ins.span,
                            help="nest fewer blocks and routines")  # fmt: skip


def _target(ins: Instruction) -> int:
    return int(ins.get("target"))  # type: ignore[arg-type]


class recorded_l1(L1Bounds):
    """L1 bounds that the program records."""

    def __init__(self, program: Program) -> None:
        self._bounds = {p.name: dict(p.l1) for p in program.params}

    def __call__(self, name: str, axes: tuple[int, ...]) -> int | None:
        return self._bounds.get(name, {}).get(axes)
