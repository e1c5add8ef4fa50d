"""The command line: batches, keys and proofs that are there already, limits of steps, what proofs hide."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import syurmy
from tests.syurmy.commands import RECORD, SOURCE, X, Y, assert_one_line, vm, written

# ---- branches and batches ----------------------------------------------------------------------------------------

LOOP = """\
.program  sum
.input    n : i8[] public in 0..9
.input    x : i16[10] private
.param    zero : i32[] public = {0}
.output   s   public
.ram      a : i16[10] = x
    mov     s, zero
    mov     i, zero
next:
    lt      more, i, n
    bz      more, done
    load    v, a[i]
    add     s, s, v
    cast    s, s, i32
    addi    i, i, 1
    cast    i, i, i32
    jmp     next
done:
    halt
"""
XS = np.arange(30).reshape(3, 10) - 7
NS = np.array([4, 0, 9])
SUMS = [int(x[:n].sum()) for x, n in zip(XS, NS, strict=True)]


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    (tmp_path / "sum.tasm").write_text(LOOP)
    np.savez(tmp_path / "sum.inputs.npz", x=XS, n=NS)
    (tmp_path / "x.txt").write_text(" ".join(map(str, XS.ravel())))
    (tmp_path / "n.json").write_text(json.dumps(NS.tolist()))
    return tmp_path


def test_a_batch_is_proven_and_printed(loop: Path) -> None:
    result = vm("run", loop / "sum.tasm", "--batch", "--prove", "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    branches = int(NS.sum()) + len(NS)
    assert (value["batch"], value["branches"], value["outputs"]) == (3, branches, {"s": SUMS})
    result = vm("verify", loop / "sum.vk", loop / "sum.proof", "--json")
    value = json.loads(result.stdout)
    assert (value["batch"], value["branches"], value["outputs"]) == (3, branches, {"s": SUMS})
    assert value["inputs"] == {"n": NS.tolist()}
    printed = vm("verify", loop / "sum.vk", loop / "sum.proof").stdout
    assert f"outputs=[{','.join(map(str, SUMS))}]" in "".join(printed.split())
    assert "batch of 3 inputs" in printed
    assert f"path: {branches} branches" in printed
    printed = vm("run", loop / "sum.tasm", "--batch", "--prove").stdout
    assert f"{branches} (their bits are public)" in printed
    assert "3 inputs" in printed


def test_a_batch_from_text_and_json(loop: Path) -> None:
    files = ["--input", f"x={loop / 'x.txt'}", "--input", f"n={loop / 'n.json'}"]
    result = vm("run", loop / "sum.tasm", "--batch", *files, "--json")
    assert json.loads(result.stdout)["outputs"] == {"s": SUMS}
    result = vm("check", loop / "sum.tasm", "--batch", *files)
    assert (result.exit_code, result.stdout[:22]) == (0, "every constraint holds")


def test_several_inputs_without_batch_are_explained(loop: Path) -> None:
    result = vm("run", loop / "sum.tasm")
    assert result.exit_code == 2
    assert "--batch" in result.stderr


def test_the_step_limit_of_run_and_check(loop: Path) -> None:
    for command in ("run", "check"):
        result = vm(command, loop / "sum.tasm", "--batch", "--max-steps", 50)
        assert result.exit_code == 4
        assert "error[T101]: the program takes more than 50 steps" in result.stderr
        assert "in input 1 of the batch" in result.stderr or "in input 2 of the batch" in result.stderr


def test_info_of_a_program_whose_path_is_open(loop: Path) -> None:
    value = json.loads(vm("info", loop / "sum.tasm", "--json").stdout)
    assert (value["branches"], value["columns"]) == (1, None)
    assert value["buffers"] == [{"name": "a", "type": "i16[10]", "contents": "x"}]
    printed = vm("info", loop / "sum.tasm").stdout
    assert "buffer  a i16[10] x\n" in printed
    assert "depends on the path" in printed


def test_batch_in_the_library(loop: Path) -> None:
    program = syurmy.load(loop / "sum.tasm")
    trace = syurmy.run(program, {"x": XS, "n": NS}, batch=True)
    assert trace.outputs["s"].tolist() == SUMS
    assert syurmy.check(program, trace) == []


def test_run_shows_what_verify_shows(proven: Path) -> None:
    told = {"outputs": {"y": {"scale": "1/2", "unit": "EUR"}, "s": {"name": "total"}}}
    (proven / "tiny.description.json").write_text(json.dumps(told))
    arguments = ("prove", proven / "tiny.tasm", "--input", proven / "x.npy", "--rekey", "--force")
    ran = vm(*arguments).stdout
    verified = vm("verify", proven / "tiny.vk", proven / "tiny.proof").stdout
    assert f"output total = {Y.sum()}\n" in ran
    assert " EUR\n" in ran
    shown = ran.partition("output y")[2].partition("output total")[0]
    assert shown == verified.partition("output y")[2].partition("output total")[0] != ""
    value = json.loads(vm(*arguments, "--json").stdout)
    assert value["outputs"]["y"] == (Y / 2).tolist()
    raw = json.loads(vm(*arguments, "--raw", "--json").stdout)
    assert raw["outputs"]["y"] == Y.tolist()


# ---- keys and proofs that are there already ------------------------------------------------------------------------


def test_a_changed_program_does_not_replace_its_key_unasked(proven: Path) -> None:
    key = (proven / "tiny.vk").read_bytes()
    before = written(proven)
    (proven / "tiny.tasm").write_text(SOURCE.replace("-5", "-6"))
    for command in (["setup"], ["prove", "--input", proven / "x.npy"], ["run", "--prove", "--input", proven / "x.npy"]):
        result = vm(command[0], proven / "tiny.tasm", *command[1:])
        assert_one_line(result, 2, "K160")
        assert syurmy.VerifyingKey.from_bytes(key).digest().hex()[:16] in result.stderr
        assert "--rekey" in result.stderr
    assert (proven / "tiny.vk").read_bytes() == key
    assert written(proven) == before
    value = json.loads(vm("setup", proven / "tiny.tasm", "--rekey", "--json").stdout)
    assert value["replaced_key"] == syurmy.VerifyingKey.from_bytes(key).digest().hex()
    assert value["key"] == syurmy.VerifyingKey.from_bytes((proven / "tiny.vk").read_bytes()).digest().hex()
    assert value["notes"][0].startswith(f"key {value['replaced_key'][:16]}… is replaced by {value['key'][:16]}…")


def test_a_renamed_register_keeps_the_key(proven: Path) -> None:
    (proven / "tiny.tasm").write_text(SOURCE.replace(".output   h   private\n", ""))
    assert vm("setup", proven / "tiny.tasm", "--rekey").exit_code == 0
    renamed = re.sub(r"\bh\b", "hidden", SOURCE.replace(".output   h   private\n", ""))
    (proven / "tiny.tasm").write_text(renamed)
    assert json.loads(vm("setup", proven / "tiny.tasm", "--json").stdout)["reused"]


def test_keys_in_a_folder_of_their_own(folder: Path) -> None:
    assert vm("setup", folder / "tiny.tasm", "--out", folder / "keys").exit_code == 0
    assert written(folder / "keys") == ["tiny.pk", "tiny.pk.used", "tiny.vk"]
    args = ("--keys", folder / "keys", "--input", folder / "x.npy", "--json")
    value = json.loads(vm("run", folder / "tiny.tasm", "--prove", *args).stdout)
    assert value["verified"]
    assert value["proof"] == str(folder / "tiny.proof")
    assert written(folder) == ["keys", "tiny.proof", "tiny.tasm", "x.npy"]
    assert vm("verify", folder / "keys" / "tiny.vk", folder / "tiny.proof").exit_code == 0


def test_another_run_does_not_overwrite_a_proof(proven: Path) -> None:
    np.save(proven / "z.npy", X + 1)
    same = ("prove", proven / "tiny.tasm", "--input", proven / "x.npy")
    other = ("prove", proven / "tiny.tasm", "--input", proven / "z.npy")
    assert vm(*same).exit_code == 0
    proof = (proven / "tiny.proof").read_bytes()  # of the same run there are many
    assert_one_line(vm(*other), 2, "F130")
    assert (proven / "tiny.proof").read_bytes() == proof
    assert vm(*other, "--proof", proven / "z.proof").exit_code == 0
    assert (proven / "tiny.proof").read_bytes() == proof
    assert vm(*other, "--force").exit_code == 0
    shown = [syurmy.verify(proven / "tiny.vk", proven / f"{name}.proof").outputs["y"] for name in ("tiny", "z")]
    assert shown[0].tolist() == shown[1].tolist() != syurmy.verify(proven / "tiny.vk", proof).outputs["y"].tolist()
    (proven / "tiny.proof").write_bytes(b"something of mine")
    assert_one_line(vm(*same), 2, "F130")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--keys", "k"), "--keys says"),
        (("--no-zk", "--rekey"), "--rekey, --no-zk say"),
        (("--output-proofs", 3), "--o"),
        (("--device", "cpu"), "--device says"),
    ],
)
def test_options_of_proving_are_not_ignored(proven: Path, options: tuple[object, ...], named: str) -> None:
    run = ("run", proven / "tiny.tasm", "--input", proven / "x.npy")
    result = vm(*run, *options)
    assert_one_line(result, 2, "X192")
    assert named in result.output


def test_runs_that_differ_in_what_they_reveal_are_two_runs(proven: Path) -> None:
    """With a weight column of (1, -1) and rounding away of the rest, other inputs give the same outputs."""
    (proven / "r.tasm").write_text(
        ".program r\n.input x : i8[] private\n.output y public\n    reveal x\n    sub y, x, x\n    halt\n"
    )
    assert vm("prove", proven / "r.tasm", "--input", "x=5").exit_code == 0
    assert vm("prove", proven / "r.tasm", "--input", "x=5").exit_code == 0
    assert_one_line(vm("prove", proven / "r.tasm", "--input", "x=6"), 2, "F130")


# ---- steps ---------------------------------------------------------------------------------------------------------

MANY = """\
.program many
.input x : i16[] private
.output s public
    mov s, x
    repeat 400000
        xor s, s, x
        cast s, s, i16
    end
    halt
