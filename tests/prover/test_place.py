"""Columns in their places, weights written out, and counts of rows, against their definitions in Python."""

from itertools import product

import numpy as np
import pytest

from syurmy.isa.types import padded
from syurmy.prover.dense import Dense
from syurmy.prover.field import U64, ZERO, Ext, P, ext_array, ext_list
from syurmy.prover.kernels import place
from syurmy.prover.protocol.claims import Term
from syurmy.prover.protocol.weights import Weight

EDGES = [0, 1, -1, 2**63 - 1, -(2**63 - 1), 2**32, -(2**32)]


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    out = rng.integers(-(2**62), 2**62, shape)
    out.reshape(-1)[: len(EDGES)] = EDGES[: out.size]
    return out


def elements(rng: np.random.Generator, n: int) -> list[Ext]:
    return [Ext(int(a), int(b)) for a, b in rng.integers(0, P, (n, 2), np.uint64)]


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((1,), (0,)),
        ((700,), (0,)),
        ((3, 5), (0, 1)),
        ((3, 5), (1, 0)),
        ((1, 1, 3, 8, 4), (2, 0, 1, 3, 4)),
        ((1, 6, 4, 7), (3, 1, 0, 2)),
        ((2, 40, 300), (1, 0, 2)),
    ],
)
def test_place(shape, order):
    rng = np.random.default_rng(1)
    values = integers(rng, *shape)
    dims = tuple(padded(shape[a]) for a in order)
    out = np.full(int(np.prod(dims)) + 9, 77, np.uint64)
    place.place(values, order, dims, out, 4)
    expected = np.zeros(dims, object)
    expected[tuple(slice(0, shape[a]) for a in order)] = np.transpose(values.astype(object), order) % P
    assert out.tolist() == [77] * 4 + expected.reshape(-1).tolist() + [77] * 5


def test_place_of_views():
    values = integers(np.random.default_rng(2), 4, 6)
    out = np.empty(32, np.uint64)
    place.place(values.T, (1, 0), (4, 8), out, 0)
    assert out.reshape(4, 8)[:, :6].tolist() == (values.astype(object) % P).tolist()
    place.place(np.broadcast_to(values[:1, :4], (4, 4)), (0, 1), (4, 4), out, 16)
    assert out[16:].reshape(4, 4).tolist() == [(values[0, :4].astype(object) % P).tolist()] * 4


@pytest.mark.parametrize(("dims", "at"), [((4, 4), 0), ((2, 8), 0), ((4, 8), -1), ((4, 8), 1), ((32,), 0)])
def test_place_refuses_what_does_not_fit(dims, at):
    with pytest.raises(ValueError, match="place"):
        place.place(np.zeros((3, 5), np.int64), (0, 1), dims, np.zeros(32, np.uint64), at)


