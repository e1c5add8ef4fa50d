"""Values beyond the calibrated range: where they are cut off, and how many were.

A ``rescale`` that narrows, and a table whose function leaves the width of its result, hold what the samples reached
and the margin above. What lies beyond becomes the end of the interval: defined and proven, and not what the float model
computes. What a function is not defined for is told in the same way, and so are sums that wrap, and indices that meet
or lie outside, each under its own cause. An ``End`` is an instruction where that can happen; cuts that belong to the
model (a relu, a clip, a flat function) have none. What is decided by too little is counted along with it
(``compiler.undecided``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy.compiler.undecided import Decision, Undecided
from syurmy.isa.arrays import I64, Integers
from syurmy.isa.program import Instruction
from syurmy.vm.events import Event, Executed

if TYPE_CHECKING:
    from syurmy.compiler.recorded import Row
    from syurmy.compiler.rounding import Rounding

RANGE, WRAPS, MEETS, OUTSIDE = "range", "wraps", "meets", "outside"
CAUSES = {
    RANGE: "values beyond the calibrated range were cut off",
    WRAPS: "int32 sums or products left their type and wrapped, where onnxruntime gives the largest or least int32",
    MEETS: "several indices write to one place, and ONNX does not say what that gives (here it is made of all of them)",
    OUTSIDE: "indices lie outside of their axis, which ONNX does not allow",
}


@dataclass(frozen=True)
class End:
    """Instruction ``index`` cuts off at ``lo`` and ``hi`` (None: not at this side). Of sources up to ``below`` and from
    ``above`` on its function has no value (a logarithm, of what is negative). ``cause``: one of ``CAUSES``."""

    index: int
    lo: int | None
    hi: int | None
    below: int | None = None
    above: int | None = None
    cause: str = RANGE

    def cut(self, ins: Instruction, source: Integers, result: I64) -> int:
        """How many entries of one execution were cut off. A table's end stands for what is beyond it as well."""
        none: Any = False
        if self.below is not None:
            none = none | (source <= self.below)
        if self.above is not None:
            none = none | (source >= self.above)
        none = none if np.any(none) else False
        at_hi = self.hi is not None and int(result.max(initial=self.hi - 1)) >= self.hi
        at_lo = self.lo is not None and int(result.min(initial=self.lo + 1)) <= self.lo
        if not (at_hi or at_lo or none is not False):
            return 0
        reach = 0
        if ins.op == "rescale":  # an entry may be as large as the end and no larger
            attrs: dict[str, Any] = dict(ins.attrs)
            shift, reach = attrs["shift"], 1
            result = (source.astype(np.int64) * attrs.get("mult", 1) + (1 << shift >> 1)) >> shift
        high = result >= self.hi + reach if self.hi is not None else np.zeros(result.shape, bool)
        low = result <= self.lo - reach if self.lo is not None else np.zeros(result.shape, bool)
        return int(np.count_nonzero(high | low | none))


@dataclass(frozen=True)
class Saturation:
    """``entries`` values of a node (or input) were cut off, which is ``share`` of those that could have been, or are
    not what the model's runtime gives for another ``cause`` (of ``CAUSES``)."""

    node: str
    op: str
    entries: int
    share: float
    cause: str = RANGE

    def __str__(self) -> str:
        what = f"input '{self.node}'" if self.op == "input" else f"{self.op} '{self.node}'"
        share = f"{100 * self.share:.0f}" if self.share >= 0.01 else f"{100 * self.share:.1g}"
        return f"{what}: {self.entries:,} values ({share} %)"


class Watch:
    """A listener that counts."""

    def __init__(
        self,
        code: Sequence[Instruction],
        ends: Iterable[End],
        decisions: Iterable[Decision] = (),
        rounding: Rounding | None = None,
    ) -> None:
        """``rounding``: listens to the same run, after this."""
        self.code, self.rounding = code, rounding
        self.decisions: dict[int, list[Decision]] = {}
        for d in decisions:
            self.decisions.setdefault(d.index, []).append(d)
        self.near: Counter[tuple[str, str]] = Counter()  # of node and operator
        self.ends = {e.index: e for e in ends}
        self.cut: Counter[int] = Counter()
        self.seen: Counter[int] = Counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Executed) and (end := self.ends.get(event.index)) is not None:
            self.cut[end.index] += end.cut(self.code[end.index], event.operands[0], event.result)
            self.seen[end.index] += event.result.size
        if isinstance(event, Executed):
            for d in self.decisions.get(event.index, ()):
                ins = self.code[d.index]
                off = None if self.rounding is None else self.rounding.before(ins)
                self.near[d.node, d.op] += d.near(ins, event.operands, off)

    def undecided(self) -> tuple[Undecided, ...]:
        """What was decided by too little, by node."""
        return tuple(Undecided(node, op, count) for (node, op), count in self.near.items() if count)

    def found(self, rows: Iterable[Row]) -> tuple[Saturation, ...]:
        """What was cut off, by node."""
        out = []
        for r in rows:
            here = [e for i, e in self.ends.items() if r.first <= i < r.last]
            for cause in CAUSES:
                indices = [e.index for e in here if e.cause == cause]
                cut, seen = (sum(counter[i] for i in indices) for counter in (self.cut, self.seen))
                if cut:
                    out.append(Saturation(r.node, r.op, cut, cut / seen, cause))
        return tuple(out)


def told(found: Sequence[Saturation]) -> str:
    """One sentence for every cause; '' for none."""
    out = []
    for cause, what in CAUSES.items():
        worst = sorted((s for s in found if s.cause == cause), key=lambda s: -s.share)
        more = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
        if worst:
            out.append(f"{what}, so outputs may be wrong: {'; '.join(map(str, worst[:3]))}{more}")
    return ". ".join(out)
