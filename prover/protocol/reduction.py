"""The reductions between the arguments, shared by prover and verifier: leaves -> claims -> columns.

1. ``leaf_claims``: the two claims of the lookup tree at its leaves, (num, den), are linear in the members and
   multiplicities, so they become two claims on those tensors; each equation adds one. Combined by powers of gamma.
2. One sweep pulls them back; what reaches products goes to the contraction sumcheck, whose ends are two claims per
   contraction, combined by powers of eta, and one more sweep.
3. Claims on params in evaluation form join the opening as they are. All others are first brought into that form: those
   on one param with the same eq weights on the same axes are claims on the param bound to these, T' = sum over the eq
   axes of eq * T, and one sumcheck against the public weights of the axes that are left ends in T'(s), an evaluation of
   T at the eq axes' points and s. These join the opening with powers of zeta.

Soundness: batching errors (2 + equations)/|K| and 2*contractions/|K|.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from syurmy.isa.arrays import I64
from syurmy.isa.graph import Committed, External, Node, ParamTensor, Public, Table, Tuples
from syurmy.isa.pieces import Piece, laid, whole_of
from syurmy.isa.progression import Progression
from syurmy.prover.field import ONE, U64, ZERO, Ext, eq_list
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.claims import Group, Pulled, Sweep, Term, eq_term, inner_product, piece_term
from syurmy.prover.protocol.contraction import Contraction
from syurmy.prover.protocol.hidden import Value
from syurmy.prover.protocol.ladder import EqWeight
from syurmy.prover.protocol.layout import MatrixLayout, Parts, Place, Prefixes
from syurmy.prover.protocol.params_claims import ParamsClaim
from syurmy.prover.protocol.plan import Block, Plan
from syurmy.prover.protocol.strands import Coordinate

LOOKUP = "lookup"  # names of points
FINGERPRINT = "fingerprint"
CONTRACTION = "contraction"
PARAMS = "params reduction"

FEW = 2  # coordinates of a table so short that arrays cost more than its rows

Claim = tuple[Node, Term]


def suffix(name: str, length: int, count: int) -> list[Coordinate]:
    return [(name, i) for i in range(length - count, length)]


def leaf_claims(
    plan: Plan, sweep: Sweep, alpha: Ext, beta: Ext, gamma: Ext, num: Value, den: Value, leaf_point: Sequence[Ext]
) -> tuple[list[Claim], Value]:
    """Claims and their combined target. ``leaf_point``: the last ``log_leaves`` elements of the common point."""
    leaves = _Leaves(plan, sweep, leaf_point)
    claims = _claims(plan, leaves, beta, gamma)
    covered, signed, known = ZERO, ZERO, ZERO  # of all blocks; with their signs; what is known of their denominators
    alike: dict[tuple[int, int], Ext] = {}  # of blocks with one tag and the same weights
    vectors: dict[int, U64] = {}
    for b, at, number in zip(plan.blocks, leaves.at, leaves.numbers, strict=True):
        covered = covered + at
        if b.multiplicity is None:
            signed = signed + (at if b.sign == 1 else at * b.sign)
        if isinstance(b.source, Table):
            known = known + at * _table_value(b, b.source, beta, leaf_point, vectors)
        else:
            key = b.tag, number
            alike[key] = alike[key] + at if key in alike else at
    for (tag, number), at in alike.items():
        tags = at * tag
        for _, w in leaves.groups[number]:  # padded leaves have no tag
            tags = tags * sweep.space.total(w)
        known = known + tags
    # lookup and table denominators are alpha - ..., unused leaves are 0/1
    return claims, covered * alpha + (1 - covered) - known - den + (signed - num) * gamma


def claims_at_leaves(plan: Plan, sweep: Sweep, beta: Ext, gamma: Ext, leaf_point: Sequence[Ext]) -> list[Claim]:
    """The claims on members, multiplicities and equations, without their target."""
    return _claims(plan, _Leaves(plan, sweep, leaf_point), beta, gamma)


class _Leaves:
    """Where blocks lie among the leaves, and the evaluation that each is of what lies in it, of blocks of one shape
    worked out once. ``at``: eq of each block's place; ``numbers``: of the weights of what lies in it, at its part of
    the common point, among ``groups`` (-1 for tables)."""

    def __init__(self, plan: Plan, sweep: Sweep, leaf_point: Sequence[Ext]) -> None:
        self.sweep = sweep
        prefixes = Prefixes(leaf_point)
        self.at = [prefixes.eq(b.offset, b.log_size) for b in plan.blocks]
        self.groups: list[tuple[Group, ...]] = []
        self._point = suffix(LOOKUP, plan.point_length, plan.point_length)
        self._known: dict[object, int] = {}
        self.numbers = list(map(self._number, plan.blocks))

    def whole(self, shape: tuple[int, ...]) -> tuple[Group, ...]:
        """The weights of a tensor of this shape at its suffix of the common point."""
        return self.groups[self._whole(shape)]

    def part(self, piece: Piece) -> tuple[Group, ...]:
        """The weights of a piece of a tensor at its suffix of the common point."""
        return self.groups[self._part(piece)]

    def _number(self, b: Block) -> int:
        if b.piece is not None:
            return self._part(b.piece)
        return self._whole(b.source.shape) if isinstance(b.source, Tuples) else -1

    def _whole(self, shape: tuple[int, ...]) -> int:
        return self._once(shape, partial(eq_term, self.sweep.space, self._point, shape))

    def _part(self, piece: Piece) -> int:
        return self._once(piece, partial(piece_term, self.sweep.space, self._point, piece))

    def _once(self, key: object, make: Callable[[], Term]) -> int:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.groups)
            self.groups.append(make().groups)
        return found


def _claims(plan: Plan, leaves: _Leaves, beta: Ext, gamma: Ext) -> list[Claim]:
    claims: list[Claim] = []
    for b, at, number in zip(plan.blocks, leaves.at, leaves.numbers, strict=True):
        if b.multiplicity is not None:
            claims.append((b.multiplicity, Term(at * gamma, leaves.whole(b.multiplicity.shape))))
        if isinstance(b.source, Table):
            continue
        groups, coefficient = leaves.groups[number], at
        rank = len(b.dims if b.piece is None else b.piece.shape)
        for m in b.source.members:
            coefficient = coefficient * beta
            if m is not None:
                rows = fingerprint_groups(leaves.sweep, m.shape, rank, plan.fingerprint_bits)
                claims.append((m, Term(coefficient, groups + rows)))
    power = gamma
    for e in plan.equations:
        power = power * gamma
        claims.append((e.expression, Term(power, leaves.part(whole_of(e.expression)))))
    return claims


def fingerprint_groups(sweep: Sweep, shape: Sequence[int], leading: int, bits: int) -> tuple[Group, ...]:
    """eq of the fingerprint point's suffix on the axes of a row, those after the first ``leading``."""
    if len(shape) == leading:
        return ()
    term = eq_term(sweep.space, suffix(FINGERPRINT, bits, bits), shape[leading:])
    return tuple((tuple(a + leading for a in axes), w) for axes, w in term.groups)


