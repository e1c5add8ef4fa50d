"""Control flow and statements: repeat, end, halt, assert, reveal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap
from syurmy.isa.exact import outside
from syurmy.isa.instruction import Argument, AttrSpec, Call, Flow, Op, refuse, register
from syurmy.isa.types import TensorType

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node


@register
class Repeat(Op):
    """Run the block up to the matching `end` a fixed number of times; the counter, if named, counts from 0.

    The counter is readable as an i32 scalar, and in affine attributes (`slice`, `put`). Blocks nest. All executions
    of an instruction inside are stacked and proven together.
    """

    name = "repeat"
    family = "control"
    proof = Argument.NONE
    sources = ()
    has_dst = False
    flow = Flow.OPEN
    attributes = (
        AttrSpec("count", "int", "number of rounds, at least 1", positional=True),
        AttrSpec("counter", "name", "name of the counter", optional=True, positional=True),
    )
    example = "repeat 10, t"


@register
class End(Op):
    """Close the innermost `repeat`."""

    name = "end"
    family = "control"
    proof = Argument.NONE
    sources = ()
    has_dst = False
    flow = Flow.CLOSE
    example = "end"


@register
class Halt(Op):
    """Stop. Every program ends with `halt`, outside all blocks."""

    name = "halt"
    family = "control"
    proof = Argument.NONE
    sources = ()
    has_dst = False
    flow = Flow.STOP
    example = "halt"


TARGET = AttrSpec("target", "label", "a label of the same block", positional=True)


@register
class Jmp(Op):
    """Continue at a label of the same block."""

    name = "jmp"
    family = "control"
    proof = Argument.NONE
    sources = ()
    has_dst = False
    flow = Flow.JUMP
    attributes = (TARGET,)
    example = "jmp again"


@register
class CallRoutine(Op):
    """Run the routine at a label, up to its `ret`, and continue behind the call. Routines do not call themselves."""

    name = "call"
    family = "control"
    proof = Argument.NONE
    sources = ()
    has_dst = False
    flow = Flow.CALL
    attributes = (AttrSpec("target", "label", "a label outside all blocks", positional=True),)
    example = "call probe"


@register
class Ret(Op):
    """Return from a routine."""

    name = "ret"
    family = "control"
    proof = Argument.NONE
    sources = ()
    has_dst = False
    flow = Flow.RETURN
    example = "ret"


class Branch(Op):
    """Base of conditional branches. The branch bit (the condition's value) is public, the data behind it is not."""

    family = "control"
    proof = Argument.LINEAR
    sources = ("cond",)
    has_dst = False
    flow = Flow.BRANCH
    attributes = (TARGET,)

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        if types[0].size != 1 or types[0].lo < 0 or types[0].hi > 1:
            raise refuse(
                f"a branch needs one 0/1 value, this is {types[0]} in [{types[0].lo}, {types[0].hi}]",
                "make it with eq, lt or another comparison",
                "A240",
            )
        return types[0]

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return values[0]

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        b.branch(nodes[0])
        return nodes[0]


@register
class Bz(Branch):
    """Continue at a label of the same block if the condition is 0."""

    name = "bz"
    taken_on: ClassVar[int] = 0
    example = "bz found, next"


@register
class Bnz(Branch):
    """Continue at a label of the same block if the condition is 1."""

    name = "bnz"
    taken_on: ClassVar[int] = 1
    example = "bnz more, again"


@register
class Assert(Op):
    """Trap unless every entry is 1. The operand's interval must lie in [0, 1] (made by a comparison, say)."""

    name = "assert"
    family = "statement"
    proof = Argument.LINEAR
    has_dst = False
    example = "assert ok"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        if types[0].lo < 0 or types[0].hi > 1:
            raise refuse(
                f"assert needs a 0/1 tensor, this one lies in [{types[0].lo}, {types[0].hi}]",
                "make it with eq, lt or another comparison",
                "A240",
            )
        return types[0]

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        element = outside(values[0], 1, 1)
        if element is not None:
            raise Trap("assertion is false", element=element, code="T110")
        return values[0]

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        b.zero(nodes[0] - 1, "assert")
        return nodes[0]


@register
class Reveal(Op):
    """Make a value public: it becomes part of the statement, once per execution."""

    name = "reveal"
    family = "statement"
    proof = Argument.LINEAR
    has_dst = False
    example = "reveal logits"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return types[0]

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return values[0]

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        b.reveal(b.broadcast(nodes[0], nodes[0].shape[1:], b.executions))
        return nodes[0]
