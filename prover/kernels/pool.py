"""The one thread pool: index ranges of a kernel, split over the cores.

Kernels are ``nogil``; ``parallel=True`` is not used because it compiles eight times slower and runs no faster.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = max(1, int(os.environ.get("SYURMY_THREADS", "0")) or len(os.sched_getaffinity(0)))
MIN_CHUNK = 4096  # items; below this a thread hand-over costs more than it saves

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="syurmy")


def split(n: int, min_chunk: int = MIN_CHUNK) -> list[tuple[int, int]]:
    """Canonical ranges ``[lo, hi)`` that cover ``range(n)``, at most one per thread."""
    parts = max(1, min(THREADS, n // min_chunk)) if min_chunk else THREADS
    return [(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


def for_ranges(fn: Callable[..., Any], n: int, *args: Any, min_chunk: int = MIN_CHUNK) -> list[Any]:
    """Call ``fn(*args, lo, hi)`` over ranges that cover ``range(n)``; results in range order."""
    ranges = split(n, min_chunk)
    if len(ranges) == 1:
        return [fn(*args, *ranges[0])]
    return [f.result() for f in [_pool.submit(fn, *args, lo, hi) for lo, hi in ranges]]


def map_items(fn: Callable[..., Any], items: list[Any]) -> list[Any]:
    """``[fn(x) for x in items]`` on the pool. ``fn`` must not itself use the pool."""
    return list(_pool.map(fn, items)) if len(items) > 1 and THREADS > 1 else [fn(x) for x in items]
