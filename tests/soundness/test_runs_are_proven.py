"""Whatever assembles and runs can be set up, proven and verified."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap
from syurmy.isa.program import Program
from syurmy.isa.types import TensorType
from tests.assembler.random_programs import programs
from tests.drawing import SEEDS, examples

NARROWED = """
.input x : i64[4] private in -2**60..2**60
.input d : i64[] private in 1..2**60
.input big : i64[] private in -2**59..2**60
.output y public
    mov v, x
    mov e, d
    mov w, big
    repeat 3
        addi  s, v, 1
        clamp v, s, lo=0, hi=7
        cast  v, v, i64
        addi  k, e, 1
        clamp e, k, lo=2, hi=9
        cast  e, e, i64
    end
    {after}
    halt
"""
AFTER = [
    "muli y, s, 1000",
    "shl y, s, 32",
    "topk y, s, 4",
    "sort y, s",
    "argsort y, s",
    "reduce_max y, s, axis=0, keepdims=true",
    "reduce_min y, s, axis=0, keepdims=true",
    "reduce_max y, s, axis=0",
    "argmax y, s, axis=0",
    "rescale y, s, 2, i8",
    "div y, w, k",
    "mod y, w, k",
    "div y, s, d",
    "mod y, s, d",
    "div y, w, d",
    "mod y, w, d",
    "isqrt y, s",
    "abs y, s",
    "sum t, s\n    muli y, t, 1000",
    "mul y, s, s",
    "eq y, s, k",
    "max y, s, k",
    "cast y, s, i8",
    "clamp y, s, lo=3",
]


def drawn(t: TensorType, rng: np.random.Generator) -> I64:
    """Values of a type: ends and small numbers more often than a uniform choice has them."""
    near = np.clip(rng.integers(-9, 10, t.shape), t.lo, t.hi)
    far = rng.choice([t.lo, t.hi, (t.lo + t.hi) // 2], t.shape)
    anywhere = rng.integers(t.lo, t.hi, t.shape, endpoint=True)
    return np.asarray(np.choose(rng.integers(0, 3, t.shape), [near, far, anywhere]), np.int64)


def proven(p: Program, inputs: dict[str, I64]) -> bool:
    """Whether the program runs on these inputs; if it does, it is proven and verified."""
    try:
        trace = syurmy.run(p, inputs)
    except Trap:
        return False
    proving, verifying = syurmy.setup(p)
    assert syurmy.check(p, trace) == []
    statement = syurmy.verify(verifying, syurmy.prove(proving, trace).data)
    for name, values in statement.outputs.items():
        assert np.array_equal(values, trace.outputs[name]), name
    return True


@pytest.mark.parametrize("after", AFTER)
def test_reads_after_a_loop_that_narrows(after: str) -> None:
    p = syurmy.assemble(NARROWED.format(after=after))
    x = np.array([5, -3, 900, 6])
    assert proven(p, {"x": x, "d": np.array(2**59 - 1), "big": np.array(-(2**59) + 12345)})


@examples(80, suppress_health_check=list(HealthCheck))
@given(programs(narrowing=True), SEEDS)
def test_random_programs_that_run_are_proven(p: Program, seed: int) -> None:
    rng = np.random.default_rng(seed)
    any(proven(p, {i.name: drawn(i.type, rng) for i in p.inputs}) for _ in range(3))
