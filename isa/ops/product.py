"""Products: contractions of two tensors over labels, exact in i64.

``out[o] = sum over the other labels of a * b``. Each instruction states its labels (``Form``); typing, execution and
constraint follow from them. The constraint is one product node (protocol section 4).

Interval: with n terms per output and every term in [l, h], the output lies in [n*l, n*h]. Where one operand is a param
whose L1 norm over the contracted axes is at most L, it also lies in [-L*m, L*m], m = max|other| times the number of
terms per entry of the param. Both hold for every partial sum, so either may bound an exact execution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from syurmy.isa import exact
from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, broadcast_shapes, refuse, register, result
from syurmy.isa.ops.view import WINDOW_ATTRIBUTES, Window
from syurmy.isa.records import dataclass
from syurmy.isa.types import DType, Interval, TensorType, join, multiplied, scaled

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node

CHUNK = 2**22  # entries of a convolution's window matrix that are gathered at a time


@dataclass(frozen=True)
class Form:
    """Labels of both operands and of the result. An axis of length 1 under a longer label is broadcast."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    out: tuple[int, ...]

    def lengths(self, shape_a: Sequence[int], shape_b: Sequence[int]) -> dict[int, int]:
        """The length of every label's axis; an axis of length 1 takes the other's."""
        dims: dict[int, int] = {}
        for labels, shape in ((self.a, shape_a), (self.b, shape_b)):
            for x, d in zip(labels, shape, strict=True):
                dims[x] = max(dims.get(x, 1), d)
        return dims

    def shape(self, shape_a: Sequence[int], shape_b: Sequence[int]) -> tuple[int, ...]:
        """The shape of the result."""
        dims = self.lengths(shape_a, shape_b)
        return tuple(dims[x] for x in self.out)

    def terms(self, shape_a: Sequence[int], shape_b: Sequence[int]) -> int:
        """Number of terms in one output."""
        return math.prod(d for x, d in self.lengths(shape_a, shape_b).items() if x not in self.out)

    def contracted(self, operand: int) -> tuple[int, ...]:
        """Axes of an operand that are summed over."""
        return tuple(i for i, x in enumerate((self.a, self.b)[operand]) if x not in self.out)


def product_interval(call: Call, terms: int, a: TensorType, b: TensorType, sums: Sequence[Sequence[int]]) -> Interval:
    """The interval of a sum of ``terms`` products; ``sums[i]`` are the axes of operand i that are summed over."""
    lo, hi = scaled(multiplied(a.interval, b.interval), terms)
    for i, (t, other) in enumerate(((a, b), (b, a))):
        bound = call.l1(i, sums[i]) if sums[i] else None
        if bound is not None:
            repeats = terms // math.prod(t.shape[axis] for axis in sums[i])
            m = bound * repeats * max(abs(other.lo), abs(other.hi))
            lo, hi = min(max(lo, -m), m), max(min(hi, m), -m)
    return lo, hi


def magnitude(x: I64) -> int:
    """The largest absolute value."""
    return max(-int(x.min()), int(x.max()), 0)


def l1_norm(x: I64, axes: Sequence[int], top: int) -> int | None:
    """The largest sum of |x| over ``axes``; None where int64 might not hold it. ``top`` is ``magnitude(x)``."""
    if top * math.prod(x.shape[i] for i in axes) >= 2**63:
        return None
    return int(np.abs(x, dtype=np.int64).sum(axis=tuple(axes)).max())


