"""The command line: what commands print and return; bad input gives one coded line and leaves no file."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError
from syurmy.isa.path import DEFAULT_MAX_STEPS
from syurmy.prover import keys
from tests.syurmy.commands import JSON_KEYS, PHASES, SOURCE, H, X, Y, assert_one_line, vm, written

# ---- run ---------------------------------------------------------------------------------------------------------


def test_run_prints_outputs(folder: Path) -> None:
    result = vm("run", folder / "tiny.tasm", "--input", folder / "x.npy")
    assert result.exit_code == 0, result.stderr
    assert f"output y = [[{Y[0, 0]},{Y[0, 1]}],[{Y[1, 0]},{Y[1, 1]}]]".replace(" ", "") in "".join(
        result.stdout.split()
    )
    assert f"output s = {Y.sum()}\n" in result.stdout
    assert written(folder) == ["tiny.tasm", "x.npy"]


def test_run_json_is_one_object(folder: Path) -> None:
    result = vm("run", folder / "tiny.tasm", "--input", folder / "x.npy", "--json")
    value = json.loads(result.stdout)
    assert set(value) == JSON_KEYS
    assert set(value["seconds"]) == PHASES
    assert value["outputs"] == {"h": H.tolist(), "y": Y.tolist(), "s": Y.sum()}
    assert value["steps"] == 5
    assert value["verified"] is None


def test_prove_reports_and_writes_keys_and_proof(proven_once: tuple[Path, dict[str, Any]]) -> None:
    folder, value = proven_once
    assert written(folder) == ["tiny.pk", "tiny.pk.used", "tiny.proof", "tiny.tasm", "tiny.vk", "x.npy"]
    for secret in ("tiny.pk", "tiny.pk.used"):
        assert (folder / secret).stat().st_mode & 0o777 == 0o600
    assert set(value) == JSON_KEYS
    assert set(value["seconds"]) == PHASES
    assert all(s >= 0 for s in value["seconds"].values())
    assert value["verified"] is True
    assert value["soundness_bits"] >= 100
    assert value["proof_bytes"] == (folder / "tiny.proof").stat().st_size
    assert value["outputs"]["y"] == Y.tolist()
    for name in ("leaves", "columns", "committed_entries", "peak_mb"):
        assert value[name] > 0


def test_info_announces_what_the_proof_takes(proven_once: tuple[Path, dict[str, Any]]) -> None:
    folder, proven = proven_once
    announced = json.loads(vm("info", folder / "tiny.tasm", "--json").stdout)
    for name in ("instructions", "steps", "leaves", "columns", "committed_entries"):
        assert announced[name] == proven[name], name
    assert 0 < announced["estimated_seconds"] < 1
    each = announced["cost_in_batch"]["leaves"] / announced["cost_in_batch"]["batch"]
    assert each < announced["leaves"]
    printed = vm("info", folder / "tiny.tasm").stdout
    assert f"{proven['leaves']:,} lookup leaves" in printed
    assert "in a batch of 64, each:" in printed


def test_prove_prints_a_summary(proven: Path) -> None:
    result = vm("run", proven / "tiny.tasm", "--input", proven / "x.npy", "--proof", proven / "other.proof")
    assert result.exit_code == 0, result.stderr
    for text in ("steps", "lookup leaves", "columns", "commit", "proof", "soundness", "zero-knowledge: ", "trusted"):
        assert text in result.stdout
    assert (proven / "other.proof").exists()


def test_keys_are_reused_until_something_changes(proven: Path) -> None:
    def setup() -> bool:
        result = vm("setup", proven / "tiny.tasm", "--json", "--rekey")
        assert result.exit_code == 0, result.stderr
        return bool(json.loads(result.stdout)["reused"])

    assert setup()
    (proven / "tiny.tasm").write_text(SOURCE.replace("-5", "-6"))  # a weight
    assert not setup()
    assert setup()
    (proven / "tiny.tasm").write_text(SOURCE.replace("h, 1, i8", "h, 2, i8"))  # an instruction
    assert not setup()
    verifying_key = (proven / "tiny.vk").read_bytes()
    (proven / "tiny.vk").write_bytes(b"damaged")
    assert setup()
    assert (proven / "tiny.vk").read_bytes() == verifying_key
    for damage in (b"", b"damaged", (proven / "tiny.pk").read_bytes()[:-100]):
        (proven / "tiny.pk").write_bytes(damage)
        assert not setup()
        assert setup()


# ---- verify ------------------------------------------------------------------------------------------------------


def test_verify_accepts_and_prints_the_statement(proven: Path) -> None:
    result = vm("verify", proven / "tiny.vk", proven / "tiny.proof")
    assert result.exit_code == 0, result.stderr
    assert "accepted: program tiny" in result.stdout
    assert "output s = " in result.stdout
    assert "output h" not in result.stdout
    result = vm("verify", proven / "tiny.vk", proven / "tiny.proof", "--json")
    value = json.loads(result.stdout)
    assert value["verified"] is True
    assert value["outputs"] == {"y": Y.tolist(), "s": Y.sum()}
    assert [np.ravel(r["values"]).tolist() for r in value["reveals"]] == [H.ravel().tolist()]
    assert value["reveals"][0]["instruction"] == 1


@pytest.mark.parametrize("change", ["flip", "truncate", "extend"])
def test_corrupt_proof_is_rejected(proven: Path, change: str) -> None:
    data = (proven / "tiny.proof").read_bytes()
    middle = len(data) // 2
    changed = {
        "flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "truncate": data[:-1],
        "extend": data + b"\0",
    }[change]
    (proven / "bad.proof").write_bytes(changed)
    result = vm("verify", proven / "tiny.vk", proven / "bad.proof")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error[V100]: proof rejected at step '")
    assert result.stderr.count("\n") == 1
    value = json.loads(vm("verify", proven / "tiny.vk", proven / "bad.proof", "--json").stdout)
    assert value["verified"] is False
    assert value["error"]["code"] == "V100"
    assert value["error"]["step"]
    assert value["error"]["reason"]


@pytest.mark.parametrize("content", [b"", b"not a proof"])
def test_what_is_no_proof_is_unusable_not_rejected(proven: Path, content: bytes) -> None:
    (proven / "bad.proof").write_bytes(content)
    assert_one_line(vm("verify", proven / "tiny.vk", proven / "bad.proof"), 2, "K150")


def test_proof_for_another_key_is_rejected(proven: Path) -> None:
    (proven / "other.tasm").write_text(SOURCE.replace("-5", "-6"))
    assert vm("setup", proven / "other.tasm").exit_code == 0
    result = vm("verify", proven / "other.vk", proven / "tiny.proof")
    assert result.exit_code == 1
    assert result.stderr.startswith("error[V100]")


@pytest.mark.parametrize("content", [b"", b"not a key", None])
def test_unreadable_key_or_missing_file(proven: Path, content: bytes | None) -> None:
    if content is not None:
        (proven / "bad.vk").write_bytes(content)
    result = vm("verify", proven / "bad.vk", proven / "tiny.proof")
    assert_one_line(result, 2)
    assert_one_line(vm("verify", proven / "tiny.vk", proven / "gone.proof"), 2, "F100")


# ---- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "F100"),
        (X[:1], "I105"),
        (X.astype(np.float32), "I104"),
        (np.where(X == 5, np.nan, X), "I104"),
        (X * 100, "I106"),
        (X.astype(str), "I103"),
    ],
)
def test_bad_input_tensors(folder: Path, value: Any, code: str) -> None:
    (folder / "x.npy").unlink()
    if value is not None:
        np.save(folder / "x.npy", value)
    before = written(folder)
    args = ("run", folder / "tiny.tasm", "--prove", "--input", f"x={folder / 'x.npy'}")
    assert_one_line(vm(*args), 2, code)
    result = vm(*args, "--json")
    assert json.loads(result.stdout)["error"]["code"] == code
    assert written(folder) == before


def test_missing_and_unknown_inputs(folder: Path) -> None:
    assert_one_line(vm("run", folder / "tiny.tasm"), 2, "I102")
    assert_one_line(vm("run", folder / "tiny.tasm", "--input", f"z={folder / 'x.npy'}"), 2, "I101")


@pytest.mark.parametrize("command", ["run", "setup", "check", "asm", "disasm", "info"])
def test_missing_program(folder: Path, command: str) -> None:
    result = vm(command, folder / "gone.tasm")
    assert result.exit_code == 2
    assert "error[" in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_mnemonic_has_place_caret_and_suggestion(folder: Path) -> None:
    (folder / "tiny.tasm").write_text(SOURCE.replace("matmul ", "matmull"))
    result = vm("run", folder / "tiny.tasm", "--input", folder / "x.npy", "--prove")
    assert result.exit_code == 2
    assert "tiny.tasm:7:5: error[A" in result.stderr
    assert "^^^^^^^" in result.stderr
    assert "matmul" in result.stderr.partition("help:")[2]
    error = json.loads(vm("run", folder / "tiny.tasm", "--json").stdout)["error"]
    assert (error["line"], error["column"]) == (7, 5)
    assert written(folder) == ["tiny.tasm", "x.npy"]


def test_trap_names_place_and_element(folder: Path) -> None:
    source = (
        ".program t\n.input x : i8[2] private\n.param zero : i8[1] public = {0}\n    ge ok, x, zero\n    assert ok\n"
    )
    (folder / "t.tasm").write_text(source + "    halt\n")
    (folder / "t.txt").write_text("1 -1")
    result = vm("run", folder / "t.tasm", "--input", folder / "t.txt", "--prove")
    assert result.exit_code == 4
    assert "t.tasm:5:5: error[T110]: assertion is false" in result.stderr
    assert "instruction 1, element [1]" in result.stderr
    assert "t.proof" not in written(folder)


def test_debug_shows_the_traceback(folder: Path) -> None:
    result = vm("run", folder / "tiny.tasm", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("command", [("run", "--prove"), ("setup",), ("asm",)])
def test_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], number: int) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    options = ["--input", folder / "x.npy"] if command[0] == "run" else []
    result = vm(command[0], folder / "tiny.tasm", *command[1:], *options)
    assert_one_line(result, 2, "F120")
    assert os.strerror(number) in result.stderr
    assert written(folder) == ["tiny.tasm", "x.npy"]


@pytest.mark.parametrize("at", ["run", "setup", "prove", "verify"])
def test_interrupt_leaves_nothing_half_written(proven: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = {p.name: p.read_bytes() for p in proven.iterdir()}
    if at == "setup":
        (proven / "tiny.pk").unlink()
        del before["tiny.pk"]
    home = {"verify": syurmy.Verifier, "setup": keys}.get(at, syurmy)
    monkeypatch.setattr(home, at, interrupted)
    result = vm("run", proven / "tiny.tasm", "--input", proven / "x.npy", "--prove", "--force")
    assert_one_line(result, 130, "X130")
    after = {p.name: p.read_bytes() for p in proven.iterdir()}
    if at == "verify":  # what the proof that nobody got has opened of the params stays counted
        assert after.pop("tiny.pk.used") != before.pop("tiny.pk.used")
    assert after == before


# ---- check, asm, disasm, info --------------------------------------------------------------------------------------


def test_check_accepts_an_execution(folder: Path) -> None:
    result = vm("check", folder / "tiny.tasm", "--input", folder / "x.npy", "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert {k: value[k] for k in ("ok", "program", "steps", "violations")} == {
        "ok": True,
        "program": "tiny",
        "steps": 5,
        "violations": [],
    }


def test_check_names_the_violation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = syurmy.run

    def wrong(*args: Any, **options: Any) -> Any:
        trace = honest(*args, **options)
        trace.writes[2][0] = trace.writes[2][0] + np.array([[0, 0], [1, 0]])
        return trace

    monkeypatch.setattr(syurmy, "run", wrong)
    result = vm("check", folder / "tiny.tasm", "--input", folder / "x.npy")
    assert result.exit_code == 4
    assert result.stderr.startswith("error[K100]: ")
    assert "tiny.tasm:9:5: instruction 2 (rescale)" in result.stderr
    assert "[1, 0]" in result.stderr


@pytest.mark.parametrize(("instruction", "says", "code"), [(2, "remainder: y[0, 0]", 2), (-1, "output s: ", 70)])
def test_a_proof_that_fails_names_the_constraint(
    proven: Path, monkeypatch: pytest.MonkeyPatch, instruction: int, says: str, code: int
) -> None:
    """A lookup without a row stops the prover; any other wrong value gives a proof that is rejected."""
    honest = syurmy.run

    def wrong(*args: Any, **options: Any) -> Any:
        trace = honest(*args, **options)
        if instruction < 0:
            trace.outputs["s"] = trace.outputs["s"] + 1
        else:
            trace.writes[instruction][0] = trace.writes[instruction][0] + 1
        return trace

    monkeypatch.setattr(syurmy, "run", wrong)
    result = vm("run", proven / "tiny.tasm", "--input", proven / "x.npy", "--prove", "--force")
    assert result.exit_code == code, result.stderr
    assert says in result.stderr
    assert ("s - output s = 0 - 1 = -1" if instruction < 0 else "must be in 0..1") in result.stderr


def test_asm_and_disasm_round_trip(folder: Path) -> None:
    result = vm("asm", folder / "tiny.tasm", "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert Path(value["file"]).stat().st_size == value["bytes"]
    text = vm("disasm", folder / "tiny.tasm").stdout
    assert "matmul" in text
    assert "matmul" in vm("disasm", value["file"]).stdout
    (folder / "tiny.bin").write_bytes(b"garbage")
    assert_one_line(vm("disasm", folder / "tiny.bin"), 2)


def test_info(folder: Path) -> None:
    value = json.loads(vm("info", folder / "tiny.tasm", "--json").stdout)
    assert value["program"] == "tiny"
    assert value["inputs"] == [{"name": "x", "type": "i8[2, 3]", "visibility": "private"}]
    assert value["instructions"] == 5
    text = vm("info", folder / "tiny.tasm").stdout
    assert value["digest"] in text
    assert "x i8[2, 3] private" in text


def test_python_interface(folder: Path) -> None:
    program = syurmy.assemble(SOURCE)
    trace = syurmy.run(program, {"x": X})
    assert (trace.outputs["y"] == Y).all()
    assert syurmy.check(program, trace) == []
    key, verifying_key = syurmy.setup(program)
    phases: list[str] = []
    proof = syurmy.prove(key, trace, lambda phase, fraction: phases.append(phase))
    statement = syurmy.verify(verifying_key, proof.to_bytes())
    assert (np.asarray(statement.outputs["y"]) == Y).all()
    assert phases


# ---- help, version, names ------------------------------------------------------------------------------------------

COMMANDS = ("run", "compile", "verify", "setup", "check", "asm", "disasm", "info", "doctor", "warmup")


def process(*args: str, **options: Any) -> str:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True, **options).stdout


def test_help_lists_the_commands_and_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    listed = vm("--help").stdout
    assert all(f" {command} " in listed for command in COMMANDS)
    assert f"{DEFAULT_MAX_STEPS:,}" in vm("run", "--help").stdout
    assert "beside MODEL.onnx" in vm("compile", "--help").stdout  # not taken for markup


def test_help_loads_nothing_heavy() -> None:
    """One process asks for every help in turn: nothing that one of them loads goes unseen."""
    asked = [["--help"], *([command, "--help"] for command in COMMANDS)]
    code = f"""
