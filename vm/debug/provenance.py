"""Where a value came from: the chain of instructions and elements behind one entry of a register or buffer.

What only moves entries (views, ``put``, ``mov``, ``gather``, ``select``, a load of what was stored, the winner of a
maximum, sorting) is followed to the one entry that moved. What computes names the operands' entries: all of an
elementwise instruction, of a sum or product of many the ``TERMS`` that weigh most. A step's operands are taken from the
past by replay, so links carry the values of that moment.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from syurmy.isa.arrays import Array
from syurmy.isa.instruction import Call, normal_axis
from syurmy.isa.ops.compare import Select
from syurmy.isa.ops.linear import Sum
from syurmy.isa.ops.memory import Gather
from syurmy.isa.ops.order import ArgSort, Sort, TopK
from syurmy.isa.ops.product import Contraction, Conv2d
from syurmy.isa.ops.reduce import ArgExtremum, ReduceExtremum
from syurmy.isa.ops.view import Window, ints
from syurmy.vm.debug.errors import DebugError
from syurmy.vm.debug.expressions import Target
from syurmy.vm.debug.points import Source

if TYPE_CHECKING:
    from syurmy.vm.debug.engine import Debugger

Element = tuple[int, ...]
ELEMENTWISE = ("linear", "bitwise", "compare", "division", "narrowing", "pointwise")
TERMS = 3  # of a sum or a product of many that are named
LIMIT = 40  # links of one chain
MOST = 2000
FIRST = 2**62  # marks of entries: no value of a program is so large


@dataclass(frozen=True)
class Origins:
    """What one entry of a result was made of. ``sources``: operand and element (None: all of it); ``terms``: how many
    there are, named or not; ``moved``: the entry is one of them, unchanged; ``by``: entries that chose it (row numbers,
    conditions); ``constant``: it is none of them but a constant of the instruction."""

    sources: tuple[tuple[int, Element | None], ...]
    terms: int
    moved: bool = False
    by: tuple[tuple[int, Element], ...] = ()
    constant: bool = False


@dataclass(eq=False)
class Link:
    """One value of the chain. ``kind``: moved or computed (by instruction ``index`` at step ``step``), input, param,
    counter, initial (what a buffer held at first), constant (of the instruction: padding), seen (it stands in the chain
    already), more (not followed: the chain is as long as was asked for). ``terms``: how many sources there are."""

    name: str
    element: Element | None
    value: int | None
    kind: str = "more"
    step: int | None = None
    index: int | None = None
    sources: list[Link] = field(default_factory=list)
    terms: int = 0
    by: tuple[Source, ...] = ()


def element(value: Array, target: Target) -> Element:
    """The one element that a target names. Raises ``DebugError`` D103."""
    places = np.arange(value.size).reshape(value.shape)
    chosen = target.of(places).reshape(-1)
    if len(chosen) != 1:
        message = f"{target} has {len(chosen)} elements, not one"
        raise DebugError(
            message,
            code="D103",
            help=f"its shape is {list(value.shape)}; as in {target.name}[{', '.join('0' * value.ndim)}]",
        )
    return tuple(int(i) for i in np.unravel_index(int(chosen[0]), value.shape))


def follow(run: Debugger, name: str, place: Element | None, before: int, limit: int = LIMIT) -> Link:
    """The chain behind ``name[place]`` as it is before step ``before``, breadth first, at most ``limit`` links long."""
    value = run.value(name) if before == run.step else None
    first = Link(name, place, None if value is None or place is None else int(value[place]))
    waiting = deque([(first, before)])
    seen: dict[tuple[str, Element | None, int | None], Link] = {}
    links = 1
    rams = {r.name: r for r in run.program.rams}
    while waiting:
        link, at = waiting.popleft()
        if links > min(limit, MOST):
            continue
        if link.name in rams:
            following = _from_buffer(run, link, at)
        else:
            following = _from_register(run, link, at)
        key = link.name, link.element, link.step
        if link.kind in ("moved", "computed") and key in seen:
            link.kind = "seen"
            continue
        seen[key] = link
        link.sources = following
        links += len(following)
        waiting.extend((f, at if link.step is None else link.step) for f in following if f.kind == "more")
    return first


def origins(call: Call, operands: Sequence[Array], at: Element) -> Origins:
    """What entry ``at`` of an instruction's result was made of. ``call.counters`` are those of the execution; loads and
    stores, whose entries come from a buffer, are not asked here."""
    op = call.op
    if op.family == "view":
        return _moved(call, operands, range(len(operands)), at)
    if isinstance(op, Gather):
        return _moved(call, operands, (0,), at, ((1, at[: operands[1].ndim]),))
    if isinstance(op, Select):
        condition = _broadcast(operands[0], at)
        chosen = 1 if int(operands[0][condition]) == 1 else 2
        return Origins(((chosen, _broadcast(operands[chosen], at)),), 1, moved=True, by=((0, condition),))
    if isinstance(op, Sum):
        axes = {normal_axis(a, operands[0].ndim) for a in ints(call["axes"])} if call["axes"] is not None else None
        return _heaviest(operands, Terms.along(operands[0].shape, axes, at, bool(call["keepdims"])))
    if isinstance(op, ReduceExtremum | ArgExtremum):
        x = operands[0]
        along = Terms.along(x.shape, {normal_axis(call["axis"], x.ndim)}, at, bool(call["keepdims"]))
        entries = along.values(0, x)
        best = int((np.argmax if op.sign > 0 else np.argmin)(entries))
        return Origins(((0, along.elements(best)[0]),), entries.size, moved=isinstance(op, ReduceExtremum))
    if isinstance(op, Sort | TopK | ArgSort):
        x = operands[0][at[:-1]]
        down = isinstance(op, TopK) or bool(call["descending"])
        place = int(np.argsort(-x if down else x, kind="stable")[at[-1]])
        return Origins(((0, (*at[:-1], place)),), 1, moved=not isinstance(op, ArgSort))
    if isinstance(op, Contraction):
        return _heaviest(operands, _contracted(call, operands, at))
    if isinstance(op, Conv2d):
        pairs = list(_window(call, operands, at))
        products = [np.array([int(x[p[k]]) for p in pairs], np.int64) for k, x in enumerate(operands)]
        return _named(_largest(products), len(pairs), pairs.__getitem__)
    if op.family in ELEMENTWISE:
        return Origins(tuple((k, _broadcast(x, at)) for k, x in enumerate(operands)), len(operands))
    return Origins(tuple((k, None) for k in range(len(operands))), len(operands))


def named(
    names: Sequence[str], operands: Sequence[Array], pairs: Sequence[tuple[int, Element | None]]
) -> tuple[Source, ...]:
    """Operands' entries with names and values."""
    return tuple(Source(names[k], e, None if e is None else int(operands[k][e])) for k, e in pairs)


