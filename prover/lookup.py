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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import numpy as np

from syurmy import gpu
from syurmy.isa.arrays import I64
from syurmy.prover.ahead import LookupRounds
from syurmy.prover.field import ONE, U64, ZERO, Ext, ext_array, log2_ceil
from syurmy.prover.kernels import logup as kernels
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.moves import moved_kernel
from syurmy.prover.kernels.place import joined_axes
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.kernels.vectors import cut, fill, filled, part
from syurmy.prover.layers import ENDS, Corrections, LeafRounds, Rounds, node, prove_top, run_length, top, top_place
from syurmy.prover.protocol import layout
from syurmy.prover.protocol.hidden import TREE
from syurmy.prover.protocol.transcript import Sender

FEW = layout.LOG_RUN  # variables of a round's pairs that, with all rounds after it, is left to one block of a device
SHORTEST = 6  # variables of a layer that is worth its launches
_CHUNK = 1 << 13  # nodes a thread takes at least


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
    fill_planes((out[0], out[1]), members, shape, padded, factors(tag, alpha, betas[: len(members)]))


def factors(tag: int, alpha: Ext, betas: Sequence[Ext]) -> U64:
    """Of ``logup.fill``, for members with these betas."""
    return ext_array([alpha - tag, alpha, *betas])


def fill_planes(
    out: Sequence[gpu.Array],
    members: Sequence[gpu.Array],
    shape: Sequence[int],
    padded: Sequence[int],
    factors: gpu.Array,
) -> None:
    """``fill_denominators`` into two planes, of members that have ``shape`` in C order."""
    lengths, wide, _ = joined_axes(tuple(shape), tuple(range(len(shape))), tuple(padded))
    for_ranges(
        kernels.fill,
        len(out[0]),
        *out,
        _columns(members, gpu.beside(*out)),
        lengths,
        wide,
        factors,
    )


def _columns(members: Sequence[gpu.Array], memory: gpu.Memory) -> gpu.Array:
    """Integers ``[members, entries]``; on the host of int64."""
    if memory is gpu.HOST:
        flat = [np.asarray(m, dtype=np.int64).reshape(1, -1) for m in members]
        return np.concatenate(flat) if len(flat) > 1 else np.ascontiguousarray(flat[0])
    if len(members) == 1 and pool.contiguous(members[0]) is members[0]:
        return members[0].reshape(1, -1)
    out = memory.empty((len(members), members[0].size), np.result_type(*(m.dtype for m in members)))
    for k, m in enumerate(members):
        whole = np.array([m.size], np.int64), np.ones(1, np.int64)
        for_ranges(moved_kernel, m.size, pool.contiguous(m).reshape(-1), *whole, out[k])
    return out


