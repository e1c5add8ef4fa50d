"""Every macro of programs/lib/nn.tasm in a tiny instance: no forgery of its columns is accepted, and it is proven.

The macros are read from the file: one without an instance fails. Ranges are small, so that tables are small, too; one
instance of each kind of entry (saturated or not, at a floor or above it) is among the inputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.program import Program
from syurmy.prover.field import P
from syurmy.prover.keys import setup
from syurmy.prover.protocol.key import CLEAR
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify
from tests.isa.forgery import Forger
from tests.soundness.forgeries import Host, Moved, unit, with_wide_limbs

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
SEEDS = 8  # tried until each constraint is seen at work
IMPLIED = {
    "softmax": [(6, "result against second")],  # a sum of powers cannot be below the floor: one of them is the floor
    "attention": [(23, "result against second")],
    "layernorm": [(7, "result")],  # the range of a root matters only where squares could wrap around
}
LIBRARY = PROGRAMS / "lib" / "nn.tasm"
MACROS = re.findall(r"^\.macro\s+(\w+)\(", LIBRARY.read_text(), re.MULTILINE)


@dataclass(frozen=True)
class Instance:
    """``inputs``: type and bounds, values; ``params``: the same, committed. The macro writes y."""

    call: str
    inputs: dict[str, tuple[str, Any]]
    params: dict[str, tuple[str, Any]]
    expected: Any


SMALL_EXP = [round(32767 * 2.0**x) for x in range(-14, 1)]  # of -14..0
X2 = [[3, -4]]
EYE = [[1, 0], [0, 1]]
IMAGE = [[[3, -4], [7, 1]]]

INSTANCES = {
    "linear": Instance(
        "linear y, x, w, b, 1",
        {"x": ("i8[1, 2] private in -8..7", X2)},
        {"w": ("i16[2, 2]", [[3, 30000], [-1, -30000]]), "b": ("i32[2]", [5, 7])},
        [[9, 32767]],
    ),
    "conv": Instance(
        "conv y, x, w, b, 1, shift=2, pad=1, stride=2",
        {"x": ("i8[1, 1, 2, 2] private in -8..7", [IMAGE])},
        {"w": ("i16[1, 1, 2, 2]", [[[[1, 2], [3, -1]]]]), "b": ("i32[1]", [1])},
        [[[[0, -3], [4, 1]]]],
    ),
    "sum_pool": Instance("sum_pool y, x", {"x": ("i8[1, 2, 2] private in -8..7", IMAGE)}, {}, [[[7]]]),
    "avg_pool": Instance("avg_pool y, x", {"x": ("i8[1, 2, 2] private in -8..7", IMAGE)}, {}, [[[2]]]),
    "max_pool": Instance(
        "max_pool y, x", {"x": ("i8[2, 2, 2] private in -8..7", [*IMAGE, [[5, 6], [2, -8]]])}, {}, [[[7]], [[6]]]
    ),
    "softmax": Instance("softmax y, x, tiny, bits=4", {"x": ("i8[1, 2] private in -7..7", X2)}, {}, [[30719, 240]]),
    "layernorm": Instance(
        "layernorm y, x, g, b, 2, 92682, floor=3, shift=12",
        {"x": ("i8[2, 2] private in -8..7", [[3, -4], [5, 5]])},
        {"g": ("i16[2]", [4096, -4096]), "b": ("i32[2]", [0, 4096])},
        None,
    ),
    "gelu": Instance("gelu y, x, steps", {"x": ("i8[1, 2] private in -8..7", X2)}, {}, [[3, 0]]),
    "split_heads": Instance(
        "split_heads y, x, 2, 2, 1", {"x": ("i8[2, 2] private in -8..7", [[1, 2], [3, 4]])}, {},
        [[[1], [3]], [[2], [4]]],
    ),
    "join_heads": Instance(
        "join_heads y, x, 2, 2, 1", {"x": ("i8[2, 2, 1] private in -8..7", [[[1], [3]], [[2], [4]]])}, {},
        [[1, 2], [3, 4]],
    ),
    "attention": Instance(
        "attention y, x, wq, bq, wk, bk, wv, bv, wo, bo, 2, 1, 1, shift=1, score=2, exp=tiny",
        {"x": ("i8[2, 1] private in -3..3", [[-3], [2]])},
        {f"{k}{p}": (t, v) for p in "qkvo" for k, t, v in (("w", "i16[1, 1]", [[2]]), ("b", "i32[1]", [1]))},
        None,
    ),
}  # fmt: skip


def instance(name: str) -> tuple[Program, dict[str, I64]]:
    """The program of one call, and its inputs."""

    def braced(values: Any) -> str:
        return "{" + ", ".join(map(braced, values)) + "}" if isinstance(values, list) else str(values)

    case = INSTANCES[name]
    exp = ", ".join(map(str, SMALL_EXP))
    steps = ", ".join(str(max(x, 0)) for x in range(-8, 8))
    lines = ['.include "lib/nn.tasm"', f".lut tiny : i32 -> i16 in -14..0 = {{{exp}}}"]
    lines += [f".lut steps : i8 -> i8 in -8..7 = {{{steps}}}"]
    lines += [f".input {k} : {t}" for k, (t, _) in case.inputs.items()]
    lines += [f".param {k} : {t} committed = {braced(v)}" for k, (t, v) in case.params.items()]
    program = syurmy.assemble("\n".join([*lines, ".output y public", case.call, "halt"]), folder=PROGRAMS)
    return program, {k: np.array(v, np.int64) for k, (_, v) in case.inputs.items()}


def test_every_macro_has_an_instance() -> None:
    assert len(MACROS) >= 11
    assert set(MACROS) == INSTANCES.keys()
    assert all(case.call.split()[0] == name for name, case in INSTANCES.items())


@pytest.mark.parametrize("name", MACROS)
def test_macro_is_proven(name: str) -> None:
    program, inputs = instance(name)
    trace = syurmy.run(program, inputs)
    assert syurmy.check(program, trace) == []
    if INSTANCES[name].expected is not None:
        assert trace.outputs["y"].tolist() == INSTANCES[name].expected
    key = setup(program, CLEAR)
    assert np.array_equal(verify(key.verifying_key, prove(key, trace).data).outputs["y"], trace.outputs["y"])


@pytest.mark.parametrize("name", MACROS)
def test_no_forgery_is_accepted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, inputs = instance(name)
    forger = Forger(program, inputs, entries=2)
    assert forger.accepted(forger.mutations()) == []
    assert forger.accepted(forger.solved_pairs()) == []
    Host(program, inputs).refuse_all(monkeypatch, 1)


@pytest.mark.parametrize("name", MACROS)
def test_each_constraint_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_wide_limbs(monkeypatch)
    assert Host(*instance(name)).refuse_all(monkeypatch, SEEDS) == IMPLIED.get(name, [])


@pytest.mark.parametrize("name", ["linear", "max_pool", "softmax"])
def test_evaluators_agree(name: str) -> None:
    """The polynomial evaluation of forgeries against the plain one."""
    program, inputs = instance(name)
    forger, host = Forger(program, inputs), Host(program, inputs)
    assert [c.label for c in forger.system.columns] == [c.label for c in host.system.columns]
    rng = np.random.default_rng(2)
    sizes = set()
    for _ in range(60):
        i, j = (int(x) for x in rng.choice(len(host.system.columns), 2, replace=False))
        steps = [int(rng.choice([1, -1, 2**16, 2**40, P - 7, (P + 1) // 2])) for _ in range(2)]
        moves, columns = [], {}
        for k, step in zip((i, j), steps, strict=True):
            ours, theirs = host.system.columns[k], forger.system.columns[k]
            at = int(rng.integers(ours.size))
            moves.append(unit(ours, at))
            columns[theirs] = forger.changed(theirs, at, int(forger.base[theirs].reshape(-1)[at]) + step)[theirs]
        failed = Moved(host, moves).failed(steps)
        assert failed == forger.failed(columns)
        sizes.add(len(failed))
    assert len(sizes) > 1
