"""The backend interface: the one call through which the prover's kernels run.

A kernel is a function over contiguous arrays and an index range, ``kernel(*args, lo, hi)``. The prover never names
a device: it calls ``run(kernel, n, args)``, and the selected backend covers ``range(n)``. The CPU backend
(``prover/kernels/pool.py``) splits the range over a thread pool. A backend for another device looks up its twin of
the kernel by name (same names, same signatures) and returns the same partial results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Backend(Protocol):
    """``run`` calls ``kernel(*args, lo, hi)`` on ranges that cover ``range(n)``; results in range order."""

    name: str

    def run(self, kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]: ...


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
