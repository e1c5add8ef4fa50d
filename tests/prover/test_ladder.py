"""Weights of claims on a vector, against vectors written out."""

import numpy as np
import pytest

from syurmy.prover.field import ONE, U64, ZERO, Ext, P, ext_array, ext_list, root_of_unity
from syurmy.prover.kernels.ntt import encode, encode_ext
from syurmy.prover.kernels.opening import power_sum
from syurmy.prover.opening import add_dense
from syurmy.prover.protocol import ladder, mle
from syurmy.prover.protocol.ladder import Block, EqWeight, PowerWeights, SumOfWeights
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.queries import Encoded

LOG_SIZE = 9


def random_vector(rng, size):
    return rng.integers(0, P, (2, size), dtype=np.uint64)


def elements(rng, count):
    return ext_list(random_vector(rng, count))


def dense(weight, log_size=LOG_SIZE):
    out = np.zeros((2, 1 << log_size), np.uint64)
    add_dense(out, weight)
    return out


def eq_weight(rng, offset, bits):
    return EqWeight(offset, tuple(elements(rng, bits)), *elements(rng, 1))


def power_weights(rng, offset, log_block, count=7):
    x = ext_array([Ext(int(v)) for v in rng.integers(0, P, count, dtype=np.uint64)])
    return PowerWeights(offset, log_block, x, random_vector(rng, count))


BLOCKS = [(0, 9), (256, 8), (0, 7), (384, 7), (64, 5), (96, 5), (511, 0), (8, 2)]


def weights(rng, offset, bits):
    return eq_weight(rng, offset, bits), power_weights(rng, offset, bits)


@pytest.mark.parametrize(("offset", "bits"), BLOCKS)
def test_values_are_inner_products(offset, bits):
    rng = np.random.default_rng(bits)
    z = random_vector(rng, 1 << LOG_SIZE)
    for weight in weights(rng, offset, bits):
        total = sum(ext_list(weight.values(z)), ZERO)
        assert total == mle.dot(dense(weight), z)
        assert ext_list(SumOfWeights((weight,)).values(z)) == [total]


def add_scaled(total: U64, row: U64, c: Ext) -> None:
    total[:] = mle.add(total, mle.scale(np.ascontiguousarray(row), c))


@pytest.mark.parametrize("bound", range(1, LOG_SIZE + 1))
@pytest.mark.parametrize(("offset", "bits"), BLOCKS)
def test_folding_binds_the_leading_bits(offset, bits, bound):
    """Folded weights are the weights' rows, added with eq of the point."""
    rng = np.random.default_rng(bound)
    r = elements(rng, bound)
    eq = ext_list(mle.eq_vector(r))
    for weight in weights(rng, offset, bits):
        expected = np.zeros((2, 1 << LOG_SIZE - bound), np.uint64)
        for e, row in zip(eq, dense(weight).reshape(2, 1 << bound, -1).transpose(1, 0, 2), strict=True):
            add_scaled(expected, row, e)
        assert np.array_equal(dense(weight.folded(LOG_SIZE, r), LOG_SIZE - bound), expected)
        step = weight.folded(LOG_SIZE, r[:1]).folded(LOG_SIZE - 1, r[1:])
        assert np.array_equal(dense(step, LOG_SIZE - bound), expected)


def test_words_lie_apart_in_aligned_blocks():
    """Every coefficient of every word has one place, blocks are aligned, and no entry is left out."""
    words = [[(0, 64), (64, 21)], [(0, 37), (64, 21)], [(0, 32), (32, 0)]]
    placed, used = ladder.lay_out(words)
    taken = []
    for runs, word in zip(words, placed, strict=True):
        exponents = [e for b in word for e in range(b.exponent, b.exponent + b.size)]
        assert sorted(exponents) == [e for first, count in runs for e in range(first, first + count)]
        taken += [i for b in word for i in range(b.offset, b.offset + b.size)]
        assert all(b.offset % b.size == 0 for b in word)
    assert sorted(taken) == list(range(used)) == list(range(64 + 21 + 37 + 21 + 32))
    assert placed[0][0] == Block(0, 6, 0)


