"""The past of a run in bounded memory: the path, and checkpoints from which any step is reached again.

A run is a function of its inputs, so the state before step N is that of any checkpoint before N, and the steps between.
A checkpoint shares the arrays of registers, which nothing changes, and copies RAM. Checkpoints are ``SPACING`` seconds
of execution apart; where there are more than ``MOST``, or together they hold more than the budget, those are left out
whose absence makes the gap grow least in proportion to its distance from the newest: recent ones are dense, old ones
sparse, and a visit to an old place makes new ones there.

Memory: at most the budget in checkpoints (or what the first and the newest hold, if that is more), and four bytes a
step for the path; a run of 10^6 steps takes at most 260 MiB besides what the machine itself holds.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from syurmy.isa.arrays import I64, Array
from syurmy.isa.path import Position

SPACING = 0.02  # seconds of execution between checkpoints
MOST = 400  # checkpoints
BUDGET = 256 * 2**20  # bytes


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The machine before step ``step``. ``seconds``: of execution up to there; ``memories``: contents, times of access
    and clock of each buffer; ``stored``: per row of each buffer the step of its last ``store``, or -1."""

    step: int
    seconds: float
    position: Position
    registers: Mapping[str, Array]
    memories: Mapping[str, tuple[I64, I64, int]]
    stored: Mapping[str, I64]
    own: int = field(default=0)  # bytes besides registers

    def held(self, before: Checkpoint | None, free: Collection[int]) -> int:
        """Bytes that this checkpoint keeps alive and ``before`` does not. ``free``: ids of arrays that live anyway."""
        old: Mapping[str, Array] = {} if before is None else before.registers
        roots = {}
        for name, value in self.registers.items():
            if old.get(name) is not value:
                root = _root(value)
                roots[id(root)] = root.nbytes
        return self.own + sum(size for key, size in roots.items() if key not in free)


def _root(value: Array) -> Array:
    """The array whose memory a view shows."""
    while isinstance(value.base, np.ndarray):
        value = value.base
    return value


class History:
    """``path``: the instruction of every step that has ever been reached; checkpoints in order of their steps."""

    def __init__(self, budget: int, free: Mapping[str, Array]) -> None:
        self.path: array[int] = array("i")
        self.budget = budget
        self.checkpoints: list[Checkpoint] = []
        self.bytes = 0
        self._steps: list[int] = []
        self._charges: list[int] = []
        self._free = frozenset(id(_root(a)) for a in free.values())
        self._alive = list(free.values())  # their ids stay theirs

    def add(self, made: Checkpoint) -> None:
        """Keeps a checkpoint, and leaves others out if they are too many."""
        at = bisect_right(self._steps, made.step)
        if at and self._steps[at - 1] == made.step:
            return
        self.checkpoints.insert(at, made)
        self._steps.insert(at, made.step)
        self._charges.insert(at, 0)
        for k in (at, at + 1):
            self._charge(k)
        while (self.bytes > self.budget or len(self.checkpoints) > MOST) and len(self.checkpoints) > 2:
            self._leave_out(made)

    def before(self, step: int) -> Checkpoint:
        """The last checkpoint at or before a step."""
        return self.checkpoints[bisect_right(self._steps, step) - 1]

    def _charge(self, k: int) -> None:
        if k < len(self.checkpoints):
            new = self.checkpoints[k].held(self.checkpoints[k - 1] if k else None, self._free)
            self.bytes += new - self._charges[k]
            self._charges[k] = new

    def _leave_out(self, newest: Checkpoint) -> None:
        cs = self.checkpoints
        here = newest.seconds

        def growth(k: int) -> float:
            gap = (cs[k + 1].seconds if k + 1 < len(cs) else cs[k].seconds + SPACING) - cs[k - 1].seconds
            return gap / (abs(here - cs[k].seconds) + SPACING)

        k = min((k for k in range(1, len(cs)) if cs[k] is not newest), key=growth)
        self.bytes -= self._charges[k]
        del self.checkpoints[k], self._steps[k], self._charges[k]
        self._charge(k)

    # ---- the path ------------------------------------------------------------------------------------------------

    def last(self, wanted: Collection[int], before: int) -> int | None:
        """The last step before ``before`` that was one of these instructions."""
        if not wanted:
            return None
        path, block, stop = np.frombuffer(self.path, np.int32), 1 << 12, min(before, len(self.path))
        pcs = np.fromiter(wanted, np.int32)
        while stop > 0:
            start = max(0, stop - block)
            hits = np.flatnonzero(np.isin(path[start:stop], pcs))
            if len(hits):
                return start + int(hits[-1])
            stop, block = start, block * 4
        return None

    def seen(self, wanted: Collection[int], start: int, stop: int) -> bool:
        """Whether one of these instructions is among steps ``start .. stop - 1``."""
        last = self.last(wanted, stop)
        return last is not None and last >= start
