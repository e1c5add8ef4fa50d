"""Kernels of the fractional-sum tree (prover/lookup.py): leaves, layers, and the rounds of a layer's sumcheck.

A layer is ``uint64[4, n + PAD]``: planes of numerators p and denominators q. Node j of a layer of 2^k has the children
j and j + 2^k. Planes a power of two apart would share the sets of the caches: PAD words lie between them.

A round sums eq(x) * g(t, x) over the pairs x: the value at t = 0 and the coefficient of t^2. eq is the outer product of
two short tables, so that one entry of the outer table serves a strip. After the first fold the workspace ``uint64[8,
*]`` holds p0, q0, a, q1 with a = p1 + lambda*q1 and g = p0*q1 + q0*a.

At the leaves nearly all numerators are 1, or 0 from some leaf on. With c = 1/lambda,

    g = lambda*(q0 + c*p0)*(q1 + c*p1) - c*p0*p1,

and q + c*(p - 1) is stored: the first part is a sum of products of two elements that are stored, c added. With p0 = 1
+ d0 and p1 = u + d1, u = 1 before the first right leaf that is not used and 0 from there on,

    p0*p1 = u + d1 + d0*(d1 + u):

the sum of eq*u is known in closed form, and the rest is summed where d is not zero only (``corrections``). Denominators
are ``uint64[2, *]`` with the right children ``right`` entries behind the left ones; d is ``uint64[4, *]``, planes of d0
and d1.
"""

import numpy as np

from syurmy.prover.kernels.field import SEVEN, ZERO, P
from syurmy.prover.kernels.field import kadd as kadd_one
from syurmy.prover.kernels.field import kmul as kmul_one
from syurmy.prover.kernels.field import mul as mul_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import (
    STRIP,
    add,
    dot_strip,
    fold_in_place,
    fold_strip,
    gate,
    kmul,
    kmul_by,
    mul,
    sub,
)

PAD = 528  # 66 lines of a cache, in two planes 33
S63 = np.uint64(63)


@kernel
def combine(layer, half, out, lo, hi):
    """Nodes [lo, hi) of the layer above: p = p0*q1 + p1*q0, q = q0*q1."""
    for i in range(lo, hi, STRIP):
        _combine(layer, i, min(hi, i + STRIP), half, out)


@part
def _combine(x, i, j, half, out):
    p0, p1, q0, q1 = x[0, i:j], x[1, i:j], x[2, i:j], x[3, i:j]
    h, e = i + half, j + half
    u0, u1, v0, v1 = x[0, h:e], x[1, h:e], x[2, h:e], x[3, h:e]
    o0, o1, o2, o3 = out[0, i:j], out[1, i:j], out[2, i:j], out[3, i:j]
    for k in range(p0.shape[0]):
        o0[k], o1[k] = gate(p0[k], p1[k], v0[k], v1[k], q0[k], q1[k], u0[k], u1[k])
    for k in range(p0.shape[0]):
        o2[k], o3[k] = kmul(q0[k], q1[k], v0[k], v1[k])


@kernel
def combine_ones(den, half, out, lo, hi):
    """``combine`` of leaves with numerator 1: p = q0 + q1."""
    q0, q1, v0, v1 = den[0, lo:hi], den[1, lo:hi], den[0, lo + half : hi + half], den[1, lo + half : hi + half]
    o0, o1, o2, o3 = out[0, lo:hi], out[1, lo:hi], out[2, lo:hi], out[3, lo:hi]
    for k in range(q0.shape[0]):
        o0[k] = add(q0[k], v0[k])
        o1[k] = add(q1[k], v1[k])
    for k in range(q0.shape[0]):
        o2[k], o3[k] = kmul(q0[k], q1[k], v0[k], v1[k])


@kernel
def combine_corrections(den, half, d, first, out, lo, hi):
    """Adds d0*q1 + d1*q0 to the numerators of the nodes first + [lo, hi); d over F: its planes 0 and 2."""
    i, j = first + lo, first + hi
    x, y = d[0, i:j], d[2, i:j]
    q0, q1, v0, v1 = den[0, i:j], den[1, i:j], den[0, i + half : j + half], den[1, i + half : j + half]
    o0, o1 = out[0, i:j], out[1, i:j]
    for k in range(x.shape[0]):
        o0[k] = add(o0[k], add(mul(x[k], v0[k]), mul(y[k], q0[k])))
        o1[k] = add(o1[k], add(mul(x[k], v1[k]), mul(y[k], q1[k])))


