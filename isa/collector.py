"""Holds Python's cyclic garbage collector back while something is worked out whose objects all live until the end.

Planning and reading a proof of a large model allocate some hundred thousand small objects and drop few. The collector
counts allocations, so it goes through all objects of the process again and again and finds nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_held_back = Lock()


@contextmanager
def held_back() -> Iterator[None]:
    """No collections inside the block, in this process; the first allocation after it makes the one that was due.
    Where the collector is off already, or another thread holds it back, nothing changes, so that threads which take
    turns never keep it off for longer than one block of the first."""
    if not gc.isenabled() or not _held_back.acquire(blocking=False):
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        gc.enable()
        _held_back.release()
