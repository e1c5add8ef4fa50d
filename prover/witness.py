"""Values of the graph's tensors from a trace: the prover's view of a plan.

``Witness`` is callable on nodes (int64, the node's shape). Results of instructions are the trace's; columns follow
their hints; linear images are computed where someone asks for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from syurmy.isa.arrays import I64, Array
from syurmy.isa.builder import ConstraintSystem
from syurmy.isa.errors import InputError
from syurmy.isa.graph import Broadcast, Combine, Committed, IndexMap, Node, Public, Reshape, Table, Transpose
from syurmy.isa.trace import Trace

NO_ROW = -1


LONG = 1 << 12  # entries of a linear image that a kernel computes
MOST = 4  # terms that it takes


class Witness:
    """``compiled``: long linear images are a kernel's (whoever checks constraints alone compiles nothing)."""

    def __init__(self, system: ConstraintSystem, trace: Trace, compiled: bool = False) -> None:
        self.system = system
        self.trace = trace
        self.compiled = compiled
        self._values: dict[Node, I64] = {}
        self._rows: dict[Table, RowIndex] = {}
        for name, node in system.inputs.items():
            self._values[node] = self._per_input(trace.inputs[name])
        for name, param in system.params.items():
            # committed params keep their own dtype: they are read a constant number of times
            stored: Array = system.program.data[name]
            self._values[param] = stored[None]
        for pc, node in system.results.items():
            if node.origin == pc and not isinstance(node, Public):  # else it has its value from elsewhere
                self._values[node] = self.written(pc)
        for i, node in system.reveals:
            self._values[node] = _executions(trace.stacked(i), node)
        for node in system.publics:
            if node.source == "output":
                self._values[node] = self._per_input(trace.outputs[node.name])
        for external in system.externals:
            given = trace.inputs if external.source == "input" else trace.outputs
            self._values[external] = self._per_input(given[external.name])
        self._given = frozenset(self._values)

    def __call__(self, node: Node) -> I64:
        found = self._values.get(node)
        if found is None:
            found = self._values[node] = self._compute(node)
        return found

    def forget_images(self) -> None:
        """Let go of all but columns and what the trace says: linear images are computed again where they are asked for,
        and after the leaves hardly any is."""
        self._values = {n: v for n, v in self._values.items() if isinstance(n, Committed) or n in self._given}

    def moved(self, node: Node, dtype: type[np.signedinteger[Any]]) -> Array:
        """The values in a dtype that holds them all, not kept: where they are those of another tensor in other places
        (convolutions read each many times), only these take as much memory as int64 does."""
        if node in self._values or not isinstance(node, IndexMap | Reshape | Transpose | Broadcast):
            values: Array = self(node)
            return values if values.dtype.itemsize <= np.dtype(dtype).itemsize else values.astype(dtype)
        return node.forward([self.moved(n, dtype) for n in node.inputs])

    def written(self, instruction: int) -> I64:
        """What the trace says the instruction wrote, shape of its result's node."""
        kept = self.system.flow.kept[instruction]
        stacked = self.trace.stacked(instruction)
        chosen = stacked if len(kept) == len(stacked) else stacked[np.asarray(kept)]
        return _executions(chosen, self.system.results[instruction])

    def _per_input(self, values: object) -> I64:
        """Inputs and outputs of a batch have a leading axis of their own."""
        a = _int64(values)
        return a if self.trace.batch > 1 else a[None]

    def read_times(self, instruction: int) -> I64:
        """See ``isa.graph.Values``."""
        return np.stack(self.trace.read_times[instruction])

    def final(self, buffer: str) -> tuple[I64, I64]:
        """See ``isa.graph.Values``."""
        contents, times = zip(*self.trace.final[buffer], strict=True)
        return np.stack(contents), np.stack(times)

    def override(self, node: Node, values: I64) -> None:
        """Replace a column's values (the checker's tests forge witnesses with it)."""
        self._values[node] = values

    def _compute(self, node: Node) -> I64:
        if isinstance(node, Committed):
            if node.hint is None:
                raise InputError(f"column '{node.label}' of instruction {node.origin} has no value in this trace")
            return np.ascontiguousarray(np.broadcast_to(node.hint(_Wide(self)), node.shape), dtype=np.int64)
        if isinstance(node, Public):
            assert node.values is not None
            return node.values
        values = [self(n) for n in node.inputs]
        if self.compiled and isinstance(node, Combine) and node.size >= LONG and 0 < len(values) <= MOST:
            from syurmy.prover.kernels.place import combined

            if all(v.flags.c_contiguous for v in values):
                return combined(values, node.coefficients, node.const)
        return node.forward(values)

    def rows(self, table: Table, members: tuple[Node, ...]) -> I64:
        """Row of each tuple in the table, flat; ``NO_ROW`` where it has none."""
        if table not in self._rows:
            self._rows[table] = RowIndex(table)
        return self._rows[table].find([_int64(self(m)).reshape(-1) for m in members])

    def multiplicities(self) -> dict[Table, I64]:
        """How often each row is looked up. Raises ``InputError`` where a lookup has no row."""
        from syurmy.prover.kernels.place import count  # whoever checks constraints alone compiles nothing

        counts = {t: np.zeros(2**t.log_size, np.int64) for t in self.system.tables}
        for lk in self.system.lookups:
            # nearly all lookups are in ranges, whose row i is i
            rows = self(lk.members[0]) if lk.table.is_range else self.rows(lk.table, lk.members)
            if not count(rows, counts[lk.table]):
                raise InputError(
                    f"instruction {lk.origin}: '{lk.label}' is not in {lk.table.name}",
                    code="I190",
                    help="the trace does not satisfy the constraints; `syurmy-vm check` shows where",
                )
        return counts


