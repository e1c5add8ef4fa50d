"""Commitments to matrices."""

import numpy as np
import pytest

from syurmy.prover import commitment as cm
from syurmy.prover.field import P, to_field
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.reed_solomon import MatrixShape

SHAPE = MatrixShape(3, 4, 2)


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


def test_params_are_committed_as_field_elements():
    values = np.random.default_rng(1).integers(-(2**20), 2**20, (3, 16), dtype=np.int32)
    params = cm.commit_params(values, SHAPE)
    assert params.commitment.root == cm.commit(to_field(values.astype(np.int64)).T.copy(), SHAPE).root
