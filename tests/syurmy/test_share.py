"""``share``: copies of proving keys and openings divide what is promised; copies without a count prove nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import syurmy
from syurmy.cli import app
from syurmy.isa.errors import InputError
from syurmy.prover.keys import ProvingKey
from syurmy.prover.tensors import TensorOpening
from syurmy.sharing import share

PROGRAM = """
.program score
.input  x : i16[2] committed in -9..9
.param  w : i16[2] committed = {3, -2}
.output y public
    dot y, x, w
    halt
"""
X = [5, 7]


def vm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "score.tasm").write_text(PROGRAM)
    assert vm("setup", tmp_path / "score.tasm", "--proofs", 3).exit_code == 0
    made = vm("commit", tmp_path / "score.tasm", "-i", f"x={X}", "--proofs", 3, "--out", tmp_path)
    assert made.exit_code == 0, made.output
    (tmp_path / "other").mkdir()
    return tmp_path


def proofs(key: Path, opening: Path) -> int:
    """How many can be made."""
    program = syurmy.assemble(PROGRAM)
    pk = ProvingKey.load(key, program)
    trace = syurmy.run(program, {"x": X})
    for made in range(9):
        try:
            proof = syurmy.prove(pk, trace, commitments={"x": TensorOpening.load(opening)})
        except InputError as e:
            return made if e.code == "P180" else -1
        syurmy.verify(pk.verifying_key, proof)
    return -1


def fresh_key(shop: Path, name: str) -> Path:
    """Of this program, with proofs enough not to be what runs out."""
    made = vm("setup", shop / "score.tasm", "--proofs", 64, "--out", shop / name)
    assert made.exit_code == 0, made.output
    return shop / name / "score.pk"


def test_openings_are_divided(shop: Path) -> None:
    """One opening, one copy, two keys: never more proofs than the commitment is for."""
    done = vm("share", shop / "x.opening", shop / "other" / "x.opening", "--proofs", 1, "--json")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    limit = TensorOpening.load(shop / "x.opening").commitment.layout.shape.tail - 1
    assert value["positions"] + value["positions_left"] == limit
    keys = [fresh_key(shop, name) for name in ("one", "two")]
    assert proofs(keys[0], shop / "other" / "x.opening") == 1
    assert proofs(keys[1], shop / "x.opening") == 2
    assert proofs(keys[0], shop / "x.opening") == 0  # whichever key it is under


def test_keys_are_divided(shop: Path) -> None:
    done = vm("share", shop / "score.pk", shop / "other" / "score.pk", "--proofs", 2)
    assert done.exit_code == 0, done.output
    assert {(shop / "other" / name).stat().st_mode & 0o777 for name in ("score.pk", "score.pk.used")} == {0o600}
    assert vm("commit", shop / "score.tasm", "-i", f"x={X}", "--proofs", 64, "--out", shop, "--force").exit_code == 0
    assert proofs(shop / "other" / "score.pk", shop / "x.opening") == 2
    assert proofs(shop / "score.pk", shop / "x.opening") == 1


@pytest.mark.parametrize("name", ["score.pk", "x.opening"])
def test_plain_copies_prove_nothing(shop: Path, name: str) -> None:
    shutil.copy(shop / name, shop / "other" / name)
    key, opening = (shop / "other" / n if n == name else shop / n for n in ("score.pk", "x.opening"))
    program = syurmy.assemble(PROGRAM)
    with pytest.raises(InputError, match="is not known") as e:
        syurmy.prove(
            ProvingKey.load(key, program), syurmy.run(program, {"x": X}), commitments={"x": TensorOpening.load(opening)}
        )
    assert e.value.code == "P181"
    assert "syurmy-vm share" in e.value.help


def test_what_cannot_be_shared(shop: Path) -> None:
    for source, copy, count, code in (
        ("score.pk", "other/score.pk", 4, "K176"),
        ("score.pk", "other/score.pk", 0, "K176"),
        ("x.opening", "score.pk", 1, "F130"),
        ("score.vk", "other/score.pk", 1, "K130"),
        ("none.pk", "other/score.pk", 1, "F100"),
        ("x.opening", "none/x.opening", 1, "F120"),
    ):
        with pytest.raises(InputError) as e:
            share(shop / source, shop / copy, count)
        assert e.value.code == code
    share(shop / "score.pk", shop / "other" / "score.pk", 3)
    with pytest.raises(InputError) as e:
        share(shop / "score.pk", shop / "other" / "again.pk", 1)
    assert e.value.code == "P180"
    assert [p.name for p in (shop / "other").iterdir() if "again" in p.name] == []
    (shop / "clear").mkdir()
    assert vm("setup", shop / "score.tasm", "--no-zk", "--out", shop / "clear").exit_code == 0
    with pytest.raises(InputError) as e:
        share(shop / "clear" / "score.pk", shop / "other" / "clear.pk", 1)
    assert e.value.code == "K176"
    failed = TensorOpening.load(shop / "x.opening").allowance
    assert failed is not None
    assert failed.used == 0  # a folder that is not there was noticed before anything was taken
