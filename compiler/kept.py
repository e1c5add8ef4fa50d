"""Tensors on every sample: in memory while there is room, else in a file beside the folder that is written.

Scales are decided instruction by instruction, by what all samples reach: a tensor that is still to be read is there for
all of them. What is read from the file is a copy, which goes with its reader. The file has no name: it is gone with the
process, however that ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from syurmy.heap import Heap
from syurmy.isa.arrays import Array

SMALL = 2**12  # bytes of an array that is in memory in any case


class _Stored(NamedTuple):
    """An array in the file."""

    at: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Store:
    """``room``: bytes of arrays that are in memory at one time; None: all of them. ``folder``: where the file is."""

    def __init__(self, room: int | None = None, folder: Path | None = None) -> None:
        self.room, self.folder = room, folder
        self.held = self.peak = 0  # bytes in memory, now and at most
        self._file: IO[bytes] | None = None
        self._places = Heap()
        self._last = 0

    @property
    def written(self) -> int:
        """Bytes of the file."""
        return self._places.peak

    def put(self, x: Array) -> Array | _Stored:
        if x.nbytes <= SMALL:
            return x
        if self.room is None or self.held + x.nbytes <= self.room:
            self.held += x.nbytes
            self.peak = max(self.peak, self.held)
            return x
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  (gone with the store)
        self._last += 1
        self._places.take(**{str(self._last): x.nbytes})
        self._file.seek(self._places.start(str(self._last)))
        self._file.write(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
        return _Stored(self._last, x.dtype, x.shape)

    def get(self, entry: Array | _Stored) -> Array:
        if not isinstance(entry, _Stored):
            return entry
        assert self._file is not None
        x = np.empty(entry.shape, entry.dtype)
        self._file.seek(self._places.start(str(entry.at)))
        self._file.readinto(x.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
        return x

    def drop(self, entry: Array | _Stored) -> None:
        """What was put is not needed any more."""
        if isinstance(entry, _Stored):
            self._places.give([str(entry.at)])
        elif entry.nbytes > SMALL:
            self.held -= entry.nbytes


class Kept(Sequence[Array]):
    """Arrays, one of each sample, in a store for as long as this is there."""

    def __init__(self, store: Store, arrays: Iterable[Array] = ()) -> None:
        self._store = store
        self._entries: list[Array | _Stored] = []
        for x in arrays:
            self.append(x)

    def append(self, x: Array) -> None:
        self._entries.append(self._store.put(x))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return [self._store.get(e) for e in self._entries[k]]
        return self._store.get(self._entries[k])

    def __del__(self) -> None:
        for e in self._entries:
            self._store.drop(e)


class _Gone(Sequence[Any]):
    """Of a tensor that no node reads any more: to ask for its integers is a mistake of the compiler's."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, k: Any) -> Any:
        raise RuntimeError("a tensor is read that was given up: its last reader is lowered")


GONE = _Gone()
