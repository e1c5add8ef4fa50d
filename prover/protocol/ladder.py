"""Linear claims on a vector that is committed level by level; shared by prover and verifier (protocol section 2).

A vector z over K of 2^k entries (index bits big-endian; entries that are not stored are zero) has claims <w, z> = v
with two kinds of public weights on an aligned block of 2^l entries:

- ``EqWeight``: eq(p, j), an evaluation of the block's multilinear extension;
- ``PowerWeights``: x_i^j, evaluations of the block as a polynomial, one per queried position.

Where something is hidden, there are two more: ``PadWeights``, relations between the pads that lie in the vector, and
their sum written out, ``DenseWeight``.

A codeword's row need not lie in one piece: a ``Word`` lists aligned blocks of the vector with the exponents of x at
which they begin (the row's entries, and its random coefficients behind them).

``batched`` adds claims with powers of one challenge. A level commits z as rows of 2^c entries; a sumcheck over the row
bits ends at r, and the claim becomes one on the row z' = sum over rows of eq(r, row) * z. Both kinds of weights are
products over the index bits (1 - p_b or p_b; 1 or x^(2^b)), so ``folded`` binds a row bit by one factor and no weight
is written out: the verifier's work is a few products per claim and level, and the last vector's evaluations.

Order, on which the argument rests: the positions of a matrix are drawn when the vector that holds its rows is fixed,
by the root of its level or because it is sent; the challenge that batches the claims is drawn after that root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.records import dataclass
from syurmy.prover.field import ONE, U64, ZERO, Ext, P, eq_list, eq_scalar, ext_array, lift, root_of_unity
from syurmy.prover.protocol import arithmetic, mle
from syurmy.prover.protocol.hidden import Hidden
from syurmy.prover.protocol.layout import prefix_eq, stack
from syurmy.prover.protocol.plain import mul_f, sub_f
from syurmy.prover.protocol.reed_solomon import MatrixShape

_REVERSED = np.array([int(f"{i:08b}"[::-1], 2) for i in range(256)], np.int64)  # bytes
_LOW = 64  # entries that one step of a polynomial's evaluation takes


@dataclass(frozen=True)
class Block:
    """2^log_size coefficients of a row, those of x^exponent, x^(exponent + 1), ..., at ``offset`` of a vector."""

    exponent: int
    log_size: int
    offset: int

    @property
    def size(self) -> int:
        return 1 << self.log_size


Word = tuple[Block, ...]


def lay_out(words: Sequence[Sequence[tuple[int, int]]]) -> tuple[tuple[Word, ...], int]:
    """Where words lie in one vector, and how many of its entries they take. A word is given as its runs of coefficients
    (first exponent, number); a run is cut into powers of two, the largest first."""
    blocks: list[tuple[int, int, int]] = []  # word, exponent, log2 of the size
    for i, runs in enumerate(words):
        for exponent, count in runs:
            for k in range(count.bit_length() - 1, -1, -1):
                if count >> k & 1:
                    blocks.append((i, exponent, k))
                    exponent += 1 << k
    offsets = stack([1 << k for _, _, k in blocks])
    placed: list[list[Block]] = [[] for _ in words]
    for (i, exponent, k), offset in zip(blocks, offsets, strict=True):
        placed[i].append(Block(exponent, k, offset))
    return tuple(tuple(p) for p in placed), sum(1 << k for _, _, k in blocks)


class Weight(Protocol):
    """Weights of one or more claims on a vector ``uint64[2, 2^k]``."""

    @property
    def claims(self) -> int: ...

    def values(self, z: U64) -> U64:
        """The claims' left sides, ``uint64[2, claims]``."""

    def scaled(self, factors: U64) -> Weight:
        """Claim i with ``factors[:, i]``; the factors stay with the weights when they are folded."""

    def folded(self, log_size: int, r: Sequence[Ext]) -> Weight:
        """The weights on z' = sum over rows of eq(r, row) * z, for z of 2^log_size entries."""


