"""RAM buffers of one execution: contents, the time of each row's last access, and the clock (protocol section 5).

Every row access, load or store, takes one tick; ticks count from 1, also within a vector access, in element order. So
in a store with equal row numbers the last one wins.
"""

from __future__ import annotations

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.errors import Trap
from syurmy.isa.exact import outside


class Memory:
    """One buffer. ``values``: int64 ``[rows, ...]``, copied. ``times``: tick of the last access, 0 for none yet."""

    def __init__(self, values: I64) -> None:
        self.values = np.array(values, dtype=np.int64)
        self.times = np.zeros(len(self.values), np.int64)
        self.clock = 0

    def access(self, rows: I64, new: I64 | None = None) -> tuple[I64, I64]:
        """Read (``new`` None) or overwrite rows, one after the other.

        ``rows``: ``[]`` or ``[k]``; ``new``: rows' shape followed by the row shape. Returns the contents before each
        access and the time each of these rows was last accessed. Raises ``Trap`` T150 for a row that does not exist.
        """
        check_rows(rows, len(self.values))
        flat = rows.reshape(-1)
        old = np.empty((len(flat), *self.values.shape[1:]), np.int64)
        read = np.empty(len(flat), np.int64)
        fresh = None if new is None else new.reshape(old.shape)
        for j, row in enumerate(flat.tolist()):
            self.clock += 1
            old[j] = self.values[row]
            read[j] = self.times[row]
            self.times[row] = self.clock
            if fresh is not None:
                self.values[row] = fresh[j]
        return old.reshape(rows.shape + self.values.shape[1:]), read.reshape(rows.shape)


def check_rows(rows: I64, count: int) -> None:
    """Trap on the first row number outside ``[0, count)``."""
    element = outside(rows, 0, count - 1)
    if element is not None:
        raise Trap(f"row {rows[element]} is outside 0 to {count - 1}", element=element, code="T150")
