"""The executed path: blocks, branches, routines, and the step limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field

from syurmy.isa.errors import AssemblyError, ConstraintError
from syurmy.isa.instruction import REGISTRY, Flow
from syurmy.isa.program import Instruction, Program
from syurmy.isa.records import dataclass

DEFAULT_MAX_STEPS = 1_000_000
MAX_STEPS = 2**24  # of a run that is proven: whoever verifies follows it


class StepLimit(ConstraintError):
    """The path is longer than the step limit."""

    code = "T101"


def matching_ends(code: tuple[Instruction, ...]) -> dict[int, int]:
    """For every ``repeat`` the index of its ``end`` and back; ``AssemblyError`` if they do not pair."""
    pairs: dict[int, int] = {}
    stack: list[int] = []
    for i, ins in enumerate(code):
        flow = REGISTRY[ins.op].flow
        if flow is Flow.OPEN:
            stack.append(i)
        elif flow is Flow.CLOSE:
            if not stack:
                raise AssemblyError("end without repeat", code="A130", span=ins.span)
            j = stack.pop()
            pairs[i], pairs[j] = j, i
    if stack:
        raise AssemblyError("repeat without end", code="A131", span=code[stack[-1]].span)
    return pairs


def counter_of(ins: Instruction) -> str | None:
    """The name of a loop's counter, None if it has none."""
    name = ins.get("counter")
    return str(name) if name else None


def check_steps(program: Program, max_steps: int) -> None:
    """Raises ``StepLimit`` where a program without jumps takes more steps: known before it runs."""
    code = program.code
    if any(REGISTRY[ins.op].flow in (Flow.JUMP, Flow.BRANCH, Flow.CALL) for ins in code):
        return
    steps = [0]  # of the open blocks, per round
    starts: list[int] = []
    for pc, ins in enumerate(code):
        steps[-1] += 1
        if REGISTRY[ins.op].flow is Flow.OPEN:
            starts.append(pc)
            steps.append(0)
        elif REGISTRY[ins.op].flow is Flow.CLOSE and starts:
            start = code[starts.pop()]
            rounds = steps.pop()
            steps[-1] += rounds * int(start.get("count"))  # type: ignore[arg-type]
            if steps[-1] > max_steps:
                message = f"the program takes more than {max_steps} steps: this block alone takes {steps[-1]}"
                raise StepLimit(message, span=start.span, help="raise the limit with --max-steps")


Decide = Callable[[int], int]


@dataclass(frozen=True)
class Path:
    """What, besides the program, determines the executed path. Public.

    ``batch``: the number of inputs proven together. ``bits``: per conditional branch its bits in the order of its
    executions (all inputs, one after the other).
    """

    batch: int = 1
    bits: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def decide(self) -> tuple[Decide, Callable[[], bool]]:
        """A function that deals the bits out, and one that says whether all are used. Raises ``PathError``."""
        used = dict.fromkeys(self.bits, 0)

        def take(pc: int) -> int:
            at = used.get(pc, 0)
            if at >= len(self.bits.get(pc, ())):
                raise PathError(f"the path has no bit for execution {at} of the branch at instruction {pc}")
            used[pc] = at + 1
            return self.bits[pc][at]

        return take, lambda: all(used[pc] == len(bits) for pc, bits in self.bits.items())


class PathError(ConstraintError):
    """The branch bits are not those of a run of this program."""

    code = "C120"


@dataclass
class Position:
    """A place on a path: instruction ``pc`` is next. ``rounds``: done of the blocks that are open; ``returns``: of each
    routine that was called, outermost first, where it returns to and the counters there."""

    pc: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    rounds: dict[int, int] = field(default_factory=dict)
    returns: list[tuple[int, dict[str, int]]] = field(default_factory=list)

    def copy(self) -> Position:
        returns = [(pc, dict(counters)) for pc, counters in self.returns]
        return Position(self.pc, dict(self.counters), dict(self.rounds), returns)


class Prepared:
    """The code of a program as ``walk`` follows it, worked out once for all inputs of a batch."""

    def __init__(self, program: Program) -> None:
        self.code = program.code
        self.ops = [REGISTRY[ins.op] for ins in program.code]
        self.ends = matching_ends(program.code)
        found = [ins.get("target") for ins in program.code]
        self.targets = [-1 if t is None else int(t) for t in found]  # type: ignore[arg-type]


def walk(
    prepared: Prepared,
    max_steps: int = DEFAULT_MAX_STEPS,
    decide: Decide | None = None,
    skip: Callable[[int, int, int], tuple[int, int]] | None = None,
    start: Position | None = None,
) -> Iterator[tuple[int, Mapping[str, int]]]:
    """The executed path: instruction index and loop counters, step by step, control instructions included.

    ``decide(pc)`` is asked for the bit of a conditional branch after its step has been yielded. The counters mapping
    is reused between steps; copy it to keep it. ``skip(first, done, count)`` is asked after round ``done`` of a block
    that begins at ``first`` how many of the remaining rounds to leave out, and what steps each has. ``start``: where
    the walk begins instead of at the first instruction; its ``rounds`` and ``returns`` follow the walk. Raises
    ``StepLimit`` and ``PathError``.
    """
    code, ops, targets = prepared.code, prepared.ops, prepared.targets
    at = Position() if start is None else start
    pc, counters, rounds, returns = at.pc, at.counters, at.rounds, at.returns  # a routine has counters of its own
    steps = 0
    while pc < len(code):
        steps += 1
        if steps > max_steps:
            raise StepLimit(f"more than {max_steps} steps", span=code[pc].span, help="raise the limit with --max-steps")
        ins = code[pc]
        flow = ops[pc].flow
        if flow is Flow.OPEN:
            rounds[pc] = 0
            if (name := counter_of(ins)) is not None:
                counters[name] = 0
            yield pc, counters
        elif flow is Flow.CLOSE:
            yield pc, counters
            first = prepared.ends[pc]
            rounds[first] += 1
            if skip is not None and rounds[first] < int(code[first].get("count")):  # type: ignore[arg-type]
                left_out, each = skip(first, rounds[first], int(code[first].get("count")))  # type: ignore[arg-type]
                rounds[first] += left_out
                steps += left_out * each
            name = counter_of(code[first])
            if rounds[first] < int(code[first].get("count")):  # type: ignore[arg-type]
                if name is not None:
                    counters[name] = rounds[first]
                pc = first + 1
                continue
            if name is not None:
                del counters[name]
        else:
            yield pc, counters
            if flow is Flow.NEXT:
                pc += 1
                continue
            if flow is Flow.STOP:
                return
            if flow is Flow.JUMP:
                pc = targets[pc]
                continue
            if flow is Flow.CALL:
                returns.append((pc + 1, counters))
                pc, counters = targets[pc], {}
                continue
            if flow is Flow.RETURN:
                if not returns:
                    raise PathError("ret outside a routine", span=ins.span)
                pc, counters = returns.pop()
                continue
            if decide is None:
                raise PathError("this program branches on data, its path needs branch bits", span=ins.span)
            if decide(pc) == ops[pc].taken_on:
                pc = targets[pc]
                continue
        pc += 1
    raise PathError("the path runs off the end of the program")
