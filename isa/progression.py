"""Sequences of integers in closed form: what the rounds of a loop add to them is written down once.

    value[t*m + i] = rows[i] + t*shift[i],    0 <= i < m, 0 <= t < times

is one part; a sequence is a few of them, one after the other. What is asked of a sequence (its interval, whether it
counts up, its stretches) costs as much as its parts are long, not as long as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I64
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.types import Interval

LONG = 2**13  # entries from which a closed form costs less than the array
MOST_RUNS = 64  # in which a sequence is named by its runs
_PIECE = 2**16  # entries that are written out at a time
_ZEROS = np.zeros(2**8, np.int64)  # the shift of entries that are as they are
_ZEROS.flags.writeable = False


class Stretch(NamedTuple):
    """``value + k*step`` at the positions ``first + k*stride``, k < ``length``, counted ``sign`` times (1 or -1)."""

    first: int
    stride: int
    value: int
    step: int
    length: int
    sign: int = 1


@dataclass(frozen=True, eq=False)
class Part:
    """``rows`` and ``shift``: int64[m]."""

    rows: I64
    shift: I64
    times: int = 1

    @staticmethod
    def of(rows: I64) -> Part:
        """These entries as they are."""
        n = len(rows)
        return Part(rows, _ZEROS[:n] if n <= len(_ZEROS) else np.broadcast_to(np.int64(0), n))  # which take no memory

    def __len__(self) -> int:
        return self.times * len(self.rows)

    def array(self, first: int = 0, last: int | None = None) -> I64:
        """Rounds ``first`` to ``last`` (behind the last): int64[entries]."""
        if self.times == 1 and (first, last) in ((0, None), (0, 1)):
            return self.rows
        rounds = np.arange(first, self.times if last is None else last)
        return (self.rows + rounds[:, None] * self.shift).reshape(-1)

    @property
    def interval(self) -> Interval:
        ends = self.rows, self.rows + (self.times - 1) * self.shift
        return min(int(e.min()) for e in ends), max(int(e.max()) for e in ends)

    def line(self) -> int | None:
        """The step, if all entries are at one distance from the one before; 0 for one entry."""
        m = len(self.rows)
        step = int(self.rows[1] - self.rows[0]) if m > 1 else int(self.shift[0]) if self.times > 1 else 0
        level = (np.diff(self.rows) == step).all() and (self.times == 1 or (self.shift == step * m).all())
        return step if level else None

    def runs(self, most: int) -> list[tuple[int, int, int]] | None:
        """First row, number of rows and step of the runs of a round; None for more than ``most``."""
        return _runs(self.rows, self.shift if self.times > 1 else np.zeros_like(self.rows), most)

    def stretches(self, first: int, most: int) -> list[Stretch] | None:
        """As ``Progression.stretches``, of a part that begins at position ``first``."""
        m = len(self.rows)
        found = self.runs(most)
        if found is None:
            return None
        # entries on one line with those of the other rounds are one stretch, from which the others are taken out
        lines: dict[tuple[int, int], int] = {}  # step and value at the first position -> entries
        for i, count, step in found:
            if self.times > 1 and int(self.shift[i]) == step * m:
                line = step, int(self.rows[i]) - step * i
                lines[line] = lines.get(line, 0) + count
        common = max(lines, key=lambda x: lines[x]) if lines else None
        out = []
        if common is not None:
            out.append(Stretch(first, 1, common[1], common[0], len(self)))
        for i, count, step in found:
            value = int(self.rows[i])
            if self.times == 1:
                out.append(Stretch(first + i, 1, value, step, count))
                continue
            by = int(self.shift[i])
            if common == (step, value - step * i) and by == step * m:
                continue
            if min(count, self.times) > most:
                return None
            if count <= self.times:
                here = [Stretch(first + i + j, m, value + j * step, by, self.times) for j in range(count)]
            else:
                here = [Stretch(first + i + t * m, 1, value + t * by, step, count) for t in range(self.times)]
            out += here
            if common is not None:
                step, zero = common
                for s in here:
                    at = zero + step * (s.first - first)
                    out.append(Stretch(s.first, s.stride, at, step * s.stride, s.length, -1))
        return out if len(out) <= most else None


@dataclass(frozen=True, eq=False)
class Progression:
    """A sequence of integers. ``np.asarray`` writes it out (int64)."""

    parts: tuple[Part, ...]

    @staticmethod
    def of(values: I64) -> Progression:
        return Progression((Part.of(np.asarray(values, np.int64).reshape(-1)),))

    @staticmethod
    def upto(n: int) -> Progression:
        """0, 1, ..., n - 1."""
        return Progression((Part(np.zeros(1, np.int64), np.ones(1, np.int64), n),))

    @staticmethod
    def joined(parts: Sequence[Part]) -> Progression:
        """Parts that come once and follow each other are made one."""
        out: list[Part] = []
        once: list[I64] = []
        for p in parts:
            if p.times == 1:
                once.append(p.rows)
                continue
            out += _together(once)
            once = []
            out.append(p)
        return Progression(tuple(out + _together(once)))

    def __len__(self) -> int:
        return self.size

    @cached_property
    def size(self) -> int:
        return sum(map(len, self.parts))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)

    def __getitem__(self, i: int) -> int:
        if not 0 <= i < self.size:
            raise IndexError(i)
        for p in self.parts:
            if i < len(p):
                t, row = divmod(i, len(p.rows))
                return int(p.rows[row] + t * p.shift[row])
            i -= len(p)
        raise AssertionError("parts are shorter than the sequence")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> I64:
        out = np.empty(self.size, np.int64 if dtype is None else dtype)
        at = 0
        for piece in self._pieces():
            out[at : at + len(piece)] = piece
            at += len(piece)
        return out

    def _pieces(self) -> Iterator[I64]:
        """The entries, some at a time."""
        for p in self.parts:
            step = max(1, _PIECE // len(p.rows))
            for t in range(0, p.times, step):
                yield p.array(t, min(p.times, t + step))

    @cached_property
    def interval(self) -> Interval:
        """The least and the largest entry."""
        ends = [p.interval for p in self.parts]
        return min(lo for lo, _ in ends), max(hi for _, hi in ends)

    @property
    def level(self) -> bool:
        """Are all entries the same?"""
        lo, hi = self.interval
        return lo == hi

    @property
    def counts(self) -> bool:
        """Is it 0, 1, 2, ...?"""
        at = 0
        for p in self.parts:
            if p.rows[0] != at or (len(p) > 1 and p.line() != 1):
                return False
            at += len(p)
        return True

    def plus(self, constant: int) -> Progression:
        """Every entry so much larger."""
        return Progression(tuple(Part(p.rows + constant, p.shift, p.times) for p in self.parts))

    def stretches(self, most: int) -> list[Stretch] | None:
        """Stretches whose entries, with their signs, are those of the sequence: every position is counted once. None
        where that takes more than ``most``."""
        out: list[Stretch] = []
        first = 0
        for p in self.parts:
            found = p.stretches(first, most)
            if found is None or len(out) + len(found) > most:
                return None
            out += found
            first += len(p)
        return out

    def key(self) -> tuple[tuple[int, int, int], ...] | bytes:
        """A name: equal for equal sequences only. The longest possible arithmetic progressions from left to right if
        there are few, else a digest: either is worked out of the entries, however they are divided into parts."""
        runs = self._longest()
        if runs is not None:
            return runs
        hasher = blake3()
        for piece in self._pieces():
            hasher.update(np.ascontiguousarray(piece.astype(np.int32)).view(np.uint8).data)
        return hasher.digest()

    def _longest(self) -> tuple[tuple[int, int, int], ...] | None:
        """Value, step (0 for one entry) and length of each run; None for more than ``MOST_RUNS``."""
        out: list[tuple[int, int, int]] = []
        for p in self.parts:
            runs = _segments(p)
            if runs is None:
                return None
            for value, step, count in runs:
                while count:
                    if out:
                        v, s, n = out[-1]
                        if n == 1:  # any entry goes on with it
                            out[-1] = v, value - v, 2
                            value, count = value + step, count - 1
                            continue
                        if v + s * n == value:
                            taken = count if step == s or count == 1 else 1
                            out[-1] = v, s, n + taken
                            value, count = value + step * taken, count - taken
                            continue
                    out.append((value, step if count > 1 else 0, count))
                    count = 0
            if len(out) > MOST_RUNS:
                return None
        return tuple(out)


def repeated(value: int, times: int) -> Part:
    """The same entry again and again."""
    return Part(np.array([value]), np.zeros(1, np.int64), times)


@lru_cache(maxsize=2**12)
def single(value: int) -> Progression:
    """One entry."""
    rows = np.array([value], np.int64)
    rows.flags.writeable = False
    return Progression.of(rows)


def _together(once: list[I64]) -> list[Part]:
    return [Part.of(np.concatenate(once))] if once else []


def _segments(p: Part) -> list[tuple[int, int, int]] | None:
    """Arithmetic progressions that a part consists of; None if even the fewest are more than ``MOST_RUNS``."""
    step = p.line()
    if step is not None:
        return [(int(p.rows[0]), step, len(p))]
    if p.times > 2 * MOST_RUNS + 2:
        return None  # a progression through two rounds would go through all: every two rounds hold an end of one
    rows = p.array()
    found = _runs(rows, np.zeros_like(rows), MOST_RUNS)
    return None if found is None else [(int(rows[i]), step, count) for i, count, step in found]


def _runs(rows: I64, shift: I64, most: int) -> list[tuple[int, int, int]] | None:
    """First index, length and step (0 for one entry) of the longest runs, from left to right, with one step and one
    shift; None for more than ``most``."""
    m = len(rows)
    steps, turns = np.diff(rows), np.diff(shift) != 0
    ends = np.flatnonzero((steps[1:] != steps[:-1]) | turns[1:]) + 1
    if len(ends) > 2 * most:
        return None
    out: list[tuple[int, int, int]] = []
    i = 0
    while i < m:
        if i == m - 1 or turns[i]:
            out.append((i, 1, 0))
            i += 1
        else:
            where = int(np.searchsorted(ends, i, "right"))
            j = int(ends[where]) if where < len(ends) else m - 1
            out.append((i, j - i + 1, int(steps[i])))
            i = j + 1
        if len(out) > most:
            return None
    return out
