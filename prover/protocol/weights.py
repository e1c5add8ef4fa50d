"""Weights of claims: arrays over K with a structural key.

A claim <T, w> = v carries w as a product of weights, one per axis or group of axes (protocol section 1). Equal keys
mean equal arrays, so claims that share points merge and every array is computed once. Coordinates of points are
named ``(point, index)``; a weight that is eq(r, .) on the true indices of an axis remembers its coordinates: only
such weights are evaluation claims.

Arrays are computed when they are needed. What a verifier asks of most weights, their sum and their multilinear
extension at a point, has a closed form for eq(p, .) and for ones on the first d indices, hence for products and linear
combinations of them: sum over i < d of a product over the bits of i, a few products in K per bit (``first_terms``).

In a ``dry`` space no values exist: the planner runs the same code to learn which axes stay separate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I32
from syurmy.isa.cost import Account
from syurmy.prover.field import ONE, U64, ZERO, Ext, log2_ceil
from syurmy.prover.protocol import mle

Coordinate = tuple[str, int]

_NOTHING = np.zeros((2, 0), np.uint64)
_DEPTH = 32  # weights that wait for each other at most: they are computed by recursion
_FACTORS = 64  # factors that a closed form may have; one more for every so many entries of the array:
_ENTRIES = 16


@dataclass(frozen=True)
class Form:
    """A closed form of a weight's extension. ``at`` evaluates it at a point per dimension; ``factors``: its cost."""

    factors: int
    at: Callable[[Sequence[Sequence[Ext]]], Ext]


