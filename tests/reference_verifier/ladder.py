"""Claims on a vector over K and how a level folds them; columns under a root (protocol, sections 2 and 11.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blake3 import blake3

from tests.reference_verifier.codes import Code
from tests.reference_verifier.field import ZERO, K, P, code_point, eq, eq_at, eq_vector, inner
from tests.reference_verifier.layout import Block
from tests.reference_verifier.reduction import Spot

LEAF = blake3(b"syurmy-vm merkle leaf v2").digest()
NODE = blake3(b"syurmy-vm merkle node v2").digest()
DIGEST = 25


# ---- weights of claims ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Power:
    """coefficient * x^j on entry offset + j, for j < 2^log_size."""

    offset: int
    log_size: int
    x: int
    coefficient: K

    def values(self) -> list[K]:
        a, b, out = self.coefficient.a, self.coefficient.b, []
        for _ in range(1 << self.log_size):
            out.append(K(a, b))
            a, b = a * self.x % P, b * self.x % P
        return out


@dataclass(frozen=True)
class Dense:
    """Any weights on 2^k entries."""

    offset: int
    weights: tuple[K, ...]


Part = Spot | Power | Dense


def scaled(part: Part, c: K) -> Part:
    if isinstance(part, Dense):
        return Dense(part.offset, tuple(w * c for w in part.weights))
    return replace(part, coefficient=part.coefficient * c)


def entries(part: Part) -> list[K]:
    """The weights, one per entry from the part's offset on."""
    if isinstance(part, Spot):
        return [w * part.coefficient for w in eq_vector(part.point)]
    return part.values() if isinstance(part, Power) else list(part.weights)


def value(part: Part, vector: Sequence[K]) -> K:
    """The inner product with a vector."""
    weights = entries(part)
    return inner(weights, vector[part.offset : part.offset + len(weights)])


def log_length(part: Part) -> int:
    if isinstance(part, Spot):
        return len(part.point)
    return part.log_size if isinstance(part, Power) else len(part.weights).bit_length() - 1


def folded(part: Part, log_size: int, r: Sequence[K]) -> Part:
    """The weights on z' = sum over rows of eq(r, row)*z[row], for z of 2^log_size entries."""
    outside = min(len(r), log_size - log_length(part))  # bits of the part's place, bound
    c = eq_at(r[:outside], part.offset >> (log_size - outside))
    inside = list(r[outside:])
    offset = part.offset % (1 << (log_size - len(r)))
    if isinstance(part, Spot):
        c = c * part.coefficient * eq(inside, part.point[: len(inside)])
        return Spot(offset, part.point[len(inside) :], c)
    if isinstance(part, Power):
        squares = [part.x]  # x^(2^b), for bit b of an index
        while len(squares) < part.log_size:
            squares.append(squares[-1] ** 2 % P)
        for t, square in zip(inside, reversed(squares), strict=False):
            c = c * (1 + t * (square - 1))
        return Power(offset, part.log_size - len(inside), part.x, part.coefficient * c)
    rows, row = eq_vector(inside), len(part.weights) >> len(inside)
    sums = [inner(rows, part.weights[j::row]) for j in range(row)]
    return Dense(offset, tuple(w * c for w in sums))


@dataclass
class Claim:
    """The inner products of all parts with the vector add up to ``target``."""

    parts: list[Part]
    target: K

    def holds(self, vector: Sequence[K]) -> bool:
        out = ZERO
        for part in self.parts:
            out = out + value(part, vector)
        return out == self.target


def pads_part(blocks: Sequence[Block], pads: dict[int, K]) -> list[Part]:
    """A linear combination of pads as weights on the blocks that hold them."""
    assert all(any(b.exponent <= i < b.exponent + (1 << b.log_size) for b in blocks) for i in pads)
    out: list[Part] = []
    for b in blocks:
        numbers = range(b.exponent, b.exponent + (1 << b.log_size))
        if not pads.keys().isdisjoint(numbers):
            out.append(Dense(b.offset, tuple(pads.get(i, ZERO) for i in numbers)))
    return out


def encoded_at(word: Sequence[Block], log_n: int, position: int) -> list[Part]:
    """The word's value at a position of its code."""
    x = code_point(log_n, position)
    return [Power(b.offset, b.log_size, x, K(pow(x, b.exponent, P))) for b in word]


def combined(column: Sequence[int], code: Code, weights: dict[int, K]) -> K:
    """The combination of a column's entries by weights of rows. Over K a column has first all first coordinates."""
    rows = code.rows + code.aux
    second = column[rows:] if code.planes == 2 else [0] * rows
    return inner(list(weights.values()), [K(column[row], second[row]) for row in weights])


# ---- Merkle trees --------------------------------------------------------------------------------------------------


def leaf(column: Sequence[int]) -> bytes:
    out: bytes = blake3(b"".join(x.to_bytes(8, "little") for x in column), key=LEAF).digest()
    return out


def missing(log_n: int, positions: Sequence[int]) -> int:
    """Digests in the multi-proof of sorted positions."""
    count, level = 0, set(positions)
    for _ in range(log_n):
        count += sum(p ^ 1 not in level for p in level)
        level = {p >> 1 for p in level}
    return count


def root_of(log_n: int, positions: Sequence[int], leaves: Sequence[bytes], path: bytes) -> bytes:
    """The root that leaves and path give: siblings level by level, left to right."""
    level = dict(zip(positions, leaves, strict=True))
    for _ in range(log_n):
        level = {p: d[:DIGEST] + bytes(7) for p, d in level.items()}
        for p in sorted(level):
            if p ^ 1 not in level:
                level[p ^ 1], path = path[:DIGEST] + bytes(7), path[DIGEST:]
        parents = sorted({p >> 1 for p in level})
        level = {q: blake3(level[2 * q] + level[2 * q + 1], key=NODE).digest() for q in parents}
    assert not path
    return level[0]


def row_weights(point: Sequence[K], rows: Sequence[int]) -> dict[int, K]:
    """eq of a point and the numbers of the stored rows, by their places."""
    return {i: eq_at(point, row) for i, row in enumerate(rows)}
