"""The manual page names every command and every option; completion exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import typer.main

from syurmy import manpage
from syurmy.cli import app

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_in_docs_is_that_of_the_commands() -> None:
    """``make manpage`` writes it."""
    kept, made = (ROOT / "docs" / "syurmy-vm.1").read_text(), manpage.text()
    for text in (kept, made):
        for name, command in typer.main.get_command(app).commands.items():
            section = text.partition(f'.SS "{name}"')[2].partition(".SS")[0]
            assert section, name
            for p in command.params:
                for option in (*p.opts, *p.secondary_opts) if p.param_type_name == "option" else ():
                    assert option.replace("-", "\\-") in section, (name, option)
    assert re.findall(r"^\.S[SH] .*", kept, re.MULTILINE) == re.findall(r"^\.S[SH] .*", made, re.MULTILINE)


def test_completion_knows_commands_and_options() -> None:
    def complete(line: str) -> str:
        environment = os.environ | {
            "_SYURMY_VM_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        code = "import sys; sys.argv = ['syurmy-vm']; from syurmy.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        return done.stdout

    assert complete("syurmy-vm ver").split() == ["verify", "verify-key"]
    assert "--rekey" in complete("syurmy-vm run --re").split()