# ---- one link --------------------------------------------------------------------------------------------------------


def _from_register(run: Debugger, link: Link, before: int) -> list[Link]:
    step = run.writer(link.name, before)
    if step is None:
        link.kind = "input" if link.name in run.inputs else "param" if link.name in run.registers else "counter"
        return []
    done = run.execution(step)
    link.step, link.index, link.kind = step, done.index, "computed"
    assert done.result is not None
    if link.element is None:
        found = Origins(tuple((k, None) for k in range(len(done.operands))), len(done.operands))
    else:
        link.value = int(done.result[link.element])
        call = run.call(done.index)
        call.counters = done.counters
        if done.instruction.op == "load":
            return _loaded(run, link, call, done.operands[0])
        found = origins(call, done.operands, link.element)
    link.kind = "constant" if found.constant else "moved" if found.moved else "computed"
    link.terms = found.terms
    link.by = named(done.instruction.src, done.operands, found.by)
    return [_link(s, run, done.counters) for s in named(done.instruction.src, done.operands, found.sources)]


def _link(s: Source, run: Debugger, counters: Any) -> Link:
    return Link(s.name, s.element, s.value, kind="counter" if s.name in counters else "more")


def _loaded(run: Debugger, link: Link, call: Call, rows: Array) -> list[Link]:
    assert link.element is not None
    at = link.element[: rows.ndim]
    row = int(rows[at])
    link.kind, link.terms = "moved", 1
    link.by = (Source(call.instruction.src[0], at, row),)
    return [Link(str(call["buffer"]), (row, *link.element[rows.ndim :]), link.value)]


