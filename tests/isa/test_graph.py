"""Tables are what they hold: two that differ in a value anywhere are two, whatever their names and bounds say."""

import numpy as np

from syurmy.isa.graph import Table, range_table
from syurmy.isa.program import Lut
from syurmy.isa.types import DType


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


def test_columns_that_count_upwards() -> None:
    assert table([0, 1, 2, 3], [-7, -6, -5, -4], [0, 1, 2, 2], [3, 2, 1, 0]).firsts == (0, -7, None, None)
    top = 2**63 - 1
    assert table([top - 1, top, -top - 1, -top]).firsts == (None,)  # which would count, were integers of 64 bits


def test_luts_are_what_they_hold() -> None:
    a = Lut("f", DType.I8, DType.I16, -1, (1, 0, 1))
    assert a == Lut("f", DType.I8, DType.I16, -1, np.array([1, 0, 1], np.int16))
    assert hash(a) == hash(Lut("f", DType.I8, DType.I16, -1, [1, 0, 1]))
    assert (a.values, a.hi, a.array.dtype, a.array.flags.writeable) == ((1, 0, 1), 1, np.int64, False)
    others = [("g", -1, (1, 0, 1)), ("f", 0, (1, 0, 1)), ("f", -1, (1, 0, 2)), ("f", -1, (1, 0))]
    assert all(Lut(name, DType.I8, DType.I16, lo, values) != a for name, lo, values in others)
