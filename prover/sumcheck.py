"""The batched product sumcheck, prover's side: contractions, openings, params.

Statement: target = sum over instances i of c_i * sum over x in {0,1}^n_i of T_i0(x)*...*T_it(x), one to three
multilinear tables each. The most significant variable is bound first: entry j pairs with j + half. In a batch of n
rounds an instance with n_i < n variables owns the *last* n_i rounds; as a polynomial in all n variables it is
2^(n_i - n) times itself, so in round j (from 1), while it waits, it adds the constant 2^-j * c_i * S_i, S_i its own
sum.

Message of a round: p(0), p(2), ..., p(d), d the largest number of tables; p(1) is the running target minus p(0). Then
a challenge. Soundness: error d*n/|K|. The caller sends the final evaluations and the verifier compares
(verifier/sumcheck.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syurmy import gpu
from syurmy.prover.field import ONE, U64, ZERO, Ext, P, ext_array
from syurmy.prover.kernels import pool
from syurmy.prover.kernels import sumcheck as kernels
from syurmy.prover.kernels.pool import added, for_ranges
from syurmy.prover.kernels.vectors import cut, part
from syurmy.prover.protocol.transcript import Sender

HALF = (P + 1) // 2
_CHUNK = 1 << 13  # pairs a thread takes at least


@dataclass
class Instance:
    """c * sum over x of the product of the tables: each ``uint64[2, 2^n]`` over K or ``uint64[2^n]`` over F. Not
    modified.
    """

    coefficient: Ext
    tables: list[U64]


class Begun:
    """An instance in work: its tables as ``uint64[1 or 2, 2^n]``, first round evaluations at 0..3, place in the
    workspace; its sum, if it was asked for or the instance waits.
    """

    def __init__(self, source: Instance, rounds: int, degree: int, summed: bool = False) -> None:
        memory = gpu.beside(*source.tables)
        planes = [_there(t, memory).reshape(-1, t.shape[-1]) for t in source.tables]
        size = planes[0].shape[1]
        if size & (size - 1) or any(t.shape[1] != size for t in planes) or size > 1 << rounds:
            raise ValueError("tables of an instance have one size, a power of two, at most 2^rounds")
        self.tables = planes
        self.variables = size.bit_length() - 1
        self.coefficient = source.coefficient * pow(HALF, rounds - self.variables, P)
        self.offsets = [0, 0, 0]
        waits = self.variables < rounds
        if self.variables == 0:
            self.sum = source.coefficient
            for x in (_entries(t, 0, 1)[0] for t in planes):
                self.sum = self.sum * x
        else:
            summed = summed or waits
            self.first = self._first_round(summed or len(planes) < degree)
            self.sum = source.coefficient * (self.first[0] + self.first[1]) if summed else ZERO

    def _first_round(self, one: bool) -> list[Ext]:
        t = sorted(self.tables, key=len, reverse=True)  # tables over F last
        args = t[0], t[min(1, len(t) - 1)], t[-1], len(t), one
        parts = for_ranges(kernels.first_round, t[0].shape[1] // 2, *args, min_chunk=_CHUNK)
        words = added(parts)
        return [Ext(words[i], words[i + 1]) for i in range(0, 8, 2)]


def _there(t: U64, memory: gpu.Memory) -> U64:
    """A contiguous table, on the device on which another of its instance is."""
    out: U64 = memory.upload(pool.contiguous(t)) if gpu.on_host(t) else pool.contiguous(t)
    return out


def _entries(t: U64, i: int, count: int) -> list[Ext]:
    """Entries from i on of a table, wherever it is."""
    found = part(t, i, count)
    return [_entry(found, k) for k in range(count)]


def _entry(t: U64, i: int) -> Ext:
    return Ext(int(t[0, i]), int(t[1, i]) if t.shape[0] == 2 else 0)


class _Workspace:
    """The once-folded tables of all running instances in one ``uint64[2, *]``, so that a round is one kernel call."""

    def __init__(self, instances: list[Begun], degree: int) -> None:
        size = 0
        for x in instances:
            for k in range(len(x.tables)):
                x.offsets[k] = size
                size += 1 << (x.variables - 1)
        self.instances = instances
        self.degree = degree
        self.values: U64 = gpu.beside(*(t for x in instances for t in x.tables)).empty((2, size))
        self.at = np.array([x.offsets for x in instances], dtype=np.int64).reshape(-1, 3)
        self.tables = np.array([len(x.tables) for x in instances], dtype=np.int64)
        self.coefficient = ext_array([x.coefficient for x in instances])
        self.running = 0  # instances are sorted by size: a prefix runs
        self.entered = 0

    def round(self, left: int, r: Ext) -> list[Ext]:
        """Evaluations at 0, 2, 3 of the instances that began in an earlier round; ``left`` rounds remain, this one
        included.
        """
        r0, r1 = np.uint64(r.a), np.uint64(r.b)
        if not gpu.on_host(self.values) and gpu.place(1 << left) is gpu.HOST:
            self._to_host(left + 1)
        self.running = self.entered
        while self.entered < len(self.instances) and self.instances[self.entered].variables == left + 1:
            x = self.instances[self.entered]
            for t, at in zip(x.tables, x.offsets, strict=False):
                for_ranges(kernels.fold_first, 1 << left, t, r0, r1, self.values, at)
            self.entered += 1
        m = self.entered
        if m == 0:
            return [ZERO] * 3
        half = np.full(m, 1 << (left - 1), dtype=np.int64)
        folding = np.arange(m) < self.running
        start = np.arange(m + 1, dtype=np.int64) << (left - 1)
        parts = for_ranges(
            kernels.round_all,
            m << (left - 1),
            self.values,
            self.at[:m],
            self.tables[:m],
            half,
            folding.astype(np.int64),
            start,
            self.coefficient,
            self.degree,
            r0,
            r1,
            min_chunk=_CHUNK // 2,
        )
        words = added(parts)
        return [Ext(words[i], words[i + 1]) for i in range(0, 6, 2)]

    def _to_host(self, variables: int) -> None:
        """What is left when this many variables are bound or waited for."""
        there, self.values = self.values, np.empty((2, self.values.shape[1]), np.uint64)
        at = 0
        for k, x in enumerate(self.instances):
            for i, t in enumerate(x.tables):
                size = 1 << min(variables, x.variables - 1)
                if k < self.entered:
                    self.values[:, at : at + size] = part(there, x.offsets[i], size)
                else:
                    x.tables[i] = gpu.download(t)
                x.offsets[i] = at
                at += size
        self.at = np.array([x.offsets for x in self.instances], dtype=np.int64).reshape(-1, 3)


def begin(instances: Sequence[Instance], rounds: int) -> list[Begun]:
    """The instances with their sums, which are part of the first round's evaluations."""
    degree = max((len(x.tables) for x in instances), default=1)
    return [Begun(x, rounds, degree, summed=True) for x in instances]


