"""Commitments to matrices."""

import numpy as np
import pytest

from syurmy.prover import commitment as cm
from syurmy.prover.field import P, to_field
from syurmy.prover.kernels import nibbles
from syurmy.prover.kernels.bind import dot_matrix
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.secrets import Secrets

SHAPE = MatrixShape(3, 4, 2)
HIDING = MatrixShape(100, 4, 2, aux=90, tail=5)
DTYPES = (np.int8, np.int16, np.int32, np.int64)


def test_a_commitment_is_the_tree_of_the_codeword():
    matrix = np.random.default_rng(0).integers(0, P, (16, 3), dtype=np.uint64)
    c = cm.commit(matrix, SHAPE)
    assert c.root == MerkleTree.of_columns(encode(matrix, 2)).root
    matrix[5, 1] ^= np.uint64(1)
    assert cm.commit(matrix, SHAPE).root != c.root
    with pytest.raises(ValueError, match="committed as"):
        cm.commit(matrix.T.copy(), SHAPE)


def test_stored_rows():
    flat = np.arange(64, dtype=np.uint64)
    assert np.array_equal(cm.stored_matrix(flat, 4), flat.reshape(4, 16).T)
    rows = np.array([0, 3])
    assert np.array_equal(cm.stored_matrix(flat, 4, rows), flat.reshape(4, 16)[rows].T)
    aux = np.arange(100, 148, dtype=np.uint64).reshape(3, 16)
    assert np.array_equal(cm.stored_matrix(flat, 4, rows, aux), np.concatenate([flat.reshape(4, 16)[rows], aux]).T)


def test_params_are_committed_as_field_elements():
    values = np.random.default_rng(1).integers(-(2**20), 2**20, (3, 16), dtype=np.int32)
    params = cm.commit_params(IntegerMatrix.of(values), SHAPE)
    assert params.commitment.root == cm.commit(to_field(values.astype(np.int64)).T.copy(), SHAPE).root


@pytest.mark.parametrize("shape", [HIDING, MatrixShape(150, 4, 1), MatrixShape(129, 4, 2, tail=6)])
def test_strips_are_encoded_like_the_whole(shape, monkeypatch):
    monkeypatch.setattr(cm, "STRIP", 0)  # as few rows at a time as there can be
    rng = np.random.default_rng(2)
    groups = [rng.integers(-99, 99, (n, 16), dtype=d) for n, d in ((70, np.int8), (shape.rows - 70, np.int64))]
    found = cm.commit_params(IntegerMatrix.of(groups), shape, Secrets(b"seed")).commitment
    secrets = Secrets(b"seed")
    tail = secrets.elements(shape.tail * shape.height).reshape(shape.tail, -1) if shape.tail else None
    matrix = to_field(np.concatenate(groups).astype(np.int64)).T
    whole = np.concatenate([matrix, secrets.elements(16 * shape.aux).reshape(16, -1)], axis=1)
    assert np.array_equal(found.codeword, cm.commit(whole, shape, tail).codeword)
    lean = cm.commit(whole, shape, tail, keep=False)
    assert lean.codeword is None
    assert lean.root == found.root
    monkeypatch.setattr(cm, "kept", lambda *_: False)
    hashed = cm.commit_params(IntegerMatrix.of(groups), shape, Secrets(b"seed")).commitment
    assert hashed.codeword is None
    assert np.array_equal(hashed.tree.leaves, found.tree.leaves)
    assert np.array_equal(hashed.tree.above, found.tree.above)
    with pytest.raises(ValueError, match="committed as"):
        cm.commit_params(IntegerMatrix.of(groups[0]), shape, Secrets(b"seed"))


def test_a_codeword_is_kept_where_proofs_would_miss_it():
    """Where it is not large, and encoding columns anew would take more than an eighth of a proof."""
    seconds = cm.anew_seconds(MatrixShape(64, 16, 4))  # of 2^26 elements
    assert 0.05 < seconds < 0.2
    for rows, aux, proof, want in (
        (64, 0, 0.0, True), (64, 0, 7.9 * seconds, True), (64, 0, 8.1 * seconds, False),
        (129, 0, 0.0, False), (129, 4, 0.0, True), (64, 4, 9e9, True), (16, 0, 9e9, True), (17, 0, 9e9, False),
    ):  # fmt: skip
        shape = MatrixShape(rows, 16, 4, aux=aux)
        assert cm.kept(shape, proof) == want
        assert cm.kept(shape, proof, single=True) == (rows == 16 or aux > 0)


