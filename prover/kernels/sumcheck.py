"""Kernels of the batched product sumcheck.

A pair (x, y) of a table is the line x + t*(y - x) in the round variable t. Round evaluations of a product of T tables
are summed at t = 0, 1, ..., 3; what a product of fewer than three lines does not need is extrapolated after the sum.
"""

import numpy as np
from numba import njit

from syurmy.prover.kernels.field import ONE, SEVEN, ZERO, add, kadd, kmul, ksub, mul, sub
from syurmy.prover.kernels.mle import ZERO_SUM, kmul_by, kreduce, mac

THREE = np.uint64(3)


@njit(forceinline=True)
def fold(x0, x1, y0, y1, r0, r1, r7):
    """x + r*(y - x); r7 = 7*r1."""
    d0, d1 = ksub(y0, y1, x0, x1)
    d0, d1 = kmul_by(d0, d1, r0, r1, r7)
    return kadd(x0, x1, d0, d1)


@njit(forceinline=True)
def at_two(x, y):
    """2*y - x: the line's value at 2, given its values at 0 and 1."""
    return sub(add(y, y), x)


@njit(forceinline=True)
def kmac(s, a0, a1, b0, b1):
    """Wide sums (a0*b0, a1*b1, cross) plus one product over K."""
    x = mac(s[2], a0, b1)
    return mac(s[0], a0, b0), mac(s[1], a1, b1), mac(x, a1, b0)


@njit(forceinline=True)
def extrapolate(tables, p0, p1, p2, p3):
    """Values at 2 and 3 that the degree determines (one plane)."""
    if tables == 1:
        p2 = at_two(p0, p1)
        p3 = at_two(p1, p2)
    elif tables == 2:
        p3 = add(p0, mul(THREE, sub(p2, p1)))  # third difference zero
    return p2, p3


@njit(forceinline=True)
def evaluations(tables, s0, s1, s2, s3):
    """The sums at 0, 1, 2, 3 as elements of K, from their wide sums; 2 and 3 extrapolated as ``extrapolate`` does."""
    p0, q0 = kreduce(s0[0], s0[1], s0[2])
    p1, q1 = kreduce(s1[0], s1[1], s1[2])
    p2, q2 = kreduce(s2[0], s2[1], s2[2])
    p3, q3 = kreduce(s3[0], s3[1], s3[2])
    p2, p3 = extrapolate(tables, p0, p1, p2, p3)
    q2, q3 = extrapolate(tables, q0, q1, q2, q3)
    return p0, q0, p1, q1, p2, q2, p3, q3


@njit(nogil=True, cache=True)
def first_round(t0, t1, t2, tables, one, lo, hi):
    """Sums over pairs i in [lo, hi) of the product of ``tables`` lines at 0, 1, 2, 3 as eight words.

    Tables are ``uint64[2, n]``, or ``uint64[1, n]`` over F. The value at 1 is computed where ``one`` is set (and for a
    single table), that at 3 for three tables; two tables with ``one`` set get it by extrapolation. Others are not
    meaningful.
    """
    half = t0.shape[1] // 2
    b0 = t0.shape[0] == 1
    b1 = t1.shape[0] == 1
    b2 = t2.shape[0] == 1
    none = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
    s0 = none
    s1 = none
    s2 = none
    s3 = none
    if tables == 1:
        a0 = ZERO
        a1 = ZERO
        c0 = ZERO
        c1 = ZERO
        for i in range(lo, hi):
            a0 = add(a0, t0[0, i])
            c0 = add(c0, t0[0, i + half])
            if not b0:
                a1 = add(a1, t0[1, i])
                c1 = add(c1, t0[1, i + half])
        p2, p3 = extrapolate(1, a0, c0, ZERO, ZERO)
        q2, q3 = extrapolate(1, a1, c1, ZERO, ZERO)
        return a0, a1, c0, c1, p2, q2, p3, q3
    if tables == 2 and b1 and not b0:
        for i in range(lo, hi):
            x0 = t0[0, i]
            x1 = t0[1, i]
            y0 = t0[0, i + half]
            y1 = t0[1, i + half]
            u = t1[0, i]
            v = t1[0, i + half]
            w = at_two(u, v)
            s0 = mac(s0[0], x0, u), s0[1], mac(s0[2], x1, u)
            s2 = mac(s2[0], at_two(x0, y0), w), s2[1], mac(s2[2], at_two(x1, y1), w)
            if one:
                s1 = mac(s1[0], y0, v), s1[1], mac(s1[2], y1, v)
    else:
        for i in range(lo, hi):
            x0 = t0[0, i]
            x1 = ZERO if b0 else t0[1, i]
            y0 = t0[0, i + half]
            y1 = ZERO if b0 else t0[1, i + half]
            u0 = t1[0, i]
            u1 = ZERO if b1 else t1[1, i]
            v0 = t1[0, i + half]
            v1 = ZERO if b1 else t1[1, i + half]
            z0 = at_two(x0, y0)
            z1 = at_two(x1, y1)
            w0 = at_two(u0, v0)
            w1 = at_two(u1, v1)
            if tables == 3:
                e0 = t2[0, i]
                e1 = ZERO if b2 else t2[1, i]
                f0 = t2[0, i + half]
                f1 = ZERO if b2 else t2[1, i + half]
                g0 = at_two(e0, f0)
                g1 = at_two(e1, f1)
                m0, m1 = kmul(at_two(y0, z0), at_two(y1, z1), at_two(v0, w0), at_two(v1, w1))
                s3 = kmac(s3, m0, m1, at_two(f0, g0), at_two(f1, g1))
                x0, x1 = kmul(x0, x1, u0, u1)
                u0, u1 = e0, e1
                z0, z1 = kmul(z0, z1, w0, w1)
                w0, w1 = g0, g1
                if one:
                    y0, y1 = kmul(y0, y1, v0, v1)
                    v0, v1 = f0, f1
            s0 = kmac(s0, x0, x1, u0, u1)
            s2 = kmac(s2, z0, z1, w0, w1)
            if one:
                s1 = kmac(s1, y0, y1, v0, v1)
    return evaluations(tables, s0, s1, s2, s3)


