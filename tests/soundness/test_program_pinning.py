"""Every program of programs/: what a cheating prover could commit in its place, and the proof of the honest run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import Verifier
from tests.soundness.forgeries import Host, with_wide_limbs

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
NAMES = sorted(p.stem for p in PROGRAMS.glob("*.tasm"))
LARGE = (
    "generate_text",
    "generate_text_ram",
    "interpreter",
)  # forged in the small by test_memory.py and test_macros.py
# how many seeds are tried until each constraint is seen at work
SMALL = {"bitwise": 4, "digits_mlp": 12, "life": 12, "rnn": 16}
# casts that cannot fail, as the masks before them leave few bits; intervals do not show it
IMPLIED = {"bitwise": [(7, "result"), (12, "result")]}


@cache
def host(name: str) -> Host:
    with np.load(PROGRAMS / f"{name}.inputs.npz") as file:
        inputs: dict[str, I64] = {k: v.astype(np.int64) for k, v in file.items()}
    return Host(syurmy.load(PROGRAMS / f"{name}.tasm"), inputs)


def test_the_walk_is_not_empty() -> None:
    assert SMALL.keys() < set(NAMES)
    assert len(NAMES) >= 6


@pytest.mark.parametrize("name", [n for n in NAMES if n not in LARGE])
def test_no_forgery_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host(name).refuse_all(monkeypatch, 1)


@pytest.mark.parametrize("name", SMALL)
def test_each_constraint_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_wide_limbs(monkeypatch)
    assert host.__wrapped__(name).refuse_all(monkeypatch, SMALL[name]) == IMPLIED.get(name, [])


@pytest.mark.parametrize("name", NAMES)
def test_proof(name: str) -> None:
    """The whole program proves and verifies; its outputs cannot be changed afterwards."""
    own = host(name)
    proof = prove(own.key, own.trace)
    verifier = Verifier(own.key.verifying_key)
    statement = verifier.verify(proof.data)
    public = {o.name for o in own.program.outputs if o.public}
    assert statement.outputs.keys() == public
    for k in public:
        assert np.array_equal(statement.outputs[k], own.trace.outputs[k])
    (start,) = (o for label, o, _ in proof.fields if label == "statement")
    for node in own.system.publics:
        old = int(own.witness(node).reshape(-1)[0])
        new = old + 1 if old < node.hi else old - 1
        forged = proof.data[:start] + new.to_bytes(8, "little", signed=True) + proof.data[start + 8 :]
        with pytest.raises(Rejected) as e:
            verifier.verify(forged)
        assert e.value.step in {"lookup", "contraction", "opening"}
        start += 8 * node.size