def _table_value(b: Block, table: Table, beta: Ext, leaf_point: Sequence[Ext], vectors: dict[int, U64]) -> Ext:
    """tag + sum beta^i * column_i at the block's part of the point. ``vectors``: eq of such parts, by their length."""
    point = leaf_point[len(leaf_point) - b.log_size :]
    value, power = Ext(b.tag), beta
    row = ZERO  # the sum of i * eq(point, i)
    for x in point:
        row = row + row + x
    if table.is_range:
        return value + power * row
    if len(point) <= FEW:
        few = eq_list(point)
        evaluated = [sum((w * v for w, v in zip(few, c.tolist(), strict=True)), ZERO) for c in table.columns]
    else:
        if len(point) not in vectors:
            vectors[len(point)] = mle.eq_vector(point)
        evaluated = [
            mle.dot_int(vectors[len(point)], column) if first is None else row + first
            for column, first in zip(table.columns, table.firsts, strict=True)
        ]
    for at in evaluated:
        value = value + power * at
        power = power * beta
    return value


def known_part(pulled: Pulled, sweep: Sweep, value_of: Callable[[Public], I64]) -> Ext:
    """What constants and public tensors contribute."""
    out = pulled.constant
    for node, terms in pulled.publics.items():
        values = node.known if isinstance(node.known, Progression) else value_of(node)
        for t in terms:
            out = out + inner_product(values, t, sweep.space)
    return out