def test_a_word_encodes_from_all_its_blocks():
    rng = np.random.default_rng(5)
    shape = MatrixShape(1, 4, 3, tail=11)
    (_, word), used = ladder.lay_out([[(0, 32)], [(0, 16), (16, 11)]])
    z = np.zeros((2, 64), np.uint64)
    z[:, :used] = random_vector(rng, used)
    row = np.zeros((2, 27), np.uint64)
    for b in word:
        row[:, b.exponent : b.exponent + b.size] = z[:, b.offset : b.offset + b.size]
    positions = [0, 3, 17, 64, 127]
    encoded = encode(np.ascontiguousarray(row[:, :16].T), 3, np.ascontiguousarray(row[:, 16:].T))[positions].T
    found = PowerWeights.of(word, shape.log_n, positions)
    assert np.array_equal(found.values(z), encoded)
    r = elements(rng, 3)
    folded = np.zeros((2, 8), np.uint64)
    for e, part in zip(ext_list(mle.eq_vector(r)), z.reshape(2, 8, 8).transpose(1, 0, 2), strict=True):
        add_scaled(folded, np.ascontiguousarray(part), e)
    for batch in (found, found.scaled(random_vector(rng, 5))):
        full = np.zeros((2, 64), np.uint64)
        add_dense(full, batch)
        bound = np.zeros((2, 8), np.uint64)
        for e, part in zip(ext_list(mle.eq_vector(r)), full.reshape(2, 8, 8).transpose(1, 0, 2), strict=True):
            add_scaled(bound, np.ascontiguousarray(part), e)
        assert np.array_equal(dense(batch.folded(6, r), 3), bound)


def test_relations_between_pads():
    """Their values, and their batch written out, folded at any depth."""
    rng = np.random.default_rng(6)
    places = (Block(0, 5, 64), Block(32, 3, 16), Block(40, 0, 5))
    where = {b.exponent + i: b.offset + i for b in places for i in range(b.size)}
    terms = tuple(
        {int(i): x for i, x in zip(rng.choice(41, 7, False), elements(rng, 7), strict=True)} for _ in range(4)
    )
    z = random_vector(rng, 1 << LOG_SIZE)
    relations = ladder.PadWeights(places, terms)
    entry = lambda i: Ext(int(z[0, where[i]]), int(z[1, where[i]]))  # noqa: E731
    expected = [sum((c * entry(i) for i, c in term.items()), ZERO) for term in terms]
    assert ext_list(relations.values(z)) == expected
    factors = random_vector(rng, 4)
    total = sum((f * v for f, v in zip(ext_list(factors), expected, strict=True)), ZERO)
    batch = relations.scaled(factors)
    assert ext_list(batch.values(z)) == [total]
    for bound in range(1, LOG_SIZE + 1):
        r = elements(rng, bound)
        whole = np.zeros((2, 1 << LOG_SIZE - bound), np.uint64)
        rows = dense(batch).reshape(2, 1 << bound, -1).transpose(1, 0, 2)
        for e, row in zip(ext_list(mle.eq_vector(r)), rows, strict=True):
            add_scaled(whole, np.ascontiguousarray(row), e)
        assert np.array_equal(dense(batch.folded(LOG_SIZE, r), LOG_SIZE - bound), whole)
    with pytest.raises(ValueError, match="not in the vector"):
        ladder.PadWeights(places, ({41: ONE},)).scaled(factors[:, :1])


def test_scaling_stays_with_folded_weights():
    rng = np.random.default_rng(3)
    z = random_vector(rng, 1 << LOG_SIZE)
    both = weights(rng, 128, 7)
    factors = random_vector(rng, 8)
    expected = sum(
        (f * v for f, v in zip(ext_list(factors), [x for w in both for x in ext_list(w.values(z))], strict=True)), ZERO
    )
    scaled = SumOfWeights((both[0].scaled(factors[:, :1]), both[1].scaled(factors[:, 1:])))
    assert ext_list(scaled.values(z)) == [expected]
    again = scaled.scaled(ext_array([Ext(2, 3)]))
    assert ext_list(again.values(z)) == [expected * Ext(2, 3)]


def test_batching_takes_powers():
    rng = np.random.default_rng(4)
    z = random_vector(rng, 1 << LOG_SIZE)
    parts = [eq_weight(rng, 0, 9), power_weights(rng, 256, 8), SumOfWeights((eq_weight(rng, 0, 3),))]
    beta = Ext(5, 7)
    total, factors = ladder.batched(parts, beta)
    values = np.concatenate([p.values(z) for p in parts], axis=1)
    assert ext_list(factors) == [beta**i for i in range(9)]
    assert ext_list(total.values(z)) == [mle.dot(factors, values)]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
def test_powers(count):
    assert ext_list(ladder.powers(Ext(3, 4), count)) == [Ext(3, 4) ** i for i in range(count)]


