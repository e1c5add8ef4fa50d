"""Decisions on entries that ``compiler.passes.columns`` traced, as comparisons of exact integers."""

from __future__ import annotations

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.forest import Decision
from syurmy.compiler.graph import FUSED, Node
from syurmy.compiler.jumps import error_of
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.questions import MODES, Domain, Entry, Question, Steps, coded, questions
from syurmy.isa.arrays import I64


class Sources:
    """The integers of a node's bases: ``rows`` rows of ``copies`` each, every base's own side by side."""

    def __init__(self, c: Context, n: Node, rows: int) -> None:
        self.c, self.rows = c, rows
        parts = [c.reshape(c.tensors[b], (rows, c.tensors[b].type.size // rows)) for b in n.inputs]
        self._start = dict(zip(n.inputs, np.cumsum([0, *(p.shape[1] for p in parts)]).tolist(), strict=False))
        self.x = parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=1, scale=1.0)
        self.copies = self.x.shape[1]
        self.steps = Steps(self._domain)
        ends = [self._ends(b, p.shape) for b, p in zip(n.inputs, parts, strict=True)]
        self._bottoms, self._tops = (np.concatenate([e[k] for e in ends], axis=1) for k in (0, 1))
        self.nan = any(b in c.coded for b in n.inputs)
        computed = [b for b in n.inputs if b not in c.coded and c.is_float(b)]
        self.error = max((error_of(c, b, c.tensors[b]) for b in computed), default=0.0)  # in units, of what is compared

    def _domain(self, base: str) -> Domain:
        dtype = self.c.value(base).dtype
        if base in self.c.coded:
            return coded(dtype)
        x = self.c.tensors[base]
        kind = np.dtype(np.float32) if dtype.kind in "iub" else dtype  # a whole number is compared as a float
        return Domain(x.type.lo, x.type.hi, lambda q: (q * x.scale).astype(kind), False)

    def _ends(self, base: str, shape: tuple[int, ...]) -> tuple[I64, I64]:
        """One below the least integer of every entry, and one above the largest."""
        if base in self.c.coded:
            lo, hi = self.c.coded[base].ends(shape)
            return lo - 1, hi
        t = self.c.tensors[base].type
        return np.full(shape, t.lo - 1), np.full(shape, t.hi + 1)

    def place(self, e: Entry) -> int:
        """Of an entry among the integers of all rows."""
        width = self.c.tensors[e.base].type.size // self.rows
        return int(e.index // width * self.copies + self._start[e.base] + e.index % width)

    def top(self, place: int) -> int:
        """The integer that stands for NaN: above all others."""
        return int(self._tops.reshape(-1)[place])

    def decide(self, question: Question) -> Decision:
        """In terms of the integers that enter."""
        e = question[0]
        d = self.steps.decide(*question)
        code = self.c.coded.get(e.base)
        return d if code is None else Decision(code.placed(e.index, d.cuts), d.first, d.nan)

    def with_copies(self) -> Tensor:
        """Every row twice, NaN below everything in the second half."""
        if not self.nan:
            return self.x
        c = self.c
        nan = c.emit("ge", self.x, c.out.param(self._tops, 1.0, "nan"), scale=1.0)
        down = c.emit("mul", nan, c.out.param(self._tops - self._bottoms, 1.0, "below"), scale=1.0)
        return c.emit("concat", self.x, c.emit("sub", self.x, down), axis=1, scale=1.0)


def decided(c: Context, n: Node) -> Tensor:
    """0 or 1 for every question of the node."""
    s = Sources(c, n, 1)
    asked = questions(n, c.shape(n.outputs[0]))
    found = [s.decide(q) for q in asked]
    last = [d.first ^ bool(len(d.cuts) % 2) for d in found]
    coded_ = [q[0].base in c.coded for q in asked]
    below = np.array([k and d.nan != end for d, end, k in zip(found, last, coded_, strict=True)])
    if any(b and d.nan != d.first for b, d in zip(below, found, strict=True)):
        raise Unsupported("NaN is a category", "numbers")
    places = np.array([s.place(q[0]) for q in asked], np.int64)
    tops = np.array([s.top(int(p)) for p in places], np.int64)
    x = s.with_copies() if below.any() else s.x
    x = c.emit("gather", c.reshape(x, (x.type.size,)), c.out.param(places + below * s.copies, 1.0, "place"), scale=1.0)
    acc = c.out.param(np.array([int(d.first) for d in found], np.int64))
    for k in range(max((len(d.cuts) for d in found), default=0)):
        cuts = np.array([d.cuts[k] if k < len(d.cuts) else t for d, t in zip(found, tops, strict=True)], np.int64)
        signs = np.array([-1 if d.first ^ bool(k % 2) else 1 for d in found], np.int64)
        step = c.emit("gt", x, c.out.param(cuts, 1.0, "cut"), scale=1.0)
        c.out.decides_within("pair", x, s.error)
        acc = c.emit("add", acc, c.emit("mul", step, c.out.param(signs), scale=1.0), scale=1.0)
    return c.emit("clamp", acc, lo=0, hi=1, scale=1.0) if acc.type.lo < 0 or acc.type.hi > 1 else acc


@lowering(*MODES, "Binarizer", domain=FUSED)
def compared(c: Context, n: Node) -> Result:
    """Entries with constants, and Binarizer: 1 above the threshold."""
    return c.reshape(decided(c, n), c.shape(n.outputs[0]))
