"""The prover's kernels on a grid of threads: any device that launches CUDA kernels as a backend.

A kernel over an index range, ``kernel(*args, lo, hi)``, needs no second source: thread i runs ``kernel(*args, i, i +
1)``, and the words that it returns are added up, in shared memory by block and by atomic sums of 32-bit halves over the
blocks. Addition in F is exact, so that the order does not matter and the sums are those of the CPU, bit by bit. What
works on a tile that threads share has a form of its own (``prover/kernels/grid.py``).
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numba import cuda, typeof, types, uint64

THREADS = 256  # of a block: a power of two
_numbers = itertools.count()


class Device(Protocol):
    """``launch`` runs ``kernel`` on ``blocks`` times ``threads`` threads and returns when it has ended. Arrays among
    ``args`` are NumPy's, and hold afterwards what the kernel wrote."""

    name: str

    def launch(self, kernel: Callable[..., None], blocks: int, threads: int, *args: Any) -> None: ...


Form = Callable[[Device, int, tuple[Any, ...]], None]


class Grid:
    """A backend (``gpu.Backend``) that runs kernels on a device. ``forms``: those of kernels that have their own, by
    name. Python functions run here, in one range."""

    def __init__(self, device: Device, forms: Mapping[str, Form]) -> None:
        self.name = device.name
        self.device, self.forms = device, forms
        self._wrapped: dict[Any, tuple[Callable[..., None], int]] = {}

    def run(self, kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]:
        if not hasattr(kernel, "py_func"):
            return [kernel(*args, 0, n)]
        if (form := self.forms.get(kernel.__name__)) is not None:
            form(self.device, n, args)
            return [None]
        key = kernel, tuple(map(typeof, args))
        if key not in self._wrapped:
            words = returned(kernel, args)
            self._wrapped[key] = wrapped(kernel, len(args), words), words
        grid, words = self._wrapped[key]
        blocks = -(-n // THREADS)
        if not words:
            self.device.launch(grid, blocks, THREADS, *args, n)
            return [None]
        sums = np.zeros((2, words), np.uint64)
        self.device.launch(grid, blocks, THREADS, *args, n, sums)
        return [tuple(int(low) + (int(high) << 32) for low, high in sums.T)]


def returned(kernel: Any, args: tuple[Any, ...]) -> int:
    """How many words a kernel returns for these arguments; 0 for none."""
    signature = (*map(typeof, args), types.intp, types.intp)
    kernel.compile(signature)
    result = kernel.overloads[signature].signature.return_type
    return len(result) if isinstance(result, types.BaseTuple) else 0


def wrapped(kernel: Any, count: int, words: int) -> Callable[..., None]:
    """The CUDA kernel of a range kernel with ``count`` arguments that returns ``words`` words."""
    from syurmy.prover.kernels.field import add

    name = f"{kernel.__module__.rpartition('.')[2]}_{kernel.__name__}"
    given = ", ".join(f"a{k}" for k in range(count))
    call = f"kernel({given}, i, i + 1)"
    lines = [f"def {name}({given}, n{', sums' if words else ''}):"]
    if words:
        lines += [f"    tile = cuda.shared.array(({words}, {THREADS}), uint64)", "    tid = cuda.threadIdx.x"]
    lines += ["    i = cuda.grid(1)"]
    if not words:
        lines += ["    if i < n:", f"        {call}"]
    else:
        lines += ["    if i < n:", f"        r = {call}"]
        lines += [f"        tile[{w}, tid] = r[{w}]" for w in range(words)]
        lines += ["    else:", *(f"        tile[{w}, tid] = uint64(0)" for w in range(words))]
        lines += SUMS.format(words=words).splitlines()
    text = "\n".join(lines) + "\n"
    file = f"<{name} on a grid, {next(_numbers)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file  # inspect finds it there
    scope: dict[str, Any] = {"cuda": cuda, "uint64": uint64, "kernel": kernel, "add": add, "HALF": np.uint64(2**32 - 1)}
    exec(compile(text, file, "exec"), scope)
    made: Callable[..., None] = scope[name]
    return made


SUMS = """\
    cuda.syncthreads()
    step = cuda.blockDim.x // 2
    while step > 0:
        if tid < step:
            for w in range({words}):
                tile[w, tid] = add(tile[w, tid], tile[w, tid + step])
        cuda.syncthreads()
        step = step // 2
    if tid < {words}:
        cuda.atomic.add(sums, (0, tid), tile[tid, 0] & HALF)
        cuda.atomic.add(sums, (1, tid), tile[tid, 0] >> uint64(32))
"""