@part
def _weigh(g, m, inner, at, sums, e0, e1):
    """sums += e * (inner product of g with the inner eq table from ``at`` on); e the outer table's entry."""
    c0, c1 = dot_strip(g[0, :m], g[1, :m], inner[0, at : at + m], inner[1, at : at + m])
    c0, c1 = kmul_one(c0, c1, e0, e1)
    return kadd_one(sums[0], sums[1], c0, c1)


# ---- layers ----------------------------------------------------------------------------------------------------------


@part
def _first_of(x, y, i, j, m, k0, k1, k7, g):
    """g of m pairs of children, left ones of x from i and right ones of y from j."""
    p0, p1, q0, q1 = x[0, i : i + m], x[1, i : i + m], x[2, i : i + m], x[3, i : i + m]
    u0, u1, v0, v1 = y[0, j : j + m], y[1, j : j + m], y[2, j : j + m], y[3, j : j + m]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        a0, a1 = kmul_by(v0[k], v1[k], k0, k1, k7)
        a0, a1 = add(u0[k], a0), add(u1[k], a1)
        g0[k], g1[k] = gate(p0[k], p1[k], v0[k], v1[k], q0[k], q1[k], a0, a1)


@part
def _difference(x, i, j, m, out):
    """out[c] = x[c, j + k] - x[c, i + k], for the four planes."""
    for c in range(4):
        y, z, o = x[c, j : j + m], x[c, i : i + m], out[c, :m]
        for k in range(m):
            o[k] = sub(y[k], z[k])


@kernel
def first_round(layer, half, k0, k1, outer, inner, lo, hi):
    """Value at 0 and leading coefficient (four words) of the first round over pairs [lo, hi); 4*half children."""
    k7 = mul_one(SEVEN, k1)
    width = inner.shape[1]
    s, z = (ZERO, ZERO), (ZERO, ZERO)
    g = np.empty((2, STRIP), np.uint64)
    d = np.empty((2, 4, STRIP), np.uint64)
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        e0, e1 = outer[0, block], outer[1, block]
        i = max(lo, base)
        m = min(hi, base + width) - i
        right = i + 2 * half  # of four blocks of ``half`` children, two are right ones
        _first_of(layer, layer, i, right, m, k0, k1, k7, g)
        s = _weigh(g, m, inner, i - base, s, e0, e1)
        _difference(layer, i, i + half, m, d[0])
        _difference(layer, right, right + half, m, d[1])
        _first_of(d[0], d[1], 0, 0, m, k0, k1, k7, g)
        z = _weigh(g, m, inner, i - base, z, e0, e1)
    return s[0], s[1], z[0], z[1]


@part
def _gates(w, i, m, g):
    """g at 0 of m rows of the workspace."""
    j = i + m
    p0, p1, q0, q1 = w[0, i:j], w[1, i:j], w[2, i:j], w[3, i:j]
    a0, a1, v0, v1 = w[4, i:j], w[5, i:j], w[6, i:j], w[7, i:j]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        g0[k], g1[k] = gate(p0[k], p1[k], v0[k], v1[k], q0[k], q1[k], a0[k], a1[k])


@part
def _leading(w, i, j, m, g):
    """Leading coefficient of g for m pairs of rows i, j of the workspace."""
    e, f = i + m, j + m
    p0, p1, q0, q1 = w[0, i:e], w[1, i:e], w[2, i:e], w[3, i:e]
    a0, a1, v0, v1 = w[4, i:e], w[5, i:e], w[6, i:e], w[7, i:e]
    x0, x1, y0, y1 = w[0, j:f], w[1, j:f], w[2, j:f], w[3, j:f]
    b0, b1, z0, z1 = w[4, j:f], w[5, j:f], w[6, j:f], w[7, j:f]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        c0, c1 = sub(x0[k], p0[k]), sub(x1[k], p1[k])
        d0, d1 = sub(y0[k], q0[k]), sub(y1[k], q1[k])
        e0, e1 = sub(b0[k], a0[k]), sub(b1[k], a1[k])
        f0, f1 = sub(z0[k], v0[k]), sub(z1[k], v1[k])
        g0[k], g1[k] = gate(c0, c1, f0, f1, d0, d1, e0, e1)


