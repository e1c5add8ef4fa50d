"""Bitwise logic on two's complement i8, i16 and i32: and, or, xor, not.

One table of 2^16 rows (x, y, x & y) of unsigned bytes and one of signed top bytes serve all three operations and all
widths, since a | b = a + b - (a & b) and a ^ b = a + b - 2*(a & b).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, Call, Op, broadcast_shapes, refuse, register, result
from syurmy.isa.ops.gadgets import operand_types, typed
from syurmy.isa.types import DType, Interval, TensorType

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Hint, Node, Table

BYTE = 8


def _and_table(b: Builder, signed: bool) -> Table:
    lo = -(2 ** (BYTE - 1)) if signed else 0
    byte = np.arange(lo, lo + 2**BYTE, dtype=np.int64)
    x, y = (m.reshape(-1) for m in np.meshgrid(byte, byte, indexing="ij"))
    return b.table("signed byte and" if signed else "byte and", (x, y, x & y))


def _byte(word: I64, i: int, signed: bool) -> I64:
    shifted = word >> (BYTE * i)
    return shifted if signed else shifted & (2**BYTE - 1)


def conjunction(b: Builder, x: Node, y: Node, dtype: DType) -> Node:
    """``x & y`` by bytes. The low byte of an operand is its linear rest, so an operand of k bytes commits k - 1 and
    the result k; each byte takes one lookup, which also bounds the three bytes in it. The top byte is signed."""
    if all(n.lo >= 0 and n.hi <= 1 for n in (x, y)):
        return b.mul(x, y)
    like = x - y  # for the common shape
    wide_x, wide_y = (b.broadcast(n, like.shape[1:]) for n in (x, y))
    top = dtype.bits // BYTE - 1
    rest_x, rest_y = x, y
    terms = []
    for i in range(top, -1, -1):
        signed = i == top
        bounds = (-(2 ** (BYTE - 1)), 2 ** (BYTE - 1) - 1) if signed else (0, 2**BYTE - 1)

        def column(label: str, like: Node, word: Hint, i: int = i, bounds: Interval = bounds) -> Node:
            signed = bounds[0] < 0
            c = b.column(
                f"{label} byte {i}", like.shape[1:], lambda v: _byte(word(v), i, signed), bounds, like.executions
            )
            b.pin(c, bounds)  # by the lookup below, in which an operand's byte may be broadcast
            return c

        part_x = column("first", x, lambda v: v(x)) if i else rest_x
        part_y = column("second", y, lambda v: v(y)) if i else rest_y
        both = column("and", like, lambda v: v(wide_x) & v(wide_y))
        b.lookup(_and_table(b, signed), (part_x, part_y, both), f"byte {i}")
        rest_x, rest_y = (r - part * 2 ** (BYTE * i) for r, part in ((rest_x, part_x), (rest_y, part_y)))
        terms.append((2 ** (BYTE * i), both))
    return b.combine(*terms)


class Bitwise(Op):
    """Entry by entry on two operands of one dtype, in two's complement; the dtype is kept."""

    family = "bitwise"
    proof = Argument.LOOKUP
    sources = ("a", "b")
    combine: ClassVar[Callable[..., object]]

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        x, y = types
        if x.dtype is not y.dtype or x.dtype is DType.I64:
            raise refuse(
                f"bitwise operands are both i8, both i16 or both i32, not {x.dtype} and {y.dtype}",
                "cast one of them",
                "A252",
            )
        full = (x.dtype.lo, x.dtype.hi)
        interval = self._nonnegative(x.hi, y.hi) if x.lo >= 0 and y.lo >= 0 else full
        return result(x.dtype, broadcast_shapes(x.shape, y.shape), interval)

    def _nonnegative(self, x: int, y: int) -> Interval:
        return 0, 2 ** max(x, y).bit_length() - 1

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.asarray(type(self).combine(values[0], values[1]), dtype=np.int64)


@register
class And(Bitwise):
    """`dst = a & b`, bit by bit in two's complement, broadcasting; both i8, i16 or i32.

    Proof: bytes by a table; a product where both operands are 0/1.
    """

    name = "and"
    combine = np.bitwise_and
    example = "and m, a, b"

    def _nonnegative(self, x: int, y: int) -> Interval:
        return 0, min(x, y)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x, y = nodes
        return typed(b, conjunction(b, x, y, operand_types(b)[0].dtype))


@register
class Or(Bitwise):
    """`dst = a | b`, bit by bit in two's complement, broadcasting; both i8, i16 or i32. Proof: `a + b - (a & b)`."""

    name = "or"
    combine = np.bitwise_or
    example = "or m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x, y = nodes
        return x + y - conjunction(b, x, y, operand_types(b)[0].dtype)


@register
class Xor(Bitwise):
    """`dst = a ^ b`, bit by bit in two's complement, broadcasting; both i8, i16 or i32. Proof: `a + b - 2*(a & b)`."""

    name = "xor"
    combine = np.bitwise_xor
    example = "xor m, a, b"

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x, y = nodes
        return x + y - conjunction(b, x, y, operand_types(b)[0].dtype) * 2


@register
class Not(Op):
    """`dst = -1 - src`: every bit flipped, in any dtype."""

    name = "not"
    family = "bitwise"
    proof = Argument.LINEAR
    example = "not m, m"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t = types[0]
        return result(t.dtype, t.shape, (-1 - t.hi, -1 - t.lo))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.invert(values[0])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return -1 - nodes[0]
