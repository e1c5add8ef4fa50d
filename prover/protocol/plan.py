"""What prover and verifier both derive from a program: the constraint system, planned and laid out. No values.

``Plan.of`` builds the system, commits the products whose claims would not be separable, and stacks leaves, columns
and params. Everything is canonical: two sides with the same program get the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from functools import partial

from syurmy.isa import collector
from syurmy.isa.builder import Builder, ConstraintSystem
from syurmy.isa.cost import PER_TERM, Account
from syurmy.isa.errors import ConstraintError
from syurmy.isa.graph import Committed, Equation, Lookup, Node, Table, Tuples
from syurmy.isa.inference import infer_types
from syurmy.isa.instruction import REGISTRY
from syurmy.isa.path import DEFAULT_MAX_STEPS, Path
from syurmy.isa.pieces import Piece, laid, pieces
from syurmy.isa.program import Program
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.system import assemble
from syurmy.isa.types import padded
from syurmy.prover.field import P, log2_ceil
from syurmy.prover.protocol.claims import Pulled, Sweep, Term, eq_term, point_bits
from syurmy.prover.protocol.closeness import Closeness
from syurmy.prover.protocol.contraction import all_contractions, separable
from syurmy.prover.protocol.key import CLEAR, Mode
from syurmy.prover.protocol.layout import MatrixLayout, stack
from syurmy.prover.protocol.leaves import LOOKUP, Block, suffix
from syurmy.prover.protocol.outline import Lines, Outline
from syurmy.prover.protocol.shapes import (
    choose_params_shape,
    choose_witness_shape,
    min_params_log_entries,
    min_witness_log_entries,
)

MAX_TERMS = 256  # on one tensor in one sweep
MAX_TRACE_CELLS = 2**34  # each is hashed


@dataclass
class Plan:
    system: ConstraintSystem
    multiplicities: dict[Table, Committed]
    blocks: list[Block]
    witness: MatrixLayout
    params: MatrixLayout | None
    trace_cells: int
    equations: list[Equation] = field(default_factory=list)
    mode: Mode = CLEAR
    closeness: Closeness = Closeness.TESTED
    outline: Outline | None = field(default=None, init=False, repr=False)  # None where a sweep with values is needed
    # What is worked out of it (budget.Opening); ``replace`` starts anew, as what it changes may decide on queries.
    opening: object = field(default=None, init=False, repr=False)
    openings: dict[object, object] = field(default_factory=dict, init=False, repr=False)  # by layouts of tensors
    _certified: Plan | None = field(default=None, init=False, repr=False)

    @cached_property
    def used_leaves(self) -> int:
        return sum(b.size for b in self.blocks)

    @property
    def log_leaves(self) -> int:
        """Of the tree: at least two leaves, as its root is not sent."""
        return log2_ceil(max(2, self.used_leaves)) if self.blocks else 0

    @cached_property
    def signed_leaves(self) -> list[tuple[int, int]]:
        """The ranges of leaves whose numerators are not 1."""
        return [(b.offset, b.offset + b.size) for b in self.blocks if b.multiplicity is not None or b.sign < 0]

    @property
    def padding(self) -> int:
        """Padded leaves, each +1/alpha, minus those that are -1/alpha."""
        return sum((b.size - b.true_size) * b.sign for b in self.blocks if b.multiplicity is None)

    @cached_property
    def width(self) -> int:
        return max((block_width(b) for b in self.blocks), default=0)

    @cached_property
    def fingerprint_bits(self) -> int:
        """Coordinates of the point at which rows are fingerprinted."""
        return max(
            (point_bits(m.shape[len(t.shape) :]) for t in self.system.tuples for m in t.members if m is not None),
            default=0,
        )

    @cached_property
    def point_length(self) -> int:
        """Coordinates of the common point: those of the leaves and those that the largest equation needs beyond."""
        return max([self.log_leaves, *(point_bits(e.expression.shape) for e in self.equations)])

    @staticmethod
    def of(program: Program, path: Path | None = None, max_steps: int = DEFAULT_MAX_STEPS, mode: Mode = CLEAR) -> Plan:
        """Raises ``TypeRuleError`` and ``ConstraintError``."""
        with collector.held_back():
            return Plan.laid_out(assemble(program, path, max_steps), params_layout(program, mode), mode)

    @staticmethod
    def laid_out(builder: Builder, params: MatrixLayout | None, mode: Mode) -> Plan:
        """The plan of a constraint system whose params lie so. Raises ``ConstraintError``."""
        system = builder.system
        multiplicities = {}
        for t in system.tables:
            node = Committed(builder, 0, (1, 2**t.log_size), 0, P - 1, -1, (), f"multiplicity of {t.name}")
            multiplicities[t] = node
        blocks = _blocks(system, multiplicities)
        outline = commit_inseparable(builder, blocks)
        columns: list[Committed] = [*system.columns, *multiplicities.values()]
        for i, c in enumerate(columns):  # ids of multiplicities follow all others
            if c.id == 0:
                c.id = system.nodes + 1 + i
        choose = partial(choose_witness_shape, params=params.shape if params else None, mode=mode)
        witness = MatrixLayout([(c, laid(c.shape)) for c in columns], min_witness_log_entries(mode), choose)
        if system.trace_cells() > MAX_TRACE_CELLS:
            raise ConstraintError("the execution writes more than 2^34 tensor entries", code="C111")
        plan = Plan(system, multiplicities, blocks, witness, params, system.trace_cells(), system.equations, mode)
        if plan.used_leaves >= 2**32:
            raise ConstraintError("more than 2^32 lookups in one proof")
        plan.outline = outline if outline.kept else None
        return plan

    def certified(self) -> Plan:
        """The plan of proofs that rest on a certificate of the key's params."""
        if self._certified is None:
            self._certified = replace(self, closeness=Closeness.CERTIFIED)
            self._certified.outline = self.outline
        return self._certified


