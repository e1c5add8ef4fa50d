"""What nodes ask about the entries that ``compiler.passes.columns`` traced, as questions about integers.

``f(q) <= t``, with f the monotone function from an entry's integer to the float that the model compares, is ``q <= c``.
``Steps`` finds c by bisection of f itself, so it is right for every float, whatever f rounds. A ``Code`` is how an
input that is only asked such questions enters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from syurmy.compiler import coding
from syurmy.compiler.forest import Decision, forest
from syurmy.compiler.graph import Graph, Node
from syurmy.isa import reals
from syurmy.isa.arrays import I64, Array

TREES = {"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"}
MODES = {"Less": "BRANCH_LT", "LessOrEqual": "BRANCH_LEQ", "Greater": "BRANCH_GT", "GreaterOrEqual": "BRANCH_GTE",
         "Equal": "BRANCH_EQ"}  # fmt: skip
SWAPPED = {"Less": "Greater", "LessOrEqual": "GreaterOrEqual", "Greater": "Less", "GreaterOrEqual": "LessOrEqual"}


@dataclass(frozen=True)
class Map:
    """A function of one number that never changes direction, as the float model computes it: ``op`` with constants a
    and b, its result in ``dtype``."""

    op: str
    a: float = 0.0
    b: float = 0.0
    dtype: str = "float32"

    @property
    def rising(self) -> bool:
        factor = self.a if self.op in ("Mul", "Div") else self.b if self.op == "Scaler" else 1.0
        return self.op not in ("Neg", "From") and factor >= 0

    def __call__(self, x: Array) -> Array:
        kind = np.dtype(self.dtype)
        a, b = kind.type(self.a), kind.type(self.b)
        with np.errstate(all="ignore"):
            return np.asarray(_FUNCTIONS[self.op](x, a, b)).astype(kind)


def _scaler(x: Array, a: Any, b: Any) -> Array:
    x = x if x.dtype == np.float64 else x.astype(np.float32)
    return np.asarray((x - x.dtype.type(a)) * x.dtype.type(b))


_FUNCTIONS: dict[str, Callable[[Array, Any, Any], Array]] = {
    "Cast": lambda x, a, b: x,
    "Scaler": _scaler,
    "Add": lambda x, a, b: x + a,
    "Sub": lambda x, a, b: x - a,
    "From": lambda x, a, b: a - x,
    "Mul": lambda x, a, b: x * a,
    "Div": lambda x, a, b: x / a,
    "Neg": lambda x, a, b: -x,
    "Relu": lambda x, a, b: np.where(x < 0, 0, x),
    "Clip": lambda x, a, b: np.where(np.isnan(x), x, np.minimum(np.maximum(x, a), b)),
    "Max": lambda x, a, b: np.maximum(x, a),
    "Min": lambda x, a, b: np.minimum(x, a),
    "Sqrt": lambda x, a, b: np.sqrt(np.maximum(x, 0)),
    "Floor": lambda x, a, b: np.floor(x),
    "Ceil": lambda x, a, b: np.ceil(x),
    "Trunc": lambda x, a, b: np.trunc(x),
    "Impute": lambda x, a, b: np.where(np.isnan(x), a, x),
}


@dataclass(frozen=True)
class Entry:
    """Place ``index`` (row-major) of tensor ``base``, through ``maps``."""

    base: str
    index: int
    maps: tuple[Map, ...] = ()


Question = tuple[Entry, str, Array, bool]
"""Entry, mode as in ``compiler.forest.MODES``, the values it is compared with, whether NaN counts as yes."""


@dataclass(frozen=True, eq=False)
class Domain:
    """The integers ``lo .. hi`` of a base, and ``real(q)``: their values in the model's dtype. ``nan``: whether one
    above hi is NaN."""

    lo: int
    hi: int
    real: Callable[[I64], Array]
    nan: bool


def coded(dtype: np.dtype[Any]) -> Domain:
    """Of a coded input, in codes."""
    top = reals.largest_code(dtype)
    return Domain(-top, top, lambda q: reals.decode(q, dtype), True)


@dataclass
class Steps:
    """``within``: the domain of a base."""

    within: Callable[[str], Domain]
    _known: dict[tuple[str, tuple[Any, ...]], dict[Any, tuple[int, int]]] = field(default_factory=dict)

    def prepare(self, e: Entry, values: Array) -> None:
        """Finds what decisions on ``values`` need, all at once."""
        known = self._known.setdefault((e.base, e.maps), {})
        new = np.array(sorted({v for v in values.tolist() if v == v and v not in known}), values.dtype)
        if not len(new):
            return
        rising = all(m.rising for m in e.maps) or sum(not m.rising for m in e.maps) % 2 == 0
        below, upto = (self._last(e, new, rising, strict) for strict in (True, False))
        known |= {v: (int(b), int(u)) for v, b, u in zip(new.tolist(), below, upto, strict=True)}

    def _last(self, e: Entry, t: Array, rising: bool, strict: bool) -> I64:
        """The last q with ``f(q) < t`` (``<=`` unless strict), or where f falls with ``f(q) >= t`` (``>`` unless
        strict); below the domain if there is none."""
        d = self.within(e.base)

        def holds(q: I64) -> Array:
            y = d.real(q)
            for m in e.maps:
                y = m(y)
            if rising:
                return y < t if strict else y <= t
            return y >= t if strict else y > t

        left, right = np.full(len(t), d.lo - 1, np.int64), np.full(len(t), d.hi, np.int64)
        while (left < right).any():
            middle = (left | right) - ((left ^ right) >> 1)  # the mean, rounded up, without overflow
            good = holds(np.maximum(middle, d.lo))
            left, right = np.where(good, middle, left), np.where(good, right, middle - 1)
        return left

    def decide(self, e: Entry, mode: str, values: Array, tracks: bool) -> Decision:
        """The decision of a node: ``mode`` as in ``compiler.forest.MODES``; NaN goes where ``tracks`` says."""
        self.prepare(e, values)
        known = self._known[e.base, e.maps]
        rising = sum(not m.rising for m in e.maps) % 2 == 0
        found = [known[v] for v in sorted(set(values.tolist()))] if not np.isnan(values).any() else []
        one = found[0] if found else (0, 0)
        cuts: list[int]
        if not found:
            cuts, first = [], mode == "BRANCH_NEQ"
        elif mode in ("BRANCH_LEQ", "BRANCH_GT"):
            cuts, first = [one[1]], mode == "BRANCH_LEQ"
        elif mode in ("BRANCH_LT", "BRANCH_GTE"):
            cuts, first = [one[0]], mode == "BRANCH_LT"
        else:
            cuts, first = [k for pair in found for k in pair], mode == "BRANCH_NEQ"
        if not rising:
            first ^= bool(len(cuts) % 2)
        cuts = sorted(cuts)
        kept: list[int] = []
        for k in cuts:  # two cuts at one place are none
            if kept and kept[-1] == k:
                kept.pop()
            else:
                kept.append(k)
        return Decision(tuple(kept), first, self._nan(e, mode, values, tracks))

    def _nan(self, e: Entry, mode: str, values: Array, tracks: bool) -> bool:
        if not self.within(e.base).nan:
            return False
        y = np.array([np.nan], np.float64 if self.within(e.base).real(np.zeros(1, np.int64)).dtype == np.float64
                     else np.float32)  # fmt: skip
        for m in e.maps:
            y = m(y)
        v = y[0]
        if np.isnan(v):
            return tracks or mode == "BRANCH_NEQ"
        t = values[0]
        return bool({"BRANCH_LEQ": v <= t, "BRANCH_LT": v < t, "BRANCH_GTE": v >= t, "BRANCH_GT": v > t,
                     "BRANCH_NEQ": v != t}.get(mode, bool((values == v).any())))  # fmt: skip


def questions(n: Node, shape: tuple[int, ...] = ()) -> list[Question]:
    """What a node asks, in the order of its result (of ``shape``; trees: of their nodes, once per row)."""
    entries: Sequence[Entry] = n.attr("entries")
    if n.op in TREES:
        f = forest(n)
        width = n.attr("of")[-1]
        return [
            (entries[row + int(k)], mode, f.members.get(i, f.values[i : i + 1]), bool(f.tracks[i]))
            for row in range(0, len(entries), width)
            for i, (k, mode) in enumerate(zip(f.features, f.modes, strict=True))
            if mode != "LEAF"
        ]
    if n.op in MODES:
        mode = MODES[SWAPPED.get(n.op, n.op) if n.attr("swapped") else n.op]
        values = np.broadcast_to(n.attr("value"), shape).reshape(-1)
        at = np.broadcast_to(np.arange(len(entries)).reshape(n.attr("of")), shape).reshape(-1)
        return [(entries[i], mode, values[k : k + 1], False) for k, i in enumerate(at)]
    if n.op == "Binarizer":
        return [(e, "BRANCH_GT", np.array([n.attr("threshold", 0.0)], np.float32), False) for e in entries]
    keys = np.asarray(n.attr("keys"))
    return [(e, "BRANCH_EQ", keys[k : k + 1], bool(np.isnan(keys[k]))) for e in entries for k in range(len(keys))]


def code_of(graph: Graph, name: str, readers: Sequence[Node]) -> coding.Code:
    """How a coded input enters: float32 and float16 by their order, float64 by the rank among what it is compared
    with."""
    v = graph.values[name]
    if v.dtype.itemsize < 8:
        return coding.Code(v.dtype.name)
    steps = Steps(lambda _: coded(v.dtype))
    cuts: list[set[int]] = [set() for _ in range(int(np.prod(v.shape)))]
    asked = [q for n in readers for q in questions(n, graph.values[n.outputs[0]].shape) if q[0].base == name]
    alike: dict[object, list[Question]] = {}
    for q in asked:
        alike.setdefault((q[0].maps, q[2].dtype), []).append(q)
    for found in alike.values():  # at once: a forest asks tens of thousands
        steps.prepare(found[0][0], np.concatenate([values for _, _, values, _ in found]))
    for e, mode, values, tracks in asked:
        cuts[e.index].update(steps.decide(e, mode, values, tracks).cuts)
    return coding.Code(v.dtype.name, tuple(tuple(sorted(at)) for at in cuts))


def coded_inputs(graph: Graph) -> Mapping[str, list[Node]]:
    """Inputs that are only decided on, and the nodes that do so."""
    found = {}
    for name in graph.inputs:
        if name in graph.given:
            continue
        readers = [n for n in graph.nodes if name in n.inputs]
        real = graph.values[name].dtype.kind == "f" and graph.values[name].dtype.itemsize in (2, 4, 8)
        if real and readers and name not in graph.outputs and all("entries" in n.attrs for n in readers):
            found[name] = readers
    return found
