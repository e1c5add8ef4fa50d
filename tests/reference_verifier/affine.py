"""Values that a verifier knows but for pads (section 9.2): known + sum c_i pad_i; of a clear proof without pads."""

from __future__ import annotations

from collections.abc import Iterable

from tests.reference_verifier.field import ZERO, K


class Affine:
    __slots__ = ("known", "pads")

    def __init__(self, known: K, pads: dict[int, K] | None = None) -> None:
        self.known = known
        self.pads = pads or {}

    def __add__(self, other: Affine | K) -> Affine:
        if isinstance(other, K):
            return Affine(self.known + other, self.pads)
        pads = dict(self.pads)
        for i, c in other.pads.items():
            pads[i] = pads[i] + c if i in pads else c
        return Affine(self.known + other.known, pads)

    def __neg__(self) -> Affine:
        return self * K(-1)

    def __sub__(self, other: Affine | K) -> Affine:
        return self + -other

    def __mul__(self, other: K) -> Affine:
        return Affine(self.known * other, {i: c * other for i, c in self.pads.items()})


def combined(terms: Iterable[tuple[K, Affine]]) -> Affine:
    """sum c x."""
    known, pads = ZERO, {}
    for c, x in terms:
        known = known + c * x.known
        for i, p in x.pads.items():
            pads[i] = pads[i] + c * p if i in pads else c * p
    return Affine(known, pads)
