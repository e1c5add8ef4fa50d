"""Move and view: entries keep their values and change place, or become a public constant.

Every definition is a linear image: reshape, transpose, concatenation, or an index map (slice, flip, padding, im2col,
put). Nothing is committed and no bound can be lost: an entry of the result is an entry of a source or the constant,
so the result's interval is the join of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.instruction import Argument, AttrSpec, Call, Op, broadcast_shapes, normal_axis, refuse, register
from syurmy.isa.program import Affine
from syurmy.isa.progression import Progression, repeated
from syurmy.isa.records import dataclass
from syurmy.isa.types import MAX_ENTRIES, DType, TensorType, join

if TYPE_CHECKING:
    from syurmy.isa.builder import Builder
    from syurmy.isa.graph import Node


def ints(value: int | Sequence[int]) -> tuple[int, ...]:
    """An ``ints`` attribute; a single integer is a list of one."""
    return (value,) if isinstance(value, int) else tuple(value)


def widest(types: Sequence[TensorType]) -> DType:
    """The dtype with most bits."""
    return max((t.dtype for t in types), key=lambda d: d.bits)


def joined(dtype: DType, shape: Sequence[int], types: Sequence[TensorType]) -> TensorType:
    """A type of this dtype and shape whose interval holds those of all ``types``."""
    lo, hi = types[0].interval
    for t in types[1:]:
        lo, hi = join((lo, hi), t.interval)
    return TensorType(dtype, tuple(shape), lo, hi)


def positions(call: Call, name: str, extent: int, length: int) -> None:
    """Refuses an affine attribute with which ``name .. name + extent - 1`` can leave an axis of ``length``."""
    value = call[name]
    if isinstance(value, Affine):
        for counter, _ in value.terms:
            if counter not in call.counter_ranges:
                raise refuse(f"'{counter}' is not a counter of an enclosing repeat", code="A222")
    lo, hi = call.range(name)
    if lo < 0 or hi + extent > length:
        raise refuse(f"positions {lo} to {hi + extent - 1} leave an axis of length {length}", code="A222")


def starts(b: Builder, call: Call, name: str) -> I64:
    """The value of an affine attribute at each execution; one entry if it is the same at all of them."""
    value = call[name]
    if not isinstance(value, Affine):
        return np.array([value], np.int64)
    out = np.full(b.executions, value.constant, np.int64)
    for counter, coefficient in value.terms:
        out += coefficient * np.asarray(b.counters[counter])
    return out[:1] if (out == out[0]).all() else out


def pick_rows(b: Builder, n: Node, axis: int, rows: I64) -> Node:
    """``b.pick`` with one index row per execution: ``out[e, .., j, ..] = n[e, .., rows[e, j], ..]``, -1 gives zero."""
    e, length = len(rows), n.shape[axis + 1]
    if e == 1:
        return b.pick(n, axis, rows[0])
    first = np.arange(e)[:, None] * length if n.executions > 1 else 0
    return b.index_map(n, (0, axis + 1), (0, axis + 1), np.where(rows < 0, -1, rows + first))


@register
class Mov(Op):
    """`dst = src`: another name for the same value."""

    name = "mov"
    family = "view"
    renames = True
    proof = Argument.LINEAR
    example = "mov h, x"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return types[0]

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return values[0]

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return nodes[0]


@register
class Reshape(Op):
    """The same entries in row-major order under another shape; one length may be -1 and follows from the others."""

    name = "reshape"
    family = "view"
    proof = Argument.LINEAR
    attributes = (AttrSpec("shape", "ints", "the new shape", positional=True),)
    example = "reshape h, h, (1, -1)"

    def _shape(self, call: Call, old: Sequence[int]) -> tuple[int, ...]:
        shape, size = ints(call["shape"]), math.prod(old)
        rest = math.prod(d for d in shape if d != -1)
        if shape.count(-1) == 1 and rest > 0 and size % rest == 0:
            shape = tuple(size // rest if d == -1 else d for d in shape)
        if any(d < 1 for d in shape) or math.prod(shape) != size:
            raise refuse(f"shape {list(old)} cannot become {list(shape)}", "the number of entries must agree", "A220")
        return shape

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        return types[0].with_shape(self._shape(call, types[0].shape))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return values[0].reshape(self._shape(call, values[0].shape))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return b.reshape(nodes[0], self._shape(call, nodes[0].shape[1:]))


@register
class Transpose(Op):
    """Axes in another order: axis i of `dst` is axis `perm[i]` of `src`; without `perm` the order is reversed."""

    name = "transpose"
    family = "view"
    proof = Argument.LINEAR
    attributes = (AttrSpec("perm", "ints", "axes of src in the order of dst", optional=True, positional=True),)
    example = "transpose k, k, (0, 2, 1)"

    def _perm(self, call: Call, rank: int) -> tuple[int, ...]:
        if call["perm"] is None:
            return tuple(reversed(range(rank)))
        perm = tuple(normal_axis(a, rank) for a in ints(call["perm"]))
        if sorted(perm) != list(range(rank)):
            raise refuse(f"{list(perm)} does not name every axis of a tensor of rank {rank} once", code="A221")
        return perm

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t = types[0]
        return t.with_shape(t.shape[p] for p in self._perm(call, len(t.shape)))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return values[0].transpose(self._perm(call, values[0].ndim))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return b.transpose(nodes[0], self._perm(call, len(nodes[0].shape) - 1))


@register
class Slice(Op):
    """`len` positions along `axis` from `start` on, every `step`-th: `dst[.., j, ..] = src[.., start + j*step, ..]`.
    Without `len` the one position `start`, and the axis goes.

    `start` may use the counters of enclosing `repeat` blocks. A slice that can leave the axis is refused by the
    assembler. Written as an operand, `x[t]` is `slice .., x, axis=0, start=t`, and `x[t, 0:8]` two slices.
    """

    name = "slice"
    family = "view"
    proof = Argument.LINEAR
    attributes = (
        AttrSpec("axis", "int", "axis of src"),
        AttrSpec("start", "affine", "first position, at least 0", default=0),
        AttrSpec("len", "int", "number of positions, at least 1", optional=True),
        AttrSpec("step", "int", "distance of positions, at least 1", default=1),
    )
    example = "slice row, x, axis=0, start=2*t+1, len=1"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        shape, n, step = list(types[0].shape), call["len"], call["step"]
        axis = normal_axis(call["axis"], len(shape))
        if n is None:
            if step != 1:
                raise refuse("step goes with len", code="A223")
            positions(call, "start", 1, shape.pop(axis))
            return types[0].with_shape(shape)
        if n < 1 or step < 1:
            raise refuse("len and step must be at least 1", code="A223")
        positions(call, "start", (n - 1) * step + 1, shape[axis])
        shape[axis] = n
        return types[0].with_shape(shape)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        axis, start, step = normal_axis(call["axis"], values[0].ndim), call.at("start"), call["step"]
        if call["len"] is None:
            return values[0][(slice(None),) * axis + (start,)]
        cut = slice(start, start + (call["len"] - 1) * step + 1, step)
        return values[0][(slice(None),) * axis + (cut,)]

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        axis = normal_axis(call["axis"], len(nodes[0].shape) - 1)
        first = starts(b, call, "start")[:, None]
        part = pick_rows(b, nodes[0], axis, first + np.arange(call["len"] or 1) * call["step"])
        if call["len"] is not None:
            return part
        shape = part.shape[1:]
        return b.reshape(part, shape[:axis] + shape[axis + 1 :])


@register
class Put(Op):
    """`dst` with the positions `at ..` along `axis` replaced by `src`; `dst` must hold a tensor.

    `src` has the shape of `dst` except along `axis`. `at` may use loop counters; the dtype of `dst` stays, and the
    interval of `src` must lie in it. Later reads of `dst` see each position's last write directly, so a loop that
    fills a buffer costs its length.
    """

    name = "put"
    family = "view"
    patches = True
    proof = Argument.LINEAR
    sources = ("src",)
    reads_dst = True
    attributes = (
        AttrSpec("axis", "int", "axis of dst", default=0),
        AttrSpec("at", "affine", "first position that is replaced, at least 0", default=0),
    )
    example = "put out, row, axis=0, at=t"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        old, part = types
        axis = normal_axis(call["axis"], len(old.shape))
        others = [d for i, d in enumerate(old.shape) if i != axis]
        if len(part.shape) != len(old.shape) or [d for i, d in enumerate(part.shape) if i != axis] != others:
            raise refuse(f"a part of shape {list(part.shape)} does not fit into {list(old.shape)}", code="A220")
        positions(call, "at", part.shape[axis], old.shape[axis])
        if part.lo < old.dtype.lo or part.hi > old.dtype.hi:
            raise refuse(f"the part's interval [{part.lo}, {part.hi}] leaves {old.dtype}", "narrow it first", "A210")
        return joined(old.dtype, old.shape, (old, part))

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        axis, at = normal_axis(call["axis"], values[0].ndim), call.at("at")
        out = values[0].copy()
        out[(slice(None),) * axis + (slice(at, at + values[1].shape[axis]),)] = values[1]
        return out

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        old, part = nodes
        axis = normal_axis(call["axis"], len(old.shape) - 1)
        position = np.arange(old.shape[axis + 1])[None] - starts(b, call, "at")[:, None]
        inside = (position >= 0) & (position < part.shape[axis + 1])
        kept = pick_rows(b, old, axis, np.where(inside, -1, np.arange(old.shape[axis + 1])[None]))
        new = pick_rows(b, part, axis, np.where(inside, position, -1))
        out = kept + new
        out.lo, out.hi = join(old.interval, part.interval)  # at each position one of the two is zero by the index
        return out


@register
class Concat(Op):
    """Tensors joined along `axis`; the other lengths agree. The dtype is the widest of the sources'."""

    name = "concat"
    family = "view"
    proof = Argument.LINEAR
    variadic = True
    attributes = (AttrSpec("axis", "int", "axis along which the sources follow each other", default=0),)
    example = "concat h, a, b, axis=1"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        shape = list(types[0].shape)
        axis = normal_axis(call["axis"], len(shape))
        for t in types[1:]:
            if len(t.shape) != len(shape) or any(t.shape[i] != d for i, d in enumerate(shape) if i != axis):
                listed = " and ".join(str(list(t.shape)) for t in types)
                raise refuse(f"shapes {listed} cannot be joined along axis {axis}", code="A220")
        shape[axis] = sum(t.shape[axis] for t in types)
        return joined(widest(types), shape, types)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.concatenate(list(values), axis=call["axis"])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        axis = normal_axis(call["axis"], len(nodes[0].shape) - 1)
        return nodes[0] if len(nodes) == 1 else b.concat(nodes, axis)


