"""Products with quantised weights: with a scale per block of 4 bits, and with activations that are quantised as they
come; rows of tables with such scales."""

from __future__ import annotations

import numpy as np

from syurmy.compiler.bodies.attention import attended
from syurmy.compiler.bodies.engine import body
from syurmy.compiler.bodies.norms import RUNTIME
from syurmy.compiler.bodies.writer import Writer
from syurmy.compiler.errors import Unsupported
from syurmy.isa.arrays import Array

BY_AXIS = 13  # from this opset on DequantizeLinear has an axis


def unpacked(x: Array, bits: int, count: int) -> Array:
    """Unsigned integers of ``bits`` bits along the last axis of bytes, the lowest bits first; ``count`` of them."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = (x[..., None] >> shifts) & np.uint8(2**bits - 1)
    return parts.reshape(*x.shape[:-1], -1)[..., :count]


@body("MatMulNBits", domain=RUNTIME)
def matmul_nbits(w: Writer) -> str:
    """``A W^T + bias`` with the weights ``(q - zero) * scale`` of ``[N, K]``, zero and scale per block along K."""
    n, k, size, bits = (w.attr(name) for name in ("N", "K", "block_size", "bits"))
    bits = bits or 4
    blocks = -(-k // size)
    if bits not in (2, 4, 8):
        raise Unsupported(f"weights of {bits} bits", "2, 4 or 8 bits")
    q = unpacked(w.fixed(1, "the weights").view(np.uint8).reshape(n, -1), bits, blocks * size)
    scales = w.fixed(2, "the scales").reshape(n, blocks)
    zeros = np.full((n, blocks), 2 ** (bits - 1), np.uint8)
    if w.has(3):
        given = w.fixed(3, "the zero points")
        whole = given.dtype.kind in "iu"
        zeros = unpacked(given.view(np.uint8).reshape(n, -1), bits, blocks) if whole else given.reshape(n, blocks)
    if w.has(4):
        if bits == 2:  # which runtimes read differently
            raise Unsupported("weights of 2 bits with blocks in an order of their own", "4 or 8 bits, or no g_idx")
        order = w.fixed(4, "the blocks' order").astype(np.int64)[:k]
        reals = (q[:, :k].astype(np.float64) - zeros[:, order]) * scales[:, order]
        b = w.number(reals.T)
    elif zeros.dtype != np.uint8 or w.real != np.float32 or w.opset < BY_AXIS:
        reals = (q.reshape(n, blocks, size).astype(np.float64) - zeros[..., None]) * scales[..., None]
        b = w.number(reals.reshape(n, -1)[:, :k].T)
    else:  # the compiler finds the integers again (``compiler.mantissas``)
        rows = (
            w.const(x.reshape(-1, *x.shape[2:])) for x in (q.reshape(n, blocks, size), scales.astype(np.float32), zeros)
        )
        b = w.reshape(w("DequantizeLinear", *rows, axis=0), [n, blocks * size])
        b = w("Transpose", b if k == blocks * size else w.part(b, 1, 0, k), perm=[1, 0])
    return w.total(w("MatMul", w.input(0), b), w.input(5))


@body("GatherBlockQuantized", domain=RUNTIME)
def gather_block_quantized(w: Writer) -> str:
    """Rows of a table ``(q - zero) * scale`` of 2, 4 or 8 bits, zero and scale per block along an axis."""
    q, scales = w.fixed(0, "the table"), w.fixed(2, "the scales")
    zeros = w.fixed(3, "the zero points") if w.has(3) else None
    size, bits = w.attr("block_size", 128), w.attr("bits", 4)
    axis, rows = (w.attr(name, default) % q.ndim for name, default in (("quantize_axis", 1), ("gather_axis", 0)))
    if q.dtype == np.uint8:
        count = q.shape[-1] * 8 // bits
        zeros = 2 ** (bits - 1) if zeros is None else unpacked(zeros, bits, scales.shape[-1])
        q = unpacked(q, bits, count)
    elif q.dtype.name not in ("int4", "uint4"):
        raise Unsupported(f"a table of {q.dtype.name}", "integers of 2, 4 or 8 bits")

    wide = q.ndim == 2 and axis == 1 and not rows and not q.shape[1] % size
    if wide and scales.dtype == np.float32 and w.opset >= BY_AXIS:  # as of MatMulNBits
        kind = np.int8 if q.dtype.name == "int4" else np.uint8
        points = np.broadcast_to(np.asarray(0 if zeros is None else zeros).astype(kind), scales.shape)
        parts = [q.astype(kind).reshape(-1, size), scales.reshape(-1), points.reshape(-1)]
        table = w.reshape(w("DequantizeLinear", *map(w.const, parts), axis=0), list(q.shape))
        return w("Gather", table, w.input(1), axis=0)

    def along(x: Array) -> Array:
        return np.repeat(x.astype(np.float32), size, axis).take(range(q.shape[axis]), axis)

    fine = q.astype(np.float32) - (zeros if isinstance(zeros, int) else 0 if zeros is None else along(zeros))
    return w("Gather", w.const((fine * along(scales)).astype(scales.dtype)), w.input(1), axis=rows)


def scaled_product(w: Writer, a: str, b: str, zeros: tuple[str, str], scales: tuple[str, str], bias: str) -> str:
    """``(a - zero) (b - zero) * scales + bias``"""
    acc = w.cast(w("MatMulInteger", a, b, *zeros), np.float32)
    return w.total(w("Mul", acc, w("Mul", *scales)), bias)


@body("MatMulIntegerToFloat", domain=RUNTIME)
def matmul_integer_to_float(w: Writer) -> str:
    a, b, a_scale, b_scale, a_zero, b_zero, bias = map(w.input, range(7))
    return scaled_product(w, a, b, (a_zero, b_zero), (a_scale, b_scale), bias)


@body("DynamicQuantizeMatMul", domain=RUNTIME)
def dynamic_quantize_matmul(w: Writer) -> str:
    x, b, b_scale, b_zero, bias = map(w.input, range(5))
    a, a_scale, a_zero = w.several("DynamicQuantizeLinear", 3, x)
    return scaled_product(w, a, b, (a_zero, b_zero), (a_scale, b_scale), bias)


@body("QAttention", domain=RUNTIME)
def quantised_attention(w: Writer) -> list[str]:
    x, weights, bias, x_scale, w_scale, mask, x_zero, w_zero, past = map(w.input, range(9))
    batch, rows = w.dim(x, 0), w.dim(x, 1)
    qkv = scaled_product(w, x, weights, (x_zero, w_zero), (x_scale, w_scale), bias)
    return attended(w, qkv, [w.dim(weights, 1) // 3] * 3, w.attr("num_heads"), batch, rows, mask, past, "")


@body("DynamicQuantizeLSTM", domain=RUNTIME)
def dynamic_quantize_lstm(w: Writer) -> list[str]:
    """An LSTM whose products quantise what comes in: all of X at once, the state before every step. Weights are
    ``[D, I, 4H]``; gates in the order i, o, f, c."""
    x, weights, states, bias, lengths, h0, c0, peep, w_scale, w_zero, r_scale, r_zero = map(w.input, range(12))
    if lengths or peep or w.attr("clip") or w.attr("input_forget", 0):
        raise Unsupported("sequence lengths, peepholes, clipped or coupled gates", "the plain form")
    names = w.attr("activations")
    if names and [n.decode().lower() for n in names[:3]] != ["sigmoid", "tanh", "tanh"]:
        raise Unsupported("other activations", "Sigmoid, Tanh, Tanh")
    steps, batch, _ = w.shape(x)
    hidden, directions = w.attr("hidden_size"), w.dim(weights, 0)
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[w.attr("direction", "forward")]
    q = w.several("DynamicQuantizeLinear", 3, x)
    rows, last_h, last_c = [], [], []
    for d in range(directions):
        w_d, r_d, ws_d, wz_d, rs_d, rz_d = (
            w.squeeze(w.part(t, 0, d, d + 1), 0) for t in (weights, states, w_scale, w_zero, r_scale, r_zero)
        )
        gates = scaled_product(w, q[0], w_d, (q[2], wz_d), (q[1], ws_d), "")
        if bias:
            b = w.squeeze(w.part(bias, 0, d, d + 1), 0)
            gates = w.total(gates, w("Add", w.part(b, 0, 0, 4 * hidden), w.part(b, 0, 4 * hidden, 8 * hidden)))
        h, c = (
            w.squeeze(w.part(t, 0, d, d + 1), 0) if t else w.const(np.zeros((batch, hidden)), np.float32)
            for t in (h0, c0)
        )
        made: dict[int, str] = {}
        for k, t in enumerate(reversed(range(steps)) if backwards[d] else range(steps)):
            g = w.squeeze(w.part(gates, 0, t, t + 1), 0)
            if k or h0:
                p = w.several("DynamicQuantizeLinear", 3, h)
                g = w("Add", g, scaled_product(w, p[0], r_d, (p[2], rz_d), (p[1], rs_d), ""))
            i, o, f, new = w.split(g, [hidden] * 4, 1)
            i, o, f, new = w("Sigmoid", i), w("Sigmoid", o), w("Sigmoid", f), w("Tanh", new)
            c = w("Add", w("Mul", f, c), w("Mul", i, new))
            h = w("Mul", o, w("Tanh", c))
            made[t] = w.unsqueeze(h, 0, 1)
        rows.append(w("Concat", *(made[t] for t in range(steps)), axis=0))
        last_h.append(w.unsqueeze(h, 0))
        last_c.append(w.unsqueeze(c, 0))
    return [w("Concat", *rows, axis=1), w("Concat", *last_h, axis=0), w("Concat", *last_c, axis=0)]
