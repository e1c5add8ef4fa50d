"""A claim pulled back through any linear graph has the value of the claim itself."""

import math
import random

import numpy as np
import pytest
from hypothesis import given

from syurmy.isa import graph as g
from syurmy.isa.builder import Builder
from syurmy.isa.graph import Committed, Node
from syurmy.isa.joining import segments
from syurmy.isa.pieces import Piece
from syurmy.isa.program import Instruction, Program
from syurmy.isa.system import started
from syurmy.prover.field import ONE, ZERO, Ext, P
from syurmy.prover.operands import Tables, bind_operand
from syurmy.prover.patches import Source
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.claims import Sweep, Term, eq_term, inner_product, piece_term, point_bits
from syurmy.prover.protocol.contraction import Contraction, Side, batch_values
from syurmy.prover.protocol.plan import separable
from syurmy.prover.protocol.weights import WeightSpace
from tests.drawing import SEEDS, examples

EMPTY = Program("empty", (), (), (), (), (Instruction("halt", None, ()),))


def random_point(rng, n):
    return [Ext(rng.randrange(P), rng.randrange(P)) for _ in range(n)]


def leaf(b, shape, rng):
    c = Committed(*b.new(shape, (-100, 100)), ())
    return c


def random_linear(b: Builder, nodes: list[Node], rng: random.Random) -> Node:
    n = rng.choice(nodes)
    rank = len(n.shape) - 1
    kind = rng.randrange(8)
    if kind == 0:
        other = [m for m in nodes if m.shape == n.shape]
        return b.combine((rng.randrange(-3, 4), n), (2, rng.choice(other)), const=rng.randrange(-5, 6))
    if kind == 1 and rank:
        dims = list(n.shape[1:])
        i = rng.randrange(rank)
        if rng.random() < 0.5 and dims[i] % 2 == 0:
            dims[i : i + 1] = [2, dims[i] // 2]
        elif i + 1 < rank:
            dims[i : i + 2] = [dims[i] * dims[i + 1]]
        else:
            dims.insert(i, 1)
        return b.reshape(n, dims)
    if kind == 2 and rank > 1:
        return b.transpose(n, rng.sample(range(rank), rank))
    if kind == 3 and rank:
        return b.sum(n, rng.sample(range(rank), rng.randrange(1, rank + 1)))
    if kind == 4 and rank:
        target = [d if d > 1 else rng.randrange(1, 4) for d in n.shape[1:]]
        return b.broadcast(n, target)
    if kind == 5 and rank:
        axis = rng.randrange(rank)
        d = n.shape[axis + 1]
        return b.pick(n, axis, [rng.randrange(-1, d) for _ in range(rng.randrange(1, 6))])
    if kind == 6 and rank:
        axis = rng.randrange(rank)
        rest = n.shape[: axis + 1] + n.shape[axis + 2 :]
        same = [m for m in nodes if len(m.shape) == len(n.shape) and m.shape[: axis + 1] + m.shape[axis + 2 :] == rest]
        return b.concat([n, rng.choice(same)], axis)
    # two axes (execution and one more) mapped jointly, as put and counter-addressed slices do
    if rank:
        axis = rng.randrange(1, rank + 1)
        size = n.shape[0] * n.shape[axis]
        index = np.array(
            [[rng.randrange(-1, size) for _ in range(rng.randrange(1, 4))]] * rng.randrange(1, 3), np.int64
        )
        index = np.array([[rng.randrange(-1, size) for _ in range(index.shape[1])] for _ in range(index.shape[0])])
        return b.index_map(n, (0, axis), (0, axis), index)
    return n + 1


class Values:
    def __init__(self, rng):
        self.rng = np.random.default_rng(rng.randrange(2**32))
        self.known = {}

    def __call__(self, n):
        if n not in self.known:
            if not isinstance(n, Committed):
                self.known[n] = n.forward([self(i) for i in n.inputs])
            else:
                self.known[n] = self.rng.integers(-100, 101, n.shape)
        return self.known[n]

    def moved(self, n, dtype):
        return self(n).astype(dtype)


def direct(values, node, term, sweep):
    return inner_product(np.ascontiguousarray(values(node)), term, sweep.space)


@examples(150)
@given(SEEDS)
def test_pull_back_through_random_graphs(seed):
    rng = random.Random(seed)
    b = started(EMPTY)
    shapes = [(1, 4, 3), (3, 2, 4), (1, 5), (2, 1, 6), (1,)]
    nodes: list[Node] = [leaf(b, rng.choice(shapes), rng) for _ in range(3)]
    for _ in range(rng.randrange(1, 12)):
        n = random_linear(b, nodes, rng)
        if n.size < 500:
            nodes.append(n)
    values = Values(rng)
    space = WeightSpace(points={"r": random_point(rng, 16)})
    sweep = Sweep(space)
    claims, expected = [], ZERO
    for _ in range(rng.randrange(1, 4)):
        node = rng.choice(nodes)
        coordinates = [("r", i) for i in range(16)]
        term = eq_term(space, coordinates, node.shape, random_point(rng, 1)[0])
        claims.append((node, term))
        expected = expected + direct(values, node, term, sweep)
    pulled = sweep.run(claims)
    total = pulled.constant
    for column, terms in pulled.columns.items():
        for t in terms:
            total = total + direct(values, column, t, sweep)
    assert total == expected


@examples(60)
@given(SEEDS)
def test_evaluations_of_pieces(seed):
    """A claim on a piece is its own multilinear extension, axes in its order, at the suffix of the point."""
    rng = random.Random(seed)
    shape = tuple(rng.choice([1, 2, 3, 5, 7, 8]) for _ in range(rng.randrange(1, 4)))
    first = rng.randrange(len(shape))
    last = rng.randrange(first, len(shape))
    lo = rng.randrange(length := math.prod(shape[first : last + 1]))
    hi = rng.choice([length, rng.randrange(lo, length) + 1])
    piece = Piece(shape, first, last, lo, hi)
    node = leaf(started(EMPTY), shape, rng)
    values = Values(rng)
    space = WeightSpace(points={"r": random_point(rng, 12)})
    term = piece_term(space, [("r", i) for i in range(12)], piece)
    block = np.zeros(piece.dims, np.int64)
    block[tuple(slice(0, d) for d in piece.true)] = piece.of(values(node))
    expected = mle.dot_int(mle.eq_vector(space.points["r"][12 - point_bits(piece.true) :]), block.reshape(-1))
    assert direct(values, node, term, Sweep(space)) == expected


@examples(100)
@given(SEEDS)
def test_contractions_of_products(seed):
    """c * sum w_b A' B' is the claim on the product, and the operand terms are A'(rho), B'(rho)."""
    from syurmy.prover import sumcheck

    rng = random.Random(seed)
    b = started(EMPTY)
    pool = {x: rng.choice([1, 2, 3, 4]) for x in range(4)}
    la = rng.sample(range(4), rng.randrange(1, 5))
    lb = rng.sample(range(4), rng.randrange(1, 5))
    both = sorted(set(la) | set(lb))
    lo = rng.sample(both, rng.randrange(0, len(both) + 1))
    lo = lo + [x for x in both if x not in lo and not (x in la and x in lb)]
    e = rng.choice([1, 3])
    a = leaf(b, (e, *(pool[x] for x in la)), rng)
    c = leaf(b, (rng.choice([1, e]), *(pool[x] for x in lb)), rng)
    p = b.product(a, c, la, lb, lo)
    assert isinstance(p, g.Product)
    values = Values(rng)
    space = WeightSpace(points={"r": random_point(rng, 16), "contraction": random_point(rng, 12)})
    sweep = Sweep(space)
    term = eq_term(space, [("r", i) for i in range(16)], p.shape, random_point(rng, 1)[0])
    assert separable(p, term)
    k = Contraction.of(p, term, sweep)
    x = Tables(values, sweep).instance(k)
    assert sumcheck.total(sumcheck.begin([x], 12)) == direct(values, p, term, sweep)
    point = space.points["contraction"][12 - k.variables :]
    for side, table in ((k.a, x.tables[-2]), (k.b, x.tables[-1])):
        claim = k.operand_term(side, sweep, "contraction", 12, ONE)
        value = mle.evaluate_base(table, point) if table.ndim == 1 else mle.evaluate(table, point)
        assert direct(values, side.node, claim, sweep) == value
    if k.batch:
        assert batch_values([k], sweep, "contraction", 12) == [mle.evaluate(x.tables[0], point)]


def test_terms_of_one_shape_merge():
    """Claims at one point merge to one term, whatever their number."""
    b = started(EMPTY)
    x = leaf(b, (1, 8, 8), random)
    node = x
    for i in range(5):
        node = node + b.pick(x, 0, [(j + i) % 8 for j in range(8)])
    space = WeightSpace(points={"r": random_point(random.Random(1), 6)})
    term = eq_term(space, [("r", i) for i in range(6)], node.shape)
    pulled = Sweep(space).run([(node, term), (node, term)])
    assert [len(t) for t in pulled.columns.values()] == [1]


@pytest.mark.parametrize(
    ("out_shape", "in_shape", "expected"),
    [
        ((1, 6), (1, 2, 3), [([1], [1, 2])]),
        ((2, 3, 4), (6, 4), [([0, 1], [0]), ([2], [1])]),
        ((1, 1), (1,), []),
        ((4, 6), (8, 3), [([0, 1], [0, 1])]),
    ],
)
def test_segments(out_shape, in_shape, expected):
    assert segments(out_shape, in_shape) == expected


def test_evaluation_claim_takes_the_suffix():
    space = WeightSpace(points={"r": random_point(random.Random(2), 5)})
    term = eq_term(space, [("r", i) for i in range(5)], (1, 3, 4))
    assert point_bits((1, 3, 4)) == 4
    assert [w.point for _, w in term.groups] == [(("r", 1), ("r", 2)), (("r", 3), ("r", 4))]
    assert isinstance(term, Term)


def test_one_known_entry_has_no_axis():
    """A block that runs once: its counter is one number, in closed form or not."""
    from syurmy.isa.progression import Progression
    from syurmy.prover.protocol.claims import inner_product

    space = WeightSpace()
    for known in (Progression.of(np.array([7])), np.array([[7]])):
        assert inner_product(known, Term(Ext(3), ()), space) == Ext(21)


def mapped_operand(rng):
    """An operand made by index maps of one axis or two, with zeros, one after the other, and how it is bound."""
    b = started(EMPTY)
    interval = rng.choice([(-100, 100), (-(2**20), 100)])
    node: Node = Committed(*b.new((1, *(rng.randrange(1, 6) for _ in range(3))), interval), ())
    for _ in range(rng.randrange(1, 4)):
        in_axes = sorted(rng.sample(range(1, len(node.shape)), rng.randrange(1, 3)))
        count = rng.randrange(1, 3)
        out_axes = sorted(rng.sample(range(1, len(node.shape) - len(in_axes) + count), count))
        size = math.prod(node.shape[a] for a in in_axes)
        index = np.array([rng.randrange(-1, size) for _ in range(4)])[: 4 if count == 2 else rng.randrange(1, 5)]
        node = b.index_map(node, in_axes, out_axes, index.reshape([2, 2][:count] if count == 2 else -1))
    long = [a for a, d in enumerate(node.shape) if d > 1]
    kept = rng.sample(long, rng.randrange(len(long) + 1))
    rest = [a for a in long if a not in kept]
    space = WeightSpace(points={"r": random_point(rng, 16)})
    groups = []
    for axes in [rest] if rest and rng.random() < 0.3 else [[a] for a in rest]:
        dims = [node.shape[a] for a in axes]
        w = space.eq([("r", i) for i in range((math.prod(dims) - 1).bit_length())], math.prod(dims))
        groups.append((tuple(axes), space.reshape(w, dims)))
    return Side(node, tuple(kept), tuple(groups)), Sweep(space)


def test_operands_bound_through_index_maps():
    """As where they are laid out."""
    through = 0
    for seed in range(60):
        rng = random.Random(seed)
        side, sweep = mapped_operand(rng)
        values = Values(rng)
        found = bind_operand(values, side, sweep)
        through += Source.of(side) is not None if side.bound else 0
        side.prepared[:] = [None]  # laid out
        assert np.array_equal(found, bind_operand(values, side, sweep))
    assert 12 < through < 48
