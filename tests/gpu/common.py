"""Proofs of whole programs on a device, for the tests of every device."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import typeof

import syurmy
from syurmy import gpu, inputs
from syurmy.gpu.arrays import DeviceArray, Scalars
from syurmy.gpu.emulator import Emulator
from syurmy.gpu.grid import Device, Grid, raw, type_of
from syurmy.prover import lookup, sumcheck
from syurmy.prover.kernels import grid, pool

PROGRAMS = ("digits_mlp", "hash_map", "rnn")  # dense layers; RAM and branches; a loop with tables
FOLDER = Path(__file__).parents[2] / "programs"


class Checked(Grid):
    """A grid whose kernels must not write what came from the host."""

    def run(self, kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]:
        if gpu.beside(*args) is gpu.HOST:
            return super().run(kernel, n, args, min_chunk)
        there = [self.given(a) if isinstance(a, np.ndarray) else a for a in args]
        out = self.on_device(kernel, n, tuple(there))
        for a, b in zip(args, there, strict=True):
            if isinstance(a, np.ndarray):
                assert np.array_equal(a, self.device.read(b.raw)), f"{kernel.__name__} writes an array of the host"
        return out


class Apart(Checked):
    """A device whose kernels are those of the CPU: memory of its own, and nothing to compile."""

    def __init__(self, least: int = 0, memory: int = 0) -> None:
        super().__init__(Emulator(memory=memory), {}, pool.CPU, least)

    def on_device(self, kernel: Any, n: int, args: tuple[Any, ...]) -> list[Any]:
        for a in args:
            type_of(a)
        if n <= 0:
            return []
        self.traffic.launches[kernel.__name__] = self.traffic.launches.get(kernel.__name__, 0) + 1
        read = (list(a.array.raw) if isinstance(a, Scalars) else [raw(a)] for a in args)
        return [kernel(*(a for each in read for a in each), 0, n)]

    def add_sums(self, kernel: Any, n: int, args: tuple[Any, ...], sums: DeviceArray) -> None:
        for w, word in enumerate(self.run(kernel, n, args, 1)[0]):
            sums.raw[0, w] += np.uint64(int(word) & 0xFFFFFFFF)
            sums.raw[1, w] += np.uint64(int(word) >> 32)


class Recorder(Apart):
    """Keeps the CUDA kernels that it would launch, by name and types of arguments, and runs those of the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[str, tuple[Any, ...]], tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self._noting = Grid(Noting(self.seen), grid.FORMS, pool.CPU, least=0)

    def on_device(self, kernel: Any, n: int, args: tuple[Any, ...]) -> list[Any]:
        if n > 0:
            self._noting.on_device(kernel, n, args)
        return super().on_device(kernel, n, args)


class Noting(Emulator):
    """Launches nothing."""

    def __init__(self, seen: dict[Any, Any]) -> None:
        super().__init__()
        self.seen = seen

    def launch(self, kernel: Callable[..., None], blocks: int, threads: int, *args: Any) -> None:
        signature = tuple(map(typeof, args))
        self.seen.setdefault((kernel.__name__, signature), (kernel, signature))


def proven(name: str, zk: bool, backend: gpu.Backend, patch: pytest.MonkeyPatch) -> bytes:
    """The proof of a program on its own inputs; what is drawn at random is the same each time."""
    program, trace = traced(name)
    patch.setattr(os, "urandom", lambda n: b"\7" * n)
    before = gpu.current()
    gpu.select(backend)
    try:
        return syurmy.prove(syurmy.setup(program, zk=zk)[0], trace).to_bytes()
    finally:
        gpu.select(before)
        patch.undo()


def few(patch: pytest.MonkeyPatch) -> None:
    """Few pairs are left to one block, so that small programs have rounds of every kind."""
    patch.setattr(lookup, "FEW", 3)
    patch.setattr(sumcheck, "SMALL", 4)
    patch.setattr(sumcheck, "FEW", 8)


def on(device: Device) -> Grid:
    """Everything on the device, however small."""
    return Checked(device, grid.FORMS, pool.CPU, least=0)


@cache
def traced(name: str) -> tuple[syurmy.Program, syurmy.Trace]:
    path = FOLDER / f"{name}.tasm"
    program = syurmy.load(path)
    return program, syurmy.run(program, inputs.read(inputs.beside(path), inputs.of_program(program)))
