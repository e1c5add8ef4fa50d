"""Where things lie: leaves of the lookup tree, entries of the witness and params matrices. Functions of shapes only.

Blocks are stacked largest first (ties in order of declaration) at offsets that are multiples of their size, so an
evaluation of a block is one at a suffix of the common point. In a matrix the axis with the worst padding comes first:
its empty rows are not stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from syurmy.prover.field import Ext, log2_ceil
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.weights import padded

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def stack(sizes: Sequence[int]) -> list[int]:
    """Offsets of blocks whose sizes are powers of two, largest first, ties in order."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    offsets = [0] * len(sizes)
    at = 0
    for i in order:
        offsets[i] = at
        at += sizes[i]
    return offsets


def prefix_eq(offset: int, log_size: int, point: Sequence[Ext]) -> Ext:
    """eq of the block's leading index bits with the leading coordinates of ``point``."""
    out = Ext(1)
    bits = len(point) - log_size
    for i in range(bits):
        bit = offset >> (len(point) - 1 - i) & 1
        out = out * (point[i] if bit else 1 - point[i])
    return out


@dataclass(frozen=True)
class Place:
    """A tensor in a matrix. ``order``: its axes from the most significant; ``dims``: their padded lengths."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    dims: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def log_size(self) -> int:
        return self.size.bit_length() - 1

    @property
    def true_part(self) -> tuple[slice, ...]:
        return tuple(slice(0, self.shape[a]) for a in self.order)

    def coordinates(self, point: Sequence[Ext]) -> dict[int, list[Ext]]:
        """Per axis, its part of the last ``log_size`` elements of ``point``."""
        out: dict[int, list[Ext]] = {}
        at = len(point) - self.log_size
        for a, d in zip(self.order, self.dims, strict=True):
            bits = d.bit_length() - 1
            out[a] = list(point[at : at + bits])
            at += bits
        return out

    def rows(self, log_cols: int) -> Bools:
        """Which of the size >> log_cols rows hold a true entry (at least one row)."""
        inner = 1
        j = len(self.dims)
        while j > 0 and inner * self.dims[j - 1] <= 1 << log_cols:
            j -= 1
            inner *= self.dims[j]
        valid: Bools = np.ones(1, dtype=np.bool_)
        for a, d in zip(self.order[:j], self.dims[:j], strict=True):
            valid = np.outer(valid, np.arange(d) < self.shape[a]).reshape(-1)
        group = min(len(valid), (1 << log_cols) // inner)
        out: Bools = np.asarray(valid.reshape(-1, group).any(axis=1))
        return out


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
        sizes = [math.prod(padded(d) for d in shape) for _, shape in tensors]
        self.places: dict[Hashable, Place] = {}
        for (key, shape), order, offset in zip(tensors, orders, stack(sizes), strict=True):
            self.places[key] = Place(shape, order, tuple(padded(shape[a]) for a in order), offset)
        self.log_entries = max(min_log_entries, log2_ceil(max(1, sum(sizes))))
        self._masks: dict[int, Bools] = {}
        self.shape = choose(self.log_entries, lambda log_cols: max(1, int(self._mask(log_cols).sum())))
        self._masks = {self.shape.log_cols: self._masks[self.shape.log_cols]}

    @property
    def log_rows(self) -> int:
        return self.log_entries - self.shape.log_cols

    @cached_property
    def stored_rows(self) -> I64:
        """Indices of the stored rows, increasing."""
        rows = np.flatnonzero(self._mask(self.shape.log_cols)).astype(np.int64)
        return rows if len(rows) else np.zeros(1, np.int64)

    @property
    def true_entries(self) -> int:
        return sum(math.prod(p.shape) for p in self.places.values())

    def _mask(self, log_cols: int) -> Bools:
        """Which rows of 2^log_cols hold a true entry. Twice as long ones do where one of their halves does."""
        if log_cols not in self._masks:
            half = self._masks.get(log_cols - 1)
            self._masks[log_cols] = self._first_mask(log_cols) if half is None else half[::2] | half[1::2]
        return self._masks[log_cols]

    def _first_mask(self, log_cols: int) -> Bools:
        mask = np.zeros(1 << (self.log_entries - log_cols), dtype=np.bool_)
        for p in self.places.values():
            rows = p.rows(log_cols)
            first = p.offset >> log_cols
            mask[first : first + len(rows)] |= rows
        return mask


def _worst_padding_first(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(shape)), key=lambda a: (-padded(shape[a]) / shape[a], a)))
