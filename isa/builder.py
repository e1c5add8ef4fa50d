"""The vocabulary in which instructions state their constraints, and the constraint system that it fills.

``isa.system`` assembles the system of a whole program with it.

What a definition may rely on: shapes broadcast; axes are those of the tensor (the execution axis is added here);
intervals are those that the proof enforces. What it must do: every column it creates is pinned, by a range or table
lookup that contains the column itself, or by an equation that defines it. ``finish`` refuses anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import field

import numpy as np

from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.cost import PER_NODE, PER_SUMMAND, PER_TERM, Account
from syurmy.isa.dataflow import Dataflow
from syurmy.isa.errors import ConstraintError
from syurmy.isa.graph import Committed, Equation, Hint, Lookup, Node, Public, Table, Values, range_table
from syurmy.isa.inference import Types
from syurmy.isa.instruction import broadcast_shapes
from syurmy.isa.pieces import leaves
from syurmy.isa.program import Lut, Program
from syurmy.isa.progression import LONG, Progression
from syurmy.isa.ranges import Limbs, limbs_for
from syurmy.isa.records import dataclass
from syurmy.isa.types import MAX_ENTRIES, Interval, TensorType, multiplied, unsigned_bits


@dataclass(frozen=True)
class Check:
    """``0 <= x < 2^bits``, stated by instruction ``origin``."""

    x: Node
    bits: int
    label: str
    origin: int


@dataclass
class ConstraintSystem:
    """Columns, lookups and equations of a program. No values. Orders are those of creation, so canonical."""

    program: Program
    types: Types
    flow: Dataflow
    columns: list[Committed] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)
    tuples: list[g.Tuples] = field(default_factory=list)
    nodes: int = 0
    results: dict[int, Node] = field(default_factory=dict)  # instruction -> node of its result
    inputs: dict[str, Node] = field(default_factory=dict)
    outputs: dict[str, Node] = field(default_factory=dict)
    reveals: list[tuple[int, Public]] = field(default_factory=list)  # instruction, statement tensor
    params: dict[str, g.ParamTensor] = field(default_factory=dict)
    publics: list[Public] = field(default_factory=list)  # the statement's tensors: inputs, outputs, reveals
    externals: list[g.External] = field(default_factory=list)  # those that it names commitments of: inputs, outputs

    @property
    def tables(self) -> list[Table]:
        """Tables in use, in order of first use. Table t has tag t + 1."""
        return list(dict.fromkeys(lk.table for lk in self.lookups))

    @property
    def spaces(self) -> list[str]:
        """What the memory argument is about, in order of first use. Space s has the tag after those of the tables."""
        return list(dict.fromkeys(t.space for t in self.tuples))

    def trace_cells(self) -> int:
        """Number of tensor entries written by the whole execution."""
        return sum(t.size * e for t, e in zip(self.types.results, self.flow.runs, strict=True) if t is not None)


class Builder:
    """See the module's description. One instance builds one system."""

    def __init__(self, system: ConstraintSystem, account: Account | None = None) -> None:
        self.system = system
        self.account = account or Account()
        self.origin = -1  # the instruction whose constraints are being stated
        self.forward: dict[int, Committed] = {}  # instruction -> its result, where earlier instructions read it
        self._luts: dict[str, Table] = {}
        self._tables: dict[Table, Table] = {}
        self._pins: dict[Committed, Interval] = {}
        self._checks: list[Check] = []
        self._materialised: dict[Node, Committed] = {}

    # ---- linear images -------------------------------------------------------------------------------------------

    def combine(self, *terms: tuple[int, Node], const: int = 0) -> Node:
        """``const + sum(coefficient * node)`` with broadcasting."""
        full = terms[0][1].shape
        for _, n in terms:
            if n.shape != full:
                full = (max(m.executions for _, m in terms), *broadcast_shapes(*(m.shape[1:] for _, m in terms)))
                break
        flat: dict[Node, int] = {}
        for c, n in terms:  # one level of flattening keeps affine expressions of one column recognisable
            if not isinstance(n, g.Combine):
                n = n if n.shape == full else self.broadcast(n, full[1:], full[0])
                flat[n] = flat[n] + c if n in flat else c
                continue
            const += c * n.const
            for k, m in zip(n.coefficients, n.inputs, strict=True):
                m = m if m.shape == full else self.broadcast(m, full[1:], full[0])
                flat[m] = flat[m] + c * k if m in flat else c * k
        self.account.spend(PER_SUMMAND * len(flat), "sums")
        lo = hi = const
        for n, k in flat.items():
            if k > 0:
                lo, hi = lo + k * n.lo, hi + k * n.hi
            elif k < 0:
                lo, hi = lo + k * n.hi, hi + k * n.lo
        if 0 in flat.values():
            flat = {n: k for n, k in flat.items() if k}
        nodes, coefficients = tuple(flat), tuple(flat.values())
        if coefficients == (1,) and const == 0:
            return nodes[0]
        return g.Combine(*self.new(full, (lo, hi)), nodes, coefficients=coefficients, const=const)

    def broadcast(self, n: Node, shape: Sequence[int], executions: int | None = None) -> Node:
        """``n`` at a broadcast shape (and number of executions)."""
        target = (n.executions if executions is None else executions, *shape)
        if n.shape == target:
            return n
        lead = len(target) - len(n.shape)
        if lead:
            n = self.reshape(n, (1,) * lead + n.shape[1:])
        return n if n.shape == target else g.Broadcast(*self.new(target, n.interval), (n,))

    def reshape(self, n: Node, shape: Sequence[int]) -> Node:
        """The entries of ``n`` in another shape, in the same order; the execution axis stays."""
        target = (n.executions, *shape)
        return n if n.shape == target else g.Reshape(*self.new(target, n.interval), (n,))

    def transpose(self, n: Node, perm: Sequence[int]) -> Node:
        """The tensor axes of ``n`` in the order ``perm``; the execution axis stays first."""
        full = (0, *(p + 1 for p in perm))
        if full == tuple(range(len(full))):
            return n
        return g.Transpose(*self.new([n.shape[p] for p in full], n.interval), (n,), perm=full)

    def sum(self, n: Node, axes: Sequence[int]) -> Node:
        """Sum over tensor axes, which keep length 1."""
        full = tuple(sorted(a + 1 for a in axes))
        count = math.prod(n.shape[a] for a in full)
        shape = [1 if i in full else d for i, d in enumerate(n.shape)]
        if count == 1:
            return n
        return g.Sum(*self.new(shape, (n.lo * count, n.hi * count)), (n,), axes=full)

    def concat(self, nodes: Sequence[Node], axis: int) -> Node:
        """``nodes`` joined along a tensor axis; public ones of one execution stand in every execution."""
        e = max(n.executions for n in nodes)
        return self.stacked([self.broadcast(n, n.shape[1:], e) for n in nodes], axis + 1)

    def stacked(self, nodes: Sequence[Node], axis: int) -> Node:
        """``nodes`` joined along an axis; 0 is the execution axis."""
        shape = list(nodes[0].shape)
        shape[axis] = sum(n.shape[axis] for n in nodes)
        interval = min(n.lo for n in nodes), max(n.hi for n in nodes)
        return g.Concat(*self.new(shape, interval), tuple(nodes), axis=axis)

    def pick(self, n: Node, axis: int, index: Sequence[int] | I64) -> Node:
        """``out[..., j, ...] = n[..., index[j], ...]`` along a tensor axis; -1 gives zero."""
        ix = np.asarray(index, dtype=np.int64)
        if len(ix) == n.shape[axis + 1] and (ix == np.arange(len(ix))).all():
            return n
        return self.index_map(n, (axis + 1,), (axis + 1,), ix)

    def index_map(self, n: Node, in_axes: Sequence[int], out_axes: Sequence[int], index: I64 | Progression) -> Node:
        """See ``graph.IndexMap``. Axes here count the execution axis as 0."""
        rest = [d for i, d in enumerate(n.shape) if i not in in_axes]
        shape: list[int] = [0] * (len(rest) + len(out_axes))
        for a, d in zip(out_axes, index.shape, strict=True):
            shape[a] = d
        it = iter(rest)
        shape = [next(it) if i not in out_axes else d for i, d in enumerate(shape)]
        self.account.spend(index.size, "index maps")
        if isinstance(index, Progression):
            zero = index.interval[0] < 0
            where = index if index.size >= LONG else np.asarray(index, np.int32)
        else:
            zero = bool((index < 0).any())
            where = index.astype(np.int32)  # positions are below 2^28
        interval = (min(n.lo, 0), max(n.hi, 0)) if zero else n.interval
        new = self.new(shape, interval)
        return g.IndexMap(*new, (n,), in_axes=tuple(in_axes), out_axes=tuple(out_axes), where=where)

    def constant(self, values: I64) -> Node:
        """A public tensor with these values (tensor axes only)."""
        return self.stacked_constant(np.asarray(values, dtype=np.int64)[None])

    # ---- products ------------------------------------------------------------------------------------------------

    def product(
        self,
        a: Node,
        b: Node,
        labels_a: Sequence[int],
        labels_b: Sequence[int],
        labels_out: Sequence[int],
        interval: Interval | None = None,
    ) -> Node:
        """An einsum of two operands; labels (>= 0) of the tensor axes. ``interval`` may be tighter than the generic
        bound if it follows from enforced facts (L1 bounds of a param)."""
        if a.executions > 1 and b.executions > 1 and a.executions != b.executions:
            raise ConstraintError("operands run a different number of times")
        a, b = self.operand(a), self.operand(b)
        la, lb, lo = (tuple([0, *(x + 1 for x in ls)]) for ls in (labels_a, labels_b, labels_out))
        dims: dict[int, int] = {}
        for labels, n in ((la, a), (lb, b)):
            for x, d in zip(labels, n.shape, strict=True):
                dims[x] = max(dims.get(x, 1), d)
        count = math.prod(d for x, d in dims.items() if x not in lo)
        each = multiplied(a.interval, b.interval)
        bound = interval or (each[0] * count, each[1] * count)
        new = self.new([dims[x] for x in lo], bound)
        return g.Product(*new, (a, b), labels_a=la, labels_b=lb, labels_out=lo)

    def mul(self, a: Node, b: Node) -> Node:
        """Elementwise product with broadcasting."""
        shape = broadcast_shapes(a.shape[1:], b.shape[1:])
        rank = len(shape)
        a, b = (self.reshape(n, (1,) * (rank + 1 - len(n.shape)) + n.shape[1:]) for n in (a, b))
        labels = range(rank)
        return self.product(a, b, labels, labels, labels)

    def commit(self, n: Node) -> Committed:
        """``n`` becomes a column in its own shape, pinned by its own equation; claims on ``n`` go to the column."""
        self.origin = n.origin
        raw = copy(n)
        raw.id = self.new(n.shape, n.interval)[1]
        n.committed_as = self.define("value", raw)
        return n.committed_as

    def operand(self, n: Node) -> Node:
        """``n`` if it holds no product, else a column defined by it, one for all its readers (products have one
        level)."""
        if not n.has_product:
            return n
        if n not in self._materialised:
            self._materialised[n] = self.define("product", n)
        return self._materialised[n]

    # ---- columns and what pins them ------------------------------------------------------------------------------

    def column(self, label: str, shape: Sequence[int], hint: Hint, interval: Interval, executions: int) -> Committed:
        """A new column that the caller pins to ``interval`` by a lookup that contains it."""
        c = Committed(*self.new((executions, *shape), interval), (), label, hint=hint)
        self.account.worked(c.size)
        self.system.columns.append(c)
        return c

    def ranged(self, label: str, like: Node, hint: Hint, lo: int, bits: int) -> Committed:
        """A new column of the shape of ``like`` with values in ``[lo, lo + 2^bits)``."""
        c = self.column(label, like.shape[1:], hint, (lo, lo + 2**bits - 1), like.executions)
        self.range(c - lo, bits, label)
        return c

    def boolean(self, label: str, like: Node, hint: Hint) -> Committed:
        """A column of zeros and ones of the shape of ``like``."""
        return self.ranged(label, like, hint, 0, 1)

    def bit(self, label: str, like: Node, hint: Hint) -> Committed:
        """A column of zeros and ones like ``boolean``, pinned by ``c * c = c``: a product in place of a lookup."""
        c = self.column(label, like.shape[1:], hint, (0, 1), like.executions)
        self.zero(self.mul(c, c) - c, f"{label} is a bit")
        self.pin(c, (0, 1))
        return c

    def define(self, label: str, expression: Node) -> Committed:
        """A new column equal to ``expression``, pinned by an equation."""
        c = self.column(
            label, expression.shape[1:], lambda v: v(expression), expression.interval, expression.executions
        )
        c.defined_by = expression
        self.zero(c - expression, f"{label} definition")
        return c

    def result(self, interval: Interval) -> Committed:
        """The column of this instruction's result; the caller pins it to ``interval``.

        Its values are the trace's. In a loop it may already be read by earlier instructions.
        """
        t = self.system.types.results[self.origin]
        assert t is not None
        forward = self.forward.get(self.origin)
        if forward is not None:
            return forward
        c = Committed(*self.new((self.executions, *t.shape), interval), (), "result")
        self.system.columns.append(c)
        return c

    @property
    def executions(self) -> int:
        """How often the current instruction runs."""
        return self.system.flow.executions[self.origin]

    @property
    def counters(self) -> dict[str, Progression]:
        """Loop counters by name, at each execution of the current instruction."""
        return self.system.flow.counters[self.origin]

    # ---- constraints ---------------------------------------------------------------------------------------------

    def zero(self, expression: Node, label: str) -> None:
        """Every entry of ``expression`` is zero."""
        self.system.equations.append(Equation(expression, self.origin, label))

    def lookup(self, table: Table, members: Sequence[Node], label: str) -> None:
        """The members, entry by entry, form rows of ``table``. Members broadcast to one shape."""
        shape = broadcast_shapes(*(m.shape[1:] for m in members))
        e = max(m.executions for m in members)
        wide = tuple(self.broadcast(m, shape, e) for m in members)
        self.system.lookups.append(Lookup(table, wide, self.origin, label))

    def range(self, x: Node, bits: int, label: str) -> None:
        """``0 <= x < 2^bits``. Lookups are made by ``finish``, when the width of limbs is known (``isa.ranges``)."""
        if bits == 0:
            self.zero(x, label)
        else:
            self._checks.append(Check(x, bits, label, self.origin))
        if (pin := _shifted_column(x)) is not None:
            self.pin(pin[0], (-pin[1], 2**bits - 1 - pin[1]))

    def interval(self, x: Node, lo: int, hi: int, label: str) -> None:
        """``lo <= x <= hi``: one range if the width is a power of two, two otherwise."""
        bits = unsigned_bits(hi - lo) if hi > lo else 0
        self.range(x - lo, bits, label)
        if hi - lo + 1 != 2**bits:
            self.range(hi - x, bits, f"{label} upper")
            if (pin := _shifted_column(x)) is not None:
                self.pin(pin[0], (lo - pin[1], hi - pin[1]))

    # ---- branches, tables and the statement --------------------------------------------------------------------------

    def branch(self, condition: Node) -> None:
        """The condition of a branch is its public bit at every execution."""
        bits = np.array(self.system.flow.path.bits.get(self.origin, ()), dtype=np.int64)
        shape = (len(bits), *[1] * (len(condition.shape) - 1))
        self.zero(condition - self.stacked_constant(bits.reshape(shape)), "branch")

    def lut_table(self, lut: Lut) -> Table:
        """The lookup table of a program's table: arguments and values; one for all its uses."""
        if lut.name not in self._luts:
            x = g.arguments(lut.lo, len(lut.array))
            self._luts[lut.name] = self.table(f"lut {lut.name}", (x, lut.array))
        return self._luts[lut.name]

    def table(self, name: str, columns: Sequence[I64]) -> Table:
        """A table with these columns, padded to a power of two by repeating its last row."""
        rows = len(columns[0])
        log_size = max(0, (rows - 1).bit_length())
        more = 2**log_size - rows
        padded = tuple(np.concatenate([c, np.full(more, c[-1], np.int64)]) if more else c for c in columns)
        known = columns[0] is g.arguments(int(columns[0][0]), rows)  # of these the ends are
        bounds = tuple(
            (int(c[0]), int(c[-1])) if known and c is columns[0] else (int(c.min()), int(c.max())) for c in columns
        )
        table = Table(name, log_size, bounds, padded)
        return self._tables.setdefault(table, table)

    def reveal(self, n: Node) -> None:
        """``n`` becomes part of the statement."""
        t = Public(*self.new(n.shape, n.interval), (), source="reveal", name=f"reveal@{self.origin}")
        self.system.reveals.append((self.origin, t))
        self.system.publics.append(t)
        self.zero(n - t, "reveal")

    def narrowed(self, node: Node, t: TensorType) -> Node:
        """``node`` with the interval cut to that of ``t``, which other constraints imply."""
        return self.cut(node, t.lo, t.hi)

    def cut(self, node: Node, lo: int, hi: int) -> Node:
        """``node`` with its interval cut to ``[lo, hi]``, which other constraints imply."""
        lo, hi = max(node.lo, lo), min(node.hi, hi)
        if (lo, hi) == node.interval:
            return node
        return g.Reshape(*self.new(node.shape, (lo, hi)), (node,))

    def finish(self) -> None:
        """Turn range checks into lookups, but those that a table lookup implies; refuse columns that nothing pins."""
        s = self.system
        tabled: dict[Committed, list[Interval]] = {}
        for lk in s.lookups:
            for member, bounds in zip(lk.members, lk.table.bounds, strict=True):
                if (pin := _shifted_column(member)) is not None:
                    tabled.setdefault(pin[0], []).append((bounds[0] - pin[1], bounds[1] - pin[1]))
        for c, intervals in tabled.items():
            for interval in intervals:
                self.pin(c, interval)
        checks = [c for c in self._checks if not _implied(c, tabled)]
        widths = limbs_for((leaves(c.x), c.bits) for c in checks)
        for check in checks:
            self._limbs(check, widths)
        for c in s.columns:
            if c.defined_by is not None:
                continue
            lo, hi = self._pins.get(c, (-(2**64), 2**64))
            if lo < c.lo or hi > c.hi:
                raise ConstraintError(f"column '{c.label}' of instruction {c.origin} is not pinned to [{c.lo}, {c.hi}]")

    def _limbs(self, check: Check, widths: Limbs) -> None:
        """The lookups of one check: upper limbs are columns, the lowest is the linear rest, the top limb has the exact
        remaining width."""
        self.origin = check.origin
        low, w = check.x, widths.width
        for i in range(1, -(-check.bits // w)):
            width = min(w, check.bits - w * i)
            bounds = 0, 2**width - 1
            limb = self.column(
                f"{check.label} limb {i}", low.shape[1:], _bits_of(check.x, w * i, w), bounds, low.executions
            )
            self._limb(limb, width, limb.label, widths)
            self.pin(limb, limb.interval)
            low = low - limb * 2 ** (w * i)
        several = check.bits > w
        self._limb(low, min(w, check.bits), f"{check.label} limb 0" if several else check.label, widths)

    def _limb(self, x: Node, bits: int, label: str, widths: Limbs) -> None:
        """``x`` is a limb of ``bits`` bits: one lookup in its table, or two in the common one."""
        if widths.tabled(bits):
            self.lookup(range_table(bits), (x,), label)
            return
        w = widths.width
        self.lookup(range_table(w), (x,), label)
        self.lookup(range_table(w), (self.cut(x, 0, 2**w - 1) * 2 ** (w - bits),), f"{label} below 2^{bits}")

    def pin(self, c: Committed, interval: Interval) -> None:
        """The caller's constraints imply that ``c`` lies in ``interval``."""
        lo, hi = self._pins.get(c, interval)
        self._pins[c] = max(lo, interval[0]), min(hi, interval[1])

    def stacked_constant(self, values: I64) -> Node:
        """A public tensor with these values, execution axis included."""
        new = self.new(values.shape, (int(values.min()), int(values.max())))
        return Public(*new, (), source="const", known=values)

    def per_execution(self, values: Progression, rank: int = 1) -> Node:
        """A public tensor of this rank that holds one value per execution."""
        shape = (values.size, *[1] * (rank - 1))
        if values.size < LONG:
            return self.stacked_constant(np.asarray(values).reshape(shape))
        return Public(*self.new(shape, values.interval), (), source="const", known=values)

    def new(self, shape: Sequence[int], interval: Interval) -> tuple[Builder, int, tuple[int, ...], int, int, int]:
        """The first fields of a node: id, shape, interval and origin, within the rule of integers."""
        lo, hi = interval
        if lo < -g.LIMIT or hi > g.LIMIT:
            span = self.system.program.code[self.origin].span if self.origin >= 0 else None
            raise ConstraintError(
                f"an intermediate value could reach {max(-lo, hi)}, where field equations stop being integer equations",
                span=span,
                help="narrow an operand first with rescale, clamp or cast",
            )
        if math.prod(shape) > MAX_ENTRIES:
            raise ConstraintError(f"a tensor of shape {tuple(shape)} has more than 2^28 entries", code="C110")
        system = self.system
        system.nodes += 1
        self.account.spend(PER_NODE, "constraints")
        self.account.owe(PER_TERM, "claims")  # at least one will come to it
        return self, system.nodes, tuple(shape), lo, hi, self.origin


def _bits_of(x: Node, first: int, count: int) -> Hint:
    def hint(v: Values) -> I64:
        out: I64 = (v(x) >> first) & (2**count - 1)
        return out

    return hint


def _implied(check: Check, tabled: Mapping[Committed, Sequence[Interval]]) -> bool:
    """Whether a table that holds the column itself allows no more than the check does."""
    pin = _shifted_column(check.x)
    return pin is not None and any(
        -pin[1] <= lo and hi <= 2**check.bits - 1 - pin[1] for lo, hi in tabled.get(pin[0], ())
    )


def _shifted_column(x: Node) -> tuple[Committed, int] | None:
    """``(column, constant)`` if ``x = column + constant``, whatever intervals are claimed on the way."""
    const = 0
    while not isinstance(x, Committed):
        if isinstance(x, g.Combine) and x.coefficients == (1,):
            const += x.const
        elif not (isinstance(x, g.Reshape) and x.shape == x.inputs[0].shape):  # what ``narrowed`` makes
            return None
        x = x.inputs[0]
    return x, const
