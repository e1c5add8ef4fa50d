"""LogUp-GKR, prover's side: all lookups of a proof as one sum of fractions, summed by one binary tree.

Equation: sum over leaves of num/den = padding/alpha, where a lookup of the tuple (c_0, c_1, ...) in the table with
this tag has the leaf +1 / (alpha - f), f = tag + beta*c_0 + beta^2*c_1 + ..., row i of a table has -m(i) / (alpha -
f(row i)), m(i) its multiplicity, and each of the ``padding`` padded leaves of a block is +1/alpha. Tag 0 is
reserved: f = 0 is a padded leaf's. Unused leaves are 0/1.

Tree: 2^n leaves, n > 0, of which a prefix is stored. Node j of the layer of 2^k nodes has the children j and j + 2^k:
p = p0*q1 + p1*q0, q = q0*q1. The root (P, Q) is not sent. Messages: p0, p1, q0, q1 of the two nodes under it, which
must give alpha*P = padding*Q; challenge mu, which merges the halves; then, from a claim (P, Q) at r in K^k, for k = 1
.. n - 1:

    challenge lambda; sumcheck of P + lambda*Q = sum over x of eq(r, x) * (p0*q1 + p1*q0 + lambda*q0*q1)(x);
    values p0, p1, q0, q1; challenge mu: the next claim is at (mu, x).

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy import gpu
from syurmy.gpu.arrays import Scalars
from syurmy.isa.arrays import I64
from syurmy.prover.ahead import Ahead, Now
from syurmy.prover.field import ONE, U64, ZERO, Ext, P, ext_array, log2_ceil
from syurmy.prover.kernels import compiled, pool
from syurmy.prover.kernels import logup as kernels
from syurmy.prover.kernels.mle import eq_suffixes
from syurmy.prover.kernels.moves import less_one_kernel, moved_kernel
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.vectors import add_scaled, cut, eq_vector, filled, part
from syurmy.prover.protocol.hidden import TREE
from syurmy.prover.protocol.transcript import Sender

Challenge = Ext | Scalars
Adder = Callable[..., None]
_INNER = 9  # variables of the inner eq table: 8 KiB
_CHUNK = 4096  # pairs a thread takes at least
_GAP = 64  # leaves with numerator 1 that are corrected, by zero, between others


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
    for_ranges(
        kernels.fill,
        len(out[0]),
        *out,
        _columns(members, gpu.beside(*out)),
        np.array(tuple(shape) or (1,), dtype=np.int64),
        np.array(tuple(padded) or (1,), dtype=np.int64),
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
    """The leaves of a tree of 2^n: numerators ``uint64[used]``, denominators ``uint64[2, 2^n + PAD]``, 1 from ``used``
    on; on the host or on a device. A leaf that is not used is 0/1. Numerators that are 1 cost nothing. ``others``: the
    ranges with numerators that are not 1; None: they are looked for. A tree uses its leaves up."""

    num: U64
    den: U64
    others: Sequence[tuple[int, int]] | None = None

    @staticmethod
    def ones(used: int, memory: gpu.Memory = gpu.HOST, others: Sequence[tuple[int, int]] | None = None) -> Leaves:
        """Numerators 1, denominators to be filled in; on a device ``others`` has to be given."""
        size = 1 << log2_ceil(max(2, used))
        den: U64 = memory.empty((2, size + kernels.PAD))
        filled(den[0, used:], 1)
        filled(den[1, used:], 0)
        return Leaves(filled(memory.empty(used), 1), den, others)

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
        return log2_ceil(self.den.shape[1] - kernels.PAD)


@dataclass(frozen=True, eq=False)
class Tree:
    """Leaves and the layers above them."""

    leaves: Leaves
    corrected: _Corrections
    layers: list[U64]

    @staticmethod
    def of(leaves: Leaves) -> Tree:
        corrected = _Corrections(leaves)
        if gpu.on_host(leaves.num):  # numerators are not read again, but those of a tree of two leaves
            leaves = replace(leaves, num=leaves.num[:2].copy())
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
        point, p, q = _prove_layer(sender, partial(begin, layer), point, p, q)
    return point, p, q


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
        half = 1 << k
        if out and memory is not gpu.HOST and gpu.place(2 * half) is gpu.HOST:
            memory = gpu.HOST
            out[-1] = gpu.download(out[-1])
        layer: U64 = memory.empty((4, half + kernels.PAD))
        if out:
            for_ranges(kernels.combine, half, out[-1], half, layer, min_chunk=_CHUNK)
        else:
            used = corrected.used
            for_ranges(kernels.combine_ones, used, leaves.den, half, layer, min_chunk=_CHUNK)
            if used < half:  # next to leaves that are not used, numerators are 1 here
                layer[0, used:half], layer[1, used:half] = 1, 0
                layer[2:, used:half] = leaves.den[:, used:half]
            for lo, hi in corrected.ranges:
                d = corrected.values
                for_ranges(kernels.combine_corrections, hi - lo, leaves.den, half, d, lo, layer, min_chunk=_CHUNK)
        out.append(layer)
    return out[::-1]


class _Corrections:
    """What numerators are beside 1: ``uint64[4, *]``, planes of d0 = p0 - 1 and d1 = p1 - u. On the host u is 1 for the
    ``used`` right leaves and 0 after them, on a device, where challenges are drawn that the host does not know, 1
    everywhere. ``ranges`` of the nodes above such leaves; ``pairs`` of nodes, at a distance of half a layer, that the
    first round reads: there d is zero where it is not given."""

    def __init__(self, leaves: Leaves) -> None:
        self.size = size = 1 << (leaves.log_size - 1)
        memory = gpu.beside(leaves.den)
        used = len(leaves.num)
        self.others = list(_runs(leaves.num != 1) if leaves.others is None else leaves.others)
        self.used = used - size
        if memory is not gpu.HOST:
            self.used = size
            self.others += [(used, 2 * size)] if used < 2 * size else []
        self.ranges = _united(r for lo, hi in self.others for r in _halved(lo, hi, size))
        self.pairs = _united(r for lo, hi in self.ranges for r in _halved(lo, hi, size // 2))
        self.values: U64 = memory.empty((4, size + kernels.PAD))
        read = [(lo + at, hi + at) for lo, hi in self.pairs for at in (0, size // 2)]
        for lo, hi in _united([*self.ranges, *read]):
            for plane in range(4):
                filled(self.values[plane, lo:hi], 0)
        for lo, hi, plane, at in self._sides():
            out = self.values[plane, lo:hi]
            if memory is not gpu.HOST:
                for_ranges(less_one_kernel, hi - lo, leaves.num, at + lo, out)
                continue
            num = leaves.num[at + lo : at + hi]
            out[:] = np.where(num == 0, np.uint64(P - 1), num - np.uint64(1))

    def _sides(self) -> Iterator[tuple[int, int, int, int]]:
        """Nodes above leaves with other numerators: from, to, the plane of d, the leaf of node 0."""
        for lo, hi in self.others:
            if lo < self.size:
                yield lo, min(hi, self.size), 0, 0
            if hi > self.size:
                yield max(lo, self.size) - self.size, hi - self.size, 2, self.size

    def shift(self, leaves: Leaves, c: Ext) -> None:
        """Adds c*(p - 1) to the denominators."""
        for lo, hi, plane, at in self._sides():
            add_scaled(leaves.den, at + lo, cut(self.values[plane : plane + 2], lo, hi - lo), c)
        first = self.size + self.used
        one = 1 - c
        filled(leaves.den[0, first:], one.a)
        filled(leaves.den[1, first:], one.b)


class _Used:
    """The extension of u, 1 for the first ``count`` of 2^k and 0 for the others, as its variables are bound, the
    most significant first: u(x, rest) = low + slope * [rest < the lower bits of count]."""

    def __init__(self, count: int, r: Sequence[Ext]) -> None:
        self.low, self.slope = (ONE, ZERO) if count == 1 << len(r) else (ZERO, ONE)
        self.count, self.variables, self.bound = count, len(r), 0
        self._after = [ZERO]  # [rest < ...] extended, at the last 0, 1, ... elements of r
        for i, z in enumerate(reversed(r)):
            self._after.append(self._next(i, z, self._after[-1]))

    def _next(self, i: int, z: Ext, after: Ext) -> Ext:
        below = 1 - z
        return below + z * after if self.count >> i & 1 else below * after

    def bind(self, x: Ext) -> None:
        self.variables, self.bound = self.variables - 1, self.bound + 1
        if self.count >> self.variables & 1:
            self.low = self.low + self.slope * (1 - x)
            self.slope = self.slope * x
        else:
            self.slope = self.slope * (1 - x)

    def sum(self) -> Ext:
        """Of eq * u over all that follow, where the next variable is 0."""
        i = self.variables - 1
        return self.low + self.slope * self._next(i, ZERO, self._after[i])

    @property
    def split(self) -> int:
        """The first row for which u is ``low``; before it, it is more by ``slope``."""
        return self.count & ((1 << self.variables) - 1)


def _runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The ranges in which ``mask`` is set."""
    ends = [0] * bool(mask[:1].any()), [len(mask)] * bool(mask[-1:].any())
    edges = [*ends[0], *(np.flatnonzero(mask[1:] != mask[:-1]) + 1).tolist(), *ends[1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted ranges that cover these and gaps below ``_GAP``."""
    out: list[tuple[int, int]] = []
    for lo, hi in sorted(r for r in ranges if r[0] < r[1]):
        if out and lo <= out[-1][1] + _GAP:
            out[-1] = out[-1][0], max(hi, out[-1][1])
        else:
            out.append((lo, hi))
    return out


def _halved(lo: int, hi: int, half: int) -> list[tuple[int, int]]:
    """The i < ``half`` for which i or i + half is in the range."""
    return [(lo, min(hi, half)), (max(lo, half) - half, hi - half)]


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
    inverses = _inverses(r)
    x, claim = _ahead(sender, rounds, p + factor * q, r, inverses)
    for i, inverse in enumerate(inverses[len(x) :], len(x)):
        low, top = rounds.round(x, len(r) - i - 1)
        slope = (claim - low) * inverse
        sender.ext("lookup round", [slope, top])
        x.append(sender.transcript.challenge("lookup challenge"))
        claim = low + x[-1] * (slope + (x[-1] - 1) * top)
    return _merge(sender, x, rounds.values(x))


def _ahead(
    sender: Sender, rounds: _Rounds | _LeafRounds, claim: Ext, r: list[Ext], inverses: list[Ext]
) -> tuple[list[Ext], Ext]:
    """The challenges of those rounds of a layer that a device does by itself, and the claim after them."""
    memory = gpu.beside(rounds.source)
    if memory is gpu.HOST:
        return [], claim
    count = sum(i < 2 or gpu.place(1 << (len(r) - 1 - i)) is memory for i in range(len(r)))
    constants = [(rounds.scale, rounds.shift, inverse) for inverse in inverses[:count]]
    there = Ahead(memory, sender, ("lookup round", "lookup challenge"), claim, constants)
    for i in range(count):
        rounds.work([there.x(k) for k in range(i)], len(r) - i - 1, there.main(i), there.more(i))
        there.finish(i)
    return there.sent()


def _merge(sender: Sender, x: list[Ext], values: tuple[Ext, Ext, Ext, Ext]) -> tuple[list[Ext], Ext, Ext]:
    """Sends the values of a layer's children at x; the claims on both halves as one."""
    sender.ext("lookup values", values)
    sender.skip_pads(len(TREE))
    p0, p1, q0, q1 = values
    mu = sender.transcript.challenge("lookup merge")
    return [mu, *x], p0 + mu * (p1 - p0), q0 + mu * (q1 - q0)


class _Eq:
    """eq(rest, .) as the outer product of two tables, for the rounds of a layer at r, ``uint64[2, k]``."""

    one = np.array([[1], [0]], dtype=np.uint64)

    def __init__(self, r: U64) -> None:
        self.r = r
        self.inner: U64 = np.empty((2, 0), dtype=np.uint64)
        self.tables: list[U64] = []  # on the host: of all suffixes of the last elements of r, and of those before

    def __call__(self, m: int, memory: gpu.Memory) -> tuple[U64, U64]:
        """``rest``: the last m elements of r. The table of the last ones is in ``memory``."""
        count, whole = min(m, _INNER), self.r.shape[1]
        if memory is gpu.HOST:
            if not self.tables:
                last = min(_INNER, whole - 1)
                self.tables = [_suffixes(self.r, last)]
                if last < whole - 1:
                    self.tables.append(_suffixes(self.r[:, : whole - last], whole - last - 1))
            inner: U64 = self.tables[0][2 << count : 4 << count].reshape(2, -1)
            if m == count:
                return self.one, inner
            return self.tables[1][2 << m - count : 4 << m - count].reshape(2, -1), inner
        first = whole - m
        if self.inner.shape[1] != 1 << count:  # the last variables' table serves all rounds before them
            self.inner = eq_vector(_elements(self.r[:, whole - count :]), memory)
        outer = self.one if m == count else compiled.eq_vector(self.r[:, first : whole - count], 1 << (m - count))
        return outer, self.inner


def _suffixes(r: U64, count: int) -> U64:
    out = np.empty(4 << count, np.uint64)
    eq_suffixes(np.ascontiguousarray(r), count, out)
    return out


class _Rounds:
    """A layer of 2^k nodes, from its children ``uint64[4, 2^(k + 1) + PAD]``."""

    def __init__(self, source: U64, spare: U64, factor: Ext, r: U64) -> None:
        self.source = source
        self.factor = factor
        self.scale, self.shift = ONE, ZERO
        self.space = _beside(source, spare).reshape(8, -1)
        self.eq = _Eq(r)

    def round(self, x: list[Ext], later: int) -> tuple[Ext, Ext]:
        """h(0) and the leading coefficient after the challenges x; ``later`` rounds follow."""
        if len(x) > 1 and not gpu.on_host(self.space):
            self.space = part(self.space, 0, 4 << later)
        now = Now(_CHUNK)
        self.work(x, later, now, now)
        return now.low, now.top

    def work(self, x: Sequence[Challenge], later: int, main: Adder, more: Adder) -> None:
        """Adds both to ``main``."""
        half = 1 << later
        eq = self.eq(later, gpu.beside(self.space))
        factor = _words(self.factor)
        if not x:
            main(kernels.first_round, half, self.source, half, *factor, *eq)
        elif len(x) == 1:
            main(kernels.second_round, half, self.source, half, *factor, *_words(x[0]), *eq, self.space)
        else:
            main(kernels.next_round, half, self.space, half, *_words(x[-1]), *eq)

    def values(self, x: list[Ext]) -> tuple[Ext, Ext, Ext, Ext]:
        """p0, p1, q0, q1 at x."""
        if len(x) == 1:
            nodes = [_node(self.source, i) for i in range(4)]
            (p0, q0), (p1, q1) = ((a + x[0] * (c - a), b + x[0] * (d - b)) for (a, b), (c, d) in (nodes[:2], nodes[2:]))
            return p0, p1, q0, q1
        last = part(self.space, 0, 2)
        p0, q0, a1, q1 = (_line(last, c, x[-1]) for c in (0, 2, 4, 6))
        return p0, a1 - self.factor * q1, q0, q1


class _LeafRounds:
    """The layer above the leaves: h = lambda*s - c*u + what is corrected, s the sum of eq*(q0 + c*p0)*(q1 + c*p1), c =
    1/lambda (kernels/logup.py)."""

    def __init__(self, leaves: Leaves, corrected: _Corrections, spare: U64, factor: Ext, r: U64) -> None:
        self.q, self.right = leaves.den, 1 << (leaves.log_size - 1)
        self.d, self.pairs = corrected.values, corrected.pairs
        self.source, self.scale, self.shift = leaves.den, factor, factor.inverse()
        corrected.shift(leaves, self.shift)
        self.eq = _Eq(r)
        self.used = _Used(corrected.used, _elements(r))
        self.spare = _beside(leaves.den, spare).reshape(-1)
        self.space: list[tuple[U64, U64]] = []  # two, so that a round reads one and writes the other

    def round(self, x: list[Ext], later: int) -> tuple[Ext, Ext]:
        if x and not gpu.on_host(self.q):
            self._to_host(4 << later)
        if x:
            self._bind(x)
        main, more = Now(_CHUNK), Now(_CHUNK)
        self.work(x, later, main, more)
        low = self.scale * main.low - self.shift * self.used.sum() + more.low
        return low, self.scale * main.top + more.top

    def _bind(self, x: list[Ext]) -> None:
        """Brings u up to the challenges x."""
        while self.used.bound < len(x):
            self.used.bind(x[self.used.bound])

    def work(self, x: Sequence[Challenge], later: int, main: Adder, more: Adder) -> None:
        """Adds s to ``main``, and what is corrected to ``more``."""
        half = 1 << later
        eq = self.eq(later, gpu.beside(self.q))
        q, right, d = self.q, self.right, self.d
        if x:
            q, d = self._space(2 * half)
            right = 2 * half + kernels.PAD
        bind = *_words(x[-1] if x else ZERO), bool(x)
        main(kernels.ones_round, half, self.q, self.right, half, *_words(self.shift), *bind, q, right, *eq)
        pairs = self.pairs
        if x:
            pairs = _united(p for r in self.pairs for p in _halved(*r, half))
            for lo, hi in _missing(((a + at, b + at) for a, b in pairs for at in (0, half)), self.pairs):
                for plane in range(4):
                    filled(self.d[plane, lo:hi], 0)
                    filled(self.d[plane, lo + 2 * half : hi + 2 * half], 0)
        u = *_words(self.used.low + self.used.slope), *_words(self.used.low), self.used.split
        for lo, hi in pairs:
            more(kernels.corrections, hi - lo, self.d, half, *u, *bind, d, *_words(-self.shift), lo, *eq)
        self.q, self.right, self.d, self.pairs = q, right, d, pairs

    def _to_host(self, size: int) -> None:
        """The ``size`` rows a side that are left."""
        self.q = np.concatenate([part(self.q, 0, size), part(self.q, self.right, size)], axis=1)
        self.right = size
        if self.pairs:
            self.d = part(self.d, 0, size)
        self.space, self.spare = [], np.empty(0, np.uint64)

    def _space(self, size: int) -> tuple[U64, U64]:
        """Room for leaves and corrections of ``size`` rows a side."""
        if len(self.space) < 2:
            memory = gpu.beside(self.q)
            d: U64 = memory.empty((4, size + kernels.PAD if self.pairs else 0))
            words = 4 * (size + kernels.PAD)
            if words > len(self.spare):
                self.spare = memory.empty(words)
            self.space.append((self.spare[:words].reshape(2, -1), d))
            self.spare = self.spare[words:]
        else:
            self.space.reverse()
        return self.space[-1]

    def values(self, x: list[Ext]) -> tuple[Ext, Ext, Ext, Ext]:
        """p0, p1, q0, q1 at x."""
        self._bind(x)
        p0, p1 = ONE, self.used.low
        if self.pairs:
            d = part(self.d, 0, 2)
            p0, p1 = p0 + _line(d, 0, x[-1]), p1 + _line(d, 2, x[-1])
        left, right = _line(part(self.q, 0, 2), 0, x[-1]), _line(part(self.q, self.right, 2), 0, x[-1])
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
