"""Weights of claims: arrays over K with a structural key.

A claim <T, w> = v carries w as a product of weights, one per axis or group of axes (protocol section 1). Equal keys
mean equal arrays, so claims that share points merge and every array is computed once. Coordinates of points are
named ``(point, index)``; a weight that is eq(r, .) on the true indices of an axis remembers its coordinates: only
such weights are evaluation claims.

Arrays are computed when they are needed. What a verifier asks of most weights, their sum and their multilinear
extension at a point, has a closed form for eq(p, .) and for ones on the first d indices, hence for products and linear
combinations of them: sum over i < d of a product over the bits of i, a few products in K per bit (``first_terms``).

Weights without values, by which the planner learns which axes stay separate, are in ``outline.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import field
from functools import partial

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I32
from syurmy.isa.progression import LONG, Progression
from syurmy.isa.records import cached_property, dataclass
from syurmy.prover.field import ONE, U64, ZERO, Ext, Point, ext_array, ext_list, log2_ceil
from syurmy.prover.protocol import mle, strands
from syurmy.prover.protocol.strands import Coordinate, Strand

_DEPTH = 32  # weights that wait for each other at most, or whose closed forms do: they are computed by recursion
_FACTORS = 64  # factors that a closed form may have; one more for every so many entries of the array:
_ENTRIES = 16
_WRITTEN = 64  # entries of an array that cost about as much as a factor
_PER_STRAND = 64  # factors that one strand costs about as much as
_SHORT = 16  # entries of a vector that may each be a strand


@dataclass(frozen=True)
class Form:
    """A closed form of a weight's extension. ``at`` evaluates it at a point per dimension; ``factors``: its cost."""

    factors: int
    at: Callable[[Sequence[Sequence[Ext]]], Ext]


@dataclass(frozen=True, eq=False)
class Weight:
    """``array``: uint64[2, *dims]. ``point``: coordinates if the weight is eq of them. ``strands``: of
    which the weight consists, if it is a vector that has such a form (axes of length 1 aside). ``depth``: how many
    weights that are not computed yet ``compute`` goes through. ``total``: the sum of all entries, where it follows from
    other sums; ``levels``: how many weights that and ``form`` go through. ``parts``: of a sum, what it is of;
    ``against``: the inner product with a vector by its name, where it follows from that of another weight."""

    key: Hashable
    dims: tuple[int, ...]
    compute: Callable[[], U64]
    point: tuple[Coordinate, ...] | None = None
    form: Form | None = None
    depth: int = 0
    strands: tuple[Strand, ...] | None = None
    total: Callable[[], Ext] | None = None
    levels: int = 0
    parts: Sequence[tuple[Ext, Weight]] | None = None
    against: Callable[[Hashable], Ext] | None = None

    @cached_property
    def array(self) -> U64:
        return self.compute()

    @cached_property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def factors(self) -> int | None:
        """What an evaluation costs, if there is a closed form."""
        if self.form is not None:
            return self.form.factors
        return None if self.strands is None else _PER_STRAND * len(self.strands)

    @property
    def cost(self) -> int:
        """What an evaluation costs, of the array if there is no closed form."""
        return 1 + self.size // _WRITTEN if self.factors is None else self.factors

    @property
    def most(self) -> int:
        """What an evaluation may cost that does without the array."""
        return _FACTORS + self.size // _ENTRIES

    @cached_property
    def few(self) -> Sequence[tuple[Ext, Weight]] | None:
        """What a sum is of, sums of sums written out: many are of the same few weights. None where they are many."""
        total: dict[Hashable, tuple[Ext, Weight]] = {}
        for c, w in self.parts or ():
            for d, part in ((ONE, w),) if w.parts is None or w.few is None else w.few:
                product = c if d is ONE else c * d
                known = total.get(part.key)
                total[part.key] = (product if known is None else known[0] + product), part
        costs = sum(w.cost for _, w in total.values()) + len(total)
        return list(total.values()) if 0 < costs <= self.most else None


