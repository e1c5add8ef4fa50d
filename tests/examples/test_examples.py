"""The examples run: a verifying service under load and attack, a notebook from beginning to end, a batch job twice."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
.program doubler
.input x : i16[32] private
.input n : i32[] public in 1..1000
.param w : i16[32] committed = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
.output y public
    mul s, x, w
    sum s, s
    gt  y, s, n
    halt
"""
TOLD = {"title": "a limit", "outputs": {"y": {"name": "above", "labels": ["no", "yes"]}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doubler")
    (folder / "doubler.tasm").write_text(SOURCE)
    (folder / "doubler.description.json").write_text(json.dumps(TOLD))
    return folder


@pytest.fixture(scope="module")
def keys(folder: Path) -> Any:
    return syurmy.setup(folder / "doubler.tasm")


def proof(key: syurmy.ProvingKey, k: int) -> bytes:
    return syurmy.prove(key, syurmy.run(key.program, {"x": np.arange(32) - k, "n": 1 + k % 900})).to_bytes()


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    pytest.skip("the system does not tell")


@pytest.mark.slow
def test_a_service_verifies_a_hundred_proofs_in_flat_memory(keys: Any) -> None:
    fastapi = pytest.importorskip("fastapi.testclient")
    pytest.importorskip("httpx")
    from examples.service import service

    key, verifying_key = keys
    client = fastapi.TestClient(service(verifying_key))
    assert client.get("/key").json() == {
        "digest": verifying_key.digest().hex(),
        "program": "doubler",
        "title": "a limit",
    }
    proofs = [proof(key, k) for k in range(4)]

    def post(data: bytes) -> Any:
        answer = client.post("/verify", content=data)
        assert answer.status_code == 200
        return answer.json()

    def round_of(count: int) -> None:
        for i in range(count):
            good = post(proofs[i % 4])
            assert (good["verified"], good["inputs"]) == (True, {"n": 1 + i % 4})
            bad = bytearray(proofs[i % 4])
            bad[(i * 7919) % len(bad)] ^= 1 << i % 8
            assert post(bytes(bad))["verified"] is False

    round_of(20)  # caches of the interpreter, the web framework and the allocator fill
    before = resident_mb()
    round_of(100)
    assert resident_mb() - before < 8  # 200 proofs of 60 KB and more were read


def test_a_service_keeps_its_budgets(keys: Any) -> None:
    fastapi = pytest.importorskip("fastapi.testclient")
    pytest.importorskip("httpx")
    import examples.service
    from examples.service import service

    key, verifying_key = keys
    good = proof(key, 1)
    client = fastapi.TestClient(service(verifying_key, max_bytes=len(good)))
    assert client.post("/verify", content=good).json()["verified"] is True
    assert client.post("/verify", content=good + b"x").status_code == 413
    for data in (b"", b"SYURMYPF", bytes(1000), good[:-1], good[:100]):
        assert client.post("/verify", content=data).json()["verified"] is False
    batch = syurmy.run(key.program, {"x": np.ones((65, 32), int), "n": np.ones(65, int)}, batch=True)
    large = syurmy.prove(key, batch).to_bytes()
    answer = fastapi.TestClient(service(verifying_key)).post("/verify", content=large).json()
    assert "at most 64" in answer["reason"]

    entered, release = threading.Semaphore(0), threading.Event()
    app = service(verifying_key)
    with pytest.MonkeyPatch.context() as patch, fastapi.TestClient(app) as client, ThreadPoolExecutor(16) as pool:
        slow = examples.service.shown

        def held(statement: syurmy.Statement) -> dict[str, Any]:
            entered.release()
            assert release.wait(60)
            return slow(statement)

        patch.setattr(examples.service, "shown", held)
        first = [pool.submit(client.post, "/verify", content=good) for _ in range(2)]
        assert all(entered.acquire(timeout=60) for _ in range(2))
        more = [pool.submit(client.post, "/verify", content=good) for _ in range(8)]
        refused = [f.result() for f in itertools.islice(as_completed(more, timeout=60), 2)]
        release.set()
        assert {r.status_code for r in refused} == {503}
        assert sorted(f.result().status_code for f in (*first, *more)) == [200] * 8 + [503] * 2


@pytest.mark.slow
def test_a_batch_job_takes_up_where_it_stopped(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x, n = rng.integers(-100, 100, (6, 32)), np.array([1, 2, 3, 4, 5, 0])  # the last is outside its interval
    np.savez(folder / "inputs.npz", x=x, n=n)
    proofs = folder / "proofs"

    def job() -> tuple[int, dict[str, Any], str]:
        arguments = [folder / "doubler.tasm", folder / "inputs.npz", proofs]
        command = [sys.executable, "-m", "examples.batch", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        return done.returncode, json.loads(done.stdout), done.stderr

    code, count, said = job()
    assert (code, count["made"], count["kept"], count["failed"]) == (1, 5, 0, 1)
    assert "0005.proof: [I106]" in said
    verifier = syurmy.Verifier(proofs / "key.vk")
    for k in range(5):
        assert verifier.verify(proofs / f"000{k}.proof").inputs["n"] == n[k]
    (proofs / "0001.proof").unlink()
    (proofs / "0002.proof").write_bytes((proofs / "0003.proof").read_bytes()[:-5])
    n[5] = 7
    np.savez(folder / "inputs.npz", x=x, n=n)
    code, count, said = job()
    assert (code, count["made"], count["kept"], count["failed"]) == (0, 3, 3, 0)


@pytest.mark.slow
def test_the_notebook_runs() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("onnxruntime")
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": ROOT / "examples"}}).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    tables = [o.data["text/html"] for o in outputs if o.output_type == "execute_result"]
    assert [t.count("<table>") for t in tables] == [1] * 4
    printed = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")
    assert "the network says" in printed
    assert "rejected at step" in printed


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())
    assert all(not cell.get("outputs") for cell in notebook["cells"])
