"""The one thread pool: index ranges of a kernel, split over the cores.

Kernels are ``nogil``; ``parallel=True`` is not used because it compiles eight times slower and runs no faster.
"""

import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

from syurmy import gpu
from syurmy.gpu import HOST, Memory
from syurmy.host import threads

THREADS = threads()
MIN_CHUNK = 1 << 15  # items of 2 ns: handing a range to a thread takes 20 to 60 us, of its processor and of ours

_Task = tuple[Callable[..., Any], tuple[Any, ...], int, SimpleQueue[Any]]
_tasks: list[SimpleQueue[_Task]] = []


def _work(tasks: SimpleQueue[_Task]) -> None:
    while True:
        kernel, args, index, reply = tasks.get()
        try:
            reply.put((index, kernel(*args), None))
        except BaseException as e:
            reply.put((index, None, e))
        del kernel, args, reply  # else the arrays live until the next task


def _queue() -> SimpleQueue[_Task]:
    """The queue of tasks, and from its first use threads that wait for them: one less than run a kernel, as who calls
    it works too. Handing a range over costs a fifth of what an executor's futures cost."""
    with _starting[0]:
        if not _tasks:
            _tasks.append(SimpleQueue())
            for i in range(THREADS - 1):
                Thread(target=_work, args=_tasks, name=f"syurmy_{i}", daemon=True).start()
    return _tasks[0]


def _renew() -> None:
    _tasks.clear()
    _starting[:] = [Lock()]


_starting: list[Lock] = [Lock()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)  # a forked process has none of the threads of its parent


def split(n: int, min_chunk: int = MIN_CHUNK) -> list[tuple[int, int]]:
    """Canonical ranges ``[lo, hi)`` that cover ``range(n)``, at most one per thread."""
    parts = min(THREADS, n // min_chunk) if min_chunk else THREADS
    if parts <= 1:
        return [(0, n)]
    return [(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


class _Lent:
    """An array's memory without its being read-only."""

    def __init__(self, owner: np.ndarray[Any, Any]) -> None:
        self.owner = owner
        given = owner.__array_interface__
        self.__array_interface__ = {**given, "data": (given["data"][0], False)}


def lent(x: Any) -> Any:
    """Read-only arrays as others: Numba would compile, keep and load the kernel once more for them. Kernels write
    where they say only."""
    return np.asarray(_Lent(x)) if isinstance(x, np.ndarray) and not x.flags.writeable else x


class CpuBackend:
    """Ranges of at least ``min_chunk`` items, at most one per thread."""

    name = "cpu"

    def run(self, kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]:
        for x in args:
            if isinstance(x, np.ndarray) and not x.flags.writeable:  # a loop: `any` takes twice as long
                args = tuple(map(lent, args))
                break
        if n < 2 * min_chunk or THREADS == 1:
            return [kernel(*args, 0, n)]
        ranges = split(n, min_chunk)
        tasks = _tasks[0] if _tasks else _queue()
        reply: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        for i in range(1, len(ranges)):
            tasks.put((kernel, (*args, *ranges[i]), i, reply))
        out: list[Any] = [None] * len(ranges)
        failed: BaseException | None = None
        try:
            out[0] = kernel(*args, *ranges[0])
        except BaseException as e:
            failed = e
        for _ in range(1, len(ranges)):  # all of them, before their arrays may go
            i, out[i], error = reply.get()
            failed = failed or error
        if failed is not None:
            raise failed
        return out

    def place(self, n: int) -> Memory:
        return HOST


CPU = CpuBackend()
gpu.select(CPU)


def contiguous(a: gpu.Array) -> gpu.Array:
    """A contiguous array of these contents, where ``a`` is."""
    if isinstance(a, np.ndarray):
        return np.ascontiguousarray(a)
    if a.contiguous:
        return a
    raise ValueError("a slice of an array on a device is not contiguous")


def for_ranges(fn: Callable[..., Any], n: int, *args: Any, min_chunk: int = MIN_CHUNK) -> list[Any]:
    """Call ``fn(*args, lo, hi)`` over ranges that cover ``range(n)`` where the arrays are; results in order."""
    return gpu.run(fn, n, args, min_chunk)


def added(parts: list[Any]) -> list[int]:
    """The words that a kernel returned for its ranges, added up as integers."""
    if len(parts) == 1:
        return [int(w) for w in parts[0]]
    return [sum(map(int, column)) for column in zip(*parts, strict=True)]
