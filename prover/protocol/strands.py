"""Weights along a long axis in closed form: sums of eq along arithmetic progressions.

A strand (c, p, a, da, b, db, n) adds to a vector w

    w[b + k*db] += c * eq(p, a + k*da),    0 <= k < n.

eq of a point is one, and what slices and index maps of loops make of it are a few. The extension of w at q is the sum
of c * S(a, b) over its strands, S(a, b) = sum over k < n of eq(p, a + k*da) * eq(q, b + k*db). With k = x*2^h + y and
the lowest h bits apart,

    S = sum over pairs (s, t) of  [sum over y: s and t are the carries of a + y*da and b + y*db out of h bits]
                                * [sum over x: eq of the upper coordinates at x*da + s and x*db + t],

and no more than da + db + 2 pairs occur: two sums of about the square root of n terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.progression import Part, Progression, Stretch
from syurmy.prover.field import ONE, U64, ZERO, Ext, ext_array
from syurmy.prover.protocol import mle

if TYPE_CHECKING:
    from syurmy.prover.protocol.weights import Weight

MOST = 64  # strands of a weight; beyond, it is an array
DIRECT = 2**9  # terms that are added one by one
_EACH, _LONGEST = 2**7, 2**11  # see ``cost``
_MEETS = 2**4  # so many entries of an array cost as much as finding where a strand meets a stretch
DOWNWARDS = 4  # entries that may go to ever smaller places, each a strand of its own
FEW_OF = 4  # of an eq vector, entries are worked out one by one where they are fewer than one in so many

Coordinate = tuple[str, int]
Vectors = Callable[[Sequence[Ext]], U64]  # eq of a point at all indices, uint64[2, 2^k]


class Strand(NamedTuple):
    """See the module's description; a, da, b, db >= 0."""

    coefficient: Ext
    point: tuple[Coordinate, ...]
    a: int
    da: int
    b: int
    db: int
    length: int


def added(strands: Sequence[Strand]) -> tuple[Strand, ...] | None:
    """Those that differ in their coefficient only made one, without those of coefficient 0; None for too many."""
    found: dict[tuple[object, ...], Strand] = {}
    for s in strands:
        known = found.get(s[1:])
        found[s[1:]] = s if known is None else s._replace(coefficient=known.coefficient + s.coefficient)
    out = tuple(s for s in found.values() if s.coefficient)
    return out if len(out) <= MOST else None


def cost(strands: Sequence[Strand]) -> int:
    """What working with strands costs about as much as, in entries of an array."""
    return sum(_EACH + min(s.length, _LONGEST) for s in strands)


