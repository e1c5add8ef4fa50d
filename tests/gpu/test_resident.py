"""Proofs whose arrays are in a memory apart: the bytes of the CPU's, and little that crosses.

The kernels are those of the CPU, so that this costs little: what is on which side, when, and how much goes over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import syurmy
from syurmy import gpu
from syurmy.gpu.arrays import DeviceArray
from syurmy.gpu.grid import rounded
from syurmy.prover import commitment, lookup
from syurmy.prover.field import U64, P
from syurmy.prover.kernels import mle, pool
from syurmy.prover.layers import Corrections
from syurmy.prover.placed import index_set, moved_axes, narrowed
from syurmy.prover.protocol.reed_solomon import MatrixShape
from syurmy.prover.protocol.transcript import Sender, Transcript
from syurmy.prover.prove import prove
from tests.gpu.common import PROGRAMS, Apart, few, proven, traced
from tests.gpu.test_forms import filling


@contextmanager
def selected(backend: gpu.Backend) -> Iterator[None]:
    gpu.select(backend)
    try:
        yield
    finally:
        gpu.select(pool.CPU)


LEAST = [0, 20, 300, 0]  # everything on the device; small layers and instances on the host


@pytest.mark.parametrize("zk", [True, False], ids=["hiding", "no-zk"])
@pytest.mark.parametrize("name", [*PROGRAMS, "life"])  # of which lookups are cut into pieces
def test_the_proof_is_that_of_the_cpu(name: str, zk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = proven(name, zk, gpu.current(), monkeypatch)
    for k, least in enumerate(LEAST):
        backend = Apart(least)
        if k == 3:
            few(monkeypatch)
        assert proven(name, zk, backend, monkeypatch) == expected, least
        assert len(backend.traffic.launches) > 20


def test_the_witness_goes_up_and_messages_come_down() -> None:
    """LeNet without zero knowledge: at most ten bytes for every entry of the witness go up, besides what is kept with
    the key, of which a second proof brings nothing; and less comes down than a proof is long."""
    program, trace = traced("lenet")
    key, _ = syurmy.setup(program, zk=False)
    with selected(backend := Apart()):
        first = syurmy.prove(key, trace)
        kept = backend.traffic.kept
        assert 0 < kept < backend.traffic.up
        backend.traffic.clear()
        assert syurmy.prove(key, trace).data == first.data
    assert backend.traffic.kept == 0
    assert backend.traffic.up < 10 * first.report.committed_entries
    assert backend.traffic.down < len(first.data)


def test_columns_of_params_without_a_codeword_are_opened_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """And lean proofs, which keep no codeword of the witness either."""
    monkeypatch.setattr(commitment, "KEPT", 0)
    program, trace = traced("lenet")
    key, _ = syurmy.setup(program, zk=False)
    assert key.params is not None
    assert key.params.commitment.codeword is None
    expected = syurmy.prove(key, trace).data
    with selected(backend := Apart(256)):
        assert syurmy.prove(key, trace).data == expected
        assert "evaluate_kernel" in backend.traffic.launches
        assert "positions_kernel" not in backend.traffic.launches
        assert prove(key, trace, lean=True).data == expected


def test_codewords_in_strips_are_the_codewords() -> None:
    """Two chunks and a part, with random coefficients; and three, with none."""
    draw, backend = np.random.default_rng(5), Apart()
    with selected(backend):
        for rows, tail in ((2 * 128 + 5, 3), (3 * 128, 0)):
            shape = MatrixShape(rows, 3, 1, tail=tail)
            matrix = draw.integers(0, P, (8, rows), np.uint64)
            random = draw.integers(0, P, (tail, rows), np.uint64) if tail else None
            expected = commitment.commit(matrix, shape, random)
            found = commitment.in_strips(backend.upload(matrix), shape, random)
            assert found.root == expected.root
            assert np.array_equal(found.columns([1, 4, 15]), expected.columns([1, 4, 15]))
            assert np.array_equal(found.tree.multiproof([1, 4, 15]), expected.tree.multiproof([1, 4, 15]))


def test_what_does_not_fit_goes_in_strips() -> None:
    shape = MatrixShape(1000, 6, 2)
    matrix = np.random.default_rng(6).integers(0, P, (64, 1000), np.uint64)
    expected = commitment.commit(matrix, shape)
    for memory, whole in ((8 << 20, True), (1_400_000, False)):  # the codeword takes 2 MB
        backend = Apart(memory=memory)
        with selected(backend):
            found = commitment.commit(backend.upload(matrix), shape)
            assert found.root == expected.root
            assert isinstance(found.codeword, DeviceArray) == whole
            waits = backend.traffic.waits
            for a, b in zip(found.opened([3, 77]), expected.opened([3, 77]), strict=True):
                assert np.array_equal(a, b)
            assert backend.traffic.waits - waits == (1 if whole else 9)  # of strips, eight besides
    with selected(backend := Apart(memory=600_000)), pytest.raises(gpu.OutOfDeviceMemory):
        commitment.commit(backend.upload(matrix), shape)


def test_a_tree_that_does_not_fit_is_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    program, trace = traced("lenet")
    key, _ = syurmy.setup(program, zk=False)
    expected = syurmy.prove(key, trace).data
    build, tried = lookup._build, []

    def full(leaves: lookup.Leaves, corrected: Corrections) -> list[U64]:
        """Other parts of this proof take more than its tree."""
        tried.append(gpu.on_host(leaves.num))
        if tried[-1]:
            return build(leaves, corrected)
        raise gpu.OutOfDeviceMemory(1, 0, 0)

    monkeypatch.setattr(lookup, "_build", full)
    with selected(backend := Apart()):
        assert syurmy.prove(key, trace).data == expected
    assert tried == [False, True]
    assert "combine" not in backend.traffic.launches
    assert "product_rounds" in backend.traffic.launches


@pytest.mark.parametrize("zk", [True, False], ids=["hiding", "no-zk"])
def test_a_tree_whose_rounds_do_not_fit_is_proven_again_on_the_host(zk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All other layers are sent when there is no memory for the leaves'."""
    expected, begun = proven("rnn", zk, gpu.current(), monkeypatch), []
    init = lookup.LeafRounds.__init__

    def full(self, leaves, *more) -> None:
        begun.append(gpu.on_host(leaves.num))
        if not begun[-1]:
            raise gpu.OutOfDeviceMemory(1, 0, 0)
        init(self, leaves, *more)

    for least in (0, 1 << 12):  # every layer on the device, and the large ones
        monkeypatch.setattr(lookup.LeafRounds, "__init__", full)
        backend = Apart(least)
        assert proven("rnn", zk, backend, monkeypatch) == expected
        assert "lookup_rounds" in backend.traffic.launches
    assert begun == [False, True] * 2


