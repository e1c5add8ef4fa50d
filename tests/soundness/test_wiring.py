"""Reads see what the executed path wrote, also where a register holds a counter at one time and a tensor at another."""

from __future__ import annotations

import numpy as np
import pytest

from syurmy.prover.prove import Prover
from tests.soundness import common as c

COUNTER_FIRST = """
.input x : i32[] public
.output y public
    repeat 1, i
        mov r, i
    end
    repeat 2
        addi y, r, 0
        mov r, x
    end
    halt
"""
COUNTER_LATER = """
.input x : i32[] public
.output y public
    mov r, x
    repeat 3, i
        addi y, r, 0
        mov r, i
    end
    halt
"""


@pytest.mark.parametrize(("source", "y"), [(COUNTER_FIRST, 7), (COUNTER_LATER, 1)])
def test_counter_and_tensor_in_one_register(source, y):
    trace = c.trace_of(source, {"x": 7})
    assert int(trace.outputs["y"]) == y
    assert int(c.accepted(source, Prover(c.keys(source), trace).run().data).outputs["y"]) == y


def test_a_tensor_does_not_become_the_counter_before_it():
    source = COUNTER_FIRST
    trace = c.trace_of(source, {"x": 7})
    for pc, ins in enumerate(trace.program.code):
        if ins.op == "addi":
            trace.writes[pc] = [np.zeros((), np.int64)] * 2
    trace.outputs["y"] = np.zeros((), np.int64)
    with pytest.raises(c.Rejected):
        c.accepted(source, Prover(c.keys(source), trace).run().data)
