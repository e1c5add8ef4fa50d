"""Kernels of the fractional-sum tree (prover/lookup.py): leaves, layers, and the rounds of a layer's sumcheck.

A layer is ``uint64[4, n + PAD]``: planes of numerators p and denominators q, in *runs* of 512 nodes, or of all where it
has fewer. Runs 2v and 2v + 1 of a layer are the children of run v of the layer above it; of one run, its halves are.
So unused leaves behind the last one that is used are behind the used nodes in every layer. Planes a power of two apart
would share the sets of the caches: PAD words lie between them.

A round sums eq(x) * g(t, x) over the pairs x: the value at t = 0 and the coefficient of t^2. eq is the outer product of
two short tables, so that one entry of the outer table serves a run of pairs, as wide as the inner one. Pairs are
neighbouring runs as long as there are several, then the halves of one: kernels are given how far apart children are
(``child``), the two of a pair, and what is bound. After the first fold the workspace ``uint64[8, *]`` holds p0, q0, a,
q1 with a = p1 + lambda*q1 and g = p0*q1 + q0*a; it is bound from one into another.

At the leaves nearly all numerators are 1. With c = 1/lambda,

    g = lambda*(q0 + c*p0)*(q1 + c*p1) - c*p0*p1,

and q + c*(p - 1) is stored: the first part is a sum of products of two elements that are stored, c added. With p0 = 1
+ d0 and p1 = 1 + d1,

    p0*p1 = 1 + d1 + d0*(d1 + 1):

the sum of eq is known, and the rest is summed where d is not zero only (``corrections``). Denominators are
``uint64[2, *]``, left and right children as in a layer; d is ``uint64[4, *]``, planes of d0 and d1 of the nodes above:
a run of zeros, a run of -1, the runs that are not zero everywhere (``runs``, by number), one after the other, and room
for what is bound.
"""

import numpy as np