def _from_buffer(run: Debugger, link: Link, before: int) -> list[Link]:
    assert link.element is not None
    row, rest = link.element[0], link.element[1:]
    step = run.storer(link.name, row, before)
    if step is None:
        init = run.program.ram(link.name).init
        link.kind = "initial"
        if init is None:
            link.value = 0
            return []
        link.kind, link.terms, link.value = "moved", 1, int(run.registers[init][link.element])
        return [Link(init, link.element, link.value)]
    done = run.execution(step)
    rows, values = done.operands
    j = int(np.flatnonzero(rows.reshape(-1) == row)[-1])  # of equal rows the last wins
    at = tuple(int(i) for i in np.unravel_index(j, rows.shape)) if rows.ndim else ()
    link.step, link.index, link.kind, link.terms = step, done.index, "moved", 1
    link.value = int(values[(*at, *rest)])
    link.by = (Source(done.instruction.src[0], at, row),)
    return [_link(Source(done.instruction.src[1], (*at, *rest), link.value), run, done.counters)]


# ---- entries ---------------------------------------------------------------------------------------------------------


def _moved(
    call: Call, operands: Sequence[Array], marked: Sequence[int], at: Element, by: tuple[tuple[int, Element], ...] = ()
) -> Origins:
    """The instruction is executed on marks instead of values: what stands at ``at`` tells where it comes from."""
    values, first = list(operands), FIRST
    starts = []
    for k in marked:
        size = operands[k].size
        values[k] = np.arange(first, first + size, dtype=np.int64).reshape(operands[k].shape)
        starts.append((first, k))
        first += size
    mark = int(np.asarray(call.op.execute(call, values))[at])
    if not FIRST <= mark < first:
        return Origins((), 0, constant=True)
    start, k = max((s, k) for s, k in starts if s <= mark)
    place = tuple(int(i) for i in np.unravel_index(mark - start, operands[k].shape))
    return Origins(((k, place),), 1, moved=True, by=by)


def _broadcast(x: Array, at: Element) -> Element:
    """The entry of an operand that meets entry ``at`` of an elementwise result."""
    return tuple(i if d > 1 else 0 for i, d in zip(at[len(at) - x.ndim :], x.shape, strict=True))


@dataclass(frozen=True)
class Terms:
    """The terms that one entry of a result is made of: ``labels`` of each operand's axes, the index of those that are
    ``fixed`` by the entry, and the lengths of all others, over which ``summed`` runs. Operands of a million entries are
    taken as arrays, never entry by entry."""

    shapes: tuple[tuple[int, ...], ...]
    labels: tuple[Sequence[Any], ...]
    fixed: Mapping[Any, int]
    summed: Mapping[Any, int]

    @staticmethod
    def along(shape: tuple[int, ...], axes: set[int] | None, at: Element, keepdims: bool) -> Terms:
        """Those of a reduction over ``axes`` (None: all)."""
        reduced = set(range(len(shape))) if axes is None else axes
        kept = [k for k in range(len(shape)) if k not in reduced]
        fixed = {k: at[k] for k in kept} if keepdims else dict(zip(kept, at, strict=True))
        return Terms((shape,), (range(len(shape)),), fixed, {k: shape[k] for k in sorted(reduced)})

    def values(self, k: int, x: Array) -> Array:
        """What operand ``k`` gives to the terms: an array over ``summed``, of length 1 along what it does not have."""
        index = [
            0 if d == 1 else self.fixed[n] if n in self.fixed else self._axis(n, d)
            for n, d in zip(self.labels[k], x.shape, strict=True)
        ]
        return np.asarray(x[tuple(index)], np.int64)

    def _axis(self, name: Any, length: int) -> Array:
        return np.arange(length).reshape([length if n == name else 1 for n in self.summed])

    def elements(self, i: int) -> tuple[Element, ...]:
        """The entries of the operands in term ``i``."""
        values = np.unravel_index(i, tuple(self.summed.values())) if self.summed else ()
        place = {**self.fixed, **{n: int(v) for n, v in zip(self.summed, values, strict=True)}}
        return tuple(
            tuple(place[n] if d > 1 else 0 for n, d in zip(names, shape, strict=True))
            for names, shape in zip(self.labels, self.shapes, strict=True)
        )


