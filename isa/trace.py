"""What one run of a program leaves: debugger, checker and prover consume the same object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.program import Program


@dataclass
class Trace:
    """``writes[i][k]``: what execution k of instruction i wrote (int64, its type's shape). ``path``: instruction
    indices in order, control instructions included. ``outputs``: the output registers at halt.

    ``bits[i]``: the branch bits of instruction i. ``read_times[i][k]``: when the rows that execution k of a RAM access
    touched were last accessed. ``final[buffer]``: per input, contents and times of last access at halt. With a batch
    (``batch`` > 1) inputs and outputs have one more leading axis, and all inputs' executions follow one another.
    """

    program: Program
    inputs: dict[str, I64]
    path: list[int] = field(default_factory=list)
    writes: dict[int, list[I64]] = field(default_factory=dict)
    outputs: dict[str, I64] = field(default_factory=dict)
    bits: dict[int, list[int]] = field(default_factory=dict)
    read_times: dict[int, list[I64]] = field(default_factory=dict)
    final: dict[str, list[tuple[I64, I64]]] = field(default_factory=dict)
    batch: int = 1

    def stacked(self, instruction: int) -> I64:
        """All executions of an instruction, shape ``(E, ...)``."""
        values: Sequence[I64] = self.writes[instruction]
        return values[0][None] if len(values) == 1 else np.stack(values)
