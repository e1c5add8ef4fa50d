"""Constraints of the memory argument: RAM, gather, permutations (protocol section 5).

RAM is timestamped offline memory checking. Every access of a row, load or store, takes the tuple (input, row,
fingerprint of the contents, time) and leaves one with the current time; all initial tuples (time 0) plus all that are
left equal all that are taken plus all final ones, as multisets. Times of accesses are public, distinct and count from
1; that a taken tuple is older than the access is a range check of the elapsed time. By induction over time each
access takes what the last one left.

A gather looks (row number, fingerprint) up in the rows of a tensor; a permutation is an equality of two multisets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.builder import Builder
from syurmy.isa.graph import Committed, Node, Tuples, Values
from syurmy.isa.program import Ram
from syurmy.isa.progression import Progression
from syurmy.isa.types import unsigned_bits


def tuples(
    b: Builder, space: str, sign: int, members: Sequence[Node | None], shape: tuple[int, ...], label: str
) -> Tuples:
    """A block of tuples; members with fewer entries than ``shape`` are repeated."""
    wide: list[Node | None] = []
    for m in members:
        if m is not None and m.shape[: len(shape)] != shape:
            m = b.broadcast(m, (*shape[1:], *m.shape[len(shape) :]), shape[0])
        wide.append(m)
    t = Tuples(space, sign, tuple(wide), shape, b.origin, label)
    b.system.tuples.append(t)
    return t


def iota(b: Builder, shape: tuple[int, ...], axis: int) -> Node:
    """The position along one axis (0 counts executions); stored once per position."""
    b.account.spend(2 * shape[axis], "positions")  # and their weights
    if axis == 0:
        return b.per_execution(Progression.upto(shape[0]), len(shape))
    values = np.arange(shape[axis], dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return b.stacked_constant(values)


def inputs_of(b: Builder, rank: int) -> Node | None:
    """Which input of the batch each execution belongs to; None for a single input."""
    flow = b.system.flow
    if flow.path.batch == 1:
        return None
    return b.per_execution(flow.batches[b.origin], rank)


def access(b: Builder, ram: Ram, rows: Node, old: Committed, new: Node) -> None:
    """Row accesses of a buffer: ``old`` is what the rows held, ``new`` what they hold afterwards. ``old`` is pinned by
    this to the buffer's dtype, since all that is ever stored has it."""
    flow, origin = b.system.flow, b.origin
    rows = b.broadcast(rows, rows.shape[1:], b.executions)
    shape = rows.shape
    now = b.per_execution(flow.ticks[origin].plus(1), len(shape))
    if len(shape) > 1:
        now = now + iota(b, (1, *shape[1:]), 1)
    elapsed = b.ranged(
        "elapsed", rows, lambda v: v(now) - 1 - v.read_times(origin), 0, unsigned_bits(flow.clocks[ram.name] - 1)
    )
    which = inputs_of(b, len(shape))
    tuples(b, ram.name, -1, (which, rows, old, now - 1 - elapsed), shape, "read")
    tuples(b, ram.name, 1, (which, rows, new, now), shape, "write")
    b.pin(old, (ram.dtype.lo, ram.dtype.hi))


def buffer(b: Builder, ram: Ram, first: Node | None) -> None:
    """Initial contents (None: zeros) and final tuples of a buffer: every row exactly once, for every input."""
    batch, clock = b.system.flow.path.batch, b.system.flow.clocks[ram.name]
    shape = (batch, ram.shape[0])
    which = iota(b, shape, 0) if batch > 1 else None
    last = b.column(f"final {ram.name}", ram.shape, lambda v: v.final(ram.name)[0], (ram.dtype.lo, ram.dtype.hi), batch)
    times = b.column(f"final times of {ram.name}", shape[1:], lambda v: v.final(ram.name)[1], (0, clock), batch)
    b.pin(last, last.interval)  # equal to what was stored last, by fingerprint
    b.pin(times, times.interval)  # equal to a public time
    row = iota(b, shape, 1)
    tuples(b, ram.name, 1, (which, row, first, None), shape, "initial contents")
    tuples(b, ram.name, -1, (which, row, last, times), shape, "final contents")


def gather(b: Builder, source: Node, rows: Node, result: Committed) -> None:
    """``result = source[rows]`` along the first tensor axis."""
    e = b.executions
    rows = b.broadcast(rows, rows.shape[1:], e)
    many = source.executions > 1
    shape = source.shape[:2]
    space = f"gather@{b.origin}"
    tuples(b, space, 1, (iota(b, rows.shape, 0) if many else None, rows, result), rows.shape, "gather")

    def count(v: Values) -> I64:
        out = np.zeros(shape, np.int64)
        index = v(rows).reshape(e, -1)
        at = np.broadcast_to(np.arange(e)[:, None], index.shape) if many else np.zeros_like(index)
        np.add.at(out, (at, index), 1)
        return out

    times = b.column("multiplicity", shape[1:], count, (0, math.prod(rows.shape)), shape[0])
    members = (iota(b, shape, 0) if many else None, iota(b, shape, 1), source)
    tuples(b, space, -1, members, shape, "rows").multiplicity = times
    b.pin(times, times.interval)  # the lookup identity determines how often each row counts
    b.pin(result, result.interval)  # equal to a row of the source, which lies in its type


def permutation(b: Builder, x: Node, values: Committed, places: Committed) -> None:
    """Along the last axis the pairs (values, places) are those of (x, 0 .. n-1) in some order."""
    shape = x.shape
    group, stride = iota(b, shape, len(shape) - 1) * 0, 1
    for axis in reversed(range(len(shape) - 1)):
        group = group + iota(b, shape, axis) * stride
        stride *= shape[axis]
    space = f"permutation@{b.origin}"
    tuples(b, space, 1, (group, x, iota(b, shape, len(shape) - 1)), shape, "entries")
    tuples(b, space, -1, (group, values, places), shape, "sorted entries")
    b.pin(values, x.interval)
    b.pin(places, (0, shape[-1] - 1))
