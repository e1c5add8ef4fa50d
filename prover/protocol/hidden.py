"""Messages under one-time pads: what a verifier computes with where values are hidden (protocol section 9).

The prover sends x + a in place of x, with a pad a that is uniform in K, committed with the witness before any
challenge, and used once. To the verifier x is ``Hidden``: known part minus pad, an affine form in the pads. All
that it does with messages is linear but the products of two kinds: the four values of a layer of the lookup tree, and
the operands of a contraction. A pad of its own stands for each sum of products of pads, and ``sacrifice`` checks them.

A check of the clear protocol, "this is zero", is a *relation* here: a linear equation between the pads, which the
opening claims about the row that holds them. So the code of the verifier is the same in both modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field

from syurmy.isa.records import dataclass
from syurmy.prover.field import ONE, ZERO, Ext

Pairs = tuple[tuple[int, int], ...]

MINUS_ONE = -ONE  # the coefficient of a message's own pad, in most of them

TREE: tuple[Pairs, ...] = (((0, 3), (1, 2)), ((2, 3),))  # of p0, p1, q0, q1: p0*q1 + p1*q0 and q0*q1


class Hidden:
    """``known`` + sum over i of ``pads[i]`` * pad i. Mixes with ``Ext`` and integers; a product of two is an error, and
    it has no truth value, so that nothing is decided about it by mistake."""

    __slots__ = ("known", "pads")

    def __init__(self, known: Ext, pads: dict[int, Ext]) -> None:
        self.known = known
        self.pads = pads

    def __add__(self, o: Value | int) -> Hidden:
        if not isinstance(o, Hidden):
            return Hidden(self.known + o, self.pads)
        pads = dict(self.pads)
        for i, c in o.pads.items():
            pads[i] = pads[i] + c if i in pads else c
        return Hidden(self.known + o.known, pads)

    __radd__ = __add__

    def __neg__(self) -> Hidden:
        return Hidden(-self.known, {i: -c for i, c in self.pads.items()})

    def __sub__(self, o: Value | int) -> Hidden:
        return self + -o

    def __rsub__(self, o: Ext | int) -> Hidden:
        return -self + o

    def __mul__(self, o: Ext | int) -> Hidden:
        if isinstance(o, Hidden):
            raise TypeError("a product of hidden values has no affine form")
        return Hidden(self.known * o, {i: c * o for i, c in self.pads.items()})

    __rmul__ = __mul__

    def __bool__(self) -> bool:
        raise TypeError("a hidden value has no truth value")

    def __eq__(self, o: object) -> bool:
        raise TypeError("a hidden value cannot be compared")

    __hash__ = None  # type: ignore[assignment]


Value = Ext | Hidden


def combination(parts: Iterable[tuple[Value, Ext]], start: Value = ZERO) -> Value:
    """``start`` plus the sum of value times factor, hidden where one of them is."""
    known, pads = (start.known, dict(start.pads)) if isinstance(start, Hidden) else (start, None)
    for value, factor in parts:
        if isinstance(value, Ext):
            known = known + value * factor
            continue
        known = known + value.known * factor
        pads = {} if pads is None else pads
        for i, c in value.pads.items():
            c = -factor if c is MINUS_ONE else c * factor
            pads[i] = pads[i] + c if i in pads else c
    return known if pads is None else Hidden(known, pads)


@dataclass(frozen=True)
class Group:
    """Messages that are multiplied: ``count`` pads from ``first``, then one pad for each of ``sums``, sums of products
    of two of them by position."""

    first: int
    count: int
    sums: tuple[Pairs, ...]

    @property
    def size(self) -> int:
        return self.count + len(self.sums)


@dataclass(frozen=True)
class Pads:
    """Numbers of the pads of one proof: those of messages and products in order of sending, then, group by group, the
    *shadows* of the groups' pads and products. Fixed by program and path alone."""

    messages: int
    groups: tuple[Group, ...]

    @property
    def shadows(self) -> tuple[Group, ...]:
        """The groups once more, with the numbers of their shadows."""
        out, at = [], self.messages
        for g in self.groups:
            out.append(Group(at, g.count, g.sums))
            at += g.size
        return tuple(out)

    @property
    def total(self) -> int:
        return self.messages + sum(g.size for g in self.groups)

    @property
    def sacrificed(self) -> int:
        """Elements that ``sacrifice`` reads."""
        return sum(g.count for g in self.groups)

    @property
    def relations(self) -> int:
        """Of the sacrifice: one per pad and one per product."""
        return sum(g.size for g in self.groups)


@dataclass
class Ledger:
    """What a reader of padded messages keeps: how many pads were used, the groups, and the relations so far."""

    used: int = 0
    groups: list[Group] = field(default_factory=list)
    relations: list[Hidden] = field(default_factory=list)

    def hide(self, sent: Sequence[Ext]) -> list[Hidden]:
        """Messages under the next pads."""
        first = self.used
        self.used += len(sent)
        return [Hidden(x, {first + i: MINUS_ONE}) for i, x in enumerate(sent)]

    def products(self, values: Sequence[Hidden], sums: tuple[Pairs, ...]) -> list[Hidden]:
        """Sums of products of ``values``, which are the last messages: (x - a)(y - b) = xy - xb - ya + ab, and the
        next pads stand for the sums of the ab."""
        first = self.used - len(values)
        if [v.pads for v in values] != [{first + i: MINUS_ONE} for i in range(len(values))]:
            raise ValueError("only the messages just read are multiplied")
        self.groups.append(Group(first, len(values), sums))
        out = []
        for pairs in sums:
            known, pads = ZERO, {self.used: ONE}
            self.used += 1
            for i, j in pairs:
                x, y = values[i].known, values[j].known
                known = known + x * y
                for pad, c in ((first + i, -y), (first + j, -x)):
                    pads[pad] = pads[pad] + c if pad in pads else c
            out.append(Hidden(known, pads))
        return out


def product_sums(values: Sequence[Ext], sums: Sequence[Pairs]) -> list[Ext]:
    """The sums of products themselves."""
    return [sum((values[i] * values[j] for i, j in pairs), ZERO) for pairs in sums]


def sacrifice(pads: Pads, e: Ext, sent: Sequence[Ext]) -> list[Hidden]:
    """Relations that hold only if every product pad is the sum of products that it stands for, but for 2/|K|.

    Per group with pads a_i and shadows b_i the prover sent u_i = e*a_i - b_i. Then e^2 * sum a_i a_j = sum (u_i + b_i)
    (u_j + b_j), so with pi = sum a_i a_j and pi' = sum b_i b_j the relation e^2*pi - pi' - sum (u_i b_j + u_j b_i + u_i
    u_j) = 0 holds; where pi or pi' is another number, its left side is a polynomial of degree 2 in e that is not zero.
    """
    out: list[Hidden] = []
    at, minus, square = 0, -e, e * e
    for group, shadow in zip(pads.groups, pads.shadows, strict=True):
        u = sent[at : at + group.count]
        at += group.count
        for i, x in enumerate(u):
            out.append(Hidden(x, {group.first + i: minus, shadow.first + i: ONE}))
        for k, pairs in enumerate(group.sums):
            known, of = ZERO, {group.first + group.count + k: square, shadow.first + group.count + k: MINUS_ONE}
            for i, j in pairs:
                known = known - u[i] * u[j]
                for pad, x in ((shadow.first + j, u[i]), (shadow.first + i, u[j])):
                    of[pad] = of[pad] - x if pad in of else -x
            out.append(Hidden(known, of))
    return out
