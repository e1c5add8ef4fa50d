"""The backend interface: where the prover's arrays are, and the one call through which its kernels run.

A kernel is a function over contiguous arrays and an index range, ``kernel(*args, lo, hi)``. The prover never names a
device: it asks ``place`` where arrays of some size belong, makes them there (``empty``, ``upload``), calls ``run``, and
takes back what it sends (``download``). A kernel runs where its arrays are: if one of them is on the device, on the
device, and arrays of the host among its arguments, which it only reads, go there with it.

Of the CPU, where everything is on the host, ``upload`` and ``download`` give what they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from syurmy.gpu.arrays import DeviceArray, Scalars

Array = Any  # an ``ndarray``, or a ``gpu.arrays.DeviceArray``, which has shape, dtype and slices and no arithmetic


class OutOfDeviceMemory(Exception):
    """``needed``: bytes that were asked for at last; ``held``: those that were in use; ``memory``: those that
    were free at the start, 0 where that is not known."""

    def __init__(self, needed: int, held: int, memory: int) -> None:
        super().__init__(f"{needed} bytes more than the {held} in use")
        self.needed, self.held, self.memory = needed, held, memory


class Memory(Protocol):
    """A place for arrays."""

    def empty(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.uint64) -> Array:
        """Contiguous, its contents anything."""

    def upload(self, a: npt.NDArray[Any]) -> Array:
        """An array with these contents."""

    def kept(self, a: npt.NDArray[Any], form: Callable[[Any], npt.NDArray[Any]] = np.asarray) -> Array:
        """The same, in some form, of an array that nobody changes, once for as long as there is the array."""


class Host:
    """The memory of this process."""

    def empty(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.uint64) -> Array:
        return np.empty(shape, dtype)

    def upload(self, a: npt.NDArray[Any]) -> Array:
        return a

    def kept(self, a: npt.NDArray[Any], form: Callable[[Any], npt.NDArray[Any]] = np.asarray) -> Array:
        return form(a)


HOST = Host()


class Backend(Protocol):
    """``run`` calls ``kernel(*args, lo, hi)`` on ranges that cover ``range(n)``; results in range order. ``place``:
    where arrays of n items belong."""

    name: str

    def run(self, kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]: ...
    def place(self, n: int) -> Memory: ...


_THERE = DeviceArray, Scalars
_selected: list[Backend] = []


def select(backend: Backend) -> None:
    """Use ``backend`` for every kernel from now on, in all threads."""
    _selected[:] = [backend]


def current() -> Backend:
    """The selected backend; importing ``prover.kernels`` selects the CPU."""
    return _selected[0]


def run(kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]:
    """Run a kernel over ``range(n)`` on the selected backend."""
    return _selected[0].run(kernel, n, args, min_chunk)


def place(n: int) -> Memory:
    """Where arrays of n items belong."""
    return _selected[0].place(n)


def beside(*arguments: Any) -> Memory:
    """The device that one of these is an array on, or the host."""
    for a in arguments:
        if isinstance(a, _THERE):
            return a.memory
    return HOST


def on_host(a: Array) -> bool:
    return isinstance(a, np.ndarray)


def download(a: Array) -> npt.NDArray[Any]:
    """The array on the host. Waits for what is being computed."""
    if isinstance(a, np.ndarray):
        return a
    out: npt.NDArray[Any] = a.memory.download(a)
    return out
