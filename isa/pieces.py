"""How a lookup's entries lie among the leaves of the lookup tree: in pieces whose sizes are powers of two.

A block of leaves pads every axis to a power of two, so an axis of length 768 costs 1024, and two of 56 cost 64 * 64.
Therefore a *run* of neighbouring axes is taken as one of their product D, if its claims may be (``isa.joining``), and
cut by the binary digits of D. With R entries in a slice, all other axes padded, and p the power of two that d fills, d
slices cost

    cost(d) = p R  if d = p;  else the least of p R and (p / 2) R + cost(d - p / 2) + PIECE + D

leaves, where ``PIECE`` stands for what a further block costs both sides however small it is, and D for its weights on
this run: a verifier has them for every piece, so that vectors stay whole. A run of several axes longer than 1 costs
PIECE + D once more, as its weights are not those of its axes. The cheapest run is taken, if any is cheaper than all
axes padded. It comes first in every piece, so that claims on pieces have equal weights on all other axes and are one
claim, with a sum of weights on this run. Evaluations of equations take their axes in the same order, for the same
reason.

In the witness columns have axes as one as well, in one piece (``laid``).
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.graph import Node
from syurmy.isa.joining import reach
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.types import padded

PIECE = 2048


@dataclass(frozen=True)
class Piece:
    """The entries ``lo <= i < hi`` along the axes ``first`` to ``last``, taken as one, of a tensor of this shape; that
    run of axes first."""

    shape: tuple[int, ...]
    first: int
    last: int
    lo: int
    hi: int

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """The run's."""
        return tuple(range(self.first, self.last + 1))

    @cached_property
    def length(self) -> int:
        """Of the run, in the tensor."""
        return math.prod(self.shape[a] for a in self.axes)

    @cached_property
    def whole(self) -> bool:
        """Whether it is all of the tensor."""
        return self.hi - self.lo == self.length

    @cached_property
    def others(self) -> tuple[int, ...]:
        """The tensor's other axes."""
        return tuple(a for a in range(len(self.shape)) if not self.first <= a <= self.last)

    @cached_property
    def true(self) -> tuple[int, ...]:
        """Lengths: along the run, and of the other axes."""
        return self.hi - self.lo, *(self.shape[a] for a in self.others)

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """The same, padded."""
        return tuple(map(padded, self.true))

    def of(self, values: I64) -> I64:
        """The piece of a tensor: ``true``, a view where that can be."""
        if self.first:  # else the run's axes are the first already
            values = np.transpose(values, self.axes + self.others)
        return values.reshape(self.length, *self.true[1:])[self.lo : self.hi]


def pieces(*members: Node) -> tuple[Piece, ...]:
    """The pieces of a lookup of these members, of one shape (one axis or more), in order."""
    run, lengths = _cut_of(members)
    return _pieces(members[0].shape, run, lengths)


@lru_cache(maxsize=4096)  # few shapes have many lookups
def _pieces(shape: tuple[int, ...], run: tuple[int, int], lengths: tuple[int, ...]) -> tuple[Piece, ...]:
    first, last = run
    ends = accumulate(lengths, initial=0)
    length = math.prod(shape[first : last + 1])
    return tuple(Piece(shape, first, last, lo, min(hi, length)) for lo, hi in pairwise(ends))


def whole_of(*members: Node) -> Piece:
    """All of a tensor, with the run first along which a lookup of these would be cut."""
    (first, last), _ = _cut_of(members)
    shape = members[0].shape
    return Piece(shape, first, last, 0, math.prod(shape[first : last + 1]))


def leaves(*members: Node) -> int:
    """Leaves that a lookup of these members takes."""
    return sum(math.prod(p.dims) for p in pieces(*members))


def _cut_of(members: tuple[Node, ...]) -> tuple[tuple[int, int], tuple[int, ...]]:
    shape = members[0].shape
    ends = [reach(m) for m in members]
    return cut(shape, ends[0] if len(ends) == 1 else tuple(map(min, *ends)))


@lru_cache(maxsize=4096)
def cut(shape: tuple[int, ...], reached: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, ...]]:
    """The run of axes that is cut, as its first and last, and its pieces' padded lengths; the first axis in one piece
    where all axes are padded. ``reached``: of each axis the last that a run from it may have."""
    whole = math.prod(map(padded, shape))
    best: tuple[int, int, int, tuple[int, ...]] = whole, 0, 0, (padded(shape[0]),)
    runs = [(a, b) for a, last in enumerate(reached) for b in range(a, last + 1)]
    for first, last in sorted(runs, key=lambda r: (r[1] - r[0], r[0])):
        run = shape[first : last + 1]
        length = math.prod(run)
        slices = whole // math.prod(map(padded, run))
        cost, lengths = _split(length, slices, price(length))
        cost += price(length) * (sum(d > 1 for d in run) > 1)
        if cost < best[0]:
            best = cost, first, last, lengths
    return (best[1], best[2]), best[3]


def price(length: int) -> int:
    """What a further piece costs, in leaves, along a run of this length."""
    return PIECE + length


@lru_cache(maxsize=4096)
def laid(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which a column of this shape lies in the witness, its axes padded: with the run of neighbouring axes
    as one that makes it least, if the entries that saves are more than what the run's weights cost."""
    best, out = math.prod(map(padded, shape)), shape
    for count in range(2, len(shape) + 1):
        for first in range(len(shape) - count + 1):
            length = math.prod(shape[first : first + count])
            joined = (*shape[:first], length, *shape[first + count :])
            cost = math.prod(map(padded, joined)) + price(length)
            if cost < best:
                best, out = cost, joined
    return out


def _split(d: int, slices: int, price: int) -> tuple[int, tuple[int, ...]]:
    """What ``d`` slices of so many entries cost, and the padded lengths of the pieces."""
    whole = padded(d)
    if whole == d:
        return d * slices, (d,)
    half = whole // 2
    cost, rest = _split(d - half, slices, price)
    cost += half * slices + price
    return (cost, (half, *rest)) if cost < whole * slices else (whole * slices, (whole,))
