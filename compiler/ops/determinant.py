"""Determinants of small matrices, by minors: those of the last k rows from those of the last k - 1."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.shape import pick

MAX_SIDE = 6


@lowering("Det", since=11)
def det(c: Context, n: Node) -> Result:
    """Laplace's expansion: ``M(T) = sum_k (-1)^k a[i, T_k] M(T without T_k)`` for every set T of columns. Products are
    exact; minors are factors of the next ones, so they are narrowed once per row."""
    x = c.tensor(n.inputs[0])
    side = x.shape[-1]
    if side > MAX_SIDE:
        raise Unsupported(f"the determinant of matrices of {side} rows", f"{MAX_SIDE} or less")
    x = c.reshape(x, (*x.shape[:-2], side * side))
    last = len(x.shape) - 1
    minors = pick(c, x, last, np.arange(side * (side - 1), side * side))
    sets: list[tuple[int, ...]] = [(j,) for j in range(side)]
    for i in range(side - 2, -1, -1):
        larger = list(combinations(range(side), side - i))
        terms = [(i * side + j, sets.index((*t[:k], *t[k + 1 :]))) for t in larger for k, j in enumerate(t)]
        entries, rest = (np.array(v) for v in zip(*terms, strict=True))
        products = c.multiply(pick(c, x, last, entries), pick(c, c.factor(minors), last, rest))
        signs = np.zeros((len(terms), len(larger)), np.int64)
        signs[np.arange(len(terms)), np.arange(len(terms)) // (side - i)] = (-1) ** (np.arange(len(terms)) % (side - i))
        minors, sets = c.emit("matmul", products, c.out.param(signs), scale=products.scale), larger
    return c.reshape(minors, c.shape(n.outputs[0]))
