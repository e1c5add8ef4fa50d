"""The constraint system's tensor graph: committed, public and param tensors, their linear images, and products.

Every node has a shape ``(E, d1, ..., dk)``: axis 0 counts the executions of a static instruction (1 outside loops).
Nodes are created by ``isa.builder``; ``forward`` is the exact integer definition of each linear image, which the
witness, the checker and the tests use. Its transpose (the adjoint) lives in ``prover.protocol.claims``.

Rule of integers: every node's interval lies strictly inside +-2^63, and p > 2^63 + 2^62. So an expression that is zero
in the field is zero in the integers, and one that equals a table entry (|t| <= 2^61) in the field equals it in the
integers (protocol section 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cache, lru_cache
from typing import Protocol

import numpy as np

from syurmy.isa.arrays import I32, I64
from syurmy.isa.exact import einsum
from syurmy.isa.progression import Progression
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.types import DType, Interval

LIMIT = 2**63 - 1


class Values(Protocol):
    """Gives the integer value of a node (prover side only); shape of the node, int64.

    ``read_times``: per execution of a RAM access, when its rows were last accessed. ``final``: contents and times of a
    buffer at halt, per input.
    """

    def __call__(self, node: Node) -> I64: ...

    def read_times(self, instruction: int) -> I64: ...

    def final(self, buffer: str) -> tuple[I64, I64]: ...


Hint = Callable[[Values], I64]


class Combines(Protocol):
    """Makes linear images; ``isa.builder.Builder``."""

    def combine(self, *terms: tuple[int, Node], const: int = 0) -> Node: ...


@dataclass(eq=False)
class Node:
    """A tensor of the graph; ``+ - *`` with nodes (broadcasting) and integers give linear images.

    ``origin`` is the static instruction it belongs to (-1: a declaration). ``has_product``: a product was among what it
    is made of. ``committed_as``: the column that took its place, if planning committed it. ``conflicts`` and
    ``reach``: see ``isa.joining``.
    """

    builder: Combines
    id: int
    shape: tuple[int, ...]
    lo: int
    hi: int
    origin: int
    inputs: tuple[Node, ...]
    label: str = ""
    has_product: bool = field(init=False, default=False)
    committed_as: Committed | None = field(init=False, default=None)
    conflicts: frozenset[tuple[int, int]] | None = field(init=False, default=None)
    reach: tuple[int, ...] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for i in self.inputs:
            if i.has_product:
                self.has_product = True
                return

    @property
    def interval(self) -> Interval:
        """What every entry lies in, over the integers; ``lo`` and ``hi`` included."""
        return self.lo, self.hi

    @property
    def executions(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    @property
    def size(self) -> int:
        """Entries over all executions."""
        return math.prod(self.shape)

    def __add__(self, other: Node | int) -> Node:
        return (
            self.builder.combine((1, self), (1, other))
            if isinstance(other, Node)
            else self.builder.combine((1, self), const=other)
        )

    def __sub__(self, other: Node | int) -> Node:
        if isinstance(other, Node):
            return self.builder.combine((1, self), (-1, other))
        return self.builder.combine((1, self), const=-other)

    def __rsub__(self, other: int) -> Node:
        return self.builder.combine((-1, self), const=other)

    def __neg__(self) -> Node:
        return self.builder.combine((-1, self))

    def __mul__(self, factor: int) -> Node:
        return self.builder.combine((factor, self))

    __radd__ = __add__
    __rmul__ = __mul__

    def forward(self, args: Sequence[I64]) -> I64:
        raise TypeError(f"{type(self).__name__} has no forward map")


@dataclass(eq=False)
class Committed(Node):
    """A column of the witness matrix. ``hint`` computes it from other nodes; None: it is the trace's value.

    ``defined_by`` is the expression that pins it by an equation, if one does.
    """

    hint: Hint | None = None
    defined_by: Node | None = None


@dataclass(eq=False)
class Public(Node):
    """A tensor both sides know. ``source``: "const", "input", "output", "reveal" or "param", and ``name``. ``known``:
    its values, if the program says them; in closed form those of the first axis where all others have length 1."""

    source: str = "const"
    name: str = ""
    known: I64 | Progression | None = None

    @cached_property
    def values(self) -> I64 | None:
        """``known``, in the node's shape."""
        return None if self.known is None else np.asarray(self.known).reshape(self.shape)


