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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from syurmy import gpu
from syurmy.prover.ahead import ProductRounds, around, element_words
from syurmy.prover.field import ONE, U64, ZERO, Ext, P, ext_array, ext_list
from syurmy.prover.kernels import pool
from syurmy.prover.kernels import sumcheck as kernels
from syurmy.prover.kernels.pool import added, for_ranges
from syurmy.prover.kernels.tail import last_products
from syurmy.prover.kernels.vectors import cut, part, put, zeros
from syurmy.prover.layer import Messages
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.transcript import Sender

HALF = (P + 1) // 2
_CHUNK = 1 << 13  # pairs a thread takes at least
SMALL = 12  # variables of tables that come into the workspace as they are
FEW = 1 << 11  # pairs of a round that, with all after it, is one call: of one thread, or of one block of a device


@dataclass
class Instance:
    """c * sum over x of the product of the tables: each ``uint64[2, 2^n]`` over K or ``uint64[2^n]`` over F. Not
    modified, but the first one where it is ``spent``: rounds may then work in its memory.
    """

    coefficient: Ext
    tables: list[U64]
    spent: bool = False


class Begun:
    """An instance in work: its tables as ``uint64[1 or 2, 2^n]``, first round evaluations at 0..3, place in the
    workspace; its sum, if it was asked for or the instance waits.
    """

    def __init__(self, source: Instance, rounds: int) -> None:
        memory = gpu.beside(*source.tables)
        planes = [_there(t, memory).reshape(-1, t.shape[-1]) for t in source.tables]
        size = planes[0].shape[1]
        if size & (size - 1) or any(t.shape[1] != size for t in planes) or size > 1 << rounds:
            raise ValueError("tables of an instance have one size, a power of two, at most 2^rounds")
        self.tables = planes
        self.spent = source.spent
        self.variables = size.bit_length() - 1
        self.given = source.coefficient
        self.coefficient = source.coefficient * pow(HALF, rounds - self.variables, P)
        self.offsets = [0, 0, 0]
        self.waits = self.variables < rounds
        self.first: list[Ext] = []
        self.sum = ZERO

    def first_round(self, one: bool) -> tuple[int, tuple[gpu.Array, gpu.Array, gpu.Array, int, bool]]:
        """Its pairs, and the arguments of ``kernels.first_round``."""
        t = sorted(self.tables, key=len, reverse=True)  # tables over F last
        return t[0].shape[1] // 2, (t[0], t[min(1, len(t) - 1)], t[-1], len(t), one)


