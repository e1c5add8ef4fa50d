"""Attention as onnxruntime's optimiser fuses it: projections, heads, masks, caches, rotations.

    y = softmax(scale q k^T + mask + bias) v      per head

Masks of lengths and of tokens add ``mask_filter_value``; the causal one is exact. New keys and values lengthen a cache:
buffers that hold old and new ones are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from syurmy.compiler.bodies.engine import body
from syurmy.compiler.bodies.norms import RUNTIME, rms_norm
from syurmy.compiler.bodies.writer import Writer
from syurmy.compiler.errors import Unsupported

HIDDEN = -10000.0


@dataclass(frozen=True)
class Shape:
    """Batch, queries, and keys with those of the cache."""

    batch: int
    rows: int
    columns: int


def heads(w: Writer, x: str, count: int) -> str:
    """``[B, S, N D]`` as ``[B, N, S, D]``."""
    return w.transposed(w.reshape(x, [0, 0, count, -1]), 0, 2, 1, 3)


def joined(w: Writer, x: str) -> str:
    """``[B, N, S, D]`` as ``[B, S, N D]``."""
    return w.reshape(w.transposed(x, 0, 2, 1, 3), [0, 0, -1])


def scores(w: Writer, q: str, k: str, scale: float) -> str:
    return w.times(w("MatMul", q, w.transposed(k, 0, 1, 3, 2)), scale)


def lengths_mask(w: Writer, mask: str, s: Shape) -> str:
    """1 where a mask hides a key: ``[B, 1, 1 or S, T]``, reals. A vector holds lengths, or ends and then starts."""
    dims = w.shape(mask)
    if len(dims) == 1:
        if dims[0] not in (s.batch, 2 * s.batch):
            raise Unsupported("a mask of packed sequences", "one length per sequence, or a mask of tokens")
        numbers = w.cast(mask, w.real)
        ends = w.part(numbers, 0, 0, s.batch) if dims[0] > s.batch else numbers
        at = w.number(np.arange(s.columns).reshape(1, 1, 1, -1) + 0.5)
        hidden = w.cast(w("Greater", at, w.reshape(ends, [s.batch, 1, 1, 1])), w.real)
        if dims[0] > s.batch:
            starts = w.reshape(w.part(numbers, 0, s.batch, 2 * s.batch), [s.batch, 1, 1, 1])
            hidden = w("Max", hidden, w.cast(w("Less", at, starts), w.real))
        return hidden
    if len(dims) == 4:
        mask = w.part(w.part(mask, 2, s.columns - s.rows, s.columns), 3, 0, s.columns)
    shown = w.reshape(mask, [s.batch, 1, 1, s.columns]) if len(dims) == 2 else mask
    shown = w.unsqueeze(mask, 1) if len(dims) == 3 else shown
    one = w.number(1.0)
    return w("Sub", one, w.cast(w("Greater", w.cast(shown, w.real), w.number(0.5)), w.real))


def masked(w: Writer, x: str, mask: str, bias: str, causal: bool, shape: Shape) -> str:
    """Scores with what hides keys."""
    x = w.total(x, bias)
    if mask:
        far = w.times(lengths_mask(w, mask, shape), w.attr("mask_filter_value", HIDDEN))
        x = w("Add", x, far)
    if causal and shape.rows > 1:
        keep = np.tri(shape.rows, shape.columns, shape.columns - shape.rows, bool)
        x = w("Where", w.const(keep), x, w.number(np.finfo(w.real).min))
    return x


def weighed(w: Writer, x: str, v: str) -> str:
    return w("MatMul", w("Softmax", x, axis=3), v)


def cached(w: Writer, past: str, x: str) -> str:
    """Keys or values behind those of the cache."""
    return w("Concat", past, x, axis=2) if past and w.dim(past, 2) else x


@body("Attention", domain=RUNTIME)
def attention(w: Writer) -> list[str]:
    x, weights, bias, mask, past, added = map(w.input, range(6))
    w.refuse(6, "a cache that is a buffer")
    batch, rows = w.dim(x, 0), w.dim(x, 1)
    count = w.attr("num_heads")
    sizes = list(w.attr("qkv_hidden_sizes") or [w.dim(weights, 1) // 3] * 3)
    return attended(w, w.total(w("MatMul", x, weights), bias), sizes, count, batch, rows, mask, past, added)


def attended(
    w: Writer, qkv: str, sizes: list[int], count: int, batch: int, rows: int, mask: str, past: str, added: str
) -> list[str]:
    """Attention behind its projections, and its cache ``[2, B, N, T, D]``."""
    q, k, v = (heads(w, p, count) for p in w.split(qkv, sizes, 2))
    if w.attr("do_rotary", 0):
        raise Unsupported("rotations without tables", "RotaryEmbedding before it")
    length = rows
    if past and w.dim(past, 3):
        length += w.dim(past, 3)
        old_k, old_v = (w.squeeze(p, 0) for p in w.split(past, [1, 1], 0))
        k, v = w("Concat", old_k, k, axis=2), w("Concat", old_v, v, axis=2)
    scale = w.attr("scale") or 1 / math.sqrt(sizes[0] // count)
    s = scores(w, q, k, scale)
    s = masked(w, s, mask, added, bool(w.attr("unidirectional", 0)), Shape(batch, rows, length))
    y = joined(w, weighed(w, s, v))
    present = w("Concat", w.unsqueeze(k, 0), w.unsqueeze(v, 0), axis=0) if w.wants(1) else ""
    return [y, present]


@body("MultiHeadAttention", domain=RUNTIME)
def multi_head_attention(w: Writer) -> list[str]:
    q, k, v, bias, mask, added, past_k, past_v = map(w.input, range(8))
    if any(w.has(i) for i in (8, 9)):
        raise Unsupported("a cache that is a buffer, or beams", "joined keys and values")
    count = w.attr("num_heads")
    whole = not k  # queries, keys and values in one, [B, S, N, 3, D]
    batch, rows = w.dim(q, 0), w.dim(q, 1)
    if whole:
        q, k, v = (w.squeeze(p, 3) for p in w.split(q, [1, 1, 1], 3))
        q, k, v = (w.reshape(p, [0, 0, -1]) for p in (q, k, v))
        width = w.dim(w.input(0), 2) * w.dim(w.input(0), 4)
        widths, length = [width] * 3, rows
    elif not v:  # keys and values in one, [B, L, N, 2, D]
        length, width = w.dim(k, 1), w.dim(q, 2)
        k, v = (w.reshape(w.squeeze(p, 3), [0, 0, -1]) for p in w.split(k, [1, 1], 3))
        widths = [width] * 3
    else:
        width = w.dim(q, 2)
        split = w.rank(k) == 3
        length = w.dim(k, 1 if split else 2)
        widths = [width, width, w.dim(v, 2) if split else w.dim(v, 3) * count]
    if bias:
        parts = w.split(bias, widths, 0)
        q = w("Add", q, parts[0])
        if w.input(2) == "" or w.rank(w.input(1)) == 3:
            k, v = w("Add", k, parts[1]), w("Add", v, parts[2])
    crossed = bool(w.input(1) and w.input(2) and w.rank(w.input(1)) == 4)
    q = heads(w, q, count)
    k, v = (x if crossed else heads(w, x, count) for x in (k, v))
    if past_k:
        length += w.dim(past_k, 2)
        k, v = cached(w, past_k, k), cached(w, past_v, v)
    s = scores(w, q, k, w.attr("scale") or 1 / math.sqrt(width // count))
    s = masked(w, s, mask, added, bool(w.attr("unidirectional", 0)), Shape(batch, rows, length))
    return [joined(w, weighed(w, s, v)), k, v, s]


@body("RotaryEmbedding", domain=RUNTIME)
def rotary_embedding(w: Writer) -> str:
    x, at, cos, sin = map(w.input, range(4))
    flat = w.rank(x) == 3
    half = w.dim(cos, 1)
    turned = w.attr("rotary_embedding_dim", 0) or 2 * half
    batch, rows = w.dim(x, 0), w.dim(x, 1 if flat else 2)
    if flat:
        count = w.attr("num_heads", 0) or w.dim(x, 2) // (2 * half)
        width = w.dim(x, 2) // count
        x = heads(w, x, count)
    else:
        width = w.dim(x, 3)
    place = at
    if w.shape(at) != (batch, rows):  # the place of the first one
        place = w("Add", w.reshape(at, [1, 1]), w.const(np.arange(rows)[None], np.int64))
    y = turned_by(w, x, place, cos, sin, half, turned, width, bool(w.attr("interleaved", 0)))
    return joined(w, y) if flat else y


def turned_by(
    w: Writer, x: str, place: str, cos: str, sin: str, half: int, turned: int, width: int, interleaved: bool
) -> str:
    """Pairs ``(a, b)`` of the last axis of ``[B, N, S, D]`` become ``(a cos - b sin, a sin + b cos)`` at the angles of
    their places ``[B or 1, S]``: halves of the first ``turned`` entries, or neighbours. The others stay."""
    angles = [w.unsqueeze(w("Gather", t, place, axis=0), 1) for t in (cos, sin)]
    part = w.part(x, 3, 0, turned) if turned < width else x
    if interleaved:
        pairs = w.reshape(part, [0, 0, 0, half, 2])
        a, b = (w.squeeze(p, 4) for p in w.split(pairs, [1, 1], 4))
    else:
        a, b = w.split(part, [half, half], 3)
    real = w("Sub", w("Mul", a, angles[0]), w("Mul", b, angles[1]))
    imaginary = w("Add", w("Mul", a, angles[1]), w("Mul", b, angles[0]))
    if interleaved:
        y = w.reshape(w("Concat", w.unsqueeze(real, 4), w.unsqueeze(imaginary, 4), axis=4), [0, 0, 0, turned])
    else:
        y = w("Concat", real, imaginary, axis=3)
    return w("Concat", y, w.part(x, 3, turned, width), axis=3) if turned < width else y


@body("GroupQueryAttention", domain=RUNTIME)
def group_query_attention(w: Writer) -> list[str]:
    """Causal. ``seqlens_k`` is the number of keys of each sequence less one; queries are the last of them. Where that
    is data, new keys and values take the places behind those that count. Without a cache queries are the first."""
    q, k, v, past_k, past_v, ends, _, cos, sin, at, added = map(w.input, range(11))
    for i, what in (
        (11, "a sink per head"),
        (12, "a quantised cache"),
        (13, "a quantised cache"),
        (16, "packed queries"),
    ):
        w.refuse(i, what)
    if w.attr("smooth_softmax", 0) == 1 or w.attr("k_quant_type", "NONE") != "NONE" or w.attr("causal", 1) == 0:
        raise Unsupported("a smooth softmax, a quantised cache, or attention that is not causal", "the plain form")
    count, few = w.attr("num_heads"), w.attr("kv_num_heads")
    batch, rows, width = w.shape(q)
    if not k:
        size = width // (count + 2 * few)
        q, k, v = w.split(q, [count * size, few * size, few * size], 2)
    else:
        size = width // count
    q, k, v = heads(w, q, count), heads(w, k, few), heads(w, v, few)
    if w.has(14):
        epsilon = w.attr("q_norm_epsilon") or w.attr("qk_norm_epsilon", 1e-6)
        q = rms_norm(w, q, w.input(14), epsilon)[0]
        k = rms_norm(w, k, w.input(15), w.attr("k_norm_epsilon") or epsilon)[0]
    before = w.dim(past_k, 2) if past_k else 0
    total = before + rows
    steps = w.const(np.arange(rows)[None], np.int64)
    first = ""  # place of the first query of each sequence, where it is not that behind the cache
    given = w.value(ends)
    if before and (given is None or (given != total - 1).any()):
        first = w("Sub", w.reshape(w.cast(ends, np.int64), [batch, 1]), w.const(rows - 1, np.int64))
    place = at or w("Add", first or w.const([[before]], np.int64), steps)
    if w.attr("do_rotary", 0):
        half = w.dim(cos, 1)
        turn = (place, cos, sin, half, 2 * half, size, bool(w.attr("rotary_interleaved", 0)))
        q, k = turned_by(w, q, *turn), turned_by(w, k, *turn)
    k, v = cached(w, past_k, k), cached(w, past_v, v)
    if first:
        rest = placed(w, first, before, total)
        k, v = moved(w, k, rest, batch), moved(w, v, rest, batch)
    s = scores(w, q, shared(w, k, count // few, count, size), w.attr("scale") or 1 / math.sqrt(size))
    cap = w.attr("softcap", 0.0)
    s = w.times(w("Tanh", w.times(s, 1 / cap)), cap) if cap > 0 else s
    s = w.total(s, added)
    window = w.attr("local_window_size", -1)
    if first:
        s = w("Add", s, w.times(w.cast(unseen(w, first, rows, total, window), w.real), HIDDEN))
    else:
        keep = np.tri(rows, total, before, bool)
        keep &= ~np.tri(rows, total, before - window, bool) if window > 0 else True
        s = s if keep.all() else w("Where", w.const(keep), s, w.number(np.finfo(w.real).min))
    return [joined(w, weighed(w, s, shared(w, v, count // few, count, size))), k, v]


def placed(w: Writer, first: str, before: int, total: int) -> str:
    """``[B, T]``: for each place of the new cache where it stands in the old one with the new rows behind it."""
    at = w.const(np.arange(total)[None], np.int64)
    new = w.cast(w("Not", w("Less", at, first)), np.int64)
    moved_by = w("Mul", new, w("Sub", w.const(before, np.int64), first))
    return w("Min", w("Add", at, moved_by), w.const(total - 1, np.int64))


def moved(w: Writer, x: str, at: str, batch: int) -> str:
    """``x[b, :, at[b]]``"""
    rows = [w.reshape(r, [-1]) for r in (w.split(at, [1] * batch, 0) if batch > 1 else [at])]
    parts = w.split(x, [1] * batch, 0) if batch > 1 else [x]
    made = [w("Gather", p, r, axis=2) for p, r in zip(parts, rows, strict=True)]
    return w("Concat", *made, axis=0) if batch > 1 else made[0]


def unseen(w: Writer, first: str, rows: int, total: int, window: int) -> str:
    """``[B, 1, S, T]``: keys behind each query, or farther before it than the window."""
    ahead = w.const(np.arange(total) - np.arange(rows)[:, None], np.int64)
    start = w.unsqueeze(first, 1, 3)
    hidden = w("Greater", ahead, start)
    if window > 0:
        hidden = w("Or", hidden, w("Less", ahead, w("Sub", start, w.const(window - 1, np.int64))))
    return hidden


def shared(w: Writer, x: str, times: int, count: int, size: int) -> str:
    """Every head of keys or values for ``times`` of the ``count`` heads of queries."""
    if times == 1:
        return x
    return w.reshape(w("Concat", *[w.unsqueeze(x, 2)] * times, axis=2), [0, count, -1, size])
