"""The immutable program: declarations, instructions, and what their identity is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import numpy as np
import numpy.typing as npt

from syurmy.isa.arrays import I64, Integers
from syurmy.isa.errors import Span
from syurmy.isa.records import dataclass
from syurmy.isa.summary import Summary, listed
from syurmy.isa.types import DType, TensorType


@dataclass(frozen=True)
class Affine:
    """A public integer: ``constant + sum(coefficient * counter)`` over the counters of enclosing ``repeat`` blocks."""

    constant: int
    terms: tuple[tuple[str, int], ...] = ()  # (counter, coefficient), sorted, no zero coefficient

    def at(self, counters: Mapping[str, int]) -> int:
        """The value where loop counters have these values."""
        return self.constant + sum(c * counters[name] for name, c in self.terms)

    def __str__(self) -> str:
        parts = [(name if c == 1 else f"-{name}" if c == -1 else f"{c}*{name}") for name, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return "+".join(parts).replace("+-", "-")


Attr = int | str | tuple[int, ...] | Affine | DType | bool


@dataclass(frozen=True)
class Input:
    """A tensor given at run time. Private inputs are hidden in the proof; public ones are part of the statement; of
    ``committed`` ones, hidden too, the statement names a commitment that was made beforehand."""

    name: str
    type: TensorType
    public: bool
    committed: bool = False

    @property
    def visibility(self) -> str:
        """As declarations say it."""
        return visibility(self.public, self.committed)


@dataclass(frozen=True)
class Param:
    """A tensor fixed with the program. ``type`` holds its true bounds, ``l1`` bounds sum(|w|) over sets of axes.

    Committed params enter the key as a commitment and their bounds are checked by set-up; public ones are part of
    the program itself. ``l1`` is sorted by axes.
    """

    name: str
    type: TensorType
    committed: bool
    l1: tuple[tuple[tuple[int, ...], int], ...] = ()


@dataclass(frozen=True, init=False, eq=False)
class Lut:
    """A public table ``f`` on ``lo .. lo + len(array) - 1``, at most 2^16 rows. ``array``: int64, read-only, as a table
    is read once per execution of every ``lut``; made of any integers."""

    name: str
    source: DType
    target: DType
    lo: int
    array: I64

    def __init__(self, name: str, source: DType, target: DType, lo: int, array: npt.ArrayLike) -> None:
        values = np.array(array, np.int64)
        values.flags.writeable = False
        self.__dict__.update(name=name, source=source, target=target, lo=lo, array=values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lut) and self._declared == other._declared and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self._declared)

    @property
    def _declared(self) -> tuple[str, DType, DType, int, int]:
        return self.name, self.source, self.target, self.lo, len(self.array)

    @property
    def values(self) -> tuple[int, ...]:
        """``array`` as Python's integers."""
        return tuple(self.array.tolist())

    @property
    def hi(self) -> int:
        """The last argument that the table has a value for."""
        return self.lo + len(self.array) - 1


@dataclass(frozen=True)
class Ram:
    """A buffer of rows that `load` and `store` address by data.

    ``init``: name of an input or param of the same shape that holds the initial contents, None for zeros.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]  # rows, then the shape of a row
    init: str | None = None


@dataclass(frozen=True)
class Output:
    """A register whose value at ``halt`` leaves the program; public ones are part of the statement, of ``committed``
    ones it names a commitment."""

    name: str
    public: bool
    committed: bool = False

    @property
    def visibility(self) -> str:
        """As declarations say it."""
        return visibility(self.public, self.committed)


def visibility(public: bool, committed: bool) -> str:
    """The word for what a statement tells of an input or output."""
    return "committed" if committed else "public" if public else "private"


@dataclass(frozen=True)
class Instruction:
    """One static instruction. ``src`` are names of registers, inputs, params or loop counters; attributes by name.

    ``span``: its place in the source. ``calls``: the macro calls it came through (macro, place), outermost first.
    """

    op: str
    dst: str | None
    src: tuple[str, ...]
    attrs: tuple[tuple[str, Attr], ...] = ()  # sorted by name; attributes at their default are absent
    span: Span | None = field(default=None, compare=False)
    calls: tuple[tuple[str, Span], ...] = field(default=(), compare=False)

    def get(self, name: str, default: Attr | None = None) -> Attr | None:
        """The attribute, or ``default`` where the instruction does not state it."""
        for key, value in self.attrs:
            if key == name:
                return value
        return default


@dataclass(frozen=True, eq=False)
class Note:
    """What a file says about a register for people: show it, or what it is expected to hold.

    ``index``: before which instruction; ``expected``: None to show it. Notes are no part of the program.
    """

    index: int
    name: str
    expected: I64 | None = None
    span: Span | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Program(Summary):
    """A program and the values of its params. ``data`` maps every param to an integer array of its shape.

    Two programs are the same if their encodings are (``isa.encoding.encode``): names, declarations, instructions,
    tables and public params count; the values of committed params, source positions, labels and notes do not.
    ``labels``: the instruction behind each label of the source.
    """

    name: str
    inputs: tuple[Input, ...]
    params: tuple[Param, ...]
    luts: tuple[Lut, ...]
    outputs: tuple[Output, ...]
    code: tuple[Instruction, ...]
    data: Mapping[str, Integers] = field(default_factory=dict)
    rams: tuple[Ram, ...] = ()
    notes: tuple[Note, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)

    def summary(self) -> list[tuple[str, str]]:
        """Nothing of its params: they may be private."""
        inputs = listed(f"{i.name}: {i.type.dtype}{list(i.type.shape)}" for i in self.inputs)
        outputs = listed(o.name for o in self.outputs)
        return [("name", self.name), ("inputs", inputs), ("outputs", outputs), ("instructions", str(len(self.code)))]

    def input(self, name: str) -> Input:
        """The declaration of this name."""
        return next(i for i in self.inputs if i.name == name)

    def param(self, name: str) -> Param:
        """The declaration of this name."""
        return next(p for p in self.params if p.name == name)

    def ram(self, name: str) -> Ram:
        """The declaration of this name."""
        return next(r for r in self.rams if r.name == name)

    def lut(self, name: str) -> Lut:
        """The declaration of this name."""
        return next(t for t in self.luts if t.name == name)
