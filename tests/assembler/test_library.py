"""The manual of the macro library is that of its comments, and describes every macro."""

from __future__ import annotations

import re

from syurmy.assembler import library
from syurmy.assembler.source import LIBRARY


def test_the_page_is_current(capsys) -> None:
    assert library.main(["--check"]) == 0, capsys.readouterr().err


def test_every_macro_is_described() -> None:
    text = library.manual()
    macros = re.findall(r"^\.macro (\w+)", (LIBRARY / "nn.tasm").read_text(), re.MULTILINE)
    assert len(macros) > 8
    for name in macros:
        section = text.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert len(section.split("```\n")[2].split()) > 5, f"{name} has no description"
