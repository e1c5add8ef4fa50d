"""Which shape a matrix gets: the smallest proof, in integer arithmetic, so that both sides choose alike.

An opening costs the columns that are queried, their paths, and what its row adds to the ladder (protocol/ladder.py):
rows are not sent but committed together as one vector, level by level, until what is left is cheaper to send.

Where something is hidden, the first matrices and the first level have random coefficients in every row, as many as
their queries need (``hiding_tail``), and that level is there always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

from syurmy.isa.records import dataclass
from syurmy.prover.field import log2_ceil
from syurmy.prover.protocol.key import CLEAR, Mode
from syurmy.prover.protocol.merkle import DIGEST
from syurmy.prover.protocol.reed_solomon import HIDING_BITS, MAX_BITS, MAX_LOG_N, MatrixShape, hiding_tail, queries

NOMINAL_BITS = 100  # query security assumed where shapes are compared
WITNESS_LOG_BLOWUPS = (2, 1)  # the latter where the former would encode to more than MAX_ENCODED elements
MIN_WITNESS_LOG_ENTRIES = 6
MIN_PARAMS_LOG_ENTRIES = 4
MIN_ROWS = 16  # preferred: shorter columns cost more hashing than they save
MAX_ENCODED = 1 << 27  # elements of an encoded matrix, if there is a choice
MAX_LOG_COLS = 20  # of params: a proof holds a few rows of this length for claims on large ones
LOG_BLOWUPS = (1, 2, 3, 4)
# of params, by rate: above MAX_ENCODED neither set-up nor key holds a codeword, and it is set-up's time that counts
MAX_PARAMS_ENCODED = {1: 1 << 30, 2: 1 << 30, 3: MAX_ENCODED, 4: MAX_ENCODED}
TENSOR_LOG_BLOWUPS = (1, 2, 3, 4, 5)
MORE_TENSOR_COLS = 4  # log2, tried beyond the fewest columns that have room
LADDER_BYTES = 2  # that one more coefficient of a row costs in the ladder, about
MIN_LEVEL_LOG_COLS = 5
MAX_LEVEL_ENCODED = 1 << 19  # elements of an encoded level above which its rate is at least 1/4
MAX_HIDING_ENCODED = 1 << 20  # the same of a hiding level, whose queries cost three more entries each
HIDING_AUX = 3  # rows of a hiding level that are not the vector's: the pads of its rounds, and the mask of both
MIN_HEIGHT = 4  # rows of a hiding matrix over F
PADS_NOMINAL = 1 << 10  # assumed where shapes are compared


@dataclass(frozen=True)
class Level:
    """A vector over K of 2^log_size entries, committed as rows of 2^shape.log_cols; stored rows are the first."""

    log_size: int
    shape: MatrixShape

    @property
    def log_rows(self) -> int:
        return self.log_size - self.shape.log_cols


@cache
def room(log_cols: int, log_blowup: int) -> bool:
    """Can it be encoded, with positions enough for any query phase?"""
    return log_cols + log_blowup <= MAX_LOG_N and queries(rate_of(log_blowup), MAX_BITS) <= 1 << (log_cols + log_blowup)


def rate_of(log_blowup: int) -> Fraction:
    """Of a code without random coefficients."""
    return Fraction(1, 1 << log_blowup)


@cache
def path_digests(log_n: int, count: int) -> int:
    """Digests that a multi-proof of ``count`` random positions of 2^log_n holds, expected, rounded down: at depth d,
    2^d * ((1 - 2^-d)^count - (1 - 2^(1-d))^count), as many as have no queried leaf while their sibling has one."""
    total, above = 0, 0**count  # (2^d - 1)^count of the depth above
    for d in range(1, log_n + 1):
        here = ((1 << d) - 1) ** count
        total += (here - (above << count) << d + 8) >> d * count
        above = here
    return total >> 8


def matrix_bytes(shape: MatrixShape) -> int:
    """Columns and paths of the nominal queries."""
    return _bytes(shape.height, shape.cols + shape.tail, shape.log_n)


def _bytes(height: int, dimension: int, log_n: int) -> int:
    count, digests = _nominal(dimension, log_n)
    return 8 * count * height + DIGEST * digests


@cache
def _nominal(dimension: int, log_n: int) -> tuple[int, int]:
    """Nominal queries to a code of this dimension and length, and the digests of their paths."""
    count = queries(Fraction(dimension, 1 << log_n), NOMINAL_BITS)
    return count, path_digests(log_n, count)


@cache
def ladder(used: int) -> tuple[int, tuple[Level, ...]]:
    """Bytes and levels for a vector over K of which ``used`` entries are stored: the fewest bytes, ties for fewer
    levels. Every level sends its root, its rounds, and the columns and paths of its own queries; the end, the vector.
    """
    log_size = log2_ceil(used)
    best: tuple[int, tuple[Level, ...]] = (16 * used, ())
    for log_cols in range(MIN_LEVEL_LOG_COLS, log_size):
        rows = -(-used >> log_cols)
        for log_blowup in LOG_BLOWUPS:
            if not room(log_cols, log_blowup):
                continue
            log_n = log_cols + log_blowup
            if log_blowup > 2 and 2 * rows << log_n > MAX_LEVEL_ENCODED:
                continue
            size = 32 + 32 * (log_size - log_cols) + _bytes(2 * rows, 1 << log_cols, log_n)
            if size >= best[0]:
                continue
            rest, levels = ladder(1 << log_cols)
            if size + rest < best[0]:
                best = (size + rest, (Level(log_size, MatrixShape(rows, log_cols, log_blowup, 2)), *levels))
    return best


@cache
def hiding_ladder(used: int) -> tuple[int, tuple[Level, ...]]:
    """As ``ladder``, where the first level hides the vector: it is there always, has at least two rows, and hands on
    its masked row and the masked pads of its rounds."""
    best: tuple[int, tuple[Level, ...]] | None = None
    for log_cols in range(MIN_LEVEL_LOG_COLS, max(MIN_LEVEL_LOG_COLS + 1, MAX_LOG_N)):
        rows = -(-used >> log_cols)
        log_rows = max(1, log2_ceil(rows))
        for log_blowup in LOG_BLOWUPS:
            tail = hiding_tail(log_cols, log_blowup, HIDING_BITS) if room(log_cols, log_blowup) else None
            if tail is None or tail >= 2 << log_cols or 2 * log_rows > 1 << log_cols:
                continue
            shape = MatrixShape(rows, log_cols, log_blowup, 2, HIDING_AUX, tail)
            if shape.encoded > MAX_HIDING_ENCODED and log_blowup > 2:
                continue
            size = 48 + 32 * log_rows + matrix_bytes(shape)
            if best is not None and size >= best[0]:
                continue
            rest, levels = ladder(masked_size(shape, log_rows))
            if best is None or size + rest < best[0]:
                best = size + rest, (Level(log_cols + log_rows, shape), *levels)
        if best is not None and rows == 1:
            return best
    raise ValueError(f"a vector of {used} entries is too long to be hidden")


def masked_size(shape: MatrixShape, log_rows: int) -> int:
    """Entries of the vector that a hiding level of this shape hands on: a row with its random coefficients, and the
    pads of its rounds with theirs."""
    return shape.cols + 2 * log_rows + 2 * shape.tail


def opening_bytes(shape: MatrixShape, beside: Sequence[MatrixShape] = ()) -> int:
    """A matrix with the ladder that its row and the rows of the matrices ``beside`` it need."""
    used = shape.cols + sum(other.cols for other in beside)
    if not shape.tail:
        return matrix_bytes(shape) + ladder(used)[0]
    tails = 2 * shape.tail + sum(other.tail for other in beside)
    return matrix_bytes(shape) + hiding_ladder(used + tails + min(shape.cols, PADS_NOMINAL))[0]


def _candidates(
    log_entries: int,
    log_blowup: int,
    stored_rows: Callable[[int], int],
    mode: Mode,
    proofs: int,
    aux: int,
    tight: bool = False,
) -> list[MatrixShape]:
    """Every split that has room for its queries, most rows first. Where something is hidden, with ``aux`` more rows and
    random coefficients for ``proofs`` proofs."""
    out = []
    for log_cols in range(log_entries + 1):
        if not room(log_cols, log_blowup):
            continue
        rows = stored_rows(log_cols)
        if rows > 1 << (log_entries - log_cols):
            raise ValueError(f"{rows} rows stored of 2^{log_entries - log_cols}")
        more, tail = 0, 0
        if mode.hiding:
            more, found = max(aux, MIN_HEIGHT - rows), hiding_tail(log_cols, log_blowup, HIDING_BITS, proofs, tight)
            if found is None:
                continue
            tail = found
        out.append(MatrixShape(rows, log_cols, log_blowup, 1, more, tail))
    return out


def _smallest(candidates: list[MatrixShape], beside: Sequence[MatrixShape] = ()) -> MatrixShape:
    tall = [c for c in candidates if c.rows >= MIN_ROWS] or candidates[:1]
    best: tuple[int, int] | None = None  # bytes and place: the first (most rows) of equals
    for own, i in sorted((matrix_bytes(c), i) for i, c in enumerate(tall)):
        if best is not None and own >= best[0]:
            break
        found = opening_bytes(tall[i], beside), i
        best = found if best is None else min(best, found)
    assert best is not None
    return tall[best[1]]


def choose_witness_shape(
    log_entries: int,
    stored_rows: Callable[[int], int],
    params: MatrixShape | None = None,
    mode: Mode = CLEAR,
) -> MatrixShape:
    """Shape for W of 2^log_entries entries, ``stored_rows(log_cols)`` of its 2^(log_entries - log_cols) rows not empty,
    opened together with ``params``.

    The fewest proof bytes at rate 1/4, or at 1/2 where all would encode to more than MAX_ENCODED elements.
    ``ValueError`` below 2^min_witness_log_entries entries (pad to it). Where something is hidden, ``aux`` is that of
    one pair of rows of pads; there may be more (protocol/budget.py).
    """
    for log_blowup in WITNESS_LOG_BLOWUPS:
        candidates = _candidates(log_entries, log_blowup, stored_rows, mode, 1, 2)
        if not candidates:
            raise ValueError(f"a witness of 2^{log_entries} entries has no room for its queries")
        if min(c.encoded for c in candidates) <= MAX_ENCODED:
            break
    return _smallest(candidates, () if params is None else (params,))


def choose_params_shape(log_entries: int, stored_rows: Callable[[int], int], mode: Mode = CLEAR) -> MatrixShape:
    """Shape for a params matrix, as above: the fewest proof bytes among rows of at most 2^MAX_LOG_COLS entries (where
    these have room) and the rates 1/2 to 1/16 whose encoding has at most MAX_PARAMS_ENCODED elements, else at the first
    that has room. ``ValueError`` below 2^min_params_log_entries entries."""
    every = [c for b in LOG_BLOWUPS for c in _candidates(log_entries, b, stored_rows, mode, mode.proofs, 0)]
    if not every:
        raise ValueError(f"params of 2^{log_entries} entries have no room for their queries")
    every = [c for c in every if c.log_cols <= MAX_LOG_COLS] or every
    affordable = [c for c in every if c.encoded <= MAX_PARAMS_ENCODED[c.log_blowup]]
    return _smallest(affordable or [c for c in every if c.log_blowup == every[0].log_blowup])


def choose_tensor_shape(log_entries: int, stored_rows: Callable[[int], int], mode: Mode) -> MatrixShape:
    """Shape for a committed tensor, ``mode`` its own: the fewest proof bytes at any rate. The ladder that it is opened
    with depends on the program, so it is counted by the coefficient. ``ValueError`` below 2^min_tensor_log_entries
    entries."""
    every = [
        c for b in TENSOR_LOG_BLOWUPS for c in _candidates(log_entries, b, stored_rows, mode, mode.proofs, 0, True)
    ]
    if not every:
        raise ValueError(f"a tensor of 2^{log_entries} entries has no room for its queries")
    affordable = [c for c in every if c.encoded <= MAX_ENCODED]
    return min(affordable or [c for c in every if c.log_blowup == every[0].log_blowup], key=_tensor_bytes)


def min_tensor_log_entries(mode: Mode) -> int:
    """log2 of the entries that the matrix of a committed tensor has at least: of the one row that costs the fewest
    bytes."""
    if not mode.hiding:
        return MIN_PARAMS_LOG_ENTRIES
    first = _first_with_room(TENSOR_LOG_BLOWUPS, mode.proofs, True)
    choices = range(first, first + MORE_TENSOR_COLS + 1)
    return min(choices, key=lambda k: _tensor_bytes(choose_tensor_shape(k, lambda log_cols: 1, mode)))


def _tensor_bytes(shape: MatrixShape) -> int:
    return matrix_bytes(shape) + LADDER_BYTES * (shape.cols + shape.tail)


def min_witness_log_entries(mode: Mode) -> int:
    """log2 of the entries that a witness matrix has at least."""
    return _first_with_room(WITNESS_LOG_BLOWUPS[:1], 1) if mode.hiding else MIN_WITNESS_LOG_ENTRIES


def min_params_log_entries(mode: Mode) -> int:
    """log2 of the entries that a params matrix has at least."""
    return _first_with_room(LOG_BLOWUPS, mode.proofs) if mode.hiding else MIN_PARAMS_LOG_ENTRIES


def _first_with_room(log_blowups: Sequence[int], proofs: int, tight: bool = False) -> int:
    """log2 of the fewest columns that have room for their random coefficients at one of these rates."""
    for log_cols in range(MAX_LOG_N):
        if any(room(log_cols, b) and hiding_tail(log_cols, b, HIDING_BITS, proofs, tight) for b in log_blowups):
            return log_cols
    raise ValueError(f"no code has room for {proofs} proofs")
