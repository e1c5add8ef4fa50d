"""What a program decides by reals, and by how little: the ``undecided`` warning.

A ``Decision`` is an instruction whose operand x is told apart from another number: at run time

    gap = |x - the nearest number at which the model's function jumps|

and where ``gap <= units``, twice what x is off from the float model on the samples, the float model may decide
otherwise. Deciding operators, and what is compared:

    ArgMax, ArgMin, Hardmax, MaxPool's indices    the largest and the second of a row
    TopK                                          neighbours among the first k + 1 in order, where places are read
    Equal, Less, Greater and so on, Binarizer     both operands
    Sign, casts to booleans, NonZero, Compress    0
    Floor, Ceil, casts to integers                whole numbers
    Round                                         whole numbers and a half
    Mod                                           multiples of the divisor
    Shrink, ThresholdedRelu                       their thresholds
    trees, comparisons with constants             every cut of a feature that is computed (inputs are exact)
    labels of linear models, SVMs and trees       scores of classes, or the threshold
    Div, Reciprocal, Normalizer                   a divisor nearer to 0 than any of the samples' and than its error by
                                                  ``POLE``: the quotient is as uncertain as that

Rounding to the steps of a quantised tensor is none: what it does to the outputs is told (``compiler.rounding``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from syurmy.isa.arrays import Array
from syurmy.isa.program import Instruction

POLE = 256  # times its error: a divisor that is smaller gives quotients of three digits at most
CUT = 2  # times the largest that a program holds: a number beyond is one that it cuts off
NOTHING = 1 / 8  # of a unit
MOST = 2.0**60
KINDS = ("largest", "order", "pair", "edges", "toward 0")


@dataclass(frozen=True)
class Decision:
    """Instruction ``index`` of node ``node`` (an ``op``) reads what is decided by as its operand ``at``, which is
    ``units`` off. ``kind``: what it is told apart from, of KINDS. Of edges: numbers ``edges``, or ``period`` apart from
    one (0: only that); toward 0: all multiples of ``period`` but 0. Of an order: its ``first`` entries matter.
    ``exact``: equal ones are equal in the float model too. ``rest``: how near is too near where what rounding does to a
    run is known, beside twice that; -1: ``units`` always."""

    index: int
    units: int
    kind: str
    node: str = ""
    op: str = ""
    at: int = 0
    edges: tuple[float, ...] = ()
    period: float = 0.0
    first: int = 0
    exact: bool = False
    rest: int = -1

    @staticmethod
    def read(d: dict[str, Any]) -> Decision:
        """From the record. Raises ``ValueError``, ``TypeError`` or ``KeyError``."""
        numbers = {k: int(d[k]) for k in ("index", "units", "at", "first")}
        words = {k: str(d[k]) for k in ("kind", "node", "op")}
        edges, period = tuple(float(e) for e in d["edges"]), float(d["period"])
        if words["kind"] not in KINDS or min(numbers.values()) < 0 or not math.isfinite(sum(map(abs, edges)) + period):
            raise ValueError
        return Decision(
            *(numbers["index"], numbers["units"], words["kind"], words["node"], words["op"], numbers["at"]),
            *(edges, period, numbers["first"], bool(d["exact"]), max(int(d["rest"]), -1)),
        )

    def gaps(self, ins: Instruction, operands: Sequence[Array]) -> Array:
        """How far apart what is told apart is, in units, of one execution (in int64 or float64)."""
        x = operands[self.at]
        if self.kind == "pair":
            return np.asarray(np.abs(x - operands[1 - self.at]))
        if self.kind == "toward 0":
            size = np.abs(x)
            return np.asarray(np.abs(size - np.maximum(np.rint(size / self.period), 1) * self.period))
        if self.kind == "edges":
            away = x.reshape(*x.shape, 1) - np.array(self.edges)
            if self.period:
                away = away - self.period * np.rint(away / self.period)
            return np.asarray(np.abs(away).min(axis=-1))
        axis = int(str(dict(ins.attrs)["axis"])) if self.kind == "largest" else -1
        if x.shape[axis] < 2:
            return np.zeros(0)
        if self.kind == "order":
            x = np.sort(-x if dict(ins.attrs).get("descending", False) else x, axis=-1)
            return np.abs(np.diff(x[..., : self.first + 1], axis=-1))
        two = np.partition(x if ins.op == "argmin" else -x, 1, axis=axis).take((0, 1), axis=axis)
        return np.diff(two, axis=axis)

    def close(self, ins: Instruction, operands: Sequence[Array], off: Sequence[Array | None] | None = None) -> Array:
        """Which entries of one execution are decided by no more than ``units``; where it is known how far rounding took
        the operands of this run (``off``), by no more than twice that and the ``rest``."""
        gaps = self.gaps(ins, [x.astype(np.int64) for x in operands])
        limit: Any = self.units
        if off is not None and self.rest >= 0:
            limit = np.minimum(limit, 2 * self.off(off) + self.rest)
        return np.asarray((gaps <= limit) & (gaps > 0) if self.exact else gaps <= limit)

    def near(self, ins: Instruction, operands: Sequence[Array], off: Sequence[Array | None] | None = None) -> int:
        """How many those are."""
        return int(np.count_nonzero(self.close(ins, operands, off)))

    def off(self, off: Sequence[Array | None]) -> Any:
        """How far rounding took what is told apart."""
        if self.kind in ("edges", "toward 0"):
            mine = off[self.at]
            return 0.0 if mine is None else np.abs(mine)
        both = off if self.kind == "pair" else (off[self.at], off[self.at])
        return sum(float(np.abs(d).max(initial=0.0)) for d in both if d is not None)


def off(q: Array, real: Array, scale: float) -> float:
    """The largest difference of ``real / scale`` from ``q``. What a program cuts off (a mask, say) because it reaches
    far beyond all that it holds is not compared."""
    if not q.size:
        return 0.0
    r = np.asarray(real, np.float64)
    r = (r.reshape(q.shape) if r.size == q.size else r) / scale
    apart = np.abs(r - q)
    held = np.isfinite(apart) & (np.abs(r) <= CUT * max(-int(q.min()), int(q.max()), 1))
    return float(apart[held].max(initial=0.0))


def units_of(error: float, blur: float = 0.0) -> int:
    """How near is too near, for what is ``error`` off on the samples and then rounded to steps of ``2 blur``. What is
    off by next to nothing is decided by a whole unit."""
    return int(min((2 * math.ceil(error) if error > NOTHING else 0) + math.ceil(blur), MOST))


@dataclass(frozen=True)
class Undecided:
    """``entries`` results of a node were decided by less than the program may be off."""

    node: str
    op: str
    entries: int

    def __str__(self) -> str:
        return f"{self.op} '{self.node}' ({self.entries:,})"


def told_undecided(found: Sequence[Undecided]) -> str:
    """One sentence for all of them."""
    listed = ", ".join(map(str, found[:3]))
    return f"decided by less than the program may be off from the float model, which may decide otherwise: {listed}"