import atexit, sys
from syurmy.cli import app, main
for arguments in {asked!r}:
    try:
        app(arguments)
    except SystemExit as e:
        print("answered", e.code, *arguments)
    if arguments == ["--help"]:
        print("loaded", *sys.modules)
atexit.register(lambda: print(*sys.modules))
main()
"""
    *shown, last = process("-c", code, "--version").splitlines()
    assert [line.split()[1:] for line in shown if line.startswith("answered ")] == [["0", *a] for a in asked]
    (overview,) = [set(line.split()) for line in shown if line.startswith("loaded ")]
    loaded = set(last.split())
    assert "syurmy.commands.run" in overview & loaded
    assert not {"numpy", "numba", "lark", "syurmy.isa"} & loaded
    assert not {"pydantic", "importlib.metadata"} & overview


def test_the_version_is_the_package_s() -> None:
    assert process("-m", "syurmy", "--version") == f"syurmy-vm {syurmy.__version__}\n"


def test_every_public_name_is_there() -> None:
    code = "import sys, syurmy; assert 'numpy' not in sys.modules; from syurmy import *; print(*sorted(globals()))"
    assert set(syurmy.__all__) <= set(process("-c", code).split())
    assert set(syurmy.__all__) <= set(dir(syurmy))
    assert syurmy.InputError is InputError
    with pytest.raises(AttributeError, match="'syurmy' has no attribute 'nothing'"):
        _ = syurmy.nothing


# ---- processes -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_process_verifies_and_an_interrupted_one_is_silent(proven: Path) -> None:
    command = [sys.executable, "-m", "syurmy.cli"]
    done = subprocess.run(
        [*command, "verify", proven / "tiny.vk", proven / "tiny.proof", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["verified"] is True

    (proven / "long.tasm").write_text(
        ".program long\n.input x : i8[2, 3] private\n.output y public\n"
        "    repeat 30000\n    repeat 30000\n    rescale y, x, 1, i8\n    end\n    end\n    halt\n"
    )
    os.mkfifo(proven / "x.txt")
    before = written(proven)
    args = ["run", proven / "long.tasm", "--input", f"x={proven / 'x.txt'}", "--max-steps", "2000000000"]
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in the background ignores it
    process = subprocess.Popen(
        [*command, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeded
    )
    for _ in range(600):  # until the process has come to its input
        try:
            with os.fdopen(os.open(proven / "x.txt", os.O_WRONLY | os.O_NONBLOCK), "w") as pipe:
                pipe.write("1 2 3 4 5 6")
            break
        except OSError:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "error[X130]: interrupted; no file is half written\n"
    assert written(proven) == before
