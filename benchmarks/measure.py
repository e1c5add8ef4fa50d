"""Clocks, peak memory, child processes and the description of the machine.

Light to import: a peer's process must not carry this project's memory.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from syurmy.host import cores

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


class Failed(Exception):
    """A measured process did not end well; the message is one line."""


def seconds(work: Callable[[], object], runs: int) -> list[float]:
    """Wall-clock seconds of ``runs`` calls, in order, no warm-up."""
    out = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        out.append(time.perf_counter() - start)
    return out


def median(work: Callable[[], object], runs: int) -> float:
    """Median seconds of ``runs`` calls after one that does not count."""
    work()
    return statistics.median(seconds(work, runs))


def child(
    arguments: Sequence[str],
    *,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Any:
    """The JSON value on the last line that ``python ARGUMENTS`` prints, run in the repository. Raises ``Failed``."""
    try:
        done = subprocess.run(
            [python, *arguments],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no result after {timeout:.0f} s") from None
    except OSError as error:
        raise Failed(f"cannot start {python}: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failed(lines[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def touch(size: int) -> None:
    """Lets another process write to so many bytes, or to most that are free, and end. A virtual machine's host may give
    it a page only when that is written to, which takes 3 to 6 s of system time a GB; what is measured next finds pages
    there, and pays for clearing them only."""
    with contextlib.suppress(ValueError, OSError):
        size = min(size, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)
    code = f"import numpy; numpy.ones({size}, numpy.uint8)"
    with contextlib.suppress(OSError):
        subprocess.run([sys.executable, "-c", code], capture_output=True)


def process(arguments: Sequence[object], *, environment: Mapping[str, str], runs: int = 5) -> float:
    """Median seconds of the whole process ``python ARGUMENTS``, after one that does not count. Raises ``Failed``."""

    def run() -> None:
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{arguments} ended with exit code {done.returncode}")

    return median(run, runs)


def machine() -> dict[str, Any]:
    """What a reader needs to compare numbers: hardware, load, versions, the state of the sources."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("numpy", "numba", "llvmlite")},
        "blas": _blas(),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _blas() -> str | None:
    import numpy as np

    with contextlib.suppress(KeyError, TypeError), contextlib.redirect_stdout(io.StringIO()):
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    return None


def _commit() -> str | None:
    """Short hash of HEAD, with ``+`` where tracked files differ from it."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        run = [["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]]
        head, changes = (
            subprocess.run(c, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() for c in run
        )
        return head + "+" * bool(changes)
    return None
