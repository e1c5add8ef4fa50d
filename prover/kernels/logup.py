"""Kernels of the fractional-sum tree (prover/lookup.py): leaves, layers, and the rounds of a layer's sumcheck.

A layer is ``uint64[u, 4]``, row j the node's numerator (words 0, 1) and denominator (words 2, 3); leaves are
``uint64[u]`` over F and ``uint64[2, u]`` over K. Only a prefix is stored: what is missing is 0/1. Node j of a layer of
2^k has the children j and j + 2^k; the left one is always stored here.

A round sums eq(x) * g(t, x) over the pairs x, where g = p0*q1 + q0*a with a = p1 + lambda*q1: the value at t = 0 and
the coefficient of t^2. After the first fold the workspace row ``uint64[*, 8]`` is (p0, q0, a, q1): one cache line per
node. eq is the outer product of two short tables.
"""

import numpy as np
from numba import njit

from syurmy.prover.kernels.field import ONE, SEVEN, ZERO, add, kadd, kmul, ksub, mul, sub
from syurmy.prover.kernels.wide import NO_SUMS, ZERO_SUM, fold, gate, kmac, kmul_by, kreduce


@njit(forceinline=True)
def load_node(layer, i):
    """Numerator and denominator of node i."""
    return layer[i, 0], layer[i, 1], layer[i, 2], layer[i, 3]


@njit(forceinline=True)
def load_leaf(leaves, i):
    """Numerator and denominator of leaf i of (num, plane 0 of den, plane 1 of den)."""
    return leaves[0][i], ZERO, leaves[1][i], leaves[2][i]


@njit(forceinline=True)
def combine_from(load, source, half, used, out, lo, hi):
    for j in range(lo, hi):
        p0, p1, q0, q1 = load(source, j)
        if j + half < used:
            u0, u1, v0, v1 = load(source, j + half)
            p0, p1 = gate(p0, p1, v0, v1, q0, q1, u0, u1)
            q0, q1 = kmul(q0, q1, v0, v1)
        out[j, 0] = p0
        out[j, 1] = p1
        out[j, 2] = q0
        out[j, 3] = q1


@njit(nogil=True, cache=True)
def combine(layer, half, out, lo, hi):
    """Nodes [lo, hi) of the layer above: p = p0*q1 + p1*q0, q = q0*q1; a missing right child changes nothing."""
    combine_from(load_node, layer, half, layer.shape[0], out, lo, hi)


@njit(nogil=True, cache=True)
def combine_leaves(num, den0, den1, half, out, lo, hi):
    """``combine`` of leaves."""
    combine_from(load_leaf, (num, den0, den1), half, num.shape[0], out, lo, hi)


@njit(forceinline=True)
def load_right(load, source, i, used, k0, k1, k7):
    """Right child at i as (a, q1), a = p1 + lambda*q1; a missing one is (lambda, 1)."""
    if i < used:
        u0, u1, v0, v1 = load(source, i)
        m0, m1 = kmul_by(v0, v1, k0, k1, k7)
        return add(u0, m0), add(u1, m1), v0, v1
    return k0, k1, ONE, ZERO


@njit(forceinline=True)
def add_block(t0, t1, s, e0, e1):
    """t + e * s over K, s the wide sums of a block of pairs and e their entry of the outer eq table."""
    g0, g1 = kreduce(s)
    g0, g1 = kmul(g0, g1, e0, e1)
    return kadd(t0, t1, g0, g1)


