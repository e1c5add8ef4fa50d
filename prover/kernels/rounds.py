"""The last rounds of a sumcheck at once: sums, message and challenge of each (challenges.py).

On a device they are one launch of one block, whose threads meet between them (``grid.lookup_tail``, ``product_tail``);
what these functions say is what that computes. A processor has no use for them.
"""

from __future__ import annotations

from typing import Any

from syurmy.prover.field import P
from syurmy.prover.kernels import logup, mle
from syurmy.prover.kernels import sumcheck as products
from syurmy.prover.kernels.challenges import product_kernel, round_kernel
from syurmy.prover.kernels.lanes import STRIP

A = Any  # an array


def lookup_rounds(
    layer: A, v: A, w: A, apart: A, k0: A, k1: A, eq: A, sums: A, constants: A, pads: A, text: A, behind: int,
    state: A, claim: A, out: A, first: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """The rounds from ``first`` on of a layer that is not the leaves', with lambda (k0, k1), of one run of pairs each.
    v, w: the workspaces, of which the second round writes w, the third binds w into v, the next one v into w, and so
    on, but the first of these rounds reads w; apart ``int64[rounds, 3]``: child, bind and pair of each; eq ``uint64[2,
    n]`` of the variables after the first of them, which is used up; sums ``uint64[rounds, 2, 2, 4]``, zeros where they
    begin; constants, pads and, from row 1 on, out as of ``round_kernel``, by round."""
    one = eq[:, :1].copy()
    one[:, 0] = 1, 0
    for j in range(first, len(pads)):
        half = 1 << (len(pads) - 1 - j)
        x0, x1 = out[j, 4], out[j, 5]
        child, bind, pair = apart[j]
        inner = eq[:, :half]
        if j == 0:
            words = _summed(logup.first_round, half, layer, child, pair, k0, k1, one, inner)
        elif j == 1:
            words = _summed(logup.second_round, half, layer, child, bind, pair, k0, k1, x0, x1, one, inner, w)
        else:
            words = _summed(logup.next_round, half, w, bind, pair, x0, x1, one, inner, v)
            v, w = w, v
        sums[j, 0, 0] = words
        round_kernel(
            sums[j, 0], sums[j, 1], constants[j], pads[j], text, behind, state, claim, out[j + 1], 0, 1
        )  # fmt: skip
        next_half = half // 2  # eq of one variable less is the sum over that one
        for p in range(2):
            mle.add_flat(eq[p, :next_half], eq[p, next_half:half], eq[p, :next_half], 0, next_half)


def _summed(kernel: Any, n: int, *args: A) -> list[int]:
    """What a kernel of lookups returns for range(n), a strip at a time."""
    parts = [kernel(*args, lo, min(lo + STRIP, n)) for lo in range(0, n, STRIP)]
    return [sum(map(int, words)) % P for words in zip(*parts, strict=True)]


def product_rounds(
    w: A, at: A, tables: A, coefficient: A, degree: int, entered: A, sums: A, constants: A, pads: A, text: A,
    behind: int, state: A, out: A, first: int, left: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """The rounds from ``first`` on, when ``left`` variables are left, of products of which all are in the workspace
    ``w`` with a variable to bind (sumcheck.py); of round j the first entered[j]. sums ``uint64[rounds, 2, 6]``;
    constants, pads and, from row 1 on, out as of ``product_kernel``, by round."""
    for j in range(first, len(pads)):
        m, half = int(entered[j]), 1 << (left - 1 - j + first)
        x0, x1 = out[j, -2:]
        sums[j, 0] = products.round_all(w, at, tables, half, m, coefficient, degree, x0, x1, 0, m * half)
        product_kernel(sums[j], constants[j], pads[j], text, behind, state, out[j + 1], 0, 1)
