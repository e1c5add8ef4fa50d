"""What queried positions ask of a row, prover's side: weights c_q * x_q^j on its entries, added over the positions q.

x_q = omega_n^bitrev(q), so the sums over q are a transform of length n of the coefficients that stand at bitrev(q):

    sum_q c_q * omega_n^(bitrev(q) * j)     for every exponent j of the word,

the transpose of the encoding. For few positions of a long code the sums are added up one by one instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from syurmy import gpu
from syurmy.isa.arrays import I64
from syurmy.prover.field import U64, Ext
from syurmy.prover.kernels.matrix import transpose
from syurmy.prover.kernels.moves import put_rows_kernel, take_rows_kernel
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.kernels.opening import BESIDE, PARTS, power_sum, split_power_sum
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.vectors import filled
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.ladder import PowerWeights, Together, Word, bit_reversed

PER_BUTTERFLY = 4  # what one of these costs more than adding one power, about
PER_CLASS = 4  # claims per class of them that has a period in common, from which adding by class costs less


@dataclass(frozen=True, eq=False)
class Encoded:
    """One claim per position, as ``PowerWeights.of``, times ``coefficients``, ``uint64[2, t]`` (None: ones)."""

    word: Word
    log_n: int
    positions: Sequence[int]
    coefficients: U64 | None = None

    @property
    def claims(self) -> int:
        return len(self.positions)

    def scaled(self, factors: U64) -> Encoded:
        f = np.ascontiguousarray(factors)
        return replace(self, coefficients=f if self.coefficients is None else mle.mul(self.coefficients, f))

    def powers(self) -> Together:
        """The same as weights that can be folded."""
        found = PowerWeights.of(self.word, self.log_n, self.positions)
        if self.coefficients is None:
            return found
        return Together(tuple(part.scaled(self.coefficients) for part in found.parts))

    def values(self, z: U64) -> U64:
        return self.powers().values(z)

    def folded(self, log_size: int, r: Sequence[Ext]) -> Together:
        return self.powers().folded(log_size, r)

    def few(self, memory: gpu.Memory = gpu.HOST) -> bool:
        """Is one power after the other, or of the longest block some at a time, less work than a transform?"""
        split = memory is gpu.HOST and self._splits(max(b.size for b in self.word))
        return split or self.claims * self._end < PER_BUTTERFLY * self.log_n << self.log_n

    def _splits(self, size: int) -> bool:
        """Are powers of a block this long added faster after those that have a period in common?"""
        return size >= 2 * PARTS * BESIDE and PER_CLASS << self.log_n <= self.claims * size

    def written(self, memory: gpu.Memory = gpu.HOST) -> Iterator[tuple[int, U64]]:
        """All claims' weights added, in ``memory``: offsets in the vector with ``uint64[2, size]``."""
        for part in self.powers().parts:
            assert isinstance(part, PowerWeights)
            size = 1 << part.log_block
            if memory is gpu.HOST and self._splits(size):
                at = bit_reversed(np.asarray(self.positions, np.int64), self.log_n)
                yield part.offset, split_power_sum(part.x[0], part.coefficients, size, self.log_n, at)
            else:
                yield part.offset, power_sum(part.x[0], part.coefficients, size, memory)

    @property
    def _end(self) -> int:
        return max(b.exponent + b.size for b in self.word)

    def sums(self, memory: gpu.Memory = gpu.HOST) -> U64:
        """All claims' weights added: for every exponent of the word, and those between, ``uint64[2, exponents]``, in
        ``memory``."""
        at = bit_reversed(np.asarray(self.positions, np.int64), self.log_n)
        ones = np.array([[1, 0]], np.uint64).repeat(self.claims, axis=0)
        values = ones if self.coefficients is None else np.ascontiguousarray(self.coefficients.T)
        if memory is gpu.HOST:
            spread = np.zeros((1 << self.log_n, 2), np.uint64)
            spread[at] = values
            return np.ascontiguousarray(encode(spread, 0)[_order(self.log_n)[: self._end]].T)
        there: U64 = filled(memory.empty((1 << self.log_n, 2)), 0)
        for_ranges(put_rows_kernel, values.size, values, at, there)
        chosen: U64 = memory.empty((self._end, 2))
        for_ranges(
            take_rows_kernel, chosen.size, encode(there, 0), memory.kept(_order(self.log_n))[: self._end], chosen
        )
        return transpose(chosen)


@lru_cache(maxsize=4)
def _order(log_n: int) -> I64:
    """Where the transform has the sum for exponent j."""
    out = bit_reversed(np.arange(1 << log_n), log_n)
    out.flags.writeable = False
    return out
