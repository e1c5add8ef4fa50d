"""From the leaves to claims on columns and on rows of the params (protocol, sections 3, 11.3 and 11.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from syurmy.isa.graph import Committed, External, ParamTensor, Public
from tests.reference_verifier.affine import Value
from tests.reference_verifier.contraction import Instance, instances
from tests.reference_verifier.field import HALF, ONE, ZERO, K, P, eq, eq_at, eq_vector, inner, log2_ceil, powers
from tests.reference_verifier.layout import Matrix, Place, first_axis
from tests.reference_verifier.plan import Leaves, Plan
from tests.reference_verifier.sweep import Claim, Ends, Sweep, Term, eq_term, known_sum, leaf_term
from tests.reference_verifier.weights import Coordinate, Weights


def coordinates(name: str, count: int) -> list[Coordinate]:
    return [(name, i) for i in range(count)]


def leaf_claims(
    plan: Plan, space: Weights, alpha: K, beta: K, gamma: K, num: Value, den: Value
) -> tuple[list[Claim], Value]:
    """The claims num and den at the leaves' point and all equations, with powers of gamma; what they add up to."""
    whole = coordinates("lookup", plan.point_length)
    leaf_point = space.at(whole)[plan.point_length - plan.log_leaves :]
    claims: list[Claim] = []
    constant, covered = ZERO, ZERO  # what blocks contribute without members: to be taken off
    for b in plan.blocks:
        split = plan.log_leaves - b.log_size
        at = eq_at(leaf_point[:split], b.offset >> b.log_size)
        covered = covered + at
        if b.times is None:
            constant = constant + gamma * at * b.sign
        else:
            claims.append((b.times, eq_term(space, whole, b.times.shape, gamma * at)))
        if b.table is not None:
            constant = constant - at * table_at(b, beta, leaf_point[split:])
            continue
        true = ONE  # eq summed over true entries
        for _, w in eq_term(space, whole, b.whole, piece=b.piece).groups:
            true = true * w.total
        constant = constant - at * true * b.tag
        for power, m in zip(powers(beta, len(b.members) + 1)[1:], b.members, strict=True):
            if m is not None:
                rows = coordinates("fingerprint", plan.fingerprint)
                claims.append((m, leaf_term(space, whole, rows, b.whole, m.shape, at * power, b.piece)))
    constant = constant + covered * alpha + (1 - covered)
    for power, e in zip(powers(gamma, 2 + len(plan.equations))[2:], plan.equations, strict=True):
        claims.append((e, eq_term(space, whole, e.shape, power, first_axis(e.shape))))
    return claims, -den - num * gamma + constant


def table_at(b: Leaves, beta: K, point: Sequence[K]) -> K:
    """tag + sum beta^i * column_i at a point."""
    assert b.table is not None
    if b.table.is_range:
        row = ZERO
        for x in point:
            row = row * 2 + x
        columns = [row]
    else:
        weights = eq_vector(point)
        columns = [inner(weights, [K(v) for v in c.tolist()]) for c in b.table.columns]
    return K(b.tag) + inner(powers(beta, len(columns) + 1)[1:], columns)


def known_part(ends: Ends, sweep: Sweep, values: Mapping[Public, list[int]]) -> K:
    """What constants and public tensors contribute."""
    out = ends.constant
    for node, terms in ends.publics.items():
        for t in terms:
            out = out + known_sum(values[node], t, sweep)
    return out


@dataclass
class ParamPoint:
    """An evaluation of a param: coordinates by axis."""

    param: str
    coefficient: K
    axes: dict[int, tuple[Coordinate, ...]]


@dataclass
class Reduced:
    """What is no evaluation: terms with the same eq weights ``fixed``, and their weights on the other axes."""

    param: str
    fixed: dict[int, tuple[Coordinate, ...]]
    terms: list[Term]

    def place(self, matrix: Matrix) -> Place:
        whole = matrix.places[self.param]
        order = tuple(a for a in whole.order if a not in self.fixed)
        return Place(tuple(1 if a in self.fixed else d for a, d in enumerate(whole.shape)), order, 0)


Rest = list[Reduced]