@part
def _weigh_rows(w, i, j, m, g, inner, at, e0, e1, s, z):
    """The sums s at 0 and z of leading coefficients, with those of m pairs of rows i, j of the workspace."""
    _gates(w, i, m, g)
    s = _weigh(g, m, inner, at, s, e0, e1)
    _leading(w, i, j, m, g)
    return s, _weigh(g, m, inner, at, z, e0, e1)


@part
def _bind_children(x, i, m, half, k0, k1, k7, r0, r1, r7, w):
    """m rows of the workspace from i: pairs at a distance of ``half`` of left and of right children, bound at r."""
    j = i + m
    for c in range(0, 4, 2):
        fold_strip(
            x[c, i:j], x[c + 1, i:j], x[c, i + half : j + half], x[c + 1, i + half : j + half], r0, r1, r7,
            w[c, i:j], w[c + 1, i:j],
        )  # fmt: skip
        s, e = i + 2 * half, j + 2 * half
        fold_strip(
            x[c, s:e], x[c + 1, s:e], x[c, s + half : e + half], x[c + 1, s + half : e + half], r0, r1, r7,
            w[4 + c, i:j], w[5 + c, i:j],
        )  # fmt: skip
    a0, a1, v0, v1 = w[4, i:j], w[5, i:j], w[6, i:j], w[7, i:j]
    for k in range(m):
        b0, b1 = kmul_by(v0[k], v1[k], k0, k1, k7)
        a0[k] = add(a0[k], b0)
        a1[k] = add(a1[k], b1)


@kernel
def second_round(layer, half, k0, k1, r0, r1, outer, inner, w, lo, hi):
    """Binds the first variable of 8*half children at r into ``w`` and returns the second round over pairs [lo, hi)."""
    r7 = mul_one(SEVEN, r1)
    k7 = mul_one(SEVEN, k1)
    width = inner.shape[1]
    s, z = (ZERO, ZERO), (ZERO, ZERO)
    g = np.empty((2, STRIP), np.uint64)
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        e0, e1 = outer[0, block], outer[1, block]
        i = max(lo, base)
        m = min(hi, base + width) - i
        _bind_children(layer, i, m, 2 * half, k0, k1, k7, r0, r1, r7, w)
        _bind_children(layer, i + half, m, 2 * half, k0, k1, k7, r0, r1, r7, w)
        s, z = _weigh_rows(w, i, i + half, m, g, inner, i - base, e0, e1, s, z)
    return s[0], s[1], z[0], z[1]


@kernel
def next_round(w, half, r0, r1, outer, inner, lo, hi):
    """Binds a variable of 4*half rows at r in place and returns the next round over pairs [lo, hi)."""
    r7 = mul_one(SEVEN, r1)
    width = inner.shape[1]
    s, z = (ZERO, ZERO), (ZERO, ZERO)
    g = np.empty((2, STRIP), np.uint64)
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        e0, e1 = outer[0, block], outer[1, block]
        i = max(lo, base)
        m = min(hi, base + width) - i
        for at in range(i, i + half + 1, half):
            far = at + 2 * half
            for c in range(0, 8, 2):
                fold_in_place(
                    w[c, at : at + m], w[c + 1, at : at + m], w[c, far : far + m], w[c + 1, far : far + m], r0, r1, r7
                )
        s, z = _weigh_rows(w, i, i + half, m, g, inner, i - base, e0, e1, s, z)
    return s[0], s[1], z[0], z[1]


# ---- leaves ----------------------------------------------------------------------------------------------------------


@part
def _products(q, right, i, m, c0, c1, g):
    """(q0 + c)*(q1 + c)."""
    j = i + m
    x0, x1, y0, y1 = q[0, i:j], q[1, i:j], q[0, i + right : j + right], q[1, i + right : j + right]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        g0[k], g1[k] = kmul(add(x0[k], c0), add(x1[k], c1), add(y0[k], c0), add(y1[k], c1))


