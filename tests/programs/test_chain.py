"""Chains of programs: what one proof commits to, another one reads; one tensor committed once, read by two models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy.isa.errors import InputError

CHAIN = Path(__file__).resolve().parents[2] / "programs" / "chain"
TEST = np.load(CHAIN.parent / "digits_test.npz")


def scanned(pixels: np.ndarray) -> np.ndarray:
    """A scan of which these are the pixels."""
    return (pixels.astype(np.int64) * 255 + 7) // 16


def test_three_programs_and_a_second_model() -> None:
    """Preprocessing, model, decision, and another model of the same pixels: the digests tie four proofs together, and
    only the last ones show a value."""
    programs = {name: syurmy.load(CHAIN / f"{name}.tasm") for name in ("scan", "model", "ink", "decision")}
    keys = {name: syurmy.setup(p) for name, p in programs.items()}
    image, label = TEST["images"][3].reshape(1, 64), int(TEST["labels"][3])
    known: dict[str, syurmy.TensorOpening] = {}
    statements = {}

    def step(name: str, inputs: dict[str, np.ndarray], reads: str, writes: str | None = None) -> syurmy.Trace:
        trace = syurmy.run(programs[name], inputs)
        if writes is not None:
            known[writes] = syurmy.commit(programs[name], writes, trace.outputs[writes], proofs=3)
        made = {n: known[n] for n in (reads, writes) if n is not None}
        proof = syurmy.prove(keys[name][0], trace, commitments=made)
        statements[name] = syurmy.verify(keys[name][1], proof.to_bytes())
        return trace

    scan = scanned(image)
    known["bytes"] = syurmy.commit(programs["scan"], "bytes", scan, proofs=1)
    x = step("scan", {"bytes": scan}, "bytes", "x").outputs["x"]
    assert np.array_equal(x, image)
    scores = step("model", {"x": x}, "x", "scores").outputs["scores"]
    step("ink", {"x": x}, "x")
    step("decision", {"scores": scores}, "scores")

    def named(program: str, tensor: str) -> bytes:
        return statements[program].commitments[tensor].digest()

    assert named("scan", "x") == named("model", "x") == named("ink", "x") == known["x"].commitment.digest()
    assert named("model", "scores") == named("decision", "scores")
    assert statements["decision"].outputs["digit"] == label
    assert statements["ink"].outputs["blank"] == 0
    assert not statements["scan"].outputs
    assert not statements["model"].outputs
    with pytest.raises(InputError, match="positions are left"):  # x was for three proofs
        step("ink", {"x": x}, "x")


def test_from_the_command_line(tmp_path: Path) -> None:
    """The same with files; a commitment of another run is not what is expected."""

    def vm(*words: object, code: int = 0) -> dict[str, object]:
        command = [sys.executable, "-m", "syurmy", *map(str, words), "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    np.save(tmp_path / "bytes.npy", scanned(TEST["images"][3].reshape(1, 64)))
    made = vm("commit", CHAIN / "scan.tasm", "-i", "bytes=bytes.npy", "--proofs", 1)
    assert (tmp_path / "bytes.opening").stat().st_mode & 0o077 == 0
    to = ("--keys", ".", "--proof")
    scan = vm("prove", CHAIN / "scan.tasm", "-i", "bytes=@bytes.opening", *to, "scan.proof", "--output-proofs", 3)
    assert scan["commitments"]["bytes"] == made["commitments"]["bytes"]["digest"]  # type: ignore[index]
    vm("prove", CHAIN / "model.tasm", "-i", "x=@scan.x.opening", *to, "model.proof")
    vm("prove", CHAIN / "ink.tasm", "-i", "x=@scan.x.opening", *to, "ink.proof")
    vm("prove", CHAIN / "decision.tasm", "-i", "scores=@model.scores.opening", *to, "decision.proof")
    x, scores = "x=scan.x.commitment", "scores=model.scores.commitment"
    vm("verify", "scan.vk", "scan.proof", "--expect", x)
    model = vm("verify", "model.vk", "model.proof", "--expect", x, "--expect", scores)
    assert model["commitments"]["x"] == scan["commitments"]["x"]  # type: ignore[index]
    vm("verify", "ink.vk", "ink.proof", "--expect", f"x={scan['commitments']['x']}", "--expect", "blank=0")  # type: ignore[index]
    vm("verify", "decision.vk", "decision.proof", "--expect", scores, "--expect", "sure=1")
    refused = vm("verify", "model.vk", "model.proof", "--expect", "x=bytes.commitment", code=1)
    assert refused["error"]["code"] == "V120"  # type: ignore[index]
    assert vm("info", "scan.x.commitment")["digest"] == scan["commitments"]["x"]  # type: ignore[index]
    kept = vm("info", "scan.x.opening")
    assert kept["positions_left"] < kept["positions"]  # type: ignore[operator]
    spent = vm("prove", CHAIN / "scan.tasm", "-i", "bytes=@bytes.opening", *to, "again.proof", code=2)
    assert spent["error"]["code"] == "P180"  # type: ignore[index]
    vm("prove", CHAIN / "ink.tasm", "-i", "x=[0]", "--proof", "y.proof", code=2)
