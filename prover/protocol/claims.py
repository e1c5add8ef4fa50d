"""Claims and their pull-back: reverse-mode differentiation over K (protocol section 1).

A term is ``coefficient * <T, w_1 (x) ... (x) w_d>`` about a tensor T. A term on a linear image is rewritten by the
transposed map into terms on its inputs. ``Sweep.run`` does so for all claims at once, in one reverse topological
pass, accumulating by tensor, and stops at committed, external, public and param tensors and at products. Prover and
verifier run the same sweep; it costs the lengths of the weights, never the size of a committed tensor.

Axes of length 1 carry no weight (it would be a factor, and is in the coefficient).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.graph import Committed, External, Node, ParamTensor, Product, Public
from syurmy.isa.joining import segments
from syurmy.isa.pieces import Piece, laid
from syurmy.isa.progression import Progression
from syurmy.isa.records import dataclass
from syurmy.isa.types import padded
from syurmy.prover.field import ONE, ZERO, Ext
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.strands import Coordinate
from syurmy.prover.protocol.weights import Weight, WeightSpace

ENDS = (Committed, ParamTensor, Public, Product, External)  # tensors that claims end on

Group = tuple[tuple[int, ...], Weight]  # axes (ascending) and the weight over them


class Term:
    """``coefficient`` times the inner product with these weights. Immutable."""

    __slots__ = ("_key", "coefficient", "groups")

    def __init__(self, coefficient: Ext, groups: tuple[Group, ...]) -> None:
        self.coefficient = coefficient
        self.groups = groups  # sorted by first axis; together they cover the axes of length > 1
        self._key: tuple[tuple[tuple[int, ...], Hashable], ...] | None = None

    def __eq__(self, o: object) -> bool:
        return isinstance(o, Term) and self.coefficient == o.coefficient and self.groups == o.groups

    def __hash__(self) -> int:
        return hash((self.coefficient, self.groups))

    @property
    def key(self) -> tuple[tuple[tuple[int, ...], Hashable], ...]:
        """Equal for terms that differ in their coefficient only."""
        if self._key is None:
            self._key = tuple([(axes, w.key) for axes, w in self.groups])
        return self._key

    def but(self, position: int) -> Hashable:
        """Equal for terms that differ in their coefficient and the weight at ``position`` only."""
        k = self.key
        return (k[:position], k[position][0], k[position + 1 :]) if position < len(k) else (k, None, None)

    @property
    def partition(self) -> tuple[tuple[int, ...], ...]:
        return tuple(axes for axes, _ in self.groups)


@dataclass
class Pulled:
    """Where the claims ended. Terms by tensor, in order of node id; ``constant``: what constants contributed."""

    constant: Ext = ZERO
    columns: dict[Committed, list[Term]] = field(default_factory=dict)
    params: dict[ParamTensor, list[Term]] = field(default_factory=dict)
    publics: dict[Public, list[Term]] = field(default_factory=dict)
    products: dict[Product, list[Term]] = field(default_factory=dict)
    externals: dict[External, list[Term]] = field(default_factory=dict)

    def extend(self, more: Pulled) -> None:
        """With where further claims ended. Terms on one tensor are not merged."""
        self.constant = self.constant + more.constant
        for ours, theirs in zip(self._by_kind, more._by_kind, strict=True):
            for node, terms in theirs.items():
                ours[node] = ours.get(node, []) + terms

    def of(self, node: Node) -> dict[Any, list[Term]]:
        """The terms on tensors of this one's kind."""
        return self._by_kind[next(k for k, kind in enumerate(ENDS) if isinstance(node, kind))]

    @property
    def _by_kind(self) -> tuple[dict[Any, list[Term]], ...]:
        return self.columns, self.params, self.publics, self.products, self.externals  # as ENDS


def eq_term(space: WeightSpace, point: Sequence[Coordinate], shape: Sequence[int], coefficient: Ext = ONE) -> Term:
    """The evaluation claim at the suffix of ``point`` that a tensor of this (padded) shape takes."""
    weights = _eq_weights(space, point, shape)
    return Term(coefficient, tuple(((a,), w) for a, w in enumerate(weights) if w is not None))


