"""How a lookup's entries lie among the leaves of the lookup tree: in pieces whose sizes are powers of two.

A block of leaves pads every axis to a power of two, so an axis of length 768 costs 1024. The axis with the worst
padding is therefore cut by the binary digits of its length D (the first of several such axes). With R entries in a
slice, all other axes padded, and p the power of two that d fills, d slices cost

    cost(d) = p R  if d = p;  else the least of p R and (p / 2) R + cost(d - p / 2) + PIECE + D

leaves, where ``PIECE`` stands for what a further block costs both sides however small it is, and D for its weights on
this axis: a verifier has them for every piece, so that vectors stay whole. The axis comes first in every piece, so that
claims on pieces have equal weights on all other axes and are one claim, with a sum of weights on this axis. Evaluations
of equations take their axes in the same order, for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.types import padded

PIECE = 2048


@dataclass(frozen=True)
class Piece:
    """The entries ``lo <= i < hi`` along ``axis`` of a tensor of this shape, that axis first."""

    shape: tuple[int, ...]
    axis: int
    lo: int
    hi: int

    @property
    def whole(self) -> bool:
        """Whether it is all of the tensor."""
        return self.hi - self.lo == self.shape[self.axis]

    @property
    def order(self) -> tuple[int, ...]:
        """The tensor's axes from the most significant."""
        return ordered(self.shape, self.axis)

    @property
    def true(self) -> tuple[int, ...]:
        """Lengths of the axes, in ``order``."""
        return self.hi - self.lo, *(self.shape[a] for a in self.order[1:])

    @property
    def dims(self) -> tuple[int, ...]:
        """Lengths of the padded axes, in ``order``."""
        return tuple(map(padded, self.true))

    def of(self, values: I64) -> I64:
        """The piece of a tensor, a view of its axes in ``order``."""
        return values if self.whole else np.moveaxis(values, self.axis, 0)[self.lo : self.hi]


def ordered(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """The axes of a tensor, ``axis`` first."""
    return axis, *(a for a in range(len(shape)) if a != axis)


def leading(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a tensor of this shape from the most significant: the one that is cut first."""
    return ordered(shape, _cut(shape)[0])


def pieces(shape: tuple[int, ...]) -> list[Piece]:
    """The pieces of a lookup of this shape (one axis or more), in order."""
    axis, lengths = _cut(shape)
    out, lo = [], 0
    for length in lengths:
        hi = min(lo + length, shape[axis])
        out.append(Piece(shape, axis, lo, hi))
        lo = hi
    return out


def leaves(shape: tuple[int, ...]) -> int:
    """Leaves that a lookup of this shape takes."""
    axis, lengths = _cut(shape)
    return sum(lengths) * math.prod(padded(d) for a, d in enumerate(shape) if a != axis)


@lru_cache(maxsize=4096)
def _cut(shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The axis that is cut, and its pieces' padded lengths; the first axis in one piece where nothing is."""
    axis = min(range(len(shape)), key=lambda a: (-Fraction(padded(shape[a]), shape[a]), a))
    slices = math.prod(padded(d) for a, d in enumerate(shape) if a != axis)
    _, lengths = _split(shape[axis], slices, price(shape[axis]))
    return (axis, lengths) if len(lengths) > 1 else (0, (padded(shape[0]),))


def price(length: int) -> int:
    """What a further piece costs, in leaves, along an axis of this length."""
    return PIECE + length


def _split(d: int, slices: int, price: int) -> tuple[int, tuple[int, ...]]:
    """What ``d`` slices of so many entries cost, and the padded lengths of the pieces."""
    whole = padded(d)
    if whole == d:
        return d * slices, (d,)
    half = whole // 2
    cost, rest = _split(d - half, slices, price)
    cost += half * slices + price
    return (cost, (half, *rest)) if cost < whole * slices else (whole * slices, (whole,))
