"""Direct evaluation of every constraint on a trace, without a proof: which instruction, tensor and element fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.errors import InputError, Span
from syurmy.isa.graph import Committed, Equation, Lookup, Node, Product, Public, Tuples
from syurmy.isa.path import DEFAULT_MAX_STEPS, Path
from syurmy.isa.program import Program
from syurmy.isa.system import build
from syurmy.isa.trace import Trace
from syurmy.prover.equations import Equations
from syurmy.prover.witness import NO_ROW, Witness

MAX_PER_CONSTRAINT = 3  # violations listed for one lookup or equation
MAX_PLACES = 12  # where a tuple occurs
CLOSE = 4  # tuples that differ in one member


@dataclass(frozen=True)
class Violation:
    """One constraint that does not hold. ``element``: execution, then the tensor's indices; ``step``: that execution's.

    ``expected`` and ``found``: the value that the constraint asks for and the one that stands there, if there is one.
    ``equation``: the constraint at that element in names and in numbers; ``places``: of a tuple of the memory argument
    that does not cancel, where it occurs, and what stands in its place. ``check`` fills these, ``check_system`` not.
    """

    instruction: int
    op: str
    span: Span | None
    constraint: str
    tensor: str
    element: tuple[int, ...]
    message: str
    expected: int | None = None
    found: int | None = None
    step: int | None = None
    equation: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    about: object = field(default=None, compare=False, repr=False)  # the lookup, tuples, equation or result

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        where = self.entry
        if self.element and self.element[0]:
            where += f" in execution {self.element[0]}"
        by = f"instruction {self.instruction} ({self.op})" if self.instruction >= 0 else self.op
        return f"{place}{by}, {self.constraint}: {where} {self.message}"

    @property
    def entry(self) -> str:
        """The tensor's entry, without the execution."""
        return self.tensor + (f"[{', '.join(map(str, self.element[1:]))}]" if self.element[1:] else "")

    @property
    def lines(self) -> tuple[str, ...]:
        """What is known besides, for people: the equation, and where a tuple occurs."""
        return (*self.equation, *self.places)


class Unsatisfied(InputError):
    """A trace that cannot be proven, with the constraints that it violates: a defect, or a trace that was changed."""

    code = "I190"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        first = self.violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"the trace does not satisfy the constraints: {first}{more}", span=first.span)


def check(program: Program, trace: Trace, limit: int = 20, max_steps: int = DEFAULT_MAX_STEPS) -> list[Violation]:
    """The first ``limit`` violations, in program order; empty if the trace satisfies every constraint."""
    system = build(program, Path(trace.batch, trace.bits), max_steps)
    witness = Witness(system, trace)
    return explained(system, witness, check_system(system, witness, limit))


def check_system(system: ConstraintSystem, witness: Witness, limit: int = 20) -> list[Violation]:
    """As ``check``, on a witness whose columns may have been replaced; without equations and places."""
    found: list[Violation] = []
    for lk in system.lookups:
        rows = witness.rows(lk.table, lk.members).reshape(lk.members[0].shape)
        values = [witness(m) for m in lk.members]
        for at in np.argwhere(rows == NO_ROW)[:MAX_PER_CONSTRAINT]:
            e = tuple(at.tolist())
            got = [int(v[e]) for v in values]
            message = f"= {', '.join(map(str, got))} is not in {lk.table.name}"
            v = _violation(system, lk.origin, lk.label, lk.members[0], e, message, lk)
            found.append(replace(v, expected=_row(lk, got), found=got[-1]))
    for space in system.spaces:
        for t, e in unbalanced([t for t in system.tuples if t.space == space], witness)[:MAX_PER_CONSTRAINT]:
            node = next(m for m in t.members[::-1] if m is not None)
            message = f"of '{t.label}' has no counterpart among the tuples of '{space}'"
            found.append(_violation(system, t.origin, f"tuples of {space}", node, e, message, t))
    for eq in system.equations:
        value = witness(eq.expression)
        for at in np.argwhere(value != 0)[:MAX_PER_CONSTRAINT]:
            e = tuple(at.tolist())
            message = f"differs from zero by {int(value[e])}"
            v = _violation(system, eq.origin, eq.label, eq.expression, e, message, eq)
            found.append(replace(v, expected=0, found=int(value[e])))
    for pc, node in system.results.items():
        written = witness.trace.stacked(pc)[np.asarray(system.flow.kept[pc])]
        if node.origin != pc or isinstance(node, Public):
            expected = witness(node)  # the value of another tensor: the instruction only names it
        elif isinstance(node, Committed) or not node.inputs:
            if len(written) == node.executions:
                continue
            expected = witness(node)  # that of all executions: they are proven once
        else:
            expected = _forward(witness, node)
        expected = np.broadcast_to(expected, written.shape)
        for at in np.argwhere(written != expected)[:MAX_PER_CONSTRAINT]:
            e = tuple(at.tolist())
            message = f"= {int(written[e])}, but its operands give {int(expected[e])}"
            v = _violation(system, pc, "value", node, e, message, node)
            found.append(replace(v, expected=int(expected[e]), found=int(written[e])))
    found.sort(key=lambda v: v.instruction)
    return found[:limit]


