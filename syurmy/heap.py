"""What a process holds that takes arrays from glibc's allocator and gives them back, by name and in order.

A heap gives out the smallest place that is free and large enough, and grows where there is none; what is freed stays
with the process. Arrays of ``mapped`` bytes and more have pages of their own, which go back at once (``syurmy.host``).
"""

from __future__ import annotations

from collections.abc import Iterable


class Heap:
    """``peak``: bytes that were held at one time."""

    def __init__(self, mapped: int | None = None) -> None:
        self.mapped = mapped
        self.peak = 0
        self._at: dict[str, tuple[int | None, int]] = {}  # start (None: mapped) and size
        self._free: list[tuple[int, int]] = []  # start and size, in order, never adjacent
        self._end = 0
        self._alone = 0
        self._returned = 0  # of what is free, about

    def take(self, **arrays: int) -> None:
        """Arrays of so many bytes, one after the other."""
        for name, size in arrays.items():
            if name in self._at:
                raise ValueError(f"{name} is there already")
            if size > 0:
                self._at[name] = self._place(size), size
                self.peak = max(self.peak, self.held)

    def start(self, name: str) -> int:
        """Where an array is that was taken from the heap itself."""
        at, _ = self._at[name]
        assert at is not None
        return at

    def give(self, names: Iterable[str]) -> None:
        """Back; those that were never taken are none."""
        for name in names:
            start, size = self._at.pop(name, (0, 0))
            if start is None:
                self._alone -= size
            elif size:
                self._free.append((start, size))
        joined: list[tuple[int, int]] = []
        for start, size in sorted(self._free):
            if joined and sum(joined[-1]) == start:
                start, size = joined[-1][0], joined.pop()[1] + size
            joined.append((start, size))
        self._free = joined

    def trim(self) -> None:
        """Give what is free back to the system."""
        self._returned = sum(size for _, size in self._free)

    @property
    def live(self) -> int:
        """Of the arrays that are there."""
        return sum(size for _, size in self._at.values())

    @property
    def held(self) -> int:
        return self._end - self._returned + self._alone

    def _place(self, size: int) -> int | None:
        if self.mapped is not None and size >= self.mapped:
            self._alone += size
            return None
        fitting = [x for x in self._free if x[1] >= size]
        if fitting:
            start, free = min(fitting, key=lambda x: x[1])
            self._free.remove((start, free))
            if free > size:
                self._free.append((start + size, free - size))
                self._free.sort()
            self._returned = max(0, self._returned - size)
            return start
        start = self._free.pop()[0] if self._free and sum(self._free[-1]) == self._end else self._end
        self._returned = max(0, self._returned - (self._end - start))
        self._end = start + size
        return start