def operand_claims(contractions: Sequence[Contraction], sweep: Sweep, rounds: int, eta: Ext) -> list[Claim]:
    """Two claims per contraction with coefficients eta, eta^2, ... (a before b)."""
    out: list[Claim] = []
    power = ONE
    for c in contractions:
        for side in (c.a, c.b):
            power = power * eta
            out.append((side.node, c.operand_term(side, sweep, CONTRACTION, rounds, power)))
    return out


@dataclass(frozen=True)
class ParamPoint:
    """An evaluation claim on a param: coefficient and coordinates per axis."""

    param: ParamTensor
    coefficient: Ext
    axes: dict[int, tuple[Coordinate, ...]]


@dataclass(frozen=True)
class Reduced:
    """Claims on a param that share ``fixed``, the points of their eq axes; ``terms``: their weights on the other axes,
    none of them eq alone."""

    param: ParamTensor
    fixed: dict[int, tuple[Coordinate, ...]]
    terms: list[Term]

    def place(self, layout: MatrixLayout) -> Place:
        """The axes that are left, as they lie in the tables of the reduction: the order and padding of the matrix."""
        whole = layout.places[self.param.name]
        left = [(a, d) for a, d in zip(whole.order, whole.dims, strict=True) if a not in self.fixed]
        return Place(whole.shape, tuple(a for a, _ in left), tuple(d for _, d in left), 0)


def split_params(pulled: Sequence[Pulled]) -> tuple[list[ParamPoint], list[Reduced]]:
    """Evaluation claims, and those of other shapes; both in order of node id."""
    terms: dict[ParamTensor, list[Term]] = {}
    for p in pulled:
        for node, more in p.params.items():
            terms.setdefault(node, []).extend(more)
    points: list[ParamPoint] = []
    rest: list[Reduced] = []
    for node in sorted(terms, key=lambda n: n.id):
        same: dict[tuple[tuple[int, tuple[Coordinate, ...]], ...], Ext] = {}
        others: dict[tuple[tuple[int, tuple[Coordinate, ...]], ...], list[Term]] = {}
        for t in terms[node]:
            key = tuple((axes[0], w.point) for axes, w in t.groups if w.point is not None)
            if len(key) == len(t.groups):
                same[key] = same.get(key, ZERO) + t.coefficient
            else:
                left = Term(t.coefficient, tuple(g for g in t.groups if g[1].point is None))
                others.setdefault(key, []).append(left)
        points.extend(ParamPoint(node, c, dict(key)) for key, c in same.items())
        rest.extend(Reduced(node, dict(key), left) for key, left in others.items())
    return points, rest


def param_point_coordinates(point: ParamPoint, place: Place, sweep: Sweep) -> list[Ext]:
    """The elements of the point in the order of the param's entries in the matrix."""
    return [x for a in place.order for x in sweep.space.coordinates(point.axes.get(a, ()))]


def tensor_claims(
    plan: Plan, pulled: Sequence[Pulled], layouts: Sequence[MatrixLayout], sweep: Sweep
) -> list[ParamsClaim]:
    """Of every committed tensor the evaluation that its equation asks for: row weights and one point of its matrix,
    with the coefficient in the sum of all claims."""
    terms: dict[External, list[Term]] = {}
    for p in pulled:
        for node, more in p.externals.items():
            terms.setdefault(node, []).extend(more)
    if list(terms) != plan.system.externals or any(len(t) != 1 for t in terms.values()):
        raise ValueError("a committed tensor is read by one equation, which every one has")
    out = []
    for (node, (term,)), layout in zip(terms.items(), layouts, strict=True):
        place = next(iter(layout.places.values()))
        axes = {}
        for (axis, *more_axes), w in term.groups:
            if more_axes or w.point is None:
                raise ValueError(f"the claim on '{node.name}' is no evaluation")
            axes[axis] = w.point
        point = [x for a in place.order for x in sweep.space.coordinates(axes.get(a, ()))]
        out.append(_params_claim(layout, place, point, term.coefficient))
    return out