@dataclass
class WeightSpace:
    """Makes weights and remembers them. ``points`` holds the values of named points."""

    points: dict[str, list[Ext]] = field(default_factory=dict)
    _memo: dict[Hashable, Weight] = field(default_factory=dict)
    _sums: dict[Hashable, Ext] = field(default_factory=dict)
    _values: dict[Hashable, Ext] = field(default_factory=dict)
    _vectors: dict[Hashable, U64] = field(default_factory=dict)
    _lengths: dict[tuple[Coordinate, ...], int] = field(default_factory=dict)  # of the longest eq vector of a point

    def forget(self) -> None:
        """Drop all weights: they refer to this space and it to them, so only a garbage collector would find them."""
        self._memo, self._sums, self._values, self._vectors, self._lengths = {}, {}, {}, {}, {}

    @property
    def count(self) -> int:
        """How many weights there are."""
        return len(self._memo)

    def sizes(self) -> list[int]:
        """The entries of every weight, if its array is computed (nearly all are): of those that are no views."""
        return [w.size for key, w in self._memo.items() if isinstance(key, tuple) and key[0] != "reshape"]

    def _make(
        self,
        key: Hashable,
        dims: Sequence[int],
        compute: Callable[[], U64],
        sources: Sequence[Weight] = (),
        point: tuple[Coordinate, ...] | None = None,
        form: Form | None = None,
        closed: Callable[[], tuple[Strand, ...] | None] = lambda: None,
        total: Callable[[], Ext] | None = None,
        summed: Sequence[tuple[Ext, Weight]] | None = None,
        against: Callable[[Hashable], Ext] | None = None,
    ) -> Weight:
        """The weight of this key; ``compute`` reads the arrays of ``sources``, ``closed`` their strands."""
        found = self._memo.get(key)
        if found is None:
            # keys hold the numbers of the weights they are made from, so hashing stays cheap however deep the history
            size = longest = math.prod(dims)
            depth = levels = 0
            for w in sources:
                depth, levels, longest = max(depth, w.depth), max(levels, w.levels), max(longest, w.size)
            depth, levels = depth + 1, levels + 1
            if form is not None and (levels > _DEPTH or form.factors > _FACTORS + size // _ENTRIES):
                form = None
            if levels > _DEPTH:
                total = summed = None
            if form is None and total is None:
                levels = 0
            parts = closed()
            if parts is not None and point is None and longest >= LONG:
                if strands.cost(parts) <= longest:
                    depth, compute = 1, partial(self._written, tuple(dims), parts)
                else:
                    parts = None
            found = Weight(
                len(self._memo),
                tuple(dims),
                compute,
                point,
                form,
                depth,
                parts,
                total,
                levels,
                summed,
                against,
            )
            if depth > _DEPTH:
                found = self._computed(found)
            self._memo[key] = found
        return found

    def _computed(self, w: Weight) -> Weight:
        """The same weight, its array computed."""
        return Weight(w.key, w.dims, partial(np.asarray, w.array), w.point)

    def _written(self, dims: tuple[int, ...], parts: Sequence[Strand]) -> U64:
        """The array that consists of these strands."""
        out = np.zeros((2, math.prod(dims)), np.uint64)
        for s in parts:
            p = self.coordinates(s.point)
            if s.db == 0:
                at, what = slice(s.b, s.b + 1), ext_array([strands.total(s, p, self._whole)])
            else:
                at = slice(s.b, s.b + (s.length - 1) * s.db + 1, s.db)
                what = strands.entries(s, p, self.eq(s.point, self._lengths.get(s.point, 1)), self._whole)
            out[:, at] = mle.add(out[:, at], what)
        return out.reshape(2, *dims)

    def _whole(self, point: Sequence[Ext]) -> U64:
        return self._vector(point, 1 << len(point))

    def coordinates(self, point: Sequence[Coordinate]) -> list[Ext]:
        return [self.points[name][i] for name, i in point]

    def eq(self, point: Sequence[Coordinate], d: int) -> Weight:
        """eq(r, i) for i < d."""
        p = tuple(point)
        if d > self._lengths.get(p, 0):
            self._lengths[p] = d
        if (found := self._memo.get(("eq", p, d))) is not None:
            return found

        def at(point: Sequence[Sequence[Ext]]) -> Ext:
            both = [(x * y, x, y) for x, y in zip(self.coordinates(p), point[0], strict=True)]
            return first_terms([(1 - x - y + xy, xy) for xy, x, y in both], d)

        return self._make(
            ("eq", p, d),
            (d,),
            lambda: mle.eq_vector(self.coordinates(p), d),
            point=p,
            form=Form(2 * len(p), at),
            closed=lambda: (Strand(ONE, p, 0, 1, 0, 1, d),),
        )

    def ones(self, d: int) -> Weight:
        if (found := self._memo.get(("ones", d))) is not None:
            return found
        form = Form(log2_ceil(d), lambda point: first_terms([(1 - x, x) for x in point[0]], d))
        return self._make(
            ("ones", d),
            (d,),
            lambda: np.stack([np.ones(d, np.uint64), np.zeros(d, np.uint64)]),
            form=form,
            closed=lambda: (Strand(ONE, (), 0, 0, 0, 1, d),),
        )

    def outer(self, a: Weight, b: Weight) -> Weight:
        def compute() -> U64:
            return mle.outer(a.array.reshape(2, -1), b.array.reshape(2, -1)).reshape(2, *a.dims, *b.dims)

        form = None
        if a.factors is not None and b.factors is not None:
            cut = len(a.dims)
            form = Form(a.factors + b.factors, lambda at: self.evaluate(a, at[:cut]) * self.evaluate(b, at[cut:]))
        total = lambda: self.total(a) * self.total(b)  # noqa: E731

        def against(v: Hashable) -> Ext:
            return self._against(a, self._derived(("along", v, b.key), rows, v))

        def rows(vector: U64) -> U64:
            return mle.weighted(vector.reshape(2, a.size, b.size), b.array.reshape(2, -1))

        key = "outer", a.key, b.key
        return self._make(key, a.dims + b.dims, compute, (a, b), form=form, total=total, against=against)

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
            total=partial(self.total, w),
        )

    def reshape(self, w: Weight, dims: Sequence[int]) -> Weight:
        d = tuple(dims)
        if d == w.dims:
            return w
        closed = (lambda: w.strands) if _is_vector(d) else (lambda: None)
        form = None
        if [n for n in d if n > 1] == [n for n in w.dims if n > 1]:

            def at(point: Sequence[Sequence[Ext]]) -> Ext:
                longer = iter([p for p, n in zip(point, d, strict=True) if n > 1])
                return self.evaluate(w, [next(longer) if n > 1 else Point() for n in w.dims])

            form = Form(w.cost, at)
        return self._make(
            ("reshape", w.key, d),
            d,
            lambda: w.array.reshape(2, *d),
            (w,),
            form=form,
            closed=closed,
            total=partial(self.total, w),
            against=partial(self._against, w) if w.against or w.parts else None,
        )

    def scatter(self, w: Weight, index: I32 | Progression, size: int) -> Weight:
        """``w`` of dims (index.size, rest) -> (size, rest): out[index[i]] += w[i]."""
        rest = w.size // index.size

        def closed() -> tuple[Strand, ...] | None:
            if rest > 1 or max(size, w.size) < LONG:
                return None
            parts = w.strands
            if parts is None and w.size <= _SHORT:
                parts = tuple(Strand(c, (), 0, 0, i, 0, 1) for i, c in enumerate(self._entries(w)))
            if parts is None:
                return None
            to = index if isinstance(index, Progression) else Progression.of(index.astype(np.int64))
            return strands.scattered(parts, to, max(size, w.size))

        def compute() -> U64:
            a, flat = w.array.reshape(2, -1), np.asarray(index, np.int64).reshape(-1)
            if rest == 1:
                return mle.scatter_add(a, flat, size).reshape(2, size, 1)
            wide = np.where(flat[:, None] < 0, -1, flat[:, None] * rest + np.arange(rest, dtype=np.int64))
            return mle.scatter_add(a, wide.reshape(-1), size * rest).reshape(2, size, rest)

        def picked(vector: U64) -> U64:
            flat = np.asarray(index, np.int64).reshape(-1)
            rows = vector.reshape(2, size, rest)[:, flat]
            if least < 0:
                rows[:, flat < 0] = 0
            return rows.reshape(2, -1)

        name = named(index), index.shape
        against = lambda v: self._against(w, self._derived(("at", v, *name, rest), picked, v))  # noqa: E731
        least = index.interval[0] if isinstance(index, Progression) else int(index.min())
        total = partial(self.total, w) if least >= 0 else None
        return self._make(
            ("scatter", w.key, *name, size),
            (size, rest),
            compute,
            (w,),
            closed=closed,
            total=total,
            against=against if index.size <= size else None,
        )

    def slice(self, w: Weight, axis: int, lo: int, hi: int) -> Weight:
        if lo == 0 and hi == w.dims[axis]:
            return w
        dims = (*w.dims[:axis], hi - lo, *w.dims[axis + 1 :])
        cut = (slice(None), *([slice(None)] * axis), slice(lo, hi))

        def closed() -> tuple[Strand, ...] | None:
            if w.strands is None or w.dims[axis] != w.size:
                return None
            kept = [strands.between(s, lo, hi) for s in w.strands]
            return tuple(s._replace(b=s.b - lo) for s in kept if s is not None)

        return self._make(
            ("slice", w.key, axis, lo, hi), dims, lambda: np.ascontiguousarray(w.array[cut]), (w,), closed=closed
        )

    def sum_axis(self, w: Weight, axis: int) -> Weight:
        dims = w.dims[:axis] + w.dims[axis + 1 :]
        whole = partial(self.total, w)
        return self._make(("sum", w.key, axis), dims, lambda: mle.sum_axis(w.array, axis), (w,), total=whole)

    def linear(self, parts: Sequence[tuple[Ext, Weight]]) -> Weight:
        """Sum of coefficient * weight."""

        def compute() -> U64:
            return mle.combination([w.array for _, w in parts], [c for c, _ in parts])

        key = tuple((c, w.key) for c, w in parts)
        costs = sum(w.cost for _, w in parts) + len(parts)
        form = Form(costs, lambda at: sum((c * self.evaluate(w, at) for c, w in parts), ZERO))

        def closed() -> tuple[Strand, ...] | None:
            known = [(c, w.strands) for c, w in parts if w.strands is not None]
            if len(known) < len(parts):
                return None
            return strands.added([s._replace(coefficient=c * s.coefficient) for c, ss in known for s in ss])

        return self._make(
            ("linear", key),
            parts[0][1].dims,
            compute,
            [w for _, w in parts],
            form=form,
            closed=closed,
            total=lambda: sum((c * self.total(w) for c, w in parts), ZERO),
            summed=parts,
        )

    def total(self, w: Weight) -> Ext:
        """Sum of all entries."""
        if w.key not in self._sums:
            self._sums[w.key] = self._total(w) if w.point is not None or w.total is None else w.total()
        return self._sums[w.key]

    def _total(self, w: Weight) -> Ext:
        """``total`` that follows from no other."""
        if w.point is not None:
            return first_terms([(1 - x, x) for x in self.coordinates(w.point)], w.size)
        if w.strands is not None:
            return sum((strands.total(s, self.coordinates(s.point), self._whole) for s in w.strands), ZERO)
        return Ext(*(sum(int(x) for x in _column_sums(plane)) for plane in w.array.reshape(2, -1)))

    def _entries(self, w: Weight) -> list[Ext]:
        return ext_list(w.array.reshape(2, -1))

    def evaluate(self, w: Weight, point: Sequence[Sequence[Ext]]) -> Ext:
        """The multilinear extension of the zero-padded array at one point per dimension."""
        point = tuple(map(Point.of, point))
        key = (w.key, *point)
        if key not in self._values:
            if w.form is not None:
                self._values[key] = w.form.at(point)
            elif w.strands is not None:
                q = [x for r in point for x in r]
                each = [strands.extension(s, self.coordinates(s.point), q, self._whole) for s in w.strands]
                self._values[key] = sum(each, ZERO)
            elif w.parts is not None and w.few is not None:
                self._values[key] = sum((c * self.evaluate(part, point) for c, part in w.few), ZERO)
            elif w.against is not None:
                self._values[key] = w.against(self._eq(point, w.dims))
            else:
                self._values[key] = self._evaluate(w, point)
        return self._values[key]

    def _against(self, w: Weight, v: Hashable) -> Ext:
        """The inner product with a vector of ``_vectors``, ``uint64[2, w.size]``."""
        key = w.key, v
        if key not in self._values:
            if w.parts is not None and w.few is not None:
                self._values[key] = sum((c * self._against(part, v) for c, part in w.few), ZERO)
            elif w.against is not None:
                self._values[key] = w.against(v)
            else:
                self._values[key] = mle.dot(w.array.reshape(2, -1), self._vectors[v])
        return self._values[key]

    def _derived(self, key: Hashable, made: Callable[[U64], U64], v: Hashable) -> Hashable:
        """The name of the vector that is made of another."""
        if key not in self._vectors:
            self._vectors[key] = made(self._vectors[v])
        return key

    def _eq(self, point: Sequence[Sequence[Ext]], dims: Sequence[int]) -> Hashable:
        """The name of eq(point, .) on all entries of these dims."""
        first, *others = [(r, d) for r, d in zip(point, dims, strict=True) if r] or [(Point(), 1)]
        key: Hashable = first
        self._vector(*first)
        for r, d in others:
            key = self._derived((key, r, d), partial(self._times, self._vector(r, d)), key)
        return key

    def _times(self, b: U64, a: U64) -> U64:
        return mle.outer(a, b).reshape(2, -1)

    def dot(self, w: Weight, values: Progression) -> Ext:
        """The inner product of a vector with integers, |v| < 2^63."""
        found: list[Ext | None] = [None]
        if w.strands is not None:
            firsts = np.cumsum([0, *map(len, values.parts[:-1])]).tolist()
            found = [
                strands.inner_product(s, self.coordinates(s.point), part, first, self._whole)
                for first, part in zip(firsts, values.parts, strict=True)
                for s in w.strands
            ]
        if None in found:
            return mle.dot_int(w.array.reshape(2, -1), np.asarray(values))
        return sum((x for x in found if x is not None), ZERO)

    def _evaluate(self, w: Weight, point: Sequence[Sequence[Ext]]) -> Ext:
        a = w.array.reshape(2, *w.dims)
        for r in reversed(point[1:]):
            d = a.shape[-1]
            a = mle.weighted(a.reshape(2, -1, d), self._vector(r, d)).reshape(a.shape[:-1])
        return mle.dot(np.ascontiguousarray(a), self._vector(point[0], a.shape[1]))

    def _vector(self, point: Sequence[Ext], d: int) -> U64:
        """eq(point, i) for i < d."""
        point = Point.of(point)
        key = (point, d)
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


def _is_vector(dims: Sequence[int]) -> bool:
    """At most one axis is longer than 1."""
    return sum(d > 1 for d in dims) <= 1


def _column_sums(plane: U64) -> list[int]:
    """A few integers with the exact sum of the plane."""
    low = int((plane & np.uint64(0xFFFFFFFF)).sum(dtype=np.uint64))
    high = int((plane >> np.uint64(32)).sum(dtype=np.uint64))
    return [low, high << 32]


def named(index: I32 | Progression) -> Hashable:
    """A name: equal for equal indices only."""
    if isinstance(index, Progression):
        return index.key()
    return blake3(np.ascontiguousarray(index).reshape(-1).view(np.uint8).data).digest()
