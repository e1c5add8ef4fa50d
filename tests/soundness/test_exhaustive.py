"""Instructions on tiny intervals: every assignment of all columns is tried.

For each input, the assignments that satisfy all lookups and equations must give the result that the machine gives, and
there is one; where the machine traps there is none. Columns run over their intervals and a margin around them (a
lookup of the column itself forbids the rest of the field).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa import builder
from syurmy.isa import graph as g
from syurmy.isa.errors import Trap
from syurmy.isa.ops import gadgets, pointwise
from syurmy.isa.ranges import Limbs
from syurmy.isa.system import build

MARGIN = 1
CHUNK = 1 << 17

PROGRAMS = {
    "rescale": ("x : i8 in -9..6", "rescale y, x, 2, i8"),
    "rescale mult": ("x : i8 in -3..3", "rescale y, x, 2, i8, mult=3"),
    "rescale saturates": ("x : i16 in 500..515", "rescale y, x, 2, i8"),
    "rescale saturates below": ("x : i16 in -520..-508", "rescale y, x, 2, i8"),
    "rescale relu": ("x : i8 in -6..6", "rescale y, x, 1, i8, lo=0"),
    "rescale bounds": ("x : i8 in -5..7", "rescale y, x, 1, i8, lo=-1, hi=2"),
    "rescale above": ("x : i8 in 0..14", "rescale y, x, 1, i8, hi=4"),
    "rescale never inside": ("x : i8 in -14..-7", "rescale y, x, 2, i8, lo=-1, hi=2"),
    "clamp": ("x : i8 in -4..4", "clamp y, x, -2, 2"),
    "clamp above": ("x : i8 in -4..4", "clamp y, x, hi=1"),
    "cast": ("x : i16 in 124..131", "cast y, x, i8"),
    "relu": ("x : i8 in -5..5", "relu y, x"),
    "abs": ("x : i8 in -5..5", "abs y, x"),
    "sign": ("x : i8 in -2..2", "sign y, x"),
    "lt": ("a : i8 in -3..3, b : i8 in -2..4", "lt y, a, b"),
    "ge": ("a : i8 in -3..3, b : i8 in -2..4", "ge y, a, b"),
    "eq": ("a : i8 in -2..1, b : i8 in -1..2", "eq y, a, b"),
    "ne": ("a : i8 in -2..1, b : i8 in -1..2", "ne y, a, b"),
    "select": ("c : i8 in 0..1, a : i8 in -3..3, b : i8 in -2..4", "select y, c, a, b"),
    "max": ("a : i8 in -3..3, b : i8 in -2..4", "max y, a, b"),
    "min": ("a : i8 in -3..3, b : i8 in -2..4", "min y, a, b"),
    "div": ("a : i8 in -7..8, b : i8 in 0..4", "div y, a, b"),
    "div by three": ("a : i8 in -7..8, b : i8 in 3..3", "div y, a, b"),
    "mod": ("a : i8 in -7..8, b : i8 in -1..4", "mod y, a, b"),
    "isqrt": ("x : i8 in -1..30", "isqrt y, x"),
    "shr": ("x : i8 in -9..8", "shr y, x, 2"),
    "shl": ("x : i8 in -9..8", "shl y, x, 3"),
    "and of bits": ("a : i8 in 0..1, b : i8 in 0..1", "and y, a, b"),
    "xor of bits": ("a : i8 in 0..1, b : i8 in 0..1", "xor y, a, b"),
    "reduce_max": ("x : i8[3] in -1..1", "reduce_max y, x, 0"),
    "reduce_min": ("x : i8[2] in -2..2", "reduce_min y, x, 0"),
    "argmax": ("x : i8[3] in -1..1", "argmax y, x, 0"),
    "argmin": ("x : i8[4] in 0..1", "argmin y, x, 0"),
    "assert": ("a : i8 in -2..2, b : i8 in -2..2", "lt c, a, b\n assert c\n mov y, c"),
    "product read twice": ("a : i8 in -2..2, b : i8 in -1..2", "mul p, a, b\n max q, p, a\n sub y, q, p"),
    "and": ("a : i8 in -3..3, b : i8 in -2..4", "and y, a, b"),
    "or": ("a : i8 in -3..3, b : i8 in -2..4", "or y, a, b"),
    "xor": ("a : i8 in -3..3, b : i8 in -2..4", "xor y, a, b"),
    "loop": ("x : i8 in -3..2", "mov y, x\n repeat 3\n muli t, y, 3\n rescale y, t, 2, i8\n end"),
    "put": (
        "x : i8[2] in -1..1",
        "mov y, x\n repeat 2, t\n slice s, y, axis=0, start=-1*t+1, len=1\n addi s, s, 2\n"
        " rescale s, s, 1, i8\n put y, s, axis=0, at=t\n end",
    ),
}


def assemble(inputs: str, code: str) -> Any:
    lines = []
    for i in inputs.split(", "):
        name, _, rest = i.partition(" : ")
        dtype, _, bounds = rest.partition(" in ")
        shape = "" if "[" in dtype else "[]"
        lines.append(f".input {name} : {dtype}{shape} private in {bounds}" if bounds else f".input {name} : {dtype}")
    return syurmy.assemble("\n".join([*lines, ".output y private", code, "halt"]))


def forward(node: g.Node, args: list[Any]) -> Any:
    """As ``node.forward`` with a leading axis of assignments."""
    k = len(args[0])
    match node:
        case g.Combine():
            return sum((c * a for c, a in zip(node.coefficients, args, strict=True)), np.int64(node.const))
        case g.Reshape():
            return args[0].reshape(k, *node.shape)
        case g.Transpose():
            return np.transpose(args[0], (0, *(p + 1 for p in node.perm)))
        case g.Broadcast():
            return np.broadcast_to(args[0], (k, *node.shape))
        case g.Sum():
            return args[0].sum(axis=tuple(a + 1 for a in node.axes), keepdims=True)
        case g.Concat():
            return np.concatenate(args, axis=node.axis + 1)
        case g.IndexMap():
            n = len(node.in_axes)
            x = np.moveaxis(args[0], [a + 1 for a in node.in_axes], range(1, n + 1))
            rest = x.shape[n + 1 :]
            flat = node.index.reshape(-1)
            y = x.reshape(k, -1, *rest)[:, np.maximum(flat, 0)]
            y[:, flat < 0] = 0
            return np.moveaxis(
                y.reshape(k, *node.index.shape, *rest),
                range(1, node.index.ndim + 1),
                [a + 1 for a in node.out_axes],
            )
        case g.Product():
            labels = sorted({*node.labels_a, *node.labels_b})
            full = math.prod(
                spread(a, own, labels) for a, own in zip(args, (node.labels_a, node.labels_b), strict=True)
            )
            out = np.asarray(full).sum(axis=tuple(i + 1 for i, x in enumerate(labels) if x not in node.labels_out))
            kept = [x for x in labels if x in node.labels_out]
            return np.transpose(out, (0, *(kept.index(x) + 1 for x in node.labels_out)))
    raise TypeError(type(node).__name__)


def spread(x: Any, own: tuple[int, ...], labels: list[int]) -> Any:
    order = sorted(range(len(own)), key=lambda i: own[i])
    dims = dict(zip(own, x.shape[1:], strict=True))
    return np.transpose(x, (0, *(i + 1 for i in order))).reshape(len(x), *(dims.get(label, 1) for label in labels))


class Assignments:
    """Values of nodes for a batch of assignments to the columns."""

    def __init__(self, columns: dict[g.Node, Any], count: int) -> None:
        self.values = dict(columns)
        self.count = count

    def __call__(self, node: g.Node) -> Any:
        if node not in self.values:
            if isinstance(node, g.Public):
                assert node.values is not None
                self.values[node] = np.broadcast_to(node.values, (self.count, *node.shape))
            else:
                self.values[node] = forward(node, [self(n) for n in node.inputs])
        return self.values[node]

    def satisfied(self, system: Any) -> Any:
        good = np.ones(self.count, np.bool_)
        for e in system.equations:
            good &= (self(e.expression) == 0).reshape(self.count, -1).all(axis=1)
        for lk in system.lookups:
            members = [self(m).reshape(self.count, -1) for m in lk.members]
            if lk.table.is_range:
                inside = (members[0] >= 0) & (members[0] < 2**lk.table.log_size)
            else:
                rows = set(zip(*(c.tolist() for c in lk.table.columns), strict=True))
                tuples = zip(*(m.reshape(-1).tolist() for m in members), strict=True)
                inside = np.array([t in rows for t in tuples]).reshape(members[0].shape)
            good &= inside.all(axis=1)
        return good


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_assignment(name):
    try_all(name)


SHORT = [
    *(
        "rescale",
        "rescale mult",
        "rescale saturates",
        "rescale relu",
        "rescale bounds",
        "clamp",
        "cast",
        "relu",
        "abs",
        "sign",
        "lt",
        "ge",
        "select",
        "max",
    ),
    *("min", "div", "mod", "isqrt", "shr", "reduce_max", "argmax", "loop"),
]


@pytest.mark.parametrize("own", [frozenset(), frozenset({1})])
@pytest.mark.parametrize("name", SHORT)
def test_every_assignment_with_short_limbs(name, own, monkeypatch):
    """The same with range tables of 2 bits, so that nearly every range is split into limbs; those of 1 bit by two
    lookups, or by a table of their own."""
    monkeypatch.setattr(builder, "limbs_for", lambda checks: Limbs(2, own))
    monkeypatch.setattr(gadgets, "ONE_LIMB", 2)
    monkeypatch.setattr(pointwise, "WIDEST_TABLE", 2)
    try_all(name)


def try_all(name: str) -> None:
    program = assemble(*PROGRAMS[name])
    system = build(program)
    tried = [c for c in system.columns if c.defined_by is None]  # the others follow by their equations
    inputs = [c for i in program.inputs for c in tried if c.label == f"input {i.name}"]
    ranges = []
    for c in tried:
        margin = 0 if c in inputs else MARGIN
        ranges += [range(c.lo - margin, c.hi + margin + 1)] * c.size
    size = math.prod(len(r) for r in ranges)
    assert size < 12_000_000, f"{size} assignments"
    truth: dict[tuple[int, ...], Any] = {}
    every = itertools.product(*(r for c in inputs for r in [range(c.lo, c.hi + 1)] * c.size))
    for values in every:
        at, given = 0, {}
        for i, c in zip(program.inputs, inputs, strict=True):
            given[i.name] = np.array(values[at : at + c.size]).reshape(c.shape[1:])
            at += c.size
        try:
            truth[values] = syurmy.run(program, given).outputs["y"].tolist()
        except Trap:
            truth[values] = None
    seen: set[tuple[int, ...]] = set()
    for start in range(0, size, CHUNK):
        index = np.arange(start, min(size, start + CHUNK))
        flat = []
        for r in reversed(ranges):
            flat.append(index % len(r) + r.start)
            index = index // len(r)
        flat.reverse()
        columns: dict[g.Node, Any] = {}
        at = 0
        for c in tried:
            columns[c] = np.stack(flat[at : at + c.size], axis=1).reshape(-1, *c.shape)
            at += c.size
        a = Assignments(columns, len(flat[0]))
        for c in system.columns:
            if c.defined_by is not None:
                a.values[c] = a(c.defined_by)
        good = np.flatnonzero(a.satisfied(system))
        results = a(system.outputs["y"])[good].reshape(len(good), system.outputs["y"].size)
        for k, y in zip(good, results, strict=True):
            x = tuple(int(v) for c in inputs for v in a(c)[k].reshape(-1))
            assert truth[x] is not None, f"{x} traps, but is proven"
            assert np.ravel(truth[x]).tolist() == y.tolist(), f"{x} gives {truth[x]}, not {y}"
            seen.add(x)
    assert seen == {x for x, y in truth.items() if y is not None}