def explained(system: ConstraintSystem, witness: Witness, violations: list[Violation]) -> list[Violation]:
    """The violations with their steps, equations and places."""
    equations = Equations(system, witness)
    path = np.array(witness.trace.path, np.int64)

    def step_of(pc: int, execution: int) -> int | None:
        kept = system.flow.kept[pc] if pc >= 0 else ()
        steps = np.flatnonzero(path == pc)
        if pc < 0 or len(kept) <= execution or len(steps) <= kept[execution]:
            return None
        return int(steps[kept[execution]])

    def occurrence(t: Tuples, e: tuple[int, ...]) -> str:
        step = step_of(t.origin, e[0])
        if t.origin < 0:
            return f"{t.label}, row {e[-1]}"
        ins = system.program.code[t.origin]
        at = f" at {ins.span.file}:{ins.span.line}" if ins.span is not None else ""
        place = f" [{', '.join(map(str, e[1:]))}]" if e[1:] else ""
        return (
            f"{t.label} by instruction {t.origin} ({ins.op}){at}"
            + (f", step {step}" if step is not None else "")
            + place
        )

    out = []
    for v in violations:
        equation: tuple[str, ...] = ()
        places: list[str] = []
        about, e = v.about, v.element
        if isinstance(about, Lookup):
            lines = []
            for m in about.members:
                names, numbers, value = equations.written(m, e)
                lines.append(f"{names} = {numbers} = {value}" if numbers != str(value) else f"{names} = {value}")
            bounds = about.table.bounds[-1]
            holds = f"{bounds[0]}..{bounds[1]}" if about.table.is_range else about.table.name
            asked = f"; there {about.table.name} has {v.expected}" if v.expected is not None else ""
            equation = (*lines, f"must be in {holds}{asked}")
        elif isinstance(about, Equation):
            names, numbers, value = equations.written(about.expression, e)
            equation = (f"{names} = {numbers} = {value}", "must be 0")
        elif isinstance(about, Tuples):
            blocks = [t for t in system.tuples if t.space == about.space]
            same, near = occurrences(blocks, witness, about, e)
            places = [f"{'+' if n > 0 else ''}{n} {occurrence(t, at)}" for t, at, n in same[:MAX_PLACES]]
            places += [f"... and {len(same) - MAX_PLACES} more"] if len(same) > MAX_PLACES else []
            places += [f"{'+' if n > 0 else ''}{n} {occurrence(t, at)} has {values}" for t, at, n, values in near]
            parts = ", ".join(f"{n} {x}" for n, x in zip(_names(about), _tuple(witness, about, e), strict=True) if n)
            equation = (f"({parts}) must occur as often with + as with -:",)
        elif isinstance(about, Node):
            names, numbers, value = equations.written(about, (min(e[0], about.executions - 1), *e[1:]), v.instruction)
            result = "" if numbers == str(value) else f" = {value}"
            equation = (f"{v.entry} = {names} = {numbers}{result}", f"but {v.found} stands there")
        out.append(replace(v, step=step_of(v.instruction, e[0] if e else 0), equation=equation, places=tuple(places)))
    return out


def _row(lk: Lookup, got: list[int]) -> int | None:
    """What the table has in its last column beside the other values; None where that is not one value."""
    if lk.table.is_range or lk.table.width < 2:
        return None
    alike = np.ones(len(lk.table.columns[0]), np.bool_)
    for column, value in zip(lk.table.columns[:-1], got[:-1], strict=True):
        alike &= column == value
    values = np.unique(lk.table.columns[-1][alike])
    return int(values[0]) if len(values) == 1 else None


def _names(t: Tuples) -> list[str]:
    """What the members of a tuple are; "" for one that is always 0."""
    kinds = {"gather": ["run", "row", "contents"], "permutation": ["group", "value", "place"]}
    names = kinds.get(t.space.partition("@")[0], ["input", "row", "contents", "time"])
    always = t.members[0] is None
    return ["" if k == 0 and always else name for k, name in enumerate(names[: len(t.members)])]


def _tuple(witness: Witness, t: Tuples, e: tuple[int, ...]) -> list[int | list[int]]:
    """The members of one tuple; a row is a list."""
    out: list[int | list[int]] = []
    for m in t.members:
        part = 0 if m is None else np.asarray(witness(m), np.int64).reshape(*t.shape, -1)[e].tolist()
        out.append(part[0] if isinstance(part, list) and len(part) == 1 else part)
    return out


