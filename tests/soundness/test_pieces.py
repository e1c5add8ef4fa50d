"""Lookups that are cut into pieces: every piece is checked, both verifiers cut alike, and no other cut passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa import pieces
from syurmy.isa.graph import Lookup, Node
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol import plan
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover, prove
from syurmy.prover.verifier.verify import Verifier
from tests.reference_verifier import layout
from tests.reference_verifier.verify import verify as second
from tests.soundness import common as c
from tests.soundness.memory_programs import named
from tests.soundness.test_cheating import says

SEVEN = """
.input x : i8[2, 7] private in 0..7
.output s public
    sum s, x
    halt
"""
HONEST = np.arange(14).reshape(2, 7) % 8
LOOP = """
.input x : i16[3, 5] private
.output y public
    rescale t, x, 1, i16
    repeat 3
        rescale t, t, 1, i16
    end
    add y, t, x
    halt
"""


IMAGE = """
.input x : i8[2, 3, 5] private
.param w : i8[4, 2, 1, 1] committed = {{{{1}}, {{2}}}, {{{3}}, {{-1}}}, {{{2}}, {{-3}}}, {{{1}}, {{0}}}}
.output y public
    conv2d y, x, w
    rescale y, y, 3, i8, lo=0
    max y, y, 7
    halt
"""
ROWS = """
.input x : i8[3, 5] private
.input z : i8[5, 3] private
.output y public
    matmul y, x, z
    rescale y, y, 4, i8
    halt
"""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every lookup whose padding allows it is cut, however small."""
    monkeypatch.setattr(pieces, "price", lambda length: 0)
    monkeypatch.setattr(layout, "price", lambda length: 0)
    pieces.cut.cache_clear()
    pieces.laid.cache_clear()
    yield
    pieces.cut.cache_clear()
    pieces.laid.cache_clear()


class Counted(c.Forged):
    """Counts the entries of the plan's pieces."""

    plan: plan.Plan

    def multiplicities(self) -> Any:
        counts = {t: np.zeros(2**t.log_size, np.int64) for t in self.system.tables}
        for b in self.plan.blocks:
            if isinstance(b.source, Lookup):
                assert b.piece is not None
                found = b.piece.of(self(b.source.members[0])).astype(np.int64).reshape(-1)
                counts[b.source.table] += np.bincount(found[found < 8], minlength=8)
        return counts


def verdict(entries: np.ndarray, key: ProvingKey | None = None) -> str:
    """What the verifier says of a proof with these entries of x and a true sum of them."""
    key = key or setup(syurmy.assemble(SEVEN), CLEAR)
    trace = syurmy.run(key.program, {"x": np.zeros_like(entries)})
    says(s=int(entries.sum()))(trace)
    liar = Prover(key, trace)
    liar.witness = Counted(liar, trace, {named(liar.plan, "input x"): entries.astype(object)[None]})
    liar.witness.plan = liar.plan
    try:
        Verifier(key.verifying_key).verify(liar.run().data)
    except Rejected as e:
        return e.step
    return "accepted"


def test_every_entry_of_every_piece_is_checked(cut: None) -> None:
    key = setup(syurmy.assemble(SEVEN), CLEAR)
    assert key.plan is not None
    assert [b.piece.true for b in key.plan.blocks if b.piece] == [(4, 1, 2), (2, 1, 2), (1, 1, 2)]
    assert verdict(HONEST, key) == "accepted"
    for at in np.ndindex(2, 7):
        lie = HONEST.copy()
        lie[at] = 8
        assert verdict(lie, key) == "lookup", at


def test_every_entry_of_joined_axes_is_checked(cut: None) -> None:
    """3 by 7 as 16 + 4 + 1 entries."""
    key = setup(syurmy.assemble(SEVEN.replace("[2, 7]", "[3, 7]")), CLEAR)
    assert key.plan is not None
    assert [b.piece.true for b in key.plan.blocks if b.piece] == [(16, 1), (4, 1), (1, 1)]
    honest = np.arange(21).reshape(3, 7) % 8
    assert verdict(honest, key) == "accepted"
    for at in np.ndindex(3, 7):
        lie = honest.copy()
        lie[at] = 8
        assert verdict(lie, key) == "lookup", at


@pytest.mark.parametrize("left_out", range(3))
def test_no_piece_can_be_left_out(left_out: int, cut: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*members: Node) -> list[pieces.Piece]:
        found = pieces.pieces(*members)
        return [p for i, p in enumerate(found) if len(found) < 3 or i != left_out]

    lie = HONEST.copy()
    lie[1, [0, 4, 6][left_out]] = 8
    assert verdict(lie) == "lookup"
    monkeypatch.setattr(plan, "pieces", without)
    assert verdict(lie) == "accepted"


@pytest.mark.parametrize("hiding", [False, True])
@pytest.mark.parametrize("source", [SEVEN, LOOP, IMAGE, ROWS, c.DENSE, c.ARGMAX])
def test_both_verifiers_cut_alike(source: str, hiding: bool, cut: None) -> None:
    program = syurmy.assemble(source)
    key = setup(program, None if hiding else CLEAR)
    assert key.plan is not None
    assert any(b.piece and not b.piece.whole for b in key.plan.blocks)
    rng = np.random.default_rng(1)
    given = {i.name: rng.integers(i.type.lo, i.type.hi + 1, i.type.shape) for i in program.inputs}
    proof = prove(key, syurmy.run(program, given))
    assert Verifier(key.verifying_key).verify(proof.data).soundness_bits >= 100
    second(key.verifying_key.to_bytes(), proof.data)


def test_another_cut_is_refused(cut: None, monkeypatch: pytest.MonkeyPatch) -> None:
    key = setup(syurmy.assemble(SEVEN), CLEAR)
    proof = prove(key, syurmy.run(key.program, {"x": HONEST}))
    whole = pieces._split
    monkeypatch.setattr(pieces, "_split", lambda d, slices, price: whole(8 if d == 7 else d, slices, price))
    pieces.cut.cache_clear()
    with pytest.raises(Rejected):
        Verifier(setup(syurmy.assemble(SEVEN), CLEAR).verifying_key).verify(proof.data)
