"""Kernels of the batched product sumcheck.

A pair (x, y) of a table is the line x + t*(y - x) in the round variable t. Round evaluations of a product of T tables
are summed at t = 0, 1, ..., 3; what a product of fewer than three lines does not need is extrapolated after the sum.
"""

import numpy as np

from syurmy.prover.kernels.field import SEVEN, ZERO
from syurmy.prover.kernels.field import add as add_one
from syurmy.prover.kernels.field import kmul as kmul_one
from syurmy.prover.kernels.field import mul as mul_one
from syurmy.prover.kernels.field import sub as sub_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import (
    STRIP,
    add,
    dot_base_strip,
    dot_strip,
    fold_in_place,
    fold_strip,
    kmul,
    mul,
    sub,
    sum_strip,
)

THREE = np.uint64(3)


@part
def _line(t, x, y, out):
    """The lines through x and y at t = 0, ..., 3."""
    for k in range(out.shape[0]):
        out[k] = y[k] if t == 1 else x[k]
    if t > 1:
        for k in range(out.shape[0]):
            out[k] = add(sub(y[k], x[k]), y[k])
    if t == 3:
        for k in range(out.shape[0]):
            out[k] = add(sub(y[k], x[k]), out[k])


@part
def _load(t, table, i, half, out0, out1):
    """The lines of pairs (i, i + half), ... of a table over K or F at t; of one over F only plane 0."""
    j = i + out0.shape[0]
    _line(t, table[0, i:j], table[0, i + half : j + half], out0)
    if table.shape[0] == 2:
        _line(t, table[1, i:j], table[1, i + half : j + half], out1)


@part
def _times(x0, x1, y0, y1, base):
    """x *= y over K, y over F where ``base``."""
    if base:
        for k in range(x0.shape[0]):
            x0[k] = mul(x0[k], y0[k])
            x1[k] = mul(x1[k], y0[k])
    else:
        for k in range(x0.shape[0]):
            x0[k], x1[k] = kmul(x0[k], x1[k], y0[k], y1[k])


@part
def _value(t, count, t0, i0, t1, i1, t2, i2, half, m, buffer):
    """Sum at t over m pairs of the product of ``count`` lines; tables over F come last."""
    a0, a1, b0, b1 = buffer[0, :m], buffer[1, :m], buffer[2, :m], buffer[3, :m]
    if t0.shape[0] == 1:
        a1[:] = ZERO
    _load(t, t0, i0, half, a0, a1)
    if count == 1:
        return sum_strip(a0), sum_strip(a1)
    _load(t, t1, i1, half, b0, b1)
    base = t1.shape[0] == 1
    if count == 3:
        _times(a0, a1, b0, b1, base)
        _load(t, t2, i2, half, b0, b1)
        base = t2.shape[0] == 1
    if base:
        return dot_base_strip(a0, a1, b0)
    return dot_strip(a0, a1, b0, b1)


@part
def _extrapolate(count, e):
    """Fills the evaluations e uint64[4, 2] at 2 and 3 that the degree determines."""
    for c in range(2):
        if count == 1:
            e[2, c] = sub_one(add_one(e[1, c], e[1, c]), e[0, c])
            e[3, c] = sub_one(add_one(e[2, c], e[2, c]), e[1, c])
        elif count == 2:
            e[3, c] = add_one(e[0, c], mul_one(THREE, sub_one(e[2, c], e[1, c])))  # third difference zero


@part
def _evaluate(count, one, t0, i0, t1, i1, t2, i2, half, m, buffer, e):
    """Adds m pairs to the evaluations e at 0, 1, 2, 3 that are computed."""
    for t in range(4):
        if t == 0 or (t == 1 and (one or count == 1)) or (t == 2 and count > 1) or (t == 3 and count == 3):
            c0, c1 = _value(t, count, t0, i0, t1, i1, t2, i2, half, m, buffer)
            e[t, 0] = add_one(e[t, 0], c0)
            e[t, 1] = add_one(e[t, 1], c1)


@kernel
def first_round(t0, t1, t2, tables, one, lo, hi):
    """Sums over pairs i in [lo, hi) of the product of ``tables`` lines at 0, 1, 2, 3 as eight words.

    Tables are ``uint64[2, n]``, or ``uint64[1, n]`` over F, these last. The value at 1 is computed where ``one`` is set
    (and for a single table), that at 3 for three tables; two tables with ``one`` set get it by extrapolation. Others
    are not meaningful.
    """
    half = t0.shape[1] // 2
    buffer = np.empty((4, STRIP), np.uint64)
    e = np.zeros((4, 2), np.uint64)
    for i in range(lo, hi, STRIP):
        _evaluate(tables, one, t0, i, t1, i, t2, i, half, min(STRIP, hi - i), buffer, e)
    _extrapolate(tables, e)
    return e[0, 0], e[0, 1], e[1, 0], e[1, 1], e[2, 0], e[2, 1], e[3, 0], e[3, 1]