@njit(forceinline=True)
def first_from(load, source, used, half, k0, k1, outer, inner, lo, hi):
    k7 = mul(SEVEN, k1)
    width = inner.shape[1]
    right = 2 * half  # of four blocks of ``half`` rows, two belong to the right children
    t0, t1, c0, c1 = ZERO, ZERO, ZERO, ZERO
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        s = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
        z = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
        for i in range(max(lo, base), min(hi, base + width)):
            e0 = inner[0, i - base]
            e1 = inner[1, i - base]
            p0, p1, q0, q1 = load(source, i)
            if i + right < used:
                a0, a1, v0, v1 = load_right(load, source, i + right, used, k0, k1, k7)
                g0, g1 = gate(p0, p1, v0, v1, q0, q1, a0, a1)
                s = kmac(s, g0, g1, e0, e1)
                b0, b1, w0, w1 = load_right(load, source, i + right + half, used, k0, k1, k7)
                b0, b1 = ksub(b0, b1, a0, a1)
                w0, w1 = ksub(w0, w1, v0, v1)
                x0, x1, y0, y1 = load(source, i + half)
                x0, x1 = ksub(x0, x1, p0, p1)
                y0, y1 = ksub(y0, y1, q0, q1)
                g0, g1 = gate(x0, x1, w0, w1, y0, y1, b0, b1)
                z = kmac(z, g0, g1, e0, e1)
            else:  # both right children are 0/1
                m0, m1 = kmul_by(q0, q1, k0, k1, k7)
                s = kmac(s, add(p0, m0), add(p1, m1), e0, e1)
        t0, t1 = add_block(t0, t1, s, outer[0, block], outer[1, block])
        c0, c1 = add_block(c0, c1, z, outer[0, block], outer[1, block])
    return t0, t1, c0, c1


@njit(nogil=True, cache=True)
def first_round(layer, half, k0, k1, outer, inner, lo, hi):
    """Value at 0 and leading coefficient (four words) of the first round over pairs [lo, hi); 4*half children."""
    return first_from(load_node, layer, layer.shape[0], half, k0, k1, outer, inner, lo, hi)


@njit(nogil=True, cache=True)
def first_round_leaves(num, den0, den1, half, k0, k1, outer, inner, lo, hi):
    """``first_round`` of leaves."""
    return first_from(load_leaf, (num, den0, den1), num.shape[0], half, k0, k1, outer, inner, lo, hi)


@njit(forceinline=True)
def fold_children(load, source, used, i, half, k0, k1, k7, r0, r1, r7, w):
    """Row i of the workspace: the pair (i, i + half) of left children and that of right children, bound at r."""
    p0, p1, q0, q1 = load(source, i)
    x0, x1, y0, y1 = load(source, i + half)
    p0, p1 = fold(p0, p1, x0, x1, r0, r1, r7)
    q0, q1 = fold(q0, q1, y0, y1, r0, r1, r7)
    a0, a1, v0, v1 = k0, k1, ONE, ZERO
    j = i + 2 * half
    if j < used:
        u0, u1, v0, v1 = load(source, j)
        x0, x1, y0, y1 = ZERO, ZERO, ONE, ZERO
        if j + half < used:
            x0, x1, y0, y1 = load(source, j + half)
        u0, u1 = fold(u0, u1, x0, x1, r0, r1, r7)
        v0, v1 = fold(v0, v1, y0, y1, r0, r1, r7)
        a0, a1 = kmul_by(v0, v1, k0, k1, k7)
        a0, a1 = kadd(a0, a1, u0, u1)
    w[i, 0] = p0
    w[i, 1] = p1
    w[i, 2] = q0
    w[i, 3] = q1
    w[i, 4] = a0
    w[i, 5] = a1
    w[i, 6] = v0
    w[i, 7] = v1


@njit(forceinline=True)
def fold_row(w, i, j, r0, r1, r7):
    """Row i becomes row i + r*(row j - row i)."""
    for c in range(0, 8, 2):
        x0, x1 = fold(w[i, c], w[i, c + 1], w[j, c], w[j, c + 1], r0, r1, r7)
        w[i, c] = x0
        w[i, c + 1] = x1


