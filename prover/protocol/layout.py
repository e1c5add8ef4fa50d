"""Where things lie: leaves of the lookup tree, entries of the witness and params matrices. Functions of shapes only.

Blocks are stacked largest first (ties in order of declaration) at offsets that are multiples of their size, so an
evaluation of a block is one at a suffix of the common point. Leaf i of them is in the place of the tree that has the
bits of i, those from LOG_RUN on in reverse: what is behind the last block then is behind the used nodes of every layer,
and costs a prover nothing. In a matrix the axis with the worst padding comes first:
its empty rows are not stored. Columns of the witness may have several axes as one there (``isa.pieces.laid``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from functools import cache, lru_cache

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.types import padded
from syurmy.prover.field import Ext, Point, log2_ceil
from syurmy.prover.protocol.reed_solomon import MatrixShape

LOG_RUN = 9  # leaves that stay together in the tree


def stack(sizes: Sequence[int]) -> list[int]:
    """Offsets of blocks whose sizes are powers of two, largest first, ties in order."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    offsets = [0] * len(sizes)
    at = 0
    for i in order:
        offsets[i] = at
        at += sizes[i]
    return offsets


def leaf_point(point: Sequence[Ext]) -> list[Ext]:
    """The point of the leaves in their order, from that in the order of the tree's places."""
    free = max(0, len(point) - LOG_RUN)
    return [*point[free - 1 :: -1], *point[free:]] if free else list(point)


def prefix_eq(offset: int, log_size: int, point: Sequence[Ext]) -> Ext:
    """eq of the block's leading index bits with the leading coordinates of ``point``."""
    out, bits = Ext(1), len(point) - log_size
    for k, r in enumerate(point[:bits]):
        out = out * (r if offset >> (log_size + bits - 1 - k) & 1 else 1 - r)
    return out


class Prefixes:
    """``prefix_eq`` of many blocks at one point: what their offsets share is multiplied once."""

    def __init__(self, point: Sequence[Ext]) -> None:
        self._point = point
        self._known = [{0: Ext(1)}, *({} for _ in point)]  # by number of bits, and these

    def eq(self, offset: int, log_size: int) -> Ext:
        bits = len(self._point) - log_size
        prefix = offset >> log_size
        found = self._known[bits].get(prefix)
        if found is None:
            above = bits
            while (prefix >> (bits - above)) not in self._known[above]:
                above -= 1
            found = self._known[above][prefix >> (bits - above)]
            for k in range(above + 1, bits + 1):  # both halves cost one product
                one = found * self._point[k - 1]
                at, halves = prefix >> (bits - k), (found - one, one)
                self._known[k][at], self._known[k][at ^ 1] = halves[at & 1], halves[~at & 1]
                found = halves[at & 1]
        return found


class Parts:
    """Consecutive elements of one point, each time the same object."""

    def __init__(self, point: Sequence[Ext]) -> None:
        self._point, self.length = Point(point), len(point)
        self._known: dict[tuple[int, int], Point] = {}

    def part(self, lo: int, hi: int) -> Point:
        found = self._known.get((lo, hi))
        if found is None:
            found = self._known[lo, hi] = Point(self._point[lo:hi])
        return found


@dataclass(frozen=True)
class Place:
    """A tensor in a matrix. ``order``: its axes from the most significant; ``dims``: their padded lengths."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    dims: tuple[int, ...]
    offset: int

    @cached_property
    def size(self) -> int:
        return math.prod(self.dims)

    @cached_property
    def log_size(self) -> int:
        return self.size.bit_length() - 1

    @property
    def true_part(self) -> tuple[slice, ...]:
        return tuple(slice(0, self.shape[a]) for a in self.order)

    def coordinates(self, point: Parts) -> dict[int, Point]:
        """Per axis, its part of the last ``log_size`` elements of ``point``."""
        out: dict[int, Point] = {}
        at = point.length - self.log_size
        for a, d in zip(self.order, self.dims, strict=True):
            bits = d.bit_length() - 1
            out[a] = point.part(at, at + bits)
            at += bits
        return out

    def rows(self, log_cols: int) -> list[tuple[int, int]]:
        """Per axis, from the most significant, (stored, all) of the rows of 2^log_cols entries; for a tensor that fills
        rows. An axis that is partly inside a row has as many rows as groups of its indices hold a true one."""
        out: list[tuple[int, int]] = []
        below = self.size
        for a, d in zip(self.order, self.dims, strict=True):
            if below <= 1 << log_cols:
                break
            below //= d
            group = max(1, (1 << log_cols) // below)  # indices of this axis in one row
            out.append((-(-self.shape[a] // group), d // group))
        return out

    def row_count(self, log_cols: int) -> int:
        """Stored rows; for a tensor that fills rows."""
        return math.prod(stored for stored, _ in self.rows(log_cols))

    def stored_dims(self, log_cols: int) -> tuple[int, ...]:
        """The axes of the stored rows' entries, in ``order``: ``true_part`` of them is the tensor."""
        rows = self.rows(log_cols)
        dims = [*(stored for stored, _ in rows), *self.dims[len(rows) :]]
        if rows:
            dims[len(rows) - 1] *= self.dims[len(rows) - 1] // rows[-1][1]  # indices in one row
        return tuple(dims)


