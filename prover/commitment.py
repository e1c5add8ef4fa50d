"""Commitment to a matrix over F: Reed-Solomon rows, Merkle tree over the columns of the codeword.

The matrix is column-major, ``uint64[C, R]``; the codeword ``uint64[n, R]`` has n = C << log_blowup columns in the order
of prover/kernels/ntt.py. The root binds the prover to the matrix only together with an opening (prover/opening.py).

A params commitment is made once and kept as arrays in files that are mapped into memory: its codeword, the digests of
its tree, and the integers themselves. Whoever loads them trusts the files; the verifier compares openings with the root
in its key.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prover.code import MatrixShape
from prover.field import U64
from prover.kernels.matrix import IntegerMatrix, transpose
from prover.kernels.ntt import encode
from prover.merkle import MerkleTree


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
    if matrix.shape != (shape.cols, shape.rows) or matrix.dtype != np.uint64:
        raise ValueError(f"{matrix.dtype}{matrix.shape} committed as {shape}")
    codeword = encode(matrix, shape.log_blowup)
    return Commitment(shape, codeword, MerkleTree.of_columns(codeword), matrix)


def stored_matrix(flat: U64, log_cols: int, stored_rows: npt.NDArray[np.int64] | None = None) -> U64:
    """Column-major ``uint64[C, R]`` of the rows ``stored_rows`` (default all) of a flat ``uint64[2^m]``, entry row*C +
    column."""
    rows = flat.reshape(-1, 1 << log_cols)
    return transpose(rows if stored_rows is None or len(stored_rows) == len(rows) else rows[stored_rows])


def commit_params(values: npt.NDArray[np.signedinteger[Any]], shape: MatrixShape) -> ParamsCommitment:
    """Commitment to ``int8|16|32|64[R, C]``."""
    integers = IntegerMatrix.of(values)
    commitment = commit(integers.columns(), shape)
    return ParamsCommitment(Commitment(shape, commitment.codeword, commitment.tree), integers)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an ``.npy`` file: complete under its name, or not there."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            np.lib.format.write_array(f, np.ascontiguousarray(array), allow_pickle=False)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def read_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file, mapped copy-on-write. ``ValueError`` for another dtype, shape or a damaged
    file."""
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{path} does not hold an array: {error}") from None
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.dtype(dtype):
        raise ValueError(f"{path} does not hold {np.dtype(dtype)}{list(shape)}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{path} is not in row-major order")
    return np.asarray(array)


def save_params(params: ParamsCommitment, codeword: Path, digests: Path, integers: Path) -> None:
    write_array(integers, params.integers.values)
    write_array(digests, params.commitment.tree.digests)
    write_array(codeword, params.commitment.codeword)


def load_params(
    shape: MatrixShape, dtype: npt.DTypeLike, codeword: Path, digests: Path, integers: Path
) -> ParamsCommitment:
    """What ``save_params`` wrote for a params matrix of this shape and dtype."""
    tree = MerkleTree(read_array(digests, np.uint8, (2 * shape.n - 1, 32)))
    word = read_array(codeword, np.uint64, (shape.n, shape.rows))
    values = read_array(integers, dtype, (shape.rows, shape.cols))
    return ParamsCommitment(Commitment(shape, word, tree), IntegerMatrix.of(values))
