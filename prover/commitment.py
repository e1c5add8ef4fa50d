"""Commitment to a matrix over F: Reed-Solomon rows, Merkle tree over the columns of the codeword.

The matrix is column-major, ``uint64[C, R]``; the codeword ``uint64[n, R]`` has n = C << log_blowup columns in the order
of prover/kernels/ntt.py. The root binds the prover to the matrix only together with an opening (prover/opening.py).

A params commitment is made once and kept in a proving key (prover/keys.py). Whoever loads one trusts the file; the
verifier compares openings with the root in its own key.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from syurmy.isa.arrays import I64, Integers
from syurmy.prover.field import U64
from syurmy.prover.kernels.matrix import IntegerMatrix, transpose
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.reed_solomon import MatrixShape


@dataclass(frozen=True, eq=False)
class Commitment:
    """A committed matrix. ``matrix`` is ``uint64[C, R]``, or None where it is kept as integers."""

    shape: MatrixShape
    codeword: U64
    tree: MerkleTree
    matrix: U64 | None = None

    @property
    def root(self) -> bytes:
        return self.tree.root


@dataclass(frozen=True, eq=False)
class ParamsCommitment:
    """The commitment to a params matrix and its integers."""

    commitment: Commitment
    integers: IntegerMatrix


def commit(matrix: U64, shape: MatrixShape) -> Commitment:
    """Commitment to ``uint64[C, R]``, canonical entries. ``ValueError`` where the matrix does not have ``shape``."""
    if matrix.shape != (shape.cols, shape.height) or matrix.dtype != np.uint64:
        raise ValueError(f"{matrix.dtype}{matrix.shape} committed as {shape}")
    codeword = encode(matrix, shape.log_blowup)
    return Commitment(shape, codeword, MerkleTree.of_columns(codeword), matrix)


def stored_matrix(flat: U64, log_cols: int, stored_rows: I64 | None = None) -> U64:
    """Column-major ``uint64[C, R]`` of the rows ``stored_rows`` (default all) of a flat ``uint64[2^m]``, entry row*C +
    column."""
    rows = flat.reshape(-1, 1 << log_cols)
    return transpose(rows if stored_rows is None or len(stored_rows) == len(rows) else rows[stored_rows])


def commit_params(values: Integers, shape: MatrixShape) -> ParamsCommitment:
    """Commitment to ``int8|16|32|64[R, C]``."""
    integers = IntegerMatrix.of(values)
    commitment = commit(integers.columns(), shape)
    return ParamsCommitment(Commitment(shape, commitment.codeword, commitment.tree), integers)