def row_of(layout: MatrixLayout, place: Place) -> int | None:
    """The row of the params matrix in which a param lies, if it is one: all claims on it are claims on that row."""
    return place.offset >> layout.shape.log_cols if place.log_size <= layout.shape.log_cols else None


def params_claims(plan: Plan, points: Sequence[ParamPoint], sweep: Sweep) -> list[ParamsClaim]:
    """All evaluation claims on params as row weights and column points of the matrix, those on one row together; in
    order of the first point of each."""
    out: list[ParamsClaim] = []
    by_row: dict[int, ParamsClaim] = {}
    for p in points:
        assert plan.params is not None
        place = plan.params.places[p.param.name]
        row = row_of(plan.params, place)
        claim = _params_claim(plan.params, place, param_point_coordinates(p, place, sweep), p.coefficient)
        if row is not None and row in by_row:
            by_row[row].points.extend(claim.points)
        else:
            out.append(claim)
            if row is not None:
                by_row[row] = claim
    return out


def _params_claim(layout: MatrixLayout, place: Place, point: Sequence[Ext], coefficient: Ext) -> ParamsClaim:
    log_cols = layout.shape.log_cols
    first, inside = place.offset >> log_cols, place.offset & ((1 << log_cols) - 1)
    split = max(0, place.log_size - log_cols)
    stored = layout.stored_rows
    lo, hi = int(stored.searchsorted(first)), int(stored.searchsorted(first + (1 << split)))
    weights = mle.eq_vector(point[:split])[:, stored[lo:hi] - first]
    return ParamsClaim(lo, weights.copy(), [EqWeight(inside, tuple(point[split:]), coefficient)])


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


def term_at(term: Term, place: Place, sweep: Sweep, point: Parts) -> Ext:
    """The extension of a term's (padded) weight tensor at the last ``log_size`` elements of ``point``."""
    coordinates = place.coordinates(point)
    out = term.coefficient
    covered: set[int] = set()
    for axes, w in term.groups:
        out = out * sweep.space.evaluate(w, [coordinates[a] for a in axes])
        covered.update(axes)
    return out


def omega_at(terms: dict[Committed, list[Term]], layout: MatrixLayout, sweep: Sweep, point: Sequence[Ext]) -> Ext:
    """The extension of Omega at a full point. Many columns have one shape and the same weights."""
    out, prefixes, parts = ZERO, Prefixes(point), Parts(point)
    known: dict[object, Ext] = {}
    for node, on_node in terms.items():
        place = layout.places[node]
        inner = ZERO
        for t in on_node:
            key = place.order, place.dims, t.key
            if key not in known:
                known[key] = term_at(Term(ONE, t.groups), place, sweep, parts)
            inner = inner + t.coefficient * known[key]
        out = out + prefixes.eq(place.offset, place.log_size) * inner
    return out


def reduced_points(plan: Plan, rest: Sequence[Reduced], rounds: int, zeta: Ext) -> list[ParamPoint]:
    """The evaluation claims in which the params reduction ends, with coefficients zeta, zeta^2, ..."""
    assert plan.params is not None
    out = []
    power = ONE
    for r in rest:
        place = r.place(plan.params)
        power = power * zeta
        at = rounds - place.log_size
        axes = dict(r.fixed)
        for a, d in zip(place.order, place.dims, strict=True):
            bits = d.bit_length() - 1
            axes[a] = tuple((PARAMS, at + i) for i in range(bits))
            at += bits
        out.append(ParamPoint(r.param, power, axes))
    return out