@register
class Pad(Op):
    """`before` and `after` entries `value` added around `src` along `axis`.

    For several axes give lists of one length: `axis=(1, 2), before=(1, 1), after=(0, 0)`.
    """

    name = "pad"
    family = "view"
    proof = Argument.LINEAR
    attributes = (
        AttrSpec("axis", "ints", "axes that grow"),
        AttrSpec("before", "ints", "entries added before, per axis"),
        AttrSpec("after", "ints", "entries added after, per axis"),
        AttrSpec("value", "int", "the value of the new entries", default=0),
    )
    example = "pad x, x, axis=1, before=2, after=0"

    def _widths(self, call: Call, rank: int) -> list[tuple[int, int]]:
        axes, before, after = (ints(call[name]) for name in ("axis", "before", "after"))
        normal = [normal_axis(a, rank) for a in axes]
        if not len(axes) == len(before) == len(after) or len(set(normal)) != len(axes):
            raise refuse("axis, before and after need one entry for each of several different axes", code="A223")
        if min((0, *before, *after)) < 0:
            raise refuse("before and after must be at least 0", code="A223")
        widths = dict(zip(normal, zip(before, after, strict=True), strict=True))
        return [widths.get(i, (0, 0)) for i in range(rank)]

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t, value = types[0], call["value"]
        widths = self._widths(call, len(t.shape))
        if not t.dtype.lo <= value <= t.dtype.hi:
            raise refuse(f"the value {value} does not fit into {t.dtype}", code="A223")
        lo, hi = join(t.interval, (value, value)) if any(map(any, widths)) else t.interval
        shape = tuple(d + sum(w) for d, w in zip(t.shape, widths, strict=True))
        return TensorType(t.dtype, shape, lo, hi)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        widths = self._widths(call, values[0].ndim)  # none for a scalar, which np.pad refuses
        return np.pad(values[0], widths, constant_values=call["value"]) if widths else values[0]

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        n, value = nodes[0], call["value"]
        shape = n.shape[1:]
        widths = self._widths(call, len(shape))
        for axis, (before, after) in enumerate(widths):
            if before or after:
                runs = [repeated(-1, before), *Progression.upto(shape[axis]).parts, repeated(-1, after)]
                index = Progression(tuple(part for part in runs if part.times))
                n = b.index_map(n, (axis + 1,), (axis + 1,), index)
        if value == 0 or n is nodes[0]:
            return n
        outside = np.pad(np.zeros(shape, np.int64), widths, constant_values=value)
        out = n + b.constant(outside)
        out.lo, out.hi = join(nodes[0].interval, (value, value))  # the constant is zero where the source is
        return out


