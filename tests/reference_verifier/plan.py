"""What follows from program and path: the system with what is committed, blocks of leaves, matrices (section 11.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod

from syurmy.isa import graph as g
from syurmy.isa.builder import Builder
from syurmy.isa.graph import Committed, Node
from syurmy.isa.program import Program
from tests.reference_verifier import layout
from tests.reference_verifier.codes import least_log_entries, params_code, witness_code
from tests.reference_verifier.contraction import instances, separable
from tests.reference_verifier.field import P, log2_ceil
from tests.reference_verifier.layout import Matrix, Piece, bits_of, cut, first_axis, part
from tests.reference_verifier.sweep import Claim, Sweep, dry_point, eq_term, leaf_term
from tests.reference_verifier.transcript import Rejected
from tests.reference_verifier.weights import Weights

MAX_TERMS = 256


@dataclass(frozen=True)
class Leaves:
    """A block of the lookup tree. ``shape``: of its true entries; ``members``: of its tuples, None for zero; ``table``:
    of a block of a table; ``piece``: of a lookup's members, which part of them. Numerators are ``sign``, or minus
    ``times``."""

    tag: int
    shape: tuple[int, ...]
    members: tuple[Node | None, ...]
    table: g.Table | None
    sign: int
    times: Committed | None
    piece: Piece | None = None
    offset: int = 0

    @property
    def log_size(self) -> int:
        return bits_of(self.shape)

    @property
    def whole(self) -> tuple[int, ...]:
        """The shape that it is a piece of."""
        first = self.members[0] if self.piece else None
        return first.shape if first is not None else self.shape

    @property
    def padding(self) -> int:
        return (1 << self.log_size) - prod(self.shape)

    @property
    def width(self) -> int:
        """Members, and the coordinates of the largest fingerprint among them."""
        if self.table is not None:
            return self.table.width
        rank = len(self.shape)
        return len(self.members) + max((bits_of(m.shape[rank:]) for m in self.members if m is not None), default=0)


class Plan:
    """``builder``: of the system. The others are the key's: its program, whether its proofs hide, in how many of them
    the params are hidden, and how many more bits of soundness they have than 100."""

    def __init__(self, builder: Builder, program: Program, hiding: bool, proofs: int, more: int = 0) -> None:
        commit_crowded(builder)
        self.hiding, self.proofs, self.more = hiding, proofs, more
        self.system = s = builder.system
        self.equations = [e.expression for e in s.equations]
        tables = s.tables
        times = [Committed(builder, 0, (1, 1 << t.log_size), 0, P - 1, -1, (), "") for t in tables]
        columns = [*s.columns, *times]
        for i, column in enumerate(times, 1):
            column.id = s.nodes + i
        self.blocks = self._blocks(tables, times)
        committed = [(p.name, (1, *p.type.shape)) for p in program.params if p.committed]
        self.params: Matrix | None = None
        if committed:
            least = least_log_entries(True, hiding, proofs)
            self.params = Matrix(committed, least, partial(params_code, hiding=hiding, proofs=proofs))
        beside = self.params.code if self.params else None
        least = least_log_entries(False, hiding, proofs)
        self.witness = Matrix(
            [(c, c.shape) for c in columns], least, partial(witness_code, params=beside, hiding=hiding)
        )
        self.cells = s.trace_cells()
        if self.cells > 2**34 or self.used_leaves >= 2**32:
            raise Rejected("path", "the run is too large")

    def _blocks(self, tables: list[g.Table], times: list[Committed]) -> list[Leaves]:
        s = self.system
        tag_of = {space: 1 + len(tables) + i for i, space in enumerate(s.spaces)}
        found = []
        for lk in s.lookups:
            whole = lk.members[0].shape
            for piece in cut(whole):
                found.append(Leaves(1 + tables.index(lk.table), part(whole, piece), lk.members, None, 1, None, piece))
        found += [Leaves(tag_of[t.space], t.shape, t.members, None, t.sign, t.multiplicity) for t in s.tuples]
        found += [
            Leaves(i, (1 << t.log_size,), (), t, -1, m) for i, (t, m) in enumerate(zip(tables, times, strict=True), 1)
        ]
        offsets = layout.stack([1 << b.log_size for b in found])
        return [replace(b, offset=at) for b, at in zip(found, offsets, strict=True)]

    @property
    def used_leaves(self) -> int:
        return sum(1 << b.log_size for b in self.blocks)

    @property
    def log_leaves(self) -> int:
        return log2_ceil(max(2, self.used_leaves)) if self.blocks else 0

    @property
    def padding(self) -> int:
        """Padded leaves +1/alpha less those -1/alpha."""
        return sum(b.sign * b.padding for b in self.blocks if b.times is None)

    @property
    def width(self) -> int:
        return max((b.width for b in self.blocks), default=0)

    @property
    def fingerprint(self) -> int:
        """Coordinates of rho."""
        return max(
            (bits_of(m.shape[len(b.shape) :]) for b in self.blocks for m in b.members if m is not None), default=0
        )

    @property
    def point_length(self) -> int:
        """Coordinates of the common point."""
        return max([self.log_leaves, *(bits_of(e.shape) for e in self.equations)])


def commit_crowded(builder: Builder) -> None:
    """Commit what the sweeps could not carry: products with mixed weights or too many terms, crowded linear images."""
    while True:
        space = Weights(dry=True)
        first = Sweep(space, MAX_TERMS)
        ends = first.run(dry_claims(builder, space))
        bad: list[Node] = [
            p for p, terms in ends.products.items() if len(terms) > MAX_TERMS or not all(separable(p, t) for t in terms)
        ]
        bad += first.crowded
        if not bad and ends.products:
            found = instances(ends.products, first)
            rounds = max(c.variables for c in found)
            second = Sweep(space, MAX_TERMS)
            second.run(claim for c in found for claim in c.claims(second, rounds))
            bad = list(second.crowded)
        if not bad:
            return
        for node in bad:
            builder.commit(node)


def dry_claims(builder: Builder, space: Weights) -> Iterator[Claim]:
    """One claim per member of a lookup or tuple, and per equation."""
    s = builder.system
    for lookup in s.lookups:
        for m in lookup.members:
            for piece in cut(m.shape):
                yield m, eq_term(space, dry_point(part(m.shape, piece)), m.shape, piece=piece)
    for t in s.tuples:
        for member in t.members:
            if member is not None:
                row = dry_point(member.shape[len(t.shape) :], "row")
                yield member, leaf_term(space, dry_point(t.shape), row, t.shape, member.shape)
    for e in s.equations:
        shape = e.expression.shape
        yield e.expression, eq_term(space, dry_point(shape), shape, piece=first_axis(shape))
