"""Plans of programs that would be expensive for the verifier."""

import time

import numpy as np
import pytest

from syurmy.assembler import assemble
from syurmy.isa.errors import ConstraintError
from syurmy.isa.system import assemble as assembled
from syurmy.prover.keys import setup
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from syurmy.vm.machine import run
from tests.reference_verifier.plan import commit_all


def rolled(layers, n=32):
    """Layer i adds its input rolled along both axes: both weights differ on every one of the 2^layers paths."""
    text = f".program rolled\n.input y : i8[{n}, {n}] private\n.output x public\n mov x, y\n"
    for i in range(layers):
        text += " mov u, x\n"
        for axis, shift in ((0, (5 * i + 1) % n), (1, (7 * i + 3) % n)):
            if shift:
                text += f"""
    slice a, u, axis={axis}, start={shift}, len={n - shift}
    slice b, u, axis={axis}, len={shift}
    concat u, a, b, axis={axis}
"""
        text += " add x, x, u\n"
    return assemble(text + " halt\n")


@pytest.mark.slow
def test_claims_do_not_double_with_every_layer():
    program = rolled(24)
    start = time.perf_counter()
    plan = Plan.of(program)
    assert any(c.label == "value" for c in plan.system.columns)
    pk = setup(program)
    trace = run(program, {"y": np.arange(1024).reshape(32, 32) % 100})
    statement = verify(pk.verifying_key, prove(pk, trace).data)
    assert (statement.outputs["x"] == trace.outputs["x"]).all()
    assert time.perf_counter() - start < 60  # without a bound it would take days


MIXED = """.program mixed
.input x : i8[4, 5] private
.input w : i8[5, 3] private
.output y public
    matmul h, x, w
    reshape g, h, (12,)
    rescale g, g, 3, i8
    reshape g, g, (4, 3)
    mul h, g, g
    reshape k, h, (12,)
    rescale k, k, 2, i8
    matmul m, x, w
    rescale m, m, 4, i8
    mul y, g, m
    halt
"""


@pytest.mark.parametrize("program", [assemble(MIXED), rolled(9)], ids=["mixed", "crowded"])
def test_columns_are_those_of_sweeps_that_begin_anew(program):
    """Against the definition: all claims again after every commitment."""
    found, defined = assembled(program), assembled(program)
    Plan.laid_out(found, None, CLEAR)
    commit_all(defined)
    one, other = ([(c.id, c.label, c.shape) for c in b.system.columns] for b in (found, defined))
    assert one == other
    assert any(label == "value" for _, label, _ in one)
    one, other = ([(e.origin, e.label, e.expression.id) for e in b.system.equations] for b in (found, defined))
    assert one == other


def test_an_execution_has_a_largest_number_of_cells():
    text = """
.program huge
.input x : i8[1] public
.output y public
    repeat 1000
        broadcast y, x, shape=(33554432,)
    end
    halt
"""
    with pytest.raises(ConstraintError, match=r"2\^34|2\^28"):
        Plan.of(assemble(text))


@pytest.mark.parametrize("seed", range(6))
def test_stored_rows_are_those_that_hold_an_entry(seed):
    """Against the definition, entry by entry, for every length of rows."""
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 7, rng.integers(1, 4)).tolist()) for _ in range(8)]
    counts = {}

    def choose(log_entries, stored):
        counts.update((log_cols, stored(log_cols)) for log_cols in range(log_entries + 1))
        return MatrixShape(stored(2), 2, 2)

    layout = MatrixLayout(list(enumerate(shapes)), 4, choose)
    full = np.zeros(1 << layout.log_entries, bool)
    for p in layout.places.values():
        full[p.offset : p.offset + p.size].reshape(p.dims)[p.true_part] = True
    for log_cols, count in counts.items():
        assert count == full.reshape(-1, 1 << log_cols).any(axis=1).sum()
    assert layout.stored_rows.tolist() == np.flatnonzero(full.reshape(-1, 4).any(axis=1)).tolist()
