"""A few positions of an encoding (prover/kernels/ntt.py) without the others.

With M = C >> s and x^(i + j*M) = x^i * (x^M)^j, the first s stages of the transform encode C/M coefficients j of M
polynomials side by side; position q needs of that the M values at q div M only, as a polynomial in x.
"""

from collections.abc import Sequence

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.prover.field import U64
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import ZERO_SUM, mac, reduce
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.ladder import evaluation_points
from syurmy.prover.protocol.plain import mul_f

FIRST = 7  # stages that all positions share


@part
def dot_field_strip(a, b):
    """Inner product over F."""
    s = ZERO_SUM
    for k in range(b.shape[0]):
        s = mac(s, a[k], b[k])
    return reduce(s)


@kernel
def dot_chosen_kernel(vectors, which, table, out, lo, hi):
    """out[q] = <vectors[which[q]], table[q]> over F for q in [lo, hi); uint64[k, M], int64[t], uint64[t, M]."""
    for q in range(lo, hi):
        out[q] = dot_field_strip(vectors[which[q]], table[q])


class Positions:
    """A few positions of encodings of C = 2^log_cols coefficients, and of ``more`` after them, without the others."""

    def __init__(self, log_cols: int, log_blowup: int, positions: Sequence[int], more: int = 0) -> None:
        self.shared = min(FIRST, log_cols)
        self.rest = log_cols - self.shared
        self.log_blowup = log_blowup
        x = evaluation_points(log_cols + log_blowup, positions)
        table = np.ones((len(x), 1), np.uint64)
        power = x[:, None]
        while table.shape[1] < max(1 << self.rest, more):
            table = np.concatenate([table, mul_f(table, np.broadcast_to(power, table.shape))], axis=1)
            power = mul_f(power, power)
        self.which = np.asarray(positions, np.int64) >> self.rest
        self.table = np.ascontiguousarray(table[:, : 1 << self.rest])  # x^i
        constant = evaluation_points(log_cols + log_blowup, positions, 1 << log_cols)
        after = table[:, :more]
        self.after = mul_f(np.broadcast_to(constant[:, None], after.shape), after)  # x^(C + i)
        self.memory = np.empty((1 << (self.shared + log_blowup), 1 << self.rest), np.uint64)  # of all rows, one by one

    def of(self, row: U64, tail: U64 | None = None) -> U64:
        """Of the encoding of ``uint64[C]`` and ``uint64[more]``: ``uint64[t]``, as ``encode`` has it."""
        parts = encode(row.reshape(1 << self.shared, -1), self.log_blowup, None, self.memory)
        out = _dots(parts, self.which, self.table)
        if tail is not None and len(tail):
            out = mle.add(out, _dots(np.ascontiguousarray(tail)[None], np.zeros_like(self.which), self.after))
        return out


def _dots(vectors: U64, which: I64, table: U64) -> U64:
    out = np.empty(len(table), np.uint64)
    pool.for_ranges(dot_chosen_kernel, len(table), vectors, which, table, out, min_chunk=16)
    return out
