"""Commitment to a matrix over F: Reed-Solomon rows, Merkle tree over the columns of the codeword.

The matrix is column-major, ``uint64[C, R]``; the codeword ``uint64[n, R]`` has n = C << log_blowup columns in the order
of prover/kernels/ntt.py. The root binds the prover to the matrix only together with an opening (prover/opening.py).

A params commitment is made once and kept in a proving key (prover/keys.py). Whoever loads one trusts the file; the
verifier compares openings with the root in its own key. A large codeword is not kept where a proof, or the process that
makes one, takes much longer than to encode the few columns anew that it opens.

A hiding commitment has random coefficients in every row: as long as fewer columns are opened than there are of them,
what is opened is uniform, whatever the matrix is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np

from syurmy import gpu, host
from syurmy.isa.arrays import I64, U8, Integers
from syurmy.prover import strips
from syurmy.prover.field import U64
from syurmy.prover.kernels import nibbles
from syurmy.prover.kernels.blake3 import Hashing
from syurmy.prover.kernels.matrix import IntegerMatrix, transpose
from syurmy.prover.kernels.moves import take_rows_kernel
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.positions import Positions, evaluated
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.merkle import LEAF_KEY, MerkleTree, hash_columns, shortened
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.secrets import Secrets
from syurmy.prover.trees import DeviceTree, ShortTree, Tree, of_columns, taken

STRIP = 1 << 24  # elements of params that are encoded at one time
LEAST = 8  # rows of a strip: a block of BLAKE3, and two passes of a transform of 2^20
WIDE = 4  # rows that are over F at one time where a few of their positions are encoded
KEPT = 1 << 27  # elements of the largest codeword of params that is kept: 1 GiB
ALWAYS = 1 << 24  # and of one that is kept in any case: 128 MiB
ANEW_SECONDS = 1.1e-9  # to encode positions anew, by element of a codeword that is not kept, about, on two cores
SHARE = 1 / 8  # of the time that a proof takes, up to which that is done


@dataclass(frozen=True, eq=False)
class Commitment:
    """A committed matrix. ``matrix`` is ``uint64[C, R]``, or None where it is kept as ``integers``; ``tail``: the
    random coefficients of its rows, ``uint64[T, R]`` (secret), None where there are none. ``codeword``: ``uint64[n,
    R]``, or in ``strips.Strips``, None where it is not kept. Codeword and matrix are on the host, or both on a
    device."""

    shape: MatrixShape
    codeword: gpu.Array
    tree: Tree
    matrix: U64 | None = None
    tail: U64 | None = None
    integers: IntegerMatrix | None = None

    @property
    def root(self) -> bytes:
        return self.tree.root

    def opened(self, positions: Sequence[int]) -> tuple[U64, U8]:
        """``columns``, and the path of these positions."""
        if isinstance(self.tree, DeviceTree) and not isinstance(self.codeword, strips.Strips):
            return self.tree.opened(self.codeword, positions)
        return self.columns(positions), self.tree.multiproof(positions)

    def columns(self, positions: Sequence[int]) -> U64:
        """Those of the codeword, ``uint64[t, height]``."""
        if isinstance(self.codeword, strips.Strips):
            return self.codeword.taken(positions)
        if self.codeword is not None:
            columns: U64
            on_host = gpu.on_host(self.codeword)
            columns = host.rows_of(self.codeword, positions) if on_host else taken((self.codeword, positions))[0]
            return columns
        tail = np.zeros((0, self.shape.height), np.uint64) if self.tail is None else self.tail
        at = Positions(self.shape.log_cols, self.shape.log_blowup, positions, len(tail))
        memory = gpu.place(self.shape.rows * self.shape.cols)
        if self.integers is not None and memory is not gpu.HOST:
            out = evaluated(self.integers, self.shape.log_cols, self.shape.log_n, positions, memory)
            out = mle.add(out, at.later(tail)) if len(tail) else out
            return np.ascontiguousarray(out.T)
        parts, first = [], 0
        for rows in self.rows():
            parts.append(at.of(rows, tail[:, first : first + len(rows)]))
            first += len(rows)
        return np.ascontiguousarray(np.concatenate(parts).T)

    def rows(self) -> Iterator[Integers | U64]:
        """Those of the matrix, ``[*, C]``: narrow integers, or few of others, which are over F as they are used."""
        if self.matrix is not None:
            for first in range(0, self.shape.height, WIDE):
                yield np.ascontiguousarray(self.matrix.T[first : first + WIDE])
        elif self.integers is not None:
            for values, start, lo, hi in self.integers.pieces(0, self.shape.rows):
                step = WIDE if values.dtype == np.int64 else hi - lo
                for first in range(lo - start, hi - start, step):
                    yield values[first : first + step]


@dataclass(frozen=True, eq=False)
class ParamsCommitment:
    """The commitment to a params matrix, with a ``ShortTree``, and its integers."""

    commitment: Commitment
    integers: IntegerMatrix


def commit(matrix: U64, shape: MatrixShape, tail: U64 | None = None, keep: bool = True) -> Commitment:
    """Commitment to ``uint64[C, R]``, canonical entries; ``keep`` its codeword. ``ValueError`` where the matrix does
    not have ``shape``."""
    if matrix.shape != (shape.cols, shape.height) or matrix.dtype != np.uint64:
        raise ValueError(f"{matrix.dtype}{matrix.shape} committed as {shape}")
    if (0 if tail is None else len(tail)) != shape.tail:
        raise ValueError(f"random coefficients do not fit {shape}")
    many = shape.height > strips.ROWS
    if keep or gpu.on_host(matrix) or not many:
        try:
            return _whole(matrix, shape, tail, keep or not gpu.on_host(matrix))
        except gpu.OutOfDeviceMemory:
            if not many:
                raise
    return in_strips(matrix, shape, tail)


def _whole(matrix: U64, shape: MatrixShape, tail: U64 | None, keep: bool) -> Commitment:
    if not keep and shape.height > strip_rows(shape):
        return Commitment(shape, None, MerkleTree.of_leaves(_leaves(_strips(matrix, shape, tail), shape)), matrix, tail)
    codeword = encode(matrix, shape.log_blowup, tail)
    return Commitment(shape, codeword if keep else None, of_columns(codeword), matrix, tail)


def _strips(matrix: U64, shape: MatrixShape, tail: U64 | None) -> Iterator[U64]:
    """The codeword of a matrix on the host, as ``_encoded`` has that of integers."""
    memory = np.empty(shape.n * strip_rows(shape), np.uint64)
    for lo, hi in _bounds(shape):
        out = memory[: shape.n * (hi - lo)].reshape(shape.n, hi - lo)
        yield encode(_cut(matrix, lo, hi), shape.log_blowup, None if tail is None else tail[:, lo:hi], out)


def _cut(matrix: U64, first: int, last: int) -> U64:
    """Rows of a column-major matrix, contiguous."""
    out = np.empty((len(matrix), last - first), np.uint64)
    for_ranges(lambda lo, hi: np.copyto(out[lo:hi], matrix[lo:hi, first:last]), len(out))
    return out


def in_strips(matrix: gpu.Array, shape: MatrixShape, tail: U64 | None = None) -> Commitment:
    """``commit`` of a matrix on a device without its codeword being there as a whole."""
    codeword = strips.Strips(matrix, shape.log_blowup, tail)
    tree = DeviceTree(len(codeword), gpu.beside(matrix), codeword.hash_into)
    return Commitment(shape, codeword, tree, matrix, tail)


def stored_matrix(flat: U64, log_cols: int, stored_rows: I64 | None = None, aux: U64 | None = None) -> U64:
    """Column-major ``uint64[C, R]`` of the rows ``stored_rows`` (default all) of a flat ``uint64[2^m]``, entry row*C +
    column, and of the rows ``aux`` after them."""
    rows = flat.reshape(-1, 1 << log_cols)
    if not gpu.on_host(flat):
        return transpose(_gathered(rows, stored_rows, aux))
    if stored_rows is not None and len(stored_rows) < len(rows):
        first = int(stored_rows[-1]) + 1 == len(stored_rows)  # nearly always: then nothing is copied
        rows = rows[: len(stored_rows)] if first else rows[stored_rows]
    return transpose(rows) if aux is None else transpose(rows, aux)


def _gathered(rows: gpu.Array, stored_rows: I64 | None, aux: U64 | None) -> gpu.Array:
    """The rows ``stored_rows`` of a matrix on a device, and ``aux`` after them."""
    if aux is None and (stored_rows is None or len(stored_rows) == len(rows)):
        return rows
    chosen = np.arange(len(rows), dtype=np.int64) if stored_rows is None else stored_rows
    count, cols = len(chosen), rows.shape[1]
    out = rows.memory.empty((count + (0 if aux is None else len(aux)), cols))
    for_ranges(take_rows_kernel, count * cols, rows, chosen, out)
    if aux is not None:
        rows.memory.write(out[count : len(out)], aux)
    return out


def in_rows(values: Mapping[Hashable, Integers], layout: MatrixLayout) -> IntegerMatrix:
    """Tensors in the stored rows of their matrix: those that fill rows in groups by dtype, many of 4 bits packed, the
    others in the narrowest dtype that holds them all."""
    cols = layout.shape.cols
    groups: list[Integers] = []
    for (dtype, four), run in groupby(layout.large, lambda item: _kind(values[item[0]])):
        tensors = [(place, values[name]) for name, place in run]
        rows = np.zeros((sum(place.row_count(layout.shape.log_cols) for place, _ in tensors), cols), dtype)
        at = 0
        for place, v in tensors:
            count = place.row_count(layout.shape.log_cols)
            block = rows[at : at + count].reshape(place.stored_dims(layout.shape.log_cols))
            block[place.true_part] = np.transpose(v, place.order)
            at += count
        groups.append(nibbles.pack(rows) if four and nibbles.worth(rows) else rows)
    if layout.small:
        dtype = np.result_type(*(_signed(values[name].dtype) for name, _ in layout.small))
        first, last = layout.shared_rows
        rows = np.zeros((last - first, cols), dtype)
        for name, place in layout.small:
            block = rows.reshape(-1)[place.offset - first * cols :][: place.size].reshape(place.dims)
            block[place.true_part] = np.transpose(values[name], place.order)
        groups.append(rows)
    return IntegerMatrix.of(groups)


def _kind(values: Integers) -> tuple[np.dtype[Any], bool]:
    """What rows of one group have in common: their dtype, and whether 4 bits would do."""
    dtype = _signed(values.dtype)
    return dtype, dtype == np.int8 and nibbles.fits(values)


def _signed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(np.int8, dtype)


def commit_params(
    integers: IntegerMatrix, shape: MatrixShape, secrets: Secrets | None = None, keep: bool | None = None
) -> ParamsCommitment:
    """Commitment to params or a committed tensor; hiding where ``shape`` is, with what ``secrets`` give. ``keep``: its
    codeword (``kept`` unless given). The rows are encoded some at a time, so that they are never all there as
    field elements; nor is their codeword, where it is not kept: columns are hashed as far as they are there."""
    if integers.shape != (shape.rows, shape.cols):
        raise ValueError(f"{integers.shape} integers committed as {shape}")
    aux = np.zeros((shape.cols, 0), np.uint64)
    tail = None
    if shape.tail:
        if secrets is None:
            raise ValueError("a hiding commitment needs random coefficients")
        tail = secrets.elements(shape.tail * shape.height).reshape(shape.tail, shape.height)
        aux = secrets.elements(shape.cols * shape.aux).reshape(shape.cols, shape.aux)
    parts = _encoded(integers, shape, aux, tail)
    if kept(shape) if keep is None else keep:
        codeword = _joined(parts, shape)
        tree = ShortTree.of_leaves(hash_columns(codeword))
        return ParamsCommitment(Commitment(shape, codeword, tree, None, tail, integers), integers)
    tree = ShortTree.of_leaves(_leaves(parts, shape))
    return ParamsCommitment(Commitment(shape, None, tree, None, tail, integers), integers)


def _joined(parts: Iterator[U64], shape: MatrixShape) -> U64:
    """The codeword."""
    first = next(parts)
    if first.shape[1] == shape.height:
        return first
    codeword, lo = np.empty((shape.n, shape.height), np.uint64), 0
    for part in chain([first], parts):
        codeword[:, lo : lo + part.shape[1]] = part
        lo += part.shape[1]
    return codeword


def _leaves(parts: Iterator[U64], shape: MatrixShape) -> U8:
    """The digests of the codeword's columns, ``uint8[n, 32]``."""
    hashing = Hashing(shape.n, 2 * shape.height, LEAF_KEY)
    for part in parts:
        hashing.take(part.view(np.uint32))
    return shortened(hashing.digests.view(np.uint8))


