"""Vectors over K on a device: eq vectors, outer products, inner products of rows of integers, parts that are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from syurmy import gpu
from syurmy.gpu import Array
from syurmy.prover.field import U64, Ext, ext_array
from syurmy.prover.kernels import moves
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol import mle

ONES = ext_array([1])
SHORT = 10  # variables of an eq vector, each of whose entries one thread multiplies


def filled(out: Array, value: int) -> Array:
    """A contiguous array with this in every entry."""
    if gpu.on_host(out):
        out[...] = value
    else:
        for_ranges(moves.set_kernel, out.size, out.reshape(-1), np.uint64(value))
    return out


def fill(planes: Array, lo: int, hi: int, values: Sequence[Ext]) -> None:
    """Sets the elements [lo, hi) of every two planes, of which there are as many as at most four ``values``."""
    if lo >= hi:
        return
    words = [np.uint64(w) for x in values for w in (x.a, x.b)]
    if gpu.on_host(planes):
        planes[:, lo:hi] = np.array(words)[:, None]
        return
    words += [np.uint64(0)] * (8 - len(words))
    for_ranges(moves.set_planes_kernel, len(planes) * (hi - lo), planes, lo, hi - lo, *words)


def zeros(shape: int | tuple[int, ...], memory: gpu.Memory) -> Array:
    """``uint64`` in ``memory``."""
    return np.zeros(shape, np.uint64) if memory is gpu.HOST else filled(memory.empty(shape), 0)


def cut(planes: Array, first: int, count: int) -> Array:
    """``count`` entries of all planes from ``first`` on, where they are: a view on the host, contiguous on a device."""
    if gpu.on_host(planes):
        return planes[:, first : first + count]
    if first == 0 and count == planes.shape[1]:
        return planes
    out = planes.memory.empty((len(planes), count), planes.dtype)
    for_ranges(moves.cut_kernel, out.size, planes, first, out)
    return out


def part(planes: Array, first: int, count: int) -> U64:
    """``count`` entries of all planes from ``first`` on, on the host."""
    if isinstance(planes, np.ndarray):
        return planes[:, first : first + count]
    return gpu.download(cut(planes, first, count))


def put(out: Array, first: int, planes: Array) -> None:
    """out[:, first : ...] = planes, of which either may be on the host unless ``out`` is."""
    count = planes.shape[1]
    if gpu.on_host(out):
        out[:, first : first + count] = gpu.download(planes)
        return
    for p in range(len(out)):
        there, source = out[p, first : first + count], planes[p]
        if gpu.on_host(source):
            out.memory.write(there, source)
        else:
            for_ranges(moves.cut_kernel, count, source.reshape(1, -1), 0, there.reshape(1, -1))


def eq_vector(point: Sequence[Ext], memory: gpu.Memory, size: int | None = None) -> Array:
    """eq(point, i) for i < size (default all), ``uint64[2, size]``, on a device."""
    k = len(point)
    size = 1 << k if size is None else size
    if k == 0:
        return memory.upload(ext_array([1]))
    if k <= SHORT:
        out = memory.empty((2, size))
        for_ranges(moves.eq_kernel, size, ext_array(point), out)
        return out
    low = 1 << SHORT
    wide = outer(eq_vector(point[: k - SHORT], memory, -(-size // low)), eq_vector(point[k - SHORT :], memory))
    if wide.shape[1] == size:
        return wide
    out = memory.empty((2, size))
    for_ranges(moves.cut_kernel, 2 * size, wide, 0, out)
    return out


def outer(a: Array, b: Array) -> Array:
    """The products of all pairs of entries, ``uint64[2, n * m]``, on a device."""
    n, m = a.shape[1], b.shape[1]
    out = a.memory.empty((2, n * m))
    for_ranges(moves.outer_kernel, n * m, a, b, out)
    return out


def add_scaled(out: Array, offset: int, a: Array, c: Ext) -> None:
    """out[:, offset + i] += c * a[:, i], where they are."""
    if gpu.on_host(out):
        block = out[:, offset : offset + a.shape[1]]
        block[:] = mle.add(block, mle.scale(a, c))
        return
    one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    length = np.array([a.shape[1]], np.int64)
    factor = np.uint64(c.a), np.uint64(c.b)
    for_ranges(moves.dense_kernel, a.shape[1], a, one, out.memory.kept(ONES), zero, *factor, length, out, offset, one)


def dot_rows(rows: Array, weights: Array) -> Array:
    """``uint64[2, R]`` of integers ``[R, C]`` and weights ``uint64[2, C]``, on a device."""
    count, length = rows.shape
    memory, one = weights.memory, np.ones(1, np.int64)
    offsets = memory.empty(length, np.int64)
    for_ranges(moves.offsets_kernel, length, np.array([length], np.int64), one, offsets)
    out = filled(memory.empty((2, count)), 0)
    lengths, strides = np.array([count], np.int64), np.array([length], np.int64)
    for_ranges(moves.bind_kernel, count, rows.reshape(-1), lengths, strides, offsets, weights, out[0], out[1], one)
    return out
