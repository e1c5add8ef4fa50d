"""Scalars of F and K, and the inlined kernels against Python integers."""

import itertools
import random

import numpy as np
import pytest
from numba import njit

from syurmy.prover.field import (
    NON_RESIDUE,
    Ext,
    P,
    eq_scalar,
    ext_array,
    ext_list,
    from_field,
    lift,
    log2_ceil,
    to_field,
)
from syurmy.prover.kernels import field as kernels

EDGES = [0, 1, 2, 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 2**63, P // 2, P // 2 + 1, P - 2**32, P - 2, P - 1]


def random_ext(rng: random.Random) -> Ext:
    return Ext(rng.randrange(P), rng.randrange(P))


@njit
def _binary(a, b, out):
    out[0] = kernels.add(a, b)
    out[1] = kernels.sub(a, b)
    out[2] = kernels.mul(a, b)
    out[3] = kernels.neg(a)
    out[4], out[5] = kernels.mul_wide(a, b)


@njit
def _product(a0, a1, b0, b1, out):
    out[0], out[1] = kernels.kmul(a0, a1, b0, b1)
    out[2], out[3] = kernels.kadd(a0, a1, b0, b1)
    out[4], out[5] = kernels.ksub(a0, a1, b0, b1)
    out[6], out[7] = kernels.kscale(a0, a1, b0)


@njit
def _reduce(hi, lo):
    return kernels.reduce128(hi, lo)


@njit
def _from_int(v):
    return kernels.from_int(v)


def test_base_kernels() -> None:
    rng = random.Random(1)
    values = EDGES + [rng.randrange(P) for _ in range(40)]
    out = np.zeros(6, dtype=np.uint64)
    for a, b in itertools.product(values, values):
        _binary(np.uint64(a), np.uint64(b), out)
        wide = a * b
        assert [int(x) for x in out] == [(a + b) % P, (a - b) % P, wide % P, -a % P, wide >> 64, wide % 2**64]


def test_extension_kernels() -> None:
    rng = random.Random(2)
    points = list(itertools.product([0, 1, 2**32, P - 2**32, P - 1], repeat=2))
    points += [(rng.randrange(P), rng.randrange(P)) for _ in range(20)]
    out = np.zeros(8, dtype=np.uint64)
    for (a0, a1), (b0, b1) in itertools.product(points, points):
        _product(*(np.uint64(x) for x in (a0, a1, b0, b1)), out)
        a, b = Ext(a0, a1), Ext(b0, b1)
        expected = [a * b, a + b, a - b, a * b0]
        assert [int(x) for x in out] == [w for e in expected for w in (e.a, e.b)]


def test_reduction_of_any_128_bits() -> None:
    rng = random.Random(3)
    words = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 2**32, 2**64 - 2, 2**64 - 1] + [
        rng.getrandbits(64) for _ in range(20)
    ]
    for hi, lo in itertools.product(words, words):
        assert int(_reduce(np.uint64(hi), np.uint64(lo))) == (hi * 2**64 + lo) % P


def test_signed_integers() -> None:
    values = [0, 1, -1, 2**31, -(2**31), 2**63 - 1, -(2**63) + 1]
    array = to_field(np.array(values, dtype=np.int64))
    for v, x in zip(values, array, strict=True):
        assert int(x) == v % P == int(_from_int(np.int64(v)))
        if abs(v) < P // 2:
            assert from_field(int(x)) == v


def test_extension_is_a_field() -> None:
    assert pow(NON_RESIDUE, (P - 1) // 2, P) == P - 1
    rng = random.Random(4)
    for _ in range(20):
        a, b, c = (random_ext(rng) for _ in range(3))
        assert a * (b + c) == a * b + a * c
        assert a * a.inverse() == 1
        assert a - b == -(b - a)
        assert 1 - a == -(a - 1)
        assert a**5 == a * a * a * a * a
    assert Ext(0, 1) * Ext(0, 1) == NON_RESIDUE
    with pytest.raises(ZeroDivisionError):
        Ext(0).inverse()


def test_arrays() -> None:
    rng = random.Random(5)
    values = [random_ext(rng) for _ in range(5)]
    assert ext_list(ext_array(values)) == values
    assert ext_array([]).shape == (2, 0)
    assert ext_list(lift(np.array([3, 4], dtype=np.uint64))) == [Ext(3), Ext(4)]
    assert [log2_ceil(n) for n in (1, 2, 3, 4, 5)] == [0, 1, 2, 2, 3]


def test_eq_scalar() -> None:
    bits = [Ext(1), Ext(0), Ext(1)]
    assert eq_scalar(bits, bits) == 1
    assert eq_scalar(bits, [Ext(1), Ext(0), Ext(0)]) == 0