def piece_term(space: WeightSpace, point: Sequence[Coordinate], piece: Piece, coefficient: Ext = ONE) -> Term:
    """The evaluation claim at the suffix of ``point`` that a piece of a tensor takes, as one on the tensor."""
    first, *others = _eq_weights(space, point, piece.true)
    groups: list[Group] = [((a,), w) for a, w in zip(piece.others, others, strict=True) if w is not None]
    if axes := tuple(a for a in piece.axes if piece.shape[a] > 1):
        part = space.ones(1) if first is None else first
        if not piece.whole:
            part = space.reshape(part, (piece.hi - piece.lo, 1))
            part = space.scatter(part, np.arange(piece.lo, piece.hi, dtype=np.int32), piece.length)
        groups.append((axes, space.reshape(part, [piece.shape[a] for a in axes])))
    return _ordered(coefficient, groups)


def _eq_weights(space: WeightSpace, point: Sequence[Coordinate], lengths: Sequence[int]) -> list[Weight | None]:
    """eq of the suffix of ``point``, axis by axis; None on axes of length 1."""
    out: list[Weight | None] = []
    at = len(point)
    for d in reversed(lengths):
        bits = padded(d).bit_length() - 1
        out.append(space.eq(point[at - bits : at], d) if bits else None)
        at -= bits
    return out[::-1]


def point_bits(shape: Sequence[int]) -> int:
    """Number of coordinates of an evaluation claim."""
    return sum(padded(d).bit_length() - 1 for d in shape)