@njit(forceinline=True)
def gate_rows(w, i, j, s, z, e0, e1):
    """Adds eq * g at 0 to s and eq * (leading coefficient) to z, for the pair of rows i, j."""
    p0, p1, q0, q1 = w[i, 0], w[i, 1], w[i, 2], w[i, 3]
    a0, a1, v0, v1 = w[i, 4], w[i, 5], w[i, 6], w[i, 7]
    g0, g1 = gate(p0, p1, v0, v1, q0, q1, a0, a1)
    s = kmac(s, g0, g1, e0, e1)
    p0, p1 = ksub(w[j, 0], w[j, 1], p0, p1)
    q0, q1 = ksub(w[j, 2], w[j, 3], q0, q1)
    a0, a1 = ksub(w[j, 4], w[j, 5], a0, a1)
    v0, v1 = ksub(w[j, 6], w[j, 7], v0, v1)
    g0, g1 = gate(p0, p1, v0, v1, q0, q1, a0, a1)
    return s, kmac(z, g0, g1, e0, e1)


@njit(forceinline=True)
def second_from(load, source, used, half, k0, k1, r0, r1, outer, inner, w, lo, hi):
    r7 = mul(SEVEN, r1)
    k7 = mul(SEVEN, k1)
    width = inner.shape[1]
    t0, t1, c0, c1 = ZERO, ZERO, ZERO, ZERO
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        s = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
        z = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
        for i in range(max(lo, base), min(hi, base + width)):
            fold_children(load, source, used, i, 2 * half, k0, k1, k7, r0, r1, r7, w)
            fold_children(load, source, used, i + half, 2 * half, k0, k1, k7, r0, r1, r7, w)
            s, z = gate_rows(w, i, i + half, s, z, inner[0, i - base], inner[1, i - base])
        t0, t1 = add_block(t0, t1, s, outer[0, block], outer[1, block])
        c0, c1 = add_block(c0, c1, z, outer[0, block], outer[1, block])
    return t0, t1, c0, c1


@njit(nogil=True, cache=True)
def second_round(layer, half, k0, k1, r0, r1, outer, inner, w, lo, hi):
    """Binds the first variable of 8*half children at r into ``w`` and returns the second round over pairs [lo, hi)."""
    return second_from(load_node, layer, layer.shape[0], half, k0, k1, r0, r1, outer, inner, w, lo, hi)


@njit(nogil=True, cache=True)
def second_round_leaves(num, den0, den1, half, k0, k1, r0, r1, outer, inner, w, lo, hi):
    """``second_round`` of leaves."""
    return second_from(load_leaf, (num, den0, den1), num.shape[0], half, k0, k1, r0, r1, outer, inner, w, lo, hi)


@njit(nogil=True, cache=True)
def next_round(w, half, r0, r1, outer, inner, lo, hi):
    """Binds a variable of 4*half rows at r in place and returns the next round over pairs [lo, hi)."""
    r7 = mul(SEVEN, r1)
    width = inner.shape[1]
    t0, t1, c0, c1 = ZERO, ZERO, ZERO, ZERO
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        s = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
        z = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
        for i in range(max(lo, base), min(hi, base + width)):
            fold_row(w, i, i + 2 * half, r0, r1, r7)
            fold_row(w, i + half, i + 3 * half, r0, r1, r7)
            s, z = gate_rows(w, i, i + half, s, z, inner[0, i - base], inner[1, i - base])
        t0, t1 = add_block(t0, t1, s, outer[0, block], outer[1, block])
        c0, c1 = add_block(c0, c1, z, outer[0, block], outer[1, block])
    return t0, t1, c0, c1


@njit(nogil=True, cache=True)
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
        for i in range(max(lo, row * run), min(hi, row * run + run)):
            j = i - row * run
            if true and j < extents[last]:
                x0 = constant[0]
                x1 = constant[1]
                for m in range(members.shape[0]):
                    v = members[m, at + j]
                    y = np.uint64(v) if v >= 0 else np.uint64(-v)
                    y0 = mul(betas[0, m], y)
                    y1 = mul(betas[1, m], y)
                    if v >= 0:
                        x0 = sub(x0, y0)
                        x1 = sub(x1, y1)
                    else:
                        x0 = add(x0, y0)
                        x1 = add(x1, y1)
                out0[i] = x0
                out1[i] = x1
            else:
                out0[i] = empty[0]
                out1[i] = empty[1]
