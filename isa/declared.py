"""The constraint system of a key certificate: committed params are what a program declares them to be.

Of every committed param w, entry by entry, and for every recorded bound sum |w| <= B over axes:

    w in [lo, hi];    a >= |w|, sum a <= B    with a column a of the shape of w.

Where there are at least as many entries as the interval has values, (w, a) is looked up in a table of all pairs
(w, |w|), or w alone; else w - lo, hi - w, a - w and a + w have range checks. Each of these lookups contains w itself at
the common point: the prover's claims are evaluations of the whole param, and a padded entry that is not zero takes the
place of a padded leaf, so the lookups do not balance. Nothing here relies on what it proves: the constraints are linear
in w, and every check says of an element of F that it is an integer of a range.
"""

from __future__ import annotations

import math

import numpy as np

from syurmy.isa import graph as g
from syurmy.isa.arrays import I64
from syurmy.isa.builder import Builder
from syurmy.isa.errors import ConstraintError
from syurmy.isa.graph import Node, ParamTensor, Values
from syurmy.isa.program import Instruction, Param, Program
from syurmy.isa.system import started
from syurmy.isa.types import padded, unsigned_bits
from syurmy.isa.wellformed import MAX_TABLE


def params_alone(program: Program) -> Program:
    """The committed params of a program, with nothing that reads them."""
    committed = tuple(p for p in program.params if p.committed)
    data = {p.name: program.data[p.name] for p in committed if p.name in program.data}
    return Program(program.name, (), committed, (), (), (Instruction("halt", None, ()),), data)


def assemble_declared(program: Program) -> Builder:
    """The builder of the system above. Raises ``ConstraintError`` C113 where a bound is too large to be proven."""
    b = started(params_alone(program))
    for p in b.system.program.params:
        node = ParamTensor(*b.new((1, *p.type.shape), p.type.interval), (), p.name, name=p.name, l1=p.l1)
        b.system.params[p.name] = node
        b.account.worked(node.size)
        _declared(b, p, node)
    b.finish()
    return b


def _declared(b: Builder, p: Param, w: ParamTensor) -> None:
    peak = max(abs(w.lo), abs(w.hi))
    counted = [(axes, bound, math.prod(p.type.shape[a] for a in axes)) for axes, bound in p.l1]
    sums = [(axes, bound, count) for axes, bound, count in counted if peak * count > bound]  # others are implied
    if any(8 * peak * count > g.LIMIT for _, _, count in sums):  # a magnitude may be said to be five times the peak
        raise ConstraintError(f"sums of |{p.name}| could leave the integers of a proof", code="C113")
    values = w.hi - w.lo + 1
    tabled = padded(values) <= min(math.prod(map(padded, p.type.shape)), MAX_TABLE)
    if tabled:
        magnitudes = _tabled(b, w, bool(sums))
    else:
        b.interval(w, w.lo, w.hi, f"param {w.name}")
        magnitudes = _ranged(b, w) if sums else w
    for axes, bound, _ in sums:
        total = b.sum(magnitudes, axes)
        b.range(bound - total, unsigned_bits(bound), f"L1 bound of {w.name}")


def _tabled(b: Builder, w: ParamTensor, magnitudes: bool) -> Node:
    """w in a table of its interval, with |w| where that is wanted."""
    b.account.spend(2 * padded(w.hi - w.lo + 1), "tables")
    values = np.arange(w.lo, w.hi + 1, dtype=np.int64)
    name = f"param [{w.lo}, {w.hi}]"
    if not magnitudes:
        b.lookup(b.table(name, (values,)), (w,), f"param {w.name}")
        return w
    a = b.column(f"|{w.name}|", w.shape[1:], _magnitude(w), (0, max(abs(w.lo), abs(w.hi))), 1)
    b.lookup(b.table(f"{name} and |.|", (values, np.abs(values))), (w, a), f"param {w.name}")
    return a


def _ranged(b: Builder, w: ParamTensor) -> Node:
    """A column that is at least |w|, by two range checks."""
    below, above = unsigned_bits(max(-2 * w.lo, 0)), unsigned_bits(max(2 * w.hi, 0))
    a = b.column(f"|{w.name}|", w.shape[1:], _magnitude(w), (0, w.hi + 2**below - 1), 1)
    b.range(a - w, below, f"magnitude of {w.name} below")
    b.range(a + w, above, f"magnitude of {w.name} above")
    b.pin(a, a.interval)  # at least |w|; at most w + 2^below - 1
    return a


def _magnitude(w: Node) -> g.Hint:
    def hint(v: Values) -> I64:
        return np.abs(v(w))

    return hint
