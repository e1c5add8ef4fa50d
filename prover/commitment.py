"""Commitment to a matrix over F: Reed-Solomon rows, Merkle tree over the columns of the codeword.

The matrix is column-major, ``uint64[C, R]``; the codeword ``uint64[n, R]`` has n = C << log_blowup columns in the order
of prover/kernels/ntt.py. The root binds the prover to the matrix only together with an opening (prover/opening.py).

A params commitment is made once and kept in a proving key (prover/keys.py). Whoever loads one trusts the file; the
verifier compares openings with the root in its own key.

A hiding commitment has random coefficients in every row: as long as fewer columns are opened than there are of them,
what is opened is uniform, whatever the matrix is.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from syurmy.isa.arrays import I64, Integers
from syurmy.prover.field import U64
from syurmy.prover.kernels.matrix import IntegerMatrix, transpose
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.secrets import Secrets


@dataclass(frozen=True, eq=False)
class Commitment:
    """A committed matrix. ``matrix`` is ``uint64[C, R]``, or None where it is kept as integers; ``tail``: the random
    coefficients of its rows, ``uint64[T, R]`` (secret), None where there are none."""

    shape: MatrixShape
    codeword: U64
    tree: MerkleTree
    matrix: U64 | None = None
    tail: U64 | None = None

    @property
    def root(self) -> bytes:
        return self.tree.root


@dataclass(frozen=True, eq=False)
class ParamsCommitment:
    """The commitment to a params matrix and its integers."""

    commitment: Commitment
    integers: IntegerMatrix


def commit(matrix: U64, shape: MatrixShape, tail: U64 | None = None) -> Commitment:
    """Commitment to ``uint64[C, R]``, canonical entries. ``ValueError`` where the matrix does not have ``shape``."""
    if matrix.shape != (shape.cols, shape.height) or matrix.dtype != np.uint64:
        raise ValueError(f"{matrix.dtype}{matrix.shape} committed as {shape}")
    if (0 if tail is None else len(tail)) != shape.tail:
        raise ValueError(f"random coefficients do not fit {shape}")
    codeword = encode(matrix, shape.log_blowup, tail)
    return Commitment(shape, codeword, MerkleTree.of_columns(codeword), matrix, tail)


def stored_matrix(flat: U64, log_cols: int, stored_rows: I64 | None = None, aux: U64 | None = None) -> U64:
    """Column-major ``uint64[C, R]`` of the rows ``stored_rows`` (default all) of a flat ``uint64[2^m]``, entry row*C +
    column, and of the rows ``aux`` after them."""
    rows = flat.reshape(-1, 1 << log_cols)
    rows = rows if stored_rows is None or len(stored_rows) == len(rows) else rows[stored_rows]
    return transpose(rows if aux is None else np.concatenate([rows, aux]))


def in_rows(values: Mapping[Hashable, Integers], layout: MatrixLayout) -> Integers:
    """Tensors in the stored rows of their matrix, ``[R, C]``, in the narrowest of int8 to int64 that holds them all."""
    dtype = np.result_type(np.int8, *(values[name].dtype for name in layout.places))
    flat = np.zeros(1 << layout.log_entries, dtype)
    for name, place in layout.places.items():
        block = flat[place.offset : place.offset + place.size].reshape(place.dims)
        block[place.true_part] = np.transpose(values[name], place.order)
    return flat.reshape(-1, layout.shape.cols)[layout.stored_rows]


def commit_params(values: Integers, shape: MatrixShape, secrets: Secrets | None = None) -> ParamsCommitment:
    """Commitment to ``int8|16|32|64[R, C]``, params or a committed tensor; hiding where ``shape`` is, with what
    ``secrets`` give."""
    integers = IntegerMatrix.of(values)
    columns, tail = integers.columns(), None
    if shape.tail:
        if secrets is None:
            raise ValueError("a hiding commitment needs random coefficients")
        tail = secrets.elements(shape.tail * shape.height).reshape(shape.tail, shape.height)
        aux = secrets.elements(shape.cols * shape.aux).reshape(shape.cols, shape.aux)
        columns = np.concatenate([columns, aux], axis=1)
    commitment = commit(columns, shape, tail)
    return ParamsCommitment(replace(commitment, matrix=None), integers)
