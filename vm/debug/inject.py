"""A value in a trace replaced by another, as somebody who cheats would: the run goes on with it, and the trace is what
such a run leaves. ``check`` then lists the constraints that catch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from syurmy.isa.errors import InputError, Trap
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.isa.program import Program
from syurmy.isa.trace import Trace
from syurmy.isa.types import DType
from syurmy.vm.inputs import validated
from syurmy.vm.machine import Machine


def injected(
    program: Program,
    inputs: Mapping[str, npt.ArrayLike],
    step: int,
    selection: Sequence[int | slice],
    value: int,
    max_steps: int = DEFAULT_MAX_STEPS,
) -> Trace:
    """The trace of a run in which the instruction at ``step`` writes ``value`` to the entries that ``selection`` picks
    of its result (all if it is empty), and everything behind is computed from that.

    Raises ``InputError`` I150 where no such step writes a register, the selection picks nothing, or the value does not
    fit into i64, and ``Trap`` where
    the run cannot go on with the value.
    """
    if not DType.I64.lo <= value <= DType.I64.hi:
        raise InputError(f"{value} does not fit into i64", code="I150")
    given = validated(program, inputs)
    trace = Trace(program, given)
    machine = Machine(trace, given)
    done = False
    try:
        for at, pc in machine.steps(max_steps):
            call = machine.calls[pc]
            if call is None:
                continue
            result = machine.execute(at, pc, call)[2]
            if at != step:
                continue
            dst = call.instruction.dst
            if dst is None:
                raise InputError(f"step {step} ({call.op.name}) writes no register", code="I150")
            changed = np.array(result)
            if changed[tuple(selection)].size == 0:
                raise InputError(f"no entry of '{dst}' is picked", code="I150")
            changed[tuple(selection)] = value
            changed.flags.writeable = False
            trace.writes[pc][-1] = machine.registers[dst] = changed
            done = True
    except Trap as trap:
        if done:
            trap.add_note(f"in a run with {value} injected at step {step}")
        raise
    if not done:
        raise InputError(f"step {step} executes nothing that writes", code="I150",
                         help=f"the run has steps 0 to {len(trace.path) - 1}")  # fmt: skip
    trace.outputs = machine.outputs()
    return trace