def partial_sum_bound(terms: int, a: I64, b: I64, sums: Sequence[Sequence[int]]) -> int:
    """A bound on every partial sum: terms * max|a| * max|b|, or by L1 norms where that is too weak for BLAS."""
    ma, mb = magnitude(a), magnitude(b)
    bound = terms * ma * mb
    for x, m, other, axes in ((a, ma, mb, sums[0]), (b, mb, ma, sums[1])):
        if bound >= exact.BLAS_LIMIT and axes and (norm := l1_norm(x, axes, m)) is not None:
            bound = min(bound, norm * other * (terms // math.prod(x.shape[i] for i in axes)))
    return bound


class Contraction(Op):
    """Base of the products whose operands enter as they are."""

    family = "product"
    narrow_params = True
    proof = Argument.CONTRACTION
    sources: ClassVar[tuple[str, ...]] = ("a", "b")

    def form(self, call: Call, shapes: Sequence[Sequence[int]]) -> Form:
        """Labels for operands of these shapes; raises ``TypeRuleError``."""
        raise NotImplementedError

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        a, b = types
        f = self.form(call, (a.shape, b.shape))
        sums = f.contracted(0), f.contracted(1)
        interval = product_interval(call, f.terms(a.shape, b.shape), a, b, sums)
        return result(DType.I64, f.shape(a.shape, b.shape), interval)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        a, b = values
        f = self.form(call, (a.shape, b.shape))
        bound = partial_sum_bound(f.terms(a.shape, b.shape), a, b, (f.contracted(0), f.contracted(1)))
        return exact.einsum(f.a, f.b, f.out, a, b, f.shape(a.shape, b.shape), bound)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x, y = nodes
        f = self.form(call, (x.shape[1:], y.shape[1:]))
        return b.product(x, y, f.a, f.b, f.out, typed_interval(b))


def typed_interval(b: Builder) -> Interval:
    """What ``infer`` claims for the current instruction, L1 bounds included."""
    t = b.system.types.results[b.origin]
    assert t is not None
    return t.interval


def trailing(rank: int, full: int) -> tuple[int, ...]:
    """Labels of axes that are aligned at the end of ``full`` axes."""
    return tuple(range(full - rank, full))


@register
class Mul(Contraction):
    """`dst = a * b` entry by entry, broadcasting; i64."""

    name = "mul"
    example = "mul g, g, up"

    def form(self, call: Call, shapes: Sequence[Sequence[int]]) -> Form:
        rank = len(broadcast_shapes(*shapes))
        return Form(trailing(len(shapes[0]), rank), trailing(len(shapes[1]), rank), trailing(rank, rank))


@register
class Matmul(Contraction):
    """Matrix product of the last two axes, leading axes broadcast; i64.

    A source of rank 1 is a row on the left and a column on the right, and its axis disappears, as in NumPy.
    """

    name = "matmul"
    example = "matmul h, x, w"

    def form(self, call: Call, shapes: Sequence[Sequence[int]]) -> Form:
        a, b = shapes
        if not a or not b or a[-1] != b[-2 if len(b) > 1 else 0]:
            raise refuse(f"shapes {list(a)} and {list(b)} do not multiply", "the inner lengths must be equal", "A220")
        batch = len(broadcast_shapes(a[:-2], b[:-2]))
        m, k, n = batch, batch + 1, batch + 2
        rows, columns = (m,) * (len(a) > 1), (n,) * (len(b) > 1)
        return Form(
            (*trailing(len(a[:-2]), batch), *rows, k),
            (*trailing(len(b[:-2]), batch), k, *columns),
            (*trailing(batch, batch), *rows, *columns),
        )


@register
class Dot(Contraction):
    """Inner products along the last axis, `dst[..] = sum over i of a[.., i] * b[.., i]`; other axes broadcast; i64."""

    name = "dot"
    example = "dot s, q, k"

    def form(self, call: Call, shapes: Sequence[Sequence[int]]) -> Form:
        a, b = shapes
        if not a or not b or a[-1] != b[-1]:
            raise refuse(f"the last axes of {list(a)} and {list(b)} differ", code="A220")
        rank = len(broadcast_shapes(a[:-1], b[:-1])) + 1
        return Form(trailing(len(a), rank), trailing(len(b), rank), trailing(rank - 1, rank - 1))


@register
class Einsum(Contraction):
    """Einstein summation of one or two tensors by letters, `spec="bij,bjk->bik"`; i64.

    A letter has one length; it occurs at most once in each source and in the result. Letters that are not in the
    result are summed over.
    """

    name = "einsum"
    sources = ("a",)
    variadic = True
    attributes = (AttrSpec("spec", "str", 'letters of the sources and the result, "ij,jk->ik"'),)
    example = 'einsum s, q, k, spec="hid,hjd->hij"'

    def _labels(self, call: Call, shapes: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
        """Labels of each source, then of the result."""
        left, arrow, right = call["spec"].replace(" ", "").partition("->")
        parts = left.split(",")
        if not arrow or len(parts) != len(shapes) or len(parts) > 2:
            raise refuse(f"spec '{call['spec']}' does not describe {len(shapes)} source(s) and a result", code="A224")
        lengths: dict[str, int] = {}
        for part, shape in zip(parts, shapes, strict=True):
            if len(part) != len(shape) or len(set(part)) != len(part) or not (part.isalpha() or part == ""):
                raise refuse(f"'{part}' does not name each axis of {list(shape)} by a letter of its own", code="A224")
            for x, d in zip(part, shape, strict=True):
                if lengths.setdefault(x, d) != d:
                    raise refuse(f"letter {x} stands for lengths {lengths[x]} and {d}", code="A220")
        if len(set(right)) != len(right) or not set(right) <= set(lengths):
            raise refuse(f"the result '{right}' needs letters of the sources, each once", code="A224")
        number = {x: i for i, x in enumerate(lengths)}
        return [tuple(number[x] for x in part) for part in (*parts, right)]

    def form(self, call: Call, shapes: Sequence[Sequence[int]]) -> Form:
        return Form(*self._labels(call, shapes))

    def _alone(self, call: Call, shape: Sequence[int]) -> tuple[tuple[int, ...], list[int]]:
        """With one source: the axes that are summed, and the order of the others."""
        labels, out = self._labels(call, (shape,))
        axes = tuple(i for i, x in enumerate(labels) if x not in out)
        kept = [x for x in labels if x in out]
        return axes, [kept.index(x) for x in out]

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        if len(types) != 1:
            if len(types) != 2:
                raise refuse("einsum takes one or two sources", code="A224")
            return super().infer(call, types)
        shape = types[0].shape
        axes, perm = self._alone(call, shape)
        kept = [d for i, d in enumerate(shape) if i not in axes]
        interval = scaled(types[0].interval, math.prod(shape[i] for i in axes))
        return result(DType.I64, [kept[p] for p in perm], interval)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        if len(values) == 2:
            return super().execute(call, values)
        axes, perm = self._alone(call, values[0].shape)
        return np.asarray(values[0].sum(axis=axes, dtype=np.int64)).transpose(perm)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        if len(nodes) == 2:
            return super().constrain(b, call, nodes)
        shape = nodes[0].shape[1:]
        axes, perm = self._alone(call, shape)
        kept = [d for i, d in enumerate(shape) if i not in axes]
        return b.transpose(b.reshape(b.sum(nodes[0], axes), kept), perm)


@register
class Conv2d(Op):
    """Two-dimensional convolution (cross-correlation, as in neural networks) of `x` with kernels `w`; i64.

    `x` is `[N, C, H, W]` or `[C, H, W]`, `w` is `[O, C/groups, KH, KW]`, `dst` is `[N, O, OH, OW]` or `[O, OH, OW]`:
    `dst[n, o, oy, ox] = sum over c, ky, kx of w[o, c, ky, kx] * x[n, g*C/groups + c, oy*sy + ky*dy - top, ox*sx + kx*dx
    - left]` with `g = floor(o / (O/groups))`, zero outside the image. A bias is a separate `add`.
    """

    name = "conv2d"
    family = "product"
    narrow_params = True
    proof = Argument.CONTRACTION
    sources = ("x", "w")
    attributes = (*WINDOW_ATTRIBUTES, AttrSpec("groups", "int", "channel groups that do not mix", default=1))
    example = "conv2d h, x, w, pad=(1, 1)"

    def _window(self, call: Call, x: Sequence[int], w: Sequence[int]) -> Window:
        groups = call["groups"]
        if len(x) not in (3, 4) or len(w) != 4:
            raise refuse("conv2d needs x of rank 3 or 4 and w of rank 4", code="A220")
        if groups < 1 or w[0] % groups or w[1] * groups != x[-3]:
            raise refuse(
                f"{x[-3]} channels, kernels {list(w)} and {groups} group(s) do not fit",
                "w is [O, C/groups, KH, KW] and groups divides O",
                "A220",
            )
        return Window.of(call, w[2:], x[-2:])

    def _split(self, call: Call, x: Sequence[int], w: Sequence[int]) -> tuple[list[int], list[int], Form]:
        """Shapes of both operands with a group axis where there are groups, and labels of x's windows, w and dst."""
        n, g, c, oy, ox, ky, kx, o = range(8)
        lead = (n,) * (len(x) - 3)
        if call["groups"] == 1:
            return list(x), list(w), Form((*lead, c, oy, ox, ky, kx), (o, c, ky, kx), (*lead, o, oy, ox))
        form = Form((*lead, g, c, oy, ox, ky, kx), (g, o, c, ky, kx), (*lead, g, o, oy, ox))
        return [*x[:-3], call["groups"], w[1], *x[-2:]], [call["groups"], w[0] // call["groups"], *w[1:]], form

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        x, w = types
        window = self._window(call, x.shape, w.shape)
        lo, hi = join(x.interval, (0, 0)) if window.pads() else x.interval
        seen = TensorType(x.dtype, x.shape, lo, hi)
        interval = product_interval(call, math.prod(w.shape[1:]), seen, w, ((), (1, 2, 3)))
        return result(DType.I64, (*x.shape[:-3], w.shape[0], *window.out), interval)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        x, w = values
        window = self._window(call, x.shape, w.shape)
        shape_x, shape_w, f = self._split(call, x.shape, w.shape)
        bound = partial_sum_bound(math.prod(w.shape[1:]), x, w, ((), (1, 2, 3)))
        # einsum will work in float64: convert the image rather than its windows
        image: Any = x.astype(np.float64) if bound < exact.BLAS_LIMIT else x
        windows, kernels = window.view(image.reshape(shape_x)), w.reshape(shape_w)
        oh, ow = window.out
        out = np.empty(f.shape(windows.shape, kernels.shape), np.int64)
        rows = max(1, CHUNK * oh // windows.size)
        row_axis = windows.ndim - 4
        for start in range(0, oh, rows):
            part = windows[(slice(None),) * row_axis + (slice(start, start + rows),)]
            shape = f.shape(part.shape, kernels.shape)
            # kernels first: the window matrix is gathered in runs along ox
            out[..., start : start + rows, :] = exact.einsum(f.b, f.a, f.out, kernels, part, shape, bound)
        return out.reshape(*x.shape[:-3], w.shape[0], oh, ow)

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        x, w = (b.operand(n) for n in nodes)  # a product becomes a column in its own shape, not in that of its windows
        window = self._window(call, x.shape[1:], w.shape[1:])
        shape_x, shape_w, f = self._split(call, x.shape[1:], w.shape[1:])
        windows = window.node(b, b.reshape(x, shape_x))
        out = b.product(windows, b.reshape(w, shape_w), f.a, f.b, f.out, typed_interval(b))
        return b.reshape(out, (*x.shape[1:-3], w.shape[1], *window.out))