@register
class Broadcast(Op):
    """`src` repeated to `shape` by NumPy's rules: axes of length 1 stretch, missing axes lead."""

    name = "broadcast"
    family = "view"
    proof = Argument.LINEAR
    attributes = (AttrSpec("shape", "ints", "the new shape", positional=True),)
    example = "broadcast b, b, (8, 32)"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        shape = ints(call["shape"])
        if any(d < 1 for d in shape) or broadcast_shapes(types[0].shape, shape) != shape:
            raise refuse(f"shape {list(types[0].shape)} does not broadcast to {list(shape)}", code="A220")
        return types[0].with_shape(shape)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.broadcast_to(values[0], ints(call["shape"]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return b.broadcast(nodes[0], ints(call["shape"]))


@register
class Flip(Op):
    """The entries along `axis` in reverse order."""

    name = "flip"
    family = "view"
    proof = Argument.LINEAR
    attributes = (AttrSpec("axis", "int", "axis that is reversed", positional=True),)
    example = "flip x, x, 1"

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        normal_axis(call["axis"], len(types[0].shape))
        return types[0]

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.flip(values[0], call["axis"])

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        axis = normal_axis(call["axis"], len(nodes[0].shape) - 1)
        return b.pick(nodes[0], axis, np.arange(nodes[0].shape[axis + 1])[::-1])


@dataclass(frozen=True)
class Window:
    """A two-dimensional window that slides over the last two axes ``[.., H, W]`` of an image.

    ``view[.., oy, ox, ky, kx] = image[.., oy*stride[0] + ky*dilation[0] - pad[0], ox*stride[1] + kx*dilation[1] -
    pad[1]]``, zero outside. ``pad`` is (top, left, bottom, right). ``im2col`` and ``conv2d`` share this class.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    dilation: tuple[int, int]
    image: tuple[int, int]

    @staticmethod
    def of(call: Call, kernel: Sequence[int], image: Sequence[int]) -> Window:
        """The window that the attributes stride, pad and dilation describe. Raises ``TypeRuleError``."""
        stride, dilation, pad = (ints(call[name]) for name in ("stride", "dilation", "pad"))
        if len(pad) == 2:
            pad = pad + pad
        if len(kernel) != 2 or len(stride) != 2 or len(dilation) != 2 or len(pad) != 4:
            raise refuse("kernel, stride and dilation need 2 integers, pad 2 or 4", code="A223")
        if min((*kernel, *stride, *dilation)) < 1 or min(pad) < 0:
            raise refuse("kernel, stride and dilation must be at least 1, pad at least 0", code="A223")
        w = Window(
            (kernel[0], kernel[1]),
            (stride[0], stride[1]),
            (pad[0], pad[1], pad[2], pad[3]),
            (dilation[0], dilation[1]),
            (image[0], image[1]),
        )
        if math.prod(w.padded) > MAX_ENTRIES:
            raise refuse(f"a padded image of {list(w.padded)} has more than 2^28 entries", code="A225")
        if min(w.out) < 1:
            raise refuse(
                f"a window of {list(w.span)} does not fit into a padded image of {list(w.padded)}", code="A220"
            )
        return w

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of the image with its padding."""
        return self.image[0] + self.pad[0] + self.pad[2], self.image[1] + self.pad[1] + self.pad[3]

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns of the image that one window touches, gaps included."""
        return self.dilation[0] * (self.kernel[0] - 1) + 1, self.dilation[1] * (self.kernel[1] - 1) + 1

    @property
    def out(self) -> tuple[int, int]:
        """Number of window positions per axis."""
        return tuple((p - s) // t + 1 for p, s, t in zip(self.padded, self.span, self.stride, strict=True))  # type: ignore[return-value]

    def index(self, axis: int) -> I64:
        """``[positions, kernel]`` coordinates in the image along axis 0 or 1; -1 in the padding."""
        first = np.arange(self.out[axis])[:, None] * self.stride[axis] - self.pad[axis]
        at = first + np.arange(self.kernel[axis])[None] * self.dilation[axis]
        return np.where((at >= 0) & (at < self.image[axis]), at, -1)

    def pads(self) -> bool:
        """Whether a window reads padding: the first does at its start, or the last at its end."""
        last = [(o - 1) * s + n - 1 - p for o, s, n, p in zip(self.out, self.stride, self.span, self.pad, strict=False)]
        return max(self.pad[:2]) > 0 or any(at >= d for at, d in zip(last, self.image, strict=True))

    def view(self, image: I64) -> I64:
        """``[.., oh, ow, kh, kw]``, a read-only view of the padded image."""
        widths = [(0, 0)] * (image.ndim - 2) + [(self.pad[0], self.pad[2]), (self.pad[1], self.pad[3])]
        x = np.pad(image, widths) if any(self.pad) else image
        windows = np.lib.stride_tricks.sliding_window_view(x, self.span, axis=(-2, -1))
        out: I64 = windows[..., :: self.stride[0], :: self.stride[1], :: self.dilation[0], :: self.dilation[1]]
        return out

    def node(self, b: Builder, image: Node) -> Node:
        """``[.., oh, ow, kh, kw]`` as one index map per image axis: w -> (ow, kw), then h -> (oh, kh) around it."""
        h = len(image.shape) - 2
        x = b.index_map(image, (h + 1,), (h + 1, h + 2), self.index(1))
        return b.index_map(x, (h,), (h, h + 2), self.index(0))


WINDOW_ATTRIBUTES = (
    AttrSpec("stride", "ints", "vertical and horizontal distance of windows", default=(1, 1)),
    AttrSpec("pad", "ints", "zeros around: (vertical, horizontal) or (top, left, bottom, right)", default=(0, 0)),
    AttrSpec("dilation", "ints", "vertical and horizontal distance of entries in a window", default=(1, 1)),
)


@register
class Im2col(Op):
    """All windows of an image: `dst[.., oy, ox, ky, kx] = src[.., oy*sy + ky*dy - top, ox*sx + kx*dx - left]`.

    `src` is `[.., H, W]`, `dst` is `[.., OH, OW, KH, KW]`, `OH = floor((H + top + bottom - dy*(KH-1) - 1) / sy) + 1`
    and likewise OW; entries outside the image are zero. A maximum over the last two axes is max pooling.
    """

    name = "im2col"
    family = "view"
    proof = Argument.LINEAR
    attributes = (AttrSpec("kernel", "ints", "height and width of the window"), *WINDOW_ATTRIBUTES)
    example = "im2col w, x, kernel=(2, 2), stride=(2, 2)"

    def _window(self, call: Call, shape: Sequence[int]) -> Window:
        if len(shape) < 2:
            raise refuse("im2col needs an image of rank 2 or more", code="A220")
        return Window.of(call, ints(call["kernel"]), shape[-2:])

    def infer(self, call: Call, types: Sequence[TensorType]) -> TensorType:
        t = types[0]
        w = self._window(call, t.shape)
        lo, hi = join(t.interval, (0, 0)) if w.pads() else t.interval
        return TensorType(t.dtype, (*t.shape[:-2], *w.out, *w.kernel), lo, hi)

    def execute(self, call: Call, values: Sequence[I64]) -> I64:
        return np.ascontiguousarray(self._window(call, values[0].shape).view(values[0]))

    def constrain(self, b: Builder, call: Call, nodes: Sequence[Node]) -> Node:
        return self._window(call, nodes[0].shape[1:]).node(b, nodes[0])
