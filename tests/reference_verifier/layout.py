"""Where tensors lie: stacked blocks, the rows of matrices that are stored, and words of vectors (section 11.4)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import accumulate, pairwise
from math import prod

from tests.reference_verifier.field import ONE, K, P, eq_at, inner_integers, product
from tests.reference_verifier.shapes import Split, log
from tests.reference_verifier.sweep import Term
from tests.reference_verifier.weights import Weight, against_eq


def stacked(sizes: Sequence[int]) -> tuple[list[int], int]:
    """The offsets of blocks, the largest first, equal ones in order, without gaps; and the entries in all."""
    out, at = [0] * len(sizes), 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        out[i] = at
        at += sizes[i]
    return out, at


Part = tuple[int, int, int, int]  # of a tensor: first and last axis of a run; on it the first index, and the one behind


def price(length: int) -> int:
    """What a further piece costs, in leaves, along a run of this length."""
    return 2048 + length


def parts_of(shape: Sequence[int], apart: Collection[frozenset[int]]) -> list[Part]:
    """The pieces of a lookup of this shape; one along axis 0 where it is not cut. ``apart``: pairs of axes that are in
    no run together."""
    everything = prod(2 ** log(d) for d in shape)
    best: tuple[int, list[Part]] = (everything, [(0, 0, 0, shape[0])])
    for count in range(1, len(shape) + 1):
        for first in range(len(shape) - count + 1):
            axes = range(first, first + count)
            if any(pair <= set(axes) for pair in apart):
                continue
            run = [shape[a] for a in axes]
            length = prod(run)
            others = everything // prod(2 ** log(d) for d in run)
            cost, lengths = cut(length, others, price(length))
            if len([d for d in run if d > 1]) > 1:
                cost += price(length)
            if cost < best[0]:
                ends = pairwise(accumulate(lengths, initial=0))
                best = cost, [(first, first + count - 1, lo, hi) for lo, hi in ends]
    return best[1]


def cut(d: int, others: int, further: int) -> tuple[int, list[int]]:
    """What d slices of so many entries cost, and how many of them each piece has."""
    p = 2 ** log(d)
    if d == p:
        return d * others, [d]
    cost, rest = cut(d - p // 2, others, further)
    cost += p // 2 * others + further
    return (cost, [p // 2, *rest]) if cost < p * others else (p * others, [d])


def part_shape(shape: Sequence[int], part: Part) -> tuple[int, ...]:
    """The lengths of a piece: along the run, then of the other axes."""
    first, last, lo, hi = part
    return hi - lo, *shape[:first], *shape[last + 1 :]


def all_of(shape: Sequence[int], apart: Collection[frozenset[int]]) -> Part:
    """All of a tensor, along the run that comes first where a lookup of it is cut."""
    first, last, _, _ = parts_of(shape, apart)[0]
    return first, last, 0, prod(shape[first : last + 1])


def lying(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which a column lies in the witness."""
    least, found = prod(2 ** log(d) for d in shape), shape
    for count in range(2, len(shape) + 1):
        for first in range(len(shape) - count + 1):
            length = prod(shape[first : first + count])
            other = (*shape[:first], length, *shape[first + count :])
            cost = prod(2 ** log(d) for d in other) + price(length)
            if cost < least:
                least, found = cost, other
    return found


