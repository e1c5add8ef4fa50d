"""LogUp-GKR, prover's side: all lookups of a proof as one sum of fractions, summed by one binary tree.

Equation: sum over leaves of num/den = padding/alpha, where a lookup of the tuple (c_0, c_1, ...) in the table with
this tag has the leaf +1 / (alpha - f), f = tag + beta*c_0 + beta^2*c_1 + ..., row i of a table has -m(i) / (alpha -
f(row i)), m(i) its multiplicity, and each of the ``padding`` padded leaves of a block is +1/alpha. Tag 0 is
reserved: f = 0 is a padded leaf's. Unused leaves are 0/1.

Tree: 2^n leaves, n > 0. Node j of the layer of 2^k nodes has the children j and j + 2^k: p = p0*q1 + p1*q0, q =
q0*q1. The root (P, Q) is not sent. Messages: p0, p1, q0, q1 of the two nodes under it, which must give alpha*P =
padding*Q; challenge mu, which merges the halves; then, from a claim (P, Q) at r in K^k, for k = 1 .. n - 1:

    challenge lambda; sumcheck of P + lambda*Q = sum over x of eq(r, x) * (p0*q1 + p1*q0 + lambda*q0*q1)(x);
    values p0, p1, q0, q1; challenge mu: the next claim is at (mu, x).

Leaf i is in the place that has the bits of i, those from the tenth on in reverse (protocol/layout.py): the places of
512 leaves in a row, a *run*, are a row, and the children of a run of nodes are two runs of which the leaves are
neighbours. So what comes behind the last used leaf is behind the used nodes of every layer, and behind the pairs of
them in every round. Only runs with used leaves are stored, and up to seven more. The others' nodes are 0/1: they add
lambda*eq to h(0), in closed form, and nothing to the rest of h.

A round polynomial is eq(r_i, t) * h(t) times what earlier rounds bound, h of degree 2 (Gruen). With h = a + b*t +
c*t^2 the message is (b + c, c): the running claim C = (1 - r_i)*h(0) + r_i*h(1) = a + r_i*(b + c) gives a, and the
next claim is h(challenge). The verifier divides nothing.

Q != 0 is not checked and not needed. G = alpha*P - padding*Q is a polynomial in alpha, beta and the fingerprint point,
of degree at most N*max(1, W) + 1, and alpha*Q*(sum of fractions - padding/alpha); Q is a product of factors alpha - f,
alpha and 1, so not the zero polynomial. Poles f that differ as polynomials have independent fractions, and the
numerators at one pole add up to an integer below p or to multiplicities in F: G is the zero polynomial exactly when
lookups and tables balance. The tree binds P and Q to the leaves, so an unbalanced system passes only where G vanishes,
P = Q = 0 included.

Soundness: N*(W + 2)/|K| for N leaves of width W (alpha and the betas drawn after members and multiplicities are
fixed), and sum over k of (3*k + 2)/|K| for the layers (1/|K| for k = 0). The sum of multiplicities must stay below p.
The caller must settle the two claims at the leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy import gpu
from syurmy.gpu.arrays import Scalars
from syurmy.isa.arrays import I64
from syurmy.prover.ahead import LookupRounds, Now
from syurmy.prover.field import ONE, U64, ZERO, Ext, ext_array, log2_ceil
from syurmy.prover.kernels import compiled, pool
from syurmy.prover.kernels import logup as kernels
from syurmy.prover.kernels.mle import eq_suffixes
from syurmy.prover.kernels.moves import moved_kernel
from syurmy.prover.kernels.place import joined
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.vectors import cut, eq_vector, filled, part
from syurmy.prover.layer import last_rounds
from syurmy.prover.protocol import layout
from syurmy.prover.protocol.hidden import TREE
from syurmy.prover.protocol.transcript import Sender

Challenge = Ext | Scalars
Adder = Callable[..., None]
FEW = layout.LOG_RUN  # variables of a round's pairs that, with all rounds after it, is left to one block of a device
SHORTEST = 6  # variables of a layer that is worth its launches
_CHUNK = 1 << 12  # pairs a thread takes at least; of nodes, twice as many


def fill_denominators(
    out: U64,
    members: Sequence[I64],
    padded: Sequence[int],
    tag: int,
    alpha: Ext,
    betas: Sequence[Ext],
) -> None:
    """Denominators of one block into ``out``, ``uint64[2, size]`` with contiguous planes, C order over ``padded``.

    A true entry is alpha - tag - sum betas[i]*members[i], members of one true shape; a padded entry is alpha.
    ``ValueError`` where shapes do not fit.
    """
    shape = members[0].shape if members else ()
    size = math.prod(padded)
    fits = len(padded) == len(shape) and all(0 < s <= p for s, p in zip(shape, padded, strict=True))
    if not fits or out.shape != (2, size) or len(betas) < len(members) or any(m.shape != shape for m in members):
        raise ValueError("a block of leaves does not fit its members")
    fill_planes((out[0], out[1]), members, shape, padded, tag, alpha, betas)


def fill_planes(
    out: Sequence[gpu.Array],
    members: Sequence[gpu.Array],
    shape: Sequence[int],
    padded: Sequence[int],
    tag: int,
    alpha: Ext,
    betas: Sequence[Ext],
) -> None:
    """``fill_denominators`` into two planes, of members that have ``shape`` in C order."""
    constant, empty = alpha - tag, alpha
    lengths, wide, _ = joined(shape, padded, [math.prod(shape[i + 1 :]) for i in range(len(shape))])
    for_ranges(
        kernels.fill,
        len(out[0]),
        *out,
        _columns(members, gpu.beside(*out)),
        lengths,
        wide,
        np.array([constant.a, constant.b], dtype=np.uint64),
        ext_array(betas[: len(members)]),
        np.array([empty.a, empty.b], dtype=np.uint64),
    )


def _columns(members: Sequence[gpu.Array], memory: gpu.Memory) -> gpu.Array:
    """``int64[members, entries]``."""
    if memory is gpu.HOST:
        flat = [np.asarray(m, dtype=np.int64).reshape(1, -1) for m in members]
        return np.concatenate(flat) if len(flat) > 1 else np.ascontiguousarray(flat[0])
    out = memory.empty((len(members), members[0].size), np.int64)
    for k, m in enumerate(members):
        whole = np.array([m.size], np.int64), np.ones(1, np.int64)
        for_ranges(moved_kernel, m.size, pool.contiguous(m).reshape(-1), *whole, out[k])
    return out


@dataclass(frozen=True, eq=False)
class Leaves:
    """The leaves of a tree: numerators ``uint64[used]``, denominators ``uint64[2, stored + PAD]``, 1 from ``used`` on;
    on the host or on a device. A leaf that is not used is 0/1. Numerators that are 1 cost nothing. ``others``: the
    ranges with numerators that are not 1; None: they are looked for. A tree uses its leaves up."""

    num: U64
    den: U64
    used: int
    others: Sequence[tuple[int, int]] | None = None

    @staticmethod
    def ones(used: int, memory: gpu.Memory = gpu.HOST, others: Sequence[tuple[int, int]] | None = None) -> Leaves:
        """Numerators 1, denominators to be filled in; on a device ``others`` has to be given."""
        log_size = log2_ceil(max(2, used))
        den: U64 = memory.empty((2, _stored(used, log_size, log_size) + kernels.PAD))
        filled(den[0, used:], 1)
        filled(den[1, used:], 0)
        return Leaves(filled(memory.empty(used), 1), den, used, others)

    @staticmethod
    def of(num: U64, den: U64) -> Leaves:
        """Of ``uint64[used]`` and ``uint64[2, used]``; ``ValueError`` where they do not fit."""
        if den.shape != (2, len(num)) or len(num) < 1:
            raise ValueError("leaves do not fit: as many denominators as numerators, at least one")
        out = Leaves.ones(len(num))
        out.num[:], out.den[:, : len(num)] = num, den
        return out

    @property
    def log_size(self) -> int:
        return log2_ceil(max(2, self.used))

    def stored(self, k: int) -> int:
        """The nodes of the layer of 2^k that are stored."""
        return _stored(self.used, self.log_size, k)

    def runs(self, k: int) -> int:
        """The runs of the layer of 2^k nodes that have used leaves."""
        return -(-self.used >> self.log_size - k + layout.LOG_RUN) if k > layout.LOG_RUN else 1


def _stored(used: int, log_size: int, k: int) -> int:
    """Eight runs are the children that a round binds for a run of pairs."""
    log_unit = layout.LOG_RUN + 3
    return min(1 << k, -(-used >> log_size - k + log_unit) << log_unit) if k > log_unit else 1 << k


@dataclass(frozen=True, eq=False)
class Tree:
    """Leaves and the layers above them."""

    leaves: Leaves
    corrected: _Corrections
    layers: list[U64]

    @staticmethod
    def of(leaves: Leaves) -> Tree:
        corrected = _Corrections(leaves)
        # numerators are not read again, but those of a tree of two leaves
        num, few = leaves.num, min(2, len(leaves.num))
        num = num[:few].copy() if gpu.on_host(num) else cut(num.reshape(1, -1), 0, few).reshape(-1)
        leaves = replace(leaves, num=num)
        del num
        return Tree(leaves, corrected, _build(leaves, corrected))


def prove_tree(sender: Sender, leaves: Leaves) -> tuple[list[Ext], Ext, Ext]:
    """Sends the layers of the tree; the point and the claims num(point), den(point) on the leaves, extended by 0/1."""
    return prove_layers(sender, Tree.of(leaves))


def prove_layers(sender: Sender, tree: Tree) -> tuple[list[Ext], Ext, Ext]:
    """``prove_tree`` of a tree that is used up by it."""
    leaves, corrected, layers = tree.leaves, tree.corrected, tree.layers
    log_size = leaves.log_size
    nodes = [_node(layers[1], i) for i in range(2)] if log_size > 1 else [_leaf(leaves, i) for i in range(2)]
    (p0, q0), (p1, q1) = nodes
    point, p, q = _merge(sender, [], (p0, p1, q0, q1))
    layers.reverse()
    layers.pop()
    for k in range(1, log_size):  # a layer is not read again: the next one's rounds work in its memory, then it goes
        layer = layers.pop()
        begin = partial(_LeafRounds, leaves, corrected) if k == log_size - 1 else partial(_Rounds, layers[-1])
        point, p, q = _prove_layer(sender, partial(begin, layer, leaves.runs(k)), point, p, q)
    return layout.leaf_point(point), p, q


def _node(layer: U64, i: int) -> tuple[Ext, Ext]:
    """Numerator and denominator of a node."""
    a, b, c, d = (int(x) for x in part(layer, i, 1)[:, 0])
    return Ext(a, b), Ext(c, d)


def _leaf(leaves: Leaves, i: int) -> tuple[Ext, Ext]:
    num = int(part(leaves.num.reshape(1, -1), i, 1)[0, 0]) if i < len(leaves.num) else 0
    a, b = part(leaves.den, i, 1)[:, 0]
    return Ext(num), Ext(int(a), int(b))


def _build(leaves: Leaves, corrected: _Corrections) -> list[U64]:
    """Layers 0 .. log_size - 1; small ones on the host."""
    out: list[U64] = []
    memory = gpu.beside(leaves.den)
    for k in range(leaves.log_size - 1, -1, -1):
        if out and memory is not gpu.HOST and gpu.place(1 << k + SHORTEST) is gpu.HOST:
            memory = gpu.HOST
            out[-1] = gpu.download(out[-1])
        run, count, stored = _run(k), leaves.stored(k + 1) // 2, leaves.stored(k)
        layer: U64 = memory.empty((4, stored + kernels.PAD))
        if out:
            for_ranges(kernels.combine, count, out[-1], run, layer, min_chunk=2 * _CHUNK)
        else:
            for_ranges(kernels.combine_ones, count, leaves.den, run, layer, min_chunk=2 * _CHUNK)
            for lo, hi in corrected.ranges:
                d = corrected.values
                for_ranges(kernels.combine_corrections, hi - lo, leaves.den, run, d, lo, layer, min_chunk=2 * _CHUNK)
        _fill(layer, count, stored, (ZERO, ONE))
        out.append(layer)
    return out[::-1]


def _run(k: int) -> int:
    """Nodes of a run, in a layer of 2^k."""
    return 1 << min(layout.LOG_RUN, k)


def _fill(planes: U64, lo: int, hi: int, values: Sequence[Ext]) -> None:
    """Sets the elements [lo, hi) of every two planes."""
    if lo < hi:
        for i, x in enumerate(values):
            filled(planes[2 * i, lo:hi], x.a)
            filled(planes[2 * i + 1, lo:hi], x.b)


class _Corrections:
    """What numerators are beside 1: ``uint64[4, *]``, planes of d0 = p0 - 1 and d1 = p1 - 1 of the nodes above; d is
    zero outside of ``ranges``, which are whole runs, and not given there."""

    def __init__(self, leaves: Leaves) -> None:
        stored, used = leaves.stored(leaves.log_size), leaves.used
        self.run = _run(leaves.log_size - 1)
        others = list(_runs(leaves.num != 1) if leaves.others is None else leaves.others)
        if used < stored:
            others.append((used, stored))
        two = 2 * self.run
        self.ranges = _united((lo // two * self.run, -(-hi // two) * self.run) for lo, hi in others)
        self.values: U64 = gpu.beside(leaves.den).empty((4, stored // 2 + kernels.PAD))
        for lo, hi in self.ranges:
            for_ranges(kernels.numerators, hi - lo, leaves.num, self.run, self.values, lo, min_chunk=2 * _CHUNK)

    def shift(self, leaves: Leaves, c: Ext) -> None:
        """Adds c*(p - 1) to the denominators."""
        for lo, hi in self.ranges:
            for_ranges(kernels.shift, hi - lo, leaves.den, self.run, self.values, lo, *_words(c), min_chunk=2 * _CHUNK)


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The ranges in which ``mask`` is set."""
    ends = [0] * bool(mask[:1].any()), [len(mask)] * bool(mask[-1:].any())
    edges = [*ends[0], *(np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist(), *ends[1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted ranges without overlap that cover the same."""
    out: list[tuple[int, int]] = []
    for lo, hi in sorted(r for r in ranges if r[0] < r[1]):
        if out and lo <= out[-1][1]:
            out[-1] = out[-1][0], max(hi, out[-1][1])
        else:
            out.append((lo, hi))
    return out


def _inverses(values: Sequence[Ext]) -> list[Ext]:
    """Inverses by one inversion. A zero (probability 2^-128 for challenges) is a ``ZeroDivisionError``."""
    products = list(accumulate(values, lambda a, b: a * b, initial=ONE))
    inverse = products[-1].inverse()
    out = []
    for product, v in zip(products[-2::-1], reversed(values), strict=True):
        out.append(product * inverse)
        inverse = inverse * v
    return out[::-1]


def _prove_layer(
    sender: Sender, begin: Callable[[Ext, U64], _Rounds | _LeafRounds], r: list[Ext], p: Ext, q: Ext
) -> tuple[list[Ext], Ext, Ext]:
    """One layer: from the claims p, q at r to those at its children."""
    factor = sender.transcript.challenge("lookup lambda")
    rounds = begin(factor, ext_array(r))
    inverses = _inverses(r[: rounds.together])
    x, claim = _ahead(sender, rounds, p + factor * q, r, inverses)
    for i, inverse in enumerate(inverses[len(x) :], len(x)):
        low, top = rounds.round(x, len(r) - i - 1)
        slope = (claim - low) * inverse
        sender.ext("lookup round", [slope, top])
        x.append(sender.transcript.challenge("lookup challenge"))
        claim = low + x[-1] * (slope + (x[-1] - 1) * top)
    if isinstance(rounds, _Rounds) and len(x) < len(r):
        return rounds.finish(sender, x, claim)
    return _merge(sender, x, rounds.values(x))


def _ahead(
    sender: Sender, rounds: _Rounds | _LeafRounds, claim: Ext, r: list[Ext], inverses: list[Ext]
) -> tuple[list[Ext], Ext]:
    """The challenges of the rounds of a layer that is on a device, which does them by itself, and the claim after
    them."""
    memory = gpu.beside(rounds.source)
    if memory is gpu.HOST:
        return [], claim
    constants = [(rounds.scale, rounds.less(len(r) - i - 1), inverse) for i, inverse in enumerate(inverses)]
    there = LookupRounds(memory, sender, ("lookup round", "lookup challenge"), claim, constants)
    first = max(0, len(r) - 1 - FEW) if isinstance(rounds, _Rounds) else len(r)
    for i in range(first):
        rounds.work([there.x(k) for k in range(i)], len(r) - i - 1, there.main(i), there.added(i))
        there.finish(i)
    if isinstance(rounds, _Rounds) and first < len(r):
        rounds.last(there, first, len(r))
    return there.sent()


def _merge(sender: Sender, x: list[Ext], values: tuple[Ext, Ext, Ext, Ext]) -> tuple[list[Ext], Ext, Ext]:
    """Sends the values of a layer's children at x; the claims on both halves as one."""
    sender.ext("lookup values", values)
    sender.skip_pads(len(TREE))
    p0, p1, q0, q1 = values
    mu = sender.transcript.challenge("lookup merge")
    return [mu, *x], p0 + mu * (p1 - p0), q0 + mu * (q1 - q0)


class _Eq:
    """eq(rest, .) as the outer product of two tables, for the rounds of a layer at r, ``uint64[2, k]``, of which so
    many ``runs`` are stored. ``later`` rounds follow."""

    one = np.array([[1], [0]], dtype=np.uint64)

    def __init__(self, r: U64, runs: int) -> None:
        self.r, self.runs = r, runs
        self.inner: U64 = np.empty((2, 0), dtype=np.uint64)
        self.suffixes: U64 | None = None  # on the host: the tables of all variables within a run, of all but one, ...

    def pairs(self, later: int) -> int:
        """How many runs of pairs there are."""
        return -(-self.runs >> self.r.shape[1] - later) if later > layout.LOG_RUN else 1

    def count(self, later: int) -> int:
        """How many pairs there are."""
        return self.pairs(later) * _run(later)

    def missing(self, later: int) -> tuple[int, int]:
        """The rows from, to which a round that binds reads, and the one before has not written."""
        if later < layout.LOG_RUN:
            return 0, 0
        return 2 * self.count(later + 1), 4 * self.count(later)

    def room(self, later: int) -> int:
        """The rows that a round writes that binds, with those that the next one reads besides."""
        return max(2 * self.count(later), self.missing(later - 1)[1])

    def _outer(self, later: int) -> U64:
        """The variables of runs, the most significant first."""
        k = self.r.shape[1]
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
            self.inner = eq_vector(_elements(self.r[:, self.r.shape[1] - count :]), memory)
        outer = self.one if later == count else compiled.eq_vector(self._outer(later), self.pairs(later))
        return outer, self.inner

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
    out = [_run(log_rows)] if sides else []
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


class _Rounds:
    """A layer of 2^k nodes, from its children ``uint64[4, *]``; rounds work in the memory of both."""

    scale = ONE

    def __init__(self, source: U64, spare: U64, runs: int, factor: Ext, r: U64) -> None:
        self.source = source
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
        eq = self.eq(later, gpu.beside(self.space[0]))
        factor = _words(self.factor)
        child, bind, pair = distances(len(x), later)
        if not x:
            main(kernels.first_round, count, self.source, child, pair, *factor, *eq)
        elif len(x) == 1:
            args = child, bind, pair, *factor, *_words(x[0])
            main(kernels.second_round, count, self.source, *args, *eq, self.space[1])
        else:
            self.complete(later)
            out, rows = self.space
            main(kernels.next_round, count, rows, bind, pair, *_words(x[-1]), *eq, out)
            self.space = [rows, out]

    def complete(self, later: int) -> None:
        """Rows that a round after the second reads, and the one before has not written."""
        _fill(self.space[1], *self.eq.missing(later), (ZERO, ONE, self.factor, ONE))

    def finish(self, sender: Sender, x: list[Ext], claim: Ext) -> tuple[list[Ext], Ext, Ext]:
        """On a processor, the rounds after the challenges x, of one run of pairs each, and what ``_merge`` gives."""
        first, count = len(x), self.eq.r.shape[1]
        if first > 1:
            self.complete(count - first - 1)
        apart = _all_distances(count, layout.LOG_RUN)
        return last_rounds(sender, self.source, self.space, apart, self.factor, self.eq.r, x, claim)

    def last(self, there: LookupRounds, first: int, count: int) -> None:
        """On a device, the rounds from ``first`` on of ``count``; each has one run of pairs."""
        if first > 1:
            self.complete(count - first - 1)
        _, eq = self.eq(count - first - 1, gpu.beside(self.source))  # it is not read again
        apart = _all_distances(count, layout.LOG_RUN)
        there.last(first, self.source, *self.space, apart, *_words(self.factor), eq)
        if max(0, count - max(2, first)) % 2:
            self.space.reverse()

    def values(self, x: list[Ext]) -> tuple[Ext, Ext, Ext, Ext]:
        """p0, p1, q0, q1 at x."""
        if len(x) == 1:
            nodes = [_node(self.source, i) for i in range(4)]
            (p0, q0), (p1, q1) = ((a + x[0] * (c - a), b + x[0] * (d - b)) for (a, b), (c, d) in (nodes[:2], nodes[2:]))
            return p0, p1, q0, q1
        last = part(self.space[1], 0, 2)
        p0, q0, a1, q1 = (_line(last, c, x[-1]) for c in (0, 2, 4, 6))
        return p0, a1 - self.factor * q1, q0, q1


class _LeafRounds:
    """The layer above the leaves: h = lambda*s - c*e + what is corrected, e the sum of eq, s that of eq*(q0 +
    c*p0)*(q1 + c*p1), c = 1/lambda (kernels/logup.py), and what ``_Rounds`` has for pairs that are not there."""

    def __init__(self, leaves: Leaves, corrected: _Corrections, spare: U64, runs: int, factor: Ext, r: U64) -> None:
        self.q, self.d, self.ranges = leaves.den, corrected.values, corrected.ranges
        self.source, self.scale, self.shift = leaves.den, factor, factor.inverse()
        self.together = r.shape[1]
        corrected.shift(leaves, self.shift)
        self.eq = _Eq(r, runs)
        self.spare = _beside(leaves.den, spare).reshape(-1)
        self.space: list[tuple[U64, U64]] = []  # two, so that a round reads one and writes the other

    def less(self, later: int) -> Ext:
        there = self.eq.sum(later)
        return self.scale * (there - 1) + self.shift * there

    def round(self, x: list[Ext], later: int) -> tuple[Ext, Ext]:
        main, more = Now(_CHUNK), Now(_CHUNK)
        self.work(x, later, main, more)
        return self.scale * main.low - self.less(later) + more.low, self.scale * main.top + more.top

    def work(self, x: Sequence[Challenge], later: int, main: Adder, more: Adder) -> None:
        """Adds s to ``main``, and what is corrected to ``more``."""
        width, binding = _run(later), bool(x)
        eq = self.eq(later, gpu.beside(self.q))
        q, d, r = self.q, self.d, _words(x[-1] if x else ZERO)
        child, bind, pair = _apart(later + 2, True, 2) if x else (_run(later + 1), 0, _apart(later + 1, True, 1)[1])
        if x:
            if len(x) > 1:
                self._complete(*self.eq.missing(later))
            q, d = self._space(self.eq.room(later))
        main(
            kernels.ones_round, self.eq.count(later), self.q, child, bind, pair, *_words(self.shift), *r, binding, q,
            _run(later + 1), *eq,
        )  # fmt: skip
        rows = 4 * width if x else 2 * width  # that a run of pairs reads
        pairs = self.eq.pairs(later)
        runs = _united((lo // rows, min(-(-hi // rows), pairs)) for lo, hi in self.ranges)
        for lo, hi in _missing(((a * rows, b * rows) for a, b in runs), self.ranges):
            _fill(self.d, lo, hi, (ZERO, ZERO))
        bind, pair = _apart(later + 2, False, 2) if x else (0, _apart(later + 1, False, 1)[0])
        for a, b in runs:
            n = (b - a) * width
            more(kernels.corrections, n, self.d, bind, pair, *r, binding, d, *_words(-self.shift), a * width, *eq)
        self.q, self.d = q, d
        if x:
            self.ranges = [(a * 2 * width, b * 2 * width) for a, b in runs]

    def _complete(self, lo: int, hi: int) -> None:
        """Rows of leaves that are not used."""
        if lo < hi:
            _fill(self.q, 2 * lo, 2 * hi, (1 - self.shift,))
            _fill(self.d, lo, hi, (-ONE, -ONE))
            self.ranges = _united([*self.ranges, (lo, hi)])

    def _space(self, rows: int) -> tuple[U64, U64]:
        """Room for leaves and corrections of so many rows."""
        if len(self.space) < 2:
            memory = gpu.beside(self.q)
            words = 2 * (2 * rows + kernels.PAD)
            if words > len(self.spare):
                self.spare = memory.empty(words)
            self.space.append((self.spare[:words].reshape(2, -1), memory.empty((4, rows + kernels.PAD))))
            self.spare = self.spare[words:]
        else:
            self.space.reverse()
        return self.space[-1]

    def values(self, x: list[Ext]) -> tuple[Ext, Ext, Ext, Ext]:
        """p0, p1, q0, q1 at x."""
        p0, p1 = ONE, ONE
        if self.ranges:
            d = part(self.d, 0, 2)
            p0, p1 = p0 + _line(d, 0, x[-1]), p1 + _line(d, 2, x[-1])
        q = part(self.q, 0, 4)
        left, right = _line(q, 0, x[-1]), _line(q[:, 2:], 0, x[-1])
        return p0, p1, left - self.shift * (p0 - 1), right - self.shift * (p1 - 1)


def _missing(wanted: Iterable[tuple[int, int]], have: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of the wanted ranges outside ``have``, which is sorted and disjoint."""
    out = []
    for lo, hi in wanted:
        for a, b in have:
            if a < hi and b > lo:
                if lo < a:
                    out.append((lo, a))
                lo = max(lo, b)
        if lo < hi:
            out.append((lo, hi))
    return out


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


def _words(x: Challenge) -> tuple[Any, ...]:
    return (np.uint64(x.a), np.uint64(x.b)) if isinstance(x, Ext) else (x,)