def occurrences(
    blocks: list[Tuples], witness: Witness, block: Tuples, element: tuple[int, ...]
) -> tuple[list[tuple[Tuples, tuple[int, ...], int]], list[tuple[Tuples, tuple[int, ...], int, str]]]:
    """Where the tuple of one entry occurs among ``blocks`` and how often it counts; and tuples that count but do not
    cancel and differ from it in one member, with that member."""
    rows, weights, starts = stacked(blocks, witness)
    edges = np.cumsum([0, *_widths(blocks)])
    first = int(starts[blocks.index(block)]) + int(np.ravel_multi_index(element, block.shape))
    alike = np.stack([(rows[:, a:b] == rows[first, a:b]).all(axis=1) for a, b in pairwise(edges)])
    same = [
        (*_placed(blocks, starts, int(i)), int(weights[i])) for i in np.flatnonzero(alike.all(axis=0) & (weights != 0))
    ]
    near = []
    wanted = np.flatnonzero((alike.sum(axis=0) == len(alike) - 1) & (weights != 0) & _uncancelled(rows, weights))
    for i in wanted[:CLOSE]:
        k = int(np.flatnonzero(~alike[:, i])[0])
        here, there = rows[first, edges[k] : edges[k + 1]].tolist(), rows[i, edges[k] : edges[k + 1]].tolist()
        values = (there[0], here[0]) if len(here) == 1 else (there, here)
        shown = f"{_names(block)[k] or 'input'} {values[0]} instead of {values[1]}"
        near.append((*_placed(blocks, starts, int(i)), int(weights[i]), shown))
    return same, near


def unbalanced(blocks: list[Tuples], witness: Witness) -> list[tuple[Tuples, tuple[int, ...]]]:
    """Blocks and entries of tuples that do not cancel; ``blocks`` are all of one space."""
    rows, weights, starts = stacked(blocks, witness)
    return [_placed(blocks, starts, i) for i in np.flatnonzero(_uncancelled(rows, weights) & (weights != 0)).tolist()]


def _uncancelled(rows: I64, weights: I64) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    _, kind = np.unique(rows, axis=0, return_inverse=True)
    net = np.zeros(int(kind.max()) + 1, np.int64)
    np.add.at(net, kind.reshape(-1), weights)
    return np.asarray(net[kind.reshape(-1)] != 0)


def _widths(blocks: list[Tuples]) -> list[int]:
    """How many numbers each member of the tuples is."""
    widths = [1] * max(len(t.members) for t in blocks)
    for t in blocks:
        for k, m in enumerate(t.members):
            if m is not None:
                widths[k] = math.prod(m.shape[len(t.shape) :])
    return widths


def stacked(blocks: list[Tuples], witness: Witness) -> tuple[I64, I64, I64]:
    """All tuples of ``blocks`` as rows, how often each counts, and where each block begins."""
    rows: list[I64] = []
    weights: list[I64] = []
    widths = _widths(blocks)
    for t in blocks:
        n = math.prod(t.shape)
        members = [np.zeros((n, w), np.int64) if m is None else np.asarray(witness(m), np.int64).reshape(n, w)
                   for m, w in zip(t.members, widths, strict=True)]  # fmt: skip
        rows.append(np.concatenate(members, axis=1))
        counted = None if t.multiplicity is None else -np.asarray(witness(t.multiplicity), np.int64).reshape(n)
        weights.append(np.full(n, t.sign, np.int64) if counted is None else counted)
    return np.concatenate(rows), np.concatenate(weights), np.cumsum([0, *(len(w) for w in weights)])


def _placed(blocks: list[Tuples], starts: I64, i: int) -> tuple[Tuples, tuple[int, ...]]:
    b = int(np.searchsorted(starts, i, side="right")) - 1
    element = np.unravel_index(i - int(starts[b]), blocks[b].shape)
    return blocks[b], tuple(int(x) for x in element)


def _forward(witness: Witness, node: Node) -> I64:
    """The result recomputed from the instruction's operands, through the nodes of the same instruction."""
    args = []
    for n in node.inputs:
        inside = n.origin == node.origin and n.inputs and not isinstance(n, Product)
        args.append(_forward(witness, n) if inside else witness(n))
    return node.forward(args)


def _violation(
    system: ConstraintSystem,
    origin: int,
    label: str,
    node: Node,
    element: tuple[int, ...],
    message: str,
    about: object,
) -> Violation:
    if origin < 0:
        return Violation(origin, "declaration", None, label, node.label or label, element, message, about=about)
    ins = system.program.code[origin]
    tensor = ins.dst or ", ".join(ins.src) or ins.op
    return Violation(origin, ins.op, ins.span, label, tensor, element, message, about=about)