def split_params(sweeps: Sequence[Ends]) -> tuple[list[ParamPoint], Rest]:
    """Evaluations, those at one point added; and what is none, by param and eq weights. In order of number."""
    found: dict[ParamTensor, list[Term]] = {}
    for ends in sweeps:
        for node, terms in ends.params.items():
            found.setdefault(node, []).extend(terms)
    points: list[ParamPoint] = []
    rest: Rest = []
    for node in sorted(found, key=lambda n: n.id):
        same: dict[tuple[tuple[int, tuple[Coordinate, ...]], ...], K] = {}
        others: dict[tuple[tuple[int, tuple[Coordinate, ...]], ...], list[Term]] = {}
        for t in found[node]:
            key = tuple((axes[0], w.point) for axes, w in t.groups if w.point is not None)
            left = tuple((axes, w) for axes, w in t.groups if w.point is None)
            if left:
                others.setdefault(key, []).append(Term(t.coefficient, left))
            else:
                same[key] = same.get(key, ZERO) + t.coefficient
        points += [ParamPoint(node.name, c, dict(key)) for key, c in same.items()]
        rest += [Reduced(node.name, dict(key), terms) for key, terms in others.items()]
    return points, rest


@dataclass(frozen=True)
class Spot:
    """coefficient * eq(point, .) on the block of a vector that begins at ``offset``."""

    offset: int
    point: tuple[K, ...]
    coefficient: K

    def at(self, x: Sequence[K]) -> K:
        """The extension of these weights."""
        split = len(x) - len(self.point)
        return self.coefficient * eq_at(x[:split], self.offset >> len(self.point)) * eq(x[split:], self.point)


@dataclass
class RowClaim:
    """Evaluations of one combination of stored rows of the params: ``weights`` by stored row."""

    row: int | None  # of a combination of one row, its index
    weights: dict[int, K]
    spots: list[Spot]

    def at(self, x: Sequence[K]) -> K:
        out = ZERO
        for spot in self.spots:
            out = out + spot.at(x)
        return out


def row_claims(matrix: Matrix, points: Sequence[ParamPoint], space: Weights) -> list[RowClaim]:
    """g_1, ..., g_J: evaluations that lie in one row together, in order of the first."""
    out: list[RowClaim] = []
    for p in points:
        place = matrix.places[p.param]
        point = [x for a in place.order for x in space.at(p.axes.get(a, ()))]
        claim = row_claim(matrix, place, point, p.coefficient)
        old = next((c for c in out if claim.row is not None and c.row == claim.row), None)
        if old is not None:
            old.spots += claim.spots
        else:
            out.append(claim)
    return out


def row_claim(matrix: Matrix, place: Place, point: Sequence[K], coefficient: K) -> RowClaim:
    """The evaluation of a tensor in a matrix."""
    log_cols = matrix.code.log_cols
    split, first = max(0, place.log_size - log_cols), place.offset >> log_cols
    spot = Spot(place.offset % (1 << log_cols), tuple(point[split:]), coefficient)
    rows = {
        i: eq_at(point[:split], row - first)
        for i, row in enumerate(matrix.stored)
        if first <= row < first + (1 << split)
    }
    return RowClaim(first if split == 0 else None, rows, [spot])


def tensor_claims(
    sweeps: Sequence[Ends], nodes: Sequence[External], matrices: Sequence[Matrix], space: Weights
) -> list[RowClaim]:
    """Of every committed tensor the evaluation that its equation asks for."""
    out = []
    for node, matrix in zip(nodes, matrices, strict=True):
        (term,) = [t for ends in sweeps for t in ends.externals.get(node, [])]
        axes = {}
        for (axis,), w in term.groups:
            assert w.point is not None
            axes[axis] = w.point
        (place,) = matrix.places.values()
        point = [x for a in place.order for x in space.at(axes.get(a, ()))]
        out.append(row_claim(matrix, place, point, term.coefficient))
    return out


def term_at(term: Term, place: Place, space: Weights, point: Sequence[K]) -> K:
    """The extension of a term's weights at the end of a point."""
    by_axis = place.split(point)
    out = term.coefficient
    for axes, w in term.groups:
        out = out * space.extension(w, [by_axis[a] for a in axes])
    return out


