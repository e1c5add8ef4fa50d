"""What is asked of the machine, also where Linux' calls are missing."""

from __future__ import annotations

import gc
import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from syurmy import host


def test_cores_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= host.cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert host.cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert host.cores() == 1


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1 << 20), ("linux", 1 << 10)])
def test_peak_memory_without_proc(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    def missing(_: Path) -> bytes:
        raise FileNotFoundError

    assert host.peak_mb() > 1
    monkeypatch.setattr(Path, "read_bytes", missing)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=123 * unit))
    assert host.peak_mb() == 123


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_freed_memory_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MiB taken and freed again cost no pages from the system once the process has them; where the environment says
    how memory is kept nothing is asked."""
    import ctypes

    import numpy as np

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    with monkeypatch.context() as m:
        m.setattr(ctypes, "CDLL", lambda name: pytest.fail("asked"))
        host.keep_freed_memory()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("no glibc")
    host.keep_freed_memory()
    faults = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(4):
            np.ones(1 << 21)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < 1000  # of 4 * 4096 pages


def test_versions_of_packages() -> None:
    assert (host.version("pytest"), host.version("no-such-package")) == (pytest.__version__, None)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_memory_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "max\n")
    whole = host.memory()
    assert whole > 1 << 28
    monkeypatch.setattr(Path, "read_text", lambda _: f"{1 << 28}\n")
    assert host.memory() == 1 << 28


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_fresh_pages_are_there_before_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("no glibc")
    monkeypatch.setattr(host, "cores", lambda: 2)
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    size = 3 * host.Fresh.STEP
    pages = host.Fresh(size)
    pages._thread.join(20)
    there = pages._memory.ctypes.data + 4095 & ~4095  # mincore asks for whole pages
    vector = (ctypes.c_ubyte * (size // 4096 - 1))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(there), ctypes.c_size_t(4096 * len(vector)), vector) == 0
    assert all(v & 1 for v in vector)
    pages.release()
    assert pages._memory is None
    pages.release()
    host.Fresh(0).release()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "0")
    assert host.Fresh(size)._memory is None


def test_objects_that_were_there_are_set_aside() -> None:
    gc.unfreeze()
    old: list[object] = [None]
    with host.objects_set_aside():
        assert not any(o is old for o in gc.get_objects())
        new: list[object] = [None]
        with host.objects_set_aside():  # nothing more
            assert any(o is new for o in gc.get_objects())
        assert gc.get_freeze_count()
    assert gc.get_freeze_count() == 0
    assert any(o is old for o in gc.get_objects())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what is mapped")
def test_rows_of_a_mapped_file_do_not_stay(tmp_path: Path) -> None:
    def mapped() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    values = np.arange(1 << 22).reshape(1 << 12, -1)
    values.tofile(tmp_path / "values")
    rows = np.random.default_rng(0).permutation(1 << 12)[:101]
    seen = np.asarray(np.memmap(tmp_path / "values", dtype=values.dtype, mode="r", shape=values.shape))
    before = mapped()
    assert np.array_equal(host.rows_of(seen.reshape(1 << 12, -1), rows), values[rows])
    assert mapped() - before < 1 << 10
    assert np.array_equal(seen[rows], values[rows])
    assert mapped() - before > 1 << 10  # as it was read before
    assert np.array_equal(host.rows_of(values, rows), values[rows])
