"""F = GF(p), p = 2^64 - 2^32 + 1, and K = F[u]/(u^2 - 7), in Python integers (protocol, sections 0 and 11.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

P = 2**64 - 2**32 + 1
HALF = (P + 1) // 2


class K:
    """``a + b*u``. Mixes with integers; operands of other kinds say themselves what a sum or a product is."""

    __slots__ = ("a", "b")

    def __init__(self, a: int, b: int = 0) -> None:
        self.a, self.b = a % P, b % P

    def __add__(self, o: Any) -> K:
        if isinstance(o, int):
            return K(self.a + o, self.b)
        return K(self.a + o.a, self.b + o.b) if isinstance(o, K) else NotImplemented

    __radd__ = __add__

    def __neg__(self) -> K:
        return K(-self.a, -self.b)

    def __sub__(self, o: Any) -> K:
        if isinstance(o, int):
            return K(self.a - o, self.b)
        return K(self.a - o.a, self.b - o.b) if isinstance(o, K) else NotImplemented

    def __rsub__(self, o: int) -> K:
        return K(o - self.a, -self.b)

    def __mul__(self, o: Any) -> K:
        if isinstance(o, K):
            return K(self.a * o.a + 7 * self.b * o.b, self.a * o.b + self.b * o.a)
        return K(self.a * o, self.b * o) if isinstance(o, int) else NotImplemented

    __rmul__ = __mul__

    def __eq__(self, o: object) -> bool:
        return isinstance(o, K) and (self.a, self.b) == (o.a, o.b)

    def __hash__(self) -> int:
        return hash((self.a, self.b))

    def __repr__(self) -> str:
        return f"K({self.a}, {self.b})"


ZERO, ONE, U = K(0), K(1), K(0, 1)


def total(values: Sequence[K]) -> K:
    """The sum."""
    return K(sum(x.a for x in values), sum(x.b for x in values))


def inner(a: Sequence[K], b: Sequence[K]) -> K:
    """sum a[i]*b[i]."""
    pairs = list(zip(a, b, strict=True))
    return K(sum(x.a * y.a + 7 * x.b * y.b for x, y in pairs), sum(x.a * y.b + x.b * y.a for x, y in pairs))


def eq(x: Sequence[K], y: Sequence[K]) -> K:
    """product of x_i*y_i + (1 - x_i)*(1 - y_i)."""
    out = ONE
    for s, t in zip(x, y, strict=True):
        out = out * (s * t + (1 - s) * (1 - t))
    return out


def eq_at(x: Sequence[K], index: int) -> K:
    """eq of a point and the bits of an integer, the most significant first."""
    out = ONE
    for i, s in enumerate(x):
        out = out * (s if index >> (len(x) - 1 - i) & 1 else 1 - s)
    return out


def eq_vector(x: Sequence[K]) -> list[K]:
    """eq(x, i) for all i < 2^len(x)."""
    out = [ONE]
    for s in x:
        out = [w for v in out for w in (v - v * s, v * s)]
    return out


def powers(x: K, count: int) -> list[K]:
    """1, x, ..., x^(count - 1)."""
    out = [ONE]
    while len(out) < count:
        out.append(out[-1] * x)
    return out[:count]


def log2_ceil(n: int) -> int:
    """The least k with 2^k >= n."""
    return (n - 1).bit_length()


def code_point(log_n: int, position: int) -> int:
    """x_q = omega_n^bitrev(q), omega_n = 7^((p - 1)/n)."""
    reversed_position = int(format(position, f"0{log_n}b")[::-1], 2) if log_n else 0
    return pow(pow(7, (P - 1) >> log_n, P), reversed_position, P)