def _contracted(call: Call, operands: Sequence[Array], at: Element) -> Terms:
    """The pairs (or, of one operand, entries) whose products a contraction sums."""
    op, shapes = call.op, tuple(x.shape for x in operands)
    assert isinstance(op, Contraction)
    if len(operands) == 1:
        left, _, right = str(call["spec"]).replace(" ", "").partition("->")
        labels: tuple[Sequence[Any], ...] = (left,)
        out: Sequence[Any] = right
    else:
        form = op.form(call, shapes)
        labels, out = (form.a, form.b), form.out
    lengths: dict[Any, int] = {}
    for names, shape in zip(labels, shapes, strict=True):
        for x, d in zip(names, shape, strict=True):
            lengths[x] = max(lengths.get(x, 1), d)
    fixed = dict(zip(out, at, strict=True))
    return Terms(shapes, labels, fixed, {x: d for x, d in lengths.items() if x not in fixed})


def _window(call: Call, operands: Sequence[Array], at: Element) -> Iterator[tuple[Element, ...]]:
    """Pairs of an image's and a kernel's entries in one output of a convolution, those in the padding left out."""
    x, w = operands
    window = Window.of(call, w.shape[2:], x.shape[-2:])
    *lead, o, oy, ox = at
    first = o // (w.shape[0] // call["groups"]) * w.shape[1]
    rows, columns = window.index(0)[oy], window.index(1)[ox]
    for c, (ky, y), (kx, column) in itertools.product(range(w.shape[1]), enumerate(rows), enumerate(columns)):
        if y >= 0 and column >= 0:
            yield (*lead, first + c, int(y), int(column)), (o, c, ky, kx)


def _heaviest(operands: Sequence[Array], terms: Terms) -> Origins:
    """The terms of a sum of products whose products are largest, in the order in which they stand."""
    lengths = tuple(terms.summed.values())
    factors = [np.broadcast_to(terms.values(k, x), lengths).reshape(-1) for k, x in enumerate(operands)]
    return _named(_largest(factors), len(factors[0]), terms.elements)


def _named(chosen: Sequence[int], count: int, elements: Callable[[int], tuple[Element, ...]]) -> Origins:
    return Origins(tuple((k, e) for i in chosen for k, e in enumerate(elements(i))), count)


def _largest(factors: Sequence[Array]) -> list[int]:
    """Which ``TERMS`` products are largest in size, the first of equal ones. Products fit ``i64`` in a run; values that
    were injected may not: then they are Python's."""
    sizes = [np.abs(f) for f in factors]
    if math.prod(int(s.max(initial=0)) for s in sizes) >= 2**63:
        sizes = [s.astype(object) for s in sizes]
    weights = reduce(np.multiply, sizes)
    if len(weights) > TERMS:  # sorting all would take as long as the run
        least = np.partition(weights, -TERMS)[-TERMS]
        above = np.flatnonzero(weights > least)
        equal = np.flatnonzero(weights == least)[: TERMS - len(above)]
        return sorted(int(i) for i in np.concatenate([above, equal]))
    return list(range(len(weights)))
