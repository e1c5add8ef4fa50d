"""Weights: closed forms have the values of the arrays, however the weights were made."""

import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from syurmy.isa.progression import Part, Progression
from syurmy.prover.field import ZERO, Ext, P
from syurmy.prover.protocol import mle, strands, weights
from syurmy.prover.protocol.strands import Strand
from syurmy.prover.protocol.weights import Weight, WeightSpace, first_terms
from tests.drawing import examples


def draw(rng: random.Random, n: int) -> list[Ext]:
    return [Ext(rng.randrange(P), rng.randrange(P)) for _ in range(n)]


def by_array(w: Weight, point: list[list[Ext]]) -> Ext:
    """The extension by its definition."""
    vector = mle.eq_vector(point[0], w.dims[0])
    for r, d in zip(point[1:], w.dims[1:], strict=True):
        vector = mle.outer(vector, mle.eq_vector(r, d)).reshape(2, -1)
    return mle.dot(vector, w.array.reshape(2, -1))


def made(space: WeightSpace, rng: random.Random, rows: int, cols: int) -> dict[str, Weight]:
    bits = [(d - 1).bit_length() for d in (rows, cols)]
    space.points = {"p": draw(rng, sum(bits)), "q": draw(rng, bits[0])}
    p, q = ([(name, i) for i in range(len(values))] for name, values in space.points.items())
    a, b = space.eq(p[: bits[0]], rows), space.eq(p[bits[0] :], cols)
    table = space.outer(a, b)
    mixed = space.linear([(Ext(3, 5), space.ones(rows)), (Ext(7), a), (Ext(0, 2), space.eq(q, rows))])
    return {
        "eq": a,
        "ones": space.ones(rows),
        "outer": table,
        "transposed": space.transpose(table, (1, 0)),
        "linear": mixed,
        "linear of products": space.linear([(Ext(2), table), (Ext(9, 1), space.outer(mixed, b))]),
        "slice": space.slice(table, 1, 0, (cols + 1) // 2),
        "sum": space.sum_axis(table, 0),
        "scatter": space.reshape(space.scatter(a, np.arange(rows, dtype=np.int64) // 2, rows), (rows,)),
        "scatter that drops": space.scatter(a, np.arange(rows, dtype=np.int64) - 1, rows),
        "reshaped": space.reshape(table, (rows, 1, cols)),
        "linear of arrays": space.linear(
            [(Ext(5), space.reshape(space.scatter(b, np.arange(cols) // 3, cols), (cols,))), (Ext(1, 1), b)]
        ),
    }


@pytest.mark.parametrize(("rows", "cols"), [(2, 2), (3, 8), (16, 5), (100, 33), (7, 64)])
def test_evaluations_and_sums_are_those_of_the_array(rows, cols):
    space, rng = WeightSpace(), random.Random(rows * cols)
    weights = made(space, rng, rows, cols)
    for name in ("eq", "ones", "outer", "transposed", "linear", "linear of products", "reshaped", "linear of arrays"):
        assert weights[name].form is not None, name
    assert {name for name, w in weights.items() if w.total is None} == {"eq", "ones", "slice", "scatter that drops"}
    for name, w in weights.items():
        point = [draw(rng, (d - 1).bit_length()) for d in w.dims]
        assert space.evaluate(w, point) == by_array(w, point), name
        assert space.total(w) == mle.dot(w.array.reshape(2, -1), WeightSpace().ones(w.size).array), name


def entries(w: Weight) -> np.ndarray:
    return w.array.reshape(2, -1)


@st.composite
def progressions(draw, size: int, below: int) -> Progression:
    """``size`` integers of [-1, below), in a few parts."""
    parts, left = [], size
    while left:
        m = draw(st.integers(1, min(left, 4)))
        times = draw(st.integers(1, left // m))
        shift = np.array(draw(st.lists(st.integers(0, min(m + 1, below // times)), min_size=m, max_size=m)))
        rows = [draw(st.integers(-1, max(-1, below - 1 - (times - 1) * int(s)))) for s in shift]
        if draw(st.booleans()):
            rows = [max(-1, min(rows) + i) for i in range(m)] if max(rows) + m + times * shift.max() < below else rows
        parts.append(Part(np.array(rows), shift, times))
        left -= m * times
    return Progression.joined(parts)


@examples(100)
@given(st.data())
def test_strands_are_the_array(data):
    """Slices, index maps and sums of vectors: entries, sum, extension and inner products as those of arrays."""
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "LONG", 1)
        patch.setattr(strands, "cost", lambda parts: 0)
        patch.setattr(strands, "_MEETS", 0)
        patch.setattr(strands, "DIRECT", data.draw(st.sampled_from([1, 8])))
        size = data.draw(st.integers(1, 90))
        closed, plain = WeightSpace(), WeightSpace()
        closed.points = plain.points = {"p": draw(rng, 7), "q": draw(rng, 7)}
        bits = (size - 1).bit_length()
        first = [(data.draw(st.sampled_from("pq")), i) for i in range(bits)]
        w, other = closed.eq(first, size), closed.eq([("q", i) for i in range(bits)], size)
        array = entries(w).copy()
        for _ in range(data.draw(st.integers(1, 3))):
            kind = data.draw(st.sampled_from(["slice", "scatter", "linear"]))
            if kind == "slice":
                lo = data.draw(st.integers(0, size - 1))
                hi = data.draw(st.integers(lo + 1, size))
                w, array, size = closed.slice(w, 0, lo, hi), array[:, lo:hi], hi - lo
            elif kind == "scatter":
                below = data.draw(st.integers(1, 90))
                index = data.draw(progressions(size, below))
                w = closed.reshape(closed.scatter(closed.reshape(w, (size, 1)), index, below), (below,))
                array, size = mle.scatter_add(np.ascontiguousarray(array), np.asarray(index), below), below
            else:
                a, b = draw(rng, 2)
                other = closed.eq([("q", i) for i in range((size - 1).bit_length())], size)
                w = closed.linear([(a, w), (b, other), (a, closed.ones(size)), (b, w)])
                array = mle.add(mle.scale(np.ascontiguousarray(array), a + b), mle.scale(entries(other), b))
                array = mle.add(array, mle.scale(entries(closed.ones(size)), a))
        assume(w.strands is not None)  # but where many go downwards, or there are too many
        array = np.ascontiguousarray(array)
        assert np.array_equal(entries(w), array)
        assert closed.total(w) == mle.dot(array, entries(WeightSpace().ones(size)))
        point = draw(rng, (size - 1).bit_length())
        assert closed.evaluate(w, [point]) == mle.dot(array, mle.eq_vector(point, size))
        values = data.draw(progressions(size, 50)).plus(-20)
        assert closed.dot(w, values) == mle.dot_int(array, np.asarray(values))


@pytest.mark.parametrize(("a", "da", "b", "db", "count"), [(0, 1, 3, 1, 3000), (5, 3, 1, 0, 900), (2, 0, 7, 5, 800),
                                                            (9, 7, 4, 11, 700), (1, 100, 0, 90, 60)])  # fmt: skip
def test_sums_along_strands(a, da, b, db, count):
    """Two sums of about the square root, against all terms."""
    rng = random.Random(count)
    p, q = draw(rng, 13), draw(rng, 14)
    left, right = mle.eq_vector(p), mle.eq_vector(q)
    k = np.arange(count)
    terms = mle.mul(left[:, a + k * da].copy(), right[:, b + k * db].copy())
    s = Strand(Ext(3, 4), (), a, da, b, db, count)
    ones = np.stack([np.ones(count, np.uint64), np.zeros(count, np.uint64)])
    assert strands.extension(s, p, q, mle.eq_vector) == Ext(3, 4) * mle.dot(terms, ones)
    chosen = left[:, a + k * da].copy()
    assert strands.total(s, p, mle.eq_vector) == Ext(3, 4) * mle.dot(chosen, ones)
    assert strands.weighted(s, p, mle.eq_vector) == Ext(3, 4) * mle.dot_int(chosen, b + k * db)


@pytest.mark.parametrize("start", [0, 5, 70])
def test_inner_products_by_round(monkeypatch, start):
    """Counters of loops inside of loops: many rounds of long runs."""
    rng = random.Random(start)
    rows, shift = np.array([3, 4, 5, 6, 7, 1, 2, 3, 4]), np.array([2] * 5 + [-1] * 4)
    part = Part(rows, shift, 13)
    monkeypatch.setattr(strands, "MOST", 3)
    p = draw(rng, 8)
    assert part.stretches(0, 3) is None
    for b, length in ((start, len(part) - start), (start, 20), (0, start + 1)):
        s = Strand(Ext(2, 9), (), 11, 1, b, 1, length)
        w = mle.eq_vector(p)[:, 11 : 11 + length].copy()
        expected = Ext(2, 9) * mle.dot_int(w, part.array()[b : b + length])
        assert strands.inner_product(s, p, part, 0, mle.eq_vector) == expected
    every = Strand(Ext(1), (), 0, 1, 7, 1, 256)
    long = Part(rows, shift, 40)
    expected = mle.dot_int(mle.eq_vector(p), long.array()[7:263])
    assert strands.inner_product(every, p, long, 0, mle.eq_vector) == expected


@pytest.mark.parametrize("bits", [0, 1, 2, 5])
def test_first_terms(bits):
    rng = random.Random(bits)
    factors = [tuple(draw(rng, 2)) for _ in range(bits)]
    total = ZERO
    for i in range(1 << bits):
        term = Ext(1)
        for j, pair in enumerate(factors):
            term = term * pair[i >> (bits - 1 - j) & 1]
        total = total + term
        assert first_terms(factors, i + 1) == total
    for d in (0, (1 << bits) + 1):
        with pytest.raises(ValueError, match="indices"):
            first_terms(factors, d)


def test_long_histories_are_computed_without_deep_recursion():
    space = WeightSpace()
    space.points = {"p": draw(random.Random(1), 2)}
    w = start = space.eq([("p", 0), ("p", 1)], 3)
    for i in range(5000):
        w = space.linear([(Ext(1), w), (Ext(1), start)]) if i % 2 else space.transpose(space.outer(w, w), (0, 1))
        if len(w.dims) > 1:
            w = space.sum_axis(w, 1)
    assert w.array.shape == (2, 3)
    point = [draw(random.Random(2), 2)]
    assert space.evaluate(w, point) == by_array(w, point)


def test_what_is_only_evaluated_is_never_written_out():
    space = WeightSpace()
    space.points = {"p": draw(random.Random(3), 40)}
    w = space.eq([("p", i) for i in range(40)], (1 << 40) - 3)
    both = space.linear([(Ext(2), w), (Ext(5), space.ones((1 << 40) - 3))])
    r = draw(random.Random(4), 40)
    p = space.points["p"]
    whole, ones, last = Ext(1), Ext(1), ZERO
    for x, y in zip(p, r, strict=True):
        whole = whole * (1 - x - y + 2 * x * y)
    for i in range((1 << 40) - 3, 1 << 40):
        both_bits, one_bits = Ext(1), Ext(1)
        for j in range(40):
            x, y = (p[j], r[j]) if i >> (39 - j) & 1 else (1 - p[j], 1 - r[j])
            both_bits, one_bits = both_bits * x * y, one_bits * y
        last, ones = last + both_bits, ones - one_bits
    assert space.evaluate(both, [r]) == 2 * (whole - last) + 5 * ones


def test_long_histories_of_long_weights():
    """Sums of sums of sums, which wait for no array: closed forms refer to a few of them only."""
    space, rng = WeightSpace(), random.Random(21)
    bits = weights.LONG.bit_length() - 1
    space.points = {"p": draw(rng, bits)}
    w, ones = space.eq([("p", i) for i in range(bits)], weights.LONG), space.ones(weights.LONG)
    for a, b in zip(draw(rng, 1200), draw(rng, 1200), strict=True):
        w = space.linear([(a, w), (b, ones)])
    assert space.total(w) == mle.dot(entries(w), entries(ones))
    point = draw(rng, bits)
    assert space.evaluate(w, [point]) == mle.evaluate(entries(w), point)


def test_entries_of_all_weights() -> None:
    """What they take when they are computed; a reshape is a view."""
    space = WeightSpace()
    made(space, random.Random(1), 5, 6)
    own = [w.array for key, w in space._memo.items() if isinstance(key, tuple) and key[0] != "reshape"]
    assert sum(space.sizes()) == sum(a.size // 2 for a in own) > 60
    space.reshape(space.outer(space.ones(3), space.ones(4)), (12,))
    before = space.sizes()
    space.reshape(space.outer(space.ones(3), space.ones(4)), (2, 6))
    assert space.sizes() == before


@pytest.mark.parametrize(("rows", "cols"), [(3, 8), (16, 5), (100, 33)])
def test_evaluations_go_through_sums_products_and_places(monkeypatch, rows, cols):
    """Weights without a closed form that are made of others are evaluated without their arrays, at a vector that is
    moved instead."""
    space, rng = WeightSpace(), random.Random(rows + cols)
    weights = made(space, rng, rows, cols)
    few = weights["linear"], weights["eq"], weights["scatter"]
    sums = [space.linear(list(zip(draw(rng, 3), few, strict=True))) for _ in range(30)]
    total = space.linear(list(zip(draw(rng, 30), sums, strict=True)))
    assert total.form is None
    assert len(total.few) == 4  # ones, two of eq, and the scatter
    half = weights["slice"]
    size = total.size * half.size
    product = space.reshape(space.outer(total, half), (size, 1))
    index = np.array(rng.sample(range(size + 9), size), np.int64)
    index[::5] = -1
    placed = space.reshape(space.scatter(product, index, size + 9), (size + 9,))
    wide = space.scatter(space.reshape(product, (rows, size // rows)), np.arange(rows) - 1, rows)
    for w in (total, placed, wide):
        point = [draw(rng, (d - 1).bit_length()) for d in w.dims]
        expected = by_array(Weight(w.key, w.dims, w.compute), point)
        with monkeypatch.context() as patch:
            patch.setattr(space, "_evaluate", None)
            assert space.evaluate(w, point) == expected
    several = [
        space.reshape(space.scatter(product, (index + k) % (size + 9), size + 9), (size + 9,)) for k in range(40)
    ]
    assert space.linear(list(zip(draw(rng, 40), several, strict=True))).few is None  # more than may be


def test_a_long_chain_of_sums_is_written_out_in_parts():
    """Weights with strands wait for no others, so that a chain of their sums may have any length: not one of calls."""
    n = 14
    space = WeightSpace()
    space.points["p"] = [Ext(k + 2, 5) for k in range(n + 1)]
    first, second = (space.eq([("p", i + k) for i in range(n)], 1 << n) for k in range(2))
    w = first
    for k in range(700):
        w = space.linear([(Ext(3, k + 1), w), (Ext(5), second)])
    assert w.strands is not None
    calls = 0
    while w.parts is not None:
        (_, w), calls = w.parts[0], calls + 1
    assert calls <= 33
