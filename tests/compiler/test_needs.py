"""Memory that compiling takes: the same bytes however little tensors on samples get; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import syurmy
from syurmy import host
from syurmy.compiler import compile_model, kept, load, needs
from syurmy.compiler.kept import GONE, Kept, Store
from syurmy.isa.errors import InputError
from tests.compiler.harness import model_of

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 1, 3, 16, 16)).astype(np.float32)


def test_store() -> None:
    store = Store(room=40_000)
    given = [RNG.integers(-9, 9, (3, 2000)) * (k + 1) for k in range(3)]  # 48 kB each
    given += [np.asfortranarray(RNG.normal(size=(40, 50))), RNG.normal(size=(40, 50)) > 0, np.arange(3)]
    held = Kept(store, given)
    assert store.held == given[3].nbytes
    assert store.written == 3 * given[0].nbytes + given[4].nbytes * (given[4].nbytes > kept.SMALL)
    for x, y in zip(given, held, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(held[-4:][0], given[2])
    del held
    assert store.held == 0
    again, before = Kept(store, given[:2]), store.written
    assert store.written == before  # in the places that were given back
    np.testing.assert_array_equal(again[1], given[1])
    with pytest.raises(RuntimeError, match="last reader"):
        list(GONE)


def network(folder: Path) -> dict[str, bytes]:
    """Files of a network with a skip, a table, a sum over rows and a decision, in the finest program."""
    rng = np.random.default_rng(5)
    w = {f"w{k}": rng.normal(size=s).astype(np.float32) for k, s in enumerate([(8, 3, 3, 3), (8, 8, 1, 1), (8, 5)])}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"]),
        helper.make_node("Add", ["c", "a"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1),
    ]
    model = load.prepare(model_of(nodes, {"x": X[0]}, ["logits", "label"], w))
    compile_model(model, folder, calibrate={"x": X}, tolerance=0)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_file_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[Store] = []

    def small(folder: Path) -> Store:
        stores.append(Store(2**16, folder))
        return stores[-1]

    plain = network(tmp_path / "plain")
    monkeypatch.setattr(needs, "Store", small)
    assert network(tmp_path / "filed") == plain
    assert stores[0].written > 10 * 2**16
    assert stores[0].peak <= 2**16
    assert sorted(p.name for p in tmp_path.iterdir()) == ["filed", "plain"]


LENET = Path(__file__).parents[2] / "programs/onnx/lenet5.onnx"


@pytest.mark.parametrize(("resident", "limit", "what"), [(0, 100 << 20, "reading"), (2**40, 2**33, "compiling")])
def test_refused(resident: int, limit: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "resident", lambda: resident)
    with pytest.raises(InputError, match=f"{what}.* takes about") as e:
        syurmy.compile_onnx(LENET, tmp_path / "out", memory=limit)
    assert e.value.code == "P190"
    assert not (tmp_path / "out").exists()


def test_what_the_machine_has_is_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "memory", lambda: 100 << 20)
    with pytest.raises(InputError, match=r"100\.00 MiB are allowed"):
        syurmy.compile_onnx(LENET, tmp_path / "out")
