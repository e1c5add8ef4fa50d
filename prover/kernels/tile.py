"""What the threads of a block of a device do together, and kernels for devices call."""

from numba import cuda, njit

from syurmy.prover.kernels.field import add


@njit
def add_up(tile, tid, words):
    """tile[w, 0] = the sum over F of the row tile[w] for w < ``words``, of as many entries as a block has threads, a
    power of two. All threads call it; it begins and ends with a barrier."""
    cuda.syncthreads()
    step = cuda.blockDim.x // 2
    while step > 0:
        if tid < step:
            for w in range(words):
                tile[w, tid] = add(tile[w, tid], tile[w, tid + step])
        cuda.syncthreads()
        step = step // 2
