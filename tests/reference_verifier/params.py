"""Claims on params: evaluations, reductions, and the rows of the matrix that they read (section 11.3, "Params")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from syurmy.isa.graph import ParamTensor
from tests.reference_verifier.field import ONE, K, bits_of, eq, eq_between, product
from tests.reference_verifier.layout import Block, Stack
from tests.reference_verifier.shapes import Split, log
from tests.reference_verifier.sweep import Group, Swept, Term
from tests.reference_verifier.weights import Weights, against_eq


@dataclass
class Evaluation:
    """kappa * <T, eq weights>; ``groups`` by axis: the coordinates' values come from the weights' points."""

    node: ParamTensor
    groups: tuple[Group, ...]
    kappa: K


@dataclass
class Reduced:
    """Claims on one param with the same eq weights ``bound``, on the axes that are left: ``axes``, in the order of its
    matrix, of lengths ``dims``. ``terms``: coefficient and groups on these axes."""

    node: ParamTensor
    bound: tuple[Group, ...]
    axes: tuple[int, ...]
    dims: tuple[int, ...]
    terms: list[Term] = field(default_factory=list)

    @property
    def log_size(self) -> int:
        return sum(map(log, self.dims))

    def weight_at(self, point: Sequence[K]) -> K:
        """The sum over the terms of coefficient * weights, at the last coordinates of a point."""
        where, at = {}, len(point) - self.log_size
        for a, d in zip(self.axes, self.dims, strict=True):
            where[a] = point[at : at + log(d)]
            at += log(d)
        out = K(0)
        for t in self.terms:
            parts = (against_eq(w, [x for a in axes for x in where[a]]) for axes, w in t.groups)
            out = out + t.coefficient * product(parts)
        return out


@dataclass
class Row:
    """A row u^T M: ``first`` and ``weights``: u, at the stored rows first, first + 1, ...; ``uses``: (kappa, point)."""

    first: int
    weights: list[K]
    uses: list[tuple[K, list[K]]] = field(default_factory=list)

    def weight_at(self, s: Sequence[K]) -> K:
        """sum of kappa * eq(point, s)."""
        out = K(0)
        for kappa, point in self.uses:
            out = out + kappa * eq_between(point, s)
        return out


@dataclass
class ParamClaims:
    """``evaluations`` are complete once the reduction's point is known."""

    evaluations: list[Evaluation]
    tables: list[Reduced]
    rows: int

    @property
    def reduced(self) -> list[int]:
        return [t.log_size for t in self.tables]


class Params:
    """The committed params and their matrix. ``split`` None: there are none."""

    def __init__(self, nodes: Sequence[ParamTensor], stack: Stack, split: Split | None) -> None:
        self.blocks: dict[int, Block] = {n.id: b for n, b in zip(nodes, stack.blocks, strict=True)}
        self.split = split
        self.stored = stack.stored(split.c) if split else []

    def claims(self, weights: Weights, swept: Sequence[Swept]) -> ParamClaims:
        """What the sweeps leave on params. The number of rows counts the evaluations of a reduction as well."""
        found: dict[tuple[int, tuple[Group, ...]], Evaluation] = {}
        tables: dict[tuple[int, tuple[Group, ...]], Reduced] = {}
        nodes: dict[int, ParamTensor] = {}
        terms: dict[int, list[Term]] = {}
        for s in swept:
            for node, more in s.of(ParamTensor):
                nodes[node.id] = node  # type: ignore[assignment]
                terms.setdefault(node.id, []).extend(more)
        for i in sorted(nodes):
            for t in terms[i]:
                eqs = tuple(group for group in t.groups if group[1].coordinates is not None)
                others = tuple(group for group in t.groups if group[1].coordinates is None)
                if not others:
                    if (i, eqs) in found:
                        found[i, eqs].kappa = found[i, eqs].kappa + t.coefficient
                    else:
                        found[i, eqs] = Evaluation(nodes[i], eqs, t.coefficient)
                    continue
                if (i, eqs) not in tables:
                    bound = {a for axes, _ in eqs for a in axes}
                    kept = [a for a in self.blocks[i].axes if a not in bound]
                    dims = tuple(nodes[i].shape[a] for a in kept)
                    tables[i, eqs] = Reduced(nodes[i], eqs, tuple(kept), dims)
                tables[i, eqs].terms.append(Term(t.coefficient, others))
        out = ParamClaims(list(found.values()), list(tables.values()), 0)
        out.rows = self.count_rows(out)
        return out

    def after_reduction(self, weights: Weights, claims: ParamClaims, zeta: K, rounds: int) -> list[Evaluation]:
        """All evaluations: with those that a reduction to so many rounds leaves behind, counted zeta, zeta^2, ..."""
        out, count = list(claims.evaluations), zeta
        for t in claims.tables:
            at, groups = rounds - t.log_size, list(t.bound)
            for a, d in zip(t.axes, t.dims, strict=True):
                groups.append(((a,), weights.eq([("params", j) for j in range(at, at + log(d))], d)))
                at += log(d)
            out.append(Evaluation(t.node, tuple(sorted(groups, key=lambda group: group[0][0])), count))
            count = count * zeta
        return out

    def count_rows(self, claims: ParamClaims) -> int:
        nodes = [e.node for e in claims.evaluations] + [t.node for t in claims.tables]
        shared, own = set(), 0
        for node in nodes:
            block = self.blocks[node.id]
            if block.log_size <= self.split.c:
                shared.add(block.offset >> self.split.c)
            else:
                own += 1
        return len(shared) + own

    def rows(self, weights: Weights, evaluations: Sequence[Evaluation]) -> list[Row]:
        """The different rows that evaluations read, in order of first use."""
        c, out = self.split.c, []
        shared: dict[int, Row] = {}
        for e in evaluations:
            block = self.blocks[e.node.id]
            by_axis = {axes[0]: w.coordinates for axes, w in e.groups}
            point = weights.point([x for a in block.axes for x in by_axis[a]])
            first = self.stored.index(block.offset >> c)
            if block.log_size <= c:
                inside = bits_of(block.offset >> block.log_size, c - block.log_size)
                number = block.offset >> c
                if number not in shared:
                    shared[number] = Row(first, [ONE])
                    out.append(shared[number])
                shared[number].uses.append((e.kappa, inside + point))
                continue
            k = block.log_size - c
            table = eq(point[:k])
            base = block.offset >> c
            mine = [table[r - base] for r in self.stored if base <= r < base + 2**k]
            out.append(Row(first, mine, [(e.kappa, point[k:])]))
        return out
