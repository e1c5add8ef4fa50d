"""Products as instances of the contraction sumcheck (protocol, sections 4 and 11.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syurmy.isa import graph as g
from syurmy.isa.graph import Node
from tests.reference_verifier.field import HALF, ONE, K, P, log2_ceil
from tests.reference_verifier.layout import bits_of
from tests.reference_verifier.sweep import Claim, Group, Sweep, Term, ascending, ordered
from tests.reference_verifier.weights import Coordinate


def kinds(product: g.Product) -> dict[int, str]:
    """Per label of the result: "both", "a" or "b", by the operands in which its axis is longer than 1."""
    a, b = product.inputs
    wide_a = {x for x, d in zip(product.labels_a, a.shape, strict=True) if d > 1}
    wide_b = {x for x, d in zip(product.labels_b, b.shape, strict=True) if d > 1}
    return {x: ("both" if x in wide_b else "a") if x in wide_a else "b" for x in product.labels_out}


def separable(product: g.Product, term: Term) -> bool:
    """No group mixes labels of two kinds."""
    kind = kinds(product)
    return all(len({kind[product.labels_out[a]] for a in axes}) == 1 for axes, _ in term.groups)


@dataclass(frozen=True)
class Side:
    """An operand: the axes of the shared labels, and the weights of its others."""

    node: Node
    kept: tuple[int, ...]
    bound: tuple[Group, ...]


@dataclass(frozen=True)
class Instance:
    """coefficient * sum over shared labels of batch * A' * B'. ``dims``: true lengths of the shared labels, those of
    the result first; ``batch``: weights over positions in ``dims``."""

    coefficient: K
    dims: tuple[int, ...]
    batch: tuple[Group, ...]
    a: Side
    b: Side

    @property
    def variables(self) -> int:
        return bits_of(self.dims)

    @property
    def degree(self) -> int:
        return 3 if self.batch else 2

    def coordinates(self, rounds: int) -> list[list[Coordinate]]:
        """Of each shared label in the common point."""
        at, out = rounds - self.variables, []
        for d in self.dims:
            out.append([("contraction", at + i) for i in range(log2_ceil(d))])
            at += log2_ceil(d)
        return out

    def factor(self, sweep: Sweep, rounds: int) -> K:
        """What A'*B' counts in the final value."""
        points = [sweep.space.at(p) for p in self.coordinates(rounds)]
        out = self.coefficient * pow(HALF, rounds - self.variables, P)
        for axes, w in self.batch:
            out = out * sweep.space.extension(w, [points[i] for i in axes])
        return out

    def claims(self, sweep: Sweep, rounds: int) -> list[Claim]:
        """A' and B' at the point as claims on the operands, with coefficient 1."""
        out: list[Claim] = []
        for side in (self.a, self.b):
            kept: list[Group] = [
                ((axis,), sweep.space.eq(p, d))
                for axis, p, d in zip(side.kept, self.coordinates(rounds), self.dims, strict=True)
            ]
            out.append((side.node, ordered(ONE, [*side.bound, *kept])))
        return out


def instance(product: g.Product, term: Term, sweep: Sweep) -> Instance:
    """The term, which is separable."""
    a, b = product.inputs
    axis_a = {x: i for i, x in enumerate(product.labels_a) if a.shape[i] > 1}
    axis_b = {x: i for i, x in enumerate(product.labels_b) if b.shape[i] > 1}
    shared = [x for x in product.labels_out if x in axis_a and x in axis_b]
    shared += [x for x in product.labels_a if x in axis_a and x in axis_b and x not in shared]
    kind = kinds(product)
    axes_of = {"both": {x: i for i, x in enumerate(shared)}, "a": axis_a, "b": axis_b}
    groups: dict[str, list[Group]] = {"both": [], "a": [], "b": []}
    for axes, w in term.groups:
        labels = [product.labels_out[i] for i in axes]
        name = kind[labels[0]]
        groups[name].append(ascending(sweep.space, [axes_of[name][x] for x in labels], w))
    for name, own, node in (("a", axis_a, a), ("b", axis_b, b)):
        summed = [i for x, i in own.items() if x not in shared and x not in product.labels_out]
        groups[name] += [((i,), sweep.space.ones(node.shape[i])) for i in summed]

    def by_axis(found: Sequence[Group]) -> tuple[Group, ...]:
        return ordered(ONE, found).groups

    return Instance(
        term.coefficient,
        tuple(a.shape[axis_a[x]] for x in shared),
        by_axis(groups["both"]),
        Side(a, tuple(axis_a[x] for x in shared), by_axis(groups["a"])),
        Side(b, tuple(axis_b[x] for x in shared), by_axis(groups["b"])),
    )


def instances(products: dict[g.Product, list[Term]], sweep: Sweep) -> list[Instance]:
    return [instance(p, t, sweep) for p, terms in products.items() for t in terms]
