"""Sentinels are not values: entries so far below all others that only "not this one" is meant by them.

Exporters write masks as ``x + m`` or ``Where(k, x, c)`` with c = -1e4, -65504, -1e9, the smallest float or minus
infinity, and pad images by such a c before a maximum. One scale for the sum would leave x no bits. So a tensor that
holds sentinels is taken apart, wherever it was made and whatever moved it since:

    tensor = value  where far = 0,    "far below" where far > 0

``value`` is a tensor of the graph (or nothing: zeros), ``far`` whole numbers that grow with the sentinel and add up as
sentinels do. What reads such a tensor is given both: Softmax (``MaskedSoftmax``, see ``ops.masked``), and what takes a
largest entry: ArgMax, ReduceMax, TopK, MaxPool (``Sunk``, value with the hidden entries at its least; ``PadLeast``).
Any other reader, and one that sees visible entries near the sentinels, keeps the tensor itself. Before what takes a
least entry, sentinels far above are those of the opposites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from syurmy.compiler.graph import FUSED, Graph, Node, applied, live, observed
from syurmy.compiler.scales import Precision
from syurmy.isa.arrays import Array

FAR = 1e3  # below this, and below FACTOR times the visible entries' peak, an entry is a sentinel
FACTOR = 4.0
DEEPER = 100.0  # sentinels that differ by this much never tie
LEVEL = 1e3  # what one unit of ``far`` stands for where sentinels differ
FINITE, INFINITE = 2**30, 2**32  # the levels of sentinels beyond 1e12, and of infinity
MOVES = {  # the same for both parts: the first input's entries move, or repeat
    "Identity",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Reshape",
    "Slice",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
TURNED = {"ArgMin": "ArgMax", "Neg": "Identity", "ReduceMin": "ReduceMax", "TopK": "TopK"}
LARGEST = {"ArgMax", "GlobalMaxPool", "MaxPool", "ReduceMax", "TopK"}


@dataclass(frozen=True)
class Parts:
    """A tensor taken apart. ``value`` and ``far`` are names, None for zeros (``far`` is never None).

    ``size``: the smallest magnitude of its sentinels. ``beside``: what hidden entries hold beside their sentinel in the
    float model: ``value`` ("sum"), nothing ("nothing"), or nothing although ``value`` has something there ("other").
    ``infinite``: whether a sentinel is minus infinity.
    """

    value: str | None
    far: str
    size: float
    beside: str
    infinite: bool = False


def fuse(graph: Graph, _: Precision) -> Graph:
    """The graph in which softmaxes and maxima read parts."""
    return _Masks(graph).rewritten()


class _Masks:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = dict(graph.constants)
        self.values = dict(graph.values)
        self.samples = dict(graph.samples)
        self.count = len(next(iter(graph.samples.values()), [0]))
        self.nodes: list[Node] = []
        self.parts: dict[str, Parts] = {}
        self.made: dict[str, Node] = {}
        self.unit = self._unit()

    def rewritten(self) -> Graph:
        for name in self.graph.inputs:
            self._input(name)
        for n in (turned for given in self.graph.nodes for turned in self._turned(given)):
            if n.op in ("Softmax", *LARGEST) and not n.domain and (p := self.of(n.inputs[0])) is not None:
                n = self._softmax(n, p) if n.op == "Softmax" else self._largest(n, p)
            self.nodes.append(n)
            self.made.update(dict.fromkeys(n.outputs, n))
            if (rule := self._rule(n)) is not None and (found := rule(n)) is not None:
                self.parts[n.outputs[0]] = found
        nodes = tuple(live(self.nodes, self.graph.outputs))
        return replace(self.graph, nodes=nodes, constants=self.constants, values=self.values, samples=self.samples)

    def of(self, name: str) -> Parts | None:
        """The parts of a tensor or constant that holds sentinels."""
        if name not in self.parts and name in self.constants and (p := self._constant(name)) is not None:
            self.parts[name] = p
        return self.parts.get(name)

    # ---- where sentinels come from -------------------------------------------------------------------------------

    def _unit(self) -> float:
        """The magnitude of one level: that of the model's sentinels if they are all the same."""
        sizes: set[float] = set()
        for n in self.graph.nodes:
            for name in n.inputs:
                c = self.constants.get(name) if n.op in ("Add", "Mul", "Where", "Max", "Clip", "Pad") else None
                if c is not None and c.dtype.kind == "f":
                    sizes.update(np.unique(np.abs(c[np.abs(c) >= FAR]).astype(np.float64)))
        return sizes.pop() if len(sizes) == 1 else LEVEL

    def _levels(self, x: Array) -> Array:
        """``far`` of entries: 0 where they are no sentinels, else how many units they are below 0."""
        x = x.astype(np.float64)
        with np.errstate(invalid="ignore"):
            units = np.where(x <= -FAR, np.clip(np.rint(-x / self.unit), 1, FINITE), 0.0)
        return np.where(np.isneginf(x) & math.isfinite(self.unit), INFINITE, np.nan_to_num(units, nan=1)).astype(
            np.int64
        )

    def _constant(self, name: str) -> Parts | None:
        c = self.constants[name]
        if c.dtype.kind != "f" or not c.size or not (c <= -FAR).any() or np.isnan(c).any():
            return None
        far = self._levels(c)
        rest = np.where(far > 0, 0, c).astype(c.dtype)
        value = self._keep(f"{name}.visible", rest) if rest.any() else None
        size = float(np.abs(c[far > 0].astype(np.float64)).min())
        return Parts(value, self._keep(f"{name}.far", far), size, "nothing", bool(np.isneginf(c).any()))

    def _input(self, name: str) -> None:
        """A mask that is an input and holds zeros and sentinels."""
        xs = self.samples[name]
        if self.values[name].dtype.kind != "f" or any((np.where(x <= -FAR, 0, x) != 0).any() for x in xs):
            return
        lows = [-x[x <= -FAR].astype(np.float64) for x in xs]
        if not any(low.size for low in lows):
            return
        size = min(float(low.min()) for low in lows if low.size)
        edge = self._keep(f"{name}.edge", np.array(-min(size, 1e300) / 2, self.values[name].dtype))
        infinite = any(np.isinf(low).any() for low in lows)
        self.parts[name] = Parts(None, self._int(self._new("Less", (name, edge))), size, "nothing", infinite)

    # ---- how they move -------------------------------------------------------------------------------------------

    def _rule(self, n: Node) -> Callable[[Node], Parts | None] | None:
        if n.domain or len(n.outputs) != 1 or self.values[n.outputs[0]].dtype.kind != "f":
            return None
        if n.op in MOVES:
            return self._moved
        rules = {
            "Add": self._sum,
            "Sub": self._difference,
            "Where": self._chosen,
            "Mul": self._product,
            "Div": self._quotient,
            "Max": self._at_least,
            "Clip": self._at_least,
            "Min": self._at_most,
            "Cast": self._cast,
            "Concat": self._joined,
            "Pad": self._padded,
            "Log": self._logarithm,
        }
        return rules.get(n.op)

    def _moved(self, n: Node) -> Parts | None:
        p = self.of(n.inputs[0])
        if p is None:
            return None
        value, far = (None if x is None else self._whole(x, n) for x in (p.value, p.far))
        assert far is not None
        return replace(p, value=None if value is None else self._like(n, value), far=self._like(n, far))

    def _cast(self, n: Node) -> Parts | None:
        p = self.of(n.inputs[0])
        if p is None:
            return None
        return replace(p, value=None if p.value is None else self._like(n, p.value))

    def _joined(self, n: Node) -> Parts | None:
        parts = [self.of(i) for i in n.inputs]
        given = [p for p in parts if p is not None]
        if not given:
            return None
        pairs = [*zip(n.inputs, parts, strict=True)]
        far = self._again(n, [self._whole(p.far, n, i) if p else self._zeros(i, np.int64) for i, p in pairs])
        values = [(p.value and self._whole(p.value, n, i)) if p else i for i, p in pairs]
        value = None
        if any(values):
            value = self._again(
                n, [v or self._zeros(i, self.values[i].dtype) for v, i in zip(values, n.inputs, strict=True)]
            )
        return self._both(value, far, given)

    def _padded(self, n: Node) -> Parts | None:
        p = self.of(n.inputs[0])
        given = self.constants.get(n.inputs[2]) if len(n.inputs) > 2 and n.inputs[2] else None
        fill = float(given.reshape(-1)[0]) if given is not None and given.size else float(n.attr("value", 0.0))
        if n.attr("mode", "constant") != "constant" or (p is None and not fill <= -FAR):
            return None
        source = n.inputs[0]
        dtype = self.values[source].dtype
        level = self._keep(f"{n.outputs[0]}.level", self._levels(np.array(fill)))
        nothing = self._keep(f"{n.outputs[0]}.nothing", np.zeros((), dtype))
        attrs = {k: v for k, v in n.attrs.items() if k != "value"}
        bare = replace(n, attrs=attrs)
        if n.version < 11:
            return None
        tail = n.inputs[3:]
        far = self._whole(p.far, n) if p else self._zeros(source, np.int64)
        far = self._again(bare, [far, n.inputs[1], level, *tail])
        size = min(abs(fill) if fill <= -FAR else math.inf, p.size if p is not None else math.inf)
        value: str | None = source if p is None else p.value
        if value is not None:
            beside = nothing if fill <= -FAR else n.inputs[2]
            value = self._again(bare, [self._whole(value, n), n.inputs[1], beside, *tail])
        infinite = fill == -math.inf or (p is not None and p.infinite)
        return Parts(value, far, size, p.beside if p else "nothing", infinite)

    # ---- how they combine ----------------------------------------------------------------------------------------

    def _turned(self, n: Node) -> Sequence[Node]:
        """Sentinels far above: the least beside them is minus the largest of the others' opposites."""
        if n.domain or n.op not in TURNED or (n.op == "TopK" and n.attr("largest", 1)):
            return (n,)
        made = self.made.get(n.inputs[0])
        if made is None or made.op != "Where" or made.domain or self.values[n.inputs[0]].dtype.kind != "f":
            return (n,)
        sides = [self.constants.get(i) for i in made.inputs[1:]]
        above = [c is not None and c.size > 0 and bool((c >= FAR).all()) for c in sides]
        if sum(above) != 1:
            return (n,)
        names = [
            self._keep(f"{i}.turned", -c) if up and c is not None else self._new("Neg", (i,))
            for i, c, up in zip(made.inputs[1:], sides, above, strict=True)
        ]
        inputs = (made.inputs[0], *names)
        source = self._again(made, inputs)
        if (p := self._chosen(replace(made, inputs=inputs, outputs=(source,)))) is not None:
            self.parts[source] = p
        attrs = {**n.attrs, "largest": 1} if n.op == "TopK" else n.attrs
        turned = replace(n, op=TURNED[n.op], inputs=(source, *n.inputs[1:]), attrs=attrs)
        if n.op in ("ArgMin", "Neg"):
            return (turned,)
        best = f"{n.outputs[0]}.turned"
        self._observe(best, [-x for x in self.samples[n.outputs[0]]])
        back = Node(n.name, "Neg", "", 13, (best,), n.outputs[:1], {})
        return replace(turned, outputs=(best, *n.outputs[1:])), back

    def _sum(self, n: Node) -> Parts | None:
        a, b = n.inputs
        p, q = self.of(a), self.of(b)
        given = [x for x in (p, q) if x is not None]
        if not given:
            return None
        shallow = any(not self._swallows(x, n.outputs[0]) for x in given)  # hidden entries keep what is added to them
        if shallow:
            p, q = self._beside(p, q), self._beside(q, p)
            given = [x for x in (p, q) if x is not None]
        left, right = (x.value if x else i for x, i in ((p, a), (q, b)))
        value = left or right
        if left and right:
            value = self._again(n, (left, right))
        far = p.far if p else ""
        if q is not None:
            far = self._new("Add", (far, q.far)) if p is not None else q.far
        both = self._both(value, far, given)
        if value is None or (both.beside == "other" and not shallow):
            return both
        return replace(both, beside="sum")

    def _difference(self, n: Node) -> Parts | None:
        a, b = n.inputs
        p = self.of(a)
        if p is None or self.of(b) is not None:
            return None
        if p.value is not None:
            value = self._again(n, (p.value, b))
        else:
            value = self._again(n, (self._zeros(a, self.values[a].dtype), b))
        if p.beside == "other" and not self._swallows(p, n.outputs[0]):
            return None
        return replace(p, value=value, beside="sum" if p.beside == "nothing" else p.beside)

    def _chosen(self, n: Node) -> Parts | None:
        condition, a, b = n.inputs
        p, q = self.of(a), self.of(b)
        given = [x for x in (p, q) if x is not None]
        if not given:
            return None
        zero = self._keep("far.zero", np.zeros((), np.int64))
        far = self._again(n, (condition, p.far if p else zero, q.far if q else zero))
        values = [x.value if x else i for x, i in ((p, a), (q, b))]
        both = self._both(None, far, given)
        for k, x in ((0, p), (1, q)):
            if x is not None and x.value is None and self._hidden(x):  # nothing of this side is ever visible
                other = values[1 - k]
                if other is None or self._is_zero(other):
                    return both
                return replace(both, value=other, beside="other")
        if not any(values) or all(v is None or self._is_zero(v) for v in values):
            return both
        dtype = self.values[n.outputs[0]].dtype
        nothing = self._keep(f"{n.outputs[0]}.nothing", np.zeros((), dtype))
        return replace(both, value=self._again(n, (condition, values[0] or nothing, values[1] or nothing)))

    def _product(self, n: Node) -> Parts | None:
        """``t * c`` for a constant c far from 0 and t that never is on its side, or a positive factor."""
        for t, c in (n.inputs, n.inputs[::-1]):
            factor = self._scalar(c)
            if factor is None:
                continue
            p = self.of(t)
            if p is not None:
                return self._scaled(n, p, t, factor)
            if abs(factor) < FAR or t in self.constants:
                continue
            side = np.concatenate([np.asarray(x, np.float64).reshape(-1) for x in self.samples[t]]) * np.sign(factor)
            if not np.isfinite(side).all() or (side > 0).any():
                return None
            near = float(-side[side < 0].max()) if (side < 0).any() else 1.0
            if near * abs(factor) < FAR:
                return None
            edge = self._keep(f"{n.outputs[0]}.edge", np.array(-np.sign(factor) * near / 2, self.values[t].dtype))
            far = self._int(self._new("Less" if factor > 0 else "Greater", (t, edge)))
            return Parts(None, far, near * abs(factor), "nothing", math.isinf(factor))
        return None

    def _quotient(self, n: Node) -> Parts | None:
        p, factor = self.of(n.inputs[0]), self._scalar(n.inputs[1])
        return None if p is None or factor is None else self._scaled(n, p, n.inputs[0], 1 / factor if factor else 0)

    def _scaled(self, n: Node, p: Parts, tensor: str, factor: float) -> Parts | None:
        if not 0 < factor < math.inf:
            return None
        value = p.value and self._again(n, [p.value if i == tensor else i for i in n.inputs])
        return replace(p, value=value, size=p.size * factor)

    def _at_least(self, n: Node) -> Parts | None:
        """``max(x, c)`` for a sentinel c: what is hidden stays hidden, at most as deep as c. A clip may cut what is
        visible off above, too."""
        top = n.inputs[2] if n.op == "Clip" and len(n.inputs) > 2 else ""
        most = self._scalar(top) if top else math.inf
        inputs = [i for i in n.inputs[:2] if i] if n.op == "Clip" else n.inputs
        if len(inputs) != 2 or (n.op == "Clip" and n.version < 11) or most is None or most < 0:
            return None
        for x, c in (inputs, inputs[::-1]):
            p, bound = self.of(x), self.of(c) if c in self.constants else None
            if bound is not None and bound.value is None and self._hidden(bound):
                if p is None or x in self.constants:
                    return None
                value = self._again(n, (p.value, "", top)) if top and p.value else p.value
                return replace(p, value=value, far=self._new("Min", (p.far, bound.far)), size=min(p.size, bound.size))
        return None

    def _at_most(self, n: Node) -> Parts | None:
        """``min(a, b)`` of masks whose visible entries are zeros."""
        parts = [self.of(i) for i in n.inputs]
        given = [p for p in parts if p is not None]
        if len(given) != len(n.inputs) or any(p.value is not None for p in given):
            return None
        far = given[0].far
        for p in given[1:]:
            far = self._new("Max", (far, p.far))
        return self._both(None, far, given)

    def _logarithm(self, n: Node) -> Parts | None:
        t = n.inputs[0]
        if t in self.constants or any((~np.isin(x, (0, 1))).any() for x in self.samples[t]):
            return None
        edge = self._keep(f"{n.outputs[0]}.edge", np.array(0.5, self.values[t].dtype))
        return Parts(None, self._int(self._new("Less", (t, edge))), math.inf, "nothing", True)

    def _both(self, value: str | None, far: str, given: Sequence[Parts]) -> Parts:
        order = ("nothing", "sum", "other")
        beside = max((p.beside for p in given), key=order.index)
        return Parts(value, far, min(p.size for p in given), beside, any(p.infinite for p in given))

    def _exact(self, p: Parts) -> Parts:
        """``value`` zero where hidden."""
        if p.beside != "other" or p.value is None:
            return p
        zero = self._keep("far.zero", np.zeros((), np.int64))
        nothing = self._keep(f"{p.value}.nothing", np.zeros((), self.values[p.value].dtype))
        return replace(
            p, value=self._new("Where", (self._new("Equal", (p.far, zero)), p.value, nothing)), beside="nothing"
        )

    def _beside(self, p: Parts | None, q: Parts | None) -> Parts | None:
        """``p`` as it stands in a sum with ``q``: exact, unless no line's least hidden entries can be its own, as every
        line has visible ones that ``q`` can hide much less deeply at most."""
        if p is None:
            return None
        if q is not None and p.size >= DEEPER * q.size and self._seen_everywhere(p):
            return replace(p, beside="sum", infinite=False)
        return self._exact(p)

    def _seen_everywhere(self, p: Parts) -> bool:
        """Whether every line along the last axis has a visible entry, whatever the input."""
        far = self.constants.get(p.far)
        return far is not None and far.ndim > 0 and bool((far == 0).any(axis=-1).all())

    def _swallows(self, p: Parts, name: str) -> bool:
        """Whether what is added to a sentinel is lost in its rounding."""
        dtype = self.values[name].dtype
        return p.infinite or p.size * float(np.finfo(dtype).eps if dtype.name != "bfloat16" else 2**-7) >= 1

    # ---- who reads them ------------------------------------------------------------------------------------------

    def _visible(self, p: Parts) -> float:
        """The largest magnitude of visible entries on the samples."""
        if p.value is None:
            return 0.0
        peak = 0.0
        for v, f in zip(self._arrays(p.value), self._arrays(p.far), strict=True):
            v, f = np.broadcast_arrays(v.astype(np.float64), f)
            seen = np.abs(v[f == 0])
            peak = max(peak, float(seen[np.isfinite(seen)].max(initial=0.0)))
        return peak

    def _separate(self, p: Parts) -> bool:
        return p.size >= max(FAR, FACTOR * self._visible(p))

    def _softmax(self, n: Node, p: Parts) -> Node:
        rank = len(self.values[n.outputs[0]].shape)
        last = bool(rank) and n.attr("axis", 1 if n.version < 13 else -1) % rank == rank - 1
        if not self._separate(p) or not (last or n.version >= 13):
            return n
        value = p.value or self._keep("visible.zero", np.zeros((), np.float32))
        beside = "sum" if p.beside == "sum" and not self._swallows(p, n.inputs[0]) else "nothing"
        attrs = {"axis": n.attr("axis", -1), "beside": "never" if p.infinite else beside}
        return Node(n.name, "MaskedSoftmax", FUSED, 13, (value, p.far), n.outputs, attrs)

    def _largest(self, n: Node, p: Parts) -> Node:
        if not self._separate(p) or p.value is None or (n.op == "TopK" and not n.attr("largest", 1)):
            return n
        name = f"{n.inputs[0]}.sunk"
        if name not in self.values:
            made = self.made.get(n.inputs[0])
            op, inputs = "Sunk", tuple(name for name in (p.value, p.far) if name)
            padded = self.made.get(p.value)
            if made is not None and made.op == "Pad" and self.of(made.inputs[0]) is None and padded is not None:
                op, inputs = "PadLeast", padded.inputs
            shape = self.values[n.inputs[0]].shape
            seen = [
                np.where(f > 0, min(0.0, float(v.min(initial=0.0))), v).astype(v.dtype)
                for v, f in zip(self._arrays(p.value), self._arrays(p.far), strict=True)
            ]
            self._observe(name, [np.broadcast_to(x, shape) for x in seen])
            self.nodes.append(
                Node(name, op, FUSED, 1, inputs, (name,), padded.attrs if op == "PadLeast" and padded else {})
            )
        return replace(n, inputs=(name, *n.inputs[1:]))

    # ---- new tensors ---------------------------------------------------------------------------------------------

    def _keep(self, name: str, x: Array) -> str:
        if name not in self.constants:
            self.constants[name] = x
            self.values[name] = observed([x])
        return name

    def _zeros(self, like: str, dtype: Any) -> str:
        return self._keep(f"{like}.zeros.{np.dtype(dtype).name}", np.zeros(self.values[like].shape, dtype))

    def _whole(self, part: str, n: Node, source: str | None = None) -> str:
        """A part of what n reads, with an entry for each of its: sums keep what is the same along an axis once."""
        shape, own = (self.values[i].shape for i in (source or n.inputs[0], part))
        if own == shape or n.op in ("Identity", "Expand") or (n.op == "Transpose" and len(own) == len(shape)):
            return part
        return self._new("Expand", (part, self._keep(f"shape.{shape}", np.array(shape))))

    def _observe(self, name: str, xs: Sequence[Array]) -> None:
        self.samples[name] = list(xs)
        self.values[name] = observed(self.samples[name])

    def _arrays(self, name: str) -> Sequence[Array]:
        return [self.constants[name]] * self.count if name in self.constants else self.samples[name]

    def _scalar(self, name: str) -> float | None:
        c = self.constants.get(name)
        return float(c.reshape(-1)[0]) if c is not None and c.size == 1 and c.dtype.kind in "fiu" else None

    def _is_zero(self, name: str) -> bool:
        return name in self.constants and not self.constants[name].any()

    def _hidden(self, p: Parts) -> bool:
        return p.far in self.constants and bool((self.constants[p.far] > 0).all())

    def _int(self, name: str) -> str:
        return self._add(Node(f"{name}.int", "Cast", "", 13, (name,), (f"{name}.int",), {"to": 7}))

    def _new(self, op: str, inputs: Sequence[str]) -> str:
        name = f"{op}({','.join(inputs)})"
        return self._add(Node(name, op, "", 13, tuple(inputs), (name,), {}))

    def _like(self, n: Node, first: str) -> str:
        return self._again(n, (first, *n.inputs[1:]))

    def _again(self, n: Node, inputs: Sequence[str]) -> str:
        """The same operator on other inputs."""
        if tuple(inputs) == n.inputs:
            return n.outputs[0]
        name = f"{n.outputs[0]}.of({','.join(inputs)})"
        return self._add(replace(n, name=name, inputs=tuple(inputs), outputs=(name,)))

    def _add(self, n: Node) -> str:
        """A node with one output, folded if its inputs are constants."""
        name = n.outputs[0]
        if name in self.values:
            return name
        given = [self._arrays(i) if i else [None] * self.count for i in n.inputs]
        if all(not i or i in self.constants for i in n.inputs):
            return self._keep(name, applied(n, [xs[0] for xs in given]))
        self._observe(name, [applied(n, xs) for xs in zip(*given, strict=True)])
        self.nodes.append(n)
        self.made[name] = n
        return name
