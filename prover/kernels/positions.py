"""A few positions of an encoding (prover/kernels/ntt.py) without the others, from rows as they are kept.

With M = C >> s and x^(i + j*M) = x^i * (x^M)^j, the first s stages of the transform encode C/M coefficients j of M
polynomials side by side; position q needs of that the M values at q div M only, as a polynomial in x. Both steps are
done for ``WIDTH`` of the M polynomials at a time, which never leave the cache.
"""

from collections.abc import Sequence

import numpy as np

from syurmy.gpu import Memory, download
from syurmy.isa.arrays import Integers
from syurmy.prover.field import U64, P, to_field
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.field import ONE, ZERO
from syurmy.prover.kernels.field import add as add_one
from syurmy.prover.kernels.field import mul as mul_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import ZERO_SUM, mac, mul, reduce
from syurmy.prover.kernels.matrix import IntegerMatrix, bind_columns
from syurmy.prover.kernels.moves import evaluate_kernel, vandermonde_kernel
from syurmy.prover.kernels.ntt import butterflies, domain, powers_kernel
from syurmy.prover.kernels.transform import reverse
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.ladder import evaluation_points
from syurmy.prover.protocol.plain import mul_f

FIRST, MANY_COSETS = 6, 3  # stages that all positions share; two fewer from a rate of 1/8 on, where those are dearer
WIDTH = 128  # polynomials: a tile of them is 64 KiB
TOGETHER = 8  # rows that read a part of the table one after the other
S63 = np.uint64(63)


@part
def dot_field_strip(a, b):
    """Inner product over F."""
    s = ZERO_SUM
    for k in range(b.shape[0]):
        s = mac(s, a[k], b[k])
    return reduce(s)


@part
def _load(values, negative, out):
    """out = values over F. ``negative``: p for signed integers, whose sign is in the first bit, else 0."""
    for k in range(values.shape[0]):
        v = np.uint64(np.int64(values[k]))
        out[k] = v + (v >> S63) * negative  # 2^64 - |v|  ->  p - |v|, as 2^64 wraps


@part
def _scale(x, w):
    for k in range(x.shape[0]):
        x[k] = mul(x[k], w)


@kernel
def positions_kernel(values, negative, which, table, powers, log_blowup, out, lo, hi):
    """out[r, q] = position q of the encoding of row r, for the rows [lo, hi).

    values ``int[R, C]``, or ``uint64`` over F, ``negative`` p or 0; which ``int64[t]``, ascending: the position that q
    has after the stages of all positions; table ``uint64[tiles, t, WIDTH]``: the powers x_q^i for i < M, in tiles;
    powers[i] = omega^i of the domain of these stages; out ``uint64[R, t]``.
    """
    tiles, count, width = table.shape
    size = powers.shape[0] >> log_blowup
    stages = 0
    while (1 << stages) < size:
        stages += 1
    tile = np.empty((size, width), np.uint64)
    for r0 in range(lo, hi, TOGETHER):
        r1 = min(hi, r0 + TOGETHER)
        for r in range(r0, r1):
            for q in range(count):
                out[r, q] = ZERO
        for at in range(tiles):
            for r in range(r0, r1):
                first = 0
                while first < count:
                    block = which[first] >> stages
                    step, w = powers[reverse(block, log_blowup)], ONE
                    for m in range(size):
                        c = (m * tiles + at) * width
                        _load(values[r, c : c + width], negative, tile[m])
                        if block > 0:
                            _scale(tile[m], w)
                        w = mul_one(w, step)
                    butterflies(tile, stages, 0, 0, log_blowup, powers)
                    while first < count and which[first] >> stages == block:
                        more = dot_field_strip(tile[which[first] & (size - 1)], table[at, first])
                        out[r, first] = add_one(out[r, first], more)
                        first += 1


def evaluated(integers: IntegerMatrix, log_cols: int, log_n: int, positions: Sequence[int], memory: Memory) -> U64:
    """Positions of the encodings of rows of integers that are kept on a device, ``uint64[R, t]``: each a sum over all
    columns, of which a device has the time."""
    low, high = ((log_cols + 1) // 2, log_cols // 2)
    tables = []
    for log, step in ((low, 1), (high, 1 << low)):
        tables.append(memory.empty((1 << log, len(positions))))
        x = evaluation_points(log_n, positions, step)
        pool.for_ranges(vandermonde_kernel, tables[-1].size, x, tables[-1])
    parts = []
    for values, _, _, _ in integers.pieces(0, integers.shape[0], memory):
        out = memory.empty((len(values), len(positions)))
        pool.for_ranges(evaluate_kernel, out.size, values, *tables, out)
        parts.append(download(out))
    return np.concatenate(parts)


class Positions:
    """A few positions, ascending, of encodings of C = 2^log_cols coefficients, and of ``more`` after them."""

    def __init__(self, log_cols: int, log_blowup: int, positions: Sequence[int], more: int = 0) -> None:
        shared = min(FIRST - 2 * (log_blowup >= MANY_COSETS), log_cols)
        rest = log_cols - shared
        self.log_blowup = log_blowup
        self.powers = domain(shared + log_blowup)
        x = evaluation_points(log_cols + log_blowup, positions)
        table = np.empty((len(x), max(1 << rest, more)), np.uint64)
        for row, root in zip(table, x, strict=True):
            powers_kernel(root, ONE, row, 0, len(row))
        self.which = np.asarray(positions, np.int64) >> rest
        if (np.diff(self.which) < 0).any():
            raise ValueError("positions that do not ascend")
        tiles = table[:, : 1 << rest].reshape(len(x), -1, min(WIDTH, 1 << rest))
        self.table = np.ascontiguousarray(tiles.transpose(1, 0, 2))
        constant = evaluation_points(log_cols + log_blowup, positions, 1 << log_cols)
        after = table[:, :more]
        self.after = mul_f(np.broadcast_to(constant[:, None], after.shape), after)  # x^(C + i)

    def of(self, rows: Integers | U64, tail: U64 | None = None) -> U64:
        """Of the encodings of rows ``[R, C]``, integers or over F, with ``uint64[more, R]`` after them: ``uint64[R,
        t]``, as ``encode`` has them."""
        values = to_field(rows.astype(np.int64, copy=False)) if rows.dtype == np.int64 else rows
        negative = np.uint64(0 if values.dtype == np.uint64 else P)
        out = np.empty((len(rows), len(self.which)), np.uint64)
        args = np.ascontiguousarray(values), negative, self.which, self.table, self.powers, self.log_blowup, out
        pool.for_ranges(positions_kernel, len(rows), *args, min_chunk=1)
        if tail is not None and len(tail):
            out = mle.add(out, self.later(tail))
        return out

    def later(self, tail: U64) -> U64:
        """What the coefficients after the first C add, of two rows at a time: as the planes of one over K."""
        rows = np.ascontiguousarray(tail.T)
        out = np.empty((len(rows), len(self.which)), np.uint64)
        for r in range(0, len(rows), 2):
            out[r : r + 2] = bind_columns(self.after, rows[[r, min(r + 1, len(rows) - 1)]])[: len(rows) - r]
        return out
