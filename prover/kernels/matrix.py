"""Matrix kernels of the commitment: transposition, and weights bound to the rows of a matrix (u^T M for u over K).

Two layouts. The committed matrix is column-major, ``uint64[C, R]``: column c is a contiguous run of R entries. Integer
params are kept row-major, ``int8|16|32|64[r, C]`` for each group of rows, or two in a byte (prover/kernels/nibbles.py),
and bound without field arithmetic per weight: an extension weight is four signed 32-bit limbs (u = lo + 2^32*hi per
plane, -2^31 <= lo, hi < 2^31), and an int64 accumulator takes 2^15 products of a limb and an entry below 2^16, since
2^15 * 2^31 * 2^16 = 2^62. Rows with larger entries take the modular kernel.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from syurmy import gpu
from syurmy.isa.arrays import I64, Integers
from syurmy.prover.field import U64, P
from syurmy.prover.kernels import nibbles, pool
from syurmy.prover.kernels.field import ZERO, from_int
from syurmy.prover.kernels.field import P as MODULUS
from syurmy.prover.kernels.field import add as add_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import add, dot_base_strip, from_limbs, mul
from syurmy.prover.kernels.mle import LONG, add_flat
from syurmy.prover.protocol import mle

BLOCK = 32  # of a transposition
TILE = 512  # columns whose four accumulators stay in the first-level cache: 16 KiB
FLUSH = 1 << 15  # rows between reductions
HALF = np.uint64((P - 1) // 2)
SMALL = 1 << 16  # entries below it in absolute value take the limb kernel


@kernel
def transpose_kernel(rows, out, first, lo, hi):
    """out[c, first + r] = rows[r, c] for the column blocks [lo, hi) of a ``uint64[R, C]``."""
    height, cols = rows.shape
    for block in range(lo, hi):
        c1 = min(cols, (block + 1) * BLOCK)
        for r0 in range(0, height, BLOCK):
            r1 = min(height, r0 + BLOCK)
            for c in range(block * BLOCK, c1):
                for r in range(r0, r1):
                    out[c, first + r] = rows[r, c]


@kernel
def transpose_integers_kernel(rows, out, first, lo, hi):
    """out[c, first + r] = rows[r, c] over F for the column blocks [lo, hi) of an ``int[R, C]``, entries in (-2^63,
    2^63)."""
    height, cols = rows.shape
    for block in range(lo, hi):
        c1 = min(cols, (block + 1) * BLOCK)
        for r0 in range(0, height, BLOCK):
            r1 = min(height, r0 + BLOCK)
            for c in range(block * BLOCK, c1):
                for r in range(r0, r1):
                    out[c, first + r] = from_int(np.int64(rows[r, c]))


@kernel
def bind_columns_kernel(matrix, weights, out, lo, hi):
    """out[:, c] = sum over r of weights[:, r] * matrix[c, r] for c in [lo, hi); uint64[C, R], uint64[2, R], uint64[2,
    C]."""
    rows = matrix.shape[1]
    for c in range(lo, hi):
        x0, x1 = ZERO, ZERO
        for i in range(0, rows, LONG):
            j = min(rows, i + LONG)
            y0, y1 = dot_base_strip(weights[0, i:j], weights[1, i:j], matrix[c, i:j])
            x0, x1 = add_one(x0, y0), add_one(x1, y1)
        out[0, c] = x0
        out[1, c] = x1


@part
def _add_limbs(lo, hi, out):
    for k in range(out.shape[0]):
        out[k] = add(out[k], from_limbs(lo[k], hi[k]))


@part
def _accumulate(limbs, i, v, s0, s1, s2, s3):
    """s += the limbs i of a row times the row."""
    a0, a1, a2, a3 = np.int64(limbs[i, 0]), np.int64(limbs[i, 1]), np.int64(limbs[i, 2]), np.int64(limbs[i, 3])
    for k in range(v.shape[0]):
        x = np.int64(v[k])
        s0[k] += a0 * x
        s1[k] += a1 * x
        s2[k] += a2 * x
        s3[k] += a3 * x


@part
def _accumulate_four(limbs, i, v, w, x, y, s0, s1, s2, s3):
    """s += the limbs i, ..., i + 3 of four rows times these rows: read and written once for all."""
    a0, a1, a2, a3 = np.int64(limbs[i, 0]), np.int64(limbs[i, 1]), np.int64(limbs[i, 2]), np.int64(limbs[i, 3])
    b0, b1, b2, b3 = (
        np.int64(limbs[i + 1, 0]), np.int64(limbs[i + 1, 1]), np.int64(limbs[i + 1, 2]), np.int64(limbs[i + 1, 3])
    )  # fmt: skip
    c0, c1, c2, c3 = (
        np.int64(limbs[i + 2, 0]), np.int64(limbs[i + 2, 1]), np.int64(limbs[i + 2, 2]), np.int64(limbs[i + 2, 3])
    )  # fmt: skip
    d0, d1, d2, d3 = (
        np.int64(limbs[i + 3, 0]), np.int64(limbs[i + 3, 1]), np.int64(limbs[i + 3, 2]), np.int64(limbs[i + 3, 3])
    )  # fmt: skip
    for k in range(v.shape[0]):
        p, q, r, t = np.int64(v[k]), np.int64(w[k]), np.int64(x[k]), np.int64(y[k])
        s0[k] += a0 * p + b0 * q + c0 * r + d0 * t
        s1[k] += a1 * p + b1 * q + c1 * r + d1 * t
        s2[k] += a2 * p + b2 * q + c2 * r + d2 * t
        s3[k] += a3 * p + b3 * q + c3 * r + d3 * t


@kernel
def bind_limbs_kernel(values, first, limbs, out, lo, hi):
    """out[:, c] = sum over i of weight i * values[first + i, c] for the column tiles [lo, hi).

    values int[R, C] with |entry| < 2^16 wherever the weight is not zero; limbs int32[n, 4]: lo and hi of plane 0, lo
    and hi of plane 1; out uint64[2, C].
    """
    cols = values.shape[1]
    acc = np.empty((4, TILE), np.int64)
    n = limbs.shape[0]
    for tile in range(lo, hi):
        c0 = tile * TILE
        width = min(TILE, cols - c0)
        c1 = c0 + width
        s0, s1, s2, s3 = acc[0, :width], acc[1, :width], acc[2, :width], acc[3, :width]
        for c in range(width):
            out[0, c0 + c] = ZERO
            out[1, c0 + c] = ZERO
        for i0 in range(0, n, FLUSH):
            for k in range(4):
                acc[k, :width] = 0
            end = min(n, i0 + FLUSH)
            fours = i0 + ((end - i0) & ~3)
            for i in range(i0, fours, 4):
                r = first + i
                _accumulate_four(
                    limbs, i, values[r, c0:c1], values[r + 1, c0:c1], values[r + 2, c0:c1], values[r + 3, c0:c1],
                    s0, s1, s2, s3,
                )  # fmt: skip
            for i in range(fours, end):
                _accumulate(limbs, i, values[first + i, c0:c1], s0, s1, s2, s3)
            _add_limbs(s0, s1, out[0, c0:c1])
            _add_limbs(s2, s3, out[1, c0:c1])


@part
def _add_multiple(row, weight, out):
    for k in range(out.shape[0]):
        out[k] = add(out[k], mul(from_int(row[k]), weight))


@kernel
def bind_modular_kernel(row, weight0, weight1, out, lo, hi):
    """out[:, c] += weight * row[c] for c in [lo, hi): int64[C] with |entry| < 2^63, uint64[2, C]."""
    for i in range(lo, hi, TILE):
        j = min(hi, i + TILE)
        _add_multiple(row[i:j], weight0, out[0, i:j])
        _add_multiple(row[i:j], weight1, out[1, i:j])


@kernel
def signed_limbs_kernel(weights, out, lo, hi):
    """out[i] = low and high of weights[0, i] and of weights[1, i] for i in [lo, hi), weights[p, i] = low + 2^32*high
    (mod p); uint64[2, n], int32[n, 4]."""
    for i in range(lo, hi):
        for plane in range(2):
            w = weights[plane, i]
            v = np.int64(w - MODULUS if w >= HALF else w)  # from there on negative, so that high cannot reach 2^31
            low = np.int64(np.int32(v))
            out[i, 2 * plane] = low
            out[i, 2 * plane + 1] = (v - low) >> 32


def transpose(*rows: U64) -> U64:
    """``uint64[C, R]`` of ``uint64[R, C]``, in one part or several, R that of all together."""
    cols = rows[0].shape[1]
    out: U64 = gpu.beside(*rows).empty((cols, sum(map(len, rows))))
    first = 0
    for each in rows:
        pool.for_ranges(transpose_kernel, -(-cols // BLOCK), pool.contiguous(each), out, first, min_chunk=64)
        first += len(each)
    return out


def bind_columns(matrix: U64, weights: U64) -> U64:
    """weights^T M as ``uint64[2, C]`` for a column-major ``uint64[C, R]`` and ``uint64[2, R]``."""
    cols, rows = matrix.shape
    if weights.shape != (2, rows):
        raise ValueError(f"{weights.shape} weights for {rows} rows")
    out: U64 = gpu.beside(matrix).empty((2, cols))
    args = pool.contiguous(matrix), pool.contiguous(weights), out
    pool.for_ranges(bind_columns_kernel, cols, *args, min_chunk=max(1, pool.MIN_CHUNK // max(1, rows)))
    return out


def signed_limbs(weights: U64) -> npt.NDArray[np.int32]:
    """``int32[n, 4]`` limbs of ``uint64[2, n]`` weights over K."""
    out = np.empty((weights.shape[1], 4), np.int32)
    pool.for_ranges(signed_limbs_kernel, len(out), np.ascontiguousarray(weights), out)
    return out


@dataclass(frozen=True, eq=False)
class IntegerMatrix:
    """Params as integers, row-major, entries in (-2^63, 2^63): ``groups`` of rows one after the other, each
    ``int8|16|32|64[r, C]``, or ``uint8[r, C/2]`` of 4 bits an entry, of its own, so that one large entry does not widen
    the rest. ``large`` lists the rows that hold an entry of 2^16 or more."""

    groups: tuple[Integers, ...]
    large: I64

    @staticmethod
    def of(values: Integers | Sequence[Integers]) -> "IntegerMatrix":
        """Of one group, or several with the same number of columns; ``ValueError`` for what cannot be params."""
        groups = (values,) if isinstance(values, np.ndarray) else tuple(values)
        if not groups or len({_length(v) for v in groups}) > 1:
            raise ValueError("params are groups of rows of one length")
        large, first = [], 0
        for v in groups:
            large.append(first + _large_rows(v))
            first += len(v)
        return IntegerMatrix(tuple(map(np.ascontiguousarray, groups)), np.concatenate(large))

    @property
    def shape(self) -> tuple[int, int]:
        return sum(map(len, self.groups)), _length(self.groups[0])

    def joined(self) -> Integers:
        """All rows in one array, of the widest group's dtype: a copy."""
        return np.concatenate([nibbles.unpack(v) if v.dtype == np.uint8 else v for v in self.groups])

    def pieces(self, first: int, end: int, memory: gpu.Memory = gpu.HOST) -> Iterator[tuple[gpu.Array, int, int, int]]:
        """The rows [first, end) in ``memory``, group by group: integers, the number of their first row, and which of
        these rows they have. What is packed is unpacked, always in the same memory."""
        start = 0
        for values in self.groups:
            lo, hi = max(first, start), min(end, start + len(values))
            packed = values.dtype == np.uint8
            there = memory is gpu.HOST or not gpu.on_host(values)
            if lo < hi and packed and there:
                for rows, a, b in nibbles.strips(values, lo - start, hi - start):
                    yield rows, start + a, start + a, start + b
            elif lo < hi:
                yield values if there else memory.kept(values, nibbles.unpack if packed else np.asarray), start, lo, hi
            start += len(values)

    def bind(self, first: int, weights: U64, memory: gpu.Memory | None = None) -> U64:
        """Sum over i of weights[:, i] * row (first + i): ``uint64[2, C]``, in ``memory``, where the rows are kept once
        they were there (default: where they are). ``ValueError`` where the rows do not exist."""
        count = weights.shape[1]
        memory = gpu.beside(*self.groups) if memory is None else memory
        rows, cols = self.shape
        if first < 0 or first + count > rows or weights.shape[0] != 2:
            raise ValueError(f"rows [{first}, {first + count}) of {rows}")
        limbs = signed_limbs(weights)
        large = self.large[(self.large >= first) & (self.large < first + count)]
        limbs[large - first] = 0

        def bound(values: gpu.Array, start: int, lo: int, hi: int) -> U64:
            out: U64 = memory.empty((2, cols))
            chosen = limbs[lo - first : hi - first]
            pool.for_ranges(bind_limbs_kernel, -(-cols // TILE), values, lo - start, chosen, out, min_chunk=1)
            for r in large[(large >= lo) & (large < hi)]:
                row = self._row(r).astype(np.int64)
                pool.for_ranges(bind_modular_kernel, cols, row, weights[0, r - first], weights[1, r - first], out)
            return out

        return _added((bound(*piece) for piece in self.pieces(first, first + count, memory)), memory, cols)

    def _row(self, r: int) -> Integers:
        """A row of a group that is not packed."""
        for values in self.groups:
            if r < len(values):
                row: Integers = values[r]
                return row
            r -= len(values)
        raise IndexError(r)

    def combined(self, weights: U64, memory: gpu.Memory | None = None) -> U64:
        """weights^T M, ``uint64[2, C]``, for ``uint64[2, R]``, as ``bind``; rows of weight zero are not read."""
        used = np.concatenate(([False], (weights[0] | weights[1]) != 0, [False]))
        edges = np.flatnonzero(used[1:] != used[:-1]).tolist()
        parts = (self.bind(lo, weights[:, lo:hi], memory) for lo, hi in zip(edges[::2], edges[1::2], strict=True))
        return _added(parts, memory or gpu.HOST, self.shape[1])

    def columns(self, first: int = 0, count: int | None = None) -> U64:
        """The rows [first, first + count), default all, over F, column-major ``uint64[C, count]``."""
        rows, cols = self.shape
        end = rows if count is None else first + count
        out = np.empty((cols, end - first), np.uint64)
        for values, start, lo, hi in self.pieces(first, end):
            part = values[lo - start : hi - start]
            pool.for_ranges(transpose_integers_kernel, -(-cols // BLOCK), part, out, lo - first, min_chunk=8)
        return out


def _added(parts: Iterable[U64], memory: gpu.Memory, cols: int) -> U64:
    """The sum of vectors over K, on a device in the first one's place."""
    total: U64 | None = None
    for each in parts:
        if total is None:
            total = each
        elif gpu.on_host(total):
            total = mle.add(total, each)
        else:
            pool.for_ranges(add_flat, each.size, total.reshape(-1), each.reshape(-1), total.reshape(-1))
    return memory.upload(np.zeros((2, cols), np.uint64)) if total is None else total


def _length(v: Integers) -> int:
    """Entries of a row."""
    return int(v.shape[-1]) << int(v.dtype == np.uint8)


def _large_rows(v: Integers) -> I64:
    packed = v.dtype == np.uint8 and v.ndim == 2 and _length(v) % nibbles.LEAST == 0
    if v.ndim != 2 or (v.dtype.kind != "i" and not packed):
        raise ValueError(f"params are a matrix of signed integers, not {v.dtype}[{v.ndim} axes]")
    if v.dtype.itemsize <= 2:
        return np.zeros(0, np.int64)
    if v.dtype.itemsize == 8 and v.size and int(v.min()) == -(2**63):
        raise ValueError("a param is outside (-2^63, 2^63)")
    extreme = np.maximum(v.max(axis=1).astype(np.int64), -v.min(axis=1).astype(np.int64))
    return np.flatnonzero(extreme >= SMALL).astype(np.int64)
