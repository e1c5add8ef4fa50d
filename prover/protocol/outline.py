"""What a proof's claims come to, worked out once per plan and without values: which terms there are, which weights they
have and where they end follows from program and path; a proof's challenges give numbers only.

The planner's sweeps compute with elements and weights that say how they were made. ``Outline.numbers`` makes them
again, in the same order, at the points of a proof. Without values no two sums of weights count as equal. Where two are
equal at a proof's points, or at those by which claims are counted, a sweep with values would merge more terms, and the
outline is not what it comes to: ``coincide`` and ``numbers`` find that out.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import field
from threading import Lock
from typing import Any

from syurmy.isa.arrays import I32
from syurmy.isa.cost import PER_WEIGHT, Account
from syurmy.isa.graph import Equation
from syurmy.isa.progression import Progression
from syurmy.isa.records import dataclass
from syurmy.prover.field import ONE, Ext
from syurmy.prover.protocol.claims import Group, Pulled, Sweep, Term, columns_of
from syurmy.prover.protocol.contraction import Contraction, all_contractions, operand_claims
from syurmy.prover.protocol.leaves import Block, Claim, Leaves, claims_of, claims_on
from syurmy.prover.protocol.strands import Coordinate
from syurmy.prover.protocol.weights import Weight, WeightSpace, named

Step = tuple[Any, ...]  # how it is made: a name, the numbers of what it is made of, and what else that takes

MOST = 1 << 17  # steps of an outline that is kept, some 200 bytes each


class Slot(Ext):
    """An element without a value: number ``index`` of ``steps``."""

    __slots__ = ("index", "steps")

    def __init__(self, steps: list[Step], step: Step) -> None:
        self.index, self.steps = len(steps), steps
        steps.append(step)

    def __add__(self, o: Ext | int) -> Ext:
        return Slot(self.steps, ("add", (self.index, self._of(o))))

    def __mul__(self, o: Ext | int) -> Ext:
        if isinstance(o, int):
            return Slot(self.steps, ("times", (self.index,), o))
        return self if o is ONE else Slot(self.steps, ("mul", (self.index, self._of(o))))

    __radd__ = __add__
    __rmul__ = __mul__

    def _of(self, o: Ext | int) -> int:
        return o.index if isinstance(o, Slot) else Slot(self.steps, ("given", (), Ext.of(o))).index

    def __eq__(self, o: object) -> bool:
        return self is o

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("an element without a value is neither zero nor not")


class Line(Weight):
    """A weight without values; ``key``: its number among the steps."""

    def __init__(self, key: int, dims: tuple[int, ...], size: int, point: tuple[Coordinate, ...] | None = None) -> None:
        self.__dict__.update(key=key, dims=dims, size=size, point=point)


class Lines(WeightSpace):
    """Makes weights that are lines. ``account`` is charged for what a space with values would allocate."""

    def __init__(self, account: Account | None = None) -> None:
        super().__init__()
        self.account = account
        self.steps: list[Step] = []
        self.sums: dict[tuple[Hashable, ...], list[tuple[Ext, ...]]] = {}  # coefficients, by the weights that are added
        self._lines: dict[Hashable, Line] = {}
        self._totals: dict[Hashable, Slot] = {}

    def element(self, *step: Any) -> Slot:
        """A further element."""
        return Slot(self.steps, step)

    def _line(
        self, dims: tuple[int, ...], step: Step, key: Hashable = None, point: tuple[Coordinate, ...] | None = None
    ) -> Line:
        key = step if key is None else key
        found = self._lines.get(key)
        if found is None:
            size = math.prod(dims)
            if self.account is not None:
                self.account.spend(PER_WEIGHT + size, "weights of claims")
            found = self._lines[key] = Line(len(self.steps), dims, size, point)
            self.steps.append(step)
        return found

    def eq(self, point: Sequence[Coordinate], d: int) -> Weight:
        p = tuple(point)
        return self._line((d,), ("eq", (), p, d), point=p)

    def ones(self, d: int) -> Weight:
        return self._line((d,), ("ones", (), d))

    def outer(self, a: Weight, b: Weight) -> Weight:
        return self._line(a.dims + b.dims, ("outer", (a.key, b.key)))

    def transpose(self, w: Weight, perm: Sequence[int]) -> Weight:
        p = tuple(perm)
        if p == tuple(range(len(p))):
            return w
        return self._line(tuple([w.dims[i] for i in p]), ("transpose", (w.key,), p))

    def reshape(self, w: Weight, dims: Sequence[int]) -> Weight:
        d = tuple(dims)
        return w if d == w.dims else self._line(d, ("reshape", (w.key,), d))

    def scatter(self, w: Weight, index: I32 | Progression, size: int) -> Weight:
        key = "scatter", w.key, named(index), index.shape, size
        return self._line((size, w.size // index.size), ("scatter", (w.key,), index, size), key)

    def slice(self, w: Weight, axis: int, lo: int, hi: int) -> Weight:
        if lo == 0 and hi == w.dims[axis]:
            return w
        return self._line((*w.dims[:axis], hi - lo, *w.dims[axis + 1 :]), ("slice", (w.key,), axis, lo, hi))

    def sum_axis(self, w: Weight, axis: int) -> Weight:
        return self._line(w.dims[:axis] + w.dims[axis + 1 :], ("sum_axis", (w.key,), axis))

    def linear(self, parts: Sequence[tuple[Ext, Weight]]) -> Weight:
        coefficients, weights = tuple(c for c, _ in parts), tuple(w.key for _, w in parts)
        self.sums.setdefault(weights, []).append(coefficients)
        made_of = weights + tuple([c.index for c in coefficients if isinstance(c, Slot)])
        return self._line(parts[0][1].dims, ("linear", made_of, coefficients), len(self.steps))

    def total(self, w: Weight) -> Ext:
        found = self._totals.get(w.key)
        if found is None:
            found = self._totals[w.key] = self.element("total", (w.key,))
        return found


class Coincidence(Exception):
    """Two sums of weights are equal that are different ones without values."""


@dataclass(eq=False)
class Outline:
    """What both sweeps come to, without values. ``at``, ``beta``, ``gamma``, ``eta``: the elements that they begin
    with, ``at`` for each block's place among the leaves; ``leaves``: the weights of what lies in the blocks."""

    blocks: Sequence[Block]
    lines: Lines
    leaves: Leaves
    at: list[Slot]
    beta: Slot
    gamma: Slot
    eta: Slot
    pulled: list[Pulled]
    contractions: list[Contraction]
    swept: int = 0  # steps of the sweeps; in those behind them equal sums change nothing
    alike: list[list[tuple[Ext, ...]]] = field(default_factory=list)  # coefficients of their sums of the same weights
    _lock: Lock = field(default_factory=Lock, repr=False)
    _made: Made | None = None

    @staticmethod
    def begun(blocks: Sequence[Block], account: Account | None = None) -> Outline:
        """Before the sweeps."""
        lines = Lines(account)
        at = [lines.element("given", (), None) for _ in blocks]
        beta, gamma, eta = (lines.element("given", (), None) for _ in range(3))
        return Outline(blocks, lines, Leaves(lines, blocks), at, beta, gamma, eta, [], [])

    @staticmethod
    def of(blocks: Sequence[Block], equations: Sequence[Equation]) -> Outline:
        """Of a plan that commits what it has to."""
        out = Outline.begun(blocks)
        sweep = Sweep(out.lines)
        first = sweep.run([*out.on_leaves(), *out.on_equations(equations)])
        second = out.behind(sweep, all_contractions(first.products, sweep)) if first.products else None
        return out.ended(first, second)

    def on_leaves(self) -> list[Claim]:
        """The claims on members."""
        return claims_on(self.blocks, self.leaves, self.at, self.beta, None)

    def on_equations(self, equations: Sequence[Equation], first: int = 0) -> list[Claim]:
        """The claims on equations, all but the ``first`` ones."""
        return claims_of(equations, self.leaves, self.gamma, first)

    def behind(self, sweep: Sweep, contractions: list[Contraction]) -> Pulled:
        """Where the claims on operands end."""
        self.contractions = contractions
        rounds = max(c.variables for c in contractions)
        return sweep.run(operand_claims(contractions, sweep, rounds, self.eta))

    def ended(self, first: Pulled, second: Pulled | None) -> Outline:
        """With what the sweeps came to, and the claims on multiplicities. Many threads may use it then: only ``made``
        adds steps."""
        self.lines.account = None
        for b, place in zip(self.blocks, self.at, strict=True):
            if b.multiplicity is not None:
                term = Term(place * self.gamma, self.leaves.whole(b.multiplicity.shape))
                first.columns.setdefault(b.multiplicity, []).append(term)
        self.pulled = [first] if second is None else [first, second]
        self.swept = len(self.lines.steps)
        self.alike = [sums for sums in self.lines.sums.values() if len(sums) > 1]
        self.lines.sums = {}
        return self

    @property
    def counted(self) -> list[Pulled]:
        """Where the claims on params ended, with coefficients that can be added and make no steps."""
        bare = [{n: [Term(ONE, t.groups) for t in terms] for n, terms in p.params.items()} for p in self.pulled]
        return [Pulled(params=params) for params in bare]

    @property
    def kept(self) -> bool:
        """Whether it may be held for as long as its plan."""
        return len(self.lines.steps) <= MOST

    # ---- what is made again, in order --------------------------------------------------------------------------------

    def needed(self, elements: Iterable[Ext], weights: Iterable[Weight] = ()) -> list[int]:
        """The numbers of the steps by which these are made, in order."""
        steps = self.lines.steps
        count = len(steps)  # another thread may add some
        marked: Any = bytearray(count)  # by numbers, which weights have as keys
        for x in elements:
            if isinstance(x, Slot):
                marked[x.index] = 1
        for w in weights:
            marked[w.key] = 1
        out = []
        for i in range(count - 1, -1, -1):
            if marked[i]:
                out.append(i)
                for k in steps[i][1]:
                    marked[k] = 1
        return out[::-1]

    def made(self) -> Made:
        """What a proof has to make. Worked out once, by whoever asks first."""
        with self._lock:
            if self._made is None:
                self._made = Made(self)
            return self._made

    def coincide(self, at: Sequence[Ext], beta: Ext, gamma: Ext, eta: Ext, points: Mapping[str, list[Ext]]) -> bool:
        """Whether at these points two sums of weights are equal, so that a sweep would merge what they are of."""
        numbers = Numbers(self, WeightSpace(), at, beta, gamma, eta)
        numbers.space.points.update(points)
        try:
            numbers.make(self.needed(c for sums in self.alike for coefficients in sums for c in coefficients))
        except Coincidence:
            return True
        finally:
            numbers.space.forget()
        return any(len({tuple(map(numbers.element, c)) for c in sums}) < len(sums) for sums in self.alike)