@part
def _leading_products(q, right, i, half, m, g):
    """The leading coefficients of q0*q1 for pairs at a distance of ``half``."""
    j, h = i + m, i + half
    e = h + m
    x0, x1, y0, y1 = q[0, i:j], q[1, i:j], q[0, i + right : j + right], q[1, i + right : j + right]
    u0, u1, v0, v1 = q[0, h:e], q[1, h:e], q[0, h + right : e + right], q[1, h + right : e + right]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        g0[k], g1[k] = kmul(sub(u0[k], x0[k]), sub(u1[k], x1[k]), sub(v0[k], y0[k]), sub(v1[k], y1[k]))


@part
def _bind_side(q, i, m, half, r0, r1, r7, out, at):
    j, h = i + m, i + half
    e = h + m
    fold_strip(q[0, i:j], q[1, i:j], q[0, h:e], q[1, h:e], r0, r1, r7, out[0, at : at + m], out[1, at : at + m])


@kernel
def ones_round(q, right, half, c0, c1, r0, r1, binding, out, beyond, outer, inner, lo, hi):
    """A round of leaves with numerator 1, over pairs [lo, hi): sums of eq*(q0 + c)*(q1 + c) at 0 and of the leading
    coefficients (four words).

    Where ``binding``, a variable of the 4*half leaves on each side is bound at r into ``out`` first, in which right
    leaves begin at ``beyond``; otherwise ``out`` is not used.
    """
    r7 = mul_one(SEVEN, r1)
    width = inner.shape[1]
    s, z = (ZERO, ZERO), (ZERO, ZERO)
    g = np.empty((2, STRIP), np.uint64)
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        e0, e1 = outer[0, block], outer[1, block]
        i = max(lo, base)
        m = min(hi, base + width) - i
        if binding:
            for at in range(i, i + half + 1, half):
                _bind_side(q, at, m, 2 * half, r0, r1, r7, out, at)
                _bind_side(q, right + at, m, 2 * half, r0, r1, r7, out, beyond + at)
            _products(out, beyond, i, m, c0, c1, g)
        else:
            _products(q, right, i, m, c0, c1, g)
        s = _weigh(g, m, inner, i - base, s, e0, e1)
        if binding:
            _leading_products(out, beyond, i, half, m, g)
        else:
            _leading_products(q, right, i, half, m, g)
        z = _weigh(g, m, inner, i - base, z, e0, e1)
    return s[0], s[1], z[0], z[1]


@part
def _right_numerators(d, i, m, u0, u1, v0, v1, split, out):
    """d1 + u of m rows from i, u = (u0, u1) before the row ``split`` and (v0, v1) from there on."""
    n = min(max(split - i, 0), m)
    x0, x1, o0, o1 = d[2, i : i + n], d[3, i : i + n], out[0, :n], out[1, :n]
    for k in range(n):
        o0[k] = add(x0[k], u0)
        o1[k] = add(x1[k], u1)
    y0, y1, z0, z1 = d[2, i + n : i + m], d[3, i + n : i + m], out[0, n:m], out[1, n:m]
    for k in range(m - n):
        z0[k] = add(y0[k], v0)
        z1[k] = add(y1[k], v1)


@part
def _numerators(d, i, m, right, g):
    """d1 + d0*p1, p1 = ``right``."""
    j = i + m
    x0, x1, y0, y1 = d[0, i:j], d[1, i:j], d[2, i:j], d[3, i:j]
    z0, z1, g0, g1 = right[0, :m], right[1, :m], g[0, :m], g[1, :m]
    for k in range(m):
        w0, w1 = kmul(x0[k], x1[k], z0[k], z1[k])
        g0[k] = add(y0[k], w0)
        g1[k] = add(y1[k], w1)


