"""What is asked of the machine, the same on Linux and macOS: cores, memory used, versions of packages."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
_MAPPED = 65536  # arrays with pages of their own at one time, as glibc has it
APART = 32 << 20  # bytes of an array with pages of its own, where freed memory is not kept: the most that is possible


def cores() -> int:
    """Cores that this process may use; where the system does not say which, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Threads that kernels run on: as many as there are cores, or as ``SYURMY_THREADS`` says."""
    return max(1, int(os.environ.get("SYURMY_THREADS", "0")) or cores())


def cache_folder() -> Path:
    """Where what takes time to make is kept between processes; it need not exist. ``SYURMY_CACHE`` names another."""
    if "SYURMY_CACHE" in os.environ:
        return Path(os.environ["SYURMY_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))) / "syurmy-vm"


def peak_mb() -> float:
    """Peak resident memory of this process in MiB.

    Linux: VmHWM, as ``getrusage`` would also count the parent's memory at the time of the fork. Elsewhere
    ``getrusage``, which counts bytes on macOS and KiB on other systems.
    """
    with contextlib.suppress(OSError):
        _, found, rest = Path("/proc/self/status").read_bytes().partition(b"VmHWM:")
        if found:
            return int(rest.split(None, 1)[0]) / 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def resident() -> int:
    """Bytes of memory that this process has now; its peak, where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    return int(peak_mb() * (1 << 20))


def memory() -> int:
    """Bytes of memory that this process may use at most; 0 where the system does not say."""
    total = 0
    with contextlib.suppress(OSError, AttributeError, ValueError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # of a container; "max" where it has no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def return_memory() -> None:
    """Give what was freed back to the system, where the C library keeps it otherwise (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


TOGETHER = 4  # rows of a mapped file that are read before it is let go of


def rows_of(a: Any, rows: Any) -> Any:
    """``a[rows]`` of an array. Around each place of a mapped file that is read the system brings in up to some MiB, if
    it has them in its cache: these are given back on the way."""
    import numpy as np

    owner: Any = a
    while owner is not None and not hasattr(owner, "_mmap"):
        owner = getattr(owner, "base", None)
    if owner is None or not hasattr(mmap, "MADV_DONTNEED"):
        return a[rows]
    pages: Any = owner._mmap
    out = np.empty((len(rows), *a.shape[1:]), a.dtype)
    for at in range(0, len(rows), TOGETHER):
        out[at : at + TOGETHER] = a[rows[at : at + TOGETHER]]
        pages.madvise(mmap.MADV_DONTNEED)
    return out


_kept: list[bool] = []  # what the C library was told last


def keep_freed_memory(all_of_it: bool = True) -> None:
    """Let this process keep what it frees (glibc; elsewhere nothing happens): a proof uses the same buffers over and
    over, and the system clears every page that it gives out, 5 to 30 % of a large proof's time. Without ``all_of_it``
    512 MiB at most, and arrays of 32 MiB and more go back each time: where memory is what limits a proof. Does nothing
    where the environment says how memory is to be kept (``MALLOC_TRIM_THRESHOLD_``)."""
    if sys.platform != "linux" or _kept[:] == [all_of_it] or any(name.startswith("MALLOC_") for name in os.environ):
        return
    _kept[:] = [all_of_it]
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, APART)
        mallopt(_M_MMAP_MAX, 0 if all_of_it else _MAPPED)
        mallopt(_M_TRIM_THRESHOLD, -1 if all_of_it else 512 << 20)


class Fresh:
    """Pages that a thread takes from the system while others do what keeps one core busy; the process keeps them
    (``keep_freed_memory``), so that what is computed after ``release`` finds them there. The system clears every page
    that it gives out, and takes far longer where a virtual machine has to ask for it: 2 s of processor time per GiB."""

    STEP = 16 << 20  # bytes that are taken at one time: what ``release`` waits for

    def __init__(self, size: int) -> None:
        """At most ``size`` bytes; nothing where freed memory is not kept, or there is one core."""
        import threading

        self._memory: Any = None
        self._stopped = threading.Event()
        kept = sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ)
        if size < self.STEP or not kept or cores() < 2:
            return
        import numpy as np

        keep_freed_memory()
        try:
            self._memory = np.empty(size, np.uint8)
        except MemoryError:
            return
        self._thread = threading.Thread(target=self._take, args=(self._memory,), name="syurmy_pages", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads can be had
            self._memory = None

    def _take(self, memory: Any) -> None:
        for at in range(0, len(memory), self.STEP):
            if self._stopped.is_set():
                return
            memory[at : at + self.STEP : 4096] = 0

    def release(self) -> None:
        """Takes no more, and frees what there is."""
        self._stopped.set()
        if self._memory is not None:
            self._thread.join()
            self._memory = None


@contextlib.contextmanager
def objects_set_aside() -> Iterator[None]:
    """Python's collections inside the block do not go through the objects that were there before it: a program, its
    plan and the interpreter's modules, of which a proof drops none. They do again after it; where some are set aside
    already, nothing changes. (``isa.collector`` makes no collections at all, where nothing is dropped; who verifies
    needs only that.)"""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def version(package: str) -> str | None:
    """Of an installed package; None where it is not installed."""
    from importlib import metadata  # a tenth of the time of --help

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
