"""Reduction by order over one axis: reduce_max, reduce_min, argmax, argmin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, normal_axis, refuse, register, result
from syurmy.isa.ops.gadgets import best_of, extremum
from syurmy.isa.types import DType, TensorType, smallest_dtype

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node

# Cost of the extreme value of n entries, leaves + committed: pairwise rounds take 3(n - 1) with one limb and 6(n - 1)
# with two, in log2(n) rounds; the one-hot choice takes 3n - 1 and 5n - 1, in one. Pooling windows of 2x2 are pairwise.
PAIRWISE = 4


class Reduction(Op):
    """One axis gives way to one entry: an extremum (``sign`` 1: the largest, -1: the smallest) or its place."""

    family = "reduce"
    proof = Argument.LOOKUP | Argument.CONTRACTION
    attributes = (
        AttrSpec("axis", "int", "the axis to reduce", positional=True),
        AttrSpec("keepdims", "bool", "keep the axis with length 1", default=False),
    )
    sign: ClassVar[int]

    def _shape(self, call: Call, t: TensorType) -> tuple[int, ...]:
        axis = normal_axis(call["axis"], len(t.shape))
        if t.shape[axis] == 0:
            raise refuse("an empty axis has no extreme value", code="A222")
        kept = (1,) if call["keepdims"] else ()
        return t.shape[:axis] + kept + t.shape[axis + 1 :]

    def _dropped(self, b: Builder, call: Call, node: Node, axis: int) -> Node:
        shape = node.shape[1:]
        return node if call["keepdims"] else b.reshape(node, shape[:axis] + shape[axis + 1 :])


class ReduceExtremum(Reduction):
    """The extremum of an axis; dtype and interval are the operand's."""

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return result(types[0].dtype, self._shape(call, types[0]), types[0].interval)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        reduce = np.max if self.sign > 0 else np.min
        return np.asarray(reduce(values[0], axis=call["axis"], keepdims=call["keepdims"]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x = nodes[0]
        axis = normal_axis(call["axis"], len(x.shape) - 1)
        if x.shape[axis + 1] > PAIRWISE:
            return self._dropped(b, call, best_of(b, x, axis, self.sign)[0], axis)
        while (n := x.shape[axis + 1]) > 1:
            x = b.operand(x)
            half = n // 2
            best = extremum(
                b,
                b.pick(x, axis, range(half)),
                b.pick(x, axis, range(half, 2 * half)),
                self.sign,
                f"best of {2 * half}",
            )
            x = b.concat([best, b.pick(x, axis, [n - 1])], axis) if n % 2 else best
        return self._dropped(b, call, x, axis)


class ArgExtremum(Reduction):
    """The first place of the extremum of an axis, counted from 0."""

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        shape = self._shape(call, types[0])
        last = types[0].shape[normal_axis(call["axis"], len(types[0].shape))] - 1
        dtype = DType.I32 if last <= DType.I32.hi else smallest_dtype(0, last)
        return result(dtype or DType.I64, shape, (0, last))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        arg = np.argmax if self.sign > 0 else np.argmin
        return np.asarray(arg(values[0], axis=call["axis"], keepdims=call["keepdims"])).astype(np.int64)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x = nodes[0]
        axis = normal_axis(call["axis"], len(x.shape) - 1)
        if x.shape[axis + 1] == 1:
            zeros = np.zeros(x.shape[1:], np.int64)
            return self._dropped(b, call, b.constant(zeros), axis)
        before = best_of(b, x, axis, self.sign)[1]
        return self._dropped(b, call, b.sum(before, [axis]), axis)  # as many entries come before as the index says


@register
class ReduceMax(ReduceExtremum):
    """The largest entry along an axis. The dtype stays.

    Proof: pairs up to 4 entries (see `max`), above that as `argmax`.
    """

    name = "reduce_max"
    sign = 1
    example = "reduce_max m, x, axis=1"


@register
class ReduceMin(ReduceExtremum):
    """The smallest entry along an axis. The dtype stays. Proof as for `reduce_max`."""

    name = "reduce_min"
    sign = -1
    example = "reduce_min m, x, axis=1"


@register
class ArgMax(ArgExtremum):
    """The index of the largest entry along an axis, the lowest among equals; i32.

    Proof: 0/1 marks u of the entries before it, whose steps s are one-hot; m = sum s*x; `m - x - u >= 0` by limbs.
    The index is the sum of u.
    """

    name = "argmax"
    sign = 1
    example = "argmax y, logits, axis=1"


@register
class ArgMin(ArgExtremum):
    """The index of the smallest entry along an axis, the lowest among equals; i32. Proof as for `argmax`."""

    name = "argmin"
    sign = -1
    example = "argmin y, d, axis=1"
