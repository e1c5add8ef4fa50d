"""Weights: closed forms have the values of the arrays, however the weights were made."""

import random

import numpy as np
import pytest

from syurmy.prover.field import ZERO, Ext, P
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.weights import Weight, WeightSpace, first_terms


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
    }


@pytest.mark.parametrize(("rows", "cols"), [(2, 2), (3, 8), (16, 5), (100, 33), (7, 64)])
def test_evaluations_and_sums_are_those_of_the_array(rows, cols):
    space, rng = WeightSpace(), random.Random(rows * cols)
    weights = made(space, rng, rows, cols)
    for name in ("eq", "ones", "outer", "transposed", "linear", "linear of products"):
        assert weights[name].form is not None, name
    for name, w in weights.items():
        point = [draw(rng, (d - 1).bit_length()) for d in w.dims]
        assert space.evaluate(w, point) == by_array(w, point), name
        assert space.total(w) == mle.dot(w.array.reshape(2, -1), WeightSpace().ones(w.size).array), name


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