class MatrixLayout:
    """Tensors stacked in 2^log_entries entries, split into rows of 2^log_cols, empty rows left out.

    ``choose`` picks the matrix shape from (log_entries, stored rows as a function of log_cols).
    """

    def __init__(
        self,
        tensors: Sequence[tuple[Hashable, tuple[int, ...]]],
        min_log_entries: int,
        choose: Callable[[int, Callable[[int], int]], MatrixShape],
    ) -> None:
        orders = [_worst_padding_first(shape) for _, shape in tensors]
        sizes = [math.prod(dims) for _, dims in orders]
        self.places: dict[Hashable, Place] = {}
        for (key, shape), (order, dims), offset in zip(tensors, orders, stack(sizes), strict=True):
            self.places[key] = Place(shape, order, dims, offset)
        self.used = sum(sizes)  # entries, the first ones: nothing lies beyond them, and no gap between the tensors
        self.log_entries = max(min_log_entries, log2_ceil(max(1, self.used)))
        counted = cache(lambda log_cols: max(1, self._count(log_cols)))  # asked again at every rate
        self.shape = choose(self.log_entries, counted)

    @property
    def log_rows(self) -> int:
        return self.log_entries - self.shape.log_cols

    @cached_property
    def stored_rows(self) -> I64:
        """Indices of the stored rows, increasing."""
        log_cols = self.shape.log_cols
        parts = []
        for p in self._large(log_cols):
            rows = np.array([p.offset >> log_cols], np.int64)
            left = p.size >> log_cols
            for stored, every in p.rows(log_cols):
                left //= every
                rows = np.add.outer(rows, left * np.arange(stored, dtype=np.int64)).reshape(-1)
            parts.append(rows)
        parts.append(np.arange(*self._shared(log_cols), dtype=np.int64))
        rows = np.sort(np.concatenate(parts))
        return rows if len(rows) else np.zeros(1, np.int64)

    @property
    def large(self) -> list[tuple[Hashable, Place]]:
        """The tensors that fill rows, in the order of their rows; before all others."""
        found = [(k, p) for k, p in self.places.items() if p.log_size >= self.shape.log_cols]
        return sorted(found, key=lambda item: item[1].offset)

    @property
    def small(self) -> list[tuple[Hashable, Place]]:
        """The tensors that share rows."""
        return [(k, p) for k, p in self.places.items() if p.log_size < self.shape.log_cols]

    @property
    def shared_rows(self) -> tuple[int, int]:
        """First and last + 1 of the rows that ``small`` lie in, all of them stored."""
        return self._shared(self.shape.log_cols)

    @property
    def true_entries(self) -> int:
        return sum(math.prod(p.shape) for p in self.places.values())

    def _large(self, log_cols: int) -> list[Place]:
        """The tensors that fill rows of 2^log_cols entries; they come first."""
        return [p for p in self.places.values() if p.log_size >= log_cols]

    def _shared(self, log_cols: int) -> tuple[int, int]:
        """First and last + 1 of the rows that smaller tensors share: they are packed, so each holds a true entry."""
        small = [p for p in self.places.values() if p.log_size < log_cols]
        if not small:
            return 0, 0
        end = max(p.offset + p.size for p in small)
        return min(p.offset for p in small) >> log_cols, -(-end >> log_cols)

    def _count(self, log_cols: int) -> int:
        """Number of rows of 2^log_cols entries that hold a true entry."""
        first, last = self._shared(log_cols)
        large = [(p, n) for p, n in self._alike if p.log_size >= log_cols]
        return last - first + sum(n * p.row_count(log_cols) for p, n in large)

    @cached_property
    def _alike(self) -> list[tuple[Place, int]]:
        """One place of every shape, and how many have it."""
        found = {p.shape: p for p in self.places.values()}
        return [(found[shape], n) for shape, n in Counter(p.shape for p in self.places.values()).items()]


@lru_cache(maxsize=4096)
def _worst_padding_first(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes in their order, and their padded lengths."""
    order = sorted(range(len(shape)), key=lambda a: (-Fraction(padded(shape[a]), shape[a]), a))
    return tuple(order), tuple(padded(shape[a]) for a in order)