@dataclass(frozen=True, eq=False)
class Weight:
    """``array``: uint64[2, *dims] (empty when dry). ``point``: coordinates if the weight is eq of them. ``depth``: how
    many weights that are not computed yet ``compute`` goes through."""

    key: Hashable
    dims: tuple[int, ...]
    compute: Callable[[], U64]
    point: tuple[Coordinate, ...] | None = None
    form: Form | None = None
    depth: int = 0

    @cached_property
    def array(self) -> U64:
        return self.compute()

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
    _values: dict[Hashable, Ext] = field(default_factory=dict)
    _vectors: dict[Hashable, U64] = field(default_factory=dict)

    def _make(
        self,
        key: Hashable,
        dims: Sequence[int],
        compute: Callable[[], U64],
        sources: Sequence[Weight] = (),
        point: tuple[Coordinate, ...] | None = None,
        form: Form | None = None,
    ) -> Weight:
        """The weight of this key; ``compute`` reads the arrays of ``sources``."""
        found = self._memo.get(key)
        if found is None:
            if self.account is not None:
                self.account.spend(math.prod(dims), "weights of claims")
            # keys hold the numbers of the weights they are made from, so hashing stays cheap however deep the history
            depth = 0 if self.dry else 1 + max((w.depth for w in sources), default=0)
            if form is not None and (depth > _DEPTH or form.factors > _FACTORS + math.prod(dims) // _ENTRIES):
                form = None
            found = Weight(
                len(self._memo), tuple(dims), (lambda: _NOTHING) if self.dry else compute, point, form, depth
            )
            if depth > _DEPTH:
                found = Weight(found.key, found.dims, partial(np.asarray, found.array), point)
            self._memo[key] = found
        return found

    def coordinates(self, point: Sequence[Coordinate]) -> list[Ext]:
        return [self.points[name][i] for name, i in point]

    def eq(self, point: Sequence[Coordinate], d: int) -> Weight:
        """eq(r, i) for i < d."""
        p = tuple(point)

        def at(point: Sequence[Sequence[Ext]]) -> Ext:
            both = [(x * y, x, y) for x, y in zip(self.coordinates(p), point[0], strict=True)]
            return first_terms([(1 - x - y + xy, xy) for xy, x, y in both], d)

        return self._make(
            ("eq", p, d), (d,), lambda: mle.eq_vector(self.coordinates(p), d), point=p, form=Form(2 * len(p), at)
        )

    def ones(self, d: int) -> Weight:
        form = Form(log2_ceil(d), lambda point: first_terms([(1 - x, x) for x in point[0]], d))
        return self._make(
            ("ones", d), (d,), lambda: np.stack([np.ones(d, np.uint64), np.zeros(d, np.uint64)]), form=form
        )

    def outer(self, a: Weight, b: Weight) -> Weight:
        def compute() -> U64:
            return mle.outer(a.array.reshape(2, -1), b.array.reshape(2, -1)).reshape(2, *a.dims, *b.dims)

        form = None
        if a.form is not None and b.form is not None:
            cut = len(a.dims)
            form = Form(
                a.form.factors + b.form.factors, lambda at: self.evaluate(a, at[:cut]) * self.evaluate(b, at[cut:])
            )
        return self._make(("outer", a.key, b.key), a.dims + b.dims, compute, (a, b), form=form)

    def transpose(self, w: Weight, perm: Sequence[int]) -> Weight:
        p = tuple(perm)
        if p == tuple(range(len(p))):
            return w
        dims = [w.dims[i] for i in p]
        return self._make(
            ("transpose", w.key, p),
            dims,
            lambda: np.ascontiguousarray(np.transpose(w.array, (0, *(i + 1 for i in p)))),
            (w,),
            form=w.form and Form(w.form.factors, lambda at: self.evaluate(w, [at[p.index(i)] for i in range(len(p))])),
        )

    def reshape(self, w: Weight, dims: Sequence[int]) -> Weight:
        d = tuple(dims)
        return w if d == w.dims else self._make(("reshape", w.key, d), d, lambda: w.array.reshape(2, *d), (w,))

    def scatter(self, w: Weight, index: I32, size: int) -> Weight:
        """``w`` of dims (index.size, rest) -> (size, rest): out[index[i]] += w[i]."""
        rest = w.size // index.size

        def compute() -> U64:
            a, flat = w.array.reshape(2, -1), index.reshape(-1).astype(np.int64)
            if rest == 1:
                return mle.scatter_add(a, flat, size).reshape(2, size, 1)
            wide = np.where(flat[:, None] < 0, -1, flat[:, None] * rest + np.arange(rest, dtype=np.int64))
            return mle.scatter_add(a, wide.reshape(-1), size * rest).reshape(2, size, rest)

        return self._make(("scatter", w.key, _digest(index), index.shape, size), (size, rest), compute, (w,))

    def slice(self, w: Weight, axis: int, lo: int, hi: int) -> Weight:
        if lo == 0 and hi == w.dims[axis]:
            return w
        dims = (*w.dims[:axis], hi - lo, *w.dims[axis + 1 :])
        cut = (slice(None), *([slice(None)] * axis), slice(lo, hi))
        return self._make(("slice", w.key, axis, lo, hi), dims, lambda: np.ascontiguousarray(w.array[cut]), (w,))

    def sum_axis(self, w: Weight, axis: int) -> Weight:
        dims = w.dims[:axis] + w.dims[axis + 1 :]
        return self._make(("sum", w.key, axis), dims, lambda: mle.sum_axis(w.array, axis), (w,))

    def linear(self, parts: Sequence[tuple[Ext, Weight]]) -> Weight:
        """Sum of coefficient * weight."""

        def compute() -> U64:
            out = mle.scale(parts[0][1].array, parts[0][0])
            for c, w in parts[1:]:
                out = mle.add(out, mle.scale(w.array, c))
            return out

        # coefficients are unknown when dry: then no two sums count as equal
        key: Hashable = len(self._memo) if self.dry else tuple((c, w.key) for c, w in parts)
        forms = [w.form.factors for _, w in parts if w.form is not None]
        form = None
        if len(forms) == len(parts):
            form = Form(sum(forms) + len(parts), lambda at: sum((c * self.evaluate(w, at) for c, w in parts), ZERO))
        return self._make(("linear", key), parts[0][1].dims, compute, [w for _, w in parts], form=form)

    def total(self, w: Weight) -> Ext:
        """Sum of all entries."""
        if self.dry:
            return ONE
        if w.key not in self._sums:
            if w.point is not None:
                total = first_terms([(1 - x, x) for x in self.coordinates(w.point)], w.size)
            else:
                flat = w.array.reshape(2, -1)
                total = Ext(*(sum(int(x) for x in _column_sums(plane)) for plane in flat))
            self._sums[w.key] = total
        return self._sums[w.key]

    def evaluate(self, w: Weight, point: Sequence[Sequence[Ext]]) -> Ext:
        """The multilinear extension of the zero-padded array at one point per dimension."""
        key = (w.key, *map(tuple, point))
        if key not in self._values:
            self._values[key] = self._evaluate(w, point) if w.form is None else w.form.at(point)
        return self._values[key]

    def _evaluate(self, w: Weight, point: Sequence[Sequence[Ext]]) -> Ext:
        a = w.array.reshape(2, *w.dims)
        for r in reversed(point[1:]):
            d = a.shape[-1]
            e = self._vector(r, d)
            rows = a.reshape(2, -1, d)
            a = mle.sum_axis(mle.mul(rows, np.broadcast_to(e[:, None, :], rows.shape)), 1).reshape(a.shape[:-1])
        return mle.dot(np.ascontiguousarray(a), self._vector(point[0], a.shape[1]))

    def _vector(self, point: Sequence[Ext], d: int) -> U64:
        """eq(point, i) for i < d."""
        key = (tuple(point), d)
        if key not in self._vectors:
            self._vectors[key] = mle.eq_vector(point, d)
        return self._vectors[key]


def first_terms(factors: Sequence[tuple[Ext, Ext]], d: int) -> Ext:
    """Sum over i < d of the product of one factor per bit of i, the most significant first: factors[j][bit j of i].

    The indices below d share d's bits up to one that is set in d and clear in them; all bits after it are free.
    """
    k = len(factors)
    if not 1 <= d <= 1 << k:
        raise ValueError(f"{d} indices of {k} bits")
    total, free = ZERO, ONE  # over the bits after the current one: indices below d's rest; all indices
    if d == 1 << k:
        for clear, one in factors:
            free = free * (clear + one)
        return free
    for j in range(k - 1, -1, -1):
        clear, one = factors[j]
        total = clear * free + one * total if d >> (k - 1 - j) & 1 else clear * total
        free = free * (clear + one)
    return total


def _column_sums(plane: U64) -> list[int]:
    """A few integers with the exact sum of the plane."""
    low = int((plane & np.uint64(0xFFFFFFFF)).sum(dtype=np.uint64))
    high = int((plane >> np.uint64(32)).sum(dtype=np.uint64))
    return [low, high << 32]


def _digest(index: I32) -> bytes:
    return blake3(np.ascontiguousarray(index).reshape(-1).view(np.uint8).data).digest()
