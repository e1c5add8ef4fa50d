"""The report's dataflow graph where it has too many nodes to draw."""

from __future__ import annotations

import numpy as np
import pytest

import syurmy
from syurmy.prover.profile import Stopwatch, profile
from syurmy.report import By, graph
from syurmy.report.costs import Cost, grouped

TEXT = """
.macro twice(dst, src)
    add  %a, src, src
    cast dst, %a, i32
.endmacro
.input x : i32[4] private in 0..100
.output y public
    mov y, x
    repeat 3, t
        add  z, y[0:2], 1
        cast z, y, i32
        twice y, x
    end
    twice y, y
    twice z, y
    add y, y, z
    cast y, y, i32
    halt
"""


@pytest.fixture(scope="module")
def costs() -> tuple[syurmy.Program, list[Cost], dict[int, int]]:
    program = syurmy.assemble(TEXT)
    watch = Stopwatch()
    trace = syurmy.run(program, {"x": np.arange(4)}, listeners=[watch])
    found = grouped(profile(syurmy.setup(program)[0], trace, watch), By.instruction)
    return program, found, {r.instruction: k for k, c in enumerate(found) for r in c.rows if r.instruction is not None}


@pytest.mark.parametrize(
    ("most", "count", "said"),
    [
        (3000, 15, ""),
        (14, 14, "15 are shown as 14 boxes, one for each line"),
        (11, 11, "15 are shown as 11 boxes, one for each line"),
        (8, 7, "15 are shown as 7 boxes, one for each loop or line"),
        (3, 3, "15 are shown as 3 boxes of neighbours"),
    ],
)
def test_collapses_no_further_than_it_must(costs, most: int, count: int, said: str, monkeypatch) -> None:
    monkeypatch.setattr(graph, "MOST", most)
    monkeypatch.setattr(graph, "FEW", most)
    made = graph.described(*costs)
    assert (len(made["nodes"]), made["collapsed"]) == (count, said)
    held = [k for _, _, _, groups in made["nodes"] for k in groups]
    assert sorted(held) == sorted(set(costs[2].values())), "each group is in one box"
    assert all(0 <= i < count for e in made["edges"] for i in e)
    assert all(a != b for a, b in made["edges"])
    assert made["edges"]
    assert len({(x, y) for x, y, _, _ in made["nodes"]}) == count, "no box covers another"


def test_a_model_is_collapsed_by_the_paths_of_its_nodes(monkeypatch) -> None:
    names = ["Add /a/0/add", "Mul /a/0/mul", "Add /a/1/add", "Add /b/add", "Relu last"]
    costs = [Cost(name, "") for name in names]
    program = syurmy.assemble(".input x : i32[4] private\n.output y public\n" + "    relu y, x\n" * 4 + "    halt\n")
    for most, boxes in ((4, ["a/0", "Add /a/1/add", "Add /b/add", "Relu last"]), (3, ["a", "Add /b/add", "Relu last"])):
        monkeypatch.setattr(graph, "MOST", most)
        monkeypatch.setattr(graph, "FEW", most)
        made = graph.described(program, costs, {i: i for i in range(5)})
        assert [name for _, _, name, _ in made["nodes"]] == boxes
        assert made["collapsed"].endswith("part of the model")
