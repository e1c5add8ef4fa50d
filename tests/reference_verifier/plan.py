"""What is fixed by the program and the path: columns, leaves, matrices, and the numbers of claims (11.3, 11.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from blake3 import blake3

from syurmy.isa import graph as g
from syurmy.isa.builder import Builder, ConstraintSystem
from syurmy.isa.graph import Committed, Node
from tests.reference_verifier import contraction
from tests.reference_verifier.errors import require
from tests.reference_verifier.field import ONE, ZERO, K, P, eq, eq_at, inner_integers, powers, total
from tests.reference_verifier.layout import Part, Stack, all_of, lying, part_shape, parts_of, stacked
from tests.reference_verifier.params import Params
from tests.reference_verifier.shapes import log
from tests.reference_verifier.sweep import Group, Sweep, Term, at_point, logs, made
from tests.reference_verifier.weights import DryWeights, Weights

MAX_LEAVES = 2**32
MAX_CELLS = 2**34
VARIABLES = 64  # of the points of a dry sweep; more than any tensor takes


# ---- what is committed beside columns ------------------------------------------------------------------------------


def at_part(weights: Weights, variables: int, shape: Sequence[int], part: Part) -> list[Group]:
    """eq weights at the last coordinates of ``lookup`` on a part of a tensor; its run takes the first of these."""
    first, last, lo, hi = part
    run = tuple(range(first, last + 1))
    behind = [(a,) for a in range(len(shape)) if a not in run]
    lengths = part_shape(shape, part)
    at, out = variables - logs(lengths), []
    for axes, d in zip([run, *behind], lengths, strict=True):
        w = weights.eq([("lookup", i) for i in range(at, at + log(d))], d) if d > 1 else weights.ones(1)
        length = prod(shape[a] for a in axes)
        if d < length:
            w = weights.scatter(weights.reshape(w, (d, 1)), range(lo, hi), (d,), length)
        if long := tuple(a for a in axes if shape[a] > 1):
            out.append((long, weights.reshape(w, [shape[a] for a in long])))
        at += log(d)
    return out


def parts(members: Sequence[Node | None]) -> list[Part]:
    """The pieces of a lookup."""
    tensors = [m for m in members if m is not None]
    return parts_of(tensors[0].shape, contraction.apart(*tensors))


def equation_groups(weights: Weights, variables: int, node: Node) -> list[Group]:
    """Of the claim on an equation: its axes in the order of a lookup on it."""
    return at_part(weights, variables, node.shape, all_of(node.shape, contraction.apart(node)))


def member_term(
    weights: Weights, variables: tuple[int, int], shape: Sequence[int], node: Node, count: K, part: Part | None = None
) -> Term:
    """The claim on a member of a block: its first axes at ``lookup``, those behind at ``fingerprint``. ``part``: of a
    lookup, what the block holds of the member."""
    if part is not None:
        return made(count, at_part(weights, variables[0], node.shape, part))
    groups = at_point(weights, "lookup", variables[0], node.shape[: len(shape)])
    behind = node.shape[len(shape) :]
    return made(count, groups + at_point(weights, "fingerprint", variables[1], behind, len(shape)))


def to_commit(system: ConstraintSystem) -> list[Node]:
    """By two sweeps without values."""
    crowded: list[Node] = []
    weights = DryWeights({})
    sweep = Sweep(weights, crowded.append, VARIABLES)
    both = VARIABLES, VARIABLES
    for lk in system.lookups:
        for part in parts(lk.members):
            for member in lk.members:
                sweep.claim(member, member_term(weights, both, (), member, ONE, part))
    for t in system.tuples:
        for member in t.members:
            if member is not None:
                sweep.claim(member, member_term(weights, both, t.shape, member, ONE))
    for e in system.equations:
        sweep.claim(e.expression, made(ONE, equation_groups(weights, VARIABLES, e.expression)))
    swept = sweep.run()
    if found := contraction.not_separable(swept) + crowded:
        return found
    instances = contraction.instances(weights, swept)
    second = Sweep(weights, crowded.append, VARIABLES)
    contraction.claim_operands(second, instances, max((i.variables for i in instances), default=0), ONE)
    second.run()
    return crowded


def commit_all(builder: Builder) -> ConstraintSystem:
    while found := to_commit(builder.system):
        for node in found:
            builder.commit(node)
    return builder.system


# ---- leaves --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaves:
    """A block of the tree. ``shape``: of its true entries; ``sign``: of its numerators, or None where they are minus
    ``multiplicity``; ``table``: the table whose rows it has, else None; ``part``: of a lookup, the piece that it is."""

    tag: int
    members: tuple[Node | None, ...]
    shape: tuple[int, ...]
    sign: int | None
    multiplicity: Committed | None
    table: g.Table | None
    part: Part | None = None

    @property
    def size(self) -> int:
        return prod(2 ** log(d) for d in self.shape)

    @property
    def fingerprint(self) -> int:
        """The most coordinates that a fingerprint takes; lookups have none."""
        if self.part is not None:
            return 0
        return max((logs(m.shape[len(self.shape) :]) for m in self.members if m is not None), default=0)

    @property
    def width(self) -> int:
        return self.table.width if self.table is not None else len(self.members) + self.fingerprint

    def true_sum(self, point: Sequence[K]) -> K:
        """The sum of eq over its true entries, at the last coordinates of a point."""
        at, result = len(point) - logs(self.shape), ONE
        for d in self.shape:
            result = result * total(eq(point[at : at + log(d)], d))
            at += log(d)
        return result

    def table_at(self, point: Sequence[K], beta: K) -> K:
        """The sum of beta^(i+1) t_i at the last coordinates of a point."""
        assert self.table is not None
        mine = point[len(point) - self.table.log_size :]
        if self.table.is_range:
            k = len(mine)
            return beta * total(r * 2 ** (k - 1 - i) for i, r in enumerate(mine))
        weights = eq(mine)
        counts = powers(beta, self.table.width + 1)[1:]
        return total(
            c * inner_integers(weights, column.tolist()) for c, column in zip(counts, self.table.columns, strict=True)
        )


@dataclass(frozen=True)
class Tree:
    """The tree of fractions. ``leaves``: those that its blocks take; ``variables``: log of all, with unused ones; None
    where there is none."""

    blocks: list[Leaves]
    offsets: list[int]
    leaves: int
    variables: int | None

    @property
    def padding(self) -> int:
        """Padded entries, with their signs."""
        return sum(b.sign * (b.size - prod(b.shape)) for b in self.blocks if b.sign is not None)

    @property
    def width(self) -> int:
        return max((b.width for b in self.blocks), default=0)

    @property
    def fingerprint(self) -> int:
        return max((b.fingerprint for b in self.blocks), default=0)

    def prefix(self, b: int, point: Sequence[K]) -> K:
        """eq of a block's place, at the leaves' point."""
        k = log(self.blocks[b].size)
        return eq_at(point[: len(point) - k], self.offsets[b] >> k)


def tree_of(system: ConstraintSystem, multiplicities: Sequence[Committed]) -> Tree:
    tables, spaces = system.tables, system.spaces
    blocks = []
    for lk in system.lookups:
        tag = 1 + tables.index(lk.table)
        whole = lk.members[0].shape
        blocks += [Leaves(tag, lk.members, part_shape(whole, p), 1, None, None, p) for p in parts(lk.members)]
    for t in system.tuples:
        tag = 1 + len(tables) + spaces.index(t.space)
        sign = t.sign if t.multiplicity is None else None
        blocks.append(Leaves(tag, t.members, t.shape, sign, t.multiplicity, None))
    for tag, (table, m) in enumerate(zip(tables, multiplicities, strict=True), 1):
        blocks.append(Leaves(tag, (), m.shape, None, m, table))
    offsets, leaves = stacked([b.size for b in blocks])
    require(leaves < MAX_LEAVES, "plan", "there are too many leaves")
    return Tree(blocks, offsets, leaves, log(max(2, leaves)) if blocks else None)


# ---- the plan ------------------------------------------------------------------------------------------------------


@dataclass
class Claims:
    """The numbers that a proof's own sweeps must have: (variables, degree) of every instance, the number of rows of
    params, and log_size of every reduced table."""

    instances: list[tuple[int, int]] = field(default_factory=list)
    rows: int = 0
    reduced: list[int] = field(default_factory=list)


class Plan:
    def __init__(self, builder: Builder, params: Callable[[ConstraintSystem], Params], witness_least: int) -> None:
        self.system = system = commit_all(builder)
        self.cells = system.trace_cells()
        require(self.cells <= MAX_CELLS, "plan", "the execution has too many results")
        self.multiplicities = []
        for i, t in enumerate(system.tables):
            shape = (1, 2**t.log_size)
            self.multiplicities.append(Committed(builder, system.nodes + 1 + i, shape, 0, 0, -1, (), t.name))
        self.tree = tree_of(system, self.multiplicities)
        self.columns: list[Committed] = [*system.columns, *self.multiplicities]
        self.stack = Stack([lying(c.shape) for c in self.columns], witness_least)
        self.params = params(system)
        self.place = {c.id: b for c, b in zip(self.columns, self.stack.blocks, strict=True)}

    @cached_property
    def variables(self) -> int:
        """Coordinates of the common point."""
        return max(self.tree.variables or 0, self.equation_variables)

    @cached_property
    def equation_variables(self) -> int:
        return max((logs(e.expression.shape) for e in self.system.equations), default=0)

    @cached_property
    def counts(self) -> Claims:
        """The counting sweeps."""
        stream = Stream()
        points = {"fingerprint": stream.draw(self.tree.fingerprint), "lookup": stream.draw(self.variables)}
        _alpha, beta, gamma, _num, _den, eta = stream.draw(6)
        weights = Weights(points)
        first = self.first_sweep(weights, beta, gamma)
        swept = first.run()
        instances = contraction.instances(weights, swept)
        counted = Claims([(i.variables, i.degree) for i in instances])
        rounds = max((i.variables for i in instances), default=0)
        points["contraction"] = stream.draw(rounds)
        second = Sweep(weights)
        contraction.claim_operands(second, instances, rounds, eta)
        claims = self.params.claims(weights, [swept, second.run()])
        return Claims(counted.instances, claims.rows, claims.reduced)

    def first_sweep(self, weights: Weights, beta: K, gamma: K) -> Sweep:
        """Claims of the leaves and of equations, queued."""
        point = weights.points["lookup"]
        leaves = point[len(point) - (self.tree.variables or 0) :]
        sizes = len(point), len(weights.points["fingerprint"])
        sweep = Sweep(weights)
        for b, block in enumerate(self.tree.blocks):
            e = self.tree.prefix(b, leaves)
            if block.multiplicity is not None:
                m = block.multiplicity
                sweep.claim(m, member_term(weights, sizes, m.shape, m, gamma * e))
            for count, member in zip(powers(beta, len(block.members) + 1)[1:], block.members, strict=True):
                if member is not None:
                    sweep.claim(member, member_term(weights, sizes, block.shape, member, e * count, block.part))
        count = gamma * gamma
        for e in self.system.equations:
            sweep.claim(e.expression, made(count, equation_groups(weights, sizes[0], e.expression)))
            count = count * gamma
        return sweep

    def claimed(self, points: dict[str, list[K]], alpha: K, beta: K, gamma: K) -> K:
        """What all claims of the first sweep add up to, beside -den - gamma num."""
        point = points["lookup"]
        leaves = point[len(point) - (self.tree.variables or 0) :]
        result, prefixes = ONE, ZERO
        for b, block in enumerate(self.tree.blocks):
            e = self.tree.prefix(b, leaves)
            prefixes = prefixes + e
            if block.sign is not None:
                result = result + gamma * e * block.sign
            if block.table is None:
                result = result - e * block.true_sum(leaves) * block.tag
            else:
                result = result - e * (K(block.tag) + block.table_at(leaves, beta))
        return result + alpha * prefixes - prefixes


class Stream:
    """The elements of the counting sweeps."""

    def __init__(self) -> None:
        self.seed = blake3(b"syurmy-vm points of the counting sweep")
        self.at = 0

    def draw(self, count: int) -> list[K]:
        data = self.seed.digest(length=16 * count, seek=self.at)
        self.at += 16 * count
        words = [int.from_bytes(data[i : i + 8], "little") % P for i in range(0, len(data), 8)]
        return [K(a, b) for a, b in zip(words[::2], words[1::2], strict=True)]