class _Wide:
    """The witness with int64 values only: arithmetic on a param's own dtype would wrap around."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self.read_times = witness.read_times
        self.final = witness.final

    def __call__(self, node: Node) -> I64:
        return _int64(self._witness(node))


class RowIndex:
    """Finds tuples in a table. Tables whose leading columns count up in mixed radix are addressed directly."""

    def __init__(self, table: Table) -> None:
        self._size = 2**table.log_size
        self._columns = table.columns
        self._lo = [b[0] for b in table.bounds]
        self._widths = [b[1] - b[0] + 1 for b in table.bounds]
        self._sorted: I64 | None = None
        self._order: I64 | None = None
        if table.is_range:
            self._leading = 1
            return
        for leading in range(1, table.width + 1):
            keys = self._keys(table.columns[:leading])
            rows = int(keys[-1]) + 1  # a padded table repeats its last row
            if rows <= self._size and np.array_equal(keys, np.minimum(np.arange(self._size), rows - 1)):
                self._leading = leading
                return
        self._leading = table.width
        keys = self._keys(table.columns)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def _keys(self, columns: tuple[I64, ...] | list[I64]) -> I64:
        key = np.zeros(len(columns[0]), np.int64)
        for c, lo, width in zip(columns, self._lo, self._widths, strict=False):
            key = key * width + (c - lo)
        return key

    def find(self, members: list[I64]) -> I64:
        inside = np.ones(len(members[0]), dtype=np.bool_)
        for m, lo, width in zip(members, self._lo, self._widths, strict=True):
            inside &= (m >= lo) & (m < lo + width)
        clean = members if inside.all() else [np.where(inside, m, lo) for m, lo in zip(members, self._lo, strict=True)]
        key = self._keys(clean[: self._leading])
        if self._sorted is not None and self._order is not None:
            rows = self._order[np.minimum(np.searchsorted(self._sorted, key), self._size - 1)]
        else:
            inside &= key < self._size
            rows = np.where(inside, key, 0)
        for m, c in zip(clean, self._columns, strict=False):
            inside &= c[rows] == m
        return np.where(inside, rows, NO_ROW)


def _int64(a: object) -> I64:
    return np.asarray(a, dtype=np.int64, order="C")  # ascontiguousarray would give scalars an axis


def _executions(stacked: I64, node: Node) -> I64:
    """The trace's executions; one of them where the node says they are all the same."""
    out = stacked if len(stacked) == node.executions else stacked[:1]
    return _int64(out)
