"""CUDA kernels to PTX and machine code on a machine without a GPU: registers, spilled bytes and shared memory of each.

Needs the extra ``cuda-check``: numba-cuda, and of NVIDIA's toolkit NVVM, NVRTC and ``ptxas``.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from syurmy.gpu.local import localised

CAPABILITIES = ((7, 5), (8, 0), (9, 0))  # Turing, Ampere, Hopper


@dataclass(frozen=True)
class Assembled:
    """What ``ptxas`` says of a kernel: registers of a thread; bytes that it spills, of its stack (local arrays), and of
    the shared memory of a block."""

    registers: int
    spilled: int
    stack: int
    shared: int


def assembler() -> str | None:
    """The path of ``ptxas``: that of the installed wheel, or one on the path."""
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found is not None else ():
        for path in sorted(Path(folder).glob("*/bin/ptxas")):
            return str(path)
    return shutil.which("ptxas")


def compiled(kernel: Callable[..., None], signature: tuple[Any, ...], capability: tuple[int, int]) -> str:
    """The PTX of a kernel for arguments of these Numba types."""
    cuda: Any = importlib.import_module("numba.cuda")
    with _without_device(capability):
        text, _ = cuda.compile_ptx(localised(kernel), signature, cc=capability)
    return str(text)


def assembled(ptx: str, capability: tuple[int, int]) -> Assembled:
    """Assembles PTX of one kernel. Raises ``RuntimeError`` with what ``ptxas`` says."""
    program = assembler()
    if program is None:
        raise RuntimeError("ptxas is not installed")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [program, f"-arch=sm_{capability[0]}{capability[1]}", "-v", str(source), "-o", f"{source}.cubin"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())

    def number(pattern: str) -> int:
        return sum(int(n) for n in re.findall(pattern, done.stderr))

    return Assembled(
        registers=max(int(n) for n in re.findall(r"Used (\d+) registers", done.stderr)),
        spilled=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        stack=number(r"(\d+) bytes stack frame"),
        shared=number(r"(\d+) bytes smem"),
    )


@contextmanager
def _without_device(capability: tuple[int, int]) -> Iterator[None]:
    """Numba asks the current device what to compile called functions for."""
    device = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        yield
