"""Values of the graph's tensors, and how often rows are looked up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError
from syurmy.isa.graph import Node
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.witness import NO_ROW, Witness

SOURCE = """
.program moved
.input  x : i16[4, 6] private in -900..900
.output y public
        slice     a, x, axis=0, start=1, len=3
        transpose b, a, perm=(1, 0)
        matmul    c, a, b
        rescale   d, c, shift=12, dtype=i16
        reshape   e, d, shape=(9)
        slice     y, e, axis=0, start=2, len=3
        halt
"""


@pytest.fixture(scope="module")
def witness() -> Witness:
    program = syurmy.assemble(SOURCE)
    trace = syurmy.run(program, {"x": np.arange(24).reshape(4, 6) * 70 - 800})
    return Witness(Plan.of(program).system, trace)


def below(nodes: list[Node], seen: set[Node]) -> Iterator[Node]:
    for node in nodes:
        if node not in seen:
            seen.add(node)
            yield node
            yield from below(list(node.inputs), seen)


def test_moved_values_are_the_node_s_and_narrow(witness: Witness) -> None:
    nodes = list(below([e.expression for e in witness.system.equations], set()))
    moved = [n for n in nodes if type(n).__name__ in ("IndexMap", "Reshape", "Transpose", "Broadcast")]
    assert moved
    for node in moved:
        values = witness.moved(node, np.int32)
        assert values.dtype == np.int32
        assert np.array_equal(values, witness(node))


def test_rows_are_counted_as_they_are_found(witness: Witness) -> None:
    counts = witness.multiplicities()
    expected = {t: np.zeros(2**t.log_size, np.int64) for t in counts}
    for lk in witness.system.lookups:
        np.add.at(expected[lk.table], witness.rows(lk.table, lk.members), 1)
    assert sum(map(np.sum, expected.values())) > 0
    assert all(np.array_equal(counts[t], expected[t]) for t in counts)


@pytest.mark.parametrize("wrong", [-1, 1 << 20, -(1 << 61), 1 << 61])
def test_a_value_outside_its_range_is_not_counted(witness: Witness, wrong: int) -> None:
    lk = next(lk for lk in witness.system.lookups if lk.table.is_range)
    forged = Witness(witness.system, witness.trace)
    values = witness(lk.members[0]).copy()
    values.reshape(-1)[-1] = wrong
    forged.override(lk.members[0], values)
    assert NO_ROW in forged.rows(lk.table, lk.members)
    with pytest.raises(InputError, match="is not in range"):
        forged.multiplicities()
