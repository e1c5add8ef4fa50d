"""Hidden values: what was sent minus its pad (protocol, section 9.2)."""

from __future__ import annotations

from collections.abc import Mapping

from tests.reference_verifier.field import K


class Affine:
    """``known + sum pads[i] * (pad i)``; adds with elements of K, and is multiplied by them only."""

    __slots__ = ("known", "pads")

    def __init__(self, known: K, pads: Mapping[int, K]) -> None:
        self.known, self.pads = known, pads

    def __add__(self, o: Value) -> Affine:
        if isinstance(o, K):
            return Affine(self.known + o, self.pads)
        pads = dict(self.pads)
        for i, c in o.pads.items():
            pads[i] = pads[i] + c if i in pads else c
        return Affine(self.known + o.known, pads)

    __radd__ = __add__

    def __neg__(self) -> Affine:
        return self * K(-1)

    def __sub__(self, o: Value) -> Affine:
        return self + (-o)

    def __rsub__(self, o: K) -> Affine:
        return -self + o

    def __mul__(self, o: K | int) -> Affine:
        return Affine(self.known * o, {i: c * o for i, c in self.pads.items()})

    __rmul__ = __mul__


Value = K | Affine
