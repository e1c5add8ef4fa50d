"""Pinning tests for any program: what a cheating prover could commit, in field arithmetic.

A forgery is a program's honest columns with some entries replaced by field elements. It is *accepted* if all lookups
and equations hold. An accepted forgery is harmless only if it is the honest witness of other private inputs.

- ``pin_mutation``: one entry changed, by small and large steps and to random field elements; also with the helper
  columns computed anew from the changed values; also so that a looked-up expression gets another table value.
- ``pin_solved_pairs``: two entries changed so that an equation, or a looked-up expression, keeps its value.
- ``Forger.exchanges``: two entries exchanged in all columns of an instruction at once.
- ``pin_deletion``: every lookup and equation must be the only one that stops some forgery.

Each returns a list of complaints, empty if all is well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any
from unittest.mock import patch

import numpy as np

from syurmy.isa import builder
from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.errors import SyurmyError
from syurmy.isa.program import Lut, Program
from syurmy.prover.field import P
from tests.isa.constraints import (
    Constraint,
    Dependencies,
    Field,
    Space,
    centred,
    constraints_of,
    evaluate,
    expressions,
    table_rows,
    to_field,
    wide_limbs,
    without_halves,
)
from tests.isa.graph_eval import Evaluated, Operand, check, leaves, op_program

STEPS = (1, -1, 2, -2, 2**8, -(2**8), 2**15, 2**16, -(2**16), 2**32)


@dataclass
class Forgery:
    name: str
    columns: dict[g.Committed, Field]
    failed: frozenset[int] = frozenset()  # numbers of constraints


@dataclass
class Forger:
    """The forgeries of one program and inputs, with what each violates."""

    program: Program
    inputs: Mapping[str, I64]
    entries: int = 3  # sampled per column and per expression
    seed: int = 0
    honest: Evaluated = field(init=False)

    def __post_init__(self) -> None:
        self.honest = check(self.program, self.inputs)
        self.rng = np.random.default_rng(self.seed)
        self.system = self.honest.system
        self.constraints = constraints_of(self.system)
        self.base: dict[g.Node, Field] = {n: to_field(v) for n, v in self.honest.nodes.items()}
        self.depends = Dependencies()
        self._rows: dict[int, set[tuple[int, ...]]] = {}
        self._made_of = [frozenset().union(*(self.depends[e] for e in expressions(c))) for c in self.constraints]
        self._neighbours: dict[g.Committed, list[g.Committed]] = {}
        self._hinted: dict[g.Committed, frozenset[g.Committed]] = {}
        self._honest_of: dict[tuple[bytes, ...], Evaluated | None] = {}

    # ---- evaluation ----------------------------------------------------------------------------------------------

    def value(self, node: g.Node, changed: dict[g.Node, Field]) -> Field:
        if node in changed:
            return changed[node]
        if not any(c in changed for c in self.depends[node]):
            if node not in self.base:
                self.base[node] = evaluate(node, [self.value(i, {}) for i in node.inputs])
            return self.base[node]
        changed[node] = evaluate(node, [self.value(i, changed) for i in node.inputs])
        return changed[node]

    def failed(self, columns: Mapping[g.Committed, Field], most: int | None = None) -> frozenset[int]:
        """Numbers of the constraints that do not hold, of the first ``most`` of them."""
        changed: dict[g.Node, Field] = dict(columns)
        pairs = enumerate(zip(self.constraints, self._made_of, strict=True))
        broken = (i for i, (c, own) in pairs if not own.isdisjoint(columns) and not self.holds(c, changed))
        return frozenset(islice(broken, most))

    def cancel(self, space: Space, changed: dict[g.Node, Field]) -> bool:
        net: dict[tuple[tuple[int, ...], ...], int] = {}
        for t in space.tuples:
            for leaf, weight in leaves(t, lambda n: self.value(n, changed)):
                net[leaf] = net.get(leaf, 0) + weight
        return all(x % P == 0 for x in net.values())

    def holds(self, c: Constraint, changed: dict[g.Node, Field]) -> bool:
        if isinstance(c, Space):
            return self.cancel(c, changed)
        values = [self.value(e, changed).reshape(-1) for e in expressions(c)]
        if isinstance(c, g.Equation):
            return not values[0].any()
        if c.table.is_range:
            return bool((values[0] < 2**c.table.log_size).all())
        if id(c.table) not in self._rows:
            self._rows[id(c.table)] = table_rows(c.table)
        return set(zip(*(v.tolist() for v in values), strict=True)) <= self._rows[id(c.table)]

    def with_helpers(self, columns: dict[g.Committed, Field]) -> dict[g.Committed, Field]:
        """Columns computed anew from the changed ones, by their definition or hint."""
        out = dict(columns)
        for c in self.system.columns:
            if c in columns:
                continue
            if c.defined_by is not None:
                new = self.value(c.defined_by, dict(out))
                if (new != self.base[c]).any():
                    out[c] = new
            elif c.hint is not None and not self.hinted(c).isdisjoint(out):
                changed: dict[g.Node, Field] = dict(out)
                try:
                    with np.errstate(all="ignore"):
                        new = to_field(np.asarray(c.hint(lambda n, ch=changed: centred(self.value(n, ch)))))
                except IndexError:  # a row that does not exist
                    continue
                if (new != self.base[c]).any():
                    out[c] = new
        return out

    def hinted(self, c: g.Committed) -> frozenset[g.Committed]:
        """The columns that a hint reads. Where they are the honest ones it reads no other, and says what it said."""
        if c not in self._hinted:
            asked: set[g.Node] = set()

            def honest(node: g.Node) -> I64:
                asked.add(node)
                return centred(self.value(node, {}))

            assert c.hint is not None
            c.hint(honest)
            self._hinted[c] = frozenset().union(*(self.depends[n] for n in asked))
        return self._hinted[c]

    # ---- forgeries -----------------------------------------------------------------------------------------------

    def places(self, node: g.Node) -> list[int]:
        if node.size <= self.entries:
            return list(range(node.size))
        return sorted(int(i) for i in self.rng.choice(node.size, self.entries, replace=False))

    def changed(self, c: g.Committed, at: int, value: int) -> dict[g.Committed, Field]:
        out = self.base[c].copy()
        out.reshape(-1)[at] = value % P
        return {c: out}

    def random(self) -> int:
        return int(self.rng.integers(0, P, dtype=np.uint64))

    def candidates(self, c: g.Committed, at: int, steps: Sequence[int]) -> list[int]:
        """Other values for an entry: near, at the ends of its interval, of its neighbours in a constraint, random."""
        old = self.base[c].reshape(-1)[at]
        near = [old + d for d in steps]
        others = [v for n in self.neighbours(c) for v in self.base[n].reshape(-1)[:8].tolist()]
        values = dict.fromkeys(v % P for v in (*near, c.lo, c.hi, *others, self.random()))
        return [v for v in values if v != old]

    def neighbours(self, c: g.Committed) -> list[g.Committed]:
        if c not in self._neighbours:
            found: set[g.Committed] = set()
            for own in self._made_of:
                if c in own:
                    found |= own
            self._neighbours[c] = sorted(found, key=lambda n: n.id)
        return self._neighbours[c]

    def mutations(self) -> Iterator[Forgery]:
        for c in self.system.columns:
            for at in self.places(c):
                old = self.base[c].reshape(-1)[at]
                for value in self.candidates(c, at, STEPS):
                    one = self.changed(c, at, value)
                    name = f"'{c.label}'[{at}] of instruction {c.origin}: {old} -> {value % P}"
                    yield Forgery(name, one)
                    full = self.with_helpers(one)
                    if len(full) > 1:
                        yield Forgery(f"{name}, helpers anew", full)
        yield from self.retargeted()

    def retargeted(self) -> Iterator[Forgery]:
        """One column's entry solved for another value of a looked-up expression."""
        for lk in self.system.lookups:
            for k, member in enumerate(lk.members):
                lo, hi = lk.table.bounds[k]
                for c in sorted(self.depends[member], key=lambda n: n.id):
                    for at in self.places(c):
                        target = int(self.rng.integers(lo, hi, endpoint=True))
                        for t in (target, lo, hi):
                            new = self.solve(member, c, at, {}, t)
                            if new is not None and new != self.base[c].reshape(-1)[at]:
                                one = self.changed(c, at, new)
                                yield Forgery(f"'{c.label}'[{at}] so that '{lk.label}' reads {t}", one)
                                full = self.with_helpers(one)
                                if len(full) > 1:
                                    yield Forgery(f"'{c.label}'[{at}] so that '{lk.label}' reads {t}, helpers", full)

    def solve(
        self, e: g.Node, c: g.Committed, at: int, others: dict[g.Committed, Field], target: int | None
    ) -> int | None:
        """The value of ``c[at]`` that gives an entry of ``e``, affine in it, the target (None: its honest value)."""
        old = (others[c] if c in others else self.base[c]).reshape(-1)[at]
        f0 = self.value(e, dict(others)).reshape(-1)
        stepped = self.base[c].copy() if c not in others else others[c].copy()
        stepped.reshape(-1)[at] = (old + 1) % P
        f1 = self.value(e, {**others, c: stepped}).reshape(-1)
        honest = self.base[e].reshape(-1)
        moved = np.nonzero(f1 != f0)[0]
        if target is None:  # an entry that the others have disturbed
            moved = np.array([i for i in moved if f0[i] != honest[i]], dtype=np.int64)
        if not len(moved):
            return None
        i = int(moved[0])
        goal = honest[i] if target is None else target % P
        return int((old + (goal - f0[i]) * pow(int(f1[i] - f0[i]) % P, -1, P)) % P)

    def solved_pairs(self) -> Iterator[Forgery]:
        for k in self.constraints:
            for e in expressions(k):
                columns = sorted(self.depends[e], key=lambda n: n.id)
                for c in columns:
                    for at in self.places(c):
                        for value in self.candidates(c, at, (1, -1, 2**16)):
                            one = self.changed(c, at, value)
                            for d in columns:
                                yield from self.compensated(f"'{k.label}'", e, one, c, at, d)

    def compensated(
        self, label: str, e: g.Node, one: dict[g.Committed, Field], c: g.Committed, at: int, d: g.Committed
    ) -> Iterator[Forgery]:
        for j in range(d.size) if d.size <= 2 * self.entries else self.places(d):
            if d is c and j == at:
                continue
            values = {self.solve(e, d, j, one, None)}
            if d is not c and j == at % d.size:
                values.add(one[c].reshape(-1)[at])  # a product that vanishes where the two are equal
            for new in values - {None}:
                both = dict(one)
                both[d] = (one[d] if d in one else self.base[d]).copy()
                both[d].reshape(-1)[j] = new
                name = f"{label} kept by '{c.label}'[{at}] = {one[c].reshape(-1)[at]} and '{d.label}'[{j}] = {new}"
                yield Forgery(name, both)
                full = self.with_helpers(both)
                if len(full) > len(both):
                    yield Forgery(f"{name}, helpers anew", full)

    def exchanges(self) -> Iterator[Forgery]:
        """Two entries exchanged, in all columns of one instruction and shape alike."""
        groups: dict[tuple[int, tuple[int, ...]], list[g.Committed]] = {}
        for c in self.system.columns:
            if c.origin >= 0:
                groups.setdefault((c.origin, c.shape), []).append(c)
        for (origin, _), columns in groups.items():
            for i, j in combinations(self.places(columns[0]), 2):
                changed = {}
                for c in columns:
                    changed[c] = self.base[c].copy()
                    flat = changed[c].reshape(-1)
                    flat[i], flat[j] = flat[j], flat[i]
                if any((changed[c] != self.base[c]).any() for c in columns):
                    yield Forgery(f"entries {i} and {j} of instruction {origin} exchanged", changed)

    # ---- judgement -----------------------------------------------------------------------------------------------

    def harmless(self, f: Forgery) -> bool:
        """Whether the columns are the honest ones of other inputs."""
        inputs = dict(self.inputs)
        for c, v in f.columns.items():
            if c.origin < 0:
                inputs[c.label.removeprefix("input ")] = centred(v)[0]
        other = self.honest_of(inputs)
        return other is not None and not any(
            (to_field(other.columns[c]) != f.columns.get(c, self.base[c])).any() for c in self.system.columns
        )

    def honest_of(self, inputs: Mapping[str, I64]) -> Evaluated | None:
        """The honest run on other inputs; None where they are none."""
        key = tuple(np.asarray(v, np.int64).tobytes() for v in inputs.values())
        if key not in self._honest_of:
            try:
                self._honest_of[key] = check(self.program, inputs, self.system)
            except (SyurmyError, AssertionError):
                self._honest_of[key] = None
        return self._honest_of[key]

    def accepted(self, forgeries: Iterator[Forgery]) -> list[str]:
        return [f.name for f in forgeries if not self.failed(f.columns, 1) and not self.harmless(f)]

    def useless(self) -> list[str]:
        """Constraints of instructions that are never the only one to stop a forgery. (The range of an input is left
        out: what reads it may imply it.)"""
        left = {i for i, c in enumerate(self.constraints) if c.origin >= 0}
        for source in (self.mutations, self.solved_pairs, self.exchanges):
            for f in source():
                failed = self.failed(f.columns, 2)
                if len(failed) == 1 and failed <= left and not self.harmless(f):
                    left -= failed
                if not left:
                    return []
        left = without_halves(left, self.constraints)
        return [f"{type(self.constraints[i]).__name__} '{self.constraints[i].label}'" for i in sorted(left)]