@part
def _leading_numerators(d, i, half, m, right, far, g):
    """The leading coefficients of d0*p1 for pairs at a distance of ``half``; p1 = ``right`` and ``far``."""
    j, h = i + m, i + half
    e = h + m
    x0, x1, y0, y1 = d[0, i:j], d[1, i:j], d[0, h:e], d[1, h:e]
    u0, u1, v0, v1, g0, g1 = right[0, :m], right[1, :m], far[0, :m], far[1, :m], g[0, :m], g[1, :m]
    for k in range(m):
        g0[k], g1[k] = kmul(sub(y0[k], x0[k]), sub(y1[k], x1[k]), sub(v0[k], u0[k]), sub(v1[k], u1[k]))


@kernel
def corrections(d, half, u0, u1, v0, v1, split, r0, r1, binding, out, f0, f1, first, outer, inner, lo, hi):
    """What the numerators that are not 1 add to a round, over pairs first + [lo, hi): f times the sums of eq*(d1 +
    d0*(d1 + u)) at 0 and of the leading coefficients; u = (u0, u1) in the rows before ``split``, (v0, v1) in others.
    Where ``binding``, a variable of 4*half rows of d is bound at r into ``out`` first; u is bound already.
    """
    r7 = mul_one(SEVEN, r1)
    width = inner.shape[1]
    s, z = (ZERO, ZERO), (ZERO, ZERO)
    g = np.empty((2, STRIP), np.uint64)
    right, far = np.empty((2, STRIP), np.uint64), np.empty((2, STRIP), np.uint64)
    source = out if binding else d
    for block in range((first + lo) // width, (first + hi + width - 1) // width):
        base = block * width
        e0, e1 = outer[0, block], outer[1, block]
        i = max(first + lo, base)
        m = min(first + hi, base + width) - i
        if binding:
            for at in range(i, i + half + 1, half):
                _bind_side(d[:2], at, m, 2 * half, r0, r1, r7, out[:2], at)
                _bind_side(d[2:], at, m, 2 * half, r0, r1, r7, out[2:], at)
        _right_numerators(source, i, m, u0, u1, v0, v1, split, right)
        _right_numerators(source, i + half, m, u0, u1, v0, v1, split, far)
        _numerators(source, i, m, right, g)
        s = _weigh(g, m, inner, i - base, s, e0, e1)
        _leading_numerators(source, i, half, m, right, far, g)
        z = _weigh(g, m, inner, i - base, z, e0, e1)
    s, z = kmul_one(s[0], s[1], f0, f1), kmul_one(z[0], z[1], f0, f1)
    return s[0], s[1], z[0], z[1]


@kernel
def fill(out0, out1, members, extents, padded, constant, betas, empty, lo, hi):
    """Denominators of the padded leaves [lo, hi) of a block, C order.

    members ``int64[w, n]`` over the true index set; extents, padded ``int64[d]``; constant = alpha - tag and empty =
    alpha ``uint64[2]``; betas ``uint64[2, w]``. A true leaf is constant - sum beta_i * member_i, a padded one empty.
    """
    axes = extents.shape[0]
    last = axes - 1
    run = padded[last]
    for row in range(lo // run, (hi + run - 1) // run):
        true = True
        at = 0
        rest = row
        stride = extents[last]
        for axis in range(last - 1, -1, -1):
            k = rest % padded[axis]
            rest //= padded[axis]
            true = true and k < extents[axis]
            at += k * stride
            stride *= extents[axis]
        i, end = max(lo, row * run), min(hi, row * run + run)
        j = i
        if true:
            j = max(i, min(end, row * run + extents[last]))
            at += i - row * run
            x0, x1 = out0[i:j], out1[i:j]
            x0[:] = constant[0]
            x1[:] = constant[1]
            for m in range(members.shape[0]):
                _subtract(x0, x1, members[m, at : at + j - i], betas[0, m], betas[1, m])
        out0[j:end] = empty[0]
        out1[j:end] = empty[1]


@part
def _subtract(x0, x1, values, b0, b1):
    """x -= b * values over K, of int64 values."""
    for k in range(x0.shape[0]):
        v = np.uint64(values[k])
        y = v + (v >> S63) * P  # 2^64 - |v|  ->  p - |v|, as 2^64 wraps
        x0[k] = sub(x0[k], mul(b0, y))
        x1[k] = sub(x1[k], mul(b1, y))
