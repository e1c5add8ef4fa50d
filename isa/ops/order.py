"""Sorting: sort, argsort, topk along the last axis, stable.

Proof: columns of values v and of places i (where each entry stood) are a permutation of (entry, place), checked as a
multiset in the lookup tree; and the keys v*n + i (n the length) strictly ascend, so equal values keep their order and
the result is unique. Descending order sorts the negated values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, refuse, register, result
from syurmy.isa.memory_argument import permutation
from syurmy.isa.types import DType, TensorType

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node

DESCENDING = AttrSpec("descending", "bool", "largest first", default=False)


def _order(x: I64, descending: bool) -> I64:
    out: I64 = np.argsort(-x if descending else x, axis=-1, kind="stable").astype(np.int64)
    return out


def _permutation(b: Builder, x: Node, descending: bool) -> tuple[Node, Node]:
    """Columns (sorted values, places) of the shape of ``x``, pinned."""
    x = b.operand(x)
    n = x.shape[-1]
    axis = len(x.shape) - 2
    values = b.column(
        "sorted",
        x.shape[1:],
        lambda v: np.take_along_axis(v(x), _order(v(x), descending), -1),
        x.interval,
        x.executions,
    )
    places = b.column("places", x.shape[1:], lambda v: _order(v(x), descending), (0, n - 1), x.executions)
    permutation(b, x, values, places)
    if n > 1:
        key = values * (-n if descending else n) + places
        step = b.pick(key, axis, range(1, n)) - b.pick(key, axis, range(n - 1)) - 1
        b.range(step, max(1, ((x.hi - x.lo) * n + n - 2).bit_length()), "ascending")
    return values, places


class Sorting(Op):
    """Orders the last axis; equal entries keep the order of their places."""

    family = "order"
    proof = Argument.MEMORY | Argument.LOOKUP

    def _check(self, t: TensorType) -> None:
        if not t.shape:
            raise refuse("a scalar cannot be sorted", code="A263")
        result(DType.I64, t.shape, (t.lo * t.shape[-1] - t.shape[-1], t.hi * t.shape[-1] + t.shape[-1]))


@register
class Sort(Sorting):
    """Values along the last axis in ascending (or descending) order. The dtype stays."""

    name = "sort"
    attributes = (DESCENDING,)
    example = "sort s, scores, descending=true"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        self._check(types[0])
        return types[0]

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.take_along_axis(values[0], _order(values[0], call["descending"]), -1)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return _permutation(b, nodes[0], call["descending"])[0]


@register
class ArgSort(Sorting):
    """The places of the values along the last axis in ascending (or descending) order, ties by place; i32."""

    name = "argsort"
    attributes = (DESCENDING,)
    example = "argsort order, scores"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        self._check(types[0])
        return result(DType.I32, types[0].shape, (0, types[0].shape[-1] - 1))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return _order(values[0], call["descending"])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return _permutation(b, nodes[0], call["descending"])[1]


@register
class TopK(Sorting):
    """The k largest values along the last axis, largest first. The dtype stays."""

    name = "topk"
    attributes = (AttrSpec("k", "int", "how many, at least 1", positional=True),)
    example = "topk best, scores, 5"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        self._check(types[0])
        t = types[0]
        if not 1 <= call["k"] <= t.shape[-1]:
            raise refuse(f"k is {call['k']}, the axis has {t.shape[-1]} entries", code="A263")
        return t.with_shape((*t.shape[:-1], call["k"]))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        order = _order(values[0], True)[..., : call["k"]]
        return np.take_along_axis(values[0], order, -1)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        values, _ = _permutation(b, nodes[0], True)
        return b.pick(values, len(values.shape) - 2, range(call["k"]))
