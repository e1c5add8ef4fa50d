"""Forgeries of a whole program, evaluated in the field and only where they arrive.

``tests.isa.forgery`` evaluates tiny programs anew for every forgery. Here one propagation serves all forgeries that
change the same entries: under steps d1, d2 of two entries every tensor of the graph is a polynomial of degree two in
d1 and d2 (products have one level), whose coefficients are small integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa import builder
from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.errors import SyurmyError, Trap
from syurmy.isa.exact import einsum
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.prover.check import check_system
from syurmy.prover.field import P
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.witness import Witness
from tests.isa.constraints import (
    Constraint,
    Dependencies,
    Space,
    centred,
    constraints_of,
    expressions,
    table_rows,
    wide_limbs,
    without_halves,
)

STEPS = (1, -1, 2**8, -(2**8), 2**16, -(2**16), 2**32)
PAIR_STEPS = (1, -1, 2**16)
ENTRIES = 3  # mutated in every column
TUPLES = 6  # columns of one expression among which pairs are solved

Poly = dict[tuple[int, ...], I64]  # monomial in the steps -> its coefficients, a tensor
Move = tuple[g.Committed, I64]  # a column and the direction in which it is changed


@dataclass(frozen=True)
class Forgery:
    name: str
    steps: tuple[int, ...]
    failed: frozenset[int]  # numbers of constraints
    harmless: Callable[[], bool]


class Host:
    """A program with its honest witness, and forgeries of it."""

    def __init__(self, program: Program, inputs: dict[str, I64]) -> None:
        self.program, self.inputs = program, inputs
        self.trace = syurmy.run(self.program, self.inputs)
        self.system = Plan.of(program, Path(self.trace.batch, self.trace.bits)).system  # with columns of planning
        self.witness = Witness(self.system, self.trace)
        self.constraints = constraints_of(self.system)
        self.depends = Dependencies()
        self._rows: dict[g.Table, set[tuple[int, ...]]] = {}

    @cached_property
    def key(self) -> ProvingKey:
        return setup(self.program, CLEAR)

    def value(self, node: g.Node) -> I64:
        return np.asarray(self.witness(node), np.int64)

    def rows(self, table: g.Table) -> set[tuple[int, ...]]:
        if table not in self._rows:
            self._rows[table] = table_rows(table)
        return self._rows[table]

    def name_of(self, constraint: int) -> str:
        c = self.constraints[constraint]
        op = self.program.code[c.origin].op if c.origin >= 0 else "declaration"
        return f"{type(c).__name__.lower()} '{c.label}' of instruction {c.origin} ({op})"

    # ---- forgeries -----------------------------------------------------------------------------------------------

    def mutations(self, rng: np.random.Generator) -> Iterator[Forgery]:
        """One entry of a column changed: near, at the ends of its interval, at random."""
        for c in self.system.columns:
            for at in sorted({place(c, rng) for _ in range(ENTRIES)}):
                moved = Moved(self, [unit(c, at)])
                old = int(self.value(c).reshape(-1)[at])
                for step in {*STEPS, c.lo - old, c.hi - old, random(rng)} - {0}:
                    yield moved.forgery(f"'{c.label}'[{at}] of instruction {c.origin}", (step,))

    def solved_pairs(self, rng: np.random.Generator) -> Iterator[Forgery]:
        """Two entries changed so that an entry of an equation, or of a looked-up expression, keeps its value."""
        for k, constraint in enumerate(self.constraints):
            for e in expressions(constraint):
                at = place(e, rng)
                columns = sorted(self.depends[e], key=lambda c: c.id)
                if len(columns) > TUPLES:
                    columns = [columns[i] for i in sorted(rng.choice(len(columns), TUPLES, replace=False))]
                entries: list[tuple[g.Committed, int]] = []
                for c in columns:
                    for _ in range(2):  # two entries of one column, where two are read
                        found = self.read_by(e, at, c, {j for d, j in entries if d is c}, rng)
                        if found is not None:
                            entries.append((c, found))
                for c, j in entries:  # another row of the table, another root of the equation
                    moved = Moved(self, [unit(c, j)])
                    for target in targets(constraint, e, rng):
                        by = 0 if target is None else target - int(self.value(e).reshape(-1)[at])
                        if (steps := moved.solve(e, at, {}, by)) is not None:
                            yield moved.forgery(f"{self.name_of(k)} reads {target} by '{c.label}'[{j}]", steps)
                for pair in combinations(entries, 2):
                    moved = Moved(self, [unit(*x) for x in pair])
                    name = " and ".join(f"'{c.label}'[{j}]" for c, j in pair)
                    for i, (c, j) in enumerate(pair):
                        old = int(self.value(c).reshape(-1)[j])
                        for step in {*PAIR_STEPS, c.lo - old, c.hi - old, random(rng)} - {0}:
                            if (steps := moved.solve(e, at, {i: step})) is not None:
                                yield moved.forgery(f"{self.name_of(k)} kept by {name}", steps)

    def read_by(self, e: g.Node, at: int, c: g.Committed, but: set[int], rng: np.random.Generator) -> int | None:
        """An entry of ``c`` of which ``e[at]`` is made: halves of the column, until one entry is left."""
        left = np.array([j for j in range(c.size) if j not in but])
        rng.shuffle(left)

        def read(part: I64) -> bool:
            direction = np.zeros(c.size, np.int64)
            direction[part] = rng.integers(1, 8, len(part))
            change = Moved(self, [(c, direction.reshape(c.shape))]).poly(e)
            return any(x.reshape(-1)[at] for x in change.values())

        if not len(left) or not read(left):
            return None
        if c.size == e.size and at not in but and read(np.array([at])):
            return at
        while len(left) > 1:
            half = left[: len(left) // 2]
            left = half if read(half) else left[len(left) // 2 :]
        return int(left[0]) if read(left) else None

    def wrong_instructions(self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forgery]:
        """One entry of one result is wrong, and everything after it follows honestly, the claimed outputs too."""
        for pc, ins in enumerate(self.program.code):
            if pc not in self.trace.writes:
                continue
            execution = int(rng.integers(len(self.trace.writes[pc])))
            at = int(rng.integers(self.trace.writes[pc][0].size))
            for step in (1, -1):
                with monkeypatch.context() as m:
                    m.setattr(REGISTRY[ins.op], "execute", wrong(REGISTRY[ins.op].execute, ins, execution, at, step))
                    try:
                        trace = syurmy.run(self.program, self.inputs)
                    except Trap:
                        continue
                if trace.bits != self.trace.bits:
                    continue
                other = Witness(self.system, trace)
                for node in self.system.results.values():  # what the committed columns make of it
                    if node.inputs:
                        other._values.pop(node, None)
                    elif not isinstance(node, g.Committed):
                        other.override(node, self.witness(node))  # a moved constant stays what it is
                violations = check_system(self.system, other, limit=10**6)
                # "value" is the checker's own comparison of the trace with a tensor that needs no constraint
                names = {(v.instruction, v.constraint) for v in violations if v.constraint != "value"}
                spaces = {label for _, label in names}
                failed = frozenset(
                    i
                    for i, c in enumerate(self.constraints)
                    if (c.label in spaces if isinstance(c, Space) else (c.origin, c.label) in names)
                )
                assert failed or not names
                name = f"{step:+} in entry {at} of execution {execution} of instruction {pc} ({ins.op})"
                values = {n: other(n).astype(object) for n in (*self.system.columns, *self.system.publics)}
                yield Forgery(name, (step,), failed, lambda v=values: self.is_honest(v))

    def is_honest(self, values: dict[g.Node, Any]) -> bool:
        """Whether these are the columns and the statement of an honest run on some private inputs."""
        inputs = dict(self.inputs)
        for name, node in self.system.inputs.items():
            inputs[name] = centred(values[node] % P).reshape(node.shape[1:])
        try:
            trace = syurmy.run(self.program, inputs)
        except SyurmyError:
            return False
        if trace.bits != self.trace.bits:
            return False
        other = Witness(self.system, trace)
        return all((other(n).astype(object) % P == x % P).all() for n, x in values.items())

    def forgeries(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forgery]:
        rng = np.random.default_rng(seed)
        yield from self.mutations(rng)
        yield from self.solved_pairs(rng)
        yield from self.wrong_instructions(rng, monkeypatch)

    def refuse_all(self, monkeypatch: pytest.MonkeyPatch, seeds: int) -> list[tuple[int, str]]:
        """Asserts that no forgery is accepted. Returns the constraints that were never the only one to stop a forgery,
        of their instruction and of those before it: what comes after may follow honestly from what was forged. Stops
        at a seed that leaves none."""
        assert check_system(self.system, self.witness) == []
        left = {i for i, c in enumerate(self.constraints) if c.origin >= 0}
        for seed in range(seeds):
            for f in self.forgeries(seed, monkeypatch):
                assert f.failed or f.harmless(), f"{f.name}, steps {f.steps}: accepted"
                origins = {i: self.constraints[i].origin for i in f.failed}
                origins = {i: at for i, at in origins.items() if not self.constraints[i].label.startswith("output ")}
                first = {i for i, at in origins.items() if at == min(origins.values())}
                if len(first) == 1:
                    left -= first
            left = without_halves(left, self.constraints)
            if not left:
                break
        return [(self.constraints[i].origin, self.constraints[i].label) for i in sorted(left)]


def with_wide_limbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """See ``wide_limbs``."""
    monkeypatch.setattr(builder, "limbs_for", wide_limbs)


class Moved:
    """The constraint system where entries of columns move along directions, one step each."""

    def __init__(self, host: Host, moves: Sequence[Move]) -> None:
        self.host, self.moves = host, moves
        self.columns = frozenset(c for c, _ in moves)
        self._polys: dict[g.Node, Poly] = {}

    def poly(self, node: g.Node) -> Poly:
        """How the tensor changes."""
        node = node.committed_as or node
        if not self.host.depends[node] & self.columns:
            return {}
        if node not in self._polys:
            self._polys[node] = self._poly(node)
        return self._polys[node]

    def _poly(self, node: g.Node) -> Poly:
        out: Poly = {}
        if isinstance(node, g.Committed):
            return {(k,): direction for k, (c, direction) in enumerate(self.moves) if c is node}
        if isinstance(node, g.Product):
            a, b = ({(): self.host.value(n), **self.poly(n)} for n in node.inputs)
            for (i, x), (j, y) in product(a.items(), b.items()):
                if i or j:
                    key = tuple(sorted(i + j))
                    out[key] = out.get(key, np.int64(0)) + multiplied(node, x, y)
            return out
        parts = [self.poly(n) for n in node.inputs]
        for key in {k for p in parts for k in p}:
            args = [
                p[key] if key in p else np.zeros(n.shape, np.int64) for p, n in zip(parts, node.inputs, strict=True)
            ]
            if isinstance(node, g.Combine):
                assert sum(abs(c) * top(x) for c, x in zip(node.coefficients, args, strict=True)) < 2**63
                out[key] = sum((c * x for c, x in zip(node.coefficients, args, strict=True)), np.zeros(1, np.int64))
            else:
                out[key] = node.forward(args)
        return {k: x for k, x in out.items() if x.any()}

    @cached_property
    def touched(self) -> list[tuple[int, list[tuple[Any, dict[tuple[int, ...], Any]]]]]:
        """Constraints that see the change: per member its values and coefficients in the entries that it reaches."""
        out = []
        for k, c in enumerate(self.host.constraints):
            if isinstance(c, Space):
                if (changed := self.leaves(c)) is not None:
                    out.append((k, changed))
                continue
            polys = [self.poly(e) for e in expressions(c)]
            reached = [x.reshape(-1) != 0 for p in polys for x in p.values()]
            if reached:
                at = np.flatnonzero(np.logical_or.reduce(reached))
                values = [self.host.value(e).reshape(-1)[at].astype(object) for e in expressions(c)]
                coefficients = [{m: x.reshape(-1)[at].astype(object) for m, x in p.items()} for p in polys]
                out.append((k, list(zip(values, coefficients, strict=True))))
        return out

    def leaves(self, space: Space) -> list[Any] | None:
        """Of the tuples that the change reaches: the block, and per member, the multiplicity last, values and
        coefficients, a row per leaf."""
        out = []
        for t in space.tuples:
            n = math.prod(t.shape)
            members = [*t.members, t.multiplicity]
            polys = [{} if m is None else {k: x.reshape(n, -1) for k, x in self.poly(m).items()} for m in members]
            reached = [x.any(axis=1) for p in polys for x in p.values()]
            if reached:
                at = np.flatnonzero(np.logical_or.reduce(reached))
                parts = []
                for m, p, w in zip(members, polys, (*space.widths, 1), strict=True):
                    own = np.zeros((n, w), np.int64) if m is None else self.host.value(m).reshape(n, w)
                    parts.append((own[at].astype(object), {k: x[at].astype(object) for k, x in p.items()}))
                out.append((t, parts))
        return out or None

    def balanced(self, leaves: list[Any], steps: Sequence[int]) -> bool:
        """What the change takes away is what it adds: the honest tuples cancel."""
        net: dict[tuple[int, ...], int] = {}
        for t, parts in leaves:
            for new in (False, True):
                now = []
                for value, coefficients in parts:
                    for monomial, x in coefficients.items() if new else ():
                        value = value + x * power(steps, monomial)
                    now.append(value % P)
                for i, row in enumerate(np.concatenate(now[:-1], axis=1).tolist()):
                    weight = t.sign if t.multiplicity is None else -now[-1][i, 0]
                    net[tuple(row)] = net.get(tuple(row), 0) + (weight if new else -weight)
        return all(x % P == 0 for x in net.values())

    def failed(self, steps: Sequence[int]) -> frozenset[int]:
        out = set()
        for k, members in self.touched:
            c = self.host.constraints[k]
            if isinstance(c, Space):
                if not self.balanced(members, steps):
                    out.add(k)
                continue
            now = []
            for value, coefficients in members:
                for monomial, x in coefficients.items():
                    value = value + x * power(steps, monomial)
                now.append(value % P)
            if isinstance(c, g.Equation):
                good = not now[0].any()
            elif c.table.is_range:
                good = bool((now[0] < 2**c.table.log_size).all())
            else:
                good = set(zip(*(v.tolist() for v in now), strict=True)) <= self.host.rows(c.table)
            if not good:
                out.add(k)
        return frozenset(out)

    def solve(self, e: g.Node, at: int, steps: dict[int, int], by: int = 0) -> tuple[int, ...] | None:
        """All steps, where one is left to be found: it changes ``e[at]`` by ``by``. None if there is none but zero, or
        a square root would be needed."""
        (unknown,) = set(range(len(self.moves))) - steps.keys()
        terms = [-by % P, 0, 0]  # by degree in the unknown
        for monomial, x in self.poly(e).items():
            c = int(x.reshape(-1)[at])
            for k in monomial:
                c = c * steps.get(k, 1) % P
            degree = monomial.count(unknown)
            terms[degree] = (terms[degree] + c) % P
        if terms[2] == 0:
            solution = -terms[0] * pow(terms[1], -1, P) % P if terms[1] else 0
        else:
            solution = -terms[1] * pow(terms[2], -1, P) % P if terms[0] == 0 else 0
        return tuple(steps.get(k, solution) for k in range(len(self.moves))) if solution else None

    def forgery(self, name: str, steps: tuple[int, ...]) -> Forgery:
        return Forgery(name, steps, self.failed(steps), lambda: self.harmless(steps))

    def harmless(self, steps: Sequence[int]) -> bool:
        """Whether this is the honest witness of other private inputs, with the same statement."""
        host = self.host
        values = {n: host.value(n).astype(object) for n in (*host.system.columns, *host.system.publics)}
        for (c, direction), step in zip(self.moves, steps, strict=True):
            values[c] = values[c] + direction.astype(object) * step
        return host.is_honest(values)


def targets(c: Constraint, e: g.Node, rng: np.random.Generator) -> set[int | None]:
    """Values that the expression could take instead; None: its own."""
    if isinstance(c, g.Equation):
        return {None}
    if isinstance(c, Space):
        return {e.lo, e.hi}
    lo, hi = c.table.bounds[c.members.index(e)]
    return {lo, hi, int(rng.integers(lo, hi, endpoint=True))}


def place(node: g.Node, rng: np.random.Generator) -> int:
    """Any entry; every other time one of the last execution, which no later one reads."""
    each = node.size // node.executions
    return int(rng.integers(node.size - each if rng.random() < 0.5 else 0, node.size))


def random(rng: np.random.Generator) -> int:
    return int(rng.integers(1, P, dtype=np.uint64))


def unit(c: g.Committed, at: int) -> Move:
    direction = np.zeros(c.shape, np.int64)
    direction.reshape(-1)[at] = 1
    return c, direction


def top(x: I64) -> int:
    return max(int(x.max()), -int(x.min()))


def power(steps: Sequence[int], monomial: tuple[int, ...]) -> int:
    out = 1
    for k in monomial:
        out = out * steps[k] % P
    return out


def multiplied(node: g.Product, x: I64, y: I64) -> I64:
    bound = top(x) * top(y) * max(1, x.size)
    assert bound < 2**63, "the coefficients of a change stay exact"
    return einsum(node.labels_a, node.labels_b, node.labels_out, x, y, node.shape, bound)


def wrong(execute: Any, ins: Any, execution: int, at: int, step: int) -> Any:
    """``execute`` of an operation, with one entry of one execution of one instruction changed."""
    seen = 0

    def changed(call: Any, values: Any) -> I64:
        nonlocal seen
        out = np.array(execute(call, values))
        if call.instruction is ins:
            if seen == execution:
                out.reshape(-1)[at] += step
            seen += 1
        return out

    return changed