@dataclass(frozen=True)
class Block:
    """A tensor in a matrix. ``axes``: those of length above 1, the worst padded first; ``dims``: their lengths."""

    axes: tuple[int, ...]
    dims: tuple[int, ...]
    offset: int

    @property
    def log_size(self) -> int:
        return sum(map(log, self.dims))

    def stored_rows(self, c: int) -> list[int]:
        """The rows of 2^c entries that have a true entry of the tensor, counted in the matrix."""
        if self.log_size <= c:
            return [self.offset >> c]
        bits, rows = self.log_size - c, [0]
        for d in self.dims:
            k = log(d)
            taken = min(k, bits)
            bits -= taken
            count = -(-d // 2 ** (k - taken))  # values of the bits of this axis that belong to the row's number
            rows = [r << taken | i for r in rows for i in range(count)]
        return [(self.offset >> c) + r for r in rows]

    def mle(self, term: Term, s: Sequence[K]) -> K:
        """The MLE at s, in the variables of the matrix, of a term's weights where this block lies."""
        m = len(s)
        place = m - self.log_size
        result = eq_at(s[:place], self.offset >> self.log_size) * term.coefficient
        where, at = {}, place
        for a, d in zip(self.axes, self.dims, strict=True):
            where[a] = s[at : at + log(d)]
            at += log(d)
        return result * product(_at(axes, w, where) for axes, w in term.groups)


def _at(axes: Sequence[int], w: Weight, where: dict[int, Sequence[K]]) -> K:
    return against_eq(w, [x for a in axes for x in where[a]])


def block_order(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of length above 1, by padded/true length, the largest first, equal ones in order."""
    axes = [a for a, d in enumerate(shape) if d > 1]
    return tuple(sorted(axes, key=lambda a: -Fraction(2 ** log(shape[a]), shape[a])))


class Stack:
    """Tensors stacked to a matrix of 2^m entries, m at least ``least``."""

    def __init__(self, shapes: Sequence[Sequence[int]], least: int) -> None:
        sizes = [prod(2 ** log(d) for d in shape) for shape in shapes]
        places, total = stacked(sizes)
        self.blocks = []
        for shape, offset in zip(shapes, places, strict=True):
            axes = block_order(shape)
            self.blocks.append(Block(axes, tuple(shape[a] for a in axes), offset))
        self.m = max(log(max(1, total)), least)
        self.stored = cache(self._stored)

    def _stored(self, c: int) -> list[int]:
        return sorted({r for b in self.blocks for r in b.stored_rows(c)}) or [0]

    def rows(self, c: int) -> int:
        """How many rows of 2^c entries are stored."""
        return len(self.stored(c))


@dataclass(frozen=True)
class Matrix:
    """A committed matrix. ``stored``: the rows' numbers; ``pad_rows``: rows of F behind them that hold pads;
    ``height``: of all rows; ``name``: in labels."""

    name: str
    split: Split
    stored: list[int]
    pad_rows: int
    height: int

    def row_weights(self, point: Sequence[K]) -> list[K]:
        """eq(point, .) at the stored rows."""
        return [eq_at(point, r) for r in self.stored]


# ---- words of vectors -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Entries of a vector that are a word's coefficients from ``exponent`` on: 2^log_size of them, at ``offset``."""

    exponent: int
    log_size: int
    offset: int


@dataclass(frozen=True)
class Word:
    """``runs``: where its coefficients lie, first those of entries, then random ones."""

    runs: list[Run]

    def place(self, exponent: int) -> int:
        """Where the vector holds one coefficient."""
        for r in self.runs:
            if r.exponent <= exponent < r.exponent + 2**r.log_size:
                return r.offset + exponent - r.exponent
        raise AssertionError("this word has no such coefficient")


def words_of(parts: Sequence[tuple[int, int, int]]) -> tuple[list[Word], int]:
    """Words of (entries, exponent of the random coefficients, their number); and the entries of the vector."""
    pieces: list[tuple[int, int, int]] = []  # word, exponent, size
    for w, (entries, first, random) in enumerate(parts):
        for exponent, count in ((0, entries), (first, random)):
            for bit in reversed(range(count.bit_length())):
                if count >> bit & 1:
                    pieces.append((w, exponent, 2**bit))
                    exponent += 2**bit
    offsets, total = stacked([size for _, _, size in pieces])
    words: list[Word] = [Word([]) for _ in parts]
    for (w, exponent, size), offset in zip(pieces, offsets, strict=True):
        words[w].runs.append(Run(exponent, log(size), offset))
    return words, total


@dataclass(frozen=True)
class Piece:
    """Weights on an aligned block of a vector: scalar * product over the bits of an index. ``prefix``: the bits of the
    block's place; ``pairs``: per further bit what a 0 and a 1 count."""

    scalar: K
    prefix: tuple[int, ...]
    pairs: tuple[tuple[K, K], ...]

    def times(self, x: K) -> Piece:
        return Piece(self.scalar * x, self.prefix, self.pairs)

    def bound(self, point: Sequence[K]) -> Piece:
        """With its first bits bound."""
        scalar, prefix, pairs = self.scalar, self.prefix, self.pairs
        for r in point:
            if prefix:
                scalar = scalar * (r if prefix[0] else ONE - r)
                prefix = prefix[1:]
            else:
                low, high = pairs[0]
                scalar = scalar * (low + r * (high - low))
                pairs = pairs[1:]
        return Piece(scalar, prefix, pairs)

    def dot(self, vector: Sequence[K]) -> K:
        """The inner product with a vector, entries behind which are zero."""
        at = 0
        for bit in self.prefix:
            at = 2 * at + bit
        size = 2 ** len(self.pairs)
        part = list(vector[at * size : (at + 1) * size])
        part += [K(0)] * (size - len(part))
        for low, high in reversed(self.pairs):
            part = [part[i] * low + part[i + 1] * high for i in range(0, len(part), 2)]
        return self.scalar * part[0]


def piece(run_offset: int, log_size: int, total_bits: int, scalar: K, pairs: Sequence[tuple[K, K]]) -> Piece:
    prefix = tuple(run_offset >> b & 1 for b in reversed(range(log_size, total_bits)))
    return Piece(scalar, prefix, tuple(pairs))


def entry_piece(place: int, total_bits: int, scalar: K) -> Piece:
    """The weight of one entry."""
    return piece(place, 0, total_bits, scalar, ())


def power_pieces(word: Word, total_bits: int, x: int) -> list[Piece]:
    """The weights of the value at x, in F, of the polynomial with the word's coefficients."""
    out = []
    for r in word.runs:
        pairs = [(ONE, K(pow(x, 2**b, P))) for b in reversed(range(r.log_size))]
        out.append(piece(r.offset, r.log_size, total_bits, K(pow(x, r.exponent, P)), pairs))
    return out


def value_at(word: Word, vector: Sequence[K], x: int) -> K:
    """That value; entries behind the vector are zero."""
    result = K(0)
    for r in word.runs:
        entries = vector[r.offset : r.offset + 2**r.log_size]
        powers, power = [], pow(x, r.exponent, P)
        for _ in entries:
            powers.append(power)
            power = power * x % P
        result = result + inner_integers(entries, powers)
    return result


def eq_pieces(word: Word, total_bits: int, point: Sequence[K]) -> list[Piece]:
    """The MLE at a point of the word's entries, 2^len(point) of them."""
    run = word.runs[0]
    assert (run.exponent, run.log_size) == (0, len(point))
    return [piece(run.offset, run.log_size, total_bits, ONE, [(ONE - x, x) for x in point])]
