"""Monotone step functions of integers, and the linear maps that equal them.

A requantisation ``y(a) = clip(rint(real(a) / scale) + zero)`` in floating point never decreases with the accumulator a,
because rounding never does. So its thresholds ``T[j] = min {a : y(a) >= j}`` say all about it, and for
``first <= y <= last``

    y(a) = clip(floor((m a + o) / 2^k))  for all lo <= a <= hi
    exactly if  m T[j] + o >= j 2^k  and  m (T[j] - 1) + o < j 2^k  for all first < j <= last

(the first where T[j] <= hi, the second where T[j] > lo). ``thresholds`` finds T by bisection of the floating-point
function itself; for a given m the conditions leave an interval of o, whose length is a concave function of m, and
``linear`` maximises it. Where it is negative for every m and k (ties that go up and down in turn, or an accumulator so
large that the rounding of floats moves thresholds by more than a unit), ``above`` gives a map h with
``y <= h <= y + 1``: then ``y(a) = h(a) - [a < T[h(a)]]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from syurmy.isa.arrays import I64

Step = Callable[[I64, slice], I64]
"""``f(a, rows)``: entry (r, i) is the step function number ``rows[r]`` at ``a[r, i]``."""

SHIFTS = (16, 14, 32, 28, 24, 20, 48, 44, 40, 36)  # by the number of 16-bit limbs of the remainder
REACH = 2**59  # of m a; with o, and with j 2^k, everything stays below 2^61
CHUNK = 2**22  # thresholds that are searched at once


@dataclass(frozen=True, eq=False)
class Linear:
    """``floor((mult * a + offset) / 2^shift)``, a multiplier and an offset per function."""

    mult: I64
    offset: I64
    shift: int

    def __call__(self, a: I64) -> I64:
        return (self.mult[:, None] * a + self.offset[:, None]) >> self.shift


@dataclass(frozen=True, eq=False)
class Steps:
    """Functions on ``lo .. hi`` with values ``first .. last``; ``at[r, j]``: where number r reaches first + 1 + j (lo
    if it is there from the start, hi + 1 if it never is)."""

    lo: int
    hi: int
    first: int
    last: int
    at: I64

    @property
    def levels(self) -> I64:
        return np.arange(self.first + 1, self.last + 1, dtype=np.int64)


def thresholds(f: Step, count: int, lo: int, hi: int) -> Steps:
    """The thresholds of ``count`` monotone functions on ``lo .. hi``."""
    ends = np.broadcast_to(np.array([lo, hi], np.int64), (count, 2))
    reached = f(ends, slice(0, count))
    first, last = int(reached[:, 0].min()), int(reached[:, 1].max())
    levels = np.arange(first + 1, last + 1, dtype=np.int64)
    at = np.empty((count, len(levels)), np.int64)
    size = max(1, CHUNK // max(len(levels), 1))
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        left = np.full(at[rows].shape, lo, np.int64)
        right = np.full(at[rows].shape, hi + 1, np.int64)
        while (left < right).any():
            middle = (left + right) >> 1
            up = f(np.minimum(middle, hi), rows) >= levels
            up |= middle > hi
            right = np.where(up, middle, right)
            left = np.where(up, left, np.minimum(middle + 1, right))
        at[rows] = right
    return Steps(lo, hi, first, last, at)


def linear(s: Steps) -> Linear | None:
    """A map that equals every function of ``s`` everywhere, with the fewest limbs; None if there is none."""
    return next((found for k in SHIFTS if (found := _fit(s, k, 0)) is not None), None)


def above(s: Steps) -> Linear | None:
    """A map that is the function or one more, everywhere."""
    return next((found for k in SHIFTS if (found := _fit(s, k, 1)) is not None), None)


def _fit(s: Steps, shift: int, slack: int) -> Linear | None:
    """``slack``: how far the map may be above."""
    far = max(abs(s.lo), abs(s.hi) + 1)
    if (max(abs(s.first), abs(s.last)) + 2) << shift > REACH // 2 or REACH // far < 1:
        return None
    if not s.at.shape[1]:
        return Linear(np.zeros(len(s.at), np.int64), np.full(len(s.at), s.first << shift, np.int64), shift)
    size = max(1, CHUNK // s.at.shape[1])
    parts = []
    for start in range(0, len(s.at), size):
        part = _fit_rows(s, s.at[start : start + size], shift, slack, REACH // far)
        if part is None:
            return None
        parts.append(part)
    mult, offset = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    return Linear(mult, offset, shift)


def _fit_rows(s: Steps, at: I64, shift: int, slack: int, top: int) -> tuple[I64, I64] | None:
    """Bisection for the multiplier in 0 .. top at which the interval of offsets is longest."""
    rows = np.arange(len(at))
    least, most = s.levels << shift, (s.levels + slack) << shift
    never = np.int64(2**62)

    def interval(m: I64) -> tuple[I64, I64, I64]:
        """Least and largest offset, and how their distance changes with m."""
        low = np.where(at <= s.hi, least - m[:, None] * at, -never)
        high = np.where(at > s.lo, most - m[:, None] * (at - 1) - 1, never)
        i, j = low.argmax(axis=1), high.argmin(axis=1)
        rise = at[rows, i] - (at[rows, j] - 1)
        low, high = low[rows, i], high[rows, j]
        rise = np.where((low == -never) | (high == never), 0, rise)
        low, high = np.where(low == -never, high, low), np.where(high == never, low, high)
        both = low == never
        return np.where(both, 0, low), np.where(both, 0, high), rise

    left, right = np.zeros(len(at), np.int64), np.full(len(at), top, np.int64)
    while True:
        m = (left + right) >> 1
        low, high, rise = interval(m)
        found = low <= high
        if found.all():
            return m, low + (high - low) // 2
        if (~found & (left >= right)).any():
            return None
        left = np.where(found, m, np.where(rise > 0, np.minimum(m + 1, right), left))
        right = np.where(found, m, np.where(rise > 0, right, np.maximum(m - 1, left)))


def differs(s: Steps, f: Step, h: Linear, slack: int = 0) -> bool:
    """Whether ``h``, clipped to the range of ``s``, leaves ``f .. f + slack`` on one side of some threshold or at an
    end of the interval. Checked in exact integers, independently of how h was found."""
    if max(abs(s.lo), abs(s.hi)) * int(np.abs(h.mult).max(initial=0)) + int(np.abs(h.offset).max(initial=0)) >= 2**61:
        return True
    size = max(1, CHUNK // max(s.at.shape[1], 1))
    for start in range(0, len(s.at), size):
        rows = slice(start, min(start + size, len(s.at)))
        part = Linear(h.mult[rows], h.offset[rows], h.shift)
        at = s.at[rows]
        ends = np.broadcast_to(np.array([s.lo, s.hi], np.int64), (len(at), 2))
        for a in (at, at - 1, ends):
            a = np.clip(a, s.lo, s.hi)
            d = np.clip(part(a), s.first, s.last) - f(a, rows)
            if ((d < 0) | (d > slack)).any():
                return True
    return False
