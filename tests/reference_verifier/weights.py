"""Weights of claims: arrays over K that know how they were made (protocol, section 11.3).

Two weights are the same exactly if they were made in the same way; every rule below that returns its argument makes
nothing. Values are computed from what made them when they are asked for, entry by entry.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from itertools import product
from math import prod

from tests.reference_verifier.field import ONE, ZERO, K, eq_at, eq_vector, inner, total

Coordinate = tuple[str, int]


class Weight:
    """``values``: entries in C order. ``point``: coordinates, if it is eq of them. Compared by identity."""

    def __init__(self, dims: tuple[int, ...], compute: Callable[[], list[K]], point: tuple[Coordinate, ...] | None):
        self.dims, self.point, self._compute = dims, point, compute

    @cached_property
    def values(self) -> list[K]:
        return self._compute()

    @cached_property
    def total(self) -> K:
        return total(self.values)


def strides(dims: Sequence[int]) -> list[int]:
    return [prod(dims[i + 1 :]) for i in range(len(dims))]


class Weights:
    """Makes weights, and gives the one made before where it is asked for the same. ``points``: coordinates by the name
    of their point. A ``dry`` one has no values: then every total is 1, and no two linear combinations are the same."""

    def __init__(self, dry: bool = False) -> None:
        self.dry = dry
        self.points: dict[str, list[K]] = {}
        self._made: dict[Hashable, Weight] = {}

    def _make(
        self,
        key: Hashable,
        dims: Sequence[int],
        compute: Callable[[], list[K]],
        point: tuple[Coordinate, ...] | None = None,
    ) -> Weight:
        if key not in self._made:
            self._made[key] = Weight(tuple(dims), compute, point)
        return self._made[key]

    def at(self, point: Sequence[Coordinate]) -> list[K]:
        return [self.points[name][i] for name, i in point]

    def eq(self, point: Sequence[Coordinate], d: int) -> Weight:
        p = tuple(point)
        return self._make(("eq", p, d), (d,), lambda: eq_vector(self.at(p))[:d], p)

    def ones(self, d: int) -> Weight:
        return self._make(("ones", d), (d,), lambda: [ONE] * d)

    def outer(self, a: Weight, b: Weight) -> Weight:
        return self._make(("outer", a, b), a.dims + b.dims, lambda: [x * y for x in a.values for y in b.values])

    def transpose(self, w: Weight, perm: Sequence[int]) -> Weight:
        p = tuple(perm)
        if p == tuple(range(len(p))):
            return w
        dims, steps = [w.dims[i] for i in p], strides(w.dims)

        def compute() -> list[K]:
            every = product(*(range(d) for d in dims))
            return [w.values[sum(i * steps[a] for i, a in zip(index, p, strict=True))] for index in every]

        return self._make(("transpose", w, p), dims, compute)

    def reshape(self, w: Weight, dims: Sequence[int]) -> Weight:
        d = tuple(dims)
        return w if d == w.dims else self._make(("reshape", w, d), d, lambda: w.values)

    def scatter(self, w: Weight, index: Sequence[int], shape: tuple[int, ...], size: int) -> Weight:
        """dims (len(index), rest) to (size, rest): row i is added to row index[i]; -1 drops it."""
        rest, where = w.dims[1], tuple(index)

        def compute() -> list[K]:
            out = [ZERO] * (size * rest)
            for i, to in enumerate(where):
                if to >= 0:
                    for j in range(rest):
                        out[to * rest + j] = out[to * rest + j] + w.values[i * rest + j]
            return out

        return self._make(("scatter", w, where, shape, size), (size, rest), compute)

    def slice(self, w: Weight, axis: int, lo: int, hi: int) -> Weight:
        if (lo, hi) == (0, w.dims[axis]):
            return w
        dims = (*w.dims[:axis], hi - lo, *w.dims[axis + 1 :])
        d, below = w.dims[axis], prod(w.dims[axis + 1 :])
        kept = [i for i in range(prod(w.dims)) if lo <= i // below % d < hi]
        return self._make(("slice", w, axis, lo, hi), dims, lambda: [w.values[i] for i in kept])

    def sum_axis(self, w: Weight, axis: int) -> Weight:
        d, below = w.dims[axis], prod(w.dims[axis + 1 :])

        def compute() -> list[K]:
            above = range(prod(w.dims[:axis]))
            return [total([w.values[(a * d + i) * below + b] for i in range(d)]) for a in above for b in range(below)]

        return self._make(("sum", w, axis), w.dims[:axis] + w.dims[axis + 1 :], compute)

    def linear(self, parts: Sequence[tuple[K, Weight]]) -> Weight:
        def compute() -> list[K]:
            return [inner([c for c, _ in parts], xs) for xs in zip(*(w.values for _, w in parts), strict=True)]

        key: Hashable = object() if self.dry else tuple(parts)
        return self._make(("linear", key), parts[0][1].dims, compute)

    def total(self, w: Weight) -> K:
        return ONE if self.dry else w.total

    def extension(self, w: Weight, point: Sequence[Sequence[K]]) -> K:
        """The multilinear extension, one list of coordinates per dimension; the first digit of each is its leading
        bit."""
        values = w.values
        for d, x in zip(reversed(w.dims), reversed(point), strict=True):
            assert d <= 1 << len(x)
            weights = [eq_at(x, i) for i in range(d)] if d * 4 < 1 << len(x) else eq_vector(x)[:d]
            values = [inner(values[i : i + d], weights) for i in range(0, len(values), d)]
        return values[0]
