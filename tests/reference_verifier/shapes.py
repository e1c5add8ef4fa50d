"""Sizes: queries, random coefficients, expected bytes, the ladder, and the splits of matrices (section 11.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

ROW_BYTES = 8  # an element of F
DIGEST = 25
WITNESS_RATES, PARAM_RATES, LADDER_RATES, TENSOR_RATES = (2, 1), (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4, 5)


def log(d: int) -> int:
    """The least k with 2^k >= d."""
    return (d - 1).bit_length()


@cache
def queries(miss: Fraction, bits: int) -> int:
    """The fewest queries t with miss^t <= 2^-bits."""
    return queries_below(miss, Fraction(1, 2**bits))


@cache
def queries_below(miss: Fraction, error: Fraction) -> int:
    """The fewest queries t with miss^t <= error."""
    top, bottom, t = 1, 1, 0
    while top * error.denominator > bottom * error.numerator:
        top, bottom, t = top * miss.numerator, bottom * miss.denominator, t + 1
    return t


def unique(rate: Fraction) -> Fraction:
    """What a query misses with: (1 + rate)/2."""
    return (1 + rate) / 2


def rounded(x: int) -> int:
    """The least integer that is at least x and whose bits behind the first three are 0."""
    shift = max(0, x.bit_length() - 3)
    return -(-x >> shift) << shift if shift else x


def three_bits(x: int) -> int:
    """The least integer that is at least x and has at most three bits set."""
    while x.bit_count() > 3:
        x += x & -x
    return x


def has_room(c: int, b: int) -> bool:
    """Whether rows of 2^c entries at rate 2^-b have positions enough."""
    return c + b <= 32 and queries(unique(Fraction(1, 2**b)), 128) <= 2 ** (c + b)


@cache
def random_coefficients(c: int, b: int, proofs: int, round_up: Callable[[int], int] = rounded) -> int | None:
    """T; None where there is none."""
    n, q = 2 ** (c + b), 1
    while True:
        t = round_up(proofs * q + 1)
        if 4 * (2**c + t) > 3 * n:
            return None
        needed = queries(unique(Fraction(2**c + t, n)), 94)
        if needed <= q:
            return t
        q = needed


@cache
def path_digests(log_n: int, t: int) -> int:
    """Expected digests of the paths of t positions."""
    total = 0
    for d in range(1, log_n + 1):
        x = 2**d
        total += 2**8 * x * ((x - 1) ** t - (x - 2) ** t) // 2 ** (d * t)
    return total // 2**8


@cache
def matrix_bytes(height: int, c: int, b: int, random: int) -> int:
    """Expected bytes of columns and paths at 100 bits."""
    t = queries(unique(Fraction(2**c + random, 2 ** (c + b))), 100)
    return ROW_BYTES * t * height + DIGEST * path_digests(c + b, t)


@dataclass(frozen=True)
class Level:
    """Rows of C = 2^c entries over K at rate 2^-b, ``row_bits`` of them; with ``random`` coefficients where it hides,
    and three rows more then."""

    c: int
    b: int
    rows: int
    row_bits: int
    random: int = 0

    @property
    def hiding(self) -> bool:
        return self.random > 0


@cache
def ladder(used: int) -> tuple[int, tuple[Level, ...]]:
    """What a vector of so many entries over K costs, and the levels."""
    best: tuple[int, tuple[Level, ...]] = 16 * used, ()
    for c in range(5, log(used)):
        rows = -(-used // 2**c)
        for b in LADDER_RATES:
            if not has_room(c, b) or (b > 2 and 2 * rows * 2 ** (c + b) > 2**19):
                continue
            below, levels = ladder(2**c)
            cost = 32 + 32 * log(rows) + matrix_bytes(2 * rows, c, b, 0) + below
            if cost < best[0]:
                best = cost, (Level(c, b, rows, log(rows)), *levels)
    return best


@cache
def hiding_ladder(used: int) -> tuple[int, tuple[Level, ...]]:
    """The same of a vector that hides: its first level always exists."""
    best: tuple[int, tuple[Level, ...]] | None = None
    c = 5
    while best is None or used > 2 ** (c - 1):
        rows = -(-used // 2**c)
        k = max(1, log(rows))
        for b in LADDER_RATES:
            random = random_coefficients(c, b, 1) if has_room(c, b) else None
            if random is None or random >= 2 * 2**c or 2 * k > 2**c:
                continue
            if b > 2 and 2 * (rows + 3) * 2 ** (c + b) > 2**20:
                continue
            below, levels = ladder(2**c + 2 * k + 2 * random)
            cost = 48 + 32 * k + matrix_bytes(2 * (rows + 3), c, b, random) + below
            if best is None or cost < best[0]:
                best = cost, (Level(c, b, rows, k, random), *levels)
        c += 1
    return best


@dataclass(frozen=True)
class Split:
    """How a matrix of 2^m entries is split: rows of 2^c, encoded at rate 2^-b with ``random`` coefficients more."""

    m: int
    c: int
    b: int
    random: int

    @property
    def n(self) -> int:
        """Positions."""
        return 2 ** (self.c + self.b)

    @property
    def rate(self) -> Fraction:
        return Fraction(2**self.c + self.random, self.n)

    @property
    def row_variables(self) -> int:
        return self.m - self.c


def least_size(rates: Sequence[int], proofs: int | None, clear: int, round_up: Callable[[int], int] = rounded) -> int:
    """log of the least size of a matrix; ``proofs`` None in clear mode."""
    if proofs is None:
        return clear
    c = 0
    while not any(has_room(c, b) and random_coefficients(c, b, proofs, round_up) is not None for b in rates):
        c += 1
    return c


def candidates(m: int, rates: Sequence[int], proofs: int | None) -> Iterator[Split]:
    """Splits with room, C ascending, b ascending."""
    for c in range(m + 1):
        for b in rates:
            if has_room(c, b):
                random = 0 if proofs is None else random_coefficients(c, b, proofs)
                if random is not None:
                    yield Split(m, c, b, random)


def filled(rows: int, hiding: bool) -> int:
    """Rows of a matrix: a hiding one has at least four."""
    return max(4, rows) if hiding else rows


def witness_split(m: int, stored: Callable[[int], int], hiding: bool, params: Split | None) -> Split:
    """``stored``: how many rows are stored if they have 2^c entries."""

    def height(s: Split) -> int:
        return filled(stored(s.c) + 2, True) if hiding else stored(s.c)

    def cost(s: Split) -> int:
        used = 2**s.c + (2**params.c if params else 0)
        if not hiding:
            return matrix_bytes(height(s), s.c, s.b, 0) + ladder(used)[0]
        used += 2 * s.random + (params.random if params else 0) + min(2**s.c, 1024)
        return matrix_bytes(height(s), s.c, s.b, s.random) + hiding_ladder(used)[0]

    usual, lower = (list(candidates(m, [b], 1 if hiding else None)) for b in WITNESS_RATES)
    large = usual and all(height(s) * s.n > 2**27 for s in usual)
    return _chosen(lower if large else usual, stored, cost)


def param_split(m: int, stored: Callable[[int], int], hiding: bool, proofs: int) -> Split:
    def cost(s: Split) -> int:
        height = filled(stored(s.c), hiding)
        if not hiding:
            return matrix_bytes(height, s.c, s.b, 0) + ladder(2**s.c)[0]
        used = 2**s.c + 2 * s.random + min(2**s.c, 1024)
        return matrix_bytes(height, s.c, s.b, s.random) + hiding_ladder(used)[0]

    found = list(candidates(m, PARAM_RATES, proofs if hiding else None))
    found = [s for s in found if s.c <= 20] or found
    found.sort(key=lambda s: (s.b, s.c))
    small = [s for s in found if stored(s.c) * s.n <= (2**27 if s.b > 2 else 2**30)]
    return _chosen(small or [s for s in found if s.b == found[0].b], stored, cost)


def _chosen(found: list[Split], stored: Callable[[int], int], cost: Callable[[Split], int]) -> Split:
    high = [s for s in found if stored(s.c) >= 16] or found[:1]
    return min(high, key=cost)
