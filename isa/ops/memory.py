"""Memory: load and store of RAM rows, gather from a tensor, with row numbers that are data.

Row numbers: a scalar, or a vector of k rows at once. Reads of RAM are columns that the memory argument pins: every
access takes the tuple (row, fingerprint, time) that the last access of the row left, and leaves one with the current
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from syurmy.isa import memory_argument
from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, refuse, register, result
from syurmy.isa.memory import check_rows
from syurmy.isa.types import TensorType

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node

BUFFER = AttrSpec("buffer", "ram", "a buffer declared with .ram")


def _check_index(t: TensorType) -> None:
    if len(t.shape) > 1:
        raise refuse(f"row numbers are a scalar or a vector, not {t}", "reshape them, and the result back", "A260")


@register
class Load(Op):
    """`dst = buf[idx]`: rows of a RAM buffer; traps where a row number is outside. Written `load dst, buf[idx]`."""

    name = "load"
    family = "memory"
    proof = Argument.MEMORY
    sources = ("idx",)
    attributes = (BUFFER,)
    indexed: ClassVar[str] = "buffer"
    memory: ClassVar[bool] = True
    example = "load row, kv[t]"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        _check_index(types[0])
        buffer = call.ram()
        return TensorType.full(buffer.dtype, types[0].shape + buffer.shape[1:])

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        old, call.read_times = call.buffer().access(values[0])
        return old

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        y = b.result((call.ram().dtype.lo, call.ram().dtype.hi))
        memory_argument.access(b, call.ram(), nodes[0], y, y)
        return y


@register
class Store(Op):
    """`buf[idx] = src`: overwrite rows; of equal row numbers the last wins. Written `store buf[idx], src`.

    The trace keeps the overwritten rows as the instruction's value.
    """

    name = "store"
    family = "memory"
    proof = Argument.MEMORY
    sources = ("idx", "src")
    has_dst = False
    attributes = (BUFFER,)
    indexed: ClassVar[str] = "buffer"
    memory: ClassVar[bool] = True
    example = "store kv[t], row"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        _check_index(types[0])
        buffer = call.ram()
        expected = types[0].shape + buffer.shape[1:]
        if types[1].shape != expected:
            raise refuse(
                f"rows of '{buffer.name}' have shape {list(expected)} here, not {list(types[1].shape)}", code="A261"
            )
        result(buffer.dtype, expected, types[1].interval)
        return TensorType.full(buffer.dtype, expected)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        old, call.read_times = call.buffer().access(values[0], values[1])
        return old

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        old = b.result((call.ram().dtype.lo, call.ram().dtype.hi))
        memory_argument.access(b, call.ram(), nodes[0], old, nodes[1])
        return old


@register
class Gather(Op):
    """`dst = src[idx]`: rows (along axis 0) of a tensor, with row numbers that are data; traps outside. Written
    `gather dst, src[idx]`.

    Proof: each (row number, fingerprint of the row) is looked up in the rows of src.
    """

    name = "gather"
    family = "memory"
    narrow_params = True
    proof = Argument.MEMORY
    sources = ("src", "idx")
    indexed: ClassVar[str] = "src"
    example = "gather e, table[tok]"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        _check_index(types[1])
        if not types[0].shape:
            raise refuse("a scalar has no rows", code="A262")
        return result(types[0].dtype, types[1].shape + types[0].shape[1:], types[0].interval)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        rows = values[1].astype(np.int64, copy=False)
        check_rows(rows, len(values[0]))
        return values[0][rows].astype(np.int64, copy=False)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        # every row lies in its type, also where an earlier round of a loop had a wider one
        t = b.system.types.results[b.origin]
        assert t is not None
        y = b.result(t.interval)
        memory_argument.gather(b, nodes[0], nodes[1], y)
        return y