def _encoded(integers: IntegerMatrix, shape: MatrixShape, aux: U64, tail: U64 | None) -> Iterator[U64]:
    """The codeword, ``strip_rows`` at a time, ``uint64[n, rows]``, always in the same memory."""
    memory = np.empty(shape.n * min(strip_rows(shape), shape.height), np.uint64)
    for lo, hi in _bounds(shape):
        rows = max(0, min(hi, shape.rows) - lo)
        columns = integers.columns(lo, rows) if rows else aux[:, lo - shape.rows : hi - shape.rows]
        if 0 < rows < hi - lo:
            columns = np.concatenate([columns, aux[:, : hi - lo - rows]], axis=1)
        out = memory[: shape.n * (hi - lo)].reshape(shape.n, hi - lo)
        yield encode(columns, shape.log_blowup, None if tail is None else tail[:, lo:hi], out)


def _bounds(shape: MatrixShape) -> Iterator[tuple[int, int]]:
    """Of the strips, first and last row."""
    step = strip_rows(shape)
    return ((lo, min(lo + step, shape.height)) for lo in range(0, shape.height, step))


def strip_rows(shape: MatrixShape) -> int:
    """How many rows are encoded at one time where their codeword is not kept: whole blocks of the hash."""
    return max(LEAST, STRIP // shape.n)


def kept(shape: MatrixShape, seconds: float = 0.0, single: bool = False) -> bool:
    """Whether the codeword of params is kept: where it has rows that are kept nowhere else; and where it is not large,
    if it is small or encoding columns anew would take long beside the ``seconds`` of a proof (0: not known).
    ``single``: for processes that make one proof each, which take a second beside it: only what is small is kept. Of a
    codeword of ``KEPT`` elements that is an eighth of all, of others less."""
    if shape.aux or shape.encoded > KEPT:
        return shape.aux > 0
    return shape.encoded <= ALWAYS or (not single and anew_seconds(shape) > SHARE * seconds)


def anew_seconds(shape: MatrixShape) -> float:
    """About how much longer a proof takes that encodes the columns anew that it opens."""
    return ANEW_SECONDS * shape.encoded