@dataclass(frozen=True)
class Claim:
    """``weight.values(z)`` must be ``values``, ``uint64[2, claims]``."""

    weight: Weight
    values: U64


@dataclass(frozen=True, eq=False)
class EqWeight:
    """coefficient * eq(point, .) on the 2^len(point) entries from ``offset``."""

    offset: int
    point: tuple[Ext, ...]
    coefficient: Ext = ONE

    @property
    def claims(self) -> int:
        return 1

    def values(self, z: U64) -> U64:
        part = z[:, self.offset : self.offset + (1 << len(self.point))]
        return ext_array([self.coefficient * mle.evaluate(part, self.point)])

    def scaled(self, factors: U64) -> EqWeight:
        return replace(self, coefficient=self.coefficient * _scalar(factors))

    def folded(self, log_size: int, r: Sequence[Ext]) -> EqWeight:
        factor, inner, offset = _bind_place(self.offset, len(self.point), log_size, r)
        factor = factor * eq_scalar(self.point[: len(inner)], inner)
        return EqWeight(offset, self.point[len(inner) :], self.coefficient * factor)


@dataclass(frozen=True, eq=False)
class PowerWeights:
    """factor * coefficients[:, i] * x_i^j on the entries offset + j, j < 2^log_block. ``x``: ``uint64[2, t]`` (elements
    of F)."""

    offset: int
    log_block: int
    x: U64
    coefficients: U64
    factor: Ext = ONE

    @staticmethod
    def of(word: Word, log_n: int, positions: Sequence[int]) -> Together:
        """What a row encodes to at these positions."""
        x = lift(evaluation_points(log_n, positions))
        firsts = [lift(evaluation_points(log_n, positions, b.exponent)) for b in word]
        parts = [PowerWeights(b.offset, b.log_size, x, first) for b, first in zip(word, firsts, strict=True)]
        return Together(tuple(parts))

    @property
    def claims(self) -> int:
        return int(self.x.shape[1])

    def values(self, z: U64) -> U64:
        """Horner's rule over runs of ``_LOW`` entries."""
        size = 1 << self.log_block
        block = np.ascontiguousarray(z[:, self.offset : self.offset + size])
        low = min(size, _LOW)
        table, power = np.ones((self.claims, 1), np.uint64), self.x[0]  # x is in F: plane 1 is zero
        while table.shape[1] < low:  # power = x^(known exponents)
            table = np.concatenate([table, mul_f(table, power[:, None])], axis=1)
            power = mul_f(power, power)
        bind = arithmetic.current().bind_columns
        out = bind(table, np.ascontiguousarray(block[:, size - low :]))
        for at in range(size - 2 * low, -1, -low):
            part = bind(table, np.ascontiguousarray(block[:, at : at + low]))
            out = mle.add(mul_f(out, power), part)
        return mle.scale(mle.mul(out, self.coefficients), self.factor)

    def scaled(self, factors: U64) -> PowerWeights:
        return replace(self, coefficients=mle.mul(self.coefficients, np.ascontiguousarray(factors)))

    def folded(self, log_size: int, r: Sequence[Ext]) -> PowerWeights:
        factor, inner, offset = _bind_place(self.offset, self.log_block, log_size, r)
        coefficients = self.coefficients
        if inner:  # times 1 + a*(x^(2^b) - 1) for every bit, b from the block's most significant
            x, one, minus_one = self.x[0], np.ones(1, np.uint64), []
            for _ in range(self.log_block):
                minus_one.append(sub_f(x, one))
                x = mul_f(x, x)
            wanted = np.concatenate(minus_one[: -len(inner) - 1 : -1])
            each = mle.mul(lift(wanted), np.repeat(ext_array(inner), self.claims, axis=1))
            each = mle.add(each, lift(np.ones(wanted.size, np.uint64))).reshape(2, len(inner), -1)
            for bit in range(len(inner)):
                coefficients = mle.mul(coefficients, each[:, bit])
        return PowerWeights(offset, self.log_block - len(inner), self.x, coefficients, self.factor * factor)


