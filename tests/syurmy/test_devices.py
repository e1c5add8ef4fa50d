"""``devices`` without a card, with one that computes what the CPU does, and with one that does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from syurmy.cli import app
from syurmy.gpu import cuda
from syurmy.gpu.emulator import Emulator


class Broken(Emulator):
    """Gets one bit of what it transposes wrong."""

    def launch(self, kernel, blocks, threads, *args) -> None:
        super().launch(kernel, blocks, threads, *args)
        if kernel.__name__ == "transpose":
            args[1][0, 0] ^= np.uint64(1)


def card(monkeypatch: pytest.MonkeyPatch, made: type[Emulator]) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: "")
    monkeypatch.setattr(cuda, "cards", lambda: [cuda.Card(0, "a card", (9, 0), 80 << 30)])
    monkeypatch.setattr(cuda, "Cuda", lambda index: made(checked=True))


def test_without_a_card_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: "no driver is found")
    done = CliRunner().invoke(app, ["devices"])
    assert done.exit_code == 0
    assert "on which commands prove unless told otherwise" in done.stdout
    assert "cuda: none: no driver is found" in done.stdout
    said = json.loads(CliRunner().invoke(app, ["devices", "--json"]).stdout)
    assert (said["ok"], said["cards"], said["missing"]) == (True, [], "no driver is found")


@pytest.mark.slow
def test_a_card_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, Emulator)
    done = CliRunner().invoke(app, ["devices"])
    assert done.exit_code == 0, done.stderr
    assert "cuda:0: a card, compute capability 9.0, 80 GiB" in done.stdout
    assert "is that of the CPU, byte by byte" in done.stdout


@pytest.mark.slow
def test_a_card_that_computes_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, Broken)
    done = CliRunner().invoke(app, ["devices"])
    assert done.exit_code == 2
    assert "error[X180]: cuda:0 fails its self-test" in done.stderr
    said = json.loads(CliRunner().invoke(app, ["devices", "--json"]).stdout)
    assert said["ok"] is False
    assert said["cards"][0]["failure"]
