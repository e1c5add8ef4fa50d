"""Both verifiers choose the same codes and ladders for all sizes, and come to the same plans for whole programs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.program import Program
from syurmy.isa.types import DType
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol import shapes
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.tensors import TensorCommitment
from syurmy.prover.verifier import verify
from syurmy.prover.verifier.verify import Verifier
from tests.reference_verifier import shapes as ours
from tests.reference_verifier.files import Commitment
from tests.reference_verifier.verify import Verifier as Second
from tests.reference_verifier.verify import tensor_of

PROGRAMS = Path(__file__).parents[2] / "programs"
NAMES = ("digits_mlp", "hash_map", "lenet", "rnn", pytest.param("attention", marks=pytest.mark.slow))
CROWDED = """
.program crowded
.input x0 : i8[31, 29] private
.output s private
.macro turned(dst, src, axis, by, n)        ; rotated along an axis
    slice %a, src, axis=axis, start=0, len=by
    slice %b, src, axis=axis, start=by, len=n-by
    concat dst, %b, %a, axis=axis
.endmacro
.macro layer(dst, src, by)                  ; twice as many terms, which differ in two weights
    turned %r, src, 0, by, 31
    turned %r, %r, 1, by, 29
    add dst, src, %r
.endmacro
"""
CROWDED += "".join(f"    layer x{i + 1}, x{i}, {2 * i + 1}\n" for i in range(9))
CROWDED += "    lt s, x9, x0\n    halt\n"


@pytest.mark.parametrize("hiding", [False, True])
def test_ladders(hiding):
    draw = random.Random(1)
    mine, theirs = (ours.hiding_ladder, shapes.hiding_ladder) if hiding else (ours.ladder, shapes.ladder)
    for used in {*range(1, 40), *(int(2 ** draw.uniform(5, 20)) for _ in range(60))}:
        (size, levels), (expected, found) = mine(used), theirs(used)
        assert (size, len(levels)) == (expected, len(found)), used
        for a, b in zip(levels, found, strict=True):
            assert a.row_bits + a.c == b.log_size
            assert (a.c, a.b, a.rows, a.random) == described(b.shape), used
            assert (b.shape.planes, b.shape.aux) == (2, 3 if a.hiding else 0)


def described(theirs: MatrixShape) -> tuple[int, int, int, int]:
    return theirs.log_cols, theirs.log_blowup, theirs.rows, theirs.tail


@pytest.mark.parametrize("proofs", [0, 1, 16, 1000])  # 0: nothing is hidden
def test_matrices(proofs):
    draw, mode = random.Random(proofs), Mode(proofs > 0, proofs)
    least = [
        ours.least_size(ours.WITNESS_RATES[:1], 1 if proofs else None, 6),
        ours.least_size(ours.PARAM_RATES, proofs or None, 4),
    ]
    assert least == [shapes.min_witness_log_entries(mode), shapes.min_params_log_entries(mode)]
    for _ in range(40):
        sizes = [draw.randrange(low, 30) for low in least]
        eighths = draw.choice((1, 5, 8))

        def stored(log_entries: int, eighths: int = eighths) -> Callable[[int], int]:
            return lambda log_cols: max(1, (eighths << (log_entries - log_cols)) // 8)

        params = ours.param_split(sizes[1], stored(sizes[1]), mode.hiding, proofs)
        theirs = shapes.choose_params_shape(sizes[1], stored(sizes[1]), mode)
        assert (params.c, params.b, stored(sizes[1])(params.c), params.random) == described(theirs), sizes
        assert theirs.planes == 1
        for p, q in ((params, theirs), (None, None)):
            mine = ours.witness_split(sizes[0], stored(sizes[0]), mode.hiding, p)
            found = shapes.choose_witness_shape(sizes[0], stored(sizes[0]), q, mode)
            assert (mine.c, mine.b, stored(sizes[0])(mine.c), mine.random) == described(found), sizes


@pytest.mark.parametrize("proofs", [0, 1, 3, 16, 1000])
def test_committed_tensors(proofs):
    """The names of commitments hold the shapes of their matrices."""
    draw = random.Random(proofs)
    for _ in range(20):
        rank, root = draw.randrange(5), draw.randbytes(32)
        shape = (draw.randrange(1, 4), *(int(2 ** draw.uniform(0, 20 / max(1, rank))) for _ in range(rank)))
        theirs = TensorCommitment(DType.I16, shape, Mode(proofs > 0, proofs), root)
        mine = Commitment(proofs, bytes(32), root)
        external = SimpleNamespace(shape=shape, dtype=DType.I16)
        assert tensor_of(external, mine, proofs > 0).digest == theirs.digest(), shape


@pytest.mark.parametrize("hiding", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_program(name, hiding):
    """A proof of it is accepted, with the same plan and the same errors."""
    program = syurmy.load(PROGRAMS / f"{name}.tasm")
    with np.load(PROGRAMS / f"{name}.inputs.npz") as inputs:
        same_plan(program, dict(inputs), hiding)


def test_more_terms_than_are_carried():
    """Linear images on which more than 256 terms meet are committed."""
    key = same_plan(syurmy.assemble(CROWDED), {"x0": np.arange(31 * 29).reshape(31, 29) % 100}, False)
    assert key.plan is not None
    assert any(c.label == "value" for c in key.plan.system.columns)


def same_plan(program: Program, inputs: Mapping[str, Any], hiding: bool) -> ProvingKey:
    """A proof is accepted by both, with the same counts and errors."""
    key = setup(program, Mode.of(program, hiding, 1))
    proof = syurmy.prove(key, syurmy.run(program, inputs)).data
    mine, theirs = Second(key.verifying_key.to_bytes()).verify(proof).sizes, opening_of(key, proof)
    errors = sorted(e for e in mine.budget.errors.values() if e)
    assert errors == sorted(e for _, e in theirs.budget.terms if e)
    assert tuple(mine.sizes.instances) == theirs.counts.contractions
    assert (mine.sizes.param_rows, tuple(mine.sizes.reduced)) == (theirs.counts.rows, theirs.counts.reduced)
    return key


def opening_of(key: ProvingKey, proof: bytes) -> Opening:
    """What the project's verifier works with."""
    run = verify._Run(Verifier(key.verifying_key), proof)
    run.run()
    return run.opening


@pytest.mark.parametrize("shape", [(24, 12, 3, 64), (3, 7, 11, 65)])
def test_axes_of_a_committed_tensor_are_never_one(shape: tuple[int, ...]) -> None:
    """Though as one they would be cheaper: its own matrix has every axis by itself."""
    program = syurmy.assemble(f".input x : i16{list(shape)} committed\n.output y public\n    sum y, x\n    halt\n")
    x = np.random.default_rng(0).integers(-9, 9, shape)
    pk = setup(program)
    made = syurmy.commit(program, "x", x)
    proof = syurmy.prove(pk, syurmy.run(program, {"x": x}), commitments={"x": made})
    assert verify.verify(pk.verifying_key, proof.data).outputs["y"] == x.sum()
    Second(pk.verifying_key.to_bytes()).verify(proof.data)
