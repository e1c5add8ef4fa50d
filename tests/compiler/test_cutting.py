"""Where programs are cut: the cheapest places there are, by trying all of them."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

import syurmy
from syurmy.compiler.cutting import CAPS, chosen, crossing_cost, enough, measured, total_cost
from syurmy.isa.program import Program
from syurmy.isa.segments import Seams, cut
from syurmy.isa.types import DType, TensorType

WIDTHS = (40, 8, 40, 6, 30, 40, 12, 40)


def layers() -> Program:
    """Products of vectors that are wide and narrow in turn, with a skip connection."""
    lines = [".program layers", f".input x : i8[1, {WIDTHS[0]}] private", ".output y public"]
    draw = np.random.default_rng(5)
    code, last = [], "x"
    for k, (a, b) in enumerate(pairwise(WIDTHS)):
        values = str(draw.integers(-9, 10, (a, b)).tolist()).replace("[", "{").replace("]", "}")
        lines.append(f".param w{k} : i8[{a}, {b}] committed = {values}")
        code += [f"matmul a{k}, {last}, w{k}", f"rescale h{k}, a{k}, 8, i8"]
        last = f"h{k}"
        if k == 4:
            code.append("add k, h4, h4")
    return syurmy.assemble("\n".join([*lines, *code, f"mov y, {last}", "halt"]))


def cost(program: Program, at: tuple[int, ...]) -> tuple[int, int]:
    """The plain definition: the cost of what is taken in, and of the dearest segment."""
    m = measured(program)
    places = (0, *at, len(program.code) - 1)
    inner = {i.name for i in program.inputs}
    cross = [sum(crossing_cost(i.type) for i in p.inputs if i.name not in inner) for p in cut(program, at)]
    own = [
        int(m.cost[a:b].sum()) + sum(p.type.size for p in s.params)
        for a, b, s in zip(places, places[1:], cut(program, at), strict=False)
    ]
    return sum(cross), max(c + o for c, o in zip(cross, own, strict=True))


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_best_of_all_choices(count: int) -> None:
    program = layers()
    seams = Seams(program)
    m = measured(program)
    total = total_cost(m)
    every = {at: cost(program, at) for at in combinations(seams.positions, count - 1)}
    cap = next(c * total / count for c in CAPS if any(most <= c * total / count for _, most in every.values()))
    best = min(cross for cross, most in every.values() if most <= cap)
    found = every[chosen(program, count)]
    assert found[0] == best
    assert found[1] <= cap
    assert chosen(program, count) == chosen(program, count, seams)


def test_one_segment_is_no_cut() -> None:
    assert chosen(layers(), 1) == ()
    assert enough(layers()) == 1


def test_wide_intervals_cost_more() -> None:
    narrow, wide = (TensorType(DType.I64, (8,), 0, hi) for hi in (255, 2**40))
    assert crossing_cost(wide) == 3 * crossing_cost(narrow)


def test_no_fit_of_seconds_moves_a_cut() -> None:
    """Where a model is cut is part of its keys. Right values: with the seconds that estimates were fitted to on
    2026-11-28 the first would be (9,)."""
    assert [chosen(layers(), count) for count in (2, 3, 4)] == [(8,), (6, 12), (5, 8, 12)]
