"""``python -m benchmarks.floors``: kernels over K, one thread, beside what their products and their bytes take alone.

A floor of products is that of the extension product on vectors in the first-level cache, one of bytes that of adding
two arrays which no cache holds, both measured here. The larger one bounds a kernel whose arrays are in memory; what is
over it is loads, sums and reductions. Times are the processor's, of the thread, the least of ``--runs``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.kernels import _products, elements
from benchmarks.measure import machine
from syurmy.prover.kernels import logup, mle, sumcheck
from syurmy.prover.layers import distances, run_length

CACHED, PASSES = 1024, 200  # entries of the product in cache, and how often


@dataclass(frozen=True)
class Case:
    """A kernel with its arguments: ``n`` items, of so many ``products`` over F and ``bytes`` that it moves each."""

    kernel: str
    item: str
    n: int
    products: float
    bytes: int
    work: Callable[[], object]


def cases(log: int) -> list[Case]:
    """Of 2^log leaves, entries, pairs."""
    n, words = 1 << log, (np.uint64(3), np.uint64(5))
    layer, above = elements(4, 2 * n + logup.PAD), np.empty((4, n + logup.PAD), np.uint64)
    inner = elements(2, run_length(log))
    a, b, w = elements(2, n), elements(2, n), np.empty((2, 2 * n), np.uint64)
    member = np.random.default_rng(1).integers(0, 1 << 16, (1, n))
    whole = np.array([n])

    def of(name: str, item: str, count: int, products: float, moved: int, kernel: Any, *args: Any) -> Case:
        return Case(name, item, count, products, moved, lambda: kernel(*args, 0, count))

    def tables(pairs: int) -> tuple[Any, Any]:
        return elements(2, max(1, pairs // inner.shape[1])), inner

    child, _, pair = distances(0, log - 1)
    two = distances(1, log - 2)
    bind, apart = distances(2, log - 3)[1:]
    rows, out = elements(8, n), np.empty((8, n // 2), np.uint64)
    ones = layer[:2].copy()
    return [
        of("fill", "leaf", n, 2, 24, logup.fill, w[0, :n], w[1, :n], member, whole, whole, elements(2, 3)),
        of("combine_ones", "node", n, 4, 64, logup.combine_ones, ones, run_length(log), above),
        of("combine", "node", n, 12, 96, logup.combine, layer, run_length(log), above),
        of("ones_round", "pair", n // 2, 16, 64, logup.ones_round, ones, child, 0, pair, *words, *words, False, ones,
           run_length(log), *tables(n // 2)),
        of("first_round", "pair", n // 2, 32, 128, logup.first_round, layer, child, pair, *words, *tables(n // 2)),
        of("second_round", "pair", n // 4, 64, 384, logup.second_round, layer, *two, *words, *words,
           *tables(n // 4), rows),
        of("next_round", "pair", n // 8, 56, 384, logup.next_round, rows, bind, apart, *words, *tables(n // 8), out),
        of("fold_first", "pair", n // 2, 4, 48, sumcheck.fold_first, a, *words, w, 0),
        of("eq_level", "entry", n, 4, 48, mle.eq_level, a, *words, w),
        of("multiply", "entry", n, 4, 48, mle.multiply, a, b, 1, w[:, :n].copy()),
        of("dot", "entry", n, 4, 32, mle.dot, a, b),
        of("dot_base", "entry", n, 2, 24, mle.dot_base, a, b[0].copy(), False),
    ]  # fmt: skip


def least(work: Callable[[], object], runs: int) -> float:
    """Seconds of this thread, after a run that does not count."""
    work()
    out = []
    for _ in range(runs):
        start = time.thread_time()
        work()
        out.append(time.thread_time() - start)
    return min(out)


def floors(log: int, runs: int) -> tuple[float, float]:
    """Seconds of a product over F, and of a byte."""
    a, b = elements(2, CACHED), elements(2, CACHED)
    product = least(lambda: _products(a, b, PASSES), runs) / (4 * CACHED * PASSES)
    x, y, z = elements(1 << log), elements(1 << log), np.empty(1 << log, np.uint64)
    return product, least(lambda: mle.add_flat(x, y, z, 0, len(x)), runs) / (3 * x.nbytes)


def table(log: int, runs: int) -> list[str]:
    product, byte = floors(log + 2, runs)
    lines = ["| kernel | products | bytes | floor of products, ns | of bytes, ns | measured, ns | over the larger |",
             "| --- | --: | --: | --: | --: | --: | --: |"]  # fmt: skip
    for c in cases(log):
        two, ns = (1e9 * c.products * product, 1e9 * c.bytes * byte), 1e9 * least(c.work, runs) / c.n
        said = f"`{c.kernel}`, per {c.item} | {c.products:g} | {c.bytes} | {two[0]:.1f} | {two[1]:.1f}"
        lines.append(f"| {said} | {ns:.1f} | {ns / max(two):.1f} |")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floors", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--log", type=int, default=20, help="leaves, entries: 2^LOG")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args(argv)
    about = machine()
    print(f"{about['cpu']}, {about['date']}, one thread, 2^{options.log} leaves or entries\n")
    print("\n".join(table(options.log, options.runs)))


if __name__ == "__main__":
    main()