@dataclass(eq=False)
class External(Node):
    """A committed input or output as its commitment has it, shape ``(batch, *shape)``. An equation says that it is the
    program's; nothing else reads it. ``source``: "input" or "output"; ``dtype``: of its entries."""

    source: str = "input"
    name: str = ""
    dtype: DType = DType.I64


@dataclass(eq=False)
class ParamTensor(Node):
    """A committed param, shape ``(1, *shape)``."""

    name: str = ""
    l1: tuple[tuple[tuple[int, ...], int], ...] = ()


@dataclass(eq=False)
class Combine(Node):
    """``const + sum(coefficient * input)``, all of one shape."""

    coefficients: tuple[int, ...] = ()
    const: int = 0

    def forward(self, args: Sequence[I64]) -> I64:
        if not args:
            return np.full(self.shape, self.const, dtype=np.int64)
        first, out, done = self.coefficients[0], np.empty(self.shape, np.int64), 1
        if first == 1 and len(args) > 1 and self.coefficients[1] in (1, -1):  # in one pass
            (np.add if self.coefficients[1] == 1 else np.subtract)(args[0], args[1], out=out, dtype=np.int64)
            done = 2
        else:
            np.multiply(args[0], first, out=out, dtype=np.int64)  # params keep a narrow dtype
        for c, a in zip(self.coefficients[done:], args[done:], strict=True):
            if c == -1:
                out -= a
            else:
                out += a if c == 1 else np.int64(c) * a
        if self.const:
            out += self.const
        return out


@dataclass(eq=False)
class Reshape(Node):
    """Same entries in C order."""

    def forward(self, args: Sequence[I64]) -> I64:
        return args[0].reshape(self.shape)


@dataclass(eq=False)
class Transpose(Node):
    """``out.shape[i] = in.shape[perm[i]]`` (NumPy's convention)."""

    perm: tuple[int, ...] = ()

    def forward(self, args: Sequence[I64]) -> I64:
        return np.transpose(args[0], self.perm)


@dataclass(eq=False)
class Broadcast(Node):
    """Axes of length 1 repeated; same rank."""

    def forward(self, args: Sequence[I64]) -> I64:
        return np.broadcast_to(args[0], self.shape)


@dataclass(eq=False)
class Sum(Node):
    """Sum over ``axes``, which keep length 1."""

    axes: tuple[int, ...] = ()

    def forward(self, args: Sequence[I64]) -> I64:
        out: I64 = args[0].sum(axis=self.axes, keepdims=True, dtype=np.int64)
        return out


@dataclass(eq=False)
class IndexMap(Node):
    """Axes ``in_axes`` of the input become ``out_axes`` by a public index.

    ``index`` has the lengths of ``out_axes`` and holds C-order positions in the ``in_axes`` of the input, or -1 for
    zero; ``where`` is the same, perhaps in closed form. The other axes keep their order. Slices, flips, zero padding,
    im2col, loop wiring and counter-addressed slices are all index maps.
    """

    in_axes: tuple[int, ...] = ()
    out_axes: tuple[int, ...] = ()
    where: I32 | Progression = field(default_factory=lambda: np.zeros(0, np.int32))  # there may be many, and long ones

    @cached_property
    def index(self) -> I32:
        return np.asarray(self.where, np.int32)

    @cached_property
    def zeros(self) -> I32:
        """Where the index is negative, flat."""
        return np.flatnonzero(self.index.reshape(-1) < 0).astype(np.int32)

    def forward(self, args: Sequence[I64]) -> I64:
        x = np.moveaxis(args[0], self.in_axes, range(len(self.in_axes)))
        rest = x.shape[len(self.in_axes) :]
        y = np.empty((self.index.size, *rest), x.dtype)
        np.take(x.reshape(-1, *rest), self.index.reshape(-1), axis=0, out=y, mode="wrap")  # of -1, the last one
        y[self.zeros] = 0
        return np.moveaxis(y.reshape(*self.index.shape, *rest), range(len(self.out_axes)), self.out_axes)


@dataclass(eq=False)
class Concat(Node):
    """Inputs joined along ``axis``."""

    axis: int = 0

    def forward(self, args: Sequence[I64]) -> I64:
        return np.concatenate(list(args), axis=self.axis)


