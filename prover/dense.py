"""Weights written out: the terms of claims on tensors, added up in the tensors' places.

A term is a multiple of the outer product of two vectors, which are products of its weights. Where each of these is in
one memory, and what is multiplied with what, follows from the program: it is found once per course (course.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from syurmy.isa.errors import InputError
from syurmy.isa.types import padded
from syurmy.prover.field import U64, ext_array
from syurmy.prover.kernels.place import outer_sums
from syurmy.prover.operands import pad_table
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.claims import Group, Term
from syurmy.prover.protocol.weights import Weight

RUN = 64  # entries of the right factors of a term, at least, if its groups allow it


class Dense:
    """Writes weights out; of terms that differ in their coefficient only, and of weights that several terms have, the
    factors are multiplied once."""

    def __init__(self) -> None:
        self.size = 1  # of the memory, whose first entry is 1
        self._weights: list[tuple[Weight, int, tuple[int, ...], tuple[int, ...]]] = []  # place, true and padded axes
        self._permuted: list[tuple[Sequence[Group], tuple[int, ...], tuple[int, ...], int]] = []
        self._products: list[tuple[int, int, int, int, int]] = []
        self._terms: list[Term] = []
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._known: dict[object, tuple[int, int]] = {(): (0, 1)}  # where, and how many entries

    def add(self, terms: Sequence[Term], shape: tuple[int, ...], order: tuple[int, ...], at: int) -> None:
        """The sum of the terms is to be written from ``at`` on, behind all that is written before, ``uint64[2, *]``:
        axes in ``order``, each with zeros up to a power of two."""
        if not terms:
            raise InputError("a tensor without claims has no weights")
        for term in terms:
            places, split = _split(term.partition, shape, order)
            groups = [term.groups[i] for i in places]
            if split is None:
                left, right = (0, 1), self._of_permuted(groups, shape, order, (term.key, shape, order))
            else:
                left, right = self._product(groups[:split], shape), self._product(groups[split:], shape)
            self._terms.append(term)
            self._rows.append((*left, *right, at))

    def into(self, out: U64) -> None:
        """Writes all of them, with the values that weights and coefficients have now."""
        memory = np.zeros((2, self.size), np.uint64)
        memory[0, 0] = 1
        for w, at, dims, wide in self._weights:
            if dims == wide:
                memory[:, at : at + w.size] = w.array.reshape(2, -1)
            else:
                place = memory[:, at : at + math.prod(wide)].reshape(2, *wide)
                place[(slice(None), *map(slice, dims))] = w.array.reshape(2, *dims)
        for groups, shape, order, at in self._permuted:
            values = _permuted(groups, shape, order)
            memory[:, at : at + values.shape[1]] = values
        products, rows = (np.array(x, np.int64).reshape(-1, 5) for x in (self._products, self._rows))
        outer_sums(memory, products, rows, ext_array(t.coefficient for t in self._terms), out)

    def _taken(self, key: object, size: int) -> tuple[int, int]:
        self._known[key] = self.size, size
        self.size += size
        return self._known[key]

    def _product(self, groups: Sequence[Group], shape: Sequence[int]) -> tuple[int, int]:
        """Where the product of these is."""
        key = tuple((w.key, tuple(shape[a] for a in axes)) for axes, w in groups)
        if (found := self._known.get(key)) is not None:
            return found
        if len(groups) > 1:
            parts = self._product(groups[:1], shape), self._product(groups[1:], shape)
            found = self._taken(key, parts[0][1] * parts[1][1])
            self._products.append((*parts[0], *parts[1], found[0]))
            return found
        ((axes, w),) = groups
        dims = tuple(shape[a] for a in axes)
        wide = tuple(map(padded, dims))
        found = self._taken(key, math.prod(wide))
        self._weights.append((w, found[0], dims, wide))
        return found

    def _of_permuted(
        self, groups: Sequence[Group], shape: tuple[int, ...], order: tuple[int, ...], key: object
    ) -> tuple[int, int]:
        if (found := self._known.get(key)) is not None:
            return found
        found = self._taken(key, math.prod(padded(shape[a]) for a in order))
        self._permuted.append((groups, shape, order, found[0]))
        return found


def dense_bytes(claims: Iterable[tuple[Sequence[Term], tuple[int, ...], tuple[int, ...]]]) -> int:
    """What there is at most while these are written, beside ``out`` and the weights themselves: the memory, and what is
    brought into order for it."""
    dense, most = Dense(), 0
    for terms, shape, order in claims:
        if terms:
            dense.add(terms, shape, order, 0)
    for _, shape, order, _ in dense._permuted:
        most = max(most, 2 * math.prod(padded(shape[a]) for a in order))
    return 16 * (dense.size + most)


@lru_cache(maxsize=4096)
def _split(
    partition: tuple[tuple[int, ...], ...], shape: tuple[int, ...], order: tuple[int, ...]
) -> tuple[list[int], int | None]:
    """The groups of a term in the order of their first axes, and how many make the left factor; None where their axes
    do not come one after the other."""
    rank = {a: i for i, a in enumerate(order)}
    places = sorted(range(len(partition)), key=lambda i: min(rank[a] for a in partition[i]))
    axes = [a for i in places for a in partition[i] if shape[a] > 1]
    if any(rank[a] > rank[b] for a, b in pairwise(axes)):
        return places, None
    split, size = len(places), 1
    while split > 0 and size < RUN:
        split -= 1
        size *= math.prod(padded(shape[a]) for a in partition[places[split]])
    return places, split


def _permuted(groups: Sequence[Group], shape: Sequence[int], order: Sequence[int]) -> U64:
    """The product of groups whose axes do not come one after the other."""
    array: U64 = np.array([[1], [0]], np.uint64)
    for _, w in groups:
        array = mle.outer(array, w.array.reshape(2, -1)).reshape(2, -1)
    axes = [a for group, _ in groups for a in group]
    lengths = [d for _, w in groups for d in w.dims]
    perm = sorted(range(len(axes)), key=lambda i: order.index(axes[i]))
    array = np.transpose(array.reshape(2, *lengths), (0, *(i + 1 for i in perm)))
    return pad_table(np.ascontiguousarray(array), [shape[a] for a in order])
