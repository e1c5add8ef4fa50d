"""Multilinear tables against their definition in Python."""

import random

import numpy as np
import pytest

from syurmy.prover.field import ONE, U64, ZERO, Ext, P, eq_scalar, ext_array, ext_list
from syurmy.prover.kernels.mle import eq_suffixes, eq_vectors
from syurmy.prover.protocol import mle

EDGES = [0, 1, P - 1, 2**32, 2**32 - 1, P - 2**32]


def elements(rng: random.Random, n: int) -> list[Ext]:
    """Random elements, every third one made of edge words."""
    return [
        Ext(rng.choice(EDGES), rng.choice(EDGES)) if i % 3 == 0 else Ext(rng.randrange(P), rng.randrange(P))
        for i in range(n)
    ]


def words(rng: random.Random, n: int) -> U64:
    return np.array([rng.choice([*EDGES, rng.randrange(P)]) for _ in range(n)], dtype=np.uint64)


def total(values: list[Ext]) -> Ext:
    return sum(values, ZERO)


def eq_reference(point: list[Ext], i: int) -> Ext:
    return eq_scalar(point, [Ext(i >> (len(point) - 1 - j) & 1) for j in range(len(point))])


@pytest.mark.parametrize("k", [0, 1, 2, 3, 6])
def test_eq_vector(k: int) -> None:
    rng = random.Random(k)
    point = elements(rng, k)
    expected = [eq_reference(point, i) for i in range(1 << k)]
    for size in {1, (1 << k) // 2 + 1, max(1, (1 << k) - 1), 1 << k}:
        assert ext_list(mle.eq_vector(point, size)) == expected[:size]


def test_eq_vectors_of_parts_of_a_point() -> None:
    """Of no coordinate, of some and of all, whole and short ones."""
    point = [Ext(3, P - 1), ZERO, ONE, Ext(P - 1, 7)]
    which = [(0, 4, 16, 0), (1, 2, 3, 32), (3, 1, 2, 38), (2, 0, 1, 42), (0, 4, 9, 44)]
    out = np.full(62, 9, np.uint64)
    eq_vectors(ext_array(point), np.array(which), out, 0, len(which))
    for first, levels, size, at in which:
        found = out[at : at + 2 * size].reshape(2, size)
        assert ext_list(found) == [eq_reference(point[first : first + levels], i) for i in range(size)]


def test_eq_vectors_of_all_suffixes() -> None:
    point = elements(random.Random(5), 6)
    out = np.empty(4 << 5, np.uint64)
    eq_suffixes(ext_array(point), 5, out)
    for m in range(6):
        table = out[2 << m : 4 << m].reshape(2, -1)
        assert ext_list(table) == [eq_reference(point[6 - m :], i) for i in range(1 << m)]


@pytest.mark.parametrize("size", [2**15, 2**14 + 1, 2**15 - 1, 12345])
def test_eq_vector_of_many_levels(size: int) -> None:
    point = elements(random.Random(size), 15)
    out = mle.eq_vector(point, size)
    assert out.shape == (2, size)
    for i in {0, 1, size // 3, size // 2, size - 2, size - 1}:
        assert Ext(int(out[0, i]), int(out[1, i])) == eq_reference(point, i)
    if size == 2**15:
        assert total(ext_list(out)) == 1


def test_eq_vector_refuses_sizes() -> None:
    for size in (0, 5):
        with pytest.raises(ValueError, match="entries"):
            mle.eq_vector([ONE, ONE], size)


@pytest.mark.parametrize("n", [0, 1, 7, 9000])
def test_inner_products(n: int) -> None:
    rng = random.Random(n)
    a, b = elements(rng, n), elements(rng, n)
    v = words(rng, n)
    signed = np.array(
        [rng.choice([0, 1, -1, 2**63 - 1, 1 - 2**63, rng.randrange(-99, 99)]) for _ in range(n)], dtype=np.int64
    )
    x = ext_array(a)
    assert mle.dot(x, ext_array(b)) == total([p * q for p, q in zip(a, b, strict=True)])
    assert mle.dot_base(x, v) == total([p * int(q) for p, q in zip(a, v, strict=True)])
    assert mle.dot_int(x, signed) == total([p * int(q) for p, q in zip(a, signed, strict=True)])


def test_inner_product_of_largest_elements() -> None:
    n = 5000
    x = np.full((2, n), P - 1, dtype=np.uint64)
    assert mle.dot(x, x) == Ext(P - 1, P - 1) * Ext(P - 1, P - 1) * n
    assert mle.dot_base(x, x[0]) == Ext(P - 1, P - 1) * (P - 1) * n


def test_evaluate() -> None:
    rng = random.Random(9)
    point = elements(rng, 4)
    table, base = elements(rng, 16), words(rng, 16)
    for n in (16, 11, 1):
        eq = [eq_reference(point, i) for i in range(n)]
        assert mle.evaluate(ext_array(table[:n]), point) == total([e * t for e, t in zip(eq, table[:n], strict=True)])
        assert mle.evaluate_base(base[:n], point) == total([e * int(t) for e, t in zip(eq, base[:n], strict=True)])


def test_entrywise() -> None:
    rng = random.Random(10)
    a, b, s = elements(rng, 30), elements(rng, 30), Ext(P - 1, 2**32)
    x, y = ext_array(a).reshape(2, 5, 6), ext_array(b).reshape(2, 5, 6)
    assert ext_list(mle.mul(x, y).reshape(2, 30)) == [p * q for p, q in zip(a, b, strict=True)]
    assert ext_list(mle.add(x, y).reshape(2, 30)) == [p + q for p, q in zip(a, b, strict=True)]
    assert ext_list(mle.scale(x, s).reshape(2, 30)) == [p * s for p in a]
    assert ext_list(mle.scale(x[:, ::2, 1:3], s).reshape(2, 6)) == [a[6 * i + j] * s for i in (0, 2, 4) for j in (1, 2)]
    assert ext_list(mle.outer(ext_array(a[:3]), ext_array(b[:4])).reshape(2, 12)) == [
        p * q for p in a[:3] for q in b[:4]
    ]


def test_sum_axis() -> None:
    rng = random.Random(11)
    a = elements(rng, 24)
    x = ext_array(a).reshape(2, 2, 3, 4)
    at = np.arange(24).reshape(2, 3, 4)
    for axis in range(3):
        got = mle.sum_axis(x, axis)
        moved = np.moveaxis(at, axis, -1)
        assert got.shape == (2, *moved.shape[:-1])
        assert ext_list(got.reshape(2, -1)) == [
            total([a[i] for i in row]) for row in moved.reshape(-1, moved.shape[-1])
        ]
    with pytest.raises(ValueError, match="axis"):
        mle.sum_axis(x, 3)


def test_scatter_add() -> None:
    a = elements(random.Random(12), 6)
    got = ext_list(mle.scatter_add(ext_array(a), np.array([2, -1, 0, 2, 2, 3]), 4))
    assert got == [a[2], ZERO, a[0] + a[3] + a[4], a[5]]
    for bad in (4, -2):
        with pytest.raises(ValueError, match="scatter"):
            mle.scatter_add(ext_array(a[:1]), np.array([bad]), 4)


def test_lagrange() -> None:
    rng = random.Random(13)
    for degree in range(5):
        coefficients = elements(rng, degree + 1)
        values = [total([c * x**i for i, c in enumerate(coefficients)]) for x in (Ext(t) for t in range(degree + 1))]
        for x in [*elements(rng, 3), Ext(0), Ext(1)]:
            got = total([v * w for v, w in zip(values, mle.lagrange(degree, x), strict=True)])
            assert got == total([c * x**i for i, c in enumerate(coefficients)])


def test_shapes_that_do_not_fit() -> None:
    x = ext_array([1, 2])
    for call in (
        lambda: mle.dot(x, x[:, :1]),
        lambda: mle.dot_base(x, x[0, :1]),
        lambda: mle.mul(x, x[:, :1]),
        lambda: mle.add(x, x[:, :1]),
        lambda: mle.evaluate(ext_array([1, 2, 3]), [ONE]),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            call()
