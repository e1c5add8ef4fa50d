"""Weights of claims: arrays over K with a structural key.

A claim <T, w> = v carries w as a product of weights, one per axis or group of axes (protocol section 1). Equal keys
mean equal arrays, so claims that share points merge and every array is computed once. Coordinates of points are
named ``(point, index)``; a weight that is eq(r, .) on the true indices of an axis remembers its coordinates: only
such weights are evaluation claims.

In a ``dry`` space no values exist: the planner runs the same code to learn which axes stay separate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from blake3 import blake3

from syurmy.isa.cost import Account
from syurmy.isa.program import I64
from syurmy.prover.field import ONE, U64, Ext, log2_ceil
from syurmy.prover.protocol import mle

Coordinate = tuple[str, int]

_NOTHING = np.zeros((2, 0), np.uint64)


@dataclass(frozen=True, eq=False)
class Weight:
    """``array``: uint64[2, *dims] (empty when dry). ``point``: coordinates if the weight is eq of them."""

    key: Hashable
    dims: tuple[int, ...]
    array: U64
    point: tuple[Coordinate, ...] | None = None

    @property
    def size(self) -> int:
        return math.prod(self.dims)


@dataclass
class WeightSpace:
    """Makes weights and remembers them. ``points`` holds the values of named points. ``account`` is charged for what a
    space with values would allocate."""

    dry: bool = False
    account: Account | None = None
    points: dict[str, list[Ext]] = field(default_factory=dict)
    _memo: dict[Hashable, Weight] = field(default_factory=dict)
    _sums: dict[Hashable, Ext] = field(default_factory=dict)

    def _make(
        self,
        key: Hashable,
        dims: Sequence[int],
        compute: Callable[[], U64],
        point: tuple[Coordinate, ...] | None = None,
    ) -> Weight:
        found = self._memo.get(key)
        if found is None:
            if self.account is not None:
                self.account.spend(math.prod(dims), "weights of claims")
            # keys hold the numbers of the weights they are made from, so hashing stays cheap however deep the history
            array = _NOTHING if self.dry else compute()
            found = self._memo[key] = Weight(len(self._memo), tuple(dims), array, point)
        return found

    def coordinates(self, point: Sequence[Coordinate]) -> list[Ext]:
        return [self.points[name][i] for name, i in point]

    def eq(self, point: Sequence[Coordinate], d: int) -> Weight:
        """eq(r, i) for i < d."""
        p = tuple(point)
        return self._make(("eq", p, d), (d,), lambda: mle.eq_vector(self.coordinates(p), d), p)

    def ones(self, d: int) -> Weight:
        return self._make(("ones", d), (d,), lambda: np.stack([np.ones(d, np.uint64), np.zeros(d, np.uint64)]))

    def outer(self, a: Weight, b: Weight) -> Weight:
        def compute() -> U64:
            return mle.outer(a.array.reshape(2, -1), b.array.reshape(2, -1)).reshape(2, *a.dims, *b.dims)

        return self._make(("outer", a.key, b.key), a.dims + b.dims, compute)

    def transpose(self, w: Weight, perm: Sequence[int]) -> Weight:
        p = tuple(perm)
        if p == tuple(range(len(p))):
            return w
        dims = [w.dims[i] for i in p]
        return self._make(
            ("transpose", w.key, p),
            dims,
            lambda: np.ascontiguousarray(np.transpose(w.array, (0, *(i + 1 for i in p)))),
        )

    def reshape(self, w: Weight, dims: Sequence[int]) -> Weight:
        d = tuple(dims)
        return w if d == w.dims else self._make(("reshape", w.key, d), d, lambda: w.array.reshape(2, *d))

    def scatter(self, w: Weight, index: I64, size: int) -> Weight:
        """``w`` of dims (index.size, rest) -> (size, rest): out[index[i]] += w[i]."""
        rest = w.size // index.size
        flat = index.reshape(-1)

        def compute() -> U64:
            a = w.array.reshape(2, -1)
            if rest == 1:
                return mle.scatter_add(a, flat, size).reshape(2, size, 1)
            wide = np.where(flat[:, None] < 0, -1, flat[:, None] * rest + np.arange(rest, dtype=np.int64))
            return mle.scatter_add(a, wide.reshape(-1), size * rest).reshape(2, size, rest)

        return self._make(("scatter", w.key, _digest(index), index.shape, size), (size, rest), compute)

    def slice(self, w: Weight, axis: int, lo: int, hi: int) -> Weight:
        if lo == 0 and hi == w.dims[axis]:
            return w
        dims = (*w.dims[:axis], hi - lo, *w.dims[axis + 1 :])
        cut = (slice(None), *([slice(None)] * axis), slice(lo, hi))
        return self._make(("slice", w.key, axis, lo, hi), dims, lambda: np.ascontiguousarray(w.array[cut]))

    def sum_axis(self, w: Weight, axis: int) -> Weight:
        dims = w.dims[:axis] + w.dims[axis + 1 :]
        return self._make(("sum", w.key, axis), dims, lambda: mle.sum_axis(w.array, axis))

    def linear(self, parts: Sequence[tuple[Ext, Weight]]) -> Weight:
        """Sum of coefficient * weight."""

        def compute() -> U64:
            out = mle.scale(parts[0][1].array, parts[0][0])
            for c, w in parts[1:]:
                out = mle.add(out, mle.scale(w.array, c))
            return out

        # coefficients are unknown when dry: then no two sums count as equal
        key: Hashable = len(self._memo) if self.dry else tuple((c, w.key) for c, w in parts)
        return self._make(("linear", key), parts[0][1].dims, compute)

    def total(self, w: Weight) -> Ext:
        """Sum of all entries."""
        if self.dry:
            return ONE
        if w.key not in self._sums:
            flat = w.array.reshape(2, -1)
            self._sums[w.key] = Ext(*(sum(int(x) for x in _column_sums(plane)) for plane in flat))
        return self._sums[w.key]

    def evaluate(self, w: Weight, point: Sequence[Sequence[Ext]]) -> Ext:
        """The multilinear extension of the zero-padded array at one point per dimension."""
        a = w.array.reshape(2, *w.dims)
        for r in reversed(point[1:]):
            d = a.shape[-1]
            e = mle.eq_vector(r, d)
            rows = a.reshape(2, -1, d)
            a = mle.sum_axis(mle.mul(rows, np.broadcast_to(e[:, None, :], rows.shape)), 1).reshape(a.shape[:-1])
        return mle.dot(np.ascontiguousarray(a), mle.eq_vector(point[0], a.shape[1]))


def _column_sums(plane: U64) -> list[int]:
    """A few integers with the exact sum of the plane."""
    low = int((plane & np.uint64(0xFFFFFFFF)).sum(dtype=np.uint64))
    high = int((plane >> np.uint64(32)).sum(dtype=np.uint64))
    return [low, high << 32]


def _digest(index: I64) -> bytes:
    return blake3(np.ascontiguousarray(index).reshape(-1).view(np.uint8).data).digest()


def padded(d: int) -> int:
    return 1 << log2_ceil(d)
