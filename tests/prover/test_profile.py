"""Costs by instruction add up to the proof's totals, and go to the instructions that cause them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import syurmy
from syurmy import gpu
from syurmy.assembler import assemble
from syurmy.inputs import beside, of_program, read
from syurmy.isa.graph import Table
from syurmy.prover.profile import PHASE, Profile, Row, Stopwatch, phase_of, profile, recording, shares
from syurmy.report import By
from syurmy.report.costs import chrome_trace, grouped

LOOP = """
.program loop
.input x : i16[8] private
.param w : i16[8] committed = {1, 2, 3, 4, 5, 6, 7, 8}
.output y public
    dot s, x, w
    rescale y, s, 1, i32
    repeat 5
        rescale t, y, 2, i16
        add u, t, s
        rescale y, u, 1, i32
    end
    mov z, s
    halt
"""


def measured(text: str, inputs: dict[str, np.ndarray]) -> Profile:
    program = assemble(text)
    watch = Stopwatch()
    trace = syurmy.run(program, inputs, listeners=[watch])
    key, _ = syurmy.setup(program)
    return profile(key, trace, watch)


@pytest.fixture(scope="module")
def loop() -> Profile:
    return measured(LOOP, {"x": np.arange(8)})


def by_name(found: Profile, name: str) -> list[Row]:
    return [r for r in found.rows if r.name == name]


def test_rows_add_up_to_the_proof(loop: Profile) -> None:
    report, rows = loop.report, loop.rows
    assert sum(r.leaves for r in rows) == report.leaves
    assert sum(r.bytes for r in rows) == report.proof_bytes == len(loop.proof.data)
    params = [r for r in rows if r.name.startswith("param ")]
    assert sum(r.true for r in rows if r not in params) == report.committed_entries
    for phase in ("commit", "lookup", "contraction", "opening"):
        assert sum(r.seconds.get(phase, 0.0) for r in rows) == pytest.approx(report.seconds[phase])


@pytest.mark.parametrize(
    "name",
    ["binary_search", *(pytest.param(name, marks=pytest.mark.slow) for name in ("digits_mlp", "hash_map", "kmeans"))],
)
def test_programs_with_branches_and_memory_add_up(name: str) -> None:
    path = Path("programs") / f"{name}.tasm"
    program = syurmy.load(path)
    watch = Stopwatch()
    trace = syurmy.run(program, read(beside(path), of_program(program)), listeners=[watch])
    found = profile(syurmy.setup(program)[0], trace, watch)
    assert sum(r.leaves for r in found.rows) == found.report.leaves
    assert sum(r.bytes for r in found.rows) == found.report.proof_bytes
    for by in By:
        assert sum(c.sum("leaves") for c in grouped(found, by)) == found.report.leaves
    assert sum(r.executions for r in found.rows) == len(trace.path)


def test_costs_lie_where_they_are_caused(loop: Profile) -> None:
    (dot,) = by_name(loop, "dot")
    assert dot.work > 0
    assert dot.leaves == 0
    _, first, second = by_name(loop, "rescale")
    assert first.executions == second.executions == 5
    assert first.leaves > 0
    tables = [r for r in loop.rows if r.name.startswith("table range[")]
    assert tables
    assert all(r.leaves == r.entries == 2 ** int(r.name[12:-1]) for r in tables)
    assert by_name(loop, "param w")[0].entries >= 8
    assert not by_name(loop, "mov")[0].bytes


def test_what_is_counted_without_padding_is_what_the_system_says(loop: Profile) -> None:
    from syurmy.prover.protocol.plan import Plan

    plan = Plan.of(assemble(LOOP))
    expected = sum(b.true_size for b in plan.blocks if not isinstance(b.source, Table))
    assert sum(r.used for r in loop.rows if not r.name.startswith("table ")) == expected


def test_every_field_of_a_proof_belongs_to_a_phase(loop: Profile) -> None:
    phases = {phase_of(label) for label, _, _ in loop.proof.fields}
    assert phases == {"statement", "lookup", "contraction", "opening"}
    assert phase_of("witness root") == "statement"
    assert phase_of("witness path") == "opening"


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(sum))
def test_shares_are_whole_and_fair(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert sum(parts) == total
    for part, w in zip(parts, weights, strict=True):
        assert abs(part - total * w / sum(weights)) < 1 + 1e-6 * total


def test_the_timeline_covers_the_prover_and_leaves_the_backend_as_it_was(loop: Profile) -> None:
    assert gpu.current().name == "cpu"
    phases = [p for p in loop.pieces if p.thread == PHASE]
    assert [p.name for p in phases] == ["execute", "plan", "commit", "lookup", "contraction", "opening"]
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(phases))
    kernels = [p for p in loop.pieces if p.thread != PHASE]
    assert kernels
    assert all(phases[1].start <= k.start <= k.end <= phases[-1].end for k in kernels)
    with pytest.raises(RuntimeError), recording():
        raise RuntimeError
    assert gpu.current().name == "cpu"


def test_the_trace_is_chromes_format(loop: Profile) -> None:
    events = json.loads(chrome_trace(loop.pieces))["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    spans = [e for e in events if e["ph"] == "X"]
    assert len(spans) == len(loop.pieces)
    assert all(e["dur"] >= 0 and e["tid"] in names for e in spans)
    assert PHASE in names.values()