@dataclass(frozen=True, eq=False)
class Leaves:
    """The leaves of a tree: numerators ``uint64[used]``, denominators ``uint64[2, stored + PAD]``, 1 from ``used`` on;
    on the host or on a device. A leaf that is not used is 0/1. Numerators that are 1 cost nothing. ``others``: the
    ranges with numerators that are not 1, and elsewhere none is read but in the runs of these; None: they are looked
    for. A tree uses its leaves up. ``fill``: writes all used denominators into such an array; then they are not kept,
    but made where they are read."""

    num: U64
    den: U64 | None
    used: int
    others: Sequence[tuple[int, int]] | None = None
    fill: Callable[[gpu.Array], None] | None = None

    @staticmethod
    def ones(
        used: int,
        memory: gpu.Memory = gpu.HOST,
        others: Sequence[tuple[int, int]] | None = None,
        fill: Callable[[gpu.Array], None] | None = None,
    ) -> Leaves:
        """Numerators 1 where they are read, denominators to be filled in; on a device ``others`` has to be given."""
        num = memory.empty(used)
        two = 2 * run_length(log2_ceil(max(2, used)) - 1)  # runs whose numerators make those of a run of nodes
        every = others is None or used <= two or memory is not gpu.HOST  # on a device, in one launch
        for lo, hi in [(0, used)] if every else [*(others or ()), (used - 1, used)]:
            filled(num[lo // two * two : -(-hi // two) * two], 1)
        return Leaves(num, None if fill else _room(used, memory), used, others, fill)

    def denominators(self) -> U64:
        """Those that are kept; else new ones."""
        if self.den is not None:
            return self.den
        assert self.fill is not None
        den = _room(self.used, gpu.beside(self.num))
        self.fill(den)
        return den

    @staticmethod
    def of(num: U64, den: U64) -> Leaves:
        """Of ``uint64[used]`` and ``uint64[2, used]``; ``ValueError`` where they do not fit."""
        if den.shape != (2, len(num)) or len(num) < 1:
            raise ValueError("leaves do not fit: as many denominators as numerators, at least one")
        out = Leaves.ones(len(num))
        out.num[:], out.denominators()[:, : len(num)] = num, den
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


def _room(used: int, memory: gpu.Memory) -> U64:
    """Denominators, 1 from ``used`` on."""
    log_size = log2_ceil(max(2, used))
    den: U64 = memory.empty((2, _stored(used, log_size, log_size) + kernels.PAD))
    fill(den, used, den.shape[1], (ONE,))
    return den


def _stored(used: int, log_size: int, k: int) -> int:
    """Eight runs are the children that a round binds for a run of pairs."""
    log_unit = layout.LOG_RUN + 3
    return min(1 << k, -(-used >> log_size - k + log_unit) << log_unit) if k > log_unit else 1 << k


@dataclass(frozen=True, eq=False)
class Tree:
    """Leaves and the layers above them; ``memory``, on a processor: of the small ones."""

    leaves: Leaves
    corrected: Corrections
    layers: list[U64]
    memory: U64 | None

    @staticmethod
    def of(leaves: Leaves) -> Tree:
        corrected = Corrections(leaves)
        # numerators are not read again, but those of a tree of two leaves
        num, few = leaves.num, min(2, len(leaves.num))
        num = num[:few].copy() if gpu.on_host(num) else cut(num.reshape(1, -1), 0, few).reshape(-1)
        leaves = replace(leaves, num=num)
        del num
        return Tree(leaves, corrected, *_build(leaves, corrected))


def prove_tree(sender: Sender, leaves: Leaves) -> tuple[list[Ext], Ext, Ext]:
    """Sends the layers of the tree; the point and the claims num(point), den(point) on the leaves, extended by 0/1."""
    return prove_layers(sender, Tree.of(leaves))


def prove_layers(sender: Sender, tree: Tree) -> tuple[list[Ext], Ext, Ext]:
    """``prove_tree`` of a tree that is used up by it."""
    leaves, corrected, layers = tree.leaves, tree.corrected, tree.layers
    log_size = leaves.log_size
    nodes = [node(layers[1], i) for i in range(2)] if log_size > 1 else [_leaf(leaves, i) for i in range(2)]
    (p0, q0), (p1, q1) = nodes
    point, p, q = _merge(sender, [], (p0, p1, q0, q1))
    layers.reverse()
    layers.pop()
    count = top(log_size)
    if count > 0 and tree.memory is not None and sender.plain:
        point, p, q = prove_top(sender, tree.memory, count, point, p, q)
        del layers[-count:]
    else:
        count = 0
    for k in range(1 + count, log_size):  # a layer is not read again: the next one's rounds work in its memory
        layer = layers.pop()
        begin = partial(LeafRounds, leaves, corrected) if k == log_size - 1 else partial(Rounds, layers[-1])
        point, p, q = _prove_layer(sender, partial(begin, layer, leaves.runs(k)), point, p, q)
    return layout.leaf_point(point), p, q


def _leaf(leaves: Leaves, i: int) -> tuple[Ext, Ext]:
    num = int(part(leaves.num.reshape(1, -1), i, 1)[0, 0]) if i < len(leaves.num) else 0
    a, b = part(leaves.denominators(), i, 1)[:, 0]
    return Ext(num), Ext(int(a), int(b))


def _build(leaves: Leaves, corrected: Corrections) -> tuple[list[U64], U64 | None]:
    """Layers 0 .. log_size - 1; small ones on the host, and there in one memory."""
    out: list[U64] = []
    memory = gpu.beside(leaves.num)
    small = top(leaves.log_size) + 1
    flat = np.empty(top_place(small + 1)[0], np.uint64) if small > 1 and memory is gpu.HOST else None
    for k in range(leaves.log_size - 1, -1, -1):
        if out and memory is not gpu.HOST and gpu.place(1 << k + SHORTEST) is gpu.HOST:
            memory = gpu.HOST
            out[-1] = gpu.download(out[-1])
        run, stored = run_length(k), leaves.stored(k)
        count = leaves.runs(k) * run
        layer: U64
        if flat is not None and 0 < k <= small:
            first, words = top_place(k)
            layer = flat[first : first + words].reshape(4, -1)
        else:
            layer = memory.empty((4, stored + kernels.PAD))
        if out:
            for_ranges(kernels.combine, count, out[-1], run, layer, min_chunk=_CHUNK)
        else:
            den = leaves.denominators()
            for_ranges(kernels.combine_ones, count, den, run, layer, min_chunk=_CHUNK)
            corrected.each(kernels.combine_corrections, den, layer)
            del den
        fill(layer, count, stored, (ZERO, ONE))
        out.append(layer)
    return out[::-1], flat


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
    sender: Sender, begin: Callable[[Ext, U64], Rounds | LeafRounds], r: list[Ext], p: Ext, q: Ext
) -> tuple[list[Ext], Ext, Ext]:
    """One layer: from the claims p, q at r to those at its children."""
    factor = sender.transcript.challenge("lookup lambda")
    rounds = begin(factor, ext_array(r))
    inverses = _inverses(r[: rounds.together] if sender.plain else r)
    x, claim, ends = _ahead(sender, rounds, p + factor * q, r, inverses)
    for i, inverse in enumerate(inverses[len(x) :], len(x)):
        low, top = rounds.round(x, len(r) - i - 1)
        slope = (claim - low) * inverse
        sender.ext("lookup round", [slope, top])
        x.append(sender.transcript.challenge("lookup challenge"))
        claim = low + x[-1] * (slope + (x[-1] - 1) * top)
    if len(x) < len(r):
        return rounds.finish(sender, x, claim)
    return _merge(sender, x, rounds.values(x, ends or [part(*p) for p in rounds.ends(len(x))]))


def _ahead(
    sender: Sender, rounds: Rounds | LeafRounds, claim: Ext, r: list[Ext], inverses: list[Ext]
) -> tuple[list[Ext], Ext, list[U64]]:
    """Of a layer that is on a device, which does the rounds by itself: their challenges, the claim after them, and the
    ``ends``."""
    memory = rounds.memory
    if memory is gpu.HOST:
        return [], claim, []
    constants = [(rounds.scale, rounds.less(len(r) - i - 1), inverse) for i, inverse in enumerate(inverses)]
    there = LookupRounds(memory, sender, ("lookup round", "lookup challenge"), claim, constants, ENDS)
    first = max(0, len(r) - 1 - FEW) if isinstance(rounds, Rounds) else len(r)
    for i in range(first):
        rounds.work([there.x(k) for k in range(i)], len(r) - i - 1, there.main(i), there.added(i))
        there.finish(i)
    if isinstance(rounds, Rounds) and first < len(r):
        rounds.last(there, first, len(r))
    return there.sent(rounds.ends(len(r)))


def _merge(sender: Sender, x: list[Ext], values: tuple[Ext, Ext, Ext, Ext]) -> tuple[list[Ext], Ext, Ext]:
    """Sends the values of a layer's children at x; the claims on both halves as one."""
    sender.ext("lookup values", values)
    sender.skip_pads(len(TREE))
    p0, p1, q0, q1 = values
    mu = sender.transcript.challenge("lookup merge")
    return [mu, *x], p0 + mu * (p1 - p0), q0 + mu * (q1 - q0)
