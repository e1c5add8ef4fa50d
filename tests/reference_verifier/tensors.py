"""Matrices of committed inputs and outputs (section 2, "Committed tensors")."""

from __future__ import annotations

from syurmy.isa.graph import External
from tests.reference_verifier.layout import Stack
from tests.reference_verifier.shapes import (
    TENSOR_RATES,
    Split,
    filled,
    has_room,
    least_size,
    matrix_bytes,
    random_coefficients,
    three_bits,
)

MOST_ENCODED = 2**27


def splits(stack: Stack, m: int, proofs: int) -> list[Split]:
    """Those with room, most rows first, lower blow-up first. ``proofs``: 0 in clear mode."""
    out = []
    for c in range(m + 1):
        for b in TENSOR_RATES:
            if has_room(c, b):
                random = random_coefficients(c, b, proofs, three_bits) if proofs else 0
                if random is not None:
                    out.append(Split(m, c, b, random))
    return out


def height(stack: Stack, s: Split) -> int:
    return filled(stack.rows(s.c), s.random > 0)


def cost(s: Split, rows: int) -> int:
    return matrix_bytes(rows, s.c, s.b, s.random) + 2 * (2**s.c + s.random)


def tensor_matrix(of: External, proofs: int) -> tuple[Stack, Split]:
    """``proofs``: 0 in clear mode."""
    least = 4
    if proofs:
        first = least_size(TENSOR_RATES, proofs, 0, three_bits)
        options = []
        for m in range(first, first + 5):
            for b in TENSOR_RATES:
                random = random_coefficients(m, b, proofs, three_bits) if has_room(m, b) else None
                if random is not None:
                    options.append((cost(Split(m, m, b, random), filled(1, True)), m))
        least = min(options)[1]
    stack = Stack([of.shape], least)
    found = splits(stack, stack.m, proofs)
    small = [s for s in found if stack.rows(s.c) * s.n <= MOST_ENCODED]
    if not small:
        small = [s for s in found if s.b == found[0].b]
    return stack, min(small, key=lambda s: cost(s, height(stack, s)))