class Sweep:
    def __init__(self, space: WeightSpace) -> None:
        self.space = space

    def run(self, claims: Iterable[tuple[Node, Term]]) -> Pulled:
        out = Pulled()
        pending: dict[int, list[Term]] = {}
        nodes: dict[int, Node] = {}
        heap: list[int] = []

        def push(node: Node, term: Term) -> None:
            if node.committed_as is not None:
                node = node.committed_as
            if node.id not in pending:
                pending[node.id] = []
                nodes[node.id] = node
                heapq.heappush(heap, -node.id)
            pending[node.id].append(term)

        for node, term in claims:
            push(node, term)
        ends: list[tuple[Node, list[Term]]] = []
        while heap:
            i = -heapq.heappop(heap)
            node, terms = nodes[i], pending.pop(i)
            self.met(len(terms))
            if len(terms) > 1:
                terms = self.merge(terms, isinstance(node, ParamTensor))
            if isinstance(node, ENDS):
                # a column declared ahead of a loop has a small id, so nothing can be pushed to it after this
                ends.append((node, terms))
                continue
            for term in self.passing(node, terms):
                for target, pulled in self.adjoint(node, term, out):
                    push(target, pulled)
        for node, terms in sorted(ends, key=lambda e: e[0].id):
            found = out.of(node)
            known = found.get(node)
            if known is not None:
                terms = known + terms
            if not isinstance(node, External):
                self.met(len(terms))
            found[node] = terms if known is None else self.merge(terms, isinstance(node, ParamTensor))
        return out

    def met(self, terms: int) -> None:
        """So many terms have met on a tensor (the planner counts them)."""

    def passing(self, node: Node, terms: list[Term]) -> list[Term]:
        """The terms on a linear image that go on to its inputs (the planner cuts here)."""
        return terms

    # ---- accumulation --------------------------------------------------------------------------------------------

    def merge(self, terms: list[Term], equal_only: bool = False) -> list[Term]:
        """Add equal terms; then add terms that differ in one weight only, until nothing changes.

        ``equal_only`` stops after the first step, which keeps evaluation claims what they are.
        """
        if len(terms) == 1:
            return terms
        if len(terms) == 2:
            return self._merged(terms[0], terms[1], equal_only)
        total: dict[Hashable, Term] = {}
        for t in terms:
            key = t.key
            old = total.get(key)
            total[key] = t if old is None else Term(old.coefficient + t.coefficient, t.groups)
        terms = list(total.values())
        changed = len(terms) > 1 and not equal_only
        while changed:
            changed = False
            for position in range(max(len(t.groups) for t in terms)):
                buckets: dict[Hashable, list[Term]] = {}
                for t in terms:
                    buckets.setdefault(t.but(position), []).append(t)
                if len(buckets) < len(terms):
                    changed = True
                    terms = [self._sum(bucket, position) for bucket in buckets.values()]
                if len(terms) == 1:
                    return terms
        return terms

    def _merged(self, a: Term, b: Term, equal_only: bool) -> list[Term]:
        """``merge`` of two."""
        if a.key == b.key:
            return [Term(a.coefficient + b.coefficient, a.groups)]
        if equal_only or len(a.key) != len(b.key):
            return [a, b]
        other = [i for i, (x, y) in enumerate(zip(a.key, b.key, strict=True)) if x != y]
        if len(other) > 1 or a.key[other[0]][0] != b.key[other[0]][0]:
            return [a, b]
        return [self._sum([a, b], other[0])]

    def _sum(self, bucket: list[Term], position: int) -> Term:
        first = bucket[0]
        if len(bucket) == 1:
            return first
        if position >= len(first.groups):  # equal terms have been added: returning one would drop the others' claims
            raise ValueError("terms that are equal in every weight were not merged")
        joint = self.space.linear([(t.coefficient, t.groups[position][1]) for t in bucket])
        groups = list(first.groups)
        groups[position] = (groups[position][0], joint)
        return Term(ONE, tuple(groups))

    # ---- transposed maps -----------------------------------------------------------------------------------------

    def adjoint(self, node: Node, term: Term, out: Pulled) -> list[tuple[Node, Term]]:
        if isinstance(node, g.Combine):
            if node.const:
                total = term.coefficient * node.const
                for _, w in term.groups:
                    total = total * self.space.total(w)
                out.constant = out.constant + total
            return [
                (n, term if c == 1 else Term(term.coefficient * c, term.groups))
                for c, n in zip(node.coefficients, node.inputs, strict=True)
            ]
        source = node.inputs[0] if node.inputs else node
        if isinstance(node, g.Reshape):
            return [(source, self.reshaped(term, node.shape, source.shape))]
        if isinstance(node, g.Transpose):
            return [(source, self._moved(term, dict(enumerate(node.perm))))]
        if isinstance(node, g.Broadcast):
            axes = [a for a, (d, e) in enumerate(zip(source.shape, node.shape, strict=True)) if d != e]
            for a in axes:
                term = self._sum_out(term, a)
            return [(source, term)]
        if isinstance(node, g.Sum):
            extra = tuple(((a,), self.space.ones(source.shape[a])) for a in node.axes if source.shape[a] > 1)
            return [(source, _ordered(term.coefficient, term.groups + extra))]
        if isinstance(node, g.IndexMap):
            return [(source, self._index_map(node, source, term))]
        if isinstance(node, g.Concat):
            pulled, lo = [], 0
            for n in node.inputs:
                hi = lo + n.shape[node.axis]
                pulled.append((n, self._cut(term, node.axis, lo, hi)))
                lo = hi
            return pulled
        raise TypeError(f"no transposed map for {type(node).__name__}")

    def _moved(self, term: Term, where: dict[int, int]) -> Term:
        """Axes renamed; weights transposed so that the axes of a group ascend."""
        groups: list[Group] = []
        for axes, w in term.groups:
            new = [where[a] for a in axes]
            perm = sorted(range(len(new)), key=lambda i: new[i])
            groups.append((tuple(new[i] for i in perm), self.space.transpose(w, perm)))
        return _ordered(term.coefficient, groups)

    def _sum_out(self, term: Term, axis: int) -> Term:
        groups: list[Group] = []
        coefficient = term.coefficient
        for axes, w in term.groups:
            if axis not in axes:
                groups.append((axes, w))
            elif len(axes) == 1:
                coefficient = coefficient * self.space.total(w)
            else:
                groups.append((tuple(a for a in axes if a != axis), self.space.sum_axis(w, axes.index(axis))))
        return _ordered(coefficient, groups)

    def _cut(self, term: Term, axis: int, lo: int, hi: int) -> Term:
        groups: list[Group] = []
        coefficient = term.coefficient
        for axes, w in term.groups:
            if axis not in axes:
                groups.append((axes, w))
                continue
            i = axes.index(axis)
            part = self.space.slice(w, i, lo, hi)
            if hi - lo > 1:
                groups.append((axes, part))
            elif len(axes) == 1:
                coefficient = coefficient * self.space.total(part)
            else:
                groups.append((tuple(a for a in axes if a != axis), self.space.sum_axis(part, i)))
        return _ordered(coefficient, groups)

    def joint(self, groups: Sequence[Group]) -> Group:
        """One group over the union of axes, ascending."""
        axes, w = groups[0]
        for more, v in groups[1:]:
            axes, w = axes + more, self.space.outer(w, v)
        perm = sorted(range(len(axes)), key=lambda i: axes[i])
        return tuple(axes[i] for i in perm), self.space.transpose(w, perm)

    def reshaped(self, term: Term, out_shape: Sequence[int], in_shape: Sequence[int]) -> Term:
        """A term on a tensor as one on the same entries in another shape."""
        if tuple(out_shape) == tuple(in_shape):
            return term
        runs = segments(out_shape, in_shape)
        segment_of = {a: k for k, (out_axes, _) in enumerate(runs) for a in out_axes}
        # segments that a group or a segment ties together are reshaped as one
        cluster = list(range(len(runs)))
        for axes, _ in term.groups:
            tied = {cluster[segment_of[a]] for a in axes}
            cluster = [min(tied) if c in tied else c for c in cluster]
        groups: list[Group] = []
        for c in sorted(set(cluster)):
            parts = [runs[k] for k in range(len(runs)) if cluster[k] == c]
            in_axes = tuple(a for _, axes in parts for a in axes)
            _, w = self.joint([x for x in term.groups if cluster[segment_of[x[0][0]]] == c])
            groups.append((in_axes, self.space.reshape(w, [in_shape[a] for a in in_axes])))
        return _ordered(term.coefficient, groups)

    def _index_map(self, node: g.IndexMap, source: Node, term: Term) -> Term:
        wide = [a for a in node.out_axes if node.shape[a] > 1]
        touched = [x for x in term.groups if set(x[0]) & set(wide)]
        rest = [x for x in term.groups if not set(x[0]) & set(wide)]
        out_rest = [a for a in range(len(node.shape)) if a not in node.out_axes]
        in_rest = [a for a in range(len(source.shape)) if a not in node.in_axes]
        where = dict(zip(out_rest, in_rest, strict=True))
        groups: list[Group] = [(tuple(where[a] for a in axes), w) for axes, w in rest]
        size = int(np.prod([source.shape[a] for a in node.in_axes], dtype=np.int64))
        if touched:
            axes, w = self.joint(touched)
            others = [a for a in axes if a not in node.out_axes]
            w = self.space.transpose(w, [axes.index(a) for a in (*sorted(wide, key=node.out_axes.index), *others)])
            w = self.space.reshape(w, (node.where.size, w.size // node.where.size))
        else:  # all output axes have length 1: one entry, weight 1
            others = []
            w = self.space.reshape(self.space.ones(1), (1, 1))
        w = self.space.scatter(w, node.where, size)
        in_wide = [a for a in node.in_axes if source.shape[a] > 1]
        new_axes = [*in_wide, *(where[a] for a in others)]
        w = self.space.reshape(w, [source.shape[a] for a in new_axes])
        coefficient = term.coefficient
        if not new_axes:
            coefficient = coefficient * self.space.total(w)
        else:
            perm = sorted(range(len(new_axes)), key=lambda i: new_axes[i])
            groups.append((tuple(new_axes[i] for i in perm), self.space.transpose(w, perm)))
        return _ordered(coefficient, groups)


def columns_of(pulled: Sequence[Pulled], sweep: Sweep) -> dict[Committed, list[Term]]:
    """All terms on witness columns, merged, in order of node id, in the shapes in which they lie in the matrix."""
    terms: dict[Committed, list[Term]] = {}
    for p in pulled:
        for node, more in p.columns.items():
            terms.setdefault(node, []).extend(more)
    return {
        node: [sweep.reshaped(t, node.shape, laid(node.shape)) for t in sweep.merge(terms[node])]
        for node in sorted(terms, key=lambda n: n.id)
    }


def _ordered(coefficient: Ext, groups: Iterable[Group]) -> Term:
    return Term(coefficient, tuple(sorted(groups, key=lambda x: x[0])))


def inner_product(values: I64 | Progression, term: Term, space: WeightSpace) -> Ext:
    """``coefficient * sum values * weights`` over known integers, shape of the tensor, or in closed form those along
    its only axis of length above 1."""
    if not term.groups:
        return term.coefficient * int(np.asarray(values).reshape(-1)[0])
    if isinstance(values, Progression):
        ((_, w),) = term.groups
        return term.coefficient * space.dot(w, values)
    # the longest weight first: what is left of the values is short, and so are the products of the other weights
    *others, (last, w) = sorted(term.groups, key=lambda group: group[1].size)
    order = [a for axes, _ in others for a in axes]
    kept = [a for a, d in enumerate(values.shape) if d > 1]
    matrix = np.transpose(values.reshape([values.shape[a] for a in kept]), [kept.index(a) for a in (*order, *last)])
    rows = mle.combined_int(matrix.reshape(-1, w.size), w.array.reshape(2, -1))
    if not others:
        return term.coefficient * Ext(*rows[:, 0].tolist())
    weights = others[0][1].array.reshape(2, -1)
    for _, more in others[1:]:
        weights = mle.outer(weights, more.array.reshape(2, -1)).reshape(2, -1)
    return term.coefficient * mle.dot(weights, rows)
