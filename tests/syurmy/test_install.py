"""The package as others get it: built, installed into an empty environment, used from a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("assembler", "compiler", "gpu", "isa", "lib", "prover", "vm")  # folders that the checkout links into syurmy/

PROGRAM = """\
.program  likely
.include  "nn.tasm"
.lut      exp : i32 -> i16 in -65535..0 = "tables.npz:exp"
.input    x   : i16[4]  private
.output   p   public
    softmax   p, x, exp
    halt
"""
SCRIPT = """\
import syurmy

program = syurmy.load("likely.tasm")
trace = syurmy.run(program, {"x": [100, 2000, -300, 4000]})
proving_key, verifying_key = syurmy.setup(program)
proof = syurmy.prove(proving_key, trace).to_bytes()
statement = syurmy.verify(verifying_key, proof)
assert statement.outputs["p"].tolist() == trace.outputs["p"].tolist()
try:
    syurmy.verify(verifying_key, proof[:-1])
except syurmy.Rejected as e:
    print("rejected:", e)
print(syurmy.__file__)
"""


def call(*command: object, **options: Any) -> str:
    """What the command prints; it must succeed, and sees nothing of the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= options.pop("environment", {})
    done = subprocess.run([str(c) for c in command], env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def assert_whole(built: Path) -> None:
    """Sdist and wheel hold every file of the package, under one name, and links as folders."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    beside = [name for name in names if ".data/" in name]  # goes to share/, not beside other packages
    assert [name.partition(".data/")[2] for name in beside] == ["data/share/man/man1/syurmy-vm.1"]
    top = {name.partition("/")[0] for name in names if ".dist-info/" not in name and name not in beside}
    assert top == {"syurmy"}
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        assert all(member.isfile() or member.isdir() for member in sdist)
        sources = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    code = {name for name in names if name.startswith("syurmy/")}
    assert code <= sources
    expected = {p for p in (ROOT / "syurmy").glob("*") if p.is_file()}
    for name in LINKED:
        expected |= {p for p in (ROOT / "syurmy" / name).rglob("*") if p.is_file()}
    for folder in (ROOT / "syurmy").iterdir():
        if folder.is_dir() and not folder.is_symlink():
            expected |= {p for p in folder.rglob("*") if p.is_file()}
    here = {p.relative_to(ROOT).as_posix() for p in expected if "__pycache__" not in p.parts}
    assert code == here


@pytest.mark.slow
def test_the_main_job_in_an_empty_environment(tmp_path: Path) -> None:
    built, folder, environment = tmp_path / "dist", tmp_path / "work", tmp_path / "environment"
    call(sys.executable, "-m", "build", "--outdir", built, ROOT)  # the sdist, and the wheel from the sdist
    assert_whole(built)
    folder.mkdir()
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", next(built.glob("*.whl")))
    for name in ("vm", "gpu", "isa", "prover"):  # a user's own modules
        (folder / f"{name}.py").write_text("raise SystemExit('taken for the package')\n")
    (folder / "likely.tasm").write_text(PROGRAM)
    (folder / "likely.inputs.json").write_text('{"x": [100, 2000, -300, 4000]}')
    (folder / "script.py").write_text(SCRIPT)
    here: dict[str, Any] = {"cwd": folder, "environment": {"SYURMY_CACHE": str(tmp_path / "cache")}}

    printed = call(python, "script.py", **here)
    assert "rejected:" in printed
    assert Path(printed.splitlines()[-1]).is_relative_to(environment)
    assert "verified: likely.proof" in call(python, "-m", "syurmy", "run", "likely.tasm", "--prove", **here)
    command = environment / "bin" / "syurmy-vm"
    assert "accepted: program likely" in call(command, "verify", "likely.vk", "likely.proof", **here)
    assert call(command, "--version", **here).startswith("syurmy-vm ")
