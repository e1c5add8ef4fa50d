"""The answer of ``verify``: the same from both commands, with both arithmetics; fast, and from a small import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import typer.main

import syurmy
from syurmy import expected as wanted
from syurmy import verification, verify_main
from syurmy.cli import app
from syurmy.isa.errors import InputError
from syurmy.isa.types import DType
from syurmy.prover.protocol import plain
from syurmy.prover.protocol.description import Description, Quantity
from syurmy.prover.protocol.key import Mode
from syurmy.prover.tensors import seal
from syurmy.prover.verifier.verify import Statement

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


@pytest.mark.parametrize(
    "options",
    [(), pytest.param(("--json",), marks=pytest.mark.slow), pytest.param(("--reference",), marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "proof",
    ["tiny.proof", "bad.proof", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gone.proof", "tiny.vk"))],
)
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
    said = f"{proven / 'tiny.proof'} is not a verifying key (PROG.vk comes first, then the proof)"
    assert capsys.readouterr().err == f"error[K120]: {said}\n"
    with pytest.raises(InputError):
        verification.answer(proven / "none.vk", proven / "tiny.proof")


def test_verify_loads_no_compiler_and_no_prover(proven: Path) -> None:
    """In both commands: the time of a whole process is Python, NumPy and the verifier."""
    heavy = {"numba", "llvmlite", "syurmy.prover.kernels", "syurmy.prover.prove", "syurmy.vm", "syurmy.assembler"}
    banned = heavy | {"typer", "rich", "click"}
    for module in ("syurmy", "syurmy.verify_main"):
        arguments = ["verify"] * (module == "syurmy") + ["tiny.vk", "tiny.proof"]
        command = [sys.executable, "-X", "importtime", "-m", module, *arguments]
        done = subprocess.run(command, cwd=proven, capture_output=True, text=True, check=True)
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "syurmy.prover.verifier.opening" in loaded
        assert not banned & loaded


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["a.vk"],
        ["a.vk", "b.proof", "--max-steps", "0"],
        ["a.vk", "b.proof", "--ra"],
        ["-vh"],
        ["a", "b", "--version"],
    ],
)
def test_typer_answers_what_is_no_verification(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert verify_main.of_whole(arguments) is None
    assert capfd.readouterr() == ("", "")


def test_verify_compiles_nothing(proven: Path, tmp_path: Path) -> None:
    environment = os.environ | {"SYURMY_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "syurmy", "verify", "tiny.vk", "tiny.proof"]
    subprocess.run(command, cwd=proven, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "cache").exists()


def test_the_terms_of_the_error_are_shown_when_asked_for(proven: Path) -> None:
    said = [verification.answer(proven / "tiny.vk", proven / "tiny.proof", verbose=v).text for v in (False, True)]
    assert "soundness 100" in said[0]
    assert "errors in bits" not in said[0]
    assert "errors in bits, added up: logup" in said[1]


Y = [[-3, 4], [-4, 8]]


@pytest.fixture
def values(proven: Path, tmp_path: Path) -> Path:
    np.save(tmp_path / "y.npy", np.array(Y))
    np.savez(tmp_path / "y.npz", y=np.array(Y))
    (tmp_path / "y.json").write_text(json.dumps({"y": Y}))
    (tmp_path / "wrong.json").write_text(json.dumps({"y": [[-3, 4], [-5, 8]]}))
    return tmp_path


def expected(proven: Path, *options: str, proof: str = "tiny.proof") -> int:
    return verify_main.main([str(proven / "tiny.vk"), str(proven / proof), *options])


def test_what_is_expected_and_shown_is_accepted(proven: Path, values: Path) -> None:
    y = verification.answer(proven / "tiny.vk", proven / "tiny.proof").data["outputs"]["y"]
    assert y.tolist() == Y
    for given in ("y=[[-3,4],[-4,8]]", "y=[[-3.0,4],[-4,8]]", f"y={values / 'y.npy'}", f"y={values / 'y.npz'}"):
        assert expected(proven, "--expect", given) == 0
    for name in ("y.npz", "y.json"):
        assert expected(proven, "--expect", str(values / name)) == 0
    assert expected(proven, "--expect", str(values / "y.json"), proof="bad.proof") == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("y=[[-3,4],[-5,8]]", "y[1, 0] is -4, -5 is expected"),
        ("y=[[-3,4],[-4,8.5]]", "y[1, 1] is 8, 8.5 is expected"),
        ("y=[[-3,4],[-4,NaN]]", "y[1, 1] is 8, nan is expected"),
        ("y=[[-3,4],[-4,36893488147419103240]]", "36893488147419103240 is expected"),
        ("y=[-3,4,-4,8]", "'y' has shape [2, 2], [4] is expected"),
        ("y=-3", "'y' has shape [2, 2], [] is expected"),
        ("{wrong}", "y[1, 0] is -4, -5 is expected"),
    ],
)
def test_what_is_not_as_expected_is_refused(
    proven: Path, values: Path, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    value = value.format(wrong=values / "wrong.json")
    assert expected(proven, "--expect", value) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error[V120]: not what is expected")
    assert says in err
    assert expected(proven, "--expect", value, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verified"], answer["error"]["code"]) == (False, "V120")
    assert says in answer["error"]["reason"]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("z=1", "I101"),
        ("x=[[1,2,3],[4,5,6]]", "I101"),  # private: not shown
        ("y=gone.npy", "I113"),
        ("y=seven", "I113"),
        ('y="7"', "I113"),
        ("y=[[1],[2,3]]", "I103"),
        ("gone.json", "F100"),
        ("{values}/nothing.json", "I113"),
    ],
)
def test_an_expectation_that_cannot_be_used(
    proven: Path, values: Path, value: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (values / "nothing.json").write_text("{}")
    assert expected(proven, "--expect", value.format(values=values)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[: len(code) + 7]) == ("", 1, f"error[{code}]")


def test_the_key_that_is_expected(proven: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = syurmy.VerifyingKey.from_bytes((proven / "tiny.vk").read_bytes()).digest().hex()
    for good in (digest, digest.upper(), digest[:50], digest[:50] + "…"):
        assert expected(proven, "--expect-key", good) == 0
    other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    capsys.readouterr()
    for wrong in (other, "0" * 50):
        assert expected(proven, "--expect-key", wrong) == 1
        err = capsys.readouterr().err
        assert err.startswith("error[V121]")
        assert digest in err
        assert wrong in err
    for unusable in ("", digest[:16], digest[:49], digest + "0", "g" * 50):
        assert expected(proven, "--expect-key", unusable) == 2
        assert capsys.readouterr().err.startswith("error[I114]")


def test_the_commitment_that_is_expected() -> None:
    """All digits of the digest count, and what key and commitment say that the integers stand for, whichever of an
    input and an output of one name is committed."""
    program = syurmy.assemble(".input x : i16[2] private\n.output x committed\n halt\n")
    units = Description(inputs=(Quantity("x", unit="EUR"),), outputs=(Quantity("x", unit="USD"),))
    _, key = syurmy.setup(program, units)
    opening = seal(np.array([[1, 2]]), DType.I16, Mode(True, 1), Quantity("tensor", unit="USD"))
    other = seal(opening.values, DType.I16, Mode(True, 1), Quantity("tensor", unit="EUR"))
    digest = opening.commitment.digest().hex()
    for text, usable in ((digest[:16], False), (digest[:49], False), (digest[:50], True), (digest, True)):
        with nullcontext() if usable else pytest.raises(syurmy.InputError, match="50 to 64 hexadecimal digits"):
            assert wanted.commitments([f"x={text}"], key) == ([], {"x": text})
    for named, expected_, difference in (
        (opening, opening.commitment, ""),
        (opening, digest, ""),
        (opening, other.commitment, "committed x is"),
        (opening, digest[:-1] + ("1" if digest[-1] == "0" else "0"), "committed x is"),
        (other, other.commitment, "the integers of x are integer USD to the key, integer EUR to the commitment"),
    ):
        said = Statement(
            "p", key.digest(), {}, {}, [], 100.0, [], description=units, commitments={"x": named.commitment}
        )
        found = wanted.other_commitment(said, {"x": expected_}, key)
        assert found.startswith(difference), found
        assert bool(found) == bool(difference)


def test_a_foreign_proof_is_told_by_both_digests(proven: Path, tmp_path: Path) -> None:
    _, other = syurmy.setup(syurmy.assemble(SOURCE.replace("-5", "-6").replace("tiny", "other")))
    (tmp_path / "other.vk").write_bytes(other.to_bytes())
    mine = syurmy.VerifyingKey.from_bytes((proven / "tiny.vk").read_bytes()).digest().hex()[:16]
    answer = verification.answer(tmp_path / "other.vk", proven / "tiny.proof")
    said = f"another key: it names {mine}, this is {other.digest().hex()[:16]} of other"
    assert said in answer.data["error"]["reason"]
    assert "tiny.vk is that of tiny" in answer.data["error"]["reason"]
    (tmp_path / "tiny.proof").write_bytes((proven / "tiny.proof").read_bytes())  # away from its key
    answer = verification.answer(tmp_path / "other.vk", tmp_path / "tiny.proof")
    assert said in answer.data["error"]["reason"]
    assert "that of tiny" not in answer.data["error"]["reason"]


def test_how_many_steps_there_are() -> None:
    assert verification.steps_text(1, 1) == "1 step"
    assert verification.steps_text(2, 4) == "2 steps of 2 segments each, each with what the one before hands on"