def test_outer_sums():
    """Products one of which is made of another, of short and long rows; sums of one, two and three products."""
    rng = np.random.default_rng(7)
    memory = elements(rng, 20_000)
    memory[0], memory[5] = Ext(P - 1, P - 1), Ext(P - 1, 0)
    products = [(0, 3, 5, 4, 9000), (9000, 12, 100, 700, 9012), (7, 1, 9, 1, 18_000)]
    rows = [(20, 2, 9012, 5000, 3), (1, 1, 6, 70, 10_005), (0, 10, 30, 7, 10_005), (2, 70, 90, 1, 10_005)]
    rows += [(3, 1, 18_000, 1, 10_080), (4, 1, 5, 1, 10_080)]
    coefficients = [Ext(P - 1, P - 2), *elements(rng, 5)]
    given, before = ext_array(memory), rng.integers(0, P, (2, 10_090), np.uint64)
    out = before.copy()
    place.outer_sums(given, np.array(products), np.array(rows), ext_array(coefficients), out)
    for left, n, right, m, at in products:
        memory[at : at + n * m] = [memory[left + i] * memory[right + j] for i in range(n) for j in range(m)]
    assert ext_list(given) == memory
    expected = ext_list(before)
    for k, (left, n, right, m, at) in enumerate(rows):
        for i in range(n * m):
            value = coefficients[k] * memory[left + i // m] * memory[right + i % m]
            expected[at + i] = value + (expected[at + i] if k and rows[k - 1][4] == at else ZERO)
    assert ext_list(out) == expected


@pytest.mark.parametrize("row", [(0, 2, 0, 2, 1), (0, 2, 0, 2, -1), (3, 2, 0, 1, 0), (0, 1, 4, 1, 0), (0, 0, 0, 1, 0)])
def test_outer_sums_refuses_what_does_not_fit(row):
    memory, none, rows = np.zeros((2, 4), np.uint64), np.zeros((0, 5), np.int64), np.array([row])
    for products, sums in ((rows, none), (none, rows)):
        with pytest.raises(ValueError, match="does not fit"):
            place.outer_sums(memory, products, sums, np.zeros((2, 1), np.uint64), np.zeros((2, 4), np.uint64))


@pytest.mark.parametrize("n", [0, 1, 40_000])
def test_count(n):
    rows = np.random.default_rng(n).integers(0, 64, n)
    counts = np.arange(64)
    assert place.count(rows.reshape(1, n), counts)
    assert counts.tolist() == (np.arange(64) + np.bincount(rows, minlength=64)).tolist()


@pytest.mark.parametrize("n", [3, 40_000])
@pytest.mark.parametrize("wrong", [-1, 64, 2**62, -(2**63)])
def test_a_row_that_is_none_is_told(n, wrong):
    rows = np.zeros(n, np.int64)
    rows[n // 2] = wrong
    assert not place.count(rows, np.zeros(64, np.int64))


def weight(rng: np.random.Generator, *dims: int) -> Weight:
    array: U64 = rng.integers(0, P, (2, *dims), np.uint64)
    return Weight(("test", rng.integers(1 << 60)), dims, lambda: array)


def written(terms: list[Term], shape: tuple[int, ...], order: tuple[int, ...]) -> list[Ext]:
    """Entry by entry."""
    out = []
    for at in product(*(range(padded(shape[a])) for a in order)):
        index = dict(zip(order, at, strict=True))
        value = ZERO
        for t in terms if all(index[a] < shape[a] for a in order) else []:
            x = t.coefficient
            for axes, w in t.groups:
                x = x * Ext(*map(int, w.array[(slice(None), *(index[a] for a in axes))]))
            value = value + x
        out.append(value)
    return out


SHAPES: list[tuple[tuple[int, ...], tuple[int, ...], list[list[tuple[int, ...]]]]] = [
    ((1, 1), (0, 1), [[], []]),
    ((1, 70), (0, 1), [[(1,)]]),
    ((1, 3, 5, 8), (1, 0, 2, 3), [[(1,), (2,), (3,)], [(1,), (2,), (3,)], [(1, 2), (3,)]]),
    ((1, 3, 70, 2), (2, 1, 0, 3), [[(1,), (2,), (3,)], [(1, 2), (3,)], [(1, 3), (2,)]]),  # (1, 2) is not in order
    ((2, 4, 4, 4), (0, 1, 2, 3), [[(0,), (1,), (2,), (3,)], [(0, 3), (1, 2)], [(0, 1), (2, 3)], [(0, 1, 2, 3)]]),
]


@pytest.mark.parametrize(("shape", "order", "partitions"), SHAPES)
def test_weights_are_written_as_they_are_defined(shape, order, partitions):
    rng = np.random.default_rng(len(shape))
    terms = []
    for groups in [*partitions, *partitions[:1]]:  # the last has its weights in common with the first
        made = [(axes, weight(rng, *(shape[a] for a in axes))) for axes in groups]
        terms.append(Term(elements(rng, 1)[0], tuple(made)))
    terms[-1] = Term(terms[-1].coefficient, terms[0].groups)
    expected = written(terms, shape, order)
    out = np.full((2, len(expected) + 5), 5, np.uint64)
    dense = Dense()
    dense.add(terms, shape, order, 2)
    dense.into(out)
    assert ext_list(np.ascontiguousarray(out[:, 2:-3])) == expected
    assert (out[:, :2] == 5).all()
    assert (out[:, -3:] == 5).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 700, 140_000])
def test_combined(n, count):
    """Of arrays of several dtypes; beyond 64 bits they wrap as NumPy's."""
    rng = np.random.default_rng(n + count)
    arrays = [integers(rng, n), integers(rng, n), rng.integers(-9, 9, n, np.int8), integers(rng, n)][:count]
    factors, const = [1, -65536, -(2**62), 3][:count], -5
    expected = sum((f * a.astype(object) for f, a in zip(factors, arrays, strict=True)), const)
    wrapped = [(int(x) + 2**63) % 2**64 - 2**63 for x in expected]
    assert place.combined([a.reshape(1, n) for a in arrays], factors, const).tolist() == [wrapped]
