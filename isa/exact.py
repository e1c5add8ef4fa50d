"""Exact integers in NumPy: tensor products (float64 BLAS where every partial sum stays below 2^53, int64 otherwise),
and entries that leave an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from syurmy.isa.arrays import I64, Integers

BLAS_LIMIT = 2**53
BLOCK = 2**20  # entries of a matrix that are converted at a time
THIN, ONE_THREAD = 32, 2**19  # columns; products of a block with fewer are computed by BLAS without threads, which spin
SHARED = 2**22  # entries from which on threads of ours share the blocks of a thin product


def einsum(
    labels_a: Sequence[int],
    labels_b: Sequence[int],
    labels_out: Sequence[int],
    a: Integers,
    b: Integers,
    shape: Sequence[int],
    bound: int,
) -> I64:
    """``out[o] = sum a * b`` over labels, int64 of ``shape``.

    Axes of length 1 under a longer label are broadcast. ``bound`` bounds the absolute value of every output *and
    partial sum* (a bound from interval arithmetic does); the caller keeps it below 2^63.
    """
    # squeeze broadcast axes, so that each remaining label has one length
    la = [x for x, d in zip(labels_a, a.shape, strict=True) if d != 1]
    lb = [x for x, d in zip(labels_b, b.shape, strict=True) if d != 1]
    present = set(la) | set(lb)
    lo = [x for x, d in zip(labels_out, shape, strict=True) if x in present]
    a2 = a.reshape([d for d in a.shape if d != 1])
    b2 = b.reshape([d for d in b.shape if d != 1])
    # a label on one side only that does not survive is a plain sum
    for x in [x for x in la if x not in lo and x not in lb]:
        a2 = a2.sum(axis=la.index(x), dtype=np.int64)
        la.remove(x)
    for x in [x for x in lb if x not in lo and x not in la]:
        b2 = b2.sum(axis=lb.index(x), dtype=np.int64)
        lb.remove(x)
    batch = [x for x in lo if x in la and x in lb]
    inner = [x for x in la if x in lb and x not in lo]
    only_a = [x for x in la if x not in lb]
    only_b = [x for x in lb if x not in la]
    out_labels = batch + only_a + only_b
    if not inner and not (only_a and only_b):  # elementwise: no BLAS needed
        out = _aligned(a2, la, out_labels) * _aligned(b2, lb, out_labels)
    else:
        ma = np.transpose(a2, [la.index(x) for x in batch + only_a + inner])
        mb = np.transpose(b2, [lb.index(x) for x in batch + inner + only_b])
        nb = len(batch)
        db, da = ma.shape[:nb], ma.shape[nb : nb + len(only_a)]
        do = mb.shape[nb + len(inner) :]
        k = int(np.prod(ma.shape[nb + len(only_a) :], dtype=np.int64))
        dtype = np.float64 if bound < BLAS_LIMIT else np.int64
        pa = ma.reshape(*db, -1, k) if k else ma.reshape(*db, int(np.prod(da, dtype=np.int64)), 0)
        pb = mb.reshape(*db, k, -1) if k else mb.reshape(*db, 0, int(np.prod(do, dtype=np.int64)))
        out = _matmul(pa, pb, dtype).reshape((*db, *da, *do))
    return np.transpose(out, [out_labels.index(x) for x in lo]).reshape(shape).astype(np.int64, copy=False)


def _matmul(a: Any, b: Any, dtype: type) -> I64:
    """``a @ b`` in ``dtype``. The larger of two matrices is converted in blocks: a whole one is fresh memory. With few
    columns converting it is most of the work: then blocks stay in the cache, and threads convert and multiply their
    own."""
    if a.ndim == 2 and b.ndim == 2 and max(a.size, b.size) > BLOCK:
        if a.size < b.size:
            return _matmul(b.T, a.T, dtype).T
        b, out = b.astype(dtype, copy=False), np.empty((len(a), b.shape[1]), np.int64)
        columns = b.shape[1]
        thin = 1 < columns <= THIN
        block = (ONE_THREAD - 1) // columns if thin else BLOCK
        rows = max(block * len(a) // a.size, 1)
        threads = 1
        if thin and a.size >= SHARED:
            from syurmy import host  # a verifier multiplies nothing, and does without

            threads = host.threads()

        def share(first: int) -> None:
            for k in range(first * rows, len(a), threads * rows):
                out[k : k + rows] = np.matmul(a[k : k + rows].astype(dtype, copy=False), b)

        if threads == 1:
            share(0)
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(share, range(threads)))
        return out
    product: I64 = np.matmul(a.astype(dtype, copy=False), b.astype(dtype, copy=False)).astype(np.int64, copy=False)
    return product


def _aligned(x: Integers, labels: Sequence[int], out: Sequence[int]) -> I64:
    order: list[int] = sorted(range(len(labels)), key=lambda i: out.index(labels[i]))
    y = np.transpose(x, order)
    shape = iter(y.shape)
    present = set(labels)
    return y.reshape([next(shape) if o in present else 1 for o in out]).astype(np.int64, copy=False)


def outside(x: Integers, lo: int, hi: int) -> tuple[int, ...] | None:
    """The first entry of ``x`` outside ``[lo, hi]``, in C order; None if there is none. One value is compared as a
    Python integer: loops over scalars take most of their time in calls of NumPy."""
    if x.size == 1:
        return None if lo <= x.item() <= hi else (0,) * x.ndim
    bad = (x < lo) | (x > hi)
    return tuple(np.argwhere(bad)[0].tolist()) if bad.any() else None
