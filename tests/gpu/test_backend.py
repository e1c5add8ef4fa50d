"""Every kernel of a proof runs through the selected backend."""

import os

import numpy as np

from syurmy import gpu
from syurmy.assembler import assemble
from syurmy.prover.keys import setup
from syurmy.prover.prove import prove
from syurmy.vm.machine import run

TEXT = """
.program small
.input x : i8[4, 3] private
.param w : i8[3, 2] committed = {{1, -2}, {3, 4}, {-5, 6}}
.output y public
    matmul  y, x, w
    rescale y, y, 3, i8
    halt
"""


class OneRange:
    """A backend without threads that notes the kernels it ran."""

    name = "one range"

    def __init__(self):
        self.kernels = set()

    def run(self, kernel, n, args, min_chunk):
        self.kernels.add(kernel.__name__)
        return [kernel(*args, 0, n)]

    def place(self, n):
        return gpu.HOST


def test_a_backend_sees_every_kernel_and_changes_no_byte(monkeypatch):
    monkeypatch.setattr(os, "urandom", lambda n: b"\7" * n)  # else two proofs that hide agree nowhere
    program = assemble(TEXT)
    trace = run(program, {"x": np.arange(12).reshape(4, 3)})
    pk = setup(program)
    expected = prove(pk, trace).data
    cpu, other = gpu.current(), OneRange()
    gpu.select(other)
    try:
        assert prove(pk, trace).data == expected
    finally:
        gpu.select(cpu)
    assert gpu.current().name == "cpu"
    assert len(other.kernels) >= 8
