"""Integer arithmetic by ONNX's rules: casts, division, remainders, shifts, bits. Exact.

Division truncates as C does, ``Mod`` has the divisor's sign (``fmod=1``: the dividend's). A divisor of 0, undefined in
ONNX, counts as 1, so that every input has one result. What leaves a dtype of up to 32 bits wraps: every node's result
is brought back into it (``lower``) before another reads it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from syurmy.compiler.emit import Tensor
from syurmy.compiler.errors import Unsupported
from syurmy.compiler.graph import Node
from syurmy.compiler.lower import Context, Result, lowering
from syurmy.compiler.ops.logic import together
from syurmy.isa.types import DType

MAX_POWER = 62
WIDE = 2**31 - 1
HALF = 2**16
MAX_RESCALE = 48
CAST_BITS = 8  # a unit of this many bits below 1 tells reals below an integer from it
COARSE_CAST = 2**11  # reals up to this have four bits below 1 when they are narrowed to 16
MAX_SHIFT = 32


def sign(c: Context, x: Tensor) -> Tensor:
    return c.emit("sign", x, scale=1.0)


def magnitude(c: Context, x: Tensor) -> Tensor:
    return x if x.type.lo >= 0 else c.emit("abs", x)


def divisor(c: Context, x: Tensor) -> Tensor:
    """``|x|``, or 1 for 0."""
    x = magnitude(c, x)
    return x if x.type.lo >= 1 else c.emit("max", x, c.out.param(np.array(1)))


def quotient(c: Context, a: Tensor, b: Tensor) -> Tensor:
    """``a / b`` rounded toward 0."""
    q = c.emit("div", magnitude(c, a), divisor(c, b), scale=1.0)
    for x in (a, b):
        if x.type.lo < 0:
            q = c.emit("mul", q, sign(c, x))
    return q


def remainder(c: Context, a: Tensor, b: Tensor, like_dividend: bool) -> Tensor:
    """``a - b * trunc(a / b)`` or ``a - b * floor(a / b)``, at the scale of both."""
    size = divisor(c, b)
    if like_dividend:
        r = c.emit("mod", magnitude(c, a), size, scale=a.scale)
        return r if a.type.lo >= 0 else c.emit("mul", r, sign(c, a))
    if b.type.lo >= 0 and min(a.bound, b.bound) < WIDE:
        return c.emit("mod", a, size, scale=a.scale)
    s = sign(c, b)
    if min(a.bound, b.bound) >= WIDE:  # of magnitudes: what is missing to the divisor, where the signs differ
        r = c.emit("mod", magnitude(c, a), size, scale=a.scale)
        opposite = c.emit("lt", c.emit("mul", c.emit("mul", sign(c, a), s), r), c.out.param(np.array(0)), scale=1.0)
        r = c.emit("select", opposite, c.emit("sub", c.broadcast(size, r.shape), r), r, scale=a.scale)
        return c.emit("mul", r, s)
    r = c.emit("mod", c.emit("mul", a, s), size, scale=a.scale)
    return c.emit("mul", r, s)


@lowering("Mod", since=10)
def mod(c: Context, n: Node) -> Result:
    a, b = together(c, n.inputs)
    return c.broadcast(remainder(c, a, b, bool(n.attr("fmod", 0))), c.shape(n.outputs[0]))


def product(c: Context, op: str, a: Tensor, b: Tensor, dtype: np.dtype[Any], told: bool = False) -> Tensor:
    """``mul`` or ``matmul`` of integers, modulo 2^bits. Of 32 bits and more than the machine's 61 together, b is taken
    apart: ``a (2^16 h + l) = 2^16 (a h mod 2^bits) + a l``. ``told``: see ``Context.wraps``."""
    try:
        y = c.emit(op, a, b, scale=1.0)
    except Unsupported:
        if dtype.itemsize > 4 or min(a.bound, b.bound) < HALF:
            raise
        low = c.emit("mod", b, c.out.param(np.array(HALF)), scale=1.0)
        high = c.emit("shr", b, amount=HALF.bit_length() - 1)
        upper = c.wrapped(product(c, op, a, high, dtype, told), dtype)
        y = c.emit("add", c.muli(upper, HALF), product(c, op, a, low, dtype))
    if told:
        c.wraps(y, dtype)
    return y


@lowering("CastLike", since=15)
@lowering("Cast", since=6)
def cast(c: Context, n: Node) -> Result:
    """Between reals, and from integers to reals: the same number. To booleans: whether it is not 0. From reals to
    integers: toward 0, saturating. Exact where the scale is a power of two, as that of inputs; else a real less than
    half a unit below an integer is that integer."""
    x = c.tensor(n.inputs[0])
    dtype = c.value(n.outputs[0]).dtype
    if dtype.kind == "f":
        return x
    if dtype.kind == "b":
        if x.type.lo >= 0 and x.type.hi <= 1 and x.scale == 1.0:
            return x
        return c.emit("ne", x, c.out.param(np.array(0)), scale=1.0)
    if dtype.kind not in "iu":
        raise Unsupported(f"a cast to {dtype}", "numbers")
    if not c.is_float(n.inputs[0]):
        return c.wrapped(x, dtype)
    info = np.iinfo(dtype)
    lo, hi = max(int(info.min), DType.I32.lo), min(int(info.max), DType.I32.hi)
    shift = -math.log2(x.scale)
    if x.bound >= 2**15 and shift == int(shift) and 0 <= shift <= MAX_SHIFT:
        y = magnitude(c, x).scaled(1.0)
        y = c.emit("shr", y, amount=int(shift)) if shift else y
        y = c.emit("mul", y, sign(c, x)) if x.type.lo < 0 else y
        return y if lo <= y.type.lo and y.type.hi <= hi else _saturated(c, y, lo, hi)
    if x.bound >= 2**15 and x.peak * x.scale * c.precision.margin > COARSE_CAST:
        return _truncated(c, x, lo, hi)
    x = c.narrow(x)
    rows = np.arange(x.type.lo, x.type.hi + 1) * x.scale
    entries = np.trunc(rows + np.sign(rows) * x.scale / 2)
    return c.lookup(x, np.clip(entries, lo, hi).astype(np.int64), "to_integer")


def _truncated(c: Context, x: Tensor, lo: int, hi: int) -> Tensor:
    """``sign(x) floor(|x| u + u' / 2)`` for a scale u that is no power of two, u' = u or what it is made finer to.
    ``rescale`` adds a half, which is taken off before. Off by one at most where ``|x| u`` has more bits than its
    multiplier."""
    size = magnitude(c, x)
    finer = max(math.ceil(math.log2(x.scale)) + CAST_BITS, 0)
    size = c.muli(size, 2**finer).scaled(x.scale / 2**finer)
    half = math.floor(0.5 / size.scale - 0.5)
    size = c.emit("addi", size, value=-half)
    shift = max(min(59 - size.bound.bit_length(), 30) - math.ceil(math.log2(size.scale)), 0)
    shift = min(shift, MAX_RESCALE)
    y = c.rescale_by(size, max(round(size.scale * 2.0**shift), 1), shift, DType.I32, 0).scaled(1.0)
    y = c.emit("mul", y, sign(c, x)) if x.type.lo < 0 else y
    return y if lo <= y.type.lo and y.type.hi <= hi else _saturated(c, y, lo, hi)


def _saturated(c: Context, x: Tensor, lo: int, hi: int) -> Tensor:
    return c.emit("clamp", c.emit("cast", x, dtype=DType.I64), lo=lo, hi=hi)


@lowering("BitwiseAnd", "BitwiseOr", "BitwiseXor", since=18)
def bitwise(c: Context, n: Node) -> Result:
    """In the narrowest width that holds both operands: their further bits are their signs."""
    parts = [c.tensor(i) for i in n.inputs]
    ends = min(x.type.lo for x in parts), max(x.type.hi for x in parts)
    width = next((d for d in (DType.I8, DType.I16, DType.I32) if d.lo <= ends[0] and ends[1] <= d.hi), None)
    if width is None:
        raise Unsupported(f"bits of integers in {ends[0]} .. {ends[1]}", "integers of 32 bits with a sign")
    if parts[0].type.dtype != parts[1].type.dtype or parts[0].type.dtype.bits > DType.I32.bits:
        parts = [c.emit("cast", x, dtype=width) for x in parts]
    return c.emit(n.op.removeprefix("Bitwise").lower(), *parts)


@lowering("BitwiseNot", since=18)
def bitwise_not(c: Context, n: Node) -> Result:
    """``-1 - x``, and ``max - x`` of an unsigned dtype."""
    x, dtype = c.tensor(n.inputs[0]), c.value(n.inputs[0]).dtype
    top = int(np.iinfo(dtype).max) if dtype.kind == "u" else -1
    if top >= 2**60:
        raise Unsupported(f"the complement of {dtype}", "32 bits or less")
    return c.emit("addi", c.emit("neg", x), value=top)


@lowering("BitShift", since=11)
def bit_shift(c: Context, n: Node) -> Result:
    """Division by a power of two rounded down, or a product with it that wraps, in two steps where one leaves 61 bits.
    Amounts below 0, or from the number of bits on, leave nothing but the sign of what goes right."""
    x, dtype = c.tensor(n.inputs[0]), c.value(n.inputs[0]).dtype
    bits, right = np.iinfo(dtype).bits, n.attr("direction") == "RIGHT"
    least = max((-x.type.lo - 1).bit_length(), x.type.hi.bit_length())  # leaves nothing but the sign
    top = min(bits, least) if right else bits
    fixed, amount = c.const(n.inputs[1]), None
    if fixed is not None:
        shifts = fixed.astype(np.int64)
    else:
        amount = c.emit("clamp", c.tensor(n.inputs[1]), lo=-1, hi=top)
        shifts = np.arange(amount.type.lo, amount.type.hi + 1)
    shifts = np.where((shifts < 0) | (shifts > top), top, shifts)

    def power(exponents: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
        powers = np.where(exponents < 64, np.left_shift(np.int64(1), np.minimum(exponents, MAX_POWER)), 0)
        return c.out.param(powers) if amount is None else c.lookup(amount, powers, "power")

    if right:
        return c.emit("div", x, power(shifts))
    if x.bound << int(shifts.max(initial=0)) < 2**61 or bits > 32:
        return c.wrapped(c.emit("mul", x, power(shifts)), dtype)
    half = c.wrapped(c.emit("mul", x, power(shifts // 2)), dtype)
    return c.wrapped(c.emit("mul", half, power(shifts - shifts // 2)), dtype)


@lowering("BitCast", since=1)
def bit_cast(c: Context, n: Node) -> Result:
    """Between the signed and the unsigned dtype of a width."""
    kinds = [c.value(name).dtype for name in (n.inputs[0], n.outputs[0])]
    if any(d.kind not in "iub" for d in kinds) or kinds[0].itemsize != kinds[1].itemsize:
        raise Unsupported(f"the bits of {kinds[0]} as {kinds[1]}", "integers of one width")
    return c.wrapped(c.tensor(n.inputs[0]), kinds[1])
