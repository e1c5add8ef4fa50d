"""The base field F (integers below P), its extension K = F[u]/(u^2 - 7), and polynomials over them (section 0)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

P = 2**64 - 2**32 + 1
GENERATOR = 7  # of F*; a primitive n-th root of unity is GENERATOR^((P - 1)/n)


class K:
    """a + b u with canonical a, b. Immutable."""

    __slots__ = ("a", "b")

    def __init__(self, a: int, b: int = 0) -> None:
        self.a = a % P
        self.b = b % P

    def __add__(self, other: K) -> K:
        return K(self.a + other.a, self.b + other.b)

    def __sub__(self, other: K) -> K:
        return K(self.a - other.a, self.b - other.b)

    def __neg__(self) -> K:
        return K(-self.a, -self.b)

    def __mul__(self, other: K | int) -> K:
        if isinstance(other, int):
            return K(self.a * other, self.b * other)
        return K(self.a * other.a + 7 * self.b * other.b, self.a * other.b + self.b * other.a)

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> K:
        result, square = ONE, self
        while exponent:
            if exponent & 1:
                result = result * square
            square = square * square
            exponent >>= 1
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, K) and self.a == other.a and self.b == other.b

    def __hash__(self) -> int:
        return hash((self.a, self.b))

    def __bool__(self) -> bool:
        return bool(self.a or self.b)

    def __repr__(self) -> str:
        return f"{self.a}+{self.b}u"

    def to_bytes(self) -> bytes:
        return self.a.to_bytes(8, "little") + self.b.to_bytes(8, "little")


ZERO, ONE = K(0), K(1)
HALF = pow(2, -1, P)


def total(values: Iterable[K]) -> K:
    a = b = 0
    for v in values:
        a += v.a
        b += v.b
    return K(a, b)


def product(values: Iterable[K]) -> K:
    result = ONE
    for v in values:
        result = result * v
    return result


def inner(v: Iterable[K], w: Iterable[K]) -> K:
    """The inner product of two equally long sequences."""
    a = b = 0
    for x, y in zip(v, w, strict=True):
        a += x.a * y.a + 7 * x.b * y.b
        b += x.a * y.b + x.b * y.a
    return K(a, b)


def inner_integers(v: Iterable[K], w: Iterable[int]) -> K:
    """The same where the second holds integers."""
    a = b = 0
    for x, y in zip(v, w, strict=True):
        a += x.a * y
        b += x.b * y
    return K(a, b)


def powers(x: K, count: int) -> list[K]:
    """1, x, ..., x^(count - 1)."""
    out = [ONE][:count]
    while len(out) < count:
        out.append(out[-1] * x)
    return out


def eq(point: Sequence[K], length: int | None = None) -> list[K]:
    """The first ``length`` entries (None: all) of the table of eq(point, .), most significant variable first."""
    size = 1 << len(point)
    length = size if length is None else length
    table = [ONE][:length]
    for k, r in enumerate(point):
        needed = -(-length // (size >> (k + 1)))  # entries at this level that have descendants in the result
        wide: list[K] = []
        for x in table:
            high = x * r
            wide.append(x - high)
            wide.append(high)
        table = wide[:needed]
    return table


def eq_at(point: Sequence[K], index: int) -> K:
    """One entry of that table."""
    result = ONE
    for k, r in enumerate(reversed(point)):
        result = result * (r if index >> k & 1 else ONE - r)
    return result


def eq_between(p: Sequence[K], q: Sequence[K]) -> K:
    """eq(p, q) of two points."""
    result = ONE
    for x, y in zip(p, q, strict=True):
        xy = x * y
        result = result * (ONE - x - y + xy + xy)
    return result


def bits_of(index: int, count: int) -> list[K]:
    """The last ``count`` bits of a number as a point, the most significant first."""
    return [K(index >> k & 1) for k in reversed(range(count))]


def root_of_unity(n: int) -> int:
    """omega_n, of order n (a power of two)."""
    return pow(GENERATOR, (P - 1) // n, P)


def bit_reversed(index: int, bits: int) -> int:
    return int(f"{index:0{bits}b}"[::-1], 2) if bits else 0


def code_position(q: int, n: int) -> int:
    """x_q: where the code of length n evaluates for its position q."""
    return pow(root_of_unity(n), bit_reversed(q, n.bit_length() - 1), P)


def lagrange(count: int, t: K) -> list[K]:
    """The values at t of the Lagrange polynomials of the points 0, ..., count - 1."""
    out = []
    for i in range(count):
        value, below = ONE, 1
        for j in range(count):
            if i != j:
                value = value * (t - K(j))
                below = below * (i - j) % P
        out.append(value * pow(below, -1, P))
    return out
