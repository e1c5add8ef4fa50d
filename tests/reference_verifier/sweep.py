"""Claims and their pull-back through linear images (protocol, sections 1 and 11.3)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from syurmy.isa import graph as g
from syurmy.isa.graph import Node
from tests.reference_verifier.field import ONE, ZERO, K, inner, log2_ceil
from tests.reference_verifier.layout import Piece
from tests.reference_verifier.weights import Coordinate, Weight, Weights

Group = tuple[tuple[int, ...], Weight]  # axes, ascending, and the weight over them


@dataclass(frozen=True)
class Term:
    """coefficient * <T, product of weights>; the groups cover the axes of length above 1, by first axis."""

    coefficient: K
    groups: tuple[Group, ...]

    def times(self, c: K | int) -> Term:
        return Term(self.coefficient * c, self.groups)


Claim = tuple[Node, Term]


@dataclass
class Ends:
    """Terms where a sweep ended, by tensor in order of number; ``constant``: what constants added."""

    constant: K = ZERO
    columns: dict[g.Committed, list[Term]] = field(default_factory=dict)
    params: dict[g.ParamTensor, list[Term]] = field(default_factory=dict)
    publics: dict[g.Public, list[Term]] = field(default_factory=dict)
    products: dict[g.Product, list[Term]] = field(default_factory=dict)
    externals: dict[g.External, list[Term]] = field(default_factory=dict)


def ordered(coefficient: K, groups: Iterable[Group]) -> Term:
    return Term(coefficient, tuple(sorted(groups, key=lambda x: x[0])))


def ascending(space: Weights, axes: Sequence[int], w: Weight) -> Group:
    """A weight over these axes, transposed so that they ascend."""
    perm = sorted(range(len(axes)), key=lambda i: axes[i])
    return tuple(axes[i] for i in perm), space.transpose(w, perm)


def eq_term(
    space: Weights, point: Sequence[Coordinate], shape: Sequence[int], coefficient: K = ONE, piece: Piece | None = None
) -> Term:
    """The evaluation of a tensor, or of a piece of it, at the suffix of ``point`` that it takes."""
    axis, lo, hi = piece or (-1, 0, 0)
    groups: list[Group] = []
    at = len(point)
    for a in sorted(range(len(shape)), key=lambda a: (a == axis, -a)):  # the last coordinates are the last axis's
        d = hi - lo if a == axis else shape[a]
        bits = log2_ceil(d)
        w = space.eq(point[at - bits : at], d) if bits else space.ones(1)
        at -= bits
        if d < shape[a]:
            w = space.scatter(space.reshape(w, (d, 1)), range(lo, hi), (d,), shape[a])
            w = space.reshape(w, (shape[a],))
        if shape[a] > 1:
            groups.append(((a,), w))
    return Term(coefficient, tuple(sorted(groups, key=lambda group: group[0])))


def leaf_term(
    space: Weights,
    point: Sequence[Coordinate],
    row_point: Sequence[Coordinate],
    shape: Sequence[int],
    member: Sequence[int],
    coefficient: K = ONE,
    piece: Piece | None = None,
) -> Term:
    """A member's value at the leaves' point; axes that it has behind those of the block are fingerprinted."""
    lead = eq_term(space, point, shape, coefficient, piece)
    row = eq_term(space, row_point, member[len(shape) :])
    return Term(coefficient, lead.groups + tuple((tuple(a + len(shape) for a in axes), w) for axes, w in row.groups))


class Sweep:
    """``most``: with a number, linear images with more terms are ``crowded``, and pass one instead."""

    def __init__(self, space: Weights, most: int | None = None) -> None:
        self.space, self.most = space, most
        self.crowded: list[Node] = []

    def run(self, claims: Iterable[Claim]) -> Ends:
        ends = Ends()
        waiting: dict[Node, list[Term]] = {}
        heap: list[tuple[int, int, Node]] = []
        stopped: list[tuple[Node, list[Term]]] = []

        def push(node: Node, term: Term) -> None:
            node = node.committed_as or node
            if node not in waiting:
                waiting[node] = []
                heapq.heappush(heap, (-node.id, id(node), node))
            waiting[node].append(term)

        for node, term in claims:
            push(node, term)
        while heap:
            node = heapq.heappop(heap)[2]
            terms = self.merged(waiting.pop(node), isinstance(node, g.ParamTensor))
            if isinstance(node, (g.Committed, g.External, g.ParamTensor, g.Public, g.Product)):
                stopped.append((node, terms))
                continue
            if self.most is not None and len(terms) > self.most:
                self.crowded.append(node)
                terms = [eq_term(self.space, dry_point(node.shape), node.shape)]
            for term in terms:
                for target, pulled in self.transposed(node, term, ends):
                    push(target, pulled)
        for node, terms in sorted(stopped, key=lambda x: x[0].id):
            kinds = {
                g.Committed: ends.columns,
                g.External: ends.externals,
                g.ParamTensor: ends.params,
                g.Public: ends.publics,
                g.Product: ends.products,
            }
            into: dict[Any, list[Term]] = kinds[type(node)]  # type: ignore[assignment]
            into[node] = self.merged(into.get(node, []) + terms, isinstance(node, g.ParamTensor))
        return ends

    def merged(self, terms: list[Term], equal_only: bool = False) -> list[Term]:
        """Equal terms added; then terms that differ in one weight, group by group, until nothing changes."""
        if len(terms) == 1:
            return terms
        same: dict[tuple[Group, ...], K] = {}
        for t in terms:
            same[t.groups] = same[t.groups] + t.coefficient if t.groups in same else t.coefficient
        terms = [Term(c, groups) for groups, c in same.items()]
        changed = not equal_only
        while changed and len(terms) > 1:
            changed = False
            for i in range(max(len(t.groups) for t in terms)):
                buckets: dict[Any, list[Term]] = {}
                for t in terms:
                    rest = tuple((axes, w if j != i else None) for j, (axes, w) in enumerate(t.groups))
                    buckets.setdefault(rest, []).append(t)
                if len(buckets) < len(terms):
                    changed = True
                    terms = [self._joined(bucket, i) for bucket in buckets.values()]
                if len(terms) == 1:
                    break
        return terms

    def _joined(self, bucket: list[Term], i: int) -> Term:
        if len(bucket) == 1:
            return bucket[0]
        groups = list(bucket[0].groups)
        groups[i] = groups[i][0], self.space.linear([(t.coefficient, t.groups[i][1]) for t in bucket])
        return Term(ONE, tuple(groups))

    # ---- one rule per linear image -------------------------------------------------------------------------------

    def transposed(self, node: Node, term: Term, ends: Ends) -> list[Claim]:
        if isinstance(node, g.Combine):
            if node.const:
                ends.constant = ends.constant + self.total(term) * node.const
            return [(n, term.times(c)) for c, n in zip(node.coefficients, node.inputs, strict=True)]
        source = node.inputs[0]
        if isinstance(node, g.Reshape):
            return [(source, self._reshape(term, node.shape, source.shape))]
        if isinstance(node, g.Transpose):
            moved = [ascending(self.space, [node.perm[a] for a in axes], w) for axes, w in term.groups]
            return [(source, ordered(term.coefficient, moved))]
        if isinstance(node, g.Broadcast):
            for axis, (d, e) in enumerate(zip(source.shape, node.shape, strict=True)):
                if d != e:
                    term = self._cut(term, axis, 0, e, summed=True)
            return [(source, term)]
        if isinstance(node, g.Sum):
            more = [((a,), self.space.ones(source.shape[a])) for a in node.axes if source.shape[a] > 1]
            return [(source, ordered(term.coefficient, [*term.groups, *more]))]
        if isinstance(node, g.Concat):
            out, lo = [], 0
            for n in node.inputs:
                hi = lo + n.shape[node.axis]
                out.append((n, self._cut(term, node.axis, lo, hi, summed=hi - lo == 1)))
                lo = hi
            return out
        assert isinstance(node, g.IndexMap)
        return [(source, self._index_map(node, source, term))]

    def total(self, term: Term) -> K:
        """The sum over all entries."""
        out = term.coefficient
        for _, w in term.groups:
            out = out * self.space.total(w)
        return out

    def _cut(self, term: Term, axis: int, lo: int, hi: int, summed: bool) -> Term:
        """Entries lo..hi of one axis; ``summed``: added up, so that the axis has no weight."""
        out: list[Group] = []
        coefficient = term.coefficient
        for axes, w in term.groups:
            if axis in axes:
                i = axes.index(axis)
                w = self.space.slice(w, i, lo, hi)
                if summed and len(axes) == 1:
                    coefficient = coefficient * self.space.total(w)
                    continue
                if summed:
                    axes, w = tuple(a for a in axes if a != axis), self.space.sum_axis(w, i)
            out.append((axes, w))
        return ordered(coefficient, out)

    def joint(self, groups: Sequence[Group]) -> Group:
        """One group in place of several."""
        axes, w = groups[0]
        for more, v in groups[1:]:
            axes, w = axes + more, self.space.outer(w, v)
        return ascending(self.space, axes, w)

    def _reshape(self, term: Term, outer: Sequence[int], inner_shape: Sequence[int]) -> Term:
        runs = matching_runs(outer, inner_shape)
        run_of = {a: k for k, (axes, _) in enumerate(runs) for a in axes}
        tied = list(range(len(runs)))  # runs that one group joins have one number
        for axes, _ in term.groups:
            numbers = {tied[run_of[a]] for a in axes}
            tied = [min(numbers) if k in numbers else k for k in tied]
        out: list[Group] = []
        for k in sorted(set(tied)):
            axes = tuple(a for (_, new), t in zip(runs, tied, strict=True) if t == k for a in new)
            _, w = self.joint([x for x in term.groups if tied[run_of[x[0][0]]] == k])
            out.append((axes, self.space.reshape(w, [inner_shape[a] for a in axes])))
        return ordered(term.coefficient, out)

    def _index_map(self, node: g.IndexMap, source: Node, term: Term) -> Term:
        kept_out = [a for a in range(len(node.shape)) if a not in node.out_axes]
        kept_in = [a for a in range(len(source.shape)) if a not in node.in_axes]
        moved = dict(zip(kept_out, kept_in, strict=True))
        wide = [a for a in node.out_axes if node.shape[a] > 1]
        touched = [x for x in term.groups if set(x[0]) & set(wide)]
        out: list[Group] = [(tuple(moved[a] for a in axes), w) for axes, w in term.groups if not set(axes) & set(wide)]
        index = node.index.reshape(-1).tolist()
        others: list[int] = []
        if touched:
            axes, w = self.joint(touched)
            others = [a for a in axes if a not in node.out_axes]
            w = self.space.transpose(w, [axes.index(a) for a in (*wide, *others)])
        else:
            w = self.space.ones(1)
        w = self.space.reshape(w, (len(index), prod(w.dims) // len(index)))
        w = self.space.scatter(w, index, node.index.shape, prod(source.shape[a] for a in node.in_axes))
        axes = (*(a for a in node.in_axes if source.shape[a] > 1), *(moved[a] for a in others))
        w = self.space.reshape(w, [source.shape[a] for a in axes])
        if not axes:
            return ordered(term.coefficient * self.space.total(w), out)
        return ordered(term.coefficient, [*out, ascending(self.space, axes, w)])


def matching_runs(outer: Sequence[int], inner_shape: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes (of length above 1) of two shapes with equal products."""
    a = [i for i, d in enumerate(outer) if d > 1]
    b = [i for i, d in enumerate(inner_shape) if d > 1]
    out = []
    while a:
        x, y = [a.pop(0)], [b.pop(0)]
        while (p := prod(outer[i] for i in x)) != (q := prod(inner_shape[i] for i in y)):
            if p < q:
                x.append(a.pop(0))
            else:
                y.append(b.pop(0))
        out.append((x, y))
    return out


def dry_point(shape: Sequence[int], name: str = "dry") -> list[Coordinate]:
    """Coordinates counted from the end, so that suffixes of one point have equal names."""
    count = sum(map(log2_ceil, shape))
    return [(name, i - count) for i in range(count)]


def known_sum(values: list[int], term: Term, sweep: Sweep) -> K:
    """The term's value on known integers."""
    if not term.groups:
        return term.coefficient * values[0]
    return term.coefficient * inner(sweep.joint(term.groups)[1].values, [K(v) for v in values])