@dataclass(frozen=True, eq=False)
class DenseWeight:
    """One claim with weights ``uint64[2, 2^k]`` from ``offset``."""

    offset: int
    weights: U64

    @property
    def claims(self) -> int:
        return 1

    def values(self, z: U64) -> U64:
        return ext_array([mle.dot(self.weights, z[:, self.offset : self.offset + self.weights.shape[1]])])

    def scaled(self, factors: U64) -> DenseWeight:
        return DenseWeight(self.offset, mle.scale(self.weights, _scalar(factors)))

    def folded(self, log_size: int, r: Sequence[Ext]) -> DenseWeight:
        factor, inner, offset = _bind_place(self.offset, self.weights.shape[1].bit_length() - 1, log_size, r)
        rows = self.weights.reshape(2, 1 << len(inner), -1).swapaxes(0, 1)
        weights = mle.combination(list(rows), [factor * x for x in eq_list(inner)])
        return DenseWeight(offset, weights)


@dataclass(frozen=True, eq=False)
class PadWeights:
    """One claim per entry of ``terms``: the sum of coefficients times pads, by the pads' numbers. ``places``: blocks of
    the vector, ``exponent`` the number of the first pad in it. Claims that are scaled are added."""

    places: Word
    terms: tuple[dict[int, Ext], ...]

    @staticmethod
    def of(places: Word, values: Sequence[Hidden]) -> PadWeights:
        return PadWeights(places, tuple(v.pads for v in values))

    @property
    def claims(self) -> int:
        return len(self.terms)

    def values(self, z: U64) -> U64:
        out = []
        for term in self.terms:
            single = PadWeights(self.places, (term,)).scaled(ext_array([ONE]))
            out.append(_scalar(single.values(z)))
        return ext_array(out)

    def scaled(self, factors: U64) -> SumOfWeights:
        each = np.repeat(np.ascontiguousarray(factors), [len(term) for term in self.terms], axis=1)
        numbers = np.array([i for term in self.terms for i in term], np.int64)
        coefficients = ext_array([c for term in self.terms for c in term.values()])
        count = max([0, *(block.exponent + block.size for block in self.places)])
        known = np.zeros(count, np.bool_)
        for block in self.places:
            known[block.exponent : block.exponent + block.size] = True
        if numbers.size and (int(numbers.max()) >= count or not known[numbers].all()):
            raise ValueError("a relation between pads that are not in the vector")
        total = mle.scatter_add(mle.mul(coefficients, each), numbers, count)
        return SumOfWeights(
            tuple(
                DenseWeight(block.offset, np.ascontiguousarray(total[:, block.exponent : block.exponent + block.size]))
                for block in self.places
            )
        )

    def folded(self, log_size: int, r: Sequence[Ext]) -> PadWeights:
        raise ValueError("relations are batched before they are folded")


@dataclass(frozen=True, eq=False)
class Together:
    """As many claims as each part has: claim i is the sum of the parts' claims i."""

    parts: tuple[Weight, ...]

    @property
    def claims(self) -> int:
        return self.parts[0].claims

    def values(self, z: U64) -> U64:
        out = self.parts[0].values(z)
        for part in self.parts[1:]:
            out = mle.add(out, part.values(z))
        return out

    def scaled(self, factors: U64) -> Together | SumOfWeights:
        parts = tuple(p.scaled(factors) for p in self.parts)
        return Together(parts) if len({p.claims for p in parts}) == 1 else SumOfWeights(parts)

    def folded(self, log_size: int, r: Sequence[Ext]) -> Together:
        return Together(tuple(p.folded(log_size, r) for p in self.parts))


