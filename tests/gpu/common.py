"""Proofs of whole programs on a device, for the tests of every device."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

import syurmy
from syurmy import gpu, inputs
from syurmy.gpu.grid import Device, Grid
from syurmy.prover.kernels import grid

PROGRAMS = ("digits_mlp", "hash_map", "rnn")  # dense layers; RAM and branches; a loop with tables
FOLDER = Path(__file__).parents[2] / "programs"


def proven(name: str, zk: bool, backend: gpu.Backend, patch: pytest.MonkeyPatch) -> bytes:
    """The proof of a program on its own inputs; what is drawn at random is the same each time."""
    program, trace = _trace(name)
    patch.setattr(os, "urandom", lambda n: b"\7" * n)
    before = gpu.current()
    gpu.select(backend)
    try:
        return syurmy.prove(syurmy.setup(program, zk=zk)[0], trace).to_bytes()
    finally:
        gpu.select(before)
        patch.undo()


def on(device: Device) -> Grid:
    return Grid(device, grid.FORMS)


@cache
def _trace(name: str) -> tuple[syurmy.Program, syurmy.Trace]:
    path = FOLDER / f"{name}.tasm"
    program = syurmy.load(path)
    return program, syurmy.run(program, inputs.read(inputs.beside(path), inputs.of_program(program)))
