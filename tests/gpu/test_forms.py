"""The prover's kernels on a grid of threads give the bits that they give on the CPU, in either order of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from syurmy import gpu
from syurmy.gpu.emulator import Emulated, Emulator, NotEmulated
from syurmy.prover import layers, lookup
from syurmy.prover.field import Ext, P, ext_array
from syurmy.prover.kernels import blake3, compiled, matrix, moves, nibbles, ntt, opening, place, rounds, vectors
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.transcript import Sender, Transcript
from tests.gpu.common import on

pytestmark = pytest.mark.slow  # compiling
DRAWN = np.random.default_rng(7)


def field(*shape: int, draw: np.random.Generator = DRAWN) -> np.ndarray:
    """Random elements, with the ends of the range among them."""
    out = draw.integers(0, P, shape, dtype=np.uint64)
    out.reshape(-1)[:3] = 0, 1, P - 1
    return out


def ints(limit: int, dtype: type, *shape: int) -> np.ndarray:
    return DRAWN.integers(-limit, limit, shape).astype(dtype)


def up(a: np.ndarray) -> gpu.Array:
    return gpu.place(a.size).upload(a)


def transforms() -> Iterator[np.ndarray]:
    yield ntt.encode(up(M1), 2, TAIL1)
    yield ntt.encode(up(M2), 1)
    yield ntt.encode(up(M3), 3, TAIL3)


def hashes() -> Iterator[np.ndarray]:
    for m in MESSAGES:
        out = gpu.place(1).empty((len(m), 8), np.uint32)
        blake3.hash_into(up(m), bytes(range(32)), out)
        yield out


def binds() -> Iterator[np.ndarray]:
    yield INTEGERS[0].bind(1, WEIGHTS, gpu.place(1))
    yield INTEGERS[1].bind(3, WEIGHTS[:, :80], gpu.place(1))
    yield PACKED.bind(2, WEIGHTS[:, :60], gpu.place(1))


def counts() -> Iterator[np.ndarray]:
    for v in COUNTED:
        out = vectors.filled(gpu.place(1).empty(65), 3)
        for_ranges(moves.count_kernel, len(v), up(v), out)
        yield out


def placed() -> Iterator[np.ndarray]:
    """A column of two axes that change places, and products of weights."""
    lengths, strides, places = (np.array(x, np.int64) for x in ((70, 3), (1, 70), (4, 1)))
    matrix, weights = (vectors.zeros(shape, gpu.place(1)) for shape in (600, (2, 9000)))
    for_ranges(moves.place_kernel, COLUMN.size, up(COLUMN.reshape(-1)), lengths, strides, matrix, 9, places)
    yield matrix
    lengths, rows, columns, places = (np.array(x, np.int64) for x in ((14, 600), (1, 0), (0, 1), (640, 1)))
    factors = up(LONG[:, :14].copy()), rows, OTHER[:, :600].copy(), columns, *COEFFICIENTS[:, 5]
    for _ in range(2):
        for_ranges(moves.dense_kernel, 14 * 600, *factors, lengths, weights, 5, places)
    yield weights


def transcript(draw: np.random.Generator, rounds: int, words: int) -> list[Any]:
    """Constants, pads, labels and state of rounds, and where their messages go, after a first challenge."""
    out, text = field(rounds + 1, words + 2, draw=draw), draw.integers(0, 256, 70, np.uint8)
    state = up(draw.integers(0, 2**32, 8, np.uint32))
    return [field(rounds, 6, draw=draw), field(rounds, words, draw=draw), text, 40, state, up(out)]


def lookups() -> Iterator[np.ndarray]:
    """A small layer as a whole, and the last rounds of a larger one, with more pairs than a block has threads."""
    draw = np.random.default_rng(9)
    for first, log in ((0, 3), (0, 10), (1, 11), (2, 12)):
        shapes = (4, 2 << log), (8, 1 << log), (8, 1 << log), (2, 1 << (log - 1 - first))
        layer, v, w, eq = (up(field(*shape, draw=draw)) for shape in shapes)
        constants, pads, text, behind, state, out = transcript(draw, log, 4)
        sums, claim = vectors.zeros((log, 2, 2, 4), gpu.place(1)), up(field(4, draw=draw)[2:].copy())
        apart = np.array([layers.distances(i, log - i - 1) for i in range(log)])
        args = layer, v, w, apart, *LAMBDA, eq, sums, constants, pads, text, behind, state, claim, out
        for_ranges(rounds.lookup_rounds, 1, *args, first)
        yield from (out, claim)


def trees() -> Iterator[np.ndarray]:
    """Trees whose denominators are not kept: of ten runs, three of them with numerators that are not 1, and of less
    than one."""
    for used, others in ((5000, [(700, 1030), (3000, 3001)]), (300, [])):
        memory, draw = gpu.place(1), np.random.default_rng(used)
        members = [memory.upload(draw.integers(-9, 99, used).astype(np.int32))]
        leaves = lookup.Leaves.ones(used, memory, others, filling(members, used))
        for lo, hi in others:
            vectors.filled(leaves.num[lo:hi], 5)
        tree, sender = lookup.Tree.of(leaves), Sender(Transcript())
        point, num, den = lookup.prove_layers(sender, tree)
        yield np.frombuffer(sender.bytes(), np.uint64)
        yield ext_array([*point, num, den])


def filling(members: list[gpu.Array], used: int) -> Callable[[gpu.Array], None]:
    """Writes the denominators of one block."""
    factors = lookup.factors(1, Ext(3, 5), [Ext(7, 9)])
    return lambda den: lookup.fill_planes((den[0, :used], den[1, :used]), members, [used], [used], factors)


def products() -> Iterator[np.ndarray]:
    """Products of one to three tables, 2^10 entries or, of the last one, which comes in later, 2^8."""
    draw = np.random.default_rng(10)
    every = [[0, 1024, 0], [2048, 3072, 4096], [5120, 0, 0]]
    for degree, chosen, tables in ((3, [0, 1, 2], [2, 3, 1]), (2, [0, 2], [2, 1])):
        constants, pads, text, behind, state, out = transcript(draw, 9, 2 * degree)
        w, sums = up(field(2, 5120 + 256, draw=draw)), vectors.zeros((9, 2, 6), gpu.place(1))
        at, entered = np.array([every[k] for k in chosen]), np.full(9, len(chosen))
        entered[:2] -= 1
        work = w, at, np.array(tables), field(2, 3, draw=draw), degree, entered
        for_ranges(rounds.product_rounds, 1, *work, sums, constants, pads, text, behind, state, out, 0, 9)
        yield out


M1, TAIL1, M2, M3, TAIL3 = field(64, 11), field(70, 11), field(1 << 13, 1), field(1, 3), field(2, 3)
MESSAGES = [DRAWN.integers(0, 2**32, (37, w), dtype=np.uint32) for w in (1, 16, 17, 255, 256, 257, 512, 1100)]
INTEGERS = [
    matrix.IntegerMatrix.of(ints(100, np.int8, 4200, 300)),
    matrix.IntegerMatrix.of(ints(2**20, np.int32, 90, 17)),
]
COUNTED = ints(100, np.int8, 700), ints(70, np.int64, 700)
WEIGHTS, ROWS, POINTS, COEFFICIENTS = field(2, 4199), field(70, 45), field(200), field(2, 200)
COLUMN = ints(2**62, np.int64, 3, 70)
LAMBDA = field(4)[2:]
LONG, OTHER = field(2, 3000), field(2, 3000)
PACKED = matrix.IntegerMatrix.of(nibbles.pack(ints(8, np.int8, 70, 48)))
CASES: dict[str, Callable[[], Iterable[gpu.Array]]] = {
    "transform": transforms,
    "hash": hashes,
    "bind": binds,
    "powers": lambda: [opening.power_sum(POINTS, COEFFICIENTS, size, gpu.place(1)) for size in (1024, 64)],
    "transpose": lambda: [matrix.transpose(up(ROWS))],
    "count": counts,
    "place": placed,
    "map": lambda: [compiled.multiply(up(LONG), OTHER), compiled.outer(up(LONG[:, :70].copy()), OTHER[:, :9].copy())],
    "lookups": lookups,
    "trees": trees,
    "products": products,
    "sums": lambda: [np.array([x.a, x.b], np.uint64) for x in [compiled.dot(up(LONG), OTHER)]],
}


def found(name: str) -> list[np.ndarray]:
    """What a case gives on the selected backend."""
    return [gpu.download(a) for a in CASES[name]()]


@pytest.fixture(scope="module", params=[False, True], ids=["forwards", "backwards"])
def device(request: pytest.FixtureRequest) -> Emulator:
    return Emulator(backwards=request.param, checked=True)


@pytest.mark.parametrize("name", CASES)
def test_the_grid_gives_the_bits_of_the_cpu(name: str, device: Emulator) -> None:
    expected, cpu = found(name), gpu.current()
    device.launched.clear()
    gpu.select(on(device))
    try:
        there = found(name)
    finally:
        gpu.select(cpu)
    assert device.launched
    for e, f in zip(expected, there, strict=True):
        assert np.array_equal(e, f)


def test_what_a_tree_makes_anew_is_what_it_would_keep() -> None:
    members = [np.random.default_rng(300).integers(-9, 99, 300)]
    leaves = lookup.Leaves.ones(300)
    filling(members, 300)(leaves.denominators())
    sender = Sender(Transcript())
    lookup.prove_tree(sender, leaves)
    assert sender.bytes() == found("trees")[2].tobytes()


def test_columns_lie_where_the_cpu_places_them() -> None:
    matrix, weights = found("place")
    expected = np.zeros_like(matrix), np.zeros_like(weights)
    place.place(COLUMN, (1, 0), (128, 4), expected[0], 9)
    product = mle.scale(mle.outer(LONG[:, :14], OTHER[:, :600]), Ext(*map(int, COEFFICIENTS[:, 5])))
    expected[1][:, 5 : 5 + 14 * 640].reshape(2, 14, 640)[:, :, :600] = mle.add(product, product)
    assert np.array_equal(matrix, expected[0])
    assert np.array_equal(weights, expected[1])


class Recorder(Emulator):
    """Runs as the emulator does, and keeps what was launched and what it gave."""

    def __init__(self) -> None:
        super().__init__(checked=True)
        self.seen: list[tuple] = []

    def launch(self, kernel, blocks, threads, *args) -> None:
        before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        super().launch(kernel, blocks, threads, *args)
        self.seen.append((kernel, blocks, threads, before, [a.copy() for a in args if isinstance(a, np.ndarray)]))


@pytest.mark.parametrize(
    ("case", "name", "barriers"),
    [
        ("transform", "ntt_pass", 2),
        ("bind", "bind_limbs", 2),
        ("powers", "power_sum", 2),
        ("transpose", "transpose", 1),
        ("sums", "mle_dot", 2),
        ("lookups", "lookup_tail", 4),
        ("products", "product_tail", 4),
    ],
)
def test_each_barrier_is_needed(case: str, name: str, barriers: int) -> None:
    """Without any one of them a launch is refused, or gives other bits in one of the orders."""
    recorder, cpu = Recorder(), gpu.current()
    gpu.select(on(recorder))
    try:
        found(case)
    finally:
        gpu.select(cpu)
    (kernel,) = {k for k, *_ in recorder.seen if k.__name__ == name}
    launches = [s for s in recorder.seen if s[0] is kernel]
    assert Emulated(kernel).barriers == barriers

    def differs(mutant: Emulated, backwards: bool) -> bool:
        for _, blocks, threads, before, after in launches:
            args = [a.copy() if isinstance(a, np.ndarray) else a for a in before]
            mutant.run(*args, blocks=blocks, threads=threads, backwards=backwards)
            found = [a for a in args if isinstance(a, np.ndarray)]
            if any(not np.array_equal(a, b) for a, b in zip(found, after, strict=True)):
                return True
        return False

    for number in range(barriers):
        try:
            mutant = Emulated(kernel, without=number)
            assert differs(mutant, False) or differs(mutant, True), f"barrier {number} is not needed"
        except NotEmulated:
            continue


def test_what_has_no_array_on_the_device_runs_here() -> None:
    backend = on(Emulator())
    out: list[tuple[int, int]] = []
    assert backend.run(lambda x, lo, hi: out.append((lo, hi)), 9, (1,), 9) == [None]
    assert out == [(0, 9)]
