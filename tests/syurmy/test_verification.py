"""The answer of ``verify``: the same from both commands, with both arithmetics; fast, and from a small import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import syurmy
from syurmy import verification, verify_main
from syurmy.cli import app
from syurmy.isa.errors import InputError
from syurmy.prover.protocol import plain

SOURCE = """
.program tiny
.input x : i8[2, 3] private
.param w : i8[3, 2] committed = {{3, -1}, {0, 2}, {-5, 4}}
.output y public
    matmul  h, x, w
    rescale y, h, 2, i8
    halt
"""


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.vk, tiny.proof and bad.proof, of which one byte is changed."""
    folder = tmp_path_factory.mktemp("proven")
    program = syurmy.assemble(SOURCE)
    key, verifying_key = syurmy.setup(program)
    proof = syurmy.prove(key, syurmy.run(program, {"x": [[1, 2, 3], [4, 5, 6]]})).to_bytes()
    (folder / "tiny.vk").write_bytes(verifying_key.to_bytes())
    (folder / "tiny.proof").write_bytes(proof)
    (folder / "bad.proof").write_bytes(proof[:-1] + bytes([proof[-1] ^ 1]))
    return folder


def test_reference_uses_the_plain_arithmetic(proven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    hashed = plain.hash_messages
    monkeypatch.setattr(plain, "hash_messages", lambda *a: used.append(1) or hashed(*a))
    compiled = verification.answer(proven / "tiny.vk", proven / "tiny.proof")
    assert not used  # this process has proven, so its kernels are loaded
    reference = verification.answer(proven / "tiny.vk", proven / "tiny.proof", reference=True)
    assert used
    assert repr(compiled.data | {"seconds": 0}) == repr(reference.data | {"seconds": 0})
    refused = [verification.answer(proven / "tiny.vk", proven / "bad.proof", r) for r in (False, True)]
    assert refused[0].data == refused[1].data
    assert refused[0].data["verified"] is False


@pytest.mark.parametrize("options", [(), ("--json",), ("--reference",)])
@pytest.mark.parametrize("proof", ["tiny.proof", "bad.proof", "gone.proof", "tiny.vk"])
def test_both_commands_say_the_same(proven: Path, proof: str, options: tuple[str, ...]) -> None:
    said = []
    for module in (("syurmy", "verify"), ("syurmy.verify_main",)):
        command = [sys.executable, "-m", *module, "tiny.vk", proof, *options]
        done = subprocess.run(command, cwd=proven, capture_output=True, text=True)
        out = done.stdout
        if "--json" in options:
            out = json.loads(out)
            out.pop("seconds", None)
        else:
            out = [line for line in out.splitlines() if not line.startswith("soundness ")]
        said.append((done.returncode, done.stderr, out))
    assert said[0] == said[1]
    assert said[0][0] == {"tiny.proof": 0, "bad.proof": 1, "gone.proof": 2, "tiny.vk": 2}[proof]


def test_both_commands_have_the_same_options() -> None:
    command = typer.main.get_command(app).commands["verify"]  # type: ignore[attr-defined]
    wanted = {p.name: (tuple(p.opts) if p.param_type_name == "option" else ()) for p in command.params}
    actions = verify_main.parser()._actions
    found = {a.dest: tuple(a.option_strings) for a in actions if a.dest not in ("help", "version")}
    assert found == wanted


def test_errors_end_with_their_exit_code(proven: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_main.main([str(proven / "tiny.proof"), str(proven / "tiny.proof")]) == 2
    assert capsys.readouterr().err == "error[K120]: this is not a verifying key\n"
    with pytest.raises(InputError):
        verification.answer(proven / "none.vk", proven / "tiny.proof")


def test_verify_loads_no_compiler_and_no_prover(proven: Path) -> None:
    """In both commands: the time of a whole process is Python, NumPy and the verifier."""
    heavy = {"numba", "llvmlite", "syurmy.prover.kernels", "syurmy.prover.prove", "syurmy.vm", "syurmy.assembler"}
    for module, banned in (("syurmy", heavy), ("syurmy.verify_main", heavy | {"typer", "rich", "click"})):
        arguments = ["verify"] * (module == "syurmy") + ["tiny.vk", "tiny.proof"]
        command = [sys.executable, "-X", "importtime", "-m", module, *arguments]
        done = subprocess.run(command, cwd=proven, capture_output=True, text=True, check=True)
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "syurmy.prover.verifier.opening" in loaded
        assert not banned & loaded


def test_verify_compiles_nothing(proven: Path, tmp_path: Path) -> None:
    environment = os.environ | {"SYURMY_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "syurmy", "verify", "tiny.vk", "tiny.proof"]
    subprocess.run(command, cwd=proven, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "cache").exists()
