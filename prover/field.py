"""Goldilocks F = GF(p), p = 2^64 - 2^32 + 1, and K = F[u]/(u^2 - 7) as Python scalars; arrays over K.

Scalars carry the protocol logic (a few thousand operations per proof). Arrays over F are canonical ``uint64[...]``;
arrays over K are ``uint64[2, ...]``, plane 0 the coefficients of 1 and plane 1 those of u.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from syurmy.isa.arrays import I64

P = 2**64 - 2**32 + 1
NON_RESIDUE = 7
GENERATOR = 7  # of F*
TWO_ADICITY = 32
FIELD_BITS = 64
EXT_BITS = 127.99  # log2 |K|, rounded down

U64 = npt.NDArray[np.uint64]
_new = object.__new__


class Ext:
    """Element ``a + b*u`` of K, canonical. Immutable; mixes with Python integers (a result of
    ``NotImplemented`` lets other operands, protocol/hidden.py, say what they are)."""

    __slots__ = ("a", "b")

    a: int
    b: int

    def __init__(self, a: int, b: int = 0) -> None:
        self.a = a % P
        self.b = b % P

    @staticmethod
    def of(x: Ext | int) -> Ext:
        return x if isinstance(x, Ext) else Ext(x)

    def __add__(self, o: Ext | int) -> Ext:
        if isinstance(o, Ext):
            out = _new(Ext)
            out.a, out.b = (self.a + o.a) % P, (self.b + o.b) % P
            return out
        return Ext(self.a + o, self.b) if isinstance(o, int) else NotImplemented

    __radd__ = __add__

    def __sub__(self, o: Ext | int) -> Ext:
        if isinstance(o, Ext):
            return Ext(self.a - o.a, self.b - o.b)
        return Ext(self.a - o, self.b) if isinstance(o, int) else NotImplemented

    def __rsub__(self, o: int) -> Ext:
        return Ext(o - self.a, -self.b)

    def __neg__(self) -> Ext:
        return Ext(-self.a, -self.b)

    def __mul__(self, o: Ext | int) -> Ext:
        if isinstance(o, Ext):
            a, b, c, d = self.a, self.b, o.a, o.b
            out = _new(Ext)  # a third faster than by its constructor
            out.a, out.b = (a * c + NON_RESIDUE * b * d) % P, (a * d + b * c) % P
            return out
        return Ext(self.a * o, self.b * o) if isinstance(o, int) else NotImplemented

    __rmul__ = __mul__

    def inverse(self) -> Ext:
        """Multiplicative inverse; ``ZeroDivisionError`` for zero."""
        norm = (self.a * self.a - NON_RESIDUE * self.b * self.b) % P
        if norm == 0:
            raise ZeroDivisionError("inverse of zero in K")
        i = pow(norm, P - 2, P)
        return Ext(self.a * i, -self.b * i)

    def __pow__(self, e: int) -> Ext:
        r, x = Ext(1), self
        while e:
            if e & 1:
                r = r * x
            x = x * x
            e >>= 1
        return r

    def __eq__(self, o: object) -> bool:
        if isinstance(o, int):
            return self.b == 0 and self.a == o % P
        return isinstance(o, Ext) and self.a == o.a and self.b == o.b

    def __hash__(self) -> int:
        return hash((self.a, self.b))

    def __bool__(self) -> bool:
        return self.a != 0 or self.b != 0

    def __repr__(self) -> str:
        return f"Ext({self.a}, {self.b})"


class Point(tuple[Ext, ...]):
    """Elements of K whose hash is worked out once: what is known at a point is asked for often."""

    _hash: int | None = None

    @staticmethod
    def of(x: Sequence[Ext]) -> Point:
        return x if isinstance(x, Point) else Point(x)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = super().__hash__()
        return self._hash


ZERO = Ext(0)
ONE = Ext(1)


def eq_scalar(x: Sequence[Ext], y: Sequence[Ext]) -> Ext:
    """The equality polynomial: product of x_i*y_i + (1 - x_i)*(1 - y_i)."""
    out = ONE
    for a, b in zip(x, y, strict=True):
        ab = a * b
        out = out * (ab + ab + 1 - a - b)
    return out


def root_of_unity(log_n: int) -> int:
    """Primitive 2^log_n-th root of unity omega; ``ValueError`` above the two-adicity 32 of F*."""
    if not 0 <= log_n <= TWO_ADICITY:
        raise ValueError(f"F has no root of unity of order 2^{log_n}")
    return pow(GENERATOR, (P - 1) >> log_n, P)


def to_field(values: I64) -> U64:
    """Canonical field image of signed integers |v| < 2^63; same shape, ``uint64``."""
    v = np.ascontiguousarray(values, dtype=np.int64)
    out = v.view(np.uint64).copy()
    out[v < 0] -= np.uint64(2**32 - 1)  # 2^64 - |v|  ->  p - |v|
    return out


def from_field(x: int) -> int:
    """The signed integer in (-p/2, p/2) with this field image."""
    return x - P if x > P // 2 else x


def ext_array(values: Iterable[Ext | int]) -> U64:
    """``uint64[2, n]`` from scalars."""
    vs = [v if isinstance(v, Ext) else Ext(v) for v in values]
    return np.array([v.a for v in vs] + [v.b for v in vs], dtype=np.uint64).reshape(2, len(vs))


def ext_list(a: U64) -> list[Ext]:
    """Scalars of a ``uint64[2, n]`` array."""
    return [Ext(int(x), int(y)) for x, y in zip(a[0], a[1], strict=True)]


def eq_list(point: Sequence[Ext]) -> list[Ext]:
    """eq(point, i) for all i, one by one: for points so short that an array costs more."""
    values = [ONE]
    for r in point:
        values = [x for v, w in ((v, v * r) for v in values) for x in (v - w, w)]
    return values


def lift(a: U64) -> U64:
    """Base field array ``uint64[...]`` as an array over K, ``uint64[2, ...]``."""
    return np.stack([a, np.zeros_like(a)])


def log2_ceil(n: int) -> int:
    """Smallest k with 2^k >= n (n >= 1)."""
    return (n - 1).bit_length()