def branches(program: Program) -> bool:
    """Does the path depend on data?"""
    return any(REGISTRY[ins.op].branch for ins in program.code)


def fixed_plan(program: Program, max_steps: int = DEFAULT_MAX_STEPS, mode: Mode = CLEAR) -> Plan | None:
    """The plan of a single run; where the path depends on data there is none yet, but the types are checked."""
    if branches(program):
        infer_types(program, max_steps=max_steps)
        return None
    return Plan.of(program, max_steps=max_steps, mode=mode)


def params_layout(program: Program, mode: Mode = CLEAR) -> MatrixLayout | None:
    """The matrix of committed params; the same on every path."""
    shapes = [(p.name, (1, *p.type.shape)) for p in program.params if p.committed]
    choose = partial(choose_params_shape, mode=mode)
    return MatrixLayout(shapes, min_params_log_entries(mode), choose) if shapes else None


def block_width(b: Block) -> int:
    """Members of the block's tuples; a fingerprint counts one more per coordinate (its degree)."""
    if isinstance(b.source, Tuples):
        extra = [point_bits(m.shape[len(b.source.shape) :]) for m in b.source.members if m is not None]
        return len(b.source.members) + max(extra, default=0)
    return b.source.width if isinstance(b.source, Table) else b.source.table.width


def _blocks(system: ConstraintSystem, multiplicities: dict[Table, Committed]) -> list[Block]:
    tables = system.tables
    tags: dict[object, int] = {t: i + 1 for i, t in enumerate([*tables, *system.spaces])}
    found: list[tuple[Lookup | Table | Tuples, object, tuple[int, ...], int, Committed | None, int, Piece | None]] = []
    for lk in system.lookups:
        found += [(lk, lk.table, p.dims, 1, None, math.prod(p.true), p) for p in pieces(*lk.members)]
    for t in system.tuples:
        found.append((t, t.space, tuple(map(padded, t.shape)), t.sign, t.multiplicity, math.prod(t.shape), None))
    for table in tables:
        rows = 2**table.log_size
        found.append((table, table, (rows,), -1, multiplicities[table], rows, None))
    offsets = stack([math.prod(dims) for _, _, dims, *_ in found])
    return [
        Block(source, tags[of], dims, offset, sign, m, true, piece)
        for (source, of, dims, sign, m, true, piece), offset in zip(found, offsets, strict=True)
    ]


def commit_inseparable(builder: Builder, blocks: Sequence[Block]) -> Outline:
    """Commit, in their own shape, the products whose weights would mix labels of different kinds (protocol section 4),
    and products and linear images on which more than ``MAX_TERMS`` terms would meet (they could double with every
    layer).

    Runs both of the protocol's sweeps without values until none is left. Without values no two sums of weights count as
    equal, so the protocol's sweeps never meet more terms than these. A product that becomes a column ends the claims on
    it as before, and its own equation is all that is claimed of it; so nothing else is swept again then. Returns what
    the sweeps come to in the end. Raises ``ConstraintError`` C112.
    """
    system, account = builder.system, builder.account
    outline = Outline.begun(blocks, account)
    on_leaves = outline.on_leaves()
    ends, done, restarted = Pulled(), 0, False  # of the equations before ``done``
    while True:
        account.settle()
        first = _Planner(outline.lines, account)
        ends.extend(first.run([*(() if done else on_leaves), *outline.on_equations(system.equations, done)]))
        done = len(system.equations)
        products = ends.products
        mixed = [
            p for p, terms in products.items() if len(terms) > MAX_TERMS or not all(map(partial(separable, p), terms))
        ]
        on_mixed = [products.pop(p) for p in mixed]
        bad: list[Node] = [*mixed, *first.crowded]
        again = bool(first.crowded)  # claims go on behind those, and meet others
        behind = None
        if not bad and products:
            second = _Planner(outline.lines, account)
            behind = outline.behind(second, all_contractions(products, second))
            assert not behind.products, "operands hold no product"
            bad += second.crowded
            again = bool(second.crowded)
        if not bad:
            return Outline.of(blocks, system.equations) if restarted else outline.ended(ends, behind)
        for n in bad:
            builder.commit(n)
        for p, terms in zip(mixed, on_mixed, strict=True):
            assert p.committed_as is not None
            ends.columns[p.committed_as] = terms
        if again:
            ends, done, restarted = Pulled(), 0, True


class _Planner(Sweep):
    """A sweep without values that goes on behind a crowded linear image as if it were committed, and says what the
    protocol's sweep will cost."""

    def __init__(self, space: Lines, account: Account) -> None:
        super().__init__(space)
        self.account = account
        self.crowded: list[Node] = []

    def run(self, claims: Iterable[tuple[Node, Term]]) -> Pulled:
        out = super().run(claims)
        for node, terms in out.publics.items():
            self.account.spend(len(terms) * node.size, "claims on public tensors")
        columns = (self.reshaped(t, c.shape, laid(c.shape)) for c, terms in out.columns.items() for t in terms)
        for terms in (list(columns), *out.params.values(), *out.externals.values()):
            self.account.spend(sum(w.size for t in terms for _, w in t.groups), "claims on columns")
        return out

    def met(self, terms: int) -> None:
        self.account.spend(PER_TERM * terms, "claims")

    def passing(self, node: Node, terms: list[Term]) -> list[Term]:
        if len(terms) <= MAX_TERMS:
            return terms
        self.crowded.append(node)
        return [eq_term(self.space, suffix(LOOKUP), node.shape)]
