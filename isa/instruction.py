"""What an instruction is: one class per mnemonic, registered once; everything else reads the registry.

A definition states its syntax (operands and attributes), its typing rule (``infer``), its execution (``execute``, exact
integers in NumPy) and its constraints (``constrain``). Assembler, VM, prover, verifier, debugger and the generated
manual all use the same object.

Soundness: ``infer`` may claim an interval only if ``constrain`` enforces it against a cheating prover.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from syurmy.isa.arrays import I64
from syurmy.isa.errors import TypeRuleError
from syurmy.isa.program import Affine, Instruction, Lut, Ram
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.types import DType, Interval, TensorType

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node
    from syurmy.isa.memory import Memory


@dataclass(frozen=True)
class AttrSpec:
    """One attribute. ``kind``: int, ints, dtype, str, name, lut, ram, label (an instruction's index), bool or affine
    (an integer over loop counters).

    ``default`` None means required, unless ``optional``. ``positional`` attributes may follow the operands without
    their name, in the order of declaration.
    """

    name: str
    kind: str
    doc: str
    default: Any = None
    optional: bool = False
    positional: bool = False


class Call:
    """One static instruction with its attributes completed by defaults; given to infer, execute and constrain."""

    def __init__(
        self,
        instruction: Instruction,
        luts: Mapping[str, Lut],
        l1: L1Bounds | None = None,
        rams: Mapping[str, Ram] | None = None,
    ) -> None:
        self.instruction = instruction
        self.op = REGISTRY[instruction.op]
        self.attrs: dict[str, Any] = self.op.defaults | dict(instruction.attrs)
        self.counters: Mapping[str, int] = {}
        self.counter_ranges: Mapping[str, int] = {}  # counter -> number of rounds, while types are inferred
        self._luts = luts
        self._l1 = l1
        self._rams = rams or {}
        self.memories: Mapping[str, Memory] = {}  # RAM during execution
        self.read_times: I64 | None = None  # left by an executed access: when its rows were last accessed

    def __getitem__(self, name: str) -> Any:
        return self.attrs[name]

    def lut(self, name: str) -> Lut:
        """The declaration of the table that an attribute names."""
        return self._luts[self.attrs[name]]

    def ram(self) -> Ram:
        """The declaration of the buffer that is accessed."""
        return self._rams[self.attrs["buffer"]]

    def buffer(self) -> Memory:
        """The buffer that is accessed, during execution."""
        return self.memories[self.attrs["buffer"]]

    def at(self, name: str) -> int:
        """The value of an affine attribute at the current loop counters."""
        value = self.attrs[name]
        return value.at(self.counters) if isinstance(value, Affine) else int(value)

    def range(self, name: str) -> Interval:
        """The interval of an affine attribute over all rounds of the enclosing loops (during ``infer``)."""
        value = self.attrs[name]
        if not isinstance(value, Affine):
            return int(value), int(value)
        ends = [sorted((0, c * (self.counter_ranges[n] - 1))) for n, c in value.terms]
        return value.constant + sum(e[0] for e in ends), value.constant + sum(e[1] for e in ends)

    def l1(self, operand: int, axes: Sequence[int]) -> int | None:
        """A bound on sum |w| over ``axes`` of the operand, if it is a param whose bounds are known."""
        return self._l1(self.instruction.src[operand], tuple(sorted(axes))) if self._l1 else None


class L1Bounds:
    """Callable ``(param name, axes) -> bound or None``."""

    def __call__(self, name: str, axes: tuple[int, ...]) -> int | None:
        raise NotImplementedError


class Argument(enum.Flag):
    """What pins an instruction's result in the proof."""

    NONE = 0  # nothing is constrained
    LINEAR = enum.auto()
    CONTRACTION = enum.auto()
    LOOKUP = enum.auto()
    MEMORY = enum.auto()

    def __str__(self) -> str:
        return ", ".join((a.name or "").lower() for a in self) or "none"


class Flow(enum.Enum):
    """Where the path goes after an instruction."""

    NEXT = enum.auto()  # to the next instruction, as everything does that computes
    OPEN = enum.auto()  # into a block that runs ``count`` rounds
    CLOSE = enum.auto()  # to the block's next round, or behind it
    JUMP = enum.auto()  # to ``target``
    BRANCH = enum.auto()  # to ``target`` if the operand, a branch bit, is ``taken_on``; else to the next instruction
    CALL = enum.auto()  # to ``target``, and behind the call at the routine's RETURN
    RETURN = enum.auto()
    STOP = enum.auto()


class Op:
    """Base of instruction definitions. The class docstring's first line states the semantics."""

    name: ClassVar[str]
    family: ClassVar[str]
    proof: ClassVar[Argument]
    sources: ClassVar[tuple[str, ...]] = ("src",)  # operand names for syntax and manual
    variadic: ClassVar[bool] = False  # the last source may repeat
    has_dst: ClassVar[bool] = True
    attributes: ClassVar[tuple[AttrSpec, ...]] = ()
    flow: ClassVar[Flow] = Flow.NEXT
    taken_on: ClassVar[int] = 0  # of a branch: the bit that jumps
    indexed: ClassVar[str] = ""  # "buffer" or a source: that operand is written ``name[idx]``
    memory: ClassVar[bool] = False  # accesses a RAM buffer
    reads_dst: ClassVar[bool] = False  # dst is also the first source: it is written in part
    renames: ClassVar[bool] = False  # the result is the operand: readers see through it
    patches: ClassVar[bool] = False  # replaces ``at ..`` along ``axis``: readers see each position's last write
    narrow_params: ClassVar[bool] = False  # ``execute`` takes params in their own narrow dtypes and is exact on them
    example: ClassVar[str] = ""

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Of the attributes."""
        return {s.name: s.default for s in self.attributes}

    @property
    def control(self) -> bool:
        """Handled by the path alone, not by infer, execute and constrain."""
        return self.flow not in (Flow.NEXT, Flow.BRANCH)

    @property
    def branch(self) -> bool:
        """A conditional branch: its operand is a branch bit."""
        return self.flow is Flow.BRANCH

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        """Type of the result; raises ``TypeRuleError``."""
        raise NotImplementedError

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        """Exact result, int64; raises ``Trap``."""
        raise NotImplementedError

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        """The result's node; adds the columns, lookups and equations that pin it."""
        raise NotImplementedError


REGISTRY: dict[str, Op] = {}


def register(cls: type[Op]) -> type[Op]:
    """Class decorator: the one place where a mnemonic gets its meaning."""
    if cls.name in REGISTRY:
        raise ValueError(f"instruction {cls.name} is defined twice")
    if not (cls.__doc__ or "").strip():
        raise ValueError(f"instruction {cls.name} has no description")
    REGISTRY[cls.name] = cls()
    return cls


def refuse(message: str, help: str = "", code: str = "A200") -> TypeRuleError:
    """A typing error; the caller that knows the source adds the span."""
    return TypeRuleError(message, code=code, help=help)


def result(dtype: DType, shape: Sequence[int], interval: Interval) -> TensorType:
    """A result type; refuses intervals that leave the dtype."""
    lo, hi = interval
    if lo < dtype.lo or hi > dtype.hi:
        if dtype is DType.I64:
            raise refuse(
                f"a value could reach {max(abs(lo), abs(hi))}, beyond 2^61",
                "narrow an operand first with rescale, clamp or cast",
                "A210",
            )
        raise refuse(f"a value could leave {dtype}: interval [{lo}, {hi}]", "use a wider dtype", "A210")
    return TensorType(dtype, tuple(shape), lo, hi)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """NumPy broadcasting of tensor shapes; ``TypeRuleError`` if they do not fit."""
    if all(s == shapes[0] for s in shapes):
        return tuple(shapes[0])
    rank = max(len(s) for s in shapes)
    out = []
    for i in range(rank):
        dims = {s[i - rank + len(s)] for s in shapes if i - rank + len(s) >= 0} - {1}
        if len(dims) > 1:
            listed = " and ".join(str(list(s)) for s in shapes)
            raise refuse(f"shapes {listed} do not broadcast", "the lengths of each axis must be equal or 1", "A220")
        out.append(dims.pop() if dims else 1)
    return tuple(out)


def normal_axis(axis: int, rank: int) -> int:
    """``axis`` counted from 0; negative axes count from the end."""
    if not -rank <= axis < rank:
        raise refuse(f"axis {axis} is outside a tensor of rank {rank}", code="A221")
    return axis % rank