@dataclass(eq=False)
class Product(Node):
    """``out[o] = sum A * B`` over labels (an einsum of two operands); see protocol section 4.

    ``labels_a``, ``labels_b``, ``labels_out`` name the axes; an axis of length 1 under a longer label is broadcast.
    Operands hold no product.
    """

    labels_a: tuple[int, ...] = ()
    labels_b: tuple[int, ...] = ()
    labels_out: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.has_product = True

    @cached_property
    def axes(self) -> tuple[dict[int, int], dict[int, int]]:
        """Of each operand the axis of every label, in its order, where that is longer than 1."""
        a, b = self.inputs
        return axes_of((self.labels_a, self.labels_b), (a.shape, b.shape))

    @cached_property
    def kinds(self) -> dict[int, str]:
        """Of the labels of the result: "batch" (both operands), "a" or "b"; axes of length 1 do not count."""
        return kinds_of(self.labels_out, *self.axes)

    def forward(self, args: Sequence[I64]) -> I64:
        bound = max(abs(self.lo), abs(self.hi))
        return einsum(self.labels_a, self.labels_b, self.labels_out, args[0], args[1], self.shape, bound)


def axes_of(
    labels: tuple[tuple[int, ...], tuple[int, ...]], shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[dict[int, int], dict[int, int]]:
    """``Product.axes`` of operands with these labels and shapes."""
    a, b = ({x: i for i, x in enumerate(named) if shape[i] > 1} for named, shape in zip(labels, shapes, strict=True))
    return a, b


def kinds_of(labels: Sequence[int], a: Mapping[int, int], b: Mapping[int, int]) -> dict[int, str]:
    """``Product.kinds`` of these labels, where those are the operands' axes."""
    return {x: ("batch" if x in b else "a") if x in a else "b" for x in labels}


@dataclass(frozen=True, eq=False)
class Table:
    """A public table with ``len(columns)`` columns of 2^log_size rows; ``range[k]`` has the closed form row i = i.

    Lookups of equal tables share one multiplicity column, so tables are equal only if all their values are.
    """

    name: str
    log_size: int
    bounds: tuple[Interval, ...]  # of the values in each column
    columns: tuple[I64, ...] = ()  # empty for ranges

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Table)
            and (self.name, self.log_size, self.bounds) == (other.name, other.log_size, other.bounds)
            and len(self.columns) == len(other.columns)
            and all(map(np.array_equal, self.columns, other.columns))
        )

    def __hash__(self) -> int:
        return hash((self.name, self.log_size, self.bounds))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.bounds)

    @property
    def is_range(self) -> bool:
        """Whether the table is ``range[k]``, which has no stored columns."""
        return not self.columns

    @cached_property
    def firsts(self) -> tuple[int | None, ...]:
        """Of every stored column that counts upwards, as the arguments of a full table do, its first value."""
        n = 1 << self.log_size
        return tuple(int(c[0]) if _counts(c, n) else None for c in self.columns)


@lru_cache(maxsize=4)
def arguments(lo: int, count: int) -> I64:
    """lo, lo + 1, ...: as many. Read-only."""
    out = np.arange(lo, lo + count, dtype=np.int64)
    out.flags.writeable = False
    return out


def _counts(c: I64, n: int) -> bool:
    if int(c[-1]) - int(c[0]) != n - 1:
        return False
    known = arguments(int(c[0]), n)
    return c is known or np.array_equal(c, known)


@dataclass(eq=False)
class Lookup:
    """Every entry of the members, taken together as a tuple, is a row of the table. Members share one shape."""

    table: Table
    members: tuple[Node, ...]
    origin: int
    label: str


@dataclass(eq=False)
class Tuples:
    """Leaves of the memory argument: one tuple per entry of ``shape``, with numerator ``sign``, or minus
    ``multiplicity``.

    ``space`` names what the tuples are about (a buffer, the rows of a gathered tensor, a permutation): it has a tag
    of its own. A member has the block's shape, or more axes behind it, which are fingerprinted (an MLE evaluation);
    None is zero. Over one space all tuples must cancel.
    """

    space: str
    sign: int
    members: tuple[Node | None, ...]
    shape: tuple[int, ...]
    origin: int
    label: str
    multiplicity: Committed | None = None


@dataclass(eq=False)
class Equation:
    """Every entry of ``expression`` is zero."""

    expression: Node
    origin: int
    label: str


@cache
def range_table(bits: int) -> Table:
    """The integers of ``[0, 2^bits)``."""
    return Table(f"range[{bits}]", bits, ((0, 2**bits - 1),))
