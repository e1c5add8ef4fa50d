"""Kernels that move values into columns, rows and tables, by strides and by index: what a device does instead of NumPy.

Thread i of a device has index i; index sets of several axes are numbered in C order. Elements of F are ``uint64``,
integers of any signed dtype.
"""

import numpy as np

from syurmy.prover.kernels.field import ONE, ZERO, P, add, from_int, kadd, kmul, mul, power
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.wide import ZERO_SUM, mac, reduce


@part
def offset(i, lengths, strides):
    """Of entry i of an index set of these lengths, in C order."""
    at = 0
    for axis in range(lengths.shape[0] - 1, -1, -1):
        at += i % lengths[axis] * strides[axis]
        i //= lengths[axis]
    return at


@kernel
def set_kernel(out, value, lo, hi):
    """out[i] = value."""
    for i in range(lo, hi):
        out[i] = value


@kernel
def set_planes_kernel(planes, first, width, a0, a1, b0, b1, c0, c1, d0, d1, lo, hi):
    """planes[p, first + k] = the p-th of the words a0, a1, b0, ... for i = (p, k) in C order, k < width."""
    words = (a0, a1, b0, b1, c0, c1, d0, d1)
    for i in range(lo, hi):
        planes[i // width, first + i % width] = words[i // width]


@kernel
def place_kernel(source, lengths, strides, out, first, places, lo, hi):
    """out[first + offset by places] = the integer at the offset by strides, over F; of a flat source."""
    for i in range(lo, hi):
        v = source[offset(i, lengths, strides)]
        out[first + offset(i, lengths, places)] = from_int(np.int64(v))


@kernel
def table_kernel(source, lengths, strides, padded, out, lo, hi):
    """out[0, i] = the integer at the offset by strides, over F, of a flat source; 0 where ``padded`` has more entries
    than ``lengths``, in which i is numbered in C order. out[1, i] = 0."""
    for i in range(lo, hi):
        at, inside, rest = 0, True, i
        for axis in range(lengths.shape[0] - 1, -1, -1):
            k = rest % padded[axis]
            rest //= padded[axis]
            inside = inside and k < lengths[axis]
            at += k * strides[axis]
        out[0, i] = from_int(np.int64(source[at])) if inside else ZERO
        out[1, i] = ZERO


@kernel
def moved_kernel(source, lengths, strides, out, lo, hi):
    """out[i] = the integer at the offset by strides, of a flat source."""
    for i in range(lo, hi):
        out[i] = source[offset(i, lengths, strides)]


@kernel
def indexed_kernel(source, index, rest, lengths, strides, out, lo, hi):
    """out[i] for i = (k, r) in C order, r < rest: the integer number index[k] of the axes that are indexed and r of the
    others, 0 for a negative index. lengths, strides: of the source's axes, those that are indexed before the others."""
    for i in range(lo, hi):
        j = index[i // rest]
        out[i] = 0
        if j >= 0:
            out[i] = source[offset(np.int64(j) * rest + i % rest, lengths, strides)]


@kernel
def combine_kernel(a, factor_a, b, factor_b, const, more, out, lo, hi):
    """out[i] = const + factor_a * a[i] + factor_b * b[i], of int64 that wrap as NumPy's do; where ``more``, added to
    what is there."""
    for i in range(lo, hi):
        x = const + factor_a * np.int64(a[i]) + factor_b * np.int64(b[i])
        out[i] = out[i] + x if more else x


@kernel
def take_rows_kernel(source, rows, out, lo, hi):
    """out[k, c] = source[rows[k], c] for i = (k, c) in C order."""
    width = out.shape[1]
    for i in range(lo, hi):
        out[i // width, i % width] = source[rows[i // width], i % width]


@kernel
def put_rows_kernel(source, rows, out, lo, hi):
    """out[rows[k], c] = source[k, c] for i = (k, c) in C order."""
    width = source.shape[1]
    for i in range(lo, hi):
        out[rows[i // width], i % width] = source[i // width, i % width]


@kernel
def cut_kernel(source, first, out, lo, hi):
    """out[p, k] = source[p, first + k] for i = (p, k) in C order."""
    width = out.shape[1]
    for i in range(lo, hi):
        out[i // width, i % width] = source[i // width, first + i % width]


@kernel
def count_kernel(values, counts, lo, hi):
    """counts[v] += 1 for every value v; those that are no index add to the last entry of counts."""
    size = counts.shape[0] - 1
    for i in range(lo, hi):
        v = np.int64(values[i])
        counts[v if 0 <= v < size else size] += ONE


@kernel
def numerator_kernel(counts, out, lo, hi):
    """out[i] = -counts[i] over F."""
    for i in range(lo, hi):
        v = counts[i]
        out[i] = P - v if v != ZERO else v


@kernel
def power_kernel(squares, out, lo, hi):
    """out[i] = x^i, of squares[b] = x^(2^b)."""
    for i in range(lo, hi):
        x, e, b = ONE, i, 0
        while e > 0:
            if e & 1:
                x = mul(x, squares[b])
            e >>= 1
            b += 1
        out[i] = x


@kernel
def vandermonde_kernel(x, out, lo, hi):
    """out[k, q] = x[q]^k for i = (k, q) in C order."""
    count = out.shape[1]
    for i in range(lo, hi):
        out[i // count, i % count] = power(x[i % count], i // count)


@kernel
def evaluate_kernel(values, low, high, out, lo, hi):
    """out[r, q] = the sum over c of values[r, c] * x_q^c for i = (r, q) in C order, of integers; low[j, q] = x_q^j for
    j < L, high[k, q] = x_q^(k*L), as many as cover the columns."""
    length, count = low.shape
    for i in range(lo, hi):
        r, q = i // count, i % count
        total = ZERO
        for k in range(high.shape[0]):
            s = ZERO_SUM
            for j in range(length):
                s = mac(s, low[j, q], from_int(np.int64(values[r, k * length + j])))
            total = add(total, mul(reduce(s), high[k, q]))
        out[i // count, i % count] = total


@kernel
def eq_kernel(point, out, lo, hi):
    """out[:, i] = eq(point, i) over K, point[:, 0] the most significant bit of i."""
    levels = point.shape[1]
    for i in range(lo, hi):
        x0, x1 = ONE, ZERO
        for b in range(levels):
            r0, r1 = point[0, b], point[1, b]
            if (i >> (levels - 1 - b)) & 1 == 0:
                r0, r1 = add(ONE, P - r0 if r0 != ZERO else r0), P - r1 if r1 != ZERO else r1
            x0, x1 = kmul(x0, x1, r0, r1)
        out[0, i] = x0
        out[1, i] = x1


@kernel
def outer_kernel(a, b, out, lo, hi):
    """out[:, i] = a[:, j] * b[:, k] over K for i = (j, k) in C order."""
    width = b.shape[1]
    for i in range(lo, hi):
        j, k = i // width, i % width
        out[0, i], out[1, i] = kmul(a[0, j], a[1, j], b[0, k], b[1, k])


@kernel
def dense_kernel(a, strides_a, b, strides_b, c0, c1, lengths, out, first, places, lo, hi):
    """out[:, first + offset by places] += c * a[offset by strides_a] * b[offset by strides_b] over K."""
    for i in range(lo, hi):
        j, k, at = offset(i, lengths, strides_a), offset(i, lengths, strides_b), first + offset(i, lengths, places)
        x0, x1 = kmul(a[0, j], a[1, j], b[0, k], b[1, k])
        x0, x1 = kmul(x0, x1, c0, c1)
        out[0, at], out[1, at] = kadd(out[0, at], out[1, at], x0, x1)


@kernel
def spread_kernel(source, lengths, places, out, lo, hi):
    """out[:, offset by places] = source[:, i]."""
    for i in range(lo, hi):
        at = offset(i, lengths, places)
        for p in range(source.shape[0]):
            out[p, at] = source[p, i]


@kernel
def offsets_kernel(lengths, strides, out, lo, hi):
    """out[i] = the offset of i."""
    for i in range(lo, hi):
        out[i] = offset(i, lengths, strides)


@kernel
def bind_kernel(values, lengths, strides, offsets, weights, out0, out1, places, lo, hi):
    """Adds to out0 and out1, at the offset of k by places, the sum over j of weights[:, j] * the integer at the offset
    of k by strides plus offsets[j]; of flat values, for k in [lo, hi)."""
    for k in range(lo, hi):
        base = offset(k, lengths, strides)
        s, t = ZERO_SUM, ZERO_SUM
        for j in range(offsets.shape[0]):
            v = from_int(np.int64(values[base + offsets[j]]))
            s = mac(s, weights[0, j], v)
            t = mac(t, weights[1, j], v)
        at = offset(k, lengths, places)
        out0[at], out1[at] = kadd(out0[at], out1[at], reduce(s), reduce(t))
