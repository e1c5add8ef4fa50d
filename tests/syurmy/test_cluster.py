"""Proofs made by workers of a Dask cluster: the same bytes; a worker that dies costs its proof only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import syurmy
from syurmy import cluster, segmented, stores
from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.parts import Parts
from syurmy.prover import keys
from tests.bundles import interrupted
from tests.compiler.language_models import saved
from tests.syurmy.test_docs import blocks
from tests.syurmy.test_segments import X, model, vm

dask = pytest.importorskip("dask", reason="the extra 'cluster' is not installed")
distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")

ONE = """\
.program one
.input  x : i8[2] private
.input  z : i8[2] committed
.param  w : i8[2, 2] committed = {{1, -2}, {3, 4}}
.output y public
matmul a, w, x
add    b, a, z
sum    y, b
halt
"""


def dying(flag: Path) -> Callable[[cluster.Part], Any]:
    """A task that takes its worker with it, the first time that it has segment 1: when it has asked for its share."""

    def work(part: cluster.Part) -> Any:
        if part.number == 1 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return cluster.prove_part(part)

    return work


@pytest.mark.slow
def test_two_workers_of_which_one_dies(tmp_path: Path) -> None:
    """Clear proofs are the bytes that one process makes, and rest on the key's certificate. Hiding ones verify; all but
    that at which a worker died are made once."""
    onnx.save(model(), tmp_path / "net.onnx")
    compiled = syurmy.compile_onnx(tmp_path / "net.onnx", calibrate={"x": X[:, None]}, segments=3)
    at = compiled.segmented
    done = segmented.run(at, {k: np.asarray(v) for k, v in compiled.quantise({"x": X[1:2]}).items()})

    def proven(there: cluster.Cluster | None, hiding: bool) -> segmented.Proven:
        """On the cluster, or here."""
        folder = tmp_path / f"keys{hiding}"
        key = segmented.obtain(at, folder, no_zk=not hiding).key
        certificate = None
        if not hiding:
            with Parts(tmp_path / "certified", key.digest(), {}, {}) as parts:
                certificate = segmented.certify(key, lambda k: at.load(k, folder), parts).certificate
        verifier = syurmy.BundleVerifier(key, certificate=certificate)
        with Parts(tmp_path / "parts", key.digest(), done.inputs, {}) as parts:
            made = segmented.prove(at, key, lambda k: at.load(k, folder), done, {}, parts, elsewhere=there,
                                   keys_folder=folder, verifier=verifier)  # fmt: skip
            parts.finish()
        assert verifier.verify(made.bundle).hiding == hiding
        if certificate is not None:
            with pytest.raises(syurmy.Rejected, match="rests on certificate"):
                syurmy.verify(key, made.bundle)
        return made

    flag = tmp_path / "died"
    with cluster.connected("local:2") as there:
        clear = proven(there, False)
        assert clear.bundle.data == proven(None, False).bundle.data
        hidden = proven(replace(there, work=dying(flag)), True)
    assert flag.exists()
    assert hidden.bundle.report.leaves == clear.bundle.report.leaves
    for k in range(3):
        allowance, proofs = keys.counted(at.keys_of(k, tmp_path / "keysTrue") / "model.pk")
        assert allowance is not None
        assert 0 < allowance.used <= allowance.limit // proofs


@contextmanager
def workers(**how: Any) -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, **how
    ) as started:
        yield started


@pytest.fixture(scope="module")
def threads() -> Iterator[str]:
    """The address of a scheduler with one worker, in threads, which start at once."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as workers:
        yield workers.scheduler_address


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path, threads: str) -> None:
    """Segments, one program with a committed input, and a batch in several proofs; keys from files and from stores."""
    onnx.save(model(), tmp_path / "net.onnx")
    syurmy.compile_onnx(tmp_path / "net.onnx", calibrate={"x": X[:, None]}, segments=2)
    on = "--scheduler", threads
    made = vm("prove", tmp_path / "net", *on)
    assert made["verified"]
    assert vm("verify", tmp_path / "net" / "model.vk", made["proof"])["verified"]
    stored = vm("prove", tmp_path / "net", "--force", *on, "--store", f"file://{tmp_path}/keys")
    assert {s["key"] for s in stored["segments"]} == set(os.listdir(tmp_path / "keys"))

    one = tmp_path / "one.tasm"
    one.write_text(ONE)
    vm("commit", one, "-i", "z=[5,6]", "-o", tmp_path)
    words = ("prove", one, "-i", "x=[1,2]", "-i", f"z=@{tmp_path / 'z.opening'}")
    here, there = vm(*words), vm(*words, *on, "--store", "memory://keys")
    assert here["outputs"] == there["outputs"]
    assert here["commitments"] == there["commitments"]
    assert here["leaves"] == there["leaves"]
    counts = keys.counted(tmp_path / "one.pk")[0], syurmy.TensorOpening.load(tmp_path / "z.opening").allowance
    before = [c.used for c in counts if c is not None]
    vm(*words, *on)
    assert [c.used for c in counts if c is not None] == [n + n // 2 for n in before]  # the worker asked here

    public = tmp_path / "many.tasm"
    public.write_text(ONE.replace("committed\n.param", "private\n.param").replace(".program one", ".program many"))
    np.savez(tmp_path / "xs.npz", x=np.arange(10).reshape(5, 2), z=np.ones((5, 2), int))
    batch = ("prove", public, "--batch", "-i", tmp_path / "xs.npz")
    whole, parts = vm(*batch, *on), vm(*batch, "--per-proof", 2, *on, "--store", "memory://keys")
    assert parts["outputs"] == whole["outputs"]
    assert [p["batch"] for p in parts["proofs"]] == [2, 2, 1]
    found = [vm("verify", tmp_path / "many.vk", p["proof"])["outputs"]["y"] for p in parts["proofs"]]
    assert [*found[0], *found[1], found[2]] == whole["outputs"]["y"]


@pytest.mark.slow
def test_steps_of_a_text(tmp_path: Path, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each proof a task: in clear mode the same bytes; what came back is kept; a key that is spent is told before."""
    model, on = tmp_path / "m", ("--scheduler", threads)
    vm("compile", saved(tmp_path, extra=True, cache=True), "-o", model, *words("--generate greedy --cache 8 --chunk 4"))
    text = ("generate", model, *words("--tokens 3,1,4 --max-tokens 4"))
    clear = ("--no-zk", "--keys", tmp_path / "clear")
    files = [tmp_path / f"{k}.proof" for k in range(4)]
    here = vm(*text, *clear, "--proof", files[0])
    there = vm(*text, *clear, "--proof", files[1], *on, "--store", "memory://steps")
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (there["chained"], there["generated"]) == (2, here["generated"])
    with monkeypatch.context() as m:
        interrupted(m)
        assert "1 of 2 parts" in vm(*text, *on, "--proof", files[2], code=130)["error"]["message"]
    made = vm(*text, *on, "--proof", files[2])
    assert (made["resumed"], made["verified"]) == (1, True)
    assert vm("verify", model / "model.vk", files[2])["generated"] == here["generated"]
    assert vm(*text, *on, "--device", "cpu", code=2)["error"]["code"] == "X162"
    vm("setup", model, "--renew", "--proofs", 1)
    assert vm(*text, *on, "--proof", files[3], code=2)["error"]["code"] == "P180"


def words(text: str) -> list[str]:
    return text.split()


def test_a_batch_in_several_proofs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished ones are kept and taken; what is not of these runs is in the way."""
    path = tmp_path / "p.tasm"
    path.write_text(".program p\n.input x : i8[] private\n.output y public\nmul y, x, x\nhalt\n")
    batch = ("prove", path, "--batch", "--per-proof", 1, "-i")
    with monkeypatch.context() as m:
        interrupted(m)
        stopped = vm(*batch, "x=[2,-3]", code=130)
    assert "1 of 2 proofs are made" in stopped["error"]["message"]
    assert not (tmp_path / "p.0.proof").exists()
    assert vm(*batch, "x=[-2,3]", code=2)["error"]["code"] == "F131"  # squares as before, of other inputs
    first = (tmp_path / "p.proof.parts" / "0.proof").read_bytes()
    made = vm(*batch, "x=[2,-3]")
    assert (made["resumed"], made["outputs"]) == (1, {"y": [4, 9]})
    assert (tmp_path / "p.0.proof").read_bytes() == first
    assert not (tmp_path / "p.proof.parts").exists()
    assert [vm("verify", tmp_path / "p.vk", p["proof"])["outputs"]["y"] for p in made["proofs"]] == [4, 9]
    assert vm(*batch, "x=[2,5]", code=2)["error"]["code"] == "F130"
    for words in (("prove", path, "-i", "x=2", "--per-proof", 1), ("run", path, "-i", "x=2", "--per-proof", 1)):
        assert vm(*words, code=2)["error"]["code"] == "X192"
    assert vm("prove", path, "-i", "x=2", "--store", tmp_path, code=2)["error"]["code"] == "X192"
    (tmp_path / "one.tasm").write_text(ONE)
    words = ("prove", tmp_path / "one.tasm", "--batch", "--per-proof", 1, "-i", "x=[[1,2]]", "-i", "z=[[1,2]]")
    assert vm(*words, code=2)["error"]["code"] == "X192"
    assert vm("prove", path, "--batch", "--per-proof", 1, "-i", "x=2", code=2)["error"]["code"] == "I105"


@pytest.mark.parametrize("scheduler", ["local:0", "local:many", "nonsense"])
def test_schedulers_that_are_none(scheduler: str) -> None:
    with pytest.raises(InputError) as e, cluster.connected(scheduler):
        pass
    assert e.value.code == "X162"


class Setting:
    """A program in its file, its key, and parts for a worker."""

    def __init__(self, folder: Path) -> None:
        self.path, self.pk = folder / "a.tasm", folder / "a.pk"
        self.path.write_text(".program a\n.input x : i8[] public\n.output y public\nadd y, x, 1\nhalt\n")
        self.key, _ = syurmy.setup(self.path)
        self.key.save(self.pk)

    def task(self, there: cluster.Cluster, inputs: Mapping[str, I64] | None = None) -> cluster.Task:
        own = self.key.verifying_key.digest(), self.pk
        given = {"x": np.array(1)} if inputs is None else inputs
        return there.task(0, "proof 0", (self.key.program, self.path), own, given, {}, False)


@pytest.fixture
def a(tmp_path: Path) -> Iterator[Setting]:
    cluster._loaded.clear()
    yield Setting(tmp_path)
    cluster._loaded.clear()


def test_other_versions_and_keys(a: Setting) -> None:
    part = a.task(cluster.Cluster(None, "")).part

    def refused(part: cluster.Part) -> str:
        with pytest.raises(InputError) as e:
            cluster.prove_part(part)
        assert type(e.value) is InputError  # one that can be sent
        return e.value.code

    assert refused(replace(part, version=99)) == "X162"
    assert refused(replace(part, digest=bytes(32))) == "X162"
    assert refused(replace(part, inputs={"x": np.array(1000)})) == "I106"
    proof, report = cluster.prove_part(part)
    assert syurmy.verify(a.key.verifying_key, proof).outputs["y"] == 2
    assert report.steps == 2
    cluster._loaded.clear()
    a.path.write_text(a.path.read_text().replace("x, 1", "x, 2"))
    assert refused(part) == "K131"
    a.path.write_text("nonsense")
    assert refused(part).startswith("A")
    a.path.unlink()
    assert refused(part) == "I101"


@pytest.mark.slow
def test_workers_that_cannot(a: Setting) -> None:
    """Not enough memory, by what they say that they have; an error of theirs; a scheduler that is gone."""
    soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with (
        soon,
        workers(resources={cluster.MEMORY: 10**9}) as started,
        cluster.connected(started.scheduler_address) as there,
    ):
        task = a.task(there)
        assert len(list(there.proven([replace(task, memory=lambda: 9 * 10**8)]))) == 1
        with pytest.raises(InputError, match=r"workers offer 1\.0 GB"):
            list(there.proven([replace(task, memory=lambda: 10**9 + 1)]))

        def odd(part: cluster.Part) -> Any:
            raise LookupError("odd")

        with pytest.raises(InputError, match="a worker failed: LookupError: odd"):
            list(replace(there, work=odd).proven([task]))

        def endless(part: cluster.Part) -> Any:
            time.sleep(2)

        threading.Timer(0.5, lambda: started.sync(started.scheduler.close)).start()
        with pytest.raises(InputError, match=r"the scheduler at .* is gone"):
            list(replace(there, work=endless).proven([task]))


def test_stores(a: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is copied once, whole or not at all, and never another one."""
    program, digest = a.key.program, a.key.verifying_key.digest()
    for url in (f"{tmp_path}/store", "memory://test_stores"):
        store = stores.Store(url)
        with pytest.raises(InputError) as e:
            store.fetch(digest, tmp_path / "cache")
        assert e.value.code == "X163"
        store.publish(program, a.pk, digest)
        folder = store.fetch(digest, tmp_path / "cache")
        assert stores.load(folder).verifying_key.digest() == digest
        shutil.rmtree(folder)
    store = stores.Store(f"{tmp_path}/store")
    kept = tmp_path / "store" / digest.hex() / "key"
    before = kept.stat()
    store.publish(program, a.pk, digest)
    assert kept.stat() == before
    assert before.st_mode & 0o077 == 0
    with monkeypatch.context() as m:  # the disk is full
        m.setattr(stores, "_measured", full)
        with pytest.raises(InputError) as e:
            store.fetch(digest, tmp_path / "cache")
    assert (e.value.code, os.listdir(tmp_path / "cache")) == ("X163", [])
    with monkeypatch.context() as m:
        m.setattr(shutil, "copyfile", full)
        with pytest.raises(InputError) as e:
            stores.Store(f"{tmp_path}/full").publish(program, a.pk, digest)
    assert (e.value.code, os.listdir(tmp_path / "full" / digest.hex())) == ("X163", [])
    bent = bytearray(kept.read_bytes())
    bent[-1] ^= 1
    kept.write_bytes(bent)
    with pytest.raises(InputError, match="damaged"):
        store.fetch(digest, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []
    with pytest.raises(InputError) as e:
        stores.Store("nonsense://x").publish(program, a.pk, digest)
    assert e.value.code == "X163"


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make certificates with")
def test_certificates(a: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS as the page says: who has no certificate of the cluster's authority is nobody there."""
    (script,) = (text for kind, text in blocks("docs/large_models.md") if kind == "sh" and "openssl" in text)
    for folder in ("ours", "others"):
        (tmp_path / folder).mkdir()
        subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path / folder, check=True, capture_output=True)

    def tls(folder: str) -> dict[str, Any]:
        at = tmp_path / folder
        own = {"cert": f"{at}/machine.pem", "key": f"{at}/machine.key"}
        settings = {f"distributed.comm.tls.{who}": own for who in ("scheduler", "worker", "client")}
        return {**settings, "distributed.comm.tls.ca-file": f"{at}/ca.pem", "distributed.comm.require-encryption": True}

    monkeypatch.setattr(cluster, "PATIENCE", 3)
    with dask.config.set(tls("ours")), workers(protocol="tls://", security=distributed.Security()) as started:
        address = started.scheduler_address
        assert address.startswith("tls://")
        with cluster.connected(address) as there:
            ((_, proof, _),) = there.proven([a.task(there)])
        assert syurmy.verify(a.key.verifying_key, proof).outputs["y"] == 2
        with dask.config.set(tls("others")), pytest.raises(InputError) as e, cluster.connected(address):
            pass
        assert e.value.code == "X162"
