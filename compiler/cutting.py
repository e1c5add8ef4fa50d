"""Where a program is cut into segments: at its narrowest places, into parts of about the same cost.

    minimise   sum over segments of cross(segment)     subject to   own(segment) + cross(segment) <= cap

``own`` is the cost of what a segment computes and of the params it reads, ``cross`` that of the tensors it takes in:
each of their entries is committed once more and looked up in its interval. Costs are in weights (``ENTRY``), so that
a model is cut at the same places, and has the same keys, whatever estimated seconds are fitted to. ``cap`` is the
first of a few multiples of an even share with which there are so many segments at all; then the cuts are the best
there are (dynamic programming over all places and numbers of segments).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syurmy.isa.arrays import I64
from syurmy.isa.attribution import ENTRY, costs
from syurmy.isa.program import Program
from syurmy.isa.segments import Seams, refused
from syurmy.isa.system import build
from syurmy.isa.types import TensorType
from syurmy.isa.wellformed import MAX_COMMITTED, MAX_SEGMENTS

LIMB = 16  # bits of a range table
CAPS = (1.25, 1.5, 2.0, 3.0, 5.0, float("inf"))  # of an even share
# "auto": the least number of segments of which each is estimated to take this much memory to prove, from measurements
# of whole models: bytes per lookup leaf at the peak, and per entry of the params (their codeword, its tree, integers).
SEGMENT_BYTES, LEAF_BYTES, PARAM_BYTES = 2 << 30, 150, 24


@dataclass(frozen=True, eq=False)
class Measures:
    """Of every instruction: ``cost`` int64 ``[n]`` without params, ``leaves`` int64 ``[n]``; ``params``: the entries of
    each param; ``names``: those of them that each instruction reads."""

    cost: I64
    leaves: I64
    params: dict[str, int]
    names: list[tuple[str, ...]]


def measured(program: Program) -> Measures:
    """What each instruction costs, from the constraint system."""
    found = costs(build(program))
    params = {p.name: p.type.size for p in program.params}
    names = [tuple(n for n in dict.fromkeys(ins.src) if n in params) for ins in program.code]
    return Measures(ENTRY * (found.lookups + found.committed)[:-1], found.lookups[:-1], params, names)


def crossing_cost(t: TensorType) -> int:
    """Of a tensor that a segment takes in."""
    limbs = -(-max((t.hi - t.lo).bit_length(), 1) // LIMB)
    return ENTRY * 2 * t.size * limbs


def total_cost(m: Measures) -> int:
    """Of the program in one piece."""
    return int(m.cost.sum()) + sum(m.params.values())


def enough(program: Program) -> int:
    """The number of segments of ``auto``."""
    m = measured(program)
    size = int(m.leaves.sum()) * LEAF_BYTES + sum(m.params.values()) * PARAM_BYTES
    return min(max(-(-size // SEGMENT_BYTES), 1), MAX_SEGMENTS)


def cut_into(program: Program, count: int | str, until: int | None = None) -> tuple[int, ...]:
    """``chosen`` of so many segments, or of ``auto``: then of as many as there can be, if those are fewer. ``until``:
    from this instruction on nothing is cut."""
    seams = Seams(program)
    if until is not None:
        seams.positions = [k for k in seams.positions if k <= until]
    if count == "auto":
        count = min(enough(program), len(seams.positions) + 1)
    return chosen(program, int(count), seams)


def chosen(program: Program, count: int, seams: Seams | None = None) -> tuple[int, ...]:
    """The instructions before which a program is cut into ``count`` segments, among the positions of ``seams``. Raises
    ``InputError`` I160 where there are no such places."""
    seams = Seams(program) if seams is None else seams
    if count == 1:
        return ()
    places = [0, *seams.positions, seams.end]
    if len(places) - 1 < count:
        raise refused(f"it has {len(places) - 2} places for a cut, {count - 1} are asked for")
    m = measured(program)
    total = total_cost(m)
    parts = _Parts(seams, m, places)
    for cap in CAPS:
        found = _best(parts.within(cap * total / count), len(places) - 1, count)
        if found is not None:
            return tuple(places[k] for k in found)
    raise refused(f"more than {MAX_COMMITTED} tensors cross every choice of {count - 1} places")


class _Parts:
    """The cost of every stretch between two places."""

    def __init__(self, seams: Seams, m: Measures, places: Sequence[int]) -> None:
        self.m, self.places = m, places
        self.written = {c.name: c for c in seams.crossings}
        self.reads = [tuple(n for n in dict.fromkeys(ins.src) if n in self.written) for ins in seams.program.code]
        self.cost = {c.name: crossing_cost(c.type) for c in seams.crossings}
        self.made = {c.written: c for c in seams.crossings}

    def within(self, cap: float) -> list[list[tuple[int, int]]]:
        """For every place the places where a segment from there may end that costs at most ``cap``, with the cost of
        what it takes in."""
        return [self._from(j, cap) for j in range(len(self.places) - 1)]

    def _from(self, j: int, cap: float) -> list[tuple[int, int]]:
        places, start = self.places, self.places[j]
        own = cross = 0
        known: set[str] = set()
        taken: set[str] = set()
        alive: dict[str, int] = {}  # written here: where it is read last
        out: list[tuple[int, int]] = []
        for i in range(j + 1, len(places)):
            for k in range(places[i - 1], places[i]):
                own += int(self.m.cost[k])
                for name in self.m.names[k]:
                    if name not in known:
                        known.add(name)
                        own += self.m.params[name]
                for name in self.reads[k]:
                    c = self.written[name]
                    if c.written < start and name not in taken:
                        taken.add(name)
                        cross += self.cost[name]
                if (made := self.made.get(k)) is not None:
                    alive[made.name] = made.read[-1]
            if own + cross > cap:
                break
            last = places[i]
            left = sum(1 for read in alive.values() if read >= last)
            if len(taken) + left <= MAX_COMMITTED:
                out.append((i, cross))
        return out


def _best(ends: list[list[tuple[int, int]]], last: int, count: int) -> list[int] | None:
    """The places (numbers) of the cheapest ``count - 1`` cuts, None where there are none."""
    inf = float("inf")
    best = [0.0] + [inf] * last
    came: list[list[int]] = []
    for _ in range(count):
        following, by = [inf] * (last + 1), [-1] * (last + 1)
        for j, reached in enumerate(best[:-1]):
            if reached == inf:
                continue
            for i, cross in ends[j]:
                if reached + cross < following[i]:
                    following[i], by[i] = reached + cross, j
        best = following
        came.append(by)
    if best[last] == inf:
        return None
    out, at = [], last
    for by in reversed(came):
        at = by[at]
        out.append(at)
    return out[::-1][1:]
