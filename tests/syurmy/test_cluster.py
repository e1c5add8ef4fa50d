"""Segments proven by workers of a Dask cluster: the same bytes, and a worker that dies costs its proof only."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import syurmy
from syurmy import cluster, segmented
from syurmy.isa.errors import InputError
from syurmy.parts import Parts
from tests.syurmy.test_segments import X, model, vm

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")


def dying(flag: Path) -> Callable[[cluster.Part], Any]:
    """A task that takes its worker with it, the first time that it has segment 1."""

    def work(part: cluster.Part) -> Any:
        if part.number == 1 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return cluster.prove_part(part)

    return work


@pytest.mark.slow
def test_two_workers_of_which_one_dies(tmp_path: Path) -> None:
    """Clear proofs are the bytes that one process makes. Hiding ones verify; what the dead worker had begun is counted
    (commitments last for it), and all but that proof is made once."""
    onnx.save(model(), tmp_path / "net.onnx")
    compiled = syurmy.compile_onnx(tmp_path / "net.onnx", calibrate={"x": X[:, None]}, segments=3)
    at = compiled.segmented
    done = segmented.run(at, {k: np.asarray(v) for k, v in compiled.quantise({"x": X[1:2]}).items()})

    def proven(client: Any, hiding: bool, work: cluster.Work | None) -> segmented.Proven:
        """On the cluster by ``work``, or here."""
        keys = tmp_path / f"keys{hiding}"
        key = segmented.obtain(at, keys, no_zk=not hiding).key
        elsewhere = None if work is None else lambda todo: cluster.proven(client, todo, work)
        with Parts(tmp_path / "parts", key.digest(), done.inputs, {}) as parts:
            made = segmented.prove(at, key, lambda k: at.load(k, keys), done, {}, parts, elsewhere=elsewhere,
                                   keys_folder=keys)  # fmt: skip
            parts.finish()
        assert syurmy.verify(key, made.bundle).hiding == hiding
        return made

    flag = tmp_path / "died"
    with cluster.connected("local:2") as client:
        there = proven(client, False, cluster.prove_part)
        assert there.bundle.data == proven(client, False, None).bundle.data
        hidden = proven(client, True, dying(flag))
    assert flag.exists()
    assert hidden.bundle.report.leaves == there.bundle.report.leaves


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With workers that are threads, which start at once."""
    from distributed import Client, LocalCluster

    asked = []

    @contextmanager
    def connected(scheduler: str) -> Iterator[Any]:
        asked.append(scheduler)
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as workers,
            Client(workers) as client,
        ):
            yield client

    monkeypatch.setattr(cluster, "connected", connected)
    onnx.save(model(), tmp_path / "net.onnx")
    syurmy.compile_onnx(tmp_path / "net.onnx", calibrate={"x": X[:, None]}, segments=2)
    made = vm("prove", tmp_path / "net", "--scheduler", "tcp://somewhere:1")
    assert asked == ["tcp://somewhere:1"]
    assert made["verified"]
    (tmp_path / "one.tasm").write_text(".program a\n.input x : i8[] public\n.output y public\nadd y, x, 1\nhalt\n")
    words = ("prove", tmp_path / "one.tasm", "-i", "x=1", "--scheduler", "local:2")
    assert vm(*words, code=2)["error"]["code"] == "X162"
    assert vm("verify", tmp_path / "net" / "model.vk", made["proof"])["verified"]


@pytest.mark.parametrize("scheduler", ["local:0", "local:many", "nonsense"])
def test_schedulers_that_are_none(scheduler: str) -> None:
    with pytest.raises(InputError) as e, cluster.connected(scheduler):
        pass
    assert e.value.code == "X162"


def test_other_versions_and_keys(tmp_path: Path) -> None:
    part = cluster.Part(0, tmp_path / "a.tasm", tmp_path / "a.pk", b"", {}, {}, False, version=99)
    with pytest.raises(InputError, match="protocol version"):
        cluster.prove_part(part)
    (tmp_path / "a.tasm").write_text(".program a\n.input x : i8[] public\n.output y public\nadd y, x, 1\nhalt\n")
    pk, _ = syurmy.setup(tmp_path / "a.tasm")
    pk.save(tmp_path / "a.pk")
    with pytest.raises(InputError, match="another key"):
        cluster.prove_part(cluster.Part(0, part.program, part.key, bytes(32), {"x": np.array(1)}, {}, False))
    same = cluster.Part(0, part.program, part.key, pk.verifying_key.digest(), {"x": np.array(1)}, {}, False)
    proof, report = cluster.prove_part(same)
    assert syurmy.verify(pk.verifying_key, proof).outputs["y"] == 2
    assert report.steps == 2
