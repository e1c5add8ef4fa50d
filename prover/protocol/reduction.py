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

import math
from collections.abc import Callable, Sequence

from syurmy.isa.arrays import I64
from syurmy.isa.graph import Committed, External, ParamTensor, Public, Table
from syurmy.isa.progression import Progression
from syurmy.isa.records import dataclass
from syurmy.prover.field import ONE, ZERO, Ext, eq_list, ext_list
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.claims import Group, Pulled, Sweep, Term, inner_product
from syurmy.prover.protocol.claims import columns_of as columns_of
from syurmy.prover.protocol.contraction import CONTRACTION as CONTRACTION
from syurmy.prover.protocol.contraction import operand_claims as operand_claims
from syurmy.prover.protocol.hidden import Value
from syurmy.prover.protocol.ladder import EqWeight
from syurmy.prover.protocol.layout import MatrixLayout, Parts, Place, Prefixes
from syurmy.prover.protocol.leaves import FINGERPRINT as FINGERPRINT
from syurmy.prover.protocol.leaves import LOOKUP as LOOKUP
from syurmy.prover.protocol.leaves import Block, Leaves, claims_of, claims_on
from syurmy.prover.protocol.leaves import Claim as Claim
from syurmy.prover.protocol.leaves import fingerprint_groups as fingerprint_groups
from syurmy.prover.protocol.params_claims import ParamsClaim
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.strands import Coordinate
from syurmy.prover.protocol.weights import WeightSpace

PARAMS = "params reduction"  # the name of a point

FEW = 2  # coordinates of a table so short that arrays cost more than its rows


def leaf_claims(
    plan: Plan, sweep: Sweep, alpha: Ext, beta: Ext, gamma: Ext, num: Value, den: Value, leaf_point: Sequence[Ext]
) -> tuple[list[Claim], Value]:
    """Claims and their combined target. ``leaf_point``: the last ``log_leaves`` elements of the common point."""
    leaves = Leaves(sweep.space, plan.blocks)
    at = places(plan, leaf_point)
    totals = [_total(sweep.space, groups) for groups in leaves.groups]
    target = leaf_target(plan, leaves.numbers, totals, at, alpha, beta, gamma, num, den, leaf_point)
    return _claims(plan, leaves, at, beta, gamma), target


def places(plan: Plan, leaf_point: Sequence[Ext]) -> list[Ext]:
    """eq of each block's place among the leaves."""
    prefixes = Prefixes(leaf_point)
    return [prefixes.eq(b.offset, b.log_size) for b in plan.blocks]


def _total(space: WeightSpace, groups: Sequence[Group]) -> Ext:
    """The sum of the products of the entries of all weights."""
    return math.prod((space.total(w) for _, w in groups), start=ONE)


def leaf_target(
    plan: Plan,
    numbers: Sequence[int],
    totals: Sequence[Ext],
    at: Sequence[Ext],
    alpha: Ext,
    beta: Ext,
    gamma: Ext,
    num: Value,
    den: Value,
    leaf_point: Sequence[Ext],
) -> Value:
    """What the claims at the leaves add up to. ``numbers``, ``totals``: of every block its weights, and the sum of the
    entries of each of these."""
    covered, signed, known = ZERO, ZERO, ZERO  # of all blocks; with their signs; what is known of their denominators
    alike: dict[tuple[int, int], Ext] = {}  # of blocks with one tag and the same weights
    values = _at_columns([b.source for b in plan.blocks if isinstance(b.source, Table)], leaf_point)
    for b, place, number in zip(plan.blocks, at, numbers, strict=True):
        covered = covered + place
        if b.multiplicity is None:
            signed = signed + (place if b.sign == 1 else place * b.sign)
        if isinstance(b.source, Table):
            known = known + place * _table_value(b, b.source, beta, leaf_point, values)
        else:
            key = b.tag, number
            alike[key] = alike[key] + place if key in alike else place
    for (tag, number), place in alike.items():  # padded leaves have no tag
        known = known + place * tag * totals[number]
    # lookup and table denominators are alpha - ..., unused leaves are 0/1
    return covered * alpha + (1 - covered) - known - den + (signed - num) * gamma


def claims_at_leaves(plan: Plan, sweep: Sweep, beta: Ext, gamma: Ext, leaf_point: Sequence[Ext]) -> list[Claim]:
    """The claims on members, multiplicities and equations, without their target."""
    return _claims(plan, Leaves(sweep.space, plan.blocks), places(plan, leaf_point), beta, gamma)


def _claims(plan: Plan, leaves: Leaves, at: Sequence[Ext], beta: Ext, gamma: Ext) -> list[Claim]:
    return claims_on(plan.blocks, leaves, at, beta, gamma) + claims_of(plan.equations, leaves, gamma)


def _at_columns(tables: Sequence[Table], leaf_point: Sequence[Ext]) -> dict[int, Ext]:
    """The values at the point of all columns of long tables that do not count upwards, by their ``id``: columns of one
    length share its eq vector."""
    alike: dict[int, list[tuple[I64, int]]] = {}  # with what entries are at most
    for t in tables:
        if t.log_size > FEW and not t.is_range:
            found = zip(t.columns, t.firsts, t.bounds, strict=True)
            more = [(c, max(-lo, hi)) for c, first, (lo, hi) in found if first is None]
            alike.setdefault(t.log_size, []).extend(more)
    out: dict[int, Ext] = {}
    for log_size, some in alike.items():
        if some:
            columns = [c for c, _ in some]
            vector = mle.eq_vector(leaf_point[len(leaf_point) - log_size :])
            values = mle.combined_int(columns, vector, max(peak for _, peak in some))
            out.update(zip(map(id, columns), ext_list(values), strict=True))
    return out


def _table_value(b: Block, table: Table, beta: Ext, leaf_point: Sequence[Ext], values: dict[int, Ext]) -> Ext:
    """tag + sum beta^i * column_i at the block's part of the point. ``values``: see ``_at_columns``."""
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
        evaluated = [
            values[id(column)] if first is None else row + first
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
