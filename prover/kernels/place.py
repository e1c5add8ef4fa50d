"""Kernels beside the witness matrix: integer columns into their places, weights into theirs, counts of rows."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from syurmy.isa.arrays import I64, Integers
from syurmy.prover.field import U64
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.field import ZERO, P, from_int
from syurmy.prover.kernels.field import kmul as kmul_one
from syurmy.prover.kernels.jit import kernel, part
from syurmy.prover.kernels.lanes import STRIP, add, kmul

S63 = np.uint64(63)
SHORT = 16  # rows below it do not repay a loop over vectors


@kernel
def place_kernel(values, strides, extents, out, at, padded, lo, hi):
    """out[at + i] for i in [lo, hi), C order over ``padded`` axes: the entry of ``values`` over F, zero beyond the
    ``extents``.

    values int64, flat; strides, extents, padded ``int64[d]``, by axis, strides in entries; out ``uint64[*]``.
    """
    last = padded.shape[0] - 1
    run, step = padded[last], strides[last]
    for row in range(lo // run, (hi + run - 1) // run):
        true = True
        first = 0
        rest = row
        for axis in range(last - 1, -1, -1):
            k = rest % padded[axis]
            rest //= padded[axis]
            true = true and k < extents[axis]
            first += k * strides[axis]
        i, end = max(lo, row * run), min(hi, row * run + run)
        j = i
        if true:
            j = max(i, min(end, row * run + extents[last]))
            first += (i - row * run) * step
            if step == 1:
                _elements(values[first : first + j - i], out[at + i : at + j])
            else:
                for k in range(j - i):
                    out[at + i + k] = from_int(values[first + k * step])
        out[at + j : at + end] = ZERO


@part
def _elements(values, out):
    for k in range(values.shape[0]):
        v = np.uint64(values[k])
        out[k] = v + (v >> S63) * P  # 2^64 - |v|  ->  p - |v|, as 2^64 wraps


@part
def _scaled(x0, x1, y0, y1, c0, c1):
    for k in range(x0.shape[0]):
        x0[k], x1[k] = kmul(y0[k], y1[k], c0, c1)


@part
def _add_scaled(x0, x1, y0, y1, c0, c1):
    for k in range(x0.shape[0]):
        z0, z1 = kmul(y0[k], y1[k], c0, c1)
        x0[k] = add(x0[k], z0)
        x1[k] = add(x1[k], z1)


@kernel
def outer_products_kernel(memory, products, lo, hi):
    """memory[:, o + i*m + j] = memory[:, l + i] * memory[:, r + j] over K, for each row (l, n, r, m, o) of ``products``
    ``int64[*, 5]`` in [lo, hi), one after the other; i < n, j < m."""
    for t in range(lo, hi):
        left, n, right, m, at = products[t, 0], products[t, 1], products[t, 2], products[t, 3], products[t, 4]
        for i in range(n):
            c0, c1 = memory[0, left + i], memory[1, left + i]
            if m < SHORT:
                for j in range(m):
                    a, b = kmul_one(memory[0, right + j], memory[1, right + j], c0, c1)
                    memory[0, at + j], memory[1, at + j] = a, b
            else:
                y0, y1 = memory[0, right : right + m], memory[1, right : right + m]
                _scaled(memory[0, at : at + m], memory[1, at : at + m], y0, y1, c0, c1)
            at += m


@kernel
def outer_sums_kernel(memory, rows, coefficients, out, lo, hi):
    """The entries [lo, hi) of ``out`` that are among out[:, at + i*m + j] = sum over t of c_t * memory[:, l + i] *
    memory[:, r + j] over K, t the rows (l, n, r, m, at) of ``rows`` ``int64[*, 5]``: those with one ``at``, which come
    one after the other, are added up. coefficients ``uint64[2, *]``."""
    for t in range(rows.shape[0]):
        left, n, right, m, at = rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 3], rows[t, 4]
        adding = t > 0 and rows[t - 1, 4] == at
        begin, stop = max(lo, at) - at, min(hi, at + n * m) - at
        if begin < stop:
            for row in range(begin // m, (stop + m - 1) // m):
                i, end = max(begin, row * m), min(stop, row * m + m)
                c0, c1 = kmul_one(memory[0, left + row], memory[1, left + row], coefficients[0, t], coefficients[1, t])
                for first in range(i, end, STRIP):
                    j = min(end, first + STRIP)
                    k = right + first - row * m
                    x0, x1 = out[0, at + first : at + j], out[1, at + first : at + j]
                    y0, y1 = memory[0, k : k + j - first], memory[1, k : k + j - first]
                    if adding:
                        _add_scaled(x0, x1, y0, y1, c0, c1)
                    else:
                        _scaled(x0, x1, y0, y1, c0, c1)


@kernel
def combine_kernel(a, b, c, d, count, factors, out, lo, hi):
    """out[i] = factors[4] + factors[0]*a[i] + factors[1]*b[i] + ..., of the first ``count`` of four, for i in [lo, hi);
    all int64, modulo 2^64."""
    for first in range(lo, hi, STRIP):
        j = min(hi, first + STRIP)
        z = out[first:j]
        _multiples(a[first:j], factors[0], factors[4], z)
        if count > 1:
            _add_multiples(b[first:j], factors[1], z)
        if count > 2:
            _add_multiples(c[first:j], factors[2], z)
        if count > 3:
            _add_multiples(d[first:j], factors[3], z)


@part
def _multiples(a, f, more, out):
    for k in range(a.shape[0]):
        out[k] = more + f * a[k]


@part
def _add_multiples(a, f, out):
    for k in range(a.shape[0]):
        out[k] += f * a[k]


@kernel
def count_kernel(rows, counts, lo, hi):
    """counts[r] += 1 for the r = rows[i] with i in [lo, hi), ``int64``; how many of them are not below len(counts) as
    unsigned integers, which count nowhere."""
    size = np.uint64(counts.shape[0])
    beyond = np.int64(0)
    for i in range(lo, hi):
        r = np.uint64(rows[i])
        if r < size:
            counts[r] += 1
        else:
            beyond += 1
    return beyond


def place(values: I64, order: tuple[int, ...], padded: tuple[int, ...], out: U64, at: int) -> None:
    """Integers over F into ``out[at:]``, C order over the ``padded`` axes: the axes of ``values`` in ``order``, zero
    beyond them. ``ValueError`` where they do not fit."""
    values = np.ascontiguousarray(values, np.int64)
    lengths, wide, steps = joined_axes(values.shape, tuple(order), tuple(padded))
    size = math.prod(padded)
    if not 0 <= at <= at + size <= len(out):
        raise ValueError("a place beyond its matrix")
    args = values.reshape(-1), steps, lengths, out, at, wide
    pool.for_ranges(place_kernel, size, *args, min_chunk=16 * pool.MIN_CHUNK)


@lru_cache(maxsize=4096)  # few shapes have many tensors
def joined_axes(shape: tuple[int, ...], order: tuple[int, ...], padded: tuple[int, ...]) -> tuple[I64, I64, I64]:
    """``joined`` of the axes of a tensor in C order, in another order."""
    lengths = [shape[a] for a in order]
    if len(order) != len(padded) or any(a > b for a, b in zip(lengths, padded, strict=True)):
        raise ValueError(f"values of shape {shape} in a place of {padded}")
    return joined(lengths, padded, [math.prod(shape[a + 1 :]) for a in order])


def joined(lengths: Sequence[int], padded: Sequence[int], strides: Sequence[int]) -> tuple[I64, I64, I64]:
    """The same axes, fewer of them: without those of length 1, and with neighbours as one that lie one after the other
    without padding between them."""
    out = [[1, 1, 1]]
    for n, p, s in zip(lengths, padded, strides, strict=True):
        before = out[-1]
        if p == 1:
            continue
        if before[0] == before[1] == 1:
            out[-1] = [n, p, s]
        elif n == p and before[2] == n * s:
            out[-1] = [before[0] * n, before[1] * p, s]
        else:
            out.append([n, p, s])
    columns = np.array(out, np.int64).T.copy()
    return columns[0], columns[1], columns[2]


def outer_sums(memory: U64, products: I64, rows: I64, coefficients: U64, out: U64) -> None:
    """Products within ``memory``, then sums of multiples of products into ``out``, as the two kernels say.
    ``ValueError`` where something does not fit."""
    for where, size in ((products, memory.shape[1]), (rows, out.shape[1])):
        left, n, right, m, at = where.T
        inside = (where >= 0).all() and (n > 0).all() and (m > 0).all() and (at + n * m <= size).all()
        if not inside or (left + n > memory.shape[1]).any() or (right + m > memory.shape[1]).any():
            raise ValueError("a product that does not fit")
    if len(products):
        pool.for_ranges(outer_products_kernel, len(products), memory, products, min_chunk=len(products))
    if len(rows):
        _, n, _, m, at = rows[-1].tolist()
        pool.for_ranges(outer_sums_kernel, at + n * m, memory, rows, coefficients, out)


def combined(arrays: Sequence[Integers], factors: Sequence[int], const: int) -> I64:
    """``const + sum(factor * array)``, int64, of one to four contiguous arrays of one shape."""
    flat = [np.ascontiguousarray(a, np.int64).reshape(-1) for a in arrays]
    out = np.empty(arrays[0].shape, np.int64)
    several = [flat[min(i, len(flat) - 1)] for i in range(4)]
    words = np.array([*factors, *[0] * (4 - len(factors)), const], np.int64)
    args = *several, len(flat), words, out.reshape(-1)
    pool.for_ranges(combine_kernel, out.size, *args, min_chunk=2 * pool.MIN_CHUNK)
    return out


def count(rows: Integers, counts: I64) -> bool:
    """Adds to counts[r] how often r is among ``rows`` (any shape); False where one of them is no index: then ``counts``
    is not to be used."""
    flat = pool.lent(np.ascontiguousarray(rows, np.int64).reshape(-1))
    beyond = 0
    if len(flat) < 2 * len(counts):  # counts of each thread's own would cost more than they save
        return not any(pool.for_ranges(count_kernel, len(flat), flat, counts, min_chunk=len(flat) or 1))
    size = len(counts)

    def counted(lo: int, hi: int) -> tuple[I64, int]:
        own = np.zeros(size, np.int64)
        return own, int(count_kernel(flat, own, lo, hi))

    for own, more in pool.for_ranges(counted, len(flat)):
        counts += own
        beyond += more
    return not beyond
