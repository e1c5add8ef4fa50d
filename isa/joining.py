"""Which neighbouring axes of a tensor a claim may take as one.

Weights over a run of axes go down to the products that the tensor is made of. A product takes a group of weights only
on labels of one kind: those of both operands, of the first alone, or of the second alone (protocol section 4); else it
has to be committed, which costs more than padding. So axes may be one where no product has labels of two kinds under
them: the places of an image under its convolution, and not rows and columns of a matrix product. A committed tensor
lies in a matrix of its own with every axis by itself, and what is claimed of it is an evaluation there: its axes are
never one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from syurmy.isa import graph as g
from syurmy.isa.graph import Node

_NONE: frozenset[tuple[int, int]] = frozenset()


def reach(node: Node) -> tuple[int, ...]:
    """Of each axis the last one that a run of axes may have which begins with it. Kept on the node: planning asks for
    it once a sweep and once a block."""
    if node.reach is None:
        node.reach = _reach(len(node.shape), conflicts(node))
    return node.reach


@lru_cache(maxsize=4096)  # few nodes have others than those before them
def _reach(rank: int, bad: frozenset[tuple[int, int]]) -> tuple[int, ...]:
    out = []
    for first in range(rank):
        last = first
        while last + 1 < rank and not any((a, last + 1) in bad for a in range(first, last + 1)):
            last += 1
        out.append(last)
    return tuple(out)


def conflicts(node: Node) -> frozenset[tuple[int, int]]:
    """Pairs of axes, ascending, under which a product has labels of two kinds, or a committed tensor any. Kept on the
    nodes: there may be long chains of them."""
    waiting = [node]
    while waiting:
        n = waiting[-1]
        below = () if isinstance(n, g.Product) else n.inputs
        missing = [i for i in below if i.conflicts is None]
        waiting += missing
        if not missing:
            n.conflicts = _conflicts(n)
            waiting.pop()
    assert node.conflicts is not None
    return node.conflicts


def _conflicts(node: Node) -> frozenset[tuple[int, int]]:
    """Those of a node whose inputs have theirs. Axes of length 1 have no weight, and so none."""
    if isinstance(node, g.Product):
        kinds = node.kinds
        return _unlike(tuple(kinds[x] for x in node.labels_out), tuple(d > 1 for d in node.shape))
    if isinstance(node, g.External):
        return _unlike(tuple(range(len(node.shape))), tuple(d > 1 for d in node.shape))
    found = {n.conflicts for n in node.inputs if n.conflicts}
    if not found:
        return _NONE
    under = frozenset[tuple[int, int]]().union(*found) if len(found) > 1 else found.pop()
    if isinstance(node, g.Combine):  # of tensors of its shape
        return under
    above = _above(node)
    runs = {(above.get(x, ()), above.get(y, ())) for x, y in under}  # once each: a reshape has few, of many axes
    met = {(min(a, b), max(a, b)) for left, right in runs for a in left for b in right if a != b}
    return frozenset((a, b) for a, b in met if node.shape[a] > 1 and node.shape[b] > 1)


@lru_cache(maxsize=4096)
def _unlike(kinds: tuple[object, ...], wide: tuple[bool, ...]) -> frozenset[tuple[int, int]]:
    """The pairs of wide axes that are not of one kind."""
    axes = [a for a in range(len(kinds)) if wide[a]]
    return frozenset((a, b) for b in axes for a in axes if a < b and kinds[a] != kinds[b])


def _above(node: Node) -> Mapping[int, tuple[int, ...]]:
    """Of each axis of an input the axes of the node whose weights get to it."""
    source = node.inputs[0]
    if isinstance(node, g.Reshape):
        return {x: tuple(out_axes) for out_axes, in_axes in segments(node.shape, source.shape) for x in in_axes}
    if isinstance(node, g.Transpose):
        return {x: (a,) for a, x in enumerate(node.perm)}
    if isinstance(node, g.IndexMap):
        rest = [a for a in range(len(node.shape)) if a not in node.out_axes]
        kept = [x for x in range(len(source.shape)) if x not in node.in_axes]
        return dict.fromkeys(node.in_axes, node.out_axes) | {x: (a,) for x, a in zip(kept, rest, strict=True)}
    return {x: (x,) for x in range(len(source.shape))}  # combinations, sums, broadcasts, what is joined


def segments(out_shape: Sequence[int], in_shape: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Minimal runs of axes (length > 1) with equal products on both sides."""
    result: list[tuple[list[int], list[int]]] = []
    a = [i for i, d in enumerate(out_shape) if d > 1]
    b = [i for i, d in enumerate(in_shape) if d > 1]
    i = j = 0
    while i < len(a):
        x, y = [a[i]], [b[j]]
        p, q = out_shape[a[i]], in_shape[b[j]]
        i, j = i + 1, j + 1
        while p != q:
            if p < q:
                p, x, i = p * out_shape[a[i]], [*x, a[i]], i + 1
            else:
                q, y, j = q * in_shape[b[j]], [*y, b[j]], j + 1
        result.append((x, y))
    return result