def test_four_bits_are_packed_and_read_as_they_were(monkeypatch):
    """Two in a byte, beside a tensor with an entry that does not fit; every value at both places of a byte."""
    monkeypatch.setattr(nibbles, "WORTH", 32)
    monkeypatch.setattr(nibbles, "ROWS", 2)
    monkeypatch.setattr(nibbles, "STRIP", 5 * 32)
    rng = np.random.default_rng(3)
    values = {i: rng.integers(-8, 8, (12, 32), dtype=np.int8) for i in range(3)}
    values[0].reshape(-1)[:256] = np.tile(np.arange(-8, 8), 16)
    values[0][:8, 16:] = np.arange(-8, 8)[::-1]
    values[1][3, 7] = 8
    layout = MatrixLayout([(i, (12, 32)) for i in values], 4, lambda _, stored: MatrixShape(stored(5), 5, 2))
    found = cm.in_rows(values, layout)
    assert [(g.dtype, g.shape) for g in found.groups] == [
        (np.uint8, (12, 16)),
        (np.int8, (12, 32)),
        (np.uint8, (12, 16)),
    ]
    monkeypatch.setattr(nibbles, "WORTH", 1 << 30)
    plain = cm.in_rows(values, layout)
    assert [g.dtype for g in plain.groups] == [np.int8] * 3
    assert np.array_equal(found.joined(), np.concatenate(list(plain.groups)))
    weights, across = rng.integers(0, P, (2, 36), dtype=np.uint64), rng.integers(0, P, (2, 32), dtype=np.uint64)
    assert np.array_equal(found.bind(5, weights[:, 5:31]), plain.bind(5, weights[:, 5:31]))
    assert np.array_equal(dot_matrix(found, across), dot_matrix(plain, across))
    assert np.array_equal(found.columns(7, 20), plain.columns(7, 20))
    shape = MatrixShape(36, 5, 2)
    monkeypatch.setattr(cm, "kept", lambda *_: False)
    one, other = (cm.commit_params(m, shape).commitment for m in (found, plain))
    assert one.root == other.root
    assert np.array_equal(one.columns([0, 77, 127]), other.columns([0, 77, 127]))


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_those_of_the_whole_matrix(seed):
    """Against the definition: all places in a flat array, of which the rows with a true entry are taken; and a wide
    tensor widens its own rows only."""
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 9, rng.integers(1, 4)).tolist()) for _ in range(9)]
    dtypes = rng.choice(4, len(shapes), p=[0.3, 0.4, 0.1, 0.2]).tolist()
    values = {
        i: np.full(s, np.iinfo(DTYPES[d]).max - i, DTYPES[d])
        for i, (s, d) in enumerate(zip(shapes, dtypes, strict=True))
    }
    log_cols = seed % 4 + 1
    layout = MatrixLayout(list(enumerate(shapes)), 4, lambda _, stored: MatrixShape(stored(log_cols), log_cols, 2))
    flat = np.zeros(1 << layout.log_entries, np.int64)
    for i, p in layout.places.items():
        flat[p.offset : p.offset + p.size].reshape(p.dims)[p.true_part] = np.transpose(values[i], p.order)
    want = flat.reshape(-1, 1 << log_cols)[layout.stored_rows]
    found = cm.in_rows(values, layout)
    assert np.array_equal(found.joined(), want)
    row = 0
    for group in found.groups:
        alone = [v.dtype for _, v in values.items() if v.dtype == group.dtype]
        assert alone, "a group is as wide as one of its tensors"
        assert abs(want[row : row + len(group)]).max() > np.iinfo(group.dtype).max - len(shapes)
        row += len(group)
    weights, half = rng.integers(0, P, (2, row), dtype=np.uint64), row // 2
    one = IntegerMatrix.of(want)
    assert np.array_equal(found.bind(0, weights), one.bind(0, weights))
    assert np.array_equal(found.bind(half, weights[:, half:]), one.bind(half, weights[:, half:]))
    assert np.array_equal(found.columns(), to_field(want).T)
    assert np.array_equal(found.columns(row // 3, row // 2), to_field(want).T[:, row // 3 : row // 3 + row // 2])
