"""Einsum: letters and an ellipsis; operands are joined two at a time. Sums and diagonals are exact."""

from __future__ import annotations

import math
from string import ascii_lowercase, ascii_uppercase

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.indexing import take
from syurmy.compiler.ops.linear import pair_limit


def spelled(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Terms and result with one letter per axis: the ellipsis written out, an implicit result made explicit."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [ch for ch in ascii_uppercase + ascii_lowercase if ch not in equation]
    extra = max((r - len(t.replace("...", "")) for t, r in zip(terms, ranks, strict=True) if "..." in t), default=0)
    dots = "".join(free[:extra])
    full = []
    for t, r in zip(terms, ranks, strict=True):
        length = r - len(t.replace("...", ""))
        full.append(t.replace("...", dots[extra - length :] if length else ""))
    if not arrow:
        letters = "".join(full)
        right = dots + "".join(sorted(ch for ch in set(letters) if letters.count(ch) == 1 and ch not in dots))
        return full, right
    return full, right.replace("...", dots)


def _diagonal(c: Context, x: Tensor, labels: str) -> tuple[Tensor, str]:
    """Axes with the same letter become one."""
    for ch in dict.fromkeys(labels):
        while labels.count(ch) > 1:
            first = labels.index(ch)
            second = labels.index(ch, first + 1)
            shape = tuple(d for a, d in enumerate(x.shape) if a != second)
            at = list(np.indices(shape))
            at.insert(second, at[first])
            x = take(c, x, np.ravel_multi_index(tuple(at), x.shape))
            labels = labels[:second] + labels[second + 1 :]
    return x, labels


def _without(c: Context, x: Tensor, labels: str, needed: set[str], real: bool) -> tuple[Tensor, str]:
    """Axes that nothing else reads are summed."""
    axes = tuple(a for a, ch in enumerate(labels) if ch not in needed)
    if not axes:
        return x, labels
    x = c.addend(x, math.prod(x.shape[a] for a in axes)) if real else x
    return c.emit("sum", x, axes=axes), "".join(ch for ch in labels if ch in needed)


@lowering("Einsum", since=12)
def einsum(c: Context, n: Node) -> Result:
    names = list(n.inputs)
    terms, result = spelled(n.attr("equation"), [len(c.shape(name)) for name in names])
    if len(set(result)) != len(result):
        raise Unsupported("a letter that the result repeats")
    xs = [_diagonal(c, c.tensor(name), t) for name, t in zip(names, terms, strict=True)]
    real = c.is_float(n.outputs[0])
    while len(xs) > 1:
        (a, la), (b, lb), *rest = xs
        needed = {ch for _, t in rest for ch in t} | set(result)
        a, la = _without(c, a, la, needed | set(lb), real)
        b, lb = _without(c, b, lb, needed | set(la), real)
        out = "".join(dict.fromkeys(ch for ch in la + lb if ch in needed))
        if real:
            inner = math.prod(
                d for x, t in ((a, la), (b, lb)) for ch, d in zip(t, x.shape, strict=True) if ch not in out
            )
            a, b = (c.factor(x, pair_limit(inner)) for x in (a, b))
        xs = [(_contracted(c, a, b, la, lb, out), out), *rest]
    x, labels = _without(c, *xs[0], set(result), real)
    perm = tuple(labels.index(ch) for ch in result)
    return x if perm == tuple(range(len(perm))) else c.emit("transpose", x, perm=perm)


def _contracted(c: Context, a: Tensor, b: Tensor, la: str, lb: str, out: str) -> Tensor:
    """One product with sums, as a batched matrix product; an axis of length 1 stretches."""
    sizes: dict[str, int] = {}
    for x, t in ((a, la), (b, lb)):
        for ch, d in zip(t, x.shape, strict=True):
            sizes[ch] = max(sizes.get(ch, 1), d)
    batch = [ch for ch in out if ch in la and ch in lb]
    rows, columns = [ch for ch in out if ch not in lb], [ch for ch in out if ch not in la]
    inner = [ch for ch in la if ch in lb and ch not in out]
    left = _arranged(c, a, la, [batch, rows, inner], sizes)
    right = _arranged(c, b, lb, [batch, inner, columns], sizes)
    y = c.emit("matmul", left, right, scale=a.scale * b.scale)
    y = c.reshape(y, [sizes[ch] for ch in (*batch, *rows, *columns)])
    made = [*batch, *rows, *columns]
    perm = tuple(made.index(ch) for ch in out)
    return y if perm == tuple(range(len(perm))) else c.emit("transpose", y, perm=perm)


def _arranged(c: Context, x: Tensor, labels: str, groups: list[list[str]], sizes: dict[str, int]) -> Tensor:
    """Axes in the order of the groups, one axis per group."""
    order = [ch for g in groups for ch in g]
    x = c.broadcast(x, [sizes[ch] for ch in labels])
    perm = tuple(labels.index(ch) for ch in order)
    x = x if perm == tuple(range(len(perm))) else c.emit("transpose", x, perm=perm)
    return c.reshape(x, [math.prod(sizes[ch] for ch in g) for g in groups])
