"""CUDA kernels on the CPU: what the emulator computes, what it refuses, what it catches."""

from __future__ import annotations

import numpy as np
import pytest
from numba import cuda, int64, njit

from syurmy.gpu.emulator import Emulated, NotEmulated

LENGTH = 8


def reversed_in_blocks(x, out):
    """Each block's entries backwards: every thread reads what another wrote."""
    tile = cuda.shared.array(LENGTH, int64)
    tid = cuda.threadIdx.x
    tile[tid] = x[cuda.grid(1)]
    cuda.syncthreads()
    out[cuda.grid(1)] = tile[LENGTH - 1 - tid]


def prefix_sums(x, out):
    """Within a block, by doubling: a loop with barriers, a variable that lives across them."""
    tile = cuda.shared.array(LENGTH, int64)
    tid = cuda.threadIdx.x
    tile[tid] = x[cuda.grid(1)]
    cuda.syncthreads()
    step = 1
    while step < LENGTH:
        before: int64 = int64(0)
        if tid >= step:
            before = tile[tid - step]
        cuda.syncthreads()
        tile[tid] += before
        cuda.syncthreads()
        step *= 2
    out[cuda.grid(1)] = tile[tid]


def histogram(x, counts):
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        cuda.atomic.add(counts, x[i], 1)


def out_of_bounds(x, out):
    out[cuda.grid(1) + 1] = x[cuda.grid(1)]


def some_threads_only(x, out):
    tile = cuda.shared.array(LENGTH, int64)
    tid = cuda.threadIdx.x
    if x[tid] > 0:
        tile[tid] = x[tid]
        cuda.syncthreads()
        out[tid] = tile[tid]


def untyped(x, out):
    tile = cuda.shared.array(LENGTH, int64)
    mine = x[cuda.grid(1)]
    tile[cuda.threadIdx.x] = mine
    cuda.syncthreads()
    out[cuda.grid(1)] = tile[LENGTH - 1 - cuda.threadIdx.x] + mine


def without_a_barrier_before(x, out):
    tile = cuda.shared.array(LENGTH, int64)
    tile[cuda.threadIdx.x] = x[cuda.grid(1)]
    for _ in range(2):
        out[cuda.grid(1)] = tile[LENGTH - 1 - cuda.threadIdx.x]
        cuda.syncthreads()


def without_a_barrier_between(x, out):
    tile = cuda.shared.array(LENGTH, int64)
    for _ in range(2):
        tile[cuda.threadIdx.x] = x[cuda.grid(1)]
        cuda.syncthreads()
        out[cuda.grid(1)] = tile[LENGTH - 1 - cuda.threadIdx.x]


@njit
def turn(tile, tid, by):
    """Every entry from that many places behind it."""
    step: int64 = tile[(tid + by) % LENGTH]
    cuda.syncthreads()
    tile[tid] = step
    cuda.syncthreads()


@njit
def turn_and_tell(tile, tid):
    cuda.syncthreads()
    return tile[tid]


@njit
def turn_from(tile, tid):
    tid = (tid + 1) % LENGTH
    cuda.syncthreads()
    tile[tid] += 1


def turned(x, out):
    """Two calls of a function with barriers, and a name of the kernel that it has as well."""
    tile = cuda.shared.array(LENGTH, int64)
    tid = cuda.threadIdx.x
    step = 3
    tile[tid] = x[cuda.grid(1)]
    cuda.syncthreads()
    turn(tile, tid, 1)
    turn(tile, tid, step)
    out[cuda.grid(1)] = tile[tid]


def calls_with_a_sum(x, out):
    tile = cuda.shared.array(LENGTH, int64)
    turn(tile, cuda.threadIdx.x + 1, 2)


def calls_what_returns(x, out):
    tile = cuda.shared.array(LENGTH, int64)
    tid = cuda.threadIdx.x
    turn_and_tell(tile, tid)


def calls_what_assigns(x, out):
    tile = cuda.shared.array(LENGTH, int64)
    tid = cuda.threadIdx.x
    turn_from(tile, tid)


X = np.arange(1, 25)
ORDERS = [False, True]


def ran(kernel, out, backwards: bool = False, **how) -> np.ndarray:
    Emulated(kernel, **how).run(X, out, blocks=3, threads=LENGTH, backwards=backwards)
    return out


@pytest.mark.parametrize("backwards", ORDERS)
def test_every_thread_passes_a_barrier_before_any_goes_on(backwards: bool) -> None:
    found = ran(reversed_in_blocks, np.zeros(24, np.int64), backwards=backwards)
    assert found.tolist() == X.reshape(3, 8)[:, ::-1].reshape(-1).tolist()
    found = ran(prefix_sums, np.zeros(24, np.int64), backwards=backwards)
    assert found.tolist() == X.reshape(3, 8).cumsum(1).reshape(-1).tolist()


@pytest.mark.parametrize("backwards", ORDERS)
def test_functions_with_barriers_are_cut_as_well(backwards: bool) -> None:
    found = ran(turned, np.zeros(24, np.int64), backwards=backwards)
    assert found.tolist() == np.roll(X.reshape(3, 8), -4, axis=1).reshape(-1).tolist()
    assert Emulated(turned).barriers == 5


def test_atomic_sums_and_strides_of_the_grid() -> None:
    x, counts = np.random.default_rng(1).integers(0, 5, 1000), np.zeros(5, np.int64)
    Emulated(histogram).run(x, counts, blocks=3, threads=7)
    assert counts.tolist() == np.bincount(x).tolist()


def test_indices_are_checked() -> None:
    with pytest.raises(IndexError):
        ran(out_of_bounds, np.zeros(24, np.int64), checked=True)
    assert ran(out_of_bounds, np.zeros(25, np.int64), checked=True)[1:].tolist() == X.tolist()


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (some_threads_only, "not every thread reaches a barrier"),
        (untyped, "'mine' lives across a barrier"),
        (without_a_barrier_before, "no barrier between shared memory and a loop"),
        (without_a_barrier_between, "the rounds of a loop touch shared memory"),
        (calls_with_a_sum, "this call cannot be replaced"),
        (calls_what_returns, "this call cannot be replaced"),
        (calls_what_assigns, "this call cannot be replaced"),
    ],
)
def test_what_would_not_do_on_a_device_is_refused(kernel, why: str) -> None:
    with pytest.raises(NotEmulated, match=why):
        Emulated(kernel)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [reversed_in_blocks, prefix_sums])
def test_a_missing_barrier_is_seen(kernel) -> None:
    good = ran(kernel, np.zeros(24, np.int64)).tolist()
    count = Emulated(kernel).barriers
    assert count == (1 if kernel is reversed_in_blocks else 3)
    for k in range(count):
        try:
            found = [ran(kernel, np.zeros(24, np.int64), backwards=b, without=k).tolist() for b in ORDERS]
        except NotEmulated:
            continue
        assert any(f != good for f in found), k
