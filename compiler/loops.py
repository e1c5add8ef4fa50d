"""Loops: a body that is emitted once and runs ``rounds`` times.

While a body is emitted every tensor carries its integers on every sample *and round* (sample k in round t is number
``k * rounds + t``), so that scales and tables see all rounds. What a state holds at the start of a round is the float
model's state, in the state's unit. After the body the loop is run on the samples with the program's own states, and
what it leaves behind are the program's own integers.

A state has one type and one unit in all rounds; both are chosen before the body, and the body's last word on a state is
``Loop.set``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.narrowing import Narrowing
from syurmy.isa.arrays import F64
from syurmy.isa.program import Affine
from syurmy.isa.types import DType, TensorType


class Loop:
    """``with Loop(c, rounds) as loop:`` and the body inside. States and rows are made before the body begins."""

    def __init__(self, c: Narrowing, rounds: int) -> None:
        self.c, self.out, self.rounds = c, c.out, rounds
        self.counter = c.out.fresh("t")
        self._states: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}

    # ---- before the body -----------------------------------------------------------------------------------------

    def state(self, label: str, initial: Tensor, t: TensorType, scale: float, floats: Sequence[Sequence[F64]]) -> str:
        """A register of type ``t`` that holds ``initial`` (of that dtype and unit, within its interval) at first.
        ``floats[k][r]``: what the float model has there on sample k when round r begins."""
        name = self.out.fresh(label)
        start = self.out.op("mov", [self._typed(initial, t)], scale, name)
        values = tuple(
            np.clip(np.rint(np.asarray(x, np.float64) / scale), t.lo, t.hi).astype(np.int64)
            for xs in floats
            for x in xs
        )
        self._states[name] = replace(start, type=t, values=values)
        self._kept[name] = start
        return name

    def _typed(self, x: Tensor, t: TensorType) -> Tensor:
        """``x`` with the interval of ``t``, so that no round widens it: a part of a tensor that has such entries."""
        if x.type == t:
            return x
        if not t.shape:
            one = self._typed(self.c.reshape(x, (1,)), replace(t, shape=(1,)))
            return self.c.reshape(one, ())
        ends = np.full((1, *t.shape[1:]), t.lo)
        ends.reshape(-1)[-1] = t.hi
        row = self.out.op("cast", [self.out.param(ends, x.scale, "ends")], x.scale, attrs={"dtype": t.dtype})
        if ends.size == 1:
            low = self.out.op("cast", [self.out.param(np.full(ends.shape, t.lo))], x.scale, attrs={"dtype": t.dtype})
            row = self.out.op("concat", [row, low], x.scale, attrs={"axis": 0})
        joined = self.out.op("concat", [x, row], x.scale, attrs={"axis": 0})
        return self.out.op("slice", [joined], x.scale, attrs={"axis": 0, "start": 0, "len": t.shape[0]})

    def rows(self, label: str, shape: Sequence[int], dtype: DType) -> str:
        """A register for one part of this shape per round, ``[rounds, *shape]``."""
        zero = self.out.op("cast", [self.out.param(np.array(0))], 1.0, attrs={"dtype": dtype})
        full = self.out.op("broadcast", [zero], 1.0, attrs={"shape": (self.rounds, *shape)})
        name = self.out.fresh(label)
        self._kept[name] = self.out.op("mov", [full], 1.0, name)
        return name

    # ---- the body ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Loop:
        self.narrowed = dict(self.c.narrowed)
        self.samples = self.out.samples
        self.first = len(self.out.code)
        self.outer: dict[str, Tensor] = {}
        self.out.begin(self.rounds, self.counter)
        return self

    def get(self, name: str) -> Tensor:
        """A state as it is at this place of the body."""
        return self._states[name]

    def inside(self, x: Tensor) -> Tensor:
        """A tensor that was made before the loop."""
        self.outer[x.name] = x
        return replace(x, values=tuple(v for v in x.values for _ in range(self.rounds)))

    def row(self, x: Tensor, backwards: bool = False) -> Tensor:
        """``x[t]`` of a tensor [rounds, ...] that was made before the loop; backwards: ``x[rounds - 1 - t]``."""
        part = self.out.op(
            "slice", [self.inside(x)], x.scale, attrs={"axis": 0, "start": self._at(backwards), "len": 1}
        )
        return self.c.reshape(part, x.shape[1:])

    def set(self, name: str, x: Tensor) -> None:
        """What a state holds from here on: a tensor of its dtype, unit and interval."""
        t = self._states[name].type
        if x.type.dtype != t.dtype or x.type.lo < t.lo or x.type.hi > t.hi or x.shape != t.shape:
            raise ValueError(f"{x.type} for a state of {t}")
        self.out.op("mov", [x], x.scale, name)

    def keep(self, name: str, x: Tensor, backwards: bool = False) -> None:
        """``x`` becomes this round's part of ``rows``; its unit is that of the whole."""
        rows = self._kept[name]
        inside = replace(rows, values=tuple(v for v in rows.values for _ in range(self.rounds)))
        part = self.c.reshape(x, (1, *x.shape))
        self.out.op("put", [inside, part], x.scale, name, {"axis": 0, "at": self._at(backwards)})
        self._kept[name] = rows.scaled(x.scale)

    def _at(self, backwards: bool) -> Affine:
        return Affine(self.rounds - 1, ((self.counter, -1),)) if backwards else Affine(0, ((self.counter, 1),))

    # ---- after the body ------------------------------------------------------------------------------------------

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.out.end()
        self.c.narrowed = self.narrowed  # what was narrowed inside holds the last round's values
        if kind is not None:
            return
        held = {x.name: x for x in (*self.outer.values(), *self._kept.values())}
        finals = self.out.rerun(self.first, self.rounds, self.counter, held, list(self._kept))
        for name, values in finals.items():
            t = self._states[name].type if name in self._states else self.out.types[name]
            self._kept[name] = replace(self._kept[name], type=t, values=values)

    def result(self, name: str) -> Tensor:
        """A state, or rows, behind the loop."""
        return self._kept[name]
