"""Codes, their queries and which shapes and ladders are chosen, in integers (protocol, sections 2 and 11.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

from tests.reference_verifier.field import log2_ceil
from tests.reference_verifier.transcript import Rejected

MAX_LOG_N = 32
NOMINAL, ROOM, HIDDEN = 100, 128, 94  # bits of queries: where bytes are compared, must fit, of a hiding matrix


@dataclass(frozen=True)
class Code:
    """A matrix of ``rows`` stored rows of 2^log_cols entries, ``aux`` rows behind them, at 2^log_blowup positions per
    entry, with ``tail`` random coefficients in each row. ``planes``: 2 over K."""

    rows: int
    log_cols: int
    log_blowup: int
    planes: int = 1
    aux: int = 0
    tail: int = 0

    @property
    def cols(self) -> int:
        return 1 << self.log_cols

    @property
    def log_n(self) -> int:
        return self.log_cols + self.log_blowup

    @property
    def n(self) -> int:
        return 1 << self.log_n

    @property
    def height(self) -> int:
        """Elements of F in a column."""
        return (self.rows + self.aux) * self.planes

    @property
    def rate(self) -> Fraction:
        return Fraction(self.cols + self.tail, self.n)

    @property
    def encoded(self) -> int:
        return self.height * self.n


@dataclass(frozen=True)
class Level:
    """A vector of 2^log_size entries over K, as rows of 2^code.log_cols."""

    log_size: int
    code: Code

    @property
    def log_rows(self) -> int:
        return self.log_size - self.code.log_cols


@cache
def queries_that(miss: Fraction, error: Fraction) -> int:
    """The least t with miss^t <= error."""
    t = 1
    while miss ** (2 * t) > error:
        t *= 2
    while miss**t > error:
        t += 1
    return t


def queries(rate: Fraction, error: Fraction) -> int:
    """The least t with ((1 + rate)/2)^t <= error."""
    return queries_that((1 + rate) / 2, error)


def bits(count: int) -> Fraction:
    return Fraction(1, 2**count)


def radius(code: Code, proofs: int) -> Fraction:
    """How close rows of the params are shown to be by a certificate."""
    for delta in (Fraction(1, 16), Fraction(1, 8), Fraction(1, 4)):
        if delta > (1 - code.rate) / 2:
            break
        once, each = queries_that(1 - delta, bits(HIDDEN)), queries_that(code.rate + delta, bits(HIDDEN))
        if once <= code.n and (not code.tail or once + (proofs - 1) * each < code.tail):
            return delta
    return (1 - code.rate) / 2


def rounded(count: int) -> int:
    """The least integer not below ``count`` with zeros behind its three leading bits."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step


def few_bits(count: int) -> int:
    """The least integer not below ``count`` with at most three bits set."""
    found = count
    while found.bit_count() > 3:
        found += found & -found
    return found


@cache
def hiding_tail(log_cols: int, log_blowup: int, proofs: int = 1, tensor: bool = False) -> int | None:
    """Random coefficients per row; None where the code has no room."""
    cols, n, count = 1 << log_cols, 1 << (log_cols + log_blowup), 1
    while True:
        tail = (few_bits if tensor else rounded)(proofs * count + 1)
        if 4 * (cols + tail) > 3 * n:
            return None
        needed = queries(Fraction(cols + tail, n), bits(HIDDEN))
        if needed <= count:
            return tail
        count = needed


def room(log_cols: int, log_blowup: int) -> bool:
    log_n = log_cols + log_blowup
    return log_n <= MAX_LOG_N and queries(bits(log_blowup), bits(ROOM)) <= 1 << log_n


@cache
def path_digests(log_n: int, count: int) -> int:
    """Expected digests of a multi-proof, in 256ths that are cut off."""
    out = 0
    for d in range(1, log_n + 1):
        out += (2**d * ((2**d - 1) ** count - (2**d - 2) ** count) * 256) // 2 ** (d * count)
    return out // 256


def matrix_bytes(code: Code) -> int:
    """Columns and paths of the nominal queries."""
    count = queries(code.rate, bits(NOMINAL))
    return 8 * count * code.height + 25 * path_digests(code.log_n, count)


