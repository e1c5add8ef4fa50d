"""``.print`` and ``.expect`` lines of a file, followed while its program runs.

A listener of the machine: it knows registers from the events alone, so notes cost nothing where nobody listens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.program import Note, Program
from syurmy.vm.events import Event, Executed, Fetched


@dataclass(frozen=True, eq=False)
class Seen:
    """A note when the run came to it: the register's value (None if it held none yet) and the counters of loops."""

    note: Note
    step: int
    counters: Mapping[str, int]
    value: I64 | None

    @property
    def holds(self) -> bool:
        """Whether the value is what the note expects, with broadcasting of a single number; True for ``.print``."""
        expected = self.note.expected
        if expected is None:
            return True
        if self.value is None or (expected.ndim and expected.size != self.value.size):
            return False
        return bool((self.value == (expected.reshape(self.value.shape) if expected.ndim else expected)).all())

    @property
    def difference(self) -> tuple[int, ...] | None:
        """The first element that is not as expected; None if there is none, or no value of that size."""
        expected, value = self.note.expected, self.value
        if expected is None or value is None or (expected.ndim and expected.size != value.size):
            return None
        wrong = np.argwhere(value != (expected.reshape(value.shape) if expected.ndim else expected))
        return tuple(int(i) for i in wrong[0]) if len(wrong) else None


class Notes:
    """Give it to ``run`` as a listener; ``seen`` then holds every note in the order in which the run came to it."""

    def __init__(self, program: Program, inputs: Mapping[str, I64]) -> None:
        self.seen: list[Seen] = []
        self._program = program
        self._registers: dict[str, I64] = {p.name: np.asarray(program.data[p.name]) for p in program.params}
        self._registers.update({name: np.asarray(x) for name, x in inputs.items()})
        self._at: dict[int, list[Note]] = {}
        for note in program.notes:
            self._at.setdefault(note.index, []).append(note)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Executed):
            dst = self._program.code[event.index].dst
            if dst is not None:
                self._registers[dst] = event.result
        elif isinstance(event, Fetched):
            for note in self._at.get(event.index, ()):
                counter = event.counters.get(note.name)
                value = self._registers.get(note.name) if counter is None else np.array(counter)
                self.seen.append(Seen(note, event.step, event.counters, value))
