"""Constraints at one element, written out in names and in numbers: ``x[0]*w[0] + x[1]*w[1]`` and ``3*7 + 2*-1 = 19``.

An expression is followed through views to the entries of columns, of public tensors, of params and of other
instructions' results. Of a sum of many terms the largest are written, and what the others come to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from syurmy.isa import graph as g
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.graph import Node
from syurmy.prover.witness import Witness

WRITTEN = 6  # terms of a sum
Element = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One entry of a tensor."""

    name: str
    value: int


@dataclass(frozen=True)
class Term:
    """``coefficient`` times the factors: entries, or sums in parentheses."""

    coefficient: int
    factors: tuple[Entry | tuple[Term, ...], ...] = ()

    @property
    def value(self) -> int:
        out = self.coefficient
        for f in self.factors:
            out *= f.value if isinstance(f, Entry) else total(f)
        return out


def total(terms: tuple[Term, ...]) -> int:
    return sum(t.value for t in terms)


class Equations:
    """Writes out expressions of a constraint system on a witness."""

    def __init__(self, system: ConstraintSystem, witness: Witness) -> None:
        self.system = system
        self.witness = witness
        self._inputs = {node: name for name, node in system.inputs.items()}
        self._results = {node: pc for pc, node in reversed(list(system.results.items()))}

    def name(self, node: Node, at: Element) -> str:
        """An entry of a node by the name that the program has for it: ``h[0, 3]``, in execution 2 ``h'2[0, 3]``."""
        pc = self._results.get(node)
        ins = None if node.origin < 0 else self.system.program.code[node.origin]
        if pc is not None and node.origin == pc and self.system.program.code[pc].dst is not None:
            name = str(self.system.program.code[pc].dst)
        elif node in self._inputs:
            name = self._inputs[node]
        elif isinstance(node, g.Public | g.ParamTensor) and node.name:
            name = f"output {node.name}" if isinstance(node, g.Public) and node.source == "output" else node.name
        elif ins is not None:
            name = f"{ins.op}.{node.label or 'part'}".replace(" ", "_")
        else:
            name = node.label or "part"
        run = f"'{at[0]}" if node.executions > 1 else ""
        return f"{name}{run}" + (f"[{', '.join(map(str, at[1:]))}]" if at[1:] else "")

    def terms(self, node: Node, at: Element, inside: int | None = None) -> tuple[Term, ...]:
        """Entry ``at`` of a node as a sum. ``inside``: the instruction whose own nodes are followed, though one of them
        is its result; results of others are entries."""
        return tuple(self._terms(node, at, 1, inside))

    def _terms(self, node: Node, at: Element, factor: int, inside: int | None) -> Iterator[Term]:
        done = node in self._results and not (inside is not None and node.origin == inside)
        if isinstance(node, g.Public) and node.source == "const" and node.values is not None:
            yield Term(factor * int(node.values[at]))
        elif done or not node.inputs or isinstance(node, g.Committed):
            yield Term(factor, (Entry(self.name(node, at), int(self.witness(node)[at])),))
        elif isinstance(node, g.Combine):
            for c, n in zip(node.coefficients, node.inputs, strict=True):
                yield from self._terms(n, at, factor * c, inside)
            if node.const:
                yield Term(factor * node.const)
        elif isinstance(node, g.Sum):
            for place in _summed(node, at):
                yield from self._terms(node.inputs[0], place, factor, inside)
        elif isinstance(node, g.Product):
            for a, b in _products(node, at):
                x, y = self.terms(node.inputs[0], a, inside), self.terms(node.inputs[1], b, inside)
                yield _times(factor, x, y)
        else:
            moved = _moved(node, at)
            if moved is not None:
                yield from self._terms(*moved, factor, inside)

    def written(self, node: Node, at: Element, inside: int | None = None) -> tuple[str, str, int]:
        """An entry of a node in names, in numbers, and its value."""
        terms = self.terms(node, at, inside)
        names, numbers = _text(terms, False), _text(terms, True)
        return names, numbers, total(terms)


# ---- parts -----------------------------------------------------------------------------------------------------------


