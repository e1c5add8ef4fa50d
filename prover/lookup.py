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

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.prover.field import ONE, U64, ZERO, Ext, ext_array, lift
from syurmy.prover.kernels import logup as kernels
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.hidden import TREE
from syurmy.prover.protocol.transcript import Sender

_INNER = 9  # variables of the inner eq table: 8 KiB
_CHUNK = 4096  # pairs a thread takes at least


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
    size = int(np.prod(padded, dtype=np.int64))
    fits = len(padded) == len(shape) and all(0 < s <= p for s, p in zip(shape, padded, strict=True))
    if not fits or out.shape != (2, size) or len(betas) < len(members) or any(m.shape != shape for m in members):
        raise ValueError("a block of leaves does not fit its members")
    columns = np.stack([np.asarray(m, dtype=np.int64).reshape(-1) for m in members])
    constant, empty = alpha - tag, alpha
    for_ranges(
        kernels.fill,
        size,
        out[0],
        out[1],
        columns,
        np.array(shape or (1,), dtype=np.int64),
        np.array(tuple(padded) or (1,), dtype=np.int64),
        np.array([constant.a, constant.b], dtype=np.uint64),
        ext_array(betas[: len(members)]),
        np.array([empty.a, empty.b], dtype=np.uint64),
    )


def prove_tree(sender: Sender, num: U64, den: U64, log_size: int) -> tuple[list[Ext], Ext, Ext]:
    """Sends the layers of the tree over num ``uint64[used]`` and den ``uint64[2, used]``, used <= 2^log_size.

    Returns the point and the claims num(point), den(point) on the leaves, extended by 0/1.
    """
    if den.shape != (2, len(num)) or not 1 <= len(num) <= 1 << log_size or log_size < 1:
        raise ValueError("leaves do not fit the tree")
    leaves = (np.ascontiguousarray(num), np.ascontiguousarray(den[0]), np.ascontiguousarray(den[1]))
    layers = _build(leaves, log_size)
    first = layers[1] if log_size > 1 else leaves
    (p0, q0), (p1, q1) = _node(first, 0), _node(first, 1)
    point, p, q = _merge(sender, [], (p0, p1, q0, q1))
    space = np.empty((max(1, 1 << log_size >> 2), 8), dtype=np.uint64)
    for k in range(1, log_size):
        source = leaves if k == log_size - 1 else layers[k + 1]
        point, p, q = _prove_layer(sender, source, point, p, q, space)
    return point, p, q


_Leaves = tuple[U64, U64, U64]


def _used(source: U64 | _Leaves) -> int:
    return len(source[0]) if isinstance(source, tuple) else len(source)


def _node(source: U64 | _Leaves, i: int) -> tuple[Ext, Ext]:
    """Numerator and denominator of a node; 0/1 where it is not stored."""
    if i >= _used(source):
        return ZERO, ONE
    if isinstance(source, tuple):
        return Ext(int(source[0][i])), Ext(int(source[1][i]), int(source[2][i]))
    a, b, c, d = (int(x) for x in source[i])
    return Ext(a, b), Ext(c, d)


def _build(leaves: _Leaves, log_size: int) -> list[U64]:
    """Layers 0 .. log_size - 1."""
    out: list[U64] = []
    for k in range(log_size - 1, -1, -1):
        used = _used(out[-1] if out else leaves)
        layer = np.empty((min(used, 1 << k), 4), dtype=np.uint64)
        kernel, source = (kernels.combine, (out[-1],)) if out else (kernels.combine_leaves, leaves)
        for_ranges(kernel, len(layer), *source, 1 << k, layer, min_chunk=_CHUNK)
        out.append(layer)
    return out[::-1]


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
    sender: Sender, source: U64 | _Leaves, r: list[Ext], p: Ext, q: Ext, space: U64
) -> tuple[list[Ext], Ext, Ext]:
    """One layer: from the claims p, q at r to those at its children."""
    factor = sender.transcript.challenge("lookup lambda")
    rounds: _Rounds | _LeftRounds
    rounds = (_Rounds if _used(source) > 1 << len(r) else _LeftRounds)(source, len(r), factor, space)
    claim = p + factor * q
    x: list[Ext] = []
    for i, inverse in enumerate(_inverses(r)):
        low, top = rounds.round(x, r[i + 1 :])
        slope = (claim - low) * inverse
        sender.ext("lookup round", [slope, top])
        x.append(sender.transcript.challenge("lookup challenge"))
        claim = low + x[-1] * (slope + (x[-1] - 1) * top)
    return _merge(sender, x, rounds.values(x))


