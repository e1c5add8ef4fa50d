"""Arrays in the memory of a device: shape, dtype, slices; no arithmetic, and no way to read them by accident."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from syurmy.gpu.grid import Grid


class Piece:
    """Memory of a device, of ``size`` bytes; ``back`` is called when nothing refers to it any more."""

    def __init__(self, raw: Any, size: int, back: Callable[[Any, int], None]) -> None:
        self.raw, self.size, self._back = raw, size, back

    def __del__(self) -> None:
        self._back(self.raw, self.size)


class DeviceArray:
    """``raw``: what a device's kernels take, with NumPy's shape, dtype, strides, slices, ``reshape`` and ``view``;
    ``memory``: the device; ``piece``: keeps its memory."""

    __slots__ = ("__weakref__", "memory", "piece", "raw")

    def __init__(self, raw: Any, memory: Grid, piece: Piece) -> None:
        self.raw, self.memory, self.piece = raw, memory, piece

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.raw.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = np.dtype(self.raw.dtype)
        return found

    @property
    def ndim(self) -> int:
        return len(self.raw.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def contiguous(self) -> bool:
        step = self.dtype.itemsize
        for length, stride in zip(self.shape[::-1], self.raw.strides[::-1], strict=True):
            if length > 1 and stride != step:
                return False
            step *= length
        return True

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> DeviceArray:
        """Numbers and slices of step 1; a single entry cannot be had: ``gpu.download`` reads."""
        keys = key if isinstance(key, tuple) else (key,)
        if all(isinstance(k, int) for k in keys) and len(keys) == self.ndim:
            self._refuse()
        return DeviceArray(self.raw[key], self.memory, self.piece)

    def reshape(self, *shape: Any) -> DeviceArray:
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        known = math.prod(d for d in wanted if d != -1)
        whole = tuple(self.size // known if d == -1 else int(d) for d in wanted)
        return DeviceArray(self.raw.reshape(whole), self.memory, self.piece)

    def view(self, dtype: npt.DTypeLike) -> DeviceArray:
        return DeviceArray(self.raw.view(np.dtype(dtype)), self.memory, self.piece)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse()

    def __iter__(self) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(f"an array {self.dtype}{list(self.shape)} on {self.memory.name} is read on the host")


class Scalars:
    """As many numbers among a kernel's arguments as ``array``, of one axis, has: they are read on the device."""

    def __init__(self, array: DeviceArray) -> None:
        self.array = array

    @property
    def memory(self) -> Grid:
        return self.array.memory
