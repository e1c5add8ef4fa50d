"""Range kernels with local arrays compute what they do with NumPy's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numba import njit

from syurmy.gpu import local
from syurmy.gpu.grid import narrowed, wrapped
from syurmy.prover.kernels import logup, mle, sumcheck

SIZE = 3


@njit
def buffers(out, lo, hi):
    """Uses its own arrays: of a constant's size, two at a time, of zeros."""
    a, b = np.empty((2, SIZE), np.uint64), np.empty(2 * SIZE, np.uint64)
    total = np.zeros((2, 2), np.uint64)
    one = np.zeros(SIZE, np.uint64)
    for i in range(lo, hi):
        a[1, 2], b[5] = i, i + 1
        total[1, 1] += a[1, 2] * b[5]
        one[0] += total[0, 0]
    out[0], out[1] = total[1, 1], one[0]


def test_the_same_with_local_arrays() -> None:
    filled = SimpleNamespace(local=SimpleNamespace(array=lambda shape, dtype: np.full(shape, 77, dtype)))
    scope = {**globals(), "cuda": filled}
    source = local.rewritten(buffers.py_func, scope)
    assert "np.empty" not in source
    assert "np.zeros" not in source
    assert source.count("cuda.local.array") == 4
    exec(source, scope)
    expected, found = np.zeros(2, np.uint64), np.zeros(2, np.uint64)
    buffers(expected, 2, 9)
    scope["buffers"](found, 2, 9)
    assert found.tolist() == expected.tolist() == [sum(i * (i + 1) for i in range(2, 9)), 0]


def test_threads_keep_no_strips() -> None:
    """What a thread of a card keeps of its own is a few hundred bytes."""
    for kernel in (logup.first_round, logup.next_round, logup.corrections, sumcheck.round_all, mle.eq_level):
        source = local.rewritten(narrowed(kernel).py_func, narrowed(kernel).py_func.__globals__)
        assert "cuda.local.array" in source
        assert "512" not in source


def test_kernels_without_buffers_are_as_they_are() -> None:
    made = wrapped(mle.add_flat, (0, 0, 0), 0)
    assert local.localised(made).__globals__["kernel"] is made.__globals__["kernel"]
    assert local.localised(buffers) is buffers
