"""The distribution ``syurmy-verify``: the verifier's modules, alone with NumPy and BLAKE3, decide as the whole does."""

from __future__ import annotations

import base64
import importlib.util
import json
import random
import resource
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.prover.protocol.transcript import Rejected
from tests.soundness import common as c
from tests.soundness.test_tampering import SOURCES as TAMPERED
from tests.soundness.test_tampering import fields
from tests.syurmy.test_install import call
from tests.verify.conftest import make

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "distributions" / "verify"
LARGEST = 100  # MB installed
SECONDS = 0.6  # of a whole process
# without the proof whose ladder is made deeper than the plan's by the tests themselves, in their own process only
SOURCES = {name: source for name, source in TAMPERED.items() if name != "two levels"}

DECIDE = """
import base64, json, sys
import syurmy
from syurmy.prover.verifier.verify import Verifier

for case in json.load(open(sys.argv[1])):
    verifier = Verifier(syurmy.VerifyingKey.from_bytes(base64.b64decode(case["key"])))
    proof = base64.b64decode(case["proof"])
    said = []
    for at, mask in case["changes"]:
        changed = bytearray(proof)
        changed[at] ^= mask
        try:
            said.append("Statement" + repr(vars(verifier.verify(bytes(changed)))))
        except syurmy.Rejected as e:
            said.append(str(e))
    print(json.dumps(said))
print(*sys.modules)
"""


def processor_seconds(*command: object, cwd: Path) -> float:
    """Of a process and all its threads: what it takes on an idle machine is no more, and other work does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call(*command, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def loaded_from(name: str) -> ModuleType:
    """A module in the distribution's folder."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_modules_are_those_that_verifying_loads() -> None:
    backend = loaded_from("backend")
    roots = ", ".join(backend.ROOTS)
    code = f"import sys, {roots}; print(*(m for m in sys.modules if m.split('.')[0] == 'syurmy'))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(backend.closure()) == set(loaded.stdout.split())


def cases() -> list[dict[str, Any]]:
    """Of every small program an honest proof, and changes of one bit of every field; the first changes nothing."""
    out = []
    for name, source in SOURCES.items():
        rng = random.Random(name)
        changes = [(0, 0), *((o + rng.randrange(n), 1 << rng.randrange(8)) for _, o, n in fields(source))]
        key, proof = c.keys(source).verifying_key.to_bytes(), c.honest(source).data
        out.append(
            {"key": base64.b64encode(key).decode(), "proof": base64.b64encode(proof).decode(), "changes": changes}
        )
    return out


def verdicts(source: str, changes: list[tuple[int, int]]) -> list[str]:
    said = []
    for at, mask in changes:
        proof = bytearray(c.honest(source).data)
        proof[at] ^= mask
        try:
            said.append("Statement" + repr(vars(c.verifier_of(source).verify(bytes(proof)))))
        except Rejected as e:
            said.append(str(e))
    return said


@pytest.mark.slow
def test_it_decides_alone_as_the_whole_does(tmp_path: Path) -> None:
    built, environment = tmp_path / "dist", tmp_path / "environment"
    call(sys.executable, "-m", "build", "--outdir", built, FOLDER)  # the sdist, and the wheel from the sdist
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", next(built.glob("*.whl")))
    call(python, "-m", "pip", "check")
    installed = {p["name"] for p in json.loads(call(python, "-m", "pip", "list", "--format=json"))}
    assert installed - {"pip", "setuptools", "typing_extensions"} == {"syurmy-verify", "numpy", "blake3"}
    packages = next((environment / "lib").glob("*/site-packages"))
    ours = [
        p for p in packages.rglob("*") if p.is_file() and p.relative_to(packages).parts[0] not in ("pip", "setuptools")
    ]
    assert sum(p.stat().st_size for p in ours) <= LARGEST * 10**6

    given = cases()
    (tmp_path / "cases.json").write_text(json.dumps(given))
    (tmp_path / "decide.py").write_text(DECIDE)
    *answers, modules = call(python, "decide.py", "cases.json", cwd=tmp_path).splitlines()
    for source, case, answer in zip(SOURCES.values(), given, answers, strict=True):
        said = json.loads(answer)
        assert said == verdicts(source, case["changes"])
        assert said[0].startswith("Statement{")
        assert not any(x.startswith("Statement{") for x in said[1:])
    assert not {"numba", "rich", "typer", "syurmy.prover.prove"} & set(modules.split())

    # the customer's tests, with pytest beside the environment, not in it
    tools, shop = tmp_path / "tools", tmp_path / "shop"
    call(python, "-m", "pip", "install", "--quiet", "--target", tools, "pytest>=8,<10")
    shop.mkdir()
    make(shop)
    shutil.copytree(ROOT / "tests" / "verify", tmp_path / "customer", ignore=shutil.ignore_patterns("__pycache__"))
    said_of_tests = call(
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "customer"),
        cwd=tmp_path,
        environment={"PYTHONPATH": str(tools), "SYURMY_SHOP": str(shop)},
    )
    assert " passed" in said_of_tests
    assert "skipped" not in said_of_tests

    for name in ("digits_mlp", "lenet"):  # a whole process: Python, NumPy, key, proof
        program = syurmy.load(ROOT / "programs" / f"{name}.tasm")
        proving_key, verifying_key = syurmy.setup(program)
        with np.load(ROOT / "programs" / f"{name}.inputs.npz") as inputs:
            syurmy.prove(proving_key, syurmy.run(program, dict(inputs))).save(tmp_path / f"{name}.proof")
        verifying_key.save(tmp_path / f"{name}.vk")
        files = [environment / "bin" / "syurmy-verify", f"{name}.vk", f"{name}.proof"]
        assert min(processor_seconds(*files, cwd=tmp_path) for _ in range(3)) <= SECONDS

    (tmp_path / "dense.vk").write_bytes(c.keys(c.DENSE).verifying_key.to_bytes())
    (tmp_path / "dense.proof").write_bytes(c.honest(c.DENSE).data)
    (tmp_path / "bad.proof").write_bytes(c.honest(c.DENSE).data[:-1])
    command = environment / "bin" / "syurmy-verify"
    assert call(command, "--version").startswith("syurmy-verify ")
    assert "output y = " in call(command, "dense.vk", "dense.proof", cwd=tmp_path)
    assert json.loads(call(command, "dense.vk", "dense.proof", "--json", cwd=tmp_path))["verified"] is True
    bad = subprocess.run([command, "dense.vk", "bad.proof"], cwd=tmp_path, capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert bad.stderr.startswith("error[V100]: proof rejected at step 'format'")
