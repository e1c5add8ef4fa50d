"""Diagnostics: errors.txt holds sources and, after ``---``, the full text of their errors."""

import re
from pathlib import Path

import numpy as np
import pytest

from syurmy.assembler import AssemblyErrors, assemble, assemble_file, render
from syurmy.isa.errors import AssemblyError, InputError, Span, SyurmyError

CASES = re.findall(
    r"^=== (\w+)\n(.*?)\n---\n(.*?)(?=\n\n===|\Z)",
    (Path(__file__).parent / "errors.txt").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp("data")
    np.save(d / "real.npy", np.array([0.5, 1.5]))
    np.save(d / "nan.npy", np.array([[1, np.nan], [0, 0]]))
    np.save(d / "three.npy", np.array([1, 2, 1000]))
    np.savez(d / "two.npz", a=np.arange(3), b=np.arange(3))
    (d / "bad.npy").write_bytes(b"nonsense")
    (d / "cycle.tasm").write_text('.include "cycle.tasm"\n', encoding="utf-8")
    return d


def test_cases_are_read() -> None:
    assert len(CASES) >= 50


@pytest.mark.parametrize(("source", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_error_text(source: str, expected: str, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(AssemblyErrors) as e:
        assemble(source + "\n", filename="a.tasm")
    assert str(e.value).replace(str(folder), "DIR") == expected.rstrip("\n")
    assert all(error.span is not None for error in e.value.errors)
    assert (e.value.code, e.value.span) == (e.value.errors[0].code, e.value.errors[0].span)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.tasm: No such file") as e:
        assemble_file(tmp_path / "none.tasm")
    assert e.value.code == "I101"
    (tmp_path / "bytes.tasm").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        assemble_file(tmp_path / "bytes.tasm")


def test_render_reads_files_and_bears_their_absence(tmp_path: Path) -> None:
    path = tmp_path / "p.tasm"
    path.write_text("first\n\tsecond line\n", encoding="utf-8")
    error = AssemblyError("wrong", code="A999", span=Span(str(path), 2, 2, 6), help="do this")
    assert render(error) == (f"{path}:2:2: error[A999]: wrong\n  2 | \tsecond line\n    | \t^^^^^^\n  = help: do this")
    assert render(AssemblyError("wrong", span=Span("gone", 1, 1))) == "gone:1:1: error[A100]: wrong"
    assert render(SyurmyError("wrong")) == "error[E000]: wrong"


@pytest.mark.slow
def test_macros_cannot_explode() -> None:
    levels = [f".macro m{i}()\n m{i + 1}\n m{i + 1}\n.endmacro" for i in range(60)]
    with pytest.raises(AssemblyErrors, match="A117"):
        assemble("\n".join([*levels, ".macro m60()\n.endmacro", " m0", " halt", ""]))


def test_deep_expressions_are_refused() -> None:
    for text in ("-" * 5000 + "1", "1" + "+1" * 5000, "2**" * 3000 + "2", "9**9**9", "1" * 50):
        with pytest.raises(AssemblyErrors):
            assemble(f".const N = {text}\n halt\n")


@pytest.mark.parametrize(
    "text", ["{", "}", '"', ":", "..", "%", "\x00", "é", "=", "{{{{", "((((", ".", "->", "a" * 300]
)
def test_stray_text_is_one_diagnostic_per_line(text: str) -> None:
    with pytest.raises(AssemblyErrors) as e:
        assemble(f".input x : i8[1] public\n {text}\n halt\n reveal q\n halt\n")
    assert any(error.span is not None and error.span.line == 2 for error in e.value.errors)
