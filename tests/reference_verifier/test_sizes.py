"""Both verifiers choose the same codes and ladders for all sizes, and come to the same plans for whole programs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.program import Program
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol import shapes
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.verifier import verify
from syurmy.prover.verifier.verify import Verifier
from tests.reference_verifier import codes
from tests.reference_verifier.verify import Verifier as Second

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


def same(ours: codes.Code, theirs: MatrixShape) -> bool:
    names = ("rows", "log_cols", "log_blowup", "planes", "aux", "tail")
    return all(getattr(ours, n) == getattr(theirs, n) for n in names)


@pytest.mark.parametrize("hiding", [False, True])
def test_ladders(hiding):
    draw = random.Random(1)
    mine, theirs = (codes.hiding_ladder, shapes.hiding_ladder) if hiding else (codes.ladder, shapes.ladder)
    for used in {*range(1, 40), *(int(2 ** draw.uniform(5, 20)) for _ in range(60))}:
        (size, levels), (expected, found) = mine(used), theirs(used)
        assert (size, len(levels)) == (expected, len(found)), used
        for a, b in zip(levels, found, strict=True):
            assert a.log_size == b.log_size
            assert same(a.code, b.shape), used


@pytest.mark.parametrize("proofs", [0, 1, 16, 1000])  # 0: nothing is hidden
def test_matrices(proofs):
    draw, mode = random.Random(proofs), Mode(proofs > 0, proofs)
    least = [codes.least_log_entries(params, mode.hiding, proofs) for params in (False, True)]
    assert least == [shapes.min_witness_log_entries(mode), shapes.min_params_log_entries(mode)]
    for _ in range(40):
        sizes = [draw.randrange(low, 30) for low in least]
        eighths = draw.choice((1, 5, 8))

        def stored(log_entries: int, eighths: int = eighths) -> Callable[[int], int]:
            return lambda log_cols: max(1, (eighths << (log_entries - log_cols)) // 8)

        params = codes.params_code(sizes[1], stored(sizes[1]), mode.hiding, proofs)
        theirs = shapes.choose_params_shape(sizes[1], stored(sizes[1]), mode)
        assert same(params, theirs), sizes
        for p, q in ((params, theirs), (None, None)):
            mine = codes.witness_code(sizes[0], stored(sizes[0]), p, mode.hiding)
            assert same(mine, shapes.choose_witness_shape(sizes[0], stored(sizes[0]), q, mode)), sizes


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
    run, opening = Second(key.verifying_key.to_bytes()).verify(proof), run_of(Verifier(key.verifying_key), proof)
    assert sorted(e for _, e in run.opening.errors) == sorted(e for _, e in opening.budget.terms)
    assert vars(run.opening.counts) == vars(opening.counts)
    assert run.opening.last == opening.last
    return key


def run_of(verifier: Verifier, proof: bytes) -> Opening:
    """The opening that the project's verifier works with."""
    run = verify._Run(verifier, proof)
    run.run()
    return run.opening
