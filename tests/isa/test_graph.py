"""Tables are what they hold: two that differ in a value anywhere are two, whatever their names and bounds say."""

import numpy as np

from syurmy.isa.graph import Table, range_table


def table(*columns: list[int]) -> Table:
    return Table("t", 2, ((0, 3),) * len(columns), tuple(np.array(c, np.int64) for c in columns))


def test_tables_are_compared_by_their_columns() -> None:
    a, b, c = table([0, 1, 2, 3], [0, 3, 3, 0]), table([0, 1, 2, 3], [0, 3, 3, 0]), table([0, 1, 2, 3], [0, 3, 2, 0])
    assert a == b
    assert hash(a) == hash(b)
    assert a != c
    assert len(dict.fromkeys([a, b, c])) == 2
    assert range_table(4) == range_table(4) != range_table(5)
    assert Table("range[4]", 4, ((0, 15),), (np.arange(16),)) != range_table(4)