def pin_mutation(program: Program, inputs: Mapping[str, I64], **options: Any) -> list[str]:
    """Accepted forgeries with one entry changed (and helpers recomputed)."""
    forger = Forger(program, inputs, **options)
    return forger.accepted(forger.mutations())


def pin_solved_pairs(program: Program, inputs: Mapping[str, I64], **options: Any) -> list[str]:
    """Accepted forgeries with two entries changed that keep an equation or a looked-up expression."""
    forger = Forger(program, inputs, **options)
    return forger.accepted(forger.solved_pairs())


def pin_deletion(program: Program, inputs: Mapping[str, I64], **options: Any) -> list[str]:
    """Constraints whose removal would let no forgery of the suite pass."""
    return Forger(program, inputs, **options).useless()


def pins(program: Program, inputs: Mapping[str, I64], **options: Any) -> dict[str, list[str]]:
    """All three on one program; ``{}`` if all is well."""
    forger = Forger(program, inputs, **options)
    found = {
        "mutation": forger.accepted(forger.mutations()),
        "solved pair": forger.accepted(forger.solved_pairs()),
        "exchange": forger.accepted(forger.exchanges()),
        "deletion": forger.useless() and _useless_of_wide_limbs(program, inputs, options),
    }
    return {kind: complaints for kind, complaints in found.items() if complaints}


def _useless_of_wide_limbs(program: Program, inputs: Mapping[str, I64], options: Mapping[str, Any]) -> list[str]:
    with patch.object(builder, "limbs_for", wide_limbs):
        return Forger(program, inputs, **options).useless()


def pin_op(op: str, *operands: Operand, luts: Sequence[Lut] = (), **attrs: Any) -> dict[str, list[str]]:
    """``pins`` of one instruction."""
    return pins(*op_program(op, operands, luts, **attrs))
