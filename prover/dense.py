"""Weights written out: the terms of claims on a tensor, added up in the tensor's place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from syurmy.isa.errors import InputError
from syurmy.isa.types import padded
from syurmy.prover.field import U64
from syurmy.prover.kernels.compiled import ONES
from syurmy.prover.kernels.place import outer_sum
from syurmy.prover.operands import pad_table
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.claims import Group, Term

RUN = 64  # entries of the right factors of a term, at least, if its groups allow it


class Dense:
    """Writes weights out; of terms that differ in their coefficient only, the factors are multiplied once."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[U64, U64]] = {}

    def into(self, out: U64, at: int, terms: Sequence[Term], shape: tuple[int, ...], order: tuple[int, ...]) -> None:
        """The sum of the terms into ``out[:, at:]``, ``uint64[2, *]``: axes in ``order``, each with zeros up to a power
        of two. Written piece by piece, from two factors of each term."""
        if not terms:
            raise InputError("a tensor without claims has no weights")
        for i, term in enumerate(terms):
            left, right = self._factors(term, shape, order)
            outer_sum(left, right, term.coefficient, i > 0, out, at)

    def _factors(self, term: Term, shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[U64, U64]:
        """Two vectors of whose outer product the term is a multiple."""
        key = term.key, shape, order
        found = self._known.get(key)
        if found is None:
            places, split = _split(term.partition, shape, order)
            groups = [term.groups[i] for i in places]
            if split is None:
                return ONES, _permuted(groups, shape, order)
            left, right = ([_padded(g, shape) for g in part] for part in (groups[:split], groups[split:]))
            found = self._known[key] = _product(left), _product(right)
        return found


def dense_bytes(claims: Iterable[tuple[Sequence[Term], tuple[int, ...], tuple[int, ...]]]) -> int:
    """What there is at most while these are written one after the other, beside ``out`` and the weights themselves: the
    factors of terms, and those of one that are brought into order."""
    kept: dict[object, int] = {}
    most = 0
    for terms, shape, order in claims:
        for term in terms:
            places, split = _split(term.partition, shape, order)
            wide = [math.prod(padded(shape[a]) for a in term.groups[i][0]) for i in places]
            if split is None:
                most = max(most, 2 * math.prod(wide))
            else:
                kept[term.key, shape, order] = math.prod(wide[:split]) + math.prod(wide[split:])
    return 16 * (most + sum(kept.values()))


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


def _product(factors: Sequence[U64]) -> U64:
    """Outer product of ``uint64[2, n]``, flat; of none, 1."""
    if not factors:
        return ONES
    out = factors[0]
    for f in factors[1:]:
        out = mle.outer(out, f).reshape(2, -1)
    return out


def _padded(group: Group, shape: Sequence[int]) -> U64:
    axes, w = group
    return pad_table(w.array, [shape[a] for a in axes])


def _permuted(groups: Sequence[Group], shape: Sequence[int], order: Sequence[int]) -> U64:
    """The product of groups whose axes do not come one after the other."""
    array = _product([w.array.reshape(2, -1) for _, w in groups])
    axes = [a for group, _ in groups for a in group]
    lengths = [d for _, w in groups for d in w.dims]
    perm = sorted(range(len(axes)), key=lambda i: order.index(axes[i]))
    array = np.transpose(array.reshape(2, *lengths), (0, *(i + 1 for i in perm)))
    return pad_table(np.ascontiguousarray(array), [shape[a] for a in order])