def between(s: Strand, first: int, last: int) -> Strand | None:
    """What a strand adds to the entries ``first`` to ``last`` (behind the last)."""
    if s.db == 0:
        return s if first <= s.b < last else None
    lo = max(0, -(-(first - s.b) // s.db))
    hi = min(s.length, -(-(last - s.b) // s.db))
    return s._replace(a=s.a + lo * s.da, b=s.b + lo * s.db, length=hi - lo) if lo < hi else None


def along(s: Strand, to: Stretch) -> Strand | None:
    """What a strand adds where the entry at a position of ``to`` is added to the one that the stretch says there (it
    may be any integer)."""
    c = s.coefficient * to.sign
    if s.db == 0:
        k, off = divmod(s.b - to.first, to.stride)
        if off or not 0 <= k < to.length:
            return None
        return s._replace(coefficient=c, b=to.value + k * to.step)
    common = gcd(s.db, to.stride)
    if (to.first - s.b) % common:
        return None
    every = to.stride // common  # of the strand's terms meet the stretch
    k = (to.first - s.b) // common * pow(s.db // common, -1, every) % every if every > 1 else 0
    j = (s.b + k * s.db - to.first) // to.stride
    jump = s.db // common  # of the stretch's entries from one to the next
    skip = max(0, -(j // jump))
    k, j = k + skip * every, j + skip * jump
    count = min((s.length - 1 - k) // every, (to.length - 1 - j) // jump) + 1
    if count <= 0:
        return None
    return Strand(c, s.point, s.a + k * s.da, every * s.da, to.value + j * to.step, jump * to.step, count)


def scattered(strands: Sequence[Strand], index: Progression, most: int) -> tuple[Strand, ...] | None:
    """The strands of the vector to whose entry ``index[i]`` entry i is added; those of negative index are dropped. None
    where it has no such form, or an array of ``most`` entries costs less."""
    stretches = index.stretches(MOST)
    if stretches is None or _MEETS * len(strands) * len(stretches) > most:
        return None
    out = []
    for s in strands:
        for to in stretches:
            new = along(s, to)
            if new is None:
                continue
            if new.db >= 0:
                each = [new]
            elif new.length <= DOWNWARDS:
                each = [
                    new._replace(a=new.a + k * new.da, b=new.b + k * new.db, db=0, length=1) for k in range(new.length)
                ]
            else:
                return None
            out += [kept for one in each if (kept := between(one, 0, one.b + one.length * one.db + 1)) is not None]
        if len(out) > 4 * MOST:
            return None
    return added(out)


def entries(s: Strand, p: Sequence[Ext], known: Weight, vectors: Vectors) -> U64:
    """What the strand adds to the entries b, b + db, ..., ``uint64[2, n]``. ``known``: eq of ``p`` at least as far as
    the strand goes, written out only for a good part of it."""
    if s.da and known.size <= FEW_OF * s.length:
        out = np.ascontiguousarray(known.array[:, s.a : s.a + (s.length - 1) * s.da + 1 : s.da])
    else:
        out = _at(p, s.a + np.arange(s.length) * s.da, vectors)
    return out if s.coefficient == 1 else mle.scale(out, s.coefficient)


def extension(s: Strand, p: Sequence[Ext], q: Sequence[Ext], vectors: Vectors) -> Ext:
    """What the strand, whose point is ``p``, contributes to the extension at ``q``."""
    return s.coefficient * _sums(s, p, q, vectors, False)[0]


def total(s: Strand, p: Sequence[Ext], vectors: Vectors) -> Ext:
    """What the strand contributes to the sum of all entries."""
    return s.coefficient * _sums(s._replace(b=0, db=0), p, (), vectors, False)[0]


def weighted(s: Strand, p: Sequence[Ext], vectors: Vectors) -> Ext:
    """The sum of (b + k*db) times what the strand adds."""
    plain, by_k = _sums(s._replace(b=0, db=0), p, (), vectors, True)
    return s.coefficient * (plain * s.b + by_k * s.db)


def inner_product(s: Strand, p: Sequence[Ext], part: Part, first: int, vectors: Vectors) -> Ext | None:
    """The inner product of what the strand adds with the integers of a part that begins at position ``first``; None
    where it has no closed form."""
    stretches = part.stretches(first, MOST)
    if stretches is not None:
        parts = [x for to in stretches if (x := along(s, to)) is not None]
        return sum((weighted(x, p, vectors) for x in parts), ZERO)
    runs = part.runs(MOST)
    return None if runs is None or (s.da, s.db) != (1, 1) else _by_round(s, p, part, first, runs)


def _by_round(s: Strand, p: Sequence[Ext], part: Part, first: int, runs: Sequence[tuple[int, int, int]]) -> Ext:
    """Of long runs in many rounds: the difference of what lies before both ends of each, all rounds at once."""
    out = ZERO
    t = np.arange(part.times)
    for i, length, step in runs:
        start = first + i + t * len(part.rows)
        lo, hi = (np.clip(at, s.b, s.b + s.length) + (s.a - s.b) for at in (start, start + length))
        before, behind = _before(p, lo), _before(p, hi)
        value = int(part.rows[i]) + t * int(part.shift[i]) + step * (s.b - s.a - start)  # at x = 0
        for sign, (plain, by_x) in ((1, behind), (-1, before)):
            out = out + (mle.dot_int(plain, value) + mle.dot_int(by_x, np.full(part.times, step))) * sign
    return s.coefficient * out


def _before(p: Sequence[Ext], ends: I64) -> tuple[U64, U64]:
    """For each n of ``ends`` (at most 2^len(p)) the sums over x < n of eq(p, x), and of x * eq(p, x): bit by bit, the
    lowest first, as in ``weights.first_terms``."""
    plain, by_x = np.zeros((2, len(ends)), np.uint64), np.zeros((2, len(ends)), np.uint64)
    free = ZERO  # the second sum over all x of these bits; the first is 1
    for j, r in enumerate(reversed([ZERO, *p])):
        one, both = mle.scale(plain, r), mle.add(mle.scale(by_x, r), mle.scale(plain, r * (1 << j)))
        clear, clear_free = (ext_array([c]) for c in (1 - r, (1 - r) * free))
        bit = (ends >> j & 1).astype(np.bool_)
        by_x = np.where(bit, mle.add(both, np.repeat(clear_free, len(ends), 1)), mle.scale(by_x, 1 - r))
        plain = np.where(bit, mle.add(one, np.repeat(clear, len(ends), 1)), mle.scale(plain, 1 - r))
        free = free + r * (1 << j)
    return plain, by_x


def _sums(s: Strand, p: Sequence[Ext], q: Sequence[Ext], vectors: Vectors, by: bool) -> tuple[Ext, Ext]:
    """The sums over k of eq(p, a + k*da) * eq(q, b + k*db), and if ``by`` of k times that (else 0)."""
    if s.length == 1:
        return _one(s.a, p) * _one(s.b, q), ZERO
    bits = max(len(p), len(q))
    p, q = ([ZERO] * (bits - len(x)) + list(x) for x in (p, q))
    if s.length <= DIRECT:
        return _few(s, p, q, vectors, by)
    # about as many terms on both sides; both halves of the points have short vectors
    h = min((s.length * (s.da + s.db + 2)).bit_length() // 2, bits, s.length.bit_length() - 1)
    below = (1 << h) - 1
    y = np.arange(1 << h)
    from_a, from_b = (s.a & below) + y * s.da, (s.b & below) + y * s.db
    carries = np.stack([from_a, from_b]) >> h
    new = np.concatenate([[True], (carries[:, 1:] != carries[:, :-1]).any(0)])
    pair = np.cumsum(new) - 1  # carries grow with y
    up_a, up_b = carries[:, new, None]
    x = np.arange(s.length >> h)
    cut = bits - h
    low = mle.mul(_at(p[cut:], from_a & below, vectors), _at(q[cut:], from_b & below, vectors))
    high = mle.mul(
        _at(p[:cut], (s.a >> h) + x * s.da + up_a, vectors), _at(q[:cut], (s.b >> h) + x * s.db + up_b, vectors)
    )
    pairs = len(up_a)
    grouped, summed = mle.scatter_add(low, pair, pairs), mle.sum_axis(high.reshape(2, pairs, len(x)), 1)
    done = len(x) << h
    more, by_more = ZERO, ZERO
    if done < s.length:
        rest = s._replace(a=s.a + done * s.da, b=s.b + done * s.db, length=s.length - done)
        more, by_more = _few(rest, p, q, vectors, by)
    if by:
        by_more = by_more + more * done
        by_more = by_more + mle.dot(mle.scatter_add(_times(low, y), pair, pairs), summed)
        by_x = _times(high, np.tile(x << h, pairs)).reshape(2, pairs, len(x))
        by_more = by_more + mle.dot(grouped, mle.sum_axis(by_x, 1))
    return mle.dot(grouped, summed) + more, by_more


def _few(s: Strand, p: Sequence[Ext], q: Sequence[Ext], vectors: Vectors, by: bool) -> tuple[Ext, Ext]:
    k = np.arange(s.length)
    left, right = _at(p, s.a + k * s.da, vectors), _at(q, s.b + k * s.db, vectors)
    return mle.dot(left, right), mle.dot(_times(left, k), right) if by else ZERO


def _one(i: int, point: Sequence[Ext]) -> Ext:
    """eq(point, i)."""
    out = ONE
    for j, r in enumerate(reversed(point)):
        out = out * (r if i >> j & 1 else 1 - r)
    return out


def _times(a: U64, k: I64) -> U64:
    """``uint64[2, n]`` times small integers."""
    return mle.mul(a, np.stack([k.astype(np.uint64), np.zeros(len(k), np.uint64)]))


def _at(point: Sequence[Ext], index: I64, vectors: Vectors) -> U64:
    """eq(point, i) for each i of ``index``, ``uint64[2, n]``."""
    flat = index.reshape(-1)
    below = len(point) // 2
    if len(point) <= 12:
        return np.ascontiguousarray(vectors(point)[:, flat])
    front, back = vectors(point[: len(point) - below]), vectors(point[len(point) - below :])
    return mle.mul(
        np.ascontiguousarray(front[:, flat >> below]), np.ascontiguousarray(back[:, flat & ((1 << below) - 1)])
    )
