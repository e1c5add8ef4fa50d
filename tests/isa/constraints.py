"""What both forgery kits say about a constraint system: its constraints, numbered, and its expressions over the field.

``tests.isa.forgery`` evaluates tiny programs anew for every forgery; ``tests.soundness.forgeries`` propagates changes
through whole programs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.ranges import Limbs
from syurmy.prover.field import P

Field = Any  # object array of integers in [0, P)


@dataclass(frozen=True)
class Space:
    """All tuples of one space, which must cancel."""

    tuples: tuple[g.Tuples, ...]

    @property
    def origin(self) -> int:
        return min((t.origin for t in self.tuples if t.origin >= 0), default=-1)

    @property
    def label(self) -> str:
        return f"tuples of {self.tuples[0].space}"

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Entries of the row in each member."""
        out = [1] * len(self.tuples[0].members)
        for t in self.tuples:
            for k, m in enumerate(t.members):
                if m is not None:
                    out[k] = math.prod(m.shape[len(t.shape) :])
        return tuple(out)


Constraint = g.Equation | g.Lookup | Space


def constraints_of(system: ConstraintSystem) -> list[Constraint]:
    """Equations first, then lookups, then spaces of tuples; a constraint's number is its place here."""
    spaces = [Space(tuple(t for t in system.tuples if t.space == name)) for name in system.spaces]
    return [*system.equations, *system.lookups, *spaces]


def wide_limbs(_: object = None) -> Limbs:
    """In place of ``isa.ranges.limbs_for``: ranges of up to 16 bits take one lookup. Of many narrow limbs a forgery has
    to change more columns at once than the suites do, so it is here that each constraint is seen to be needed."""
    return Limbs(16, frozenset(range(1, 16)))


def without_halves(left: set[int], constraints: list[Constraint]) -> set[int]:
    """``left`` but for one of the two lookups of a narrow limb (``isa.ranges``) where the other is not left: the first
    says that the limb is an integer, which follows where it is made of columns that others pin, the second that it is
    small, which may follow from other constraints. ``tests/soundness/test_ranges.py`` shows that both are needed."""
    number = {(c.origin, c.label): i for i, c in enumerate(constraints) if isinstance(c, g.Lookup)}
    halves: dict[int, int] = {}
    for (origin, label), i in number.items():
        first, _, rest = label.partition(" below 2^")
        if rest and (origin, first) in number:
            j = number[origin, first]
            halves |= {i: j, j: i}
    return {i for i in left if i not in halves or halves[i] in left}


def expressions(c: Constraint) -> tuple[g.Node, ...]:
    """What a constraint speaks of, each once."""
    if isinstance(c, Space):
        nodes = (m for t in c.tuples for m in (*t.members, t.multiplicity))
        return tuple(dict.fromkeys(m for m in nodes if m is not None))
    return (c.expression,) if isinstance(c, g.Equation) else c.members


class Dependencies(dict[g.Node, frozenset[g.Committed]]):
    """The columns that an expression is made of, by expression; found when first asked for."""

    def __missing__(self, node: g.Node) -> frozenset[g.Committed]:
        own = node.committed_as or node
        if isinstance(own, g.Committed):
            return frozenset((own,))
        self[node] = frozenset().union(*(self[i] for i in own.inputs))
        return self[node]


def table_rows(table: g.Table) -> set[tuple[int, ...]]:
    """The rows of a table, over the field."""
    return set(zip(*(to_field(np.asarray(c)).tolist() for c in table.columns), strict=True))


def to_field(x: I64) -> Field:
    return x.astype(object) % P


def centred(x: Field) -> I64:
    """The integers of least absolute value that field elements stand for."""
    return np.where(x > P // 2, x - P, x).astype(np.int64)


def evaluate(node: g.Node, args: list[Field]) -> Field:
    """The map of a linear image or product over the field."""
    if isinstance(node, g.Combine):
        if not args:
            return np.full(node.shape, node.const % P, dtype=object)
        total = node.const
        for c, a in zip(node.coefficients, args, strict=True):
            total = total + c * a
        return total % P
    if isinstance(node, g.Sum):
        return args[0].sum(axis=node.axes, keepdims=True) % P
    if isinstance(node, g.Product):
        labels = sorted({*node.labels_a, *node.labels_b})
        a, b = (_spread(x, own, labels) for x, own in zip(args, (node.labels_a, node.labels_b), strict=True))
        full = a * b
        gone = tuple(i for i, x in enumerate(labels) if x not in node.labels_out)
        out = full.sum(axis=gone) if gone else full
        kept = [x for x in labels if x in node.labels_out]
        return np.asarray(np.transpose(out, [kept.index(x) for x in node.labels_out]), dtype=object) % P
    return node.forward(args)


def _spread(x: Field, own: tuple[int, ...], labels: list[int]) -> Field:
    order = sorted(range(len(own)), key=lambda i: own[i])
    dims = dict(zip(own, x.shape, strict=True))
    return np.transpose(x, order).reshape([dims.get(label, 1) for label in labels])
