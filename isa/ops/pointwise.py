"""Pointwise functions: lut, relu, abs, sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap
from syurmy.isa.exact import outside
from syurmy.isa.graph import Committed
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, register, result
from syurmy.isa.ops.gadgets import extremum, negative, result_interval
from syurmy.isa.types import DType, TensorType, signed_bits, smallest_dtype

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node


WIDEST_TABLE = 16  # bits of its source


def _by_table(b: Builder, x: Node, kind: str, f: Callable[[I64], I64], saved: int) -> Node | None:
    """The result by a table over all k-bit integers where that is cheaper, else None.

    The table costs 2^k leaves and 2^k committed multiplicities once (instructions share it, but each decides for
    itself), and an entry then 1 leaf and 1 committed entry: ``saved`` fewer than by arithmetic. A column that feeds
    the table needs no range lookup of its own, which saves one more.
    """
    k = signed_bits(*x.interval)
    if k > WIDEST_TABLE or (saved + isinstance(x, Committed)) * x.size < 2 * 2**k:
        return None
    rows = np.arange(-(2 ** (k - 1)), 2 ** (k - 1), dtype=np.int64)
    table = b.table(f"{kind}[{k}]", (rows, f(rows)))
    y = b.result(result_interval(b))
    b.lookup(table, (x, y), "result")
    b.pin(y, y.interval)  # the function's value on the interval of x, which may be less than the table's
    return y


@register
class ApplyLut(Op):
    """`dst = table[src]`, entry by entry; traps where src is outside the table."""

    name = "lut"
    family = "pointwise"
    proof = Argument.LOOKUP
    attributes = (AttrSpec("table", "lut", "a table declared with .lut", positional=True),)
    example = "lut h, h, gelu"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        table = call.lut("table")
        return result(table.target, types[0].shape, (int(table.array.min()), int(table.array.max())))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        table, x = call.lut("table"), values[0]
        element = outside(x, table.lo, table.hi)
        if element is not None:
            message = f"{x[element]} is outside table '{table.name}', {table.lo} to {table.hi}"
            raise Trap(message, element=element, code="T130")
        out: I64 = table.array[x - table.lo]
        return out

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        y = b.result(result_interval(b))
        b.lookup(b.lut_table(call.lut("table")), (nodes[0], y), "result")
        return y


@register
class Relu(Op):
    """`dst = max(src, 0)`. The dtype stays.

    Proof: by a table for many entries of at most 16 bits (saves 1 of 3 per entry), else as `max` with zero.
    """

    name = "relu"
    family = "pointwise"
    proof = Argument.LOOKUP
    example = "relu h, h"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t = types[0]
        return result(t.dtype, t.shape, (max(t.lo, 0), max(t.hi, 0)))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.maximum(values[0], np.int64(0))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x = nodes[0]
        y = _by_table(b, x, "relu", lambda r: np.maximum(r, 0), 1) if x.lo < 0 < x.hi else None
        return y if y is not None else extremum(b, x, 0, 1, "result", result=True)


@register
class Abs(Op):
    """`dst = |src|`. The dtype stays where its interval allows, else it is the next that holds the result.

    Proof: by a table for many entries of at most 16 bits, else `x - 2*[x < 0]*x`: 1 + L leaves and L committed
    entries (as a maximum of x and -x the differences would have one bit more).
    """

    name = "abs"
    family = "pointwise"
    proof = Argument.LOOKUP | Argument.CONTRACTION
    example = "abs d, d"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t = types[0]
        hi = max(-t.lo, t.hi)
        lo = max(t.lo, -t.hi, 0)
        fits = t.dtype if hi <= t.dtype.hi else smallest_dtype(lo, hi)
        return result(fits or DType.I64, t.shape, (lo, hi))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.abs(values[0])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x = nodes[0]
        if x.lo >= 0 or x.hi <= 0:
            return x if x.lo >= 0 else -x
        if (y := _by_table(b, x, "abs", np.abs, 1)) is not None:
            return y
        x = b.operand(x)
        return x - b.mul(negative(b, x, "sign"), x) * 2


@register
class Sign(Op):
    """`dst` is -1, 0 or 1 as src is negative, zero or positive; i8.

    Proof: by a table for many entries of at most 16 bits (saves 4 of 6), else `[-x < 0] - [x < 0]`.
    """

    name = "sign"
    family = "pointwise"
    proof = Argument.LOOKUP
    example = "sign s, d"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        lo, hi = (max(-1, min(1, end)) for end in types[0].interval)
        return result(DType.I8, types[0].shape, (lo, hi))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.sign(values[0])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x = nodes[0]
        if (y := _by_table(b, x, "sign", np.sign, 4)) is not None:
            return y
        return negative(b, -x, "positive") - negative(b, x, "negative")
