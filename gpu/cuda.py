"""Graphics cards of NVIDIA as devices with memory that launch kernels (``gpu.grid.Device``), by numba-cuda.

Nothing here has run on a card yet (docs/gpu.md).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from syurmy.gpu.local import localised

EXTRA = "pip install 'syurmy-vm[cuda]', or [cuda12] for a driver before r580"


@dataclass(frozen=True)
class Card:
    """``capability``: of computing, as in 9.0; ``memory``: bytes in all."""

    index: int
    name: str
    capability: tuple[int, int]
    memory: int


def _numba() -> Any:
    return importlib.import_module("numba.cuda")


def missing() -> str:
    """Why there is no card to compute on; '' if there is."""
    cuda = _numba()
    if cuda.is_available():
        return ""
    if "numba_cuda" not in str(cuda.__file__):
        return f"numba-cuda is not installed ({EXTRA})"
    return " ".join(f"no driver or no card is found: {cuda.cuda_error() or 'the list of cards is empty'}".split())


def cards() -> list[Card]:
    """The cards of this machine; none where ``missing`` says why."""
    if missing():
        return []
    cuda, out = _numba(), []
    for k in range(len(cuda.gpus)):
        with cuda.gpus[k]:
            device, memory = cuda.get_current_device(), cuda.current_context().get_memory_info()
            name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
            out.append(Card(k, name, tuple(device.compute_capability), int(memory.total)))
    return out


class Cuda:
    """The card of this number. Raises ``RuntimeError`` where there is none."""

    def __init__(self, index: int = 0) -> None:
        if why := missing():
            raise RuntimeError(why)
        self._cuda = _numba()
        if not 0 <= index < len(self._cuda.gpus):
            raise RuntimeError(f"there is no card {index}: there are {len(self._cuda.gpus)}")
        self.index, self.name = index, f"cuda:{index}"
        self._compiled: dict[Callable[..., None], Any] = {}
        with self._cuda.gpus[index]:
            free = self._cuda.current_context().get_memory_info().free
        self.memory = int(free) if math.isfinite(free) else 0  # in the simulator there is no end

    def launch(self, kernel: Callable[..., None], blocks: int, threads: int, *args: Any) -> None:
        with self._cuda.gpus[self.index]:
            if kernel not in self._compiled:
                self._compiled[kernel] = self._cuda.jit(localised(kernel))
            self._compiled[kernel][blocks, threads](*args)

    def allocate(self, size: int) -> Any:
        with self._cuda.gpus[self.index]:
            try:
                return self._cuda.device_array(size, np.uint8)
            except Exception as e:  # the driver's, of a class that depends on its binding
                if isinstance(e, MemoryError) or "OUT_OF_MEMORY" in str(e):
                    raise MemoryError from e
                raise

    def write(self, there: Any, here: npt.NDArray[Any]) -> None:
        with self._cuda.gpus[self.index]:
            there.copy_to_device(here)

    def read(self, there: Any) -> npt.NDArray[Any]:
        with self._cuda.gpus[self.index]:
            out: npt.NDArray[Any] = there.copy_to_host()
            return out
