"""Products as terms of the batched contraction sumcheck, shared by prover and verifier (protocol section 4).

A term on ``out[o] = sum A*B`` with weights w on out's labels is ``c * sum_{b,k} w_b * A'[b,k] * B'[b,k]``: batch
labels b (in both operands and in out, in output order), contracted labels k (in order of A), each padded to a power
of two; A' = A bound to the weights of the labels of A alone, B' likewise; without batch labels there is no w_b.
After the sumcheck the claims A'(rho) and B'(rho) are claims on the operands.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import field
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from syurmy.isa.graph import Node, Product, axes_of, kinds_of
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.types import padded
from syurmy.prover.field import ONE, Ext
from syurmy.prover.protocol.claims import Group, Sweep, Term
from syurmy.prover.protocol.strands import Coordinate
from syurmy.prover.protocol.weights import Weight

CONTRACTION = "contraction"  # the name of a point


@dataclass(frozen=True)
class Side:
    """One operand of a contraction. ``kept``: its axes of the shared labels, in table order; ``bound``: groups of its
    other axes with their weights (ones where a label is summed)."""

    node: Node
    kept: tuple[int, ...]
    bound: tuple[Group, ...]
    prepared: list[object] = field(default_factory=list, compare=False, repr=False)  # what a prover makes of it once

    @cached_property
    def key(self) -> Hashable:
        """Equal for sides that are the same."""
        return self.node, self.kept, tuple((axes, w.key) for axes, w in self.bound)


@dataclass(frozen=True)
class Contraction:
    """One term of the sumcheck. ``dims``: true lengths of the shared labels in table order, batch labels first."""

    product: Product
    coefficient: Ext
    dims: tuple[int, ...]
    batch: tuple[Group, ...]  # weights over positions in ``dims``
    a: Side
    b: Side

    @property
    def variables(self) -> int:
        return _variables(self.dims)

    @property
    def batch_key(self) -> Hashable:
        """Equal for contractions with the same table of batch weights."""
        return self.dims, self.batch

    @property
    def degree(self) -> int:
        return 3 if self.batch else 2

    @staticmethod
    def of(product: Product, term: Term, sweep: Sweep) -> Contraction:
        """The contraction of a separable term on a product."""
        a, b = product.inputs
        partition = tuple([axes for axes, _ in term.groups])
        labels = product.labels_a, product.labels_b, product.labels_out
        found = _arranged(labels, (a.shape, b.shape), partition)
        batch, of_a, of_b = (
            tuple([(axes, _weight(sweep, term, where, perm)) for axes, where, perm in part]) for part in found.groups
        )
        return Contraction(
            product, term.coefficient, found.dims, batch, Side(a, found.kept[0], of_a), Side(b, found.kept[1], of_b)
        )

    def label_points(self, name: str, rounds: int) -> tuple[tuple[Coordinate, ...], ...]:
        """Per shared label its coordinates: the suffix of the common point ``name`` of ``rounds`` elements."""
        return _label_points(self.dims, name, rounds)

    def operand_term(self, side: Side, sweep: Sweep, name: str, rounds: int, coefficient: Ext) -> Term:
        """The claim on an operand: eq on the shared labels, the bound weights on the others."""
        points = self.label_points(name, rounds)
        groups = list(side.bound)
        for axis, point, d in zip(side.kept, points, self.dims, strict=True):
            groups.append(((axis,), sweep.space.eq(point, d)))
        return Term(coefficient, tuple(sorted(groups, key=lambda g: g[0])))


@lru_cache(maxsize=4096)
def _variables(dims: tuple[int, ...]) -> int:
    return sum(padded(d).bit_length() - 1 for d in dims)


@lru_cache(maxsize=4096)
def _label_points(dims: tuple[int, ...], name: str, rounds: int) -> tuple[tuple[Coordinate, ...], ...]:
    bits = [padded(d).bit_length() - 1 for d in dims]
    ends = list(accumulate(bits, initial=rounds - sum(bits)))
    return tuple(tuple((name, i) for i in range(at, end)) for at, end in pairwise(ends))


class _Arranged(NamedTuple):
    """How the terms of one partition on products of one kind are arranged: ``dims`` and, of both sides, ``kept``; of
    the batch and of both sides the groups, each with its axes, the number of the term's group (or minus the length of
    an axis that is summed) and the order of its axes."""

    dims: tuple[int, ...]
    kept: tuple[tuple[int, ...], tuple[int, ...]]
    groups: tuple[tuple[tuple[tuple[int, ...], int, tuple[int, ...]], ...], ...]


@lru_cache(maxsize=4096)
def _arranged(
    labels: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    partition: tuple[tuple[int, ...], ...],
) -> _Arranged:
    """``labels``: of both operands and of the product."""
    labels_a, _, labels_out = labels
    axis_a, axis_b = axes_of(labels[:2], shapes)
    kinds = kinds_of(labels_out, axis_a, axis_b)
    batch = [x for x in labels_out if x in axis_a and x in axis_b]
    inner = [x for x in labels_a if x in axis_a and x in axis_b and x not in batch]
    shared = batch + inner
    where = {x: i for i, x in enumerate(shared)}
    targets = {"batch": where, "a": axis_a, "b": axis_b}
    groups: dict[str, list[tuple[tuple[int, ...], int, tuple[int, ...]]]] = {"batch": [], "a": [], "b": []}
    for number, axes in enumerate(partition):
        kind = kinds[labels_out[axes[0]]]
        new = [targets[kind][labels_out[i]] for i in axes]
        perm = tuple(sorted(range(len(new)), key=lambda i: new[i]))
        groups[kind].append((tuple(new[i] for i in perm), number, perm))
    for kind, axis_of, shape in (("a", axis_a, shapes[0]), ("b", axis_b, shapes[1])):
        for x, i in axis_of.items():
            if x not in where and x not in labels_out:
                groups[kind].append(((i,), -shape[i], (0,)))
    return _Arranged(
        tuple(shapes[0][axis_a[x]] for x in shared),
        (tuple(axis_a[x] for x in shared), tuple(axis_b[x] for x in shared)),
        tuple(tuple(sorted(groups[kind], key=lambda g: g[0])) for kind in ("batch", "a", "b")),
    )


def _weight(sweep: Sweep, term: Term, number: int, perm: tuple[int, ...]) -> Weight:
    return sweep.space.ones(-number) if number < 0 else sweep.space.transpose(term.groups[number][1], perm)


def all_contractions(products: dict[Product, list[Term]], sweep: Sweep) -> list[Contraction]:
    """In order of node id and of terms."""
    return [Contraction.of(p, t, sweep) for p, terms in products.items() for t in terms]


def operand_claims(contractions: Sequence[Contraction], sweep: Sweep, rounds: int, eta: Ext) -> list[tuple[Node, Term]]:
    """Two claims per contraction with coefficients eta, eta^2, ... (a before b)."""
    out: list[tuple[Node, Term]] = []
    power = ONE
    for c in contractions:
        for side in (c.a, c.b):
            power = power * eta
            out.append((side.node, c.operand_term(side, sweep, CONTRACTION, rounds, power)))
    return out


def batch_values(contractions: Sequence[Contraction], sweep: Sweep, name: str, rounds: int) -> list[Ext]:
    """w_b of each at the point (contracted labels play no part)."""
    known: dict[object, Ext] = {}
    out = []
    for c in contractions:
        key = c.batch_key
        if key not in known:
            known[key] = ONE
            points = [sweep.space.coordinates(p) for p in c.label_points(name, rounds)]
            for axes, w in c.batch:
                known[key] = known[key] * sweep.space.evaluate(w, [points[i] for i in axes])
        out.append(known[key])
    return out


def separable(product: Product, term: Term) -> bool:
    """Does every group of weights stay on batch labels, on labels of A alone or on labels of B alone?"""
    return all(len({product.kinds[product.labels_out[a]] for a in axes}) == 1 for axes, _ in term.groups)
