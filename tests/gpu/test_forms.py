"""The prover's kernels on a grid of threads give the bits that they give on the CPU, in either order of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from syurmy import gpu
from syurmy.gpu.emulator import Emulated, Emulator, NotEmulated
from syurmy.gpu.grid import Grid
from syurmy.prover.field import P
from syurmy.prover.kernels import blake3, compiled, grid, matrix, ntt, opening, place

pytestmark = pytest.mark.slow  # compiling
DRAWN = np.random.default_rng(7)


def field(*shape: int) -> np.ndarray:
    """Random elements, with the ends of the range among them."""
    out = DRAWN.integers(0, P, shape, dtype=np.uint64)
    out.reshape(-1)[:3] = 0, 1, P - 1
    return out


def ints(limit: int, dtype: type, *shape: int) -> np.ndarray:
    return DRAWN.integers(-limit, limit, shape).astype(dtype)


def transforms() -> Iterator[np.ndarray]:
    yield ntt.encode(M1, 2, TAIL1)
    yield ntt.encode(M2, 1)
    yield ntt.encode(M3, 3, TAIL3)


M1, TAIL1, M2, M3, TAIL3 = field(64, 11), field(70, 11), field(1 << 13, 1), field(1, 3), field(2, 3)
MESSAGES = [DRAWN.integers(0, 2**32, (37, w), dtype=np.uint32) for w in (1, 16, 17, 255, 256, 257, 512, 1100)]
INTEGERS = [
    matrix.IntegerMatrix.of(ints(100, np.int8, 4200, 300)),
    matrix.IntegerMatrix.of(ints(2**20, np.int32, 90, 17)),
]
WEIGHTS, ROWS, POINTS, COEFFICIENTS = field(2, 4199), field(70, 45), field(200), field(2, 200)
COLUMN = ints(2**62, np.int64, 3, 70)


def placed() -> list[np.ndarray]:
    matrix, weights = np.zeros(600, np.uint64), np.zeros((2, 3000), np.uint64)
    place.place(COLUMN, (1, 0), (128, 4), matrix, 9)
    place.outer_sum(LONG[:, :14].copy(), LONG[:, 20:620].copy(), 2, False, weights, 5)
    place.outer_sum(LONG[:, :7].copy(), LONG[:, 20:320].copy(), 1, True, weights, 5)
    return [matrix, weights]


LONG, OTHER = field(2, 3000), field(2, 3000)
CASES: dict[str, Callable[[], list[np.ndarray]]] = {
    "transform": lambda: list(transforms()),
    "hash": lambda: [blake3.hash_messages(m, bytes(range(32))) for m in MESSAGES],
    "bind": lambda: [INTEGERS[0].bind(1, WEIGHTS), INTEGERS[1].bind(3, WEIGHTS[:, :80])],
    "powers": lambda: [opening.power_sum(POINTS, COEFFICIENTS, size) for size in (1024, 64)],
    "transpose": lambda: [matrix.transpose(ROWS)],
    "place": placed,
    "map": lambda: [compiled.multiply(LONG, OTHER), compiled.outer(LONG[:, :70].copy(), OTHER[:, :9].copy())],
    "sums": lambda: [np.array([x.a, x.b], np.uint64) for x in [compiled.dot(LONG, OTHER)]],
}


@pytest.fixture(scope="module", params=[False, True], ids=["forwards", "backwards"])
def device(request: pytest.FixtureRequest) -> Emulator:
    return Emulator(backwards=request.param, checked=request.param)


@pytest.mark.parametrize("name", CASES)
def test_the_grid_gives_the_bits_of_the_cpu(name: str, device: Emulator) -> None:
    expected, cpu = CASES[name](), gpu.current()
    device.launched.clear()
    gpu.select(Grid(device, grid.FORMS))
    try:
        found = CASES[name]()
    finally:
        gpu.select(cpu)
    assert device.launched
    for e, f in zip(expected, found, strict=True):
        assert np.array_equal(e, f)


class Recorder(Emulator):
    """Runs as the emulator does, and keeps what was launched and what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple] = []

    def launch(self, kernel, blocks, threads, *args) -> None:
        before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
        super().launch(kernel, blocks, threads, *args)
        self.seen.append((kernel, blocks, threads, before, [a.copy() for a in args if isinstance(a, np.ndarray)]))


@pytest.mark.parametrize(
    ("name", "barriers"), [("transform", 2), ("bind", 2), ("powers", 2), ("transpose", 1), ("sums", 2)]
)
def test_each_barrier_is_needed(name: str, barriers: int) -> None:
    """Without any one of them a launch is refused, or gives other bits in one of the orders."""
    recorder, cpu = Recorder(), gpu.current()
    gpu.select(Grid(recorder, grid.FORMS))
    try:
        CASES[name]()
    finally:
        gpu.select(cpu)
    (kernel,) = {k for k, *_ in recorder.seen if Emulated(k).barriers}
    launches = [s for s in recorder.seen if s[0] is kernel]
    assert Emulated(kernel).barriers == barriers

    def differs(number: int, backwards: bool) -> bool:
        mutant = Emulated(kernel, backwards=backwards, without=number)
        for _, blocks, threads, before, after in launches:
            args = [a.copy() if isinstance(a, np.ndarray) else a for a in before]
            mutant.run(*args, blocks=blocks, threads=threads)
            found = [a for a in args if isinstance(a, np.ndarray)]
            if any(not np.array_equal(a, b) for a, b in zip(found, after, strict=True)):
                return True
        return False

    for number in range(barriers):
        try:
            assert differs(number, False) or differs(number, True), f"barrier {number} is not needed"
        except NotEmulated:
            continue


def test_a_python_function_runs_here() -> None:
    backend = Grid(Emulator(), grid.FORMS)
    out: list[tuple[int, int]] = []
    assert backend.run(lambda x, lo, hi: out.append((lo, hi)), 9, (1,), 1) == [None]
    assert out == [(0, 9)]
