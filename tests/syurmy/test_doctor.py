"""``doctor`` and ``warmup``: what they say of a machine that is ready, and of one that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import syurmy
from syurmy.cli import app
from syurmy.commands import doctor


def vm(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_a_machine_that_proves_is_ready() -> None:
    value = json.loads(vm("doctor", "--json").stdout)
    assert (value["problems"], value["syurmy"]) == ([], syurmy.__version__)
    assert value["cache"]["files"] > 0
    assert value["proof"]["loaded"] + value["proof"]["compiled"] > 10
    result = vm("doctor")
    assert result.exit_code == 0
    assert "a small proof: made and verified" in result.stdout
    assert result.stdout.endswith("\nready\n")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "nowhere_to_be_found"))
    result = vm("doctor")
    assert result.exit_code == 2
    assert result.stderr == "error[X180]: nowhere_to_be_found is not installed\n"
    assert result.stdout.endswith("\nnot ready\n")


def test_a_proof_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no memory to map")

    monkeypatch.setattr(syurmy, "prove", refuse)
    result = vm("doctor", "--json")
    assert result.exit_code == 2
    assert "no memory to map" in json.loads(result.stdout)["problems"][0]


def test_warmup_counts_kernels() -> None:
    result = vm("warmup", "--json")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert value["loaded"] + value["compiled"] > 10
    assert "kernels compiled" in vm("warmup").stdout