@dataclass(frozen=True, eq=False)
class SumOfWeights:
    """One claim: all claims of the parts, added."""

    parts: tuple[Weight, ...]

    @property
    def claims(self) -> int:
        return 1

    def values(self, z: U64) -> U64:
        total = ZERO
        for part in self.parts:
            v = part.values(z)
            total = total + mle.dot(v, lift(np.ones(v.shape[1], np.uint64)))
        return ext_array([total])

    def scaled(self, factors: U64) -> SumOfWeights:
        f = np.ascontiguousarray(factors)
        if _scalar(f) == ONE:  # as of the first claim of several
            return self
        return SumOfWeights(tuple(p.scaled(np.repeat(f, p.claims, axis=1)) for p in self.parts))

    def folded(self, log_size: int, r: Sequence[Ext]) -> SumOfWeights:
        return SumOfWeights(tuple(p.folded(log_size, r) for p in self.parts))


def batched(weights: Sequence[Weight], beta: Ext) -> tuple[SumOfWeights, U64]:
    """All claims, claim i times beta^i, as one; and the powers, ``uint64[2, claims]``."""
    factors = powers(beta, sum(w.claims for w in weights))
    parts, at = [], 0
    for w in weights:
        parts.append(w.scaled(factors[:, at : at + w.claims]))
        at += w.claims
    return SumOfWeights(tuple(parts)), factors


def powers(x: Ext, count: int) -> U64:
    """``uint64[2, count]``: 1, x, ..., x^(count - 1)."""
    out, power = ext_array([ONE]), x
    while out.shape[1] < count:
        out = np.concatenate([out, mle.scale(out, power)], axis=1)
        power = power * power
    return np.ascontiguousarray(out[:, :count])


def evaluation_points(log_n: int, positions: Sequence[int], exponent: int = 1) -> U64:
    """The elements of F at which positions of a codeword evaluate its row, omega_n^bitrev(position), to this power."""
    reversed_bits = bit_reversed(np.asarray(positions, np.int64), log_n)
    exponents = reversed_bits * (exponent & ((1 << log_n) - 1)) & ((1 << log_n) - 1)
    tables = _powers_of_root(log_n)
    out: U64 = tables[0][exponents & 255]
    for i, table in enumerate(tables[1:], 1):
        out = mul_f(out, table[exponents >> 8 * i & 255])
    return out


def bit_reversed(x: I64, bits: int) -> I64:
    """The lowest ``bits`` bits of every entry in reverse order, at most 32."""
    r = _REVERSED
    out: I64 = r[x & 255] << 24 | r[x >> 8 & 255] << 16 | r[x >> 16 & 255] << 8 | r[x >> 24 & 255]
    return out >> (32 - bits)


@lru_cache(maxsize=64)
def _powers_of_root(log_n: int) -> list[U64]:
    """Table i holds omega_n^(256^i * j) for j < 256, as many tables as an exponent below n has bytes."""
    root, out = root_of_unity(log_n), []
    for _ in range(max(1, -(-log_n // 8))):
        powers = [1]
        while len(powers) < 256:
            powers.append(powers[-1] * root % P)
        out.append(np.array(powers, np.uint64))
        root = powers[-1] * root % P
    return out


def bind_opened(columns: U64, shape: MatrixShape, weights: U64) -> U64:
    """``uint64[2, t]``: per opened column, ``uint64[t, height]``, its rows' combination by ``uint64[2, all rows]``."""
    bind = arithmetic.current().bind_columns
    out = bind(np.ascontiguousarray(columns[:, : shape.every]), weights)
    if shape.planes == 2:
        second = bind(np.ascontiguousarray(columns[:, shape.every :]), weights)
        out = mle.add(out, mle.scale(second, Ext(0, 1)))
    return out


def _bind_place(offset: int, log_block: int, log_size: int, r: Sequence[Ext]) -> tuple[Ext, Sequence[Ext], int]:
    """For a block in 2^log_size entries whose leading index bits are bound to r: the factor from the bits of its
    place, the elements of r that bind bits inside it, and its new offset."""
    place = min(len(r), log_size - log_block)
    factor = prefix_eq(offset >> (log_size - place), 0, r[:place])
    return factor, r[place:], offset & ((1 << (log_size - len(r))) - 1)


def _scalar(factors: U64) -> Ext:
    return Ext(int(factors[0, 0]), int(factors[1, 0]))
