"""Exit codes: one table; a verdict survives the terminal, the pipe and the disk that it is printed to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import syurmy
from syurmy import outcome, verify_main
from syurmy.cli import app
from tests.syurmy.test_verification import proven  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parents[2]
VERIFY = ["-m", "syurmy", "verify", "tiny.vk", "tiny.proof"]


def test_the_table_is_in_the_readme_and_in_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert rows == {str(code): meaning for code, meaning in outcome.EXITS.items()}
    shown = CliRunner().invoke(app, ["-h"]).stdout
    for code, meaning in outcome.EXITS.items():
        assert f"{code} {meaning.replace(';', ',')}" in shown


@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(e, marks=pytest.mark.slow) for e in ("latin-1", "utf-8"))]
)
@pytest.mark.parametrize("module", ["syurmy", "syurmy.verify_main"])
def test_an_accepted_proof_is_accepted_in_every_encoding(proven: Path, encoding: str, module: str) -> None:  # noqa: F811
    import os

    arguments = ["-m", module, *["verify"] * (module == "syurmy"), "tiny.vk", "tiny.proof"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, *arguments], cwd=proven, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.search("key [0-9a-f]{16}(…|\\.\\.\\.)\n".encode(encoding, "ignore"), done.stdout) or encoding == "utf-8"


@pytest.mark.slow
@pytest.mark.parametrize(("proof", "code"), [("tiny.proof", 0), ("bad.proof", 1)])
def test_a_reader_that_leaves_does_not_change_the_verdict(proven: Path, proof: str, code: int) -> None:  # noqa: F811
    process = subprocess.Popen(
        [sys.executable, *VERIFY[:-1], proof, "--json"], cwd=proven, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == code
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_output_that_cannot_be_written_is_said(proven: Path) -> None:  # noqa: F811
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, *VERIFY], cwd=proven, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "error[F100]: output: No space left on device\n")


def test_a_defect_is_one_line_that_asks_for_a_report(
    proven: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(syurmy.Verifier, "verify", broken)
    arguments = ["verify", str(proven / "tiny.vk"), str(proven / "tiny.proof")]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (70, "")
    assert re.fullmatch(
        r"error\[X170\]: internal error at test_outcome.py:\d+: ZeroDivisionError: of ours \(.*report it.*\)\n",
        result.stderr,
    )
    assert "Traceback" in CliRunner().invoke(app, [*arguments, "--debug"]).stderr


# ---- Ctrl-C outside of a command -----------------------------------------------------------------------------------

# who runs the tests in the background may have Ctrl-C ignored, which processes inherit
IMPORTING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from syurmy.__main__ import main
main()
"""
WORKING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from syurmy import interrupts, outcome
interrupts.ended_at_once()
def work():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return 3
code = outcome.exit_code(work, "run", False, False)
signal.raise_signal(signal.SIGINT)  # the answer is out
raise SystemExit(code)
"""


@pytest.mark.parametrize("at", ["typer", "syurmy.commands.verify"])
def test_an_interrupt_among_imports_is_one_line(at: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTING, at, "--json"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "error[X130]: interrupted; nothing was written\n")
    said = json.loads(done.stdout)
    assert said.keys() == outcome.record({}).keys()
    assert (said["schema"], said["ok"], said["error"]["code"]) == (outcome.SCHEMA, False, "X130")


def test_an_interrupt_reaches_a_command_and_nothing_behind_it() -> None:
    done = subprocess.run([sys.executable, "-c", WORKING], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (3, "")


def test_little_is_imported_before_interrupts_are_heeded() -> None:
    code = "import sys, syurmy.__main__; print(*sorted({'pathlib', 'typing', 'difflib', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize(
    ("line", "command", "message"),
    [
        ("verify --json", "verify", "Missing argument 'PROG.vk'."),
        ("prove a.tasm --bogus --json", "prove", "No such option: --bogus"),
        ("nonsense --json", "", "No such command 'nonsense'."),
        ("--json", "", "No such option: --json (Possible options: --version)"),
    ],
)
def test_a_line_that_is_not_understood_is_told_as_json(line: str, command: str, message: str) -> None:
    done = CliRunner().invoke(app, line.split())
    record = json.loads(done.stdout)
    assert (done.exit_code, record["ok"], record["command"]) == (2, False, command)
    assert record["error"] == {"code": "X194", "message": message}
    assert message in " ".join(done.stderr.replace("│", "").split())
    assert CliRunner().invoke(app, line.replace("--json", "--jsons").split()).stdout == ""


def test_so_is_one_of_the_verifier_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in ((["a.vk", "--json"], True), (["a.vk"], False)):
        with pytest.raises(SystemExit) as e:
            verify_main.main(arguments)
        assert e.value.code == 2
        told = capsys.readouterr()
        assert "FILE.proof" in told.err
        assert bool(told.out) is said
        if said:
            assert json.loads(told.out)["error"]["code"] == "X194"