def _times(factor: int, x: tuple[Term, ...], y: tuple[Term, ...]) -> Term:
    """A product of two sums; sums of one term become its factors."""
    factors: list[Entry | tuple[Term, ...]] = []
    for part in (x, y):
        if len(part) == 1:
            factor *= part[0].coefficient
            factors += part[0].factors
        else:
            factors.append(part)
    return Term(factor, tuple(factors))


def _moved(node: Node, at: Element) -> tuple[Node, Element] | None:
    """Where an entry of a view stands in its source; None where it is zero."""
    source = node.inputs[0]
    if isinstance(node, g.Reshape):
        flat = int(np.ravel_multi_index(at, node.shape))
        return source, tuple(int(i) for i in np.unravel_index(flat, source.shape))
    if isinstance(node, g.Transpose):
        place = [0] * len(at)
        for i, p in enumerate(node.perm):
            place[p] = at[i]
        return source, tuple(place)
    if isinstance(node, g.Broadcast):
        return source, tuple(i if d > 1 else 0 for i, d in zip(at, source.shape, strict=True))
    if isinstance(node, g.Concat):
        start = 0
        for n in node.inputs:
            if at[node.axis] < start + n.shape[node.axis]:
                return n, (*at[: node.axis], at[node.axis] - start, *at[node.axis + 1 :])
            start += n.shape[node.axis]
    if isinstance(node, g.IndexMap):
        flat = int(node.index[tuple(at[a] for a in node.out_axes)])
        if flat < 0:
            return None
        rest = iter([i for a, i in enumerate(at) if a not in node.out_axes])
        inner = np.unravel_index(flat, [source.shape[a] for a in node.in_axes])
        known = {a: int(i) for a, i in zip(node.in_axes, inner, strict=True)}
        return source, tuple(known[a] if a in known else next(rest) for a in range(len(source.shape)))
    raise TypeError(f"{type(node).__name__} is not a view")


def _summed(node: g.Sum, at: Element) -> Iterator[Element]:
    shape = node.inputs[0].shape
    return itertools.product(*(range(d) if a in node.axes else (at[a],) for a, d in enumerate(shape)))


def _products(node: g.Product, at: Element) -> Iterator[tuple[Element, Element]]:
    a, b = node.inputs
    labels = (node.labels_a, node.labels_b)
    lengths: dict[int, int] = {}
    for names, n in zip(labels, (a, b), strict=True):
        for x, d in zip(names, n.shape, strict=True):
            lengths[x] = max(lengths.get(x, 1), d)
    fixed = dict(zip(node.labels_out, at, strict=True))
    free = [x for x in lengths if x not in fixed]
    for values in itertools.product(*(range(lengths[x]) for x in free)):
        place = fixed | dict(zip(free, values, strict=True))
        first, second = (
            tuple(place[x] if d > 1 else 0 for x, d in zip(names, n.shape, strict=True))
            for names, n in zip(labels, (a, b), strict=True)
        )
        yield first, second


def _text(terms: tuple[Term, ...], numbers: bool) -> str:
    """A sum; of many terms the largest."""
    kept = [t for t in terms if t.coefficient]
    if len(kept) > WRITTEN:
        largest = sorted(sorted(range(len(kept)), key=lambda i: -abs(kept[i].value))[: WRITTEN - 2])
        others = sum(t.value for i, t in enumerate(kept) if i not in largest)
        chosen = [kept[i] for i in largest]
        more = f" + ({len(kept) - len(chosen)} more" + (f": {others})" if numbers else ")")
    else:
        chosen, more = kept, ""
    out = ""
    for k, t in enumerate(chosen):
        text = _term(t, numbers)
        if k == 0:
            out = text
        elif text.startswith("-"):
            out += f" - {text[1:]}"
        else:
            out += f" + {text}"
    return (out or "0") + more


def _term(t: Term, numbers: bool) -> str:
    parts = []
    for f in t.factors:
        if isinstance(f, Entry):
            parts.append(str(f.value) if numbers else f.name)
        else:
            parts.append(f"({_text(f, numbers)})")
    if not parts:
        return str(t.coefficient)
    if t.coefficient in (1, -1):
        if numbers and t.coefficient == -1 and parts[0].startswith("-"):
            return "-(" + parts[0] + ")" + "".join(f"*{p}" for p in parts[1:])
        return ("-" if t.coefficient < 0 else "") + "*".join(parts)
    return "*".join([str(t.coefficient), *parts])