@cache
def ladder(used: int) -> tuple[int, tuple[Level, ...]]:
    """Bytes and levels for a vector of ``used`` entries."""
    log_size = log2_ceil(used)
    best: tuple[int, tuple[Level, ...]] = (16 * used, ())
    for log_cols in range(5, log_size):
        for log_blowup in (1, 2, 3, 4):
            code = Code(-(-used // 2**log_cols), log_cols, log_blowup, 2)
            if not room(log_cols, log_blowup) or (code.encoded > 2**19 and log_blowup > 2):
                continue
            size = 32 + 32 * (log_size - log_cols) + matrix_bytes(code)
            if size < best[0]:  # more only makes it longer
                rest, levels = ladder(2**log_cols)
                if size + rest < best[0]:
                    best = size + rest, (Level(log_size, code), *levels)
    return best


@cache
def hiding_ladder(used: int) -> tuple[int, tuple[Level, ...]]:
    """The same where the first level hides."""
    best: tuple[int, tuple[Level, ...]] | None = None
    for log_cols in range(5, MAX_LOG_N):
        rows = -(-used // 2**log_cols)
        log_rows = max(1, log2_ceil(rows))
        for log_blowup in (1, 2, 3, 4):
            tail = hiding_tail(log_cols, log_blowup) if room(log_cols, log_blowup) else None
            if tail is None or tail >= 2 * 2**log_cols or 2 * log_rows > 2**log_cols:
                continue
            code = Code(rows, log_cols, log_blowup, 2, 3, tail)
            if code.encoded > 2**20 and log_blowup > 2:
                continue
            rest, levels = ladder(masked_size(code, log_rows))
            size = 48 + 32 * log_rows + matrix_bytes(code) + rest
            if best is None or size < best[0]:
                best = size, (Level(log_cols + log_rows, code), *levels)
        if best is not None and rows == 1:
            return best
    raise Rejected("soundness", f"a vector of {used} entries is too long to be hidden")


def masked_size(code: Code, log_rows: int) -> int:
    """Entries of (u*, y*)."""
    return code.cols + code.tail + 2 * log_rows + code.tail


def opening_bytes(code: Code, beside: Sequence[Code] = ()) -> int:
    """A matrix and the ladder of its row and those of the matrices beside it."""
    used = code.cols + sum(c.cols for c in beside)
    if not code.tail:
        return matrix_bytes(code) + ladder(used)[0]
    more = 2 * code.tail + sum(c.tail for c in beside) + min(code.cols, 1024)
    return matrix_bytes(code) + hiding_ladder(used + more)[0]


def candidates(
    log_entries: int,
    log_blowup: int,
    stored: Callable[[int], int],
    hiding: bool,
    proofs: int,
    aux: int,
    tensor: bool = False,
) -> list[Code]:
    """Every split with room, the most rows first. ``stored``: rows that are stored, by log_cols."""
    out = []
    for log_cols in range(log_entries + 1):
        if not room(log_cols, log_blowup):
            continue
        code = Code(stored(log_cols), log_cols, log_blowup)
        if hiding:
            tail = hiding_tail(log_cols, log_blowup, proofs, tensor)
            if tail is None:
                continue
            code = replace(code, aux=max(aux, 4 - code.rows), tail=tail)
        out.append(code)
    return out


def smallest(among: list[Code], beside: Sequence[Code] = ()) -> Code:
    """Of those with at least 16 rows, else of the first, the one of fewest bytes; the first of equals."""
    if not among:
        raise Rejected("soundness", "no code has room")
    tall = [c for c in among if c.rows >= 16]
    return min(tall or among[:1], key=lambda c: opening_bytes(c, beside))


def witness_code(log_entries: int, stored: Callable[[int], int], params: Code | None, hiding: bool) -> Code:
    found = candidates(log_entries, 2, stored, hiding, 1, 2)
    if found and all(c.encoded > 2**27 for c in found):
        found = candidates(log_entries, 1, stored, hiding, 1, 2)
    return smallest(found, () if params is None else (params,))


def params_code(log_entries: int, stored: Callable[[int], int], hiding: bool, proofs: int) -> Code:
    every = [c for b in (1, 2, 3, 4) for c in candidates(log_entries, b, stored, hiding, proofs, 0)]
    every = [c for c in every if c.log_cols <= 20] or every
    affordable = [c for c in every if c.encoded <= 2**27]
    return smallest(affordable or [c for c in every if c.log_blowup == every[0].log_blowup])


def tensor_code(log_entries: int, stored: Callable[[int], int], hiding: bool, proofs: int) -> Code:
    """Of a committed tensor."""
    every = [c for b in (1, 2, 3, 4, 5) for c in candidates(log_entries, b, stored, hiding, proofs, 0, True)]
    if not every:
        raise Rejected("soundness", "no code has room")
    affordable = [c for c in every if c.encoded <= 2**27]
    return min(affordable or [c for c in every if c.log_blowup == every[0].log_blowup], key=tensor_bytes)


def tensor_bytes(code: Code) -> int:
    return matrix_bytes(code) + 2 * (code.cols + code.tail)


def least_log_tensor(hiding: bool, proofs: int) -> int:
    """log2 of the entries that the matrix of a committed tensor has at least."""
    if not hiding:
        return 4
    for first in range(MAX_LOG_N):
        if any(room(first, b) and hiding_tail(first, b, proofs, True) is not None for b in (1, 2, 3, 4, 5)):
            return min(range(first, first + 5), key=lambda k: tensor_bytes(tensor_code(k, lambda c: 1, True, proofs)))
    raise Rejected("soundness", f"no code has room for {proofs} proofs")


def least_log_entries(params: bool, hiding: bool, proofs: int) -> int:
    """log2 of the entries that a matrix has at least."""
    if not hiding:
        return 4 if params else 6
    for log_cols in range(MAX_LOG_N):
        for b in (1, 2, 3, 4) if params else (2,):
            if room(log_cols, b) and hiding_tail(log_cols, b, proofs if params else 1) is not None:
                return log_cols
    raise Rejected("soundness", f"no code has room for {proofs} proofs")
