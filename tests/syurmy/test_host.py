"""What is asked of the machine, also where Linux' calls are missing."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

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
    def missing(_: Path) -> str:
        raise FileNotFoundError

    assert host.peak_mb() > 1
    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=123 * unit))
    assert host.peak_mb() == 123
