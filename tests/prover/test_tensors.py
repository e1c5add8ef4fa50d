"""Tensor commitments: their shapes, their allowance, and how programs declare them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import syurmy
from syurmy.assembler.disassembler import disassemble
from syurmy.isa.encoding import decode, encode
from syurmy.isa.errors import SyurmyError
from syurmy.isa.types import DType
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.description import REAL, Quantity
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.reed_solomon import few_bits
from syurmy.prover.protocol.tensors import TensorCommitment, same_meaning, tensor_layout
from syurmy.prover.tensors import seal
from tests.soundness import common as c

SHAPES = [(1,), (1, 10), (3, 4), (1, 784), (8, 784), (1, 3, 32, 32), (1, 1 << 16)]


def test_few_bits() -> None:
    for count in range(1, 600):
        assert few_bits(count) == next(x for x in range(count, 2 * count + 1) if x.bit_count() <= 3)


@pytest.mark.parametrize("value", [2**64 - 5, 2**63, 2**15, -(2**15) - 1])
def test_integers_that_do_not_fit_are_not_committed_as_others(value: int) -> None:
    """Not 2^64 - 5 as -5 either."""
    program = syurmy.assemble(".input x : i16[2] committed\n.output x private\n halt\n")
    given = np.array([value, 1], np.uint64 if value > 0 else np.int64)
    with pytest.raises(SyurmyError, match="does not fit i16"):
        syurmy.commit(program, "x", given)
    fits = syurmy.commit(program, "x", np.array([5, 1], np.uint64))
    assert fits.values.dtype == np.int64
    assert fits.values.tolist() == [[5, 1]]


def test_a_commitment_says_what_its_digest_has() -> None:
    """Not that the integers stand for something else; and what is not the same is told."""
    said = [
        Quantity("tensor", unit="EUR", form=REAL, scales=(Fraction(1, 8),), dtype="float32"),
        Quantity("tensor", unit="USD", form=REAL, scales=(Fraction(1, 8),), dtype="float32"),
        Quantity("tensor", unit="EUR", form=REAL, scales=(Fraction(1, 9),), dtype="float32"),
    ]
    assert [same_meaning(said[0], x) for x in said] == [True, False, False]
    commitments = [seal(np.array([[1, 2]]), DType.I8, Mode(False), x).commitment for x in said]
    assert len({x.root for x in commitments}) == 1
    assert len({x.digest() for x in commitments}) == 3
    for x in commitments:
        assert TensorCommitment.from_bytes(x.to_bytes()).described == x.described
        for other in [y for y in said if y != x.described]:
            with pytest.raises(SyurmyError, match="damaged"):
                TensorCommitment.from_bytes(replace(x, described=other).to_bytes())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("proofs", [0, 1, 2, 16, 1024])
def test_every_tensor_has_a_matrix(shape: tuple[int, ...], proofs: int) -> None:
    """That holds it, and where it hides has four rows, and coefficients for its proofs at their number of queries."""
    layout = tensor_layout(shape, Mode(proofs > 0, proofs))
    (place,) = layout.places.values()
    assert place.shape == shape
    matrix = layout.shape
    assert len(layout.stored_rows) == matrix.rows
    assert 1 << layout.log_entries >= place.size
    assert matrix.tail == 0 or matrix.height >= 4
    source = f".input x : i8{list(shape[1:])} committed\n.output x private\n halt\n"
    plan = Plan.of(syurmy.assemble(source), mode=Mode(proofs > 0))
    opening = Opening.of(plan, [tensor_layout(plan.system.externals[0].shape, Mode(proofs > 0, proofs))])
    (opened,) = opening.of_tensors
    assert opening.budget.holds()
    assert proofs * opened.queries < opened.shape.tail or not proofs


def test_the_budget_counts_every_tensor() -> None:
    pk = c.keys(c.hiding(c.COMMITTED))
    assert pk.plan is not None
    layouts = [t.commitment.layout for t in c.openings_of(c.hiding(c.COMMITTED)).values()]
    terms = dict(Opening.of(pk.plan, layouts).budget.terms)
    for i in range(3):
        assert f"tensor {i} proximity" in terms
        assert any(name.startswith(f"tensor {i} queries") for name in terms)
    with pytest.raises(ValueError, match="3 committed tensors"):
        Opening.of(pk.plan, layouts[:2])


def test_openings_are_remembered_by_what_they_are_for() -> None:
    pk = c.keys(c.hiding(c.COMMITTED_3))
    assert pk.plan is not None
    made = [Opening.of(pk.plan, [tensor_layout((1, 3), Mode(True, k))]) for k in (1, 2, 2)]
    assert made[1] is made[2]
    assert all(a.matrices != b.matrices for a, b in pairwise(made[:2]))


def test_declarations_survive() -> None:
    """Text, program and bytes say the same; what nothing declares committed has the bytes that it had."""
    program = syurmy.assemble(c.COMMITTED)
    assert [i.visibility for i in program.inputs] == ["committed", "committed", "private"]
    assert [o.visibility for o in program.outputs] == ["committed", "public"]
    data = encode(program)
    assert encode(decode(data)) == data == encode(syurmy.assemble(disassemble(program)))
    private = encode(syurmy.assemble(c.COMMITTED.replace("committed", "private")))
    assert len(private) == len(data)
    changed = [(a, b) for a, b in zip(data, private, strict=True) if a != b]
    assert changed == [(2, 0)] * 3
    for at, (a, b) in enumerate(zip(data, private, strict=True)):
        if a != b:
            with pytest.raises(SyurmyError):
                decode(data[:at] + b"\3" + data[at + 1 :])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (".input x : i8[1] committed\n.output x committed\n halt", "committed input and a committed output"),
        ("".join(f".input x{i} : i8[1] committed\n" for i in range(17)) + " halt", "at most 16"),
        (".param w : i8[1] private = {1}\n halt", "public or committed"),
    ],
)
def test_what_cannot_be_declared(source: str, says: str) -> None:
    with pytest.raises(SyurmyError, match=says):
        syurmy.assemble(source)


def test_dtype_of_an_output_is_inferred() -> None:
    pk = c.keys(c.COMMITTED)
    assert pk.plan is not None
    assert [e.dtype for e in pk.plan.system.externals] == [DType.I16, DType.I16, DType.I64]
