"""What a constraint system costs, by the instruction that asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.builder import ConstraintSystem

# Weights that cost a prover as much as one leaf, or one entry of a column. What is compiled and where it is cut is
# decided by this, never by the fit of the day (syurmy/costs.py): keys of a model stay what they are.
ENTRY = 21


@dataclass(frozen=True, eq=False)
class Costs:
    """Entries per instruction, int64 ``[len(code) + 1]``; the last is what declarations ask for. ``lookups``: leaves of
    the lookup tree that stand for values; ``committed``: entries of columns."""

    lookups: I64
    committed: I64


def costs(system: ConstraintSystem) -> Costs:
    """The costs of all executions together."""
    n = len(system.program.code) + 1
    out = Costs(np.zeros(n, np.int64), np.zeros(n, np.int64))
    for k in system.lookups:
        out.lookups[k.origin] += k.members[0].size
    for t in system.tuples:
        out.lookups[t.origin] += math.prod(t.shape)
    for column in system.columns:
        out.committed[column.origin] += column.size
    return out
