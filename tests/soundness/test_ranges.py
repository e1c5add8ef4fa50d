"""Range checks by limbs of any width: honest values pass, everything else fails, and every lookup is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa import builder
from syurmy.isa.graph import Node
from syurmy.isa.ranges import Limbs
from syurmy.prover.field import P
from syurmy.prover.keys import setup
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover
from syurmy.prover.verifier.verify import Verifier
from tests.soundness import common as c
from tests.soundness.memory_programs import named
from tests.soundness.test_cheating import says

FOUR = """
.input x : i8[4] private in 0..7
.output s public
    sum s, x
    halt
"""
QUARTER = pow(4, -1, P)
LIES = {
    "an integer beyond": [8, 0, 0, 0],
    "an integer far beyond": [31, 0, 0, P - 23],
    "negative": [P - 1, 7, 2, 0],
    "a fraction that is in the table when scaled": [31 * QUARTER % P, QUARTER, 0, 0],
    "a half": [16 * pow(2, -1, P) % P + P // 2 + 1, P - P // 2 - 1, 0, 0],
}
WIDTHS = [Limbs(5), Limbs(5, frozenset({3})), Limbs(3), Limbs(2), Limbs(2, frozenset({1})), Limbs(1)]


def verdict(columns: list[int], total: int) -> str:
    """What the verifier says of a proof with these entries of x, whose sum is claimed to be ``total``."""
    program = syurmy.assemble(FOUR)
    key = setup(program, CLEAR)
    trace = syurmy.run(program, {"x": np.array([1, 2, 3, 2])})
    says(s=total)(trace)
    liar = Prover(key, trace)
    liar.witness = c.Forged(liar, trace, {named(liar.plan, "input x"): np.array(columns, dtype=object)[None]})
    try:
        Verifier(key.verifying_key).verify(liar.run().data)
    except Rejected as e:
        return e.step
    return "accepted"


@pytest.mark.parametrize(
    "widths", [Limbs(5), Limbs(5, frozenset({3})), Limbs(3), Limbs(2), Limbs(2, frozenset({1})), Limbs(1)]
)
@pytest.mark.parametrize("lie", LIES)
def test_entries_out_of_range_are_refused(lie: str, widths: Limbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "limbs_for", lambda checks: widths)
    assert verdict([1, 2, 3, 2], 8) == "accepted"
    entries = LIES[lie]
    assert sum(entries) % P == 8
    assert verdict(entries, 8) == "lookup"


@pytest.mark.parametrize(("label", "lie"), [("input x below 2^3", "an integer beyond"),
                                            ("input x", "a fraction that is in the table when scaled")])  # fmt: skip
def test_both_lookups_of_a_narrow_limb_are_needed(label: str, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "limbs_for", lambda checks: Limbs(5))
    assert verdict(LIES[lie], 8) == "lookup"
    lookup = builder.Builder.lookup

    def without(self: builder.Builder, table: Any, members: list[Node], name: str) -> None:
        if name != label:
            lookup(self, table, members, name)

    monkeypatch.setattr(builder.Builder, "lookup", without)
    assert verdict(LIES[lie], 8) == "accepted"


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 11, 16, 20])
def test_programs_prove_with_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The width is a matter of cost alone."""
    program = syurmy.load("programs/digits_mlp.tasm")
    path = "programs/digits_mlp.inputs.npz"
    trace = syurmy.run(program, dict(np.load(path)))
    for own in (frozenset(), frozenset(range(1, width))):
        monkeypatch.setattr(builder, "limbs_for", lambda checks, own=own: Limbs(width, own))
        key, verifying_key = syurmy.setup(program)
        statement = syurmy.verify(verifying_key, syurmy.prove(key, trace).to_bytes())
        for name, value in trace.outputs.items():
            assert np.array_equal(statement.outputs[name], value)
        assert not syurmy.check(program, trace)
