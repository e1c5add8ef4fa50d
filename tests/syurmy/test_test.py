"""``syurmy-vm test``: what it says of expectations that hold, fail, or are never reached."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syurmy.cli import app

TEXT = """.input x : i8[3] public
.output y public
    add y, x, 1
    .print y
    .expect y = {2, 3, LAST}
    halt
"""


def called(tmp_path: Path, text: str, *options: str):
    path = tmp_path / "a.tasm"
    path.write_text(text)
    (tmp_path / "a.inputs.json").write_text(json.dumps({"x": [1, 2, 3]}))
    return CliRunner().invoke(app, ["test", str(path), *options])


def test_it_holds(tmp_path):
    r = called(tmp_path, TEXT.replace("LAST", "4"))
    assert r.exit_code == 0
    assert r.stdout == "[line 4, step 1] y = [2, 3, 4]\n1 held, 0 failed, 0 never reached\n"


def test_it_fails(tmp_path):
    r = called(tmp_path, TEXT.replace("LAST", "5"))
    assert r.exit_code == 4
    assert "y[2] is 4, 5 is expected (step 1)" in r.stderr
    r = called(tmp_path, TEXT.replace("LAST", "5"), "--json")
    assert r.exit_code == 4
    answer = json.loads(r.stdout)
    assert (answer["ok"], answer["failed"][0]["element"], answer["failed"][0]["value"]) == (False, [2], [2, 3, 4])


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [("    .expect y = {2, 3, LAST}\n", 2, "expects nothing"), ("LAST}", 4, "2 values are expected")],
)
def test_what_is_wrong_with_it(tmp_path, change, code, says):
    text = TEXT.replace(change, "" if code == 2 else "}").replace(", }", "}")
    r = called(tmp_path, text)
    assert r.exit_code == code
    assert says in r.stderr