def test_a_tree_takes_38_bytes_a_leaf() -> None:
    """Of its layers 32, of a member 4: denominators and corrections are not kept for all leaves."""
    used = 1 << 18
    with selected(backend := Apart(1 << 12)):
        members = [backend.upload(np.random.default_rng(1).integers(0, 1 << 16, used, np.int32))]
        fill = filling(members, used)
        tree = lookup.Tree.of(lookup.Leaves.ones(used, backend, [(0, 1 << 12)], fill))
        lookup.prove_layers(Sender(Transcript()), tree)
        assert 36 < backend.traffic.peak / used < 39
        del tree, fill, members
    assert backend.traffic.held < 1 << 12  # lengths and strides


def test_a_device_that_is_too_small_is_told() -> None:
    program, trace = traced("lenet")
    key, _ = syurmy.setup(program, zk=False)
    told = r"needs more than \d MiB of the memory of emulator, and 3 MiB were free"
    with selected(Apart(memory=3 << 20)), pytest.raises(syurmy.InputError, match=told) as e:
        syurmy.prove(key, trace)
    assert e.value.code == "P172"


def test_an_array_on_the_device_is_not_read_by_accident() -> None:
    backend = Apart()
    a = backend.upload(np.arange(12, dtype=np.uint64).reshape(3, 4))
    for read in (np.asarray, np.ascontiguousarray, list, lambda x: x[0, 0], lambda x: x + np.uint64(1)):
        with pytest.raises(TypeError):
            read(a)
    assert gpu.download(a[1:]).tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert gpu.download(a.reshape(-1, 6)[1]).tolist() == [6, 7, 8, 9, 10, 11]
    with pytest.raises(ValueError, match="not contiguous"):
        gpu.download(a[:, 1:])
    with pytest.raises(ValueError, match="not contiguous"):
        backend.run(mle.add_flat, 3, (a[:, 1:], a, a), 1)
    with pytest.raises(ValueError, match="is written to"):
        backend.write(a, np.zeros(12, np.uint64))


def test_memory_is_used_again_and_counted() -> None:
    backend = Apart(memory=5200)
    a = backend.empty(500)
    assert (backend.traffic.held, backend.traffic.peak) == (rounded(4000), rounded(4000))
    with pytest.raises(gpu.OutOfDeviceMemory) as e:
        backend.empty(500)
    assert (e.value.needed, e.value.held, e.value.memory) == (rounded(4000), rounded(4000), 5200)
    del a
    assert backend.traffic.held == 0
    b = backend.empty((2, 250))  # the same piece
    del b
    assert backend.empty(600).nbytes == 4800  # of another size: what is free goes back first
    assert isinstance(backend.empty(0), DeviceArray)
    sizes = [1, 255, 257, *(k << i for i in range(8, 34, 5) for k in (31, 33, 47, 63)), (2 << 20) + 528]
    assert all(0 <= rounded(size) - size < max(256, size / 32) for size in sizes)


def test_what_is_kept_goes_with_the_array() -> None:
    backend = Apart()
    a = np.arange(1000)
    there = backend.kept(a)
    assert backend.kept(a) is there
    assert backend.kept(a[::2]) is not there
    assert backend.traffic.kept == 12000
    del there, a
    assert backend.traffic.held == 0


@pytest.mark.parametrize("size", [1, 255, 256, 257, 4096, 4097, 10**6, 2**30 + 1])
def test_sizes_of_pieces(size: int) -> None:
    assert size <= rounded(size) <= 256 + size * 1.25


def test_index_sets_have_few_axes() -> None:
    assert [x.tolist() for x in index_set([2, 1, 3, 4], [12, 5, 4, 1])] == [[24], [1]]
    assert [x.tolist() for x in index_set([2, 3], [1, 2], [3, 1])] == [[2, 3], [1, 2], [3, 1]]
    assert [x.tolist() for x in index_set([], [], [])] == [[1], [1], [1]]
    shape = (2, 3, 4, 5)
    moved = np.moveaxis(np.empty(shape), [0, 1], [2, 0]).shape
    assert tuple(shape[a] for a in moved_axes(4, [0, 1], [2, 0])) == moved


@pytest.mark.parametrize("ends", [(0, 127), (-128, 0), (-129, 0), (0, 32768), (-(2**31), 5), (2**31, 0), (-(2**62), 1)])
def test_narrowed_values_are_the_values(ends: tuple[int, int]) -> None:
    values = np.array(ends)
    assert np.array_equal(narrowed(values), values)
    assert narrowed(values).dtype.itemsize == min(
        k for k in (1, 2, 4, 8) if all(-(2 ** (8 * k - 1)) <= e < 2 ** (8 * k - 1) for e in ends)
    )
