"""``--device`` and ``SYURMY_DEVICE``: what they choose, and what they say where it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import syurmy
from syurmy import device, gpu
from syurmy.cli import app
from syurmy.commands import doctor
from syurmy.gpu import cuda
from syurmy.prover.kernels import pool

PROGRAM = """\
.program tiny
.input   x : i8[3] private
.output  y public
    mul  y, x, x
    halt
"""


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(device.VARIABLE, raising=False)
    yield
    gpu.select(pool.CPU)
    device._chosen.clear()


class Card:
    name = "cuda:1"

    def __init__(self, index: int) -> None:
        if index != 1:
            raise RuntimeError(f"there is no card {index}: there are 2")


def cards(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: missing)
    if not missing:
        monkeypatch.setattr(cuda, "Cuda", Card)


def vm(folder: Path, *options: str) -> Result:
    path = folder / "tiny.tasm"
    path.write_text(PROGRAM)
    return CliRunner().invoke(app, ["prove", str(path), "--input", "x=[1,2,3]", *options])


def test_a_chosen_device_lasts_as_long_as_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, "")
    with device.used("cuda:1"):
        assert gpu.current().name == "cuda:1"
        with device.used(None), device.used("cpu"):
            assert gpu.current().name == "cpu"
        assert gpu.current().name == "cuda:1"
    assert gpu.current().name == "cpu"


def test_the_environment_is_asked_once_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, "")
    monkeypatch.setenv(device.VARIABLE, "cuda:1")
    with device.used("cpu"):
        device.settle()
        assert gpu.current().name == "cpu"
    device.settle()
    assert gpu.current().name == "cuda:1"
    monkeypatch.setenv(device.VARIABLE, "nonsense")
    device.settle()


def test_the_library_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, "no driver is found")
    trace = syurmy.run(doctor.program(), {"x": [[1] * 8] * 4})
    key, _ = syurmy.setup(trace.program, zk=False)
    monkeypatch.setenv(device.VARIABLE, "cuda")
    with pytest.raises(syurmy.InputError, match="SYURMY_DEVICE cuda: no driver is found") as e:
        syurmy.prove(key, trace)
    assert e.value.code == "X181"
    monkeypatch.setenv(device.VARIABLE, "auto")
    assert syurmy.prove(key, trace).data
    assert gpu.current().name == "cpu"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--device", "cuda"], "X181", "--device cuda: no driver is found"),
        (["--device", "cuda:x"], "X181", "--device cuda:x is no device"),
        (["--device", "cpu", "--scheduler", "local:1"], "X162", "SYURMY_DEVICE"),
    ],
)
def test_without_a_card_it_says_so(
    options: list[str], code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards(monkeypatch, "no driver is found")
    done = vm(tmp_path, *options)
    assert done.exit_code == 2
    assert f"error[{code}]" in done.stderr
    assert said in done.stderr
    assert not list(tmp_path.glob("tiny.p*f"))


def test_a_card_that_there_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cards(monkeypatch, "")
    done = vm(tmp_path, "--device", "cuda:7")
    assert "error[X181]: --device cuda:7: there is no card 7: there are 2" in done.stderr


def test_auto_is_the_processor_where_there_is_no_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cards(monkeypatch, "no driver is found")
    done = vm(tmp_path, "--device", "auto", "--no-zk")
    assert done.exit_code == 0, done.stderr
    assert "proofs are made on" not in done.stderr
    assert (tmp_path / "tiny.proof").exists()
