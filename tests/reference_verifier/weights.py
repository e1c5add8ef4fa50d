"""Weights of claims: arrays over the axes of a tensor, made of each other (section 11.3).

A weight is described before it is evaluated, so that sweeps run without values too. Two weights are the same (one
object) exactly if they were made alike from the same ones, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

from tests.reference_verifier.field import ONE, ZERO, K, eq, inner, total

Coordinate = tuple[str, int]  # name of a point, index
Points = Mapping[str, Sequence[K]]


class Weight:
    """``dims``: lengths of its axes. ``coordinates``: of an eq weight; None of any other."""

    def __init__(self, dims: tuple[int, ...], compute: Callable[[], list[K]]) -> None:
        self.dims = dims
        self.coordinates: tuple[Coordinate, ...] | None = None
        self._compute = compute
        self._values: list[K] | None = None
        self._sum: K | None = None

    @property
    def size(self) -> int:
        return prod(self.dims)

    def values(self) -> list[K]:
        """Its entries, in C order."""
        if self._values is None:
            self._values = self._compute()
        return self._values

    def sum(self) -> K:
        if self._sum is None:
            self._sum = total(self.values())
        return self._sum


def strides_of(dims: Sequence[int]) -> list[int]:
    out, stride = [], 1
    for d in reversed(dims):
        out.append(stride)
        stride *= d
    return out[::-1]


def offsets(dims: Sequence[int], strides: Sequence[int]) -> Iterator[int]:
    """Of all entries of an array of these dims, in C order, the place where it has these strides."""
    places = [0]
    for d, s in zip(dims, strides, strict=True):
        places = [p + i * s for p in places for i in range(d)]
    return iter(places)


class Weights:
    """Makes weights. ``points``: the values of the points that are known so far."""

    def __init__(self, points: dict[str, list[K]]) -> None:
        self.points = points
        self._made: dict[tuple[object, ...], Weight] = {}

    def _make(self, key: tuple[object, ...], dims: Sequence[int], compute: Callable[[], list[K]]) -> Weight:
        if key not in self._made:
            self._made[key] = Weight(tuple(dims), compute)
        return self._made[key]

    def point(self, coordinates: Sequence[Coordinate]) -> list[K]:
        return [self.points[name][i] for name, i in coordinates]

    def eq(self, coordinates: Sequence[Coordinate], d: int) -> Weight:
        c = tuple(coordinates)
        w = self._make(("eq", c, d), (d,), lambda: eq(self.point(c), d))
        w.coordinates = c
        return w

    def ones(self, d: int) -> Weight:
        return self._make(("ones", d), (d,), lambda: [ONE] * d)

    def outer(self, v: Weight, w: Weight) -> Weight:
        return self._make(("outer", v, w), v.dims + w.dims, lambda: [x * y for x in v.values() for y in w.values()])

    def transpose(self, w: Weight, perm: Sequence[int]) -> Weight:
        """Axis i of the result is axis perm[i] of w."""
        p = tuple(perm)
        if p == tuple(range(len(p))):
            return w
        dims, strides = [w.dims[i] for i in p], strides_of(w.dims)

        def compute() -> list[K]:
            values = w.values()
            return [values[at] for at in offsets(dims, [strides[i] for i in p])]

        return self._make(("transpose", w, p), dims, compute)

    def reshape(self, w: Weight, dims: Sequence[int]) -> Weight:
        if tuple(dims) == w.dims:
            return w
        assert prod(dims) == w.size
        return self._make(("reshape", w, tuple(dims)), dims, w.values)

    def scatter(self, w: Weight, index: Sequence[int], shape: Sequence[int], size: int) -> Weight:
        """Row i of w, of dims (number of indices, rest), is added to row index[i] of the result; dropped for -1."""
        rest = w.dims[1]

        def compute() -> list[K]:
            out, values = [ZERO] * (size * rest), w.values()
            for i, to in enumerate(index):
                if to >= 0:
                    for j in range(rest):
                        out[to * rest + j] = out[to * rest + j] + values[i * rest + j]
            return out

        return self._make(("scatter", w, tuple(index), tuple(shape), size), (size, rest), compute)

    def slice(self, w: Weight, axis: int, lo: int, hi: int) -> Weight:
        if (lo, hi) == (0, w.dims[axis]):
            return w
        dims, strides = [*w.dims[:axis], hi - lo, *w.dims[axis + 1 :]], strides_of(w.dims)

        def compute() -> list[K]:
            values, first = w.values(), lo * strides[axis]
            return [values[first + at] for at in offsets(dims, strides)]

        return self._make(("slice", w, axis, lo, hi), dims, compute)

    def sum(self, w: Weight, axis: int) -> Weight:
        dims, strides = w.dims[:axis] + w.dims[axis + 1 :], strides_of(w.dims)
        stride, length = strides[axis], w.dims[axis]

        def compute() -> list[K]:
            values = w.values()
            places = offsets(dims, strides[:axis] + strides[axis + 1 :])
            return [total(values[at + i * stride] for i in range(length)) for at in places]

        return self._make(("sum", w, axis), dims, compute)

    def linear(self, terms: Sequence[tuple[K, Weight]]) -> Weight:
        """sum c*w."""
        t = tuple(terms)

        def compute() -> list[K]:
            columns = [[c * x for x in w.values()] for c, w in t]
            return [total(entries) for entries in zip(*columns, strict=True)]

        return self._make(("linear", *t) if self.alike(t) else ("linear", object()), t[0][1].dims, compute)

    def alike(self, terms: Sequence[tuple[K, Weight]]) -> bool:
        """Whether a linear weight is the same as another one with these terms."""
        return True


class DryWeights(Weights):
    """Of a sweep without values: no two linear weights are the same."""

    def alike(self, terms: Sequence[tuple[K, Weight]]) -> bool:
        return False


def against_eq(w: Weight, point: Sequence[K]) -> K:
    """The MLE of a weight at a point, axis by axis, each axis padded with zeros to a power of two."""
    values, at = w.values(), len(point)
    for d in reversed(w.dims):  # bind the last axis first
        k = (d - 1).bit_length()
        table = eq(point[at - k : at], d)
        at -= k
        values = [inner(values[i : i + d], table) for i in range(0, len(values), d)]
    assert at == 0
    return values[0]
