"""Constraint gadgets that several families share: exact zero products, signs, the larger of two values, order by
one-hot choice. Sizes are counted per entry, L being the number of limbs of the differences (``isa.ranges``)."""

from __future__ import annotations

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.builder import Builder
from syurmy.isa.graph import Committed, Node, Values
from syurmy.isa.instruction import broadcast_shapes
from syurmy.isa.types import Interval, TensorType, signed_bits, unsigned_bits

ONE_LIMB = 16  # bits of a difference up to which the form for one limb is taken


def hull(interval: Interval) -> Interval:
    """The smallest ``[0, 2^k)`` or ``[-2^(k-1), 2^(k-1))`` around an interval: one range lookup pins it."""
    if interval[0] >= 0:
        return 0, 2 ** unsigned_bits(interval[1]) - 1
    half = 2 ** (signed_bits(*interval) - 1)
    return -half, half - 1


def operand_types(b: Builder) -> tuple[TensorType, ...]:
    """Types at the reads of the current instruction."""
    return b.system.types.operands[b.origin]


def result_interval(b: Builder) -> Interval:
    """The interval that the typing rule gives the current instruction's result."""
    t = b.system.types.results[b.origin]
    assert t is not None
    return t.interval


def typed(b: Builder, n: Node) -> Node:
    """``n`` in the interval of the current instruction's type: what to return where a column of its own lies in less
    than its own interval, since another constraint of the instruction narrows it."""
    t = b.system.types.results[b.origin]
    assert t is not None
    return b.narrowed(n, t)


def zero_product(b: Builder, x: Node, y: Node, label: str) -> None:
    """``x * y = 0`` entry by entry. A field has no zero divisors and each factor is an integer below p, so one of them
    is zero over the integers, however large the product of their bounds."""
    shape = broadcast_shapes(x.shape[1:], y.shape[1:])
    x, y = (b.reshape(n, (1,) * (len(shape) + 1 - len(n.shape)) + n.shape[1:]) for n in (x, y))
    labels = range(len(shape))
    b.zero(b.product(x, y, labels, labels, labels, interval=(0, 0)), label)


def negative(b: Builder, d: Node, label: str) -> Committed:
    """The 0/1 column ``d < 0``: d + c*2^k lies in [0, 2^k) with 2^k > |d| (protocol section 3)."""
    bits = unsigned_bits(max(-d.lo, d.hi, 1))
    c = b.boolean(label, d, lambda v: (v(d) < 0).astype(np.int64))
    b.range(d + c * 2**bits, bits, f"{label} difference")
    return c


def extremum(b: Builder, x: Node, y: Node | int, sign: int, label: str, result: bool = False) -> Node:
    """The larger (``sign`` 1) or smaller (-1) of two values; ``result``: as the instruction's result.

    One limb: a column m with m - x >= 0, m - y >= 0, (m - x)*(m - y) = 0: 2 leaves and 1 committed entry.
    More: m = x + [x < y]*(y - x): 1 + L leaves and L committed entries (one more unless it is the result, which stays
    virtual), where the first form takes 2L and 2L - 1.
    """
    x = b.operand(x)
    y = b.operand(y) if isinstance(y, Node) else y
    y_lo, y_hi = y.interval if isinstance(y, Node) else (y, y)
    d = x - y
    if (d.lo if sign > 0 else -d.hi) >= 0:
        return b.broadcast(x, d.shape[1:])
    if (d.hi if sign > 0 else -d.lo) <= 0:
        y = y if isinstance(y, Node) else b.constant(np.full([1] * (len(d.shape) - 1), y))
        return b.broadcast(y, d.shape[1:])
    choose, best = (np.maximum, max) if sign > 0 else (np.minimum, min)
    above_x, above_y = (-d.lo, d.hi) if sign > 0 else (d.hi, -d.lo)  # how far m can lie from x and from y
    narrow = max(above_x, above_y) < 2**ONE_LIMB
    if result and not narrow:
        return x - b.mul(negative(b, d * sign, label), d)
    if result:
        m = b.result(result_interval(b))
    else:
        bounds = best(x.lo, y_lo), best(x.hi, y_hi)
        wide = b.broadcast(x, d.shape[1:])
        m = b.column(label, d.shape[1:], lambda v: choose(v(wide), v(wide) - v(d)), bounds, d.executions)
    if narrow:
        b.range((m - x) * sign, unsigned_bits(above_x), f"{label} against first")
        b.range((m - y) * sign, unsigned_bits(above_y), f"{label} against second")
        zero_product(b, m - x, m - y, f"{label} is one of both")
        b.pin(m, m.interval)  # m equals x or y, and is not below the other
    else:
        m.defined_by = x - b.mul(negative(b, d * sign, label), d)
        b.zero(m - m.defined_by, f"{label} definition")
    return m


def best_of(b: Builder, x: Node, axis: int, sign: int) -> tuple[Node, Node]:
    """Along one axis (length n >= 2) the extreme value, and 0/1 marks of the entries before its first occurrence.

    The n - 1 marks u are 1, ..., 1, 0, ..., 0. Looking up their n falling steps s = (1, u) - (u, 0) in {0, 1} makes u
    monotone and s one-hot, with no equation. Then m = sum s*x, and sign*(m - x) - u >= 0 says that nothing is better
    and that nothing before is equal, so that u is unique. n(1 + L) leaves and n*L - 1 committed entries.
    """
    x = b.operand(x)
    shape = x.shape[1:]
    n = shape[axis]

    def first(v: Values) -> I64:
        values = v(x)
        at = np.expand_dims((values * sign).argmax(axis=axis + 1), axis + 1)
        places = np.arange(n - 1).reshape([-1 if a == axis + 1 else 1 for a in range(values.ndim)])
        return (places < at).astype(np.int64)

    u = b.column("before", [d - (a == axis) for a, d in enumerate(shape)], first, (0, 1), x.executions)
    start = np.zeros([d if a == axis else 1 for a, d in enumerate(shape)], np.int64)
    start.reshape(-1)[0] = 1
    before = b.pick(u, axis, [*range(n - 1), -1])
    step = b.pick(u, axis, [-1, *range(n - 1)]) - before + b.constant(start)
    b.range(step, 1, "chosen")
    b.pin(u, (0, 1))  # u[j] is 1 minus the sum of the steps up to j, and all steps sum to 1
    labels = range(len(shape))
    m = b.product(step, x, labels, labels, [a for a in labels if a != axis], interval=x.interval)
    m = b.reshape(m, [1 if a == axis else d for a, d in enumerate(shape)])
    b.range((m - x) * sign - before, unsigned_bits(x.hi - x.lo), "nothing better")
    return m, u
