"""Where tensors lie in a matrix and blocks in a vector (protocol, section 11.4)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import prod

from tests.reference_verifier.codes import Code
from tests.reference_verifier.field import K, log2_ceil


def padded(d: int) -> int:
    return 1 << log2_ceil(d)


def bits_of(shape: Sequence[int]) -> int:
    """Coordinates of an evaluation of a tensor of this shape."""
    return sum(log2_ceil(d) for d in shape)


def stack(sizes: Sequence[int]) -> list[int]:
    """Offsets of blocks, the largest first, equal ones in order."""
    offsets, at = [0] * len(sizes), 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        offsets[i], at = at, at + sizes[i]
    return offsets


PIECE = 2048
Piece = tuple[int, int, int]  # of a tensor: an axis, the first index on it, and the one behind the last


def cut(shape: Sequence[int]) -> list[Piece]:
    """The pieces of a lookup of this shape; one along axis 0 where it is not cut."""
    axis = min(range(len(shape)), key=lambda a: -Fraction(padded(shape[a]), shape[a]))
    others = prod(padded(d) for d in shape) // padded(shape[axis])

    def split(d: int) -> tuple[int, list[int]]:
        if d == padded(d):
            return d * others, [d]
        half = padded(d) // 2
        cost, rest = split(d - half)
        cost += half * others + PIECE
        return (cost, [half, *rest]) if cost < 2 * half * others else (2 * half * others, [d])

    _, lengths = split(shape[axis])
    if len(lengths) == 1:
        return [(0, 0, shape[0])]
    return [(axis, lo, hi) for lo, hi in pairwise(accumulate(lengths, initial=0))]


def part(shape: Sequence[int], piece: Piece) -> tuple[int, ...]:
    """The true shape of a piece, axes in their own order."""
    axis, lo, hi = piece
    return tuple(hi - lo if a == axis else d for a, d in enumerate(shape))


def first_axis(shape: Sequence[int]) -> Piece:
    """All of a tensor, along the axis that a lookup of its shape is cut along."""
    axis = cut(shape)[0][0]
    return axis, 0, shape[axis]


@dataclass(frozen=True)
class Place:
    """A tensor in a matrix: its axes from the most significant, and where its padded entries begin."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    offset: int

    @property
    def log_size(self) -> int:
        return bits_of(self.shape)

    @property
    def dims(self) -> list[int]:
        """Padded lengths, in ``order``."""
        return [padded(self.shape[a]) for a in self.order]

    def split(self, point: Sequence[K]) -> dict[int, list[K]]:
        """The last log_size coordinates, by axis."""
        at, out = len(point) - self.log_size, {}
        for a, d in zip(self.order, self.dims, strict=True):
            out[a] = list(point[at : at + log2_ceil(d)])
            at += log2_ceil(d)
        return out

    def rows(self, log_cols: int) -> set[int]:
        """Rows of 2^log_cols entries in which a true entry lies."""
        starts, below = {self.offset}, 1 << self.log_size
        for a, d in zip(self.order, self.dims, strict=True):
            below //= d
            step = max(1, (1 << log_cols) // below)  # indices that share a row differ by less
            starts = {s + i * below for s in starts for i in range(0, self.shape[a], step)}
        return {s >> log_cols for s in starts}


class Matrix:
    """Tensors stacked in a matrix; ``stored``: the rows that are stored, ascending."""

    def __init__(
        self,
        tensors: Sequence[tuple[Hashable, tuple[int, ...]]],
        least: int,
        choose: Callable[[int, Callable[[int], int]], Code],
    ) -> None:
        offsets = stack([1 << bits_of(shape) for _, shape in tensors])
        self.places: dict[Hashable, Place] = {}
        for (key, shape), offset in zip(tensors, offsets, strict=True):
            worst = sorted(range(len(shape)), key=lambda a, s=shape: (-Fraction(padded(s[a]), s[a]), a))
            self.places[key] = Place(shape, tuple(worst), offset)
        entries = sum(1 << p.log_size for p in self.places.values())
        self.log_entries = max(least, log2_ceil(max(1, entries)))
        self.code = choose(self.log_entries, lambda log_cols: len(self._rows(log_cols)))
        self.stored = self._rows(self.code.log_cols)

    def _rows(self, log_cols: int) -> list[int]:
        return sorted(set().union(*(p.rows(log_cols) for p in self.places.values()))) or [0]

    @property
    def log_rows(self) -> int:
        return self.log_entries - self.code.log_cols


@dataclass(frozen=True)
class Block:
    """Coefficients of x^exponent, ..., of a row: 2^log_size entries of a vector from ``offset`` on."""

    exponent: int
    log_size: int
    offset: int


def lay_out(words: Sequence[Sequence[tuple[int, int]]]) -> tuple[list[list[Block]], int]:
    """Words in one vector, and its length. A word is given as runs of coefficients (first exponent, number)."""
    cut = []
    for i, runs in enumerate(words):
        for exponent, count in runs:
            for k in reversed(range(count.bit_length())):
                if count >> k & 1:
                    cut.append((i, exponent, k))
                    exponent += 1 << k
    offsets = stack([1 << k for _, _, k in cut])
    out: list[list[Block]] = [[] for _ in words]
    for (i, exponent, k), offset in zip(cut, offsets, strict=True):
        out[i].append(Block(exponent, k, offset))
    return out, sum(1 << k for _, _, k in cut)


def runs_of(code: Code, count: int | None = None) -> list[tuple[int, int]]:
    """A row's entries, or the first ``count``, and its random coefficients."""
    return [(0, code.cols if count is None else count), (code.cols, code.tail)]
