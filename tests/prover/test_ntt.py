"""The encoding against direct evaluation, and the matrix kernels, with Python integers."""

import numpy as np
import pytest

from syurmy.prover.field import P, to_field
from syurmy.prover.kernels import bind, matrix, ntt
from syurmy.prover.kernels.positions import Positions

EDGES = [0, 1, P - 1, P - 2, 2**32, 2**32 - 1, 2**63, (P - 1) // 2, (P + 1) // 2]


def random_field(rng, *shape):
    out = rng.integers(0, P, shape, dtype=np.uint64)
    flat = out.reshape(-1)
    flat[: len(EDGES)] = EDGES[: len(flat)]
    return out


def evaluate_rows(message, log_blowup, length=None):
    """Position q holds the evaluations at omega^bitrev(q); ``length``: of the code by 2^log_blowup, if not the number
    of coefficients."""
    cols, rows = message.shape
    log_n = ((length or cols) << log_blowup).bit_length() - 1
    omega = ntt.root_of_unity(log_n)
    out = np.empty((1 << log_n, rows), np.uint64)
    for q in range(1 << log_n):
        x = pow(omega, int(f"{q:0{log_n}b}"[::-1], 2) if log_n else 0, P)
        powers = [pow(x, c, P) for c in range(cols)]
        for r in range(rows):
            out[q, r] = sum(int(message[c, r]) * powers[c] for c in range(cols)) % P
    return out


@pytest.mark.parametrize(
    ("cols", "rows", "log_blowup"), [(1, 1, 1), (1, 3, 2), (2, 1, 0), (8, 2, 2), (16, 65, 1), (32, 4, 4), (256, 1, 1)]
)
def test_encoding_is_evaluation(cols, rows, log_blowup):
    message = random_field(np.random.default_rng(cols), cols, rows)
    assert np.array_equal(ntt.encode(message, log_blowup), evaluate_rows(message, log_blowup))


@pytest.mark.parametrize(("cols", "rows", "more"), [(256, 3, 0), (128, 65, 3), (64, 9, 70)])
def test_encoding_in_passes(cols, rows, more, monkeypatch):
    """Tiles of neighbouring residues, read together, in several passes: what one pass gives."""
    rng = np.random.default_rng(cols)
    message, tail = random_field(rng, cols, rows), random_field(rng, more, rows) if more else None
    whole = ntt.encode(message, 2, tail)
    for tile in (4, 32, 64):  # rows of a tile
        monkeypatch.setattr(ntt, "TILE", tile * min(72, -(-rows // 8) * 8))
        assert np.array_equal(ntt.encode(message, 2, tail), whole)


@pytest.mark.parametrize(
    ("cols", "rows", "more", "log_blowup"),
    [(8, 2, 3, 2), (8, 3, 8, 2), (4, 65, 9, 4), (1, 1, 2, 2), (64, 2, 1, 1), (16, 2, 40, 3)],
)
def test_further_coefficients(cols, rows, more, log_blowup):
    """A message and the random coefficients behind it, as one polynomial; more of these than entries, too."""
    rng = np.random.default_rng(more)
    message, tail = random_field(rng, cols, rows), random_field(rng, more, rows)
    whole = np.concatenate([message, tail])
    log_n = (cols << log_blowup).bit_length() - 1
    omega = ntt.root_of_unity(log_n)
    found = ntt.encode(message, log_blowup, tail)
    for q in range(1 << log_n):
        x = pow(omega, int(f"{q:0{log_n}b}"[::-1], 2), P)
        for r in range(rows):
            assert int(found[q, r]) == sum(int(v) * pow(x, c, P) for c, v in enumerate(whole[:, r])) % P


@pytest.mark.parametrize(
    ("log_cols", "rows", "more", "log_blowup"),
    [(0, 2, 0, 2), (4, 3, 5, 2), (9, 5, 0, 1), (8, 65, 300, 1), (10, 1, 3, 3)],
)
def test_positions_without_the_others(log_cols, rows, more, log_blowup):
    rng = np.random.default_rng(log_cols)
    matrix = rng.integers(0, P, (1 << log_cols, rows), dtype=np.uint64)
    tail = rng.integers(0, P, (more, rows), dtype=np.uint64) if more else None
    n = 1 << (log_cols + log_blowup)
    positions = np.unique([0, n - 1, *rng.integers(0, n, 7)]).tolist()
    at = Positions(log_cols, log_blowup, positions, more)
    whole = ntt.encode(matrix, log_blowup, tail)[positions]
    assert np.array_equal(at.of(np.ascontiguousarray(matrix.T), tail).T, whole)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_positions_of_integers(dtype):
    info = np.iinfo(dtype)
    rows = np.random.default_rng(3).integers(info.min + 1, info.max, (9, 1 << 13), dtype, endpoint=True)
    rows[0, :2] = info.min + 1, info.max
    positions = [0, 1, 4000, 8192, 10001, 16383]
    whole = ntt.encode(np.ascontiguousarray(to_field(rows.astype(np.int64)).T), 1)[positions]
    assert np.array_equal(Positions(13, 1, positions).of(rows).T, whole)


def test_positions_ascend():
    with pytest.raises(ValueError, match="do not ascend"):
        Positions(9, 1, [700, 2])


@pytest.mark.parametrize(("cols", "rows", "more", "log_blowup"), [(32, 5, 7, 2), (64, 9, 0, 1), (8, 70, 1, 2)])
def test_several_passes(monkeypatch, cols, rows, more, log_blowup):
    """Tiles of at most four positions: passes of one and two stages, with rows that do not fill vectors."""
    monkeypatch.setattr(ntt, "TILE", 4 * -(-min(rows, ntt.RUN) // ntt.VECTOR) * ntt.VECTOR)
    rng = np.random.default_rng(rows)
    whole = random_field(rng, cols + more, rows)
    assert np.array_equal(ntt.encode(whole[:cols], log_blowup, whole[cols:]), evaluate_rows(whole, log_blowup, cols))


def test_extension_rows_are_encoded_plane_by_plane():
    row = random_field(np.random.default_rng(1), 2, 16)
    assert np.array_equal(ntt.encode_ext(row, 2), evaluate_rows(row.T, 2).T)


def test_all_largest_elements_do_not_overflow():
    message = np.full((64, 3), P - 1, np.uint64)
    assert np.array_equal(ntt.encode(message, 1), evaluate_rows(message, 1))


@pytest.mark.parametrize(("cols", "log_blowup"), [(3, 1), (0, 1), (2, 32)])
def test_sizes_without_a_domain(cols, log_blowup):
    with pytest.raises(ValueError, match="cannot encode"):
        ntt.encode(np.zeros((cols, 1), np.uint64), log_blowup)


def test_roots_of_unity_are_primitive():
    for log_n in (1, 5, 32):
        assert pow(ntt.root_of_unity(log_n), 1 << (log_n - 1), P) == P - 1
    with pytest.raises(ValueError, match="no root"):
        ntt.root_of_unity(33)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_integer_rows_bind(dtype):
    rng = np.random.default_rng(2)
    info = np.iinfo(dtype)
    values = rng.integers(max(info.min, -(2**63) + 1), info.max, (8, 600), dtype=dtype, endpoint=True)
    values[2] //= dtype(info.max // 100)  # a small row between large ones
    values[3, :3] = [info.max, max(info.min, -(2**63) + 1), 0]
    weights = random_field(rng, 2, 6)
    got = matrix.IntegerMatrix.of(values).bind(1, weights)
    for plane in range(2):
        for c in (0, 1, 2, 77, 511, 512, 599):
            want = sum(int(weights[plane, i]) * int(values[1 + i, c]) for i in range(6)) % P
            assert int(got[plane, c]) == want


def test_limb_accumulators_are_flushed_in_time():
    """Rows beyond one flush, every limb and entry at its extreme of one sign."""
    rows = matrix.FLUSH + 3
    values = np.full((rows, 2), matrix.SMALL - 1, np.int32)
    values[:, 1] *= -1
    weight = (P - 1) // 2 - 1  # both limbs next to 2^31
    got = matrix.IntegerMatrix.of(values).bind(0, np.full((2, rows), weight, np.uint64))
    want = rows * weight * (matrix.SMALL - 1) % P
    assert got.tolist() == [[want, P - want]] * 2


def test_long_rows_bind_to_weights():
    """Rows of several spans, extreme entries of one sign; a row with a large entry takes the modular kernel."""
    rng = np.random.default_rng(4)
    cols = 2 * bind.SPAN + 5
    small = np.full((2, cols), -(2**15), np.int16)
    small[1] = rng.integers(-(2**15), 2**15, cols)
    large = rng.integers(-(2**62), 2**62, (1, cols))
    weights = random_field(rng, 2, cols)
    got = bind.dot_matrix(matrix.IntegerMatrix.of([small, large]), weights)
    for i, row in enumerate([*small.tolist(), *large.tolist()]):
        for plane in range(2):
            assert int(got[plane, i]) == sum(w * v for w, v in zip(weights[plane].tolist(), row, strict=True)) % P


def test_rows_bind_to_several_vectors():
    """Of every dtype, and of large entries."""
    rng = np.random.default_rng(5)
    weights = random_field(rng, 2, 3 * 7).reshape(2, 3, 7)
    for dtype, bound in ((np.int8, 127), (np.int16, 2**15), (np.int64, 2**15), (np.int64, 2**62)):
        values = rng.integers(-bound, bound, (4, 7)).astype(dtype)
        got = bind.dot_rows_each(values, weights, bound)
        assert got.shape == (2, 3, 4)
        for plane, i, k in np.ndindex(got.shape):
            want = sum(w * v for w, v in zip(weights[plane, i].tolist(), values[k].tolist(), strict=True)) % P
            assert int(got[plane, i, k]) == want


def test_limbs_fit_and_recombine():
    weights = np.array([EDGES, EDGES[::-1]], np.uint64)
    limbs = matrix.signed_limbs(weights).astype(object)
    for plane in range(2):
        for i, w in enumerate(weights[plane].tolist()):
            assert (limbs[i, 2 * plane] + (limbs[i, 2 * plane + 1] << 32)) % P == w


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (3, 2), (0, 5)])
def test_rows_that_do_not_exist(first, count):
    with pytest.raises(ValueError, match="of 4"):
        matrix.IntegerMatrix.of(np.zeros((4, 8), np.int8)).bind(first, np.zeros((2, count), np.uint64))


def test_only_signed_integers_in_range_are_params():
    for bad in (np.zeros((2, 2), np.uint8), np.zeros(3, np.int8), np.full((1, 1), -(2**63), np.int64)):
        with pytest.raises(ValueError, match="param"):
            matrix.IntegerMatrix.of(bad)


def test_columns_bind_and_transpose():
    rng = np.random.default_rng(3)
    m = random_field(rng, 70, 33)
    m[:4] = P - 1
    weights = random_field(rng, 2, 33)
    weights[0] = P - 1
    want = [[sum(int(w) * int(x) for w, x in zip(plane, column, strict=True)) % P for column in m] for plane in weights]
    assert np.array_equal(matrix.bind_columns(m, weights), np.array(want, np.uint64))
    assert np.array_equal(matrix.transpose(m), m.T)
    integers = matrix.IntegerMatrix.of(np.array([[-1, 2, 3], [4, -5, 127]], np.int8))
    assert integers.columns().tolist() == [[P - 1, 4], [2, P - 5], [3, 127]]
