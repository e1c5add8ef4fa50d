"""What lies at the leaves of the lookup tree, and the claims with which the sweeps begin: on the members of lookups and
tuples, on multiplicities and on equations, each an evaluation at a suffix of one common point (protocol section 3).

Coordinates of a point are counted from its end, so that they do not depend on its length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from syurmy.isa.graph import Committed, Equation, Lookup, Node, Table, Tuples
from syurmy.isa.pieces import Piece, whole_of
from syurmy.isa.records import cached_property, dataclass
from syurmy.prover.field import Ext
from syurmy.prover.protocol.claims import Group, Term, eq_term, piece_term
from syurmy.prover.protocol.strands import Coordinate
from syurmy.prover.protocol.weights import WeightSpace

LOOKUP = "lookup"  # names of points
FINGERPRINT = "fingerprint"

MOST_BITS = 64  # of an evaluation: more than a tensor of 2^28 entries takes

Claim = tuple[Node, Term]


@dataclass(frozen=True)
class Block:
    """Leaves of a piece of one lookup, of one table, or one block of tuples. ``dims``: padded lengths of its axes.

    Numerators: ``sign``, or minus ``multiplicity`` where there is one. ``true_size``: entries that are not padding.
    """

    source: Lookup | Table | Tuples
    tag: int
    dims: tuple[int, ...]
    offset: int
    sign: int
    multiplicity: Committed | None
    true_size: int
    piece: Piece | None = None  # of a lookup

    @cached_property
    def size(self) -> int:
        return math.prod(self.dims)

    @cached_property
    def log_size(self) -> int:
        return self.size.bit_length() - 1


def suffix(name: str) -> list[Coordinate]:
    """The last coordinates of a point, as many as an evaluation may take."""
    return [(name, i) for i in range(-MOST_BITS, 0)]


class Leaves:
    """The evaluation that each block is of what lies in it, of blocks of one shape worked out once. ``numbers``: of
    each block the weights of what lies in it, at its part of the common point, among ``groups`` (-1 for tables)."""

    def __init__(self, space: WeightSpace, blocks: Sequence[Block]) -> None:
        self.space = space
        self.groups: list[tuple[Group, ...]] = []
        self._point = suffix(LOOKUP)
        self._known: dict[object, int] = {}
        self.numbers = list(map(self._number, blocks))

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
        return self._once(shape, partial(eq_term, self.space, self._point, shape))

    def _part(self, piece: Piece) -> int:
        return self._once(piece, partial(piece_term, self.space, self._point, piece))

    def _once(self, key: object, make: Callable[[], Term]) -> int:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.groups)
            self.groups.append(make().groups)
        return found


def fingerprint_groups(space: WeightSpace, shape: Sequence[int], leading: int) -> tuple[Group, ...]:
    """eq of the fingerprint point's suffix on the axes of a row, those after the first ``leading``."""
    if len(shape) == leading:
        return ()
    term = eq_term(space, suffix(FINGERPRINT), shape[leading:])
    return tuple((tuple(a + leading for a in axes), w) for axes, w in term.groups)


def claims_on(blocks: Sequence[Block], leaves: Leaves, at: Sequence[Ext], beta: Ext, gamma: Ext | None) -> list[Claim]:
    """The claims on members and multiplicities (without ``gamma`` none on these). ``at``: eq of each block's place."""
    claims: list[Claim] = []
    for b, place, number in zip(blocks, at, leaves.numbers, strict=True):
        if b.multiplicity is not None and gamma is not None:
            claims.append((b.multiplicity, Term(place * gamma, leaves.whole(b.multiplicity.shape))))
        if isinstance(b.source, Table):
            continue
        groups, coefficient = leaves.groups[number], place
        rank = len(b.dims if b.piece is None else b.piece.shape)
        for m in b.source.members:
            coefficient = coefficient * beta
            if m is not None:
                claims.append((m, Term(coefficient, groups + fingerprint_groups(leaves.space, m.shape, rank))))
    return claims


def claims_of(equations: Sequence[Equation], leaves: Leaves, gamma: Ext, first: int = 0) -> list[Claim]:
    """The claims on equations, all but the ``first`` ones."""
    claims: list[Claim] = []
    power = gamma
    for _ in range(first):
        power = power * gamma
    for e in equations[first:]:
        power = power * gamma
        claims.append((e.expression, Term(power, leaves.part(whole_of(e.expression)))))
    return claims