def total(begun: Sequence[Begun]) -> Ext:
    """The sum of all of them."""
    return sum((x.sum for x in begun), ZERO)


def prove(
    sender: Sender, label: str, instances: Sequence[Instance] | Sequence[Begun], rounds: int
) -> tuple[list[Ext], list[list[Ext]]]:
    """The point (``rounds`` elements) and each table's evaluation at its suffix of the point. Evaluations are not
    sent here.
    """
    degree = max((len(x.tables) for x in instances), default=1)
    work = [x if isinstance(x, Begun) else Begun(x, rounds, degree) for x in instances]
    order = sorted((x for x in work if x.variables > 0), key=lambda x: -x.variables)
    space = _Workspace([x for x in order if x.variables > 1], degree)
    waiting = total(work)
    at = 0
    point: list[Ext] = []
    for left in range(rounds, 0, -1):
        values = space.round(left, point[-1]) if point else [ZERO] * 3
        while at < len(order) and order[at].variables == left:
            first = order[at].first
            values = [v + order[at].coefficient * first[k] for v, k in zip(values, (0, 2, 3), strict=True)]
            waiting = waiting - order[at].sum
            at += 1
        constant = waiting * pow(HALF, len(point) + 1, P)
        sender.ext(f"{label} round", [v + constant for v in values[: max(1, degree)]])
        point.append(sender.transcript.challenge(f"{label} challenge"))
    return point, [_finals(x, space.values, point) for x in work]


def prove_leading(sender: Sender, label: str, tables: list[U64], count: int) -> tuple[list[Ext], list[U64]]:
    """The first ``count`` rounds for the product of tables ``uint64[2, 2^n]``, n > 1: the point, and the tables with
    these variables bound.
    """
    work = Begun(Instance(ONE, tables), tables[0].shape[1].bit_length() - 1, len(tables))
    space = _Workspace([work], len(tables))
    point: list[Ext] = []
    for i in range(count):
        values = space.round(work.variables - i, point[-1]) if point else [work.first[k] for k in (0, 2, 3)]
        sender.ext(f"{label} round", values[: len(tables)])
        point.append(sender.transcript.challenge(f"{label} challenge"))
    half = 1 << (work.variables - count)
    bound = []
    for t, at in zip(work.tables, work.offsets, strict=False):
        last = t if count == 1 else pool.contiguous(cut(space.values, at, 2 * half))
        bound.append(gpu.beside(last).empty((2, half)))
        for_ranges(kernels.fold_first, half, last, np.uint64(point[-1].a), np.uint64(point[-1].b), bound[-1], 0)
    return point, bound


def _finals(x: Begun, values: U64, point: list[Ext]) -> list[Ext]:
    if x.variables == 0:
        return [_entries(t, 0, 1)[0] for t in x.tables]
    pairs = [(t, 0) for t in x.tables] if x.variables == 1 else [(values, at) for at in x.offsets[: len(x.tables)]]
    low = [_entries(t, at, 2) for t, at in pairs]
    return [a + point[-1] * (b - a) for a, b in low]
