"""Data types, tensor types and interval arithmetic.

Every tensor carries a static interval ``[lo, hi]`` that holds on every execution and *is enforced by the proof*: the
typing rule of an instruction never claims an interval that its constraints do not pin.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import replace

from syurmy.isa.records import cached_property, dataclass


class DType(enum.Enum):
    """Integer types. ``i8 i16 i32`` are range-checked; ``i64`` is an exact accumulator, -2^61 <= v < 2^61.

    ``bits``: width, the sign included. ``lo``, ``hi``: the least and the greatest value.
    """

    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"

    def __init__(self, name: str) -> None:
        self.bits = int(name[1:])
        self.hi = 2**61 - 1 if name == "i64" else 2 ** (self.bits - 1) - 1
        self.lo = -self.hi - 1

    def __str__(self) -> str:
        return str(self.value)


Interval = tuple[int, int]

MAX_RANK = 8  # of any tensor
MAX_ENTRIES = 2**28  # of one tensor over all executions: bounds what a hostile key can make a verifier allocate


def smallest_dtype(lo: int, hi: int) -> DType | None:
    """The narrowest dtype that holds ``[lo, hi]``; None beyond i64."""
    for d in DType:
        if d.lo <= lo and hi <= d.hi:
            return d
    return None


def join(a: Interval, b: Interval) -> Interval:
    """The smallest interval that holds both."""
    return min(a[0], b[0]), max(a[1], b[1])


def scaled(a: Interval, c: int) -> Interval:
    """The interval of ``c * x``, x in ``a``."""
    return (a[0] * c, a[1] * c) if c >= 0 else (a[1] * c, a[0] * c)


def added(*xs: Interval) -> Interval:
    """The interval of a sum with one term in each of ``xs``."""
    return sum(x[0] for x in xs), sum(x[1] for x in xs)


def multiplied(a: Interval, b: Interval) -> Interval:
    """The interval of ``x * y``, x in ``a`` and y in ``b``."""
    c = [x * y for x in a for y in b]
    return min(c), max(c)


def signed_bits(lo: int, hi: int) -> int:
    """Smallest k with ``[lo, hi]`` inside ``[-2^(k-1), 2^(k-1))`` (k >= 1)."""
    return max((-lo - 1).bit_length() if lo < 0 else 0, hi.bit_length() if hi > 0 else 0) + 1


def unsigned_bits(hi: int) -> int:
    """Smallest k >= 1 with ``[0, hi]`` inside ``[0, 2^k)``."""
    return max(1, hi.bit_length())


def padded(d: int) -> int:
    """The smallest power of two that is at least ``d`` (d >= 1): what an axis of that length takes in a proof."""
    return 1 << (d - 1).bit_length()


@dataclass(frozen=True)
class TensorType:
    """dtype, shape and static interval of a tensor (without the execution axis)."""

    dtype: DType
    shape: tuple[int, ...]
    lo: int
    hi: int

    @staticmethod
    def full(dtype: DType, shape: Iterable[int]) -> TensorType:
        """The type whose interval is its dtype's."""
        return TensorType(dtype, tuple(shape), dtype.lo, dtype.hi)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # states of many registers are looked up
        return hash((self.dtype, self.shape, self.lo, self.hi))

    @property
    def interval(self) -> Interval:
        """``lo`` and ``hi``, both included."""
        return self.lo, self.hi

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def with_shape(self, shape: Iterable[int]) -> TensorType:
        """The same dtype and interval in another shape."""
        return replace(self, shape=tuple(shape))

    def joined(self, other: TensorType) -> TensorType:
        """The type of a register that holds either; dtype and shape must agree."""
        if self.lo <= other.lo and other.hi <= self.hi:
            return self
        if other.lo <= self.lo and self.hi <= other.hi:
            return other
        return TensorType(self.dtype, self.shape, *join(self.interval, other.interval))

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