@njit(nogil=True, cache=True)
def fold_first(t, r0, r1, w, at, lo, hi):
    """w[:, at + i] = t[i] + r*(t[i + half] - t[i]) for i in [lo, hi); ``t`` is ``uint64[2, n]`` or, over F,
    ``uint64[1, n]``.
    """
    half = t.shape[1] // 2
    r7 = mul(SEVEN, r1)
    if t.shape[0] == 1:
        for i in range(lo, hi):
            d = sub(t[0, i + half], t[0, i])
            w[0, at + i] = add(t[0, i], mul(d, r0))
            w[1, at + i] = mul(d, r1)
    else:
        for i in range(lo, hi):
            x0, x1 = fold(t[0, i], t[1, i], t[0, i + half], t[1, i + half], r0, r1, r7)
            w[0, at + i] = x0
            w[1, at + i] = x1


@njit(forceinline=True)
def load_pair(w, at, i, half, folding, r0, r1, r7):
    """The pair (i, i + half) of the table at ``at``; where ``folding``, bind the pending variable first and store."""
    j = at + i
    x0 = w[0, j]
    x1 = w[1, j]
    y0 = w[0, j + half]
    y1 = w[1, j + half]
    if folding:
        x0, x1 = fold(x0, x1, w[0, j + 2 * half], w[1, j + 2 * half], r0, r1, r7)
        y0, y1 = fold(y0, y1, w[0, j + 3 * half], w[1, j + 3 * half], r0, r1, r7)
        w[0, j] = x0
        w[1, j] = x1
        w[0, j + half] = y0
        w[1, j + half] = y1
    return x0, x1, y0, y1


@njit(nogil=True, cache=True)
def round_all(w, at, tables, half, folding, start, coefficient, degree, r0, r1, lo, hi):
    """One round of all instances in the workspace: sum of coefficient * product at 0, 2, 3 as six words.

    w ``uint64[2, *]``; at ``int64[m, 3]`` offsets of the tables; tables, half, folding ``int64[m]``; start ``int64[m +
    1]`` prefix sums of half. [lo, hi) is a range of the concatenated pair indices, so that large and small instances
    share the threads.
    """
    r7 = mul(SEVEN, r1)
    p0 = ZERO
    q0 = ZERO
    p2 = ZERO
    q2 = ZERO
    p3 = ZERO
    q3 = ZERO
    first = np.searchsorted(start, lo, side="right") - 1
    for k in range(first, tables.shape[0]):
        if start[k] >= hi:
            break
        count = tables[k]
        h = half[k]
        f = folding[k] != 0
        one = count < degree
        none = (ZERO_SUM, ZERO_SUM, ZERO_SUM)
        s0 = none
        s1 = none
        s2 = none
        s3 = none
        for i in range(max(lo - start[k], 0), min(hi - start[k], h)):
            x0, x1, y0, y1 = load_pair(w, at[k, 0], i, h, f, r0, r1, r7)
            u0 = ONE
            u1 = ZERO
            v0 = ONE
            v1 = ZERO
            if count > 1:
                u0, u1, v0, v1 = load_pair(w, at[k, 1], i, h, f, r0, r1, r7)
            z0 = at_two(x0, y0)
            z1 = at_two(x1, y1)
            w0 = at_two(u0, v0)
            w1 = at_two(u1, v1)
            if count > 2:
                e0, e1, f0, f1 = load_pair(w, at[k, 2], i, h, f, r0, r1, r7)
                g0 = at_two(e0, f0)
                g1 = at_two(e1, f1)
                m0, m1 = kmul(at_two(y0, z0), at_two(y1, z1), at_two(v0, w0), at_two(v1, w1))
                s3 = kmac(s3, m0, m1, at_two(f0, g0), at_two(f1, g1))
                x0, x1 = kmul(x0, x1, u0, u1)
                u0, u1 = e0, e1
                z0, z1 = kmul(z0, z1, w0, w1)
                w0, w1 = g0, g1
            s0 = kmac(s0, x0, x1, u0, u1)
            s2 = kmac(s2, z0, z1, w0, w1)
            if one:
                s1 = kmac(s1, y0, y1, v0, v1)
        a0, b0, _, _, a2, b2, a3, b3 = evaluations(count, s0, s1, s2, s3)
        c0 = coefficient[0, k]
        c1 = coefficient[1, k]
        a0, b0 = kmul(a0, b0, c0, c1)
        a2, b2 = kmul(a2, b2, c0, c1)
        a3, b3 = kmul(a3, b3, c0, c1)
        p0, q0 = kadd(p0, q0, a0, b0)
        p2, q2 = kadd(p2, q2, a2, b2)
        p3, q3 = kadd(p3, q3, a3, b3)
    return p0, q0, p2, q2, p3, q3