"""


@pytest.mark.slow
def test_the_step_limit_is_part_of_the_key(tmp_path: Path) -> None:
    program = tmp_path / "many.tasm"
    program.write_text(MANY)
    for command in (("setup",), ("run", "--input", "x=5"), ("prove", "--input", "x=5"), ("check", "--input", "x=5")):
        result = vm(command[0], program, *command[1:])
        assert result.exit_code == 4
        assert "error[T101]: the program takes more than 1000000 steps" in result.stderr
        assert "--max-steps" in result.stderr
    limit = ("--max-steps", 1_300_000)
    assert vm("check", program, "--input", "x=5", *limit).exit_code == 0
    value = json.loads(vm("prove", program, "--input", "x=5", *limit, "--json").stdout)
    assert (value["verified"], value["steps"]) == (True, 1_200_003)
    assert vm("verify", tmp_path / "many.vk", tmp_path / "many.proof").exit_code == 0
    assert vm("verify", tmp_path / "many.vk", tmp_path / "many.proof", "--max-steps", 1_000_000).exit_code == 1
    assert_one_line(vm("setup", program, "--max-steps", 1_400_000), 2, "K160")


# ---- what a program is given as ------------------------------------------------------------------------------------


def test_what_is_no_program_is_said(proven: Path) -> None:
    for name, what in (("tiny.vk", "a verifying key"), ("tiny.pk", "a proving key"), ("tiny.proof", "a proof")):
        result = vm("run", proven / name)
        assert_one_line(result, 2, "F112")
        assert what in result.stderr
    assert_one_line(vm("run", proven), 2, "F112")


def test_every_answer_has_the_same_record(proven: Path) -> None:
    program, x = proven / "tiny.tasm", proven / "x.npy"
    (proven / "bad.proof").write_bytes((proven / "tiny.proof").read_bytes()[:-1])
    commands = [
        ("run", program, "--input", x),
        ("prove", program, "--input", x),
        ("check", program, "--input", x),
        ("setup", program),
        ("asm", program),
        ("disasm", program),
        ("info", program),
        ("doctor",),
        ("verify", proven / "tiny.vk", proven / "tiny.proof"),
        ("verify", proven / "tiny.vk", proven / "bad.proof"),
        ("verify", proven / "tiny.vk", proven / "gone.proof"),
        ("run", program),
        ("run", proven / "gone.tasm"),
    ]
    for command in commands:
        result = vm(*command, "--json")
        value = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert set(value) >= RECORD, command
        assert value["seconds"]["total"] > 0, command
        assert (value["schema"], value["command"]) == ("syurmy-vm/1", command[0])
        assert value["ok"] == (result.exit_code == 0), command
        assert (value["error"] is None) == value["ok"], command


# ---- what proofs hide ------------------------------------------------------------------------------------------------


def keyed(folder: Path, *options: str) -> dict[str, Any]:
    result = vm("setup", folder / "tiny.tasm", "--json", *options)
    assert result.exit_code == 0, result.stderr
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def test_keys_hide_unless_asked_not_to(folder: Path) -> None:
    """``--proofs`` and ``--renew`` make new keys, ``--no-zk`` replaces none that hides but with ``--renew``."""
    first = keyed(folder)
    assert (first["zero_knowledge"], first["proofs"], first["reused"]) == (True, 16, False)
    assert keyed(folder)["reused"]
    assert_one_line(vm("setup", folder / "tiny.tasm", "--proofs", "2"), 2, "K160")
    few = keyed(folder, "--proofs", "2", "--rekey")
    assert (few["proofs"], few["reused"], few["replaced_key"]) == (2, False, first["key"])
    assert keyed(folder)["proofs"] == 2
    old = (folder / "tiny.vk").read_bytes()
    assert not keyed(folder, "--renew", "--proofs", "2")["reused"]
    assert (folder / "tiny.vk").read_bytes() != old
    for command in (("setup",), ("run", "--prove", "--input", folder / "x.npy")):
        result = vm(command[0], folder / "tiny.tasm", "--no-zk", *command[1:])
        assert_one_line(result, 2, "K146")
        assert "--renew" in result.stderr
    clear = keyed(folder, "--no-zk", "--renew")
    assert (clear["zero_knowledge"], clear["proofs"]) == (False, None)
    for command in (("setup",), ("run", "--prove", "--input", folder / "x.npy")):  # it may have come with the program
        result = vm(command[0], folder / "tiny.tasm", *command[1:])
        assert_one_line(result, 2, "K148")
        assert "--no-zk" in result.stderr
    assert not (folder / "tiny.proof").exists()
    assert keyed(folder, "--no-zk")["reused"]
    result = vm("run", folder / "tiny.tasm", "--input", folder / "x.npy", "--prove", "--no-zk")
    assert "not zero-knowledge" in result.stdout
    said = vm("verify", folder / "tiny.vk", folder / "tiny.proof")
    assert "not zero-knowledge" in said.stdout
    assert_one_line(vm("setup", folder / "tiny.tasm", "--proofs", "0"), 2, "K147")


def test_a_key_whose_allowance_is_spent(folder: Path) -> None:
    """Proofs until there are no more, then an error that says what to do; a lost count is no new one."""
    keyed(folder, "--proofs", "1")
    prove = ("run", folder / "tiny.tasm", "--input", folder / "x.npy", "--prove")
    codes = [vm(*prove).exit_code for _ in range(4)]
    assert codes[0] == 0
    assert codes[-1] == 2
    result = vm(*prove)
    assert_one_line(result, 2, "P180")
    assert "copies" in result.stderr
    (folder / "tiny.pk.used").unlink()
    assert_one_line(vm(*prove), 2, "P181")
    keyed(folder, "--renew")
    assert_one_line(vm(*prove), 2, "F130")  # the proof that is there is of the old key
    assert vm(*prove, "--force").exit_code == 0