def _begun(instances: Sequence[Instance], rounds: int, degree: int, summed: bool = False) -> list[Begun]:
    """The instances with their first rounds, of those on a device all in one download."""
    out = [Begun(x, rounds) for x in instances]
    there = [x for x in out if x.variables and not gpu.on_host(x.tables[0])]
    memory: Any = gpu.beside(*(t for x in there for t in x.tables))
    sums = zeros((len(there), 2, 8), memory)
    for k, x in enumerate(there):
        n, args = x.first_round(summed or x.waits or len(x.tables) < degree)
        memory.add_sums(kernels.first_round, n, args, sums[k])
    found = iter(gpu.download(sums).tolist() if there else [])
    for x in out:
        if x.variables == 0:
            x.sum = x.given
            for e in (_entries(t, 0, 1)[0] for t in x.tables):
                x.sum = x.sum * e
            continue
        if gpu.on_host(x.tables[0]):
            n, args = x.first_round(summed or x.waits or len(x.tables) < degree)
            words = added(for_ranges(kernels.first_round, n, *args, min_chunk=_CHUNK))
        else:
            words = [low + (high << 32) for low, high in zip(*next(found), strict=True)]
        x.first = [Ext(words[i], words[i + 1]) for i in range(0, 8, 2)]
        if summed or x.waits:
            x.sum = x.given * (x.first[0] + x.first[1])
    return out


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
    """The tables of all running instances in one ``uint64[2, *]``, so that a round is one kernel call: bound once or,
    small ones, as they are. It has memory of its own, or that of the largest one's first table."""

    def __init__(self, instances: list[Begun], degree: int) -> None:
        memory = gpu.beside(*(t for x in instances for t in x.tables))
        here = memory is gpu.HOST
        self.instances, self.degree = instances, degree
        for x in instances:
            if not here and x.variables > SMALL:
                x.tables = [_there(t, memory) for t in x.tables]
        behind = _behind(instances) if here else 0
        size = 0
        for i, x in enumerate(sorted(instances, key=lambda x: gpu.on_host(x.tables[0]))):
            if behind and i == 1:
                size = behind
            for k in range(len(x.tables)):
                x.offsets[k] = size
                size += _width(x)
        self.values: gpu.Array = instances[0].tables[0] if behind else memory.empty((2, size))
        self.at = np.array([x.offsets for x in instances], dtype=np.int64).reshape(-1, 3)
        self.tables = np.array([len(x.tables) for x in instances], dtype=np.int64)
        self.coefficient = ext_array([x.coefficient for x in instances])
        self.placed = False  # the small tables, which on the host wait until the memory is theirs
        if not here:
            self._place()

    def _place(self) -> None:
        """Small tables, and those that are on the host, which go up to a device in one piece."""
        self.placed = True
        if gpu.on_host(self.values):
            for x in self.instances:
                if x.variables <= SMALL:
                    for t, at in zip(x.tables, x.offsets, strict=False):
                        self.values[: len(t), at : at + t.shape[1]] = t
                        self.values[len(t) :, at : at + t.shape[1]] = 0
            return
        here: list[U64] = []
        first = self.values.shape[1]
        for x in self.instances:
            for t, at in zip(x.tables, x.offsets, strict=False):
                if gpu.on_host(t):
                    first = min(first, at)
                    here.append(t if len(t) == 2 else np.stack([t[0], np.zeros_like(t[0])]))
                elif x.variables <= SMALL:
                    for_ranges(kernels.lift, t.shape[1], t, self.values, at)
        if here:
            block = np.concatenate(here, axis=1)
            assert first + block.shape[1] == self.values.shape[1]
            put(self.values, first, block)

    def entered(self, left: int) -> int:
        """How many instances begin before the round in which ``left`` variables are left: a prefix of them."""
        return sum(x.variables > left for x in self.instances)

    def work(self, left: int, r: tuple[Any, ...], run: Callable[..., Any], given: Sequence[Any] | None = None) -> Any:
        """What ``run`` gives of the round in which ``left`` variables are left, the last one bound at ``r``."""
        m, running = self.entered(left), self.entered(left + 1)
        if left + 1 <= SMALL:
            if not self.placed:
                self._place()
        else:
            for x in self.instances[running:m]:
                if not gpu.on_host(self.values):
                    several = [x.tables[min(k, len(x.tables) - 1)] for k in range(3)]
                    n, at = len(x.tables) << left, np.array(x.offsets, np.int64)
                    for_ranges(kernels.fold_tables, n, *several, *r, self.values, at)
                    continue
                for t, first in zip(x.tables, x.offsets, strict=False):
                    if t is self.values:
                        for_ranges(kernels.fold_here, 1 << left, t, *r)
                    else:
                        for_ranges(kernels.fold_first, 1 << left, t, *r, self.values, first)
        if m == 0:
            return None
        half, folding = 1 << (left - 1), m if left + 1 <= SMALL else running
        at, tables, coefficient = (self.at, self.tables, self.coefficient) if given is None else given
        return run(
            kernels.round_all, m * half, self.values, at, tables, half, folding, coefficient, self.degree, *r
        )  # fmt: skip

    def round(self, left: int, r: Ext) -> list[Ext]:
        """Evaluations at 0, 2, 3 of the instances that began in an earlier round; ``left`` rounds remain, this one
        included.
        """
        run = partial(for_ranges, min_chunk=_CHUNK // 2)
        parts = self.work(left, (np.uint64(r.a), np.uint64(r.b)), run)
        if parts is None:
            return [ZERO] * 3
        words = added(parts)
        return [Ext(words[i], words[i + 1]) for i in range(0, 6, 2)]

    def at_once(self, lefts: Sequence[int]) -> int:
        """From which of these rounds on all are few pairs of tables with a variable to bind: these are one call."""
        first = len(lefts)
        while first and lefts[first - 1] < SMALL and self.entered(lefts[first - 1]) << lefts[first - 1] <= 2 * FEW:
            first -= 1
        return first

    def finish(
        self, sender: Sender, labels: tuple[str, str], left: int, before: Ext, constants: Sequence[Sequence[Ext]]
    ) -> list[Ext]:
        """On a processor, such rounds: their challenges. ``before``: the challenge before the first one."""
        if not self.placed:
            self._place()
        count, rounds = max(1, self.degree), len(constants)
        entered = np.array([self.entered(left - j) for j in range(rounds)], np.int64)
        messages = Messages(sender, count * rounds, rounds, 2 * count + 2)
        for_ranges(
            last_products, 1, self.values, self.at, self.tables, self.coefficient, self.degree, entered, left,
            element_words(constants), np.uint64(before.a), np.uint64(before.b), messages.pads, messages.at,
            *around(labels, 16 * count), messages.state, messages.out,
        )  # fmt: skip
        return messages.sent([(labels, 2 * count)] * rounds)


def _width(x: Begun) -> int:
    """Of the room of its tables."""
    return 1 << (x.variables - (x.variables > SMALL))


def _behind(instances: Sequence[Begun]) -> int:
    """Of instances sorted by size: where others have their places behind the largest one's first table, if all can be
    folded in that; else 0. Two tables of the largest fill it, and when others begin, two rounds later or more, they
    have shrunk to the size that the next one had."""
    if not instances or not instances[0].spent:
        return 0
    first, *others = instances
    table, half = first.tables[0], 1 << first.variables - 1
    if len(first.tables) > 2 or len(table) < 2 or not gpu.on_host(table) or not table.flags.writeable:
        return 0
    start = 1 << max(SMALL, *(x.variables for x in others), 0)  # small ones begin when it has shrunk to SMALL
    room = sum(len(x.tables) * _width(x) for x in others)
    return start if 2 * start <= half and start + room <= half else 0


def begin(instances: Sequence[Instance], rounds: int) -> list[Begun]:
    """The instances with their sums, which are part of the first round's evaluations."""
    degree = max((len(x.tables) for x in instances), default=1)
    return _begun(instances, rounds, degree, summed=True)


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
    given = [x for x in instances if isinstance(x, Instance)]
    work = _begun(given, rounds, degree) if given else [x for x in instances if isinstance(x, Begun)]
    order = sorted((x for x in work if x.variables > 0), key=lambda x: -x.variables)
    space = _Workspace([x for x in order if x.variables > 1], degree)
    waiting = total(work)
    constants = []
    for left in range(rounds, 0, -1):
        values = [ZERO] * 3
        for x in order:
            if x.variables == left:
                values = [v + x.coefficient * x.first[k] for v, k in zip(values, (0, 2, 3), strict=True)]
                waiting = waiting - x.sum
        constant = waiting * pow(HALF, rounds - left + 1, P)
        constants.append([v + constant for v in values])
    point = _rounds(sender, label, space, rounds, constants)
    return point, _finals(work, space, point)


def _rounds(
    sender: Sender, label: str, space: _Workspace, rounds: int, constants: Sequence[Sequence[Ext]]
) -> list[Ext]:
    """Sends rounds of ``rounds`` variables, in each the sums of the workspace and the constants; their challenges."""
    count, labels = max(1, space.degree), (f"{label} round", f"{label} challenge")
    point: list[Ext] = []
    at_once = max(1, space.at_once([rounds - i for i in range(len(constants))])) if sender.plain else len(constants)
    for i, more in enumerate(constants):
        if point and not gpu.on_host(space.values):
            return point + _ahead(sender, labels, space, rounds - i, point[0], constants[i:])
        if i == at_once:
            return point + space.finish(sender, labels, rounds - i, point[-1], constants[i:])
        values = space.round(rounds - i, point[-1]) if point else [ZERO] * 3
        sender.ext(labels[0], [v + c for v, c in zip(values, more, strict=True)][:count])
        point.append(sender.transcript.challenge(labels[1]))
    return point


def _ahead(
    sender: Sender,
    labels: tuple[str, str],
    space: _Workspace,
    left: int,
    before: Ext,
    constants: Sequence[Sequence[Ext]],
) -> list[Ext]:
    """The rounds after the first, when ``left`` are left, by the device; ``before``: the challenge of the first."""
    lefts = [left - i for i in range(len(constants))]
    entered = np.array([space.entered(x) for x in lefts], np.int64)
    given: list[gpu.Array] = [space.at, space.tables, space.coefficient, entered]
    words = 2 * max(1, space.degree)
    there = ProductRounds(space.values.memory, sender, labels, words, before, constants, given)
    given, first = there.more[:3], space.at_once(lefts)
    for i, x in enumerate(lefts[:first]):
        space.work(x, (there.x(i - 1),), there.main(i), given)
        there.finish(i)
    if first < len(lefts):
        there.last(first, lefts[first], there.more[3], space.values, *given, space.degree)
    return there.sent()[0]


def prove_leading(sender: Sender, label: str, tables: list[U64], count: int) -> tuple[list[Ext], list[U64]]:
    """The first ``count`` rounds for the product of tables ``uint64[2, 2^n]``, n > 1: the point, and the tables with
    these variables bound.
    """
    variables = tables[0].shape[1].bit_length() - 1
    (work,) = _begun([Instance(ONE, tables)], variables, len(tables))
    space = _Workspace([work], len(tables))
    constants = [[work.first[k] for k in (0, 2, 3)], *([ZERO] * 3 for _ in range(count - 1))]
    point = _rounds(sender, label, space, variables, constants)
    half = 1 << (variables - count)
    bound = []
    for t, at in zip(work.tables, work.offsets, strict=False):
        last = t if count == 1 else pool.contiguous(cut(space.values, at, 2 * half))
        bound.append(gpu.beside(last).empty((2, half)))
        for_ranges(kernels.fold_first, half, last, np.uint64(point[-1].a), np.uint64(point[-1].b), bound[-1], 0)
    return point, bound


def _finals(work: Sequence[Begun], space: _Workspace, point: list[Ext]) -> list[list[Ext]]:
    """Of each instance, its tables at the point. What is read on a device comes down at once."""
    values, at = space.values, space.at.reshape(-1)
    if not gpu.on_host(values):
        there = values.memory.empty((at.size, 2, 2))
        for_ranges(kernels.ends, at.size, values, at, there)
        values = np.ascontiguousarray(gpu.download(there).transpose(1, 0, 2)).reshape(2, -1)
        at = np.arange(0, values.shape[1], 2)
    ends: list[Ext] = []
    if len(at):
        low, high = (np.ascontiguousarray(values[:, i]) for i in (at, at + 1))
        ends = ext_list(mle.add(mle.scale(low, 1 - point[-1]), mle.scale(high, point[-1])))
    rows = {id(x): ends[3 * i : 3 * i + len(x.tables)] for i, x in enumerate(space.instances)}
    out = []
    for x in work:
        if x.variables == 0:
            out.append([_entries(t, 0, 1)[0] for t in x.tables])
            continue
        if x.variables > 1:
            out.append(rows[id(x)])
            continue
        out.append([a + point[-1] * (b - a) for a, b in (_entries(t, 0, 2) for t in x.tables)])
    return out
