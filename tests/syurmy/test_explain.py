"""Every code that an error can carry is explained, and only those."""

from __future__ import annotations

import json
import re
from pathlib import Path

from typer.testing import CliRunner

from syurmy.cli import app
from syurmy.explanations import EXPLANATIONS, FAMILIES

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(rf'(?:"|error\[)([{"".join(FAMILIES)}]\d\d\d)(?:"|\])')


def used() -> dict[str, str]:
    """Codes in the sources, and a file that each stands in."""
    out = {}
    for folder in ("assembler", "compiler", "isa", "prover", "syurmy", "vm"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "explanations.py":
                out |= dict.fromkeys(CODE.findall(path.read_text()), path.name)
    return out


def test_every_code_is_explained_once() -> None:
    found = used()
    assert len(found) > 100
    assert {c: f for c, f in found.items() if c not in EXPLANATIONS} == {}
    assert set(EXPLANATIONS) - set(found) == set()
    assert all(text.endswith(".") and len(text) > 20 for text in EXPLANATIONS.values())


def test_explain_prints_one_or_all() -> None:
    shown = CliRunner().invoke(app, ["explain", "a210"])
    assert shown.exit_code == 0
    assert shown.stdout.startswith("A210 (tensor assembly)\nA value could leave")
    assert CliRunner().invoke(app, ["explain", "error[A210]:"]).stdout == shown.stdout
    every = CliRunner().invoke(app, ["explain"]).stdout
    assert all(f"{code}  " in every for code in EXPLANATIONS)
    answer = json.loads(CliRunner().invoke(app, ["explain", "T101", "--json"]).stdout)
    assert answer["codes"] == {"T101": EXPLANATIONS["T101"]}


def test_an_unknown_code_is_said() -> None:
    result = CliRunner().invoke(app, ["explain", "A21"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error[X191]: there is no error A21 (did you mean A")