from syurmy.prover.kernels.field import ONE, SEVEN, ZERO, P
from syurmy.prover.kernels.field import kadd as kadd_one
from syurmy.prover.kernels.field import kmul as kmul_one
from syurmy.prover.kernels.field import mul as mul_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import (
    STRIP,
    add,
    dot_strip,
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
def combine(layer, run, out, lo, hi):
    """Nodes [lo, hi) of the layer above: p = p0*q1 + p1*q0, q = q0*q1."""
    for block in range(lo // run, (hi + run - 1) // run):
        i, j = max(lo, block * run), min(hi, block * run + run)
        _combine(layer, i + block * run, run, i, j, out)


@part
def _combine(x, at, run, i, j, out):
    e, h = at + j - i, at + run
    f = h + j - i
    p0, p1, q0, q1 = x[0, at:e], x[1, at:e], x[2, at:e], x[3, at:e]
    u0, u1, v0, v1 = x[0, h:f], x[1, h:f], x[2, h:f], x[3, h:f]
    o0, o1, o2, o3 = out[0, i:j], out[1, i:j], out[2, i:j], out[3, i:j]
    for k in range(p0.shape[0]):
        o0[k], o1[k] = gate(p0[k], p1[k], v0[k], v1[k], q0[k], q1[k], u0[k], u1[k])
    for k in range(p0.shape[0]):
        o2[k], o3[k] = kmul(q0[k], q1[k], v0[k], v1[k])


@kernel
def combine_ones(den, run, out, lo, hi):
    """``combine`` of leaves with numerator 1: p = q0 + q1."""
    for block in range(lo // run, (hi + run - 1) // run):
        i, j = max(lo, block * run), min(hi, block * run + run)
        _combine_ones(den, i + block * run, run, i, j, out)


@part
def _combine_ones(den, at, run, i, j, out):
    e, h = at + j - i, at + run
    f = h + j - i
    q0, q1, v0, v1 = den[0, at:e], den[1, at:e], den[0, h:f], den[1, h:f]
    o0, o1, o2, o3 = out[0, i:j], out[1, i:j], out[2, i:j], out[3, i:j]
    for k in range(q0.shape[0]):
        o0[k] = add(q0[k], v0[k])
        o1[k] = add(q1[k], v1[k])
    for k in range(q0.shape[0]):
        o2[k], o3[k] = kmul(q0[k], q1[k], v0[k], v1[k])


@kernel
def numerators(num, runs, run, d, lo, hi):
    """d of the nodes [lo, hi) of ``runs``: their leaves' numerators less 1, and -1 where there is none."""
    for i in range(lo, hi):
        left = 2 * runs[i // run] * run + i % run
        for side in range(2):
            at = left + side * run
            v = num[at] if at < num.shape[0] else ZERO
            d[2 * side, 2 * run + i] = v - ONE if v != ZERO else P - ONE
            d[2 * side + 1, 2 * run + i] = ZERO


@kernel
def combine_corrections(den, runs, run, d, out, lo, hi):
    """Adds d0*q1 + d1*q0 to the numerators of the nodes [lo, hi) of ``runs``; d over F: its planes 0 and 2."""
    for block in range(lo // run, (hi + run - 1) // run):
        i, j = max(lo, block * run), min(hi, block * run + run)
        node = runs[block] * run + i - block * run
        _combine_corrections(den, node + runs[block] * run, run, d, 2 * run + i, j - i, out, node)


@part
def _combine_corrections(den, at, run, d, row, m, out, node):
    e, h = at + m, at + run
    f = h + m
    x, y = d[0, row : row + m], d[2, row : row + m]
    q0, q1, v0, v1 = den[0, at:e], den[1, at:e], den[0, h:f], den[1, h:f]
    o0, o1 = out[0, node : node + m], out[1, node : node + m]
    for k in range(x.shape[0]):
        o0[k] = add(o0[k], add(mul(x[k], v0[k]), mul(y[k], q0[k])))
        o1[k] = add(o1[k], add(mul(x[k], v1[k]), mul(y[k], q1[k])))


@kernel
def shift(den, runs, run, d, c0, c1, lo, hi):
    """Adds c*d to the denominators under the nodes [lo, hi) of ``runs``; d as in ``combine_corrections``."""
    for block in range(lo // run, (hi + run - 1) // run):
        i, j = max(lo, block * run), min(hi, block * run + run)
        at = 2 * runs[block] * run + i - block * run
        for side in range(2):
            x = d[2 * side, 2 * run + i : 2 * run + j]
            y, z = den[0, at : at + j - i], den[1, at : at + j - i]
            for k in range(x.shape[0]):
                y[k] = add(y[k], mul(c0, x[k]))
                z[k] = add(z[k], mul(c1, x[k]))
            at += run


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
def first_round(layer, child, pair, k0, k1, outer, inner, lo, hi):
    """Value at 0 and leading coefficient (four words) of the first round over pairs [lo, hi) of nodes."""
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
        left = i + 3 * base  # four children a pair
        right = left + child
        _first_of(layer, layer, left, right, m, k0, k1, k7, g)
        s = _weigh(g, m, inner, i - base, s, e0, e1)
        _difference(layer, left, left + pair, m, d[0])
        _difference(layer, right, right + pair, m, d[1])
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
def _bind_children(x, i, child, bind, at, m, k0, k1, k7, r0, r1, r7, w):
    """m rows of the workspace from ``at`` on: left children from i and right ones, each with that beside it, bound."""
    for side in range(2):
        s, c = i + side * child, 4 * side
        e, far = s + m, s + bind
        end = far + m
        for p in range(0, 4, 2):
            fold_strip(
                x[p, s:e], x[p + 1, s:e], x[p, far:end], x[p + 1, far:end], r0, r1, r7,
                w[c + p, at : at + m], w[c + p + 1, at : at + m],
            )  # fmt: skip
    a0, a1, v0, v1 = w[4, at : at + m], w[5, at : at + m], w[6, at : at + m], w[7, at : at + m]
    for k in range(m):
        b0, b1 = kmul_by(v0[k], v1[k], k0, k1, k7)
        a0[k] = add(a0[k], b0)
        a1[k] = add(a1[k], b1)


@kernel
def second_round(layer, child, bind, pair, k0, k1, r0, r1, outer, inner, w, lo, hi):
    """Binds the first variable at r into w and returns the second round over pairs [lo, hi), eight children each."""
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
        at = i + base
        _bind_children(layer, i + 7 * base, child, bind, at, m, k0, k1, k7, r0, r1, r7, w)
        _bind_children(layer, i + 7 * base + pair, child, bind, at + width, m, k0, k1, k7, r0, r1, r7, w)
        s, z = _weigh_rows(w, at, at + width, m, g, inner, i - base, e0, e1, s, z)
    return s[0], s[1], z[0], z[1]


@kernel
def next_round(v, bind, pair, r0, r1, outer, inner, w, lo, hi):
    """Binds a variable of the workspace v at r into w and returns the next round over pairs [lo, hi), four rows of v
    each."""
    r7 = mul_one(SEVEN, r1)
    width = inner.shape[1]
    s, z = (ZERO, ZERO), (ZERO, ZERO)
    g = np.empty((2, STRIP), np.uint64)
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        e0, e1 = outer[0, block], outer[1, block]
        i = max(lo, base)
        m = min(hi, base + width) - i
        at = i + base
        for side in range(2):
            near, to = i + 3 * base + side * pair, at + side * width
            far = near + bind
            for c in range(0, 8, 2):
                fold_strip(
                    v[c, near : near + m], v[c + 1, near : near + m], v[c, far : far + m], v[c + 1, far : far + m],
                    r0, r1, r7, w[c, to : to + m], w[c + 1, to : to + m],
                )  # fmt: skip
        s, z = _weigh_rows(w, at, at + width, m, g, inner, i - base, e0, e1, s, z)
    return s[0], s[1], z[0], z[1]


# ---- leaves ----------------------------------------------------------------------------------------------------------


@part
def _products(q, i, right, m, c0, c1, g):
    """(q0 + c)*(q1 + c), right leaves ``right`` behind the left ones."""
    j, h = i + m, i + right
    e = h + m
    x0, x1, y0, y1 = q[0, i:j], q[1, i:j], q[0, h:e], q[1, h:e]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        g0[k], g1[k] = kmul(add(x0[k], c0), add(x1[k], c1), add(y0[k], c0), add(y1[k], c1))


@part
def _leading_products(q, i, right, pair, m, g):
    """The leading coefficients of q0*q1 for pairs at a distance of ``pair``."""
    j, h, s, t = i + m, i + pair, i + right, i + right + pair
    x0, x1, y0, y1 = q[0, i:j], q[1, i:j], q[0, s : s + m], q[1, s : s + m]
    u0, u1, v0, v1 = q[0, h : h + m], q[1, h : h + m], q[0, t : t + m], q[1, t : t + m]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        g0[k], g1[k] = kmul(sub(u0[k], x0[k]), sub(u1[k], x1[k]), sub(v0[k], y0[k]), sub(v1[k], y1[k]))


@part
def _bind(x, i, bind, m, r0, r1, r7, out, at):
    """m elements of two planes from i, each with that at a distance of ``bind``, bound into ``out`` from ``at``."""
    j, h = i + m, i + bind
    e = h + m
    fold_strip(x[0, i:j], x[1, i:j], x[0, h:e], x[1, h:e], r0, r1, r7, out[0, at : at + m], out[1, at : at + m])


@kernel
def ones_round(q, child, bind, pair, c0, c1, r0, r1, binding, out, right, outer, inner, lo, hi):
    """A round of leaves with numerator 1, over pairs [lo, hi): sums of eq*(q0 + c)*(q1 + c) at 0 and of the leading
    coefficients (four words).

    Where ``binding``, a variable is bound at r into ``out`` first, in which right leaves are ``right`` behind the left
    ones; otherwise ``out`` and ``bind`` are not used.
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
        at = i + 3 * base
        far = 3 * width - right  # the pair's second leaves: of whole runs behind the right ones, else before them
        if binding:
            near = i + 7 * base
            for side in range(2):
                _bind(q, near + side * child, bind, m, r0, r1, r7, out, at + side * right)
                _bind(q, near + side * child + pair, bind, m, r0, r1, r7, out, at + side * right + far)
            _products(out, at, right, m, c0, c1, g)
        else:
            _products(q, at, child, m, c0, c1, g)
        s = _weigh(g, m, inner, i - base, s, e0, e1)
        if binding:
            _leading_products(out, at, right, far, m, g)
        else:
            _leading_products(q, at, child, pair, m, g)
        z = _weigh(g, m, inner, i - base, z, e0, e1)
    return s[0], s[1], z[0], z[1]


@kernel
def leaf_rows(q, right, far, d, first, c0, c1, k0, k1, width, w, lo, hi):
    """Bound leaves q and, unless ``first`` is negative, corrections d from there on, of one run of pairs, as
    ``ones_round`` and ``corrections`` write them, as rows of the workspace of other layers, where [lo, hi) is [0, 1):
    p = 1 + d, q less c*d, and p1 + lambda*q1 = 1 + lambda*(what is bound), as lambda*c = 1."""
    for half in range(2):
        i = half * width
        j, s = i + width, half * far
        e, h = s + width, s + right
        f = h + width
        w[0, i:j], w[1, i:j] = ONE, ZERO
        w[2, i:j], w[3, i:j] = q[0, s:e], q[1, s:e]
        w[6, i:j], w[7, i:j] = q[0, h:f], q[1, h:f]
        x0, x1, y0, y1, z0, z1 = w[2, i:j], w[3, i:j], w[4, i:j], w[5, i:j], w[6, i:j], w[7, i:j]
        for k in range(width):
            a, b = kmul(z0[k], z1[k], k0, k1)
            y0[k], y1[k] = add(a, ONE), b
        if first >= 0:
            m, n = first + i, first + j
            p0, p1, d0, d1, e0, e1 = w[0, i:j], w[1, i:j], d[0, m:n], d[1, m:n], d[2, m:n], d[3, m:n]
            for k in range(width):
                p0[k], p1[k] = add(p0[k], d0[k]), d1[k]
                a, b = kmul(d0[k], d1[k], c0, c1)
                x0[k], x1[k] = sub(x0[k], a), sub(x1[k], b)
                a, b = kmul(e0[k], e1[k], c0, c1)
                z0[k], z1[k] = sub(z0[k], a), sub(z1[k], b)


@part
def _numerators(d, i, m, g):
    """d1 + d0*(d1 + 1)."""
    j = i + m
    x0, x1, y0, y1 = d[0, i:j], d[1, i:j], d[2, i:j], d[3, i:j]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        w0, w1 = kmul(x0[k], x1[k], add(y0[k], ONE), y1[k])
        g0[k] = add(y0[k], w0)
        g1[k] = add(y1[k], w1)


@kernel
def corrections(d, places, r0, r1, binding, to, f0, f1, outer, inner, lo, hi):
    """What the numerators that are not 1 add to a round: f times the sums of eq*(d1 + d0*(d1 + 1)) at 0 and of the
    leading coefficients, over pairs [lo, hi), as many at a time as there are entries of the inner table.

    places ``int64[*, 5]``: of these, the entry of the outer table, and where their first and their second ones begin in
    d. Where ``binding``, a variable is bound at r first: places of the first ones and what they are bound with, of the
    second ones and theirs; of what is bound, first ones and second ones are written from ``to`` on, in this order.
    """
    r7 = mul_one(SEVEN, r1)
    width = inner.shape[1]
    s, z = (ZERO, ZERO), (ZERO, ZERO)
    g = np.empty((2, STRIP), np.uint64)
    for block in range(lo // width, (hi + width - 1) // width):
        base = block * width
        e0, e1 = outer[0, places[block, 0]], outer[1, places[block, 0]]
        i = max(lo, base)
        m = min(hi, base + width) - i
        at = i - base
        near, far = places[block, 1] + at, places[block, 2] + at
        if binding:
            third, last = places[block, 3] + at, places[block, 4] + at
            at += to + 2 * base
            for p in range(0, 4, 2):
                _bind(d[p : p + 2], near, far - near, m, r0, r1, r7, d[p : p + 2], at)
                _bind(d[p : p + 2], third, last - third, m, r0, r1, r7, d[p : p + 2], at + width)
            near, far = at, at + width
        _numerators(d, near, m, g)
        s = _weigh(g, m, inner, i - base, s, e0, e1)
        _leading_numerators(d, near, far - near, m, g)
        z = _weigh(g, m, inner, i - base, z, e0, e1)
    s, z = kmul_one(s[0], s[1], f0, f1), kmul_one(z[0], z[1], f0, f1)
    return s[0], s[1], z[0], z[1]


@part
def _leading_numerators(d, i, pair, m, g):
    """The leading coefficients of d0*d1 for pairs at a distance of ``pair``."""
    j, h = i + m, i + pair
    e = h + m
    x0, x1, y0, y1 = d[0, i:j], d[1, i:j], d[2, i:j], d[3, i:j]
    u0, u1, v0, v1 = d[0, h:e], d[1, h:e], d[2, h:e], d[3, h:e]
    g0, g1 = g[0, :m], g[1, :m]
    for k in range(m):
        g0[k], g1[k] = kmul(sub(u0[k], x0[k]), sub(u1[k], x1[k]), sub(v0[k], y0[k]), sub(v1[k], y1[k]))


@kernel
def fill(out0, out1, members, extents, padded, factors, lo, hi):
    """Denominators of the padded leaves [lo, hi) of a block, C order.

    members: integers ``[w, n]`` over the true index set; extents, padded ``int64[d]``; factors ``uint64[2, 2 + w]``:
    alpha - tag, alpha, and the betas. A true leaf is alpha - tag - sum beta_i * member_i, a padded one alpha.
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
            at -= row * run
            for first in range(i, j, STRIP):
                after = min(j, first + STRIP)
                x0, x1 = out0[first:after], out1[first:after]
                x0[:] = factors[0, 0]
                x1[:] = factors[1, 0]
                for m in range(members.shape[0]):
                    _subtract(x0, x1, members[m, at + first : at + after], factors[0, 2 + m], factors[1, 2 + m])
        out0[j:end] = factors[0, 1]
        out1[j:end] = factors[1, 1]


@part
def _subtract(x0, x1, values, b0, b1):
    """x -= b * values over K, of integers."""
    for k in range(x0.shape[0]):
        v = np.uint64(np.int64(values[k]))
        y = v + (v >> S63) * P  # 2^64 - |v|  ->  p - |v|, as 2^64 wraps
        x0[k] = sub(x0[k], mul(b0, y))
        x1[k] = sub(x1[k], mul(b1, y))
