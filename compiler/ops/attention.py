"""Scaled dot-product attention. Masks of truth values multiply the exponentials: what is masked weighs exactly nothing,
and a row without any key gives 0. Scores are exact accumulators up to the softmax."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from syurmy.compiler.emit import Tensor
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.linear import pair_limit
from syurmy.compiler.ops.logic import both
from syurmy.compiler.ops.softmax import exponentials, scores, shares, softmax_last
from syurmy.isa.arrays import F64


@lowering("Attention", since=23)
def attention(c: Context, n: Node) -> Result:
    limit = pair_limit(max(c.shape(n.inputs[0])[-1], c.shape(n.inputs[1])[-2]))
    q, k, v = (c.factor(c.tensor(name), limit) for name in n.inputs[:3])
    flat = len(q.shape) == 3
    if flat:
        q = _heads(c, q, n.attr("q_num_heads"))
        k, v = (_heads(c, x, n.attr("kv_num_heads")) for x in (k, v))
    past = 0
    if c.has(n, 4):
        past = c.shape(n.inputs[4])[2]
        k, v = _joined(c, c.tensor(n.inputs[4]), k), _joined(c, c.tensor(n.inputs[5]), v)
    present = (k, v)
    k, v = (_repeated(c, c.factor(x, limit), q.shape[1]) for x in (k, v))
    factor = n.attr("scale", 0.0) or 1 / math.sqrt(q.shape[3])
    s = c.emit("matmul", q, c.emit("transpose", k, perm=(0, 1, 3, 2)), scale=q.scale * k.scale * factor)
    shown, mode = s, n.attr("qk_matmul_output_mode", 0)
    cap = n.attr("softcap", 0.0)
    if cap > 0:
        s = c.table(s, lambda x: cap * np.tanh(x / cap), "softcap")
        shown = s if mode else shown
    s, allowed = _masked(c, n, s, past)
    if mode == 2:
        shown = s
    p = softmax_last(c, s) if allowed is None else masked_softmax(c, s, allowed)
    if mode == 3:
        shown = p
    v = c.factor(v, limit)
    y = c.emit("matmul", p, v, scale=p.scale * v.scale)
    if flat:
        y = c.reshape(c.emit("transpose", y, perm=(0, 2, 1, 3)), c.shape(n.outputs[0]))
    return [y, *present, shown][: len(n.outputs)]


def _heads(c: Context, x: Tensor, heads: int) -> Tensor:
    b, length, width = x.shape
    return c.emit("transpose", c.reshape(x, (b, length, heads, width // heads)), perm=(0, 2, 1, 3))


def _joined(c: Context, past: Tensor, x: Tensor) -> Tensor:
    parts = c.align([c.factor(past), x], max(t.peak * t.scale for t in (past, x)))
    return c.emit("concat", *parts, axis=2)


def _repeated(c: Context, x: Tensor, heads: int) -> Tensor:
    """Each of the heads of keys or values for several heads of queries."""
    b, h, length, width = x.shape
    if h == heads:
        return x
    y = c.broadcast(c.reshape(x, (b, h, 1, length, width)), (b, h, heads // h, length, width))
    return c.reshape(y, (b, heads, length, width))


def _masked(c: Context, n: Node, s: Tensor, past: int) -> tuple[Tensor, Tensor | None]:
    """Scores with the mask of reals added, and the truth values of all others together."""
    rows, columns = s.shape[2:]
    fixed = np.ones((rows, columns), bool)
    allowed: list[Tensor] = []
    i, j = np.arange(rows)[:, None], np.arange(columns)
    left, right = n.attr("left_window_size", -1), n.attr("right_window_size", -1)
    left, right = (b if b >= 0 else columns + rows for b in (left, right))
    right = min(right, 0) if n.attr("is_causal", 0) else right
    if c.has(n, 6):
        lengths = c.reshape(c.tensor(n.inputs[6]), (s.shape[0], 1, 1, 1))
        allowed.append(c.emit("lt", c.out.param(j), lengths, scale=1.0))
        key = c.out.param(j - i + rows)  # compared with lengths: the key's place from the query's
        if right < columns:
            allowed.append(c.emit("le", key, c.emit("addi", lengths, value=right), scale=1.0))
        if left < columns:
            allowed.append(c.emit("ge", key, c.emit("addi", lengths, value=-left), scale=1.0))
    else:
        fixed &= (j - i - past <= right) & (i + past - j <= left)
    if c.has(n, 3):
        width = c.shape(n.inputs[3])[-1]
        fixed &= j < width
        m = c.operand(n.inputs[3])
        missing = columns - width
        if c.is_float(n.inputs[3]):
            if isinstance(m, Tensor):
                m = c.emit("pad", m, axis=(len(m.shape) - 1,), before=(0,), after=(missing,), value=0) if missing else m
            else:
                fixed, m = _finite(fixed, np.pad(m, [(0, 0)] * (m.ndim - 1) + [(0, missing)]))
            s = c.emit("add", *c.align([s, m], s.peak * s.scale + c.peak(n.inputs[3])))
        else:
            t = c.tensor(n.inputs[3])
            t = c.emit("pad", t, axis=(len(t.shape) - 1,), before=(0,), after=(missing,), value=0) if missing else t
            allowed.append(t)
    if not fixed.all():
        allowed.append(c.out.param(fixed.astype(np.int64)))
    if not allowed:
        return s, None
    m = allowed[0]
    for x in allowed[1:]:
        m = both(c, m, x)
    return s, c.broadcast(m, s.shape)


def _finite(fixed: npt.NDArray[np.bool_], mask: F64) -> tuple[npt.NDArray[np.bool_], F64]:
    """A constant mask of reals without its infinities, which become truth values."""
    return fixed & np.isfinite(mask), np.where(np.isfinite(mask), mask, 0.0)


def masked_softmax(c: Context, x: Tensor, allowed: Tensor) -> Tensor:
    """Softmax along the last axis over the entries where ``allowed`` is 1; the others, and rows of others, give 0."""
    x = scores(c, x)
    top = c.emit("select", allowed, x, c.out.param(np.array(x.type.lo), x.scale), scale=x.scale)
    _, e = exponentials(c, top)
    return shares(c, c.emit("mul", e, allowed, scale=e.scale))
