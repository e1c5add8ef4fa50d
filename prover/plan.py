"""What prover and verifier both derive from a program: the constraint system, planned and laid out. No values.

``Plan.of`` builds the system, commits the products whose claims would not be separable, and stacks leaves, columns
and params. Everything is canonical: two sides with the same program get the same plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from isa.builder import Builder, ConstraintSystem
from isa.dataflow import DEFAULT_MAX_STEPS
from isa.errors import ConstraintError
from isa.graph import Committed, Equation, Lookup, Node, Product, Table
from isa.program import Program
from prover.claims import Sweep, Term, eq_term, point_bits
from prover.code import (
    MIN_PARAMS_LOG_ENTRIES,
    MIN_WITNESS_LOG_ENTRIES,
    choose_params_shape,
    choose_witness_shape,
)
from prover.field import P, log2_ceil
from prover.layout import MatrixLayout, stack
from prover.weights import Coordinate, WeightSpace, padded

MAX_TERMS = 256  # on one tensor in one sweep
MAX_TRACE_CELLS = 2**34  # each is hashed


@dataclass(frozen=True)
class Block:
    """Leaves of one lookup or one table. ``dims``: padded lengths of the lookup's axes (of the table: its rows)."""

    lookup: Lookup | None
    table: Table
    tag: int
    dims: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def log_size(self) -> int:
        return self.size.bit_length() - 1

    @property
    def true_size(self) -> int:
        return self.lookup.members[0].size if self.lookup else self.size


@dataclass
class Plan:
    system: ConstraintSystem
    multiplicities: dict[Table, Committed]
    blocks: list[Block]
    witness: MatrixLayout
    params: MatrixLayout | None
    trace_cells: int
    equations: list[Equation] = field(default_factory=list)

    @property
    def used_leaves(self) -> int:
        return sum(b.size for b in self.blocks)

    @property
    def log_leaves(self) -> int:
        return log2_ceil(max(1, self.used_leaves))

    @property
    def padding(self) -> int:
        """Padded leaves, each +1/alpha."""
        return sum(b.size - b.true_size for b in self.blocks)

    @property
    def width(self) -> int:
        return max((b.table.width for b in self.blocks), default=0)

    @property
    def point_length(self) -> int:
        """Coordinates of the common point: those of the leaves and those that the largest equation needs beyond."""
        return max([self.log_leaves, *(point_bits(e.expression.shape) for e in self.equations)])

    @staticmethod
    def of(program: Program, max_steps: int = DEFAULT_MAX_STEPS) -> Plan:
        """Raises ``TypeRuleError`` and ``ConstraintError``."""
        builder = Builder(program, max_steps)
        system = builder.build()
        commit_inseparable(builder)
        blocks = _blocks(system)
        multiplicities = {}
        for t in system.tables:
            node = Committed(builder, 0, (1, 2**t.log_size), 0, P - 1, -1, (), f"multiplicity of {t.name}")
            multiplicities[t] = node
        columns: list[Committed] = [*system.columns, *multiplicities.values()]
        for i, c in enumerate(columns):  # ids of multiplicities follow all others
            if c.id == 0:
                c.id = system.nodes + 1 + i
        witness = MatrixLayout([(c, c.shape) for c in columns], MIN_WITNESS_LOG_ENTRIES, choose_witness_shape)
        params = None
        if system.params:
            shapes = [(name, node.shape) for name, node in system.params.items()]
            params = MatrixLayout(shapes, MIN_PARAMS_LOG_ENTRIES, choose_params_shape)
        if system.trace_cells() > MAX_TRACE_CELLS:
            raise ConstraintError("the execution writes more than 2^34 tensor entries", code="C111")
        plan = Plan(system, multiplicities, blocks, witness, params, system.trace_cells(), system.equations)
        if plan.used_leaves >= 2**32:
            raise ConstraintError("more than 2^32 lookups in one proof")
        return plan


def _blocks(system: ConstraintSystem) -> list[Block]:
    tags = {t: i + 1 for i, t in enumerate(system.tables)}
    protos: list[tuple[Lookup | None, Table, tuple[int, ...]]] = []
    for lk in system.lookups:
        protos.append((lk, lk.table, tuple(padded(d) for d in lk.members[0].shape)))
    for t in system.tables:
        protos.append((None, t, (2**t.log_size,)))
    offsets = stack([math.prod(d) for _, _, d in protos])
    return [Block(lk, t, tags[t], d, o) for (lk, t, d), o in zip(protos, offsets, strict=True)]


def commit_inseparable(builder: Builder) -> None:
    """Commit, in their own shape, the products whose weights would mix labels of different kinds (protocol section 4),
    and linear images on which more than ``MAX_TERMS`` terms would meet (they could double with every layer).

    Runs the sweep without values until none is left. Without values no two sums of weights count as equal, so the
    protocol's sweep never meets more terms than this one.
    """
    system = builder.system
    space = WeightSpace(dry=True)
    while True:
        claims = []
        for lk in system.lookups:
            for m in lk.members:
                claims.append((m, eq_term(space, _dry_point(m.shape), m.shape)))
        for e in system.equations:
            claims.append((e.expression, eq_term(space, _dry_point(e.expression.shape), e.expression.shape)))
        planner = _Planner(space)
        pulled = planner.run(claims)
        bad: list[Node] = [p for p, terms in pulled.products.items() if not all(separable(p, t) for t in terms)]
        bad += planner.crowded
        if not bad:
            return
        for n in bad:
            builder.commit(n)


class _Planner(Sweep):
    """A sweep without values that goes on behind a crowded linear image as if it were committed."""

    def __init__(self, space: WeightSpace) -> None:
        super().__init__(space)
        self.crowded: list[Node] = []

    def passing(self, node: Node, terms: list[Term]) -> list[Term]:
        if len(terms) <= MAX_TERMS:
            return terms
        self.crowded.append(node)
        return [eq_term(self.space, _dry_point(node.shape), node.shape)]


def _dry_point(shape: tuple[int, ...]) -> list[Coordinate]:
    """Suffixes of one point have equal names, as in the protocol."""
    bits = point_bits(shape)
    return [("dry", i - bits) for i in range(bits)]


def separable(product: Product, term: Term) -> bool:
    """Does every group of weights stay on batch labels, on labels of A alone or on labels of B alone?"""
    return all(len({label_kind(product, product.labels_out[a]) for a in axes}) == 1 for axes, _ in term.groups)


def label_kind(product: Product, label: int) -> str:
    """ "batch" (both operands), "a" or "b"; axes of length 1 do not count."""
    a, b = product.inputs
    in_a = any(x == label and d > 1 for x, d in zip(product.labels_a, a.shape, strict=True))
    in_b = any(x == label and d > 1 for x, d in zip(product.labels_b, b.shape, strict=True))
    return "batch" if in_a and in_b else "a" if in_a else "b"