class Made:
    """``columns``: all terms on columns. ``first``, ``second``: the steps before the contraction, and behind it.
    ``sorts``: how many of the leaves' weights blocks have."""

    def __init__(self, outline: Outline) -> None:
        self.sorts = 1 + max(outline.leaves.numbers, default=-1)
        self.columns = columns_of(outline.pulled, Sweep(outline.lines))
        terms = [t for several in outline.pulled[0].publics.values() for t in several]
        elements = [t.coefficient for t in terms] + [c.coefficient for c in outline.contractions]
        groups = [t.groups for t in terms] + [c.batch for c in outline.contractions]
        groups += outline.leaves.groups[: self.sorts]
        constant = outline.pulled[0].constant
        self.first = outline.needed([constant, *elements], (w for several in groups for _, w in several))
        found: list[Mapping[Any, list[Term]]] = [self.columns]
        for p in outline.pulled:
            found += [p.publics, p.params, p.externals]
        terms = [t for ends in found for several in ends.values() for t in several]
        elements = [*(t.coefficient for t in terms), *(p.constant for p in outline.pulled)]
        done = set(self.first)
        needed = outline.needed(elements, (w for t in terms for _, w in t.groups))
        self.second = [i for i in needed if i not in done]


class Numbers:
    """The numbers and weights of an outline at the points of ``space``. ``eta`` may be ``drawn`` later."""

    def __init__(
        self,
        outline: Outline,
        space: WeightSpace,
        at: Sequence[Ext],
        beta: Ext,
        gamma: Ext,
        eta: Ext | None = None,
    ) -> None:
        self.outline, self.space = outline, space
        self._made: Any = [None] * len(outline.lines.steps)  # by numbers, which weights have as keys
        for slot, value in zip((*outline.at, outline.beta, outline.gamma), (*at, beta, gamma), strict=True):
            self._made[slot.index] = value
        self._made[outline.eta.index] = eta
        self._batches: dict[tuple[Group, ...], tuple[Group, ...]] = {}  # many contractions have the same

    def drawn(self, eta: Ext) -> None:
        """The challenge behind the contraction."""
        self._made[self.outline.eta.index] = eta

    def make(self, numbers: Iterable[int]) -> None:
        """Takes these steps, in order. Raises ``Coincidence`` where two sums of weights are equal."""
        steps, made, space = self.outline.lines.steps, self._made, self.space
        made += [None] * (len(steps) - len(made))
        for i in numbers:
            if made[i] is not None:
                continue
            step = steps[i]
            name = step[0]
            if name == "mul":
                a, b = step[1]
                made[i] = made[a] * made[b]
            elif name == "times":
                made[i] = made[step[1][0]] * step[2]
            elif name == "add":
                a, b = step[1]
                made[i] = made[a] + made[b]
            elif name == "total":
                made[i] = space.total(made[step[1][0]])
            elif name == "given":
                made[i] = step[2]
            elif name == "linear":
                count = space.count
                parts = [(self.element(c), made[k]) for c, k in zip(step[2], step[1], strict=False)]
                made[i] = space.linear(parts)
                if space.count == count and i < self.outline.swept:
                    raise Coincidence
            else:
                made[i] = getattr(space, name)(*[made[k] for k in step[1]], *step[2:])

    def element(self, x: Ext) -> Ext:
        """The number of an element."""
        return self._made[x.index] if isinstance(x, Slot) else x

    def weight(self, w: Weight) -> Weight:
        """The weight of a line."""
        found: Weight = self._made[w.key]
        return found

    def term(self, t: Term) -> Term:
        """The term with its number and weights."""
        made = self._made
        return Term(self.element(t.coefficient), tuple([(axes, made[w.key]) for axes, w in t.groups]))

    def terms(self, found: dict[Any, list[Term]]) -> dict[Any, list[Term]]:
        """Those of every tensor."""
        return {node: [self.term(t) for t in terms] for node, terms in found.items()}

    def contraction(self, c: Contraction) -> Contraction:
        """With its number and the weights of its batch; its sides are lines."""
        batch = self._batches.get(c.batch)
        if batch is None:
            batch = self._batches[c.batch] = tuple([(axes, self._made[w.key]) for axes, w in c.batch])
        return Contraction(c.product, self.element(c.coefficient), c.dims, batch, c.a, c.b)

    def ends(self, pulled: Pulled) -> Pulled:
        """Where claims on params and committed tensors ended."""
        return Pulled(params=self.terms(pulled.params), externals=self.terms(pulled.externals))

    def totals(self) -> list[Ext]:
        """Of the weights of what lies in the blocks: the sum of all entries."""
        out = []
        for groups in self.outline.leaves.groups[: self.outline.made().sorts]:
            total = ONE
            for _, w in groups:
                total = total * self.space.total(self.weight(w))
            out.append(total)
        return out
