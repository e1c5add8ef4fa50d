"""The rounds of the sumchecks of a layer of the lookups' tree (prover/lookup.py has the equations): what a round sums,
where its pairs are, and what is added for those that are not stored.

Round i of a layer at r in K^k: h(t) = sum over the x behind t of eq(rest of r, x) * (p0*q1 + p1*q0 + lambda*q0*q1), of
which h(0) and the leading coefficient are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from syurmy import gpu
from syurmy.gpu.arrays import Scalars
from syurmy.isa.arrays import I64
from syurmy.prover.ahead import LookupRounds, Now, Part
from syurmy.prover.field import ONE, U64, ZERO, Ext
from syurmy.prover.kernels import compiled
from syurmy.prover.kernels import logup as kernels
from syurmy.prover.kernels.mle import eq_suffixes, eq_vectors
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.vectors import eq_vector, fill, part
from syurmy.prover.layer import last_rounds, top_layers
from syurmy.prover.protocol import layout
from syurmy.prover.protocol.transcript import Sender

if TYPE_CHECKING:
    from syurmy.gpu.grid import Grid
    from syurmy.prover.lookup import Leaves

Challenge = Ext | Scalars
Adder = Callable[..., None]
OUTER = 10  # variables of runs whose eq tables are made with those of fewer
ENDS = 16  # words that the values of a layer are made of, at most
_CHUNK = 1 << 12  # pairs a thread takes at least


def run_length(k: int) -> int:
    """Nodes of a run, in a layer of 2^k."""
    return 1 << min(layout.LOG_RUN, k)


class Pairs:
    """How many pairs the rounds of a layer with so many ``variables`` have, of which so many ``runs`` are stored.
    ``later`` rounds follow."""

    def __init__(self, variables: int, runs: int) -> None:
        self.variables, self.runs = variables, runs

    def pairs(self, later: int) -> int:
        """How many runs of pairs there are."""
        return -(-self.runs >> self.variables - later) if later > layout.LOG_RUN else 1

    def count(self, later: int) -> int:
        """How many pairs there are."""
        return self.pairs(later) * run_length(later)

    def missing(self, later: int) -> tuple[int, int]:
        """The rows from, to which a round that binds reads, and the one before has not written."""
        if later < layout.LOG_RUN:
            return 0, 0
        return 2 * self.count(later + 1), 4 * self.count(later)

    def room(self, later: int) -> int:
        """The rows that a round writes that binds, with those that the next one reads besides."""
        return max(2 * self.count(later), self.missing(later - 1)[1])


class Corrections:
    """What numerators are beside 1, d0 = p0 - 1 and d1 = p1 - 1 of the nodes above, of the ``runs`` where they are not
    all zero: ``values`` ``uint64[4, *]`` as in kernels/logup.py, with room for the rounds."""

    def __init__(self, leaves: Leaves) -> None:
        stored, used, k = leaves.stored(leaves.log_size), leaves.used, leaves.log_size - 1
        self.run, memory = run_length(k), gpu.beside(leaves.num)
        others = list(_runs(leaves.num != 1) if leaves.others is None else leaves.others)
        if used < stored:
            others.append((used, stored))
        self.runs: gpu.Array
        self.places: Sequence[gpu.Array]
        self.runs, self.places, self.to, rows = _corrected(tuple(others), k, leaves.runs(k), layout.LOG_RUN)
        self.count = self.run * len(self.runs)  # nodes
        if memory is not gpu.HOST:
            self.runs, *self.places = cast("Grid", memory).together(self.runs, *self.places)
        self.values: U64 = memory.empty((4, rows + kernels.PAD))
        fill(self.values, 0, self.run, (ZERO, ZERO))
        fill(self.values, self.run, 2 * self.run, (-ONE, -ONE))
        self.each(kernels.numerators, leaves.num)

    def each(self, kernel: Any, a: U64, *more: Any) -> None:
        """Runs a kernel of these nodes."""
        if self.count:
            for_ranges(kernel, self.count, a, self.runs, self.run, self.values, *more, min_chunk=2 * _CHUNK)

    def shift(self, den: U64, c: Ext) -> None:
        """Adds c*(p - 1) to the denominators."""
        self.each(kernels.shift, den, *words(c))


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The ranges in which ``mask`` is set."""
    ends = [0] * bool(mask[:1].any()), [len(mask)] * bool(mask[-1:].any())
    edges = [*ends[0], *(np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist(), *ends[1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


@lru_cache(maxsize=64)
def _corrected(
    others: tuple[tuple[int, int], ...], k: int, stored: int, log_run: int
) -> tuple[I64, Sequence[I64], Sequence[int], int]:
    """The runs of the layer of 2^k nodes that are above these leaves, and ``_places`` of them, ``stored`` runs in all.
    It follows from the program."""
    two = 2 * run_length(k)
    parts = [np.arange(lo // two, -(-hi // two)) for lo, hi in others]
    runs = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
    return runs, *_places(runs, run_length(k), Pairs(k, stored))


def _places(runs: I64, run: int, pairs: Pairs) -> tuple[list[I64], list[int], int]:
    """Of each round, ``places`` and ``to`` of ``logup.corrections``, for d of these runs; and how many rows there are.
    The rounds that bind write two spaces behind d in turn."""
    have, at, unit = runs, run * np.arange(len(runs)), run  # the runs that there are, of what is read, and where
    found, sizes = [], [0, 0]
    for i in range(pairs.variables):
        later, several = pairs.variables - i - 1, 4 if i else 2
        width = run_length(later)
        if width < unit:  # a run is two
            have, at, unit = (2 * have[:, None] + (0, 1)).reshape(-1), (at[:, None] + (0, width)).reshape(-1), width
        lo, hi = (row // width for row in (pairs.missing(later) if i > 1 else (0, 0)))
        of = np.unique(np.concatenate([have, np.arange(lo, hi, dtype=np.int64)]) // several)
        of = of[of < pairs.pairs(later)]
        bind, pair = _apart(later + 2, False, 2) if i else (_apart(later + 1, False, 1)[0], 0)
        wanted = several * of[:, None] + np.array([0, bind, pair, bind + pair]) // width
        k = np.searchsorted(have, wanted)
        there, lost = np.append(have, -1)[k] == wanted, (lo <= wanted) & (wanted < hi)
        found.append((of, np.append(at, 0)[k], there, lost))
        if i:
            sizes[i % 2] = max(sizes[i % 2], 2 * width * len(of))
            have, unit = (2 * of[:, None] + np.arange(2)).reshape(-1), width
            at = width * np.arange(len(have))
    begin = 2 * run
    odd = begin + run * len(runs)
    spaces = odd + sizes[1], odd
    places: list[I64] = []
    for i, (of, row, there, lost) in enumerate(found):
        source = spaces[(i - 1) % 2] if i > 1 else begin
        places.append(np.column_stack([of, np.where(there, source + row, np.where(lost, run, 0))]))
    return places, [spaces[i % 2] for i in range(len(found))], spaces[0] + sizes[0]


class _Eq(Pairs):
    """eq(rest, .) as the outer product of two tables, for the rounds of a layer at r, ``uint64[2, k]``."""

    one = np.array([[1], [0]], dtype=np.uint64)

    def __init__(self, r: U64, runs: int) -> None:
        super().__init__(r.shape[1], runs)
        self.r = r
        self.inner: U64 = np.empty((2, 0), dtype=np.uint64)
        self.outers: dict[int, gpu.Array] = {}  # on a device
        self.short: dict[int, U64] = {}
        self.suffixes: U64 | None = None  # on the host: the tables of all variables within a run, of all but one, ...

    def _outer(self, later: int) -> U64:
        """The variables of runs, the most significant first."""
        k = self.variables
        return np.ascontiguousarray(self.r[:, k - later : max(k - later, k - layout.LOG_RUN)][:, ::-1])

    def __call__(self, later: int, memory: gpu.Memory) -> tuple[U64, U64]:
        """The table of the variables within a run is in ``memory``."""
        count = min(later, layout.LOG_RUN)
        if memory is gpu.HOST:
            if self.suffixes is None:
                most = min(layout.LOG_RUN, self.r.shape[1] - 1)
                self.suffixes = np.empty(4 << most, np.uint64)
                eq_suffixes(self.r, most, self.suffixes)
            self.inner = self.suffixes[2 << count : 4 << count].reshape(2, -1)
        elif self.inner.shape[1] != 1 << count:  # it serves all rounds before them
            self.inner = eq_vector(_elements(self.r[:, self.variables - count :]), memory)
        if later == count:
            return memory.kept(self.one), self.inner
        if memory is gpu.HOST:
            return self._table(later), self.inner
        if not self.outers:  # those of all rounds in one copy
            rounds = range(layout.LOG_RUN + 1, self.variables)
            tables = cast("Grid", memory).together(*map(self._table, rounds))
            self.outers = dict(zip(rounds, tables, strict=True))
        return self.outers[later], self.inner

    def _table(self, later: int) -> U64:
        """The outer one; all that are short are made at once."""
        if not self.short:
            self._short()
        found = self.short.get(later)
        return compiled.eq_vector(self._outer(later), self.pairs(later)) if found is None else found

    def _short(self) -> None:
        k = self.variables
        turned = np.ascontiguousarray(self.r[:, : max(0, k - layout.LOG_RUN)][:, ::-1])
        last = [later for later in range(layout.LOG_RUN + 1, k) if later - layout.LOG_RUN <= OUTER]
        if not last:
            return
        ends = list(accumulate((2 * self.pairs(later) for later in last), initial=0))
        rows = [(0, later - layout.LOG_RUN, self.pairs(later), at) for later, at in zip(last, ends, strict=False)]
        out = np.empty(ends[-1], np.uint64)
        for_ranges(eq_vectors, len(rows), turned, np.array(rows, np.int64), out, min_chunk=len(rows))
        self.short = {
            later: out[at : at + 2 * n].reshape(2, n) for later, (_, _, n, at) in zip(last, rows, strict=True)
        }

    def sum(self, later: int) -> Ext:
        """Of eq over all pairs that there are."""
        pairs = self.pairs(later)
        if pairs == 1 << max(0, later - layout.LOG_RUN):
            return ONE
        out = ZERO
        for i, z in enumerate(reversed(_elements(self._outer(later)))):
            out = 1 - z + z * out if pairs >> i & 1 else (1 - z) * out
        return out


def _apart(log_rows: int, sides: bool, count: int) -> list[int]:
    """Of 2^log_rows rows, in runs: how far apart children are, if there are two ``sides``, and rows that differ in the
    first, the second, ... variable."""
    out = [run_length(log_rows)] if sides else []
    for i in range(count):
        bit = log_rows - 1 - i
        out.append(1 << (layout.LOG_RUN + sides + i if bit >= layout.LOG_RUN else bit))
    return out


def distances(i: int, later: int) -> tuple[int, int, int]:
    """``child``, ``bind`` and ``pair`` of round i of a layer (kernels/logup.py); 0 where it has none."""
    if i == 0:
        child, pair = _apart(later + 1, True, 1)
        return child, 0, pair
    child, bind, pair = _apart(later + 2, True, 2) if i == 1 else (0, *_apart(later + 2, False, 2))
    return child, bind, pair


@lru_cache(maxsize=64)
def _all_distances(rounds: int, log_run: int) -> I64:
    return np.array([distances(i, rounds - i - 1) for i in range(rounds)], np.int64)


def top(log_size: int) -> int:
    """How many layers behind the first there are, of a tree with so many, of which each has one run of pairs and others
    below it: on a processor they are proven at once."""
    return min(layout.LOG_RUN + 1, log_size - 2)


@lru_cache(maxsize=64)
def _top_places(count: int, log_run: int) -> tuple[I64, I64]:
    """``places`` and ``apart`` of ``layer_rounds`` for these, and the one below them: the layers of 2, 4, ... nodes one
    after the other."""
    at = [top_place(k) for k in range(1, count + 2)]
    places = np.array([[*below, *own] for own, below in pairwise(at)], np.int64)
    return places, np.concatenate([_all_distances(k, log_run) for k in range(1, count + 1)])


def top_place(k: int) -> tuple[int, int]:
    """Where in their memory the layer of 2^k nodes is, k > 0, and its words."""
    return 4 * ((1 << k) - 2 + kernels.PAD * (k - 1)), 4 * ((1 << k) + kernels.PAD)


def prove_top(
    sender: Sender, memory: U64, count: int, point: Sequence[Ext], p: Ext, q: Ext
) -> tuple[list[Ext], Ext, Ext]:
    """Of these layers: from the claims p, q at ``point`` on the first one to those on the layer below the last one."""
    return top_layers(sender, memory, *_top_places(count, layout.LOG_RUN), point, p, q)


class Rounds:
    """A layer of 2^k nodes, from its children ``uint64[4, *]``; rounds work in the memory of both."""

    scale = ONE

    def __init__(self, source: U64, spare: U64, runs: int, factor: Ext, r: U64) -> None:
        self.source, self.memory = source, gpu.beside(source)
        self.factor = factor
        self.eq = _Eq(r, runs)
        self.space = [source.reshape(8, -1), _beside(source, spare).reshape(8, -1)]  # one is read, the other written
        rounds = r.shape[1]
        here = gpu.on_host(source)
        self.together = max(0, rounds - 1 - layout.LOG_RUN) if here else rounds  # from here on: ``finish``

    def less(self, later: int) -> Ext:
        """What a round's sum lacks at 0, negative: the pairs that are not there."""
        return self.factor * (self.eq.sum(later) - 1)

    def round(self, x: list[Ext], later: int) -> tuple[Ext, Ext]:
        """h(0) and the leading coefficient after the challenges x; ``later`` rounds follow."""
        now = Now(_CHUNK)
        self.work(x, later, now, now)
        return now.low - self.less(later), now.top

    def work(self, x: Sequence[Challenge], later: int, main: Adder, more: Adder) -> None:
        """Adds both to ``main``."""
        count = self.eq.count(later)
        eq = self.eq(later, self.memory)
        factor = words(self.factor)
        child, bind, pair = distances(len(x), later)
        if not x:
            main(kernels.first_round, count, self.source, child, pair, *factor, *eq)
        elif len(x) == 1:
            args = child, bind, pair, *factor, *words(x[0])
            main(kernels.second_round, count, self.source, *args, *eq, self.space[1])
        else:
            self.complete(later)
            out, rows = self.space
            main(kernels.next_round, count, rows, bind, pair, *words(x[-1]), *eq, out)
            self.space = [rows, out]

    def complete(self, later: int) -> None:
        """Rows that a round after the second reads, and the one before has not written."""
        fill(self.space[1], *self.eq.missing(later), (ZERO, ONE, self.factor, ONE))

    def finish(self, sender: Sender, x: list[Ext], claim: Ext) -> tuple[list[Ext], Ext, Ext]:
        """On a processor, the rounds after the challenges x, of one run of pairs each, and what ``_merge`` gives."""
        first, count = len(x), self.eq.r.shape[1]
        if first > 1:
            self.complete(count - first - 1)
        apart = _all_distances(count, layout.LOG_RUN)
        return last_rounds(sender, self.space, apart, self.factor, self.eq.r, x, claim)

    def last(self, there: LookupRounds, first: int, count: int) -> None:
        """On a device, the rounds from ``first`` on of ``count``; each has one run of pairs."""
        if first > 1:
            self.complete(count - first - 1)
        _, eq = self.eq(count - first - 1, self.memory)  # it is not read again
        apart = _all_distances(count, layout.LOG_RUN)
        there.last(first, self.source, *self.space, apart, *words(self.factor), eq)
        if max(0, count - max(2, first)) % 2:
            self.space.reverse()

    def ends(self, rounds: int) -> list[Part]:
        """What ``values`` reads after so many rounds."""
        return [(self.source, 0, 4)] if rounds == 1 else [(self.space[1], 0, 2)]

    def values(self, x: list[Ext], ends: list[U64]) -> tuple[Ext, Ext, Ext, Ext]:
        """p0, p1, q0, q1 at x."""
        (last,) = ends
        if len(x) == 1:
            nodes = [node(last, i) for i in range(4)]
            (p0, q0), (p1, q1) = ((a + x[0] * (c - a), b + x[0] * (d - b)) for (a, b), (c, d) in (nodes[:2], nodes[2:]))
            return p0, p1, q0, q1
        p0, q0, a1, q1 = (_line(last, c, x[-1]) for c in (0, 2, 4, 6))
        return p0, a1 - self.factor * q1, q0, q1


class LeafRounds:
    """The layer above the leaves: h = lambda*s - c*e + what is corrected, e the sum of eq, s that of eq*(q0 +
    c*p0)*(q1 + c*p1), c = 1/lambda (kernels/logup.py), and what ``Rounds`` has for pairs that are not there."""

    def __init__(self, leaves: Leaves, corrected: Corrections, spare: U64, runs: int, factor: Ext, r: U64) -> None:
        self.q, self.corrected = leaves.denominators(), corrected
        self.memory, self.scale, self.shift = gpu.beside(self.q), factor, factor.inverse()
        rounds = r.shape[1]
        # the first two are of leaves alone
        self.together = min(rounds, max(2, rounds - layout.LOG_RUN)) if self.memory is gpu.HOST else rounds
        corrected.shift(self.q, self.shift)
        self.eq = _Eq(r, runs)
        self.spare = _beside(self.q, spare).reshape(-1)
        self.space: list[U64] = []  # two, so that a round reads one and writes the other

    def less(self, later: int) -> Ext:
        there = self.eq.sum(later)
        return self.scale * (there - 1) + self.shift * there

    def round(self, x: list[Ext], later: int) -> tuple[Ext, Ext]:
        main, more = Now(_CHUNK), Now(_CHUNK)
        self.work(x, later, main, more)
        return self.scale * main.low - self.less(later) + more.low, self.scale * main.top + more.top

    def work(self, x: Sequence[Challenge], later: int, main: Adder, more: Adder) -> None:
        """Adds s to ``main``, and what is corrected to ``more``."""
        binding, eq = bool(x), self.eq(later, self.memory)
        q, r = self.q, words(x[-1] if x else ZERO)
        child, bind, pair = distances(1 if x else 0, later)
        if x:
            if len(x) > 1:  # rows of leaves that are not used
                lo, hi = self.eq.missing(later)
                fill(q, 2 * lo, 2 * hi, (1 - self.shift,))
            q = self._space(self.eq.room(later))
        main(
            kernels.ones_round, self.eq.count(later), self.q, child, bind, pair, *words(self.shift), *r, binding, q,
            run_length(later + 1), *eq,
        )  # fmt: skip
        places, to, values = self.corrected.places[len(x)], self.corrected.to[len(x)], self.corrected.values
        if len(places):
            n = len(places) * run_length(later)
            more(kernels.corrections, n, values, places, *r, binding, to, *words(-self.shift), *eq)
        self.q = q

    def _space(self, rows: int) -> U64:
        """Room for the leaves of so many rows."""
        if len(self.space) < 2:
            size = 2 * (2 * rows + kernels.PAD)
            if size > len(self.spare):
                self.spare = self.memory.empty(size)
            self.space.append(self.spare[:size].reshape(2, -1))
            self.spare = self.spare[size:]
        else:
            self.space.reverse()
        return self.space[-1]

    def finish(self, sender: Sender, x: list[Ext], claim: Ext) -> tuple[list[Ext], Ext, Ext]:
        """``Rounds.finish``: from here on the leaves are a layer as others, with rows of their own."""
        count, d, i = self.eq.r.shape[1], self.corrected.values, len(x) - 1
        later = count - len(x)  # rounds after the one before
        width, right = 1 << later, run_length(later + 1)
        rows, spare = (np.empty((8, n + kernels.PAD), np.uint64) for n in (2 * width, width))
        for_ranges(
            kernels.leaf_rows, 1, self.q, right, 3 * width - right, d, self.corrected.to[i],
            bool(len(self.corrected.places[i])), *words(self.shift), *words(self.scale), width, rows,
        )  # fmt: skip
        apart = _all_distances(count, layout.LOG_RUN)
        return last_rounds(sender, (spare, rows), apart, self.scale, self.eq.r, x, claim)

    def ends(self, rounds: int) -> list[Part]:
        """What ``values`` reads after so many rounds."""
        c = self.corrected
        return [(self.q, 0, 4)] + [(c.values, c.to[-1] if rounds > 1 else 2 * c.run, 2)] * bool(len(c.places[-1]))

    def values(self, x: list[Ext], ends: list[U64]) -> tuple[Ext, Ext, Ext, Ext]:
        """p0, p1, q0, q1 at x."""
        q, *more = ends
        p0, p1 = ONE, ONE
        for d in more:
            p0, p1 = p0 + _line(d, 0, x[-1]), p1 + _line(d, 2, x[-1])
        left, right = _line(q, 0, x[-1]), _line(q[:, 2:], 0, x[-1])
        return p0, p1, left - self.shift * (p0 - 1), right - self.shift * (p1 - 1)


def _beside(a: U64, spare: U64) -> U64:
    """Room of the shape of ``spare`` where ``a`` is: that, if it is there."""
    if gpu.on_host(a) == gpu.on_host(spare):
        return spare
    out: U64 = gpu.beside(a).empty(spare.shape)
    return out


def _elements(words: U64) -> list[Ext]:
    """Those of ``uint64[2, n]``."""
    return [Ext(a, b) for a, b in words.T.tolist()]


def _line(w: U64, plane: int, t: Ext) -> Ext:
    """The line through the first two entries of the planes ``plane``, ``plane`` + 1, at t."""
    a, b = (Ext(int(w[plane, j]), int(w[plane + 1, j])) for j in range(2))
    return a + t * (b - a)


def words(x: Challenge) -> tuple[Any, ...]:
    return (np.uint64(x.a), np.uint64(x.b)) if isinstance(x, Ext) else (x,)


def node(layer: U64, i: int) -> tuple[Ext, Ext]:
    """Numerator and denominator of a node."""
    a, b, c, d = (int(x) for x in part(layer, i, 1)[:, 0])
    return Ext(a, b), Ext(c, d)
