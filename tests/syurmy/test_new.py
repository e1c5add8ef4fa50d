"""``syurmy-vm new``: what it makes passes its own test, runs, and is proven."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syurmy.cli import app

ROOT = Path(__file__).resolve().parents[2]


def vm(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in args])
    return result.exit_code, result.output


@pytest.mark.slow
def test_a_new_project_works(tmp_path: Path) -> None:
    code, shown = vm("new", tmp_path / "alarm")
    assert code == 0
    program = tmp_path / "alarm" / "alarm.tasm"
    assert f"syurmy-vm test {program}" in shown
    assert vm("test", program) == (0, "2 held, 0 failed, 0 never reached\n")
    code, shown = vm("run", program, "--prove")
    assert code == 0
    assert "output alarm = 1" in shown
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(program.parent)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
    assert "5 passed" in tests.stdout


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    code, shown = vm("new", tmp_path / "mine")
    assert (code, "error[X190]" in shown) == (2, True)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes"]
    assert vm("new", tmp_path / "mine" / "notes")[0] == 2


@pytest.mark.parametrize("name", ["2fast", "a-b", "i8"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    code, shown = vm("new", tmp_path / name)
    assert (code, "error[A103]" in shown) == (2, True)
    assert not (tmp_path / name).exists()
