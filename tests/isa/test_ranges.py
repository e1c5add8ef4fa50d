"""The choice of limb widths against its definition, by counting what a system really has."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syurmy.assembler import assemble
from syurmy.isa import builder
from syurmy.isa.pieces import leaves
from syurmy.isa.ranges import BLOCK, WIDEST, Limbs, limbs_for
from syurmy.isa.system import build

CHECKS = st.lists(st.tuples(st.integers(0, 22).map(lambda k: 2**k), st.integers(1, 61)), max_size=12)


def cost(checks: list[tuple[int, int]], limbs: Limbs) -> int:
    """Leaves, entries and blocks, limb by limb."""
    out, tables = 0, set()
    for n, bits in checks:
        left = bits
        while left > 0:
            width = min(left, limbs.width)
            out += (n + BLOCK) * (1 if limbs.tabled(width) else 2)  # lookups
            tables.add(width if limbs.tabled(width) else limbs.width)
            left -= width
        out += (n + BLOCK) * (-(-bits // limbs.width) - 1)  # columns
    return out + sum(2 ** (t + 1) + 2 * BLOCK for t in tables)


def every(width: int, checks: list[tuple[int, int]]) -> list[Limbs]:
    tops = sorted({bits - width * (-(-bits // width) - 1) for _, bits in checks} - {width})
    owned = [frozenset(t for k, t in enumerate(tops) if mask >> k & 1) for mask in range(1 << len(tops))]
    return [Limbs(width, own) for own in owned if 1 not in tops or 1 in own]  # bits always have their table


@given(CHECKS)
def test_nothing_costs_less_than_what_is_chosen(checks: list[tuple[int, int]]) -> None:
    found = limbs_for(checks)
    assert 1 <= found.width <= WIDEST
    chosen = cost(checks, found)
    for width in range(1, WIDEST + 1):
        tops = {bits - width * (-(-bits // width) - 1) for _, bits in checks} - {width}
        if len(tops) <= 6:
            assert chosen <= min(cost(checks, limbs) for limbs in every(width, checks))


@given(CHECKS, st.randoms())
def test_the_order_of_checks_does_not_matter(checks: list[tuple[int, int]], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(checks)
    random.shuffle(shuffled)
    assert limbs_for(checks) == limbs_for(shuffled)


def test_little_gets_a_small_table_and_much_a_large_one() -> None:
    assert limbs_for([]).width == 1
    assert limbs_for([(16, 8)]) == Limbs(8) or limbs_for([(16, 8)]).width < 8
    assert limbs_for([(2**22, 18)]).width == 18
    assert limbs_for([(2**22, 40)]).width == 20
    assert limbs_for([(64, 16)] * 20).width <= 8


@pytest.mark.parametrize("shape", ["8", "300, 40", "3, 5"])
def test_a_program_has_what_was_counted(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[tuple[int, int]], Limbs]] = []

    def noted(checks: Iterable[tuple[int, int]]) -> Limbs:
        given = list(checks)
        seen.append((given, limbs_for(given)))
        return seen[-1][1]

    monkeypatch.setattr(builder, "limbs_for", noted)
    system = build(assemble(f".input x : i32[{shape}] private\n.output y public\n    rescale y, x, 9, i16\n    halt\n"))
    ((checks, limbs),) = seen
    ranges = [leaves(*lk.members) for lk in system.lookups if lk.table.is_range]
    columns = [leaves(c) for c in system.columns if " limb " in c.label]
    tables = {t.log_size for t in system.tables if t.is_range}
    found = (
        sum(ranges) + sum(columns) + BLOCK * (len(ranges) + len(columns)) + sum((2 << t) + 2 * BLOCK for t in tables)
    )
    assert found == cost(checks, limbs)
