"""The kernels' cache: kept, loaded, healed where it is damaged, done without where it cannot be written."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from syurmy.prover.kernels import cache, first
from syurmy.prover.kernels.lanes import sum_strip


def kernel(folder: Path) -> Any:
    """A compiled function whose cache is in ``folder``, as a new process would make it."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:

        def double(x: int) -> int:
            return 2 * x

        double.__module__ = "syurmy.prover.kernels.made_up"
        return numba.njit(cache=True)(double)
    finally:
        numba.config.CACHE_DIR = before


def called(folder: Path) -> str:
    """Calls it: was it loaded or compiled?"""
    before = dict(cache.counted)
    assert kernel(folder)(21) == 42
    (kind,) = [k for k in before if cache.counted[k] != before[k]]
    return kind


def files(folder: Path, ending: str) -> list[Path]:
    return [p for p in folder.rglob("*") if p.suffix == ending]


def test_a_kernel_is_compiled_once(tmp_path: Path) -> None:
    assert [called(tmp_path) for _ in range(3)] == ["compiled", "loaded", "loaded"]


def test_what_only_compiling_needs_is_read_when_a_kernel_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLVM's form of a kernel from the cache: for one that calls it, not to run it."""
    read = []
    parse = cache.llvm.parse_bitcode
    monkeypatch.setattr(cache.llvm, "parse_bitcode", lambda data: read.append(len(data)) or parse(data))
    called(tmp_path)
    double = kernel(tmp_path)
    assert double(4) == 8
    assert max(read) == len(cache._nothing())
    assert numba.njit(lambda x: double(x) + 1)(4) == 9
    assert max(read) > len(cache._nothing())


def test_no_module_is_imported_for_constants() -> None:
    environment = cache._environment("not.a.module", [7], "of a function")
    assert (environment.consts, environment.can_cache()) == ([7], True)
    assert cache._environment("not.a.module", [8], "of a function") is environment
    assert cache._environment(__name__, [], "of another").globals["kernel"] is kernel


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text", "gone"])
def test_damage_costs_one_compilation(tmp_path: Path, ending: str, damage: str) -> None:
    called(tmp_path)
    (path,) = files(tmp_path, ending)
    data = path.read_bytes()
    at = 2 * len(data) // 3
    if damage == "gone":
        path.unlink()
    else:
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        path.write_bytes({"flip": flipped, "cut": data[:at], "empty": b"", "text": b"text"}[damage])
    assert [called(tmp_path) for _ in range(2)] == ["compiled", "loaded"]


def test_a_full_disk_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(cache, "_told", {"compiling"})
    with caplog.at_level(logging.WARNING, "syurmy.kernels"):
        assert [called(tmp_path) for _ in range(2)] == ["compiled", "compiled"]
    assert [m for m in caplog.messages if "cannot be kept" in m and "No space left" in m] == caplog.messages
    assert len(caplog.messages) == 1


def test_a_folder_that_cannot_be_made_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "_told", set())
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "syurmy.kernels"):
        folder = cache.usable(tmp_path / "file" / "cache")
    assert folder.is_dir()
    assert str(tmp_path) not in str(folder)
    assert "Not a directory" in caplog.text
    assert cache.usable(tmp_path / "new" / "cache") == tmp_path / "new" / "cache"


def test_functions_of_others_keep_numba_s_cache() -> None:
    f = numba.njit(cache=True)(lambda x: x)
    assert not isinstance(f._cache, cache.KernelCache)


PROVE = """
import json
import pathlib
import syurmy
from syurmy import inputs
from syurmy.prover.kernels import cache

found, load = [], cache.KernelCache.load_overload
cache.KernelCache.load_overload = lambda c, types, context: (
    found.append([c._py_func.__module__.split(".")[-1] + "." + c._py_func.__name__, str(types)]),
    load(c, types, context),
)[1]
path = pathlib.Path("programs/digits_mlp.tasm")
program = syurmy.load(path)
trace = syurmy.run(program, inputs.read(inputs.beside(path), inputs.of_program(program)))
key, verifying_key = syurmy.setup(program)
syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
print(json.dumps(found))
"""


def test_helpers_compile_what_a_first_proof_needs() -> None:
    done = subprocess.run([sys.executable, "-c", PROVE], capture_output=True, text=True, check=True)
    helped = [[name, str(types)] for name, (_, types) in zip(first.FIRST, first.kernels(), strict=True)]
    assert helped == json.loads(done.stdout)


def test_helpers_share_the_kernels_and_end_with_who_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []

    class Kernel:
        def __init__(self, number: int) -> None:
            self.number = number

        def compile(self, types: Any) -> None:
            compiled.append(self.number)

    monkeypatch.setattr(first, "kernels", lambda: [(Kernel(i), ()) for i in range(5)])
    first.work(os.getppid(), 0, 2)
    first.work(os.getppid(), 1, 2)
    first.work(-1, 0, 1)
    assert compiled == [4, 2, 0, 3, 1]


def test_helpers_fill_an_empty_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(first.subprocess, "Popen", lambda *a, **k: begun.append(a) or FakeProcess())
    monkeypatch.setattr(first.atexit, "register", lambda f: None)
    first.help_with(tmp_path, 1)
    assert not begun
    first.help_with(tmp_path, 3)
    assert len(begun) == 2
    first.help_with(tmp_path, 3)  # the lock is held
    assert len(begun) == 2
    first._locks.pop().close()
    for i in range(len(first.FIRST)):
        (tmp_path / f"{i}.nbi").write_text("")
    first.help_with(tmp_path, 3)
    assert len(begun) == 2


class FakeProcess:
    def wait(self) -> None: ...
    def kill(self) -> None: ...


def test_what_only_kernels_call_has_no_machine_code_but_can_be_called() -> None:
    assert sum_strip(np.arange(5, dtype=np.uint64)) == 10
    (kept,) = sum_strip.overloads.values()
    assert not kept.library._codegen._engine.is_symbol_defined(kept.fndesc.llvm_func_name)