def omega_at(plan: Plan, sweeps: Sequence[Ends], sweep: Sweep, point: Sequence[K]) -> K:
    """The extension of all weights on columns."""
    out = ZERO
    for node, place in plan.witness.places.items():
        assert isinstance(node, Committed)
        terms = [t for ends in sweeps for t in ends.columns.get(node, [])]
        split = len(point) - place.log_size
        at = eq_at(point[:split], place.offset >> place.log_size)
        for t in sweep.merged(terms) if terms else []:
            out = out + at * term_at(t, place, sweep.space, point)
    return out


def reduced_weight(terms: list[Term], place: Place, space: Weights, point: Sequence[K]) -> K:
    """What a reduced param's value counts in the final value of the reduction."""
    out = ZERO
    for t in terms:
        out = out + term_at(t, place, space, point)
    return out * pow(HALF, len(point) - place.log_size, P)


def reduced_points(plan: Plan, rest: Rest, rounds: int, zeta: K) -> list[ParamPoint]:
    """The evaluations that the reduction ends in, with coefficients zeta, zeta^2, ..."""
    assert plan.params is not None
    out = []
    for r, power in zip(rest, powers(zeta, len(rest) + 1)[1:], strict=True):
        place = r.place(plan.params)
        at, axes = rounds - place.log_size, dict(r.fixed)
        for a, d in zip(place.order, place.dims, strict=True):
            axes[a] = tuple(("params", at + i) for i in range(log2_ceil(d)))
            at += log2_ceil(d)
        out.append(ParamPoint(r.param, power, axes))
    return out


@dataclass(frozen=True)
class Counts:
    """How many claims of which size: variables and degree of every contraction, combinations of params' rows, log2 of
    the size of every table that is reduced."""

    contractions: tuple[tuple[int, int], ...]
    rows: int
    reduced: tuple[int, ...]

    @property
    def rounds(self) -> int:
        return max((v for v, _ in self.contractions), default=0)

    @property
    def degree(self) -> int:
        return max((d for _, d in self.contractions), default=0)


def counts_of(plan: Plan, found: Sequence[Instance], points: Sequence[ParamPoint], rest: Rest) -> Counts:
    kinds = tuple((c.variables, c.degree) for c in found)
    if plan.params is None:
        return Counts(kinds, 0, ())
    places = [plan.params.places[p.param] for p in (*points, *rest)]
    log_cols = plan.params.code.log_cols
    own = [p for p in places if p.log_size > log_cols]
    shared = {p.offset >> log_cols for p in places if p.log_size <= log_cols}
    return Counts(kinds, len(own) + len(shared), tuple(r.place(plan.params).log_size for r in rest))


def count(plan: Plan) -> Counts:
    """Both sweeps at fixed points."""
    stream = blake3(b"syurmy-vm points of the counting sweep")
    at = 0

    def draw(n: int) -> list[K]:
        nonlocal at
        data = stream.digest(length=16 * n, seek=at)
        at += 16 * n
        words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
        return [K(words[i], words[i + 1]) for i in range(0, len(words), 2)]

    space = Weights()
    sweep = Sweep(space)
    space.points["fingerprint"] = draw(plan.fingerprint)
    space.points["lookup"] = draw(plan.point_length)
    alpha, beta, gamma, num, den, eta = draw(6)
    sweeps = [sweep.run(leaf_claims(plan, space, alpha, beta, gamma, num, den)[0])]
    found = instances(sweeps[0].products, sweep)
    if found:
        rounds = max(c.variables for c in found)
        space.points["contraction"] = draw(rounds)
        sweeps.append(sweep.run(operand_claims(found, sweep, rounds, eta)))
    return counts_of(plan, found, *split_params(sweeps))


def operand_claims(found: Sequence[Instance], sweep: Sweep, rounds: int, eta: K) -> list[Claim]:
    """Two claims per instance, with coefficients eta, eta^2, ..."""
    claims = [claim for c in found for claim in c.claims(sweep, rounds)]
    return [(n, t.times(power)) for (n, t), power in zip(claims, powers(eta, len(claims) + 1)[1:], strict=True)]
