"""``certify``, ``verify-key`` and ``--certificate``: files, texts and exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import syurmy
from syurmy import verify_main
from syurmy.cli import app
from syurmy.isa.errors import InputError
from syurmy.outcome import CERTIFIED, TRUSTED

PROGRAM = """
.program score
.input  x : i16[2] private
.param  w : i16[2] committed = {3, -2}
.output y public
    dot y, x, w
    halt
"""


def vm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


LEFT = r"stay hidden in (\d+) more proofs that rest on it \(prove --certificate\), or in (\d+) that do not: keep it"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with its key, a certificate, a proof that rests on it and one that does not."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "score.tasm").write_text(PROGRAM)
    run = ("run", folder / "score.tasm", "--input", "x=[5,7]")
    assert vm(*run, "--proof", folder / "plain.proof").exit_code == 0
    made = vm("certify", folder / "score.tasm")
    assert made.exit_code == 0, made.stderr
    assert re.search(LEFT, made.stdout), made.stdout
    proven = vm(*run, "--prove", "--certificate", folder / "score.cert")
    assert proven.exit_code == 0, proven.stderr
    assert proven.stdout.endswith(CERTIFIED + "\n")
    return folder


def verified(shop: Path, proof: str, *more: object) -> Result:
    return vm("verify", shop / "score.vk", shop / proof, *more)


def test_with_and_without(shop: Path) -> None:
    """What is said depends on what the verifier has checked."""
    certificate = ("--certificate", shop / "score.cert")
    assert verified(shop, "plain.proof").stdout.endswith(TRUSTED + "\n")
    assert verified(shop, "plain.proof", *certificate).stdout.endswith(CERTIFIED + "\n")
    assert verified(shop, "score.proof", *certificate, "--reference").stdout.endswith(CERTIFIED + "\n")
    missing = verified(shop, "score.proof")
    assert missing.exit_code == 1
    assert missing.stderr.startswith(
        "error[V100]: proof rejected at step 'certificate': the proof rests on certificate "
    )
    assert missing.stderr.endswith(": give it with --certificate\n")


def test_json(shop: Path) -> None:
    key = syurmy.VerifyingKey.load(shop / "score.vk").digest().hex()
    digest = syurmy.Certificate.load(shop / "score.cert").digest().hex()
    found = json.loads(vm("verify-key", shop / "score.vk", shop / "score.cert", "--json").stdout)
    assert (found["command"], found["verified"], found["key"], found["certificate"]) == (
        *("verify-key", True, key),
        digest,
    )
    assert found["soundness_bits"] >= 100
    proof = json.loads(verified(shop, "score.proof", "--certificate", shop / "score.cert", "--json").stdout)
    assert proof["certificate"] == digest
    assert json.loads(verified(shop, "plain.proof", "--json").stdout)["certificate"] is None
    for name, rests in (("score.proof", digest), ("plain.proof", None)):
        assert json.loads(vm("info", shop / name, "--json").stdout)["certificate"] == rests
    about = json.loads(vm("info", shop / "score.cert", "--json").stdout)
    assert (about["kind"], about["key"], about["certificate"]) == ("key certificate", key, digest)


def test_verify_key_says_what_it_shows(shop: Path) -> None:
    shown = vm("verify-key", shop / "score.vk", shop / "score.cert", "-v")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("accepted: program score, key ")
    assert "whoever made the key" in shown.stdout
    assert "params queries" in shown.stdout
    assert vm("verify-key", shop / "score.vk", shop / "score.cert", "--expect-key", "00" * 32).exit_code == 1


@pytest.mark.parametrize(
    ("damage", "code", "exit_code"),
    [
        (lambda data: data[:500], "V122", 1),
        (lambda data: data[:-1], "V122", 1),
        (lambda data: data + b"\0", "V122", 1),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "V122", 1),
        (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "V122", 1),
        (lambda data: data[:8] + b"\2\0" + data[10:], "V122", 1),
        (lambda data: data[:40], "K152", 2),
        (lambda data: b"nonsense", "K152", 2),
        (lambda data: b"", "K152", 2),
    ],
)
def test_damaged_files(shop: Path, tmp_path: Path, damage: Any, code: str, exit_code: int) -> None:
    bad = tmp_path / "bad.cert"
    bad.write_bytes(damage((shop / "score.cert").read_bytes()))
    for result in (
        vm("verify-key", shop / "score.vk", bad),
        verified(shop, "score.proof", "--certificate", bad),
        verified(shop, "plain.proof", "--certificate", bad, "--json"),
    ):
        assert result.exit_code == exit_code
        text = result.stdout if "--json" in str(result) or result.stdout.startswith("{") else result.stderr
        assert code in text
    assert vm("verify-key", shop / "score.vk", tmp_path / "none.cert").exit_code == 2


def test_of_another_key(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "score.tasm").write_text(PROGRAM.replace("3, -2", "3, -1"))
    assert vm("setup", tmp_path / "score.tasm").exit_code == 0
    other = vm("verify-key", tmp_path / "score.vk", shop / "score.cert")
    assert other.exit_code == 1
    assert "certificate rejected at step 'statement': the certificate belongs to another key" in other.stderr
    run = vm("run", tmp_path / "score.tasm", "--input", "x=[1,2]", "--prove", "--certificate", shop / "score.cert")
    assert run.exit_code == 1
    assert not (tmp_path / "score.proof").exists()


def test_no_key_or_nothing_to_certify(tmp_path: Path) -> None:
    (tmp_path / "a.tasm").write_text(PROGRAM)
    result = vm("certify", tmp_path / "a.tasm")
    assert (result.exit_code, result.stderr[:11]) == (2, "error[K133]")
    (tmp_path / "b.tasm").write_text(".input x : i8[2] private\n.output y public\n    sum y, x\n    halt\n")
    assert vm("setup", tmp_path / "b.tasm").exit_code == 0
    assert vm("certify", tmp_path / "b.tasm").stderr.startswith("error[K149]")
    assert vm("setup", tmp_path / "a.tasm", "--proofs", "1").exit_code == 0
    assert vm("certify", tmp_path / "a.tasm").stderr.startswith("error[K154]")


def test_spent_allowance(shop: Path, tmp_path: Path) -> None:
    for name in ("score.tasm", "score.pk", "score.vk", "score.pk.used"):
        shutil.copy(shop / name, tmp_path / name)
    program = syurmy.load(tmp_path / "score.tasm")
    key = syurmy.ProvingKey.load(tmp_path / "score.pk", program)
    assert key.allowance is not None
    key.allowance.take(key.allowance.limit - key.allowance.used)
    result = vm("certify", tmp_path / "score.tasm")
    assert (result.exit_code, result.stderr[:11]) == (2, "error[P180]")
    assert f"0 of {key.allowance.limit:,} positions are left to be opened, and this takes" in result.stderr
    assert not (tmp_path / "score.cert").exists()


def test_what_is_told_to_be_left_is_left(shop: Path, tmp_path: Path) -> None:
    """So many proofs that rest on no certificate can be made of a key just certified, and no more; of those that do, 15
    of the 16 that it is for at least."""
    for name in ("score.tasm", "score.vk"):
        shutil.copy(shop / name, tmp_path / name)
    assert vm("setup", tmp_path / "score.tasm", "--renew").exit_code == 0
    found = re.search(LEFT, vm("certify", tmp_path / "score.tasm").stdout)
    assert found is not None
    resting, others = map(int, found.groups())
    assert resting >= 15 > others > 0
    program = syurmy.load(tmp_path / "score.tasm")
    key = syurmy.ProvingKey.load(tmp_path / "score.pk", program)
    trace = syurmy.run(program, {"x": np.array([5, 7])})
    for _ in range(others):
        syurmy.prove(key, trace)
    with pytest.raises(InputError) as e:
        syurmy.prove(key, trace)
    assert e.value.code == "P180"


def test_the_verifier_alone(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(shop / "score.vk"), str(shop / "score.proof")]
    assert verify_main.main(given) == 1
    assert verify_main.main([*given, "--certificate", str(shop / "score.cert")]) == 0
    assert capsys.readouterr().out.endswith(CERTIFIED + "\n")


def test_in_python(shop: Path) -> None:
    program = syurmy.load(shop / "score.tasm")
    key, verifying_key = syurmy.setup(program, zk=False)
    certificate = syurmy.certify(key)
    assert syurmy.verify_key(verifying_key, certificate).soundness_bits >= 100
    proof = syurmy.prove(key, syurmy.run(program, {"x": [1, 2]}), certificate=certificate)
    statement = syurmy.verify(verifying_key, proof, certificate=certificate.to_bytes())
    assert statement.certificate == certificate.digest()
    with pytest.raises(syurmy.Rejected):
        syurmy.verify(verifying_key, proof)
    with pytest.raises(syurmy.InputError):
        syurmy.verify(syurmy.Verifier(verifying_key), proof, certificate=certificate)
    with pytest.raises(syurmy.InputError):
        syurmy.certify(verifying_key)  # type: ignore[arg-type]
    assert syurmy.Verifier(verifying_key, certificate=certificate).verify(proof)