def _merge(sender: Sender, x: list[Ext], values: tuple[Ext, Ext, Ext, Ext]) -> tuple[list[Ext], Ext, Ext]:
    """Sends the values of a layer's children at x; the claims on both halves as one."""
    sender.ext("lookup values", values)
    sender.skip_pads(len(TREE))
    p0, p1, q0, q1 = values
    mu = sender.transcript.challenge("lookup merge")
    return [mu, *x], p0 + mu * (p1 - p0), q0 + mu * (q1 - q0)


class _Rounds:
    """A layer of 2^k nodes whose left children are all stored."""

    def __init__(self, source: U64 | _Leaves, k: int, factor: Ext, space: U64) -> None:
        self.source = source
        self.k = k
        self.factor = factor
        self.space = space
        self.inner = np.empty((2, 0), dtype=np.uint64)

    def round(self, x: list[Ext], rest: list[Ext]) -> tuple[Ext, Ext]:
        """h(0) and the leading coefficient after the challenges x; ``rest``: the elements of r of later rounds."""
        m = len(rest)
        split = max(0, m - _INNER)
        if self.inner.shape[1] != 1 << (m - split):  # the last variables' table serves all rounds before them
            self.inner = mle.eq_vector(rest[split:])
        eq = mle.eq_vector(rest[:split]), self.inner
        half = 1 << m
        leaves = isinstance(self.source, tuple)
        source = self.source if isinstance(self.source, tuple) else (self.source,)
        factor = _words(self.factor)
        kernel: Callable[..., Any]
        args: tuple[object, ...]
        if not x:
            kernel = kernels.first_round_leaves if leaves else kernels.first_round
            args = (*source, half, *factor, *eq)
        elif len(x) == 1:
            kernel = kernels.second_round_leaves if leaves else kernels.second_round
            args = (*source, half, *factor, *_words(x[0]), *eq, self.space)
        else:
            kernel, args = kernels.next_round, (self.space, half, *_words(x[-1]), *eq)
        parts = for_ranges(kernel, half, *args, min_chunk=_CHUNK)
        a, b, c, d = (sum(int(w) for w in column) for column in zip(*parts, strict=True))
        return Ext(a, b), Ext(c, d)

    def values(self, x: list[Ext]) -> tuple[Ext, Ext, Ext, Ext]:
        """p0, p1, q0, q1 at x."""
        if len(x) < 2:
            nodes = [_node(self.source, i) for i in range(2 << len(x))]
            if not x:
                (p0, q0), (p1, q1) = nodes
                return p0, p1, q0, q1
            (p0, q0), (p1, q1) = ((a + x[0] * (c - a), b + x[0] * (d - b)) for (a, b), (c, d) in (nodes[:2], nodes[2:]))
            return p0, p1, q0, q1
        low, high = ([Ext(int(row[i]), int(row[i + 1])) for i in range(0, 8, 2)] for row in self.space[:2])
        p0, q0, a1, q1 = (a + x[-1] * (b - a) for a, b in zip(low, high, strict=True))
        return p0, a1 - self.factor * q1, q0, q1


class _LeftRounds:
    """A layer of 2^k nodes that stores at most 2^k children: the right ones are all 0/1 and g = p0 + lambda*q0."""

    def __init__(self, source: U64 | _Leaves, k: int, factor: Ext, space: U64) -> None:
        if isinstance(source, tuple):
            self.p, self.q = lift(source[0]), np.stack(source[1:])
        else:
            self.p, self.q = np.ascontiguousarray(source[:, :2].T), np.ascontiguousarray(source[:, 2:].T)
        self.factor = factor
        self.minus_one = self._minus_one()
        self.rest = mle.add(self.p, mle.scale(self.minus_one, factor))  # g - lambda: zero where nothing is stored

    def _minus_one(self) -> U64:
        """q0 - 1: also zero there."""
        return mle.add(self.q, lift(np.full(self.q.shape[1], (-ONE).a, dtype=np.uint64)))

    def round(self, x: list[Ext], rest: list[Ext]) -> tuple[Ext, Ext]:
        half = 1 << len(rest)
        if x:
            low, high = self.rest[:, : 2 * half], self.rest[:, 2 * half :]
            self.rest = mle.scale(low, 1 - x[-1])
            n = high.shape[1]
            if n:
                self.rest[:, :n] = mle.add(self.rest[:, :n], mle.scale(high, x[-1]))
        low = self.rest[:, :half]
        return self.factor + mle.dot(mle.eq_vector(rest, low.shape[1]), low), ZERO

    def values(self, x: list[Ext]) -> tuple[Ext, Ext, Ext, Ext]:
        eq = mle.eq_vector(x, self.p.shape[1])
        return mle.dot(eq, self.p), ZERO, mle.dot(eq, self.minus_one) + 1, ONE


def _words(x: Ext) -> tuple[np.uint64, np.uint64]:
    return np.uint64(x.a), np.uint64(x.b)