@pytest.mark.parametrize("log_blowup", [1, 2, 4])
@pytest.mark.parametrize("log_cols", [0, 3, 6])
def test_positions_are_evaluations(log_cols, log_blowup):
    """The claims of queried positions say what the encoding has there."""
    rng = np.random.default_rng(log_cols)
    shape = MatrixShape(1, log_cols, log_blowup)
    z = random_vector(rng, 128)
    positions = list(range(0, shape.n, 1 + shape.n // 20))
    row = np.ascontiguousarray(z[:, 64 : 64 + shape.cols])
    word = (Block(0, shape.log_cols, 64),)
    found = PowerWeights.of(word, shape.log_n, positions).values(z)
    assert np.array_equal(found, encode_ext(row, log_blowup)[:, positions])


@pytest.mark.parametrize("planes", [1, 2])
def test_opened_columns(planes):
    rng = np.random.default_rng(planes)
    shape = MatrixShape(3, 4, 1, planes)
    columns = rng.integers(0, P, (5, shape.height), dtype=np.uint64)
    w = random_vector(rng, 3)
    for k, got in enumerate(ext_list(ladder.bind_opened(columns, shape, w))):
        entries = [Ext(int(columns[k, r]), int(columns[k, 3 + r]) if planes == 2 else 0) for r in range(3)]
        assert got == sum((a * b for a, b in zip(ext_list(w), entries, strict=True)), ZERO)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 2), (5, 256), (130, 2048)])
def test_power_sum(count, size):
    rng = np.random.default_rng(size)
    x = rng.integers(0, P, count, dtype=np.uint64)
    c = random_vector(rng, count)
    got = ext_list(power_sum(x, c, size))
    for j in {0, size // 2, size - 1, size * 5 // 7}:
        assert got[j] == sum((a * pow(int(v), j, P) for a, v in zip(ext_list(c), x, strict=True)), ZERO)


@pytest.mark.parametrize("log_n", [0, 1, 3, 9, 17])
def test_evaluation_points(log_n):
    """omega_n^bitrev(q), to any power."""
    root = root_of_unity(log_n)
    rng = np.random.default_rng(log_n)
    positions = sorted({0, (1 << log_n) - 1, *rng.integers(0, 1 << log_n, 5).tolist()})
    for exponent in (1, 0, 5, (1 << log_n) + 3, 2**31):
        points = [pow(root, int(f"{q:0{max(1, log_n)}b}"[::-1], 2) * exponent, P) for q in positions]
        assert ladder.evaluation_points(log_n, positions, exponent).tolist() == points


@pytest.mark.parametrize("count", [1, 90])
@pytest.mark.parametrize("scaled", [False, True])
def test_sums_over_positions_by_a_transform(count, scaled):
    """Whichever way is taken: every claim's weights, added; also of words with gaps between their exponents."""
    rng = np.random.default_rng(count)
    for runs in ([(0, 128), (128, 11)], [(0, 70), (128, 11)]):
        (_, word), _ = ladder.lay_out([[(0, 256)], runs])
        positions = sorted(rng.choice(256, count, replace=False).tolist())
        found, expected = Encoded(word, 8, positions), PowerWeights.of(word, 8, positions)
        assert found.claims == count
        if scaled:
            twice = random_vector(rng, count), random_vector(rng, count)
            found, expected = found.scaled(twice[0]).scaled(twice[1]), expected.scaled(twice[0]).scaled(twice[1])
        assert found.few() is (count == 1)
        z = random_vector(rng, 512)
        assert np.array_equal(found.values(z), expected.values(z))
        assert np.array_equal(dense(found, 9), dense(expected, 9))
        r = elements(rng, 2)
        assert np.array_equal(dense(found.folded(9, r), 7), dense(expected.folded(9, r), 7))


@pytest.mark.parametrize("log_n", [12, 15, 16])
def test_powers_with_a_period_in_common_are_added_first(log_n):
    """Of a block of 2048 entries: as one power after the other."""
    rng = np.random.default_rng(log_n)
    (_, word), _ = ladder.lay_out([[(0, 512)], [(0, 2048), (2048, 5)]])
    positions = sorted({0, (1 << log_n) - 1, *rng.choice(1 << log_n, 90, replace=False).tolist()})
    coefficients = random_vector(rng, len(positions))
    found = Encoded(word, log_n, positions).scaled(coefficients)
    assert found._splits(2048) is (log_n < 16)
    assert found.few()
    assert np.array_equal(dense(found, 12), dense(PowerWeights.of(word, log_n, positions).scaled(coefficients), 12))


def test_row_factors_of_one():
    assert EqWeight(0, (), ONE).folded(0, []).coefficient == ONE
