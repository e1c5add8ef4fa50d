"""Kernels and proofs on a graphics card: ``python -m tests.gpu``; without a card they are skipped.

How a kernel is launched and its arrays copied is tested without one as well, in Numba's simulator.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from syurmy import gpu
from syurmy.gpu import cuda
from tests.gpu import __main__ as everything
from tests.gpu import sanitized
from tests.gpu.common import FOLDER, on, proven
from tests.gpu.test_forms import CASES, found

ROOT = Path(__file__).resolve().parents[2]
on_a_card = pytest.mark.skipif(bool(cuda.missing()), reason="no card to compute on")


@pytest.fixture(scope="module")
def device() -> cuda.Cuda:
    return cuda.Cuda()


@on_a_card
@pytest.mark.parametrize("name", CASES)
def test_a_card_gives_the_bits_of_the_cpu(name: str, device: cuda.Cuda) -> None:
    expected, cpu = found(name), gpu.current()
    gpu.select(on(device))
    try:
        there = found(name)
    finally:
        gpu.select(cpu)
    for e, f in zip(expected, there, strict=True):
        assert np.array_equal(e, f)


@on_a_card
@pytest.mark.parametrize("zk", [True, False], ids=["hiding", "no-zk"])
@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.tasm")))
def test_a_proof_made_on_a_card_is_that_of_the_cpu(
    name: str, zk: bool, device: cuda.Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = proven(name, zk, gpu.current(), monkeypatch)
    assert proven(name, zk, on(device), monkeypatch) == expected


def test_kernels_use_of_cuda_what_other_compilers_have_as_well() -> None:
    """numba-cuda is maintained as long as CUDA 13: its successor has these names, and Numba's own target."""
    sources = [*(ROOT / "prover" / "kernels").glob("*.py"), ROOT / "gpu" / "grid.py", ROOT / "gpu" / "local.py"]
    used = {name for path in sources for name in re.findall(r"(?<![\w.])cuda\.(\w+\.\w+|\w+\()", path.read_text())}
    sizes = {"threadIdx.x", "blockIdx.x", "blockDim.x", "grid(", "gridsize("}
    assert used == sizes | {"shared.array", "local.array", "syncthreads(", "atomic.add"}


def test_without_a_card_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: "no driver")
    assert cuda.cards() == []
    with pytest.raises(RuntimeError, match="no driver"):
        cuda.Cuda()


@pytest.mark.parametrize(("finds", "code"), [("nothing", 0), ("racecheck", 1)])
def test_the_sanitizer_runs_every_form(finds: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a program in its place that notes what it is asked, and one of whose tools finds something."""
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\ntest "$2" != {finds}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(cuda, "missing", lambda: "no driver")
    assert sanitized.main() == 3
    monkeypatch.setattr(cuda, "missing", lambda: "")
    assert sanitized.main() == code
    asked = (tmp_path / "asked").read_text().splitlines()
    ran = sanitized.TOOLS if code == 0 else sanitized.TOOLS[: sanitized.TOOLS.index(finds) + 1]
    assert [line.split()[1] for line in asked] == list(ran)
    assert all(line.endswith(f"-m pytest -q {sanitized.TESTS}") for line in asked)


def test_everything_for_a_card_ends_with_the_first_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    fails: set[str] = set()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command[2])
        return subprocess.CompletedProcess(command, 5 if command[2] in fails else 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(cuda, "missing", lambda: "no driver")
    assert everything.main() == 3
    assert capsys.readouterr().err == "no card: no driver\n"
    assert not ran
    monkeypatch.setattr(cuda, "missing", lambda: "")
    assert everything.main() == 0
    assert ran == ["pytest", "tests.gpu.sanitized", "benchmarks.gpu"]
    fails.add("tests.gpu.sanitized")
    assert everything.main() == 5
    assert ran[3:] == ["pytest", "tests.gpu.sanitized"]


SIMULATED = """
import numpy as np
from syurmy import gpu
from syurmy.gpu import cuda
from syurmy.gpu.grid import Grid
from syurmy.prover.kernels import grid, matrix, pool
device = cuda.Cuda()
memory = Grid(device, grid.FORMS, pool.CPU)
x = np.arange(40 * 35, dtype=np.uint64).reshape(40, 35)
gpu.select(memory)
assert np.array_equal(gpu.download(matrix.transpose(memory.upload(x))), x.T)
try:
    cuda.Cuda(7)
except RuntimeError as e:
    print(device.name, e)
"""


@pytest.mark.slow
def test_launching_and_copying_in_the_simulator() -> None:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SIMULATED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cuda:0 there is no card 7")
