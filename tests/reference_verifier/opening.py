"""Steps 8 and 9: the ladder, from claims on rows to a vector that is sent (sections 2, 9.3, 11.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.reference_verifier.affine import Affine
from tests.reference_verifier.budget import Budget
from tests.reference_verifier.errors import require
from tests.reference_verifier.field import ONE, ZERO, K, code_position, eq_at, powers, total
from tests.reference_verifier.layout import Piece, Word, entry_piece, power_pieces, value_at, words_of
from tests.reference_verifier.merkle import read_columns
from tests.reference_verifier.messages import Messages
from tests.reference_verifier.shapes import Level, log
from tests.reference_verifier.transcript import Reader


@dataclass
class Claim:
    """<weights, vector> = value, the weights the sum of the pieces."""

    pieces: list[Piece]
    value: K

    def holds(self, vector: Sequence[K]) -> bool:
        return total(p.dot(vector) for p in self.pieces) == self.value


@dataclass
class Opened:
    """A matrix that is open: its name in labels, root, number of positions, height, queries; per word of the vector
    that combines its rows, how a column gives the combined entry."""

    name: str
    root: bytes
    n: int
    height: int
    count: int
    words: list[Word]
    combine: list[Sequence[K]]  # per word: the weights of the column's elements of F

    def read(self, reader: Reader, positions: list[int]) -> list[list[K]]:
        """Per word, per position the combined entry."""
        columns = read_columns(reader, self.name, self.root, self.n, positions, self.height)
        return [[combined_entry(weights, column) for column in columns] for weights in self.combine]


def combined_entry(weights: Sequence[K], column: Sequence[int]) -> K:
    return total(w * x for w, x in zip(weights, column, strict=True) if w)


def read_positions(reader: Reader, matrices: Sequence[Opened], g: int) -> list[tuple[Word, int, K]]:
    """Draws the positions of all open matrices and reads their columns: words, where they are evaluated, and the value
    there; matrix by matrix, word by word, position by position."""
    reader.grind("opening", "query nonce", g)
    drawn = [reader.transcript.positions(f"{m.name} positions", m.count, m.n) for m in matrices]
    out = []
    for m, positions in zip(matrices, drawn, strict=True):
        for word, entries in zip(m.words, m.read(reader, positions), strict=True):
            for q, entry in zip(positions, entries, strict=True):
                out.append((word, code_position(q, m.n), entry))
    return out


def added(claims: Sequence[Claim], beta: K) -> Claim:
    """Claim i counts beta^i."""
    pieces, value = [], ZERO
    for c, b in zip(claims, powers(beta, len(claims)), strict=True):
        pieces += [p.times(b) for p in c.pieces]
        value = value + b * c.value
    return Claim(pieces, value)


def gathered(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces that differ in their scalars only are added."""
    scalars: dict[tuple[tuple[int, ...], tuple[tuple[K, K], ...]], K] = {}
    for p in pieces:
        where = p.prefix, p.pairs
        scalars[where] = scalars[where] + p.scalar if where in scalars else p.scalar
    return [Piece(scalar, prefix, pairs) for (prefix, pairs), scalar in scalars.items()]


def spread(weights: Sequence[K], height: int) -> list[K]:
    """With zeros for further rows."""
    return [*weights, *[ZERO] * (height - len(weights))]


def ladder(
    reader: Reader,
    levels: Sequence[Level],
    claims: list[Claim],
    matrices: Sequence[Opened],
    used: int,
    bits: int,
    budget: Budget,
) -> None:
    """``claims``: on the first vector, of ``used`` entries in 2^bits places, without those of positions."""
    g = budget.first
    for number, (level, count) in enumerate(zip(levels, budget.levels, strict=True), 1):
        name = f"level {number}"
        root = reader.bytes(f"{name} root", 32)
        assert bits == level.row_bits + level.c
        opened_at = read_positions(reader, matrices, g)
        claims = claims + [Claim(power_pieces(word, bits, x), entry) for word, x, entry in opened_at]
        claim = added(claims, reader.transcript.challenge(f"{name} beta"))
        if level.hiding:
            claim, opened = hiding_level(reader, level, name, root, count, claim)
            used = 2**level.c + 2 * level.row_bits + 2 * level.random
        else:
            value, point = Messages(reader, False).sumcheck(name, Affine(claim.value), level.row_bits, 2)
            claim = Claim(gathered(p.bound(point) for p in claim.pieces), value.known)
            weights = [eq_at(point, r) for r in range(level.rows)]
            u = K(0, 1)
            both = weights + [w * u for w in weights]
            words, used = words_of([(2**level.c, 0, 0)])
            opened = Opened(name, root, 2 ** (level.c + level.b), 2 * level.rows, count, words, [both])
        claims, matrices, g, bits = [claim], [opened], budget.later, log(used)
    vector = reader.elements("last vector", used)
    require(all(c.holds(vector) for c in claims), "opening", "the last vector does not have a claimed value")
    encoded = all(value_at(word, vector, x) == entry for word, x, entry in read_positions(reader, matrices, g))
    require(encoded, "opening", "the last vector does not encode to the columns")


def hiding_level(
    reader: Reader, level: Level, name: str, root: bytes, count: int, claim: Claim
) -> tuple[Claim, Opened]:
    """The rounds of level 1 under pads of its own, and the mask (9.3)."""
    k, width = level.row_bits, 2**level.c
    messages = Messages(reader, True)
    value, point = messages.sumcheck(name, Affine(claim.value), k, 2)
    sigma = reader.elements("mask sum", 1)[0]
    tau = reader.transcript.challenge("mask challenge")
    (u_star, y_star), used = words_of([(width, width, level.random), (2 * k, width, level.random)])
    bits = log(used)
    # <omega, u> = value = known + sum c_i pad_i, the pads being those of y
    pieces = []
    for p in gathered(p.bound(point) for p in claim.pieces):
        pieces.append(moved(p, u_star, level.c, bits))
    for i, c in value.pads.items():
        pieces.append(entry_piece(y_star.place(i), bits, -c))
    new = Claim(pieces, sigma + tau * value.known)
    weights = [eq_at(point, r) for r in range(level.rows)]
    zero, rows = ZERO, level.rows + 3
    first = [*(w * tau for w in weights), zero, ONE, zero]
    second = [*([zero] * level.rows), tau, zero, ONE]
    u = K(0, 1)
    combine = [[*row, *(w * u for w in row)] for row in (first, second)]
    n = 2 ** (level.c + level.b)
    return new, Opened(name, root, n, 2 * rows, count, [u_star, y_star], combine)


def moved(p: Piece, word: Word, c: int, bits: int) -> Piece:
    """A piece over the 2^c entries of a row, where a word's first run holds them in a vector of 2^bits entries."""
    run = word.runs[0]
    assert run.log_size == c
    prefix = tuple(run.offset >> b & 1 for b in reversed(range(c, bits)))
    return Piece(p.scalar, prefix + p.prefix, p.pairs)
