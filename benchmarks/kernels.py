"""Time of each kernel per unit of work, beside its floor.

As a proof's process does, this one keeps what it frees, and the memory that the largest tree takes is written to by
another process before. Otherwise to commit to 2^20 entries took 18 to 530 new pages a run, 4 to 8 ns of system time an
entry instead of 1. Trees took none in either case: what differs from run to run there is when threads get their turn.

A floor is what a prototype of the kernel alone reached on a 2-core machine, with ``floor_threads`` threads. A kernel at
its floor has nothing left to gain but a better algorithm. Run alone: ``python -m benchmarks.kernels [--quick]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numba import njit

from benchmarks.measure import median, touch
from syurmy.host import keep_freed_memory
from syurmy.prover import lookup, sumcheck
from syurmy.prover.commitment import commit, stored_matrix
from syurmy.prover.field import U64, Ext, P
from syurmy.prover.kernels import pool
from syurmy.prover.kernels.lanes import kmul
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.kernels.ntt import encode
from syurmy.prover.kernels.target import VECTORS
from syurmy.prover.opening import Committed, prove_claims, prove_ladder
from syurmy.prover.opening import Row as Combined
from syurmy.prover.protocol.budget import Opened, Opening
from syurmy.prover.protocol.counts import Counts
from syurmy.prover.protocol.ladder import EqWeight
from syurmy.prover.protocol.merkle import hash_columns
from syurmy.prover.protocol.reed_solomon import MatrixShape, queries
from syurmy.prover.protocol.shapes import NOMINAL_BITS, choose_witness_shape, ladder
from syurmy.prover.protocol.soundness import Budget
from syurmy.prover.protocol.transcript import Sender, Transcript

RUNS = 5
LARGEST = 3 << 30  # bytes that this process takes at most, about
THREADS = pool.THREADS

_rng = np.random.default_rng(1)


def elements(*shape: int) -> U64:
    """Random elements of F."""
    return _rng.integers(0, P, shape, np.uint64)


@dataclass(frozen=True)
class Row:
    """``value`` per unit; ``floor`` in the same unit (lowest and highest measured), None where there is none."""

    kernel: str
    size: str
    value: float
    unit: str
    threads: int
    floor: tuple[float, float] | None = None
    floor_threads: int | None = None


@njit(nogil=True)
def _products(a, b, times):
    for _ in range(times):  # each pass depends on the one before: nothing is hoisted
        multiply_in_place(a[0], a[1], b[0], b[1])


@njit(nogil=True)
def multiply_in_place(x0, x1, y0, y1):
    for k in range(x0.shape[0]):
        x0[k], x1[k] = kmul(x0[k], x1[k], y0[k], y1[k])


def extension_product(times: int) -> Row:
    a, b = elements(2, 1024), elements(2, 1024)
    t = median(lambda: _products(a, b, times), RUNS)
    size = f"2^10 in cache, vectors: {VECTORS}"
    return Row("extension product", size, t / times / 1024 * 1e9, "ns", 1, (2.0, 2.3), 1)


def rounds(log: int) -> Row:
    """The batched sumcheck of one product of three tables."""
    tables = [elements(2, 1 << log) for _ in range(3)]
    prove = lambda: sumcheck.prove(Sender(Transcript()), "x", [sumcheck.Instance(Ext(1), tables)], log)  # noqa: E731
    t = median(prove, RUNS)
    return Row("sumcheck of three tables", f"2^{log} entries", t / (1 << log) * 1e9, "ns per entry", THREADS)


def ntt(log_cols: int, rows: int) -> Row:
    matrix = elements(1 << log_cols, rows)
    t = median(lambda: encode(matrix, 2), RUNS)
    per = t / (log_cols * matrix.size << 2) * 1e9
    size = f"2^{log_cols} columns × {rows} rows, rate 1/4"
    return Row("NTT", size, per, "ns per element and stage", THREADS, (0.7, 0.9), 2)


def column_hash(count: int) -> Row:
    columns = elements(count, 256)
    t = median(lambda: hash_columns(columns), RUNS)
    return Row("BLAKE3 of columns", "2 KiB each", columns.nbytes / t / 1e9, "GB/s", THREADS, (2.5, 2.8), 1)


def commitment(log: int) -> Iterator[Row]:
    """Committing to a witness and opening it."""
    shape = choose_witness_shape(log, lambda log_cols: 1 << (log - log_cols))
    flat, omega = elements(1 << log), elements(2, 1 << log)
    matrix = stored_matrix(flat, shape.log_cols)
    size = f"2^{log} entries, {shape.rows} × 2^{shape.log_cols}"
    t = median(lambda: commit(matrix, shape), RUNS)
    yield Row("commit", size, t / flat.size * 1e9, "ns per entry", THREADS, (50.0, 50.0), 2)

    committed = commit(matrix, shape)
    t = median(lambda: prove_claims(Sender(Transcript()), omega, flat, [], None), RUNS)
    yield Row("opening, sumcheck", size, t / flat.size * 1e9, "ns per entry", THREADS)

    def opened(label: str, shape: MatrixShape) -> Opened:
        return Opened(label, shape, queries(shape.rate, NOMINAL_BITS))

    levels = tuple((x, opened(f"level {i}", x.shape)) for i, x in enumerate(ladder(shape.cols)[1], 1))
    ways = Opening(Counts(), (opened("witness", shape),), levels, shape.cols, 1, Budget())
    row = elements(2, shape.cols)
    at = EqWeight(0, tuple(Ext(int(a), int(b)) for a, b in elements(shape.log_cols, 2)))
    matrices = [Committed(ways.matrices[0], committed)]
    t = median(lambda: prove_ladder(Sender(Transcript()), ways, matrices, [[Combined(row)]], [at]), RUNS)
    yield Row("opening, ladder", f"{shape.cols} columns, {len(levels)} levels", t * 1e3, "ms", THREADS)


def lookups(log: int) -> Iterator[Row]:
    """The tree over generic leaves, and filling them."""
    leaves = lookup.Leaves.ones(1 << log)
    den = leaves.denominators()[:, : leaves.used]
    den[:] = elements(*den.shape)
    t = median(lambda: lookup.prove_tree(Sender(Transcript()), leaves), RUNS)
    yield Row("LogUp-GKR", f"2^{log} leaves", t / leaves.used * 1e9, "ns per leaf", THREADS, (30.0, 40.0), 2)

    member = _rng.integers(0, 1 << 16, 1 << log, np.int64)
    t = median(lambda: lookup.fill_denominators(den, [member], (1 << log,), 1, Ext(3, 5), [Ext(7, 11)]), RUNS)
    yield Row("leaf denominators", f"2^{log} leaves, one member", t / leaves.used * 1e9, "ns per leaf", THREADS)


def weight_binding(side: int, dtype: type[np.signedinteger], floor: tuple[float, float] | None) -> Row:
    info = np.iinfo(dtype)
    integers = IntegerMatrix.of(_rng.integers(info.min, info.max, (side, side), dtype, endpoint=True))
    weights = elements(2, side)
    t = median(lambda: integers.bind(0, weights), RUNS)
    name = f"weights × field vector, {np.dtype(dtype).name}"
    return Row(name, f"{side} × {side}", t / side**2 * 1e9, "ns per weight", THREADS, floor, floor and 1)


def float_product(side: int) -> Row:
    """What the exact integer products of the VM run on; says what this machine can do."""
    x, y = _rng.standard_normal((2, side, side))
    t = median(lambda: x @ y, RUNS)
    rate = 2 * side**3 / t / 1e9
    return Row("float64 product (BLAS)", f"{side} × {side}", rate, "GFLOP/s", THREADS, (126.0, 126.0), 2)


def measure(quick: bool = False) -> Iterator[Row]:
    """All kernels; ``quick`` shrinks every size by 2^6, leaves out the largest tree (2^25 leaves, 2 GB) and is only
    good for seeing that it runs."""
    less = 6 if quick else 0
    touch(0 if quick else LARGEST)
    keep_freed_memory()
    yield extension_product(4096 >> less)
    yield ntt(14 - less, 1 << 8)
    yield column_hash(1 << (15 - less))
    yield from commitment(20 - less)
    for log in (18, 20, 22) if quick else (18, 20, 22, 25):
        yield from lookups(log - less)
    yield rounds(18 - less)
    yield weight_binding(4096 >> less // 2, np.int8, (0.75, 0.75))
    yield weight_binding(4096 >> less // 2, np.int16, None)
    yield float_product(2048 >> less // 2)


if __name__ == "__main__":
    print(json.dumps([asdict(row) for row in measure("--quick" in sys.argv[1:])]))