@kernel
def fold_first(t, r0, r1, w, at, lo, hi):
    """w[:, at + i] = t[i] + r*(t[i + half] - t[i]) for i in [lo, hi); ``t`` is ``uint64[2, n]`` or, over F,
    ``uint64[1, n]``.
    """
    half = t.shape[1] // 2
    z0, z1 = w[0, at + lo : at + hi], w[1, at + lo : at + hi]
    x0, y0 = t[0, lo:hi], t[0, lo + half : hi + half]
    if t.shape[0] == 1:
        for k in range(x0.shape[0]):
            d = sub(y0[k], x0[k])
            z0[k] = add(x0[k], mul(d, r0))
            z1[k] = mul(d, r1)
    else:
        fold_strip(x0, t[1, lo:hi], y0, t[1, lo + half : hi + half], r0, r1, mul_one(SEVEN, r1), z0, z1)


@kernel
def fold_tables(x, y, z, r0, r1, w, at, lo, hi):
    """``fold_first`` of an instance's tables at once, for i = (table, entry) in C order; at ``int64[3]``: their
    places. A device has no time for a launch of each."""
    half = x.shape[1] // 2
    for i in range(lo, hi):
        p, j = i // half, i % half
        t = x if p == 0 else (y if p == 1 else z)
        fold_first(t, r0, r1, w, at[p], j, j + 1)


@kernel
def fold_here(t, r0, r1, lo, hi):
    """t[:, i] += r*(t[:, i + half] - t[:, i]) for i in [lo, hi); ``uint64[2, n]``."""
    half = t.shape[1] // 2
    x0, x1, y0, y1 = t[0, lo:hi], t[1, lo:hi], t[0, lo + half : hi + half], t[1, lo + half : hi + half]
    fold_in_place(x0, x1, y0, y1, r0, r1, mul_one(SEVEN, r1))


@part
def _fold_pairs(w, i, j, half, r0, r1, r7):
    """Binds the pending variable of the pairs from [i, j): entries i and i + half of four at distances of half."""
    for at in range(2):
        x, y = at * half, (at + 2) * half
        fold_in_place(w[0, x + i : x + j], w[1, x + i : x + j], w[0, y + i : y + j], w[1, y + i : y + j], r0, r1, r7)


@kernel
def lift(t, w, at, lo, hi):
    """w[:, at + i] = t[:, i] for i in [lo, hi), of a table over K or F."""
    for i in range(lo, hi):
        w[0, at + i] = t[0, i]
        w[1, at + i] = t[1, i] if t.shape[0] == 2 else ZERO


@kernel
def ends(w, at, out, lo, hi):
    """out[i] = w[:, at[i]] and w[:, at[i] + 1] for i in [lo, hi), ``uint64[n, 2, 2]``."""
    for i in range(lo, hi):
        for p in range(2):
            for k in range(2):
                out[i, p, k] = w[p, at[i] + k]


@kernel
def round_all(w, at, tables, half, folding, coefficient, degree, r0, r1, lo, hi):
    """One round of instances in the workspace: sum of coefficient * product at 0, 2, 3 as six words.

    w ``uint64[2, *]``; at ``int64[m, 3]`` offsets of the tables; tables ``int64[m]``. Each instance has ``half`` pairs,
    and [lo, hi) is a range of those of all of them; of the first ``folding`` a variable is bound at r first.
    """
    r7 = mul_one(SEVEN, r1)
    buffer = np.empty((4, STRIP), np.uint64)
    total = np.zeros((4, 2), np.uint64)
    e = np.empty((4, 2), np.uint64)
    for k in range(lo // half, (hi + half - 1) // half):
        count = tables[k]
        e[:, :] = ZERO
        end = min(hi - k * half, half)
        for i in range(max(lo - k * half, 0), end, STRIP):
            m = min(STRIP, end - i)
            i0, i1, i2 = at[k, 0] + i, at[k, 1] + i, at[k, 2] + i
            if k < folding:
                _fold_pairs(w, i0, i0 + m, half, r0, r1, r7)
                if count > 1:
                    _fold_pairs(w, i1, i1 + m, half, r0, r1, r7)
                if count > 2:
                    _fold_pairs(w, i2, i2 + m, half, r0, r1, r7)
            _evaluate(count, count < degree, w, i0, w, i1, w, i2, half, m, buffer, e)
        _extrapolate(count, e)
        for t in range(4):
            c0, c1 = kmul_one(e[t, 0], e[t, 1], coefficient[0, k], coefficient[1, k])
            total[t, 0] = add_one(total[t, 0], c0)
            total[t, 1] = add_one(total[t, 1], c1)
    return total[0, 0], total[0, 1], total[2, 0], total[2, 1], total[3, 0], total[3, 1]
