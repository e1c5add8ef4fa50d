"""Operands that are another tensor's entries in other places, bound without being laid out.

A convolution reads its input through index maps: patches have nine times its entries. Where the weights of bound axes
go through the maps, they are added up where these read, one vector for every entry of the axes that the maps make and
that stay; then they are bound to the input itself. Where which weight goes follows from the program alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.graph import IndexMap, Node
from syurmy.prover.field import U64
from syurmy.prover.kernels.bind import dot_rows_each
from syurmy.prover.kernels.matrix import SMALL
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.claims import Group
from syurmy.prover.protocol.contraction import Side
from syurmy.prover.witness import Witness

MORE = 2  # so many products by entry of an operand are worth not laying it out


@dataclass(frozen=True, eq=False)
class _Factor:
    """Weights of bound axes on their way. ``groups``: numbers of those that they are the product of; ``axes``: where
    they are; ``labels``: axes of the operand for whose entries there is a vector each, as many as ``many``; ``moves``:
    where the entries of all vectors go, each time, into how many, and how many vectors come of each."""

    groups: list[int]
    axes: tuple[int, ...]
    labels: list[int] = field(default_factory=list)
    many: int = 1
    moves: list[tuple[I64, int, int]] = field(default_factory=list)

    def weights(self, bound: Sequence[Group]) -> U64:
        """``uint64[2, many, entries]``."""
        out = bound[self.groups[0]][1].array.reshape(2, 1, -1)
        for i in self.groups[1:]:
            out = mle.outer(out.reshape(2, -1), bound[i][1].array.reshape(2, -1)).reshape(2, 1, -1)
        for where, size, times in self.moves:
            spread = np.repeat(out[:, :, None], times, axis=2).reshape(2, -1)
            vectors = out.shape[1] * times
            out = mle.scatter_add(spread, where, vectors * size).reshape(2, vectors, size)
        return out


@dataclass(frozen=True)
class Source:
    """What the maps of an operand read, ``axes`` its bound ones; ``order``: of the axes of what comes of it."""

    node: Node
    factors: list[_Factor]
    axes: list[int]
    shape: list[int]
    order: list[int]

    @staticmethod
    def of(side: Side) -> Source | None:
        """Found once for a side. None where weights do not go through maps, or laying the operand out costs less."""
        if not side.prepared:
            side.prepared.append(Source._of(side))
        found = side.prepared[0]
        assert found is None or isinstance(found, Source)
        return found

    @staticmethod
    def _of(side: Side) -> Source | None:
        node, factors = side.node, [_Factor([i], axes) for i, (axes, _) in enumerate(side.bound)]
        kept = {a: a for a in range(len(node.shape)) if not any(a in f.axes for f in factors)}  # here: in the operand
        while isinstance(node, IndexMap):
            touched = [f for f in factors if set(f.axes) & set(node.out_axes)]
            covered = [a for f in touched for a in f.axes]
            several = len(touched) > 1 and any(f.moves for f in touched)
            if not touched or several or not set(covered) <= set(node.out_axes):
                break
            source = node.inputs[0]
            rest = [a for a in range(len(node.shape)) if a not in node.out_axes]
            to = dict(zip(rest, (a for a in range(len(source.shape)) if a not in node.in_axes), strict=True))
            others = [replace(f, axes=tuple(to[a] for a in f.axes)) for f in factors if f not in touched]
            factors = [*others, _moved(touched, covered, node, kept)]
            kept = {to[a]: b for a, b in kept.items() if a in to}
            node = source
        many = math.prod(f.many for f in factors)
        if node is side.node or many * math.prod(node.shape) > MORE * math.prod(side.node.shape):
            return None
        made = [*(a for f in factors for a in f.labels), *kept.values()]
        order = [i for i, a in enumerate(made) if a not in side.kept] + [made.index(a) for a in side.kept]
        bound = [a for f in factors for a in f.axes]
        return Source(node, factors, [*kept, *bound], [side.node.shape[a] for a in made], order)

    def bound(self, witness: Witness, side: Side) -> U64:
        """``operands.bind_operand``."""
        first, *others = [f.weights(side.bound) for f in self.factors]
        for w in others:
            both = mle.outer(first.reshape(2, -1), w.reshape(2, -1)).reshape(2, *first.shape[1:], *w.shape[1:])
            many, entries = first.shape[1] * w.shape[1], first.shape[2] * w.shape[2]
            first = both.transpose(0, 1, 3, 2, 4).reshape(2, many, entries)
        bound = max(abs(self.node.lo), abs(self.node.hi))
        values = witness.moved(self.node, np.int32) if bound < SMALL else witness(self.node)
        out = dot_rows_each(np.transpose(values, self.axes).reshape(-1, first.shape[2]), first, bound)
        return np.transpose(out.reshape(2, *self.shape), [0, *(i + 1 for i in self.order)]).reshape(2, -1)


def _moved(factors: Sequence[_Factor], axes: Sequence[int], node: IndexMap, kept: dict[int, int]) -> _Factor:
    """The factors on ``axes`` of a map as one on the axes that it reads."""
    ahead = [a for a in node.out_axes if a not in axes]
    times, size = math.prod(node.shape[a] for a in ahead), math.prod(node.inputs[0].shape[a] for a in node.in_axes)
    index = np.transpose(node.index, [node.out_axes.index(a) for a in (*ahead, *axes)]).reshape(1, times, -1)
    many = factors[0].many
    vector = np.arange(many * times, dtype=np.int64).reshape(many, times, 1)
    where = np.where(index < 0, np.int64(-1), index + size * vector).reshape(-1)
    first = factors[0]
    return _Factor(
        [i for f in factors for i in f.groups],
        node.in_axes,
        [*first.labels, *(kept[a] for a in ahead)],
        many * times,
        [*first.moves, (where, size, times)],
    )
